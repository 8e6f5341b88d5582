//! What holds for every packet, whatever is in it.

use super::testing::{VERSIONS, VERSIONS_3, bad, good, packet, read, written};
use super::*;
use crate::{Field, Packet, Qos, Reason};

/// One packet of each kind as it is in 3.1.1; they are the same in 3.1 but for CONNECT, which says its own
/// version, and the session present flag.
const PACKETS_3: [&[u8]; 14] = [
    b"\x10\x19\0\x04MQTT\x04\xE6\0\x3C\0\x01c\0\x01w\0\x01x\0\x01u\0\x01p",
    b"\x20\x02\0\x05",
    b"\x32\x07\0\x01a\0\x01hi",
    b"\x40\x02\0\x01",
    b"\x50\x02\0\x01",
    b"\x62\x02\0\x01",
    b"\x70\x02\0\x01",
    b"\x82\x06\0\x01\0\x01a\x01",
    b"\x90\x03\0\x01\x01",
    b"\xA2\x05\0\x01\0\x01a",
    b"\xB0\x02\0\x01",
    b"\xC0\0",
    b"\xD0\0",
    b"\xE0\0",
];

/// One packet of each kind as it is in 5.0, with a property where it may have one.
const PACKETS_5: [&[u8]; 15] = [
    b"\x10\x20\0\x04MQTT\x05\xE6\0\x3C\x03\x21\0\x0A\0\x01c\x02\x01\x01\0\x01w\0\x01x\0\x01u\0\x01p",
    b"\x20\x05\0\x87\x02\x25\0",
    b"\x32\x0A\0\x01a\0\x01\x02\x01\x01hi",
    b"\x40\x08\0\x01\x10\x04\x1F\0\x01x",
    b"\x50\x08\0\x01\x10\x04\x1F\0\x01x",
    b"\x62\x08\0\x01\x92\x04\x1F\0\x01x",
    b"\x70\x08\0\x01\x92\x04\x1F\0\x01x",
    b"\x82\x09\0\x01\x02\x0B\x01\0\x01a\x2D",
    b"\x90\x08\0\x01\x04\x1F\0\x01x\x87",
    b"\xA2\x0D\0\x01\x07\x26\0\x01k\0\x01v\0\x01a",
    b"\xB0\x08\0\x01\x04\x1F\0\x01x\x11",
    b"\xC0\0",
    b"\xD0\0",
    b"\xE0\x06\x98\x04\x1F\0\x01x",
    b"\xF0\x06\x18\x04\x15\0\x01m",
];

fn packets(version: Version) -> &'static [&'static [u8]] {
    if version.is_v5() { &PACKETS_5 } else { &PACKETS_3 }
}

#[test]
fn one_packet_of_each_kind_is_read_and_written_again() {
    for version in VERSIONS {
        for (bytes, kind) in packets(version).iter().zip(1..) {
            let packet = read(version, bytes).unwrap();
            assert_eq!(packet.kind() as u8, kind);
            good(version, bytes, &packet);
        }
    }
}

#[test]
fn wrong_header_flags_are_malformed_in_every_packet() {
    for version in [Version::V3_1_1, Version::V5] {
        for bytes in packets(version) {
            let kind = PacketKind::from_u8(bytes[0] >> 4).unwrap();
            for flags in (0..16).filter(|flags| *flags != bytes[0] & 0x0F) {
                if kind != PacketKind::Publish {
                    let mut bytes = bytes.to_vec();
                    bytes[0] = bytes[0] & 0xF0 | flags;
                    bad(version, &bytes, Malformed::Flags { packet: kind, flags });
                }
            }
        }
    }
    assert_eq!(DecodeError::from(Malformed::DupAtQos0).reason(), Reason::MalformedPacket);
}

/// Names the packets whose header flags are the subject of statements of their own.
fn only_flags(kind: PacketKind, right: u8) {
    for version in [Version::V3_1_1, Version::V5] {
        let body = &packets(version)[kind as usize - 1][2..];
        assert!(read(version, &packet(kind, right, body)).is_ok());
        for flags in (0..16).filter(|flags| *flags != right) {
            bad(version, &packet(kind, flags, body), Malformed::Flags { packet: kind, flags });
        }
    }
}

#[test]
fn pubrel_has_the_header_flags_0010() {
    only_flags(PacketKind::PubRel, 0b0010);
}

#[test]
fn subscribe_has_the_header_flags_0010() {
    only_flags(PacketKind::Subscribe, 0b0010);
}

#[test]
fn unsubscribe_has_the_header_flags_0010() {
    only_flags(PacketKind::Unsubscribe, 0b0010);
}

#[test]
fn disconnect_has_the_header_flags_0000() {
    only_flags(PacketKind::Disconnect, 0);
}

#[test]
fn auth_has_the_header_flags_0000() {
    for flags in 1..16 {
        let bytes = packet(PacketKind::Auth, flags, b"\x18\x04\x15\0\x01m");
        bad(Version::V5, &bytes, Malformed::Flags { packet: PacketKind::Auth, flags });
    }
}

#[test]
fn header_flags_are_written_as_prescribed() {
    for version in VERSIONS {
        for bytes in packets(version) {
            let packet = read(version, bytes).unwrap();
            let flags = match packet.kind() {
                PacketKind::Publish => 0b0010,
                PacketKind::PubRel | PacketKind::Subscribe | PacketKind::Unsubscribe => 0b0010,
                _ => 0,
            };
            assert_eq!(written(version, &packet)[0] & 0x0F, flags);
        }
    }
}

#[test]
fn in_3_1_pubrel_subscribe_and_unsubscribe_may_be_sent_again_with_dup() {
    for kind in [PacketKind::PubRel, PacketKind::Subscribe, PacketKind::Unsubscribe] {
        let body = &packets(Version::V3_1)[kind as usize - 1][2..];
        let again = packet(kind, 0b1010, body);
        assert_eq!(read(Version::V3_1, &again), read(Version::V3_1, &packet(kind, 0b0010, body)));
        bad(Version::V3_1_1, &again, Malformed::Flags { packet: kind, flags: 0b1010 });
        for flags in (0..16).filter(|flags| ![0b0010, 0b1010].contains(flags)) {
            bad(Version::V3_1, &packet(kind, flags, body), Malformed::Flags { packet: kind, flags });
        }
    }
}

#[test]
fn packet_type_0_is_malformed_and_15_too_before_5() {
    for version in VERSIONS {
        for first in 0..16 {
            bad(version, &[first, 0], Malformed::PacketType(0));
        }
    }
    for version in VERSIONS_3 {
        bad(version, b"\xF0\0", Malformed::PacketType(15));
    }
}

#[test]
fn packets_that_only_a_server_sends_are_known() {
    let server = (1..16).filter_map(PacketKind::from_u8).filter(|kind| !kind.is_from_client());
    assert!(server.eq([PacketKind::ConnAck, PacketKind::SubAck, PacketKind::UnsubAck, PacketKind::PingResp]));
}

#[test]
fn a_first_packet_other_than_connect_is_refused() {
    for version in VERSIONS {
        for bytes in packets(version) {
            let Ok(FrameStatus::Complete(frame)) = frame(bytes, PACKET_SIZE_MAX) else { panic!() };
            match decode(frame, version) {
                Ok(Packet::Connect(connect)) => assert_eq!(decode_connect(frame), Ok(connect)),
                _ => assert_eq!(decode_connect(frame), Err(Violation::FirstPacketNotConnect.into())),
            }
        }
    }
    let nonsense = Frame { first: 0x00, body: b"GET / HTTP/1.1", len: 16 };
    assert_eq!(decode_connect(nonsense), Err(Violation::FirstPacketNotConnect.into()));
}

#[test]
fn a_first_packet_is_checked_as_any_other() {
    let body = &PACKETS_3[0][2..];
    let flags = Frame { first: 0x11, body, len: body.len() + 2 };
    let error = Malformed::Flags { packet: PacketKind::Connect, flags: 1 };
    assert_eq!(decode_connect(flags), Err(error.into()));
    let longer = [body, b"x"].concat();
    let error = Malformed::TrailingBytes { packet: PacketKind::Connect };
    assert_eq!(decode_connect(Frame { first: 0x10, body: &longer, len: 0 }), Err(error.into()));
}

#[test]
fn a_field_that_runs_past_the_end_is_malformed_wherever_the_packet_is_cut() {
    for version in VERSIONS {
        for bytes in packets(version) {
            let (first, body) = (bytes[0], &bytes[2..]);
            for end in 0..body.len() {
                let frame = Frame { first, body: &body[..end], len: end + 2 };
                match decode(frame, version) {
                    // What may end early: a payload, and what is left out in short forms and lists.
                    Ok(packet) => assert!(
                        matches!(
                            packet,
                            Packet::Publish(_)
                                | Packet::PubAck(_)
                                | Packet::PubRec(_)
                                | Packet::PubRel(_)
                                | Packet::PubComp(_)
                                | Packet::Disconnect(_)
                                | Packet::Auth(_)
                        ),
                        "{packet:?}"
                    ),
                    Err(DecodeError::Malformed(Malformed::Truncated { packet, .. })) => {
                        assert_eq!(packet as u8, first >> 4);
                    }
                    Err(DecodeError::Violation(
                        Violation::NoFilters { .. }
                        | Violation::NoReasonCodes { .. }
                        | Violation::AuthenticationMethodMissing { .. },
                    )) => {}
                    Err(other) => panic!("{version} {bytes:02X?} cut at {end}: {other}"),
                }
            }
        }
    }
}

#[test]
fn bytes_behind_the_last_field_are_malformed() {
    for version in VERSIONS {
        for bytes in packets(version) {
            let kind = PacketKind::from_u8(bytes[0] >> 4).unwrap();
            // A payload has no end of its own, nor have lists.
            let is_open = match kind {
                PacketKind::Publish | PacketKind::Subscribe | PacketKind::Unsubscribe => true,
                PacketKind::SubAck => true,
                PacketKind::UnsubAck => version.is_v5(),
                _ => false,
            };
            if !is_open {
                let longer = packet(kind, bytes[0] & 0x0F, &[&bytes[2..], b"\0"].concat());
                bad(version, &longer, Malformed::TrailingBytes { packet: kind });
            }
        }
    }
}

/// The same string in a CONNECT, a PUBLISH and a SUBSCRIBE of 3.1.1, a PUBLISH of 5.0, and its properties.
fn packets_with(text: &[u8]) -> [(Version, Vec<u8>, PacketKind, Field); 6] {
    use crate::PropertyId::{ContentType, UserProperty};
    let text = [&(text.len() as u16).to_be_bytes()[..], text].concat();
    let len = text.len() as u8;
    let connect = [b"\0\x04MQTT\x04\x02\0\x3C", &text[..]].concat();
    let publish = text.clone();
    let subscribe = [b"\0\x01", &text[..], b"\0"].concat();
    let content_type = [&b"\0\x01a"[..], &[1 + len, 0x03], &text[..]].concat();
    let key = [&b"\0\x01a"[..], &[1 + len + 3, 0x26], &text[..], b"\0\x01v"].concat();
    let value = [&b"\0\x01a"[..], &[1 + 3 + len, 0x26], b"\0\x01k", &text[..]].concat();
    [
        (Version::V3_1_1, packet(PacketKind::Connect, 0, &connect), PacketKind::Connect, Field::ClientId),
        (Version::V3_1_1, packet(PacketKind::Publish, 0, &publish), PacketKind::Publish, Field::TopicName),
        (
            Version::V3_1_1,
            packet(PacketKind::Subscribe, 2, &subscribe),
            PacketKind::Subscribe,
            Field::TopicFilter,
        ),
        (
            Version::V5,
            packet(PacketKind::Publish, 0, &content_type),
            PacketKind::Publish,
            Field::Property(ContentType),
        ),
        (
            Version::V5,
            packet(PacketKind::Publish, 0, &key),
            PacketKind::Publish,
            Field::Property(UserProperty),
        ),
        (
            Version::V5,
            packet(PacketKind::Publish, 0, &value),
            PacketKind::Publish,
            Field::Property(UserProperty),
        ),
    ]
}

#[test]
fn a_string_that_is_not_utf_8_is_malformed() {
    for text in [
        &b"\xFF"[..],
        b"a\x80",
        b"\xC3",             // the first byte of two
        b"\xED\xA0\x80",     // U+D800, a surrogate
        b"\xED\xBF\xBF",     // U+DFFF, a surrogate
        b"\xC0\x80",         // U+0000 in two bytes
        b"\xC1\xA1",         // "a" in two bytes
        b"\xE0\x80\xAF",     // "/" in three bytes
        b"\xF4\x90\x80\x80", // beyond U+10FFFF
    ] {
        for (version, bytes, packet, field) in packets_with(text) {
            bad(version, &bytes, Malformed::Utf8 { packet, field });
        }
    }
}

#[test]
fn u_0000_in_a_string_is_malformed() {
    for text in [&b"\0"[..], b"a\0", b"\0a", b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\0b"] {
        for (version, bytes, packet, field) in packets_with(text) {
            bad(version, &bytes, Malformed::Nul { packet, field });
        }
    }
}

#[test]
fn a_byte_order_mark_stays_where_it_is() {
    for text in ["\u{FEFF}", "\u{FEFF}a", "a\u{FEFF}/b"] {
        for (version, bytes, ..) in packets_with(text.as_bytes()) {
            let packet = read(version, &bytes).unwrap();
            assert_eq!(written(version, &packet), bytes);
            if let Packet::Publish(publish) = packet
                && !version.is_v5()
            {
                assert_eq!(publish.topic.unwrap().as_str(), text);
            }
        }
    }
}

#[test]
fn every_character_but_u_0000_may_stand_in_a_string() {
    for text in
        ["\u{1}\u{7F}\u{9F}", "\u{FFFE}\u{FFFF}\u{1FFFE}", "\u{D7FF}\u{E000}\u{10FFFF}", "\u{2028}\t\n "]
    {
        for (version, bytes, ..) in packets_with(text.as_bytes()) {
            assert!(read(version, &bytes).is_ok(), "{text:?}");
        }
    }
}

#[test]
fn packet_id_0_is_a_protocol_error_wherever_one_stands() {
    for version in VERSIONS {
        for bytes in packets(version) {
            let kind = PacketKind::from_u8(bytes[0] >> 4).unwrap();
            let at = match kind {
                PacketKind::Publish => 5,
                PacketKind::PubAck
                | PacketKind::PubRec
                | PacketKind::PubRel
                | PacketKind::PubComp
                | PacketKind::Subscribe
                | PacketKind::SubAck
                | PacketKind::Unsubscribe
                | PacketKind::UnsubAck => 2,
                _ => continue,
            };
            let mut bytes = bytes.to_vec();
            bytes[at..at + 2].copy_from_slice(&[0, 0]);
            let error = Violation::PacketIdZero { packet: kind };
            assert_eq!(error.reason(), Reason::ProtocolError);
            bad(version, &bytes, error);
        }
    }
}

#[test]
fn no_properties_are_written_as_a_length_of_0() {
    use crate::Properties;
    let properties = Properties::EMPTY;
    let packet_id = super::testing::id(1);
    let connack = Packet::ConnAck(ConnAck { session_present: false, reason: Reason::Success, properties });
    assert_eq!(written(Version::V5, &connack), b"\x20\x03\0\0\0");
    let suback = Packet::SubAck(SubAck { packet_id, properties, reasons: vec![Reason::GrantedQos0] });
    assert_eq!(written(Version::V5, &suback), b"\x90\x04\0\x01\0\0");
    let unsuback = Packet::UnsubAck(UnsubAck { packet_id, properties, reasons: vec![Reason::Success] });
    assert_eq!(written(Version::V5, &unsuback), b"\xB0\x04\0\x01\0\0");
    let topic = Some(crate::TopicName::parse("a").unwrap());
    let publish = Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic,
        packet_id: None,
        properties,
        payload: b"",
    };
    assert_eq!(written(Version::V5, &Packet::Publish(publish)), b"\x30\x04\0\x01a\0");
    for body in [&b"\0\0"[..], b"\0\x87"] {
        let error = Malformed::Truncated { packet: PacketKind::ConnAck, field: Field::PropertyLength };
        bad(Version::V5, &packet(PacketKind::ConnAck, 0, body), error);
    }
}

#[test]
fn an_error_names_the_packet_and_the_field() {
    let error = read(Version::V3_1_1, b"\x30\x03\0\x01\xFF").unwrap_err();
    assert_eq!(error.to_string(), "the topic name of PUBLISH is not valid UTF-8");
    let error = read(Version::V5, b"\xE0\x04\0\x02\x21\0").unwrap_err();
    assert_eq!(error.to_string(), "property Receive Maximum does not belong where DISCONNECT has it");
    let error = read(Version::V3_1_1, b"\x82\x06\0\x01\0\x02a#").unwrap_err();
    assert_eq!(error.to_string(), "a topic filter of SUBSCRIBE has # not alone in its last level");
}
