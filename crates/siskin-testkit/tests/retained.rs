//! Retained messages: kept, replaced, cleared, and sent to who subscribes later.

use siskin_proto::{Packet, Property, Qos, Reason, RetainHandling, SubscriptionOptions, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];
const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

fn handling(retain_handling: RetainHandling) -> SubscriptionOptions {
    SubscriptionOptions { qos: Qos::AtLeastOnce, retain_handling, ..Default::default() }
}

/// What a new subscription to `filter` gets at once.
#[track_caller]
fn retained(broker: &Broker, version: Version, filter: &str) -> Vec<Delivered> {
    let probe = broker.client(version, "probe");
    assert!(!probe.subscribe(filter, Qos::ExactlyOnce).is_error());
    let retained = probe.receive_publishes();
    assert!(retained.iter().all(|delivered| delivered.retain && !delivered.dup));
    retained
}

fn payloads(delivered: &[Delivered]) -> Vec<&str> {
    delivered.iter().map(|one| std::str::from_utf8(&one.payload).expect("text")).collect()
}

#[test]
fn a_new_subscription_gets_the_last_retained_message_of_each_topic_that_matches() {
    for version in VERSIONS {
        let broker = Broker::new();
        let publisher = broker.client(version, "p");
        for topic in ["a/1", "a/2", "b/1", "a", "a/1/x"] {
            publisher.retain(topic, b"old", Qos::AtLeastOnce);
            publisher.retain(topic, format!("new {topic}").as_bytes(), Qos::AtLeastOnce);
        }
        for (filter, expected) in [
            ("a/+", vec!["new a/1", "new a/2"]),
            ("a/1", vec!["new a/1"]),
            ("#", vec!["new a", "new a/1", "new a/1/x", "new a/2", "new b/1"]),
            ("c/#", vec![]),
        ] {
            let got = retained(&broker, version, filter);
            let mut got = payloads(&got);
            got.sort_unstable();
            assert_eq!(got, expected, "{version} {filter}");
        }
    }
}

#[test]
fn a_retained_message_is_kept_with_its_qos_and_sent_at_the_lower_of_that_and_the_granted_one() {
    for version in VERSIONS {
        let broker = Broker::new();
        let publisher = broker.client(version, "p");
        // The last also shows that QoS 0 replaces what was retained at a higher one.
        for published in [Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::AtMostOnce] {
            publisher.retain("a", &[published as u8], published);
            for granted in QOS {
                let client = broker.client(version, "c");
                client.subscribe("a", granted);
                let got = client.receive_publish();
                assert_eq!(got.payload, &[published as u8]);
                assert_eq!((got.qos, got.retain), (published.min(granted), true));
                client.acknowledge(&got);
                client.expect_nothing();
            }
        }
    }
}

#[test]
fn a_subscription_that_stands_gets_retain_0_and_with_retain_as_published_what_was_published() {
    for version in VERSIONS {
        let broker = Broker::new();
        let plain = broker.client(version, "plain");
        plain.subscribe("a", Qos::AtMostOnce);
        let as_published = broker.client(Version::V5, "as published");
        let options = SubscriptionOptions { retain_as_published: true, ..Default::default() };
        as_published.subscribe_with("a", options, &[]);
        let publisher = broker.client(version, "p");
        for retain in [true, false, true] {
            for qos in QOS {
                publisher.publish_with("a", b"x", qos, retain, &[]);
                assert!(!plain.receive_publish().retain);
                assert_eq!(as_published.receive_publish().retain, retain);
            }
        }
        // Sent because of a SUBSCRIBE, either gets RETAIN 1.
        plain.subscribe("a", Qos::AtMostOnce);
        assert!(plain.receive_publish().retain);
        as_published.subscribe_with("a", SubscriptionOptions::default(), &[]);
        assert!(as_published.receive_publish().retain);
        as_published.subscribe_with("a", options, &[]);
        assert!(as_published.receive_publish().retain);
    }
}

#[test]
fn retain_as_published_holds_for_queued_messages() {
    let broker = Broker::new();
    let (client, _) = broker.persistent(Version::V5, "c");
    let options =
        SubscriptionOptions { retain_as_published: true, qos: Qos::AtLeastOnce, ..Default::default() };
    client.subscribe_with("a", options, &[]);
    client.subscribe("b", Qos::AtLeastOnce);
    client.cut();
    let publisher = broker.client(Version::V5, "p");
    publisher.retain("a", b"1", Qos::AtLeastOnce);
    publisher.publish("a", b"2", Qos::AtLeastOnce);
    publisher.retain("b", b"3", Qos::AtLeastOnce);
    let (client, _) = broker.persistent(Version::V5, "c");
    let got: Vec<_> = client.receive_publishes().iter().map(|got| got.retain).collect();
    assert_eq!(got, [true, false, false]);
}

#[test]
fn an_empty_retained_message_is_delivered_and_clears_its_topic() {
    for version in VERSIONS {
        for qos in QOS {
            let broker = Broker::new();
            let publisher = broker.client(version, "p");
            publisher.retain("a", b"x", Qos::AtLeastOnce);
            publisher.retain("b", b"y", Qos::AtLeastOnce);
            let present = broker.client(version, "present");
            present.subscribe("a", Qos::ExactlyOnce);
            assert_eq!(present.receive_publish().payload, b"x");
            publisher.retain("a", b"", qos);
            let got = present.receive_publish();
            assert_eq!((got.payload.as_slice(), got.retain, got.qos), (b"".as_slice(), false, qos));
            assert_eq!(payloads(&retained(&broker, version, "#")), ["y"]);
            // Where there is nothing it clears nothing, and is not kept itself.
            publisher.retain("c", b"", qos);
            assert_eq!(payloads(&retained(&broker, version, "#")), ["y"]);
            publisher.retain("a", b"again", qos);
            assert_eq!(payloads(&retained(&broker, version, "a")), ["again"]);
        }
    }
}

#[test]
fn a_message_without_retain_leaves_what_is_retained_as_it_is() {
    for version in VERSIONS {
        let broker = Broker::new();
        let publisher = broker.client(version, "p");
        publisher.retain("a", b"kept", Qos::AtLeastOnce);
        for qos in QOS {
            publisher.publish("a", b"passing", qos);
            publisher.publish("a", b"", qos);
            publisher.publish("b", b"passing", qos);
        }
        let got = retained(&broker, version, "#");
        assert_eq!((payloads(&got), got[0].qos), (vec!["kept"], Qos::AtLeastOnce));
    }
}

#[test]
fn retained_messages_come_after_the_suback_of_their_subscription() {
    for version in VERSIONS {
        let broker = Broker::new();
        broker.client(version, "p").retain("a", b"x", Qos::AtMostOnce);
        let client = broker.client(version, "c");
        let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
        let body = [&[0, 1], properties, b"\0\x01a\0"].concat();
        client.send_bytes(&[&[0x82, body.len() as u8], body.as_slice()].concat());
        assert!(matches!(client.receive().packet(), Packet::SubAck(_)));
        assert_eq!(client.receive_publish().payload, b"x");
    }
}

#[test]
fn retain_handling_0_sends_at_each_subscribe_1_only_at_a_new_subscription_2_never() {
    let cases = [
        (RetainHandling::SendAtSubscribe, [true, true, true, true]),
        (RetainHandling::SendIfNew, [true, false, false, true]),
        (RetainHandling::DoNotSend, [false, false, false, false]),
    ];
    for (retain_handling, expected) in cases {
        let broker = Broker::new();
        broker.client(Version::V5, "p").retain("a", b"x", Qos::AtMostOnce);
        let (client, _) = broker.persistent(Version::V5, "c");
        let mut got = Vec::new();
        let mut subscribe = |client: &Client| {
            client.subscribe_with("a", handling(retain_handling), &[]);
            got.push(client.try_receive().is_some_and(|received| received.publish().retain));
            client.expect_nothing();
        };
        subscribe(&client);
        subscribe(&client);
        client.cut();
        // In a resumed session it is not new.
        let (client, present) = broker.persistent(Version::V5, "c");
        assert!(present);
        client.expect_nothing();
        subscribe(&client);
        client.unsubscribe("a");
        subscribe(&client);
        assert_eq!(got, expected, "{retain_handling:?}");
    }
}

#[test]
fn retain_handling_1_takes_another_filter_for_a_new_subscription() {
    let broker = Broker::new();
    broker.client(Version::V5, "p").retain("a", b"x", Qos::AtMostOnce);
    let client = broker.client(Version::V5, "c");
    for filter in ["a", "+", "#"] {
        client.subscribe_with(filter, handling(RetainHandling::SendIfNew), &[]);
        assert_eq!(client.receive_publish().payload, b"x");
        client.expect_nothing();
    }
}

#[test]
fn retained_messages_are_not_sent_for_a_shared_subscription() {
    for version in VERSIONS {
        let broker = Broker::new();
        let publisher = broker.client(version, "p");
        publisher.retain("a", b"x", Qos::AtLeastOnce);
        let client = broker.client(version, "c");
        for filter in ["$share/g/a", "$share/g/#", "$share/g/a"] {
            client.subscribe(filter, Qos::AtLeastOnce);
            client.expect_nothing();
        }
        client.unsubscribe("$share/g/#");
        publisher.retain("a", b"live", Qos::AtLeastOnce);
        assert_eq!(client.receive_publish().payload, b"live");
        client.expect_nothing();
    }
}

#[test]
fn retained_messages_outlive_the_session_of_their_publisher_and_belong_to_no_session() {
    for version in VERSIONS {
        let broker = Broker::new();
        let publisher = broker.client(version, "p");
        publisher.retain("a", b"x", Qos::AtLeastOnce);
        publisher.disconnect();
        let _ = broker.client(version, "p");
        broker.advance_s(100_000);
        assert_eq!(payloads(&retained(&broker, version, "a")), ["x"]);
    }
}

#[test]
fn a_retained_message_has_the_properties_that_it_was_published_with() {
    let properties = [
        Property::PayloadFormatIndicator(1),
        Property::ContentType("text"),
        Property::ResponseTopic("answers"),
        Property::CorrelationData(b"\0\xFF"),
        Property::UserProperty(("k", "2")),
        Property::UserProperty(("k", "1")),
    ];
    let broker = Broker::new();
    let publisher = broker.client(Version::V5, "p");
    publisher.publish_with("a", b"x", Qos::AtLeastOnce, true, &properties);
    let got = retained(&broker, Version::V5, "a");
    let mut sent: Vec<_> = got[0].properties().iter().map(|property| format!("{property:?}")).collect();
    let mut expected = properties.map(|property| format!("{property:?}"));
    assert_eq!(sent[4..], expected[4..], "user properties keep their order");
    sent.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sent, expected);
    assert!(retained(&broker, Version::V3_1_1, "a")[0].properties().is_empty());
}

#[test]
fn a_retained_message_while_that_is_off_closes_and_is_neither_kept_nor_delivered() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.retain_available = false);
        let other = broker.client(version, "o");
        other.subscribe("a", Qos::AtMostOnce);
        let client = broker.client(version, "c");
        let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
        let body = [b"\0\x01a", properties, b"x"].concat();
        client.send_bytes(&[&[0x31, body.len() as u8], body.as_slice()].concat());
        client.expect_disconnect(Reason::RetainNotSupported);
        other.expect_nothing();
        assert!(retained(&broker, version, "a").is_empty());
    }
}

#[test]
fn options_given_anew_while_retained_messages_are_on_their_way_hold_for_the_rest() {
    let broker = Broker::limited(|limits| limits.inflight_max = 2);
    let publisher = broker.client(Version::V5, "p");
    (0..6).for_each(|n| _ = publisher.retain(&format!("a/{n}"), b"x", Qos::AtLeastOnce));
    let client = broker.client(Version::V5, "c");
    client.subscribe_with(
        "a/+",
        handling(RetainHandling::SendAtSubscribe),
        &[Property::SubscriptionIdentifier(1)],
    );
    let begun = client.receive_publishes();
    assert_eq!(begun.iter().map(|one| one.qos).collect::<Vec<_>>(), [Qos::AtLeastOnce; 2]);
    let lower = SubscriptionOptions { qos: Qos::AtMostOnce, ..handling(RetainHandling::SendIfNew) };
    client.subscribe_with("a/+", lower, &[Property::SubscriptionIdentifier(2)]);
    begun.iter().for_each(|one| client.acknowledge(one));
    let rest = client.receive_publishes();
    assert_eq!(rest.len(), 4, "none was promised away");
    for one in &rest {
        assert_eq!(one.qos, Qos::AtMostOnce);
        assert_eq!(one.properties().subscription_identifiers().collect::<Vec<_>>(), [2]);
    }
}
