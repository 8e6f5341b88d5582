use alloc::vec::Vec;

use super::{PacketKind, outcome};
use crate::codec::read::Reader;
use crate::codec::write;
use crate::property::{self, PropertySet};
use crate::{DecodeError, Field, Malformed, Properties, PropertyId, Reason, Version, Violation};

/// Answers CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Whether the client goes on with a session that the server kept. 3.1 cannot tell.
    pub session_present: bool,
    /// Success, or why not.
    pub reason: Reason,
    /// What the server allows and has decided for the client.
    pub properties: Properties<'a>,
}

const PROPERTIES: PropertySet = PropertySet::of(&[
    PropertyId::SessionExpiryInterval,
    PropertyId::ReceiveMaximum,
    PropertyId::MaximumQos,
    PropertyId::RetainAvailable,
    PropertyId::MaximumPacketSize,
    PropertyId::AssignedClientIdentifier,
    PropertyId::TopicAliasMaximum,
    PropertyId::ReasonString,
    PropertyId::UserProperty,
    PropertyId::WildcardSubscriptionAvailable,
    PropertyId::SubscriptionIdentifierAvailable,
    PropertyId::SharedSubscriptionAvailable,
    PropertyId::ServerKeepAlive,
    PropertyId::ResponseInformation,
    PropertyId::ServerReference,
    PropertyId::AuthenticationMethod,
    PropertyId::AuthenticationData,
]);

/// [MQTT5 3.2.2-8]
const REASONS: &[Reason] = &[
    Reason::Success,
    Reason::Unspecified,
    Reason::MalformedPacket,
    Reason::ProtocolError,
    Reason::ImplementationSpecific,
    Reason::UnsupportedProtocolVersion,
    Reason::ClientIdentifierNotValid,
    Reason::BadUserNameOrPassword,
    Reason::NotAuthorized,
    Reason::ServerUnavailable,
    Reason::ServerBusy,
    Reason::Banned,
    Reason::BadAuthenticationMethod,
    Reason::TopicNameInvalid,
    Reason::PacketTooLarge,
    Reason::QuotaExceeded,
    Reason::PayloadFormatInvalid,
    Reason::RetainNotSupported,
    Reason::QosNotSupported,
    Reason::UseAnotherServer,
    Reason::ServerMoved,
    Reason::ConnectionRateExceeded,
];

const SESSION_PRESENT: u8 = 0b0000_0001;

impl<'a> ConnAck<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let flags = match reader.u8(Field::ConnAckFlags)? {
            // In 3.1 nobody says what is in this byte.
            _ if version == Version::V3_1 => 0,
            flags if flags & !SESSION_PRESENT != 0 => return Err(Malformed::ConnAckFlags(flags).into()), // [MQTT5 3.2.2-1]
            flags => flags,
        };
        let reason = if version.is_v5() { outcome::reason(reader, REASONS)? } else { return_code(reader)? };
        let properties =
            if version.is_v5() { property::read(reader, PROPERTIES)? } else { Properties::EMPTY };
        reader.finish()?;
        // [MQTT-3.2.2-4] A refusal that says otherwise is still a refusal.
        Ok(Self { session_present: flags != 0 && !reason.is_error(), reason, properties })
    }

    /// Appends the packet. Before 5.0 the reason becomes the return code that comes nearest; a refusal
    /// never says that a session is present. [MQTT-3.2.2-4] [MQTT5 3.2.2-6]
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        write::header(out, PacketKind::ConnAck, 0, self.remaining(version));
        let session_present = self.session_present && !self.reason.is_error() && version != Version::V3_1;
        out.push(u8::from(session_present));
        out.push(if version.is_v5() { self.reason as u8 } else { self.reason.connect_return_code() });
        write::properties(out, version, self.properties);
    }

    /// How many bytes [`encode`](Self::encode) appends.
    pub fn encoded_len(&self, version: Version) -> usize {
        write::packet_len(self.remaining(version))
    }

    fn remaining(&self, version: Version) -> usize {
        2 + write::properties_len(version, self.properties)
    }
}

/// Reads what stood in the place of the reason code before 5.0.
fn return_code(reader: &mut Reader<'_>) -> Result<Reason, DecodeError> {
    let code = reader.u8(Field::ReasonCode)?;
    Reason::from_connect_return_code(code)
        .ok_or(Violation::ReasonCode { packet: PacketKind::ConnAck, code }.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::{VERSIONS, bad, good, packet, read, written};
    use crate::{Packet, PropertiesBuf, Property};

    const CONNACK: PacketKind = PacketKind::ConnAck;

    fn connack(session_present: bool, reason: Reason) -> ConnAck<'static> {
        ConnAck { session_present, reason, properties: Properties::EMPTY }
    }

    #[test]
    fn the_session_is_said_to_be_present_where_the_version_can() {
        let packet = Packet::ConnAck(connack(true, Reason::Success));
        good(Version::V3_1_1, b"\x20\x02\x01\0", &packet);
        good(Version::V5, b"\x20\x03\x01\0\0", &packet);
        assert_eq!(written(Version::V3_1, &packet), b"\x20\x02\0\0");
        // The byte has no meaning in 3.1.
        assert_eq!(
            read(Version::V3_1, b"\x20\x02\xFF\0"),
            Ok(Packet::ConnAck(connack(false, Reason::Success)))
        );
    }

    #[test]
    fn a_refusal_never_says_that_a_session_is_present() {
        for version in VERSIONS {
            let bytes = written(version, &Packet::ConnAck(connack(true, Reason::NotAuthorized)));
            assert_eq!(bytes[2], 0);
        }
    }

    #[test]
    fn a_refusal_that_says_that_a_session_is_present_is_read_as_a_refusal() {
        for (version, bytes) in
            [(Version::V3_1_1, &b"\x20\x02\x01\x05"[..]), (Version::V5, b"\x20\x03\x01\x87\0")]
        {
            assert_eq!(read(version, bytes), Ok(Packet::ConnAck(connack(false, Reason::NotAuthorized))));
        }
    }

    #[test]
    fn a_refusal_before_5_is_a_return_code() {
        for (reason, code) in [
            (Reason::UnsupportedProtocolVersion, 1),
            (Reason::ClientIdentifierNotValid, 2),
            (Reason::ServerUnavailable, 3),
            (Reason::BadUserNameOrPassword, 4),
            (Reason::NotAuthorized, 5),
        ] {
            let packet = Packet::ConnAck(connack(false, reason));
            good(Version::V3_1, &[0x20, 2, 0, code], &packet);
            good(Version::V3_1_1, &[0x20, 2, 0, code], &packet);
            good(Version::V5, &[0x20, 3, 0, reason as u8, 0], &packet);
        }
        for code in 6..=u8::MAX {
            bad(Version::V3_1_1, &[0x20, 2, 0, code], Violation::ReasonCode { packet: CONNACK, code });
        }
    }

    #[test]
    fn the_other_seven_flags_are_0() {
        for flags in [0x02, 0x03, 0x80, 0xFF] {
            bad(Version::V3_1_1, &[0x20, 2, flags, 0], Malformed::ConnAckFlags(flags));
            bad(Version::V5, &[0x20, 3, flags, 0, 0], Malformed::ConnAckFlags(flags));
        }
        for version in VERSIONS {
            let bytes = written(version, &Packet::ConnAck(connack(true, Reason::Success)));
            assert_eq!(bytes[2] & 0xFE, 0);
        }
    }

    #[test]
    fn connack_has_only_its_reason_codes() {
        let codes = [
            0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
            0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
        ];
        for code in 0..=u8::MAX {
            let bytes = packet(CONNACK, 0, &[0, code, 0]);
            if codes.contains(&code) {
                good(Version::V5, &bytes, &Packet::ConnAck(connack(false, Reason::from_u8(code).unwrap())));
            } else {
                bad(Version::V5, &bytes, Violation::ReasonCode { packet: CONNACK, code });
            }
        }
    }

    #[test]
    fn properties_follow_the_reason() {
        let list = [Property::AssignedClientIdentifier("x"), Property::ServerKeepAlive(60)];
        let properties = PropertiesBuf::from_iter(list);
        let connack = ConnAck { properties: properties.as_properties(), ..connack(false, Reason::Success) };
        good(Version::V5, b"\x20\x0A\0\0\x07\x12\0\x01x\x13\0\x3C", &Packet::ConnAck(connack));
    }
}
