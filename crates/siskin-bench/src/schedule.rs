//! Open loop: when each message is due, decided before the first is sent.

/// So many messages a second, evenly spaced, dealt to the publishers in turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    start_ns: u64,
    interval_ns: f64,
    publishers: u32,
}

impl Schedule {
    pub(crate) fn new(start_ns: u64, rate_per_s: f64, publishers: u32) -> Self {
        Self { start_ns, interval_ns: 1e9 / rate_per_s, publishers }
    }

    /// When the message `sequence` of `publisher` is due.
    #[inline]
    pub(crate) fn due_ns(&self, publisher: u32, sequence: u64) -> u64 {
        let place = sequence * u64::from(self.publishers) + u64::from(publisher);
        self.start_ns.saturating_add((place as f64 * self.interval_ns) as u64)
    }

    /// How many messages of `publisher` are due before `end_ns`.
    pub(crate) fn count_before(&self, publisher: u32, end_ns: u64) -> u64 {
        let is_before = |count: u64| self.due_ns(publisher, count) < end_ns;
        let mut above = 1;
        while is_before(above) && above < COUNT_MAX {
            above *= 2;
        }
        let (mut low, mut high) = (0, above);
        while low < high {
            let middle = low.midpoint(high);
            if is_before(middle) { low = middle + 1 } else { high = middle }
        }
        low
    }
}

/// More than can be sent in any time.
const COUNT_MAX: u64 = 1 << 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_evenly_spaced_and_dealt_in_turn() {
        let schedule = Schedule::new(1000, 1e6, 3);
        let due: Vec<_> = [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)].map(|(p, s)| schedule.due_ns(p, s)).into();
        assert_eq!(due, [1000, 2000, 3000, 4000, 5000]);
    }

    #[test]
    fn what_is_due_before_an_end_is_counted_without_asking_for_each() {
        for (rate, publishers, end) in [(5000.0, 100, 100_000_000), (333.3, 7, 999_999_999), (1e8, 3, 12_345)]
        {
            let schedule = Schedule::new(17, rate, publishers);
            for publisher in 0..publishers {
                let one_by_one = (0..).take_while(|k| schedule.due_ns(publisher, *k) < end).count() as u64;
                assert_eq!(schedule.count_before(publisher, end), one_by_one);
            }
        }
        assert_eq!(Schedule::new(10, 1e-300, 1).count_before(0, u64::MAX), 1);
        assert_eq!(Schedule::new(10, 1.0, 1).count_before(0, 10), 0);
    }

    #[test]
    fn a_late_sender_does_not_move_what_follows() {
        let schedule = Schedule::new(0, 5000.0, 100);
        assert_eq!(schedule.due_ns(0, 50), 1_000_000_000);
        // An hour later it is still where the rate puts it.
        assert_eq!(schedule.due_ns(0, 50 * 3600), 3600 * 1_000_000_000);
    }
}
