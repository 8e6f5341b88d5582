use super::*;
use crate::codec::testing::{VERSIONS, VERSIONS_3, bad, good, packet, read, written};
use crate::{Packet, PropertiesBuf, Property, Reason};

const CONNECT: PacketKind = PacketKind::Connect;

fn connect(version: Version) -> Connect<'static> {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 60,
        client_id: "c",
        will: None,
        user_name: None,
        password: None,
        properties: Properties::EMPTY,
        bridge: false,
    }
}

fn will() -> Will<'static> {
    Will {
        topic: TopicName::parse("w").unwrap(),
        payload: b"bye",
        qos: Qos::AtMostOnce,
        retain: false,
        properties: Properties::EMPTY,
    }
}

/// A CONNECT of 3.1.1 or 5.0 with these flags, and what follows keep alive (and properties).
fn body(version: Version, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = b"\0\x04MQTT".to_vec();
    if version == Version::V3_1 {
        body = b"\0\x06MQIsdp".to_vec();
    }
    body.extend_from_slice(&[version as u8, flags, 0, 60]);
    body.extend_from_slice(if version.is_v5() { &[0] } else { &[] });
    body.extend_from_slice(payload);
    packet(CONNECT, 0, &body)
}

/// The same with these properties.
fn with_properties(properties: &[Property<'_>]) -> Vec<u8> {
    let properties = PropertiesBuf::from_iter(properties.iter().copied());
    written(
        Version::V5,
        &Packet::Connect(Connect { properties: properties.as_properties(), ..connect(Version::V5) }),
    )
}

#[track_caller]
fn bad_connect(bytes: &[u8], error: impl Into<DecodeError>) {
    // CONNECT says its own version.
    bad(Version::V3_1_1, bytes, error);
}

#[test]
fn every_version_has_its_name_and_level() {
    good(Version::V5, b"\x10\x0F\0\x06MQIsdp\x03\x02\0\x3C\0\x01c", &Packet::Connect(connect(Version::V3_1)));
    good(Version::V5, b"\x10\x0D\0\x04MQTT\x04\x02\0\x3C\0\x01c", &Packet::Connect(connect(Version::V3_1_1)));
    good(Version::V3_1, b"\x10\x0E\0\x04MQTT\x05\x02\0\x3C\0\0\x01c", &Packet::Connect(connect(Version::V5)));
}

#[test]
fn a_bridge_sets_the_top_bit_of_the_level() {
    for version in VERSIONS_3 {
        let bridge = Connect { bridge: true, ..connect(version) };
        let bytes = written(version, &Packet::Connect(bridge));
        assert_eq!(bytes[bytes.len() - 7], 0x80 | version as u8);
        good(version, &bytes, &Packet::Connect(bridge));
    }
    let error = Violation::ProtocolLevel { level: 0x85 };
    bad_connect(b"\x10\x0E\0\x04MQTT\x85\x02\0\x3C\0\0\x01c", error);
}

#[test]
fn an_unknown_protocol_name_is_refused() {
    for body in [
        &b"\0\x04mqtt\x04\x02\0\x3C\0\x01c"[..],
        b"\0\x04MQTX\x04\x02\0\x3C\0\x01c",
        b"\0\0\x04\x02\0\x3C\0\x01c",
        b"\0\x05MQTT\0\x04\x02\0\x3C\0\x01c",
        b"\0\x01\xFF\x04",
    ] {
        bad_connect(&packet(CONNECT, 0, body), Violation::ProtocolName);
    }
    assert_eq!(Violation::ProtocolName.reason(), Reason::UnsupportedProtocolVersion);
}

#[test]
fn an_unknown_protocol_level_is_refused_with_return_code_1() {
    for (name, level) in
        [(&b"\0\x04MQTT"[..], 3), (b"\0\x04MQTT", 6), (b"\0\x04MQTT", 0), (b"\0\x06MQIsdp", 4)]
    {
        let body = [name, &[level]].concat();
        let error = Violation::ProtocolLevel { level };
        bad_connect(&packet(CONNECT, 0, &body), error);
        assert_eq!(error.reason(), Reason::UnsupportedProtocolVersion);
        assert_eq!(error.reason().connect_return_code(), 1);
    }
}

#[test]
fn the_payload_stands_in_its_order() {
    for version in VERSIONS_3 {
        let will = Will { qos: Qos::ExactlyOnce, retain: true, ..will() };
        let connect =
            Connect { will: Some(will), user_name: Some("u"), password: Some(b"\0p"), ..connect(version) };
        let payload = b"\0\x01c\0\x01w\0\x03bye\0\x01u\0\x02\0p";
        good(version, &body(version, 0b1111_0110, payload), &Packet::Connect(connect));
    }
    let properties = PropertiesBuf::from_iter([Property::WillDelayInterval(5)]);
    let will = Will { properties: properties.as_properties(), qos: Qos::AtLeastOnce, ..will() };
    let connect = Connect {
        will: Some(will),
        user_name: Some("u"),
        password: Some(b"p"),
        clean_start: false,
        ..connect(Version::V5)
    };
    let payload = b"\0\x01c\x05\x18\0\0\0\x05\0\x01w\0\x03bye\0\x01u\0\x01p";
    good(Version::V5, &body(Version::V5, 0b1100_1100, payload), &Packet::Connect(connect));
}

#[test]
fn the_reserved_flag_is_0() {
    for version in [Version::V3_1_1, Version::V5] {
        bad_connect(&body(version, 0b0000_0011, b"\0\x01c"), Malformed::ConnectFlagReserved);
    }
    // In 3.1 it is not used.
    let bytes = body(Version::V3_1, 0b0000_0011, b"\0\x01c");
    assert_eq!(read(Version::V3_1, &bytes), Ok(Packet::Connect(connect(Version::V3_1))));
}

#[test]
fn a_will_flag_brings_topic_and_message() {
    for version in VERSIONS {
        let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
        let payload = |rest: &[u8]| [&b"\0\x01c"[..], properties, rest].concat();
        let error = Malformed::Truncated { packet: CONNECT, field: Field::WillTopic };
        bad_connect(&body(version, 0b0000_0110, &payload(b"")), error);
        let error = Malformed::Truncated { packet: CONNECT, field: Field::WillPayload };
        bad_connect(&body(version, 0b0000_0110, &payload(b"\0\x01w")), error);
        let bytes = body(version, 0b0000_0110, &payload(b"\0\x01w\0\0"));
        let Ok(Packet::Connect(connect)) = read(version, &bytes) else { panic!() };
        assert_eq!(connect.will, Some(Will { payload: b"", ..will() }));
    }
    let error = Malformed::Truncated { packet: CONNECT, field: Field::PropertyLength };
    bad_connect(&body(Version::V5, 0b0000_0110, b"\0\x01c"), error);
}

#[test]
fn without_a_will_flag_there_is_no_will() {
    for version in VERSIONS {
        let bytes = body(version, 0b0000_0010, b"\0\x01c\0\x01w\0\0");
        bad_connect(&bytes, Malformed::TrailingBytes { packet: CONNECT });
    }
}

#[test]
fn will_qos_without_a_will_is_malformed() {
    for version in [Version::V3_1_1, Version::V5] {
        for flags in [0b0000_1000, 0b0001_0000, 0b0001_1010] {
            bad_connect(&body(version, flags, b"\0\x01c"), Malformed::WillFlagMissing);
        }
    }
    // 3.1 says that it does not matter.
    assert!(read(Version::V3_1, &body(Version::V3_1, 0b0000_1010, b"\0\x01c")).is_ok());
}

#[test]
fn will_retain_without_a_will_is_malformed() {
    for version in [Version::V3_1_1, Version::V5] {
        bad_connect(&body(version, 0b0010_0010, b"\0\x01c"), Malformed::WillFlagMissing);
    }
}

#[test]
fn will_qos_3_is_malformed() {
    for version in VERSIONS {
        bad_connect(&body(version, 0b0001_1110, b"\0\x01c\0\0\x01w\0\0"), Malformed::Qos { packet: CONNECT });
    }
}

#[test]
fn a_user_name_is_there_exactly_if_its_flag_is_set() {
    for version in VERSIONS {
        let bytes = body(version, 0b0000_0010, b"\0\x01c\0\x01u");
        bad_connect(&bytes, Malformed::TrailingBytes { packet: CONNECT });
        let bytes = body(version, 0b1000_0010, b"\0\x01c\0\x01u");
        good(version, &bytes, &Packet::Connect(Connect { user_name: Some("u"), ..connect(version) }));
    }
    for version in [Version::V3_1_1, Version::V5] {
        let error = Malformed::Truncated { packet: CONNECT, field: Field::UserName };
        bad_connect(&body(version, 0b1000_0010, b"\0\x01c"), error);
    }
}

#[test]
fn a_password_is_there_exactly_if_its_flag_is_set() {
    for version in VERSIONS {
        let bytes = body(version, 0b1000_0010, b"\0\x01c\0\x01u\0\x01p");
        bad_connect(&bytes, Malformed::TrailingBytes { packet: CONNECT });
        let bytes = body(version, 0b1100_0010, b"\0\x01c\0\x01u\0\x02\xFF\0");
        let connect = Connect { user_name: Some("u"), password: Some(b"\xFF\0"), ..connect(version) };
        good(version, &bytes, &Packet::Connect(connect));
    }
    for version in [Version::V3_1_1, Version::V5] {
        let error = Malformed::Truncated { packet: CONNECT, field: Field::Password };
        bad_connect(&body(version, 0b1100_0010, b"\0\x01c\0\x01u"), error);
    }
}

#[test]
fn only_5_has_passwords_without_user_names() {
    for version in VERSIONS_3 {
        bad_connect(&body(version, 0b0100_0010, b"\0\x01c\0\x01p"), Malformed::UserNameMissing);
    }
    let connect = Connect { password: Some(b"p"), ..connect(Version::V5) };
    good(Version::V5, &body(Version::V5, 0b0100_0010, b"\0\x01c\0\x01p"), &Packet::Connect(connect));
}

#[test]
fn in_3_1_a_packet_may_end_before_the_user_name_and_the_password_that_its_flags_announce() {
    let bytes = body(Version::V3_1, 0b1100_0010, b"\0\x01c");
    assert_eq!(read(Version::V3_1, &bytes), Ok(Packet::Connect(connect(Version::V3_1))));
    let bytes = body(Version::V3_1, 0b1100_0010, b"\0\x01c\0\x01u");
    let named = Connect { user_name: Some("u"), ..connect(Version::V3_1) };
    assert_eq!(read(Version::V3_1, &bytes), Ok(Packet::Connect(named)));
}

#[test]
fn the_client_id_is_always_there() {
    for version in VERSIONS {
        let error = Malformed::Truncated { packet: CONNECT, field: Field::ClientId };
        bad_connect(&body(version, 0b0000_0010, b""), error);
        let empty = Connect { client_id: "", ..connect(version) };
        good(version, &body(version, 0b0000_0010, b"\0\0"), &Packet::Connect(empty));
    }
}

#[test]
fn client_id_will_topic_and_user_name_are_utf_8() {
    let utf8 = |field| Malformed::Utf8 { packet: CONNECT, field };
    let nul = |field| Malformed::Nul { packet: CONNECT, field };
    for version in VERSIONS_3 {
        bad_connect(&body(version, 0b0000_0010, b"\0\x01\xFF"), utf8(Field::ClientId));
        bad_connect(&body(version, 0b0000_0010, b"\0\x01\0"), nul(Field::ClientId));
        bad_connect(&body(version, 0b0000_0110, b"\0\x01c\0\x01\xFF\0\0"), utf8(Field::WillTopic));
        bad_connect(&body(version, 0b0000_0110, b"\0\x01c\0\x01\0\0\0"), nul(Field::WillTopic));
        bad_connect(&body(version, 0b1000_0010, b"\0\x01c\0\x01\xFF"), utf8(Field::UserName));
        bad_connect(&body(version, 0b1000_0010, b"\0\x01c\0\x01\0"), nul(Field::UserName));
    }
    let version = Version::V5;
    bad_connect(&body(version, 0b0000_0010, b"\0\x01\xFF"), utf8(Field::ClientId));
    bad_connect(&body(version, 0b0000_0110, b"\0\x01c\0\0\x01\xFF\0\0"), utf8(Field::WillTopic));
    bad_connect(&body(version, 0b1000_0010, b"\0\x01c\0\x01\xFF"), utf8(Field::UserName));
}

#[test]
fn a_will_topic_is_a_topic_name() {
    for version in VERSIONS {
        let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
        for (topic, error) in [(&b"\0\0"[..], TopicError::Empty), (b"\0\x03a/+", TopicError::Wildcard)] {
            let payload = [b"\0\x01c", properties, topic, b"\0\0"].concat();
            let error = Violation::TopicName { packet: CONNECT, error };
            bad_connect(&body(version, 0b0000_0110, &payload), error);
        }
    }
}

#[test]
fn values_that_a_connect_may_not_ask_for_are_protocol_errors() {
    for property in [Property::ReceiveMaximum(0), Property::MaximumPacketSize(0)] {
        let error = Violation::PropertyValue { packet: CONNECT, property: property.id() };
        assert_eq!(error.reason(), Reason::ProtocolError);
        bad_connect(&with_properties(&[property]), error);
    }
    for property in [PropertyId::RequestProblemInformation, PropertyId::RequestResponseInformation] {
        let bytes =
            packet(CONNECT, 0, &[0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 0, 2, property as u8, 2, 0, 0]);
        bad_connect(&bytes, Violation::PropertyValue { packet: CONNECT, property });
    }
}

#[test]
fn authentication_data_needs_its_method() {
    let data = Property::AuthenticationData(b"x");
    bad_connect(&with_properties(&[data]), Violation::AuthenticationMethodMissing { packet: CONNECT });
    let bytes = with_properties(&[data, Property::AuthenticationMethod("m")]);
    assert!(read(Version::V5, &bytes).is_ok());
}

#[test]
fn user_properties_of_a_will_keep_their_order() {
    let list = [("b", "1"), ("a", "2"), ("b", "1")];
    let properties = PropertiesBuf::from_iter(list.map(Property::UserProperty));
    let will = Will { properties: properties.as_properties(), ..will() };
    let bytes = written(Version::V5, &Packet::Connect(Connect { will: Some(will), ..connect(Version::V5) }));
    let Ok(Packet::Connect(connect)) = read(Version::V5, &bytes) else { panic!() };
    assert!(connect.will.unwrap().properties.user_properties().eq(list));
}

#[test]
fn properties_of_a_will_do_not_belong_to_its_connect_nor_the_reverse() {
    let error = |property| Malformed::PropertyMisplaced { packet: CONNECT, property };
    bad_connect(&with_properties(&[Property::WillDelayInterval(1)]), error(PropertyId::WillDelayInterval));
    let payload = b"\0\x01c\x05\x11\0\0\0\x05\0\x01w\0\0";
    bad_connect(&body(Version::V5, 0b0000_0110, payload), error(PropertyId::SessionExpiryInterval));
}
