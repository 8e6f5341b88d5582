//! The broker as one thread sees it: the sessions it owns, and the corridor that a packet takes.
//!
//! A driver feeds frames, mail of other workers and time, and carries out what has gathered after each
//! turn: bytes to write, connections to close, mail to hand over, events to log.

mod access;
mod acknowledge;
mod authenticate;
mod connect;
mod end;
mod mail;
mod operator;
mod pressure;
mod publish;
mod subscribe;
mod system;

use std::num::NonZeroU32;
use std::sync::Arc;

use siskin_proto::{
    DecodeError, Frame, Packet, PacketKind, Reason, Subscribe, Unsubscribe, decode, decode_publish,
};

pub use connect::{Caller, Connected, refuse_first};
pub(crate) use end::{keep_session, keep_will};
pub use mail::Mail;
pub use operator::{ClientSubscription, Refusal};
pub use publish::Published;
pub(crate) use publish::is_reserved;

use crate::cause::{Cause, Violation};
use crate::durable::Durable;
use crate::event::Event;
use crate::hash::{Hasher, hasher};
use crate::limits::Limits;
use crate::message::Publisher;
use crate::mount_point::MountPoint;
use crate::out_buffer::OutBuffer;
use crate::recorder::{Entry, Origin, Recent, What};
use crate::route_cache::RouteCache;
use crate::session::{Connection, Session, SessionKey, Sessions, StoredWill};
use crate::shared::Shared;
use crate::time::Now;
use crate::timer::{Timer, Wheel};
use crate::trace::{Traced, Watch};
use crate::turn::Turn;
pub use crate::turn::{AuthStep, Close};
use system::System;

/// The connection has ended; its [`Close`] waits in [`Worker::take_closes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

/// One worker: everything of the sessions it owns.
#[derive(Debug)]
pub struct Worker {
    index: u16,
    pub(crate) shared: Arc<Shared>,
    pub(crate) hasher: Hasher,
    pub(crate) sessions: Sessions,
    pub(crate) turn: Turn,
    routes: RouteCache,
    pub(crate) wheel: Wheel,
    mail: Vec<Mail>,
    /// Wills that outlived their sessions and the process, to be published at the first tick.
    pub(crate) wills: Vec<(StoredWill, Publisher)>,
    /// The place of the session that is to learn of new rules next, while some have not.
    renewing: Option<usize>,
    /// Whether the frame at hand is one more than a quota allows.
    is_over_quota: bool,
    connections: usize,
    /// Of the connection that was accepted last.
    serial: u64,
    /// The work of the whole broker that happens to be done by the first worker.
    system: Option<System>,
}

impl Worker {
    /// The worker `index` of the broker that `shared` makes up. `now` is when it starts.
    pub fn new(index: u16, shared: Arc<Shared>, now: Now) -> Self {
        let stats = Arc::clone(shared.stats(index));
        let limits = shared.limits();
        Self {
            index,
            hasher: hasher(shared.seed),
            sessions: Sessions::new(index),
            turn: Turn::new((*limits).clone(), stats, Durable::new(index, shared.records.clone())),
            routes: RouteCache::new(shared.seed),
            wheel: Wheel::default(),
            mail: (0..shared.workers()).map(|_| Mail::default()).collect(),
            wills: Vec::new(),
            renewing: None,
            is_over_quota: false,
            connections: 0,
            serial: 0,
            system: (index == 0).then(|| System::new(&limits, now)),
            shared,
        }
    }

    /// Goes by the limits that all workers share as they are now. What a connection agreed on when it began stays.
    pub fn renew_limits(&mut self, now: Now) {
        let limits = self.shared.limits();
        if let Some(system) = &mut self.system
            && self.turn.limits.sys_interval_s != limits.sys_interval_s
        {
            system.set_interval(limits.sys_interval_s, now);
        }
        self.turn.recorder.is_on = limits.recorder_enabled;
        self.turn.limits = self.turn.pressure.tighten((*limits).clone());
    }

    /// A frame of the connection of session `key`. After [`Ended`] nothing more of it is read.
    pub fn handle(&mut self, key: SessionKey, frame: Frame<'_>, now: Now) -> Result<(), Ended> {
        self.turn.tracer.begin_turn(now);
        let Some(session) = self.sessions.get_mut(key) else { return Err(Ended) };
        let Some(connection) = session.connection.as_deref_mut() else { return Err(Ended) };
        connection.received_at = now;
        connection.bytes_received += frame.len as u64;
        let version = connection.version;
        let outcome = if frame.first >> 4 == PacketKind::Publish as u8 {
            connection.messages_received += 1;
            decode_publish(frame, version).map_err(Cause::Malformed).and_then(|publish| {
                self.count_received(PacketKind::Publish, frame);
                self.handle_publish(key, &publish, frame.body, now)
            })
        } else {
            decode(frame, version).map_err(|error| unreadable(frame, error)).and_then(|packet| {
                self.count_received(packet.kind(), frame);
                self.dispatch(key, &packet, frame, now)
            })
        };
        match outcome {
            Ok(()) => {
                // What may no longer be sent to one member of a group is for another.
                self.place_orphans(now);
                self.turn.durable.flush_much();
            }
            Err(cause) => {
                self.end(key, cause, now);
                return Err(Ended);
            }
        }
        self.check_reader(key, now)
    }

    /// A frame of a client that has used up a quota: what it publishes is not taken over, and no subscription is
    /// granted.
    pub fn handle_over_quota(&mut self, key: SessionKey, frame: Frame<'_>, now: Now) -> Result<(), Ended> {
        self.is_over_quota = true;
        let outcome = self.handle(key, frame, now);
        self.is_over_quota = false;
        outcome
    }

    /// The client of session `key` is not read before `until`: it is not silent of its own accord.
    pub fn excuse(&mut self, key: SessionKey, until: Now) {
        if let Some(connection) = self.connection(key) {
            connection.received_at = connection.received_at.max(until);
        }
    }

    fn count_received(&self, kind: PacketKind, frame: Frame<'_>) {
        self.turn.stats.packets_received[kind as usize].add(1);
        self.turn.stats.bytes_received.add(frame.len as u64);
    }

    fn dispatch(
        &mut self,
        key: SessionKey,
        packet: &Packet<'_>,
        frame: Frame<'_>,
        now: Now,
    ) -> Result<(), Cause> {
        match packet {
            Packet::Publish(publish) => self.handle_publish(key, publish, frame.body, now),
            Packet::PubAck(ack) => self.handle_puback(key, ack, now),
            Packet::PubRec(ack) => self.handle_pubrec(key, ack, now),
            Packet::PubRel(ack) => self.handle_pubrel(key, ack),
            Packet::PubComp(ack) => self.handle_pubcomp(key, ack, now),
            Packet::Subscribe(subscribe) => match self.mount_point(key) {
                None => self.handle_subscribe(key, subscribe, now),
                Some(mount) => {
                    let handle = |whole: &Subscribe<'_>| self.handle_subscribe(key, whole, now);
                    mount.subscribe(subscribe, handle).map_err(Cause::Violation)?
                }
            },
            Packet::Unsubscribe(unsubscribe) => match self.mount_point(key) {
                None => self.handle_unsubscribe(key, unsubscribe, now),
                Some(mount) => {
                    let handle = |whole: &Unsubscribe<'_>| self.handle_unsubscribe(key, whole, now);
                    mount.unsubscribe(unsubscribe, handle).map_err(Cause::Violation)?
                }
            },
            // [MQTT-3.12.4-1]
            Packet::PingReq(_) => self.answer(key, &Packet::PingResp(siskin_proto::PingResp)),
            Packet::Disconnect(disconnect) => Err(self.handle_disconnect(key, disconnect, now)),
            // [MQTT-3.1.0-2]
            Packet::Connect(_) => Err(Cause::Violation(Violation::SecondConnect)),
            Packet::Auth(auth) => self.handle_auth(key, auth),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp(_) => {
                Err(Cause::Violation(Violation::ServerPacket(packet.kind().name())))
            }
        }
    }

    /// The bytes that came are no frame: the connection ends.
    pub fn reject(&mut self, key: SessionKey, error: DecodeError, now: Now) {
        self.end(key, Cause::Malformed(error), now);
    }

    /// A transport from `origin` was not let in by its driver, which knows of the client id that it gave, if any.
    pub fn turned_away(&mut self, origin: Origin, client_id: Option<&str>, why: &str, now: Now) {
        if !self.turn.recorder.is_on {
            return;
        }
        let entry = Entry::new(now, What::Refused { origin, why: why.into() });
        let client_id = client_id.unwrap_or_default();
        self.turn.recorder.note(client_id, &entry);
        if !client_id.is_empty() {
            self.shared.record_refusal(&client_id.into(), &entry);
        }
    }

    /// The transport `connection` of session `key` ended by itself.
    pub fn lost(&mut self, key: SessionKey, connection: u32, cause: Cause, now: Now) {
        let is_present = self
            .sessions
            .get(key)
            .and_then(|session| session.connection.as_deref())
            .is_some_and(|present| present.number == connection);
        if is_present {
            self.end(key, cause, now);
        }
    }

    /// Ends the connection of session `key`, if it has one, for a reason of the driver's.
    pub fn disconnect(&mut self, key: SessionKey, cause: Cause, now: Now) {
        self.end(key, cause, now);
    }

    /// Ends every connection because the broker stops. [MQTT5 3.14.2-1] 0x8B
    pub fn disconnect_all(&mut self, now: Now) {
        let keys: Vec<_> = self.sessions.iter().map(Session::key).collect();
        for key in keys {
            self.end(key, Cause::Shutdown, now);
        }
    }

    /// The sessions with bytes to write and their connections, each once since last asked.
    pub fn take_dirty(&mut self, into: &mut Vec<(SessionKey, u32)>) {
        for (key, connection) in self.turn.dirty.drain(..) {
            let Some(session) = self.sessions.get_mut(key) else { continue };
            let Some(present) = session.connection.as_deref_mut() else { continue };
            if present.number == connection && present.is_dirty {
                present.is_dirty = false;
                into.push((key, connection));
            }
        }
    }

    /// What waits to be written to the connection of session `key`; nothing while even its CONNACK must wait.
    pub fn out(&mut self, key: SessionKey) -> Option<&mut OutBuffer> {
        let connection = self.connection(key).filter(|connection| !connection.is_corked)?;
        Some(&mut connection.out)
    }

    /// The connection of session `key` took all its bytes: its buffer goes back, and what waited for
    /// room goes on, which may make it dirty again.
    pub fn drained(&mut self, key: SessionKey, now: Now) {
        self.turn.tracer.begin_turn(now);
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(connection) = session.connection.as_deref_mut() else { return };
        if connection.out.is_empty() {
            let storage = connection.out.take_storage();
            self.turn.pool.keep(storage);
        }
        session.pump(&mut self.turn, &self.shared.retained, now);
        self.place_orphans(now);
    }

    /// The connections that have ended since last asked.
    pub fn take_closes(&mut self, into: &mut Vec<Close>) {
        into.append(&mut self.turn.closes);
    }

    /// What has gathered for `worker`, if anything. What it is about is in the store's hands before.
    pub fn take_mail(&mut self, worker: u16) -> Option<Mail> {
        self.turn.durable.flush();
        let mail = self.mail.get_mut(usize::from(worker))?;
        (!mail.is_empty()).then(|| std::mem::take(mail))
    }

    /// What happened since last asked.
    pub fn take_events(&mut self, into: &mut Vec<Event>) {
        into.append(&mut self.turn.events);
    }

    /// When [`Self::tick`] is due next.
    pub fn next_deadline(&self) -> Option<Now> {
        let system = self.system.as_ref().and_then(System::next_deadline);
        let report = self.turn.reports.front().map(|(at, _)| *at);
        let wills = (!self.wills.is_empty() || self.renewing.is_some()).then(Now::default);
        [self.wheel.next(), system, report, wills].into_iter().flatten().min()
    }

    /// Does what has come due.
    pub fn tick(&mut self, now: Now) {
        self.turn.tracer.begin_turn(now);
        for (will, publisher) in std::mem::take(&mut self.wills) {
            self.publish_stored_will(&will, None, publisher, now);
        }
        while let Some((key, timer)) = self.wheel.expired(now) {
            self.expire(key, timer, now);
        }
        while let Some(&(at, key)) = self.turn.reports.front()
            && at <= now
        {
            self.turn.reports.pop_front();
            self.report_drops(key, now);
        }
        self.renew_some(now);
        self.tick_system(now);
    }

    /// Reports what happened to session `key` and nobody was told of yet.
    pub(super) fn report_drops(&mut self, key: SessionKey, now: Now) {
        if let Some(session) = self.sessions.get_mut(key) {
            let Turn { recorder, events, .. } = &mut self.turn;
            session.diary.report(&session.client_id, recorder, events, now);
        }
    }

    fn expire(&mut self, key: SessionKey, timer: Timer, now: Now) {
        let Some(session) = self.sessions.get_mut(key) else {
            // A session takes its timers with it; should one stay, it must not stay for ever.
            self.wheel.drop_first();
            return;
        };
        self.wheel.disarm(key, &mut session.due, timer);
        match timer {
            Timer::KeepAlive => {
                let Some(connection) = session.connection.as_deref() else { return };
                let allowed_ms = silence_ms_max(connection.keep_alive_s, &self.turn.limits);
                let until = connection.received_at.plus_ms(allowed_ms);
                // Who is not read for what is promised to it may well have sent something.
                let until = if self.is_ahead(key) { now.plus_ms(allowed_ms) } else { until };
                let Some(session) = self.sessions.get_mut(key) else { return };
                if until > now {
                    self.wheel.arm(key, &mut session.due, Timer::KeepAlive, until);
                } else {
                    // [MQTT-3.1.2-24] [MQTT5 3.1.2-22]
                    self.end(key, Cause::KeepAlive { allowed_ms }, now);
                }
            }
            Timer::WillDelay => self.publish_will(key, now),
            Timer::SessionExpiry => self.end_session(key, crate::event::Ended::Expired, now),
        }
    }

    /// Gathers what happens to all clients from now on, for [`Self::take_followed`], or does not any more.
    pub fn follow(&mut self, is_followed: bool) {
        let live = &mut self.turn.recorder.live;
        *live = is_followed.then(|| live.take().unwrap_or_default());
    }

    /// Up to `most` things that happened since last asked, oldest first, and how many more there were for which there
    /// was no room.
    pub fn take_followed(&mut self, most: usize) -> (Vec<Recent>, u64) {
        let Some(live) = &mut self.turn.recorder.live else { return (Vec::new(), 0) };
        let (mut events, lost) = live.take(most);
        events.iter_mut().for_each(|event| self.locate(event));
        (events, lost)
    }

    /// Follows the messages that `watch` matches, from now on.
    pub fn arm_trace(&mut self, watch: Watch) {
        self.turn.tracer.arm(watch, self.index);
    }

    /// What happened since last asked to the messages that the watch `number` matched.
    pub fn take_trace(&mut self, number: NonZeroU32) -> Vec<Traced> {
        self.turn.tracer.take(number)
    }

    /// Follows the messages of the watch `number` no more.
    pub fn disarm_trace(&mut self, number: NonZeroU32) {
        self.turn.tracer.disarm(number);
    }

    /// How many connections are open on this worker.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// How many sessions this worker owns.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// What all workers share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn durable(&mut self) -> &mut Durable {
        &mut self.turn.durable
    }

    /// Writes `what` into the story of session `key`.
    pub(super) fn record(&mut self, key: SessionKey, what: What<'_>, now: Now) {
        if let Some(session) = self.sessions.get_mut(key) {
            self.turn.recorder.record(&mut session.diary.log, &session.client_id, what, now);
        }
    }

    /// What stands before the topics of the connection of session `key`.
    fn mount_point(&self, key: SessionKey) -> Option<MountPoint> {
        self.sessions.get(key)?.connection.as_deref()?.mount_point.clone()
    }

    fn connection(&mut self, key: SessionKey) -> Option<&mut Connection> {
        self.sessions.get_mut(key)?.connection.as_deref_mut()
    }

    fn answer(&mut self, key: SessionKey, packet: &Packet<'_>) -> Result<(), Cause> {
        if let Some(connection) = self.sessions.get_mut(key).and_then(|s| s.connection.as_deref_mut()) {
            // [MQTT5 3.1.2-24] Who cannot be answered would wait for ever.
            if !connection.put(&mut self.turn, key, packet) {
                return Err(Cause::Refused(Reason::PacketTooLarge));
            }
        }
        Ok(())
    }

    /// A client that sends but never reads would make us hold its answers for ever.
    fn check_reader(&mut self, key: SessionKey, now: Now) -> Result<(), Ended> {
        let Some(connection) = self.connection(key) else { return Err(Ended) };
        let held = connection.out.len_copied();
        if held <= ANSWERS_BYTES_MAX + self.turn.limits.out_buffer_bytes_max {
            return Ok(());
        }
        self.end(key, Cause::SlowReader, now);
        Err(Ended)
    }
}

/// Why a connection ends of which `frame` is no packet.
#[cold]
fn unreadable(frame: Frame<'_>, error: DecodeError) -> Cause {
    // [MQTT5 3.14.2-1] Some faults of a CONNECT have no code of DISCONNECT; a second is fault enough.
    match frame.first >> 4 == PacketKind::Connect as u8 {
        true => Cause::Violation(Violation::SecondConnect),
        false => Cause::Malformed(error),
    }
}

/// How long a client with this keep alive may be silent; 0 for ever.
pub(super) fn silence_ms_max(keep_alive_s: u16, limits: &Limits) -> u64 {
    u64::from(keep_alive_s) * u64::from(limits.keep_alive_percent) * 10
}

/// Bytes of answers held for a client that does not read them, beyond its bound for messages.
const ANSWERS_BYTES_MAX: usize = 1024 * 1024;
