//! Whatever is written is read as what it was, in each version.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod packets;

use proptest::prelude::*;
use siskin_proto::{FrameStatus, PACKET_SIZE_MAX, Packet, TopicName, Version, decode, frame};

fn written(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    bytes
}

fn packets_of_a_version() -> impl Strategy<Value = (Version, Vec<Packet<'static>>)> {
    packets::version()
        .prop_flat_map(|version| (Just(version), proptest::collection::vec(packets::packet(version), 1..8)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_is_written_is_read_as_what_it_was((version, packets) in packets_of_a_version()) {
        for packet in packets {
            let bytes = written(&packet, version);
            prop_assert_eq!(bytes.len(), packet.encoded_len(version));
            let Ok(FrameStatus::Complete(frame)) = frame(&bytes, PACKET_SIZE_MAX) else { panic!() };
            prop_assert_eq!(frame.len, bytes.len());
            let read = decode(frame, version);
            prop_assert_eq!(read.as_ref(), Ok(&packet));
            prop_assert_eq!(written(&packet, version), bytes);
        }
    }

    #[test]
    fn however_the_bytes_are_cut_the_packets_are_the_same(
        (version, packets) in packets_of_a_version(),
        chunks in proptest::collection::vec(1..50_usize, 1..20),
    ) {
        let stream: Vec<u8> = packets.iter().flat_map(|packet| written(packet, version)).collect();
        let mut unread = Vec::new();
        let mut expected = packets.iter();
        let mut fed = 0;
        for chunk in chunks.iter().cycle() {
            let end = stream.len().min(fed + chunk);
            unread.extend_from_slice(&stream[fed..end]);
            fed = end;
            let mut at = 0;
            loop {
                match frame(&unread[at..], PACKET_SIZE_MAX).unwrap() {
                    FrameStatus::Complete(frame) => {
                        let read = decode(frame, version);
                        prop_assert_eq!(read.as_ref(), Ok(expected.next().unwrap()));
                        at += frame.len;
                    }
                    FrameStatus::Incomplete { len } => {
                        if let Some(len) = len {
                            let packet = expected.clone().next().unwrap();
                            prop_assert!(len > unread.len() - at);
                            prop_assert_eq!(len, packet.encoded_len(version));
                        }
                        break;
                    }
                }
            }
            unread.drain(..at);
            if fed == stream.len() {
                break;
            }
        }
        prop_assert_eq!(expected.next(), None);
        prop_assert!(unread.is_empty());
    }

    #[test]
    fn a_name_is_matched_by_what_is_made_of_it(
        name in packets::topic_name(),
        single in any::<u8>(),
        kept in 0..6_usize,
    ) {
        let levels: Vec<&str> = name.as_str().split('/').collect();
        let with_single = levels
            .iter()
            .enumerate()
            .map(|(place, level)| if single >> place & 1 == 1 { "+" } else { *level })
            .collect::<Vec<_>>();
        let all = with_single.join("/");
        let below = [&with_single[..kept.min(levels.len())], &["#"]].concat().join("/");
        for filter in [all, below] {
            let filter = siskin_proto::TopicFilter::parse(&filter).unwrap();
            let hidden = name.is_system() && filter.as_str().starts_with(['+', '#']);
            prop_assert_eq!(filter.matches(name), !hidden);
            let deeper = format!("{name}/");
            let is_open = filter.as_str().ends_with('#');
            prop_assert_eq!(filter.matches(TopicName::parse(&deeper).unwrap()), !hidden && is_open);
        }
    }
}
