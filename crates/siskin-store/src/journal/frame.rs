//! A frame that is being filled.

use siskin_core::store::Batch;

use crate::format::{FRAME_HEADER_BYTES, FrameHeader};

/// Batches that are written together: all of them come back, or none.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Room for the header, then the operations: so that both are one write.
    bytes: Vec<u8>,
}

impl Frame {
    /// Adds a batch.
    pub fn push(&mut self, batch: &Batch) {
        self.bytes.extend_from_slice(batch.bytes());
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of its operations.
    pub fn len(&self) -> u64 {
        self.payload().len() as u64
    }

    pub(crate) fn from_payload(payload: &[u8]) -> Self {
        let mut frame = Self::default();
        frame.bytes.extend_from_slice(payload);
        frame
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[FRAME_HEADER_BYTES..]
    }

    pub(crate) fn total(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The frame as it is written, with what is known only now in its header.
    pub(crate) fn seal(&mut self, sequence: u64, header: FrameHeader, tag: u64) -> &[u8] {
        let payload = self.payload();
        let header =
            FrameHeader { sequence, len: payload.len() as u32, crc: crc32c::crc32c(payload), ..header };
        self.bytes[..FRAME_HEADER_BYTES].copy_from_slice(&header.encode(tag));
        &self.bytes
    }
}

impl Default for Frame {
    fn default() -> Self {
        Self { bytes: vec![0; FRAME_HEADER_BYTES] }
    }
}
