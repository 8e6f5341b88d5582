//! All filters of one shard: those without wildcards by their text, the others as a tree.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;
use siskin_proto::TopicFilter;

use super::arena::Place;
use super::shared::Shared;
use super::subscribers::Subscribers;
use super::trie::Trie;
use super::{Routes, Subscriber};
use crate::hash::Hasher;
use crate::session::SessionKey;

pub(super) struct Index {
    exact: HashTable<Exact>,
    wild: Trie,
    hasher: Hasher,
    counts: Counts,
}

/// A filter without wildcards.
struct Exact {
    /// Kept, because a growing table would read all its filters otherwise, while others wait for the lock.
    hash: u64,
    filter: Arc<str>,
    subscribers: Subscribers,
}

/// How much an index holds.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Counts {
    /// All subscriptions, shared ones included.
    pub(super) subscriptions: usize,
    pub(super) shared: usize,
    /// Different texts of filters.
    pub(super) filters: usize,
    /// Of the texts of all subscriptions.
    pub(super) bytes: usize,
}

impl Index {
    pub(super) fn new(hasher: &Hasher) -> Self {
        Self {
            exact: HashTable::new(),
            wild: Trie::new(hasher),
            hasher: hasher.clone(),
            counts: Counts::default(),
        }
    }

    /// Says whether the subscription is new; if not, it has new options.
    pub(super) fn subscribe(
        &mut self,
        filter: TopicFilter<'_>,
        text: &Arc<str>,
        subscriber: Subscriber,
    ) -> bool {
        let hasher = self.hasher.clone();
        let is_shared = filter.share().is_some();
        let subscribers = match filter.has_wildcard() {
            true => self.wild.insert(filter.filter()),
            false => self.insert_exact(filter.filter(), (!is_shared).then_some(text)),
        };
        let before = subscribers.filters();
        let is_new = match is_shared {
            true => subscribers.join(text, subscriber, &hasher),
            false => subscribers.insert(subscriber, &hasher),
        };
        let filters = subscribers.filters() - before;
        self.counts.filters += filters;
        self.counts.subscriptions += usize::from(is_new);
        self.counts.bytes += if is_new { text.len() } else { 0 };
        self.counts.shared += usize::from(is_new && is_shared);
        is_new
    }

    /// Says whether there was such a subscription.
    pub(super) fn unsubscribe(&mut self, filter: TopicFilter<'_>, session: SessionKey) -> bool {
        let hasher = self.hasher.clone();
        let is_shared = filter.share().is_some();
        let removed = self.edit(filter, |subscribers| {
            let before = subscribers.filters();
            let removed = match is_shared {
                true => subscribers.leave(filter.as_str(), session, &hasher),
                false => subscribers.remove(session, &hasher),
            };
            removed.then(|| before - subscribers.filters())
        });
        let Some(Some(filters)) = removed else { return false };
        self.counts.filters -= filters;
        self.counts.subscriptions -= 1;
        self.counts.bytes -= filter.as_str().len();
        self.counts.shared -= usize::from(is_shared);
        true
    }

    /// Says whether this changed anything.
    pub(super) fn set_online(&mut self, filter: TopicFilter<'_>, session: SessionKey, online: bool) -> bool {
        let hasher = self.hasher.clone();
        self.edit(filter, |subscribers| subscribers.set_online(filter.as_str(), session, online, &hasher))
            .unwrap_or(false)
    }

    /// Adds the subscribers of the filter that is the topic itself.
    pub(super) fn route_exact(&self, topic: &str, routes: &mut Routes) {
        if let Some(subscribers) = self.get_exact(topic) {
            subscribers.add_to(routes);
        }
    }

    /// Adds the subscribers of all filters with wildcards that match. `frontier` is room to work in.
    pub(super) fn route_wild(&self, topic: &str, frontier: &mut Vec<Place>, routes: &mut Routes) {
        self.wild.visit(topic, frontier, |subscribers| subscribers.add_to(routes));
    }

    /// The members of a shared subscription.
    pub(super) fn group(&self, filter: TopicFilter<'_>) -> Option<&Shared> {
        let subscribers = match filter.has_wildcard() {
            true => self.wild.get(filter.filter()),
            false => self.get_exact(filter.filter()),
        };
        subscribers?.group(filter.as_str(), &self.hasher)
    }

    /// The subscription of one session.
    pub(super) fn subscription(&self, filter: TopicFilter<'_>, session: SessionKey) -> Option<Subscriber> {
        let subscribers = match filter.has_wildcard() {
            true => self.wild.get(filter.filter()),
            false => self.get_exact(filter.filter()),
        }?;
        match filter.share() {
            Some(_) => subscribers.group(filter.as_str(), &self.hasher)?.member(session, &self.hasher),
            None => subscribers.get(session, &self.hasher),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    fn edit<R>(&mut self, filter: TopicFilter<'_>, change: impl FnOnce(&mut Subscribers) -> R) -> Option<R> {
        match filter.has_wildcard() {
            true => self.wild.edit(filter.filter(), change),
            false => self.edit_exact(filter.filter(), change),
        }
    }

    /// Takes `text` for the key if it is the filter, to keep no second copy.
    fn insert_exact(&mut self, filter: &str, text: Option<&Arc<str>>) -> &mut Subscribers {
        let hash = self.hasher.hash_one(filter);
        let entry = self.exact.entry(hash, |exact| exact.is(hash, filter), |exact| exact.hash);
        let exact = entry.or_insert_with(|| Exact {
            hash,
            filter: text.map_or_else(|| filter.into(), Arc::clone),
            subscribers: Subscribers::default(),
        });
        &mut exact.into_mut().subscribers
    }

    fn edit_exact<R>(&mut self, filter: &str, change: impl FnOnce(&mut Subscribers) -> R) -> Option<R> {
        let hash = self.hasher.hash_one(filter);
        let mut entry = self.exact.find_entry(hash, |exact| exact.is(hash, filter)).ok()?;
        let subscribers = &mut entry.get_mut().subscribers;
        let result = change(subscribers);
        if subscribers.is_empty() {
            entry.remove();
            if self.exact.len() <= self.exact.capacity() / 8 {
                self.exact.shrink_to(self.exact.len() * 2, |exact| exact.hash);
            }
        }
        Some(result)
    }

    fn get_exact(&self, filter: &str) -> Option<&Subscribers> {
        let hash = self.hasher.hash_one(filter);
        let found = self.exact.find(hash, |exact| exact.is(hash, filter));
        found.map(|exact| &exact.subscribers)
    }
}

impl Exact {
    fn is(&self, hash: u64, filter: &str) -> bool {
        self.hash == hash && *self.filter == *filter
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, more| Self {
            subscriptions: sum.subscriptions + more.subscriptions,
            shared: sum.shared + more.shared,
            filters: sum.filters + more.filters,
            bytes: sum.bytes + more.bytes,
        })
    }
}

#[cfg(test)]
impl Index {
    /// How many pieces of memory are in use: none when there is no subscription.
    pub(super) fn pieces(&self) -> usize {
        self.wild.nodes() + self.exact.len() + self.exact.capacity()
    }
}
