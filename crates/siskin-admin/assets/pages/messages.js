// A client in the page: it connects over WebSocket, subscribes, receives and publishes.

import { api } from "../api.js";
import { drawer, field, fields, fill, h, section, table } from "../dom.js";
import { moment, payload } from "../format.js";
import { addresses, connect, disconnect, isConnected, live, newClientId, subscribe, unsubscribe, watch } from "../live.js";

const QOS = [["0", "0"], ["1", "1"], ["2", "2"]];
const DRAW_EVERY_MS = 200;

export function render(main, life) {
  const error = h("div");
  const hint = h("div");
  const state = h("p", { class: "state", role: "status" });
  const chosen = live.settings ?? { url: "", clientId: newClientId(), user: "", password: "" };
  const connection = h("form", { class: "filters" },
    field("Address", { name: "url", value: chosen.url, required: true, size: 32, placeholder: "ws://broker:8083/mqtt" }),
    field("Client id", { name: "clientId", value: chosen.clientId }),
    field("User", { name: "user", value: chosen.user, autocomplete: "username" }),
    field("Password", { name: "password", type: "password", value: chosen.password, autocomplete: "current-password" }),
    h("button", { class: "main" }, "Connect"), h("button", { type: "button", onclick: disconnect }, "Disconnect"));
  const subscribing = h("form", { class: "filters" },
    field("Topic filter", { name: "filter", value: "#", required: true }), field("QoS", { name: "qos", value: "1" }, QOS),
    h("button", {}, "Subscribe"));
  const subscriptions = h("ul", { class: "chips" });
  const received = h("div");
  const publishing = h("form", { class: "publish" },
    h("div", { class: "filters" },
      field("Topic", { name: "topic", required: true, placeholder: "home/kitchen/light" }), field("QoS", { name: "qos", value: "1" }, QOS),
      h("label", { class: "check" }, h("input", { type: "checkbox", name: "retain" }), " Retain")),
    h("label", { class: "field" }, h("span", {}, "Payload"), h("textarea", { name: "payload", rows: 3, spellcheck: "false" })),
    h("p", { class: "actions" }, h("button", { class: "main" }, "Publish"), h("span", { class: "dim", role: "status" })));
  fill(main, h("h1", {}, "Publish and subscribe"), error,
    section("Connection", state, hint, connection),
    section("Publish", publishing),
    section("Subscriptions", subscribing, subscriptions),
    section("Received", received));

  const draw = () => {
    fill(state, h("span", { class: isConnected() ? "good" : "dim" }, live.state));
    subscribing.querySelector("button").disabled = !isConnected();
    fill(subscriptions, live.subscriptions.map(({ filter, qos }) => h("li", {}, h("span", { class: "id" }, filter), ` QoS ${qos} `,
      h("button", { class: "quiet", "aria-label": `Unsubscribe ${filter}`, onclick: attempt(() => unsubscribe(filter)) }, "×"))));
    fill(received, table([
      ["Time", (m) => moment(m.received_at)],
      ["Topic", (m) => h("span", { class: "id" }, m.topic)],
      ["Payload", (m) => h("code", { class: "payload" }, payload(m, 1000))],
      ["QoS", (m) => `${m.qos}${m.retain ? ", retained" : ""}`],
    ], live.messages, isConnected() ? "Nothing yet. Subscribe to a filter above." : "Connect and subscribe to see messages."));
  };
  const attempt = (task) => async (event) => {
    event?.preventDefault();
    fill(error);
    try {
      await task();
    } catch (problem) {
      if (!life.signal.aborted) fill(error, h("p", { class: "error", role: "alert" }, problem.message));
    }
    draw();
  };

  connection.addEventListener("submit", attempt(() => connect(fields(connection))));
  subscribing.addEventListener("submit", attempt(() => {
    const { filter, qos } = fields(subscribing);
    return subscribe(filter, Number(qos));
  }));
  publishing.addEventListener("submit", attempt(async () => {
    const { topic, payload, qos, retain } = fields(publishing);
    const note = publishing.querySelector("[role=status]");
    fill(note, "…");
    if (isConnected()) {
      await live.mqtt.publish(topic, payload, Number(qos), retain === "on");
      fill(note, "published by this page's client");
    } else {
      await api("publish", { method: "POST", body: { topic, payload, qos: Number(qos), retain: retain === "on" } });
      fill(note, "published by the broker, as this page is not connected");
    }
  }));
  watch(life, drawer(life, main, DRAW_EVERY_MS, draw));
  if (chosen.url === "") {
    life.attempt(async (signal) => {
      const [url] = await addresses(signal);
      if (url) connection.elements.url.value = url;
      else fill(hint, h("p", { class: "warning" }, "The broker has no WebSocket listener: start it with --ws-port 8083. Publishing works without."));
    }, error);
  }
  draw();
}
