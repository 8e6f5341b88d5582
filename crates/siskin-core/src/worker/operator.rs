//! What an operator sees and does by way of a worker, beside the views of single clients.

use std::fmt;
use std::sync::{Arc, PoisonError};

use siskin_proto::{Qos, Reason, TopicFilter, TopicName};

use super::Worker;
use super::publish::{Answer, Published, is_reserved, is_too_deep};
use crate::frames::Source;
use crate::message::{Parts, Publisher};
use crate::store::record::RETAINED;
use crate::store::{Health, Ticket};
use crate::time::Now;
use crate::view::SubscriptionView;

/// A subscription with the client it belongs to.
#[derive(Clone, Debug)]
pub struct ClientSubscription {
    /// Whose it is.
    pub client_id: Arc<str>,
    /// What was subscribed to.
    pub subscription: SubscriptionView,
}

/// Why a message of an operator is not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The topic is no topic name.
    TopicInvalid,
    /// The topic is the broker's own.
    Reserved,
    /// The topic has more levels than allowed.
    TopicTooDeep,
    /// The QoS is above the one allowed.
    QosNotSupported,
    /// Retained messages are off.
    RetainNotSupported,
    /// Topic, properties and payload are more than a packet may have.
    TooLarge,
    /// There is no room for another retained message.
    RetainedFull,
    /// The store does not make anything safe at the moment.
    NotSafe(Health),
}

impl Worker {
    /// Publishes a message of an operator, by the same rules as one of a client. `parts` has what the message is; who
    /// published it and which record keeps it is not for the caller to say. The second value is what must be
    /// [safe](crate::store::Store::safe) before anybody is told that the message is, if it is to outlive the broker.
    pub fn publish_as_operator(
        &mut self,
        parts: Parts<'_>,
        now: Now,
    ) -> Result<(Published, Option<Ticket>), Refusal> {
        self.check_operator(&parts)?;
        let publisher = Some(Publisher::new(OPERATOR, &self.hasher));
        let parts = Parts { publisher, record: None, received_at: now, ..parts };
        let health = self.turn.durable.health();
        if !health.may_promise() && (parts.qos > Qos::AtMostOnce || parts.retain) {
            return Err(Refusal::NotSafe(health));
        }
        self.turn.durable.take_touched();
        let published = self.publish(None, parts, Source::Unknown, Answer::TakenOrNot, now);
        let ticket = self.hand_over();
        match published {
            Published::RetainedFull => Err(Refusal::RetainedFull),
            published => Ok((published, ticket)),
        }
    }

    /// Forgets the retained messages of `topics` without telling subscribers. Says how many there were, and what must
    /// be safe before anybody is told so. All of them are removed under one lock: there should be few of them.
    pub fn clear_retained(&mut self, topics: &[String]) -> (usize, Option<Ticket>) {
        self.turn.durable.take_touched();
        let mut retained = self.shared.retained.write().unwrap_or_else(PoisonError::into_inner);
        let mut cleared = 0;
        let mut has_records = false;
        for message in topics.iter().filter_map(|topic| retained.remove(topic)) {
            cleared += 1;
            if let Some(record) = message.record() {
                self.turn.durable.owed().release(record, RETAINED);
                has_records = true;
            }
        }
        if has_records {
            // Before another worker can put the next of these topics, lest a crash in between bring this one back.
            self.turn.durable.flush_cleared();
        }
        drop(retained);
        (cleared, self.hand_over())
    }

    /// Hands over what the operator's wish has come to. The ticket of what must be safe, if anything must.
    fn hand_over(&mut self) -> Option<Ticket> {
        let durable = &mut self.turn.durable;
        durable.flush();
        let is_owed = durable.take_touched() && durable.is_on();
        is_owed.then(|| durable.awaited())
    }

    fn check_operator(&self, parts: &Parts<'_>) -> Result<(), Refusal> {
        let limits = &self.turn.limits;
        let properties = parts.properties.raw().len();
        if TopicName::parse(parts.topic).is_err() {
            return Err(Refusal::TopicInvalid);
        }
        if is_reserved(parts.topic) {
            return Err(Refusal::Reserved);
        }
        if is_too_deep(parts.topic, limits.topic_levels_max) {
            return Err(Refusal::TopicTooDeep);
        }
        if parts.qos > limits.max_qos {
            return Err(Refusal::QosNotSupported);
        }
        if parts.retain && !limits.retain_available {
            return Err(Refusal::RetainNotSupported);
        }
        let bytes = parts.topic.len() + properties + parts.payload.len();
        if properties > limits.properties_bytes_max as usize || bytes > limits.packet_size_max as usize {
            return Err(Refusal::TooLarge);
        }
        Ok(())
    }

    /// Up to `most` subscriptions of this worker's sessions for which `is_wanted` says so, from a place
    /// on. `from` is the place of a session and the number of its first subscription; the second value is
    /// where to go on, if there may be more. An answer may be short, or empty, and still not be the last.
    pub fn subscriptions_from(
        &self,
        from: (u32, u32),
        most: usize,
        is_wanted: impl Fn(&str, &SubscriptionView) -> bool,
    ) -> (Vec<ClientSubscription>, Option<(u32, u32)>) {
        let mut found = Vec::new();
        let mut looked_at = 0;
        for (place, session) in self.sessions.from(from.0) {
            let first = if place == from.0 { from.1 } else { 0 };
            looked_at += 1;
            for (number, text) in (0..).zip(session.subscriptions.keys()).skip(first as usize) {
                if found.len() >= most || looked_at >= VISITS_MAX {
                    return (found, Some((place, number)));
                }
                looked_at += 1;
                let Ok(filter) = TopicFilter::parse(text) else { continue };
                let Some(subscriber) = self.shared.router.subscription(filter, session.key()) else {
                    continue;
                };
                let subscription = SubscriptionView {
                    filter: Arc::clone(text),
                    options: subscriber.options,
                    id: subscriber.id,
                };
                if is_wanted(&session.client_id, &subscription) {
                    let client_id = Arc::clone(&session.client_id);
                    found.push(ClientSubscription { client_id, subscription });
                }
            }
            if looked_at >= VISITS_MAX {
                return (found, Some((place + 1, 0)));
            }
        }
        (found, None)
    }
}

impl Refusal {
    /// The reason code that a client would have been told.
    pub fn reason(self) -> Reason {
        match self {
            Self::TopicInvalid | Self::TopicTooDeep => Reason::TopicNameInvalid,
            Self::Reserved => Reason::NotAuthorized,
            Self::QosNotSupported => Reason::QosNotSupported,
            Self::RetainNotSupported => Reason::RetainNotSupported,
            Self::TooLarge => Reason::PacketTooLarge,
            Self::RetainedFull => Reason::QuotaExceeded,
            Self::NotSafe(health) => crate::cause::unsafe_reason(health),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TopicInvalid => "the topic is no topic name: it is empty, too long or has a wildcard in it",
            Self::Reserved => "topics under $SYS are the broker's own",
            Self::TopicTooDeep => "the topic has more levels than this broker allows",
            Self::QosNotSupported => "the QoS is above the one that this broker allows",
            Self::RetainNotSupported => "retained messages are off",
            Self::TooLarge => "topic, properties and payload are more than this broker takes",
            Self::RetainedFull => "there is no room for another retained message",
            Self::NotSafe(Health::Full) => "the store has no room for what must be kept",
            Self::NotSafe(_) => "the store fails to keep what must be kept",
        })
    }
}

impl std::error::Error for Refusal {}

/// What an operator's messages are known by, instead of a client id. No client id has a U+0000 in it.
const OPERATOR: &str = "\0operator";

/// Sessions and subscriptions looked at in one call.
const VISITS_MAX: usize = 4096;
