//! SUBSCRIBE and UNSUBSCRIBE.

use std::num::NonZeroU32;
use std::sync::Arc;

use siskin_proto::{
    Packet, Properties, PropertiesBuf, Qos, Reason, RetainHandling, SubAck, Subscribe, SubscriptionOptions,
    TopicFilter, UnsubAck, Unsubscribe, Version,
};

use super::Worker;
use super::publish::is_too_deep;
use crate::cause::{Cause, Violation};
use crate::event::Event;
use crate::router::Subscriber;
use crate::session::SessionKey;
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
        let mut reasons = Vec::with_capacity(subscribe.filters.len());
        // [MQTT-3.8.4-4] [MQTT5 3.8.4-5] One after the other, one answer.
        for (filter, options) in &subscribe.filters {
            let reason = match self.refusal(key, *filter, id) {
                Some(reason) => {
                    self.refuse_subscription(key, *filter, reason)?;
                    reason
                }
                None => self.grant(key, *filter, *options, id),
            };
            reasons.push(reason);
        }
        self.turn.stats.subscribes.add(1);
        let worst = reasons.iter().copied().find(|reason| reason.is_error()).unwrap_or(Reason::Success);
        let packet_id = subscribe.packet_id;
        let mut text = PropertiesBuf::new();
        let properties = self.explain(key, worst, &mut text);
        let mut answer = SubAck { packet_id, properties, reasons };
        let Some(session) = self.sessions.get_mut(key) else { return Ok(()) };
        let Some(connection) = session.connection.as_deref_mut() else { return Ok(()) };
        if !connection.put(&mut self.turn, key, &Packet::SubAck(answer.clone())) {
            answer.properties = Properties::EMPTY; // [MQTT5 3.9.2-1]
            if !connection.put(&mut self.turn, key, &Packet::SubAck(answer)) {
                return Err(Cause::Refused(Reason::PacketTooLarge));
            }
        }
        session.pump(&mut self.turn, &self.shared.retained, now);
        Ok(())
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
        let limits = &self.turn.limits;
        if is_too_deep(filter.filter(), limits.topic_levels_max) {
            return Some(Reason::TopicFilterInvalid);
        }
        let subscriptions = &self.sessions.get(key)?.subscriptions;
        let is_full = subscriptions.len() >= limits.subscriptions_max as usize;
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
        // 3.1 has no failure code in its SUBACK: grant, or close.
        if session.version == Version::V3_1 {
            return Err(Cause::Violation(Violation::SubscriptionRefused(reason)));
        }
        Ok(())
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
        let (text, is_new) = match session.subscriptions.get_key_value(filter.as_str()) {
            Some((text, _)) => (Arc::clone(text), false),
            None => (Arc::from(filter.as_str()), true),
        };
        session.subscriptions.insert(Arc::clone(&text), options);
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
            if !is_new {
                session.feeds.stop(&text);
            }
            session.feeds.start(text, options.qos, options.no_local, id.map(NonZeroU32::get));
        } else if !is_new {
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
    ) -> Result<(), Cause> {
        let Some(session) = self.sessions.get_mut(key) else { return Ok(()) };
        let mut reasons = Vec::with_capacity(unsubscribe.filters.len());
        for filter in &unsubscribe.filters {
            // [MQTT-3.10.4-1] [MQTT5 3.10.4-1] Equal character by character.
            if session.subscriptions.remove(filter.as_str()).is_none() {
                reasons.push(Reason::NoSubscriptionExisted);
                continue;
            }
            if filter.share().is_some() {
                session.shared -= 1;
            }
            session.feeds.stop(filter.as_str());
            self.shared.router.unsubscribe(*filter, key);
            reasons.push(Reason::Success);
        }
        self.turn.stats.unsubscribes.add(1);
        let (packet_id, properties) = (unsubscribe.packet_id, Properties::EMPTY);
        self.answer(key, &Packet::UnsubAck(UnsubAck { packet_id, properties, reasons }))
    }
}
