//! The stories of clients that have no session, the latest of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Log;
use super::entry::{Entry, What};
use crate::hash::{HashMap, hasher};
use crate::limits::Limits;
use crate::time::Now;

/// What is remembered of clients without a session. Those that were never let in have a quarter of the room to
/// themselves: whoever tries one client id after the other drives out nobody but his like.
#[derive(Debug)]
pub(crate) struct Gone {
    clients: Shelf,
    strangers: Shelf,
}

/// A client of which only its story is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoneClient {
    /// Its client id.
    pub client_id: Arc<str>,
    /// When it was last heard of.
    pub at: Now,
    /// Whether it was never let in.
    pub is_stranger: bool,
}

/// Stories in the order in which they were put away, within limits.
#[derive(Debug)]
struct Shelf {
    by_id: HashMap<Arc<str>, Kept>,
    by_age: BTreeMap<u64, Arc<str>>,
    next: u64,
    bytes: u64,
    clients_max: u64,
    bytes_max: u64,
}

#[derive(Debug)]
struct Kept {
    log: Log,
    at: Now,
    age: u64,
}

impl Gone {
    pub(crate) fn new(limits: &Limits, seed: u64) -> Self {
        let mut gone = Self { clients: Shelf::new(0, 0, seed), strangers: Shelf::new(0, 0, seed) };
        gone.set_limits(limits);
        gone
    }

    /// Keeps no more than `limits` say from now on; what is more goes at once.
    pub(crate) fn set_limits(&mut self, limits: &Limits) {
        let (clients_max, bytes_max) = match limits.recorder_enabled {
            true => (u64::from(limits.recorder_clients_max), limits.recorder_bytes_max),
            false => (0, 0),
        };
        let quarter = |max: u64| (max / STRANGERS_PART, max - max / STRANGERS_PART);
        let ((strangers, clients), (few, many)) = (quarter(clients_max), quarter(bytes_max));
        self.clients.set_limits(clients, many);
        self.strangers.set_limits(strangers, few);
    }

    /// The session of `client_id` ended.
    pub(crate) fn put(&mut self, client_id: &Arc<str>, log: Log, now: Now) {
        let log = match self.strangers.take(client_id) {
            Some(refused) => log.with(&refused),
            None => log,
        };
        self.clients.put(client_id, log, now);
    }

    /// A session of `client_id` begins: what is known of it goes on there.
    pub(crate) fn take(&mut self, client_id: &str) -> Log {
        let client = self.clients.take(client_id).unwrap_or_default();
        match self.strangers.take(client_id) {
            Some(refused) => client.with(&refused),
            None => client,
        }
    }

    /// A connection that said it was `client_id` was refused.
    pub(crate) fn refuse(&mut self, client_id: &Arc<str>, entry: &Entry<'_>) {
        debug_assert!(matches!(entry.what, What::Refused { .. }));
        let shelf = match self.clients.by_id.contains_key(&**client_id) {
            true => &mut self.clients,
            false => &mut self.strangers,
        };
        let mut log = shelf.take(client_id).unwrap_or_default();
        log.push(entry);
        shelf.put(client_id, log, entry.until);
    }

    /// What is known of `client_id`.
    pub(crate) fn log(&self, client_id: &str) -> Option<Log> {
        let log = |shelf: &Shelf| shelf.by_id.get(client_id).map(|kept| kept.log.clone());
        match (log(&self.clients), log(&self.strangers)) {
            (Some(one), Some(other)) => Some(one.with(&other)),
            (one, other) => one.or(other),
        }
    }

    /// Those that were heard of last, the latest first.
    pub(crate) fn latest(&self, most: usize) -> Vec<GoneClient> {
        let mut all: Vec<_> = self.clients.latest(most, false);
        all.extend(self.strangers.latest(most, true));
        all.sort_by_key(|client| std::cmp::Reverse(client.at));
        all.truncate(most);
        all
    }

    /// How many there are, and the bytes that they hold.
    pub(crate) fn size(&self) -> (usize, u64) {
        (self.clients.by_id.len() + self.strangers.by_id.len(), self.clients.bytes + self.strangers.bytes)
    }
}

impl Shelf {
    fn new(clients_max: u64, bytes_max: u64, seed: u64) -> Self {
        Self {
            by_id: HashMap::with_hasher(hasher(seed)),
            by_age: BTreeMap::new(),
            next: 0,
            bytes: 0,
            clients_max,
            bytes_max,
        }
    }

    /// Puts a story away as the latest; the oldest make room.
    fn put(&mut self, client_id: &Arc<str>, log: Log, now: Now) {
        if log.is_empty() || size(client_id, &log) > self.bytes_max || self.clients_max == 0 {
            return;
        }
        self.take(client_id);
        self.bytes += size(client_id, &log);
        self.by_age.insert(self.next, Arc::clone(client_id));
        self.by_id.insert(Arc::clone(client_id), Kept { log, at: now, age: self.next });
        self.next += 1;
        self.make_room();
    }

    fn set_limits(&mut self, clients_max: u64, bytes_max: u64) {
        (self.clients_max, self.bytes_max) = (clients_max, bytes_max);
        self.make_room();
    }

    /// Forgets the oldest until the others are within the limits.
    fn make_room(&mut self) {
        while (self.by_id.len() as u64 > self.clients_max || self.bytes > self.bytes_max)
            && let Some((_, oldest)) = self.by_age.first_key_value()
        {
            let oldest = Arc::clone(oldest);
            self.take(&oldest);
        }
    }

    fn take(&mut self, client_id: &str) -> Option<Log> {
        let kept = self.by_id.remove(client_id)?;
        self.by_age.remove(&kept.age);
        self.bytes -= size(client_id, &kept.log);
        Some(kept.log)
    }

    fn latest(&self, most: usize, is_stranger: bool) -> Vec<GoneClient> {
        let client = |client_id: &Arc<str>| {
            let at = self.by_id.get(client_id).map_or(Now::default(), |kept| kept.at);
            GoneClient { client_id: Arc::clone(client_id), at, is_stranger }
        };
        self.by_age.values().rev().take(most).map(client).collect()
    }
}

/// What a story costs, its places in the tables included.
fn size(client_id: &str, log: &Log) -> u64 {
    (client_id.len() + log.len() + PLACE_BYTES) as u64
}

/// Bytes of a story's places in the tables.
const PLACE_BYTES: usize = 160;

/// The part of the room that those have who were never let in.
const STRANGERS_PART: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Cause;
    use crate::recorder::{Closed, Origin};

    fn gone(clients_max: u32, bytes_max: u64) -> Gone {
        let limits =
            Limits { recorder_clients_max: clients_max, recorder_bytes_max: bytes_max, ..Limits::default() };
        Gone::new(&limits, 1)
    }

    fn at(ms: u64) -> Now {
        Now::from_millis(ms)
    }

    fn lost(ms: u64) -> Log {
        let mut log = Log::default();
        log.push(&Entry::new(at(ms), What::Disconnected(Closed::new(&Cause::ConnectionLost, None))));
        log
    }

    fn refused(ms: u64) -> Entry<'static> {
        Entry::new(at(ms), What::Refused { origin: Origin::Local, why: "no".into() })
    }

    fn id(text: &str) -> Arc<str> {
        text.into()
    }

    #[test]
    fn the_oldest_make_room_by_number() {
        let mut gone = gone(16, 1 << 20);
        for client in 0..100 {
            gone.put(&id(&client.to_string()), lost(client), at(client));
        }
        let latest = gone.latest(1000);
        let ids: Vec<_> = latest.iter().map(|client| client.client_id.parse::<u64>().unwrap()).collect();
        assert_eq!(ids, (88..100).rev().collect::<Vec<_>>());
        assert!(gone.log("87").is_none() && gone.log("88").is_some());
    }

    #[test]
    fn the_oldest_make_room_by_bytes_and_what_could_never_stay_is_not_kept() {
        let mut gone = gone(u32::MAX, 10_000);
        for client in 0..1000 {
            gone.put(&id(&client.to_string()), lost(client), at(client));
            assert!(gone.size().1 <= 10_000);
        }
        assert!(gone.log("999").is_some());
        let before = gone.size();
        assert!(before.0 > 10);
        gone.put(&id(&"x".repeat(60_000)), lost(1), at(1));
        assert_eq!(gone.size(), before);
    }

    #[test]
    fn who_is_never_let_in_drives_out_nobody_but_his_like() {
        let mut gone = gone(16, 1 << 20);
        gone.put(&id("client"), lost(1), at(1));
        for stranger in 0..1000 {
            gone.refuse(&id(&format!("stranger-{stranger}")), &refused(stranger));
        }
        assert!(gone.log("client").is_some());
        assert_eq!(gone.size().0, 1 + 4);
        assert!(gone.log("stranger-999").is_some());
    }

    #[test]
    fn whoever_comes_back_takes_all_of_his_story_along() {
        let mut gone = gone(16, 1 << 20);
        gone.refuse(&id("client"), &refused(1));
        gone.put(&id("client"), lost(2), at(2));
        gone.refuse(&id("client"), &refused(3));
        let ats = |log: Log| log.entries().iter().map(|entry| entry.at.as_millis()).collect::<Vec<_>>();
        assert_eq!(gone.log("client").map(ats), Some(vec![1, 2, 3]));
        assert_eq!(ats(gone.take("client")), [1, 2, 3]);
        assert_eq!(gone.size(), (0, 0));
        assert!(gone.take("client").is_empty());
    }
}
