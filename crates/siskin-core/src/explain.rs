//! Who would receive a message on a topic, and how it would fare with each.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use siskin_proto::{Qos, TopicFilter, TopicName};

use crate::access::Access;
use crate::limits::QueueFull;
use crate::recorder::{Origin, Plain, Quoted, plural};
use crate::route_cache::withhold;
use crate::router::{Routes, Subscriber};
use crate::session::{Session, SessionKey};
use crate::turn::Turn;
use crate::view::SubscriptionView;
use crate::worker::{Worker, is_reserved};

/// The receivers of a topic: of one worker, or of several [joined](Self::join).
#[derive(Clone, Debug, Default)]
pub struct TopicView {
    /// The topic.
    pub topic: String,
    /// Sessions with subscriptions of their own that match.
    pub receivers: Vec<ReceiverView>,
    /// Shared subscriptions that match.
    pub groups: Vec<GroupView>,
    /// Sessions with subscriptions that match, which may not receive it.
    pub denied: Vec<DeniedView>,
    /// Receivers that were left out for their number.
    pub left_out: usize,
    /// Those who may not receive it that were left out for their number; of one with several subscriptions, each.
    pub denied_left_out: usize,
    /// Whether the client that was named may publish it, if it has a session.
    pub publisher: Option<PublisherView>,
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

/// One session that would not have the message, although it has subscribed.
#[derive(Clone, Debug)]
pub struct DeniedView {
    /// Its client id.
    pub client_id: Arc<str>,
    /// Where its client is, if it is connected.
    pub origin: Option<Origin>,
    /// The subscriptions that match, shared ones included.
    pub filters: Vec<Arc<str>>,
    /// What decides it.
    pub because: String,
}

/// What a client may do that would publish the message.
#[derive(Clone, Debug)]
pub struct PublisherView {
    /// Its client id.
    pub client_id: Arc<str>,
    /// Whether it may.
    pub is_allowed: bool,
    /// What decides it.
    pub because: String,
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
    /// The receivers on this worker of a message on `topic`, up to `most` of them, and as many of those who may not
    /// receive it. `publisher` is the client id of whoever would send it, for what depends on that. An error says what
    /// is wrong with the topic.
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
        let publisher_view = publisher.and_then(|client_id| self.publisher(client_id, topic));
        let mut view = TopicView {
            topic: topic.to_owned(),
            is_retained,
            publisher: publisher_view,
            ..TopicView::default()
        };
        if self.shared().readers.is_on() {
            self.deny(&routes, topic, most, &mut view);
            withhold(self.shared(), topic, &mut routes);
        }
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

    /// Puts those of this worker's sessions among `routes` into `view` that may not receive messages of `topic`.
    fn deny(&self, routes: &Routes, topic: &str, most: usize, view: &mut TopicView) {
        let plain = routes.plain.iter().map(|subscriber| (subscriber.session, None));
        let members = routes.groups.iter().flat_map(|group| {
            // Those who are away too: it is not for that that they do not get it.
            let filter = TopicFilter::parse(&group.filter).ok();
            let members = filter.map(|filter| self.shared().router.members(filter).all).unwrap_or_default();
            members.into_iter().map(|member| (member.session, Some(&group.filter)))
        });
        let mut filters: BTreeMap<SessionKey, Vec<Arc<str>>> = BTreeMap::new();
        for (key, group) in plain.chain(members) {
            let is_denied = |session: &Session| !session.may_receive(topic);
            if !self.sessions.get(key).is_some_and(is_denied) {
                continue;
            }
            if filters.len() >= most && !filters.contains_key(&key) {
                view.denied_left_out += 1;
                continue;
            }
            filters.entry(key).or_default().extend(group.cloned());
        }
        let Ok(name) = TopicName::parse(topic) else { return };
        view.denied.extend(filters.into_iter().filter_map(|(key, groups)| {
            let session = self.sessions.get(key)?;
            let own = self.matching(session, name).into_iter().map(|subscription| subscription.filter);
            let permissions = session.pass.as_ref()?.permissions.as_deref()?;
            Some(DeniedView {
                client_id: Arc::clone(&session.client_id),
                origin: session.connection.as_deref().map(|connection| connection.origin),
                filters: own.chain(groups).collect(),
                because: permissions.because(Access::Receive, topic),
            })
        }));
    }

    /// Whether the client `client_id` may publish to `topic`, if its session is this worker's.
    fn publisher(&self, client_id: &str, topic: &str) -> Option<PublisherView> {
        let session = self.sessions.get(self.shared().owner(client_id)?)?;
        let access = Access::Publish { qos: Qos::AtMostOnce, retain: false };
        let permissions = session.pass.as_ref().and_then(|pass| pass.permissions.as_deref());
        let (is_allowed, because) = match permissions {
            _ if is_reserved(topic) => (false, "denied: topics under $SYS are the broker's own".to_owned()),
            Some(permissions) => (permissions.allows(access, topic), permissions.because(access, topic)),
            None => (true, "no rule limits it".to_owned()),
        };
        Some(PublisherView { client_id: Arc::clone(&session.client_id), is_allowed, because })
    }

    /// The subscriptions of a session, shared ones aside, that match.
    fn matching(&self, session: &Session, topic: TopicName<'_>) -> Vec<SubscriptionView> {
        let view = |text: &Arc<str>| {
            let filter = TopicFilter::parse(text).ok()?;
            if filter.share().is_some() || !filter.matches(topic) {
                return None;
            }
            let subscriber = self.shared().router.subscription(filter, session.key())?;
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
            key: session.key(),
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
        self.denied.extend(other.denied);
        self.left_out += other.left_out;
        self.denied_left_out += other.denied_left_out;
        self.publisher = self.publisher.take().or(other.publisher);
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
        text.push('.');
        if !self.denied.is_empty() {
            let count = self.denied.len() + self.denied_left_out;
            let denied = plural(count as u64, "session");
            let have = if count == 1 { "has" } else { "have" };
            let _ = write!(text, " {denied} that {have} subscribed may not receive it.");
        }
        text.push_str(if self.is_retained { " One is retained on it.\n" } else { "\n" });
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
        for denied in &self.denied {
            let _ = writeln!(text, "! {denied}");
        }
        if self.denied_left_out > 0 {
            let _ = writeln!(text, "! ... nor would {}", plural(self.denied_left_out as u64, "more session"));
        }
        if let Some(PublisherView { client_id, is_allowed, because }) = &self.publisher {
            let may = if *is_allowed { "may" } else { "may not" };
            let mark = if *is_allowed { ' ' } else { '!' };
            let _ = writeln!(text, "{mark} {} {may} publish it: {}", Quoted(client_id), Plain(because));
        }
        text
    }
}

impl fmt::Display for DeniedView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} has subscribed", Quoted(&self.client_id))?;
        for (at, filter) in self.filters.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { " to " } else { ", " }, Quoted(filter))?;
        }
        match self.origin {
            Some(origin) => write!(f, ", connected from {origin}")?,
            None => f.write_str(", not connected")?,
        }
        write!(f, ": it would not get it, {}", Plain(&self.because))
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

impl Outlook {
    /// A short name, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Queued(_) => "queued",
            Self::QueueFull(_) => "queue_full",
            Self::SlowReader => "slow_reader",
            Self::Missed => "missed",
            Self::NoLocal => "no_local",
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
