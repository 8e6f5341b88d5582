// What happens to clients while it happens, and single messages on their ways.

import { api, follow } from "../api.js";
import { drawer, field, fields, fill, h, save, section } from "../dom.js";
import { moment, plural } from "../format.js";

const LINES_KEPT = 1000;
const LEVELS = [["debug", "all"], ["info", "info"], ["warn", "warnings"]];
const AGAIN_MS = 2000;
const DRAW_EVERY_MS = 100;
const STATIONS_SHOWN = 2000;
const STATIONS_OF_A_MESSAGE_SHOWN = 200;

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
  const drawSoon = drawer(life, lines, DRAW_EVERY_MS, () => isPaused || draw());
  let following = null;
  const start = async () => {
    following?.abort();
    const mine = (following = new AbortController());
    const signal = AbortSignal.any([mine.signal, life.signal]);
    const query = { ...fields(form), follow: true, limit: 200 };
    events = [];
    draw();
    // What was shown before the connection was lost stays, and is not shown twice.
    let since = 0;
    while (!signal.aborted) {
      const from = since;
      await life.attempt(() => follow("events", query, signal, (event) => {
        if (error.firstChild) fill(error);
        if (event.unix_ms <= from) return;
        since = event.unix_ms ?? since;
        events.unshift(event);
        events.length = Math.min(events.length, LINES_KEPT);
        drawSoon();
      }), error);
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
  const state = h("p", { class: "dim" });
  const ways = h("div");
  // The latest trace with what is known of it so far.
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
    const latest = (await api("traces", { signal })).traces.at(-1);
    if (!latest) return fill(state, "No trace yet. A trace follows the next messages from their publisher to each receiver.");
    if (shown?.id !== latest.id) {
      shown = { ...latest, stations: [], next: 0 };
      fill(ways);
    }
    // Of one that had ended when it was read last there is no more.
    if (shown.isWhole) return;
    const { stations = [], ...more } = await api(`traces/${latest.id}`, { query: { after: shown.next }, signal });
    shown = { ...more, stations: shown.stations.concat(stations), isWhole: more.ended !== null && more.ended !== undefined };
    fill(state, `${shown.messages} of ${shown.count} messages; the trace ${shown.ended ? `ended (${shown.ended})` : "goes on"}`);
    if (stations.length > 0) fill(ways, told(shown.stations));
  };
  const trouble = h("div");
  life.every(1000, load, trouble);
  return section("Messages on their ways", form, error, trouble, state, ways);
}

// One list for each message; what is too much to be shown is in what “Save” gives.
function told(stations) {
  const ways = Map.groupBy(stations, (station) => station.message);
  let room = STATIONS_SHOWN;
  return [...ways.values()].map((own) => {
    const from = own[0].unix_ms;
    const first = own.slice(0, Math.min(STATIONS_OF_A_MESSAGE_SHOWN, room));
    room -= first.length;
    return h("ol", { class: "story" }, first.map((station) => h("li", { class: `event ${station.station}` },
      h("time", {}, station.unix_ms === from ? moment(from) : `+${station.unix_ms - from} ms`), h("span", {}, station.text))),
    own.length > first.length && h("li", { class: "dim" }, `and ${plural(own.length - first.length, "more station")}`));
  });
}
