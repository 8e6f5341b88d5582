//! SUBSCRIBE and UNSUBSCRIBE.

use std::num::NonZeroU32;
use std::sync::Arc;

use siskin_proto::{
    Packet, Properties, PropertiesBuf, Qos, Reason, RetainHandling, SubAck, Subscribe, SubscriptionOptions,
    TopicFilter, UnsubAck, Unsubscribe, Version,
};

use super::Worker;
use super::publish::is_too_deep;
use crate::access::Access;
use crate::cause::{Cause, Violation, unsafe_reason};
use crate::durable::Then;
use crate::event::Event;
use crate::pressure::Pressure;
use crate::recorder::What;
use crate::router::Subscriber;
use crate::session::{Kept, SessionKey};
use crate::store::record::{self, FeedRecord, SubscriptionRecord};
use crate::time::Now;

impl Worker {
    pub(super) fn handle_subscribe(
        &mut self,
        key: SessionKey,
        subscribe: &Subscribe<'_>,
        now: Now,
    ) -> Result<(), Cause> {
        // [MQTT5 3.8.3-4]
        if subscribe.filters.iter().any(|(filter, options)| options.no_local && filter.share().is_some()) {
            return Err(Cause::Violation(Violation::NoLocalShared));
        }
        let id = subscribe.properties.subscription_identifiers().next().and_then(NonZeroU32::new);
        // [MQTT5 4.13.1-1] By 3.2.2.3.11 to 3.2.2.3.13 a protocol error, each with its own code.
        if self.sessions.get(key).is_some_and(|session| session.version.is_v5())
            && let Some(reason) =
                subscribe.filters.iter().find_map(|(filter, _)| self.unavailable(*filter, id))
        {
            return Err(Cause::Violation(Violation::SubscriptionNotSupported(reason)));
        }
        let is_lasting = self.sessions.get(key).is_some_and(|session| session.lasting.is_some());
        let health = self.turn.durable.health();
        let mut reasons = Vec::with_capacity(subscribe.filters.len());
        // [MQTT-3.8.4-4] [MQTT5 3.8.4-5] One after the other, one answer.
        for (filter, options) in &subscribe.filters {
            let unsafe_reason = (is_lasting && !health.may_promise()).then(|| unsafe_reason(health));
            let reason = match self.refusal(key, *filter, id).or(unsafe_reason) {
                Some(reason) => {
                    self.record_answer(key, *filter, *options, reason, now);
                    self.refuse_subscription(key, *filter, reason)?;
                    reason
                }
                None if !self.may_subscribe(key, *filter, options.qos, now) => {
                    self.record_answer(key, *filter, *options, Reason::NotAuthorized, now);
                    self.close_v3_1(key, Reason::NotAuthorized)?;
                    Reason::NotAuthorized
                }
                None => {
                    let reason = self.grant(key, *filter, *options, id);
                    self.record_answer(key, *filter, *options, reason, now);
                    reason
                }
            };
            reasons.push(reason);
        }
        self.turn.stats.subscribes.add(1);
        let worst = reasons.iter().copied().find(|reason| reason.is_error()).unwrap_or(Reason::Success);
        let packet_id = subscribe.packet_id;
        let mut text = PropertiesBuf::new();
        let properties = self.explain(key, worst, &mut text);
        let answer = SubAck { packet_id, properties, reasons };
        // [MQTT5 3.9.2-1]
        let short = SubAck { properties: Properties::EMPTY, ..answer.clone() };
        // A refusal promises nothing.
        let must_wait = is_lasting && short.reasons.iter().any(|reason| !reason.is_error());
        self.answer_safely(key, &[Packet::SubAck(answer), Packet::SubAck(short)], must_wait)?;
        if let Some(session) = self.sessions.get_mut(key) {
            session.pump(&mut self.turn, &self.shared.retained, now);
        }
        Ok(())
    }

    fn record_answer(
        &mut self,
        key: SessionKey,
        filter: TopicFilter<'_>,
        options: SubscriptionOptions,
        answer: Reason,
        now: Now,
    ) {
        let filter = filter.as_str().into();
        self.record(key, What::Subscribed { filter, asked: options.qos, answer }, now);
    }

    /// Answers with the first of `forms` that the client takes: now, or if it `must_wait`, when the records put so
    /// far are safe.
    fn answer_safely(&mut self, key: SessionKey, forms: &[Packet<'_>], must_wait: bool) -> Result<(), Cause> {
        let Some(connection) = self.connection(key) else { return Ok(()) };
        let (version, size_max) = (connection.version, connection.packet_size_max as usize);
        let fits = forms.iter().find(|packet| packet.encoded_len(version) <= size_max);
        let packet = fits.ok_or(Cause::Refused(Reason::PacketTooLarge))?;
        let mut bytes = Vec::new();
        packet.encode(version, &mut bytes);
        self.say(key, Then::Answer(packet.kind(), bytes.into()), must_wait)
    }

    fn may_subscribe(&mut self, key: SessionKey, filter: TopicFilter<'_>, qos: Qos, now: Now) -> bool {
        self.check_access(key, Access::Subscribe { qos }, filter.filter(), now)
    }

    /// Why a subscription is of a kind that nobody is granted.
    fn unavailable(&self, filter: TopicFilter<'_>, id: Option<NonZeroU32>) -> Option<Reason> {
        let limits = &self.turn.limits;
        // [MQTT-3.8.3-2]
        if filter.has_wildcard() && !limits.wildcard_available {
            return Some(Reason::WildcardSubscriptionsNotSupported);
        }
        if filter.share().is_some() && !limits.shared_available {
            return Some(Reason::SharedSubscriptionsNotSupported);
        }
        if id.is_some() && !limits.subscription_ids_available {
            return Some(Reason::SubscriptionIdentifiersNotSupported);
        }
        None
    }

    /// Why a subscription cannot be granted.
    fn refusal(&self, key: SessionKey, filter: TopicFilter<'_>, id: Option<NonZeroU32>) -> Option<Reason> {
        if let Some(reason) = self.unavailable(filter, id) {
            return Some(reason);
        }
        if self.is_over_quota {
            return Some(Reason::QuotaExceeded);
        }
        let limits = &self.turn.limits;
        if is_too_deep(filter.filter(), limits.topic_levels_max) {
            return Some(Reason::TopicFilterInvalid);
        }
        let subscriptions = &self.sessions.get(key)?.subscriptions;
        let is_full = subscriptions.len() >= limits.subscriptions_max as usize
            || self.turn.pressure == Pressure::Critical;
        (is_full && !subscriptions.contains_key(filter.as_str())).then_some(Reason::QuotaExceeded)
    }

    fn refuse_subscription(
        &mut self,
        key: SessionKey,
        filter: TopicFilter<'_>,
        reason: Reason,
    ) -> Result<(), Cause> {
        let Some(session) = self.sessions.get(key) else { return Ok(()) };
        self.turn.events.push(Event::SubscriptionRefused {
            client_id: Arc::clone(&session.client_id),
            filter: filter.as_str().into(),
            reason,
        });
        self.close_v3_1(key, reason)
    }

    /// 3.1 has no failure code in its SUBACK: grant, or close.
    fn close_v3_1(&self, key: SessionKey, reason: Reason) -> Result<(), Cause> {
        match self.sessions.get(key) {
            Some(session) if session.version == Version::V3_1 => {
                Err(Cause::Violation(Violation::SubscriptionRefused(reason)))
            }
            _ => Ok(()),
        }
    }

    fn grant(
        &mut self,
        key: SessionKey,
        filter: TopicFilter<'_>,
        options: SubscriptionOptions,
        id: Option<NonZeroU32>,
    ) -> Reason {
        let Some(session) = self.sessions.get_mut(key) else { return Reason::Unspecified };
        // [MQTT-3.8.4-3] [MQTT5 3.8.4-3] The same filter again replaces options and identifier.
        let (text, before) = match session.subscriptions.get_key_value(filter.as_str()) {
            Some((text, record)) => (Arc::clone(text), Some(*record)),
            None => (Arc::from(filter.as_str()), None),
        };
        let is_new = before.is_none();
        let record = session.lasting.as_deref().map(|lasting| {
            let subscription =
                SubscriptionRecord { session: lasting.record, options, id, filter: filter.as_str() };
            let record = before.flatten().unwrap_or_else(|| self.turn.durable.next_id());
            let batch = self.turn.durable.batch();
            batch.put(record, 1, |out| record::write_subscription(out, &subscription));
            record
        });
        session.subscriptions.insert(Arc::clone(&text), record);
        if is_new && filter.share().is_some() {
            session.shared += 1;
        }
        self.shared.router.subscribe(filter, &text, Subscriber { session: key, options, id });
        let wants_retained = match options.retain_handling {
            RetainHandling::SendAtSubscribe => true, // [MQTT5 3.3.1-9] [MQTT-3.3.1-6]
            RetainHandling::SendIfNew => is_new,     // [MQTT5 3.3.1-10]
            RetainHandling::DoNotSend => false,      // [MQTT5 3.3.1-11]
        };
        if wants_retained && filter.share().is_none() {
            let former = session.feeds.stop(&text);
            let durable = &mut self.turn.durable;
            // What is sent at QoS 0 is not kept, nor is what is still to be sent.
            let lasting = session.lasting.as_deref().filter(|_| options.qos > Qos::AtMostOnce);
            let kept = lasting.zip(record).map(|(lasting, subscription)| {
                let (session, feed) = (lasting.record, durable.next_id());
                let begun = FeedRecord { session, subscription, after: "" };
                durable.batch().put(feed, 1, |out| record::write_feed(out, &begun));
                Kept { session, subscription, feed }
            });
            if let Some(former) = former {
                durable.batch().release(former, 0);
            }
            session.feeds.start(text, options, id.map(NonZeroU32::get), kept);
        } else if !is_new && !session.feeds.is_empty() {
            // [MQTT5 3.8.4-3] [MQTT5 3.8.4-8]
            session.feeds.change(&text, options.qos, options.no_local, id.map(NonZeroU32::get));
        }
        match options.qos {
            Qos::AtMostOnce => Reason::Success,
            Qos::AtLeastOnce => Reason::GrantedQos1,
            Qos::ExactlyOnce => Reason::GrantedQos2,
        }
    }

    pub(super) fn handle_unsubscribe(
        &mut self,
        key: SessionKey,
        unsubscribe: &Unsubscribe<'_>,
        now: Now,
    ) -> Result<(), Cause> {
        let Some(session) = self.sessions.get_mut(key) else { return Ok(()) };
        let mut reasons = Vec::with_capacity(unsubscribe.filters.len());
        for filter in &unsubscribe.filters {
            // [MQTT-3.10.4-1] [MQTT5 3.10.4-1] Equal character by character.
            let removed = session.subscriptions.remove(filter.as_str());
            let what = What::Unsubscribed { filter: filter.as_str().into(), existed: removed.is_some() };
            self.turn.recorder.record(&mut session.diary.log, &session.client_id, what, now);
            let Some(record) = removed else {
                reasons.push(Reason::NoSubscriptionExisted);
                continue;
            };
            if let Some(record) = record {
                self.turn.durable.batch().release(record, 0);
            }
            if filter.share().is_some() {
                session.shared -= 1;
            }
            if !session.feeds.is_empty()
                && let Some(feed) = session.feeds.stop(filter.as_str())
            {
                self.turn.durable.batch().release(feed, 0);
            }
            self.shared.router.unsubscribe(*filter, key);
            reasons.push(Reason::Success);
        }
        self.turn.stats.unsubscribes.add(1);
        // What was not there needs no record to be gone.
        let must_wait = session.lasting.is_some() && reasons.contains(&Reason::Success);
        let (packet_id, properties) = (unsubscribe.packet_id, Properties::EMPTY);
        let answer = Packet::UnsubAck(UnsubAck { packet_id, properties, reasons });
        self.answer_safely(key, &[answer], must_wait)
    }
}
