//! What a broker still knows after it was killed: sessions, subscriptions, messages, packet ids.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use siskin_core::Limits;
use siskin_proto::{
    Disconnect, Packet, PacketKind, Property, Publish, Qos, Reason, RetainHandling, SubscriptionOptions,
    Version,
};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

const QOS_1: Qos = Qos::AtLeastOnce;
const QOS_2: Qos = Qos::ExactlyOnce;

/// Calls `test` for each version, and for each way from one or two workers to one or two.
fn everywhere(test: impl Fn(Version, Broker, u16)) {
    for version in VERSIONS {
        for (before, after) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            test(version, Broker::with(before, Limits { sys_interval_s: 0, ..Limits::default() }), after);
        }
    }
}

#[track_caller]
fn lasting(broker: &Broker, version: Version, name: &str, filter: &str, qos: Qos) -> Client {
    let (client, _) = broker.persistent(version, name);
    assert!(!client.subscribe(filter, qos).is_error());
    client
}

/// The client of a session that must have been found again.
#[track_caller]
fn back(broker: &Broker, version: Version, name: &str) -> Client {
    let (client, present) = broker.persistent(version, name);
    assert_eq!(present, version != Version::V3_1, "session present of {name}");
    client
}

/// Lets `act` on a store that holds, kills the broker with every number of batches that were not safe, and calls
/// `check` with whether all were.
fn at_every_crash(act: impl Fn(&Broker, Version), check: impl Fn(&Broker, Version, bool)) {
    everywhere(|version, first, after| {
        let workers = first.shared().workers();
        for more in 0.. {
            let broker = Broker::with(workers, (*first.shared().limits()).clone());
            act(&broker, version);
            let pending = broker.store().pending();
            assert!(pending > 0, "nothing was at stake");
            broker.crash_to(after, more);
            check(&broker, version, more >= pending);
            if more == pending {
                break;
            }
        }
    });
}

fn payloads(client: &Client) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    while let Some(received) = client.try_receive() {
        let delivered = received.publish();
        client.acknowledge(&delivered);
        payloads.push(delivered.payload);
    }
    payloads
}

#[test]
fn subscriptions_come_back_with_their_options_and_identifiers() {
    for (before, after) in [(1, 2), (2, 1)] {
        let broker = Broker::with(before, Limits { sys_interval_s: 0, ..Limits::default() });
        let (client, _) = broker.persistent(Version::V5, "c");
        let options = SubscriptionOptions {
            qos: QOS_2,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::SendIfNew,
        };
        client.subscribe_with("a/+", options, &[Property::SubscriptionIdentifier(268_435_455)]);
        client.subscribe("b", Qos::AtMostOnce);
        client.subscribe("b", QOS_1);
        client.subscribe("gone", QOS_1);
        client.unsubscribe("gone");
        broker.crash_to(after, 0);
        assert_eq!(broker.shared().router.subscriptions(), 2);
        let client = back(&broker, Version::V5, "c");
        client.retain("a/1", b"own", QOS_1);
        client.expect_nothing();
        let publisher = broker.client(Version::V5, "p");
        publisher.retain("a/2", b"x", QOS_2);
        let delivered = client.receive_publish();
        assert_eq!((delivered.qos, delivered.retain), (QOS_2, true));
        let ids: Vec<_> = delivered.properties().subscription_identifiers().collect();
        assert_eq!(ids, [268_435_455]);
        client.acknowledge(&delivered);
        publisher.publish("b", b"x", QOS_2);
        assert_eq!(client.receive_publish().qos, QOS_1);
        publisher.publish("gone", b"x", QOS_1);
        client.expect_nothing();
        // Not new: what is retained does not come.
        client.subscribe_with("a/+", options, &[]);
        client.expect_nothing();
    }
}

#[test]
fn queued_messages_come_in_order_with_all_that_belongs_to_them() {
    for (before, after) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
        let broker = Broker::with(before, Limits { sys_interval_s: 0, ..Limits::default() });
        let (client, _) = broker.persistent(Version::V5, "c");
        let options = SubscriptionOptions { qos: QOS_2, retain_as_published: true, ..Default::default() };
        client.subscribe_with("a", options, &[Property::SubscriptionIdentifier(7)]);
        client.subscribe_with("+", options, &[Property::SubscriptionIdentifier(300)]);
        client.disconnect();
        let publisher = broker.client(Version::V5, "p");
        let said = [
            Property::MessageExpiryInterval(100),
            Property::ContentType("text"),
            Property::UserProperty(("k", "1")),
            Property::UserProperty(("k", "2")),
            Property::ResponseTopic("answer"),
            Property::CorrelationData(b"\0\x01"),
            Property::PayloadFormatIndicator(1),
        ];
        publisher.publish_with("a", b"1", QOS_1, false, &said);
        publisher.publish_with("a", b"2", QOS_2, true, &[]);
        publisher.publish_with("a", b"3", QOS_1, false, &[]);
        publisher.publish_with("a", b"soon gone", QOS_1, false, &[Property::MessageExpiryInterval(20)]);
        broker.advance_s(10);
        broker.crash_to(after, 0);
        broker.advance_s(20);
        let client = back(&broker, Version::V5, "c");
        let got = client.receive_publishes();
        let looks: Vec<_> =
            got.iter().map(|p| (p.payload.as_slice(), p.qos, p.retain, p.dup, p.packet_id)).collect();
        assert_eq!(
            looks,
            [
                (&b"1"[..], QOS_1, false, false, Some(id(1))),
                (b"2", QOS_2, true, false, Some(id(2))),
                (b"3", QOS_1, false, false, Some(id(3))),
            ]
        );
        let mut ids: Vec<_> = got[0].properties().subscription_identifiers().collect();
        ids.sort_unstable();
        assert_eq!(ids, [7, 300]);
        // 30 of its 100 seconds are over.
        assert_eq!(got[0].properties().message_expiry_interval(), Some(70));
        let properties = got[0].properties();
        for property in &said[1..] {
            assert!(properties.iter().any(|found| found == *property), "{property:?}");
        }
        got.iter().for_each(|delivered| client.acknowledge(delivered));
        // The second is retained.
        assert_eq!(broker.store().leftovers().len(), 1);
    }
}

#[test]
fn every_acknowledged_message_is_there_in_order_wherever_the_crash_cuts() {
    everywhere(|version, first, after| {
        for more in 0..12 {
            let broker = Broker::with(first.shared().workers(), (*first.shared().limits()).clone());
            lasting(&broker, version, "s", "a", QOS_2).cut();
            let publisher = broker.client(version, "p");
            broker.store().hold();
            for number in 0..10_u8 {
                publisher.send_publish(publish("a", &[number], QOS_1, number as u16 + 1));
            }
            broker.store().sync(5);
            broker.settle();
            let acknowledged = publisher.receive_all().len();
            broker.crash_to(after, more);
            let subscriber = back(&broker, version, "s");
            let got = payloads(&subscriber);
            assert!(got.len() >= acknowledged, "{} of {acknowledged} acknowledged", got.len());
            assert_eq!(got, (0..got.len() as u8).map(|number| vec![number]).collect::<Vec<_>>());
            assert_eq!(broker.store().leftovers(), [""; 0]);
        }
    });
}

#[test]
fn messages_under_way_come_again_under_their_ids_with_dup_and_before_what_is_queued() {
    everywhere(|version, first, after| {
        let limits = Limits { inflight_max: 3, ..(*first.shared().limits()).clone() };
        let broker = Broker::with(first.shared().workers(), limits);
        let client = lasting(&broker, version, "c", "a", QOS_2);
        let publisher = broker.client(version, "p");
        for (payload, qos) in [(b"0", QOS_1), (b"1", QOS_1), (b"2", QOS_2), (b"3", QOS_1), (b"4", QOS_2)] {
            publisher.publish("a", payload, qos);
        }
        let sent = client.receive_publishes();
        assert_eq!(sent.len(), 3);
        client.acknowledge(&sent[0]);
        let sent = [&sent[1..], &client.receive_publishes()].concat();
        broker.crash_to(after, 0);
        let client = back(&broker, version, "c");
        let again = client.receive_publishes();
        assert_eq!(again, sent.iter().map(Delivered::again).collect::<Vec<_>>());
        again.iter().for_each(|delivered| client.acknowledge(delivered));
        let last = client.receive_publish();
        assert_eq!((last.payload.as_slice(), last.dup, last.packet_id), (&b"4"[..], false, Some(id(5))));
        client.acknowledge(&last);
        client.expect_nothing();
        assert_eq!(broker.store().leftovers(), [""; 0]);
    });
}

#[test]
fn after_pubrec_comes_pubrel_and_no_publish_wherever_the_crash_cuts() {
    let act = |broker: &Broker, version| {
        let client = lasting(broker, version, "c", "a", QOS_2);
        broker.client(version, "p").publish("a", b"x", QOS_2);
        assert_eq!(client.receive_publish().packet_id, Some(id(1)));
        broker.store().hold();
        client.pubrec(id(1));
        client.expect_nothing();
    };
    at_every_crash(act, |broker, version, is_whole| {
        let client = back(broker, version, "c");
        if is_whole {
            client.expect_ack(PacketKind::PubRel, 1, Reason::Success);
            client.expect_nothing();
            // Once more, on one more connection and in one more life.
            broker.crash(0);
            let client = back(broker, version, "c");
            client.expect_ack(PacketKind::PubRel, 1, Reason::Success);
            client.pubcomp(id(1));
        } else {
            // PUBREL was not sent, so the client still knows the id.
            let again = client.receive_publish();
            assert_eq!((again.dup, again.packet_id), (true, Some(id(1))));
            client.acknowledge(&again);
        }
        assert_eq!(broker.store().leftovers(), [""; 0]);
    });
}

#[test]
fn a_qos_2_message_that_was_seen_keeps_its_id_wherever_the_crash_cuts() {
    let act = |broker: &Broker, version| {
        let _client = lasting(broker, version, "c", "a", QOS_2);
        let publisher = broker.client(version, "p");
        broker.store().hold();
        publisher.send_publish(publish("a", b"x", QOS_2, 1));
        publisher.send_publish(publish("a", b"y", QOS_2, 2));
    };
    at_every_crash(act, |broker, version, is_whole| {
        let client = back(broker, version, "c");
        let got = client.receive_publishes();
        assert!(!is_whole || got.len() == 2);
        for (delivered, (number, payload)) in got.iter().zip([(1, b"x"), (2, b"y")]) {
            assert_eq!((delivered.packet_id, delivered.payload.as_slice()), (Some(id(number)), &payload[..]));
        }
        got.iter().for_each(|delivered| client.acknowledge(delivered));
        assert_eq!(broker.store().leftovers(), [""; 0]);
    });
}

#[test]
fn a_qos_2_message_that_was_acknowledged_is_not_routed_again_after_a_crash() {
    everywhere(|version, broker, after| {
        lasting(&broker, version, "s", "a", QOS_2).cut();
        let (publisher, _) = broker.persistent(version, "p");
        publisher.send_publish(publish("a", b"x", QOS_2, 9));
        publisher.expect_ack(PacketKind::PubRec, 9, Reason::Success);
        broker.crash_to(after, 0);
        let publisher = back(&broker, version, "p");
        publisher.send_publish(Publish { dup: true, ..publish("a", b"x", QOS_2, 9) });
        publisher.expect_ack(PacketKind::PubRec, 9, Reason::Success);
        let subscriber = back(&broker, version, "s");
        assert_eq!(payloads(&subscriber), [b"x"]);
        publisher.pubrel(id(9));
        publisher.expect_ack(PacketKind::PubComp, 9, Reason::Success);
        broker.crash_to(after, 0);
        // The id was freed, and means another message now.
        let publisher = back(&broker, version, "p");
        let subscriber = back(&broker, version, "s");
        publisher.send_publish(publish("a", b"y", QOS_2, 9));
        publisher.expect_ack(PacketKind::PubRec, 9, Reason::Success);
        assert_eq!(payloads(&subscriber), [b"y"]);
    });
}

#[test]
fn a_qos_2_message_and_its_id_become_safe_together_wherever_the_crash_cuts() {
    let act = |broker: &Broker, version| {
        lasting(broker, version, "s", "a", QOS_2).cut();
        let (publisher, _) = broker.persistent(version, "p");
        broker.store().hold();
        publisher.send_publish(publish("a", b"x", QOS_2, 9));
    };
    at_every_crash(act, |broker, version, _| {
        let publisher = back(broker, version, "p");
        publisher.send_publish(Publish { dup: true, ..publish("a", b"x", QOS_2, 9) });
        publisher.expect_ack(PacketKind::PubRec, 9, Reason::Success);
        publisher.pubrel(id(9));
        publisher.expect_ack(PacketKind::PubComp, 9, Reason::Success);
        let subscriber = back(broker, version, "s");
        assert_eq!(payloads(&subscriber), [b"x"]);
        assert_eq!(broker.store().leftovers(), [""; 0]);
    });
}

#[test]
fn pubcomp_frees_the_id_for_good_wherever_the_crash_cuts() {
    let act = |broker: &Broker, version| {
        let (publisher, _) = broker.persistent(version, "p");
        publisher.send_publish(publish("a", b"x", QOS_2, 9));
        publisher.receive();
        broker.store().hold();
        publisher.pubrel(id(9));
        publisher.expect_nothing();
    };
    at_every_crash(act, |broker, version, is_whole| {
        assert_eq!(broker.store().leftovers().is_empty(), is_whole);
        let publisher = back(broker, version, "p");
        publisher.pubrel(id(9));
        let reason = if is_whole { Reason::PacketIdentifierNotFound } else { Reason::Success };
        publisher.expect_ack(PacketKind::PubComp, 9, reason);
        assert_eq!(broker.store().leftovers(), [""; 0]);
    });
}

#[test]
fn a_session_expires_as_long_after_its_client_left_as_if_nothing_had_happened() {
    for after in [1, 2] {
        for crash_at in [0, 30, 99] {
            let broker = Broker::new();
            let expiry = [Property::SessionExpiryInterval(100)];
            let keep = |connect: &mut siskin_proto::Connect<'_>| connect.clean_start = false;
            let client = broker.client_with(Version::V5, "c", keep, &expiry);
            client.subscribe("a", QOS_1);
            client.disconnect();
            broker.client(Version::V5, "p").publish("a", b"x", QOS_1);
            broker.advance_s(crash_at);
            broker.crash_to(after, 0);
            broker.advance_s(99 - crash_at);
            assert_eq!(broker.sessions(), 1);
            broker.advance_s(1);
            assert_eq!((broker.sessions(), broker.shared().router.subscriptions()), (0, 0));
            // Only what the broker says of itself is left.
            assert_eq!(broker.store().records(), 1);
        }
    }
}

#[test]
fn a_session_whose_client_was_there_expires_from_the_crash_on_and_over_further_ones() {
    let broker = Broker::new();
    let expiry = [Property::SessionExpiryInterval(100)];
    let client = broker.client_with(Version::V5, "c", |_| {}, &expiry);
    client.subscribe("a", QOS_1);
    broker.advance_s(500);
    broker.crash(0);
    broker.advance_s(60);
    broker.crash(0);
    broker.advance_s(39);
    assert_eq!(broker.sessions(), 1);
    broker.advance_s(1);
    assert_eq!((broker.sessions(), broker.store().records()), (0, 1));
}

#[test]
fn an_expiry_changed_by_disconnect_is_the_one_that_counts_after_a_crash() {
    let broker = Broker::new();
    let client = broker.client_with(Version::V5, "c", |_| {}, &[Property::SessionExpiryInterval(1000)]);
    client.disconnect_with(Reason::Success, &[Property::SessionExpiryInterval(10)]);
    broker.crash(0);
    broker.advance_s(9);
    assert_eq!(broker.sessions(), 1);
    broker.advance_s(1);
    assert_eq!(broker.sessions(), 0);
    let client = broker.client_with(Version::V5, "c", |_| {}, &[Property::SessionExpiryInterval(1000)]);
    client.disconnect_with(Reason::Success, &[Property::SessionExpiryInterval(0)]);
    broker.crash(0);
    assert_eq!((broker.sessions(), broker.store().records()), (0, 1));
}

#[test]
fn a_clean_start_leaves_nothing_of_the_session_before_it_in_the_store() {
    everywhere(|version, broker, after| {
        let client = lasting(&broker, version, "c", "a", QOS_2);
        client.subscribe("$share/g/b", QOS_2);
        let publisher = broker.client(version, "p");
        for qos in [QOS_1, QOS_2, QOS_2] {
            publisher.publish("a", b"x", qos);
        }
        publisher.publish("b", b"x", QOS_1);
        let got = client.receive_publishes();
        client.pubrec(got[1].packet_id.unwrap());
        client.send_publish(publish("z", b"x", QOS_2, 3));
        client.cut();
        publisher.publish("a", b"queued", QOS_1);
        publisher.publish("b", b"queued", QOS_1);
        assert!(!broker.store().leftovers().is_empty());
        broker.crash_to(after, 0);
        let passing = broker.client(version, "c");
        assert_eq!((broker.store().records(), broker.sessions()), (1, 1));
        passing.expect_nothing();
        let totals = broker.totals();
        assert_eq!((totals.stored_messages, totals.stored_bytes), (0, 0));
    });
}

#[test]
fn no_local_holds_for_what_was_queued_and_retained_before_the_crash() {
    for after in [1, 2] {
        let broker = Broker::new();
        let (client, _) = broker.persistent(Version::V5, "c");
        let no_local = SubscriptionOptions { qos: QOS_1, no_local: true, ..Default::default() };
        client.subscribe_with("a", no_local, &[]);
        client.retain("a", b"own", QOS_1);
        broker.client(Version::V5, "p").retain("b", b"other", QOS_1);
        broker.crash_to(after, 0);
        let client = back(&broker, Version::V5, "c");
        client.expect_nothing();
        client.subscribe_with("+", no_local, &[]);
        let payloads: Vec<_> = client.receive_publishes().into_iter().map(|p| p.payload).collect();
        assert_eq!(payloads, [b"other"]);
        client.publish("a", b"own again", QOS_1);
        client.expect_nothing();
    }
}

#[test]
fn an_acknowledged_message_does_not_come_back() {
    let act = |broker: &Broker, version| {
        let client = lasting(broker, version, "c", "a", QOS_1);
        let publisher = broker.client(version, "p");
        (0..3_u8).for_each(|number| _ = publisher.publish("a", &[number], QOS_1));
        let got = client.receive_publishes();
        broker.store().hold();
        client.acknowledge(&got[1]);
    };
    at_every_crash(act, |broker, version, is_whole| {
        let client = back(broker, version, "c");
        let again = client.receive_publishes();
        assert_eq!(again.len(), if is_whole { 2 } else { 3 });
        assert!(again.iter().all(|delivered| delivered.dup));
        let ids: Vec<_> = again.iter().filter_map(|delivered| delivered.packet_id).collect();
        assert_eq!(ids, if is_whole { vec![id(1), id(3)] } else { vec![id(1), id(2), id(3)] });
        again.iter().for_each(|delivered| client.acknowledge(delivered));
        assert_eq!(broker.store().leftovers(), [""; 0]);
    });
}

#[test]
fn subscriptions_of_which_the_client_was_told_are_there_wherever_the_crash_cuts() {
    let act = |broker: &Broker, version| {
        let (client, _) = broker.persistent(version, "c");
        client.subscribe("kept", QOS_1);
        client.subscribe("left", QOS_1);
        broker.store().hold();
        let properties = siskin_proto::Properties::EMPTY;
        let filters = vec![siskin_proto::TopicFilter::parse("left").expect("a legal filter")];
        let packet_id = id(1);
        let unsubscribe = siskin_proto::Unsubscribe { packet_id, properties, filters };
        client.send(&siskin_proto::Packet::Unsubscribe(unsubscribe));
    };
    at_every_crash(act, |broker, version, is_whole| {
        let publisher = broker.client(version, "p");
        publisher.publish("kept", b"kept", QOS_1);
        publisher.publish("left", b"left", QOS_1);
        let client = back(broker, version, "c");
        let expected: &[&[u8]] = if is_whole { &[b"kept"] } else { &[b"kept", b"left"] };
        assert_eq!(payloads(&client), expected);
    });
}

#[test]
fn a_passing_session_leaves_nothing_and_is_not_found_again() {
    everywhere(|version, broker, after| {
        let client = broker.client(version, "c");
        client.subscribe("a", QOS_2);
        client.publish("a", b"x", QOS_2);
        assert_eq!(broker.store().records(), 1);
        broker.crash_to(after, 0);
        assert!(client.end().is_some());
        assert_eq!((broker.sessions(), broker.store().records()), (0, 1));
    });
}

#[test]
fn ids_of_what_the_broker_says_of_itself_are_known_after_a_crash_too() {
    for after in [1, 2] {
        let broker = Broker::with(1, Limits { sys_interval_s: 10, ..Limits::default() });
        let (client, _) = broker.persistent(Version::V5, "c");
        let retain_handling = RetainHandling::DoNotSend;
        let options = SubscriptionOptions { qos: QOS_2, retain_handling, ..Default::default() };
        client.subscribe_with("$SYS/#", options, &[]);
        broker.advance_s(10);
        let got = client.receive_publishes();
        assert!(got.len() > 3 && got[0].qos == QOS_2);
        client.pubrec(got[0].packet_id.unwrap());
        broker.crash_to(after, 0);
        let client = back(&broker, Version::V5, "c");
        client.expect_ack(PacketKind::PubRel, 1, Reason::Success);
        assert_eq!(client.receive_publishes(), got[1..].iter().map(Delivered::again).collect::<Vec<_>>());
    }
}

#[test]
fn the_broker_keeps_its_seed_over_any_number_of_restarts() {
    let broker = Broker::new();
    let text = || {
        let mut seed = None;
        broker.store().load(|live| {
            if let Ok(siskin_core::store::record::Record::Node { seed: found }) =
                siskin_core::store::record::Record::decode(live.body)
            {
                assert_eq!(seed.replace(found), None, "one record of it");
            }
        });
        seed.unwrap()
    };
    let first = text();
    for more in [0, 1] {
        broker.crash(more);
        assert_eq!(text(), first);
    }
}

#[test]
fn who_has_the_id_of_a_session_that_has_just_ended_is_let_in_when_its_end_is_safe() {
    for workers in [1, 2] {
        for comes_to_last in [false, true] {
            let broker = Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() });
            let (former, _) = broker.persistent(Version::V5, "c");
            former.subscribe("a", Qos::AtLeastOnce);
            // Others are on all workers.
            let [_one, _two] = ["one", "two"].map(|name| broker.client(Version::V5, name));
            broker.store().hold();
            let properties = buffer(&[Property::SessionExpiryInterval(0)]);
            let properties = properties.as_properties();
            former.send(&Packet::Disconnect(Disconnect { reason: Reason::Success, properties }));
            broker.settle();
            assert_eq!(broker.sessions(), 2);
            let mut next = broker.open(Version::V5);
            let expiry = [Property::SessionExpiryInterval(100)];
            next.send_connect(
                "c",
                |connect| connect.clean_start = false,
                if comes_to_last { &expiry } else { &[] },
            );
            // A crash now would bring the former session back.
            next.expect_nothing();
            broker.store().release();
            broker.settle();
            assert!(!next.receive().session_present());
            broker.crash(0);
            let (_, session_present) = broker.persistent(Version::V5, "c");
            assert_eq!(session_present, comes_to_last);
        }
    }
}

#[test]
fn retained_messages_that_a_new_subscription_is_still_due_come_after_the_crash_each_once() {
    for version in VERSIONS {
        for (before, after) in [(1, 1), (1, 2), (2, 1)] {
            let limits = Limits { sys_interval_s: 0, inflight_max: 4, ..Limits::default() };
            let broker = Broker::with(before, limits);
            let publisher = broker.client(version, "p");
            for number in 0..50 {
                assert!(!publisher.retain(&format!("r/{number:02}"), b"x", QOS_2).is_error());
            }
            let client = lasting(&broker, version, "c", "r/+", QOS_2);
            let begun = client.receive_publishes();
            assert_eq!(begun.len(), 4);
            client.acknowledge(&begun[0]);
            let mut topics: Vec<_> = begun.into_iter().take(1).map(|delivered| delivered.topic).collect();
            // One that is replaced meanwhile comes as it is now.
            publisher.retain("r/40", b"y", QOS_2);
            broker.crash_to(after, 0);
            let (client, _) = broker.persistent(version, "c");
            while let Some(received) = client.try_receive() {
                let delivered = received.publish();
                client.acknowledge(&delivered);
                topics.push(delivered.topic);
            }
            // The new one was delivered as any message too.
            assert_eq!(topics.iter().filter(|topic| *topic == "r/40").count(), 2);
            topics.sort_unstable();
            topics.dedup();
            assert_eq!(topics.len(), 50);
            assert_eq!(broker.store().leftovers().len(), 50);
            // Nothing is due any more.
            broker.crash(0);
            let (client, _) = broker.persistent(version, "c");
            client.expect_nothing();
        }
    }
}

#[test]
fn a_subscription_that_ends_or_begins_anew_leaves_nothing_of_its_retained_messages_behind() {
    let limits = Limits { sys_interval_s: 0, inflight_max: 2, ..Limits::default() };
    for ends in [false, true] {
        let broker = Broker::with(1, limits.clone());
        let publisher = broker.client(Version::V5, "p");
        (0..20).for_each(|number| _ = publisher.retain(&format!("r/{number}"), b"x", QOS_1));
        let client = lasting(&broker, Version::V5, "c", "r/+", QOS_1);
        assert_eq!(client.receive_publishes().len(), 2);
        if ends {
            client.unsubscribe("r/+");
        } else {
            client.subscribe("r/+", QOS_1);
        }
        broker.crash(0);
        let (client, _) = broker.persistent(Version::V5, "c");
        let mut count = 0;
        while let Some(received) = client.try_receive() {
            client.acknowledge(&received.publish());
            count += 1;
        }
        assert_eq!(count, if ends { 2 } else { 22 });
        client.unsubscribe("r/+");
        assert_eq!(broker.store().leftovers().len(), 20);
        let (client, _) = broker.persistent(Version::V5, "other");
        client.subscribe("r/+", QOS_1);
        client.disconnect();
        // A session that ends takes all of it along.
        broker.client(Version::V5, "other");
        assert_eq!(broker.store().leftovers().len(), 20);
    }
}
