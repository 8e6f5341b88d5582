// Where clients come in, and every setting as it is in force.

import { api } from "../api.js";
import { confirmed, field, fill, h, section, table } from "../dom.js";
import { count, moment } from "../format.js";

const LEVELS = ["error", "warn", "info", "debug", "trace"].map((level) => [level, level]);

export function render(main, life) {
  const error = h("div");
  const answer = h("div", { role: "status" });
  const listeners = h("div");
  const settings = h("div");
  const search = field("Search", { type: "search", placeholder: "part of a name or its meaning" });
  const level = field("Level of the log", { name: "level" }, LEVELS);
  const reload = h("button", { class: "main" }, "Reload configuration");
  let all = [];
  fill(main, h("h1", {}, "Listeners and settings"), error,
    section("Listeners", listeners),
    section("Settings", h("div", { class: "filters" }, search, level, reload), answer, settings));

  const draw = () => {
    const words = search.querySelector("input").value.trim().toLowerCase();
    const shown = all.filter(({ name, help }) => `${name} ${help}`.toLowerCase().includes(words));
    fill(settings, table([
      ["Setting", (s) => [h("span", { class: "id" }, s.name), h("div", { class: "dim" }, s.help)]],
      ["Value", (s) => h("code", { class: s.value === s.default ? "" : "changed" }, s.value)],
      ["Default", (s) => s.default],
      ["Allowed", (s) => s.allowed],
      ["A change", (s) => (s.reloads ? "at once" : "needs a restart")],
    ], shown, "No setting is like that."));
  };
  const load = async (signal) => {
    const [config, log] = await Promise.all([api("config", { signal }), api("log-level", { signal })]);
    all = config.settings;
    level.querySelector("select").value = log.level;
    draw();
  };
  life.every(5000, async (signal) => {
    const told = await api("listeners", { signal });
    fill(listeners, table([
      ["Listener", (l) => l.name],
      ["Connections", (l) => count(l.connections), "number"],
      ["At most", (l) => (l.connections_max > 0 ? count(l.connections_max) : "–"), "number"],
    ], told.listeners, "Nobody can come in."),
    told.expiries.length > 0 && table([
      ["Expires", (e) => moment(e.expires_at)], ["What", (e) => e.kind], ["File", (e) => h("span", { class: "id" }, e.file)],
    ], told.expiries, ""));
  });
  life.attempt(load, error);
  search.addEventListener("input", draw);
  level.addEventListener("change", () => life.attempt(
    (signal) => api("log-level", { method: "PUT", body: { level: level.querySelector("select").value }, signal }), error));
  reload.addEventListener("click", () => confirmed("Read the configuration file anew, and have it in force?") && life.attempt(async (signal) => {
    fill(answer);
    const { changed, restart, summary } = await api("reload", { method: "POST", body: {}, signal });
    const line = ({ name, from, to }) => h("li", {}, h("span", { class: "id" }, name), ` ${from} → ${to}`);
    fill(answer, h("p", {}, summary), changed.length > 0 && h("ul", {}, changed.map(line)),
      restart.length > 0 && [h("p", { class: "warning" }, "Not before a restart:"), h("ul", {}, restart.map(line))]);
    await load(signal);
  }, error));
}
