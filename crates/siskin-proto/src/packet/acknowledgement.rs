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
                reader.finish()?;
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

#[cfg(test)]
mod tests {
    use crate::codec::testing::{VERSIONS, VERSIONS_3, bad, good, id, packet};
    use crate::{
        Field, Malformed, Packet, PacketKind, Properties, PropertiesBuf, Property, PubAck, PubComp, PubRec,
        PubRel, Reason, Version, Violation,
    };

    const KINDS: [(PacketKind, u8); 4] =
        [(PacketKind::PubAck, 0), (PacketKind::PubRec, 0), (PacketKind::PubRel, 2), (PacketKind::PubComp, 0)];

    fn acknowledgement(kind: PacketKind, reason: Reason, properties: Properties<'_>) -> Packet<'_> {
        let packet_id = id(0x0102);
        match kind {
            PacketKind::PubAck => Packet::PubAck(PubAck { packet_id, reason, properties }),
            PacketKind::PubRec => Packet::PubRec(PubRec { packet_id, reason, properties }),
            PacketKind::PubRel => Packet::PubRel(PubRel { packet_id, reason, properties }),
            PacketKind::PubComp => Packet::PubComp(PubComp { packet_id, reason, properties }),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn success_takes_two_bytes() {
        for (kind, flags) in KINDS {
            for version in VERSIONS {
                let success = acknowledgement(kind, Reason::Success, Properties::EMPTY);
                good(version, &packet(kind, flags, b"\x01\x02"), &success);
            }
        }
    }

    #[test]
    fn a_reason_without_properties_takes_three_bytes() {
        for (kind, flags) in KINDS {
            let (reason, body) = match kind {
                PacketKind::PubAck | PacketKind::PubRec => (Reason::QuotaExceeded, b"\x01\x02\x97"),
                _ => (Reason::PacketIdentifierNotFound, b"\x01\x02\x92"),
            };
            good(Version::V5, &packet(kind, flags, body), &acknowledgement(kind, reason, Properties::EMPTY));
        }
    }

    #[test]
    fn properties_follow_the_reason() {
        let text =
            PropertiesBuf::from_iter([Property::ReasonString("x"), Property::UserProperty(("a", "b"))]);
        for (kind, flags) in KINDS {
            let body = b"\x01\x02\0\x0B\x1F\0\x01x\x26\0\x01a\0\x01b";
            let packet = packet(kind, flags, body);
            good(Version::V5, &packet, &acknowledgement(kind, Reason::Success, text.as_properties()));
        }
    }

    #[test]
    fn an_empty_property_list_is_read_though_it_need_not_be_there() {
        for (kind, flags) in KINDS {
            let bytes = packet(kind, flags, b"\x01\x02\0\0");
            let success = acknowledgement(kind, Reason::Success, Properties::EMPTY);
            assert_eq!(crate::codec::testing::read(Version::V5, &bytes), Ok(success));
        }
    }

    #[test]
    fn before_5_nothing_but_the_packet_id_is_written_or_read() {
        for (kind, flags) in KINDS {
            for version in VERSIONS_3 {
                let text = PropertiesBuf::from_iter([Property::ReasonString("x")]);
                let refused = acknowledgement(kind, Reason::NotAuthorized, text.as_properties());
                let written = crate::codec::testing::written(version, &refused);
                assert_eq!(written, packet(kind, flags, b"\x01\x02"));
                let bytes = packet(kind, flags, b"\x01\x02\0");
                bad(version, &bytes, Malformed::TrailingBytes { packet: kind });
            }
        }
    }

    #[test]
    fn packet_id_0_is_a_protocol_error() {
        for (kind, flags) in KINDS {
            for version in VERSIONS {
                bad(version, &packet(kind, flags, b"\0\0"), Violation::PacketIdZero { packet: kind });
            }
        }
    }

    #[test]
    fn a_short_body_is_malformed() {
        for (kind, flags) in KINDS {
            for version in VERSIONS {
                let error = Malformed::Truncated { packet: kind, field: Field::PacketId };
                bad(version, &packet(kind, flags, b""), error);
                bad(version, &packet(kind, flags, b"\x01"), error);
            }
        }
    }

    /// Every code is tried, and only these are taken.
    #[track_caller]
    fn only(kind: PacketKind, flags: u8, codes: &[u8]) {
        for code in 0..=u8::MAX {
            let bytes = packet(kind, flags, &[1, 2, code]);
            if codes.contains(&code) {
                let reason = Reason::from_u8(code).unwrap();
                let expected = acknowledgement(kind, reason, Properties::EMPTY);
                assert_eq!(crate::codec::testing::read(Version::V5, &bytes), Ok(expected));
            } else {
                bad(Version::V5, &bytes, Violation::ReasonCode { packet: kind, code });
            }
        }
    }

    const OF_PUBLISH: &[u8] = &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];

    #[test]
    fn puback_has_only_its_reason_codes() {
        only(PacketKind::PubAck, 0, OF_PUBLISH);
    }

    #[test]
    fn pubrec_has_only_its_reason_codes() {
        only(PacketKind::PubRec, 0, OF_PUBLISH);
    }

    #[test]
    fn pubrel_has_only_its_reason_codes() {
        only(PacketKind::PubRel, 0b0010, &[0x00, 0x92]);
    }

    #[test]
    fn pubcomp_has_only_its_reason_codes() {
        only(PacketKind::PubComp, 0, &[0x00, 0x92]);
    }
}
