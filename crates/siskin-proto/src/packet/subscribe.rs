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
