// MQTT 5.0 over WebSocket, as much of it as a person at a page needs.

const CONNECT = 1, CONNACK = 2, PUBLISH = 3, PUBACK = 4, PUBREC = 5, PUBREL = 6, PUBCOMP = 7;
const SUBSCRIBE = 8, SUBACK = 9, UNSUBSCRIBE = 10, UNSUBACK = 11, PINGREQ = 12, PINGRESP = 13, DISCONNECT = 14;

const KEEP_ALIVE_S = 30;
// Bytes of a payload that are kept: people read no more, and hundreds of messages are kept.
const PAYLOAD_KEPT = 16 * 1024;
const REASON_STRING = 0x1f;
const text = new TextEncoder();
const strict = new TextDecoder("utf-8", { fatal: true });

// Identifiers of properties by the kind of their values.
const BYTE = [0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2a];
const TWO_BYTES = [0x13, 0x21, 0x22, 0x23];
const FOUR_BYTES = [0x02, 0x11, 0x18, 0x27];
const TEXT = [0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1a, 0x1c, 0x1f];

// A connection. `on` has `message`, `closed` (with the reason) and `answered` (a packet was refused).
export class Mqtt {
  constructor(on) {
    this.on = on;
    this.unread = new Uint8Array();
    this.ids = 0;
    this.waiting = new Map();
    this.received = new Set();
  }

  // Resolves when the broker has accepted it.
  connect(url, { clientId, user, password }) {
    return new Promise((resolve, reject) => {
      this.opened = { resolve, reject };
      this.socket = new WebSocket(url, "mqtt");
      this.socket.binaryType = "arraybuffer";
      this.socket.onopen = () => this.send(CONNECT, 0, connectBody(clientId, user, password));
      this.socket.onmessage = ({ data }) => this.read(new Uint8Array(data));
      this.socket.onclose = () => this.end("the connection was closed");
      this.socket.onerror = () => this.end(`cannot reach ${url}`);
    });
  }

  close() {
    this.send(DISCONNECT, 0, [0, 0]);
    this.end(null);
  }

  // Resolves with the QoS that was granted. `options` are what stands above the QoS. [MQTT5 3.8.3.1]
  subscribe(filter, qos, options = 0) {
    return this.ask(SUBSCRIBE, [0, ...string(filter), qos | options]);
  }

  unsubscribe(filter) {
    return this.ask(UNSUBSCRIBE, [0, ...string(filter)]);
  }

  // Resolves when the broker has taken it over; at QoS 0 at once.
  async publish(topic, payload, qos, retain) {
    const head = string(topic);
    const first = (qos << 1) | (retain ? 1 : 0);
    const bytes = text.encode(payload);
    if (qos === 0) return this.send(PUBLISH, first, [...head, 0], bytes);
    const id = this.nextId();
    const answer = this.answerTo(id);
    this.send(PUBLISH, first, [...head, ...two(id), 0], bytes);
    return answer;
  }

  ask(kind, body) {
    const id = this.nextId();
    const answer = this.answerTo(id);
    this.send(kind, 2, [...two(id), ...body]);
    return answer;
  }

  answerTo(id) {
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }

  nextId() {
    do this.ids = (this.ids % 0xffff) + 1;
    while (this.waiting.has(this.ids));
    return this.ids;
  }

  send(kind, flags, body, payload = new Uint8Array()) {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    const head = [(kind << 4) | flags, ...variable(body.length + payload.length), ...body];
    const packet = new Uint8Array(head.length + payload.length);
    packet.set(head);
    packet.set(payload, head.length);
    this.socket.send(packet);
  }

  read(bytes) {
    const all = new Uint8Array(this.unread.length + bytes.length);
    all.set(this.unread);
    all.set(bytes, this.unread.length);
    let at = 0;
    try {
      for (;;) {
        const reader = new Reader(all, at + 1);
        const length = at < all.length ? reader.lengthIfThere() : null;
        if (length === null || reader.at + length > all.length) break;
        const end = reader.at + length;
        this.handle(all[at], new Reader(all.subarray(0, end), reader.at));
        at = end;
      }
    } catch (error) {
      return this.end(`the broker sent what is no MQTT: ${error.message}`);
    }
    this.unread = all.slice(at);
  }

  handle(first, reader) {
    const kind = first >> 4;
    switch (kind) {
      case CONNACK: return this.handleConnack(reader);
      case PUBLISH: return this.handlePublish(first, reader);
      case SUBACK: case UNSUBACK: return this.settle(reader.two(), (reader.properties(), reader.byte()));
      case PUBACK: case PUBCOMP: return this.settle(reader.two(), reader.rest() > 0 ? reader.byte() : 0);
      case PUBREC: return this.handlePubrec(reader);
      case PUBREL: {
        const id = reader.two();
        this.received.delete(id);
        return this.send(PUBCOMP, 0, two(id));
      }
      case DISCONNECT: {
        const code = reader.rest() > 0 ? reader.byte() : 0;
        const why = reader.rest() > 0 ? reader.properties() : null;
        return this.end(`the broker disconnects: ${why ?? hex(code)}`);
      }
      case PINGRESP: return;
      default: throw new Error(`packet type ${kind}`);
    }
  }

  handleConnack(reader) {
    reader.byte();
    const code = reader.byte();
    const why = reader.properties();
    if (code !== 0) return this.end(`refused: ${why ?? hex(code)}`);
    this.timer = setInterval(() => this.send(PINGREQ, 0, []), KEEP_ALIVE_S * 500);
    this.opened.resolve();
  }

  handlePublish(first, reader) {
    const qos = (first >> 1) & 3;
    const topic = reader.text();
    const id = qos > 0 ? reader.two() : 0;
    reader.properties();
    const payload = reader.bytes(reader.rest());
    if (qos === 1) this.send(PUBACK, 0, two(id));
    if (qos === 2) {
      this.send(PUBREC, 0, two(id));
      if (this.received.has(id)) return;
      this.received.add(id);
    }
    this.on.message({ topic, qos, retain: (first & 1) === 1, ...decoded(payload) });
  }

  handlePubrec(reader) {
    const id = reader.two();
    const code = reader.rest() > 0 ? reader.byte() : 0;
    if (code >= 0x80) this.settle(id, code);
    else this.send(PUBREL, 2, two(id));
  }

  settle(id, code) {
    const waiting = this.waiting.get(id);
    this.waiting.delete(id);
    if (code >= 0x80) waiting?.reject(new Error(`the broker refuses it: ${hex(code)}`));
    else waiting?.resolve(code);
  }

  end(why) {
    if (this.isOver) return;
    this.isOver = true;
    clearInterval(this.timer);
    this.socket?.close();
    this.opened?.reject(new Error(why ?? "closed"));
    for (const { reject } of this.waiting.values()) reject(new Error(why ?? "closed"));
    this.on.closed(why);
  }
}

// Reads fields one after the other; what is not there is an error.
class Reader {
  constructor(all, at) {
    this.all = all;
    this.at = at;
  }

  rest() {
    return this.all.length - this.at;
  }

  bytes(length) {
    if (length > this.rest()) throw new Error("a packet that ends too early");
    this.at += length;
    return this.all.subarray(this.at - length, this.at);
  }

  byte() {
    return this.bytes(1)[0];
  }

  two() {
    return this.byte() * 256 + this.byte();
  }

  text() {
    return strict.decode(this.bytes(this.two()));
  }

  // A variable byte integer, or null if it has not come to its end.
  lengthIfThere() {
    let value = 0;
    for (let shift = 1; shift <= 128 ** 3; shift *= 128) {
      if (this.rest() === 0) return null;
      const byte = this.byte();
      value += (byte & 127) * shift;
      if (byte < 128) return value;
    }
    throw new Error("a length of five bytes");
  }

  // Passes over properties, and gives the reason string if there is one.
  properties() {
    const end = this.lengthIfThere() + this.at;
    let reason = null;
    while (this.at < end) {
      const id = this.byte();
      if (id === REASON_STRING) reason = this.text();
      else if (BYTE.includes(id)) this.bytes(1);
      else if (TWO_BYTES.includes(id)) this.bytes(2);
      else if (FOUR_BYTES.includes(id)) this.bytes(4);
      else if (TEXT.includes(id)) this.bytes(this.two());
      else if (id === 0x26) [this.text(), this.text()];
      else if (id === 0x0b) this.lengthIfThere();
      else throw new Error(`property ${id}`);
    }
    return reason;
  }
}

function connectBody(clientId, user, password) {
  const flags = 2 | (user === "" ? 0 : 0x80) | (password === "" ? 0 : 0x40);
  return [
    ...string("MQTT"), 5, flags, ...two(KEEP_ALIVE_S), 0, ...string(clientId),
    ...(user === "" ? [] : string(user)), ...(password === "" ? [] : string(password)),
  ];
}

// A payload as text, or as Base64 if it is none; of a long one the beginning, without half a character at its end.
function decoded(bytes) {
  const truncated = bytes.length > PAYLOAD_KEPT;
  const kept = bytes.subarray(0, PAYLOAD_KEPT);
  const rest = { payload_bytes: bytes.length, truncated };
  try {
    const payload = new TextDecoder("utf-8", { fatal: true }).decode(kept, { stream: truncated });
    return { payload, payload_encoding: "plain", ...rest };
  } catch {
    return { payload: btoa(String.fromCharCode(...kept)), payload_encoding: "base64", ...rest };
  }
}

function string(value) {
  const bytes = text.encode(value);
  return [...two(bytes.length), ...bytes];
}

function two(number) {
  return [number >> 8, number & 255];
}

function variable(number) {
  const bytes = [];
  do {
    bytes.push((number & 127) | (number > 127 ? 128 : 0));
    number >>= 7;
  } while (number > 0);
  return bytes;
}

function hex(code) {
  return `0x${code.toString(16).toUpperCase().padStart(2, "0")}`;
}
