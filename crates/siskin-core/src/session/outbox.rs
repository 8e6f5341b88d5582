//! Send, queue or drop: what becomes of a message for one session.

use std::sync::{Arc, RwLock};

use siskin_proto::delivery::{OutboundAlias, Resend};
use siskin_proto::{Packet, PacketId, PacketKind, Properties, PubRel, Qos, Reason};

use super::{Body, Connection, Delivery, Extra, Reference, Session};
use crate::access::Access;
use crate::durable::{Promise, Then};
use crate::event::Dropped;
use crate::explain::Waits;
use crate::frames::{self, Cover, Naming, Offered};
use crate::message::{Message, Parts};
use crate::pressure::Pressure;
use crate::retained::Retained;
use crate::store::record::Progress;
use crate::time::Now;
use crate::trace::{Station, TraceId};
use crate::turn::Turn;

/// What a session's matching subscriptions grant a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant<'a> {
    pub(crate) qos: Qos,
    pub(crate) retain_as_published: bool,
    /// Of all that match. [MQTT5 3.3.4-3]
    pub(crate) subscription_ids: &'a [u32],
    /// The shared subscription by which it came.
    pub(crate) shared: Option<&'a Arc<str>>,
    /// Which reference of the message's record was put for this session.
    pub(crate) reference: Option<Reference>,
}

impl Session {
    /// A routed message is due to this session. [MQTT-4.5.0-1]
    pub(crate) fn offer(&mut self, turn: &mut Turn, offered: &mut Offered<'_>, grant: Grant<'_>, now: Now) {
        // [MQTT-3.8.4-6] [MQTT5 3.8.4-8] The lower of published and granted.
        let qos = offered.parts.qos.min(grant.qos);
        // [MQTT5 3.3.1-12] [MQTT5 3.3.1-13]
        let retain = grant.retain_as_published && offered.parts.retain;
        // [MQTT5 4.6.0-5] Where QoS 0 is queued too, none may overtake those that wait.
        let may_wait = turn.limits.queue_qos0 && (self.connection.is_none() || !self.queue.is_empty());
        let mut reference = grant.reference;
        if qos == Qos::AtMostOnce
            && let (Some(record), Some(reference)) = (offered.parts.record, reference.take())
        {
            turn.durable.batch().release(record, reference.number());
        }
        if qos == Qos::AtMostOnce && !may_wait {
            self.offer_at_most_once(turn, offered, retain, grant.subscription_ids, now);
            return;
        }
        let extra = Extra::of(grant.subscription_ids, grant.shared);
        let ready = self.queue.is_empty()
            && self.may_send(turn)
            && self.connection.as_ref().is_some_and(|connection| !connection.is_full(turn));
        // What comes by a group may have to move to another member at any time.
        let may_leave = !ready && grant.shared.is_none() && self.queue.is_heavy(&turn.limits);
        let body = match (offered.parts.record, reference) {
            (Some(record), Some(_)) if may_leave => {
                let bytes = offered.parts.size().try_into().unwrap_or(u32::MAX);
                Body::Stored { record, bytes }
            }
            _ => Body::Kept(offered.keep().clone()),
        };
        let delivery = Delivery { body, qos, retain, extra, reference };
        if ready {
            self.send(turn, delivery, offered, now);
        } else {
            self.note_queued(turn, offered.trace);
            self.enqueue(turn, delivery, now);
        }
    }

    pub(super) fn offer_at_most_once(
        &mut self,
        turn: &mut Turn,
        offered: &mut Offered<'_>,
        retain: bool,
        subscription_ids: &[u32],
        now: Now,
    ) {
        let Some(connection) = self.connection.as_deref_mut() else {
            self.note(turn, offered.trace, |client_id| Station::Missed { client_id });
            return;
        };
        let version = connection.version;
        let cover =
            Cover { version, qos: Qos::AtMostOnce, packet_id: None, dup: false, retain, subscription_ids };
        // What waits has been acknowledged to its publisher: it has what room there is.
        let is_full = connection.is_full_for(offered.parts.payload.len(), turn)
            || !self.queue.is_empty() && connection.has_pumped(turn);
        let dropped = if is_full {
            Some(Dropped::SlowReader)
        } else {
            put_publish(connection, turn, self.diary.key, offered, &cover, now).err()
        };
        match dropped {
            Some(why) => {
                self.note(turn, offered.trace, |client_id| Station::Dropped { client_id, why });
                turn.dropped(&mut self.diary, &self.client_id, offered.parts.topic, why, now);
            }
            None => self.note_sent(turn, offered.trace, Qos::AtMostOnce, None, false),
        }
    }

    /// Notes a station at this session of a message that is followed.
    #[inline]
    fn note(&self, turn: &mut Turn, trace: Option<TraceId>, station: impl FnOnce(Arc<str>) -> Station) {
        turn.tracer.note(trace, || station(Arc::clone(&self.client_id)));
    }

    #[inline]
    fn note_sent(
        &self,
        turn: &mut Turn,
        trace: Option<TraceId>,
        qos: Qos,
        packet_id: Option<PacketId>,
        dup: bool,
    ) {
        self.note(turn, trace, |client_id| Station::Sent { client_id, qos, packet_id, dup });
    }

    #[inline]
    fn note_queued(&self, turn: &mut Turn, trace: Option<TraceId>) {
        if trace.is_some() {
            let (why, before) = (self.waits(turn).unwrap_or(Waits::Others), self.queue.len());
            self.note(turn, trace, |client_id| Station::Queued { client_id, why, before });
        }
    }

    pub(crate) fn enqueue(&mut self, turn: &mut Turn, delivery: Delivery, now: Now) {
        turn.count_stored(&delivery);
        if turn.pressure == Pressure::Critical && delivery.reference.is_none() {
            self.lose(turn, &delivery, Dropped::MemoryShort, now);
            return;
        }
        turn.stats.queue_depths.add(self.queue.len() as u64, 1);
        for lost in self.queue.push(delivery, &turn.limits) {
            self.lose(turn, &lost, Dropped::QueueFull, now);
        }
    }

    /// `lost`, which waited, will not be sent.
    fn lose(&mut self, turn: &mut Turn, lost: &Delivery, why: Dropped, now: Now) {
        turn.release(lost);
        let trace = lost.message().and_then(Message::trace);
        self.note(turn, trace, |client_id| Station::Dropped { client_id, why });
        let topic = lost.message().map_or(ON_DISK, |message| message.topic());
        turn.dropped(&mut self.diary, &self.client_id, topic, why, now);
    }

    /// Frees about `bytes` of what waits in memory for this session, and says how many it were; what lies in no store
    /// is dropped if it `may_go`.
    pub(crate) fn ease_queue(&mut self, turn: &mut Turn, bytes: u64, may_go: bool, now: Now) -> u64 {
        let (freed, gone) = self.queue.ease(bytes, may_go);
        for lost in gone {
            self.lose(turn, &lost, Dropped::MemoryShort, now);
        }
        freed
    }

    /// Whether the window has room. While memory is short it has less: what is in it can neither go to the store nor be dropped.
    pub(super) fn may_send(&self, turn: &Turn) -> bool {
        self.sender.is_ready()
            && (turn.pressure == Pressure::Calm || self.in_flight_bytes(IN_FLIGHT_SHORT) < IN_FLIGHT_SHORT)
    }

    /// Sends a message of QoS 1 or 2 for which there is room.
    pub(super) fn send(&mut self, turn: &mut Turn, delivery: Delivery, offered: &mut Offered<'_>, now: Now) {
        if delivery.qos == Qos::ExactlyOnce
            && delivery.reference.is_none()
            && let Some(lasting) = self.lasting.as_deref().filter(|_| turn.durable.is_on())
        {
            // What the broker says of itself is in no record until it has an id that must be known after a crash.
            let Delivery { qos, retain, ref extra, .. } = delivery;
            let message =
                turn.durable.keep_for(lasting.record, offered.keep(), qos, retain, extra.as_deref());
            let reference = Some(Reference::new(0));
            let delivery = Delivery { body: Body::Kept(message.clone()), reference, ..delivery };
            self.send_kept(turn, delivery, &mut Offered::kept(&message), now);
        } else {
            self.send_kept(turn, delivery, offered, now);
        }
    }

    fn send_kept(&mut self, turn: &mut Turn, delivery: Delivery, offered: &mut Offered<'_>, now: Now) {
        let (Some(connection), Some(id)) = (self.connection.as_deref_mut(), self.sender.next_id()) else {
            return;
        };
        let cover = Cover {
            version: connection.version,
            qos: delivery.qos,
            packet_id: Some(id),
            dup: false,
            retain: delivery.retain,
            subscription_ids: delivery.subscription_ids(),
        };
        let claim = delivery.claim();
        // A QoS 2 id must be known after a crash: under another the client would take the message for new. What
        // follows does not overtake it.
        let must_wait =
            claim.is_some() && delivery.qos == Qos::ExactlyOnce || connection.delivers_promised > 0;
        let put = match must_wait {
            true => check_size(connection, &offered.parts, &cover, now),
            false => put_publish(connection, turn, self.diary.key, offered, &cover, now),
        };
        match put {
            Ok(()) => {
                if let Some((record, reference)) = claim {
                    turn.durable.batch().note(record, reference, Progress::Sent(id).note());
                }
                if must_wait {
                    connection.promises += 1;
                    connection.delivers_promised += 1;
                    let (key, connection) = (self.diary.key, connection.serial);
                    turn.durable.promise(Promise { key, connection, then: Then::Deliver(id) });
                }
                turn.count_stored(&delivery);
                let qos = delivery.qos;
                let sent = self.sender.send(delivery, qos);
                debug_assert!(sent.is_ok(), "next_id() names an id only when the window has room");
                self.note_sent(turn, offered.trace, qos, Some(id), false);
            }
            // [MQTT5 3.1.2-25] As if it had been delivered: no id, no quota, no place.
            Err(why) => {
                turn.give_up(&delivery);
                self.note(turn, offered.trace, |client_id| Station::Dropped { client_id, why });
                turn.dropped(&mut self.diary, &self.client_id, offered.parts.topic, why, now);
            }
        }
    }

    /// The message that was sent under `id` is safe, and goes out at last.
    pub(crate) fn deliver(&mut self, turn: &mut Turn, id: PacketId, now: Now) {
        let Some((qos, delivery)) = self.sender.message(id) else { return };
        let (Some(connection), Some(message)) = (self.connection.as_deref_mut(), delivery.message()) else {
            return;
        };
        let cover = Cover {
            version: connection.version,
            qos,
            packet_id: Some(id),
            dup: false,
            retain: delivery.retain,
            subscription_ids: delivery.subscription_ids(),
        };
        let message = message.clone();
        turn.frames.clear();
        if let Err(why) =
            put_publish(connection, turn, self.diary.key, &mut Offered::kept(&message), &cover, now)
        {
            turn.dropped(&mut self.diary, &self.client_id, message.topic(), why, now);
            self.finished(turn, id);
        }
    }

    /// Sends as much of what waits as there is room for: resends first, then what is queued and what is
    /// retained in turn, so that neither starves the other. [MQTT-4.4.0-1] [MQTT5 4.4.0-1]
    pub(crate) fn pump(&mut self, turn: &mut Turn, retained: &RwLock<Retained>, now: Now) {
        let is_over = !self.sender.is_resending() || self.resend(turn, now);
        if let Some(pass) = &mut self.pass
            && is_over
            && self.queue.is_empty()
        {
            pass.is_renewed = false;
        }
        if self.queue.is_unused() && self.feeds.is_unused() {
            return;
        }
        if self.feeds.is_empty() {
            self.feeds.settle();
            while self.pump_queue(turn, PUMP_MESSAGES, now) > 0 {}
            self.queue.settle();
            return;
        }
        loop {
            // Counted over all calls: there may be room for one message each time.
            let sent = self.pump_queue(turn, PUMP_MESSAGES - self.feeds.waited, now);
            self.feeds.waited += sent;
            let has_fed = !self.feeds.is_empty() && self.feed(turn, retained, PUMP_MESSAGES, now);
            if has_fed || self.feeds.is_empty() {
                self.feeds.waited = 0;
            }
            if sent == 0 && !has_fed {
                return;
            }
        }
    }

    /// Sends up to `most` queued messages as far as there is room; says how many.
    fn pump_queue(&mut self, turn: &mut Turn, most: usize, now: Now) -> usize {
        let mut sent = 0;
        for _ in 0..most {
            let Some(connection) = self.connection.as_deref() else { break };
            let Some(front) = self.queue.front() else { break };
            let has_room = front.qos == Qos::AtMostOnce || self.may_send(turn);
            if connection.has_pumped(turn) || !has_room {
                break;
            }
            if matches!(front.body, Body::Stored { .. }) {
                self.fetch(turn);
                break;
            }
            let Some(delivery) = self.queue.pop() else { break };
            sent += 1;
            turn.count_released(&delivery);
            let Some(message) = delivery.message().cloned() else { break };
            if self.is_withdrawn(message.topic()) {
                self.withhold(turn, delivery, message.topic(), now);
                continue;
            }
            // [MQTT5 3.3.2-5]
            if message.is_expired(now) {
                turn.give_up(&delivery);
                let why = Dropped::Expired;
                self.note(turn, message.trace(), |client_id| Station::Dropped { client_id, why });
                turn.dropped(&mut self.diary, &self.client_id, message.topic(), why, now);
                continue;
            }
            turn.frames.clear();
            let mut offered = Offered::kept(&message);
            if delivery.qos == Qos::AtMostOnce {
                let ids = delivery.subscription_ids();
                self.offer_at_most_once(turn, &mut offered, delivery.retain, ids, now);
            } else {
                self.send(turn, delivery, &mut offered, now);
            }
        }
        sent
    }

    /// Asks for what stands first in the queue and lies in the store alone.
    fn fetch(&mut self, turn: &mut Turn) {
        if let Some(lasting) = self.lasting.as_deref_mut()
            && !std::mem::replace(&mut lasting.is_fetching, true)
        {
            turn.durable.want(self.diary.key);
        }
    }

    /// Says whether there is nothing more to be sent again.
    fn resend(&mut self, turn: &mut Turn, now: Now) -> bool {
        while let Some(connection) = self.connection.as_deref_mut() {
            if connection.has_pumped(turn) {
                return false;
            }
            match self.sender.resend() {
                None => return true,
                Some(Resend::Release(packet_id)) => {
                    let (reason, properties) = (Reason::Success, Properties::EMPTY);
                    connection.put(
                        turn,
                        self.diary.key,
                        &Packet::PubRel(PubRel { packet_id, reason, properties }),
                    );
                }
                Some(Resend::Publish(id, qos, delivery)) => {
                    // [MQTT-3.3.1-1] [MQTT5 4.3.3-7] DUP 1, and expiry no longer counts.
                    let cover = Cover {
                        version: connection.version,
                        qos,
                        packet_id: Some(id),
                        dup: true,
                        retain: delivery.retain,
                        subscription_ids: delivery.subscription_ids(),
                    };
                    // What is on its way is in memory.
                    let Some(message) = delivery.message().cloned() else {
                        self.finished(turn, id);
                        continue;
                    };
                    let is_withdrawn = self.pass.as_ref().is_some_and(|pass| {
                        pass.is_renewed && !pass.allows(Access::Receive, message.topic())
                    });
                    if is_withdrawn {
                        if let Some(delivery) = self.sender.drop_resend(id) {
                            turn.count_released(&delivery);
                            self.withhold(turn, delivery, message.topic(), now);
                        }
                        continue;
                    }
                    turn.frames.clear();
                    let mut offered = Offered::kept(&message);
                    match put_publish(connection, turn, self.diary.key, &mut offered, &cover, now) {
                        Ok(()) => self.note_sent(turn, offered.trace, qos, Some(id), true),
                        Err(why) => {
                            turn.dropped(&mut self.diary, &self.client_id, message.topic(), why, now);
                            self.finished(turn, id);
                        }
                    }
                }
            }
        }
        false
    }

    /// Does not send what its client may no longer receive; another of its group may have it.
    fn withhold(&mut self, turn: &mut Turn, delivery: Delivery, topic: &str, now: Now) {
        if delivery.shared().is_some() {
            turn.orphans.push((None, delivery));
            return;
        }
        turn.give_up(&delivery);
        turn.dropped(&mut self.diary, &self.client_id, topic, Dropped::Denied, now);
    }

    fn finished(&mut self, turn: &mut Turn, id: PacketId) {
        if let Some(delivery) = self.sender.drop_resend(id) {
            turn.release(&delivery);
        }
    }

    /// Takes the queue's shared deliveries out, for other members of their groups.
    pub(crate) fn orphan_queue(&mut self, turn: &mut Turn) {
        if self.queue.is_empty() {
            return;
        }
        for delivery in self.queue.take_shared() {
            turn.count_released(&delivery);
            turn.orphans.push((Some(self.diary.key), delivery));
        }
    }

    /// Empties queue and window; what came by shared subscriptions and was not begun, or begun at
    /// QoS 1, is for others. [MQTT5 4.8.2-5]
    pub(crate) fn orphan_all(&mut self, turn: &mut Turn) {
        let sender = std::mem::take(&mut self.sender);
        for (qos, delivery) in sender.messages() {
            turn.count_released(delivery);
            if qos == Qos::AtLeastOnce && delivery.shared().is_some() {
                turn.orphans.push((None, delivery.clone()));
            } else {
                turn.give_up(delivery);
            }
        }
        for delivery in self.queue.drain() {
            turn.count_released(&delivery);
            if delivery.shared().is_some() {
                turn.orphans.push((None, delivery));
            } else {
                turn.give_up(&delivery);
            }
        }
    }
}

/// Whether the PUBLISH of `parts` for `cover` is one that the client takes.
fn check_size(
    connection: &Connection,
    parts: &Parts<'_>,
    cover: &Cover<'_>,
    now: Now,
) -> Result<(), Dropped> {
    let parts = match &connection.mount_point {
        None => *parts,
        Some(mount_point) => mount_point.seen(parts)?,
    };
    let len = frames::encoded_len(&parts, cover, Naming::Name, now);
    if len <= connection.packet_size_max as usize { Ok(()) } else { Err(Dropped::TooLarge) }
}

/// Appends the PUBLISH of `offered` for `cover` to `connection`.
pub(super) fn put_publish(
    connection: &mut Connection,
    turn: &mut Turn,
    key: super::SessionKey,
    offered: &mut Offered<'_>,
    cover: &Cover<'_>,
    now: Now,
) -> Result<(), Dropped> {
    let is_shared = cover.subscription_ids.is_empty()
        && connection.outbound_aliases.is_none()
        && connection.mount_point.is_none();
    let len = if is_shared {
        let form = turn.frames.form(offered, cover, now);
        if form.len > connection.packet_size_max as usize {
            return Err(Dropped::TooLarge);
        }
        connection.begin(turn, key);
        if let Some(payload) = turn.frames.append(&form, cover, connection.out.storage()) {
            connection.out.splice(payload);
        }
        form.len
    } else {
        put_own_publish(connection, turn, key, offered, cover, now)?
    };
    connection.messages_sent += 1;
    connection.bytes_sent += len as u64;
    turn.count_sent(PacketKind::Publish, len);
    turn.stats.messages_sent[cover.qos as usize].add(1);
    turn.stats.publish_bytes_sent.add(offered.parts.payload.len() as u64);
    Ok(())
}

/// Appends a PUBLISH that no other receiver's is like.
fn put_own_publish(
    connection: &mut Connection,
    turn: &mut Turn,
    key: super::SessionKey,
    offered: &mut Offered<'_>,
    cover: &Cover<'_>,
    now: Now,
) -> Result<usize, Dropped> {
    let parts = match &connection.mount_point {
        None => offered.parts,
        Some(mount_point) => mount_point.seen(&offered.parts)?,
    };
    let longest = frames::encoded_len(&parts, cover, Naming::NameAndAlias(u16::MAX), now);
    let fits = longest <= connection.packet_size_max as usize;
    let naming = match &mut connection.outbound_aliases {
        // Only a packet that goes out may set an alias.
        Some(aliases) if fits => match aliases.name(parts.topic) {
            OutboundAlias::Name => Naming::Name,
            OutboundAlias::Set(alias) => Naming::NameAndAlias(alias),
            OutboundAlias::Known(alias) => Naming::Alias(alias),
        },
        _ => Naming::Name,
    };
    let len = frames::encoded_len(&parts, cover, naming, now);
    if len > connection.packet_size_max as usize {
        return Err(Dropped::TooLarge);
    }
    connection.begin(turn, key);
    frames::encode_head(&parts, cover, naming, now, connection.out.storage());
    match offered.large_payload() {
        Some(payload) => connection.out.splice(payload),
        None => connection.out.storage().extend_from_slice(parts.payload),
    }
    Ok(len)
}

/// Stands for the topic of a message that is not in memory.
const ON_DISK: &str = "(a topic in the store)";

/// Bytes that one client may leave unacknowledged while memory is short.
const IN_FLIGHT_SHORT: u64 = 256 * 1024;

/// Messages of the queue sent between two looks at what is retained.
const PUMP_MESSAGES: usize = 32;
