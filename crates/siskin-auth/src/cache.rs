//! Verdicts that are remembered for a while, by a keyed hash of what they were about.
//!
//! The key of the hash is made up at the start and never leaves the process: what is remembered says nothing of
//! the credentials to anybody who does not have it too.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ring::hmac;
use ring::rand::SystemRandom;

use crate::clock::Clock;
use crate::config::CacheConfig;
use crate::stats::Counter;

/// A bounded map from hashes to verdicts that expire.
pub(crate) struct Cache<V> {
    key: hmac::Key,
    config: CacheConfig,
    clock: Clock,
    state: Mutex<State<V>>,
    hits: Counter,
}

/// What a question is remembered by.
#[derive(Clone, Copy)]
pub(crate) struct Digest {
    hash: [u8; 32],
    epoch: u64,
}

struct State<V> {
    entries: HashMap<[u8; 32], Entry<V>>,
    /// The entries from the oldest on, also those that were replaced or have gone since.
    order: VecDeque<([u8; 32], u64)>,
    put: u64,
    /// How often everything was forgotten.
    epoch: u64,
}

struct Entry<V> {
    value: V,
    expires_ms: u64,
    /// Its number, to tell it from an older one of the same hash.
    put: u64,
}

impl<V: Clone> Cache<V> {
    /// A cache, unless it is off.
    pub(crate) fn new(config: CacheConfig, clock: &Clock) -> Result<Option<Self>, String> {
        if config.entries_max == 0 || (config.allowed_s == 0 && config.denied_s == 0) {
            return Ok(None);
        }
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| "the system has no random numbers".to_owned())?;
        let state = State { entries: HashMap::new(), order: VecDeque::new(), put: 0, epoch: 0 };
        Ok(Some(Self {
            key,
            config,
            clock: clock.clone(),
            state: Mutex::new(state),
            hits: Counter::default(),
        }))
    }

    /// The hash of a question with these parts.
    pub(crate) fn digest<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            // With the lengths, no two questions have the same bytes.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.sign().as_ref());
        Digest { hash, epoch: self.lock().epoch }
    }

    /// The verdict, if there is one and it still counts.
    pub(crate) fn value(&self, digest: &Digest) -> Option<V> {
        let now_ms = self.clock.elapsed_ms();
        let mut state = self.lock();
        let entry = state.entries.get(&digest.hash)?;
        if entry.expires_ms <= now_ms {
            state.entries.remove(&digest.hash);
            return None;
        }
        let value = entry.value.clone();
        drop(state);
        self.hits.add_one();
        Some(value)
    }

    /// Remembers a verdict for as long as one of its kind is, and for no more than `seconds_max`. One that was
    /// asked for before everything was forgotten is forgotten too.
    pub(crate) fn put(&self, digest: &Digest, value: V, is_allowed: bool, seconds_max: Option<u64>) {
        let seconds = if is_allowed { self.config.allowed_s } else { self.config.denied_s };
        let seconds = seconds.min(seconds_max.unwrap_or(u64::MAX));
        let mut state = self.lock();
        if seconds == 0 || state.epoch != digest.epoch {
            return;
        }
        let now_ms = self.clock.elapsed_ms();
        state.make_room(self.config.entries_max, now_ms);
        state.put += 1;
        let put = state.put;
        let expires_ms = now_ms.saturating_add(seconds.saturating_mul(1000));
        state.entries.insert(digest.hash, Entry { value, expires_ms, put });
        state.order.push_back((digest.hash, put));
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        state.entries.clear();
        state.order.clear();
        state.epoch += 1;
    }

    /// How many verdicts were found.
    pub(crate) fn hits(&self) -> u64 {
        self.hits.value()
    }

    fn lock(&self) -> MutexGuard<'_, State<V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> State<V> {
    /// Removes the oldest entries until one more may come.
    fn make_room(&mut self, entries_max: usize, now_ms: u64) {
        while let Some((hash, put)) = self.order.front().copied() {
            let entry = self.entries.get(&hash).filter(|entry| entry.put == put);
            let is_kept = entry.is_some_and(|entry| entry.expires_ms > now_ms);
            if is_kept && self.entries.len() < entries_max {
                break;
            }
            if entry.is_some() {
                self.entries.remove(&hash);
            }
            self.order.pop_front();
        }
        if self.order.len() > entries_max.saturating_mul(2) {
            let entries = &self.entries;
            self.order.retain(|(hash, put)| entries.get(hash).is_some_and(|entry| entry.put == *put));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(entries_max: usize) -> (Cache<u32>, crate::clock::Hand) {
        let (clock, hand) = Clock::manual(0);
        let config = CacheConfig { allowed_s: 10, denied_s: 2, entries_max };
        (Cache::new(config, &clock).unwrap().unwrap(), hand)
    }

    #[test]
    fn a_verdict_is_forgotten_when_its_time_is_over() {
        let (cache, hand) = cache(10);
        let (allowed, denied) = (cache.digest([&b"a"[..]]), cache.digest([&b"d"[..]]));
        cache.put(&allowed, 1, true, None);
        cache.put(&denied, 2, false, None);
        hand.advance_s(1);
        assert_eq!((cache.value(&allowed), cache.value(&denied)), (Some(1), Some(2)));
        hand.advance_s(1);
        assert_eq!((cache.value(&allowed), cache.value(&denied)), (Some(1), None));
        hand.advance_s(8);
        assert_eq!(cache.value(&allowed), None);
        assert_eq!(cache.hits(), 3);
    }

    #[test]
    fn a_verdict_lasts_no_longer_than_what_it_is_about() {
        let (cache, hand) = cache(10);
        let digest = cache.digest([&b"a"[..]]);
        cache.put(&digest, 1, true, Some(3));
        hand.advance_s(3);
        assert_eq!(cache.value(&digest), None);
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let (cache, _) = cache(3);
        let digests: Vec<_> = (0_u8..5).map(|number| cache.digest([&[number][..]])).collect();
        for (number, digest) in (0..).zip(&digests) {
            cache.put(digest, number, true, None);
        }
        let kept: Vec<_> = digests.iter().map(|digest| cache.value(digest)).collect();
        assert_eq!(kept, [None, None, Some(2), Some(3), Some(4)]);
    }

    #[test]
    fn replacing_one_verdict_again_and_again_needs_no_room() {
        let (cache, hand) = cache(3);
        let digest = cache.digest([&b"a"[..]]);
        for number in 0..1_000 {
            cache.put(&digest, number, number % 2 == 0, None);
            hand.advance_s(1);
        }
        let state = cache.lock();
        assert!(state.entries.len() <= 3 && state.order.len() <= 7, "{}", state.order.len());
    }

    #[test]
    fn what_was_asked_before_everything_was_forgotten_is_not_remembered() {
        let (cache, _) = cache(3);
        let digest = cache.digest([&b"a"[..]]);
        cache.clear();
        cache.put(&digest, 1, true, None);
        assert_eq!(cache.value(&digest), None);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let (cache, _) = cache(3);
        assert_ne!(cache.digest([&b"ab"[..], b"c"]).hash, cache.digest([&b"a"[..], b"bc"]).hash);
    }
}
