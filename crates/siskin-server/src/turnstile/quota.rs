//! Token buckets. Without a quota there is none of this; with one, no clock is read: `now` is the turn's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use siskin_core::Now;

use crate::config::Rates;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Messages,
    Bytes,
    Connects,
    Subscribes,
}

/// The buckets of one client, user or listener, shared by all who draw on them.
#[derive(Debug)]
pub(crate) struct Quota {
    /// By kind: how many a second, 0 for any number.
    rates: [AtomicU64; 4],
    /// By kind: when the bucket would be full again, in nanoseconds.
    full_at_ns: [AtomicU64; 4],
}

impl Quota {
    /// Full buckets, unless nothing is limited.
    pub(crate) fn new(rates: Rates) -> Option<Self> {
        (!rates.is_unlimited()).then(|| {
            let quota = Self { rates: Default::default(), full_at_ns: Default::default() };
            quota.set_rates(rates);
            quota
        })
    }

    /// Allows so much in a second from now on, to all who draw on it.
    pub(crate) fn set_rates(&self, rates: Rates) {
        let Rates { messages, bytes, connects, subscribes } = rates;
        for (rate, new) in self.rates.iter().zip([messages, bytes, connects, subscribes]) {
            rate.store(new, Ordering::Relaxed);
        }
    }

    /// Whether nothing more of `kind` may come now.
    pub(crate) fn is_over(&self, kind: Kind, now: Now) -> bool {
        self.rate(kind) > 0 && self.room_ns(kind) > ns(now)
    }

    /// Counts `count` more. What is more than there was room for is made up for by waiting longer.
    pub(crate) fn charge(&self, kind: Kind, count: u64, now: Now) {
        let Some(cost_ns) = count.saturating_mul(SECOND_NS).checked_div(self.rate(kind)) else { return };
        let later = |full_at: u64| Some(full_at.max(ns(now)).saturating_add(cost_ns));
        let full_at = &self.full_at_ns[kind as usize];
        // It never fails: `later` always has a value.
        let _ = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }

    /// When there is room for more of `kind`, if not now.
    pub(crate) fn room_at(&self, kind: Kind, now: Now) -> Option<Now> {
        self.is_over(kind, now).then(|| Now::from_millis(self.room_ns(kind).div_ceil(MILLI_NS)))
    }

    /// Whether every bucket is full, so that a new one would be the same.
    pub(super) fn is_full(&self, now: Now) -> bool {
        self.full_at_ns.iter().all(|full_at| full_at.load(Ordering::Relaxed) <= ns(now))
    }

    /// From when on there is room for one more.
    fn room_ns(&self, kind: Kind) -> u64 {
        let cost_ns = SECOND_NS.checked_div(self.rate(kind)).unwrap_or(0);
        let full_at = self.full_at_ns[kind as usize].load(Ordering::Relaxed);
        full_at.saturating_add(cost_ns).saturating_sub(BURST_NS)
    }

    fn rate(&self, kind: Kind) -> u64 {
        self.rates[kind as usize].load(Ordering::Relaxed)
    }
}

/// All quotas that a connection draws on: its own, its user's, its listener's.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub(super) own: Option<Arc<Quota>>,
    pub(super) user: Option<Arc<Quota>>,
    pub(super) listener: Option<Arc<Quota>>,
}

impl Meter {
    /// None where nothing is limited.
    pub(super) fn boxed(self) -> Option<Box<Self>> {
        let is_limited = self.quotas().next().is_some();
        is_limited.then(|| Box::new(self))
    }

    /// Whether one of them has no room for `kind`.
    pub(crate) fn is_over(&self, kind: Kind, now: Now) -> bool {
        self.quotas().any(|quota| quota.is_over(kind, now))
    }

    pub(crate) fn charge(&self, kind: Kind, count: u64, now: Now) {
        self.quotas().for_each(|quota| quota.charge(kind, count, now));
    }

    /// When all of them have room again for what a client sends, if they have not now.
    pub(crate) fn room_at(&self, now: Now) -> Option<Now> {
        let kinds = [Kind::Messages, Kind::Bytes, Kind::Subscribes];
        self.quotas().flat_map(|quota| kinds.map(|kind| quota.room_at(kind, now))).flatten().max()
    }

    fn quotas(&self) -> impl Iterator<Item = &Quota> {
        [&self.own, &self.user, &self.listener].into_iter().filter_map(Option::as_deref)
    }
}

fn ns(now: Now) -> u64 {
    now.as_millis().saturating_mul(MILLI_NS)
}

const MILLI_NS: u64 = 1_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// What may come at once: a second's worth.
const BURST_NS: u64 = SECOND_NS;

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_800_000_000_000;

    fn quota(messages: u64, bytes: u64) -> Quota {
        Quota::new(Rates { messages, bytes, ..Rates::default() }).unwrap()
    }

    fn at(ms: u64) -> Now {
        Now::from_millis(START + ms)
    }

    /// How many of 1,000 attempts at `ms` there is room for.
    fn admitted(quota: &Quota, ms: u64) -> usize {
        let admit = |_| {
            let is_over = quota.is_over(Kind::Messages, at(ms));
            quota.charge(Kind::Messages, u64::from(!is_over), at(ms));
            !is_over
        };
        (0..1000).map(admit).filter(|is_in| *is_in).count()
    }

    #[test]
    fn a_second_s_worth_comes_at_once_and_then_so_many_a_second() {
        let quota = quota(50, 0);
        assert_eq!(admitted(&quota, 0), 50);
        assert_eq!(quota.room_at(Kind::Messages, at(0)), Some(at(20)));
        let later: usize = (1..=2000).map(|ms| admitted(&quota, ms)).sum();
        assert_eq!(later, 100);
        // Silence fills the bucket, and no further.
        assert_eq!(admitted(&quota, 100_000), 50);
    }

    #[test]
    fn what_is_larger_than_the_bucket_passes_and_is_waited_for() {
        let quota = quota(0, 1000);
        quota.charge(Kind::Bytes, 5000, at(0));
        assert_eq!(quota.room_at(Kind::Bytes, at(0)), Some(at(4001)));
        assert_eq!(
            (quota.is_over(Kind::Bytes, at(4000)), quota.is_over(Kind::Bytes, at(4001))),
            (true, false)
        );
        assert_eq!((quota.is_full(at(4999)), quota.is_full(at(5000))), (false, true));
    }

    #[test]
    fn what_has_no_limit_is_never_over() {
        let quota = quota(1, 0);
        quota.charge(Kind::Bytes, u64::MAX, at(0));
        assert!(!quota.is_over(Kind::Bytes, at(0)));
        assert!(Quota::new(Rates::default()).is_none());
    }

    #[test]
    fn a_meter_waits_for_the_last_of_its_quotas() {
        let [own, user] = [10, 1].map(|messages| Some(Arc::new(quota(messages, 0))));
        let meter = Meter { own, user, listener: None }.boxed().unwrap();
        meter.charge(Kind::Messages, 3, at(0));
        assert_eq!(meter.room_at(at(0)), Some(at(3000)));
        assert!(Meter::default().boxed().is_none());
    }
}
