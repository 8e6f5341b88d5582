// The page's own MQTT connection, which goes on while one walks from page to page.

import { api } from "./api.js";
import { Mqtt } from "./mqtt.js";

const MESSAGES_KEPT = 500;

export const live = {
  mqtt: null,
  // What is said about it: "connected to ...", or why it is not.
  state: "not connected",
  settings: null,
  subscriptions: [],
  // The latest messages, the newest first.
  messages: [],
  // Those to be told of a change, and of each message.
  watchers: new Set(),
};

// Has `watcher` told of what happens for as long as a page lives.
export function watch(life, watcher) {
  live.watchers.add(watcher);
  life.signal.addEventListener("abort", () => live.watchers.delete(watcher));
}

// Where a browser reaches the broker, if there is a listener for it; the first is tried first.
export async function addresses(signal) {
  const { listeners } = await api("listeners", { signal });
  return listeners.filter(({ protocol }) => protocol === "ws").map(({ address, tls, path }) => {
    const port = address.slice(address.lastIndexOf(":") + 1);
    const host = address.slice(0, -port.length - 1);
    const isHere = ["0.0.0.0", "[::]", "127.0.0.1", "[::1]"].includes(host);
    return `${tls ? "wss" : "ws"}://${isHere ? location.hostname : host}:${port}${path ?? "/mqtt"}`;
  });
}

export async function connect(settings) {
  live.mqtt?.close();
  tell(`connecting to ${settings.url} …`);
  live.settings = settings;
  live.subscriptions = [];
  const mqtt = new Mqtt({
    message: take,
    closed: (why) => {
      if (live.mqtt !== mqtt) return;
      live.mqtt = null;
      live.subscriptions = [];
      tell(why ?? "not connected");
    },
  });
  live.mqtt = mqtt;
  try {
    await mqtt.connect(settings.url, settings);
  } catch (error) {
    mqtt.end(error.message);
    throw error;
  }
  tell(`connected to ${settings.url} as ${settings.clientId}`);
}

export function disconnect() {
  live.mqtt?.close();
}

export async function subscribe(filter, qos, options) {
  const granted = await live.mqtt.subscribe(filter, qos, options);
  live.subscriptions = live.subscriptions.filter((other) => other.filter !== filter);
  live.subscriptions.push({ filter, qos: granted });
  tell(live.state);
}

export async function unsubscribe(filter) {
  await live.mqtt.unsubscribe(filter);
  live.subscriptions = live.subscriptions.filter((other) => other.filter !== filter);
  tell(live.state);
}

export function isConnected() {
  return live.mqtt !== null && live.state.startsWith("connected");
}

// A client id that no other page has.
export function newClientId() {
  return `dashboard-${crypto.getRandomValues(new Uint32Array(1))[0].toString(16)}`;
}

function take(message) {
  message.received_at = Date.now();
  live.messages.unshift(message);
  live.messages.length = Math.min(live.messages.length, MESSAGES_KEPT);
  for (const watcher of live.watchers) watcher(message);
}

function tell(state) {
  live.state = state;
  for (const watcher of live.watchers) watcher(null);
}
