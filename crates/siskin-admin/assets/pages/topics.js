// The tree of topics with their latest values: what is retained, and what is published while one looks.

import { api } from "../api.js";
import { drawer, fill, field, fields, h, section } from "../dom.js";
import { beginning, matches, moment, payload, plural } from "../format.js";
import { addresses, connect, isConnected, live, newClientId, subscribe, unsubscribe, watch } from "../live.js";

const TOPICS_MAX = 5000;
const NODES_MAX = 20000;
const DRAW_EVERY_MS = 250;
const VALUE_SHOWN = 80;

// Retained messages are known already, and whether a message is one that is retained is to be seen: Retain Handling 2 and
// Retain As Published. [MQTT5 3.8.3.1]
const LIVE_OPTIONS = 0x28;

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
  // The filter whose messages are shown as they come, and whether it was subscribed to for that.
  let watched = null;
  let isOurs = false;
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
  let loading = null;
  const load = () => life.attempt(async () => {
    loading?.abort();
    const mine = (loading = new AbortController());
    const signal = AbortSignal.any([mine.signal, life.signal]);
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
    await leave();
    const wanted = filter();
    isOurs = !live.subscriptions.some((subscription) => subscription.filter === wanted);
    if (signal.aborted) return;
    if (isOurs) await subscribe(wanted, 0, LIVE_OPTIONS);
    watched = wanted;
    // Who has gone to another page meanwhile does not look any more.
    if (signal.aborted) return stop();
    draw();
  };
  const leave = async () => {
    const was = watched;
    watched = null;
    if (isOurs && isConnected() && was !== null) await unsubscribe(was);
  };
  const stop = async () => {
    await leave();
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
  const drawSoon = drawer(life, list, DRAW_EVERY_MS, draw);
  watch(life, (message) => {
    if (message !== null) {
      if (watched === null || !matches(watched, message.topic)) return;
      if (message.retain && message.payload_bytes === 0) tree.forget(message.topic);
      else tree.put({ ...message, retained: message.retain, isNew: true });
    }
    drawSoon();
  });
  // The connection may be gone, and with it the subscription.
  life.signal.addEventListener("abort", () => leave().catch(() => {}));
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
    this.root = node("");
    this.size = 0;
    this.nodes = 0;
  }

  get isFull() {
    return this.size >= TOPICS_MAX || this.nodes >= NODES_MAX;
  }

  put(message) {
    let at = this.root;
    for (const level of message.topic.split("/")) {
      let next = at.children.get(level);
      if (!next) {
        if (this.isFull) return;
        next = node(level);
        this.nodes += 1;
        at.children.set(level, next);
      }
      at = next;
    }
    if (!at.value) this.size += 1;
    at.value = message;
  }

  // Nothing is on `topic` any more.
  forget(topic) {
    const way = [this.root];
    for (const level of topic.split("/")) {
      const next = way.at(-1).children.get(level);
      if (!next) return;
      way.push(next);
    }
    if (way.at(-1).value) this.size -= 1;
    way.at(-1).value = null;
    for (let at = way.pop(); way.length > 0 && !at.value && at.children.size === 0; at = way.pop()) {
      way.at(-1).children.delete(at.level);
      this.nodes -= 1;
    }
  }

  find(topic) {
    let at = this.root;
    for (const level of topic.split("/")) at = at?.children.get(level);
    return at?.value ?? null;
  }

  draw(list, search, choose) {
    const rows = [...this.root.children.values()].map((child) => this.row(child, child.level, search, choose, 1));
    const shown = rows.filter(Boolean);
    fill(list, shown.length > 0 ? shown : h("li", { class: "empty" }, "No topic. Retained messages stand here, and live ones as they come."));
  }

  row(at, topic, search, choose, depth) {
    const isFound = search === "" || topic.toLowerCase().includes(search);
    const isOpen = search !== "" || this.open.has(topic) || (depth === 1 && this.root.children.size === 1);
    const children = isOpen || !isFound
      ? [...at.children.values()].map((child) => this.row(child, `${topic}/${child.level}`, isFound ? "" : search, choose, depth + 1)).filter(Boolean)
      : [];
    if (!isFound && children.length === 0) return null;
    const toggle = () => {
      if (!this.open.delete(topic)) this.open.add(topic);
      choose(topic);
    };
    const isNew = at.value?.isNew;
    if (at.value) at.value.isNew = false;
    return h("li", { role: "treeitem", "aria-expanded": at.children.size > 0 ? String(isOpen) : null },
      h("button", { class: `level${isNew ? " flash" : ""}`, "data-key": topic, onclick: toggle },
        h("span", { class: "mark" }, at.children.size === 0 ? "" : isOpen ? "▾" : "▸"),
        h("span", { class: "name" }, at.level === "" ? "(empty level)" : at.level),
        at.children.size > 0 && h("span", { class: "dim" }, ` ${at.children.size}`),
        at.value && h("span", { class: "value" }, beginning(at.value, VALUE_SHOWN))),
      children.length > 0 && h("ul", { role: "group" }, children));
  }
}

function node(level) {
  return { level, children: new Map(), value: null };
}
