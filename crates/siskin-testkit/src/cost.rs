//! What the broker does all day, each thing alone and as often as wished, for counting what it costs.
//!
//! Nothing in here reads a clock or draws a random number: the same case run as often executes the same
//! instructions. `bench/instructions` counts them; `tests/allocations.rs` counts what is taken from the heap.

use siskin_proto::{
    Disconnect, Packet, PingReq, Properties, Property, PubAck, Publish, Qos, Reason, TopicFilter,
    Unsubscribe, Version, decode, decode_connect,
};

use siskin_core::router::{Router, Routes, Subscriber};
use siskin_core::{Limits, SessionKey};

use crate::bare::{Bare, acknowledge, bytes, connect, subscribe, whole};
use crate::{id, publish};

/// One thing that the broker does.
#[derive(Clone, Copy)]
pub struct Case {
    /// Its name, for the command line.
    pub name: &'static str,
    /// What is counted, and under which conditions.
    pub about: &'static str,
    /// How often a round does it.
    pub per_round: usize,
    /// Prepares it; the result does one round each time it is called.
    pub prepare: fn() -> Box<dyn FnMut()>,
}

/// All of them.
pub const CASES: &[Case] = &[
    case("decode-publish-0", "PUBLISH of QoS 0, 64 B, found and read", BATCH, || {
        decode_publish(Qos::AtMostOnce)
    }),
    case("decode-publish-1", "the same, QoS 1", BATCH, || decode_publish(Qos::AtLeastOnce)),
    case("decode-connect", "CONNECT of 5.0 with user name, password and will", BATCH, decode_connects),
    case("encode-publish-1", "PUBLISH of QoS 1, 64 B, written", BATCH, encode_publish),
    case("encode-puback", "PUBACK written", BATCH, encode_puback),
    case("route", "a topic among 10,000 filters, half of them with wildcards, 3 match", BATCH, route),
    case("subscribe", "a filter put among 10,000, and taken away", BATCH, change_routes),
    case("pair-0", "a message of QoS 0, 64 B, from one client to one, 10 per turn", BATCH, || {
        pair(Qos::AtMostOnce)
    }),
    case("pair-1", "the same, QoS 1, both PUBACKs included", BATCH, || pair(Qos::AtLeastOnce)),
    case("pair-2", "the same, QoS 2, all eight packets included", BATCH, || pair(Qos::ExactlyOnce)),
    case("alone-0", "a message of QoS 0 that comes alone", 1, alone),
    case("fanout-0", "each delivery of one message of QoS 0 to 1,000", FAN, || fan_out(Qos::AtMostOnce)),
    case("fanout-1", "each delivery of one message of QoS 1 to 1,000, PUBACK included", FAN, || {
        fan_out(Qos::AtLeastOnce)
    }),
    case("shared-1", "a message of QoS 1 to one of 4 who share", BATCH, share),
    case(
        "offline-1",
        "a message of QoS 1 queued for a client that is away, and its delivery",
        QUEUE,
        offline,
    ),
    case("retained-set", "a retained message of QoS 0 replaced by another, among 10,000", BATCH, retain),
    case(
        "retained-get",
        "a retained message found and delivered to a new subscriber, each of 1,000",
        QUEUE,
        retained,
    ),
    case("connect", "a 5.0 client connects and leaves", 1, connect_and_leave),
    case("ping", "PINGREQ answered", BATCH, ping),
];

const fn case(
    name: &'static str,
    about: &'static str,
    per_round: usize,
    prepare: fn() -> Box<dyn FnMut()>,
) -> Case {
    Case { name, about, per_round, prepare }
}

fn decode_publish(qos: Qos) -> Box<dyn FnMut()> {
    let packets = bytes(&Packet::Publish(publish(TOPIC, PAYLOAD, qos, 77))).repeat(BATCH);
    Box::new(move || {
        let mut rest = &packets[..];
        while !rest.is_empty() {
            let frame = whole(rest);
            let packet = decode(frame, Version::V5);
            assert!(matches!(packet, Ok(Packet::Publish(publish)) if publish.payload.len() == 64));
            rest = &rest[frame.len..];
        }
    })
}

fn decode_connects() -> Box<dyn FnMut()> {
    let will = crate::will("status/sensor-4711", b"offline", Qos::AtLeastOnce);
    let properties = crate::buffer(&[Property::SessionExpiryInterval(3600), Property::ReceiveMaximum(20)]);
    let mut packet = Vec::new();
    siskin_proto::Connect {
        version: Version::V5,
        clean_start: false,
        keep_alive_s: 60,
        client_id: "sensor-4711",
        will: Some(will),
        user_name: Some("sensor"),
        password: Some(b"not a secret"),
        properties: properties.as_properties(),
        bridge: false,
    }
    .encode(Version::V5, &mut packet);
    Box::new(move || {
        for _ in 0..BATCH {
            let packet = decode_connect(whole(&packet));
            assert!(packet.is_ok_and(|connect| connect.client_id == "sensor-4711"));
        }
    })
}

fn encode_publish() -> Box<dyn FnMut()> {
    let mut out = Vec::with_capacity(4096);
    Box::new(move || {
        out.clear();
        for packet_id in 1..=BATCH as u16 {
            Packet::Publish(publish(TOPIC, PAYLOAD, Qos::AtLeastOnce, packet_id))
                .encode(Version::V5, &mut out);
        }
        assert!(out.len() > 64 * BATCH);
    })
}

fn encode_puback() -> Box<dyn FnMut()> {
    let mut out = Vec::with_capacity(4096);
    Box::new(move || {
        out.clear();
        for packet_id in 1..=BATCH as u16 {
            Packet::PubAck(PubAck::success(id(packet_id))).encode(Version::V5, &mut out);
        }
        assert_eq!(out.len(), 4 * BATCH);
    })
}

fn filter(number: usize) -> String {
    match number % 4 {
        0 => format!("site/+/device/{number}/state"),
        1 => format!("site/{}/device/{number}/#", number % 100),
        _ => format!("site/{}/device/{number}/state", number % 100),
    }
}

fn routes_of_many() -> Router {
    let router = Router::new(7);
    let add = |text: &str, slot: usize| {
        let filter = TopicFilter::parse(text).expect("a legal filter");
        let session = SessionKey::new(0, 0, slot as u32);
        router.subscribe(filter, &text.into(), Subscriber { session, options: Default::default(), id: None });
    };
    (0..FILTERS).for_each(|number| add(&filter(number), number));
    for (slot, text) in ["site/+/device/+/state", "site/#"].into_iter().enumerate() {
        add(text, FILTERS + slot);
    }
    router
}

fn route() -> Box<dyn FnMut()> {
    let router = routes_of_many();
    let topics: Vec<_> =
        (0..BATCH).map(|n| 4 * n * 7 + 2).map(|n| format!("site/{}/device/{n}/state", n % 100)).collect();
    let mut routes = Routes::default();
    Box::new(move || {
        for topic in &topics {
            router.route(topic, &mut routes);
            assert_eq!(routes.plain.len(), 3);
        }
    })
}

fn change_routes() -> Box<dyn FnMut()> {
    let router = routes_of_many();
    let texts: Vec<std::sync::Arc<str>> = (FILTERS..FILTERS + BATCH).map(|n| filter(n).into()).collect();
    let session = SessionKey::new(0, 0, 5);
    Box::new(move || {
        for text in &texts {
            let filter = TopicFilter::parse(text).expect("a legal filter");
            router.subscribe(filter, text, Subscriber { session, options: Default::default(), id: None });
            assert!(router.unsubscribe(filter, session));
        }
    })
}

/// A client's side of the conversation, as far as it is asked: acknowledges what comes.
struct Answers {
    bytes: Vec<u8>,
    delivered: usize,
}

impl Answers {
    fn new() -> Self {
        Self { bytes: Vec::new(), delivered: 0 }
    }

    /// Answers the packets in `taken`, which the broker sent.
    fn to(&mut self, taken: &[u8]) {
        self.delivered += acknowledge(taken, &mut self.bytes);
    }
}

/// Publishers and subscribers of a broker of their own.
struct Scene {
    broker: Bare,
    publisher: SessionKey,
    subscribers: Vec<SessionKey>,
    /// By slot, as there is one worker.
    answers: Vec<Answers>,
}

impl Scene {
    fn new(subscribers: usize, filter: &str, qos: Qos) -> Self {
        let mut broker = Bare::with(Limits { inflight_max: 1000, ..Limits::default() });
        let publisher = broker.connect(&connect("publisher", false));
        let mut keys = Vec::new();
        for number in 0..subscribers {
            let key = broker.connect(&connect(&format!("subscriber-{number}"), false));
            broker.send(key, &subscribe(filter, qos));
            keys.push(key);
        }
        broker.discard();
        let answers = (0..=subscribers).map(|_| Answers::new()).collect();
        Self { broker, publisher, subscribers: keys, answers }
    }

    /// Lets everybody speak until nobody has anything to say; says how many messages were delivered.
    fn exchange(&mut self) -> usize {
        loop {
            let answers = &mut self.answers;
            self.broker.turn(|key, taken| answers[key.slot() as usize].to(taken));
            let mut is_over = true;
            for key in [self.publisher].iter().chain(&self.subscribers) {
                let answers = &mut self.answers[key.slot() as usize];
                if !answers.bytes.is_empty() {
                    is_over = false;
                    self.broker.send(*key, &answers.bytes);
                    answers.bytes.clear();
                }
            }
            if is_over {
                return self.answers.iter_mut().map(|answers| std::mem::take(&mut answers.delivered)).sum();
            }
        }
    }
}

fn batch(qos: Qos, count: usize) -> Vec<u8> {
    let ids = 1..=count as u16;
    ids.flat_map(|id| bytes(&Packet::Publish(publish(TOPIC, PAYLOAD, qos, id)))).collect()
}

fn pair(qos: Qos) -> Box<dyn FnMut()> {
    let mut scene = Scene::new(1, TOPIC, qos);
    let packets = batch(qos, BATCH);
    Box::new(move || {
        scene.broker.send(scene.publisher, &packets);
        assert_eq!(scene.exchange(), BATCH);
    })
}

fn alone() -> Box<dyn FnMut()> {
    let mut scene = Scene::new(1, TOPIC, Qos::AtMostOnce);
    let packets = batch(Qos::AtMostOnce, 1);
    Box::new(move || {
        scene.broker.send(scene.publisher, &packets);
        assert_eq!(scene.exchange(), 1);
    })
}

fn fan_out(qos: Qos) -> Box<dyn FnMut()> {
    let mut scene = Scene::new(FAN, TOPIC, qos);
    let packets = batch(qos, 1);
    Box::new(move || {
        scene.broker.send(scene.publisher, &packets);
        assert_eq!(scene.exchange(), FAN);
    })
}

fn share() -> Box<dyn FnMut()> {
    let mut scene = Scene::new(4, &format!("$share/group/{TOPIC}"), Qos::AtLeastOnce);
    let packets = batch(Qos::AtLeastOnce, BATCH);
    Box::new(move || {
        scene.broker.send(scene.publisher, &packets);
        assert_eq!(scene.exchange(), BATCH);
    })
}

fn offline() -> Box<dyn FnMut()> {
    let mut broker = Bare::with(Limits { inflight_max: 1000, ..Limits::default() });
    let publisher = broker.connect(&connect("publisher", false));
    let returns = connect("subscriber", true);
    let leaves = disconnect();
    let subscriber = broker.connect(&returns);
    broker.send(subscriber, &subscribe(TOPIC, Qos::AtLeastOnce));
    broker.send(subscriber, &leaves);
    broker.discard();
    let packets = batch(Qos::AtLeastOnce, QUEUE);
    let mut answers = Answers::new();
    Box::new(move || {
        broker.send(publisher, &packets);
        broker.discard();
        let key = broker.connect(&returns);
        loop {
            broker.turn(|from, taken| {
                if from == key {
                    answers.to(taken);
                }
            });
            if answers.bytes.is_empty() {
                break;
            }
            broker.send(key, &answers.bytes);
            answers.bytes.clear();
        }
        assert_eq!(std::mem::take(&mut answers.delivered), QUEUE);
        broker.send(key, &leaves);
        broker.discard();
    })
}

fn retained_packet(topic: &str) -> Vec<u8> {
    let packet = Publish { retain: true, ..publish(topic, PAYLOAD, Qos::AtMostOnce, 1) };
    bytes(&Packet::Publish(packet))
}

fn retain() -> Box<dyn FnMut()> {
    let mut broker = Bare::new();
    let publisher = broker.connect(&connect("publisher", false));
    let packet = |number: usize| retained_packet(&format!("site/{}/device/{number}/state", number % 100));
    (0..FILTERS).for_each(|number| broker.send(publisher, &packet(number)));
    broker.discard();
    let packets: Vec<u8> = (0..BATCH).flat_map(|number| packet(number * 997)).collect();
    Box::new(move || {
        broker.send(publisher, &packets);
        broker.discard();
    })
}

fn retained() -> Box<dyn FnMut()> {
    let mut broker = Bare::new();
    let client = broker.connect(&connect("client", false));
    for number in 0..QUEUE {
        broker.send(client, &retained_packet(&format!("site/{}/device/{number}/state", number % 100)));
    }
    let (subscribes, unsubscribes) = (subscribe("site/+/device/+/state", Qos::AtMostOnce), unsubscribe());
    let mut answers = Answers::new();
    Box::new(move || {
        broker.send(client, &subscribes);
        while answers.delivered < QUEUE {
            let before = answers.delivered;
            broker.turn(|_, taken| answers.to(taken));
            assert!(answers.delivered > before, "all are delivered");
        }
        answers.delivered = 0;
        broker.send(client, &unsubscribes);
        broker.discard();
    })
}

fn connect_and_leave() -> Box<dyn FnMut()> {
    let mut broker = Bare::new();
    let (comes, leaves) = (connect("sensor-4711", false), disconnect());
    Box::new(move || {
        let key = broker.connect(&comes);
        broker.discard();
        broker.send(key, &leaves);
        broker.discard();
    })
}

fn ping() -> Box<dyn FnMut()> {
    let mut broker = Bare::new();
    let key = broker.connect(&connect("sensor-4711", false));
    broker.discard();
    let pings = bytes(&Packet::PingReq(PingReq)).repeat(BATCH);
    Box::new(move || {
        broker.send(key, &pings);
        assert_eq!(broker.discard(), 2 * BATCH);
    })
}

fn disconnect() -> Vec<u8> {
    bytes(&Packet::Disconnect(Disconnect { reason: Reason::Success, properties: Properties::EMPTY }))
}

fn unsubscribe() -> Vec<u8> {
    let filter = TopicFilter::parse("site/+/device/+/state").expect("a legal filter");
    bytes(&Packet::Unsubscribe(Unsubscribe {
        packet_id: id(2),
        properties: Properties::EMPTY,
        filters: vec![filter],
    }))
}

const TOPIC: &str = "site/7/device/12345/temperature";
const PAYLOAD: &[u8] = &[b'x'; 64];

/// Messages in one turn of the broker.
const BATCH: usize = 10;

/// Subscribers of a message that goes to many.
const FAN: usize = 1000;

/// Filters and topics among which something is looked for.
const FILTERS: usize = 10_000;

/// Messages that wait.
const QUEUE: usize = 1000;
