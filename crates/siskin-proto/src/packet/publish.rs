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
