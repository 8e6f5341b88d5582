// Retained messages: found by a filter, read, forgotten.

import { api } from "../api.js";
import { confirmed, field, fields, fill, h, table } from "../dom.js";
import { bytes, moment, payload } from "../format.js";
import { pages } from "../paging.js";

export function render(main, life) {
  const error = h("div");
  const list = h("div");
  const forget = h("button", { type: "button" }, "Forget all that match");
  const form = h("form", { class: "filters" }, field("Topic filter", { name: "filter", value: "#" }), h("button", {}, "Show"), forget);
  fill(main, h("h1", {}, "Retained messages"), form, error, list);

  const filter = () => fields(form).filter.trim() || "#";
  const load = ({ limit, cursor }, signal) =>
    api("retained", { query: { filter: filter(), limit, after: cursor, payload: true }, signal });
  const remove = (topics) => confirmed(`Forget ${topics === "#" ? "all retained messages" : `what is retained on ${topics}`}?`)
    && life.attempt(async (signal) => {
      await api("retained", { method: "DELETE", query: { filter: topics }, signal });
      refresh();
    }, error);
  const show = (rows) => table([
    ["Topic", (m) => h("span", { class: "id" }, m.topic)],
    ["Payload", (m) => [h("code", { class: "payload" }, payload(m)), properties(m.properties)]],
    ["QoS", (m) => String(m.qos), "number"],
    ["Bytes", (m) => bytes(m.payload_bytes), "number"],
    ["Received", (m) => moment(m.received_at)],
    ["", (m) => h("button", { class: "quiet", onclick: () => remove(m.topic) }, "Forget")],
  ], rows, "Nothing is retained there.");
  const refresh = pages(life, list, load, "messages", show, null);
  form.addEventListener("submit", (event) => (event.preventDefault(), refresh()));
  forget.addEventListener("click", () => remove(filter()));
}

function properties(given) {
  const entries = Object.entries(given ?? {});
  if (entries.length === 0) return null;
  const lines = entries.map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  return h("details", {}, h("summary", {}, "Properties"), h("pre", { class: "words" }, lines.join("\n")));
}
