use alloc::vec::Vec;

use super::PacketKind;
use crate::codec::read::Reader;
use crate::codec::write;
use crate::property::{self, PropertySet};
use crate::{
    DecodeError, Field, Malformed, PacketId, Properties, PropertyId, Qos, TopicError, TopicName, Version,
    Violation,
};

/// Carries a message, from a client to the server or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Whether it may have been sent before. Only above QoS 0.
    pub dup: bool,
    /// How often the message is to be delivered.
    pub qos: Qos,
    /// To a server: keep the message for the topic. To a client: the message was kept.
    pub retain: bool,
    /// The topic; `None` if only a topic alias tells it, as 5.0 allows.
    pub topic: Option<TopicName<'a>>,
    /// There is one exactly if the QoS is above 0.
    pub packet_id: Option<PacketId>,
    /// Topic alias and what goes with the message.
    pub properties: Properties<'a>,
    /// The message itself.
    pub payload: &'a [u8],
}

const PROPERTIES: PropertySet = PropertySet::of(&[
    PropertyId::PayloadFormatIndicator,
    PropertyId::MessageExpiryInterval,
    PropertyId::TopicAlias,
    PropertyId::ResponseTopic,
    PropertyId::CorrelationData,
    PropertyId::UserProperty,
    PropertyId::SubscriptionIdentifier,
    PropertyId::ContentType,
]);

const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

impl<'a> Publish<'a> {
    #[inline]
    pub(crate) fn decode(first: u8, reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        // [MQTT-3.3.1-4]
        let qos = Qos::from_u8((first >> 1) & 0b11).ok_or(Malformed::Qos { packet: PacketKind::Publish })?;
        let dup = first & DUP != 0;
        if dup && qos == Qos::AtMostOnce {
            return Err(Malformed::DupAtQos0.into()); // [MQTT-3.3.1-2]
        }
        let topic = reader.topic_name(Field::TopicName)?; // [MQTT-3.3.2-1] [MQTT-3.3.2-2]
        // [MQTT-2.3.1-1] [MQTT-2.3.1-5]
        let packet_id = if qos == Qos::AtMostOnce { None } else { Some(reader.packet_id()?) };
        let properties =
            if version.is_v5() { property::read(reader, PROPERTIES)? } else { Properties::EMPTY };
        if topic.is_none() {
            check_topic_may_be_empty(properties, version)?;
        }
        Ok(Self {
            dup,
            qos,
            retain: first & RETAIN != 0,
            topic,
            packet_id,
            properties,
            payload: reader.rest(),
        })
    }

    /// Appends the packet. Its [`encoded_len`](Self::encoded_len) must be within
    /// [`PACKET_SIZE_MAX`](crate::PACKET_SIZE_MAX).
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        self.encode_head(version, Properties::EMPTY, self.payload.len(), out);
        out.extend_from_slice(self.payload);
    }

    /// Appends all but the payload, which the caller sends behind it and which has `payload_len` bytes.
    /// The properties are those of the packet and, behind them, `extra`.
    #[inline]
    pub fn encode_head(
        &self,
        version: Version,
        extra: Properties<'_>,
        payload_len: usize,
        out: &mut Vec<u8>,
    ) {
        let head = self.head_len(version, extra.raw().len());
        // Not write::header: the payload may stay where it is, and needs no room here.
        out.reserve(5 + head);
        write::first_and_remaining(out, PacketKind::Publish, self.flags(), head + payload_len);
        write::binary(out, self.topic_text().as_bytes());
        if self.qos != Qos::AtMostOnce {
            debug_assert!(self.packet_id.is_some(), "a PUBLISH above QoS 0 has a packet id");
            write::u16(out, self.packet_id.map_or(0, PacketId::get));
        }
        if version.is_v5() {
            write::varint(out, self.properties.raw().len() + extra.raw().len());
            out.extend_from_slice(self.properties.raw());
            out.extend_from_slice(extra.raw());
        }
    }

    /// Appends all but the payload of a packet that has the variable header of another, which is all between its fixed header
    /// and its payload. DUP and QoS are 0, and so for the caller to set as the variable header wants it.
    #[inline]
    pub fn encode_head_of(retain: bool, variable_header: &[u8], payload_len: usize, out: &mut Vec<u8>) {
        out.reserve(5 + variable_header.len());
        let remaining = variable_header.len() + payload_len;
        write::first_and_remaining(out, PacketKind::Publish, u8::from(retain), remaining);
        out.extend_from_slice(variable_header);
    }

    /// How many bytes the whole packet takes with further properties of `extra_len` bytes.
    #[inline]
    pub fn encoded_len(&self, version: Version, extra_len: usize) -> usize {
        write::packet_len(self.head_len(version, extra_len) + self.payload.len())
    }

    /// The bytes between the fixed header and the payload.
    #[inline]
    fn head_len(&self, version: Version, extra_len: usize) -> usize {
        let properties_len = self.properties.raw().len() + extra_len;
        write::binary_len(self.topic_text().as_bytes())
            + if self.qos == Qos::AtMostOnce { 0 } else { 2 }
            + if version.is_v5() { write::varint_len(properties_len) + properties_len } else { 0 }
    }

    #[inline]
    fn topic_text(&self) -> &'a str {
        self.topic.map_or("", TopicName::as_str)
    }

    #[inline]
    fn flags(&self) -> u8 {
        // [MQTT-3.3.1-2]
        let dup = if self.dup && self.qos != Qos::AtMostOnce { DUP } else { 0 };
        dup | (self.qos as u8) << 1 | u8::from(self.retain)
    }
}

#[cold]
fn check_topic_may_be_empty(properties: Properties<'_>, version: Version) -> Result<(), DecodeError> {
    if !version.is_v5() {
        let error = TopicError::Empty; // [MQTT-4.7.3-1]
        return Err(Violation::TopicName { packet: PacketKind::Publish, error }.into());
    }
    if properties.topic_alias().is_none() {
        return Err(Violation::TopicMissing.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::{VERSIONS, VERSIONS_3, bad, good, id, packet, read, written};
    use crate::{Packet, PropertiesBuf, Property};

    const PUBLISH: PacketKind = PacketKind::Publish;

    fn publish(topic: &'static str, payload: &'static [u8]) -> Publish<'static> {
        Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic: Some(TopicName::parse(topic).unwrap()),
            packet_id: None,
            properties: Properties::EMPTY,
            payload,
        }
    }

    fn at(qos: Qos, publish: Publish<'static>) -> Publish<'static> {
        Publish { qos, packet_id: Some(id(0x0102)), ..publish }
    }

    #[test]
    fn every_flag_has_its_bit() {
        for version in VERSIONS_3 {
            let plain = publish("a/b", b"hi");
            good(version, b"\x30\x07\0\x03a/bhi", &Packet::Publish(plain));
            good(version, b"\x31\x07\0\x03a/bhi", &Packet::Publish(Publish { retain: true, ..plain }));
            let once = at(Qos::AtLeastOnce, plain);
            good(version, b"\x32\x09\0\x03a/b\x01\x02hi", &Packet::Publish(once));
            good(version, b"\x3A\x09\0\x03a/b\x01\x02hi", &Packet::Publish(Publish { dup: true, ..once }));
            let exactly = at(Qos::ExactlyOnce, plain);
            good(version, b"\x34\x09\0\x03a/b\x01\x02hi", &Packet::Publish(exactly));
            let all = Publish { dup: true, retain: true, ..exactly };
            good(version, b"\x3D\x09\0\x03a/b\x01\x02hi", &Packet::Publish(all));
        }
    }

    #[test]
    fn properties_stand_before_the_payload() {
        let plain = publish("a", b"hi");
        good(Version::V5, b"\x30\x06\0\x01a\0hi", &Packet::Publish(plain));
        let properties = PropertiesBuf::from_iter([Property::TopicAlias(7)]);
        let aliased = Publish { properties: properties.as_properties(), ..plain };
        good(Version::V5, b"\x30\x09\0\x01a\x03\x23\0\x07hi", &Packet::Publish(aliased));
        let alias_only = Publish { topic: None, payload: b"", ..aliased };
        good(Version::V5, b"\x30\x06\0\0\x03\x23\0\x07", &Packet::Publish(alias_only));
        let once = Publish { qos: Qos::AtLeastOnce, packet_id: Some(id(9)), ..plain };
        good(Version::V5, b"\x32\x08\0\x01a\0\x09\0hi", &Packet::Publish(once));
    }

    #[test]
    fn a_payload_may_be_empty_and_of_any_bytes() {
        for version in VERSIONS_3 {
            good(
                version,
                b"\x31\x03\0\x01a",
                &Packet::Publish(Publish { retain: true, ..publish("a", b"") }),
            );
            good(version, b"\x30\x06\0\x01a\0\xFF\0", &Packet::Publish(publish("a", b"\0\xFF\0")));
        }
    }

    #[test]
    fn a_publish_of_qos_0_has_no_packet_id() {
        for version in VERSIONS {
            let bytes =
                written(version, &Packet::Publish(Publish { packet_id: Some(id(7)), ..publish("a", b"") }));
            assert_eq!(bytes.len(), if version.is_v5() { 6 } else { 5 });
            let Ok(Packet::Publish(publish)) = read(version, &bytes) else { panic!() };
            assert_eq!(publish.packet_id, None);
        }
    }

    #[test]
    fn packet_id_0_is_a_protocol_error_above_qos_0() {
        for version in VERSIONS {
            for flags in [0b0010, 0b0100] {
                bad(
                    version,
                    &packet(PUBLISH, flags, b"\0\x01a\0\0\0"),
                    Violation::PacketIdZero { packet: PUBLISH },
                );
            }
        }
    }

    #[test]
    fn qos_3_is_malformed() {
        for version in VERSIONS {
            for flags in [0b0110, 0b1111] {
                bad(version, &packet(PUBLISH, flags, b"\0\x01a\0\x01\0"), Malformed::Qos { packet: PUBLISH });
            }
        }
    }

    #[test]
    fn dup_at_qos_0_is_malformed() {
        for version in VERSIONS {
            for flags in [0b1000, 0b1001] {
                bad(version, &packet(PUBLISH, flags, b"\0\x01a\0"), Malformed::DupAtQos0);
            }
        }
    }

    #[test]
    fn dup_is_never_written_at_qos_0() {
        for version in VERSIONS {
            let bytes = written(version, &Packet::Publish(Publish { dup: true, ..publish("a", b"") }));
            assert_eq!(bytes[0], 0x30);
        }
    }

    #[test]
    fn the_topic_name_comes_first_and_is_utf_8() {
        for version in VERSIONS {
            let body = b"\0\x01\xFF\0";
            bad(
                version,
                &packet(PUBLISH, 0, body),
                Malformed::Utf8 { packet: PUBLISH, field: Field::TopicName },
            );
            let body = b"\0\x03\xED\xA0\x80\0";
            bad(
                version,
                &packet(PUBLISH, 0, body),
                Malformed::Utf8 { packet: PUBLISH, field: Field::TopicName },
            );
            let body = b"\0\x03a\0b\0";
            bad(
                version,
                &packet(PUBLISH, 0, body),
                Malformed::Nul { packet: PUBLISH, field: Field::TopicName },
            );
        }
    }

    #[test]
    fn a_wildcard_in_the_topic_name_makes_it_invalid() {
        for version in VERSIONS {
            for body in [&b"\0\x03a/+\0"[..], b"\0\x01#\0", b"\0\x02a#\0"] {
                let error = Violation::TopicName { packet: PUBLISH, error: TopicError::Wildcard };
                assert_eq!(error.reason(), crate::Reason::TopicNameInvalid);
                bad(version, &packet(PUBLISH, 0, body), error);
            }
        }
    }

    #[test]
    fn an_empty_topic_name_needs_an_alias() {
        for version in VERSIONS_3 {
            let error = Violation::TopicName { packet: PUBLISH, error: TopicError::Empty };
            bad(version, b"\x30\x02\0\0", error);
        }
        bad(Version::V5, b"\x30\x03\0\0\0", Violation::TopicMissing);
        bad(Version::V5, b"\x30\x05\0\0\x02\x01\x01", Violation::TopicMissing);
    }

    #[test]
    fn topic_alias_0_is_invalid() {
        bad(Version::V5, b"\x30\x07\0\x01a\x03\x23\0\0", Violation::TopicAliasZero);
        assert_eq!(Violation::TopicAliasZero.reason(), crate::Reason::TopicAliasInvalid);
    }

    #[test]
    fn a_response_topic_is_utf_8_without_wildcards() {
        let field = Field::Property(PropertyId::ResponseTopic);
        bad(Version::V5, b"\x30\x08\0\x01a\x04\x08\0\x01\xFF", Malformed::Utf8 { packet: PUBLISH, field });
        let error = Violation::PropertyValue { packet: PUBLISH, property: PropertyId::ResponseTopic };
        for body in [&b"\0\x01a\x04\x08\0\x01+"[..], b"\0\x01a\x04\x08\0\x01#", b"\0\x01a\x03\x08\0\0"] {
            bad(Version::V5, &packet(PUBLISH, 0, body), error);
        }
    }

    #[test]
    fn a_content_type_is_utf_8() {
        let field = Field::Property(PropertyId::ContentType);
        bad(Version::V5, b"\x30\x08\0\x01a\x04\x03\0\x01\xFF", Malformed::Utf8 { packet: PUBLISH, field });
        bad(Version::V5, b"\x30\x08\0\x01a\x04\x03\0\x01\0", Malformed::Nul { packet: PUBLISH, field });
    }

    #[test]
    fn what_goes_with_the_message_comes_out_unaltered_and_in_order() {
        let list = [
            Property::UserProperty(("k", "1")),
            Property::PayloadFormatIndicator(1),
            Property::ContentType("text/\u{FEFF}plain"),
            Property::UserProperty(("k", "1")),
            Property::ResponseTopic("re/A\u{308}"),
            Property::CorrelationData(b"\0\xFF\x80"),
            Property::UserProperty(("", "")),
            Property::MessageExpiryInterval(0),
        ];
        let properties = PropertiesBuf::from_iter(list);
        let sent = Publish { properties: properties.as_properties(), ..publish("a", b"x") };
        let bytes = written(Version::V5, &Packet::Publish(sent));
        let Ok(Packet::Publish(got)) = read(Version::V5, &bytes) else { panic!() };
        assert_eq!(got.properties.iter().collect::<Vec<_>>(), list);
        assert_eq!(got.properties.raw(), properties.as_properties().raw());
    }

    #[test]
    fn several_subscription_identifiers_say_which_subscriptions_match() {
        let bytes = b"\x30\x0A\0\x01a\x05\x0B\x07\x0B\x80\x01x";
        let Ok(Packet::Publish(publish)) = read(Version::V5, bytes) else { panic!() };
        assert_eq!(publish.properties.subscription_identifiers().collect::<Vec<_>>(), [7, 128]);
    }

    #[test]
    fn a_head_is_the_packet_without_its_payload_and_with_further_properties() {
        let own = PropertiesBuf::from_iter([Property::PayloadFormatIndicator(1)]);
        let extra = PropertiesBuf::from_iter([Property::SubscriptionIdentifier(3)]);
        let publish = Publish { properties: own.as_properties(), ..publish("a", b"hi") };
        let mut out = b"before".to_vec();
        publish.encode_head(Version::V5, extra.as_properties(), 2, &mut out);
        assert_eq!(out, b"before\x30\x0A\0\x01a\x04\x01\x01\x0B\x03");
        assert_eq!(out.len() - 6 + 2, publish.encoded_len(Version::V5, 2));
        // 3.1.1 has no properties to add.
        out.clear();
        publish.encode_head(Version::V3_1_1, extra.as_properties(), 2, &mut out);
        assert_eq!(out, b"\x30\x05\0\x01a");
    }

    #[test]
    fn the_header_of_the_largest_payload_takes_five_bytes() {
        let publish = publish("a", b"");
        let mut out = Vec::new();
        publish.encode_head(Version::V3_1_1, Properties::EMPTY, 268_435_455 - 3, &mut out);
        assert_eq!(out, b"\x30\xFF\xFF\xFF\x7F\0\x01a");
    }
}
