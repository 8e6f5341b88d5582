//! The entries of one client, oldest first, within a bound.

use super::bytes::{self, Tag};
use super::entry::{Entry, What};
use crate::time::Now;

/// One client's entries. Without any it holds no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log(Box<[u8]>);

impl Log {
    /// Adds `entry`, or joins it to one that stands for both; the oldest make room.
    pub(crate) fn push(&mut self, entry: &Entry<'_>) {
        let mut encoded = Vec::new();
        bytes::encode(entry, &mut encoded);
        self.push_encoded(entry, &encoded);
    }

    /// The same for whoever has the entry's bytes already.
    pub(super) fn push_encoded(&mut self, entry: &Entry<'_>, encoded: &[u8]) {
        let mut all = std::mem::take(&mut self.0).into_vec();
        if let Some((start, len, joined)) = joined(&all, entry, encoded) {
            let mut both = Vec::with_capacity(len + encoded.len());
            bytes::encode(&joined, &mut both);
            all.splice(start..start + len, both);
        } else {
            all.reserve_exact(encoded.len());
            all.extend_from_slice(encoded);
        }
        if all.len() > LOG_BYTES_MAX {
            shrink(&mut all);
        }
        self.0 = all.into_boxed_slice();
    }

    /// The entries, oldest first.
    pub(crate) fn entries(&self) -> Vec<Entry<'static>> {
        bytes::entries(&self.0).filter_map(|(_, entry)| bytes::decode(entry)).collect()
    }

    /// What both logs say, in the order of time.
    pub(crate) fn with(&self, other: &Self) -> Self {
        if self.is_empty() || other.is_empty() {
            return if self.is_empty() { other.clone() } else { self.clone() };
        }
        let mut all = self.entries();
        all.extend(other.entries());
        all.sort_by_key(|entry| entry.at);
        let mut log = Self::default();
        all.iter().for_each(|entry| log.push(entry));
        log
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes it holds.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The place and length of the entry that can stand for `entry` too, and what it then says. Only what belongs to
/// the same connection is joined.
fn joined(all: &[u8], entry: &Entry<'_>, encoded: &[u8]) -> Option<(usize, usize, Entry<'static>)> {
    let tag = Tag::of(&entry.what);
    let is_listed = match tag {
        Tag::SUBSCRIBED | Tag::UNSUBSCRIBED => true,
        Tag::DROPPED | Tag::DENIED | Tag::REFUSED | Tag::SAFE_LATE | Tag::ACKNOWLEDGED_LATE => false,
        _ => return None,
    };
    let mut start = 0;
    let mut listed = 0;
    let mut found = None;
    for (other, bytes) in bytes::entries(all) {
        if matches!(other, Tag::CONNECTED | Tag::DISCONNECTED) {
            (found, listed) = (None, 0);
        } else if other == tag {
            match is_listed {
                true => {
                    listed += 1;
                    found = Some((start, bytes));
                }
                false => {
                    let fits = bytes::decode(bytes).is_some_and(|mut old| old.what.absorb(&entry.what));
                    found = if fits { Some((start, bytes)) } else { found };
                }
            }
        }
        start += bytes.len();
    }
    let (start, bytes) = found?;
    let mut old = bytes::decode(bytes)?;
    if is_listed {
        // Many filters are told by the first of them, and the last with the number of those between.
        if listed < LISTED_MAX || is_error(&old.what) || is_error(&entry.what) {
            return None;
        }
        old.what = bytes::decode(encoded)?.what;
    } else {
        old.what.absorb(&entry.what);
    }
    old.until = old.until.max(entry.until);
    old.count += entry.count;
    Some((start, bytes.len(), old))
}

/// Throws away the oldest entries until the rest lies well within the bound, so that the next has not to do it again,
/// and says so in their place.
fn shrink(all: &mut Vec<u8>) {
    let mut kept = all.len();
    let mut gone = Entry { at: Now::default(), until: Now::default(), count: 0, what: What::Forgotten };
    for (tag, bytes) in bytes::entries(all) {
        if kept + FORGOTTEN_BYTES <= LOG_BYTES_KEPT {
            break;
        }
        kept -= bytes.len();
        let Some(entry) = bytes::head(bytes) else { continue };
        gone.at = if gone.count == 0 { entry.at } else { gone.at };
        gone.until = gone.until.max(entry.until);
        gone.count += if tag == Tag::FORGOTTEN { entry.count } else { 1 };
    }
    let mut rest = Vec::with_capacity(kept + FORGOTTEN_BYTES);
    bytes::encode(&gone, &mut rest);
    rest.extend_from_slice(&all[all.len() - kept..]);
    *all = rest;
}

fn is_error(what: &What<'_>) -> bool {
    match what {
        What::Subscribed { answer, .. } => answer.is_error(),
        What::Unsubscribed { existed, .. } => !existed,
        _ => false,
    }
}

/// Bytes of one client's entries, some 25 of them. At the limit the oldest are thrown away.
pub(crate) const LOG_BYTES_MAX: usize = 1024;

/// Bytes of them that are left then at most.
const LOG_BYTES_KEPT: usize = LOG_BYTES_MAX * 3 / 4;

/// Filters of one connection that are told one by one.
const LISTED_MAX: usize = 8;

/// Bytes of the longest entry about those that were thrown away.
const FORGOTTEN_BYTES: usize = 28;

#[cfg(test)]
mod tests {
    use siskin_proto::{Qos, Reason};

    use super::*;
    use crate::cause::Cause;
    use crate::event::Dropped;
    use crate::recorder::{Closed, Origin};

    fn entry(at: u64, what: What<'_>) -> Entry<'_> {
        Entry::new(Now::from_millis(at), what)
    }

    fn dropped(at: u64, why: Dropped) -> Entry<'static> {
        entry(at, What::Dropped { topic: format!("t/{at}").into(), why })
    }

    fn lost(at: u64) -> Entry<'static> {
        entry(at, What::Disconnected(Closed::new(&Cause::ConnectionLost, None)))
    }

    fn subscribed(at: u64, filter: &str) -> Entry<'_> {
        let answer = Reason::GrantedQos1;
        entry(at, What::Subscribed { filter: filter.into(), asked: Qos::AtLeastOnce, answer })
    }

    fn counts(log: &Log) -> Vec<(u64, u64, u64)> {
        log.entries().iter().map(|e| (e.at.as_millis(), e.until.as_millis(), e.count)).collect()
    }

    #[test]
    fn equal_drops_of_a_connection_are_one_entry_with_their_number() {
        let mut log = Log::default();
        log.push(&dropped(10, Dropped::QueueFull));
        log.push(&dropped(20, Dropped::SlowReader));
        log.push(&Entry { count: 4310, until: Now::from_millis(90), ..dropped(30, Dropped::QueueFull) });
        log.push(&dropped(40, Dropped::QueueFull));
        assert_eq!(counts(&log), [(10, 90, 4312), (20, 20, 1)]);
        assert_eq!(log.entries()[0].what, dropped(10, Dropped::QueueFull).what, "the topic is the first's");
        log.push(&lost(100));
        log.push(&dropped(110, Dropped::QueueFull));
        assert_eq!(counts(&log), [(10, 90, 4312), (20, 20, 1), (100, 100, 1), (110, 110, 1)]);
    }

    #[test]
    fn refusals_are_one_entry_as_long_as_address_and_reason_are_the_same() {
        let mut log = Log::default();
        let refused = |at, origin: &str, why: &'static str| {
            let origin = Origin::from(origin.parse::<std::net::SocketAddr>().unwrap());
            entry(at, What::Refused { origin, why: why.into() })
        };
        log.push(&refused(1, "10.0.0.1:1000", "no"));
        log.push(&refused(2, "10.0.0.1:1001", "no"));
        log.push(&refused(3, "10.0.0.2:1001", "no"));
        log.push(&refused(4, "10.0.0.1:1002", "never"));
        log.push(&refused(5, "10.0.0.1:1003", "no"));
        assert_eq!(counts(&log), [(1, 5, 3), (3, 3, 1), (4, 4, 1)]);
    }

    #[test]
    fn many_filters_are_told_by_some_of_them_and_a_number() {
        let mut log = Log::default();
        for at in 0..100 {
            log.push(&subscribed(at, &format!("filter/{at}")));
        }
        let entries = log.entries();
        assert_eq!(entries.len(), 8);
        assert_eq!((entries[7].at.as_millis(), entries[7].count), (7, 93));
        assert_eq!(entries[7].what, subscribed(0, "filter/99").what);
    }

    #[test]
    fn the_oldest_go_and_their_number_stays() {
        let mut log = Log::default();
        for at in 0..1000 {
            log.push(&lost(at));
            assert!(log.len() <= LOG_BYTES_MAX);
        }
        let entries = log.entries();
        assert_eq!(entries[0].what, What::Forgotten);
        assert_eq!(entries[0].count as usize + entries.len() - 1, 1000);
        assert_eq!(entries[0].at, Now::from_millis(0));
        assert_eq!(entries[1].at.as_millis(), entries[0].until.as_millis() + 1);
        assert_eq!(entries.last().unwrap().at, Now::from_millis(999));
    }

    #[test]
    fn two_logs_become_one_in_the_order_of_time() {
        let (mut one, mut other) = (Log::default(), Log::default());
        one.push(&lost(1));
        one.push(&lost(5));
        other.push(&lost(3));
        assert_eq!(counts(&one.with(&other)), [(1, 1, 1), (3, 3, 1), (5, 5, 1)]);
        assert_eq!(Log::default().with(&other), other);
        assert_eq!(other.with(&Log::default()), other);
    }
}
