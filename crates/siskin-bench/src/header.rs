//! What each payload begins with, so that whoever receives it can account for it.
//!
//! ```text
//! 0        4          8          16       24
//! | run    | publisher | sequence | time   | filler ...
//! | u32    | u32       | u64      | u64 ns |            all big endian
//! ```

/// The front of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Which run of the tool sent it.
    pub(crate) run: u32,
    /// Which publisher of that run.
    pub(crate) publisher: u32,
    /// How many messages that publisher sent before.
    pub(crate) sequence: u64,
    /// When it was to be sent, by the monotonic clock of the machine.
    pub(crate) time_ns: u64,
}

/// Payloads shorter than this cannot be accounted for.
pub(crate) const HEADER_BYTES: usize = 24;

impl Header {
    pub(crate) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&self.run.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.publisher.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[16..].copy_from_slice(&self.time_ns.to_be_bytes());
        bytes
    }

    /// The header of a payload, if it is long enough to have one.
    #[inline]
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let (run, rest) = payload.split_first_chunk()?;
        let (publisher, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (time, _) = rest.split_first_chunk()?;
        Some(Self {
            run: u32::from_be_bytes(*run),
            publisher: u32::from_be_bytes(*publisher),
            sequence: u64::from_be_bytes(*sequence),
            time_ns: u64::from_be_bytes(*time),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_as_it_was_written() {
        let header = Header { run: 1, publisher: u32::MAX, sequence: 1 << 40, time_ns: u64::MAX - 1 };
        assert_eq!(Header::decode(&header.encode()), Some(header));
    }

    #[test]
    fn a_payload_that_is_too_short_has_none() {
        assert_eq!(Header::decode(&[0; HEADER_BYTES - 1]), None);
    }
}
