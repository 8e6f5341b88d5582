//! What the broker sends, byte for byte.

use siskin_proto::{Property, Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// The bytes of the one packet that `client` gets.
#[track_caller]
fn one(client: &Client) -> Vec<u8> {
    let received = client.receive();
    client.expect_nothing();
    received.bytes().to_vec()
}

#[test]
fn a_publish_has_its_flags_its_id_and_in_5_an_empty_property_list() {
    for version in VERSIONS {
        let broker = Broker::new();
        let client = broker.client(version, "c");
        client.subscribe("t", Qos::ExactlyOnce);
        let publisher = broker.client(version, "p");
        for (qos, expected) in [
            (Qos::AtMostOnce, &b"\x30\x04\0\x01tm"[..]),
            (Qos::AtLeastOnce, b"\x32\x06\0\x01t\0\x01m"),
            (Qos::ExactlyOnce, b"\x34\x06\0\x01t\0\x02m"),
        ] {
            publisher.publish("t", b"m", qos);
            let mut expected = expected.to_vec();
            if version.is_v5() {
                expected[1] += 1;
                expected.insert(expected.len() - 1, 0);
            }
            assert_eq!(one(&client), expected);
        }
    }
}

#[test]
fn answers_to_publish_and_pubrec_repeat_the_id_and_have_the_right_flags() {
    for version in VERSIONS {
        let broker = Broker::new();
        let client = broker.client(version, "c");
        client.subscribe("t", Qos::AtMostOnce);
        for packet_id in [1, 0x0102, 0xFFFF] {
            let [high, low] = u16::to_be_bytes(packet_id);
            client.send_publish(publish("t", b"", Qos::AtLeastOnce, packet_id));
            assert_eq!(client.receive_all()[1].bytes(), [0x40, 2, high, low]);
            client.send_publish(publish("t", b"", Qos::ExactlyOnce, packet_id));
            assert_eq!(client.receive_all()[1].bytes(), [0x50, 2, high, low]);
            client.pubrel(id(packet_id));
            assert_eq!(one(&client), [0x70, 2, high, low]);
        }
        client.subscribe("t", Qos::ExactlyOnce);
        broker.client(version, "p").publish("t", b"", Qos::ExactlyOnce);
        let [high, low] = client.receive_publish().packet_id.unwrap().get().to_be_bytes();
        client.pubrec(id(u16::from_be_bytes([high, low])));
        assert_eq!(one(&client), [0x62, 2, high, low]);
    }
}

#[test]
fn suback_unsuback_and_pingresp_repeat_the_id_and_have_the_right_flags() {
    for version in VERSIONS {
        let client = Broker::new().client(version, "c");
        for [high, low] in [[0, 1], [1, 2], [0xFF, 0xFF]] {
            if version.is_v5() {
                client.send_bytes(&[0x82, 7, high, low, 0, 0, 1, b't', 1]);
                assert_eq!(one(&client), [0x90, 4, high, low, 0, 1]);
                client.send_bytes(&[0xA2, 6, high, low, 0, 0, 1, b't']);
                assert_eq!(one(&client), [0xB0, 4, high, low, 0, 0]);
            } else {
                client.send_bytes(&[0x82, 6, high, low, 0, 1, b't', 1]);
                assert_eq!(one(&client), [0x90, 3, high, low, 1]);
                client.send_bytes(&[0xA2, 5, high, low, 0, 1, b't']);
                assert_eq!(one(&client), [0xB0, 2, high, low]);
            }
        }
        client.send_bytes(&[0xC0, 0]);
        assert_eq!(one(&client), [0xD0, 0]);
    }
}

#[test]
fn a_disconnect_has_flags_0_and_before_5_there_is_none() {
    for version in VERSIONS {
        let client = Broker::new().client(version, "c");
        client.send_bytes(&[0x90, 0]);
        if version.is_v5() {
            let received = client.receive();
            assert_eq!((received.bytes()[0], received.reason()), (0xE0, Reason::MalformedPacket));
        }
        client.expect_closed();
    }
}

#[test]
fn integers_take_the_fewest_bytes() {
    let broker = Broker::new();
    let client = broker.client(Version::V5, "c");
    let publisher = broker.client(Version::V5, "p");
    // Subscription identifiers and lengths on both sides of each step.
    for (identifier, bytes) in [
        (127, &[0x7F][..]),
        (128, &[0x80, 1]),
        (16_383, &[0xFF, 0x7F]),
        (16_384, &[0x80, 0x80, 1]),
        (2_097_151, &[0xFF, 0xFF, 0x7F]),
        (2_097_152, &[0x80, 0x80, 0x80, 1]),
        (268_435_455, &[0xFF, 0xFF, 0xFF, 0x7F]),
    ] {
        client.subscribe_with("t", Default::default(), &[Property::SubscriptionIdentifier(identifier)]);
        publisher.publish("t", b"", Qos::AtMostOnce);
        let len = bytes.len() as u8;
        assert_eq!(one(&client), [&[0x30, 5 + len, 0, 1, b't', 1 + len, 0x0B], bytes].concat());
    }
    client.unsubscribe("t");
    client.subscribe("t", Qos::AtMostOnce);
    for (payload_len, remaining) in [
        (123, &[0x7F][..]),
        (124, &[0x80, 1]),
        (16_379, &[0xFF, 0x7F]),
        (16_380, &[0x80, 0x80, 1]),
        (2_097_147, &[0xFF, 0xFF, 0x7F]),
        (2_097_148, &[0x80, 0x80, 0x80, 1]),
    ] {
        publisher.publish("t", &vec![0; payload_len], Qos::AtMostOnce);
        let received = one(&client);
        assert_eq!(received[1..=remaining.len()], *remaining);
        assert_eq!(received.len(), 1 + remaining.len() + 4 + payload_len);
    }
    for (value_len, length) in [(121, &[0x7E][..]), (122, &[0x7F]), (123, &[0x80, 1])] {
        let value = "v".repeat(value_len);
        let property = [Property::UserProperty(("", &value))];
        publisher.publish_with("t", b"", Qos::AtMostOnce, false, &property);
        let received = one(&client);
        let at = received.len() - value_len - 5 - length.len();
        assert_eq!(received[at..at + length.len()], *length);
    }
}
