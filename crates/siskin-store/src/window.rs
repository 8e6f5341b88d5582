//! Reading a segment from front to back, a piece at a time.

use std::io;

use crate::device::{Device, read_full_at};
use crate::format::{FRAME_HEADER_BYTES, FrameHeader};

/// A piece of a file that moves with whoever reads it.
pub(crate) struct Window<'a, D: Device> {
    device: &'a D,
    file: &'a D::File,
    start: u64,
    bytes: Vec<u8>,
    piece: usize,
}

/// What is at a place where a frame may be.
pub(crate) enum Found {
    /// A frame.
    Whole(FrameHeader),
    /// A frame's header; what should be behind it is not.
    Torn,
    /// Nothing that can be made out.
    Nothing,
}

impl<'a, D: Device> Window<'a, D> {
    pub(crate) fn new(device: &'a D, file: &'a D::File) -> Self {
        Self { device, file, start: 0, bytes: Vec::new(), piece: PIECE_BYTES }
    }

    /// A window for few bytes here and there.
    pub(crate) fn narrow(device: &'a D, file: &'a D::File) -> Self {
        Self { piece: 1, ..Self::new(device, file) }
    }

    /// `len` bytes at `offset`; fewer if the file ends before.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let inside = |start: u64, have: usize| {
            offset.checked_sub(start).and_then(|at| usize::try_from(at).ok()).filter(|at| at + len <= have)
        };
        if inside(self.start, self.bytes.len()).is_none() {
            // Grown as the file yields: a length that a damaged header claims is not believed before.
            self.start = offset;
            self.bytes.clear();
            while self.bytes.len() < len {
                let from = self.bytes.len();
                let ask = (len - from).clamp(self.piece, PIECE_BYTES.max(self.piece));
                self.bytes.resize(from + ask, 0);
                let read =
                    read_full_at(self.device, self.file, &mut self.bytes[from..], offset + from as u64)?;
                self.bytes.truncate(from + read);
                if read < ask {
                    break;
                }
            }
        }
        let at = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        Ok(&self.bytes[at..(at + len).min(self.bytes.len())])
    }

    /// What is at `offset`.
    pub(crate) fn frame(&mut self, offset: u64, tag: u64) -> io::Result<Found> {
        let Some(header) = FrameHeader::decode(self.get(offset, FRAME_HEADER_BYTES)?, tag) else {
            return Ok(Found::Nothing);
        };
        let payload = self.payload(offset, &header)?;
        let whole = payload.len() == header.len as usize && header.holds(payload);
        Ok(if whole { Found::Whole(header) } else { Found::Torn })
    }

    /// What is behind the header of the frame at `offset`.
    pub(crate) fn payload(&mut self, offset: u64, header: &FrameHeader) -> io::Result<&[u8]> {
        self.get(offset + FRAME_HEADER_BYTES as u64, header.len as usize)
    }

    /// The next place at or behind `offset` where a header of a frame with this tag is.
    pub(crate) fn search(&mut self, mut offset: u64, tag: u64) -> io::Result<Option<(u64, FrameHeader)>> {
        let marks = [tag.to_le_bytes(), (!tag).to_le_bytes()];
        loop {
            let bytes = self.get(offset, PIECE_BYTES)?;
            if bytes.len() < FRAME_HEADER_BYTES {
                return Ok(None);
            }
            let places = bytes.len() - FRAME_HEADER_BYTES + 1;
            for at in 0..places {
                let first = bytes[at];
                if (first == marks[0][0] || first == marks[1][0])
                    && let Some(header) = FrameHeader::decode(&bytes[at..], tag)
                {
                    return Ok(Some((offset + at as u64, header)));
                }
            }
            offset += places as u64;
        }
    }
}

/// How much is read at a time.
const PIECE_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Fault, Operation, SimDevice};

    const TAG: u64 = 0x1122_3344_5566_7788;

    fn frame(sequence: u64, payload: &[u8]) -> Vec<u8> {
        let (len, crc) = (payload.len() as u32, crc32c::crc32c(payload));
        let header = FrameHeader { sequence, synced: 0, oldest: 0, len, crc, lost: false };
        [&header.encode(TAG)[..], payload].concat()
    }

    #[test]
    fn frames_larger_than_a_piece_and_across_its_border_are_read_whole() {
        let long = frame(1, &vec![3; PIECE_BYTES * 2 + 17]);
        let bytes = [&long[..], &frame(2, b"short"), &frame(3, &vec![4; PIECE_BYTES - 60])].concat();
        let device = SimDevice::new(1);
        device.set_content("file", &bytes);
        // The system may give less than was asked for.
        for nth in 0..4 {
            device.plan(Operation::Read, nth, Fault::Short);
        }
        let file = device.open("file").expect("it is there");
        let mut window = Window::new(&device, &file);
        let mut offset = 0;
        for sequence in 1..=3 {
            let Found::Whole(header) = window.frame(offset, TAG).expect("it can be read") else {
                panic!("frame {sequence}")
            };
            assert_eq!(header.sequence, sequence);
            offset += header.total();
        }
        assert!(matches!(window.frame(offset, TAG), Ok(Found::Nothing)));
    }

    #[test]
    fn a_length_beyond_the_file_is_torn_and_not_believed() {
        let header = FrameHeader { sequence: 1, synced: 0, oldest: 0, len: u32::MAX, crc: 0, lost: false };
        let device = SimDevice::new(1);
        device.set_content("file", &header.encode(TAG));
        let file = device.open("file").expect("it is there");
        assert!(matches!(Window::new(&device, &file).frame(0, TAG), Ok(Found::Torn)));
    }

    #[test]
    fn a_search_finds_headers_wherever_they_are() {
        let device = SimDevice::new(1);
        let found = |at: usize| {
            let bytes = [&vec![TAG.to_le_bytes()[0]; at][..], &frame(7, b"payload")].concat();
            device.set_content("file", &bytes);
            let file = device.open("file").expect("it is there");
            let mut window = Window::new(&device, &file);
            window.search(0, TAG).expect("it can be read").map(|(at, header)| (at, header.sequence))
        };
        for at in (0..50).chain(PIECE_BYTES - 50..PIECE_BYTES + 3) {
            assert_eq!(found(at), Some((at as u64, 7)), "{at}");
        }
    }
}
