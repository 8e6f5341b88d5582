//! What waits to be written to one transport.

use std::io::IoSlice;

use bytes::Bytes;

/// Memory that drained buffers gave back, for the next that need some.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Vec<Vec<u8>>,
    bytes: usize,
}

impl Pool {
    fn take(&mut self) -> Vec<u8> {
        let storage = self.free.pop().unwrap_or_default();
        self.bytes -= storage.capacity();
        storage
    }

    /// Keeps `storage`, unless there is enough.
    pub(crate) fn keep(&mut self, storage: Vec<u8>) {
        let capacity = storage.capacity();
        if (1..=STORAGE_BYTES_MAX).contains(&capacity) && self.bytes + capacity <= POOL_BYTES_MAX {
            self.bytes += capacity;
            self.free.push(storage);
        }
    }
}

/// Buffers larger than this are given back to the system.
const STORAGE_BYTES_MAX: usize = 64 * 1024;

/// Bytes that are kept, over all buffers.
const POOL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes on their way to one peer: packets in a row, with large payloads referred to in between.
///
/// An empty buffer whose storage was taken back holds no memory.
#[derive(Debug, Default)]
pub struct OutBuffer {
    bytes: Vec<u8>,
    /// Written so far, counted in `bytes` alone.
    start: usize,
    splices: Option<Box<Splices>>,
}

/// Large payloads, each with the place before which it goes.
#[derive(Debug, Default)]
struct Splices {
    list: Vec<(usize, Bytes)>,
    bytes: usize,
}

impl Splices {
    /// Of `left` bytes that have gone out from `start` on, takes those up to the last splice among them; says how
    /// many are left for what is behind it.
    fn advance(&mut self, mut left: usize, start: &mut usize) -> usize {
        let mut used = 0;
        while let Some((place, payload)) = self.list.get_mut(used) {
            let before = *place - *start;
            if left < before {
                break;
            }
            left -= before;
            *start = *place;
            let taken = left.min(payload.len());
            self.bytes -= taken;
            left -= taken;
            if taken < payload.len() {
                let _ = payload.split_to(taken);
                break;
            }
            used += 1;
        }
        self.list.drain(..used);
        left
    }
}

impl OutBuffer {
    /// A packet, or its head.
    pub(crate) fn storage(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// A payload that follows what was appended last, shared instead of copied.
    pub(crate) fn splice(&mut self, payload: Bytes) {
        let splices = self.splices.get_or_insert_default();
        splices.bytes += payload.len();
        splices.list.push((self.bytes.len(), payload));
    }

    /// Takes memory of `pool` to grow in, if it has none of its own.
    #[inline]
    pub(crate) fn lend(&mut self, pool: &mut Pool) {
        if self.bytes.capacity() == 0 {
            self.bytes = pool.take();
        }
    }

    /// Gives back the memory of an empty buffer.
    pub(crate) fn take_storage(&mut self) -> Vec<u8> {
        self.start = 0;
        self.splices = None;
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        bytes
    }

    /// The first `into.len()` pieces to write, in order; says how many there are.
    pub fn slices<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        let mut from = self.start;
        let mut push = |piece: &'a [u8]| {
            if !piece.is_empty() && count < into.len() {
                into[count] = IoSlice::new(piece);
                count += 1;
            }
        };
        let splices = self.splices.as_deref().map_or(&[][..], |splices| &splices.list);
        for (place, payload) in splices.iter().take(MANY_SPLICES) {
            push(&self.bytes[from..*place]);
            push(payload);
            from = *place;
        }
        if splices.len() <= MANY_SPLICES {
            push(&self.bytes[from..]);
        }
        count
    }

    /// `written` bytes from the front have gone out.
    pub fn advance(&mut self, written: usize) {
        let mut left = written;
        if let Some(splices) = &mut self.splices {
            left = splices.advance(left, &mut self.start);
        }
        self.start = (self.start + left).min(self.bytes.len());
        if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > COMPACT_MIN && self.start * 2 > self.bytes.len() {
            self.bytes.drain(..self.start);
            for (place, _) in self.splices.iter_mut().flat_map(|splices| &mut splices.list) {
                *place -= self.start;
            }
            self.start = 0;
            if self.bytes.len() < self.bytes.capacity() / 4 {
                // Who reads slowly, but reads, would keep what it took at its worst.
                self.bytes.shrink_to(2 * self.bytes.len());
            }
        }
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start + self.splices.as_ref().map_or(0, |splices| splices.bytes)
    }

    /// Bytes that wait, without the payloads referred to.
    pub(crate) fn len_copied(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Splices looked at for one write; more go out with the next.
const MANY_SPLICES: usize = 32;

/// A buffer is moved to its front only when that frees at least this many bytes.
const COMPACT_MIN: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn written(out: &OutBuffer) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let count = out.slices(&mut slices);
        slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    fn sample() -> OutBuffer {
        let mut out = OutBuffer::default();
        out.storage().extend(b"ab");
        out.splice(Bytes::from_static(b"CDE"));
        out.splice(Bytes::from_static(b"F"));
        out.storage().extend(b"gh");
        out
    }

    #[test]
    fn pieces_come_in_the_order_they_were_appended() {
        assert_eq!(written(&sample()), b"abCDEFgh");
        assert_eq!(sample().len(), 8);
    }

    #[test]
    fn every_way_of_writing_it_in_two_gives_the_same_bytes() {
        for first in 0..=8 {
            let mut out = sample();
            out.advance(first);
            assert_eq!(written(&out), &b"abCDEFgh"[first..]);
            assert_eq!(out.len(), 8 - first);
            out.storage().extend(b"xyz");
            out.advance(8 - first);
            assert_eq!(written(&out), b"xyz");
            out.advance(3);
            assert!(out.is_empty());
        }
    }

    #[test]
    fn a_long_buffer_moves_to_the_front_and_keeps_its_splices() {
        let mut out = OutBuffer::default();
        out.storage().extend(vec![b'a'; 100_000]);
        out.splice(Bytes::from_static(b"BIG"));
        out.storage().extend(b"end");
        out.advance(99_999);
        assert_eq!(written(&out), b"aBIGend");
        assert!(out.bytes.len() < 10);
    }
}
