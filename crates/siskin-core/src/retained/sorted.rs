//! Slots in the order of their messages' topics, level by level.

use std::cmp::Ordering;

use super::slots::{Slot, Slots};

/// A sorted list in pieces: an insertion moves one piece only. Four bytes a message and little more.
#[derive(Default)]
pub(super) struct Sorted {
    pieces: Vec<Piece>,
}

struct Piece {
    /// No topic in here is before this one, and all in the pieces before are; empty for the first piece. A copy,
    /// because a search that had to ask the messages would find none of them in the cache.
    from: Box<str>,
    /// Never empty.
    slots: Vec<Slot>,
}

/// Where a slot stands in the list, until the list changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Position {
    piece: usize,
    at: usize,
}

impl Sorted {
    /// Puts `slot` where `topic` belongs, which is not in the list yet.
    pub(super) fn insert(&mut self, topic: &str, slot: Slot, slots: &Slots) {
        let Position { piece: number, at } = self.search(topic, slots);
        let Some(piece) = self.pieces.get_mut(number) else {
            self.pieces.push(Piece { from: "".into(), slots: vec![slot] });
            return;
        };
        if piece.slots.len() < PIECE_MAX {
            piece.slots.insert(at, slot);
            return;
        }
        // One behind the other, as topics often come, leaves full pieces behind; anything else halves.
        let rest = if at == PIECE_MAX {
            Piece { from: topic.into(), slots: vec![slot] }
        } else {
            let slots_behind = piece.slots.split_off(PIECE_MAX / 2);
            Piece { from: slots[slots_behind[0]].topic().into(), slots: slots_behind }
        };
        self.pieces.insert(number + 1, rest);
        if at != PIECE_MAX {
            self.insert(topic, slot, slots);
        }
    }

    /// Takes out the slot of `topic`, which is in the list.
    pub(super) fn remove(&mut self, topic: &str, slots: &Slots) {
        let Position { piece: number, at } = self.search(topic, slots);
        self.pieces[number].slots.remove(at);
        let length = self.pieces[number].slots.len();
        let next = self.pieces.get(number + 1).map_or(0, |piece| piece.slots.len());
        if next > 0 && length + next < PIECE_MAX / 2 {
            let next = self.pieces.remove(number + 1);
            self.pieces[number].slots.extend(next.slots);
        } else if length == 0 {
            self.pieces.remove(number);
            if let Some(first) = self.pieces.first_mut() {
                first.from = "".into();
            }
        }
    }

    /// The first position whose topic is not before `topic`.
    pub(super) fn seek(&self, topic: &str, slots: &Slots) -> Position {
        let Position { piece, at } = self.search(topic, slots);
        self.normal(piece, at)
    }

    /// What is there, and the position behind it; nothing at the end.
    pub(super) fn get(&self, Position { piece, at }: Position) -> Option<(Slot, Position)> {
        let slot = *self.pieces.get(piece)?.slots.get(at)?;
        Some((slot, self.normal(piece, at + 1)))
    }

    /// The piece that a topic belongs to, and where in it, maybe at its end.
    fn search(&self, topic: &str, slots: &Slots) -> Position {
        let piece = self.pieces.partition_point(|piece| order(&piece.from, topic).is_le()).saturating_sub(1);
        let is_before = |&slot: &Slot| order(slots[slot].topic(), topic).is_lt();
        let at = self.pieces.get(piece).map_or(0, |piece| piece.slots.partition_point(is_before));
        Position { piece, at }
    }

    /// The end of a piece is the beginning of the next.
    fn normal(&self, piece: usize, at: usize) -> Position {
        match self.pieces.get(piece) {
            Some(full) if at == full.slots.len() => Position { piece: piece + 1, at: 0 },
            _ => Position { piece, at },
        }
    }
}

/// Compares two topics level by level. A topic comes first, then everything below it, then its siblings: so
/// what a filter matches lies together as far as its levels before the first wildcard go.
///
/// This is the order of bytes, but for `/` before all others (and NUL, which is in no topic).
pub(super) fn order(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let same = one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0).take_while(|(a, b)| a == b);
    let start = same.count() * 8;
    let (one, other) = (&one[start..], &other[start..]);
    match one.iter().zip(other).find(|(a, b)| a != b) {
        Some((&a, &b)) => rank(a).cmp(&rank(b)),
        None => one.len().cmp(&other.len()),
    }
}

fn rank(byte: u8) -> u8 {
    if byte == b'/' { 0 } else { byte }
}

/// 1 KiB to move at most. Fewer would make the list of pieces long.
const PIECE_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::message;
    use super::*;

    #[test]
    fn a_topic_comes_before_what_is_below_it_and_that_before_its_siblings() {
        let sorted = ["/", "/a", "a", "a/", "a//", "a/b", "a/b/c", "a/c", "a\u{1}", "a!", "a!/b", "aa", "b"];
        assert!(sorted.is_sorted_by(|one, other| order(one, other) == Ordering::Less));
    }

    /// Inserts the topics in this order, checks the list, and removes them in the order in which they came.
    fn check(numbers: &[usize]) {
        let (mut slots, mut sorted) = (Slots::default(), Sorted::default());
        let topic = |number: usize| format!("{number:05}");
        for &number in numbers {
            sorted.insert(&topic(number), slots.vacant().unwrap(), &slots);
            slots.insert(message(&topic(number), "", None));
        }
        for gone in 0..numbers.len() {
            if gone % 97 == 0 {
                let mut expected = numbers[gone..].to_vec();
                expected.sort_unstable();
                let mut position = sorted.seek("", &slots);
                for number in expected {
                    assert_eq!(sorted.seek(&topic(number), &slots), position);
                    let (slot, next) = sorted.get(position).unwrap();
                    assert_eq!(slots[slot].topic(), topic(number));
                    position = next;
                }
                assert!(sorted.get(position).is_none());
            }
            sorted.remove(&topic(numbers[gone]), &slots);
        }
        assert!(sorted.pieces.is_empty());
    }

    #[test]
    fn the_list_stays_sorted_while_pieces_are_split_and_joined() {
        const NUMBER: usize = 3_000;
        let upwards: Vec<_> = (0..NUMBER).collect();
        check(&upwards);
        check(&upwards.iter().rev().copied().collect::<Vec<_>>());
        check(&upwards.iter().map(|number| number * 1009 % NUMBER).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn the_order_is_that_of_lists_of_levels(one in "[ab/ \u{1}é]{0,20}", other in "[ab/ \u{1}é]{0,20}") {
            let levels = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(order(&one, &other), levels(&one).cmp(&levels(&other)));
            let (long, longer) = ("same/level/".to_owned() + &one, "same/level/".to_owned() + &other);
            prop_assert_eq!(order(&long, &longer), order(&one, &other));
        }
    }
}
