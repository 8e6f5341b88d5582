//! Counters: one set per worker, written by it alone, summed by whoever reads.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::Dropped;

/// A number that one thread raises and any may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning worker calls this, so no locked instruction is needed.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes `n` away, for what comes and goes.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    /// The present value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often a value lay in each of its ranges: below 1, below 2, below 4 and so on; the last has all above.
#[derive(Debug, Default)]
pub struct Histogram {
    /// By range.
    pub counts: [Counter; HISTOGRAM_RANGES],
    /// Of all values.
    pub sum: Counter,
}

/// The ranges of a [`Histogram`].
pub const HISTOGRAM_RANGES: usize = 20;

/// A [`Histogram`]'s numbers, of all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramTotals {
    /// By range.
    pub counts: [u64; HISTOGRAM_RANGES],
    /// Of all values.
    pub sum: u64,
}

impl Histogram {
    /// Counts `value`, which came `times` times.
    pub fn add(&self, value: u64, times: u64) {
        let range = value.checked_ilog2().map_or(0, |log| log as usize + 1);
        self.counts[range.min(HISTOGRAM_RANGES - 1)].add(times);
        self.sum.add(value * times);
    }
}

impl HistogramTotals {
    fn add(&mut self, histogram: &Histogram) {
        sum(&mut self.counts, &histogram.counts);
        self.sum += histogram.sum.value();
    }
}

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Everything one worker counts.
        #[derive(Debug, Default)]
        pub struct Stats {
            /// Packets received, by packet type.
            pub packets_received: [Counter; 16],
            /// Packets sent, by packet type.
            pub packets_sent: [Counter; 16],
            /// PUBLISH packets received, by QoS.
            pub messages_received: [Counter; 3],
            /// PUBLISH packets sent, by QoS.
            pub messages_sent: [Counter; 3],
            /// Milliseconds that acknowledgements of messages waited until these were safe.
            pub acknowledgement_waits: Histogram,
            /// Messages that waited for a session before the one that joined them.
            pub queue_depths: Histogram,
            $($(#[$doc])* pub $name: Counter,)*
        }

        /// The counters of all workers added up, at one moment.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub struct Totals {
            pub packets_received: [u64; 16],
            pub packets_sent: [u64; 16],
            pub messages_received: [u64; 3],
            pub messages_sent: [u64; 3],
            pub acknowledgement_waits: HistogramTotals,
            pub queue_depths: HistogramTotals,
            $(pub $name: u64,)*
        }

        impl Totals {
            /// Adds one worker's counters.
            pub fn add(&mut self, stats: &Stats) {
                sum(&mut self.packets_received, &stats.packets_received);
                sum(&mut self.packets_sent, &stats.packets_sent);
                sum(&mut self.messages_received, &stats.messages_received);
                sum(&mut self.messages_sent, &stats.messages_sent);
                self.acknowledgement_waits.add(&stats.acknowledgement_waits);
                self.queue_depths.add(&stats.queue_depths);
                // What comes and goes may be negative on one worker, and is right in the sum.
                $(self.$name = self.$name.wrapping_add(stats.$name.value());)*
            }
        }
    };
}

stats! {
    /// Bytes of packets received.
    bytes_received,
    /// Bytes of packets put out.
    bytes_sent,
    /// Payload bytes of PUBLISH packets received.
    publish_bytes_received,
    /// Payload bytes of PUBLISH packets sent.
    publish_bytes_sent,
    /// Messages that no subscription matched.
    no_subscribers,
    /// Messages not delivered because of No Local.
    dropped_no_local,
    /// Messages dropped because a queue was full.
    dropped_queue_full,
    /// Messages dropped because they expired.
    dropped_expired,
    /// Messages dropped because they exceed a client's Maximum Packet Size.
    dropped_too_large,
    /// QoS 0 messages dropped because a client does not take its bytes.
    dropped_slow_reader,
    /// Messages refused because of the limits on retained messages.
    dropped_retained_full,
    /// Messages that clients sent to the broker's own topics.
    dropped_not_allowed,
    /// Messages dropped because their receiver came back by a listener with another mount point.
    dropped_outside_mount_point,
    /// Messages that waited for a client that may no longer receive them.
    dropped_denied,
    /// Messages and wills of clients that may not publish them.
    denied_publish,
    /// Filters that clients may not subscribe to.
    denied_subscribe,
    /// Messages refused because more came than a quota allows.
    dropped_over_quota,
    /// Messages dropped because the process was at its memory budget.
    dropped_memory_short,
    /// Messages dropped because their record can no longer be read.
    dropped_unreadable,
    /// Messages published with RETAIN.
    retained_received,
    /// Deliveries that were acknowledged to their end.
    acknowledged,
    /// Connections accepted.
    connected,
    /// Connections that ended.
    disconnected,
    /// CONNECT packets refused.
    refused,
    /// Connections open now.
    connections,
    /// Sessions there are now.
    sessions,
    /// Sessions begun.
    sessions_created,
    /// Sessions gone on with.
    sessions_resumed,
    /// Connections ended by a take-over.
    sessions_taken_over,
    /// Sessions thrown away by a clean start.
    sessions_discarded,
    /// Sessions that ended for any reason.
    sessions_terminated,
    /// Sessions that ended because their time was over.
    sessions_expired,
    /// Messages queued or in flight now.
    stored_messages,
    /// Bytes of messages queued or in flight now, a message counted once for each session it waits for.
    stored_bytes,
    /// SUBSCRIBE packets whose filters were all granted or refused.
    subscribes,
    /// UNSUBSCRIBE packets.
    unsubscribes,
}

impl Totals {
    /// Messages dropped because of `why`.
    pub fn dropped(&self, why: Dropped) -> u64 {
        match why {
            Dropped::QueueFull => self.dropped_queue_full,
            Dropped::Expired => self.dropped_expired,
            Dropped::TooLarge => self.dropped_too_large,
            Dropped::SlowReader => self.dropped_slow_reader,
            Dropped::RetainedFull => self.dropped_retained_full,
            Dropped::NotAllowed => self.dropped_not_allowed,
            Dropped::Unreadable => self.dropped_unreadable,
            Dropped::OutsideMountPoint => self.dropped_outside_mount_point,
            Dropped::Denied => self.dropped_denied,
            Dropped::OverQuota => self.dropped_over_quota,
            Dropped::MemoryShort => self.dropped_memory_short,
        }
    }
}

fn sum<const N: usize>(into: &mut [u64; N], from: &[Counter; N]) {
    for (total, counter) in into.iter_mut().zip(from) {
        *total += counter.value();
    }
}
