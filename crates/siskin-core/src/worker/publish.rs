//! A message's way: taken over from its publisher, retained, routed to every session that it is due to.

use std::borrow::Cow;
use std::sync::PoisonError;

use bytes::Bytes;
use siskin_proto::delivery::Arrival;
use siskin_proto::{Packet, Properties, PropertiesBuf, Property, PubAck, PubRec, Publish, Qos, Reason};

use super::{Mail, Worker};
use crate::cause::{Cause, Violation};
use crate::event::Dropped;
use crate::frames::Offered;
use crate::message::Parts;
use crate::router::Subscriber;
use crate::session::{Delivery, Grant, SessionKey, Sessions};
use crate::time::Now;
use crate::turn::Turn;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Published {
    /// Somebody is to have it.
    Routed,
    /// No subscription matches it.
    Nobody,
    /// It could not be retained, and so was not taken over.
    RetainedFull,
}

impl Worker {
    pub(super) fn handle_publish(
        &mut self,
        key: SessionKey,
        publish: &Publish<'_>,
        now: Now,
    ) -> Result<(), Cause> {
        let stats = &self.turn.stats;
        stats.messages_received[publish.qos as usize].add(1);
        stats.publish_bytes_received.add(publish.payload.len() as u64);
        self.check(publish)?;
        // Also of a message that was taken over before: it sets its alias on this connection all the same.
        let topic = self.topic(key, publish)?;
        let reason = match self.admit(key, publish)? {
            true => self.publish_from(key, &topic, publish, now),
            false => Reason::Success,
        };
        self.acknowledge(key, publish, reason)
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

    /// The topic, by its name or by an alias.
    fn topic<'a>(&mut self, key: SessionKey, publish: &Publish<'a>) -> Result<Cow<'a, str>, Cause> {
        let alias = match (publish.topic, publish.properties.topic_alias()) {
            (Some(topic), None) => return Ok(topic.as_str().into()),
            (_, alias) => alias.unwrap_or(0),
        };
        // [MQTT5 3.2.2-17] [MQTT5 3.3.2-8]
        if alias == 0 || alias > self.turn.limits.topic_alias_max {
            return Err(Cause::Violation(Violation::TopicAliasTooHigh(alias)));
        }
        let connection = self.sessions.get_mut(key).and_then(|session| session.connection.as_deref_mut());
        let aliases = &mut connection.ok_or(Cause::ConnectionLost)?.inbound_aliases;
        if let Some(topic) = publish.topic {
            aliases.set(alias, topic.as_str());
            return Ok(topic.as_str().into());
        }
        let unknown = Cause::Violation(Violation::TopicAliasUnknown(alias));
        aliases.topic(alias).map(|topic| topic.to_owned().into()).ok_or(unknown)
    }

    /// False: a QoS 2 message that was taken over before.
    fn admit(&mut self, key: SessionKey, publish: &Publish<'_>) -> Result<bool, Cause> {
        let (Qos::ExactlyOnce, Some(id)) = (publish.qos, publish.packet_id) else { return Ok(true) };
        let Some(session) = self.sessions.get_mut(key) else { return Ok(false) };
        match session.receiver.publish(id) {
            Arrival::New => Ok(true),
            Arrival::Again => Ok(false), // [MQTT-4.3.3-2] [MQTT5 4.3.3-10]
            Arrival::TooMany => Err(Cause::Violation(Violation::ReceiveMaximum)), // [MQTT5 3.3.4-7]
        }
    }

    fn publish_from(&mut self, key: SessionKey, topic: &str, publish: &Publish<'_>, now: Now) -> Reason {
        if is_reserved(topic) {
            self.report_drop(key, topic, Dropped::NotAllowed, now);
            return Reason::NotAuthorized;
        }
        let Some(session) = self.sessions.get(key) else { return Reason::Unspecified };
        let may_refuse = session.version.is_v5() && publish.qos > Qos::AtMostOnce;
        let mut kept = PropertiesBuf::new();
        let parts = Parts {
            topic,
            properties: travelling(publish.properties, &mut kept),
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            publisher: Some(session.publisher),
            received_at: now,
            expires_at: publish.properties.message_expiry_interval().map(|s| now.plus_s(s)),
            kept_until: None,
        };
        match self.publish(Some(key), parts, None, may_refuse, now) {
            Published::Routed => Reason::Success,
            Published::Nobody => Reason::NoMatchingSubscribers,
            Published::RetainedFull => Reason::QuotaExceeded,
        }
    }

    /// Retains `parts` of session `from` if they say so, and routes them. Only if it `may_refuse` is a message that cannot
    /// be retained not routed either.
    pub(super) fn publish(
        &mut self,
        from: Option<SessionKey>,
        parts: Parts<'_>,
        frame: Option<&Bytes>,
        may_refuse: bool,
        now: Now,
    ) -> Published {
        let mut offered = Offered::borrowed(parts, frame);
        if parts.retain && !self.retain(from, &mut offered, now) && may_refuse {
            return Published::RetainedFull;
        }
        self.route(&mut offered, now)
    }

    /// Puts a message into the retained store or clears its topic there. [MQTT-3.3.1-5] [MQTT5 3.3.1-5]
    fn retain(&mut self, from: Option<SessionKey>, offered: &mut Offered<'_>, now: Now) -> bool {
        self.turn.stats.retained_received.add(1);
        let topic = offered.parts.topic;
        if offered.parts.payload.is_empty() {
            // [MQTT-3.3.1-10] [MQTT-3.3.1-11] [MQTT5 3.3.1-6] [MQTT5 3.3.1-7]
            let mut retained = self.shared.retained.write().unwrap_or_else(PoisonError::into_inner);
            let old = retained.remove(topic);
            drop(retained);
            drop(old);
            return true;
        }
        let message = offered.keep_retained(self.turn.limits.retained_expiry_s, now);
        let mut retained = self.shared.retained.write().unwrap_or_else(PoisonError::into_inner);
        let old = retained.insert(message);
        drop(retained);
        if old.is_ok() {
            return true;
        }
        match from {
            Some(key) => self.report_drop(key, topic, Dropped::RetainedFull, now),
            None => self.turn.stats.dropped_retained_full.add(1),
        }
        false
    }

    /// Hands a message to every session it is due to, here and on other workers.
    fn route(&mut self, offered: &mut Offered<'_>, now: Now) -> Published {
        let cached = self.routes.route(&self.shared.router, offered.parts.topic);
        if cached.routes.plain.is_empty() && cached.routes.groups.is_empty() {
            self.turn.stats.no_subscribers.add(1);
            return Published::Nobody;
        }
        self.turn.frames.clear();
        for share in cached.routes.plain.chunk_by(|a, b| a.session.worker() == b.session.worker()) {
            let worker = share[0].session.worker();
            if worker == self.index {
                deliver(&mut self.sessions, &mut self.turn, offered, share, now);
            } else {
                self.mail[usize::from(worker)].push(offered.keep(), share, None);
            }
        }
        for group in &cached.routes.groups {
            cached.round = cached.round.wrapping_add(1);
            let place = cached.round as usize % group.members.len().max(1);
            let Some(&member) = group.members.get(place) else { continue };
            if member.session.worker() == self.index {
                deliver_shared(&mut self.sessions, &mut self.turn, offered, member, &group.filter, now);
            } else {
                let mail = &mut self.mail[usize::from(member.session.worker())];
                mail.push(offered.keep(), &[member], Some(group.filter.clone()));
            }
        }
        self.place_orphans(now);
        Published::Routed
    }

    /// Takes in what another worker has routed here.
    pub fn receive(&mut self, mail: Mail, now: Now) {
        let mut receivers = mail.receivers.as_slice();
        for envelope in mail.deliveries {
            let (share, rest) = receivers.split_at(envelope.receivers.min(receivers.len()));
            receivers = rest;
            let mut offered = Offered::kept(&envelope.message);
            self.turn.frames.clear();
            match (&envelope.shared, share) {
                (Some(filter), [member]) => {
                    deliver_shared(&mut self.sessions, &mut self.turn, &mut offered, *member, filter, now);
                }
                _ => deliver(&mut self.sessions, &mut self.turn, &mut offered, share, now),
            }
        }
        self.place_orphans(now);
    }

    /// Finds another member for what a group's member left behind; with none, it is lost with the group.
    pub(super) fn place_orphans(&mut self, now: Now) {
        for round in 0..ORPHAN_ROUNDS {
            if self.turn.orphans.is_empty() {
                return;
            }
            for (turn, (from, delivery)) in std::mem::take(&mut self.turn.orphans).into_iter().enumerate() {
                let Some(filter) = delivery.shared().cloned() else { continue };
                let Ok(parsed) = siskin_proto::TopicFilter::parse(&filter) else { continue };
                let (router, turn) = (&self.shared.router, round + turn as u32);
                // Who is away may be back before another that is; who is gone may not.
                let member = match from {
                    Some(_) => router.pick_online(parsed, turn),
                    None => router.pick(parsed, turn),
                };
                self.place(delivery, from, member, &filter, now);
            }
        }
        self.turn.orphans.clear();
    }

    fn place(
        &mut self,
        delivery: Delivery,
        from: Option<SessionKey>,
        member: Option<Subscriber>,
        filter: &std::sync::Arc<str>,
        now: Now,
    ) {
        // Nobody else is there: it stays with the member that is away.
        let Some(member) = member else {
            if let Some(session) = from.and_then(|key| self.sessions.get_mut(key)) {
                session.enqueue(&mut self.turn, delivery, now);
            }
            return;
        };
        self.turn.frames.clear();
        let mut offered = Offered::kept(&delivery.message);
        if member.session.worker() == self.index {
            deliver_shared(&mut self.sessions, &mut self.turn, &mut offered, member, filter, now);
        } else {
            let mail = &mut self.mail[usize::from(member.session.worker())];
            mail.push(&delivery.message, &[member], Some(filter.clone()));
        }
    }

    /// PUBACK, PUBREC or nothing. [MQTT-3.3.4-1] [MQTT5 3.3.4-1]
    fn acknowledge(&mut self, key: SessionKey, publish: &Publish<'_>, reason: Reason) -> Result<(), Cause> {
        let Some(packet_id) = publish.packet_id else { return Ok(()) };
        let mut text = PropertiesBuf::new();
        let properties = self.explain(key, reason, &mut text);
        let answer = |properties| match publish.qos {
            Qos::ExactlyOnce => Packet::PubRec(PubRec { packet_id, reason, properties }),
            _ => Packet::PubAck(PubAck { packet_id, reason, properties }),
        };
        if reason.is_error()
            && publish.qos == Qos::ExactlyOnce
            && let Some(session) = self.sessions.get_mut(key)
        {
            session.receiver.release(packet_id); // [MQTT5 4.3.3-9]
        }
        let Some(connection) = self.sessions.get_mut(key).and_then(|s| s.connection.as_deref_mut()) else {
            return Ok(());
        };
        // [MQTT5 3.4.2-2] [MQTT5 3.5.2-2] Without the text if it does not fit with it.
        if !connection.put(&mut self.turn, key, &answer(properties)) {
            connection.put(&mut self.turn, key, &answer(Properties::EMPTY));
        }
        Ok(())
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
        let words = match reason {
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
            self.turn.dropped(&mut session.drops, &session.client_id, topic, why, now);
        }
    }
}

/// Offers a message to the sessions of `share`, in which those of one session stand side by side.
fn deliver(
    sessions: &mut Sessions,
    turn: &mut Turn,
    offered: &mut Offered<'_>,
    share: &[Subscriber],
    now: Now,
) {
    for run in share.chunk_by(|a, b| a.session == b.session) {
        let Some(session) = sessions.get_mut(run[0].session) else { continue };
        // [MQTT-3.3.5-1] [MQTT5 3.3.4-2] Overlapping subscriptions: one copy at the highest QoS.
        let mut qos = None;
        let mut retain_as_published = false;
        let mut ids = std::mem::take(&mut turn.ids);
        ids.clear();
        for subscriber in run {
            // [MQTT5 3.8.3-3]
            if subscriber.options.no_local && offered.parts.publisher == Some(session.publisher) {
                turn.stats.dropped_no_local.add(1);
                continue;
            }
            qos = qos.max(Some(subscriber.options.qos));
            retain_as_published |= subscriber.options.retain_as_published;
            ids.extend(subscriber.id.map(std::num::NonZeroU32::get)); // [MQTT5 3.3.4-4]
        }
        if let Some(qos) = qos {
            let grant = Grant { qos, retain_as_published, subscription_ids: &ids, shared: None };
            session.offer(turn, offered, grant, now);
        }
        turn.ids = ids;
    }
}

/// Offers a message to one member of a group, or to another if that one is gone.
fn deliver_shared(
    sessions: &mut Sessions,
    turn: &mut Turn,
    offered: &mut Offered<'_>,
    member: Subscriber,
    filter: &std::sync::Arc<str>,
    now: Now,
) {
    let id = member.id.map(std::num::NonZeroU32::get);
    let grant = Grant {
        qos: member.options.qos,
        retain_as_published: member.options.retain_as_published,
        subscription_ids: id.as_slice(),
        shared: Some(filter),
    };
    match sessions.get_mut(member.session) {
        Some(session) => session.offer(turn, offered, grant, now),
        None => turn.orphans.push((None, Delivery::shared_by(offered.keep(), filter))),
    }
}

/// Without what is between the publisher and us: alias and expiry, which is told anew to each receiver.
fn travelling<'a>(properties: Properties<'a>, kept: &'a mut PropertiesBuf) -> Properties<'a> {
    let stays = |property: &Property<'_>| {
        !matches!(property, Property::TopicAlias(_) | Property::MessageExpiryInterval(_))
    };
    if properties.iter().all(|property| stays(&property)) {
        return properties;
    }
    // [MQTT5 3.3.2-17] [MQTT5 3.3.2-18] The rest as it is and in its order.
    properties.iter().filter(stays).for_each(|property| kept.push(property));
    kept.as_properties()
}

/// Topics that the broker alone publishes to.
pub(super) fn is_reserved(topic: &str) -> bool {
    topic == "$SYS" || topic.starts_with("$SYS/")
}

pub(super) fn is_too_deep(topic: &str, levels_max: u16) -> bool {
    topic.len() >= usize::from(levels_max)
        && topic.bytes().filter(|byte| *byte == b'/').count() >= usize::from(levels_max)
}

/// How often an orphan is tried on members that turn out to be gone, before it is given up.
const ORPHAN_ROUNDS: u32 = 8;
