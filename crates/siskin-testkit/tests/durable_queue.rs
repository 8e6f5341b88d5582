//! Queues that are longer than what may lie in memory: the rest is fetched from the store when its turn comes.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use siskin_core::{Dropped, Event, Limits, QueueFull};
use siskin_proto::{Property, Qos, SubscriptionOptions, Version};
use siskin_testkit::world::random::Random;
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

const QOS_1: Qos = Qos::AtLeastOnce;
const QOS_2: Qos = Qos::ExactlyOnce;

/// A broker that keeps up to `memory` bytes of a queue in memory and has four messages under way to a client.
fn broker(workers: u16, memory: u64, change: impl FnOnce(&mut Limits)) -> Broker {
    let mut limits =
        Limits { sys_interval_s: 0, queue_memory_bytes_max: memory, inflight_max: 4, ..Limits::default() };
    change(&mut limits);
    Broker::with(workers, limits)
}

#[track_caller]
fn absent(broker: &Broker, version: Version) {
    let (client, _) = broker.persistent(version, "s");
    assert!(!client.subscribe("a", QOS_2).is_error());
    client.cut();
}

/// A payload of 100 bytes that begins with its number.
fn payload(number: u32) -> Vec<u8> {
    let mut payload = format!("{number:08}").into_bytes();
    payload.resize(100, b'.');
    payload
}

fn number(delivered: &Delivered) -> u32 {
    std::str::from_utf8(&delivered.payload[..8]).expect("digits").parse().expect("a number")
}

fn publish_all(broker: &Broker, numbers: std::ops::Range<u32>) {
    let publisher = broker.client(Version::V5, "p");
    for number in numbers {
        let qos = if number.is_multiple_of(3) { QOS_2 } else { QOS_1 };
        assert!(!publisher.publish("a", &payload(number), qos).is_error());
    }
    publisher.disconnect();
}

/// Takes and answers all that comes, until nothing more does.
fn take(client: &Client) -> Vec<u32> {
    let mut numbers = Vec::new();
    while let Some(received) = client.try_receive() {
        let delivered = received.publish();
        client.acknowledge(&delivered);
        numbers.push(number(&delivered));
    }
    numbers
}

#[track_caller]
fn expect_empty(broker: &Broker) {
    assert_eq!(broker.store().leftovers(), [""; 0]);
    let totals = broker.totals();
    assert_eq!((totals.stored_messages, totals.stored_bytes), (0, 0));
}

#[test]
fn a_long_queue_is_drained_in_order_whatever_of_it_is_in_memory() {
    for version in VERSIONS {
        for workers in [1, 2] {
            for memory in [0, 1, 1000, 3000, 1 << 20] {
                for crashes in [false, true] {
                    let broker = broker(workers, memory, |_| {});
                    absent(&broker, version);
                    publish_all(&broker, 0..150);
                    if crashes {
                        broker.crash_to(3 - workers, 0);
                    }
                    let (client, _) = broker.persistent(version, "s");
                    assert_eq!(take(&client), (0..150).collect::<Vec<_>>());
                    expect_empty(&broker);
                }
            }
        }
    }
}

#[test]
fn messages_in_memory_and_in_the_store_take_their_turns_in_order() {
    for workers in [1, 2] {
        let broker = broker(workers, 2000, |_| {});
        absent(&broker, Version::V5);
        publish_all(&broker, 0..30);
        let (client, _) = broker.persistent(Version::V5, "s");
        let mut got = Vec::new();
        // As room comes in memory, what comes later is kept there, behind what is in the store.
        for round in 0..10 {
            for _ in 0..4 {
                let delivered = client.receive_publish();
                client.acknowledge(&delivered);
                got.push(number(&delivered));
            }
            publish_all(&broker, 30 + round * 3..33 + round * 3);
        }
        got.extend(take(&client));
        assert_eq!(got, (0..60).collect::<Vec<_>>());
        expect_empty(&broker);
    }
}

#[test]
fn no_more_of_a_queue_is_in_memory_than_may_be() {
    let broker = broker(1, 2000, |_| {});
    absent(&broker, Version::V5);
    publish_all(&broker, 0..100);
    // What the store has lost is still delivered if it is in memory, and it alone.
    assert_eq!(broker.store().spoil(b"......"), 100);
    let (client, _) = broker.persistent(Version::V5, "s");
    let got = take(&client);
    assert_eq!(got, (0..got.len() as u32).collect::<Vec<_>>());
    assert!((5..=20).contains(&got.len()), "{} of 100 bytes each", got.len());
}

#[test]
fn as_much_is_fetched_at_once_as_may_be_in_memory() {
    let broker = broker(1, 2000, |_| {});
    absent(&broker, Version::V5);
    publish_all(&broker, 0..100);
    broker.crash(0);
    let store = broker.store();
    store.hold();
    let mut client = broker.open(Version::V5);
    client.send_connect_persistent("s");
    assert!((5..=20).contains(&store.fetching()), "{}", store.fetching());
    while store.sync(usize::MAX) {
        broker.settle();
        assert!(store.fetching() <= 20);
        for received in client.receive_all() {
            if let siskin_proto::Packet::Publish(_) = received.packet() {
                let delivered = received.publish();
                match delivered.qos {
                    Qos::ExactlyOnce => client.pubrec(delivered.packet_id.unwrap()),
                    _ => client.puback(delivered.packet_id.unwrap()),
                }
            } else if let siskin_proto::Packet::PubRel(release) = received.packet() {
                client.pubcomp(release.packet_id);
            }
        }
    }
    expect_empty(&broker);
}

#[test]
fn a_fetched_message_has_all_that_belongs_to_it() {
    let broker = broker(1, 0, |_| {});
    let (client, _) = broker.persistent(Version::V5, "s");
    let options = SubscriptionOptions { qos: QOS_2, retain_as_published: true, ..Default::default() };
    client.subscribe_with("a", options, &[Property::SubscriptionIdentifier(1000)]);
    client.subscribe_with("+", options, &[Property::SubscriptionIdentifier(2)]);
    client.cut();
    let publisher = broker.client(Version::V5, "p");
    let said = [Property::MessageExpiryInterval(50), Property::UserProperty(("k", "v"))];
    publisher.publish_with("a", b"x", QOS_2, true, &said);
    publisher.publish_with("a", b"y", QOS_1, false, &[Property::MessageExpiryInterval(5)]);
    publisher.publish_with("a", b"z", QOS_1, false, &[]);
    broker.advance_s(10);
    let (client, _) = broker.persistent(Version::V5, "s");
    let got = client.receive_publishes();
    assert_eq!(got.iter().map(|p| p.payload.as_slice()).collect::<Vec<_>>(), [b"x", b"z"]);
    assert_eq!((got[0].qos, got[0].retain, got[0].dup), (QOS_2, true, false));
    let properties = got[0].properties();
    assert_eq!(properties.message_expiry_interval(), Some(40));
    assert!(properties.iter().any(|property| property == said[1]));
    let mut ids: Vec<_> = properties.subscription_identifiers().collect();
    ids.sort_unstable();
    assert_eq!(ids, [2, 1000]);
    got.iter().for_each(|delivered| client.acknowledge(delivered));
    assert_eq!(broker.totals().dropped_expired, 1);
    let totals = broker.totals();
    assert_eq!((totals.stored_messages, totals.stored_bytes), (0, 0));
    // The first is retained.
    assert_eq!(broker.store().leftovers().len(), 1);
}

#[test]
fn a_full_queue_drops_the_newest_or_the_oldest_wherever_they_lie() {
    for memory in [0, 1000, 1 << 20] {
        for (queue_full, expected) in [(QueueFull::DropNewest, 0..10_u32), (QueueFull::DropOldest, 20..30)] {
            for crashes in [false, true] {
                let broker = broker(1, memory, |limits| {
                    limits.queue_full = queue_full;
                    limits.queue_messages_max = 10;
                });
                absent(&broker, Version::V5);
                publish_all(&broker, 0..30);
                assert_eq!(broker.totals().dropped_queue_full, 20);
                if crashes {
                    broker.crash(0);
                }
                let (client, _) = broker.persistent(Version::V5, "s");
                assert_eq!(take(&client), expected.clone().collect::<Vec<_>>());
                expect_empty(&broker);
            }
        }
    }
}

#[test]
fn bytes_of_a_queue_are_counted_the_same_in_memory_and_in_the_store() {
    let limit = |memory| {
        let broker = broker(1, memory, |limits| limits.queue_bytes_max = 3000);
        let (client, _) = broker.persistent(Version::V5, "s");
        let options = SubscriptionOptions { qos: QOS_2, ..Default::default() };
        client.subscribe_with("a", options, &[Property::SubscriptionIdentifier(9)]);
        client.cut();
        let mut counts = Vec::new();
        // A queue that was drained takes as much as one that is new.
        for _ in 0..3 {
            publish_all(&broker, 0..50);
            let (client, _) = broker.persistent(Version::V5, "s");
            counts.push(take(&client).len());
            client.cut();
        }
        expect_empty(&broker);
        counts
    };
    let counts = limit(1 << 20);
    assert!((5..20).contains(&counts[0]));
    assert_eq!(counts, [counts[0]; 3]);
    for memory in [0, 500] {
        assert_eq!(limit(memory), counts);
    }
}

#[test]
fn bodies_that_cannot_be_read_are_dropped_counted_and_reported() {
    let broker = broker(1, 0, |_| {});
    absent(&broker, Version::V5);
    publish_all(&broker, 0..100);
    for number in [0, 7, 8, 99] {
        assert_eq!(broker.store().spoil(&payload(number)), 1);
    }
    broker.events();
    let (client, _) = broker.persistent(Version::V5, "s");
    let expected: Vec<_> = (0..100).filter(|number| ![0, 7, 8, 99].contains(number)).collect();
    assert_eq!(take(&client), expected);
    assert_eq!(broker.totals().dropped_unreadable, 4);
    broker.advance_s(2);
    let reported = |event: &Event| match event {
        Event::Dropped { why: Dropped::Unreadable, count, .. } => *count,
        _ => 0,
    };
    assert_eq!(broker.events().iter().map(reported).sum::<u64>(), 4);
    expect_empty(&broker);
}

#[test]
fn a_client_that_leaves_and_comes_back_while_messages_are_fetched_misses_none() {
    for version in VERSIONS {
        for leave in [Client::cut, Client::kick] {
            let broker = broker(1, 1000, |_| {});
            absent(&broker, version);
            publish_all(&broker, 0..50);
            broker.crash(0);
            let store = broker.store();
            store.hold();
            for _ in 0..3 {
                let mut client = broker.open(version);
                client.send_connect_persistent("s");
                leave(&client);
            }
            let fetching = store.fetching();
            assert!((1..=10).contains(&fetching), "asked for once: {fetching}");
            // They come while nobody is there.
            store.sync(usize::MAX);
            broker.settle();
            store.release();
            let (client, _) = broker.persistent(version, "s");
            assert_eq!(take(&client), (0..50).collect::<Vec<_>>());
            expect_empty(&broker);
        }
    }
}

#[test]
fn a_session_that_ends_while_messages_are_fetched_is_gone_and_so_are_they() {
    for takes_over in [false, true] {
        let broker = broker(1, 0, |_| {});
        absent(&broker, Version::V5);
        publish_all(&broker, 0..50);
        broker.store().hold();
        let mut client = broker.open(Version::V5);
        client.send_connect_persistent("s");
        assert!(broker.store().fetching() > 0);
        let mut next = broker.open(Version::V5);
        if !takes_over {
            client.cut();
        }
        next.send_connect("s", |_| {}, &[Property::SessionExpiryInterval(100)]);
        while broker.store().sync(usize::MAX) {
            broker.settle();
        }
        assert!(!next.receive().session_present());
        next.expect_nothing();
        broker.store().release();
        broker.settle();
        expect_empty(&broker);
        publish_all(&broker, 50..60);
        next.expect_nothing();
    }
}

#[test]
fn nothing_is_asked_for_that_its_session_let_go_of_in_the_same_turn() {
    let broker = broker(1, 0, |_| {});
    absent(&broker, Version::V5);
    publish_all(&broker, 0..50);
    let properties = buffer(&[Property::SessionExpiryInterval(100)]);
    let connect = siskin_proto::Connect {
        version: Version::V5,
        clean_start: false,
        keep_alive_s: 0,
        client_id: "s",
        will: None,
        user_name: None,
        password: None,
        properties: properties.as_properties(),
        bridge: false,
    };
    let ends = buffer(&[Property::SessionExpiryInterval(0)]);
    let reason = siskin_proto::Reason::Success;
    let disconnect = siskin_proto::Disconnect { reason, properties: ends.as_properties() };
    let mut bytes = Vec::new();
    siskin_proto::Packet::Connect(connect).encode(Version::V5, &mut bytes);
    siskin_proto::Packet::Disconnect(disconnect).encode(Version::V5, &mut bytes);
    let client = broker.open(Version::V5);
    client.send_bytes(&bytes);
    client.expect_closed();
    assert_eq!(broker.sessions(), 0);
    expect_empty(&broker);
}

#[test]
fn the_oldest_may_be_dropped_while_they_are_fetched() {
    let broker = broker(1, 1 << 20, |limits| {
        limits.queue_full = QueueFull::DropOldest;
        limits.queue_messages_max = 10;
    });
    absent(&broker, Version::V5);
    publish_all(&broker, 0..10);
    broker.crash(0);
    let publisher = broker.client(Version::V5, "p");
    broker.store().hold();
    let mut client = broker.open(Version::V5);
    client.send_connect_persistent("s");
    assert_eq!(broker.store().fetching(), 10);
    for number in 10..15 {
        publisher.send_publish(publish("a", &payload(number), QOS_1, number as u16));
    }
    broker.store().release();
    broker.settle();
    client.receive();
    assert_eq!(take(&client), (5..15).collect::<Vec<_>>());
    expect_empty(&broker);
}

#[test]
fn qos_0_messages_may_wait_among_those_in_the_store() {
    let broker = broker(1, 0, |limits| limits.queue_qos0 = true);
    absent(&broker, Version::V5);
    let publisher = broker.client(Version::V5, "p");
    for number in 0..40 {
        publisher.publish("a", &payload(number), [Qos::AtMostOnce, QOS_1][number as usize % 2]);
    }
    let (client, _) = broker.persistent(Version::V5, "s");
    assert_eq!(take(&client), (0..40).collect::<Vec<_>>());
    expect_empty(&broker);
}

/// Publishers, a subscriber that comes and goes, a store that holds, and crashes, in any order: nothing that was
/// acknowledged is missing, and nothing comes out of order.
#[test]
fn a_queue_stays_whole_and_in_order_in_any_history() {
    for seed in 0..150 {
        let mut random = Random::new(seed);
        let memory = [0, 600, 2000][random.below(3)];
        let workers = 1 + random.below(2) as u16;
        let broker = broker(workers, memory, |_| {});
        absent(&broker, Version::V5);
        let mut published = 0;
        let mut seen: Vec<u32> = Vec::new();
        let mut client: Option<Client> = None;
        for _ in 0..60 {
            match random.below(7) {
                0 | 1 => {
                    let count = random.below(12) as u32;
                    publish_all(&broker, published..published + count);
                    published += count;
                }
                2 => client = Some(broker.persistent(Version::V5, "s").0),
                3 => {
                    if let Some(client) = client.take() {
                        client.cut();
                    }
                }
                4 | 5 => {
                    for _ in 0..random.below(9) {
                        let Some(received) = client.as_ref().and_then(Client::try_receive) else { break };
                        let delivered = received.publish();
                        note(&mut seen, &delivered, seed);
                        client.as_ref().unwrap().acknowledge(&delivered);
                    }
                }
                _ => {
                    broker.crash_to(1 + random.below(2) as u16, 0);
                    client = None;
                }
            }
        }
        if let Some(client) = client.take() {
            client.cut();
        }
        let client = broker.persistent(Version::V5, "s").0;
        while let Some(received) = client.try_receive() {
            let delivered = received.publish();
            note(&mut seen, &delivered, seed);
            client.acknowledge(&delivered);
        }
        assert_eq!(seen, (0..published).collect::<Vec<_>>(), "seed {seed}");
        expect_empty(&broker);
    }
}

/// Notes a message that comes for the first time; one that comes again says so.
fn note(seen: &mut Vec<u32>, delivered: &Delivered, seed: u64) {
    let number = number(delivered);
    if seen.contains(&number) {
        assert!(delivered.dup, "seed {seed}: {number} came twice");
    } else {
        seen.push(number);
    }
}
