//! Counters by which a cache of routes sees that it is stale.

use std::array;
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
    /// Behind those that are found by hash stand the one at [`ANY`] and the one at [`NEVER`].
    prefix: Box<[AtomicU64]>,
    hasher: Hasher,
}

/// The places of a topic's counters: found by hashing it, and then good for ever.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    exact: u16,
    prefixes: [u16; PREFIX_LEVELS + 1],
}

impl Versions {
    pub(super) fn new(hasher: &Hasher) -> Self {
        let counters = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self { exact: counters(COUNTERS), prefix: counters(COUNTERS + 2), hasher: hasher.clone() }
    }

    /// Tells every topic that `filter` could match. To be called while the filter's shard is locked for
    /// writing: who sees the new version before routing, then waits for the lock and sees the change too.
    pub(super) fn bump(&self, filter: TopicFilter<'_>) {
        let counter = match filter.has_wildcard() {
            false => &self.exact[usize::from(self.place(filter.filter()))],
            true => {
                let fixed = prefixes(filter.filter()).take_while(|prefix| !ends_in_wildcard(prefix)).last();
                &self.prefix[usize::from(fixed.map_or(ANY, |prefix| self.place(prefix)))]
            }
        };
        counter.fetch_add(1, Ordering::Release);
    }

    /// The counters of `topic`.
    pub(super) fn watched(&self, topic: &str) -> Watched {
        // [MQTT-4.7.2-1] No filter that begins with a wildcard matches such a topic.
        let any = if topic.starts_with('$') { NEVER } else { ANY };
        let mut places = prefixes(topic).map(|prefix| self.place(prefix)).chain([any]);
        Watched { exact: self.place(topic), prefixes: array::from_fn(|_| places.next().unwrap_or(NEVER)) }
    }

    /// The version of the topic whose counters these are.
    #[inline]
    pub(super) fn of(&self, watched: &Watched) -> u64 {
        let load = |counters: &[AtomicU64], place: u16| counters[usize::from(place)].load(Ordering::Acquire);
        let of_prefixes = watched.prefixes.iter().map(|place| load(&self.prefix, *place));
        load(&self.exact, watched.exact) + of_prefixes.sum::<u64>()
    }

    fn place(&self, text: &str) -> u16 {
        self.hasher.hash_one(text) as u16 % COUNTERS as u16
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

/// Enough to keep `building/floor/+` and `devices/7/#` from troubling their neighbours.
const PREFIX_LEVELS: usize = 2;
/// 8 KiB for each of the two kinds.
const COUNTERS: usize = 1024;
/// Counts the changes of filters that begin with a wildcard.
const ANY: u16 = COUNTERS as u16;
/// Counts nothing: for a topic that has fewer counters than others.
const NEVER: u16 = ANY + 1;

#[cfg(test)]
mod tests {
    use super::super::tests::hasher;
    use super::*;

    /// Whether a change of `filter` changes the version of `topic`.
    fn moves(filter: &str, topic: &str) -> bool {
        let versions = Versions::new(&hasher());
        let watched = versions.watched(topic);
        let before = versions.of(&watched);
        versions.bump(TopicFilter::parse(filter).unwrap());
        versions.of(&watched) != before
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
