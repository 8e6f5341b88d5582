//! Nothing that a peer sends can make the codec panic, and what it accepts it understands.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod packets;

use proptest::prelude::*;
use siskin_proto::{
    FrameStatus, PACKET_SIZE_MAX, Properties, TopicFilter, TopicName, Version, decode, decode_connect, frame,
};

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// Reads `bytes` to the end or to the first error, as each version.
fn read(bytes: &[u8]) -> Result<(), TestCaseError> {
    for version in VERSIONS {
        let mut rest = bytes;
        while let Ok(FrameStatus::Complete(frame)) = frame(rest, PACKET_SIZE_MAX) {
            rest = &rest[frame.len..];
            let _ = decode_connect(frame);
            match decode(frame, version) {
                Ok(packet) => {
                    let mut again = Vec::new();
                    packet.encode(version, &mut again);
                    prop_assert_eq!(again.len(), packet.encoded_len(version));
                    let FrameStatus::Complete(again) = siskin_proto::frame(&again, PACKET_SIZE_MAX).unwrap()
                    else {
                        panic!()
                    };
                    prop_assert_eq!(decode(again, version), Ok(packet));
                }
                Err(error) => {
                    prop_assert!(error.reason().is_error());
                    prop_assert!(!error.to_string().is_empty());
                }
            }
        }
    }
    Ok(())
}

fn valid_packet() -> impl Strategy<Value = Vec<u8>> {
    packets::version().prop_flat_map(|version| {
        packets::packet(version).prop_map(move |packet| {
            let mut bytes = Vec::new();
            packet.encode(version, &mut bytes);
            bytes
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes)?;
    }

    #[test]
    fn any_body_of_a_packet_is_read_or_refused(
        first in any::<u8>(),
        body in proptest::collection::vec(prop_oneof![0..4_u8, any::<u8>()], 0..100),
    ) {
        let bytes = [&[first, body.len() as u8], &body[..]].concat();
        read(&bytes)?;
    }

    #[test]
    fn a_packet_with_wrong_bytes_in_it_is_read_or_refused(
        mut bytes in valid_packet(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        read(&bytes)?;
    }

    #[test]
    fn a_packet_cut_short_is_read_or_refused(bytes in valid_packet(), end in any::<proptest::sample::Index>()) {
        let end = end.index(bytes.len());
        read(&bytes[..end])?;
        // The same with a length that says so.
        if end > 2 && end < 130 && bytes[1] < 0x80 {
            let mut bytes = bytes[..end].to_vec();
            bytes[1] = end as u8 - 2;
            read(&bytes)?;
        }
    }

    #[test]
    fn any_bytes_can_be_looked_through_as_properties(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let properties = Properties::from_valid_raw(&bytes);
        let _ = (properties.iter().count(), properties.topic_alias(), properties.reason_string());
        let _ = format!("{properties:?}");
    }

    #[test]
    fn any_text_is_a_topic_or_refused(text in ".{0,30}|(\\$share|[a+#/\0$é]){0,12}", name in "[a/$]{1,6}") {
        let name = TopicName::parse(&name).unwrap();
        if let Ok(filter) = TopicFilter::parse(&text) {
            prop_assert_eq!(filter.as_str(), text.as_str());
            prop_assert!(text.ends_with(filter.filter()));
            prop_assert_eq!(filter.share().is_some(), text.starts_with("$share/"));
            let is_same = filter.filter() == name.as_str();
            prop_assert!(filter.matches(name) == is_same || filter.has_wildcard());
        }
        if let Ok(name) = TopicName::parse(&text) {
            prop_assert_eq!(name.as_str(), text.as_str());
        }
    }
}
