//! A store that cannot make anything safe: what is refused and how, what goes on, and what comes of it all when
//! the store can again.
#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use siskin_core::store::Health;
use siskin_core::{Cause, Limits};
use siskin_proto::{
    Packet, PacketKind, PingReq, Properties, Property, Publish, Qos, Reason, Subscribe, SubscriptionOptions,
    TopicFilter, Version,
};
use siskin_testkit::*;

const OLD: [Version; 2] = [Version::V3_1, Version::V3_1_1];
const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

const QOS_1: Qos = Qos::AtLeastOnce;
const QOS_2: Qos = Qos::ExactlyOnce;

/// What nothing more can be promised in, and how 5.0 is told.
const POOR: [(Health, Reason); 3] = [(Health::Tight, Reason::QuotaExceeded), SICK[0], SICK[1]];

/// The same, where nothing at all becomes safe.
const SICK: [(Health, Reason); 2] =
    [(Health::Full, Reason::QuotaExceeded), (Health::Failing, Reason::ImplementationSpecific)];

fn everywhere(test: impl Fn(Version, Broker)) {
    for version in VERSIONS {
        for workers in [1, 2] {
            test(version, Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() }));
        }
    }
}

#[track_caller]
fn lasting(broker: &Broker, version: Version, name: &str, filter: &str, qos: Qos) -> Client {
    let (client, _) = broker.persistent(version, name);
    assert!(!client.subscribe(filter, qos).is_error());
    client
}

/// The store is well again, and everything becomes safe.
fn heal(broker: &Broker) {
    broker.store().set_health(Health::Good);
    broker.store().release();
    broker.settle();
}

fn send_subscribe(client: &Client, filters: &[&str]) {
    let options = SubscriptionOptions { qos: QOS_1, ..Default::default() };
    let filters =
        filters.iter().map(|filter| (TopicFilter::parse(filter).expect("a legal filter"), options)).collect();
    client.send(&Packet::Subscribe(Subscribe { packet_id: id(9), properties: Properties::EMPTY, filters }));
}

#[track_caller]
fn subscribed(client: &Client) -> Vec<Reason> {
    match client.receive().packet() {
        Packet::SubAck(suback) => suback.reasons,
        other => panic!("{other:?} came instead of a SUBACK"),
    }
}

fn retained<'a>(topic: &'a str, payload: &'a [u8], qos: Qos, packet_id: u16) -> Publish<'a> {
    Publish { retain: true, ..publish(topic, payload, qos, packet_id) }
}

#[test]
fn a_5_0_client_is_told_with_the_right_code_what_cannot_be_kept() {
    for (health, reason) in POOR {
        for workers in [1, 2] {
            let broker = Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() });
            let subscriber = lasting(&broker, Version::V5, "s", "a", QOS_2);
            let (itself_lasting, _) = broker.persistent(Version::V5, "l");
            let publisher = broker.client(Version::V5, "p");
            let records = broker.store().records();
            broker.store().set_health(health);
            publisher.send_publish(publish("a", b"x", QOS_1, 1));
            publisher.expect_ack(PacketKind::PubAck, 1, reason);
            publisher.send_publish(publish("a", b"x", QOS_2, 2));
            publisher.expect_ack(PacketKind::PubRec, 2, reason);
            publisher.send_publish(retained("nobody", b"x", QOS_1, 3));
            publisher.expect_ack(PacketKind::PubAck, 3, reason);
            itself_lasting.send_publish(publish("nobody", b"x", QOS_2, 4));
            itself_lasting.expect_ack(PacketKind::PubRec, 4, reason);
            send_subscribe(&itself_lasting, &["b", "c"]);
            assert_eq!(subscribed(&itself_lasting), [reason, reason]);
            let mut refused = broker.open(Version::V5);
            let lasts = [Property::SessionExpiryInterval(10)];
            assert_eq!(refused.connect("new", |_| {}, &lasts).reason(), Reason::ServerUnavailable);
            refused.expect_closed();
            for client in [&subscriber, &itself_lasting, &publisher] {
                client.expect_nothing();
            }
            assert_eq!(broker.store().records(), records);
            assert_eq!(broker.shared().router.subscriptions(), 1);
            heal(&broker);
            assert_eq!(publisher.publish("a", b"x", QOS_2), Reason::Success);
            assert_eq!(subscriber.receive_publish().payload, b"x");
        }
    }
}

#[test]
fn a_3_x_client_that_cannot_be_told_is_disconnected() {
    for version in OLD {
        for (health, _) in POOR {
            let broker = Broker::new();
            let subscriber = lasting(&broker, version, "s", "a", QOS_2);
            let (itself_lasting, _) = broker.persistent(version, "l");
            let publishers = ["p", "q", "r"].map(|name| broker.client(version, name));
            broker.store().set_health(health);
            publishers[0].send_publish(publish("a", b"x", QOS_1, 1));
            publishers[1].send_publish(publish("a", b"x", QOS_2, 1));
            publishers[2].send_publish(retained("b", b"x", QOS_1, 1));
            itself_lasting.send_publish(publish("nobody", b"x", QOS_2, 1));
            for client in publishers.iter().chain([&itself_lasting]) {
                client.expect_closed();
                assert_eq!(client.end(), Some(Cause::NotSafe(health)));
            }
            subscriber.expect_nothing();
            let mut refused = broker.open(version);
            let connack = refused.connect("new", |connect| connect.clean_start = false, &[]);
            assert_eq!(connack.reason(), Reason::ServerUnavailable);
            refused.expect_closed();
        }
    }
}

#[test]
fn a_subscription_that_cannot_be_kept_fails_in_3_1_1_and_disconnects_in_3_1() {
    for (health, _) in POOR {
        let broker = Broker::new();
        let [old, new] = OLD.map(|version| broker.persistent(version, &version.to_string()).0);
        broker.store().set_health(health);
        send_subscribe(&new, &["a"]);
        assert_eq!(subscribed(&new).iter().map(|reason| reason.is_error()).collect::<Vec<_>>(), [true]);
        new.expect_nothing();
        send_subscribe(&old, &["a"]);
        old.expect_closed();
        assert_eq!(broker.shared().router.subscriptions(), 0);
    }
}

#[test]
fn refusals_do_not_wait_for_what_others_wait_for() {
    for (health, reason) in POOR {
        let broker = Broker::new();
        lasting(&broker, Version::V5, "s", "a", QOS_2).cut();
        let (client, _) = broker.persistent(Version::V5, "c");
        let waiting = broker.client(Version::V5, "p");
        broker.store().hold();
        waiting.send_publish(publish("a", b"x", QOS_1, 1));
        broker.store().set_health(health);
        client.send_publish(publish("a", b"x", QOS_2, 1));
        client.expect_ack(PacketKind::PubRec, 1, reason);
        send_subscribe(&client, &["b"]);
        assert_eq!(subscribed(&client), [reason]);
        client.unsubscribe("never");
        waiting.expect_nothing();
        heal(&broker);
        waiting.expect_ack(PacketKind::PubAck, 1, Reason::Success);
    }
}

#[test]
fn what_needs_no_store_goes_on() {
    everywhere(|version, broker| {
        for (health, _) in POOR {
            let durable = lasting(&broker, version, "durable", "a", Qos::AtMostOnce);
            broker.store().set_health(health);
            let [publisher, subscriber] = ["p", "s"].map(|name| broker.client(version, name));
            assert!(!subscriber.subscribe("a", QOS_2).is_error());
            for qos in [Qos::AtMostOnce, QOS_1, QOS_2] {
                assert!(!publisher.publish("a", b"x", qos).is_error());
                let delivered = subscriber.receive_publish();
                assert_eq!(delivered.qos, qos);
                subscriber.acknowledge(&delivered);
                // Its subscription at QoS 0 promises nothing.
                assert_eq!(durable.receive_publish().qos, Qos::AtMostOnce);
            }
            subscriber.unsubscribe("a");
            for client in [&durable, &publisher, &subscriber] {
                client.send(&Packet::PingReq(PingReq));
                assert_eq!(client.receive().packet().kind(), PacketKind::PingResp);
                client.expect_nothing();
            }
            durable.cut();
            heal(&broker);
            broker.client(version, "durable").disconnect();
        }
    });
}

#[test]
fn a_qos_2_message_refused_to_a_3_x_client_is_taken_when_it_comes_again() {
    for version in OLD {
        for (health, _) in POOR {
            for publisher_lasts in [true, false] {
                let broker = Broker::new();
                let subscriber = lasting(&broker, version, "s", "a", QOS_2);
                let publisher = match publisher_lasts {
                    true => broker.persistent(version, "p").0,
                    false => broker.client(version, "p"),
                };
                broker.store().set_health(health);
                publisher.send_publish(publish("a", b"x", QOS_2, 7));
                publisher.expect_closed();
                heal(&broker);
                let (publisher, _) = broker.persistent(version, "p");
                publisher.send_publish(Publish { dup: true, ..publish("a", b"x", QOS_2, 7) });
                publisher.expect_ack(PacketKind::PubRec, 7, Reason::Success);
                assert_eq!(subscriber.receive_publish().payload, b"x");
            }
        }
    }
}

#[test]
fn a_refused_qos_2_id_is_free_and_takes_no_place() {
    for (health, reason) in POOR {
        let broker = Broker::limited(|limits| limits.receive_maximum = 2);
        let subscriber = lasting(&broker, Version::V5, "s", "a", QOS_2);
        let (publisher, _) = broker.persistent(Version::V5, "p");
        broker.store().set_health(health);
        for number in 1..10 {
            publisher.send_publish(publish("a", b"x", QOS_2, number));
            publisher.expect_ack(PacketKind::PubRec, number, reason);
        }
        heal(&broker);
        publisher.send_publish(publish("a", b"y", QOS_2, 1));
        publisher.expect_ack(PacketKind::PubRec, 1, Reason::Success);
        assert_eq!(subscriber.receive_publish().payload, b"y");
        publisher.expect_nothing();
    }
}

#[test]
fn what_waited_is_said_when_the_store_recovers_and_not_before() {
    everywhere(|version, broker| {
        for (health, _) in SICK {
            let subscriber = lasting(&broker, version, "s", "a", QOS_2);
            let publisher = broker.client(version, "p");
            let (other, _) = broker.persistent(version, "o");
            broker.store().hold();
            publisher.send_publish(publish("a", b"x", QOS_2, 1));
            send_subscribe(&other, &["b"]);
            let mut coming = broker.open(version);
            coming.send_connect_persistent("new");
            broker.store().set_health(health);
            assert!(!broker.store().sync(usize::MAX));
            broker.settle();
            for client in [&subscriber, &publisher, &other, &coming] {
                client.expect_nothing();
            }
            heal(&broker);
            publisher.expect_ack(PacketKind::PubRec, 1, Reason::Success);
            let delivered = subscriber.receive_publish();
            subscriber.acknowledge(&delivered);
            assert_eq!(subscribed(&other).len(), 1);
            assert_eq!(coming.receive().packet().kind(), PacketKind::ConnAck);
            for client in [&subscriber, &publisher, &other, &coming] {
                client.expect_nothing();
                client.cut();
            }
        }
    });
}

#[test]
fn a_crash_of_a_full_store_loses_only_what_was_not_acknowledged() {
    everywhere(|version, broker| {
        let subscriber = lasting(&broker, version, "s", "a", QOS_1);
        subscriber.cut();
        let publisher = broker.client(version, "p");
        publisher.publish("a", b"safe", QOS_1);
        broker.store().hold();
        publisher.send_publish(publish("a", b"lost", QOS_1, 1));
        broker.store().set_health(Health::Full);
        publisher.expect_nothing();
        broker.crash(0);
        let (subscriber, _) = broker.persistent(version, "s");
        assert_eq!(subscriber.receive_publish().payload, b"safe");
        subscriber.expect_nothing();
    });
}

#[test]
fn a_store_that_is_behind_slows_its_publishers_and_loses_nothing() {
    everywhere(|version, broker| {
        let subscriber = lasting(&broker, version, "s", "a", QOS_1);
        let publisher = broker.client(version, "p");
        let other = broker.client(version, "o");
        broker.store().set_health(Health::Behind);
        broker.store().hold();
        for number in 1..=5 {
            publisher.send_publish(publish("a", &[number], QOS_1, number.into()));
        }
        publisher.expect_nothing();
        // The others are not read until the first is safe.
        assert_eq!(subscriber.receive_publishes().len(), 1);
        // Who publishes nothing that lasts is not slowed.
        assert!(!other.publish("b", b"x", QOS_1).is_error());
        let mut acknowledged = 0;
        while broker.store().sync(1) {
            broker.settle();
            acknowledged += publisher.receive_all().len();
        }
        assert_eq!(acknowledged, 5);
        let payloads: Vec<_> = subscriber.receive_publishes().into_iter().map(|p| p.payload[0]).collect();
        assert_eq!(payloads, [2, 3, 4, 5]);
    });
}

#[test]
fn a_client_that_is_not_read_for_what_waits_is_not_silent() {
    for version in VERSIONS {
        let broker = Broker::new();
        lasting(&broker, version, "s", "a", QOS_1).cut();
        let publisher = broker.client_with(version, "p", |connect| connect.keep_alive_s = 10, &[]);
        broker.store().hold();
        publisher.send_publish(publish("a", b"x", QOS_1, 1));
        broker.store().set_health(Health::Behind);
        for _ in 0..20 {
            broker.advance_s(5);
            publisher.send(&Packet::PingReq(PingReq));
        }
        publisher.expect_nothing();
        heal(&broker);
        publisher.expect_ack(PacketKind::PubAck, 1, Reason::Success);
        let rest = publisher.receive_all();
        assert_eq!(rest.len(), 20);
        assert!(rest.iter().all(|received| received.packet().kind() == PacketKind::PingResp));
        // From then on its silence counts.
        broker.advance_s(40);
        assert!(matches!(publisher.end(), Some(Cause::KeepAlive { .. })));
    }
}

#[test]
fn a_session_that_lasts_can_be_neither_resumed_nor_ended_by_connect_while_nothing_is_safe() {
    for version in VERSIONS {
        for (health, _) in SICK {
            let broker = Broker::new();
            let present = lasting(&broker, version, "c", "a", QOS_1);
            broker.store().set_health(health);
            for clean_start in [true, false] {
                let mut client = broker.open(version);
                let connack = client.connect("c", |connect| connect.clean_start = clean_start, &[]);
                assert_eq!(connack.reason(), Reason::ServerUnavailable);
                client.expect_closed();
            }
            // It is not taken over either.
            present.expect_nothing();
            assert_eq!(broker.sessions(), 1);
        }
    }
}

#[test]
fn where_only_room_can_be_made_a_client_comes_back_to_what_is_kept_for_it_and_takes_it() {
    everywhere(|version, broker| {
        let clients = ["a", "b", "c"].map(|name| lasting(&broker, version, name, "t", QOS_1));
        clients.iter().for_each(Client::cut);
        let publisher = broker.client(version, "p");
        assert!(!publisher.publish("t", b"kept", QOS_1).is_error());
        broker.store().set_health(Health::Tight);
        let (there, _) = broker.persistent(version, "a");
        let delivered = there.receive_publish();
        assert_eq!(delivered.payload, b"kept");
        there.acknowledge(&delivered);
        // One that ends makes room too; a new one takes some, also in place of another.
        let passing = broker.client(version, "b");
        for (name, clean_start) in [("new", false), ("c", true)] {
            let mut refused = broker.open(version);
            let lasts: &[_] = if version.is_v5() { &[Property::SessionExpiryInterval(10)] } else { &[] };
            if !clean_start || version.is_v5() {
                let connack = refused.connect(name, |connect| connect.clean_start = clean_start, lasts);
                assert_eq!(connack.reason(), Reason::ServerUnavailable);
                refused.expect_closed();
            }
        }
        assert_eq!(passing.end(), None);
        broker.crash(0);
        let present = ["a", "b", "c"].map(|name| broker.persistent(version, name).0);
        let delivered = present.map(|client| client.receive_publishes().len());
        // Given up with its acknowledgement, with its session, and not at all.
        assert_eq!(delivered, [0, 0, 1]);
    });
}

#[test]
fn a_retained_message_of_qos_0_cannot_be_refused_and_is_kept_when_the_store_recovers() {
    everywhere(|version, broker| {
        let publisher = broker.client(version, "p");
        broker.store().hold();
        broker.store().set_health(Health::Full);
        publisher.send_publish(retained("a", b"x", Qos::AtMostOnce, 0));
        publisher.expect_nothing();
        heal(&broker);
        broker.crash(0);
        let subscriber = broker.client(version, "s");
        subscriber.subscribe("a", QOS_1);
        assert_eq!(subscriber.receive_publish().payload, b"x");
    });
}

#[test]
fn a_will_goes_out_though_it_cannot_be_kept_yet() {
    everywhere(|version, broker| {
        let away = lasting(&broker, version, "away", "w", QOS_1);
        away.cut();
        let there = broker.client(version, "there");
        there.subscribe("w", QOS_1);
        let set = |connect: &mut siskin_proto::Connect<'_>| connect.will = Some(will("w", b"gone", QOS_1));
        let client = broker.client_with(version, "c", set, &[]);
        broker.store().hold();
        broker.store().set_health(Health::Failing);
        client.cut();
        assert_eq!(there.receive_publish().payload, b"gone");
        heal(&broker);
        broker.crash(0);
        broker.advance_s(1);
        let (away, _) = broker.persistent(version, "away");
        assert_eq!(away.receive_publish().payload, b"gone");
        away.expect_nothing();
    });
}

#[test]
fn what_nobody_is_promised_does_not_gather_without_end() {
    for (health, _) in SICK {
        let broker = Broker::with(2, Limits { sys_interval_s: 0, ..Limits::default() });
        lasting(&broker, Version::V5, "away", "w", QOS_1).cut();
        broker.store().hold();
        broker.store().set_health(health);
        let payload: &'static [u8] = &[7; 16 * 1024];
        for number in 0..200 {
            let set =
                |connect: &mut siskin_proto::Connect<'_>| connect.will = Some(will("w", payload, QOS_1));
            broker.client_with(Version::V5, &format!("c{number}"), set, &[]).cut();
            let publisher = broker.client(Version::V5, "p");
            publisher.send_publish(retained(&format!("r/{number}"), payload, Qos::AtMostOnce, 0));
        }
        assert!(broker.store().pending_bytes() < 2 * 1024 * 1024 + 200 * 100);
        // All of it has happened nevertheless.
        let subscriber = broker.client(Version::V5, "s");
        subscriber.subscribe("r/#", QOS_1);
        assert_eq!(subscriber.receive_publishes().len(), 200);
        heal(&broker);
        let (away, _) = broker.persistent(Version::V5, "away");
        let mut wills = 0;
        while let Some(delivered) = away.receive_publishes().pop() {
            wills += 1;
            away.acknowledge(&delivered);
        }
        assert!(wills > 0);
        // From now on there is room again.
        let publisher = broker.client(Version::V5, "p");
        publisher.send_publish(retained("kept", payload, Qos::AtMostOnce, 0));
        publisher.expect_nothing();
        broker.crash(0);
        let subscriber = broker.client(Version::V5, "s");
        subscriber.subscribe("kept", QOS_1);
        assert_eq!(subscriber.receive_publishes().len(), 1);
    }
}

#[test]
fn a_store_is_never_handed_more_at_once_than_is_much() {
    let broker = Broker::new();
    let payload: &'static [u8] = &[7; 60 * 1024];
    lasting(&broker, Version::V5, "away", "w/#", QOS_1).cut();
    let clients: Vec<_> = (0..100)
        .map(|number| {
            let set =
                |connect: &mut siskin_proto::Connect<'_>| connect.will = Some(will("w", payload, QOS_1));
            broker.client_with(Version::V5, &format!("c{number}"), set, &[])
        })
        .collect();
    broker.crash(0);
    drop(clients);
    broker.store().hold();
    // All wills at once.
    broker.advance_s(1);
    assert!(broker.store().pending() > 1);
    assert!(broker.store().largest_pending() < 2 * 1024 * 1024);
    heal(&broker);
}
