// Numbers, sizes and times as people read them.

const SIZES = ["B", "KiB", "MiB", "GiB", "TiB"];

const LAID_OUT_MAX = 16 * 1024;

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

// What a payload says: JSON is laid out, what is no text is shown as it was given, in Base64. Of a long one the first `most`
// characters, as they are.
export function payload(message, most = LAID_OUT_MAX) {
  const text = message.payload ?? "";
  const known = message.payload_encoding === "base64" ? (text.length / 4) * 3 : text.length;
  const isCut = message.truncated === true || text.length > most;
  const shown = text.length > most ? text.slice(0, most) : text;
  const of = isCut && message.payload_bytes > known ? ` of ${bytes(message.payload_bytes)}` : "";
  const end = isCut ? ` … (the beginning${of})` : "";
  if (message.payload_encoding === "base64") return `Base64: ${shown}${end}`;
  return isCut ? `${shown}${end}` : pretty(shown);
}

// The beginning of a payload, for a line that has room for little.
export function beginning(message, most) {
  return (message.payload ?? "").slice(0, most).replace(/\s+/g, " ");
}

function pretty(text) {
  if (!/^\s*[[{]/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// Whether a topic filter matches a topic. [MQTT5 4.7]
export function matches(filter, topic) {
  const [wanted, levels] = [filter.split("/"), topic.split("/")];
  if (topic.startsWith("$") && !filter.startsWith("$")) return false;
  for (const [at, level] of wanted.entries()) {
    if (level === "#") return true;
    if (at >= levels.length || (level !== "+" && level !== levels[at])) return false;
  }
  return wanted.length === levels.length;
}
