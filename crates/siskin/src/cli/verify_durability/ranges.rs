//! A set of sequence numbers as the ranges it consists of: numbers that come in order take no room.

use std::ops::Range;

/// Sorted, disjoint ranges with a gap between each two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// Adds `number`; false if it was there.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        // The first range that ends at the number or behind it.
        let place = self.0.partition_point(|range| range.end < number);
        let joins_next = |next: Option<&Range<u64>>| next.is_some_and(|next| next.start == number + 1);
        match self.0.get(place) {
            Some(range) if range.contains(&number) => return false,
            Some(range) if range.end == number => {
                if joins_next(self.0.get(place + 1)) {
                    self.0[place].end = self.0.remove(place + 1).end;
                } else {
                    self.0[place].end += 1;
                }
            }
            next if joins_next(next) => self.0[place].start = number,
            _ => self.0.insert(place, number..number + 1),
        }
        true
    }

    /// How many numbers there are.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// What is in here and not in `other`, in ascending order.
    pub(super) fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Range<u64>> + 'a {
        let mut theirs = other.0.iter().peekable();
        let mut ours = self.0.iter().cloned();
        let mut rest: Option<Range<u64>> = None;
        std::iter::from_fn(move || {
            loop {
                let range = rest.take().or_else(|| ours.next())?;
                while theirs.next_if(|hole| hole.end <= range.start).is_some() {}
                match theirs.peek() {
                    Some(hole) if hole.start <= range.start => {
                        if hole.end < range.end {
                            rest = Some(hole.end..range.end);
                        }
                    }
                    Some(hole) if hole.start < range.end => {
                        rest = Some(hole.start..range.end);
                        return Some(range.start..hole.start);
                    }
                    _ => return Some(range),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::dice::Dice;
    use super::*;

    #[test]
    fn numbers_in_order_are_one_range() {
        let mut ranges = Ranges::default();
        assert!((0..1000).all(|number| ranges.insert(number)));
        assert_eq!((ranges.0.len(), ranges.count()), (1, 1000));
        assert!(!ranges.insert(500));
    }

    #[test]
    fn it_is_the_set_that_it_stands_for() {
        for seed in 0..200 {
            let mut dice = Dice::new(seed, 0);
            let (mut ours, mut model) = (Ranges::default(), BTreeSet::new());
            let (mut other, mut other_model) = (Ranges::default(), BTreeSet::new());
            for _ in 0..dice.within(0..=60) {
                let number = dice.within(0..=40);
                assert_eq!(ours.insert(number), model.insert(number));
                let number = dice.within(0..=40);
                assert_eq!(other.insert(number), other_model.insert(number));
            }
            let numbers: Vec<u64> = ours.0.iter().cloned().flatten().collect();
            assert_eq!(numbers, model.iter().copied().collect::<Vec<_>>());
            assert_eq!(ours.count(), model.len() as u64);
            assert!(ours.0.windows(2).all(|pair| pair[0].end < pair[1].start), "{ours:?}");
            let difference: Vec<u64> = ours.without(&other).flatten().collect();
            assert_eq!(difference, model.difference(&other_model).copied().collect::<Vec<_>>());
        }
    }
}
