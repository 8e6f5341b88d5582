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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Packet;
    use crate::codec::testing::{VERSIONS_3, bad, good, id, packet, written};

    const SUBACK: PacketKind = PacketKind::SubAck;

    fn suback(reasons: &[Reason]) -> Packet<'static> {
        let reasons = reasons.to_vec();
        Packet::SubAck(SubAck { packet_id: id(7), properties: Properties::EMPTY, reasons })
    }

    #[test]
    fn reasons_stand_in_the_order_of_the_filters() {
        let reasons = [Reason::GrantedQos2, Reason::Unspecified, Reason::GrantedQos0, Reason::GrantedQos1];
        for version in VERSIONS_3 {
            good(version, b"\x90\x06\0\x07\x02\x80\0\x01", &suback(&reasons));
        }
        good(Version::V5, b"\x90\x07\0\x07\0\x02\x80\0\x01", &suback(&reasons));
    }

    #[test]
    fn before_5_every_error_is_one_return_code() {
        for version in VERSIONS_3 {
            for reason in [Reason::NotAuthorized, Reason::QuotaExceeded, Reason::TopicFilterInvalid] {
                assert_eq!(written(version, &suback(&[reason])), b"\x90\x03\0\x07\x80");
            }
            for code in (0..=u8::MAX).filter(|code| ![0, 1, 2, 0x80].contains(code)) {
                bad(version, &[0x90, 3, 0, 7, code], Violation::ReasonCode { packet: SUBACK, code });
            }
        }
    }

    #[test]
    fn suback_has_only_its_reason_codes() {
        let codes = [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2];
        for code in 0..=u8::MAX {
            let bytes = packet(SUBACK, 0, &[0, 7, 0, code]);
            if codes.contains(&code) {
                good(Version::V5, &bytes, &suback(&[Reason::from_u8(code).unwrap()]));
            } else {
                bad(Version::V5, &bytes, Violation::ReasonCode { packet: SUBACK, code });
            }
        }
    }

    #[test]
    fn a_suback_without_a_reason_is_a_protocol_error() {
        bad(Version::V3_1_1, b"\x90\x02\0\x07", Violation::NoReasonCodes { packet: SUBACK });
        bad(Version::V5, b"\x90\x03\0\x07\0", Violation::NoReasonCodes { packet: SUBACK });
    }
}
