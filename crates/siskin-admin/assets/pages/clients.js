// Who is connected, and whose sessions wait for them.

import { api } from "../api.js";
import { field, fields, fill, h, table, whenTyped } from "../dom.js";
import { bytes, count, moment } from "../format.js";
import { pages } from "../paging.js";

export function render(main, life) {
  const form = h("form", { class: "filters" },
    field("Client id", { name: "client_id", type: "search", placeholder: "any part of it" }),
    field("Address", { name: "ip", placeholder: "192.0.2.1" }),
    field("State", { name: "connected" }, [["", "all"], ["true", "connected"], ["false", "away"]]),
    field("Version", { name: "version" }, [["", "all"], ["3.1", "3.1"], ["3.1.1", "3.1.1"], ["5.0", "5.0"]]));
  const list = h("div");
  fill(main, h("h1", {}, "Clients"), form, list);
  const load = (query, signal) => api("clients", { query: { ...fields(form), ...query }, signal });
  const show = (rows) => table([
    ["Client", clientLink],
    ["State", (c) => h("span", { class: c.connected ? "good" : "dim" }, c.connected ? "connected" : "away")],
    ["Address", (c) => c.address ?? "–"],
    ["Version", (c) => c.version],
    ["Since", (c) => moment(c.connected_at ?? c.disconnected_at)],
    ["Subscriptions", (c) => count(c.subscriptions), "number"],
    ["Waiting", (c) => count(c.queue_messages), "number"],
    ["Unacknowledged", (c) => count(c.inflight), "number"],
    ["Received", (c) => (c.traffic ? bytes(c.traffic.bytes_received) : "–"), "number"],
    ["Sent", (c) => (c.traffic ? bytes(c.traffic.bytes_sent) : "–"), "number"],
  ], rows, "No client is like that.");
  const refresh = pages(life, list, load, "clients", show, 3000);
  whenTyped(form, refresh);
  form.addEventListener("submit", (event) => event.preventDefault());
}

// The way to a client's own page.
export function clientLink({ client_id }) {
  return h("a", { href: `#/clients/${encodeURIComponent(client_id)}`, class: "id" }, client_id === "" ? "(no id)" : client_id);
}
