//! Retained messages on their way to a new subscription, at the pace of the client's window.
//!
//! Nothing is copied into the queue: a feed is a filter and the last topic sent, and looks up the next
//! messages when there is room for them. So 100,000 of them cost as much as one, none is cut off, and
//! each is as new as it can be.

use std::collections::VecDeque;
use std::sync::{Arc, RwLock};

use siskin_proto::{Qos, SubscriptionOptions, TopicFilter};

use super::seldom::Empty;
use super::{Body, Connection, Delivery, Extra, Reference, Session};
use crate::frames::Offered;
use crate::message::Message;
use crate::retained::{Page, Retained};
use crate::store::RecordId;
use crate::store::record::{FeedRecord, write_feed};
use crate::time::Now;
use crate::turn::Turn;

/// The feeds of one session, in the order of their subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Feeds {
    feeds: VecDeque<Feed>,
    /// Queued messages sent since a feed had its turn.
    pub(super) waited: usize,
}

#[derive(Debug)]
struct Feed {
    filter: Arc<str>,
    qos: Qos,
    no_local: bool,
    subscription_id: Option<u32>,
    /// The last topic that was sent.
    after: Option<String>,
    /// What says so in the store, for a session that lasts.
    kept: Option<Kept>,
}

/// The records of a feed and of what it belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) session: RecordId,
    pub(crate) subscription: RecordId,
    pub(crate) feed: RecordId,
}

impl Empty for Feeds {
    const EMPTY: &'static Self = &Self { feeds: VecDeque::new(), waited: 0 };

    fn is_empty(&self) -> bool {
        self.feeds.is_empty()
    }
}

impl Feeds {
    /// The subscription to `filter` is to get its retained messages, from the first. It has no feed yet.
    pub(crate) fn start(
        &mut self,
        filter: Arc<str>,
        options: SubscriptionOptions,
        subscription_id: Option<u32>,
        kept: Option<Kept>,
    ) {
        self.resume(filter, options, subscription_id, kept, None);
    }

    /// The same, but from the topic behind `after`.
    pub(crate) fn resume(
        &mut self,
        filter: Arc<str>,
        options: SubscriptionOptions,
        subscription_id: Option<u32>,
        kept: Option<Kept>,
        after: Option<String>,
    ) {
        let SubscriptionOptions { qos, no_local, .. } = options;
        self.feeds.push_back(Feed { filter, qos, no_local, subscription_id, after, kept });
    }

    /// The subscription to `filter` has other options: what it is still owed goes by them.
    pub(crate) fn change(&mut self, filter: &str, qos: Qos, no_local: bool, subscription_id: Option<u32>) {
        if let Some(feed) = self.feeds.iter_mut().find(|feed| &*feed.filter == filter) {
            (feed.qos, feed.no_local, feed.subscription_id) = (qos, no_local, subscription_id);
        }
    }

    /// The subscription to `filter` ended, or begins anew; the record of its feed is to be released.
    pub(crate) fn stop(&mut self, filter: &str) -> Option<RecordId> {
        let at = self.feeds.iter().position(|feed| &*feed.filter == filter)?;
        self.feeds.remove(at)?.kept.map(|kept| kept.feed)
    }

    /// The records of all feeds.
    pub(crate) fn records(&self) -> impl Iterator<Item = RecordId> {
        self.feeds.iter().filter_map(|feed| Some(feed.kept?.feed))
    }
}

impl Feed {
    /// Puts how far it has come: together with the records of what was sent.
    fn keep(&self, turn: &mut Turn) {
        let Some(Kept { session, subscription, feed }) = self.kept else { return };
        let record = FeedRecord { session, subscription, after: self.after.as_deref().unwrap_or_default() };
        turn.durable.batch().put(feed, 1, |out| write_feed(out, &record));
    }
}

impl Session {
    /// Sends up to about `most` retained messages as far as there is room; says whether it sent any
    /// or came to an end.
    pub(crate) fn feed(
        &mut self,
        turn: &mut Turn,
        retained: &RwLock<Retained>,
        most: usize,
        now: Now,
    ) -> bool {
        // Not more than can be sent: a client that answers one by one makes room one by one.
        let most = most.min(usize::from(self.sender.room()));
        let mut batch: Vec<Message> = Vec::new();
        while self.has_room_to_feed(turn)
            && let Some(mut feed) = self.feeds.feeds.pop_front()
        {
            let mut next = {
                let retained = retained.read().unwrap_or_else(std::sync::PoisonError::into_inner);
                let filter = TopicFilter::parse(&feed.filter).map_or("", |filter| filter.filter());
                let page = Page { matches: most, visits: PAGE_VISITS };
                retained.page(filter, feed.after.as_deref(), page, now, &mut batch)
            };
            let has_sent = !batch.is_empty();
            let mut last: Option<Message> = None;
            for message in batch.drain(..) {
                if !self.has_room_to_feed(turn) {
                    next = last.map(|message| message.topic().to_owned()).or(feed.after.take());
                    break;
                }
                self.feed_one(turn, &feed, &message, now);
                last = Some(message);
            }
            let is_over = next.is_none();
            if let Some(next) = next {
                feed.after = Some(next);
                feed.keep(turn);
                self.feeds.feeds.push_front(feed);
            } else if let Some(kept) = feed.kept {
                turn.durable.batch().release(kept.feed, 0);
            }
            if has_sent || is_over {
                return true;
            }
        }
        false
    }

    fn feed_one(&mut self, turn: &mut Turn, feed: &Feed, message: &Message, now: Now) {
        // [MQTT5 3.8.3-3]
        if feed.no_local && message.publisher() == Some(self.publisher) {
            return;
        }
        if !self.may_receive(message.topic()) {
            return;
        }
        turn.frames.clear();
        let mut offered = Offered::kept(message);
        let subscription_ids = feed.subscription_id.as_slice();
        let qos = message.qos().min(feed.qos);
        // [MQTT-3.3.1-8] [MQTT5 3.3.1-9] RETAIN 1, whatever Retain As Published says.
        let retain = true;
        if qos == Qos::AtMostOnce {
            self.offer_at_most_once(turn, &mut offered, retain, subscription_ids, now);
            return;
        }
        let extra = Extra::of(subscription_ids, None);
        let Some(lasting) = self.lasting.as_deref().filter(|_| turn.durable.is_on()) else {
            let body = Body::Kept(message.clone());
            let delivery = Delivery { body, qos, retain, extra, reference: None };
            self.send(turn, delivery, &mut offered, now);
            return;
        };
        // The retained message may be replaced while this delivery is under way, so it has a record of its own.
        let message = turn.durable.keep_for(lasting.record, message, qos, retain, extra.as_deref());
        let mut offered = Offered::kept(&message);
        let body = Body::Kept(message.clone());
        let delivery = Delivery { body, qos, retain, extra, reference: Some(Reference::new(0)) };
        self.send(turn, delivery, &mut offered, now);
    }

    /// Room for one message of any QoS, so that a feed never puts anything into the queue.
    fn has_room_to_feed(&self, turn: &Turn) -> bool {
        let has_room =
            |connection: &Connection| !connection.has_pumped(turn) && connection.subacks_promised == 0;
        self.connection.as_deref().is_some_and(has_room) && self.may_send(turn)
    }
}

/// Retained topics looked at under one lock.
const PAGE_VISITS: usize = 4096;
