//! PUBLISH: how it is answered, and what of it reaches subscribers.

use siskin_core::Limits;
use siskin_proto::{PacketKind, Property, Publish, Qos, Reason, SubscriptionOptions, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];
const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

#[test]
fn a_publish_is_answered_as_its_qos_demands_and_with_its_id() {
    for version in VERSIONS {
        let broker = Broker::new();
        let subscriber = broker.client(version, "s");
        subscriber.subscribe("wanted", Qos::AtMostOnce);
        let publisher = broker.client(version, "p");
        for (topic, reason) in [("wanted", Reason::Success), ("unwanted", Reason::NoMatchingSubscribers)] {
            publisher.send_publish(publish(topic, b"0", Qos::AtMostOnce, 0));
            publisher.expect_nothing();
            for packet_id in [1, 0x0102, u16::MAX] {
                publisher.send_publish(publish(topic, b"1", Qos::AtLeastOnce, packet_id));
                publisher.expect_ack(PacketKind::PubAck, packet_id, reason);
                publisher.send_publish(publish(topic, b"2", Qos::ExactlyOnce, packet_id));
                publisher.expect_ack(PacketKind::PubRec, packet_id, reason);
                publisher.pubrel(id(packet_id));
                publisher.expect_ack(PacketKind::PubComp, packet_id, Reason::Success);
                publisher.expect_nothing();
            }
        }
        let payloads: Vec<_> = subscriber.receive_publishes().into_iter().map(|m| m.payload).collect();
        assert_eq!(payloads, [b"0", b"1", b"2", b"1", b"2", b"1", b"2"]);
    }
}

#[test]
fn the_dup_that_came_in_does_not_go_out() {
    for version in VERSIONS {
        for granted in QOS {
            let broker = Broker::new();
            let subscriber = broker.client(version, "s");
            subscriber.subscribe("t", granted);
            let publisher = broker.client(version, "p");
            for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
                publisher.send_publish(Publish { dup: true, ..publish("t", b"m", qos, 7) });
                let delivered = subscriber.receive_publish();
                assert_eq!((delivered.dup, delivered.qos), (false, qos.min(granted)));
            }
        }
    }
}

#[test]
fn a_resent_message_goes_out_with_dup_1_though_it_came_with_dup_0() {
    for version in VERSIONS {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let broker = Broker::new();
            let (subscriber, _) = broker.persistent(version, "s");
            subscriber.subscribe("t", qos);
            broker.client(version, "p").publish("t", b"m", qos);
            assert!(!subscriber.receive_publish().dup);
            subscriber.cut();
            let (subscriber, _) = broker.persistent(version, "s");
            assert!(subscriber.receive_publish().dup);
        }
    }
}

#[test]
fn a_message_at_qos_0_has_dup_0_and_no_id_also_when_it_waited() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.queue_qos0 = true);
        let (subscriber, _) = broker.persistent(version, "s");
        subscriber.subscribe("t", Qos::AtMostOnce);
        let publisher = broker.client(version, "p");
        publisher.publish("t", b"m", Qos::ExactlyOnce);
        assert_eq!(subscriber.receive().bytes()[0], 0x30);
        subscriber.cut();
        publisher.publish("t", b"m", Qos::AtLeastOnce);
        for _ in 0..2 {
            let (subscriber, _) = broker.persistent(version, "s");
            if let Some(received) = subscriber.try_receive() {
                assert_eq!((received.bytes()[0], received.publish().packet_id), (0x30, None));
            }
            subscriber.cut();
        }
        assert_eq!(broker.totals().messages_sent[0], 2, "QoS 0 is not sent again");
    }
}

#[test]
fn a_subscriber_gets_the_topic_name_as_published_and_only_what_matches() {
    for version in VERSIONS {
        for workers in [1, 2] {
            let broker = Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() });
            let publisher = broker.client(version, "p");
            let topics = ["a/b", "a/b/c", "A/b", "a", "/a", "a/", "ü/€/😀", "\u{FEFF}a", "a//b"];
            let cases: [(&str, &[&str]); 8] = [
                ("a/b", &["a/b"]),
                ("a/+", &["a/b", "a/"]),
                ("a/#", &["a/b", "a/b/c", "a", "a/", "a//b"]),
                ("+", &["a", "\u{FEFF}a"]),
                ("+/+", &["a/b", "A/b", "/a", "a/"]),
                ("ü/+/😀", &["ü/€/😀"]),
                ("\u{FEFF}a", &["\u{FEFF}a"]),
                ("a/+/b", &["a//b"]),
            ];
            let subscribers = cases.map(|(filter, expected)| {
                let subscriber = broker.client(version, filter);
                subscriber.subscribe(filter, Qos::AtMostOnce);
                (subscriber, expected)
            });
            topics.iter().for_each(|topic| _ = publisher.publish(topic, b"m", Qos::AtLeastOnce));
            for (subscriber, expected) in subscribers {
                let came: Vec<_> = subscriber.receive_publishes().into_iter().map(|m| m.topic).collect();
                assert_eq!(came, expected);
            }
        }
    }
}

#[test]
fn any_bytes_are_a_payload_and_none_too() {
    for version in VERSIONS {
        let broker = Broker::new();
        let subscriber = broker.client(version, "s");
        subscriber.subscribe("t", Qos::ExactlyOnce);
        let publisher = broker.client(version, "p");
        let all: Vec<u8> = (0..=255).collect();
        let large = all.repeat(400);
        for payload in
            [&b""[..], b"\0", b"\xFF\xFE\xED\xA0\x80", &all, &large[..4096], &large[..4097], &large]
        {
            for qos in QOS {
                publisher.publish("t", payload, qos);
                let delivered = subscriber.receive_publish();
                assert_eq!(delivered.payload, payload);
                subscriber.acknowledge(&delivered);
            }
        }
    }
}

#[test]
fn overlapping_subscriptions_deliver_once_at_the_highest_qos() {
    for version in VERSIONS {
        for workers in [1, 2] {
            for granted in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                let broker = Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() });
                let publisher = broker.client(version, "p");
                let subscriber = broker.client(version, "s");
                for (filter, at) in ["a/b", "a/+", "#"].into_iter().zip(granted) {
                    subscriber.subscribe(filter, QOS[at]);
                }
                for published in QOS {
                    publisher.publish("a/b", b"m", published);
                    let delivered = subscriber.receive_publish();
                    assert_eq!(delivered.qos, published, "granted {granted:?}");
                    subscriber.acknowledge(&delivered);
                    subscriber.expect_nothing();
                }
                // The one at QoS 2 counts only where it matches.
                publisher.publish("a/c", b"m", Qos::ExactlyOnce);
                let delivered = subscriber.receive_publish();
                assert_eq!(delivered.qos, QOS[granted[1].max(granted[2])]);
                subscriber.acknowledge(&delivered);
                subscriber.expect_nothing();
            }
        }
    }
}

fn identified(client: &Client, filter: &str, qos: Qos, id: Option<u32>) {
    let properties: Vec<_> = id.map(Property::SubscriptionIdentifier).into_iter().collect();
    client.subscribe_with(filter, SubscriptionOptions { qos, ..Default::default() }, &properties);
}

#[test]
fn one_copy_carries_the_identifiers_of_all_subscriptions_that_match() {
    for workers in [1, 2] {
        let broker = Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() });
        let publisher = broker.client(Version::V5, "p");
        let subscriber = broker.client(Version::V5, "s");
        identified(&subscriber, "a/b", Qos::AtMostOnce, Some(1));
        identified(&subscriber, "a/+", Qos::AtLeastOnce, None);
        identified(&subscriber, "#", Qos::ExactlyOnce, Some(268_435_455));
        identified(&subscriber, "+/b", Qos::AtMostOnce, Some(300));
        identified(&subscriber, "other", Qos::AtMostOnce, Some(5));
        let expected: [(&str, &[u32]); 3] =
            [("a/b", &[1, 300, 268_435_455]), ("a/c", &[268_435_455]), ("other", &[5, 268_435_455])];
        for (topic, ids) in expected {
            for qos in QOS {
                publisher.publish(topic, b"m", qos);
                let delivered = subscriber.receive_publish();
                let mut came: Vec<_> = delivered.properties().subscription_identifiers().collect();
                came.sort_unstable();
                assert_eq!(came, ids);
                subscriber.acknowledge(&delivered);
                subscriber.expect_nothing();
            }
        }
    }
}

#[test]
fn a_message_that_waited_or_comes_again_still_has_its_identifiers() {
    let broker = Broker::new();
    let (subscriber, _) = broker.persistent(Version::V5, "s");
    identified(&subscriber, "t", Qos::AtLeastOnce, Some(7));
    subscriber.cut();
    broker.client(Version::V5, "p").publish("t", b"m", Qos::AtLeastOnce);
    for _ in 0..2 {
        let (subscriber, _) = broker.persistent(Version::V5, "s");
        let delivered = subscriber.receive_publish();
        assert_eq!(delivered.properties().subscription_identifiers().collect::<Vec<_>>(), [7]);
        subscriber.cut();
    }
}

#[test]
fn a_client_that_sends_a_subscription_identifier_is_cut_off() {
    for qos in QOS {
        let broker = Broker::new();
        let listener = broker.client(Version::V5, "listener");
        listener.subscribe("#", Qos::AtMostOnce);
        let client = broker.client(Version::V5, "c");
        let properties = buffer(&[Property::SubscriptionIdentifier(1)]);
        let properties = properties.as_properties();
        client.send_publish(Publish { properties, ..publish("t", b"m", qos, 1) });
        client.expect_disconnect(Reason::ProtocolError);
        listener.expect_nothing();
    }
}

#[test]
fn a_publisher_that_may_not_is_answered_and_its_message_dropped() {
    for version in VERSIONS {
        let broker = Broker::new();
        let listener = broker.client(version, "listener");
        listener.subscribe("$SYS/#", Qos::AtMostOnce);
        let publisher = broker.client(version, "p");
        publisher.publish("$SYS/mine", b"m", Qos::AtMostOnce);
        for (qos, kind) in [(Qos::AtLeastOnce, PacketKind::PubAck), (Qos::ExactlyOnce, PacketKind::PubRec)] {
            publisher.send_publish(Publish { retain: true, ..publish("$SYS/mine", b"m", qos, 7) });
            publisher.expect_ack(kind, 7, Reason::NotAuthorized);
        }
        publisher.expect_nothing();
        listener.expect_nothing();
        // Nor was it retained.
        let late = broker.client(version, "late");
        late.subscribe("$SYS/#", Qos::AtMostOnce);
        late.expect_nothing();
        assert_eq!(broker.totals().dropped_not_allowed, 3);
        // The rest of the connection is as before.
        assert!(!publisher.publish("$SYSTEM", b"m", Qos::AtLeastOnce).is_error());
    }
}

#[test]
fn a_qos_above_the_maximum_ends_the_connection() {
    for (max_qos, rank) in [(Qos::AtMostOnce, 0), (Qos::AtLeastOnce, 1)] {
        for version in VERSIONS {
            let broker = Broker::limited(|limits| limits.max_qos = max_qos);
            let listener = broker.client(version, "listener");
            // A subscription may ask for more all the same.
            assert!(!listener.subscribe("t", Qos::ExactlyOnce).is_error());
            for qos in QOS {
                let mut client = broker.open(version);
                let connack = client.connect("c", |_| {}, &[]);
                let siskin_proto::Packet::ConnAck(connack) = connack.packet() else { panic!() };
                assert_eq!(connack.properties.maximum_qos(), version.is_v5().then_some(rank));
                client.send_publish(publish("t", b"m", qos, 1));
                if qos > max_qos {
                    client.expect_disconnect(Reason::QosNotSupported);
                } else {
                    assert_eq!(listener.receive_publish().qos, qos);
                }
                listener.expect_nothing();
            }
        }
    }
}

#[test]
fn retain_where_nothing_may_be_retained_ends_the_connection() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.retain_available = false);
        let listener = broker.client(version, "listener");
        listener.subscribe("t", Qos::AtMostOnce);
        for qos in QOS {
            let mut client = broker.open(version);
            let connack = client.connect("c", |_| {}, &[]);
            let siskin_proto::Packet::ConnAck(connack) = connack.packet() else { panic!() };
            assert_eq!(connack.properties.retain_available(), version.is_v5().then_some(false));
            client.publish("t", b"m", qos);
            assert_eq!(listener.receive_publish().payload, b"m");
            client.send_publish(Publish { retain: true, ..publish("t", b"m", qos, 1) });
            client.expect_disconnect(Reason::RetainNotSupported);
            listener.expect_nothing();
        }
    }
}

#[test]
fn topics_that_begin_with_a_byte_order_mark_are_as_others() {
    for version in VERSIONS {
        let broker = Broker::new();
        let (plain, marked) = (broker.client(version, "plain"), broker.client(version, "marked"));
        plain.subscribe("a/b", Qos::AtMostOnce);
        plain.subscribe("$share/g/a/b", Qos::AtMostOnce);
        marked.subscribe("\u{FEFF}a/+", Qos::AtMostOnce);
        let publisher = broker.client(version, "p");
        publisher.retain("\u{FEFF}a/b", b"m", Qos::AtLeastOnce);
        publisher.retain("\u{FEFF}", b"m", Qos::AtLeastOnce);
        let delivered = marked.receive();
        assert_eq!(delivered.publish().topic, "\u{FEFF}a/b");
        assert!(delivered.bytes().windows(4).any(|bytes| bytes == b"\xEF\xBB\xBFa"));
        plain.expect_nothing();
        let late = broker.client(version, "late");
        late.subscribe("\u{FEFF}/#", Qos::AtMostOnce);
        assert_eq!(late.receive_publish().topic, "\u{FEFF}");
        publisher.expect_nothing();
    }
}

#[test]
fn a_topic_of_nothing_but_slashes_brings_nobody_down() {
    for version in VERSIONS {
        // 65,535 slashes have one level more than any limit allows.
        for (slashes, levels_max, is_taken) in
            [(65_534, u16::MAX, true), (65_535, u16::MAX, false), (127, 128, true), (128, 128, false)]
        {
            let broker = Broker::limited(|limits| limits.topic_levels_max = levels_max);
            let topic = "/".repeat(slashes);
            let listener = broker.client(version, "listener");
            listener.subscribe("#", Qos::AtMostOnce);
            listener.subscribe("/+/#", Qos::AtMostOnce);
            if is_taken {
                listener.subscribe(&topic, Qos::AtMostOnce);
                listener.subscribe(&topic.replace('/', "+/")[..slashes], Qos::AtMostOnce);
            }
            let client = broker.client(version, "c");
            client.send_publish(Publish { retain: true, ..publish(&topic, b"m", Qos::AtLeastOnce, 1) });
            if is_taken {
                client.expect_ack(PacketKind::PubAck, 1, Reason::Success);
                assert_eq!(listener.receive_publish().topic, topic);
                let late = broker.client(version, "late");
                late.subscribe("/#", Qos::AtMostOnce);
                assert_eq!(late.receive_publish().topic, topic);
            } else {
                client.expect_disconnect(Reason::TopicNameInvalid);
            }
            listener.expect_nothing();
        }
    }
}

#[test]
fn a_dollar_is_special_at_the_first_level_only() {
    for version in VERSIONS {
        let broker = Broker::new();
        let clients = ["#", "+/b", "+/$b", "a/+", "a/#", "$a/+", "$a/#"].map(|filter| {
            let client = broker.client(version, filter);
            client.subscribe(filter, Qos::AtMostOnce);
            client
        });
        let publisher = broker.client(version, "p");
        let check = |topic: &str, expected: [bool; 7]| {
            publisher.publish(topic, b"m", Qos::AtLeastOnce);
            let came = clients.each_ref().map(|client| client.try_receive().is_some());
            assert_eq!(came, expected, "{topic}");
        };
        check("$a/b", [false, false, false, false, false, true, true]);
        check("$a", [false, false, false, false, false, false, true]);
        check("a/$b", [true, false, true, true, true, false, false]);
        check("a/b$", [true, false, false, true, true, false, false]);
        check("/$b", [true, false, true, false, false, false, false]);
    }
}

#[test]
fn a_copy_of_its_own_carries_only_the_identifier_of_its_own_subscription() {
    for workers in [1, 2] {
        let broker = Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() });
        let publisher = broker.client(Version::V5, "p");
        let subscriber = broker.client(Version::V5, "s");
        // A shared subscription delivers beside the others.
        identified(&subscriber, "$share/group/t", Qos::AtLeastOnce, Some(1));
        identified(&subscriber, "t", Qos::ExactlyOnce, Some(2));
        publisher.publish("t", b"m", Qos::ExactlyOnce);
        let mut came: Vec<_> = subscriber.receive_publishes();
        came.sort_by_key(|delivered| delivered.qos);
        let ids = |delivered: &Delivered| -> Vec<u32> {
            delivered.properties().subscription_identifiers().collect()
        };
        assert_eq!(came.iter().map(ids).collect::<Vec<_>>(), [[1], [2]]);
        assert_eq!((came[0].qos, came[1].qos), (Qos::AtLeastOnce, Qos::ExactlyOnce));
    }
}
