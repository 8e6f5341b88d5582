use super::*;
use crate::codec::testing::{bad, packet, read as read_packet};
use crate::{Connect, Field, Malformed, Packet, PacketKind, Reason, Version, Violation};

/// One of each, with its bytes.
const EACH: [(Property<'static>, &[u8]); 27] = [
    (Property::PayloadFormatIndicator(1), b"\x01\x01"),
    (Property::MessageExpiryInterval(2), b"\x02\0\0\0\x02"),
    (Property::ContentType("t"), b"\x03\0\x01t"),
    (Property::ResponseTopic("r/t"), b"\x08\0\x03r/t"),
    (Property::CorrelationData(b"\0\xFF"), b"\x09\0\x02\0\xFF"),
    (Property::SubscriptionIdentifier(128), b"\x0B\x80\x01"),
    (Property::SessionExpiryInterval(u32::MAX), b"\x11\xFF\xFF\xFF\xFF"),
    (Property::AssignedClientIdentifier("i"), b"\x12\0\x01i"),
    (Property::ServerKeepAlive(0x0102), b"\x13\x01\x02"),
    (Property::AuthenticationMethod("m"), b"\x15\0\x01m"),
    (Property::AuthenticationData(b""), b"\x16\0\0"),
    (Property::RequestProblemInformation(true), b"\x17\x01"),
    (Property::WillDelayInterval(0), b"\x18\0\0\0\0"),
    (Property::RequestResponseInformation(false), b"\x19\0"),
    (Property::ResponseInformation("r"), b"\x1A\0\x01r"),
    (Property::ServerReference("s"), b"\x1C\0\x01s"),
    (Property::ReasonString(""), b"\x1F\0\0"),
    (Property::ReceiveMaximum(10), b"\x21\0\x0A"),
    (Property::TopicAliasMaximum(0), b"\x22\0\0"),
    (Property::TopicAlias(5), b"\x23\0\x05"),
    (Property::MaximumQos(1), b"\x24\x01"),
    (Property::RetainAvailable(false), b"\x25\0"),
    (Property::UserProperty(("k", "v")), b"\x26\0\x01k\0\x01v"),
    (Property::MaximumPacketSize(1), b"\x27\0\0\0\x01"),
    (Property::WildcardSubscriptionAvailable(true), b"\x28\x01"),
    (Property::SubscriptionIdentifierAvailable(true), b"\x29\x01"),
    (Property::SharedSubscriptionAvailable(true), b"\x2A\x01"),
];

/// The packets that have properties, each with its property length at the end of the head.
const PLACES: [(PacketKind, u8, &[u8], &[u8]); 14] = [
    (PacketKind::Connect, 0, b"\0\x04MQTT\x05\x02\0\0", b"\0\0"),
    (PacketKind::ConnAck, 0, b"\0\0", b""),
    (PacketKind::Publish, 0, b"\0\x01a", b""),
    (PacketKind::PubAck, 0, b"\0\x01\0", b""),
    (PacketKind::PubRec, 0, b"\0\x01\0", b""),
    (PacketKind::PubRel, 2, b"\0\x01\0", b""),
    (PacketKind::PubComp, 0, b"\0\x01\0", b""),
    (PacketKind::Subscribe, 2, b"\0\x01", b"\0\x01a\0"),
    (PacketKind::SubAck, 0, b"\0\x01", b"\0"),
    (PacketKind::Unsubscribe, 2, b"\0\x01", b"\0\x01a"),
    (PacketKind::UnsubAck, 0, b"\0\x01", b"\0"),
    (PacketKind::Disconnect, 0, b"\0", b""),
    (PacketKind::Auth, 0, b"\x18", b""),
    // The will of a CONNECT.
    (PacketKind::Connect, 0, b"\0\x04MQTT\x05\x06\0\0\0\0\0", b"\0\x01w\0\0"),
];

/// Column by column the packets of table 2-4 of 5.0, in the order of [`PLACES`].
const BELONGS: [(u8, &[PacketKind], bool); 27] = {
    use PacketKind::*;
    [
        (0x01, &[Publish], true),
        (0x02, &[Publish], true),
        (0x03, &[Publish], true),
        (0x08, &[Publish], true),
        (0x09, &[Publish], true),
        (0x0B, &[Publish, Subscribe], false),
        (0x11, &[Connect, ConnAck, Disconnect], false),
        (0x12, &[ConnAck], false),
        (0x13, &[ConnAck], false),
        (0x15, &[Connect, ConnAck, Auth], false),
        (0x16, &[Connect, ConnAck, Auth], false),
        (0x17, &[Connect], false),
        (0x18, &[], true),
        (0x19, &[Connect], false),
        (0x1A, &[ConnAck], false),
        (0x1C, &[ConnAck, Disconnect], false),
        (0x1F, &[ConnAck, PubAck, PubRec, PubRel, PubComp, SubAck, UnsubAck, Disconnect, Auth], false),
        (0x21, &[Connect, ConnAck], false),
        (0x22, &[Connect, ConnAck], false),
        (0x23, &[Publish], false),
        (0x24, &[ConnAck], false),
        (0x25, &[ConnAck], false),
        (
            0x26,
            &[
                Connect,
                ConnAck,
                Publish,
                PubAck,
                PubRec,
                PubRel,
                PubComp,
                Subscribe,
                SubAck,
                Unsubscribe,
                UnsubAck,
                Disconnect,
                Auth,
            ],
            true,
        ),
        (0x27, &[Connect, ConnAck], false),
        (0x28, &[ConnAck], false),
        (0x29, &[ConnAck], false),
        (0x2A, &[ConnAck], false),
    ]
};

fn with(place: (PacketKind, u8, &[u8], &[u8]), properties: &[u8]) -> Vec<u8> {
    let (kind, flags, head, tail) = place;
    packet(kind, flags, &[head, &[properties.len() as u8], properties, tail].concat())
}

/// A CONNECT with these properties.
fn connect(properties: &[u8]) -> Vec<u8> {
    with(PLACES[0], properties)
}

/// A PUBLISH with these properties.
fn publish(properties: &[u8]) -> Vec<u8> {
    with(PLACES[2], properties)
}

#[test]
fn every_property_has_its_number_and_its_shape() {
    for (property, bytes) in EACH {
        let mut out = Vec::new();
        property.encode(&mut out);
        assert_eq!(out, bytes, "{property:?}");
        assert_eq!(property.encoded_len(), bytes.len());
        assert_eq!(Properties::from_valid_raw(bytes).iter().collect::<Vec<_>>(), [property]);
        assert_eq!(PropertyId::from_u8(bytes[0]), Some(property.id()));
    }
    assert!(EACH.iter().map(|(property, _)| property.id()).eq(PropertyId::ALL.iter().copied()));
}

#[test]
fn a_property_may_stand_only_in_its_packets() {
    for (index, place) in PLACES.into_iter().enumerate() {
        let is_will = index == PLACES.len() - 1;
        for ((property, bytes), (number, packets, in_will)) in EACH.into_iter().zip(BELONGS) {
            assert_eq!(property.id() as u8, number);
            let belongs = if is_will { in_will } else { packets.contains(&place.0) };
            // An AUTH must, and authentication data may only, stand beside a method.
            let needs_method =
                !is_will && (place.0 == PacketKind::Auth || number == 0x16) && number != 0x15 && belongs;
            let method: &[u8] = if needs_method { b"\x15\0\x01m" } else { b"" };
            let packet = with(place, &[method, bytes].concat());
            if belongs {
                assert!(read_packet(Version::V5, &packet).is_ok(), "{property:?} in {}", place.0);
            } else {
                let error = Malformed::PropertyMisplaced { packet: place.0, property: property.id() };
                bad(Version::V5, &packet, error);
            }
        }
    }
}

#[test]
fn an_unknown_property_is_malformed() {
    for number in (0..0x80).filter(|number| PropertyId::from_u8(*number).is_none()) {
        let error = Malformed::PropertyUnknown { packet: PacketKind::Publish, id: u32::from(number) };
        bad(Version::V5, &publish(&[number, 0, 0]), error);
    }
    // The number of a property is a variable byte integer too.
    let error = Malformed::PropertyUnknown { packet: PacketKind::Publish, id: 129 };
    bad(Version::V5, &publish(&[0x81, 0x01, 0]), error);
}

#[test]
fn a_property_twice_is_a_protocol_error() {
    for (property, bytes) in EACH {
        let (_, packets, in_will) = BELONGS[EACH.iter().position(|(other, _)| *other == property).unwrap()];
        let place = match packets.iter().find(|packet| **packet != PacketKind::Auth) {
            Some(packet) => PLACES.into_iter().find(|place| place.0 == *packet).unwrap(),
            None => {
                assert!(in_will);
                PLACES[13]
            }
        };
        let method: &[u8] = if property.id() as u8 == 0x16 { b"\x15\0\x01m" } else { b"" };
        let packet = with(place, &[method, bytes, bytes].concat());
        if matches!(property, Property::UserProperty(_) | Property::SubscriptionIdentifier(_)) {
            assert!(read_packet(Version::V5, &packet).is_ok());
        } else {
            let error = Violation::PropertyRepeated { packet: place.0, property: property.id() };
            assert_eq!(error.reason(), Reason::ProtocolError);
            bad(Version::V5, &packet, error);
        }
    }
}

#[test]
fn a_property_cut_short_is_malformed() {
    for (property, bytes) in EACH {
        let (_, packets, _) = BELONGS[EACH.iter().position(|(other, _)| *other == property).unwrap()];
        let place = match packets.first() {
            Some(packet) => PLACES.into_iter().find(|place| place.0 == *packet).unwrap(),
            None => PLACES[13],
        };
        for end in 1..bytes.len() {
            let field = Field::Property(property.id());
            bad(Version::V5, &with(place, &bytes[..end]), Malformed::Truncated { packet: place.0, field });
        }
    }
}

#[test]
fn a_property_length_past_the_end_is_malformed() {
    let error = Malformed::Truncated { packet: PacketKind::Publish, field: Field::PropertyLength };
    bad(Version::V5, b"\x30\x04\0\x01a\x01", error);
    bad(Version::V5, b"\x30\x04\0\x01a\x80", error);
    bad(Version::V5, b"\x30\x03\0\x01a", error);
}

#[test]
fn variable_byte_integers_use_the_fewest_bytes() {
    let error = |field| Malformed::VarInt { packet: PacketKind::Publish, field };
    bad(Version::V5, b"\x30\x05\0\x01a\x80\0", error(Field::PropertyLength));
    bad(Version::V5, b"\x30\x08\0\x01a\x80\x80\x80\x80\0", error(Field::PropertyLength));
    bad(Version::V5, &publish(b"\x81\0\x01"), error(Field::PropertyId));
    let field = Field::Property(PropertyId::SubscriptionIdentifier);
    bad(Version::V5, &publish(b"\x0B\x81\0"), error(field));
    bad(Version::V5, &publish(b"\x0B\xFF\xFF\xFF\xFF\x7F"), error(field));
    assert!(read_packet(Version::V5, &publish(b"\x0B\xFF\xFF\xFF\x7F")).is_ok());
}

#[test]
fn both_halves_of_a_pair_are_strings() {
    let field = Field::Property(PropertyId::UserProperty);
    let packet = PacketKind::Publish;
    for properties in [&b"\x26\0\x01\xFF\0\x01v"[..], b"\x26\0\x01k\0\x01\xFF"] {
        bad(Version::V5, &publish(properties), Malformed::Utf8 { packet, field });
    }
    for properties in [&b"\x26\0\x01\0\0\x01v"[..], b"\x26\0\x01k\0\x01\0"] {
        bad(Version::V5, &publish(properties), Malformed::Nul { packet, field });
    }
}

#[test]
fn values_out_of_range_are_protocol_errors() {
    for (place, properties) in [
        (PLACES[0], &b"\x21\0\0"[..]),
        (PLACES[0], b"\x27\0\0\0\0"),
        (PLACES[0], b"\x17\x02"),
        (PLACES[0], b"\x19\xFF"),
        (PLACES[1], b"\x21\0\0"),
        (PLACES[1], b"\x27\0\0\0\0"),
        (PLACES[1], b"\x24\x02"),
        (PLACES[1], b"\x25\x02"),
        (PLACES[1], b"\x28\x02"),
        (PLACES[1], b"\x29\x02"),
        (PLACES[1], b"\x2A\x02"),
        (PLACES[2], b"\x01\x02"),
        (PLACES[2], b"\x0B\0"),
        (PLACES[2], b"\x08\0\x01#"),
        (PLACES[13], b"\x01\x02"),
        (PLACES[13], b"\x08\0\x01+"),
    ] {
        let property = PropertyId::from_u8(properties[0]).unwrap();
        bad(Version::V5, &with(place, properties), Violation::PropertyValue { packet: place.0, property });
    }
}

#[test]
fn a_property_is_found_wherever_it_stands() {
    let all: PropertiesBuf = EACH.iter().map(|(property, _)| *property).collect();
    for properties in [all, EACH.iter().rev().map(|(property, _)| *property).collect()] {
        let properties = properties.as_properties();
        assert_eq!(properties.payload_format_indicator(), Some(1));
        assert_eq!(properties.message_expiry_interval(), Some(2));
        assert_eq!(properties.content_type(), Some("t"));
        assert_eq!(properties.response_topic(), Some("r/t"));
        assert_eq!(properties.correlation_data(), Some(&b"\0\xFF"[..]));
        assert_eq!(properties.subscription_identifiers().collect::<Vec<_>>(), [128]);
        assert_eq!(properties.session_expiry_interval(), Some(u32::MAX));
        assert_eq!(properties.assigned_client_identifier(), Some("i"));
        assert_eq!(properties.server_keep_alive(), Some(0x0102));
        assert_eq!(properties.authentication_method(), Some("m"));
        assert_eq!(properties.authentication_data(), Some(&b""[..]));
        assert_eq!(properties.request_problem_information(), Some(true));
        assert_eq!(properties.will_delay_interval(), Some(0));
        assert_eq!(properties.request_response_information(), Some(false));
        assert_eq!(properties.response_information(), Some("r"));
        assert_eq!(properties.server_reference(), Some("s"));
        assert_eq!(properties.reason_string(), Some(""));
        assert_eq!(properties.receive_maximum(), Some(10));
        assert_eq!(properties.topic_alias_maximum(), Some(0));
        assert_eq!(properties.topic_alias(), Some(5));
        assert_eq!(properties.maximum_qos(), Some(1));
        assert_eq!(properties.retain_available(), Some(false));
        assert_eq!(properties.user_properties().collect::<Vec<_>>(), [("k", "v")]);
        assert_eq!(properties.maximum_packet_size(), Some(1));
        assert_eq!(properties.wildcard_subscription_available(), Some(true));
        assert_eq!(properties.subscription_identifier_available(), Some(true));
        assert_eq!(properties.shared_subscription_available(), Some(true));
    }
    assert_eq!(Properties::EMPTY.session_expiry_interval(), None);
    assert!(Properties::EMPTY.is_empty());
}

#[test]
fn bytes_that_are_no_properties_end_the_list() {
    for raw in
        [&b"\x01\x01\xFF\x02"[..], b"\x01\x01\x03\xFF\xFF", b"\x01\x01\x03\0\x01\xFF", b"\x01\x01\x25\x07"]
    {
        let properties = Properties::from_valid_raw(raw);
        assert_eq!(properties.iter().collect::<Vec<_>>(), [Property::PayloadFormatIndicator(1)]);
        assert_eq!(properties.topic_alias(), None);
    }
}

#[test]
fn the_bytes_of_a_list_are_given_as_they_came() {
    let bytes = connect(b"\x22\0\x05\x21\0\x0A");
    let Ok(Packet::Connect(Connect { properties, .. })) = read_packet(Version::V5, &bytes) else { panic!() };
    assert_eq!(properties.raw(), b"\x22\0\x05\x21\0\x0A");
    let list = format!("{properties:?}");
    assert_eq!(list, "[TopicAliasMaximum(5), ReceiveMaximum(10)]");
}

#[test]
fn a_buffer_holds_what_was_pushed_until_it_is_cleared() {
    let mut buf = PropertiesBuf::new();
    assert!(buf.as_properties().is_empty());
    buf.push(Property::TopicAlias(1));
    buf.push(Property::UserProperty(("a", "b")));
    assert_eq!(buf.as_properties().raw(), b"\x23\0\x01\x26\0\x01a\0\x01b");
    buf.clear();
    assert_eq!(buf, PropertiesBuf::default());
}
