// Numbers, sizes and times as people read them.

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB"];

export function count(number) {
  if (number >= 1e9) return `${(number / 1e9).toFixed(2)} G`;
  if (number >= 1e6) return `${(number / 1e6).toFixed(2)} M`;
  if (number >= 1e5) return `${(number / 1e3).toFixed(1)} k`;
  return number.toLocaleString("en", { maximumFractionDigits: number < 10 ? 1 : 0 });
}

export function bytes(number) {
  let at = 0;
  while (number >= 1024 && at < SIZES.length - 1) {
    number /= 1024;
    at += 1;
  }
  return `${number.toFixed(at > 0 && number < 100 ? 1 : 0)} ${SIZES[at]}`;
}

export function percent(part) {
  return `${(part * 100).toFixed(part < 0.1 ? 1 : 0)} %`;
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds / 3600) % 24} h`;
}

// A moment in local time: without its date if it is today's.
export function moment(when) {
  const date = new Date(when);
  const two = (number) => String(number).padStart(2, "0");
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  if (date.toDateString() === new Date().toDateString()) return time;
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${time}`;
}

export function expiry(seconds) {
  if (seconds === undefined || seconds === null) return "never";
  return seconds === 0 ? "with the connection" : duration(seconds);
}

export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

// What a payload says: JSON is laid out, what is no text is shown as it was given, in Base64.
export function payload(message) {
  if (message.payload === undefined || message.payload === null) return "";
  if (message.payload_encoding === "base64") return `Base64: ${message.payload}`;
  return pretty(message.payload);
}

export function pretty(text) {
  if (!/^\s*[[{]/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
