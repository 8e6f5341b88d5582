//! Routes by topic, remembered by one worker for as long as the router's answer cannot have changed.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use siskin_proto::TopicFilter;

use crate::hash::{Hasher, hasher};
use crate::router::{Routes, Watched};
use crate::session::SessionKey;
use crate::shared::Shared;
use crate::store::RecordId;

/// Remembered routes. Bounded by topics and by receivers; full means beginning anew.
#[derive(Debug)]
pub(crate) struct RouteCache {
    hasher: Hasher,
    topics: Vec<Topic>,
    /// The places of topics in `topics`.
    places: HashTable<usize>,
    /// The place of the topic that was asked for last: who publishes much stays with one.
    last: usize,
    receivers: usize,
    /// For topics that are too long to be remembered.
    passing: Cached,
}

#[derive(Debug)]
struct Topic {
    name: Box<str>,
    watched: Watched,
    cached: Cached,
}

/// The route of one topic.
#[derive(Debug, Default)]
pub(crate) struct Cached {
    /// None until it was looked up for the first time.
    version: Option<u64>,
    pub(crate) routes: Routes,
    /// The receivers that are in the store, sorted by session, each once.
    pub(crate) lasting: Vec<(SessionKey, RecordId)>,
    /// Whose turn it is, over all groups of the topic.
    pub(crate) round: u32,
}

impl RouteCache {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            hasher: hasher(seed),
            topics: Vec::new(),
            places: HashTable::new(),
            last: 0,
            receivers: 0,
            passing: Cached::default(),
        }
    }

    /// The route of `topic` as it is now.
    pub(crate) fn route(&mut self, shared: &Shared, topic: &str) -> &mut Cached {
        if topic.len() > TOPIC_BYTES_MAX {
            self.passing.find(shared, topic);
            return &mut self.passing;
        }
        if self.topics.get(self.last).is_none_or(|last| *last.name != *topic) {
            self.last = self.place(shared, topic);
        }
        // Read before routing: a change in between makes the entry stale, never wrong.
        let version = Some(shared.router.version(&self.topics[self.last].watched));
        if self.topics[self.last].cached.version != version {
            self.renew(shared, topic, version);
        }
        &mut self.topics[self.last].cached
    }

    /// Looks the topic that was asked for last up anew.
    fn renew(&mut self, shared: &Shared, topic: &str, version: Option<u64>) {
        if self.receivers >= RECEIVERS_MAX {
            self.clear();
            self.last = self.place(shared, topic);
        }
        let cached = &mut self.topics[self.last].cached;
        self.receivers -= cached.size();
        cached.find(shared, topic);
        self.receivers += cached.size();
        cached.version = version;
    }

    fn clear(&mut self) {
        self.topics.clear();
        self.places.clear();
        self.receivers = 0;
    }

    /// Where `topic` is, or is from now on.
    fn place(&mut self, shared: &Shared, topic: &str) -> usize {
        let hash = self.hasher.hash_one(topic);
        if let Some(place) = self.places.find(hash, |place| *self.topics[*place].name == *topic) {
            return *place;
        }
        if self.topics.len() >= TOPICS_MAX {
            self.clear();
        }
        // Turns begin anywhere, or all topics with one message each would begin with the same member.
        let cached = Cached { round: hash as u32, ..Cached::default() };
        self.topics.push(Topic { name: topic.into(), watched: shared.router.watch(topic), cached });
        let Self { places, topics, hasher, .. } = self;
        places.insert_unique(hash, topics.len() - 1, |place| hasher.hash_one(&*topics[*place].name));
        topics.len() - 1
    }
}

impl Cached {
    /// Asks the router, and for each receiver whether it is in the store: a session is, or is not, for as long as
    /// it lives, and a new one has no subscription yet.
    fn find(&mut self, shared: &Shared, topic: &str) {
        shared.router.route(topic, &mut self.routes);
        if shared.readers.is_on() {
            withhold(shared, topic, &mut self.routes);
        }
        self.lasting.clear();
        if !shared.records.is_on() {
            return;
        }
        let plain = self.routes.plain.iter().map(|subscriber| subscriber.session);
        let members = self.routes.groups.iter().flat_map(|group| &group.members);
        shared.lasting.records(plain.chain(members.map(|member| member.session)), &mut self.lasting);
        self.lasting.sort_unstable();
        self.lasting.dedup();
    }

    /// The record of a receiver.
    pub(crate) fn record(&self, session: SessionKey) -> Option<RecordId> {
        let place = self.lasting.binary_search_by_key(&session, |(key, _)| *key).ok()?;
        Some(self.lasting[place].1)
    }

    fn size(&self) -> usize {
        let members = self.routes.groups.iter().map(|group| group.members.len()).sum::<usize>();
        self.routes.plain.len() + members + self.lasting.len()
    }
}

/// Leaves those out who may not receive messages of `topic`. Of a group, one who may and is away is better than
/// nobody.
pub(crate) fn withhold(shared: &Shared, topic: &str, routes: &mut Routes) {
    shared.readers.retain(topic, &mut routes.plain);
    for group in &mut routes.groups {
        shared.readers.retain(topic, &mut group.members);
        if group.members.is_empty()
            && let Ok(filter) = TopicFilter::parse(&group.filter)
        {
            group.members = shared.router.members(filter).all;
            shared.readers.retain(topic, &mut group.members);
        }
    }
    routes.groups.retain(|group| !group.members.is_empty());
}

/// Topics remembered.
const TOPICS_MAX: usize = 16 * 1024;

/// Bytes of the longest topic remembered: with the number of topics it bounds the memory of names.
const TOPIC_BYTES_MAX: usize = 512;

/// Receivers remembered, over all topics: 16 bytes each.
const RECEIVERS_MAX: usize = 1024 * 1024;
