//! What a client answers to what it was sent.

use std::sync::Arc;

use siskin_proto::delivery::Acked;
use siskin_proto::{Packet, PacketKind, Properties, PropertiesBuf, PubAck, PubComp, PubRec, PubRel, Reason};

use super::Worker;
use crate::cause::Cause;
use crate::durable::{Promise, Then};
use crate::event::Dropped;
use crate::message::{Message, Parts};
use crate::recorder::{Entry, What};
use crate::session::{Delivery, Session, SessionKey};
use crate::store::record::{Progress, Record};
use crate::store::{Fetch, Fetched, Health};
use crate::time::Now;
use crate::trace::Station;
use crate::turn::Turn;

impl Worker {
    pub(super) fn handle_puback(&mut self, key: SessionKey, ack: &PubAck<'_>, now: Now) -> Result<(), Cause> {
        let Some(session) = self.sessions.get_mut(key) else { return Ok(()) };
        // An acknowledgement of nothing may be a late one: it does no harm.
        let acked = session.sender.puback(ack.packet_id);
        note(session, &mut self.turn, &acked, now);
        settle(session, &mut self.turn, &acked);
        session.pump(&mut self.turn, &self.shared.retained, now);
        Ok(())
    }

    pub(super) fn handle_pubrec(&mut self, key: SessionKey, ack: &PubRec<'_>, now: Now) -> Result<(), Cause> {
        let Some(session) = self.sessions.get_mut(key) else { return Ok(()) };
        let acked = session.sender.pubrec(ack.packet_id, ack.reason.is_error());
        note(session, &mut self.turn, &acked, now);
        // After a crash the client must not be offered again what it has taken over.
        if let Acked::Release(delivery) = &acked
            && let (Some(lasting), Some((record, reference))) =
                (session.lasting.as_deref_mut(), delivery.claim())
        {
            let note = Progress::Released(ack.packet_id).note();
            self.turn.durable.batch().note(record, reference, note);
            lasting.released.insert(ack.packet_id, (record, reference));
            self.turn.count_released(delivery);
        } else {
            settle(session, &mut self.turn, &acked);
        }
        let reason = match acked {
            Acked::Finished(_) => {
                session.pump(&mut self.turn, &self.shared.retained, now);
                return Ok(());
            }
            // [MQTT5 4.3.3-4] [MQTT-4.3.3-1]
            Acked::Release(_) | Acked::ReleaseAgain => Reason::Success,
            Acked::Unknown if ack.reason.is_error() => return Ok(()),
            Acked::Unknown => Reason::PacketIdentifierNotFound,
        };
        let packet_id = ack.packet_id;
        let is_kept = session.lasting.as_deref().is_some_and(|l| l.released.contains_key(&packet_id));
        self.say(key, Then::PubRel(packet_id, reason), is_kept)
    }

    pub(super) fn handle_pubcomp(
        &mut self,
        key: SessionKey,
        ack: &PubComp<'_>,
        now: Now,
    ) -> Result<(), Cause> {
        let Some(session) = self.sessions.get_mut(key) else { return Ok(()) };
        let acked = session.sender.pubcomp(ack.packet_id);
        settle(session, &mut self.turn, &acked);
        let lasting = session.lasting.as_deref_mut();
        if let Acked::Finished(_) = acked
            && let Some((record, reference)) = lasting.and_then(|l| l.released.remove(&ack.packet_id))
        {
            self.turn.durable.batch().release(record, reference);
        }
        session.pump(&mut self.turn, &self.shared.retained, now);
        Ok(())
    }

    /// The publisher lets go of a QoS 2 id. [MQTT-4.3.3-2] [MQTT5 4.3.3-11]
    pub(super) fn handle_pubrel(&mut self, key: SessionKey, release: &PubRel<'_>) -> Result<(), Cause> {
        let Some(session) = self.sessions.get_mut(key) else { return Ok(()) };
        let packet_id = release.packet_id;
        let reason = if session.receiver.release(packet_id) {
            Reason::Success
        } else {
            Reason::PacketIdentifierNotFound
        };
        // Forgotten on disk too, before the client gives the id to another message.
        let lasting = session.lasting.as_deref_mut();
        let record = lasting.and_then(|lasting| lasting.received.remove(&packet_id));
        if let Some(record) = record {
            self.turn.durable.batch().release(record, 0);
        }
        self.say(key, Then::PubComp(packet_id, reason), record.is_some())
    }

    /// Says `then` to the client of session `key`: now, or if it `must_wait`, when all that was put into batches so
    /// far is safe; in any case behind what waits already.
    pub(super) fn say(&mut self, key: SessionKey, then: Then, must_wait: bool) -> Result<(), Cause> {
        let connection = self.sessions.get(key).and_then(|session| session.connection.as_deref());
        let Some(connection) = connection else { return Ok(()) };
        if self.turn.durable.is_on() && (must_wait || connection.promises > 0) {
            return self.promise(key, then);
        }
        self.keep(key, &then)
    }

    /// Has `then` be said to the client of session `key` when all that was put into batches so far is safe.
    pub(super) fn promise(&mut self, key: SessionKey, then: Then) -> Result<(), Cause> {
        let connection = self.sessions.get_mut(key).and_then(|session| session.connection.as_deref_mut());
        if let Some(connection) = connection {
            connection.promises += 1;
            connection.subacks_promised += u32::from(matches!(then, Then::Answer(PacketKind::SubAck, _)));
            let connection = connection.serial;
            self.turn.durable.promise(Promise { key, connection, then });
        }
        Ok(())
    }

    /// Hands the store what has gathered, keeps the promises that may be kept, and takes in what was fetched. To be
    /// called in each turn before mail is taken, and when the store has woken this worker.
    pub fn commit(&mut self, now: Now) {
        if !self.turn.durable.is_on() {
            return;
        }
        self.turn.tracer.begin_turn(now);
        self.turn.durable.flush();
        self.fetch();
        let mut fetched = Vec::new();
        self.turn.durable.take_fetched(&mut fetched);
        for fetched in fetched {
            self.take_fetched(fetched, now);
        }
        self.turn.durable.flush();
        self.turn.durable.mark_waiting(now);
        while let Some((promises, waited_ms)) = self.turn.durable.take_kept(now) {
            let is_publish = |promise: &&Promise| matches!(promise.then, Then::PubAck(..) | Then::PubRec(..));
            let acknowledgements = promises.iter().filter(is_publish).count();
            self.turn.stats.acknowledgement_waits.add(waited_ms, acknowledgements as u64);
            if waited_ms >= SAFE_LATE_MS {
                self.record_late(&promises, waited_ms, now);
            }
            for Promise { key, connection, then } in promises {
                self.keep_promise(key, connection, &then, now);
            }
            // A promise that was kept may have led to others, and some of these may wait for nothing new.
            self.turn.durable.flush();
        }
        self.place_orphans(now);
        self.fetch();
    }

    /// Asks for what sessions want from the store.
    fn fetch(&mut self) {
        while let Some(key) = self.turn.durable.take_wanting() {
            let Some(session) = self.sessions.get_mut(key) else { continue };
            let ids = session.queue.missing(&self.turn.limits);
            if !ids.is_empty() {
                self.turn.durable.fetch(Fetch { session: key, ids });
            } else if let Some(lasting) = session.lasting.as_deref_mut() {
                lasting.is_fetching = false;
            }
        }
    }

    /// Whether so much is promised to the client of session `key` that it should not be read for now.
    pub fn is_ahead(&self, key: SessionKey) -> bool {
        let connection = self.sessions.get(key).and_then(|session| session.connection.as_deref());
        connection.is_some_and(|connection| {
            let most = match self.turn.durable.health() {
                Health::Behind => PROMISES_FEW,
                // Without a store that works nothing is promised anew.
                Health::Good | Health::Tight | Health::Full | Health::Failing => PROMISES_MAX,
            };
            connection.promises >= most
        })
    }

    /// Promises were kept so late that their clients will have noticed.
    fn record_late(&mut self, promises: &[Promise], ms_max: u64, now: Now) {
        for run in promises.chunk_by(|a, b| a.key == b.key) {
            let Some(session) = self.sessions.get_mut(run[0].key) else { continue };
            let what = What::SafeLate { ms_max };
            let entry = Entry { at: now, until: now, count: run.len() as u64, what };
            self.turn.recorder.record_many(&mut session.diary.log, &session.client_id, &entry);
        }
    }

    fn keep_promise(&mut self, key: SessionKey, serial: u64, then: &Then, now: Now) {
        if let Then::LetGo(client_id) = then {
            return self.shared.registry.release(client_id, key);
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(connection) = session.connection.as_deref_mut().filter(|c| c.serial == serial) else {
            return;
        };
        connection.promises -= 1;
        connection.subacks_promised -= u32::from(matches!(then, Then::Answer(PacketKind::SubAck, _)));
        connection.delivers_promised -= u32::from(matches!(then, Then::Deliver(_)));
        if let Err(cause) = self.keep(key, then) {
            self.end(key, cause, now);
            return;
        }
        let Some(session) = self.sessions.get_mut(key) else { return };
        match then {
            Then::Deliver(packet_id) => session.deliver(&mut self.turn, *packet_id, now),
            Then::Answer(PacketKind::SubAck, _) => session.pump(&mut self.turn, &self.shared.retained, now),
            _ => {}
        }
    }

    /// Says what `then` comes to, if it is something to say.
    fn keep(&mut self, key: SessionKey, then: &Then) -> Result<(), Cause> {
        let mut text = PropertiesBuf::new();
        let properties = match then {
            Then::PubAck(id, reason) | Then::PubRec(id, reason) => {
                self.turn.tracer.answered(key, *id, *reason);
                self.explain(key, *reason, &mut text)
            }
            _ => Properties::EMPTY,
        };
        let sessions = &mut self.sessions;
        let Some(connection) = sessions.get_mut(key).and_then(|session| session.connection.as_deref_mut())
        else {
            return Ok(());
        };
        let packet = match *then {
            Then::PubAck(packet_id, reason) => Packet::PubAck(PubAck { packet_id, reason, properties }),
            Then::PubRec(packet_id, reason) => Packet::PubRec(PubRec { packet_id, reason, properties }),
            Then::PubRel(packet_id, reason) => Packet::PubRel(PubRel { packet_id, reason, properties }),
            Then::PubComp(packet_id, reason) => Packet::PubComp(PubComp { packet_id, reason, properties }),
            Then::Answer(kind, ref bytes) => {
                connection.put_encoded(&mut self.turn, key, kind, bytes);
                return Ok(());
            }
            Then::Open => {
                connection.uncork(&mut self.turn, key);
                return Ok(());
            }
            Then::Deliver(_) | Then::Nothing | Then::LetGo(_) => return Ok(()),
        };
        if connection.put(&mut self.turn, key, &packet) {
            return Ok(());
        }
        // [MQTT5 3.4.2-2] [MQTT5 3.5.2-2] Without the text if it does not fit with it.
        let packet = match packet {
            Packet::PubAck(ack) => Packet::PubAck(PubAck { properties: Properties::EMPTY, ..ack }),
            Packet::PubRec(ack) => Packet::PubRec(PubRec { properties: Properties::EMPTY, ..ack }),
            other => other,
        };
        if connection.put(&mut self.turn, key, &packet) {
            return Ok(());
        }
        // [MQTT5 3.1.2-24] Who cannot be answered would wait for ever.
        Err(Cause::Refused(Reason::PacketTooLarge))
    }

    /// Bodies have come that a session had in the store alone.
    fn take_fetched(&mut self, fetched: Fetched, now: Now) {
        let Some(session) = self.sessions.get_mut(fetched.session) else { return };
        let Some(lasting) = session.lasting.as_deref_mut() else { return };
        lasting.is_fetching = false;
        for (record, body) in fetched.bodies {
            let message = body.as_deref().and_then(|body| match Record::decode(body) {
                Ok(Record::Message(message)) => Some(message),
                _ => None,
            });
            if let Some(message) = message {
                let parts =
                    Parts { record: Some(record), received_at: now, kept_until: None, ..message.parts };
                session.queue.restore(record, Message::new(parts, None));
            } else if let Some(delivery) = session.queue.take_unreadable(record) {
                self.turn.release(&delivery);
                let topic = "(a topic that cannot be read)";
                self.turn.dropped(&mut session.diary, &session.client_id, topic, Dropped::Unreadable, now);
            }
        }
        session.pump(&mut self.turn, &self.shared.retained, now);
    }
}

/// Takes note of an acknowledgement: of that of a message that is followed, and of one that comes long after its
/// message though the client was there all the time.
fn note(session: &mut Session, turn: &mut Turn, acked: &Acked<Delivery>, now: Now) {
    let (Acked::Finished(Some(delivery)) | Acked::Release(delivery)) = acked else { return };
    let (Some(message), Some(connection)) = (delivery.message(), session.connection.as_deref()) else {
        return;
    };
    turn.tracer.note(message.trace(), || Station::Acknowledged { client_id: Arc::clone(&session.client_id) });
    let arrived = message.received_at();
    let ms = now.ms_since(arrived);
    if ms < ACKNOWLEDGED_LATE_MS || arrived < connection.since || delivery.retain || !turn.recorder.is_on {
        return;
    }
    let Turn { recorder, events, reports, .. } = turn;
    reports.extend(session.diary.acknowledged_late(&session.client_id, ms, recorder, events, now));
}

fn settle(session: &Session, turn: &mut Turn, acked: &Acked<Delivery>) {
    debug_assert!(session.connection.is_some(), "only a connected client acknowledges");
    if let Acked::Finished(Some(delivery)) | Acked::Release(delivery) = acked {
        turn.release(delivery);
    }
    if matches!(acked, Acked::Finished(_)) {
        turn.stats.acknowledged.add(1);
    }
}

/// A promise that waits so long for the store is one that its client hears of late.
const SAFE_LATE_MS: u64 = 1_000;

/// A client that takes so long to acknowledge a message does so late.
const ACKNOWLEDGED_LATE_MS: u64 = 10_000;

/// A client with so many promises open is not read until some are kept.
const PROMISES_MAX: u32 = 1024;

/// The same while the store does not keep up.
const PROMISES_FEW: u32 = 1;
