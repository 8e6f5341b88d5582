//! A publisher's PUBLISH, encoded once. What differs from message to message is patched in.

use siskin_proto::{PacketId, Properties, Publish, Qos, TopicName, Version};

use crate::header::{HEADER_BYTES, Header};
use crate::topic::SEQUENCE_DIGITS;

/// All of a PUBLISH but the filler at its end, which is the same for all publishers.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    head: Vec<u8>,
    packet_id_at: Option<usize>,
    /// Where the digits of the sequence number stand in the topic.
    digits_at: Option<usize>,
    header_at: Option<usize>,
    filler_bytes: usize,
}

/// What every message of a publisher has in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form<'a> {
    pub(crate) version: Version,
    pub(crate) topic: TopicName<'a>,
    /// Where the digits of the sequence number stand in the topic.
    pub(crate) sequence_at: Option<usize>,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) payload_bytes: usize,
    pub(crate) run: u32,
    pub(crate) publisher: u32,
}

impl Template {
    pub(crate) fn new(form: Form<'_>) -> Self {
        let publish = Publish {
            dup: false,
            qos: form.qos,
            retain: form.retain,
            topic: Some(form.topic),
            packet_id: if form.qos == Qos::AtMostOnce { None } else { PacketId::new(1) },
            properties: Properties::EMPTY,
            payload: &[],
        };
        let mut head = Vec::new();
        publish.encode_head(form.version, Properties::EMPTY, form.payload_bytes, &mut head);
        // Behind the packet id there is, in 5.0, the length of no properties: one byte.
        let behind_id = head.len() - usize::from(form.version.is_v5());
        let packet_id_at = publish.packet_id.map(|_| behind_id - 2);
        let behind_topic = packet_id_at.unwrap_or(behind_id);
        let digits_at = form.sequence_at.map(|at| behind_topic - form.topic.as_str().len() + at);
        let mut filler_bytes = form.payload_bytes;
        let mut header_at = None;
        if let Some(rest) = form.payload_bytes.checked_sub(HEADER_BYTES) {
            filler_bytes = rest;
            header_at = Some(head.len());
            let header = Header { run: form.run, publisher: form.publisher, sequence: 0, time_ns: 0 };
            head.extend_from_slice(&header.encode());
        }
        Self { head, packet_id_at, digits_at, header_at, filler_bytes }
    }

    /// Appends one message. `filler` is at least as long as the payloads.
    #[inline]
    pub(crate) fn append(
        &mut self,
        packet_id: Option<PacketId>,
        sequence: u64,
        time_ns: u64,
        filler: &[u8],
        out: &mut Vec<u8>,
    ) {
        if let (Some(at), Some(id)) = (self.packet_id_at, packet_id) {
            self.head[at..at + 2].copy_from_slice(&id.get().to_be_bytes());
        }
        if let Some(at) = self.digits_at {
            let mut rest = sequence;
            for digit in self.head[at..at + SEQUENCE_DIGITS].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        if let Some(at) = self.header_at {
            self.head[at + 8..at + 16].copy_from_slice(&sequence.to_be_bytes());
            self.head[at + 16..at + 24].copy_from_slice(&time_ns.to_be_bytes());
        }
        out.extend_from_slice(&self.head);
        out.extend_from_slice(&filler[..self.filler_bytes]);
    }

    /// Bytes of the whole packet.
    pub(crate) fn packet_bytes(&self) -> usize {
        self.head.len() + self.filler_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use siskin_proto::{FrameStatus, Packet, decode, frame};

    const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

    fn form(version: Version, qos: Qos, payload_bytes: usize) -> Form<'static> {
        let topic = TopicName::parse("a/00000000/b").unwrap();
        Form { version, topic, sequence_at: Some(2), qos, retain: true, payload_bytes, run: 3, publisher: 9 }
    }

    #[test]
    fn every_message_is_a_whole_publish_with_its_own_numbers() {
        for version in VERSIONS {
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
                for payload_bytes in [24, 25, 120, 127, 128, 16_384, 70_000] {
                    let mut template = Template::new(form(version, qos, payload_bytes));
                    let filler = vec![b'x'; payload_bytes];
                    for (id, sequence) in [(1, 0), (65_535, 12_345_678)] {
                        let packet_id = PacketId::new(id).filter(|_| qos > Qos::AtMostOnce);
                        let mut bytes = Vec::new();
                        template.append(packet_id, sequence, 77, &filler, &mut bytes);
                        assert_eq!(bytes.len(), template.packet_bytes());
                        let Ok(FrameStatus::Complete(whole)) = frame(&bytes, u32::MAX) else { panic!() };
                        let Ok(Packet::Publish(publish)) = decode(whole, version) else { panic!() };
                        assert_eq!(publish.topic.unwrap().as_str(), format!("a/{sequence:08}/b"));
                        assert_eq!((publish.packet_id, publish.qos), (packet_id, qos));
                        assert!(publish.retain && !publish.dup);
                        let header = Header { run: 3, publisher: 9, sequence, time_ns: 77 };
                        assert_eq!(Header::decode(publish.payload), Some(header));
                        assert_eq!(publish.payload.len(), payload_bytes);
                    }
                }
            }
        }
    }

    #[test]
    fn a_payload_without_room_for_a_header_is_filler_alone() {
        for payload_bytes in [0, 1, 23] {
            let mut template = Template::new(form(Version::V5, Qos::AtMostOnce, payload_bytes));
            let mut bytes = Vec::new();
            template.append(None, 5, 77, &[b'x'; 23], &mut bytes);
            let Ok(FrameStatus::Complete(whole)) = frame(&bytes, u32::MAX) else { panic!() };
            let Ok(Packet::Publish(publish)) = decode(whole, Version::V5) else { panic!() };
            assert_eq!(publish.payload, vec![b'x'; payload_bytes]);
        }
    }
}
