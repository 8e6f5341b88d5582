//! What a worker recorded last, of all its clients.

use std::collections::VecDeque;

use super::bytes::{self, cut};
use super::entry::{Entry, What};
use super::origin::Origin;

/// One of the latest events of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recent {
    /// The client it is about, or the beginning of a long client id; empty if none was given.
    pub client_id: String,
    /// Where the client was, if that is known.
    pub origin: Origin,
    /// What happened.
    pub entry: Entry<'static>,
}

/// The latest events, within a bound: each is its length, its client id and the entry.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    bytes: VecDeque<u8>,
    /// Events that had to make room.
    lost: u64,
}

impl Ring {
    /// Adds the event of `client_id` that [`bytes::encode`] made these bytes of.
    pub(super) fn push(&mut self, client_id: &str, entry: &[u8]) {
        let id = cut(client_id, ID_BYTES_MAX);
        let len = 1 + id.len() + entry.len();
        while self.bytes.len() + 2 + len > RING_BYTES_MAX {
            let front = self.len_at(0);
            self.bytes.drain(..front);
            self.lost += 1;
        }
        let [high, low] = (len as u16).to_be_bytes();
        self.bytes.extend(&[high, low, id.len() as u8]);
        self.bytes.extend(id.as_bytes());
        self.bytes.extend(entry);
    }

    /// The latest `most`, oldest first.
    pub(crate) fn latest(&self, most: usize) -> Vec<Recent> {
        let mut starts = Vec::new();
        let mut start = 0;
        while start < self.bytes.len() {
            starts.push(start);
            start += self.len_at(start);
        }
        let shown = &starts[starts.len().saturating_sub(most)..];
        shown.iter().filter_map(|start| self.read(*start)).collect()
    }

    /// Takes out the oldest `most`, and says how many had to make room since last asked.
    pub(crate) fn take(&mut self, most: usize) -> (Vec<Recent>, u64) {
        let mut events = Vec::new();
        let mut start = 0;
        while start < self.bytes.len() && events.len() < most {
            events.extend(self.read(start));
            start += self.len_at(start);
        }
        self.bytes.drain(..start);
        (events, std::mem::take(&mut self.lost))
    }

    /// Bytes of the event that begins at `start`.
    fn len_at(&self, start: usize) -> usize {
        2 + usize::from(u16::from_be_bytes([self.bytes[start], self.bytes[start + 1]]))
    }

    fn read(&self, start: usize) -> Option<Recent> {
        let event: Vec<u8> = self.bytes.range(start + 2..start + self.len_at(start)).copied().collect();
        let (len, rest) = event.split_first()?;
        let (id, entry) = rest.split_at_checked(usize::from(*len))?;
        let client_id = String::from_utf8(id.to_vec()).ok()?;
        let entry = bytes::decode(entry)?;
        let origin = match &entry.what {
            What::Connected { origin, .. } | What::Refused { origin, .. } => *origin,
            _ => Origin::Unknown,
        };
        Some(Recent { client_id, origin, entry })
    }
}

/// Bytes of a client id that are kept.
const ID_BYTES_MAX: usize = 100;

/// Bytes of the latest events of a worker, more than a thousand of them. At the limit the oldest go.
const RING_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Now;

    fn push(ring: &mut Ring, id: &str, entry: &Entry<'_>) {
        let mut bytes = Vec::new();
        bytes::encode(entry, &mut bytes);
        ring.push(id, &bytes);
    }

    #[test]
    fn the_latest_events_are_kept_within_the_bound() {
        let mut ring = Ring::default();
        assert_eq!(ring.latest(10), []);
        let long = "ü".repeat(200);
        for at in 0..10_000 {
            let id = if at % 3 == 0 { long.clone() } else { at.to_string() };
            push(&mut ring, &id, &Entry::new(Now::from_millis(at), What::WillWithdrawn));
            assert!(ring.bytes.len() <= RING_BYTES_MAX);
        }
        let latest = ring.latest(usize::MAX);
        assert!(latest.len() > 1000);
        let ats: Vec<_> = latest.iter().map(|recent| recent.entry.at.as_millis()).collect();
        assert_eq!(ats, (10_000 - latest.len() as u64..10_000).collect::<Vec<_>>());
        let two = ring.latest(2);
        assert_eq!(
            two.iter().map(|recent| recent.client_id.as_str()).collect::<Vec<_>>(),
            ["9998", &long[..100]]
        );
    }

    #[test]
    fn events_are_taken_once_and_those_that_had_to_make_room_are_counted() {
        let mut ring = Ring::default();
        for at in 0..10_000 {
            push(&mut ring, "client", &Entry::new(Now::from_millis(at), What::WillWithdrawn));
        }
        let (first, lost) = ring.take(10);
        assert_eq!((first.len(), first[0].entry.at.as_millis()), (10, lost));
        let (rest, more) = ring.take(usize::MAX);
        assert_eq!((rest.len() as u64 + 10 + lost, more), (10_000, 0));
        assert_eq!(ring.take(10), (Vec::new(), 0));
    }
}
