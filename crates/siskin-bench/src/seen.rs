//! Which of a row of numbers have come, exactly, in little memory while they come nearly in order.

use std::collections::VecDeque;

/// The sequence numbers that have arrived: all below `base`, and those whose bit is set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// A multiple of 64.
    base: u64,
    /// `base` and the 63 behind it.
    word: u64,
    /// What follows, 64 to a word. Grows by one bit for each number behind the first that is missing.
    more: VecDeque<u64>,
}

/// What a number was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// Not seen before.
    New,
    /// Seen before.
    Again,
    /// So far ahead that nobody can have sent it.
    TooFar,
}

impl Seen {
    #[inline]
    pub(crate) fn insert(&mut self, number: u64) -> Inserted {
        let Some(ahead) = number.checked_sub(self.base) else { return Inserted::Again };
        if ahead >= 64 {
            return self.insert_ahead(ahead);
        }
        let bit = 1 << ahead;
        if self.word & bit != 0 {
            return Inserted::Again;
        }
        self.word |= bit;
        while self.word == u64::MAX {
            self.base += 64;
            self.word = self.more.pop_front().unwrap_or(0);
        }
        Inserted::New
    }

    #[cold]
    fn insert_ahead(&mut self, ahead: u64) -> Inserted {
        // Ahead of the last that came: the first that is missing may stay behind for ever.
        if ahead >= 64 * (1 + self.more.len() as u64) + AHEAD_MAX {
            return Inserted::TooFar;
        }
        let place = (ahead / 64 - 1) as usize;
        if place >= self.more.len() {
            self.more.resize(place + 1, 0);
        }
        let bit = 1 << (ahead % 64);
        if self.more[place] & bit != 0 {
            return Inserted::Again;
        }
        self.more[place] |= bit;
        Inserted::New
    }

    /// Adds what another has seen, and says how many numbers both had.
    pub(crate) fn merge(&mut self, other: &Self) -> u64 {
        let words = self.words().max(other.words());
        let mut both = 0;
        let mut merged = Self::default();
        for place in 0..words {
            let (ours, theirs) = (self.word_at(place), other.word_at(place));
            both += u64::from((ours & theirs).count_ones());
            let word = ours | theirs;
            match place {
                0 => merged.word = word,
                _ => merged.more.push_back(word),
            }
        }
        while merged.word == u64::MAX {
            merged.base += 64;
            merged.word = merged.more.pop_front().unwrap_or(0);
        }
        *self = merged;
        both
    }

    /// How many numbers below `end` have come.
    pub(crate) fn count_below(&self, end: u64) -> u64 {
        let whole = (0..end / 64).map(|place| u64::from(self.word_at(place).count_ones())).sum::<u64>();
        let rest = self.word_at(end / 64) & ((1 << (end % 64)) - 1);
        whole + u64::from(rest.count_ones())
    }

    fn words(&self) -> u64 {
        self.base / 64 + 1 + self.more.len() as u64
    }

    fn word_at(&self, place: u64) -> u64 {
        let Some(ahead) = place.checked_sub(self.base / 64) else { return u64::MAX };
        match ahead {
            0 => self.word,
            ahead => self.more.get(ahead as usize - 1).copied().unwrap_or(0),
        }
    }
}

/// How far ahead of the last number that came one is believed: 1 MiB of bits.
const AHEAD_MAX: u64 = 1 << 23;

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(numbers: impl IntoIterator<Item = u64>) -> Seen {
        let mut seen = Seen::default();
        for number in numbers {
            assert_eq!(seen.insert(number), Inserted::New);
        }
        seen
    }

    #[test]
    fn numbers_in_order_take_no_memory() {
        let mut seen = seen(0..10_000);
        assert_eq!((seen.base, seen.more.capacity()), (9984, 0));
        assert_eq!(seen.insert(9999), Inserted::Again);
        assert_eq!(seen.insert(0), Inserted::Again);
        assert_eq!(seen.count_below(10_000), 10_000);
    }

    #[test]
    fn what_is_missing_is_counted_and_may_come_late() {
        let mut seen = seen((0..1000).filter(|number| number % 100 != 7));
        assert_eq!(seen.count_below(1000), 990);
        assert_eq!(seen.count_below(8), 7);
        assert_eq!(seen.insert(207), Inserted::New);
        assert_eq!(seen.insert(207), Inserted::Again);
        assert_eq!(seen.insert(999), Inserted::Again);
        assert_eq!(seen.count_below(1000), 991);
    }

    #[test]
    fn a_gap_that_is_filled_gives_its_memory_back() {
        let mut seen = seen(1..1000);
        assert_eq!(seen.base, 0);
        assert_eq!(seen.insert(0), Inserted::New);
        assert_eq!((seen.base, seen.more.len()), (960, 0));
    }

    #[test]
    fn a_number_that_nobody_can_have_sent_takes_no_memory() {
        let mut seen = Seen::default();
        assert_eq!(seen.insert(u64::MAX), Inserted::TooFar);
        assert_eq!(seen.more.capacity(), 0);
    }

    #[test]
    fn one_that_never_comes_holds_up_nothing() {
        let mut seen = Seen::default();
        for number in (64..4 * AHEAD_MAX).step_by(64) {
            assert_eq!(seen.insert(number), Inserted::New);
        }
        assert_eq!(seen.insert(6 * AHEAD_MAX), Inserted::TooFar);
    }

    #[test]
    fn two_halves_make_a_whole_and_what_both_had_is_counted() {
        let mut even = seen((0..1000).filter(|number| number % 2 == 0));
        let odd = seen((0..1000).filter(|number| number % 2 == 1).chain([10, 500]));
        assert_eq!(even.merge(&odd), 2);
        assert_eq!(even.count_below(1000), 1000);
        assert_eq!(even.insert(1000), Inserted::New);
    }
}
