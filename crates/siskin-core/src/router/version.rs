//! Counters by which a cache of routes sees that it is stale.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use siskin_proto::TopicFilter;

use crate::hash::Hasher;

/// Counters of changes, many more than shards, so that hardly ever two topics share all of theirs.
///
/// A filter without wildcards has the counter of its text. A filter with wildcards has the counter of its
/// prefix: the levels before the first wildcard, `PREFIX_LEVELS` at most. A topic's version is the sum over its
/// own text and all its prefixes, so it moves with every change of a filter that could match, and as counters
/// only grow, it never comes back to an earlier value.
pub(super) struct Versions {
    exact: Box<[AtomicU64]>,
    prefix: Box<[AtomicU64]>,
    /// Of filters that begin with a wildcard.
    any: AtomicU64,
    hasher: Hasher,
}

impl Versions {
    pub(super) fn new(hasher: &Hasher) -> Self {
        let counters = || (0..COUNTERS).map(|_| AtomicU64::new(0)).collect();
        Self { exact: counters(), prefix: counters(), any: AtomicU64::new(0), hasher: hasher.clone() }
    }

    /// Tells every topic that `filter` could match. To be called while the filter's shard is locked for
    /// writing: who sees the new version before routing, then waits for the lock and sees the change too.
    pub(super) fn bump(&self, filter: TopicFilter<'_>) {
        let counter = match filter.has_wildcard() {
            false => self.counter(&self.exact, filter.filter()),
            true => match prefixes(filter.filter()).take_while(|prefix| !ends_in_wildcard(prefix)).last() {
                Some(prefix) => self.counter(&self.prefix, prefix),
                None => &self.any,
            },
        };
        counter.fetch_add(1, Ordering::Release);
    }

    pub(super) fn of(&self, topic: &str) -> u64 {
        let load = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let of_prefixes = prefixes(topic).map(|prefix| load(self.counter(&self.prefix, prefix)));
        let sum = load(self.counter(&self.exact, topic)) + of_prefixes.sum::<u64>();
        // [MQTT-4.7.2-1] No filter that begins with a wildcard matches such a topic.
        if topic.starts_with('$') { sum } else { sum + load(&self.any) }
    }

    fn counter<'a>(&self, counters: &'a [AtomicU64], text: &str) -> &'a AtomicU64 {
        &counters[self.hasher.hash_one(text) as usize % COUNTERS]
    }
}

/// The text up to the end of its first level, of its second, and so on.
fn prefixes(text: &str) -> impl Iterator<Item = &str> {
    let ends = text.bytes().enumerate().filter(|&(_, byte)| byte == b'/').map(|(at, _)| at);
    ends.chain([text.len()]).take(PREFIX_LEVELS).map(|end| &text[..end])
}

fn ends_in_wildcard(prefix: &str) -> bool {
    matches!(prefix.rsplit('/').next(), Some("+" | "#"))
}

/// Enough to keep `building/floor/+` and `devices/7/#` from troubling their neighbours; each level costs every
/// published message a hash.
const PREFIX_LEVELS: usize = 2;
/// 8 KiB for each of the two kinds.
const COUNTERS: usize = 1024;

#[cfg(test)]
mod tests {
    use super::super::tests::hasher;
    use super::*;

    /// Whether a change of `filter` changes the version of `topic`.
    fn moves(filter: &str, topic: &str) -> bool {
        let versions = Versions::new(&hasher());
        let before = versions.of(topic);
        versions.bump(TopicFilter::parse(filter).unwrap());
        versions.of(topic) != before
    }

    #[test]
    fn a_topic_moves_with_filters_that_match_it() {
        for filter in ["a/b/c", "a/b/c/#", "a/b/+", "a/b/#", "a/+/c", "a/#", "+/b/c", "#", "$share/g/a/b/c"] {
            assert!(moves(filter, "a/b/c"), "{filter}");
        }
        for (filter, topic) in
            [("/+", "/"), ("//#", "/"), ("//#", "//x"), ("/#", "/"), ("a/#", "a"), ("a/b/#", "a/b")]
        {
            assert!(moves(filter, topic), "{filter}");
        }
    }

    #[test]
    fn a_topic_stays_when_unrelated_filters_change() {
        for filter in
            ["a/b", "a", "a/b/d", "a/c/#", "a/c/+", "b/#", "c/+/c", "$SYS/#", "/a/b/c", "$share/g/a/c/#"]
        {
            assert!(!moves(filter, "a/b/c"), "{filter}");
        }
        for filter in ["#", "+/#", "+/broker"] {
            assert!(!moves(filter, "$SYS/broker"), "{filter}");
        }
    }
}
