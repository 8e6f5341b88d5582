//! How connections and sessions end, and what becomes of their wills.
//!
//! ```text
//! connection ends -> will: now, later, or withdrawn          [MQTT-3.1.2-8] [MQTT5 3.1.2-8]
//!                 -> session: stays for its expiry interval, or ends
//! session ends    -> a will still waiting is published now   [MQTT5 3.1.2-8]
//! ```

use std::sync::Arc;

use siskin_proto::{Disconnect, Packet, Properties, PropertiesBuf, Property, Reason, TopicFilter};

use super::publish::Answer;
use super::{Close, Worker};
use crate::cause::{Cause, Violation};
use crate::durable::{Promise, Then};
use crate::event::{Ended, Event};
use crate::frames::Source;
use crate::message::{Parts, Publisher};
use crate::out_buffer::OutBuffer;
use crate::recorder::{Closed, Origin, What};
use crate::session::{Session, SessionKey, StoredWill};
use crate::store::record::{self, SessionRecord, WillRecord};
use crate::time::Now;
use crate::timer::Timer;
use crate::turn::Turn;

impl Worker {
    /// DISCONNECT from the client: changes what the end of the connection means, and causes it.
    pub(super) fn handle_disconnect(
        &mut self,
        key: SessionKey,
        disconnect: &Disconnect<'_>,
        now: Now,
    ) -> Cause {
        let Some(session) = self.sessions.get_mut(key) else { return Cause::ConnectionLost };
        if let Some(expiry_s) = disconnect.properties.session_expiry_interval() {
            let asked_to_last = session.connection.as_deref().is_some_and(|c| c.asked_to_last);
            if !asked_to_last && expiry_s > 0 {
                return Cause::Violation(Violation::SessionExpiryFromZero);
            }
            session.expiry_s = expiry_s.min(self.turn.limits.session_expiry_s_max);
        }
        // [MQTT-3.14.4-3] [MQTT5 3.14.4-3] Every other reason leaves the will in force.
        if disconnect.reason == Reason::Success {
            self.withdraw_will(key, now);
        }
        Cause::ClientDisconnect(disconnect.reason)
    }

    /// Ends the connection of `key` for `cause`; the session lives on if it is meant to.
    pub(super) fn end(&mut self, key: SessionKey, cause: Cause, now: Now) {
        if !self.end_connection(key, cause, None, now) {
            return;
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        let (expiry_s, has_will) = (session.expiry_s, session.will.is_some());
        let delay_s = session.will.as_ref().map_or(0, |will| will.delay_s);
        if expiry_s == 0 {
            self.end_session(key, Ended::Expired, now);
            return;
        }
        keep_session(&mut self.turn, session, Some(now));
        if has_will && delay_s > 0 {
            keep_will(&mut self.turn, session, Some(now.plus_s(delay_s)));
        }
        if expiry_s != u32::MAX {
            self.wheel.arm(key, &mut session.due, Timer::SessionExpiry, now.plus_s(expiry_s));
        }
        if has_will && delay_s > 0 {
            self.wheel.arm(key, &mut session.due, Timer::WillDelay, now.plus_s(delay_s));
        } else if has_will {
            self.publish_will(key, now);
        }
        self.place_orphans(now);
    }

    /// Parts the connection from its session, to which `taken_by` comes if it is a take-over. False if there was none.
    pub(super) fn end_connection(
        &mut self,
        key: SessionKey,
        cause: Cause,
        taken_by: Option<Origin>,
        now: Now,
    ) -> bool {
        self.report_drops(key, now);
        let Some(session) = self.sessions.get_mut(key) else { return false };
        let Some(mut connection) = session.connection.take() else { return false };
        // [MQTT-3.14.4-1] 3.x knows no DISCONNECT from a server.
        if connection.version.is_v5()
            && let Some(reason) = cause.reason()
        {
            let mut text = PropertiesBuf::new();
            text.push(Property::ReasonString(&cause.to_string()));
            let properties = text.as_properties();
            // [MQTT5 3.14.2-3]
            if !connection.put(&mut self.turn, key, &Packet::Disconnect(Disconnect { reason, properties })) {
                let properties = Properties::EMPTY;
                connection.put(&mut self.turn, key, &Packet::Disconnect(Disconnect { reason, properties }));
            }
        }
        session.sender.disconnected();
        session.left_at = now;
        let what = What::Disconnected(Closed::new(&cause, taken_by));
        self.turn.recorder.record(&mut session.diary.log, &session.client_id, what, now);
        self.wheel.disarm(key, &mut session.due, Timer::KeepAlive);
        let client_id = Arc::clone(&session.client_id);
        if session.shared > 0 {
            self.set_online(key, false);
            if let Some(session) = self.sessions.get_mut(key)
                && session.is_persistent()
            {
                session.orphan_queue(&mut self.turn);
            }
        }
        let number = connection.number;
        if connection.is_corked {
            // It was never let in: what it would have been told is not safe.
            connection.out = OutBuffer::default();
        }
        self.turn.closes.push(Close { connection: number, out: connection.out, cause: cause.clone() });
        self.turn.events.push(Event::Disconnected { client_id, connection: number, cause });
        self.turn.stats.disconnected.add(1);
        self.turn.stats.connections.sub(1);
        self.connections -= 1;
        true
    }

    /// Ends the session `key` and lets go of its client id: if it lasted, when its end is safe. Until then whoever
    /// has that id waits for it here, lest the session be back after a crash. [MQTT5 4.1.0-2] [MQTT-3.1.2-6]
    pub(super) fn end_session(&mut self, key: SessionKey, why: Ended, now: Now) {
        let had_lasted = self.sessions.get(key).is_some_and(|session| session.lasting.is_some());
        let Some(client_id) = self.discard_session(key, why, now) else { return };
        if had_lasted {
            self.turn.durable.promise(Promise { key, connection: 0, then: Then::LetGo(client_id) });
        } else {
            self.shared.registry.release(&client_id, key);
        }
    }

    /// Ends the session `key`, but keeps its client id for the one that follows at once: in between,
    /// another worker must find it taken.
    pub(super) fn discard_session(&mut self, key: SessionKey, why: Ended, now: Now) -> Option<Arc<str>> {
        self.report_drops(key, now);
        self.publish_will(key, now);
        let mut session = self.sessions.remove(key)?;
        let open = session.queue.len() + session.sender.open();
        for text in session.subscriptions.keys() {
            if let Ok(filter) = TopicFilter::parse(text) {
                self.shared.router.unsubscribe(filter, key);
            }
        }
        let others = self.turn.orphans.len();
        session.orphan_all(&mut self.turn);
        if session.pass.as_ref().is_some_and(|pass| pass.permissions.is_some()) {
            self.shared.readers.set(key, None);
        }
        // What came by shared subscriptions is for other members.
        let lost = open.saturating_sub(self.turn.orphans.len() - others);
        self.forget_records(&session);
        self.wheel.disarm_all(key, &mut session.due);
        let stats = &self.turn.stats;
        stats.sessions.sub(1);
        stats.sessions_terminated.add(1);
        match why {
            Ended::Expired if session.is_persistent() => stats.sessions_expired.add(1),
            Ended::Expired => {}
            Ended::CleanStart => stats.sessions_discarded.add(1),
        }
        let client_id = Arc::clone(&session.client_id);
        let mut log = std::mem::take(&mut session.diary.log);
        if session.is_persistent() {
            let what = What::SessionEnded { why, lost: lost as u32 };
            self.turn.recorder.record(&mut log, &client_id, what, now);
            self.turn.events.push(Event::SessionEnded { client_id: Arc::clone(&client_id), why });
        }
        if self.turn.recorder.is_on {
            self.shared.gone().put(&client_id, log, now);
        }
        self.place_orphans(now);
        Some(session.client_id)
    }

    /// Publishes the will of session `key`, if it has one, and forgets it. [MQTT-3.1.2-10]
    pub(super) fn publish_will(&mut self, key: SessionKey, now: Now) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        self.wheel.disarm(key, &mut session.due, Timer::WillDelay);
        let Some(will) = session.will.take() else { return };
        let publisher = session.publisher;
        if !self.check_access(key, will.access(), &will.topic, now) {
            self.turn.durable.forget_will(&will);
            return;
        }
        self.publish_stored_will(&will, Some(key), publisher, now);
        if self.turn.recorder.is_on {
            let receivers = self.receivers(&will.topic);
            let topic = (&*will.topic).into();
            self.record(key, What::WillPublished { topic, receivers }, now);
        }
    }

    /// Publishes a will, be its session there or not.
    pub(super) fn publish_stored_will(
        &mut self,
        will: &StoredWill,
        from: Option<SessionKey>,
        publisher: Publisher,
        now: Now,
    ) {
        // Together with the record of its message.
        self.turn.durable.forget_will(will);
        let parts = Parts {
            topic: &will.topic,
            properties: will.properties(),
            payload: &will.payload,
            qos: will.qos,
            retain: will.retain, // [MQTT-3.1.2-16] [MQTT-3.1.2-17]
            publisher: Some(publisher),
            received_at: now,
            expires_at: will.expiry_s.map(|s| now.plus_s(s)),
            kept_until: None,
            record: None,
        };
        self.publish(from, parts, Source::Bytes(&will.payload), Answer::None, now);
        self.turn.durable.flush_much();
    }

    /// The will of session `key` is not to be published.
    pub(super) fn withdraw_will(&mut self, key: SessionKey, now: Now) {
        if let Some(will) = self.sessions.get_mut(key).and_then(|session| session.will.take()) {
            self.record(key, What::WillWithdrawn, now);
            self.turn.durable.forget_will(&will);
        }
    }

    /// Lets go of what an ended session had in the store, but for its messages.
    fn forget_records(&mut self, session: &Session) {
        let Some(lasting) = session.lasting.as_deref() else { return };
        let batch = self.turn.durable.batch();
        for record in session.subscriptions.values().flatten().chain(lasting.received.values()) {
            batch.release(*record, 0);
        }
        for (record, reference) in lasting.released.values() {
            batch.release(*record, *reference);
        }
        session.feeds.records().for_each(|feed| batch.release(feed, 0));
        batch.release(lasting.record, 0);
        self.shared.lasting.remove(session.key());
    }

    /// Publishes all wills as if every connection were lost now, before the broker stops.
    pub fn publish_wills_for_shutdown(&mut self, now: Now) {
        // [MQTT5 3.1.2-8] No delay outlasts a session that ends with its connection.
        let is_due = |session: &&Session| {
            session.will.as_ref().is_some_and(|will| will.delay_s == 0 || !session.is_persistent())
        };
        let keys: Vec<_> = self.sessions.iter().filter(is_due).map(Session::key).collect();
        for key in keys {
            self.publish_will(key, now);
        }
    }

    /// How many sessions a message on `topic` is due to.
    fn receivers(&mut self, topic: &str) -> u32 {
        let routes = &self.routes.route(&self.shared, topic).routes;
        let plain = routes.plain.chunk_by(|a, b| a.session == b.session).count();
        (plain + routes.groups.len()) as u32
    }

    /// Tells the groups that a member comes or goes.
    pub(super) fn set_online(&mut self, key: SessionKey, is_online: bool) {
        let Some(session) = self.sessions.get(key) else { return };
        for text in session.subscriptions.keys() {
            if let Ok(filter) = TopicFilter::parse(text)
                && filter.share().is_some()
            {
                self.shared.router.set_online(filter, key, is_online);
            }
        }
    }
}

/// Puts the present state of a session that lasts: left since `since`, or connected.
pub(crate) fn keep_session(turn: &mut Turn, session: &Session, since: Option<Now>) {
    let Some(lasting) = session.lasting.as_deref() else { return };
    let Session { version, expiry_s, .. } = *session;
    let user_name = session.user_name();
    let record = SessionRecord { client_id: &session.client_id, user_name, version, expiry_s, since };
    turn.durable.batch().put(lasting.record, 1, |out| record::write_session(out, &record));
}

/// Puts the will of a session: due at `due_at`, or in force while its client is connected.
pub(crate) fn keep_will(turn: &mut Turn, session: &mut Session, due_at: Option<Now>) {
    let user_name = session.pass.as_ref().and_then(|pass| pass.identity.user_name.as_deref());
    let Some(will) = session.will.as_deref_mut().filter(|_| turn.durable.is_on()) else { return };
    let owner = session.lasting.as_deref().map(|lasting| lasting.record);
    if owner.is_none() && !turn.durable.has_room(will.size()) {
        return;
    }
    let id = *will.record.get_or_insert_with(|| turn.durable.next_id());
    let record = WillRecord { user_name, ..will.to_record(owner, &session.client_id, due_at) };
    turn.durable.batch().put(id, 1, |out| record::write_will(out, &record));
}
