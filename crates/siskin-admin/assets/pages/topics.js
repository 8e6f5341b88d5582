// The tree of topics with their latest values: what is retained, and what is published while one looks.

import { api } from "../api.js";
import { fill, field, fields, h, section } from "../dom.js";
import { moment, payload, plural } from "../format.js";
import { addresses, connect, isConnected, live, newClientId, subscribe, unsubscribe, watch } from "../live.js";

const TOPICS_MAX = 5000;
const DRAW_EVERY_MS = 250;

export function render(main, life) {
  const tree = new Tree();
  const error = h("div");
  const note = h("p", { class: "dim" });
  const list = h("ul", { class: "tree", role: "tree" });
  const detail = h("aside", { class: "detail" }, h("p", { class: "empty" }, "Choose a topic to see what is on it."));
  const button = h("button", {});
  const form = h("form", { class: "filters" },
    field("Topic filter", { name: "filter", value: "#" }),
    field("Search", { name: "search", type: "search", placeholder: "part of a topic" }), button);
  fill(main, h("h1", {}, "Topics"), form, error, note, h("div", { class: "split" }, list, detail));

  const filter = () => fields(form).filter.trim() || "#";
  let watched = null;
  let chosen = null;

  const draw = () => {
    const isLive = watched !== null && isConnected();
    button.textContent = isLive ? "Stop live values" : "Live values";
    const state = isLive ? `live: every message on ${watched} is shown` : "what is retained, as of when this page was opened";
    fill(note, `${plural(tree.size, "topic")}; ${state}${tree.isFull ? `; no more than ${TOPICS_MAX} are kept` : ""}`);
    tree.draw(list, fields(form).search.trim().toLowerCase(), choose);
    if (chosen) showValue(detail, tree.find(chosen), chosen);
  };
  const choose = (topic) => {
    chosen = topic;
    showValue(detail, tree.find(topic), topic);
    explain(life, detail, topic);
    draw();
  };
  const load = () => life.attempt(async (signal) => {
    tree.clear();
    for (let after; !tree.isFull; ) {
      const part = await api("retained", { query: { filter: filter(), limit: 500, payload: true, after }, signal });
      part.messages.forEach((message) => tree.put({ ...message, retained: true }));
      after = part.next;
      if (!after) break;
    }
    draw();
  }, error);
  const goLive = async (signal) => {
    if (!isConnected()) {
      const [url] = await addresses(signal);
      if (!url) throw new Error("no listener");
      await connect(live.settings ?? { url, clientId: newClientId(), user: "", password: "" });
    }
    if (watched !== null) await unsubscribe(watched);
    watched = filter();
    await subscribe(watched, 0);
    draw();
  };
  const stop = async () => {
    const was = watched;
    watched = null;
    if (isConnected() && was !== null) await unsubscribe(was);
    draw();
  };

  button.addEventListener("click", async (event) => {
    event.preventDefault();
    try {
      fill(error);
      await (watched !== null && isConnected() ? stop() : goLive(life.signal));
    } catch (problem) {
      const why = problem.message === "no listener"
        ? "Live values need a WebSocket listener: siskin serve --ws-port 8083."
        : `${problem.message}. Credentials can be given on the page “Messages”.`;
      fill(error, h("p", { class: "error" }, why));
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    load();
    if (watched !== null && isConnected()) goLive(life.signal).catch((problem) => fill(error, h("p", { class: "error" }, problem.message)));
  });
  form.elements.search.addEventListener("input", draw);
  let isDue = false;
  watch(life, (message) => {
    if (message === null || watched === null) return;
    tree.put({ ...message, retained: message.retain, isNew: true });
    if (isDue) return;
    isDue = true;
    setTimeout(() => {
      isDue = false;
      if (!life.signal.aborted) draw();
    }, DRAW_EVERY_MS);
  });
  life.signal.addEventListener("abort", stop);
  load();
}

function showValue(place, value, topic) {
  const told = place.querySelector(".told");
  const head = [h("h2", { class: "id" }, topic)];
  if (value) {
    head.push(
      h("pre", { class: "payload" }, payload(value)),
      h("p", { class: "dim" }, `QoS ${value.qos}${value.retained ? ", retained" : ""}, ${plural(value.payload_bytes, "byte")}, ${moment(value.received_at)}`));
  } else {
    head.push(h("p", { class: "empty" }, "Nothing is known on this topic itself."));
  }
  fill(place, head, told);
}

async function explain(life, place, topic) {
  const told = h("div", { class: "told" });
  place.append(told);
  place.querySelectorAll(".told").forEach((other) => other !== told && other.remove());
  await life.attempt(async (signal) => {
    const { text } = await api("explain/topic", { query: { topic }, signal });
    fill(told, section("Who would receive it", h("pre", { class: "words" }, text)));
  }, told.appendChild(h("div")));
}

// Topics by their levels. Nodes that are open stay so while values change.
class Tree {
  constructor() {
    this.open = new Set();
    this.clear();
  }

  clear() {
    this.root = node("", "");
    this.size = 0;
  }

  get isFull() {
    return this.size >= TOPICS_MAX;
  }

  put(message) {
    let at = this.root;
    const levels = message.topic.split("/");
    for (const [depth, level] of levels.entries()) {
      let next = at.children.get(level);
      if (!next) {
        if (this.isFull) return;
        next = node(level, levels.slice(0, depth + 1).join("/"));
        at.children.set(level, next);
      }
      at = next;
    }
    if (!at.value) this.size += 1;
    at.value = message;
  }

  find(topic) {
    let at = this.root;
    for (const level of topic.split("/")) at = at?.children.get(level);
    return at?.value;
  }

  draw(list, search, choose) {
    const rows = [...this.root.children.values()].map((child) => this.row(child, search, choose, 1));
    const shown = rows.filter(Boolean);
    fill(list, shown.length > 0 ? shown : h("li", { class: "empty" }, "No topic. Retained messages stand here, and live ones as they come."));
  }

  row(at, search, choose, depth) {
    const isFound = search === "" || at.topic.toLowerCase().includes(search);
    const isOpen = search !== "" || this.open.has(at.topic) || (depth === 1 && this.root.children.size === 1);
    const children = isOpen || !isFound
      ? [...at.children.values()].map((child) => this.row(child, isFound ? "" : search, choose, depth + 1)).filter(Boolean)
      : [];
    if (!isFound && children.length === 0) return null;
    const toggle = () => {
      if (!this.open.delete(at.topic)) this.open.add(at.topic);
      choose(at.topic);
    };
    const isNew = at.value?.isNew;
    if (at.value) at.value.isNew = false;
    return h("li", { role: "treeitem", "aria-expanded": at.children.size > 0 ? String(isOpen) : null },
      h("button", { class: `level${isNew ? " flash" : ""}`, onclick: toggle },
        h("span", { class: "mark" }, at.children.size === 0 ? "" : isOpen ? "▾" : "▸"),
        h("span", { class: "name" }, at.level === "" ? "(empty level)" : at.level),
        at.children.size > 0 && h("span", { class: "dim" }, ` ${at.children.size}`),
        at.value && h("span", { class: "value" }, payload(at.value).slice(0, 80))),
      children.length > 0 && h("ul", { role: "group" }, children));
  }
}

function node(level, topic) {
  return { level, topic, children: new Map(), value: null };
}
