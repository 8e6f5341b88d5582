use alloc::vec::Vec;

use super::PacketKind;
use crate::codec::read::Reader;
use crate::codec::write;
use crate::property::{self, PropertySet};
use crate::{
    DecodeError, Field, Malformed, PacketId, Properties, PropertyId, Qos, TopicFilter, Version, Violation,
};

/// Asks for the messages that match one or more filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Ties it to its SUBACK.
    pub packet_id: PacketId,
    /// Subscription identifier and user properties.
    pub properties: Properties<'a>,
    /// At least one.
    pub filters: Vec<(TopicFilter<'a>, SubscriptionOptions)>,
}

/// How messages are delivered to a subscription. Before 5.0 there is only the QoS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscriptionOptions {
    /// The highest QoS to deliver at.
    pub qos: Qos,
    /// Leave out what the client itself published.
    pub no_local: bool,
    /// Leave the RETAIN flag as the publisher set it.
    pub retain_as_published: bool,
    /// Whether retained messages are sent when the subscription is made.
    pub retain_handling: RetainHandling,
}

/// Whether a new subscription gets the retained messages that match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// At every SUBSCRIBE.
    #[default]
    SendAtSubscribe = 0,
    /// Only if the subscription did not stand before.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

const PROPERTIES: PropertySet =
    PropertySet::of(&[PropertyId::SubscriptionIdentifier, PropertyId::UserProperty]);

const QOS: u8 = 0b0000_0011;
const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const RETAIN_HANDLING_SHIFT: u32 = 4;
const RESERVED: u8 = 0b1100_0000;

impl<'a> Subscribe<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id()?;
        let properties =
            if version.is_v5() { property::read(reader, PROPERTIES)? } else { Properties::EMPTY };
        if reader.is_empty() {
            return Err(Violation::NoFilters { packet: PacketKind::Subscribe }.into()); // [MQTT-3.8.3-3]
        }
        let mut filters = Vec::new();
        while !reader.is_empty() {
            let filter = reader.topic_filter()?;
            let options = reader.u8(Field::SubscriptionOptions)?;
            filters.push((filter, SubscriptionOptions::decode(options, version)?));
        }
        Ok(Self { packet_id, properties, filters })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        write::header(out, PacketKind::Subscribe, 0b0010, self.remaining(version));
        write::u16(out, self.packet_id.get());
        write::properties(out, version, self.properties);
        for (filter, options) in &self.filters {
            write::string(out, filter.as_str());
            out.push(options.encode(version));
        }
    }

    /// How many bytes [`encode`](Self::encode) appends.
    pub fn encoded_len(&self, version: Version) -> usize {
        write::packet_len(self.remaining(version))
    }

    fn remaining(&self, version: Version) -> usize {
        let filters: usize =
            self.filters.iter().map(|(filter, _)| write::string_len(filter.as_str()) + 1).sum();
        2 + write::properties_len(version, self.properties) + filters
    }
}

impl SubscriptionOptions {
    fn decode(options: u8, version: Version) -> Result<Self, DecodeError> {
        let qos = Qos::from_u8(options & QOS);
        if !version.is_v5() {
            return match qos {
                Some(qos) if options & !QOS == 0 => Ok(Self { qos, ..Self::default() }),
                Some(_) => Err(Malformed::SubscriptionOptions(options).into()), // [MQTT-3-8.3-4]
                None => Err(Malformed::Qos { packet: PacketKind::Subscribe }.into()), // [MQTT-3-8.3-4]
            };
        }
        if options & RESERVED != 0 {
            return Err(Malformed::SubscriptionOptions(options).into()); // [MQTT5 3.8.3-5]
        }
        Ok(Self {
            qos: qos.ok_or(Violation::SubscriptionQos)?,
            no_local: options & NO_LOCAL != 0,
            retain_as_published: options & RETAIN_AS_PUBLISHED != 0,
            retain_handling: match options >> RETAIN_HANDLING_SHIFT {
                0 => RetainHandling::SendAtSubscribe,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return Err(Violation::RetainHandling.into()),
            },
        })
    }

    fn encode(self, version: Version) -> u8 {
        let qos = self.qos as u8;
        if !version.is_v5() {
            return qos;
        }
        qos | if self.no_local { NO_LOCAL } else { 0 }
            | if self.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 }
            | (self.retain_handling as u8) << RETAIN_HANDLING_SHIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::{VERSIONS, VERSIONS_3, bad, good, id, packet};
    use crate::{Packet, PropertiesBuf, Property, Reason, TopicError};

    const SUBSCRIBE: PacketKind = PacketKind::Subscribe;

    fn subscribe(filters: &[(&'static str, SubscriptionOptions)]) -> Subscribe<'static> {
        let filters =
            filters.iter().map(|(text, options)| (TopicFilter::parse(text).unwrap(), *options)).collect();
        Subscribe { packet_id: id(0x0102), properties: Properties::EMPTY, filters }
    }

    fn at(qos: Qos) -> SubscriptionOptions {
        SubscriptionOptions { qos, ..SubscriptionOptions::default() }
    }

    #[test]
    fn filters_stand_one_after_the_other_each_with_its_options() {
        let filters =
            [("a/+", at(Qos::AtMostOnce)), ("#", at(Qos::ExactlyOnce)), ("b", at(Qos::AtLeastOnce))];
        let packet = Packet::Subscribe(subscribe(&filters));
        for version in VERSIONS_3 {
            good(version, b"\x82\x10\x01\x02\0\x03a/+\0\0\x01#\x02\0\x01b\x01", &packet);
        }
        good(Version::V5, b"\x82\x11\x01\x02\0\0\x03a/+\0\0\x01#\x02\0\x01b\x01", &packet);
    }

    #[test]
    fn every_option_has_its_bits() {
        for (bits, options) in [
            (0x01, at(Qos::AtLeastOnce)),
            (0x04, SubscriptionOptions { no_local: true, ..at(Qos::AtMostOnce) }),
            (0x08, SubscriptionOptions { retain_as_published: true, ..at(Qos::AtMostOnce) }),
            (0x10, SubscriptionOptions { retain_handling: RetainHandling::SendIfNew, ..at(Qos::AtMostOnce) }),
            (
                0x22,
                SubscriptionOptions { retain_handling: RetainHandling::DoNotSend, ..at(Qos::ExactlyOnce) },
            ),
        ] {
            let body = [1, 2, 0, 0, 1, b'a', bits];
            let subscribe = Packet::Subscribe(subscribe(&[("a", options)]));
            good(Version::V5, &packet(SUBSCRIBE, 2, &body), &subscribe);
        }
    }

    #[test]
    fn a_subscription_identifier_may_stand_once_and_is_not_0() {
        let properties = PropertiesBuf::from_iter([Property::SubscriptionIdentifier(268_435_455)]);
        let subscribe =
            Subscribe { properties: properties.as_properties(), ..subscribe(&[("a", at(Qos::AtMostOnce))]) };
        let bytes = b"\x82\x0C\x01\x02\x05\x0B\xFF\xFF\xFF\x7F\0\x01a\0";
        good(Version::V5, bytes, &Packet::Subscribe(subscribe));
        let property = PropertyId::SubscriptionIdentifier;
        let zero = b"\x82\x09\x01\x02\x02\x0B\0\0\x01a\0";
        bad(Version::V5, zero, Violation::PropertyValue { packet: SUBSCRIBE, property });
        let twice = b"\x82\x0B\x01\x02\x04\x0B\x01\x0B\x02\0\x01a\0";
        bad(Version::V5, twice, Violation::PropertyRepeated { packet: SUBSCRIBE, property });
    }

    #[test]
    fn a_subscribe_without_a_filter_is_a_protocol_error() {
        for version in VERSIONS_3 {
            bad(version, b"\x82\x02\x01\x02", Violation::NoFilters { packet: SUBSCRIBE });
        }
        bad(Version::V5, b"\x82\x03\x01\x02\0", Violation::NoFilters { packet: SUBSCRIBE });
        assert_eq!(Violation::NoFilters { packet: SUBSCRIBE }.reason(), Reason::ProtocolError);
    }

    #[test]
    fn before_5_the_options_byte_is_a_qos_and_nothing_else() {
        for version in VERSIONS_3 {
            for options in 3..=u8::MAX {
                let bytes = packet(SUBSCRIBE, 2, &[1, 2, 0, 1, b'a', options]);
                if options & 0b11 == 3 {
                    bad(version, &bytes, Malformed::Qos { packet: SUBSCRIBE });
                } else {
                    bad(version, &bytes, Malformed::SubscriptionOptions(options));
                }
            }
        }
    }

    #[test]
    fn a_reserved_bit_in_the_options_is_malformed() {
        for options in [0x40, 0x80, 0xC1, 0x43] {
            let bytes = packet(SUBSCRIBE, 2, &[1, 2, 0, 0, 1, b'a', options]);
            bad(Version::V5, &bytes, Malformed::SubscriptionOptions(options));
        }
    }

    #[test]
    fn qos_3_and_retain_handling_3_are_protocol_errors_in_5() {
        bad(Version::V5, b"\x82\x07\x01\x02\0\0\x01a\x03", Violation::SubscriptionQos);
        bad(Version::V5, b"\x82\x07\x01\x02\0\0\x01a\x30", Violation::RetainHandling);
        assert_eq!(Violation::SubscriptionQos.reason(), Reason::ProtocolError);
        assert_eq!(Violation::RetainHandling.reason(), Reason::ProtocolError);
    }

    #[test]
    fn a_filter_is_utf_8() {
        let field = Field::TopicFilter;
        for version in VERSIONS_3 {
            bad(version, b"\x82\x06\x01\x02\0\x01\xC0\0", Malformed::Utf8 { packet: SUBSCRIBE, field });
            bad(version, b"\x82\x06\x01\x02\0\x01\0\0", Malformed::Nul { packet: SUBSCRIBE, field });
        }
        bad(Version::V5, b"\x82\x07\x01\x02\0\0\x01\xC0\0", Malformed::Utf8 { packet: SUBSCRIBE, field });
        bad(Version::V5, b"\x82\x07\x01\x02\0\0\x01\0\0", Malformed::Nul { packet: SUBSCRIBE, field });
    }

    #[test]
    fn an_invalid_filter_is_named_as_such() {
        for (text, error) in [
            ("", TopicError::Empty),
            ("a#", TopicError::MultiLevel),
            ("a+", TopicError::SingleLevel),
            ("$share//a", TopicError::ShareName),
            ("$share/g", TopicError::ShareFilter),
        ] {
            for version in VERSIONS {
                let mut body = vec![1, 2];
                body.extend_from_slice(if version.is_v5() { &[0] } else { &[] });
                crate::codec::write::string(&mut body, text);
                body.push(0);
                let error = Violation::TopicFilter { packet: SUBSCRIBE, error };
                assert_eq!(error.reason(), Reason::TopicFilterInvalid);
                bad(version, &packet(SUBSCRIBE, 2, &body), error);
            }
        }
    }

    #[test]
    fn a_filter_needs_its_options() {
        let error = Malformed::Truncated { packet: SUBSCRIBE, field: Field::SubscriptionOptions };
        bad(Version::V3_1_1, b"\x82\x05\x01\x02\0\x01a", error);
        bad(Version::V5, b"\x82\x06\x01\x02\0\0\x01a", error);
    }

    #[test]
    fn packet_id_0_is_a_protocol_error() {
        for version in VERSIONS {
            bad(version, b"\x82\x07\0\0\0\0\x01a\0", Violation::PacketIdZero { packet: SUBSCRIBE });
        }
    }
}
