use alloc::vec::Vec;

use super::{PacketKind, outcome};
use crate::codec::read::Reader;
use crate::codec::write;
use crate::property::PropertySet;
use crate::{DecodeError, Properties, PropertyId, Reason, Version};

/// The last packet of a connection. Before 5.0 only a client sends it, and it says nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Why. Not on the wire before 5.0.
    pub reason: Reason,
    /// Session expiry interval (from a client only), reason string, server reference, user properties.
    pub properties: Properties<'a>,
}

const PROPERTIES: PropertySet = PropertySet::of(&[
    PropertyId::SessionExpiryInterval,
    PropertyId::ServerReference,
    PropertyId::ReasonString,
    PropertyId::UserProperty,
]);

/// [MQTT5 3.14.2-1]
const REASONS: &[Reason] = &[
    Reason::NormalDisconnection,
    Reason::DisconnectWithWill,
    Reason::Unspecified,
    Reason::MalformedPacket,
    Reason::ProtocolError,
    Reason::ImplementationSpecific,
    Reason::NotAuthorized,
    Reason::ServerBusy,
    Reason::ServerShuttingDown,
    Reason::BadAuthenticationMethod,
    Reason::KeepAliveTimeout,
    Reason::SessionTakenOver,
    Reason::TopicFilterInvalid,
    Reason::TopicNameInvalid,
    Reason::ReceiveMaximumExceeded,
    Reason::TopicAliasInvalid,
    Reason::PacketTooLarge,
    Reason::MessageRateTooHigh,
    Reason::QuotaExceeded,
    Reason::AdministrativeAction,
    Reason::PayloadFormatInvalid,
    Reason::RetainNotSupported,
    Reason::QosNotSupported,
    Reason::UseAnotherServer,
    Reason::ServerMoved,
    Reason::SharedSubscriptionsNotSupported,
    Reason::ConnectionRateExceeded,
    Reason::MaximumConnectTime,
    Reason::SubscriptionIdentifiersNotSupported,
    Reason::WildcardSubscriptionsNotSupported,
];

impl<'a> Disconnect<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let (reason, properties) = outcome::decode(reader, version, REASONS, PROPERTIES)?;
        reader.finish()?;
        Ok(Self { reason, properties })
    }

    /// Appends the packet, in its shortest form.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        write::header(out, PacketKind::Disconnect, 0, self.remaining(version));
        outcome::encode(out, version, self.reason, self.properties);
    }

    /// How many bytes [`encode`](Self::encode) appends.
    pub fn encoded_len(&self, version: Version) -> usize {
        write::packet_len(self.remaining(version))
    }

    fn remaining(&self, version: Version) -> usize {
        outcome::encoded_len(version, self.reason, self.properties)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::{VERSIONS, VERSIONS_3, bad, good, packet, read, written};
    use crate::{Malformed, Packet, PropertiesBuf, Property, Violation};

    const DISCONNECT: PacketKind = PacketKind::Disconnect;

    fn disconnect(reason: Reason) -> Packet<'static> {
        Packet::Disconnect(Disconnect { reason, properties: Properties::EMPTY })
    }

    #[test]
    fn a_disconnect_without_a_body_is_a_normal_one() {
        for version in VERSIONS {
            good(version, b"\xE0\0", &disconnect(Reason::NormalDisconnection));
        }
        assert_eq!(read(Version::V5, b"\xE0\x01\0"), Ok(disconnect(Reason::NormalDisconnection)));
        assert_eq!(read(Version::V5, b"\xE0\x02\0\0"), Ok(disconnect(Reason::NormalDisconnection)));
    }

    #[test]
    fn properties_may_be_left_out_behind_a_reason() {
        good(Version::V5, b"\xE0\x01\x04", &disconnect(Reason::DisconnectWithWill));
        assert_eq!(read(Version::V5, b"\xE0\x02\x04\0"), Ok(disconnect(Reason::DisconnectWithWill)));
        let properties = PropertiesBuf::from_iter([Property::SessionExpiryInterval(1)]);
        let properties = properties.as_properties();
        let packet = Packet::Disconnect(Disconnect { reason: Reason::Success, properties });
        good(Version::V5, b"\xE0\x07\0\x05\x11\0\0\0\x01", &packet);
    }

    #[test]
    fn before_5_a_disconnect_has_no_body() {
        for version in VERSIONS_3 {
            bad(version, b"\xE0\x01\0", Malformed::TrailingBytes { packet: DISCONNECT });
            assert_eq!(written(version, &disconnect(Reason::ServerShuttingDown)), b"\xE0\0");
        }
    }

    #[test]
    fn disconnect_has_only_its_reason_codes() {
        let codes = [
            0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94,
            0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
        ];
        for code in 0..=u8::MAX {
            let bytes = packet(DISCONNECT, 0, &[code]);
            if codes.contains(&code) {
                assert_eq!(read(Version::V5, &bytes), Ok(disconnect(Reason::from_u8(code).unwrap())));
            } else {
                bad(Version::V5, &bytes, Violation::ReasonCode { packet: DISCONNECT, code });
            }
        }
    }
}
