//! What PUBACK, PUBREC, PUBREL and PUBCOMP have in common: a packet id and, in 5.0, what came of it.

use crate::PropertyId;
use crate::property::PropertySet;

pub(super) const PROPERTIES: PropertySet =
    PropertySet::of(&[PropertyId::ReasonString, PropertyId::UserProperty]);

/// Defines one of the four, with the flags of its fixed header and its reason codes.
macro_rules! acknowledgement {
    ($(#[$doc:meta])* $name:ident, flags $flags:literal, reasons [$($reason:ident),* $(,)?]) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name<'a> {
            /// The packet id of the PUBLISH.
            pub packet_id: $crate::PacketId,
            /// What came of it. Not on the wire before 5.0.
            pub reason: $crate::Reason,
            /// Reason string and user properties.
            pub properties: $crate::Properties<'a>,
        }

        impl<'a> $name<'a> {
            #[inline]
            pub(crate) fn decode(
                reader: &mut $crate::codec::read::Reader<'a>,
                version: $crate::Version,
            ) -> Result<Self, $crate::DecodeError> {
                let packet_id = reader.packet_id()?;
                let (reason, properties) = super::outcome::decode(
                    reader,
                    version,
                    &[$($crate::Reason::$reason),*],
                    super::acknowledgement::PROPERTIES,
                )?;
                Ok(Self { packet_id, reason, properties })
            }

            /// Appends the packet, in its shortest form.
            #[inline]
            pub fn encode(&self, version: $crate::Version, out: &mut alloc::vec::Vec<u8>) {
                let remaining = self.remaining(version);
                $crate::codec::write::header(out, $crate::PacketKind::$name, $flags, remaining);
                $crate::codec::write::u16(out, self.packet_id.get());
                super::outcome::encode(out, version, self.reason, self.properties);
            }

            /// How many bytes [`encode`](Self::encode) appends.
            #[inline]
            pub fn encoded_len(&self, version: $crate::Version) -> usize {
                $crate::codec::write::packet_len(self.remaining(version))
            }

            #[inline]
            fn remaining(&self, version: $crate::Version) -> usize {
                2 + super::outcome::encoded_len(version, self.reason, self.properties)
            }
        }

        impl $name<'_> {
            /// Success, with nothing further to say.
            #[inline]
            pub const fn success(packet_id: $crate::PacketId) -> Self {
                Self {
                    packet_id,
                    reason: $crate::Reason::Success,
                    properties: $crate::Properties::EMPTY,
                }
            }
        }
    };
}

pub(super) use acknowledgement;
