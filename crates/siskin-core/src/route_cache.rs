//! Routes by topic, remembered by one worker for as long as the router's answer cannot have changed.

use std::hash::BuildHasher;

use crate::hash::{HashMap, Hasher, hasher};
use crate::router::{Router, Routes};

/// Remembered routes. Bounded by topics and by receivers; full means beginning anew.
#[derive(Debug)]
pub(crate) struct RouteCache {
    hasher: Hasher,
    routes: HashMap<Box<str>, Cached>,
    receivers: usize,
    /// For topics that are too long to be remembered.
    passing: Cached,
}

/// The route of one topic.
#[derive(Debug, Default)]
pub(crate) struct Cached {
    /// None until it was looked up for the first time.
    version: Option<u64>,
    pub(crate) routes: Routes,
    /// Whose turn it is, over all groups of the topic.
    pub(crate) round: u32,
}

impl RouteCache {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            hasher: hasher(seed),
            routes: HashMap::with_hasher(hasher(seed)),
            receivers: 0,
            passing: Cached::default(),
        }
    }

    /// The route of `topic` as it is now.
    pub(crate) fn route(&mut self, router: &Router, topic: &str) -> &mut Cached {
        // Read before routing: a change in between makes the entry stale, never wrong.
        if topic.len() > TOPIC_BYTES_MAX {
            router.route(topic, &mut self.passing.routes);
            return &mut self.passing;
        }
        let version = Some(router.version(topic));
        if self.routes.len() >= TOPICS_MAX || self.receivers >= RECEIVERS_MAX {
            self.routes.clear();
            self.receivers = 0;
        }
        let (receivers, cached) = (&mut self.receivers, self.routes.entry_ref(topic).or_default());
        if cached.version.is_none() {
            // Turns begin anywhere, or all topics with one message each would begin with the same member.
            cached.round = self.hasher.hash_one(topic) as u32;
        }
        if cached.version != version {
            *receivers -= size(&cached.routes);
            router.route(topic, &mut cached.routes);
            *receivers += size(&cached.routes);
            cached.version = version;
        }
        cached
    }
}

fn size(routes: &Routes) -> usize {
    routes.plain.len() + routes.groups.iter().map(|group| group.members.len()).sum::<usize>()
}

/// Topics remembered.
const TOPICS_MAX: usize = 16 * 1024;

/// Bytes of the longest topic remembered: with the number of topics it bounds the memory of names.
const TOPIC_BYTES_MAX: usize = 512;

/// Receivers remembered, over all topics: 16 bytes each.
const RECEIVERS_MAX: usize = 1024 * 1024;
