// Who has subscribed to what.

import { api } from "../api.js";
import { field, fields, fill, h, table, whenTyped } from "../dom.js";
import { pages } from "../paging.js";
import { clientLink } from "./clients.js";

export function render(main, life) {
  const form = h("form", { class: "filters" },
    field("Client id", { name: "client_id" }),
    field("Filter", { name: "filter", type: "search", placeholder: "any part of it" }),
    field("Matching topic", { name: "topic", placeholder: "home/kitchen/light" }));
  const list = h("div");
  fill(main, h("h1", {}, "Subscriptions"), form, list);
  const load = (query, signal) => api("subscriptions", { query: { ...fields(form), ...query }, signal });
  const options = (s) => [
    s.no_local && "no local", s.retain_as_published && "retain as published",
    s.retain_handling > 0 && `retain handling ${s.retain_handling}`,
  ].filter(Boolean).join(", ");
  const show = (rows) => table([
    ["Filter", (s) => h("span", { class: "id" }, s.filter)],
    ["Client", clientLink],
    ["QoS", (s) => String(s.qos), "number"],
    ["Options", (s) => options(s) || "–"],
  ], rows, "No subscription is like that.");
  const refresh = pages(life, list, load, "subscriptions", show, 5000);
  whenTyped(form, refresh);
  form.addEventListener("submit", (event) => event.preventDefault());
}
