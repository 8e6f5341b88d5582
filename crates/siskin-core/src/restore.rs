//! From the records of a store back to sessions, retained messages and wills.

use std::cmp::Reverse;
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError};

use siskin_proto::delivery::{Receiver, Sender};
use siskin_proto::{PacketId, Qos, SubscriptionOptions, TopicFilter, Version};

use crate::access::Identity;
use crate::hash::{HashMap, hasher};
use crate::message::{Message, Parts, Publisher};
use crate::recorder::What;
use crate::router::Subscriber;
use crate::session::{Body, Delivery, Extra, Kept, Lasting, Pass, Reference, Session, StoredWill};
use crate::shared::Shared;
use crate::store::record::{
    MessageRecord, Progress, RETAINED, Record, SessionRecord, WillRecord, write_node,
};
use crate::store::{Batch, Held, Live, RecordId};
use crate::time::Now;
use crate::timer::Timer;
use crate::turn::Turn;
use crate::worker::{Worker, keep_session, keep_will};

/// What a store has given back so far. The order in which its records come does not matter.
#[derive(Debug)]
pub struct Recovered {
    seed: Option<u64>,
    sessions: HashMap<u64, Former>,
    retained: Vec<Message>,
    /// Wills of sessions that ended with the process.
    wills: Vec<FormerWill>,
    report: Report,
}

/// How much was recovered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Sessions that go on.
    pub sessions: u64,
    /// Subscriptions of these.
    pub subscriptions: u64,
    /// Messages that wait for these or were under way to them, each counted for each session.
    pub messages: u64,
    /// Retained messages.
    pub retained: u64,
    /// Wills that are still to be published.
    pub wills: u64,
    /// Retained messages for which the limits have no room any more.
    pub retained_dropped: u64,
    /// Messages given up because the session that they were due to is no more, counted for each session.
    pub ownerless: u64,
    /// Records that make no sense and were left where they are.
    pub unreadable: u64,
}

/// A session as it was.
#[derive(Debug, Default)]
struct Former {
    head: Option<Head>,
    subscriptions: Vec<Subscription>,
    deliveries: Vec<(RecordId, Delivery, Progress)>,
    received: Vec<(PacketId, RecordId)>,
    /// Feeds with the subscriptions they belong to, and how far they had come.
    feeds: Vec<(RecordId, RecordId, String)>,
    will: Option<FormerWill>,
}

#[derive(Debug)]
struct FormerWill {
    will: StoredWill,
    client_id: Arc<str>,
    identity: Identity,
    due_at: Option<Now>,
}

#[derive(Debug)]
struct Head {
    record: RecordId,
    client_id: Arc<str>,
    identity: Identity,
    version: Version,
    expiry_s: u32,
    since: Option<Now>,
}

#[derive(Debug)]
struct Subscription {
    record: RecordId,
    filter: Arc<str>,
    options: SubscriptionOptions,
    id: Option<NonZeroU32>,
}

impl Default for Recovered {
    fn default() -> Self {
        Self {
            seed: None,
            // Record ids come from nobody who could choose them.
            sessions: HashMap::with_hasher(hasher(0)),
            retained: Vec::new(),
            wills: Vec::new(),
            report: Report::default(),
        }
    }
}

impl Recovered {
    /// The seed that the store's broker has had from its beginning, if it had one.
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// Takes in one record.
    pub fn add(&mut self, live: Live<'_>) {
        match Record::decode(live.body) {
            Ok(Record::Node { seed }) => self.seed = Some(seed),
            Ok(Record::Session(session)) => self.former(live.id).head = Some(Head::new(live.id, &session)),
            Ok(Record::Subscription(subscription)) => {
                let (filter, options) = (subscription.filter.into(), subscription.options);
                let restored = Subscription { record: live.id, filter, options, id: subscription.id };
                self.former(subscription.session).subscriptions.push(restored);
            }
            Ok(Record::Received { session, packet_id }) => {
                self.former(session).received.push((packet_id, live.id));
            }
            Ok(Record::Feed(feed)) => {
                self.former(feed.session).feeds.push((live.id, feed.subscription, feed.after.to_owned()));
            }
            Ok(Record::Will(will)) => self.add_will(live.id, &will),
            Ok(Record::Message(message)) => self.add_message(live.id, &message, live.held),
            Err(_) => self.report.unreadable += 1,
        }
    }

    /// Gives everything to the workers of a broker that has just been made and has seen no client. Sessions begin to
    /// count their time again; what came due meanwhile happens at the first tick.
    pub fn install(self, shared: &Shared, workers: &mut [Worker], now: Now) -> Report {
        let Self { seed, sessions, retained, mut wills, mut report } = self;
        let Some(first) = workers.first_mut() else { return report };
        let mut formers: Vec<_> = sessions.into_values().collect();
        formers.sort_unstable_by_key(|former| Reverse(former.head.as_ref().map(|head| head.record)));
        if seed.is_none() {
            let record = first.durable().next_id();
            first.durable().batch().put(record, 1, |out| write_node(out, shared.seed));
        }
        report.retained_dropped += install_retained(shared, retained, first.durable().batch());
        report.retained = shared.retained.read().unwrap_or_else(PoisonError::into_inner).len() as u64;
        for (turn, former) in formers.into_iter().enumerate() {
            // Two sessions of one client cannot be; the older, which comes later here, was not ended properly.
            let is_live = |head: &&Head| shared.registry.owner(&head.client_id).is_none();
            if former.head.as_ref().filter(is_live).is_none() {
                report.ownerless += former.deliveries.len() as u64;
                wills.extend(former.give_up(&mut workers[0].turn));
                continue;
            }
            report.sessions += 1;
            report.subscriptions += former.subscriptions.len() as u64;
            report.messages += former.deliveries.len() as u64;
            report.wills += u64::from(former.will.is_some());
            let worker = turn % workers.len();
            workers[worker].resume(former, now);
        }
        report.wills += wills.len() as u64;
        workers[0].adopt_wills(wills, now);
        workers[0].place_orphans(now);
        for worker in workers {
            worker.durable().flush();
        }
        report
    }

    fn former(&mut self, session: RecordId) -> &mut Former {
        self.sessions.entry(session.get()).or_default()
    }

    fn add_will(&mut self, id: RecordId, record: &WillRecord<'_>) {
        let will = FormerWill {
            will: StoredWill::restored(id, record),
            client_id: record.client_id.into(),
            identity: Identity::named(record.user_name),
            due_at: record.due_at,
        };
        match record.session {
            Some(session) => self.former(session).will = Some(will),
            None => self.wills.push(will),
        }
    }

    fn add_message(&mut self, id: RecordId, record: &MessageRecord<'_>, held: &[Held]) {
        let retained = Parts { record: Some(id), ..record.parts };
        // How long it is retained is nothing to those who wait for it.
        let parts = Parts { kept_until: None, ..retained };
        let mut message: Option<Message> = None;
        let mut keep = || message.get_or_insert_with(|| Message::new(parts, None)).clone();
        let first = u32::from(record.is_retained);
        for Held { reference, note } in held {
            if *reference < first {
                self.retained.push(Message::new(retained, None));
                continue;
            }
            let receiver = record.receivers.get((reference - first) as usize);
            let (Some(receiver), Some(progress)) = (receiver, Progress::from_note(*note)) else {
                self.report.unreadable += 1;
                continue;
            };
            // What is under way must be in memory, and what is shared may have to move.
            let is_kept = progress != Progress::Queued || receiver.share.is_some();
            let body = match is_kept {
                true => Body::Kept(keep()),
                false => Body::Stored { record: id, bytes: parts.size().try_into().unwrap_or(u32::MAX) },
            };
            let extra = Extra::of(&receiver.subscription_ids, receiver.share.as_ref());
            let reference = Some(Reference::new(*reference));
            let delivery = Delivery { body, extra, reference, qos: receiver.qos, retain: receiver.retain };
            self.sessions.entry(receiver.session).or_default().deliveries.push((id, delivery, progress));
        }
    }
}

impl Head {
    fn new(record: RecordId, session: &SessionRecord<'_>) -> Self {
        let SessionRecord { client_id, user_name, version, expiry_s, since } = *session;
        let identity = Identity::named(user_name);
        Self { record, client_id: client_id.into(), identity, version, expiry_s, since }
    }
}

impl Former {
    /// Releases everything, for a session that is no more; its will is still to be published, and what came by
    /// shared subscriptions is for others, as when a session ends.
    fn give_up(mut self, turn: &mut Turn) -> Option<FormerWill> {
        let head = self.head.iter().map(|head| head.record);
        let subscriptions = self.subscriptions.iter().map(|subscription| subscription.record);
        let received = self.received.iter().map(|(_, record)| *record);
        let feeds = self.feeds.iter().map(|(record, ..)| *record);
        for record in head.chain(subscriptions).chain(received).chain(feeds) {
            turn.durable.batch().release(record, 0);
        }
        self.deliveries.sort_by_key(|(record, ..)| *record);
        for (_, delivery, progress) in self.deliveries {
            let may_move = match progress {
                Progress::Queued => true,
                Progress::Sent(_) => delivery.qos == Qos::AtLeastOnce,
                Progress::Released(_) => false,
            };
            if may_move && delivery.shared().is_some() {
                turn.orphans.push((None, delivery));
            } else {
                turn.give_up(&delivery);
            }
        }
        self.will
    }
}

impl Worker {
    /// Takes in a session as it was.
    fn resume(&mut self, former: Former, now: Now) {
        let Former { head, mut subscriptions, mut deliveries, received, mut feeds, will } = former;
        let Some(head) = head else { return };
        let key = self.sessions.next_key();
        let mut session = Session::new(key, Arc::clone(&head.client_id), head.version, &self.hasher);
        self.shared.registry.set(&head.client_id, key);
        self.shared.lasting.insert(key, head.record);
        session.expiry_s = head.expiry_s;
        let standing = self.shared.standing(&head.identity, &head.client_id);
        session.pass = Pass::new(&head.identity, standing.into_permissions());
        if let Some(permissions) = session.pass.as_ref().and_then(|pass| pass.permissions.as_ref()) {
            self.shared.readers.set(key, Some(permissions));
        }
        let mut lasting = Lasting::new(head.record);
        feeds.sort_unstable_by_key(|(record, ..)| *record);
        subscriptions.sort_unstable_by_key(|subscription| subscription.record);
        for (feed, subscription, after) in feeds {
            let found = subscriptions.binary_search_by_key(&subscription, |known| known.record);
            let Some(found) = found.ok().map(|at| &subscriptions[at]) else {
                self.turn.durable.batch().release(feed, 0);
                continue;
            };
            let kept = Kept { session: head.record, subscription, feed };
            let after = Some(after).filter(|after| !after.is_empty());
            let (filter, id) = (Arc::clone(&found.filter), found.id.map(NonZeroU32::get));
            session.feeds.resume(filter, found.options, id, Some(kept), after);
        }
        for subscription in subscriptions {
            self.resubscribe(&mut session, subscription);
        }
        deliveries.sort_by_key(|(record, ..)| *record);
        let mut flights = Vec::new();
        for (_, delivery, progress) in deliveries {
            match progress {
                Progress::Queued => {
                    self.turn.count_stored(&delivery);
                    session.queue.append(delivery);
                }
                Progress::Sent(id) => {
                    self.turn.count_stored(&delivery);
                    let qos = delivery.qos;
                    flights.push((id, Some((delivery, qos))));
                }
                Progress::Released(id) => {
                    lasting.released.extend(delivery.claim().map(|claim| (id, claim)));
                    flights.push((id, None));
                }
            }
        }
        session.sender = Sender::restored(flights);
        session.receiver = Receiver::restored(received.iter().map(|(id, _)| *id).collect());
        lasting.received = received.into_iter().collect();
        session.lasting = Some(Box::new(lasting));
        // Who was connected until the end was left just now.
        let since = head.since.unwrap_or(now);
        if head.since.is_none() {
            keep_session(&mut self.turn, &session, Some(since));
        }
        if let Some(FormerWill { will, due_at, .. }) = will {
            let at = due_at.unwrap_or(now.plus_s(will.delay_s));
            session.will = Some(Box::new(will));
            if due_at.is_none() {
                keep_will(&mut self.turn, &mut session, Some(at));
            }
            self.wheel.arm(key, &mut session.due, Timer::WillDelay, at);
        }
        if session.expiry_s != u32::MAX {
            self.wheel.arm(key, &mut session.due, Timer::SessionExpiry, since.plus_s(session.expiry_s));
        }
        session.left_at = since;
        let what = What::Restored { waiting: (session.queue.len() + session.sender.open()) as u32 };
        self.turn.recorder.record(&mut session.diary.log, &head.client_id, what, now);
        self.sessions.insert(session);
        self.turn.stats.sessions.add(1);
    }

    fn resubscribe(&mut self, session: &mut Session, subscription: Subscription) {
        let Subscription { record, filter: text, options, id } = subscription;
        // It was checked when it was read.
        let Ok(filter) = TopicFilter::parse(&text) else { return };
        session.subscriptions.insert(Arc::clone(&text), Some(record));
        let subscriber = Subscriber { session: session.key(), options, id };
        self.shared.router.subscribe(filter, &text, subscriber);
        if filter.share().is_some() {
            session.shared += 1;
            self.shared.router.set_online(filter, session.key(), false);
        }
    }

    /// Takes in wills whose sessions ended with the process; they are published at the first tick, if their clients
    /// may.
    fn adopt_wills(&mut self, wills: Vec<FormerWill>, now: Now) {
        for FormerWill { will, client_id, identity, .. } in wills {
            let permissions = self.shared.standing(&identity, &client_id).into_permissions();
            if let Some(mut pass) = Pass::new(&identity, permissions)
                && !pass.allows(will.access(), &will.topic)
            {
                self.turn.stats.denied_publish.add(1);
                self.turn.events.extend(pass.refused(&client_id, will.access(), &will.topic, now));
                self.turn.durable.forget_will(&will);
                continue;
            }
            self.wills.push((will, Publisher::new(&client_id, &self.hasher)));
        }
    }
}

/// Puts retained messages back, the newest of each topic; says for how many there was no room.
fn install_retained(shared: &Shared, mut messages: Vec<Message>, batch: &mut Batch) -> u64 {
    messages.sort_unstable_by_key(super::message::Message::record);
    let mut dropped = 0;
    let mut retained = shared.retained.write().unwrap_or_else(PoisonError::into_inner);
    for message in messages {
        let record = message.record();
        let gone = match retained.insert(message) {
            Ok(older) => older.and_then(|older| older.record()),
            Err(_) => {
                dropped += 1;
                record
            }
        };
        if let Some(record) = gone {
            batch.release(record, RETAINED);
        }
    }
    dropped
}

#[cfg(test)]
mod tests {
    use siskin_proto::{Properties, Qos};

    use super::*;
    use crate::limits::Limits;
    use crate::shared::NodeInfo;
    use crate::store::record::{self, write_message, write_session};

    #[test]
    fn messages_whose_session_is_gone_are_counted_and_released() {
        let (lost, there) = (1, RecordId::new(2).expect("not zero"));
        let mut recovered = Recovered::default();
        let mut body = Vec::new();
        let (client_id, version, now) = ("here", Version::V5, Now::from_millis(1_000_000));
        write_session(
            &mut body,
            &SessionRecord { client_id, user_name: None, version, expiry_s: 60, since: Some(now) },
        );
        recovered.add(Live { id: there, body: &body, held: &[Held { reference: 0, note: 0 }] });
        for (number, session) in [(3, lost), (4, there.get()), (5, lost)] {
            let receiver = record::Receiver { session, ..record::Receiver::default() };
            let parts = Parts {
                topic: "a/b",
                properties: Properties::default(),
                payload: b"x",
                qos: Qos::AtLeastOnce,
                retain: false,
                publisher: None,
                received_at: now,
                expires_at: None,
                kept_until: None,
                record: None,
            };
            body.clear();
            write_message(&mut body, &parts, false, &[receiver]);
            let id = RecordId::new(number).expect("not zero");
            recovered.add(Live { id, body: &body, held: &[Held { reference: 0, note: 0 }] });
        }
        let node = NodeInfo { name: "test".into(), version: "0.0.0".into(), started_unix_ms: 0 };
        let shared = Arc::new(Shared::new(Limits::default(), 1, 7, node));
        let mut workers = [Worker::new(0, Arc::clone(&shared), now)];
        let report = recovered.install(&shared, &mut workers, now);
        assert_eq!((report.sessions, report.messages, report.ownerless), (1, 1, 2));
    }
}
