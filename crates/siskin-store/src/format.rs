//! The bytes of segments and frames, as drawn in `docs/storage-format.md`.

/// The version of the format that is written, and the only one that is read.
pub(crate) const VERSION: u32 = 1;

/// Where the first frame of a segment is. The header has a block of its own, so that no later write touches it.
pub(crate) const FRAMES_START: u64 = 4096;

/// Bytes of a segment's header that mean something.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;

/// Bytes of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 40;

/// How a segment begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentHeader {
    /// The number in the segment's name.
    pub(crate) number: u32,
    /// Drawn at random, the same in all its frames: nobody outside knows it, so that what clients send cannot
    /// look like a frame, nor what is left of the file's last life.
    pub(crate) tag: u64,
    /// The sequence of its first frame. Frames of earlier segments that have this one or a later are void.
    pub(crate) first: u64,
    /// Everything up to this sequence was safe before the segment was made.
    pub(crate) synced: u64,
    /// The oldest segment there was then.
    pub(crate) oldest: u32,
}

/// Why bytes are no segment's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoSegment {
    /// It may be one of another version.
    Version(u32),
    /// It is none.
    Damaged,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[0..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.tag.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.first.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.synced.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.oldest.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, NoSegment> {
        if bytes.len() < SEGMENT_HEADER_BYTES || &bytes[..8] != MAGIC {
            return Err(NoSegment::Damaged);
        }
        // Magic, version and checksum stay where they are in every version.
        if crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return Err(NoSegment::Damaged);
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(NoSegment::Version(version));
        }
        Ok(Self {
            number: u32_at(bytes, 12),
            tag: u64_at(bytes, 16),
            first: u64_at(bytes, 24),
            synced: u64_at(bytes, 32),
            oldest: u32_at(bytes, 40),
        })
    }
}

/// How a frame begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FrameHeader {
    /// The frame's place among all; each is one more than the one before.
    pub(crate) sequence: u64,
    /// Everything up to this sequence was safe before the frame was written.
    pub(crate) synced: u64,
    /// Segments before this one are needed no longer, once this frame is safe.
    pub(crate) oldest: u32,
    /// Bytes behind the header.
    pub(crate) len: u32,
    /// Their checksum.
    pub(crate) crc: u32,
    /// It stands for frames that were lost, the last of them with its sequence, and what is behind the header
    /// means nothing. Only a repair writes such a frame.
    pub(crate) lost: bool,
}

impl FrameHeader {
    pub(crate) fn encode(&self, tag: u64) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[0..8].copy_from_slice(&if self.lost { !tag } else { tag }.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.synced.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.oldest.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.len.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.crc.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..36]);
        bytes[36..40].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header at the front of `bytes`, if it is one of the segment with this tag.
    pub(crate) fn decode(bytes: &[u8], tag: u64) -> Option<Self> {
        if bytes.len() < FRAME_HEADER_BYTES {
            return None;
        }
        let lost = match u64_at(bytes, 0) {
            found if found == tag => false,
            found if found == !tag => true,
            _ => return None,
        };
        if crc32c::crc32c(&bytes[..36]) != u32_at(bytes, 36) {
            return None;
        }
        Some(Self {
            sequence: u64_at(bytes, 8),
            synced: u64_at(bytes, 16),
            oldest: u32_at(bytes, 24),
            len: u32_at(bytes, 28),
            crc: u32_at(bytes, 32),
            lost,
        })
    }

    /// Whether `payload` is what was written behind this header.
    pub(crate) fn holds(&self, payload: &[u8]) -> bool {
        self.lost || crc32c::crc32c(payload) == self.crc
    }

    /// Bytes from the header's first to the payload's last.
    pub(crate) fn total(&self) -> u64 {
        FRAME_HEADER_BYTES as u64 + u64::from(self.len)
    }
}

/// The name of segment `number`.
pub(crate) fn segment_name(number: u32) -> String {
    format!("{number:08}.journal")
}

/// The number of the segment with this name, if it is the name of one.
pub(crate) fn segment_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".journal")?.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// The name of a spare file.
pub(crate) fn spare_name(number: u32) -> String {
    format!("{number}.spare")
}

/// Whether this is the name of a spare file.
pub(crate) fn is_spare(name: &str) -> bool {
    name.strip_suffix(".spare").is_some_and(|number| number.parse::<u32>().is_ok())
}

/// The name of a file that is being made ready to become a segment or a spare one.
pub(crate) const UNFINISHED: &str = "unfinished";

/// The name of a spare file that is being filled.
pub(crate) const UNFINISHED_SPARE: &str = "unfinished-spare";

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

const MAGIC: &[u8; 8] = b"SiskinJ\n";

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: SegmentHeader =
        SegmentHeader { number: 3, tag: 0x0123_4567_89ab_cdef, first: 77, synced: 76, oldest: 2 };

    #[test]
    fn a_segment_header_comes_back_and_no_flipped_bit_goes_unseen() {
        let bytes = SEGMENT.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(SEGMENT));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&flipped), Err(NoSegment::Damaged), "bit {bit}");
        }
        assert_eq!(SegmentHeader::decode(&bytes[..63]), Err(NoSegment::Damaged));
    }

    #[test]
    fn a_segment_of_a_later_version_says_so() {
        let mut bytes = SEGMENT.encode();
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes), Err(NoSegment::Version(2)));
    }

    #[test]
    fn a_frame_header_comes_back_and_no_flipped_bit_goes_unseen() {
        let header = FrameHeader { sequence: 5, synced: 4, oldest: 1, len: 10, crc: 99, lost: false };
        let bytes = header.encode(SEGMENT.tag);
        assert_eq!(FrameHeader::decode(&bytes, SEGMENT.tag), Some(header));
        assert_eq!(FrameHeader::decode(&bytes, SEGMENT.tag + 1), None);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(FrameHeader::decode(&flipped, SEGMENT.tag), None, "bit {bit}");
        }
        let lost = FrameHeader { lost: true, ..header };
        assert_eq!(FrameHeader::decode(&lost.encode(SEGMENT.tag), SEGMENT.tag), Some(lost));
    }

    #[test]
    fn names_are_numbers_and_nothing_else_is_a_name() {
        assert_eq!(segment_name(7), "00000007.journal");
        assert_eq!(segment_number("00000007.journal"), Some(7));
        assert_eq!(segment_number("123456789.journal"), Some(123_456_789));
        for name in ["7.journal", "0000000x.journal", "00000007.journal.old", "+0000007.journal", "lock"] {
            assert_eq!(segment_number(name), None, "{name}");
        }
    }
}
