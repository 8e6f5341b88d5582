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
        Ok(Self { session_present: flags != 0, reason, properties })
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
