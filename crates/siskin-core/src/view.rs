//! Clients as an operator sees them: plain data, made on request, that may leave the worker's thread.

use std::num::NonZeroU32;
use std::sync::Arc;

use siskin_proto::{Qos, SubscriptionOptions, TopicFilter, Version};

use crate::event::Dropped;
use crate::message::Message;
use crate::recorder::{Entry, Origin, Recent, Story, What};
use crate::session::{Body, Connection, Delivery, Session, SessionKey};
use crate::time::Now;
use crate::timer::Timer;
use crate::worker::Worker;

/// One session and, while its client is there, its connection.
#[derive(Clone, Debug)]
pub struct ClientView {
    /// Its name for as long as it lives; [`SessionKey::worker`] says which worker owns it.
    pub key: SessionKey,
    /// Its client id.
    pub client_id: Arc<str>,
    /// The user name that its client has proven to be its own.
    pub user_name: Option<Arc<str>>,
    /// The version of the connection that is or was.
    pub version: Version,
    /// The connection it has now.
    pub connection: Option<ConnectionView>,
    /// When the last connection ended, if there is none now.
    pub left_at: Option<Now>,
    /// When the session ends, if it is left and does not last for ever.
    pub expires_at: Option<Now>,
    /// How long it outlives its connection, in seconds; `u32::MAX` for ever.
    pub expiry_s: u32,
    /// Whether it is in the store, and survives the broker.
    pub is_stored: bool,
    /// How many subscriptions it has.
    pub subscriptions: usize,
    /// Those of them that are shared.
    pub shared_subscriptions: u32,
    /// Messages that wait for it.
    pub queue_messages: usize,
    /// Bytes of these.
    pub queue_bytes: u64,
    /// Bytes of these that are in memory.
    pub queue_memory_bytes: u64,
    /// QoS 1 and 2 messages that were sent to it and are not finished.
    pub inflight: usize,
    /// QoS 2 messages that it sent and has not released.
    pub receiving: usize,
    /// Whether retained messages are still on their way to its subscriptions.
    pub is_fed: bool,
    /// Whether it has a will that may still be published.
    pub has_will: bool,
    /// Messages for or from it that were dropped since the session began, in the order of [`Dropped::ALL`].
    pub dropped: [u64; Dropped::ALL.len()],
}

/// What a client's connection is like.
#[derive(Clone, Debug)]
pub struct ConnectionView {
    /// The driver's number of its transport.
    pub number: u32,
    /// Where it comes from.
    pub origin: Origin,
    /// When it was accepted.
    pub since: Now,
    /// When its last packet came.
    pub last_packet_at: Now,
    /// Whether it asked for a new session.
    pub clean_start: bool,
    /// The keep alive in force, in seconds; 0 for none.
    pub keep_alive_s: u16,
    /// QoS 1 and 2 messages that may be on their way to it at once.
    pub window: u16,
    /// Bytes of the largest packet it takes.
    pub packet_size_max: u32,
    /// Bytes that wait for its transport.
    pub out_buffer_bytes: usize,
    /// What it will be told when the store has made it safe.
    pub promises: u32,
    /// Bytes of packets that came from it.
    pub bytes_received: u64,
    /// Bytes of packets that were put out for it.
    pub bytes_sent: u64,
    /// PUBLISH packets that came from it.
    pub messages_received: u64,
    /// PUBLISH packets that were put out for it.
    pub messages_sent: u64,
}

/// One subscription of a session.
#[derive(Clone, Debug)]
pub struct SubscriptionView {
    /// The whole filter, `$share/` and name included.
    pub filter: Arc<str>,
    /// What was asked for.
    pub options: SubscriptionOptions,
    /// The subscription identifier.
    pub id: Option<NonZeroU32>,
}

/// One message that waits for a session or is on its way to it.
#[derive(Clone, Debug)]
pub struct WaitingView {
    /// The message, unless it lies in the store alone.
    pub message: Option<Message>,
    /// The QoS it will have.
    pub qos: Qos,
    /// Whether it goes out with RETAIN.
    pub retain: bool,
    /// The shared subscription by which it came.
    pub shared: Option<Arc<str>>,
    /// Bytes it holds.
    pub bytes: usize,
}

impl Worker {
    /// The session of `client_id`, if it is this worker's. [`Shared::owner`](crate::Shared::owner) says whose it is.
    pub fn client(&self, client_id: &str) -> Option<ClientView> {
        self.client_of(self.shared().owner(client_id)?)
    }

    /// The session `key`, if it is this worker's and still there.
    pub fn client_of(&self, key: SessionKey) -> Option<ClientView> {
        self.sessions.get(key).map(|session| self.view(session))
    }

    /// Up to `most` of this worker's sessions for which `is_wanted` says so, from the place `from` on. The second
    /// value is where to go on, if there may be more. Looks at no more than some thousand sessions in one call: so
    /// an answer may be short, or empty, and still not be the last.
    pub fn clients(
        &self,
        from: u32,
        most: usize,
        mut is_wanted: impl FnMut(&ClientView) -> bool,
    ) -> (Vec<ClientView>, Option<u32>) {
        let mut found = Vec::new();
        for (looked_at, (place, session)) in self.sessions.from(from).enumerate() {
            if found.len() >= most || looked_at >= VISITS_MAX {
                return (found, Some(place));
            }
            let view = self.view(session);
            if is_wanted(&view) {
                found.push(view);
            }
        }
        (found, None)
    }

    /// Up to `most` subscriptions of session `key`, in no order.
    pub fn subscriptions_of(&self, key: SessionKey, most: usize) -> Vec<SubscriptionView> {
        let Some(session) = self.sessions.get(key) else { return Vec::new() };
        let view = |text: &Arc<str>| {
            let filter = TopicFilter::parse(text).ok()?;
            let subscriber = self.shared().router.subscription(filter, key)?;
            Some(SubscriptionView {
                filter: Arc::clone(text),
                options: subscriber.options,
                id: subscriber.id,
            })
        };
        session.subscriptions.keys().take(most).filter_map(view).collect()
    }

    /// Up to `most` messages that wait for session `key`, the `from`th of the queue first.
    pub fn queue_of(&self, key: SessionKey, from: usize, most: usize) -> Vec<WaitingView> {
        let Some(session) = self.sessions.get(key) else { return Vec::new() };
        session.queue.iter().skip(from).take(most).map(WaitingView::new).collect()
    }

    /// Up to `most` messages that were sent to session `key` and are not acknowledged, oldest first.
    pub fn inflight_of(&self, key: SessionKey, most: usize) -> Vec<WaitingView> {
        let Some(session) = self.sessions.get(key) else { return Vec::new() };
        session.sender.messages().take(most).map(|(_, delivery)| WaitingView::new(delivery)).collect()
    }

    /// What is known of `client_id`: of its session, if that is this worker's, or of the time when it had one. Every
    /// worker knows what is left of clients that are gone.
    pub fn story(&self, client_id: &str) -> Option<Story> {
        let Some(key) = self.shared().owner(client_id) else {
            return self.shared().story_of_gone(client_id);
        };
        let session = self.sessions.get(key)?;
        let mut entries = session.diary.entries();
        if let Some(refused) = self.shared().gone().log(client_id) {
            entries.extend(refused.entries());
            entries.sort_by_key(|entry| entry.at);
        }
        Some(Story { client_id: Arc::clone(&session.client_id), present: Some(self.view(session)), entries })
    }

    /// What happened last on this worker, to all its clients: up to `most` events, oldest first.
    pub fn recent(&self, most: usize) -> Vec<Recent> {
        let mut events = self.turn.recorder.recent.latest(most);
        events.iter_mut().for_each(|event| self.locate(event));
        events
    }

    /// Finds out where the client of `event` was, if the event does not say so itself: its story does.
    pub(crate) fn locate(&self, event: &mut Recent) {
        if event.origin != Origin::Unknown || event.client_id.is_empty() {
            return;
        }
        let owner = self.shared().owner(&event.client_id);
        let entries = match owner.and_then(|key| self.sessions.get(key)) {
            Some(session) => session.diary.log.entries(),
            None => self.shared().gone().log(&event.client_id).map(|log| log.entries()).unwrap_or_default(),
        };
        // By its place in the story: much may happen in one millisecond.
        let Recent { entry: wanted, origin, .. } = event;
        let is_it = |entry: &Entry<'_>| {
            entry.what.name() == wanted.what.name() && (entry.at..=entry.until).contains(&wanted.at)
        };
        let Some(place) = entries.iter().rposition(is_it) else { return };
        let connected = entries[..place].iter().rev().find_map(|entry| match &entry.what {
            What::Connected { origin, .. } => Some(*origin),
            _ => None,
        });
        *origin = connected.unwrap_or_default();
    }

    fn view(&self, session: &Session) -> ClientView {
        let is_left = session.connection.is_none();
        ClientView {
            key: session.key(),
            client_id: Arc::clone(&session.client_id),
            user_name: session.user_name().map(Arc::from),
            version: session.version,
            connection: session.connection.as_deref().map(|connection| ConnectionView {
                window: session.sender.receive_maximum(),
                ..ConnectionView::new(connection)
            }),
            left_at: is_left.then_some(session.left_at),
            expires_at: session.due.at(Timer::SessionExpiry),
            expiry_s: session.expiry_s,
            is_stored: session.lasting.is_some(),
            subscriptions: session.subscriptions.len(),
            shared_subscriptions: session.shared,
            queue_messages: session.queue.len(),
            queue_bytes: session.queue.bytes(),
            queue_memory_bytes: session.queue.kept_bytes(),
            inflight: session.sender.open(),
            receiving: session.receiver.open(),
            is_fed: !session.feeds.is_empty(),
            has_will: session.will.is_some(),
            dropped: session.diary.drops(),
        }
    }
}

impl ConnectionView {
    fn new(connection: &Connection) -> Self {
        Self {
            number: connection.number,
            origin: connection.origin,
            since: connection.since,
            last_packet_at: connection.received_at,
            clean_start: connection.clean_start,
            keep_alive_s: connection.keep_alive_s,
            window: 0,
            packet_size_max: connection.packet_size_max,
            out_buffer_bytes: connection.out.len(),
            promises: connection.promises,
            bytes_received: connection.bytes_received,
            bytes_sent: connection.bytes_sent,
            messages_received: connection.messages_received,
            messages_sent: connection.messages_sent,
        }
    }
}

impl WaitingView {
    fn new(delivery: &Delivery) -> Self {
        Self {
            message: match &delivery.body {
                Body::Kept(message) => Some(message.clone()),
                Body::Stored { .. } => None,
            },
            qos: delivery.qos,
            retain: delivery.retain,
            shared: delivery.shared().cloned(),
            bytes: delivery.size(),
        }
    }
}

/// Sessions looked at in one call.
const VISITS_MAX: usize = 10_000;
