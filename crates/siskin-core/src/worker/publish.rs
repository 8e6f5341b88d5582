//! A message's way: taken over from its publisher, retained, routed to every session that it is due to.

use std::borrow::Cow;
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError};

use siskin_proto::delivery::Arrival;
use siskin_proto::{PacketId, Properties, PropertiesBuf, Property, Publish, Qos, Reason, TopicFilter};

use super::{Mail, Worker};
use crate::access::Access;
use crate::cause::{Cause, Violation, unsafe_reason};
use crate::durable::Then;
use crate::event::Dropped;
use crate::frames::{Offered, Source};
use crate::limits::PublishDenied;
use crate::message::Parts;
use crate::pressure::Pressure;
use crate::recorder::Origin;
use crate::route_cache::Cached;
use crate::router::{Members, Routes, Subscriber};
use crate::session::{Delivery, Extra, Grant, Reference, Session, SessionKey, Sessions};
use crate::shared::Shared;
use crate::store::Health;
use crate::store::record::{self, RETAINED, Receiver};
use crate::time::Now;
use crate::trace::Station;
use crate::turn::Turn;

/// What a PUBLISH is to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admitted {
    /// A message to take over.
    New,
    /// One that was taken over before.
    Again,
    /// One whose id cannot be remembered safely.
    NotSafe(Health),
}

/// What whoever publishes a message is to hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing.
    None,
    /// That it was taken over.
    Taken,
    /// That it was, or was not.
    TakenOrNot,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Somebody is to have it.
    Routed,
    /// No subscription matches it.
    Nobody,
    /// It could not be retained, and so was not taken over.
    RetainedFull,
}

impl Worker {
    /// A PUBLISH, with what follows its fixed header.
    pub(super) fn handle_publish(
        &mut self,
        key: SessionKey,
        publish: &Publish<'_>,
        body: &[u8],
        now: Now,
    ) -> Result<(), Cause> {
        let stats = &self.turn.stats;
        stats.messages_received[publish.qos as usize].add(1);
        stats.publish_bytes_received.add(publish.payload.len() as u64);
        self.check(publish)?;
        // Also of a message that was taken over before: it sets its alias on this connection all the same.
        let topic = self.topic(key, publish)?;
        self.turn.durable.take_touched();
        let reason = match self.admit(key, publish)? {
            Admitted::New => {
                // Not where what is known as the topic is not what came as such.
                let as_it_came = matches!(topic, Cow::Borrowed(_)).then_some(body);
                self.publish_from(key, &topic, publish, as_it_came, now)
            }
            Admitted::Again => Ok(Reason::Success),
            Admitted::NotSafe(health) => self.refuse_unsafe(key, health),
        };
        // [MQTT5 4.3.3-9] Not taken over: the same id may bring it again, also on another connection.
        if let (Qos::ExactlyOnce, Some(id)) = (publish.qos, publish.packet_id)
            && reason.as_ref().map_or(true, |reason| reason.is_error())
        {
            self.forget_received(key, id);
        }
        self.acknowledge(key, publish, reason?)
    }

    /// Checks what a decoder cannot know.
    fn check(&self, publish: &Publish<'_>) -> Result<(), Cause> {
        let limits = &self.turn.limits;
        if publish.qos > limits.max_qos {
            return Err(Cause::Violation(Violation::QosNotSupported)); // [MQTT5 3.2.2-11]
        }
        if publish.properties.raw().len() > limits.properties_bytes_max as usize {
            return Err(Cause::Violation(Violation::PropertiesTooLarge));
        }
        if publish.retain && !limits.retain_available {
            return Err(Cause::Violation(Violation::RetainNotSupported)); // [MQTT5 3.2.2-14]
        }
        if publish.topic.is_some_and(|topic| is_too_deep(topic.as_str(), limits.topic_levels_max)) {
            return Err(Cause::Violation(Violation::TopicTooDeep));
        }
        // [MQTT5 3.3.4-6]
        if publish.properties.subscription_identifiers().next().is_some() {
            return Err(Cause::Violation(Violation::SubscriptionIdentifierSent));
        }
        Ok(())
    }

    /// The whole topic, by its name or by an alias.
    fn topic<'a>(&mut self, key: SessionKey, publish: &Publish<'a>) -> Result<Cow<'a, str>, Cause> {
        let topic = self.said_topic(key, publish)?;
        let Some(mount_point) = self.mount_point(key) else { return Ok(topic) };
        let topic = mount_point.name(&topic).map_err(Cause::Violation)?;
        if is_too_deep(&topic, self.turn.limits.topic_levels_max) {
            return Err(Cause::Violation(Violation::TopicTooDeep));
        }
        Ok(topic.into())
    }

    /// The topic as the client calls it.
    fn said_topic<'a>(&mut self, key: SessionKey, publish: &Publish<'a>) -> Result<Cow<'a, str>, Cause> {
        let alias = match (publish.topic, publish.properties.topic_alias()) {
            (Some(topic), None) => return Ok(topic.as_str().into()),
            (_, alias) => alias.unwrap_or(0),
        };
        let connection = self.sessions.get_mut(key).and_then(|session| session.connection.as_deref_mut());
        let connection = connection.ok_or(Cause::ConnectionLost)?;
        // [MQTT5 3.2.2-17] [MQTT5 3.3.2-8]
        if alias == 0 || alias > connection.topic_alias_max {
            return Err(Cause::Violation(Violation::TopicAliasTooHigh(alias)));
        }
        let aliases = connection.inbound_aliases.get_or_insert_default();
        if let Some(topic) = publish.topic {
            aliases.set(alias, topic.as_str());
            return Ok(topic.as_str().into());
        }
        let unknown = Cause::Violation(Violation::TopicAliasUnknown(alias));
        aliases.topic(alias).map(|topic| topic.to_owned().into()).ok_or(unknown)
    }

    /// What a QoS 2 message is to its session; every other is new. A new one's id is remembered before the message
    /// is routed, so that both become safe together.
    fn admit(&mut self, key: SessionKey, publish: &Publish<'_>) -> Result<Admitted, Cause> {
        let (Qos::ExactlyOnce, Some(id)) = (publish.qos, publish.packet_id) else { return Ok(Admitted::New) };
        let Some(session) = self.sessions.get_mut(key) else { return Ok(Admitted::Again) };
        match session.receiver.publish(id) {
            Arrival::New => {}
            Arrival::Again => return Ok(Admitted::Again), // [MQTT-4.3.3-2] [MQTT5 4.3.3-10]
            Arrival::TooMany => return Err(Cause::Violation(Violation::ReceiveMaximum)), // [MQTT5 3.3.4-7]
        }
        let Some(lasting) = session.lasting.as_deref_mut() else { return Ok(Admitted::New) };
        let health = self.turn.durable.health();
        if !health.may_promise() {
            return Ok(Admitted::NotSafe(health));
        }
        let record = self.turn.durable.next_id();
        let owner = lasting.record;
        self.turn.durable.owed().put(record, 1, |out| record::write_received(out, owner, id));
        lasting.received.insert(id, record);
        Ok(Admitted::New)
    }

    /// Says no to a message that cannot be made safe: with a reason, or by the end of the connection where the
    /// client's version has none.
    fn refuse_unsafe(&self, key: SessionKey, health: Health) -> Result<Reason, Cause> {
        let is_told = self.sessions.get(key).is_some_and(|session| session.version.is_v5());
        if is_told { Ok(unsafe_reason(health)) } else { Err(Cause::NotSafe(health)) }
    }

    /// A QoS 2 id that was just opened is free again.
    fn forget_received(&mut self, key: SessionKey, id: PacketId) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.receiver.release(id);
        let lasting = session.lasting.as_deref_mut();
        if let Some(record) = lasting.and_then(|lasting| lasting.received.remove(&id)) {
            self.turn.durable.batch().release(record, 0);
        }
    }

    fn publish_from(
        &mut self,
        key: SessionKey,
        topic: &str,
        publish: &Publish<'_>,
        body: Option<&[u8]>,
        now: Now,
    ) -> Result<Reason, Cause> {
        if is_reserved(topic) {
            self.trace_refused(key, topic, publish, now, |_| Dropped::NotAllowed.to_string());
            self.report_drop(key, topic, Dropped::NotAllowed, now);
            return Ok(Reason::NotAuthorized);
        }
        if self.is_over_quota {
            self.trace_refused(key, topic, publish, now, |_| Dropped::OverQuota.to_string());
            self.report_drop(key, topic, Dropped::OverQuota, now);
            return Ok(Reason::QuotaExceeded);
        }
        let access = Access::Publish { qos: publish.qos, retain: publish.retain };
        if !self.check_access(key, access, topic, now) {
            self.trace_refused(key, topic, publish, now, |session| {
                let permissions = session.pass.as_ref().and_then(|pass| pass.permissions.as_deref());
                permissions.map_or_else(String::new, |permissions| permissions.because(access, topic))
            });
            return match self.turn.limits.publish_denied {
                PublishDenied::Answer => Ok(Reason::NotAuthorized),
                PublishDenied::Disconnect => Err(Cause::PublishDenied),
            };
        }
        let Some(session) = self.sessions.get(key) else { return Ok(Reason::Unspecified) };
        let is_promised = publish.qos > Qos::AtMostOnce;
        let answer = match (is_promised, session.version.is_v5()) {
            (false, _) => Answer::None,
            (true, false) => Answer::Taken,
            (true, true) => Answer::TakenOrNot,
        };
        let mut kept = PropertiesBuf::new();
        let properties = travelling(publish.properties, &mut kept);
        let source = match (properties, body) {
            (None, Some(body)) => Source::Packet {
                variable_header: &body[..body.len() - publish.payload.len()],
                is_v5: session.version.is_v5(),
                has_packet_id: is_promised,
            },
            _ => Source::Unknown,
        };
        let parts = Parts {
            topic,
            properties: properties.unwrap_or(publish.properties),
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            publisher: Some(session.publisher),
            received_at: now,
            expires_at: publish.properties.message_expiry_interval().map(|s| now.plus_s(s)),
            kept_until: None,
            record: None,
        };
        let health = self.turn.durable.health();
        if !health.may_promise() && is_promised && self.would_last(&parts, key) {
            return self.refuse_unsafe(key, health);
        }
        // Others could only be told by the end of their connections, for what one group does.
        if self.turn.pressure == Pressure::Critical
            && answer == Answer::TakenOrNot
            && self.would_wait_in_memory(topic)
        {
            self.report_drop(key, topic, Dropped::MemoryShort, now);
            return Ok(Reason::QuotaExceeded);
        }
        Ok(match self.publish(Some(key), parts, source, answer, now) {
            Published::Routed => Reason::Success,
            Published::Nobody => Reason::NoMatchingSubscribers,
            Published::RetainedFull => Reason::QuotaExceeded,
        })
    }

    /// Whether a message is one for the store.
    fn would_last(&mut self, parts: &Parts<'_>, from: SessionKey) -> bool {
        if parts.retain {
            return true;
        }
        let cached = self.routes.route(&self.shared, parts.topic);
        !cached.lasting.is_empty() && !Receivers::of(cached, parts, Some(from)).records.is_empty()
    }

    /// Whether messages of `topic` go to a group of which nobody is there. They wait in memory, as they may have to move to another
    /// member at any time, and cannot be dropped where a member is in the store.
    fn would_wait_in_memory(&mut self, topic: &str) -> bool {
        let Self { routes, shared, .. } = self;
        let cached = routes.route(shared, topic);
        let is_away = |filter: &str| {
            TopicFilter::parse(filter).is_ok_and(|filter| shared.router.members(filter).online == 0)
        };
        !cached.lasting.is_empty() && cached.routes.groups.iter().any(|group| is_away(&group.filter))
    }

    /// Notes that a message is not taken over, if it is one that is followed.
    fn trace_refused(
        &mut self,
        key: SessionKey,
        topic: &str,
        publish: &Publish<'_>,
        now: Now,
        why: impl FnOnce(&Session) -> String,
    ) {
        let Some(session) = self.sessions.get(key).filter(|_| self.turn.tracer.is_armed()) else { return };
        let parts = Parts {
            topic,
            properties: publish.properties,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            publisher: Some(session.publisher),
            received_at: now,
            expires_at: None,
            kept_until: None,
            record: None,
        };
        let id = self.turn.tracer.begin(&parts, || Some(publisher_of(session)));
        self.turn.tracer.note(id, || Station::Refused { why: why(session) });
    }

    /// Retains `parts` of session `from` if they say so, and routes them. Only if the `answer` can say so is a message
    /// that cannot be retained not routed either.
    pub(super) fn publish(
        &mut self,
        from: Option<SessionKey>,
        parts: Parts<'_>,
        source: Source<'_>,
        answer: Answer,
        now: Now,
    ) -> Published {
        let mut offered = Offered::borrowed(parts, source);
        let Self { index, sessions, turn, routes, mail, shared, .. } = self;
        offered.trace =
            turn.tracer.begin(&parts, || from.and_then(|key| sessions.get(key)).map(publisher_of));
        let cached = routes.route(shared, parts.topic);
        // What the broker says of itself is said anew after a restart.
        let wants_record = parts.publisher.is_some()
            && (parts.retain && !parts.payload.is_empty()
                || !cached.lasting.is_empty() && parts.qos > Qos::AtMostOnce);
        // What is answered was found to be safe soon, whatever has become of the store since.
        let may_last = turn.durable.is_on()
            && wants_record
            && (answer != Answer::None || turn.durable.has_room(parts.size()));
        let receivers = match may_last && !cached.lasting.is_empty() && parts.qos > Qos::AtMostOnce {
            true => Receivers::of(cached, &parts, from),
            false => Receivers::default(),
        };
        let is_kept = may_last && parts.retain && !parts.payload.is_empty();
        if is_kept || !receivers.records.is_empty() {
            offered.parts.record = Some(turn.durable.next_id());
        }
        let is_retained = parts.retain && retain(turn, shared, &mut offered, &receivers.records, now);
        if parts.retain && !is_retained {
            match from.and_then(|key| sessions.get_mut(key)) {
                Some(session) => {
                    let (diary, client_id) = (&mut session.diary, &session.client_id);
                    turn.dropped(diary, client_id, parts.topic, Dropped::RetainedFull, now);
                }
                None => turn.stats.dropped_retained_full.add(1),
            }
            if answer == Answer::TakenOrNot {
                return Published::RetainedFull;
            }
        }
        // The first reference of a retained message's record is not a receiver's.
        let first = u32::from(is_kept && is_retained);
        if first == 0 && !receivers.records.is_empty() {
            put_message(turn, &offered.parts, false, &receivers.records);
        }
        turn.tracer.note(offered.trace, || routed(cached, receivers.records.len()));
        if offered.trace.is_some() && shared.readers.is_on() {
            note_withheld(turn, shared, sessions, &offered);
        }
        if cached.routes.plain.is_empty() && cached.routes.groups.is_empty() {
            turn.stats.no_subscribers.add(1);
            return Published::Nobody;
        }
        turn.frames.clear();
        let claims = receivers.claims(first);
        let mut claims = claims.as_slice();
        for share in cached.routes.plain.chunk_by(|a, b| a.session.worker() == b.session.worker()) {
            let worker = share[0].session.worker();
            let (theirs, rest) =
                claims.split_at(claims.partition_point(|claim| claim.session.worker() <= worker));
            claims = rest;
            if worker == *index {
                deliver(sessions, turn, &mut offered, share, theirs, now);
            } else {
                mail[usize::from(worker)].push(offered.keep(), share, theirs, None);
            }
        }
        for (at, group) in cached.routes.groups.iter().enumerate() {
            cached.round = cached.round.wrapping_add(1);
            let Some(member) = group.member(cached.round) else { continue };
            let place = receivers.of_groups.get(at).copied().flatten();
            let reference = place.map(|place| Reference::new(first + place));
            if member.session.worker() == *index {
                deliver_shared(sessions, turn, &mut offered, member, reference, &group.filter, now);
            } else {
                let claim = reference.map(|reference| Claim { session: member.session, reference });
                let mail = &mut mail[usize::from(member.session.worker())];
                mail.push(offered.keep(), &[member], claim.as_slice(), Some(group.filter.clone()));
            }
        }
        self.place_orphans(now);
        Published::Routed
    }

    /// Takes in what another worker has routed here.
    pub fn receive(&mut self, mail: Mail, now: Now) {
        self.turn.tracer.begin_turn(now);
        let mut receivers = mail.receivers.as_slice();
        let mut claims = mail.claims.as_slice();
        for envelope in mail.deliveries {
            let (share, rest) = receivers.split_at(envelope.receivers.min(receivers.len()));
            let (theirs, unclaimed) = claims.split_at(envelope.claims.min(claims.len()));
            (receivers, claims) = (rest, unclaimed);
            let mut offered = Offered::kept(&envelope.message);
            self.turn.frames.clear();
            match (&envelope.shared, share) {
                (Some(filter), [member]) => {
                    let reference = theirs.first().map(|claim| claim.reference);
                    let (sessions, turn) = (&mut self.sessions, &mut self.turn);
                    deliver_shared(sessions, turn, &mut offered, *member, reference, filter, now);
                }
                _ => deliver(&mut self.sessions, &mut self.turn, &mut offered, share, theirs, now),
            }
        }
        self.place_orphans(now);
    }

    /// Finds another member for what a group's member left behind; with none, it is lost with the group.
    #[inline]
    pub(crate) fn place_orphans(&mut self, now: Now) {
        if !self.turn.orphans.is_empty() {
            self.place_some_orphans(now);
        }
    }

    fn place_some_orphans(&mut self, now: Now) {
        for round in 0..ORPHAN_ROUNDS {
            if self.turn.orphans.is_empty() {
                return;
            }
            for (turn, (from, delivery)) in std::mem::take(&mut self.turn.orphans).into_iter().enumerate() {
                self.place(delivery, from, round + turn as u32, now);
            }
        }
        for (_, delivery) in std::mem::take(&mut self.turn.orphans) {
            self.turn.give_up(&delivery);
        }
    }

    fn place(&mut self, delivery: Delivery, from: Option<SessionKey>, turn: u32, now: Now) {
        let filter = delivery.shared().cloned();
        let parsed = filter.as_deref().and_then(|filter| TopicFilter::parse(filter).ok());
        // What is shared is always in memory and names its filter.
        let (Some(filter), Some(parsed), Some(message)) = (&filter, parsed, delivery.message()) else {
            self.turn.give_up(&delivery);
            return;
        };
        // Who is away may be back before another that is; who is gone may not.
        let Some(member) = self.pick(parsed, message.topic(), turn, from.is_some()) else {
            match from.and_then(|key| self.sessions.get_mut(key)) {
                // Nobody else is there: it stays with the member that is away.
                Some(session) => session.enqueue(&mut self.turn, delivery, now),
                None => self.turn.give_up(&delivery),
            }
            return;
        };
        // Under a record of its own, if the new member is one that lasts; the old claim is given up with it.
        let qos = message.qos().min(member.options.qos);
        let durable = &mut self.turn.durable;
        let lasting = self.shared.lasting.record(member.session).filter(|_| {
            qos > Qos::AtMostOnce
                && durable.is_on()
                && message.publisher().is_some()
                && durable.has_room(message.size())
        });
        let mut reference = None;
        let mut message = message.clone();
        if let Some(record) = lasting {
            let retain = member.options.retain_as_published && message.retain();
            let extra = Extra::of(member.id.map(NonZeroU32::get).as_slice(), Some(filter));
            message = self.turn.durable.keep_for(record, &message, qos, retain, extra.as_deref());
            reference = Some(Reference::new(0));
        }
        self.turn.give_up(&delivery);
        self.turn.frames.clear();
        let mut offered = Offered::kept(&message);
        if member.session.worker() == self.index {
            let (sessions, turn) = (&mut self.sessions, &mut self.turn);
            deliver_shared(sessions, turn, &mut offered, member, reference, filter, now);
        } else {
            let claim = reference.map(|reference| Claim { session: member.session, reference });
            let mail = &mut self.mail[usize::from(member.session.worker())];
            mail.push(&message, &[member], claim.as_slice(), Some(filter.clone()));
        }
        self.turn.durable.flush_much();
    }

    /// The member of a group whose turn it is, of those who may receive messages of `topic`: of those online, or unless
    /// they alone count, of all if nobody is.
    fn pick(&self, filter: TopicFilter<'_>, topic: &str, turn: u32, online_only: bool) -> Option<Subscriber> {
        let Shared { router, readers, .. } = &*self.shared;
        if !readers.is_on() {
            return if online_only { router.pick_online(filter, turn) } else { router.pick(filter, turn) };
        }
        let Members { all: mut online, online: count } = router.members(filter);
        let mut away = online.split_off(count);
        readers.retain(topic, &mut online);
        if online.is_empty() && !online_only {
            readers.retain(topic, &mut away);
            online = away;
        }
        online.get((turn as usize).checked_rem(online.len())?).copied()
    }

    /// PUBACK, PUBREC or nothing, when what it says is safe. [MQTT-3.3.4-1] [MQTT5 3.3.4-1]
    fn acknowledge(&mut self, key: SessionKey, publish: &Publish<'_>, reason: Reason) -> Result<(), Cause> {
        let touched = self.turn.durable.take_touched();
        if let Some(packet_id) = publish.packet_id {
            self.turn.tracer.await_answer(key, packet_id);
        }
        let Some(packet_id) = publish.packet_id else {
            // Nothing is said, but who sends faster than the disk takes is to be slowed.
            return if touched { self.promise(key, Then::Nothing) } else { Ok(()) };
        };
        let Some(session) = self.sessions.get(key) else { return Ok(()) };
        if publish.qos != Qos::ExactlyOnce {
            return self.say(key, Then::PubAck(packet_id, reason), touched);
        }
        // A repeated message may come before the first was safe. A refusal promises nothing.
        let must_wait = !reason.is_error() && (touched || session.lasting.is_some());
        self.say(key, Then::PubRec(packet_id, reason), must_wait)
    }

    /// The reason string for `reason`, where one says more than the code and the client wants it.
    pub(super) fn explain<'a>(
        &self,
        key: SessionKey,
        reason: Reason,
        text: &'a mut PropertiesBuf,
    ) -> Properties<'a> {
        let connection = self.sessions.get(key).and_then(|session| session.connection.as_deref());
        let wanted = connection.is_some_and(|c| c.version.is_v5() && c.problem_information);
        let pass = self.sessions.get(key).and_then(|session| session.pass.as_deref());
        let words = match reason {
            Reason::NotAuthorized if pass.is_some_and(|pass| pass.permissions.is_some()) => {
                "the rules for this client do not allow it"
            }
            Reason::NotAuthorized => "topics under $SYS are the broker's own",
            Reason::QuotaExceeded => "a limit of the broker is reached",
            Reason::TopicFilterInvalid => "the filter has more levels than this broker allows",
            _ => return Properties::EMPTY,
        };
        // [MQTT5 3.1.2-29]
        if wanted {
            text.push(Property::ReasonString(words));
        }
        text.as_properties()
    }

    pub(super) fn report_drop(&mut self, key: SessionKey, topic: &str, why: Dropped, now: Now) {
        if let Some(session) = self.sessions.get_mut(key) {
            self.turn.dropped(&mut session.diary, &session.client_id, topic, why, now);
        }
    }
}

/// Puts a message among the retained ones or clears its topic there; says whether there was room.
/// [MQTT-3.3.1-5] [MQTT5 3.3.1-5]
///
/// Its record is handed to the store before another worker can see it: whoever replaces the message must find the
/// record there to release.
fn retain(
    turn: &mut Turn,
    shared: &Shared,
    offered: &mut Offered<'_>,
    receivers: &[Receiver],
    now: Now,
) -> bool {
    turn.stats.retained_received.add(1);
    if offered.parts.payload.is_empty() {
        // [MQTT-3.3.1-10] [MQTT-3.3.1-11] [MQTT5 3.3.1-6] [MQTT5 3.3.1-7]
        let mut retained = shared.retained.write().unwrap_or_else(PoisonError::into_inner);
        let old = retained.remove(offered.parts.topic);
        match old.as_ref().map(super::super::message::Message::record) {
            Some(Some(record)) => {
                // Before another worker can put the next, lest a crash in between bring this one back instead.
                turn.durable.owed().release(record, RETAINED);
                turn.durable.flush_cleared();
            }
            Some(None) | None => turn.durable.stand_behind_cleared(),
        }
        drop(retained);
        return true;
    }
    let message = offered.keep_retained(turn.limits.retained_expiry_s, now);
    let mut retained = shared.retained.write().unwrap_or_else(PoisonError::into_inner);
    // Neither more of them while no memory is left, nor larger ones.
    if turn.pressure == Pressure::Critical
        && retained.get(offered.parts.topic).is_none_or(|old| old.size() < message.size())
    {
        return false;
    }
    let old = retained.insert(message.clone());
    if let Ok(old) = &old {
        if message.record().is_some() {
            put_message(turn, &message.parts(), true, receivers);
        }
        if let Some(record) = old.as_ref().and_then(super::super::message::Message::record) {
            turn.durable.batch().release(record, RETAINED);
        }
        if message.record().is_none() {
            // In memory alone: for the store, nothing is there.
            turn.durable.flush_cleared();
        } else {
            turn.durable.flush();
        }
    }
    drop(retained);
    old.is_ok()
}

/// The sessions that must find a message in the store, as its record names them.
#[derive(Default)]
struct Receivers {
    records: Vec<Receiver>,
    /// The sessions of the first of them, those with subscriptions of their own, in order.
    plain: Vec<SessionKey>,
    /// By group: the place of its member, if that is one of them.
    of_groups: Vec<Option<u32>>,
}

/// One session's reference to a message's record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) session: SessionKey,
    pub(super) reference: Reference,
}

impl Receivers {
    /// Who among the receivers of a message is in the store, and what each is granted: the same that [`deliver`] and
    /// [`deliver_shared`] will find.
    fn of(cached: &Cached, parts: &Parts<'_>, from: Option<SessionKey>) -> Self {
        let mut all = Self::default();
        let mut lasting = cached.lasting.iter().peekable();
        for run in cached.routes.plain.chunk_by(|a, b| a.session == b.session) {
            let session = run[0].session;
            while lasting.next_if(|(key, _)| *key < session).is_some() {}
            let Some((_, record)) = lasting.next_if(|(key, _)| *key == session) else { continue };
            let heard =
                run.iter().filter(|subscriber| !(subscriber.options.no_local && from == Some(session)));
            let granted = heard.clone().map(|subscriber| subscriber.options.qos).max();
            let Some(qos) = granted.map(|qos| qos.min(parts.qos)).filter(|qos| *qos > Qos::AtMostOnce) else {
                continue;
            };
            let retain =
                parts.retain && heard.clone().any(|subscriber| subscriber.options.retain_as_published);
            let subscription_ids =
                heard.filter_map(|subscriber| subscriber.id.map(NonZeroU32::get)).collect();
            all.plain.push(session);
            all.records.push(Receiver { session: record.get(), qos, retain, subscription_ids, share: None });
        }
        let mut round = cached.round;
        for group in &cached.routes.groups {
            round = round.wrapping_add(1);
            let receiver = group.member(round).and_then(|member| {
                let qos = member.options.qos.min(parts.qos);
                let record = cached.record(member.session).filter(|_| qos > Qos::AtMostOnce)?;
                let retain = parts.retain && member.options.retain_as_published;
                let subscription_ids = member.id.map(NonZeroU32::get).into_iter().collect();
                let share = Some(Arc::clone(&group.filter));
                Some(Receiver { session: record.get(), qos, retain, subscription_ids, share })
            });
            all.of_groups.push(receiver.is_some().then_some(all.records.len() as u32));
            all.records.extend(receiver);
        }
        all
    }

    /// The claims of those with subscriptions of their own; the first reference of a receiver is `first`.
    fn claims(&self, first: u32) -> Vec<Claim> {
        let claim = |(session, number): (&SessionKey, u32)| Claim {
            session: *session,
            reference: Reference::new(number),
        };
        self.plain.iter().zip(first..).map(claim).collect()
    }
}

fn publisher_of(session: &Session) -> (&Arc<str>, Origin) {
    let origin = session.connection.as_deref().map_or(Origin::Unknown, |connection| connection.origin);
    (&session.client_id, origin)
}

fn routed(cached: &Cached, stored_for: usize) -> Station {
    let sessions = cached.routes.plain.chunk_by(|a, b| a.session == b.session).count();
    Station::Routed { sessions, groups: cached.routes.groups.len(), stored_for }
}

/// Notes who has subscribed to a message that is followed, and may not receive it. A route knows only the others.
fn note_withheld(turn: &mut Turn, shared: &Shared, sessions: &Sessions, offered: &Offered<'_>) {
    let mut routes = Routes::default();
    shared.router.route(offered.parts.topic, &mut routes);
    let members = routes.groups.iter().flat_map(|group| &group.members);
    let mut keys: Vec<_> = routes.plain.iter().chain(members).map(|subscriber| subscriber.session).collect();
    keys.sort_unstable();
    keys.dedup();
    for (session, because) in
        shared.readers.refusals(offered.parts.topic, keys.into_iter()).into_iter().take(WITHHELD_MAX)
    {
        let client_id = sessions.get(session).map(|session| Arc::clone(&session.client_id));
        turn.tracer.note(offered.trace, || Station::Withheld { session, client_id, because });
    }
}

fn put_message(turn: &mut Turn, parts: &Parts<'_>, is_retained: bool, receivers: &[Receiver]) {
    let Some(id) = parts.record else { return };
    let references = u32::from(is_retained) + receivers.len() as u32;
    turn.durable.owed().put(id, references, |out| {
        record::write_message(out, parts, is_retained, receivers);
    });
}

/// Offers a message to the sessions of `share`, in which those of one session stand side by side, as do their
/// `claims`.
fn deliver(
    sessions: &mut Sessions,
    turn: &mut Turn,
    offered: &mut Offered<'_>,
    share: &[Subscriber],
    claims: &[Claim],
    now: Now,
) {
    let mut claims = claims.iter().peekable();
    for run in share.chunk_by(|a, b| a.session == b.session) {
        let claim = claims.next_if(|claim| claim.session == run[0].session);
        let reference = claim.map(|claim| claim.reference);
        let Some(session) = sessions.get_mut(run[0].session) else {
            give_up(turn, offered, reference);
            continue;
        };
        // [MQTT-3.3.5-1] [MQTT5 3.3.4-2] Overlapping subscriptions: one copy at the highest QoS.
        let mut qos = None;
        let mut retain_as_published = false;
        let mut ids = std::mem::take(&mut turn.ids);
        ids.clear();
        for subscriber in run {
            // [MQTT5 3.8.3-3]
            if subscriber.options.no_local && offered.parts.publisher == Some(session.publisher) {
                turn.stats.dropped_no_local.add(1);
                let client_id = &session.client_id;
                turn.tracer.note(offered.trace, || Station::NoLocal { client_id: Arc::clone(client_id) });
                continue;
            }
            qos = qos.max(Some(subscriber.options.qos));
            retain_as_published |= subscriber.options.retain_as_published;
            ids.extend(subscriber.id.map(NonZeroU32::get)); // [MQTT5 3.3.4-4]
        }
        match qos {
            Some(qos) => {
                let grant =
                    Grant { qos, retain_as_published, subscription_ids: &ids, shared: None, reference };
                session.offer(turn, offered, grant, now);
            }
            None => give_up(turn, offered, reference),
        }
        turn.ids = ids;
    }
}

fn give_up(turn: &mut Turn, offered: &Offered<'_>, reference: Option<Reference>) {
    if let (Some(record), Some(reference)) = (offered.parts.record, reference) {
        turn.durable.batch().release(record, reference.number());
    }
}

/// Offers a message to one member of a group, or to another if that one is gone.
fn deliver_shared(
    sessions: &mut Sessions,
    turn: &mut Turn,
    offered: &mut Offered<'_>,
    member: Subscriber,
    reference: Option<Reference>,
    filter: &Arc<str>,
    now: Now,
) {
    let id = member.id.map(NonZeroU32::get);
    let grant = Grant {
        qos: member.options.qos,
        retain_as_published: member.options.retain_as_published,
        subscription_ids: id.as_slice(),
        shared: Some(filter),
        reference,
    };
    match sessions.get_mut(member.session) {
        Some(session) => session.offer(turn, offered, grant, now),
        None => turn.orphans.push((None, Delivery::shared_by(offered.keep(), filter, reference))),
    }
}

/// The properties without what is between the publisher and us: alias and expiry, which is told anew to each receiver. None
/// if all go on.
fn travelling<'a>(properties: Properties<'a>, kept: &'a mut PropertiesBuf) -> Option<Properties<'a>> {
    let stays = |property: &Property<'_>| {
        !matches!(property, Property::TopicAlias(_) | Property::MessageExpiryInterval(_))
    };
    if properties.iter().all(|property| stays(&property)) {
        return None;
    }
    // [MQTT5 3.3.2-17] [MQTT5 3.3.2-18] The rest as it is and in its order.
    properties.iter().filter(stays).for_each(|property| kept.push(property));
    Some(kept.as_properties())
}

/// Topics that the broker alone publishes to.
pub(crate) fn is_reserved(topic: &str) -> bool {
    topic == "$SYS" || topic.starts_with("$SYS/")
}

pub(super) fn is_too_deep(topic: &str, levels_max: u16) -> bool {
    topic.len() >= usize::from(levels_max)
        && topic.bytes().filter(|byte| *byte == b'/').count() >= usize::from(levels_max)
}

/// How often an orphan is tried on members that turn out to be gone, before it is given up.
const ORPHAN_ROUNDS: u32 = 8;

/// Sessions that a trace names of those from whom a message is kept.
const WITHHELD_MAX: usize = 20;
