//! Following single messages through the broker: where each was received, when it was safe, what became of it for
//! each receiver.
//!
//! A trace is armed on every worker with the same [`Watch`]. Messages that it matches are numbered by the worker that
//! takes them over and carry the number along; whoever handles one notes a [`Station`]. A message is followed by one trace
//! at most: of several that would, the one that follows a certain number of messages. While nothing is armed this costs a
//! look at a flag.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;

use siskin_proto::{PacketId, Qos, Reason, TopicFilter, TopicName};

use crate::event::Dropped;
use crate::explain::Waits;
use crate::message::Parts;
use crate::recorder::{Clock, Origin, Plain, Quoted, Span, plural};
use crate::session::SessionKey;
use crate::time::Now;

/// Which messages to follow.
#[derive(Clone, Debug)]
pub struct Watch {
    /// From [`Shared::next_trace`](crate::Shared::next_trace): the same on all workers, another for each trace.
    pub number: NonZeroU32,
    /// Only messages on topics that this filter matches; none for all.
    pub filter: Option<Arc<str>>,
    /// Only messages of this client; none for all.
    pub client_id: Option<Arc<str>>,
    /// How many messages of each worker are followed; more are not.
    pub amount: Amount,
}

/// How many messages are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// As many, from when it is armed on.
    InAll(u16),
    /// As many, and after a second as many again, for as long as it is armed.
    EachSecond(u16),
}

/// A message that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId {
    watch: NonZeroU32,
    worker: u16,
    count: u16,
}

impl TraceId {
    /// Of the `count`th message that `worker` follows for the watch of that number.
    pub const fn new(watch: NonZeroU32, worker: u16, count: u16) -> Self {
        Self { watch, worker, count }
    }
}

/// What happened to a message that is followed.
#[derive(Clone, Debug)]
pub struct Traced {
    /// Which message.
    pub id: TraceId,
    /// When.
    pub at: Now,
    /// What.
    pub station: Station,
}

/// A station of a message's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Station {
    /// It came.
    Received {
        /// From this client; none if it is the broker's own.
        client_id: Option<Arc<str>>,
        /// Where the client is, if it is there.
        origin: Origin,
        /// Its topic.
        topic: Arc<str>,
        /// Its QoS.
        qos: Qos,
        /// Whether it is to be retained.
        retain: bool,
        /// Bytes of its payload.
        payload_bytes: usize,
        /// Bytes of the properties that travel with it.
        properties_bytes: usize,
        /// Its user property `traceparent`: of which trace its publisher says that it is a part.
        traceparent: Option<Arc<str>>,
    },
    /// It was routed.
    Routed {
        /// Sessions with subscriptions of their own that match.
        sessions: usize,
        /// Shared subscriptions that match: one member of each is to have it.
        groups: usize,
        /// Sessions among these for which it is put into the store.
        stored_for: usize,
    },
    /// It was not taken over: its publisher may not publish it.
    Refused {
        /// What decides that.
        why: String,
    },
    /// A session has subscribed and may not receive it.
    Withheld {
        /// Which.
        session: SessionKey,
        /// Its client id, if the worker that notes this knows it.
        client_id: Option<Arc<str>>,
        /// What decides that.
        because: String,
    },
    /// Its publisher was answered: what that promises is safe.
    Answered {
        /// With this reason.
        reason: Reason,
    },
    /// It was put out for a receiver.
    Sent {
        /// Which.
        client_id: Arc<str>,
        /// At this QoS.
        qos: Qos,
        /// Under this id.
        packet_id: Option<PacketId>,
        /// Whether it was sent before.
        dup: bool,
    },
    /// It waits in a receiver's queue.
    Queued {
        /// Whose.
        client_id: Arc<str>,
        /// Why.
        why: Waits,
        /// How many wait before it.
        before: usize,
    },
    /// A receiver does not get it.
    Dropped {
        /// Who.
        client_id: Arc<str>,
        /// Why.
        why: Dropped,
    },
    /// A receiver is away, and QoS 0 does not wait.
    Missed {
        /// Who.
        client_id: Arc<str>,
    },
    /// The receiver is the publisher, and its subscription says No Local.
    NoLocal {
        /// Who.
        client_id: Arc<str>,
    },
    /// A receiver acknowledged it.
    Acknowledged {
        /// Who.
        client_id: Arc<str>,
    },
}

impl Station {
    /// A short name, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Received { .. } => "received",
            Self::Routed { .. } => "routed",
            Self::Refused { .. } => "refused",
            Self::Withheld { .. } => "withheld",
            Self::Answered { .. } => "answered",
            Self::Sent { .. } => "sent",
            Self::Queued { .. } => "queued",
            Self::Dropped { .. } => "dropped",
            Self::Missed { .. } => "missed",
            Self::NoLocal { .. } => "no_local",
            Self::Acknowledged { .. } => "acknowledged",
        }
    }

    /// The client that it is about, if it is known.
    pub fn client_id(&self) -> Option<&Arc<str>> {
        match self {
            Self::Received { client_id, .. } | Self::Withheld { client_id, .. } => client_id.as_ref(),
            Self::Sent { client_id, .. }
            | Self::Queued { client_id, .. }
            | Self::Dropped { client_id, .. }
            | Self::Missed { client_id }
            | Self::NoLocal { client_id }
            | Self::Acknowledged { client_id } => Some(client_id),
            Self::Routed { .. } | Self::Refused { .. } | Self::Answered { .. } => None,
        }
    }
}

/// A worker's side of a trace.
#[derive(Debug, Default)]
pub(crate) struct Tracer {
    armed: Vec<Armed>,
}

#[derive(Debug)]
struct Armed {
    watch: Watch,
    worker: u16,
    /// The number of the message followed last; after so many of them numbers are given anew.
    count: u16,
    /// How many more may be followed, until then if there are more afterwards.
    left: u16,
    until: Now,
    /// The present: a turn's handling of one packet or batch.
    now: Now,
    /// The message at hand.
    current: Option<TraceId>,
    /// Those whose publishers wait for an answer.
    unanswered: Vec<(SessionKey, PacketId, TraceId)>,
    stations: Vec<Traced>,
}

impl Tracer {
    pub(crate) fn arm(&mut self, watch: Watch, worker: u16) {
        let (Amount::InAll(left) | Amount::EachSecond(left)) = watch.amount;
        if self.armed.iter().any(|armed| armed.watch.number == watch.number) {
            return;
        }
        self.armed.push(Armed {
            watch,
            worker,
            count: 0,
            left,
            until: Now::default(),
            now: Now::default(),
            current: None,
            unanswered: Vec::new(),
            stations: Vec::new(),
        });
        self.armed.sort_by_key(|armed| matches!(armed.watch.amount, Amount::EachSecond(_)));
    }

    pub(crate) fn disarm(&mut self, number: NonZeroU32) {
        self.armed.retain(|armed| armed.watch.number != number);
    }

    pub(crate) fn take(&mut self, number: NonZeroU32) -> Vec<Traced> {
        let armed = self.armed.iter_mut().find(|armed| armed.watch.number == number);
        armed.map(|armed| std::mem::take(&mut armed.stations)).unwrap_or_default()
    }

    /// Whether any message is followed.
    #[inline]
    pub(crate) fn is_armed(&self) -> bool {
        !self.armed.is_empty()
    }

    /// Something is handled at the moment `now`.
    #[inline]
    pub(crate) fn begin_turn(&mut self, now: Now) {
        for armed in &mut self.armed {
            armed.now = now;
            armed.current = None;
        }
    }

    /// A message of `client_id` is to be published: its number, if it is to be followed.
    #[inline]
    pub(crate) fn begin<'a>(
        &mut self,
        parts: &Parts<'_>,
        publisher: impl FnOnce() -> Option<(&'a Arc<str>, Origin)>,
    ) -> Option<TraceId> {
        if self.armed.is_empty() {
            return None;
        }
        self.armed.iter_mut().for_each(|armed| armed.current = None);
        let (client_id, origin) =
            publisher().map_or((None, Origin::Unknown), |(id, origin)| (Some(id), origin));
        let armed = self.armed.iter_mut().find_map(|armed| armed.wants(parts.topic, client_id))?;
        armed.left -= 1;
        armed.count = armed.count.wrapping_add(1);
        let id = TraceId::new(armed.watch.number, armed.worker, armed.count);
        armed.current = Some(id);
        let parent = parts.properties.user_properties().find(|(name, _)| *name == TRACEPARENT);
        let station = Station::Received {
            client_id: client_id.cloned(),
            origin,
            topic: parts.topic.into(),
            qos: parts.qos,
            retain: parts.retain,
            payload_bytes: parts.payload.len(),
            properties_bytes: parts.properties.raw().len(),
            traceparent: parent
                .filter(|(_, value)| value.len() <= TRACEPARENT_BYTES_MAX)
                .map(|(_, value)| value.into()),
        };
        armed.note(id, station);
        Some(id)
    }

    /// The message at hand is answered under `packet_id`, now or when it is safe.
    #[inline]
    pub(crate) fn await_answer(&mut self, key: SessionKey, packet_id: PacketId) {
        for armed in &mut self.armed {
            if let Some(id) = armed.current.take() {
                // One that was never answered, as its client had gone.
                armed.unanswered.retain(|(k, p, _)| (*k, *p) != (key, packet_id));
                armed.unanswered.push((key, packet_id, id));
            }
        }
    }

    /// A publisher is answered.
    #[inline]
    pub(crate) fn answered(&mut self, key: SessionKey, packet_id: PacketId, reason: Reason) {
        for armed in &mut self.armed {
            if let Some(at) = armed.unanswered.iter().position(|(k, p, _)| (*k, *p) == (key, packet_id)) {
                let (_, _, id) = armed.unanswered.remove(at);
                armed.note(id, Station::Answered { reason });
            }
        }
    }

    /// Notes a station of a message, if it is one that is followed.
    #[inline]
    pub(crate) fn note(&mut self, id: Option<TraceId>, station: impl FnOnce() -> Station) {
        let Some(id) = id else { return };
        // A message may still wait that was followed by an earlier trace.
        if let Some(armed) = self.armed.iter_mut().find(|armed| armed.watch.number == id.watch) {
            armed.note(id, station());
        }
    }
}

impl Armed {
    /// Itself, if a message is to be followed by it.
    fn wants(&mut self, topic: &str, client_id: Option<&Arc<str>>) -> Option<&mut Self> {
        if let Amount::EachSecond(messages) = self.watch.amount
            && self.until <= self.now
        {
            self.left = messages;
            self.until = self.now.plus_ms(1000);
            // Who has not been answered in all that time is not waited for.
            let old = self.unanswered.len().saturating_sub(usize::from(messages));
            self.unanswered.drain(..old);
        }
        if self.left == 0 || self.stations.len() >= STATIONS_MAX {
            return None;
        }
        if self.watch.client_id.as_ref().is_some_and(|wanted| Some(wanted) != client_id) {
            return None;
        }
        let matches = self.watch.filter.as_deref().is_none_or(|filter| {
            let (filter, topic) = (TopicFilter::parse(filter), TopicName::parse(topic));
            matches!((filter, topic), (Ok(filter), Ok(topic)) if filter.matches(topic))
        });
        matches.then_some(self)
    }

    fn note(&mut self, id: TraceId, station: Station) {
        if self.stations.len() < STATIONS_MAX {
            self.stations.push(Traced { id, at: self.now, station });
        }
    }
}

/// The stations that all workers have noted, in sentences, message by message.
pub fn tell(mut stations: Vec<Traced>, clock: Clock) -> String {
    let rank = |station: &Station| match station {
        Station::Received { .. } => 0,
        Station::Routed { .. } => 1,
        _ => 2,
    };
    stations.sort_by_key(|traced| (traced.id, rank(&traced.station), traced.at));
    let mut text = String::new();
    for message in stations.chunk_by(|a, b| a.id == b.id) {
        let started = message[0].at;
        if !text.is_empty() {
            text.push('\n');
        }
        for traced in message {
            let _ = match &traced.station {
                Station::Received { .. } => writeln!(text, "{}  {}", clock.moment(traced.at), traced.station),
                _ => writeln!(
                    text,
                    "  +{:<8}{}",
                    Span(traced.at.ms_since(started)).to_string(),
                    traced.station
                ),
            };
        }
    }
    text
}

impl std::fmt::Display for Station {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Received {
                client_id, origin, topic, qos, retain, payload_bytes, properties_bytes, ..
            } => {
                write!(f, "a message on {} ", Quoted(topic))?;
                match client_id {
                    Some(id) if *origin == Origin::Unknown => write!(f, "of {}", Quoted(id))?,
                    Some(id) => write!(f, "from {} at {origin}", Quoted(id))?,
                    None => f.write_str("of the broker itself")?,
                }
                write!(f, ": QoS {}, {}", *qos as u8, plural(*payload_bytes as u64, "byte"))?;
                if *properties_bytes > 0 {
                    write!(f, " and {properties_bytes} of properties")?;
                }
                f.write_str(if *retain { ", to be retained" } else { "" })
            }
            Self::Routed { sessions: 0, groups: 0, .. } => f.write_str("matches no subscription"),
            Self::Routed { sessions, groups, stored_for } => {
                write!(f, "due to {}", plural(*sessions as u64, "session"))?;
                if *groups > 0 {
                    write!(
                        f,
                        " and one member of each of {}",
                        plural(*groups as u64, "shared subscription")
                    )?;
                }
                if *stored_for > 0 {
                    write!(f, "; put into the store for {stored_for} of them")?;
                }
                Ok(())
            }
            Self::Refused { why } => write!(f, "not taken over: {}", Plain(why)),
            Self::Withheld { client_id, because, .. } => {
                f.write_str("kept from ")?;
                match client_id {
                    Some(id) => Quoted(id).fmt(f)?,
                    None => f.write_str("a session of another worker")?,
                }
                write!(f, ", which has subscribed: {}", Plain(because))
            }
            Self::Answered { reason } if reason.is_error() => write!(f, "refused to its publisher: {reason}"),
            Self::Answered { reason } => write!(f, "safe, and acknowledged to its publisher: {reason}"),
            Self::Sent { client_id, qos, packet_id, dup } => {
                let again = if *dup { " again" } else { "" };
                write!(f, "sent{again} to {} at QoS {}", Quoted(client_id), *qos as u8)?;
                packet_id.map_or(Ok(()), |id| write!(f, " as packet {}", id.get()))
            }
            Self::Queued { client_id, why, before } => {
                write!(f, "waits for {} behind {}: {why}", Quoted(client_id), plural(*before as u64, "other"))
            }
            Self::Dropped { client_id, why } => write!(f, "dropped for {}: {why}", Quoted(client_id)),
            Self::Missed { client_id } => {
                write!(f, "missed by {}, who is not connected: QoS 0 does not wait", Quoted(client_id))
            }
            Self::NoLocal { client_id } => {
                write!(
                    f,
                    "not sent to {}, who published it: its subscription says No Local",
                    Quoted(client_id)
                )
            }
            Self::Acknowledged { client_id } => write!(f, "acknowledged by {}", Quoted(client_id)),
        }
    }
}

/// The user property by which a publisher says of which trace its message is a part. [W3C Trace Context 3.2]
const TRACEPARENT: &str = "traceparent";

/// What is longer is none: it has 55 bytes, and may have more in a later version.
const TRACEPARENT_BYTES_MAX: usize = 256;

/// Stations noted by one worker and not taken yet. At the limit no more are.
const STATIONS_MAX: usize = 10_000;
