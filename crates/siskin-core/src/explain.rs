//! Who would receive a message on a topic, and how it would fare with each.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use siskin_proto::{Qos, TopicFilter, TopicName};

use crate::limits::QueueFull;
use crate::recorder::{Origin, Quoted, plural};
use crate::router::{Routes, Subscriber};
use crate::session::{Session, SessionKey};
use crate::turn::Turn;
use crate::view::SubscriptionView;
use crate::worker::Worker;

/// The receivers of a topic: of one worker, or of several [joined](Self::join).
#[derive(Clone, Debug, Default)]
pub struct TopicView {
    /// The topic.
    pub topic: String,
    /// Sessions with subscriptions of their own that match.
    pub receivers: Vec<ReceiverView>,
    /// Shared subscriptions that match.
    pub groups: Vec<GroupView>,
    /// Receivers that were left out for their number.
    pub left_out: usize,
    /// Whether a message is retained on the topic.
    pub is_retained: bool,
}

/// A shared subscription that matches: one of its candidates gets the message, in turns.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// The whole filter.
    pub filter: Arc<str>,
    /// How many take turns, on all workers: the members that are connected, or all if none is.
    pub candidates: usize,
    /// Those of them whose sessions were asked.
    pub members: Vec<ReceiverView>,
}

/// One session that would have the message.
#[derive(Clone, Debug)]
pub struct ReceiverView {
    /// Its name.
    pub key: SessionKey,
    /// Its client id.
    pub client_id: Arc<str>,
    /// Where its client is, if it is connected.
    pub origin: Option<Origin>,
    /// The subscriptions that match.
    pub subscriptions: Vec<SubscriptionView>,
    /// The QoS granted, the highest of these.
    pub qos: Qos,
    /// Messages that wait for it already.
    pub queue_messages: usize,
    /// What would become of a message published at the QoS granted.
    pub outlook: Outlook,
}

/// What would become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It would be sent.
    Sent,
    /// It would wait.
    Queued(Waits),
    /// It, or with [`QueueFull::DropOldest`] the first that waits, would be dropped: the queue is full.
    QueueFull(QueueFull),
    /// It would be dropped: QoS 0 is not kept for a client that does not take its bytes.
    SlowReader,
    /// It would be missed: QoS 0 is not kept for a client that is away.
    Missed,
    /// It would not be sent to its own publisher.
    NoLocal,
}

/// Why a message has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// The client is not connected.
    Away,
    /// The client has as many messages unacknowledged as it may.
    WindowFull,
    /// The client does not take its bytes.
    NotReading,
    /// Others wait before it.
    Others,
}

impl Worker {
    /// The receivers on this worker of a message on `topic`, up to `most` of them. `publisher` is the client id of
    /// whoever would send it, for what depends on that. An error says what is wrong with the topic.
    pub fn explain_topic(
        &self,
        topic: &str,
        publisher: Option<&str>,
        most: usize,
    ) -> Result<TopicView, siskin_proto::TopicError> {
        let name = TopicName::parse(topic)?;
        let mut routes = Routes::default();
        self.shared().router.route(topic, &mut routes);
        let retained = self.shared().retained.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_retained = retained.get(topic).is_some();
        drop(retained);
        let mut view = TopicView { topic: topic.to_owned(), is_retained, ..TopicView::default() };
        for run in routes.plain.chunk_by(|a, b| a.session == b.session) {
            let Some(session) = self.sessions.get(run[0].session) else { continue };
            if view.receivers.len() >= most {
                view.left_out += 1;
                continue;
            }
            view.receivers.push(self.receiver(session, run, self.matching(session, name), publisher));
        }
        for group in routes.groups {
            let theirs =
                group.members.iter().filter_map(|member| Some((self.sessions.get(member.session)?, member)));
            let members = theirs.take(most).map(|(session, member)| {
                let subscription = SubscriptionView {
                    filter: Arc::clone(&group.filter),
                    options: member.options,
                    id: member.id,
                };
                self.receiver(session, &[*member], vec![subscription], None)
            });
            let members = members.collect();
            view.groups.push(GroupView { candidates: group.members.len(), filter: group.filter, members });
        }
        Ok(view)
    }

    /// The subscriptions of a session, shared ones aside, that match.
    fn matching(&self, session: &Session, topic: TopicName<'_>) -> Vec<SubscriptionView> {
        let view = |text: &Arc<str>| {
            let filter = TopicFilter::parse(text).ok()?;
            if filter.share().is_some() || !filter.matches(topic) {
                return None;
            }
            let subscriber = self.shared().router.subscription(filter, session.key)?;
            Some(SubscriptionView {
                filter: Arc::clone(text),
                options: subscriber.options,
                id: subscriber.id,
            })
        };
        let mut found: Vec<_> = session.subscriptions.keys().filter_map(view).collect();
        found.sort_by(|a, b| a.filter.cmp(&b.filter));
        found
    }

    fn receiver(
        &self,
        session: &Session,
        run: &[Subscriber],
        subscriptions: Vec<SubscriptionView>,
        publisher: Option<&str>,
    ) -> ReceiverView {
        let is_own = publisher == Some(&*session.client_id);
        let heard = run.iter().filter(|subscriber| !(is_own && subscriber.options.no_local));
        let granted = heard.map(|subscriber| subscriber.options.qos).max();
        let highest = run.iter().map(|subscriber| subscriber.options.qos).max();
        let qos = granted.or(highest).unwrap_or(Qos::AtMostOnce);
        ReceiverView {
            key: session.key,
            client_id: Arc::clone(&session.client_id),
            origin: session.connection.as_deref().map(|connection| connection.origin),
            subscriptions,
            qos,
            queue_messages: session.queue.len(),
            outlook: match granted {
                None => Outlook::NoLocal,
                Some(qos) => session.outlook(&self.turn, qos),
            },
        }
    }
}

impl Session {
    /// What would become of a message that is due to it at `qos` now.
    fn outlook(&self, turn: &Turn, qos: Qos) -> Outlook {
        let waits = self.waits(turn);
        if qos == Qos::AtMostOnce {
            let may_wait = turn.limits.queue_qos0 && matches!(waits, Some(Waits::Away | Waits::Others));
            match waits {
                Some(Waits::Away) if !may_wait => return Outlook::Missed,
                Some(Waits::NotReading) => return Outlook::SlowReader,
                _ if !may_wait => return Outlook::Sent,
                _ => {}
            }
        }
        match waits {
            None => Outlook::Sent,
            Some(_) if self.queue.len() >= turn.limits.queue_messages_max as usize => {
                Outlook::QueueFull(turn.limits.queue_full)
            }
            Some(waits) => Outlook::Queued(waits),
        }
    }

    /// Why a message that is due to it now must wait, if it must.
    pub(crate) fn waits(&self, turn: &Turn) -> Option<Waits> {
        let Some(connection) = self.connection.as_deref() else { return Some(Waits::Away) };
        if connection.is_full(turn) {
            return Some(Waits::NotReading);
        }
        if !self.sender.is_ready() {
            return Some(Waits::WindowFull);
        }
        (!self.queue.is_empty()).then_some(Waits::Others)
    }
}

impl TopicView {
    /// Takes in what another worker says of the same topic.
    pub fn join(&mut self, other: Self) {
        self.receivers.extend(other.receivers);
        self.left_out += other.left_out;
        self.is_retained |= other.is_retained;
        for group in other.groups {
            match self.groups.iter_mut().find(|known| known.filter == group.filter) {
                Some(known) => known.members.extend(group.members),
                None => self.groups.push(group),
            }
        }
    }

    /// In sentences.
    pub fn tell(&self) -> String {
        let mut text = String::new();
        let sessions = plural((self.receivers.len() + self.left_out) as u64, "session");
        let _ = write!(text, "A message on {} is due to {sessions}", Quoted(&self.topic));
        if !self.groups.is_empty() {
            let groups = plural(self.groups.len() as u64, "shared subscription");
            let _ = write!(text, " and to one member of each of {groups}");
        }
        let _ = writeln!(text, ".{}", if self.is_retained { " One is retained on it." } else { "" });
        for receiver in &self.receivers {
            let _ = writeln!(text, "  {receiver}");
        }
        if self.left_out > 0 {
            let _ = writeln!(text, "  ... and {}", plural(self.left_out as u64, "more session"));
        }
        for group in &self.groups {
            let _ = writeln!(text, "  {}: one of {}, in turns", Quoted(&group.filter), group.candidates);
            for member in &group.members {
                let _ = writeln!(text, "    {member}");
            }
        }
        text
    }
}

impl fmt::Display for ReceiverView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at QoS {}", Quoted(&self.client_id), self.qos as u8)?;
        for (at, subscription) in self.subscriptions.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { " by " } else { ", " }, Quoted(&subscription.filter))?;
            if let Some(id) = subscription.id {
                write!(f, " (identifier {id})")?;
            }
        }
        match self.origin {
            Some(origin) => write!(f, ", connected from {origin}: {}", self.outlook),
            None => write!(f, ", not connected: {}", self.outlook),
        }?;
        match self.queue_messages {
            0 => Ok(()),
            1 => f.write_str("; 1 message waits already"),
            waiting => write!(f, "; {waiting} messages wait already"),
        }
    }
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sent => f.write_str("it would be sent"),
            Self::Queued(waits) => write!(f, "it would wait: {waits}"),
            Self::QueueFull(QueueFull::DropNewest) => f.write_str("it would be dropped: the queue is full"),
            Self::QueueFull(QueueFull::DropOldest) => {
                f.write_str("it would wait, and the oldest be dropped: the queue is full")
            }
            Self::SlowReader => {
                f.write_str("it would be dropped: QoS 0, and the client does not take its bytes")
            }
            Self::Missed => f.write_str("it would be missed: QoS 0 does not wait"),
            Self::NoLocal => {
                f.write_str("it would not be sent: No Local, and the client itself publishes it")
            }
        }
    }
}

impl fmt::Display for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Away => "the client is not connected",
            Self::WindowFull => "the client has as many messages unacknowledged as it may",
            Self::NotReading => "the client does not take its bytes",
            Self::Others => "others wait before it",
        })
    }
}
