use alloc::vec::Vec;

use super::{PacketKind, outcome};
use crate::codec::read::Reader;
use crate::codec::write;
use crate::property::{self, PropertySet};
use crate::{DecodeError, PacketId, Properties, PropertyId, Reason, Version, Violation};

/// Answers UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// That of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// Reason string and user properties.
    pub properties: Properties<'a>,
    /// One for each filter, in their order. Not on the wire before 5.0. [MQTT5 3.11.3-1]
    pub reasons: Vec<Reason>,
}

const PROPERTIES: PropertySet = PropertySet::of(&[PropertyId::ReasonString, PropertyId::UserProperty]);

/// [MQTT5 3.11.3-2]
const REASONS: &[Reason] = &[
    Reason::Success,
    Reason::NoSubscriptionExisted,
    Reason::Unspecified,
    Reason::ImplementationSpecific,
    Reason::NotAuthorized,
    Reason::TopicFilterInvalid,
    Reason::PacketIdentifierInUse,
];

impl<'a> UnsubAck<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id()?;
        if !version.is_v5() {
            reader.finish()?;
            return Ok(Self { packet_id, properties: Properties::EMPTY, reasons: Vec::new() });
        }
        let properties = property::read(reader, PROPERTIES)?;
        if reader.is_empty() {
            return Err(Violation::NoReasonCodes { packet: PacketKind::UnsubAck }.into());
        }
        let mut reasons = Vec::new();
        while !reader.is_empty() {
            reasons.push(outcome::reason(reader, REASONS)?);
        }
        Ok(Self { packet_id, properties, reasons })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        write::header(out, PacketKind::UnsubAck, 0, self.remaining(version));
        write::u16(out, self.packet_id.get());
        write::properties(out, version, self.properties);
        if version.is_v5() {
            out.extend(self.reasons.iter().map(|reason| *reason as u8));
        }
    }

    /// How many bytes [`encode`](Self::encode) appends.
    pub fn encoded_len(&self, version: Version) -> usize {
        write::packet_len(self.remaining(version))
    }

    fn remaining(&self, version: Version) -> usize {
        let reasons = if version.is_v5() { self.reasons.len() } else { 0 };
        2 + write::properties_len(version, self.properties) + reasons
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::{VERSIONS_3, bad, good, id, packet, written};
    use crate::{Malformed, Packet};

    const UNSUBACK: PacketKind = PacketKind::UnsubAck;

    fn unsuback(reasons: &[Reason]) -> Packet<'static> {
        let reasons = reasons.to_vec();
        Packet::UnsubAck(UnsubAck { packet_id: id(7), properties: Properties::EMPTY, reasons })
    }

    #[test]
    fn reasons_stand_in_the_order_of_the_filters() {
        let reasons = [Reason::NoSubscriptionExisted, Reason::Success, Reason::NotAuthorized];
        good(Version::V5, b"\xB0\x06\0\x07\0\x11\0\x87", &unsuback(&reasons));
    }

    #[test]
    fn before_5_there_are_no_reasons() {
        for version in VERSIONS_3 {
            good(version, b"\xB0\x02\0\x07", &unsuback(&[]));
            assert_eq!(written(version, &unsuback(&[Reason::Success])), b"\xB0\x02\0\x07");
            bad(version, b"\xB0\x03\0\x07\0", Malformed::TrailingBytes { packet: UNSUBACK });
        }
    }

    #[test]
    fn unsuback_has_only_its_reason_codes() {
        let codes = [0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91];
        for code in 0..=u8::MAX {
            let bytes = packet(UNSUBACK, 0, &[0, 7, 0, code]);
            if codes.contains(&code) {
                good(Version::V5, &bytes, &unsuback(&[Reason::from_u8(code).unwrap()]));
            } else {
                bad(Version::V5, &bytes, Violation::ReasonCode { packet: UNSUBACK, code });
            }
        }
    }

    #[test]
    fn an_unsuback_without_a_reason_is_a_protocol_error() {
        bad(Version::V5, b"\xB0\x03\0\x07\0", Violation::NoReasonCodes { packet: UNSUBACK });
    }
}
