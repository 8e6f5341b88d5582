//! What strangers did lately, in a table that does not grow however many they are.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};

use siskin_core::Now;

/// A value for each key seen lately. A new key takes the place of the one of its row that was seen longest ago.
#[derive(Debug)]
pub(crate) struct Recent<V> {
    /// Nobody outside can choose keys that meet in one row.
    hasher: RandomState,
    /// Made with the first key.
    entries: Vec<Entry<V>>,
    rows: usize,
}

#[derive(Clone, Debug)]
struct Entry<V> {
    /// Stands for the key; 0 where there is none.
    hash: u64,
    seen: Now,
    value: V,
}

impl<V: Clone + Default> Recent<V> {
    /// Room for `rows * 4` keys.
    pub(crate) fn new(rows: usize) -> Self {
        Self { hasher: RandomState::new(), entries: Vec::new(), rows }
    }

    /// The value of `key`, a new one if it was not seen lately.
    pub(crate) fn entry(&mut self, key: impl Hash, now: Now) -> &mut V {
        if self.entries.is_empty() {
            let none = Entry { hash: 0, seen: Now::default(), value: V::default() };
            self.entries = vec![none; self.rows * WAYS];
        }
        let hash = self.hasher.hash_one(key).max(1);
        let row = (hash % self.rows as u64) as usize;
        let row = &mut self.entries[row * WAYS..][..WAYS];
        let found = row.iter().position(|entry| entry.hash == hash);
        let oldest = || (0..WAYS).min_by_key(|at| row[*at].seen).unwrap_or_default();
        let entry = &mut row[found.unwrap_or_else(oldest)];
        if found.is_none() {
            *entry = Entry { hash, seen: now, value: V::default() };
        }
        entry.seen = now;
        &mut entry.value
    }

    /// The values of all keys that were seen lately.
    pub(crate) fn values(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|entry| &mut entry.value)
    }
}

const WAYS: usize = 4;

/// How often something happened in the window that it began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count {
    since: Now,
    count: u32,
}

impl Count {
    /// One more: the how-manieth within `window_ms`.
    pub(crate) fn one_more(&mut self, window_ms: u64, now: Now) -> u32 {
        if now.ms_since(self.since) >= window_ms {
            *self = Self { since: now, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_keeps_its_value_while_there_is_room() {
        let mut recent = Recent::new(64);
        for round in 1..=3 {
            for key in 0..20 {
                let value: &mut u32 = recent.entry(key, Now::from_millis(round));
                *value += 1;
                assert_eq!(u64::from(*value), round);
            }
        }
    }

    #[test]
    fn the_table_does_not_grow_and_forgets_the_oldest() {
        let mut recent = Recent::<u32>::new(2);
        for key in 0..10_000 {
            *recent.entry(key, Now::from_millis(key)) = 1;
        }
        assert_eq!(recent.entries.len(), 8);
        assert_eq!(*recent.entry(0, Now::from_millis(10_000)), 0);
        assert_eq!(*recent.entry(0, Now::from_millis(10_001)), 0);
    }

    #[test]
    fn a_window_begins_with_what_is_counted_first() {
        let mut count = Count::default();
        let at = |ms: u64| Now::from_millis(1_000_000 + ms);
        assert_eq!((count.one_more(100, at(0)), count.one_more(100, at(99))), (1, 2));
        assert_eq!((count.one_more(100, at(100)), count.one_more(100, at(150))), (1, 2));
    }
}
