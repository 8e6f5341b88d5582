// One client: what it is, what happened to it, what waits for it, and what can be done about it.

import { api } from "../api.js";
import { confirmed, facts, fill, h, section, table } from "../dom.js";
import { bytes, count, expiry, moment, payload } from "../format.js";

export function render(main, life, id) {
  const at = (rest = "") => `clients/${encodeURIComponent(id)}${rest}`;
  const refusal = h("div");
  const error = h("div");
  const body = h("div");
  const act = (question, task) => () => confirmed(question) && life.attempt(async (signal) => {
    await task(signal);
    await load(signal);
  }, refusal);
  const kick = act(`Disconnect ${id}? Its session stays.`, (signal) => api(at(), { method: "DELETE", signal }));
  const ban = act(`Keep the client id ${id} out until the broker is started again?`, (signal) =>
    api("bans", { method: "POST", body: { client_id: id, reason: "banned on the dashboard" }, signal }));
  fill(main, h("p", { class: "path" }, h("a", { href: "#/clients" }, "Clients")), h("h1", { class: "id" }, id),
    h("p", { class: "actions" }, h("button", { onclick: kick }, "Disconnect"), h("button", { onclick: ban }, "Ban")), refusal, error, body);

  const load = async (signal) => {
    const query = { utc_offset_s: -new Date().getTimezoneOffset() * 60 };
    const story = await api(at("/story"), { query, signal }).catch(unlessMissing);
    const client = await api(at(), { signal }).catch(unlessMissing);
    const parts = client && (await Promise.all([
      api(at("/subscriptions"), { signal }),
      api(at("/queue"), { query: { payload: true, limit: 20 }, signal }),
      api(at("/inflight"), { query: { payload: true, limit: 20 }, signal }),
    ]));
    fill(body,
      !story && !client && h("p", { class: "empty" }, "The broker knows nothing of such a client."),
      story && told(story), client && known(client), parts && waiting(...parts));
  };
  life.every(2000, load, error);
}

function unlessMissing(error) {
  if (error.status === 404) return null;
  throw error;
}

function told({ headline, findings, events }) {
  return section("What happened",
    h("p", { class: "headline" }, headline),
    findings.map((finding) => h("p", { class: "warning" }, finding)),
    h("ol", { class: "story" }, [...events].reverse().map((event) => h("li", { class: `event ${event.event}` },
      h("time", {}, moment(event.unix_ms)), h("span", {}, event.text),
      event.count > 1 && h("span", { class: "dim" }, `${count(event.count)} times until ${moment(event.until_unix_ms)}`)))));
}

function known(client) {
  const { traffic } = client;
  return section("What it is", facts([
    ["State", client.connected ? "connected" : "away"],
    ["Address", client.address],
    ["User", client.user_name],
    ["MQTT", client.version],
    ["Connected at", client.connected_at && moment(client.connected_at)],
    ["Last packet at", client.last_packet_at && moment(client.last_packet_at)],
    ["Disconnected at", client.disconnected_at && moment(client.disconnected_at)],
    ["Session ends", client.expires_at ? moment(client.expires_at) : expiry(client.session_expiry_s)],
    ["Session", client.stored ? "in the store" : "in memory"],
    ["Clean start", client.clean_start === undefined ? null : client.clean_start ? "yes" : "no"],
    ["Keep alive", client.keep_alive_s === undefined ? null : client.keep_alive_s === 0 ? "off" : `${client.keep_alive_s} s`],
    ["Will", client.has_will ? "yes" : "no"],
    ["In the queue", `${count(client.queue_messages)} (${bytes(client.queue_bytes)})`],
    ["Unacknowledged", client.inflight_max ? `${count(client.inflight)} of at most ${count(client.inflight_max)}` : count(client.inflight)],
    ["Unread by it", client.out_buffer_bytes === undefined ? null : bytes(client.out_buffer_bytes)],
    ["Received from it", traffic && `${count(traffic.messages_received)} messages, ${bytes(traffic.bytes_received)}`],
    ["Sent to it", traffic && `${count(traffic.messages_sent)} messages, ${bytes(traffic.bytes_sent)}`],
    ["Dropped for it", Object.entries(client.dropped).map(([why, number]) => `${count(number)} (${why.replaceAll("_", " ")})`).join(", ")],
    ["Worker", String(client.worker)],
  ]));
}

function waiting({ subscriptions }, queue, inflight) {
  const messages = [
    ["Topic", (m) => h("span", { class: "id" }, m.topic)],
    ["Payload", (m) => h("code", { class: "payload" }, payload(m))],
    ["QoS", (m) => String(m.qos), "number"],
    ["Bytes", (m) => bytes(m.bytes), "number"],
    ["Received", (m) => moment(m.received_at)],
  ];
  return [
    section("Subscriptions", table([
      ["Filter", (s) => h("span", { class: "id" }, s.filter)],
      ["QoS", (s) => String(s.qos), "number"],
      ["Options", (s) => [s.no_local && "no local", s.retain_as_published && "retain as published"].filter(Boolean).join(", ") || "–"],
    ], subscriptions, "It has none.")),
    section(`Queue (${count(queue.count)})`, table(messages, queue.messages, "Nothing waits for it.")),
    section(`Sent and not acknowledged (${count(inflight.count)})`, table(messages, inflight.messages, "Nothing.")),
  ];
}
