// Who may not connect.

import { api } from "../api.js";
import { confirmed, field, fields, fill, h, section, table } from "../dom.js";
import { moment } from "../format.js";
import { pages } from "../paging.js";

const KINDS = [["client_id", "client id"], ["user_name", "user name"], ["address", "address or network"]];

export function render(main, life) {
  const error = h("div");
  const list = h("div");
  const form = h("form", { class: "filters" },
    field("Whom", { name: "kind", value: "client_id" }, KINDS), field("Name or address", { name: "who", required: true }),
    field("Minutes", { name: "minutes", type: "number", min: 1, placeholder: "for ever" }), field("Reason", { name: "reason" }),
    h("button", { class: "main" }, "Ban"));
  fill(main, h("h1", {}, "Bans"), section("Keep somebody out", form, error), section("Kept out", list));

  const load = ({ limit, cursor }, signal) => api("bans", { query: { limit, after: cursor }, signal });
  const lift = (ban) => () => {
    const [kind] = KINDS.find(([key]) => ban[key] !== undefined && ban[key] !== null);
    return confirmed(`Let ${ban[kind]} in again?`) && life.attempt(async (signal) => {
      await api("bans", { method: "DELETE", query: { [kind]: ban[kind] }, signal });
      refresh();
    }, error);
  };
  const name = (ban) => KINDS.filter(([key]) => ban[key]).map(([key, text]) => [h("span", { class: "dim" }, `${text} `), h("span", { class: "id" }, ban[key])]);
  const show = (rows) => table([
    ["Who", name],
    ["Until", (ban) => (ban.until ? moment(ban.until) : "for ever")],
    ["Reason", (ban) => ban.reason],
    ["", (ban) => h("button", { class: "quiet", onclick: lift(ban) }, "Let in")],
  ], rows, "Nobody is kept out.");
  const refresh = pages(life, list, load, "bans", show, 5000);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    life.attempt(async (signal) => {
      const { kind, who, minutes, reason } = fields(form);
      const body = { [kind]: who, reason, seconds: minutes ? Number(minutes) * 60 : null };
      await api("bans", { method: "POST", body, signal });
      form.reset();
      refresh();
    }, error);
  });
}
