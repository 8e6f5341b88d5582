//! The slot of each topic.

use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::slots::{Slot, Slots};
use crate::hash::{Hasher, hasher};

/// Slots by topic. In many small tables instead of a large one, and with a part of each topic's hash: else a
/// table that grows would read all its topics, and somebody would wait for a million of them.
pub(super) struct Topics {
    tables: Box<[HashTable<Entry>]>,
    hasher: Hasher,
    count: usize,
}

struct Entry {
    tag: u32,
    slot: Slot,
}

impl Topics {
    pub(super) fn new(seed: u64) -> Self {
        let tables = (0..TABLES).map(|_| HashTable::new()).collect();
        Self { tables, hasher: hasher(seed), count: 0 }
    }

    /// Adds the slot of a topic, which has none yet.
    pub(super) fn insert(&mut self, topic: &str, slot: Slot) {
        let (table, tag) = place(&self.hasher, topic);
        self.tables[table].insert_unique(spread(tag), Entry { tag, slot }, |entry| spread(entry.tag));
        self.count += 1;
    }

    pub(super) fn remove(&mut self, topic: &str, slots: &Slots) -> Option<Slot> {
        let (table, tag) = place(&self.hasher, topic);
        let table = &mut self.tables[table];
        let (entry, _) = table.find_entry(spread(tag), |entry| entry.is(tag, topic, slots)).ok()?.remove();
        if table.len() <= table.capacity() / 8 {
            table.shrink_to(table.len() * 2, |entry| spread(entry.tag));
        }
        self.count -= 1;
        Some(entry.slot)
    }

    pub(super) fn find(&self, topic: &str, slots: &Slots) -> Option<Slot> {
        let (table, tag) = place(&self.hasher, topic);
        let found = self.tables[table].find(spread(tag), |entry| entry.is(tag, topic, slots));
        found.map(|entry| entry.slot)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }
}

impl Entry {
    fn is(&self, tag: u32, topic: &str, slots: &Slots) -> bool {
        self.tag == tag && slots[self.slot].topic() == topic
    }
}

/// One half of the hash chooses the table, the other the place in it.
fn place(hasher: &Hasher, topic: &str) -> (usize, u32) {
    let hash = hasher.hash_one(topic);
    ((hash >> 32) as usize % TABLES, hash as u32)
}

/// The table looks at the lowest and the highest bits.
fn spread(tag: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(tag)
}

const TABLES: usize = 64;
