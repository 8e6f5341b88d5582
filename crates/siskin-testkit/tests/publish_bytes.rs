//! Packets of the PUBLISH family that are wrong in their bytes: who sends one is told why, is cut off,
//! and its will goes out.

use siskin_proto::{Packet, PacketKind, Property, Publish, Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// A client that sends `bytes` is told `reason` and cut off. Nothing comes of it but its will.
#[track_caller]
fn rejected(version: Version, bytes: &[u8], reason: Reason) {
    let broker = Broker::new();
    let watcher = broker.client(Version::V5, "watcher");
    watcher.subscribe("#", Qos::ExactlyOnce);
    let client = broker.client_with(version, "c", |c| c.will = Some(will("w", b"", Qos::AtMostOnce)), &[]);
    client.send_bytes(bytes);
    client.expect_disconnect(reason);
    let topics: Vec<_> = watcher.receive_publishes().into_iter().map(|m| m.topic).collect();
    assert_eq!(topics, ["w"]);
}

/// A client that sends `bytes` stays connected.
#[track_caller]
fn accepted(version: Version, bytes: &[u8]) {
    let client = Broker::new().client(version, "c");
    client.send_bytes(bytes);
    client.receive_all();
    client.send_bytes(&[0xC0, 0]);
    assert_eq!(client.receive().packet().kind(), PacketKind::PingResp);
}

/// A packet of less than 128 bytes.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128);
    [&[first, body.len() as u8], body].concat()
}

/// A QoS 0 PUBLISH to a topic of these bytes, without properties.
fn publish_to(version: Version, topic: &[u8]) -> Vec<u8> {
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend(topic);
    body.extend(version.is_v5().then_some(0));
    packet(0x30, &body)
}

/// A QoS 0 PUBLISH to `t` with property bytes as they are.
fn publish_with_raw(properties: &[u8]) -> Vec<u8> {
    packet(0x30, &[b"\0\x01t", &[properties.len() as u8][..], properties].concat())
}

/// Texts that are not well-formed UTF-8.
const NOT_UTF_8: [&[u8]; 9] = [
    b"a\x80",            // a lone continuation
    b"\xC3",             // cut short
    b"\xE2\x82",         // cut short
    b"\xC0\x80",         // U+0000 in two bytes
    b"\xC1\xBF",         // overlong
    b"\xE0\x80\xAF",     // overlong
    b"\xED\xA0\x80",     // a surrogate
    b"\xED\xBF\xBF",     // a surrogate
    b"\xF4\x90\x80\x80", // above U+10FFFF
];

#[test]
fn a_topic_name_that_is_not_utf_8_closes() {
    for version in VERSIONS {
        for topic in NOT_UTF_8 {
            rejected(version, &publish_to(version, topic), Reason::MalformedPacket);
        }
        accepted(version, &publish_to(version, "\u{FEFF}\u{D7FF}\u{E000}\u{10FFFF}".as_bytes()));
    }
}

#[test]
fn a_nul_in_a_topic_name_closes() {
    for version in VERSIONS {
        for topic in [&b"\0"[..], b"a\0b", b"a\0"] {
            rejected(version, &publish_to(version, topic), Reason::MalformedPacket);
        }
    }
}

#[test]
fn a_wildcard_in_a_topic_name_closes() {
    for version in VERSIONS {
        for topic in ["#", "+", "a/#", "a/+/b", "a+", "#a", "a/b#", "$SYS/+"] {
            rejected(version, &publish_to(version, topic.as_bytes()), Reason::TopicNameInvalid);
        }
    }
}

#[test]
fn an_empty_topic_name_closes() {
    for version in [Version::V3_1, Version::V3_1_1] {
        rejected(version, &publish_to(version, b""), Reason::TopicNameInvalid);
    }
    rejected(Version::V5, &publish_to(Version::V5, b""), Reason::ProtocolError);
}

#[test]
fn strings_in_properties_are_well_formed_utf_8_without_nul() {
    for text in NOT_UTF_8.into_iter().chain([&b"\0"[..], b"a\0"]) {
        let string = [&(text.len() as u16).to_be_bytes()[..], text].concat();
        for bad in [
            [&[0x03][..], &string].concat(),             // content type
            [&[0x08][..], &string].concat(),             // response topic
            [&[0x26][..], &string, b"\0\x01v"].concat(), // name of a user property
            [&[0x26][..], b"\0\x01n", &string].concat(), // its value
        ] {
            rejected(Version::V5, &publish_with_raw(&bad), Reason::MalformedPacket);
        }
        // Correlation data is no string.
        accepted(Version::V5, &publish_with_raw(&[&[0x09][..], &string].concat()));
    }
}

#[test]
fn a_response_topic_with_wildcards_closes() {
    for topic in [&b"#"[..], b"a/+", b"a/#"] {
        let property = [&[0x08, 0, topic.len() as u8], topic].concat();
        rejected(Version::V5, &publish_with_raw(&property), Reason::ProtocolError);
    }
    accepted(Version::V5, &publish_with_raw(b"\x08\0\x01a"));
}

#[test]
fn qos_3_closes() {
    for version in VERSIONS {
        let properties: &[u8] = if version.is_v5() { b"\0" } else { b"" };
        for first in [0x36, 0x37, 0x3E, 0x3F] {
            let body = [b"\0\x01t\0\x07", properties].concat();
            rejected(version, &packet(first, &body), Reason::MalformedPacket);
        }
    }
}

#[test]
fn dup_at_qos_0_closes() {
    for version in VERSIONS {
        let mut bytes = publish_to(version, b"t");
        for first in [0x38, 0x39] {
            bytes[0] = first;
            rejected(version, &bytes, Reason::MalformedPacket);
        }
    }
}

#[test]
fn packet_id_0_closes() {
    for version in VERSIONS {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let mut bytes = Vec::new();
            Packet::Publish(publish("t", b"m", qos, 0x0101)).encode(version, &mut bytes);
            let at = bytes.windows(2).position(|two| two == [1, 1]).unwrap();
            bytes[at..at + 2].fill(0);
            rejected(version, &bytes, Reason::ProtocolError);
        }
        for first in [0x40, 0x50, 0x62, 0x70] {
            rejected(version, &packet(first, &[0, 0]), Reason::ProtocolError);
        }
        let none: &[u8] = if version.is_v5() { b"\0\0\0" } else { b"\0\0" };
        rejected(version, &packet(0x82, &[none, b"\0\x01t\0"].concat()), Reason::ProtocolError);
        rejected(version, &packet(0xA2, &[none, b"\0\x01t"].concat()), Reason::ProtocolError);
    }
}

#[test]
fn a_qos_0_publish_has_no_packet_id_to_read() {
    for version in VERSIONS {
        let broker = Broker::new();
        let watcher = broker.client(version, "watcher");
        watcher.subscribe("t", Qos::AtMostOnce);
        let client = broker.client(version, "c");
        let mut bytes = publish_to(version, b"t");
        bytes.extend([0, 7]);
        bytes[1] += 2;
        client.send_bytes(&bytes);
        client.expect_nothing();
        assert_eq!(watcher.receive_publish().payload, [0, 7]);
    }
}

#[test]
fn wrong_header_flags_close_in_any_packet() {
    let bodies: [(u8, u8, &[u8]); 8] = [
        (0x40, 0, b"\0\x01"),
        (0x50, 0, b"\0\x01"),
        (0x60, 2, b"\0\x01"),
        (0x70, 0, b"\0\x01"),
        (0x80, 2, b"\0\x01\0\x01t\0"),
        (0xA0, 2, b"\0\x01\0\x01t"),
        (0xC0, 0, b""),
        (0xE0, 0, b""),
    ];
    for version in VERSIONS {
        for (kind, right, body) in bodies {
            let is_filtered = kind == 0x80 || kind == 0xA0;
            let body = match version.is_v5() && is_filtered {
                true => [&body[..2], b"\0", &body[2..]].concat(),
                false => body.to_vec(),
            };
            for flags in 0..16 {
                let bytes = packet(kind | flags, &body);
                // 3.1 sets DUP when it sends a PUBREL, SUBSCRIBE or UNSUBSCRIBE again.
                let is_dup = version == Version::V3_1 && right == 2 && flags == 0b1010;
                match flags == right || is_dup {
                    true if kind == 0xE0 => {}
                    true => accepted(version, &bytes),
                    false => rejected(version, &bytes, Reason::MalformedPacket),
                }
            }
        }
    }
    for flags in 1..16 {
        rejected(Version::V5, &packet(0xF0 | flags, b""), Reason::MalformedPacket);
    }
}

#[test]
fn a_pubrel_of_3_1_with_dup_ends_its_exchange() {
    let broker = Broker::new();
    let client = broker.client(Version::V3_1, "c");
    client.send_publish(publish("t", b"", Qos::ExactlyOnce, 7));
    client.receive();
    client.send_bytes(&[0x6A, 2, 0, 7]);
    client.expect_ack(PacketKind::PubComp, 7, Reason::Success);
    client.expect_nothing();
}

/// Sends an acknowledgement with every possible reason code; only `codes` are taken.
fn only(first: u8, codes: &[u8]) {
    for code in 0..=u8::MAX {
        let bytes = [first, 3, 0, 9, code];
        match codes.contains(&code) {
            true => accepted(Version::V5, &bytes),
            false => rejected(Version::V5, &bytes, Reason::ProtocolError),
        }
    }
}

const OF_PUBLISH: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];

#[test]
fn a_puback_with_a_code_that_is_not_its_own_closes() {
    only(0x40, OF_PUBLISH);
}

#[test]
fn a_pubrec_with_a_code_that_is_not_its_own_closes() {
    only(0x50, OF_PUBLISH);
}

#[test]
fn a_pubrel_with_a_code_that_is_not_its_own_closes() {
    only(0x62, &[0x00, 0x92]);
}

#[test]
fn a_pubcomp_with_a_code_that_is_not_its_own_closes() {
    only(0x70, &[0x00, 0x92]);
}

#[test]
fn properties_of_acknowledgements_are_read_and_must_be_right() {
    for first in [0x40, 0x50, 0x62, 0x70] {
        let with =
            |properties: &[u8]| packet(first, &[&[0, 9, 0, properties.len() as u8], properties].concat());
        accepted(Version::V5, &with(b"\x1F\0\x02ok\x26\0\x01n\0\x01v\x26\0\x01n\0\x01v"));
        rejected(Version::V5, &with(b"\x1F\0\x01a\x1F\0\x01b"), Reason::ProtocolError);
        rejected(Version::V5, &with(b"\x1F\0\x01\xFF"), Reason::MalformedPacket);
        rejected(Version::V5, &with(b"\x1F\0\x05a"), Reason::MalformedPacket);
        rejected(Version::V5, &with(b"\x23\0\x01"), Reason::MalformedPacket);
        rejected(Version::V5, &with(b"\x7E\0"), Reason::MalformedPacket);
        // Bytes behind the properties.
        rejected(Version::V5, &packet(first, b"\0\x09\0\0\0"), Reason::MalformedPacket);
    }
    for version in [Version::V3_1, Version::V3_1_1] {
        for first in [0x40, 0x50, 0x62, 0x70] {
            rejected(version, &packet(first, b"\0\x09\0"), Reason::MalformedPacket);
        }
    }
}

#[test]
fn a_property_twice_or_out_of_place_in_a_publish_closes() {
    let twice: [&[u8]; 6] =
        [b"\x01\0", b"\x02\0\0\0\x09", b"\x03\0\x01a", b"\x08\0\x01a", b"\x09\0\x01a", b"\x23\0\x01"];
    for property in twice {
        accepted(Version::V5, &publish_with_raw(property));
        rejected(Version::V5, &publish_with_raw(&property.repeat(2)), Reason::ProtocolError);
    }
    accepted(Version::V5, &publish_with_raw(&b"\x26\0\x01n\0\x01v".repeat(2)));
    // A payload format other than 0 and 1.
    rejected(Version::V5, &publish_with_raw(b"\x01\x02"), Reason::ProtocolError);
    // Session expiry, reason string; one that does not exist; one cut short.
    for bad in [&b"\x11\0\0\0\x01"[..], b"\x1F\0\x01a", b"\x7E\0", b"\x02\0\0\0"] {
        rejected(Version::V5, &publish_with_raw(bad), Reason::MalformedPacket);
    }
}

#[test]
fn a_subscription_identifier_in_a_clients_publish_closes() {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let properties = buffer(&[Property::UserProperty(("a", "b")), Property::SubscriptionIdentifier(1)]);
        let mut bytes = Vec::new();
        let properties = properties.as_properties();
        Packet::Publish(Publish { properties, ..publish("t", b"", qos, 1) }).encode(Version::V5, &mut bytes);
        rejected(Version::V5, &bytes, Reason::ProtocolError);
    }
}

#[test]
fn a_variable_byte_integer_of_more_bytes_than_it_needs_closes() {
    for version in VERSIONS {
        // The remaining length, of PINGREQ and of PUBLISH.
        rejected(version, &[0xC0, 0x80, 0x00], Reason::MalformedPacket);
        rejected(version, &[0x30, 0x84, 0x80, 0x00, 0, 1, b't', 0], Reason::MalformedPacket);
        // More than four bytes.
        rejected(version, &[0x30, 0x80, 0x80, 0x80, 0x80, 0x01], Reason::MalformedPacket);
    }
    // The property length; the identifier of a property; a subscription identifier.
    rejected(Version::V5, b"\x30\x05\0\x01t\x80\0", Reason::MalformedPacket);
    rejected(Version::V5, b"\x30\x07\0\x01t\x03\x81\0\0", Reason::MalformedPacket);
    rejected(Version::V5, b"\x82\x0A\0\x01\x03\x0B\x81\0\0\x01t\0", Reason::MalformedPacket);
    accepted(Version::V5, b"\x82\x0A\0\x01\x03\x0B\x81\x01\0\x01t\0");
}

#[test]
fn a_publish_of_5_without_property_length_closes() {
    rejected(Version::V5, b"\x30\x03\0\x01t", Reason::MalformedPacket);
    accepted(Version::V5, b"\x30\x04\0\x01t\0");
    accepted(Version::V3_1_1, b"\x30\x03\0\x01t");
}

#[test]
fn fields_that_run_past_the_end_of_a_publish_close() {
    for version in VERSIONS {
        for body in [&b""[..], b"\0", b"\0\x02t", b"\xFF\xFFt"] {
            rejected(version, &packet(0x30, body), Reason::MalformedPacket);
        }
        for body in [&b"\0\x01t"[..], b"\0\x01t\0"] {
            rejected(version, &packet(0x32, body), Reason::MalformedPacket);
        }
    }
    rejected(Version::V5, b"\x30\x04\0\x01t\x01", Reason::MalformedPacket);
}
