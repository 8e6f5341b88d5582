//! A list in which an item is found by its key, however long the list.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;

use crate::hash::Hasher;

/// What is kept in a [`List`].
pub(super) trait Keyed {
    /// What an item is found by; no two items of a list have the same.
    type Key: Hash + Eq + ?Sized;

    fn key(&self) -> &Self::Key;
}

/// Items in a row, searched by looking at each while they are few, through an index of positions when many.
///
/// Removing moves the last item into the gap, so that nothing here takes longer for a longer list.
/// The hasher must be the same at every call.
pub(super) struct List<T> {
    items: Vec<T>,
    /// Positions in `items` by the hash of the key. Boxed, because few lists need one.
    index: Option<Box<HashTable<u32>>>,
}

impl<T: Keyed> List<T> {
    pub(super) fn new() -> Self {
        Self { items: Vec::new(), index: None }
    }

    /// Adds an item whose key is not in the list yet, at the end.
    pub(super) fn push(&mut self, item: T, hasher: &Hasher) {
        let at = position(self.items.len());
        let hash = hasher.hash_one(item.key());
        self.items.push(item);
        if let Some(index) = &mut self.index {
            index.insert_unique(hash, at, hash_of(&self.items, hasher));
        } else if self.items.len() > INDEXED_FROM {
            self.index = Some(Box::new(index(&self.items, hasher)));
        }
    }

    /// Takes out the item at `at`; the last one takes its place.
    pub(super) fn swap_remove(&mut self, at: usize, hasher: &Hasher) -> T {
        let last = self.items.len() - 1;
        self.swap(at, last, hasher);
        if let Some(index) = &mut self.index {
            let hash = hasher.hash_one(self.items[last].key());
            if let Ok(entry) = index.find_entry(hash, |&held| held == position(last)) {
                entry.remove();
            }
            if last < SCANNED_BELOW {
                self.index = None;
            }
        }
        let item = self.items.remove(last);
        if self.items.len() < self.items.capacity() / 4 {
            self.items.shrink_to(self.items.len() * 2);
            if let Some(index) = &mut self.index {
                index.shrink_to(self.items.len() * 2, hash_of(&self.items, hasher));
            }
        }
        item
    }

    /// Exchanges the places of two items.
    pub(super) fn swap(&mut self, one: usize, other: usize, hasher: &Hasher) {
        if one == other {
            return;
        }
        if let Some(index) = &mut self.index {
            // Should both keys have one hash, it does not matter which entry is found first.
            for (from, to) in [(one, other), (other, one)] {
                let hash = hasher.hash_one(self.items[from].key());
                if let Some(held) = index.find_mut(hash, |&held| held == position(from)) {
                    *held = position(to);
                }
            }
        }
        self.items.swap(one, other);
    }

    pub(super) fn get_mut(&mut self, at: usize) -> &mut T {
        &mut self.items[at]
    }

    /// Where the item with this key is.
    pub(super) fn position(&self, key: &T::Key, hasher: &Hasher) -> Option<usize> {
        match &self.index {
            None => self.items.iter().position(|item| item.key() == key),
            Some(index) => index
                .find(hasher.hash_one(key), |&at| self.items[at as usize].key() == key)
                .map(|&at| at as usize),
        }
    }

    pub(super) fn as_slice(&self) -> &[T] {
        &self.items
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

fn index<T: Keyed>(items: &[T], hasher: &Hasher) -> HashTable<u32> {
    let mut index = HashTable::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        index.insert_unique(hasher.hash_one(item.key()), position(at), hash_of(items, hasher));
    }
    index
}

fn hash_of<T: Keyed>(items: &[T], hasher: &Hasher) -> impl Fn(&u32) -> u64 {
    move |&at| hasher.hash_one(items[at as usize].key())
}

fn position(at: usize) -> u32 {
    u32::try_from(at).expect("a session is named by 32 bits and subscribes to a filter once")
}

/// Up to this many items, looking at each is as quick as an index and takes no memory.
const INDEXED_FROM: usize = 32;
/// Lower than where the index begins, so that a list at the border does not build it again and again.
const SCANNED_BELOW: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::hasher;

    impl Keyed for u64 {
        type Key = u64;

        fn key(&self) -> &u64 {
            self
        }
    }

    fn check(list: &List<u64>, expected: &[u64], hasher: &Hasher) {
        let mut items = list.as_slice().to_vec();
        items.sort_unstable();
        assert_eq!(items, expected);
        for (at, item) in list.as_slice().iter().enumerate() {
            assert_eq!(list.position(item, hasher), Some(at));
        }
        assert_eq!(list.position(&u64::MAX, hasher), None);
    }

    #[test]
    fn every_item_is_found_while_the_list_grows_and_shrinks_over_the_border_of_the_index() {
        let hasher = hasher(7);
        let mut list = List::new();
        let mut expected = Vec::new();
        for item in 0..100 {
            list.push(item, &hasher);
            expected.push(item);
            check(&list, &expected, &hasher);
        }
        assert!(list.index.is_some());
        for turn in 0..100_usize {
            let item = expected.remove(turn * 31 % expected.len());
            let at = list.position(&item, &hasher).unwrap();
            assert_eq!(list.swap_remove(at, &hasher), item);
            check(&list, &expected, &hasher);
        }
        assert!(list.is_empty() && list.index.is_none());
        assert_eq!(list.items.capacity(), 0);
    }

    #[test]
    fn items_are_found_where_they_were_swapped_to() {
        let hasher = hasher(7);
        for length in [5, 80] {
            let mut list = List::new();
            (0..length).for_each(|item| list.push(item, &hasher));
            for turn in 0..200_u64 {
                list.swap((turn * 7 % length) as usize, (turn * 3 % length) as usize, &hasher);
                check(&list, &(0..length).collect::<Vec<_>>(), &hasher);
            }
        }
    }
}
