//! One client's state: what it owes, what is owed to it, and the connection it has at the moment.

mod connection;
mod feed;
mod key;
mod lasting;
mod outbox;
mod queue;
mod slab;
mod will;

use std::sync::Arc;

use siskin_proto::Version;
use siskin_proto::delivery::{Receiver, Sender};

use crate::event::{Dropped, Event};
use crate::hash::HashMap;
use crate::message::Publisher;
use crate::store::RecordId;
use crate::time::Now;
use crate::timer::Due;

pub(crate) use connection::Connection;
pub(crate) use feed::Feeds;
pub use key::SessionKey;
pub(crate) use lasting::Lasting;
pub(crate) use outbox::Grant;
pub(crate) use queue::{Body, Delivery, Extra, Queue, Reference};
pub(crate) use slab::Sessions;
pub(crate) use will::StoredWill;

/// The state of a client id. It lives as long as its connection, or longer if the client asked so.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client_id: Arc<str>,
    /// What its own messages are known by.
    pub(crate) publisher: Publisher,
    pub(crate) key: SessionKey,
    /// Of the connection that is or was.
    pub(crate) version: Version,
    /// How long it outlives its connection, in seconds; `u32::MAX` for ever.
    pub(crate) expiry_s: u32,
    pub(crate) connection: Option<Box<Connection>>,
    /// By filter: the record of each, if it is in the store.
    pub(crate) subscriptions: HashMap<Arc<str>, Option<RecordId>>,
    /// Subscriptions that are shared, which care whether their member is there.
    pub(crate) shared: u32,
    pub(crate) sender: Sender<Delivery>,
    pub(crate) receiver: Receiver,
    pub(crate) queue: Queue,
    pub(crate) feeds: Feeds,
    pub(crate) will: Option<Box<StoredWill>>,
    /// What it has in the store, if it is to survive the process.
    pub(crate) lasting: Option<Box<Lasting>>,
    pub(crate) due: Due,
    pub(crate) drops: Drops,
}

/// Messages that this client missed and nobody was told of yet: one line a second is enough.
#[derive(Debug)]
pub(crate) struct Drops {
    key: SessionKey,
    /// Made with the first drop, since most sessions have none.
    pending: Option<Box<Pending>>,
}

#[derive(Debug)]
struct Pending {
    /// By cause.
    counts: [u64; Dropped::ALL.len()],
    /// Of the first of them.
    topic: Arc<str>,
    reported_at: Option<Now>,
}

impl Drops {
    fn new(key: SessionKey) -> Self {
        Self { key, pending: None }
    }

    /// Notes one, and puts it into `events` if it is time for that. Else, for the first of those that
    /// wait, the session's key and when their time comes.
    pub(crate) fn note(
        &mut self,
        client_id: &Arc<str>,
        topic: &str,
        why: Dropped,
        now: Now,
        events: &mut Vec<Event>,
    ) -> Option<(Now, SessionKey)> {
        let pending = self.pending.get_or_insert_with(|| {
            Box::new(Pending { counts: Default::default(), topic: Arc::from(topic), reported_at: None })
        });
        let is_first = pending.counts.iter().all(|count| *count == 0);
        if is_first {
            pending.topic = Arc::from(topic);
        }
        pending.counts[why as usize] += 1;
        match pending.reported_at.map(|at| at.plus_ms(REPORT_EVERY_MS)) {
            Some(due) if due > now => is_first.then_some((due, self.key)),
            _ => {
                self.report(client_id, now, events);
                None
            }
        }
    }

    /// Puts one event for each cause of those that wait into `events`.
    pub(crate) fn report(&mut self, client_id: &Arc<str>, now: Now, events: &mut Vec<Event>) {
        let Some(pending) = self.pending.as_deref_mut() else { return };
        pending.reported_at = Some(now);
        for (count, why) in std::mem::take(&mut pending.counts).into_iter().zip(Dropped::ALL) {
            if count > 0 {
                let (client_id, topic) = (Arc::clone(client_id), Arc::clone(&pending.topic));
                events.push(Event::Dropped { client_id, topic, count, why });
            }
        }
    }
}

/// A session's drops make one event in this time.
const REPORT_EVERY_MS: u64 = 1000;

impl Session {
    pub(crate) fn new(
        key: SessionKey,
        client_id: Arc<str>,
        version: Version,
        maps: &crate::hash::Hasher,
    ) -> Self {
        Self {
            publisher: Publisher::new(&client_id, maps),
            client_id,
            key,
            version,
            expiry_s: 0,
            connection: None,
            subscriptions: HashMap::with_hasher(maps.clone()),
            shared: 0,
            sender: Sender::new(),
            receiver: Receiver::new(),
            queue: Queue::default(),
            feeds: Feeds::default(),
            will: None,
            lasting: None,
            due: Due::default(),
            drops: Drops::new(key),
        }
    }

    /// Whether it outlives its connection.
    pub(crate) fn is_persistent(&self) -> bool {
        self.expiry_s > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_drop_is_told_once_and_by_no_more_than_one_line_a_second_and_cause() {
        let (key, id) = (SessionKey::new(0, 0, 7), Arc::from("client"));
        let mut drops = Drops::new(key);
        let mut events = Vec::new();
        let mut note = |at, topic, why, events: &mut Vec<Event>| {
            drops.note(&id, topic, why, Now::from_millis(at), events)
        };
        assert_eq!(note(0, "a", Dropped::QueueFull, &mut events), None);
        assert_eq!(counts(&mut events), [(1, Dropped::QueueFull)]);
        assert_eq!(note(10, "b", Dropped::QueueFull, &mut events), Some((Now::from_millis(1000), key)));
        assert_eq!(note(20, "c", Dropped::TooLarge, &mut events), None);
        assert_eq!(note(30, "d", Dropped::QueueFull, &mut events), None);
        assert_eq!(counts(&mut events), []);
        drops.report(&id, Now::from_millis(1000), &mut events);
        assert_eq!(counts(&mut events), [(2, Dropped::QueueFull), (1, Dropped::TooLarge)]);
        drops.report(&id, Now::from_millis(1001), &mut events);
        assert_eq!(counts(&mut events), []);
    }

    fn counts(events: &mut Vec<Event>) -> Vec<(u64, Dropped)> {
        let count = |event| match event {
            Event::Dropped { count, why, .. } => (count, why),
            other => panic!("{other:?}"),
        };
        events.drain(..).map(count).collect()
    }
}
