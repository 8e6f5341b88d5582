use super::{Properties, Property, PropertyId};
use crate::codec::read::Reader;
use crate::{DecodeError, Field, Malformed, PacketKind, TopicName, Violation};

/// A set of properties: those that may stand in a packet.
#[derive(Clone, Copy)]
pub(crate) struct PropertySet(u64);

impl PropertySet {
    pub(crate) const fn of(ids: &[PropertyId]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < ids.len() {
            bits |= bit(ids[at]);
            at += 1;
        }
        Self(bits)
    }

    const fn contains(self, id: PropertyId) -> bool {
        self.0 & bit(id) != 0
    }

    const fn with(self, id: PropertyId) -> Self {
        Self(self.0 | bit(id))
    }
}

/// The highest identifier is 0x2A.
const fn bit(id: PropertyId) -> u64 {
    1 << id as u8
}

/// Reads the property length and checks the properties behind it, of which those in `allowed` may stand.
#[inline]
pub(crate) fn read<'a>(reader: &mut Reader<'a>, allowed: PropertySet) -> Result<Properties<'a>, DecodeError> {
    let len = reader.varint(Field::PropertyLength)?;
    let raw = reader.take(len as usize, Field::PropertyLength)?;
    if !raw.is_empty() {
        check(Reader::new(raw, reader.packet()), allowed)?;
    }
    Ok(Properties::from_valid_raw(raw))
}

impl<'a> Properties<'a> {
    /// The properties of a message as they were kept somewhere else, checked anew.
    pub fn of_message(raw: &'a [u8]) -> Result<Self, DecodeError> {
        check(Reader::new(raw, PacketKind::Publish), MESSAGE)?;
        Ok(Self::from_valid_raw(raw))
    }
}

/// What travels from a publisher to subscribers.
const MESSAGE: PropertySet = PropertySet::of(&[
    PropertyId::PayloadFormatIndicator,
    PropertyId::ContentType,
    PropertyId::ResponseTopic,
    PropertyId::CorrelationData,
    PropertyId::UserProperty,
]);

fn check(mut reader: Reader<'_>, allowed: PropertySet) -> Result<(), DecodeError> {
    let packet = reader.packet();
    let mut seen = PropertySet::of(&[]);
    while !reader.is_empty() {
        let number = reader.varint(Field::PropertyId)?;
        let known = u8::try_from(number).ok().and_then(PropertyId::from_u8);
        let id = known.ok_or(Malformed::PropertyUnknown { packet, id: number })?;
        if !allowed.contains(id) {
            return Err(Malformed::PropertyMisplaced { packet, property: id }.into());
        }
        if seen.contains(id) && !may_repeat(id, packet) {
            return Err(Violation::PropertyRepeated { packet, property: id }.into());
        }
        seen = seen.with(id);
        check_value(Property::read(&mut reader, id)?, packet)?;
    }
    Ok(())
}

/// A server says with one PUBLISH which of several subscriptions it is for.
fn may_repeat(id: PropertyId, packet: PacketKind) -> bool {
    match id {
        PropertyId::UserProperty => true,
        PropertyId::SubscriptionIdentifier => packet == PacketKind::Publish,
        _ => false,
    }
}

fn check_value(property: Property<'_>, packet: PacketKind) -> Result<(), DecodeError> {
    let is_allowed = match property {
        Property::PayloadFormatIndicator(value) | Property::MaximumQos(value) => value <= 1,
        Property::ReceiveMaximum(value) => value != 0,
        Property::MaximumPacketSize(value) | Property::SubscriptionIdentifier(value) => value != 0,
        Property::TopicAlias(0) => return Err(Violation::TopicAliasZero.into()), // [MQTT5 3.3.2-8]
        Property::ResponseTopic(topic) => TopicName::parse(topic).is_ok(),       // [MQTT5 3.3.2-14]
        _ => true,
    };
    if is_allowed { Ok(()) } else { Err(Violation::PropertyValue { packet, property: property.id() }.into()) }
}
