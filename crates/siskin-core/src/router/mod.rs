//! Which sessions a topic reaches.
//!
//! Filters without wildcards are looked up by their text, the others in a tree of levels; both are cut into
//! shards, so that a SUBSCRIBE hinders few. A topic asks three shards at most: that of its whole text, that of
//! its first level, and the one of the filters that begin with a wildcard.
//!
//! All workers share one router. These locks are the only ones in the crate: each is held for a single look-up
//! or change, and never two together. Workers that remember routes ask [`Router::version`] instead, which takes
//! no lock.

mod arena;
mod index;
mod level;
mod list;
mod shared;
mod subscribers;
mod trie;
mod version;

use std::fmt;
use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use siskin_proto::{SubscriptionOptions, TopicFilter};

use self::index::{Counts, Index};
use self::version::Versions;
pub use self::version::Watched;
use crate::hash::{Hasher, hasher};
use crate::session::SessionKey;

/// One session's subscription, as a message needs to know it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Subscriber {
    /// Whose it is.
    pub session: SessionKey,
    /// What was asked for.
    pub options: SubscriptionOptions,
    /// The subscription identifier that goes back with every message.
    pub id: Option<NonZeroU32>,
}

/// Where a message goes.
#[derive(Clone, Default, Debug)]
pub struct Routes {
    /// Subscriptions that are not shared, sorted by session. A session with several filters that match is there
    /// several times, side by side.
    pub plain: Vec<Subscriber>,
    /// The shared subscriptions; one member of each is to have the message.
    pub groups: Vec<Group>,
}

/// A shared subscription that matches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// The whole text, `$share/` and name included.
    pub filter: Arc<str>,
    /// The members that are online, or all if none is.
    pub members: Vec<Subscriber>,
}

/// Everybody in a shared subscription.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Members {
    /// All of them, those who are online first.
    pub all: Vec<Subscriber>,
    /// How many are online.
    pub online: usize,
}

impl Group {
    /// Whose turn it is in this round.
    pub(crate) fn member(&self, round: u32) -> Option<Subscriber> {
        self.members.get(round as usize % self.members.len().max(1)).copied()
    }
}

/// All subscriptions of all sessions.
pub struct Router {
    shards: Box<[RwLock<Index>]>,
    versions: Versions,
    hasher: Hasher,
}

impl Router {
    /// A router without subscriptions. The seed should be a secret: topics come from strangers, who must not be
    /// able to choose them so that they meet in one place of a table.
    pub fn new(seed: u64) -> Self {
        let hasher = hasher(seed);
        Self {
            shards: (0..=SHARDS).map(|_| RwLock::new(Index::new(&hasher))).collect(),
            versions: Versions::new(&hasher),
            hasher,
        }
    }

    /// Adds a subscription and says whether it is new; if not, the existing one has new options and identifier.
    /// A member of a shared subscription is online from here on.
    ///
    /// `text` is the whole filter again, to be kept here instead of a copy.
    pub fn subscribe(&self, filter: TopicFilter<'_>, text: &Arc<str>, subscriber: Subscriber) -> bool {
        debug_assert_eq!(filter.as_str(), &**text);
        let mut shard = self.write(filter);
        let is_new = shard.subscribe(filter, text, subscriber);
        self.versions.bump(filter);
        is_new
    }

    /// Ends a subscription and says whether there was one.
    pub fn unsubscribe(&self, filter: TopicFilter<'_>, session: SessionKey) -> bool {
        let mut shard = self.write(filter);
        let removed = shard.unsubscribe(filter, session);
        if removed {
            self.versions.bump(filter);
        }
        removed
    }

    /// Notes whether a member of a shared subscription has a connection at the moment. Nothing happens if the
    /// filter is not a shared one, or the session no member.
    pub fn set_online(&self, filter: TopicFilter<'_>, session: SessionKey, online: bool) {
        let mut shard = self.write(filter);
        if shard.set_online(filter, session, online) {
            self.versions.bump(filter);
        }
    }

    /// Notes that a subscriber to `filter` may receive other messages than before.
    pub fn touch(&self, filter: TopicFilter<'_>) {
        self.versions.bump(filter);
    }

    /// Finds everybody who should have a message on `topic`, and writes them over what `routes` holds.
    pub fn route(&self, topic: &str, routes: &mut Routes) {
        routes.plain.clear();
        routes.groups.clear();
        self.read(self.shard(topic)).route_exact(topic, routes);
        let mut frontier = Vec::new();
        self.read(self.shard(first_level(topic))).route_wild(topic, &mut frontier, routes);
        // [MQTT-4.7.2-1] A filter that begins with a wildcard matches no topic that begins with a `$`.
        if !topic.starts_with('$') {
            self.read(SHARDS).route_wild(topic, &mut frontier, routes);
        }
        routes.plain.sort_by_key(|subscriber| subscriber.session);
    }

    /// What [`Router::version`] of a topic is made of. Takes no lock.
    pub fn watch(&self, topic: &str) -> Watched {
        self.versions.watched(topic)
    }

    /// Changes whenever what [`Router::route`] finds for the topic that is watched could have changed. Takes no lock.
    ///
    /// Routes may be used for as long as the version is the one that was read *before* they were found.
    #[inline]
    pub fn version(&self, watched: &Watched) -> u64 {
        self.versions.of(watched)
    }

    /// The member of a shared subscription that takes what one that is gone had, in turns: of those online, or of
    /// all if nobody is.
    pub fn pick(&self, filter: TopicFilter<'_>, turn: u32) -> Option<Subscriber> {
        self.read(self.shard_of(filter)).group(filter)?.pick(turn)
    }

    /// The member of a shared subscription that takes what one that is away had, in turns: of those online.
    pub fn pick_online(&self, filter: TopicFilter<'_>, turn: u32) -> Option<Subscriber> {
        self.read(self.shard_of(filter)).group(filter)?.pick_online(turn)
    }

    /// The subscription of `session` to `filter`, as it is.
    pub fn subscription(&self, filter: TopicFilter<'_>, session: SessionKey) -> Option<Subscriber> {
        self.read(self.shard_of(filter)).subscription(filter, session)
    }

    /// The members of a shared subscription.
    pub fn members(&self, filter: TopicFilter<'_>) -> Members {
        let shard = self.read(self.shard_of(filter));
        shard.group(filter).map(shared::Shared::all).unwrap_or_default()
    }

    /// How many subscriptions there are, shared ones included.
    pub fn subscriptions(&self) -> usize {
        self.counts().subscriptions
    }

    /// How many bytes the filters of all subscriptions have, each subscription counted.
    pub fn filter_bytes(&self) -> usize {
        self.counts().bytes
    }

    /// How many shared subscriptions there are, each member counted.
    pub fn shared_subscriptions(&self) -> usize {
        self.counts().shared
    }

    /// How many different filters are subscribed to. The same filter in two groups, or in a group and without,
    /// is two.
    pub fn filters(&self) -> usize {
        self.counts().filters
    }

    fn counts(&self) -> Counts {
        (0..self.shards.len()).map(|shard| self.read(shard).counts()).sum()
    }

    fn shard_of(&self, filter: TopicFilter<'_>) -> usize {
        let matched = filter.filter();
        match first_level(matched) {
            _ if !filter.has_wildcard() => self.shard(matched),
            "+" | "#" => SHARDS,
            level => self.shard(level),
        }
    }

    fn shard(&self, text: &str) -> usize {
        // Not the lowest bits: those choose the place in the shard's table, and must differ within a shard.
        (self.hasher.hash_one(text) >> 32) as usize % SHARDS
    }

    // A panic under the lock is a bug of ours; the others go on with what is there.

    fn write(&self, filter: TopicFilter<'_>) -> RwLockWriteGuard<'_, Index> {
        self.shards[self.shard_of(filter)].write().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, shard: usize) -> RwLockReadGuard<'_, Index> {
        self.shards[shard].read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

fn first_level(text: &str) -> &str {
    text.split('/').next().unwrap_or(text)
}

/// Shards by hash; one more behind them has the filters that begin with a wildcard.
const SHARDS: usize = 64;

#[cfg(test)]
mod tests;
