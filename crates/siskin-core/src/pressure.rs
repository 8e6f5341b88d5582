//! How near the process is to its memory budget, and who holds how much of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::limits::Limits;
use crate::session::SessionKey;

/// How near the process is to its memory budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// There is room.
    #[default]
    Calm,
    /// Little is left: what can lie in the store lies there alone, and slow readers lose QoS 0 sooner.
    Short,
    /// As good as nothing is left: nobody new is let in, who publishes is made to wait, and what waits in memory alone
    /// is dropped.
    Critical,
}

impl Pressure {
    /// A short name, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Short => "short",
            Self::Critical => "critical",
        }
    }

    /// What is left of `limits`.
    pub(crate) fn tighten(self, mut limits: Limits) -> Limits {
        if self > Self::Calm {
            limits.queue_memory_bytes_max = 0;
            limits.out_buffer_bytes_max = limits.out_buffer_bytes_max.min(OUT_BUFFER_BYTES_SHORT);
        }
        limits
    }
}

/// What the sessions of a worker hold in memory. Messages that several of them wait for count for each.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    /// Sessions.
    pub sessions: u64,
    /// Bytes of messages that wait in queues.
    pub queued: u64,
    /// Bytes of the places in queues, also of what lies in the store alone.
    pub places: u64,
    /// Bytes of messages that were sent and not acknowledged.
    pub in_flight: u64,
    /// Bytes that wait for connections.
    pub unread: u64,
    /// Bytes that clients have chosen to have kept for them: ids, wills, topics with an alias.
    pub chosen: u64,
    /// Those with most in their queues.
    queues: Heaviest,
    /// Those who leave most unread.
    readers: Heaviest,
}

impl Holdings {
    pub(crate) fn add(&mut self, key: SessionKey, queued: u64, unread: u64) {
        self.sessions += 1;
        self.queued += queued;
        self.unread += unread;
        self.queues.offer(queued, key);
        self.readers.offer(unread, key);
    }

    /// Those with most in their queues, the heaviest first.
    pub(crate) fn heaviest_queues(&self) -> Vec<(u64, SessionKey)> {
        self.queues.sorted()
    }

    /// Those who leave most unread, the heaviest first.
    pub(crate) fn heaviest_readers(&self) -> Vec<(u64, SessionKey)> {
        self.readers.sorted()
    }
}

/// The heaviest of those that were offered.
#[derive(Clone, Debug, Default)]
struct Heaviest(BinaryHeap<Reverse<(u64, SessionKey)>>);

impl Heaviest {
    fn offer(&mut self, bytes: u64, key: SessionKey) {
        if bytes == 0 {
            return;
        }
        if self.0.len() < HEAVIEST_MAX {
            self.0.push(Reverse((bytes, key)));
        } else if let Some(mut lightest) = self.0.peek_mut()
            && lightest.0.0 < bytes
        {
            *lightest = Reverse((bytes, key));
        }
    }

    fn sorted(&self) -> Vec<(u64, SessionKey)> {
        let mut all: Vec<_> = self.0.iter().map(|Reverse(one)| *one).collect();
        all.sort_unstable_by(|one, other| other.cmp(one));
        all
    }
}

/// Bytes that wait for one client's connection while memory is short; beyond it QoS 0 is dropped.
const OUT_BUFFER_BYTES_SHORT: usize = 64 * 1024;

/// How many sessions are remembered as the heaviest, and can be eased at once.
const HEAVIEST_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_are_known_in_order() {
        let mut holdings = Holdings::default();
        for n in 0..5000_u64 {
            holdings.add(SessionKey::new(0, 1, n as u32), n * 7919 % 5000, 0);
        }
        let heaviest = holdings.heaviest_queues();
        assert_eq!(heaviest.len(), HEAVIEST_MAX);
        let bytes: Vec<_> = heaviest.iter().map(|(bytes, _)| *bytes).collect();
        assert_eq!(bytes, (5000 - HEAVIEST_MAX as u64..5000).rev().collect::<Vec<_>>());
        assert_eq!(holdings.heaviest_readers(), []);
        assert_eq!((holdings.sessions, holdings.queued), (5000, 4999 * 2500));
    }
}
