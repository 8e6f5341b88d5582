use alloc::vec::Vec;

use super::{PacketKind, outcome};
use crate::codec::read::Reader;
use crate::codec::write;
use crate::property::PropertySet;
use crate::{DecodeError, Properties, PropertyId, Reason, Version, Violation};

/// A step of an extended authentication. Only in 5.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success, continue, or begin again.
    pub reason: Reason,
    /// Method, data, reason string, user properties.
    pub properties: Properties<'a>,
}

const PROPERTIES: PropertySet = PropertySet::of(&[
    PropertyId::AuthenticationMethod,
    PropertyId::AuthenticationData,
    PropertyId::ReasonString,
    PropertyId::UserProperty,
]);

/// [MQTT5 3.15.2-1]
const REASONS: &[Reason] = &[Reason::Success, Reason::ContinueAuthentication, Reason::ReAuthenticate];

impl<'a> Auth<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let is_short = reader.is_empty();
        let (reason, properties) = outcome::decode(reader, Version::V5, REASONS, PROPERTIES)?;
        // Only an AUTH without a body may leave the method out. [MQTT5 section 3.15.2.2.2]
        if !is_short && properties.authentication_method().is_none() {
            return Err(Violation::AuthenticationMethodMissing { packet: PacketKind::Auth }.into());
        }
        reader.finish()?;
        Ok(Self { reason, properties })
    }

    /// Appends the packet, in its shortest form and always as one of 5.0.
    pub fn encode(&self, _: Version, out: &mut Vec<u8>) {
        write::header(out, PacketKind::Auth, 0, self.remaining());
        outcome::encode(out, Version::V5, self.reason, self.properties);
    }

    /// How many bytes [`encode`](Self::encode) appends.
    pub fn encoded_len(&self, _: Version) -> usize {
        write::packet_len(self.remaining())
    }

    fn remaining(&self) -> usize {
        outcome::encoded_len(Version::V5, self.reason, self.properties)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::{VERSIONS_3, bad, good, packet, read};
    use crate::{Malformed, Packet, PropertiesBuf, Property};

    const AUTH: PacketKind = PacketKind::Auth;

    #[test]
    fn an_auth_without_a_body_is_success() {
        let packet = Packet::Auth(Auth { reason: Reason::Success, properties: Properties::EMPTY });
        good(Version::V5, b"\xF0\0", &packet);
    }

    #[test]
    fn an_auth_carries_the_method_and_its_data() {
        let list = [Property::AuthenticationMethod("m"), Property::AuthenticationData(b"\0")];
        let properties = PropertiesBuf::from_iter(list);
        let properties = properties.as_properties();
        let packet = Packet::Auth(Auth { reason: Reason::ContinueAuthentication, properties });
        good(Version::V5, b"\xF0\x0A\x18\x08\x15\0\x01m\x16\0\x01\0", &packet);
    }

    #[test]
    fn an_auth_with_a_body_names_its_method() {
        let error = Violation::AuthenticationMethodMissing { packet: AUTH };
        for body in [&b"\x18"[..], b"\x18\0", b"\0\0", b"\x19\x04\x16\0\x01x"] {
            bad(Version::V5, &packet(AUTH, 0, body), error);
        }
    }

    #[test]
    fn auth_has_only_its_reason_codes() {
        for code in 0..=u8::MAX {
            let bytes = packet(AUTH, 0, &[code, 4, 0x15, 0, 1, b'm']);
            if [0x00, 0x18, 0x19].contains(&code) {
                assert!(
                    matches!(read(Version::V5, &bytes), Ok(Packet::Auth(auth)) if auth.reason as u8 == code)
                );
            } else {
                bad(Version::V5, &bytes, Violation::ReasonCode { packet: AUTH, code });
            }
        }
    }

    #[test]
    fn before_5_there_is_no_auth() {
        for version in VERSIONS_3 {
            bad(version, b"\xF0\0", Malformed::PacketType(15));
        }
    }
}
