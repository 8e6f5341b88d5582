//! Wills and retained messages over a crash.

use siskin_core::Limits;
use siskin_proto::{Property, Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

const QOS_1: Qos = Qos::AtLeastOnce;

fn everywhere(test: impl Fn(Version, Broker, u16)) {
    for version in VERSIONS {
        for (before, after) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            test(version, Broker::with(before, Limits { sys_interval_s: 0, ..Limits::default() }), after);
        }
    }
}

/// Somebody to whom wills on `w` are due, now or later.
fn watch(broker: &Broker) -> Client {
    let (watcher, present) = broker.persistent(Version::V5, "watcher");
    if !present {
        watcher.subscribe("w", QOS_1);
    }
    watcher
}

#[track_caller]
fn payloads(client: &Client) -> Vec<Vec<u8>> {
    let delivered = client.receive_publishes();
    delivered.iter().for_each(|delivered| client.acknowledge(delivered));
    delivered.into_iter().map(|delivered| delivered.payload).collect()
}

/// A connected 5.0 client whose will has this delay, and whose session this expiry.
fn willing(broker: &Broker, delay_s: u32, expiry_s: u32) -> Client {
    let delay = buffer(&[Property::WillDelayInterval(delay_s)]);
    let mut message = will("w", b"gone", QOS_1);
    message.properties = delay.as_properties();
    let mut client = broker.open(Version::V5);
    let expiry = [Property::SessionExpiryInterval(expiry_s)];
    let connack = client.connect(
        "c",
        |connect| {
            connect.clean_start = false;
            connect.will = Some(message);
        },
        &expiry,
    );
    assert_eq!(connack.reason(), Reason::Success);
    client
}

#[test]
fn a_will_without_delay_is_published_once_after_a_crash_and_kept_for_who_is_away() {
    everywhere(|version, broker, after| {
        watch(&broker).cut();
        for (name, lasts) in [("passing", false), ("lasting", true)] {
            let set = |connect: &mut siskin_proto::Connect<'_>| {
                connect.clean_start = !lasts;
                connect.will = Some(will("w", b"gone", QOS_1));
            };
            let expiry = [Property::SessionExpiryInterval(1000)];
            broker.client_with(version, name, set, if lasts && version.is_v5() { &expiry } else { &[] });
        }
        broker.crash_to(after, 0);
        broker.advance_s(1);
        // Published, but not yet seen: it survives the next crash, and is not published again.
        broker.crash_to(after, 0);
        broker.advance_s(1);
        let watcher = watch(&broker);
        assert_eq!(payloads(&watcher), [b"gone", b"gone"]);
        broker.crash_to(after, 0);
        broker.advance_s(1);
        watch(&broker).expect_nothing();
        assert_eq!(broker.store().leftovers(), [""; 0]);
    });
}

#[test]
fn the_will_of_a_client_that_left_properly_or_was_lost_before_is_not_published_after_a_crash() {
    everywhere(|version, broker, after| {
        watch(&broker);
        for (name, lasts) in [("passing", false), ("lasting", true)] {
            for leaves in [true, false] {
                let set = |connect: &mut siskin_proto::Connect<'_>| {
                    connect.clean_start = !lasts;
                    connect.will = Some(will("w", b"gone", QOS_1));
                };
                let client = broker.client_with(version, name, set, &[]);
                if leaves { client.disconnect() } else { client.cut() }
            }
        }
        assert_eq!(payloads(&watch(&broker)).len(), 2);
        broker.crash_to(after, 0);
        broker.advance_s(1);
        watch(&broker).expect_nothing();
        assert_eq!(broker.store().leftovers(), [""; 0]);
    });
}

#[test]
fn a_will_delay_goes_on_over_a_restart() {
    for after in [1, 2] {
        for crash_at in [0, 5, 29] {
            let broker = Broker::new();
            let client = willing(&broker, 30, 1000);
            client.cut();
            broker.advance_s(crash_at);
            broker.crash_to(after, 0);
            let watcher = watch(&broker);
            broker.advance_s(29 - crash_at);
            watcher.expect_nothing();
            broker.advance_s(1);
            assert_eq!(payloads(&watcher), [b"gone"]);
            assert_eq!(broker.store().leftovers(), [""; 0]);
        }
    }
}

#[test]
fn a_will_delay_begins_with_the_crash_that_took_the_client_and_goes_on_over_the_next() {
    let broker = Broker::new();
    willing(&broker, 30, 1000);
    broker.advance_s(100);
    broker.crash(0);
    broker.advance_s(20);
    broker.crash(0);
    let watcher = watch(&broker);
    broker.advance_s(9);
    watcher.expect_nothing();
    broker.advance_s(1);
    assert_eq!(payloads(&watcher), [b"gone"]);
}

#[test]
fn a_will_whose_session_ends_first_is_published_then() {
    let broker = Broker::new();
    willing(&broker, 1000, 30).cut();
    broker.advance_s(10);
    broker.crash(0);
    let watcher = watch(&broker);
    broker.advance_s(19);
    watcher.expect_nothing();
    broker.advance_s(1);
    assert_eq!(payloads(&watcher), [b"gone"]);
}

#[test]
fn a_client_that_is_back_in_time_withdraws_its_delayed_will_for_good() {
    let broker = Broker::new();
    let watcher = watch(&broker);
    willing(&broker, 30, 1000).cut();
    broker.crash(0);
    broker.persistent(Version::V5, "c");
    broker.crash(0);
    broker.advance_s(100);
    drop(watcher);
    watch(&broker).expect_nothing();
    assert_eq!(broker.store().leftovers(), [""; 0]);
}

#[test]
fn the_will_of_a_session_that_a_clean_start_ends_is_published_and_not_again() {
    let broker = Broker::new();
    willing(&broker, 30, 1000).cut();
    broker.crash(0);
    let watcher = watch(&broker);
    broker.client(Version::V5, "c");
    assert_eq!(payloads(&watcher), [b"gone"]);
    broker.crash(0);
    broker.advance_s(100);
    watch(&broker).expect_nothing();
    assert_eq!(broker.store().leftovers(), [""; 0]);
}

#[test]
fn a_will_comes_as_it_was_left_with_its_properties_and_retained() {
    let broker = Broker::new();
    let watcher = watch(&broker);
    let said = [
        Property::MessageExpiryInterval(60),
        Property::ContentType("text"),
        Property::UserProperty(("k", "v")),
    ];
    let properties = buffer(&said);
    let message = siskin_proto::Will {
        retain: true,
        properties: properties.as_properties(),
        ..will("w", b"gone", QOS_1)
    };
    broker.client_with(Version::V5, "c", |connect| connect.will = Some(message), &[]);
    drop(watcher);
    broker.crash(0);
    broker.advance_s(1);
    broker.crash(0);
    let watcher = watch(&broker);
    let delivered = watcher.receive_publish();
    for property in &said[1..] {
        assert!(delivered.properties().iter().any(|found| found == *property));
    }
    let late = broker.client(Version::V5, "late");
    late.subscribe("w", QOS_1);
    let kept = late.receive_publish();
    assert_eq!((kept.retain, kept.payload.as_slice()), (true, &b"gone"[..]));
    assert_eq!(kept.properties().message_expiry_interval(), Some(59));
}

#[test]
fn wills_survive_the_crash_at_every_batch_exactly_once() {
    for workers in [1, 2] {
        for more in 0..6 {
            let broker = Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() });
            watch(&broker).cut();
            let client = willing(&broker, 0, 1000);
            broker.store().hold();
            // Its will goes out now: what is not safe of that happens again after the crash.
            client.cut();
            broker.crash(more);
            broker.advance_s(1);
            assert_eq!(payloads(&watch(&broker)), [b"gone"], "{more} more");
            assert_eq!(broker.store().leftovers(), [""; 0]);
        }
    }
}

#[test]
fn a_restored_will_respects_no_local_of_the_same_client_in_a_new_session() {
    let broker = Broker::limited(|limits| {
        limits.queue_qos0 = true;
        limits.queue_memory_bytes_max = 0;
    });
    let set = |connect: &mut siskin_proto::Connect<'_>| connect.will = Some(will("w", b"gone", QOS_1));
    broker.client_with(Version::V5, "c", set, &[]);
    broker.crash(0);
    // It is back before the first tick publishes the will of its former session.
    let (client, _) = broker.persistent(Version::V5, "c");
    let no_local = siskin_proto::SubscriptionOptions { qos: QOS_1, no_local: true, ..Default::default() };
    client.subscribe_with("w", no_local, &[]);
    client.subscribe("+", Qos::AtMostOnce);
    client.cut();
    broker.advance_s(1);
    let (client, _) = broker.persistent(Version::V5, "c");
    assert_eq!(client.receive_publish().qos, Qos::AtMostOnce);
    client.expect_nothing();
    assert_eq!(broker.store().leftovers(), [""; 0]);
}

#[test]
fn retained_messages_set_replaced_and_cleared_are_as_they_were_last() {
    everywhere(|version, broker, after| {
        let publisher = broker.client(version, "p");
        for (topic, payload, qos) in [
            ("set", &b"1"[..], Qos::AtMostOnce),
            ("replaced", b"old", QOS_1),
            ("replaced", b"new", Qos::ExactlyOnce),
            ("cleared", b"old", QOS_1),
            ("cleared", b"", QOS_1),
            ("set again", b"old", QOS_1),
            ("set again", b"", QOS_1),
            ("set again", b"new", QOS_1),
        ] {
            publisher.retain(topic, payload, qos);
        }
        for _ in 0..2 {
            broker.crash_to(after, 0);
            let subscriber = broker.client(version, "s");
            subscriber.subscribe("#", Qos::ExactlyOnce);
            let mut got = subscriber.receive_publishes();
            got.sort_by(|a, b| a.topic.cmp(&b.topic));
            let looks: Vec<_> = got.iter().map(|p| (p.topic.as_str(), p.payload.as_slice(), p.qos)).collect();
            assert_eq!(
                looks,
                [
                    ("replaced", &b"new"[..], Qos::ExactlyOnce),
                    ("set", b"1", Qos::AtMostOnce),
                    ("set again", b"new", QOS_1),
                ]
            );
            assert_eq!(broker.store().leftovers().len(), 3);
        }
    });
}

#[test]
fn a_topic_has_one_retained_message_wherever_the_crash_cuts() {
    for workers in [1, 2] {
        for more in 0..10 {
            let broker = Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() });
            let publishers = ["p", "q"].map(|name| broker.client(Version::V5, name));
            publishers[0].retain("a", &[0], QOS_1);
            broker.store().hold();
            for number in 1..6_u8 {
                let publisher = &publishers[usize::from(number % 2)];
                let payload = [number];
                let payload = if number == 3 { &[] } else { &payload[..] };
                let message = publish("a", payload, QOS_1, number.into());
                publisher.send_publish(siskin_proto::Publish { retain: true, ..message });
            }
            broker.crash(more);
            let subscriber = broker.client(Version::V5, "s");
            subscriber.subscribe("a", QOS_1);
            // Each was one batch.
            let expected: Vec<Vec<u8>> = match more.min(5) as u8 {
                3 => vec![],
                number => vec![vec![number]],
            };
            assert_eq!(payloads(&subscriber), expected, "{workers} workers, {more} more");
            assert_eq!(broker.store().leftovers().len(), expected.len());
        }
    }
}

#[test]
fn that_nothing_is_retained_is_not_said_before_it_is_safe_whoever_ended_it() {
    everywhere(|version, broker, after| {
        let [first, second] = ["p", "q"].map(|name| broker.client(version, name));
        first.retain("a", b"x", QOS_1);
        broker.store().hold();
        for client in [&first, &second] {
            let message = publish("a", b"", QOS_1, 1);
            client.send_publish(siskin_proto::Publish { retain: true, ..message });
            client.expect_nothing();
        }
        while broker.store().sync(1) {
            broker.settle();
        }
        for client in [&first, &second] {
            client.expect_ack(siskin_proto::PacketKind::PubAck, 1, Reason::NoMatchingSubscribers);
        }
        broker.crash_to(after, 0);
        assert_eq!(broker.store().leftovers(), [""; 0]);
    });
}

#[test]
fn retained_messages_expire_over_a_restart_and_leave_the_store() {
    let broker = Broker::limited(|limits| limits.retained_expiry_s = 100);
    let publisher = broker.client(Version::V5, "p");
    publisher.publish_with("short", b"x", QOS_1, true, &[Property::MessageExpiryInterval(20)]);
    publisher.publish_with("long", b"x", QOS_1, true, &[Property::MessageExpiryInterval(1000)]);
    broker.advance_s(10);
    broker.crash(0);
    broker.advance_s(9);
    let subscriber = broker.client(Version::V5, "s");
    subscriber.subscribe("short", QOS_1);
    assert_eq!(subscriber.receive_publish().properties().message_expiry_interval(), Some(1));
    broker.advance_s(3);
    assert_eq!(broker.store().leftovers().len(), 1);
    broker.advance_s(100);
    assert_eq!(broker.store().leftovers(), [""; 0]);
    broker.crash(0);
    let subscriber = broker.client(Version::V5, "s");
    subscriber.subscribe("#", QOS_1);
    subscriber.expect_nothing();
}

#[test]
fn how_long_a_message_is_retained_is_nothing_to_those_who_wait_for_it() {
    for queue_memory_bytes_max in [0, 1 << 20] {
        for crashes in [false, true] {
            let broker = Broker::limited(|limits| {
                limits.retained_expiry_s = 10;
                limits.queue_memory_bytes_max = queue_memory_bytes_max;
            });
            watch(&broker).cut();
            broker.client(Version::V5, "p").retain("w", b"x", QOS_1);
            if crashes {
                broker.crash(0);
            }
            broker.advance_s(20);
            assert_eq!(payloads(&watch(&broker)), [b"x"]);
            assert_eq!(broker.store().leftovers(), [""; 0]);
        }
    }
}

#[test]
fn a_retained_message_replaced_while_queued_still_comes_after_a_crash() {
    everywhere(|version, broker, after| {
        let (client, _) = broker.persistent(version, "c");
        client.subscribe("a", QOS_1);
        client.cut();
        let publisher = broker.client(version, "p");
        publisher.retain("a", b"1", QOS_1);
        publisher.retain("a", b"2", QOS_1);
        publisher.retain("a", b"", QOS_1);
        broker.crash_to(after, 0);
        let (client, _) = broker.persistent(version, "c");
        let got: Vec<_> = payloads(&client);
        assert_eq!(got, [&b"1"[..], b"2", b""]);
        assert_eq!(broker.store().leftovers(), [""; 0]);
    });
}

#[test]
fn a_retained_message_on_its_way_to_a_lasting_session_survives_its_replacement_and_the_crash() {
    everywhere(|version, broker, after| {
        let publisher = broker.client(version, "p");
        publisher.retain("a", b"1", Qos::ExactlyOnce);
        let (client, _) = broker.persistent(version, "c");
        client.subscribe("a", Qos::ExactlyOnce);
        let sent = client.receive_publish();
        publisher.retain("a", b"", QOS_1);
        broker.crash_to(after, 0);
        let (client, _) = broker.persistent(version, "c");
        let again = client.receive_publish();
        assert_eq!(again, sent.again());
        client.acknowledge(&again);
        assert_eq!(client.receive_publish().payload, b"");
    });
}
