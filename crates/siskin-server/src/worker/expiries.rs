//! Connections that are let in for a certain time, each for another.

use std::collections::{BTreeSet, HashMap};

use siskin_core::Now;

/// When each has to go. Holds nothing of those that are gone.
#[derive(Debug, Default)]
pub(super) struct Expiries {
    in_order: BTreeSet<(Now, u32)>,
    by_index: HashMap<u32, Now>,
}

impl Expiries {
    /// The connection `index` has to go at `at`, whatever was said before.
    pub(super) fn set(&mut self, index: u32, at: Now) {
        self.remove(index);
        self.by_index.insert(index, at);
        self.in_order.insert((at, index));
    }

    /// The connection `index` may stay, or is gone.
    pub(super) fn remove(&mut self, index: u32) {
        if let Some(at) = self.by_index.remove(&index) {
            self.in_order.remove(&(at, index));
        }
    }

    /// Takes one that has to go now.
    pub(super) fn due(&mut self, now: Now) -> Option<u32> {
        let (_, index) = *self.in_order.first().filter(|(at, _)| *at <= now)?;
        self.remove(index);
        Some(index)
    }

    /// When the next has to go.
    pub(super) fn next(&self) -> Option<Now> {
        self.in_order.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_goes_at_its_time_as_it_was_said_last() {
        let at = Now::from_millis;
        let mut expiries = Expiries::default();
        expiries.set(1, at(20));
        expiries.set(2, at(10));
        expiries.set(3, at(10));
        expiries.set(2, at(30));
        expiries.remove(3);
        assert_eq!((expiries.next(), expiries.due(at(19))), (Some(at(20)), None));
        assert_eq!((expiries.due(at(30)), expiries.due(at(30))), (Some(1), Some(2)));
        assert_eq!((expiries.due(at(99)), expiries.next()), (None, None));
        assert!(expiries.by_index.is_empty());
    }
}
