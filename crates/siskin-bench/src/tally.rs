//! What one thread has counted and measured, and how the tallies of all become one.

use crate::latency::Latency;
use crate::problem::Problems;
use crate::seen::Seen;

#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    pub(crate) problems: Problems,
    /// The fewest messages that the broker takes from a publisher at once, as CONNACK said.
    pub(crate) receive_maximum: u16,
    /// From the time a message was due until a subscriber had it.
    pub(crate) delivery: Latency,
    /// From the time a message was due until it was acknowledged.
    pub(crate) acknowledgement: Latency,
    /// In open loop, from the time a message was due until it was put together.
    pub(crate) lateness: Latency,
    /// From opening the socket until CONNACK.
    pub(crate) connect: Latency,
}

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Numbers of things.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counts {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counts {
            pub(crate) fn add(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counts! {
    /// Messages published.
    sent,
    /// Of those, acknowledged: PUBACK, PUBCOMP.
    acknowledged,
    /// Of those, answered with an error.
    refused,
    /// Copies that the messages published should have led to.
    expected,
    /// Different copies that arrived.
    received,
    /// Bytes of their payloads.
    received_bytes,
    /// Copies that had arrived before, at the same subscriber or in the same shared subscription.
    duplicated,
    /// Messages behind which a later one of the same publisher had already arrived.
    misordered,
    /// Messages that nobody of this run sent.
    foreign,
    /// Messages of this run at subscribers whose filters do not match them.
    misrouted,
    /// Messages that were not as long as they were sent.
    corrupted,
    /// QoS 2 messages sent again under an open packet id, which is no duplicate.
    resent,
    /// Messages that the window no longer waits for.
    written_off,
    /// Connections that came and left.
    cycles,
}

/// What one publisher did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) publisher: u32,
    pub(crate) sent: u64,
    pub(crate) refused: u64,
    /// Not acknowledged when its connection ended, or at the end: these need not arrive.
    pub(crate) in_doubt: u64,
}

impl Sent {
    pub(crate) fn of(publisher: u32) -> Self {
        Self { publisher, sent: 0, refused: 0, in_doubt: 0 }
    }

    /// How many should have arrived.
    fn promised(&self) -> u64 {
        self.sent.saturating_sub(self.refused + self.in_doubt)
    }
}

/// What came of one publisher's messages at one subscriber.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) publisher: u32,
    pub(crate) received: u64,
}

/// All that a thread knows at the end.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    pub(crate) sent: Vec<Sent>,
    /// For every stream that is no part of a shared subscription.
    pub(crate) heard: Vec<Heard>,
    /// By shared subscription and publisher: what this thread's members have got.
    pub(crate) groups: Vec<Vec<Seen>>,
    pub(crate) unacknowledged: u64,
}

/// What is missing when all is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    pub(crate) lost: u64,
    /// Copies that several members of a shared subscription got.
    pub(crate) duplicated: u64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            counts: Counts::default(),
            problems: Problems::default(),
            receive_maximum: u16::MAX,
            delivery: Latency::new(),
            acknowledgement: Latency::new(),
            lateness: Latency::new(),
            connect: Latency::new(),
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.counts.add(other.counts);
        self.problems.merge(other.problems);
        self.receive_maximum = self.receive_maximum.min(other.receive_maximum);
        self.delivery.add(&other.delivery);
        self.acknowledgement.add(&other.acknowledgement);
        self.lateness.add(&other.lateness);
        self.connect.add(&other.connect);
    }
}

/// Compares what was sent with what arrived, stream by stream. A message that was refused need not arrive, nor one that was
/// never acknowledged.
pub(crate) fn losses(sent: &[Sent], heard: &[Heard], groups: Vec<Vec<Vec<Seen>>>) -> Losses {
    let publishers = sent.iter().map(|sent| sent.publisher as usize + 1).max().unwrap_or(0);
    let mut ends = vec![(0, 0); publishers];
    for sent in sent {
        ends[sent.publisher as usize] = (sent.sent, sent.promised());
    }
    let end = |publisher: usize| ends.get(publisher).copied().unwrap_or((0, 0));
    let mut losses = Losses::default();
    for heard in heard {
        let (_, promised) = end(heard.publisher as usize);
        losses.lost += promised.saturating_sub(heard.received);
    }
    let mut all: Vec<Vec<Seen>> = Vec::new();
    for of_thread in groups {
        all.resize(all.len().max(of_thread.len()), Vec::new());
        for (ours, theirs) in all.iter_mut().zip(of_thread) {
            ours.resize(ours.len().max(theirs.len()), Seen::default());
            for (ours, theirs) in ours.iter_mut().zip(&theirs) {
                losses.duplicated += ours.merge(theirs);
            }
        }
    }
    for group in &all {
        for (publisher, seen) in group.iter().enumerate() {
            let (sent, promised) = end(publisher);
            losses.lost += promised.saturating_sub(seen.count_below(sent));
        }
    }
    losses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(numbers: impl IntoIterator<Item = u64>) -> Seen {
        let mut seen = Seen::default();
        numbers.into_iter().for_each(|number| {
            seen.insert(number);
        });
        seen
    }

    #[test]
    fn what_was_sent_and_did_not_arrive_is_lost_unless_it_was_refused() {
        let sent = [
            Sent { sent: 10, ..Sent::of(0) },
            Sent { sent: 10, refused: 4, ..Sent::of(1) },
            Sent { sent: 10, in_doubt: 3, ..Sent::of(2) },
        ];
        let heard = [
            Heard { publisher: 0, received: 10 },
            Heard { publisher: 0, received: 7 },
            Heard { publisher: 1, received: 6 },
            Heard { publisher: 2, received: 7 },
            Heard { publisher: 2, received: 10 },
        ];
        assert_eq!(losses(&sent, &heard, Vec::new()), Losses { lost: 3, duplicated: 0 });
    }

    #[test]
    fn members_on_different_threads_share_what_they_got() {
        let sent = [Sent { sent: 100, ..Sent::of(0) }];
        let one = vec![vec![seen(0..50)]];
        let other = vec![vec![seen((49..99).chain([200]))]];
        assert_eq!(losses(&sent, &[], vec![one, other]), Losses { lost: 1, duplicated: 1 });
    }
}
