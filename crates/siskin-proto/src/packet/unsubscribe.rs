use alloc::vec::Vec;

use super::PacketKind;
use crate::codec::read::Reader;
use crate::codec::write;
use crate::property::{self, PropertySet};
use crate::{DecodeError, PacketId, Properties, PropertyId, TopicFilter, Version, Violation};

/// Ends one or more subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Ties it to its UNSUBACK.
    pub packet_id: PacketId,
    /// User properties.
    pub properties: Properties<'a>,
    /// At least one.
    pub filters: Vec<TopicFilter<'a>>,
}

const PROPERTIES: PropertySet = PropertySet::of(&[PropertyId::UserProperty]);

impl<'a> Unsubscribe<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>, version: Version) -> Result<Self, DecodeError> {
        let packet_id = reader.packet_id()?;
        let properties =
            if version.is_v5() { property::read(reader, PROPERTIES)? } else { Properties::EMPTY };
        if reader.is_empty() {
            return Err(Violation::NoFilters { packet: PacketKind::Unsubscribe }.into()); // [MQTT-3.10.3-2]
        }
        let mut filters = Vec::new();
        while !reader.is_empty() {
            filters.push(reader.topic_filter()?);
        }
        Ok(Self { packet_id, properties, filters })
    }

    /// Appends the packet.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        write::header(out, PacketKind::Unsubscribe, 0b0010, self.remaining(version));
        write::u16(out, self.packet_id.get());
        write::properties(out, version, self.properties);
        for filter in &self.filters {
            write::string(out, filter.as_str());
        }
    }

    /// How many bytes [`encode`](Self::encode) appends.
    pub fn encoded_len(&self, version: Version) -> usize {
        write::packet_len(self.remaining(version))
    }

    fn remaining(&self, version: Version) -> usize {
        let filters: usize = self.filters.iter().map(|filter| write::string_len(filter.as_str())).sum();
        2 + write::properties_len(version, self.properties) + filters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::testing::{VERSIONS, VERSIONS_3, bad, good, id};
    use crate::{Field, Malformed, Packet, TopicError};

    const UNSUBSCRIBE: PacketKind = PacketKind::Unsubscribe;

    #[test]
    fn filters_stand_one_after_the_other() {
        let filters = ["a/+", "#"].map(|text| TopicFilter::parse(text).unwrap()).to_vec();
        let packet =
            Packet::Unsubscribe(Unsubscribe { packet_id: id(7), properties: Properties::EMPTY, filters });
        for version in VERSIONS_3 {
            good(version, b"\xA2\x0A\0\x07\0\x03a/+\0\x01#", &packet);
        }
        good(Version::V5, b"\xA2\x0B\0\x07\0\0\x03a/+\0\x01#", &packet);
    }

    #[test]
    fn an_unsubscribe_without_a_filter_is_a_protocol_error() {
        for version in VERSIONS_3 {
            bad(version, b"\xA2\x02\0\x07", Violation::NoFilters { packet: UNSUBSCRIBE });
        }
        bad(Version::V5, b"\xA2\x03\0\x07\0", Violation::NoFilters { packet: UNSUBSCRIBE });
    }

    #[test]
    fn a_filter_is_utf_8_and_valid() {
        let field = Field::TopicFilter;
        bad(Version::V3_1_1, b"\xA2\x05\0\x07\0\x01\xFF", Malformed::Utf8 { packet: UNSUBSCRIBE, field });
        bad(Version::V5, b"\xA2\x06\0\x07\0\0\x01\xFF", Malformed::Utf8 { packet: UNSUBSCRIBE, field });
        bad(Version::V5, b"\xA2\x06\0\x07\0\0\x01\0", Malformed::Nul { packet: UNSUBSCRIBE, field });
        let error = TopicError::MultiLevel;
        bad(Version::V5, b"\xA2\x07\0\x07\0\0\x02a#", Violation::TopicFilter { packet: UNSUBSCRIBE, error });
    }

    #[test]
    fn packet_id_0_is_a_protocol_error() {
        for version in VERSIONS {
            bad(version, b"\xA2\x06\0\0\0\0\x01a", Violation::PacketIdZero { packet: UNSUBSCRIBE });
        }
    }
}
