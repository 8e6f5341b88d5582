//! Random numbers that a seed decides, so that a run can be asked for again.

use std::ops::RangeInclusive;

/// A stream of numbers; the generator is SplitMix64.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// The stream called `name` of a run: each client has its own, whatever the others draw.
    pub(super) fn new(seed: u64, name: u64) -> Self {
        let mut dice = Self(seed ^ name.wrapping_mul(GOLDEN));
        dice.next();
        dice
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number in `range`, its ends included.
    pub(super) fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        let span = (range.end() - range.start()).saturating_add(1);
        range.start() + self.next() % span
    }
}

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_name_decide_the_numbers() {
        let drawn = |seed, name| {
            let mut dice = Dice::new(seed, name);
            [dice.within(0..=1000), dice.within(0..=1000), dice.within(0..=1000)]
        };
        assert_eq!(drawn(1, 2), drawn(1, 2));
        assert_ne!(drawn(1, 2), drawn(2, 2));
        assert_ne!(drawn(1, 2), drawn(1, 3));
    }

    #[test]
    fn both_ends_of_a_range_are_drawn_and_nothing_beside_it() {
        let mut dice = Dice::new(7, 0);
        let drawn: std::collections::BTreeSet<u64> = (0..100).map(|_| dice.within(3..=5)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 4, 5]);
    }
}
