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
