//! What a store is told: a list of operations, encoded as they are kept.
//!
//! ```text
//! put      0x01  id  references  length  body     every number a varint: 7 bits a byte, low bits first,
//! release  0x02  id  reference                    the top bit set on all but the last
//! note     0x03  id  reference  note
//! ```

use std::fmt;

use super::RecordId;

/// Operations that become safe together or not at all.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    awaits: bool,
}

/// One operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op<'a> {
    /// The record is there, with references `0..references`, all held and without note. What was there under its
    /// id before is gone.
    Put {
        /// Its id.
        id: RecordId,
        /// How many must be released until it is gone; at least one.
        references: u32,
        /// What is in it.
        body: &'a [u8],
    },
    /// One reference is held no longer. With the last of them goes the record.
    Release {
        /// The record.
        id: RecordId,
        /// Which of its references.
        reference: u32,
    },
    /// A number to remember at one reference, in place of the one before. It is below [`u32::MAX`].
    Note {
        /// The record.
        id: RecordId,
        /// Which of its references.
        reference: u32,
        /// The number.
        note: u32,
    },
}

/// Bytes that are no operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damaged;

impl Batch {
    /// Puts a record with `references` references, whose body `write` appends.
    pub fn put(&mut self, id: RecordId, references: u32, write: impl FnOnce(&mut Vec<u8>)) {
        debug_assert!(references > 0, "a record that nobody holds is never gone");
        self.bytes.push(PUT);
        write_varint(&mut self.bytes, id.get());
        write_varint(&mut self.bytes, references.into());
        let start = self.bytes.len();
        write(&mut self.bytes);
        let len = self.bytes.len() - start;
        let mut prefix = [0; VARINT_BYTES_MAX];
        let prefix_len = encode_varint(&mut prefix, len as u64);
        self.bytes.resize(start + prefix_len + len, 0);
        self.bytes.copy_within(start..start + len, start + prefix_len);
        self.bytes[start..start + prefix_len].copy_from_slice(&prefix[..prefix_len]);
    }

    /// Releases one reference of a record.
    pub fn release(&mut self, id: RecordId, reference: u32) {
        self.bytes.push(RELEASE);
        write_varint(&mut self.bytes, id.get());
        write_varint(&mut self.bytes, reference.into());
    }

    /// Notes a number at one reference of a record.
    pub fn note(&mut self, id: RecordId, reference: u32, note: u32) {
        debug_assert!(note < u32::MAX, "the last number is for stores to mark what is released");
        self.bytes.push(NOTE);
        write_varint(&mut self.bytes, id.get());
        write_varint(&mut self.bytes, reference.into());
        write_varint(&mut self.bytes, note.into());
    }

    /// Somebody waits for this batch to be safe.
    pub fn await_safety(&mut self) {
        self.awaits = true;
    }

    /// Whether somebody waits for it to be safe.
    pub fn awaits(&self) -> bool {
        self.awaits
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The operations, encoded.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The operations, in order.
    pub fn ops(&self) -> Ops<'_> {
        Ops { rest: &self.bytes }
    }

    /// Empties it; its memory stays for the next.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.awaits = false;
    }
}

/// The operations in a row of bytes.
#[derive(Clone, Debug)]
pub struct Ops<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Ops<'a> {
    type Item = Op<'a>;

    fn next(&mut self) -> Option<Op<'a>> {
        Op::decode(&mut self.rest).ok()
    }
}

impl<'a> Op<'a> {
    /// Reads the operation at the front of `bytes` and moves them on behind it.
    pub fn decode(bytes: &mut &'a [u8]) -> Result<Self, Damaged> {
        let (&kind, rest) = bytes.split_first().ok_or(Damaged)?;
        let mut rest = rest;
        let id = RecordId::new(read_varint(&mut rest)?).ok_or(Damaged)?;
        let number = |rest: &mut &'a [u8]| u32::try_from(read_varint(rest)?).map_err(|_| Damaged);
        let first = number(&mut rest)?;
        let op = match kind {
            PUT => {
                let len = usize::try_from(read_varint(&mut rest)?).map_err(|_| Damaged)?;
                let (body, after) = rest.split_at_checked(len).ok_or(Damaged)?;
                rest = after;
                Self::Put { id, references: first, body }
            }
            RELEASE => Self::Release { id, reference: first },
            NOTE => Self::Note { id, reference: first, note: number(&mut rest)? },
            _ => return Err(Damaged),
        };
        *bytes = rest;
        Ok(op)
    }
}

/// Appends `value` as a varint.
pub(crate) fn write_varint(out: &mut Vec<u8>, value: u64) {
    let mut bytes = [0; VARINT_BYTES_MAX];
    let len = encode_varint(&mut bytes, value);
    out.extend_from_slice(&bytes[..len]);
}

/// Reads the varint at the front of `bytes` and moves them on behind it.
pub(crate) fn read_varint(bytes: &mut &[u8]) -> Result<u64, Damaged> {
    let mut value = 0_u64;
    for place in 0..VARINT_BYTES_MAX {
        let (&byte, rest) = bytes.split_first().ok_or(Damaged)?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        if place == VARINT_BYTES_MAX - 1 && low > 1 {
            return Err(Damaged);
        }
        value |= low << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Damaged)
}

fn encode_varint(into: &mut [u8; VARINT_BYTES_MAX], mut value: u64) -> usize {
    let mut len = 0;
    loop {
        let more = value > 0x7f;
        into[len] = (value & 0x7f) as u8 | u8::from(more) << 7;
        len += 1;
        value >>= 7;
        if !more {
            return len;
        }
    }
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an operation of a store")
    }
}

impl std::error::Error for Damaged {}

const PUT: u8 = 1;
const RELEASE: u8 = 2;
const NOTE: u8 = 3;

/// Bytes of the longest varint of 64 bits.
const VARINT_BYTES_MAX: usize = 10;

/// Memory beyond this is given back when a batch is emptied.
const KEPT_BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> RecordId {
        RecordId::new(number).expect("not zero")
    }

    #[test]
    fn operations_come_back_as_they_went_in() {
        let mut batch = Batch::default();
        let long = vec![7; 300];
        batch.put(id(1), 1, |out| out.extend_from_slice(b"short"));
        batch.put(id(u64::MAX), u32::MAX, |out| out.extend_from_slice(&long));
        batch.put(id(128), 3, |_| {});
        batch.release(id(300), 70_000);
        batch.note(id(2), 0, 65_535);
        let ops: Vec<_> = batch.ops().collect();
        assert_eq!(
            ops,
            [
                Op::Put { id: id(1), references: 1, body: b"short" },
                Op::Put { id: id(u64::MAX), references: u32::MAX, body: &long },
                Op::Put { id: id(128), references: 3, body: b"" },
                Op::Release { id: id(300), reference: 70_000 },
                Op::Note { id: id(2), reference: 0, note: 65_535 },
            ]
        );
    }

    #[test]
    fn every_operation_cut_short_or_of_unknown_kind_is_damaged() {
        let mut batch = Batch::default();
        batch.put(id(5_000), 2, |out| out.extend_from_slice(b"body"));
        let whole = batch.bytes().to_vec();
        for len in 0..whole.len() {
            assert_eq!(Op::decode(&mut &whole[..len]), Err(Damaged), "{len} bytes");
        }
        assert_eq!(Op::decode(&mut &[0, 1, 1][..]), Err(Damaged));
        assert_eq!(Op::decode(&mut &[4, 1, 1][..]), Err(Damaged));
        // No record has the id 0, and no number more than 64 bits.
        assert_eq!(Op::decode(&mut &[RELEASE, 0, 1][..]), Err(Damaged));
        assert_eq!(
            Op::decode(&mut &[2, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2, 0][..]),
            Err(Damaged)
        );
    }
}
