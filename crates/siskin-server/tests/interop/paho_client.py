"""Drives a broker through paho-mqtt: every QoS, retained messages, wills, sessions and, in 5, properties.

usage: paho_client.py PORT 311|5 [tcp|websockets]
"""

import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PORT = int(sys.argv[1])
V5 = sys.argv[2] == "5"
TRANSPORT = sys.argv[3] if len(sys.argv) > 3 else "tcp"
WAIT_S = 10


class Client:
    """A client whose messages arrive in a queue."""

    def __init__(self, client_id, persistent=False, will=None, receive_maximum=None):
        self.messages = queue.Queue()
        self.subscribed = queue.Queue()
        self.connected = queue.Queue()
        protocol = mqtt.MQTTv5 if V5 else mqtt.MQTTv311
        options = {} if V5 else {"clean_session": not persistent}
        self.mqtt = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol, transport=TRANSPORT, **options
        )
        self.mqtt.on_message = lambda _client, _data, message: self.messages.put(message)
        self.mqtt.on_subscribe = lambda _client, _data, _mid, codes, _properties: self.subscribed.put(codes)
        self.mqtt.on_connect = lambda _client, _data, flags, code, props: self.connected.put((flags, code, props))
        if will:
            self.mqtt.will_set(*will)
        connect = {}
        if V5:
            properties = Properties(PacketTypes.CONNECT)
            if persistent:
                properties.SessionExpiryInterval = 1000
            if receive_maximum:
                properties.ReceiveMaximum = receive_maximum
            connect = {"clean_start": not persistent, "properties": properties}
        self.mqtt.connect("127.0.0.1", PORT, keepalive=30, **connect)
        self.mqtt.loop_start()
        self.flags, code, self.properties = self.connected.get(timeout=WAIT_S)
        assert not code.is_failure, code

    def subscribe(self, topic, qos=0, **options):
        if V5 and options:
            self.mqtt.subscribe(topic, options=SubscribeOptions(qos=qos, **options))
        else:
            self.mqtt.subscribe(topic, qos)
        codes = self.subscribed.get(timeout=WAIT_S)
        assert codes[0].value == qos, codes

    def publish(self, topic, payload, qos=0, retain=False, properties=None):
        self.mqtt.publish(topic, payload, qos, retain, properties).wait_for_publish(WAIT_S)

    def next(self):
        return self.messages.get(timeout=WAIT_S)

    def leave(self):
        self.mqtt.disconnect()
        self.mqtt.loop_stop()

    def break_off(self):
        """Ends without DISCONNECT."""
        self.mqtt.loop_stop()
        self.mqtt.socket().close()


def each_qos():
    sub, pub = Client("sub"), Client("pub")
    for granted in range(3):
        sub.subscribe(f"qos/{granted}", granted)
    for granted in range(3):
        for published in range(3):
            pub.publish(f"qos/{granted}", f"{published}", published)
            message = sub.next()
            assert (message.payload, message.qos) == (b"%d" % published, min(published, granted)), message
    sub.leave()
    pub.leave()


def large_messages():
    sub, pub = Client("sub"), Client("pub")
    sub.subscribe("large", 2)
    for size in (0, 1, 127, 128, 5000, 70_000, 3_000_000):
        payload = bytes(n % 251 for n in range(size))
        pub.publish("large", payload, 2)
        assert sub.next().payload == payload, size
    sub.leave()
    pub.leave()


def retained():
    pub = Client("pub")
    for number in range(50):
        pub.publish(f"kept/{number}", f"{number}", 1, retain=True)
    sub = Client("sub", receive_maximum=5)
    sub.subscribe("kept/+", 1)
    got = {sub.next().topic for _ in range(50)}
    assert len(got) == 50, got
    for number in range(50):
        pub.publish(f"kept/{number}", b"", 1, retain=True)
        message = sub.next()
        assert message.payload == b"" and not message.retain, message
    late = Client("late")
    late.subscribe("kept/#")
    pub.publish("kept/live", b"now")
    assert late.next().topic == "kept/live"
    for client in (pub, sub, late):
        client.leave()


def wills():
    watcher = Client("watcher")
    watcher.subscribe("gone/#", 1)
    Client("polite", will=("gone/polite", b"never", 1)).leave()
    Client("rude", will=("gone/rude", b"oops", 1)).break_off()
    message = watcher.next()
    assert (message.topic, message.payload) == ("gone/rude", b"oops"), message
    watcher.leave()


def sessions():
    first = Client("keeper", persistent=True)
    assert not first.flags.session_present
    first.subscribe("kept/for/me", 2)
    first.leave()
    pub = Client("pub")
    for number in range(200):
        pub.publish("kept/for/me", f"{number}", 1 + number % 2)
    again = Client("keeper", persistent=True)
    assert again.flags.session_present
    got = [int(again.next().payload) for _ in range(200)]
    for qos in (0, 1):
        assert [n for n in got if n % 2 == qos] == list(range(qos, 200, 2)), got
    again.leave()
    pub.leave()


def shared():
    members = [Client(f"member{n}") for n in range(3)]
    for member in members:
        member.subscribe("$share/group/jobs", 1)
    pub = Client("pub")
    for number in range(300):
        pub.publish("jobs", f"{number}", 1)
    done = sorted(int(member.next().payload) for member in members for _ in range(100))
    assert done == list(range(300)), done
    for client in [*members, pub]:
        client.leave()


def properties():
    sub, pub = Client("sub"), Client("pub")
    sub.subscribe("request/#", 1, noLocal=True, retainAsPublished=True)
    sent = Properties(PacketTypes.PUBLISH)
    sent.ResponseTopic = "answer/here"
    sent.CorrelationData = b"\x00\x01"
    sent.ContentType = "text/plain"
    sent.MessageExpiryInterval = 60
    sent.UserProperty = [("a", "1"), ("b", "2"), ("a", "3")]
    pub.publish("request/x", b"?", 1, True, sent)
    message = sub.next()
    got = message.properties
    assert message.retain
    assert (got.ResponseTopic, got.CorrelationData, got.ContentType) == ("answer/here", b"\x00\x01", "text/plain")
    assert 0 < got.MessageExpiryInterval <= 60
    assert got.UserProperty == [("a", "1"), ("b", "2"), ("a", "3")], got.UserProperty
    sub.publish("request/own", b"not for me", 1)
    pub.publish("request/x", b"last", 1)
    assert sub.next().payload == b"last"
    unnamed = Client("")
    assert unnamed.properties.AssignedClientIdentifier
    for client in (sub, pub, unnamed):
        client.leave()


for story in (each_qos, large_messages, retained, wills, sessions, shared):
    story()
    print(story.__name__, "good")
if V5:
    properties()
    print("properties good")
print("all good")
