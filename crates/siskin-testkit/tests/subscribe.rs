//! SUBSCRIBE and SUBACK: what is answered, what is granted, and what a broken SUBSCRIBE leads to.

use siskin_proto::{
    Packet, Properties, Property, Qos, Reason, Subscribe, SubscriptionOptions, TopicFilter, Version,
};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];
const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// A SUBSCRIBE with these header flags, packet id 1 and a body as it is; without properties for 5.0.
fn subscribe_bytes(version: Version, flags: u8, filters: &[u8]) -> Vec<u8> {
    let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
    let body = [&[0, 1], properties, filters].concat();
    [&[0x80 | flags, u8::try_from(body.len()).expect("short")], body.as_slice()].concat()
}

fn send_subscribe(client: &Client, packet_id: u16, filters: &[(&str, Qos)]) {
    let filters = filters
        .iter()
        .map(|(filter, qos)| {
            let filter = TopicFilter::parse(filter).expect("a legal filter");
            (filter, SubscriptionOptions { qos: *qos, ..Default::default() })
        })
        .collect();
    client.send(&Packet::Subscribe(Subscribe {
        packet_id: id(packet_id),
        properties: Properties::EMPTY,
        filters,
    }));
}

/// The codes of a SUBACK as they are on the wire.
#[track_caller]
fn suback_codes(received: &Received, version: Version, packet_id: u16) -> Vec<u8> {
    assert!(matches!(received.packet(), Packet::SubAck(_)), "{received:?} instead of a SUBACK");
    let bytes = received.bytes();
    assert_eq!(bytes[..2], [0x90, bytes.len() as u8 - 2]);
    assert_eq!(bytes[2..4], packet_id.to_be_bytes());
    let properties = if version.is_v5() { 1 + usize::from(bytes[4]) } else { 0 };
    bytes[4 + properties..].to_vec()
}

#[test]
fn subscribe_is_answered_by_one_suback_with_its_packet_id() {
    for version in VERSIONS {
        let client = Broker::new().client(version, "c");
        for packet_id in [1, 2, 0x0102, u16::MAX, 1] {
            send_subscribe(&client, packet_id, &[("a", Qos::AtLeastOnce)]);
            assert_eq!(suback_codes(&client.receive(), version, packet_id), [1]);
            client.expect_nothing();
        }
    }
}

#[test]
fn several_filters_have_one_suback_with_a_code_for_each_in_their_order() {
    for (version, refused) in [(Version::V3_1_1, 0x80), (Version::V5, 0x8F)] {
        let broker = Broker::limited(|limits| limits.topic_levels_max = 3);
        let client = broker.client(version, "c");
        let filters = [
            ("a", Qos::ExactlyOnce),
            ("b/1/2/3", Qos::ExactlyOnce),
            ("c/+", Qos::AtMostOnce),
            ("d/#", Qos::AtLeastOnce),
        ];
        send_subscribe(&client, 7, &filters);
        assert_eq!(suback_codes(&client.receive(), version, 7), [2, refused, 0, 1]);
        client.expect_nothing();
        let publisher = broker.client(version, "p");
        for topic in ["a", "b", "c/1", "d/1/2"] {
            publisher.publish(topic, b"x", Qos::ExactlyOnce);
        }
        let got: Vec<_> = client.receive_publishes().into_iter().map(|got| (got.topic, got.qos)).collect();
        let expected = [("a", Qos::ExactlyOnce), ("c/1", Qos::AtMostOnce), ("d/1/2", Qos::AtLeastOnce)];
        assert_eq!(got, expected.map(|(topic, qos)| (topic.to_owned(), qos)));
    }
}

#[test]
fn in_3_1_several_filters_have_one_suback_with_their_granted_qos() {
    let client = Broker::new().client(Version::V3_1, "c");
    let filters = [("a", Qos::ExactlyOnce), ("b", Qos::AtMostOnce), ("c", Qos::AtLeastOnce)];
    send_subscribe(&client, 7, &filters);
    assert_eq!(suback_codes(&client.receive(), Version::V3_1, 7), [2, 0, 1]);
    client.expect_nothing();
}

#[test]
fn the_same_filter_twice_in_a_packet_is_subscribed_to_once_as_it_stands_last() {
    for version in VERSIONS {
        let broker = Broker::new();
        let client = broker.client(version, "c");
        send_subscribe(&client, 1, &[("a", Qos::ExactlyOnce), ("a", Qos::AtMostOnce)]);
        assert_eq!(suback_codes(&client.receive(), version, 1), [2, 0]);
        broker.client(version, "p").publish("a", b"x", Qos::ExactlyOnce);
        let got = client.receive_publishes();
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].qos, Qos::AtMostOnce);
    }
}

#[test]
fn messages_go_out_at_the_lower_of_published_and_granted_qos() {
    for version in VERSIONS {
        let broker = Broker::new();
        let publisher = broker.client(Version::V5, "p");
        for granted in QOS {
            let client = broker.client(version, "c");
            client.subscribe("a/+", granted);
            for published in QOS {
                publisher.publish("a/b", b"x", published);
                let got = client.receive_publish();
                assert_eq!(got.qos, published.min(granted), "{version} {published:?} to {granted:?}");
                client.acknowledge(&got);
                client.expect_nothing();
            }
        }
    }
}

#[test]
fn a_queued_message_goes_out_at_the_lower_of_published_and_granted_qos() {
    for version in VERSIONS {
        let broker = Broker::new();
        let (client, _) = broker.persistent(version, "c");
        client.subscribe("a", Qos::AtLeastOnce);
        client.cut();
        let publisher = broker.client(version, "p");
        publisher.publish("a", b"1", Qos::AtLeastOnce);
        publisher.publish("a", b"2", Qos::ExactlyOnce);
        let (client, present) = broker.persistent(version, "c");
        assert_eq!(present, version != Version::V3_1, "3.1 cannot say");
        let got = client.receive_publishes();
        assert_eq!(got.iter().map(|got| got.qos).collect::<Vec<_>>(), [Qos::AtLeastOnce; 2]);
    }
}

#[test]
fn subscribing_to_the_same_filter_again_replaces_its_qos() {
    for version in VERSIONS {
        let broker = Broker::new();
        let publisher = broker.client(version, "p");
        let client = broker.client(version, "c");
        for filter in ["a/b", "a/+", "$share/g/a/b"] {
            for qos in [Qos::ExactlyOnce, Qos::AtMostOnce, Qos::AtLeastOnce] {
                send_subscribe(&client, 9, &[(filter, qos)]);
                assert_eq!(suback_codes(&client.receive(), version, 9), [qos as u8]);
                publisher.publish("a/b", b"x", Qos::ExactlyOnce);
                let got = client.receive_publish();
                assert_eq!(got.qos, qos, "{version} {filter}");
                client.acknowledge(&got);
                client.expect_nothing();
            }
            client.unsubscribe(filter);
        }
    }
}

#[test]
fn subscribing_again_sends_what_is_retained_again() {
    for version in VERSIONS {
        let broker = Broker::new();
        broker.client(version, "p").retain("a/b", b"kept", Qos::AtLeastOnce);
        let client = broker.client(version, "c");
        for _ in 0..3 {
            client.subscribe("a/+", Qos::AtMostOnce);
            let got = client.receive_publish();
            assert_eq!((got.payload.as_slice(), got.retain), (b"kept".as_slice(), true));
            client.expect_nothing();
        }
    }
}

#[test]
fn subscribing_again_loses_nothing_that_is_on_its_way() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.inflight_max = 1);
        let client = broker.client(version, "c");
        client.subscribe("a", Qos::AtLeastOnce);
        let publisher = broker.client(version, "p");
        (0..5u8).for_each(|n| _ = publisher.publish("a", &[n], Qos::AtLeastOnce));
        let first = client.receive_publish();
        client.expect_nothing();
        client.subscribe("a", Qos::AtLeastOnce);
        (5..8u8).for_each(|n| _ = publisher.publish("a", &[n], Qos::AtLeastOnce));
        let mut got = vec![first.payload[0]];
        client.acknowledge(&first);
        while let Some(next) = client.try_receive() {
            got.push(next.publish().payload[0]);
            client.acknowledge(&next.publish());
        }
        assert_eq!(got, (0..8).collect::<Vec<_>>(), "{version}");
    }
}

#[test]
fn subscribe_with_other_header_flags_closes() {
    for version in VERSIONS {
        for flags in 0..16 {
            let broker = Broker::new();
            let client = broker.client(version, "c");
            client.send_bytes(&subscribe_bytes(version, flags, b"\x00\x01a\x01"));
            // 3.1 sets DUP on a SUBSCRIBE that is sent again.
            if flags == 0b0010 || (flags == 0b1010 && version == Version::V3_1) {
                assert_eq!(suback_codes(&client.receive(), version, 1), [1]);
                client.expect_nothing();
            } else {
                client.expect_disconnect(Reason::MalformedPacket);
                assert_eq!(broker.shared().router.subscriptions(), 0);
            }
        }
    }
}

#[test]
fn a_filter_that_is_not_utf_8_closes() {
    let bad: [&[u8]; 6] =
        [b"\xC0\x80", b"a\xFF", b"\xED\xA0\x80", b"\xED\xBF\xBF", b"\xF4\x90\x80\x80", b"\xE2\x82"];
    for version in VERSIONS {
        for text in bad {
            let client = Broker::new().client(version, "c");
            let filter = [&[0, text.len() as u8], text, &[0]].concat();
            client.send_bytes(&subscribe_bytes(version, 2, &filter));
            client.expect_disconnect(Reason::MalformedPacket);
        }
    }
}

#[test]
fn subscribe_without_a_filter_closes() {
    for version in VERSIONS {
        let client = Broker::new().client(version, "c");
        client.send_bytes(&subscribe_bytes(version, 2, b""));
        client.expect_disconnect(Reason::ProtocolError);
    }
}

#[test]
fn reserved_bits_of_the_options_close() {
    for version in VERSIONS {
        for bit in 2..8 {
            // 5.0 has given the lower bits a meaning.
            if version.is_v5() && bit < 6 {
                continue;
            }
            let broker = Broker::new();
            let client = broker.client(version, "c");
            client.send_bytes(&subscribe_bytes(version, 2, &[0, 1, b'a', 1 | 1 << bit]));
            client.expect_disconnect(Reason::MalformedPacket);
            assert_eq!(broker.shared().router.subscriptions(), 0);
        }
    }
}

#[test]
fn qos_3_and_retain_handling_3_close() {
    for version in VERSIONS {
        let client = Broker::new().client(version, "c");
        client.send_bytes(&subscribe_bytes(version, 2, b"\0\x01a\x03"));
        client.expect_disconnect(Reason::ProtocolError);
    }
    let client = Broker::new().client(Version::V5, "c");
    client.send_bytes(&subscribe_bytes(Version::V5, 2, b"\0\x01a\x30"));
    client.expect_disconnect(Reason::ProtocolError);
}

#[test]
fn packet_id_0_in_subscribe_closes() {
    for version in VERSIONS {
        let client = Broker::new().client(version, "c");
        let mut bytes = subscribe_bytes(version, 2, b"\0\x01a\0");
        bytes[2..4].fill(0);
        client.send_bytes(&bytes);
        client.expect_disconnect(Reason::ProtocolError);
    }
}

#[test]
fn a_user_property_of_subscribe_obeys_the_rules_of_strings_in_name_and_value() {
    let good: &[u8] = b"\x26\0\x01n\0\x01v";
    let bad: [&[u8]; 4] =
        [b"\x26\0\x01\xFF\0\x01v", b"\x26\0\x01n\0\x01\xFF", b"\x26\0\x01\0\0\x01v", b"\x26\0\x01n\0\x01\0"];
    for (property, is_good) in bad.map(|bad| (bad, false)).into_iter().chain([(good, true)]) {
        let client = Broker::new().client(Version::V5, "c");
        let body = [&[0, 1, property.len() as u8], property, b"\0\x01a\0"].concat();
        client.send_bytes(&[&[0x82, body.len() as u8], body.as_slice()].concat());
        if is_good {
            assert_eq!(suback_codes(&client.receive(), Version::V5, 1), [0]);
        } else {
            client.expect_disconnect(Reason::MalformedPacket);
        }
    }
}

#[test]
fn a_suback_beyond_the_maximum_packet_size_goes_out_without_its_reason_string() {
    let suback = |maximum: u32| {
        let broker = Broker::limited(|limits| limits.topic_levels_max = 1);
        // The CONNACK, which is longer, has to fit too: so one of many filters.
        let client = broker.client_with(Version::V5, "c", |_| {}, &[Property::MaximumPacketSize(maximum)]);
        send_subscribe(&client, 1, &[("a/b", Qos::AtMostOnce); 20]);
        client.receive()
    };
    let whole = suback(1000);
    let Packet::SubAck(packet) = whole.packet() else { panic!("{whole:?} instead of a SUBACK") };
    assert!(packet.properties.reason_string().is_some(), "nothing to leave out");
    assert!(packet.properties.user_properties().next().is_none());
    let len = whole.bytes().len() as u32;
    assert_eq!(suback(len), whole);
    let bare = suback(len - 1);
    let Packet::SubAck(packet) = bare.packet() else { panic!("{bare:?} instead of a SUBACK") };
    assert!(packet.properties.is_empty());
    assert_eq!(packet.reasons, [Reason::TopicFilterInvalid; 20]);
}
