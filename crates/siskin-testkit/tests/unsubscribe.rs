//! UNSUBSCRIBE and UNSUBACK.

use siskin_proto::{Packet, Properties, Property, Qos, Reason, TopicFilter, Unsubscribe, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

fn send_unsubscribe(client: &Client, packet_id: u16, filters: &[&str]) {
    client.send(&Packet::Unsubscribe(Unsubscribe {
        packet_id: id(packet_id),
        properties: Properties::EMPTY,
        filters: filters.iter().map(|filter| TopicFilter::parse(filter).expect("a legal filter")).collect(),
    }));
}

/// An UNSUBSCRIBE with these header flags, packet id 1 and a body as it is; without properties for 5.0.
fn unsubscribe_bytes(version: Version, flags: u8, filters: &[u8]) -> Vec<u8> {
    let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
    let body = [&[0, 1], properties, filters].concat();
    [&[0xA0 | flags, u8::try_from(body.len()).expect("short")], body.as_slice()].concat()
}

/// The bytes of the UNSUBACK that must come: 3.x has no codes.
fn unsuback(version: Version, packet_id: u16, codes: &[u8]) -> Vec<u8> {
    let id = packet_id.to_be_bytes();
    if version.is_v5() {
        [&[0xB0, 3 + codes.len() as u8], id.as_slice(), &[0], codes].concat()
    } else {
        [&[0xB0, 2], id.as_slice()].concat()
    }
}

#[test]
fn unsubscribe_is_answered_by_one_unsuback_with_its_packet_id_whether_anything_was_deleted_or_not() {
    for version in VERSIONS {
        let client = Broker::new().client(version, "c");
        client.subscribe("a", Qos::AtMostOnce);
        for (packet_id, code) in [(1, 0x00), (2, 0x11), (0x0102, 0x11), (u16::MAX, 0x11)] {
            send_unsubscribe(&client, packet_id, &["a"]);
            assert_eq!(client.receive().bytes(), unsuback(version, packet_id, &[code]));
            client.expect_nothing();
        }
    }
}

#[test]
fn several_filters_have_one_unsuback_with_a_code_for_each_in_their_order() {
    for version in VERSIONS {
        let broker = Broker::new();
        let client = broker.client(version, "c");
        for filter in ["a", "b/+", "c/#", "d"] {
            client.subscribe(filter, Qos::AtMostOnce);
        }
        send_unsubscribe(&client, 7, &["x", "a", "a", "c/#", "b/1", "b/+"]);
        let codes = [0x11, 0x00, 0x11, 0x00, 0x11, 0x00];
        assert_eq!(client.receive().bytes(), unsuback(version, 7, &codes));
        client.expect_nothing();
        let publisher = broker.client(version, "p");
        for topic in ["a", "b/1", "c/1", "d"] {
            publisher.publish(topic, b"x", Qos::AtMostOnce);
        }
        let got: Vec<_> = client.receive_publishes().into_iter().map(|got| got.topic).collect();
        assert_eq!(got, ["d"], "{version}");
    }
}

#[test]
fn only_a_filter_that_is_equal_character_by_character_is_deleted() {
    let pairs = [
        ("a/b", "a/+"),
        ("a/+", "a/b"),
        ("a/+", "a/#"),
        ("a", "A"),
        ("a", "a/"),
        ("a", "/a"),
        ("a", " a"),
        ("a", "\u{FEFF}a"),
        ("\u{E9}", "e\u{301}"),
        ("$share/g/a", "a"),
        ("a", "$share/g/a"),
        ("$share/g/a", "$share/h/a"),
    ];
    for version in VERSIONS {
        for (subscribed, other) in pairs {
            let broker = Broker::new();
            let client = broker.client(version, "c");
            client.subscribe(subscribed, Qos::AtMostOnce);
            let none = version.is_v5().then_some(Reason::NoSubscriptionExisted);
            assert_eq!(client.unsubscribe(other), none, "{other} is not {subscribed}");
            let filter = TopicFilter::parse(subscribed).expect("legal").filter();
            let topic = filter.replace('+', "b");
            let publisher = broker.client(version, "p");
            publisher.publish(&topic, b"x", Qos::AtMostOnce);
            assert_eq!(client.receive_publish().topic, topic);
            let success = version.is_v5().then_some(Reason::Success);
            assert_eq!(client.unsubscribe(subscribed), success);
            publisher.publish(&topic, b"x", Qos::AtMostOnce);
            client.expect_nothing();
        }
    }
}

#[test]
fn nothing_new_comes_by_a_deleted_subscription_of_any_kind() {
    for version in VERSIONS {
        for filter in ["a/b", "a/+", "#", "$share/g/a/b"] {
            let broker = Broker::new();
            let client = broker.client(version, "c");
            client.subscribe(filter, Qos::AtLeastOnce);
            let publisher = broker.client(version, "p");
            publisher.publish("a/b", b"before", Qos::AtMostOnce);
            assert_eq!(client.receive_publish().payload, b"before");
            client.unsubscribe(filter);
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
                publisher.publish("a/b", b"after", qos);
            }
            client.expect_nothing();
            assert_eq!(broker.shared().router.subscriptions(), 0);
        }
    }
}

#[test]
fn another_subscription_that_matches_goes_on_at_its_own_qos() {
    for version in VERSIONS {
        let broker = Broker::new();
        let client = broker.client(version, "c");
        client.subscribe("a/b", Qos::ExactlyOnce);
        client.subscribe("a/+", Qos::AtMostOnce);
        client.unsubscribe("a/b");
        broker.client(version, "p").publish("a/b", b"x", Qos::ExactlyOnce);
        assert_eq!(client.receive_publish().qos, Qos::AtMostOnce);
        client.expect_nothing();
    }
}

#[test]
fn deliveries_that_have_begun_are_finished_after_the_subscription_is_deleted() {
    for version in VERSIONS {
        let broker = Broker::new();
        let (client, _) = broker.persistent(version, "c");
        client.subscribe("a", Qos::ExactlyOnce);
        let publisher = broker.client(version, "p");
        publisher.publish("a", b"1", Qos::AtLeastOnce);
        publisher.publish("a", b"2", Qos::ExactlyOnce);
        publisher.publish("a", b"3", Qos::ExactlyOnce);
        let begun = client.receive_publishes();
        assert_eq!(begun.len(), 3);
        client.pubrec(begun[2].packet_id.expect("QoS 2 has one"));
        assert!(matches!(client.receive().packet(), Packet::PubRel(_)));
        client.unsubscribe("a");
        publisher.publish("a", b"new", Qos::ExactlyOnce);
        client.expect_nothing();
        client.cut();

        let (client, _) = broker.persistent(version, "c");
        let is_release = |received: &Received| matches!(received.packet(), Packet::PubRel(_));
        let (releases, publishes): (Vec<_>, Vec<_>) = client.receive_all().into_iter().partition(is_release);
        let again: Vec<_> = publishes.iter().map(Received::publish).collect();
        let ids = |delivered: &[Delivered]| delivered.iter().map(|one| one.packet_id).collect::<Vec<_>>();
        assert_eq!(ids(&again), ids(&begun[..2]));
        assert!(again.iter().all(|delivered| delivered.dup));
        let [release] = releases.as_slice() else { panic!("{releases:?} instead of one PUBREL") };
        let Packet::PubRel(release) = release.packet() else { unreachable!() };
        assert_eq!(Some(release.packet_id), begun[2].packet_id);
        client.pubcomp(release.packet_id);
        begun[..2].iter().for_each(|delivered| client.acknowledge(delivered));
        client.expect_nothing();
        client.cut();
        broker.persistent(version, "c").0.expect_nothing();
    }
}

#[test]
fn retained_messages_that_were_not_sent_yet_stay_behind() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.inflight_max = 2);
        let publisher = broker.client(version, "p");
        (0..10).for_each(|n| _ = publisher.retain(&format!("a/{n}"), b"x", Qos::AtLeastOnce));
        let client = broker.client(version, "c");
        client.subscribe("a/+", Qos::AtLeastOnce);
        let begun = client.receive_publishes();
        assert_eq!(begun.len(), 2);
        client.unsubscribe("a/+");
        begun.iter().for_each(|delivered| client.acknowledge(delivered));
        client.expect_nothing();
    }
}

#[test]
fn unsubscribe_with_other_header_flags_closes() {
    for version in VERSIONS {
        for flags in 0..16 {
            let broker = Broker::new();
            let client = broker.client(version, "c");
            client.subscribe("a", Qos::AtMostOnce);
            client.send_bytes(&unsubscribe_bytes(version, flags, b"\0\x01a"));
            // 3.1 sets DUP on an UNSUBSCRIBE that is sent again.
            if flags == 0b0010 || (flags == 0b1010 && version == Version::V3_1) {
                assert_eq!(client.receive().bytes(), unsuback(version, 1, &[0]));
            } else {
                client.expect_disconnect(Reason::MalformedPacket);
            }
        }
    }
}

#[test]
fn an_unsubscribe_that_is_broken_closes() {
    let bad: [(&[u8], Reason); 7] = [
        (b"", Reason::ProtocolError),
        (b"\0\x02\xC0\x80", Reason::MalformedPacket),
        (b"\0\x03\xED\xA0\x80", Reason::MalformedPacket),
        (b"\0\x01\0", Reason::MalformedPacket),
        (b"\0\x02a", Reason::MalformedPacket),
        (b"\0\0", Reason::TopicFilterInvalid),
        (b"\0\x02a#", Reason::TopicFilterInvalid),
    ];
    for version in VERSIONS {
        for (filters, reason) in bad {
            let client = Broker::new().client(version, "c");
            client.send_bytes(&unsubscribe_bytes(version, 2, filters));
            client.expect_disconnect(reason);
        }
        let client = Broker::new().client(version, "c");
        let mut bytes = unsubscribe_bytes(version, 2, b"\0\x01a");
        bytes[2..4].fill(0);
        client.send_bytes(&bytes);
        client.expect_disconnect(Reason::ProtocolError);
    }
}

#[test]
fn an_unsuback_has_nothing_in_it_that_a_small_maximum_packet_size_would_forbid() {
    // As long as the CONNACK before it must be allowed to be.
    let filters = ["a"; 40];
    let answer = unsuback(Version::V5, 1, &[0x11; 40]);
    let maximum = [Property::MaximumPacketSize(answer.len() as u32)];
    let client = Broker::new().client_with(Version::V5, "c", |_| {}, &maximum);
    send_unsubscribe(&client, 1, &filters);
    assert_eq!(client.receive().bytes(), answer);
}
