use alloc::vec::Vec;

use super::{PacketKind, outcome};
use crate::codec::read::Reader;
use crate::codec::write;
use crate::property::{self, PropertySet};
use crate::{DecodeError, Field, PacketId, Properties, PropertyId, Reason, Version, Violation};

/// Answers SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// That of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// Reason string and user properties.
    pub properties: Properties<'a>,
    /// One for each filter, in their order: the granted QoS or an error. [MQTT-3.9.3-1]
    pub reasons: Vec<Reason>,
}

const PROPERTIES: PropertySet = PropertySet::of(&[PropertyId::ReasonString, PropertyId::UserProperty]);

/// [MQTT5 3.9.3-2]
const REASONS: &[Reason] = &[
    Reason::GrantedQos0,
    Reason::GrantedQos1,
    Reason::GrantedQos2,
    Reason::Unspecified,
    Reason::ImplementationSpecific,
    Reason::NotAuthorized,
    Reason::TopicFilterInvalid,
    Reason::PacketIdentifierInUse,
    Reason::QuotaExceeded,
    Reason::SharedSubscriptionsNotSupported,
    Reason::SubscriptionIdentifiersNotSupported,
    Reason::WildcardSubscriptionsNotSupported,
];

impl<'a> SubAck<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id()?;
        let properties =
            if version.is_v5() { property::read(reader, PROPERTIES)? } else { Properties::EMPTY };
        if reader.is_empty() {
            return Err(Violation::NoReasonCodes { packet: PacketKind::SubAck }.into());
        }
        let mut reasons = Vec::new();
        while !reader.is_empty() {
            reasons.push(if version.is_v5() {
                outcome::reason(reader, REASONS)?
            } else {
                return_code(reader)?
            });
        }
        Ok(Self { packet_id, properties, reasons })
    }

    /// Appends the packet. Before 5.0 every error is the one return code for failure.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        write::header(out, PacketKind::SubAck, 0, self.remaining(version));
        write::u16(out, self.packet_id.get());
        write::properties(out, version, self.properties);
        // [MQTT-3.9.3-2]
        let code = |reason: &Reason| match reason {
            reason if reason.is_error() && !version.is_v5() => Reason::Unspecified as u8,
            reason => *reason as u8,
        };
        out.extend(self.reasons.iter().map(code));
    }

    /// How many bytes [`encode`](Self::encode) appends.
    pub fn encoded_len(&self, version: Version) -> usize {
        write::packet_len(self.remaining(version))
    }

    fn remaining(&self, version: Version) -> usize {
        2 + write::properties_len(version, self.properties) + self.reasons.len()
    }
}

/// Reads what stood in the place of a reason code before 5.0.
fn return_code(reader: &mut Reader<'_>) -> Result<Reason, DecodeError> {
    match reader.u8(Field::ReasonCode)? {
        0 => Ok(Reason::GrantedQos0),
        1 => Ok(Reason::GrantedQos1),
        2 => Ok(Reason::GrantedQos2),
        0x80 => Ok(Reason::Unspecified),
        code => Err(Violation::ReasonCode { packet: PacketKind::SubAck, code }.into()),
    }
}
