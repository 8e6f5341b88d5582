// How the broker does: figures of now, charts of the last minutes, who has most to do.

import { api } from "../api.js";
import { Chart } from "../chart.js";
import { fill, h, section, table } from "../dom.js";
import { bytes, count, duration, percent } from "../format.js";
import { clientLink } from "./clients.js";

const SPAN_S = 300;

const STORE_TROUBLES = {
  behind: "The disk does not keep up: who publishes what must last is slowed down.",
  tight: "The store has little room left: what must last is refused, what is kept is still delivered.",
  full: "The store is full: what must last is refused.",
  failing: "The store's device fails: what must last is refused.",
};

export function render(main, life) {
  const figures = h("div", { class: "tiles" });
  const warnings = h("div");
  const charts = [
    new Chart("Messages a second", [["received", (s) => s.messages_received], ["sent", (s) => s.messages_sent]], count),
    new Chart("Bytes a second", [["received", (s) => s.bytes_received], ["sent", (s) => s.bytes_sent]], bytes, 1024),
    new Chart("Connections", [["connections", (s) => s.connections], ["sessions", (s) => s.sessions]], count),
    new Chart("Dropped messages a second", [["dropped", (s) => s.messages_dropped]], count),
    new Chart("Processor", [["cores in use", (s) => s.cpu]], (cores) => cores.toFixed(2), 0.1),
    new Chart("Memory", [["resident", (s) => s.memory_bytes]], bytes, 1024),
  ];
  const tables = h("div");
  fill(main, h("h1", {}, "Overview"), warnings, figures,
    h("div", { class: "charts" }, charts.map((chart) => chart.element)), tables);

  life.every(1000, async (signal) => {
    const [stats, memory, store, { seconds }] = await Promise.all([
      api("stats", { signal }), api("memory", { signal }), api("store", { signal }),
      api("rates", { query: { last: SPAN_S }, signal }),
    ]);
    fill(figures, tiles(stats, memory, store, seconds.at(-1)));
    fill(warnings, troubles(memory, store));
    charts.forEach((chart) => chart.draw(seconds, SPAN_S));
  });
  life.every(3000, async (signal) => {
    const { heaviest, slowest, holders } = await api("top", { query: { limit: 5 }, signal });
    fill(tables,
      section("Clients with most traffic", table([
        ["Client", clientLink],
        ["Received a second", (c) => count(c.messages_received), "number"],
        ["Sent a second", (c) => count(c.messages_sent), "number"],
        ["Bytes a second", (c) => bytes(c.bytes_received + c.bytes_sent), "number"],
      ], heaviest, "Nobody sends or receives anything.")),
      section("Clients for whom most waits", table([
        ["Client", clientLink],
        ["Messages", (c) => count(c.queue_messages + c.inflight), "number"],
        ["Bytes", (c) => bytes(c.queue_bytes + c.out_buffer_bytes), "number"],
        ["Dropped", (c) => count(c.dropped), "number"],
      ], slowest, "Nothing waits for anybody.")),
      section("Clients that hold most memory", table([
        ["Client", clientLink],
        ["Memory", (c) => bytes(c.memory_bytes), "number"],
        ["Queue", (c) => bytes(c.queue_bytes), "number"],
        ["Unread", (c) => bytes(c.out_buffer_bytes), "number"],
        ["Subscriptions", (c) => bytes(c.subscription_bytes), "number"],
      ], holders ?? [], "Nobody holds any.")));
  });
}

function tiles(stats, memory, store, last) {
  const all = (numbers) => numbers.reduce((sum, number) => sum + number, 0);
  // What its own publisher did not want back is no loss.
  const { no_local: _, ...lost } = stats.dropped;
  const dropped = all(Object.values(lost));
  const budget = memory.max_bytes ? `of ${bytes(memory.max_bytes)}` : "without a limit";
  return [
    tile("Connections", count(stats.connections), `${count(stats.sessions)} sessions`),
    tile("Subscriptions", count(stats.subscriptions), `${count(stats.filters)} filters`),
    tile("Received", `${count(last?.messages_received ?? 0)}/s`, `${count(all(stats.messages_received))} in all`),
    tile("Sent", `${count(last?.messages_sent ?? 0)}/s`, `${count(all(stats.messages_sent))} in all`),
    tile("Dropped", count(dropped), `${count(stats.refused)} connections refused`),
    tile("Waiting", count(stats.messages_waiting), bytes(stats.bytes_waiting)),
    tile("Retained", count(stats.retained_messages), bytes(stats.retained_bytes)),
    tile("Memory", bytes(memory.resident_bytes), budget),
    tile("Processor", percent(last?.cpu ?? 0), `${stats.workers.length} workers`),
    tile("Store", store.health, store.figures ? bytes(store.figures.segment_bytes) : "in memory alone"),
    tile("Open files", count(stats.open_files), `of ${count(stats.open_files_max)}`),
    tile("Running for", duration(stats.uptime_s), ""),
  ];
}

function tile(name, value, note) {
  return h("div", { class: "tile" }, h("span", { class: "name" }, name), h("b", {}, value), h("span", { class: "note" }, note));
}

function troubles(memory, store) {
  return [
    memory.pressure !== "calm" && h("p", { class: "warning" }, `Memory is ${memory.pressure}: see what holds it below.`),
    STORE_TROUBLES[store.health] && h("p", { class: "warning" }, STORE_TROUBLES[store.health]),
  ];
}
