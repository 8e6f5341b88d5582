//! Connections that have a certain time for something, the same for all of them.

use std::collections::VecDeque;

use siskin_core::Now;

/// Deadlines in the order in which they were set, which is that in which they are due.
#[derive(Debug)]
pub(super) struct Deadlines {
    after_ms: u64,
    queue: VecDeque<Deadline>,
}

/// When the connection `index`, if it still is the tenant `serial`, must be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline {
    pub(super) at: Now,
    pub(super) index: u32,
    pub(super) serial: u32,
}

impl Deadlines {
    pub(super) fn new(after_ms: u64) -> Self {
        Self { after_ms, queue: VecDeque::new() }
    }

    /// Gives `after_ms` from now on. Those who have longer get no more than that either, and nobody gets more.
    pub(super) fn set_time(&mut self, after_ms: u64, now: Now) {
        self.after_ms = after_ms;
        let latest = now.plus_ms(after_ms);
        self.queue.iter_mut().for_each(|deadline| deadline.at = deadline.at.min(latest));
    }

    pub(super) fn set(&mut self, now: Now, index: u32, serial: u32) {
        self.queue.push_back(Deadline { at: now.plus_ms(self.after_ms), index, serial });
    }

    /// Takes the first deadline if it is due.
    pub(super) fn due(&mut self, now: Now) -> Option<Deadline> {
        self.queue.pop_front_if(|deadline| deadline.at <= now)
    }

    /// The first deadline that still means something, without those before it.
    pub(super) fn next(&mut self, mut is_met: impl FnMut(&Deadline) -> bool) -> Option<Now> {
        while self.queue.pop_front_if(|deadline| is_met(deadline)).is_some() {}
        if self.queue.is_empty() && self.queue.capacity() > KEPT_MAX {
            self.queue = VecDeque::new();
        }
        self.queue.front().map(|deadline| deadline.at)
    }
}

/// An empty queue that had to hold more than this gives its memory back.
const KEPT_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_due_in_order_and_met_ones_do_not_count() {
        let at = Now::from_millis;
        let mut deadlines = Deadlines::new(10);
        deadlines.set(at(0), 1, 0);
        deadlines.set(at(5), 2, 0);
        deadlines.set(at(6), 3, 0);
        assert_eq!(deadlines.due(at(9)), None);
        assert_eq!(deadlines.due(at(10)).map(|deadline| deadline.index), Some(1));
        assert_eq!(deadlines.next(|deadline| deadline.index == 2), Some(at(16)));
        assert_eq!(deadlines.next(|_| true), None);
    }

    #[test]
    fn a_shorter_time_holds_for_those_who_wait_already_and_they_stay_in_order() {
        let at = Now::from_millis;
        let mut deadlines = Deadlines::new(100);
        (0..3).for_each(|index| deadlines.set(at(u64::from(index)), index, 0));
        deadlines.set_time(10, at(91));
        deadlines.set(at(91), 3, 0);
        let mut due = |ms| {
            std::iter::from_fn(|| deadlines.due(at(ms))).map(|deadline| deadline.index).collect::<Vec<_>>()
        };
        assert_eq!((due(100), due(101)), (vec![0], vec![1, 2, 3]));
    }
}
