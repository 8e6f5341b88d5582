// What happens to clients while it happens, and single messages on their ways.

import { api, follow } from "../api.js";
import { field, fields, fill, h, save, section } from "../dom.js";
import { moment } from "../format.js";

const LINES_KEPT = 1000;
const LEVELS = [["debug", "all"], ["info", "info"], ["warn", "warnings"]];
const AGAIN_MS = 2000;

export function render(main, life) {
  fill(main, h("h1", {}, "Log and trace"), log(life), trace(life));
}

function log(life) {
  const error = h("div");
  const lines = h("ol", { class: "log", "aria-live": "off" });
  const pause = h("button", { type: "button" }, "Pause");
  let events = [];
  let isPaused = false;
  const form = h("form", { class: "filters" },
    field("Client id", { name: "client_id" }), field("Address", { name: "address", placeholder: "192.0.2.0/24" }),
    field("Topic", { name: "topic", placeholder: "home/#" }), field("Level", { name: "level", value: "debug" }, LEVELS),
    h("button", {}, "Follow"), pause,
    h("button", { type: "button", onclick: () => ((events = []), draw()) }, "Clear"),
    h("button", { type: "button", onclick: () => save("siskin-log.json", JSON.stringify([...events].reverse(), null, 1)) }, "Save"));

  const draw = () => fill(lines, events.length === 0
    ? h("li", { class: "empty" }, "Nothing has happened yet.")
    : events.map((event) => h("li", { class: `event ${event.level ?? ""} ${event.event}` },
      h("time", {}, event.unix_ms ? moment(event.unix_ms) : ""),
      event.client_id && h("a", { class: "id", href: `#/clients/${encodeURIComponent(event.client_id)}` }, event.client_id),
      event.address && h("span", { class: "dim" }, event.address),
      h("span", {}, event.event === "missed" ? `${event.count} events came too fast to be shown` : event.text))));
  let isDue = false;
  const take = (event) => {
    events.unshift(event);
    events.length = Math.min(events.length, LINES_KEPT);
    if (isDue || isPaused) return;
    isDue = true;
    setTimeout(() => {
      isDue = false;
      if (!isPaused) draw();
    }, 100);
  };
  let following = null;
  const start = async () => {
    following?.abort();
    const mine = (following = new AbortController());
    const signal = AbortSignal.any([mine.signal, life.signal]);
    const query = { ...fields(form), follow: true, limit: 200 };
    while (!signal.aborted) {
      events = [];
      draw();
      await life.attempt(() => follow("events", query, signal, take), error);
      if (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  };
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Go on" : "Pause";
    draw();
  });
  form.addEventListener("submit", (event) => (event.preventDefault(), start()));
  start();
  return section("What happens to clients", form, error, lines);
}

function trace(life) {
  const error = h("div");
  const ways = h("div");
  let shown = null;
  const form = h("form", { class: "filters" },
    field("Topic filter", { name: "topic", value: "#" }), field("Client id of the publisher", { name: "client_id" }),
    field("Messages", { name: "count", type: "number", value: "10", min: 1, max: 1000 }),
    field("Seconds", { name: "seconds", type: "number", value: "60", min: 1, max: 3600 }),
    h("button", { class: "main" }, "Trace"),
    h("button", { type: "button", onclick: () => shown && save(`siskin-trace-${shown.id}.json`, JSON.stringify(shown, null, 1)) }, "Save"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    life.attempt(async (signal) => {
      const { topic, client_id, count, seconds } = fields(form);
      const body = { topic: topic || null, client_id: client_id || null, count: Number(count), seconds: Number(seconds) };
      await api("traces", { method: "POST", body, signal });
      await load(signal);
    }, error);
  });
  const load = async (signal) => {
    const { traces } = await api("traces", { signal });
    const latest = traces.at(-1);
    shown = latest ? await api(`traces/${latest.id}`, { signal }) : null;
    fill(ways, shown ? told(shown) : h("p", { class: "empty" }, "No trace yet. A trace follows the next messages from their publisher to each receiver."));
  };
  life.every(1000, load);
  return section("Messages on their ways", form, error, ways);
}

function told({ stations = [], messages, count, ended }) {
  const numbers = [...new Set(stations.map((station) => station.message))];
  const state = ended ? `ended (${ended})` : "goes on";
  return [
    h("p", { class: "dim" }, `${messages} of ${count} messages; the trace ${state}`),
    numbers.map((number) => {
      const own = stations.filter((station) => station.message === number);
      const from = own[0].unix_ms;
      return h("ol", { class: "story" }, own.map((station) => h("li", { class: `event ${station.station}` },
        h("time", {}, station.unix_ms === from ? moment(from) : `+${station.unix_ms - from} ms`), h("span", {}, station.text))));
    }),
  ];
}
