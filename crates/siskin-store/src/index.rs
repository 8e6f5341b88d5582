//! What is alive, and where: a record's body stays in its segment, its place and its references are here.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use siskin_core::store::{Batch, Damaged, Held, Op, RecordId};
use slab::Slab;

use crate::hash::Runs;

/// Where a body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Location {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) crc: u32,
}

/// A segment file.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub(crate) number: u32,
    pub(crate) tag: u64,
    pub(crate) file: Arc<F>,
    /// What it takes on the disk.
    pub(crate) size: u64,
    /// Where its last frame ends.
    pub(crate) end: u64,
    /// What of it is alive, as [`Index::live_bytes`] counts.
    pub(crate) live_bytes: u64,
}

/// All records that are alive, and the segments they are in.
#[derive(Debug)]
pub(crate) struct Index<F> {
    records: HashMap<u64, Entry, Runs>,
    /// References of those records that have several.
    many: Slab<Many>,
    /// Oldest first, their numbers without a gap.
    pub(crate) segments: VecDeque<Segment<F>>,
    live_bytes: u64,
    last_id: u64,
}

/// 24 bytes, of which there are millions.
#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Location,
    references: u32,
    /// With one reference its note; with several their place in `many`.
    note: u32,
}

/// References of one record.
#[derive(Debug)]
struct Many {
    held: u32,
    /// The note of each reference, [`RELEASED`] for one that is held no longer. As long as it must be: what is
    /// beyond it is held and without a note.
    notes: Vec<u32>,
}

impl<F> Index<F> {
    pub(crate) fn new() -> Self {
        Self {
            records: HashMap::default(),
            many: Slab::new(),
            segments: VecDeque::new(),
            live_bytes: 0,
            last_id: 0,
        }
    }

    /// Applies the operations of a frame whose payload is at `offset` of `segment`.
    pub(crate) fn apply(&mut self, segment: u32, offset: u64, payload: &[u8]) -> Result<(), Damaged> {
        let mut rest = payload;
        while !rest.is_empty() {
            match Op::decode(&mut rest)? {
                Op::Put { id, references, body } => {
                    let offset = place(offset, payload, rest, body).ok_or(Damaged)?;
                    let len = u32::try_from(body.len()).map_err(|_| Damaged)?;
                    let at = Location { segment, offset, len, crc: crc32c::crc32c(body) };
                    self.put(id.get(), references, at);
                }
                Op::Release { id, reference } => self.release(id.get(), reference),
                Op::Note { id, reference, note } => self.note(id.get(), reference, note),
            }
        }
        Ok(())
    }

    /// The operations of a frame are at another place now: those bodies that were at the old one are there.
    pub(crate) fn relocate(&mut self, from: (u32, u64), to: (u32, u64), payload: &[u8]) {
        let mut rest = payload;
        while !rest.is_empty() {
            let Ok(op) = Op::decode(&mut rest) else { return };
            let Op::Put { id, body, .. } = op else { continue };
            let (Some(old), Some(new)) =
                (place(from.1, payload, rest, body), place(to.1, payload, rest, body))
            else {
                return;
            };
            let Some(entry) = self.records.get_mut(&id.get()) else { continue };
            if (entry.at.segment, entry.at.offset) == (from.0, old) {
                (entry.at.segment, entry.at.offset) = (to.0, new);
                let weight = weight(*entry, &self.many) as i64;
                self.add(from.0, -weight);
                self.add(to.0, weight);
            }
        }
    }

    fn put(&mut self, id: u64, references: u32, at: Location) {
        self.last_id = self.last_id.max(id);
        self.remove(id);
        if references == 0 {
            return;
        }
        let note = match references {
            1 => 0,
            // The slab is full at 4 billion records of several references, which is beyond any memory.
            _ => self.many.insert(Many { held: references, notes: Vec::new() }) as u32,
        };
        let entry = Entry { at, references, note };
        self.records.insert(id, entry);
        self.add(at.segment, weight(entry, &self.many) as i64);
    }

    fn release(&mut self, id: u64, reference: u32) {
        let Some(entry) = self.records.get(&id).copied() else { return };
        if reference >= entry.references {
            return;
        }
        if entry.references > 1 {
            let many = &mut self.many[entry.note as usize];
            let grown = many.set(reference, RELEASED);
            let held = many.held;
            self.add(entry.at.segment, grown as i64);
            if held > 0 {
                return;
            }
        }
        self.remove(id);
    }

    fn note(&mut self, id: u64, reference: u32, note: u32) {
        let Some(entry) = self.records.get_mut(&id) else { return };
        if reference >= entry.references || note == RELEASED {
            return;
        }
        if entry.references == 1 {
            entry.note = note;
            return;
        }
        let many = &mut self.many[entry.note as usize];
        if many.note(reference) != RELEASED {
            let segment = entry.at.segment;
            let grown = many.set(reference, note);
            self.add(segment, grown as i64);
        }
    }

    fn remove(&mut self, id: u64) {
        let Some(entry) = self.records.remove(&id) else { return };
        self.add(entry.at.segment, -(weight(entry, &self.many) as i64));
        if entry.references > 1 {
            self.many.remove(entry.note as usize);
        }
    }

    fn add(&mut self, segment: u32, bytes: i64) {
        self.live_bytes = self.live_bytes.wrapping_add_signed(bytes);
        if let Some(segment) = self.segment_mut(segment) {
            segment.live_bytes = segment.live_bytes.wrapping_add_signed(bytes);
        }
    }

    /// The segment `number`.
    pub(crate) fn segment(&self, number: u32) -> Option<&Segment<F>> {
        self.segments.get(number.checked_sub(self.segments.front()?.number)? as usize)
    }

    /// The segment `number`.
    pub(crate) fn segment_mut(&mut self, number: u32) -> Option<&mut Segment<F>> {
        let first = self.segments.front()?.number;
        self.segments.get_mut(number.checked_sub(first)? as usize)
    }

    /// Where the body of a record is.
    pub(crate) fn find(&self, id: RecordId) -> Option<Location> {
        self.records.get(&id.get()).map(|entry| entry.at)
    }

    /// Whether this is where the body of a record is.
    pub(crate) fn is_at(&self, id: RecordId, segment: u32, offset: u32) -> bool {
        self.find(id).is_some_and(|at| (at.segment, at.offset) == (segment, offset))
    }

    /// Which references of a record are held, with their notes.
    pub(crate) fn held(&self, id: RecordId, into: &mut Vec<Held>) {
        into.clear();
        let Some(entry) = self.records.get(&id.get()) else { return };
        if entry.references == 1 {
            into.push(Held { reference: 0, note: entry.note });
            return;
        }
        let many = &self.many[entry.note as usize];
        into.extend(
            (0..entry.references)
                .map(|reference| Held { reference, note: many.note(reference) })
                .filter(|held| held.note != RELEASED),
        );
    }

    /// Adds to `batch` what makes the record anew as it is, with `body`.
    pub(crate) fn copy(&self, id: RecordId, body: &[u8], batch: &mut Batch) {
        let Some(entry) = self.records.get(&id.get()) else { return };
        batch.put(id, entry.references, |out| out.extend_from_slice(body));
        if entry.references == 1 {
            if entry.note != 0 {
                batch.note(id, 0, entry.note);
            }
            return;
        }
        for (reference, &note) in (0..).zip(&self.many[entry.note as usize].notes) {
            match note {
                0 => {}
                RELEASED => batch.release(id, reference),
                note => batch.note(id, reference, note),
            }
        }
    }

    /// The highest id that was ever put.
    pub(crate) fn last_id(&self) -> u64 {
        self.last_id
    }

    /// How many records are alive.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// About what a copy of all that is alive takes.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }
}

impl Many {
    /// Sets what is noted at a reference that may have been released, and says by how many bytes a copy grows.
    fn set(&mut self, reference: u32, note: u32) -> u64 {
        if note == RELEASED && self.note(reference) != RELEASED {
            self.held -= 1;
        }
        let at = reference as usize;
        let before = self.notes.len();
        if at >= before {
            self.notes.resize(at + 1, 0);
        }
        self.notes[at] = note;
        (self.notes.len() - before) as u64 * NOTE_WEIGHT
    }

    fn note(&self, reference: u32) -> u32 {
        self.notes.get(reference as usize).copied().unwrap_or(0)
    }
}

fn weight(entry: Entry, many: &Slab<Many>) -> u64 {
    let notes = if entry.references > 1 { many[entry.note as usize].notes.len() as u64 } else { 0 };
    u64::from(entry.at.len) + PUT_WEIGHT + notes * NOTE_WEIGHT
}

/// Where in its file `body` is, which ends where `rest` begins in a payload at `offset`.
pub(crate) fn place(offset: u64, payload: &[u8], rest: &[u8], body: &[u8]) -> Option<u32> {
    let start = payload.len() - rest.len() - body.len();
    u32::try_from(offset + start as u64).ok()
}

const RELEASED: u32 = u32::MAX;

/// About what an operation around a body takes.
const PUT_WEIGHT: u64 = 12;

/// About what a note or release takes that restores a reference.
const NOTE_WEIGHT: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> RecordId {
        RecordId::new(number).expect("not zero")
    }

    /// An index with two segments, 1 and 2.
    fn index() -> Index<()> {
        let mut index = Index::new();
        for number in [1, 2] {
            let file = Arc::new(());
            index.segments.push_back(Segment { number, tag: 0, file, size: 0, end: 0, live_bytes: 0 });
        }
        index
    }

    fn batch(fill: impl FnOnce(&mut Batch)) -> Vec<u8> {
        let mut batch = Batch::default();
        fill(&mut batch);
        batch.bytes().to_vec()
    }

    fn put(batch: &mut Batch, number: u64, references: u32, len: usize) {
        batch.put(id(number), references, |out| out.extend(vec![7; len]));
    }

    fn held(index: &Index<()>, number: u64) -> Vec<(u32, u32)> {
        let mut held = Vec::new();
        index.held(id(number), &mut held);
        held.iter().map(|held| (held.reference, held.note)).collect()
    }

    fn live(index: &Index<()>) -> [u64; 2] {
        [index.segments[0].live_bytes, index.segments[1].live_bytes]
    }

    #[test]
    fn a_record_goes_with_its_last_reference_and_leaves_no_weight() {
        let mut index = index();
        index.apply(1, 4096, &batch(|batch| put(batch, 5, 3, 10))).expect("operations");
        assert_eq!(held(&index, 5), [(0, 0), (1, 0), (2, 0)]);
        let ops = batch(|batch| {
            batch.release(id(5), 1);
            batch.release(id(5), 1);
            batch.note(id(5), 1, 9);
            batch.note(id(5), 2, 8);
            batch.release(id(5), 3);
            batch.release(id(6), 0);
        });
        index.apply(1, 5000, &ops).expect("operations");
        assert_eq!(held(&index, 5), [(0, 0), (2, 8)]);
        assert!(live(&index)[0] > 10);
        let ops = batch(|batch| {
            batch.release(id(5), 0);
            batch.release(id(5), 2);
        });
        index.apply(1, 5000, &ops).expect("operations");
        assert_eq!((index.len(), live(&index), index.live_bytes(), index.last_id()), (0, [0, 0], 0, 5));
        assert!(index.many.is_empty());
    }

    #[test]
    fn a_body_is_found_where_it_is_in_the_file() {
        let mut index = index();
        let ops = batch(|batch| {
            put(batch, 1, 1, 10);
            put(batch, 2, 1, 300);
        });
        index.apply(1, 4096, &ops).expect("operations");
        // Kind, id, references, length in one byte; then the same with a length in two.
        assert!(index.is_at(id(1), 1, 4096 + 4));
        assert!(index.is_at(id(2), 1, 4096 + 4 + 10 + 5));
        assert_eq!(index.find(id(2)).map(|at| at.len), Some(300));
        assert_eq!(index.find(id(3)), None);
    }

    #[test]
    fn what_is_put_again_weighs_where_it_is_now() {
        let mut index = index();
        let ops = batch(|batch| put(batch, 1, 2, 10));
        index.apply(1, 4096, &ops).expect("operations");
        let before = live(&index);
        index.apply(2, 4096, &ops).expect("operations");
        assert_eq!(live(&index), [0, before[0]]);
        assert_eq!(index.many.len(), 1);
    }

    #[test]
    fn a_frame_written_again_takes_along_only_what_it_put_last() {
        let mut index = index();
        let ops = batch(|batch| {
            put(batch, 1, 1, 10);
            put(batch, 2, 2, 10);
        });
        index.apply(1, 4096, &ops).expect("operations");
        index.apply(1, 6000, &batch(|batch| put(batch, 1, 1, 10))).expect("operations");
        index.apply(1, 7000, &batch(|batch| batch.note(id(2), 1, 3))).expect("operations");
        index.relocate((1, 4096), (2, 5000), &ops);
        assert!(index.is_at(id(1), 1, 6004));
        assert_eq!(index.find(id(2)).map(|at| at.segment), Some(2));
        assert_eq!(held(&index, 2), [(0, 0), (1, 3)]);
        assert_eq!(live(&index).iter().sum::<u64>(), index.live_bytes());
    }

    #[test]
    fn a_copy_is_the_record_as_it_is() {
        let mut index = index();
        index.apply(1, 4096, &batch(|batch| put(batch, 1, 1, 3))).expect("operations");
        index.apply(1, 5096, &batch(|batch| put(batch, 2, 5, 3))).expect("operations");
        let changes = batch(|batch| {
            batch.note(id(1), 0, 4);
            batch.note(id(2), 3, 6);
            batch.release(id(2), 1);
        });
        index.apply(1, 6096, &changes).expect("operations");
        let mut copies = Batch::default();
        index.copy(id(1), &[7; 3], &mut copies);
        index.copy(id(2), &[7; 3], &mut copies);
        let (before, weight) = ([held(&index, 1), held(&index, 2)], index.live_bytes());
        index.apply(2, 4096, copies.bytes()).expect("operations");
        assert_eq!([held(&index, 1), held(&index, 2)], before);
        assert_eq!((live(&index)[0], index.live_bytes()), (0, weight));
    }

    #[test]
    fn bytes_that_are_no_operations_are_refused() {
        assert_eq!(index().apply(1, 4096, &[9, 9, 9]), Err(Damaged));
    }
}
