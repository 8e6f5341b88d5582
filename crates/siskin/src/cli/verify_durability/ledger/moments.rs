//! When messages were acknowledged, for the latest of them.

use std::collections::VecDeque;

/// The moments of the messages `first`, `first + 1` and so on.
#[derive(Default)]
pub(super) struct Moments {
    first: u64,
    /// In milliseconds of the run, and one more; 0 where there is none.
    moments: VecDeque<u64>,
}

/// So many messages are remembered; of older ones the report cannot say when they were acknowledged.
const REMEMBERED_MAX: usize = 65_536;

impl Moments {
    pub(super) fn put(&mut self, sequence: u64, now_ms: u64) {
        // What is older than everything remembered stays unknown.
        let Some(place) = sequence.checked_sub(self.first) else { return };
        let surplus = (place + 1).saturating_sub(REMEMBERED_MAX as u64);
        if surplus > 0 {
            self.moments.drain(..self.moments.len().min(surplus as usize));
            self.first += surplus;
        }
        let place = (sequence - self.first) as usize;
        if self.moments.len() <= place {
            self.moments.resize(place + 1, 0);
        }
        self.moments[place] = now_ms + 1;
    }

    pub(super) fn get(&self, sequence: u64) -> Option<u64> {
        let place = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.moments.get(place)?.checked_sub(1)
    }
}

/// A moment as seen from the kills.
pub(super) fn describe(moment: Option<u64>, kills: &[u64]) -> String {
    let Some(moment) = moment else { return "acknowledged long ago".to_owned() };
    let place = kills.partition_point(|kill| *kill < moment);
    match kills.get(place) {
        Some(kill) => format!("acknowledged {} ms before kill {}", kill - moment, place + 1),
        None if kills.is_empty() => "acknowledged before any kill".to_owned(),
        None => "acknowledged after the last kill".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_moments_are_remembered() {
        let mut moments = Moments::default();
        let many = REMEMBERED_MAX as u64 + 10;
        for sequence in 0..many {
            moments.put(sequence, 5 * sequence);
        }
        moments.put(3, 1);
        assert_eq!(moments.moments.len(), REMEMBERED_MAX);
        assert_eq!(moments.get(9), None);
        assert_eq!(moments.get(10), Some(50));
        assert_eq!(moments.get(many - 1), Some(5 * (many - 1)));
        assert_eq!(moments.get(many), None);
    }

    #[test]
    fn a_moment_far_ahead_leaves_those_between_unknown() {
        let mut moments = Moments::default();
        moments.put(0, 1);
        moments.put(3, 2);
        moments.put(10 * REMEMBERED_MAX as u64, 3);
        assert_eq!((moments.get(0), moments.get(3)), (None, None));
        assert_eq!(moments.get(10 * REMEMBERED_MAX as u64), Some(3));
        assert_eq!(moments.get(10 * REMEMBERED_MAX as u64 - 1), None);
    }

    #[test]
    fn a_moment_is_told_by_the_next_kill() {
        let kills = [100, 200];
        assert_eq!(describe(Some(97), &kills), "acknowledged 3 ms before kill 1");
        assert_eq!(describe(Some(100), &kills), "acknowledged 0 ms before kill 1");
        assert_eq!(describe(Some(101), &kills), "acknowledged 99 ms before kill 2");
        assert_eq!(describe(Some(201), &kills), "acknowledged after the last kill");
        assert_eq!(describe(None, &kills), "acknowledged long ago");
    }
}
