//! What is recorded: typed, and put into words only by who shows it.

use std::borrow::Cow;

use siskin_proto::{Qos, Reason, Version};

use super::Origin;
use crate::cause::Cause;
use crate::event::{Dropped, Ended};
use crate::time::Now;

/// Something that happened to a client, once or several times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// When it happened for the first time.
    pub at: Now,
    /// When it happened for the last time.
    pub until: Now,
    /// How often.
    pub count: u64,
    /// What it was.
    pub what: What<'a>,
}

/// The kinds of things that happen to a client. Texts of clients are cut off after some 100 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// Older entries were thrown away: so many as its count.
    Forgotten,
    /// A connection was accepted.
    Connected {
        /// Where it came from.
        origin: Origin,
        /// The protocol it speaks.
        version: Version,
        /// Whether it asked for a new session.
        clean_start: bool,
        /// Whether it found its session again.
        session_present: bool,
        /// The keep alive that it asked for, in seconds.
        keep_alive_asked_s: u16,
        /// The one that is in force; 0 for none.
        keep_alive_s: u16,
        /// How long the session outlives the connection, in seconds; `u32::MAX` for ever.
        expiry_s: u32,
        /// Messages of QoS 1 and 2 that may be on their way to it at once.
        receive_maximum: u16,
        /// Messages that waited for it.
        waiting: u32,
        /// Whose connection it took over.
        took_over: Option<Origin>,
    },
    /// A connection was not accepted.
    Refused {
        /// Where it came from.
        origin: Origin,
        /// Why, in words.
        why: Cow<'a, str>,
    },
    /// A connection ended.
    Disconnected(Closed<'a>),
    /// A subscription was asked for.
    Subscribed {
        /// The filter; of the last, if there were several.
        filter: Cow<'a, str>,
        /// The QoS asked for.
        asked: Qos,
        /// What came of it: a QoS granted, or an error.
        answer: Reason,
    },
    /// A subscription was given up.
    Unsubscribed {
        /// The filter; of the last, if there were several.
        filter: Cow<'a, str>,
        /// Whether there was such a subscription.
        existed: bool,
    },
    /// The client wanted to do what it may not.
    Denied {
        /// What it wanted: one of [`Access::VERBS`](crate::Access::VERBS).
        verb: &'static str,
        /// The topic or filter.
        topic: Cow<'a, str>,
        /// The rule that decided.
        because: Cow<'a, str>,
    },
    /// Messages for or from the client were dropped.
    Dropped {
        /// The topic of the first of them.
        topic: Cow<'a, str>,
        /// Why.
        why: Dropped,
    },
    /// Messages of this client had to wait long until they were safe and could be acknowledged.
    SafeLate {
        /// The longest that one took, in milliseconds.
        ms_max: u64,
    },
    /// The client acknowledged messages long after the broker had them.
    AcknowledgedLate {
        /// The longest from a message's arrival to its acknowledgement, in milliseconds.
        ms_max: u64,
    },
    /// The will was published.
    WillPublished {
        /// Its topic.
        topic: Cow<'a, str>,
        /// How many sessions were to have it.
        receivers: u32,
    },
    /// The will was not published, and will not be.
    WillWithdrawn,
    /// The session ended.
    SessionEnded {
        /// Why.
        why: Ended,
        /// How many messages that were due to it were given up.
        lost: u32,
    },
    /// The session was found in the store when the broker started.
    Restored {
        /// Messages that wait for it.
        waiting: u32,
    },
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed<'a> {
    /// Why, for programs.
    pub kind: ClosedKind,
    /// The reason code that was said or would be, if there is one.
    pub reason: Option<Reason>,
    /// Who took it over, if anybody did.
    pub by_origin: Option<Origin>,
    /// Why, in words.
    pub why: Cow<'a, str>,
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The client did.
    Client,
    /// The broker did.
    Broker,
    /// Something in between.
    Network,
}

/// A [`Cause`] without its details.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ClosedKind {
    ClientDisconnect,
    ConnectionLost,
    Io,
    KeepAlive,
    TakenOver,
    Malformed,
    Violation,
    Refused,
    ConnectTimeout,
    SlowReader,
    TooManyConnections,
    NotSafe,
    Shutdown,
    Administrative,
    PublishDenied,
    Revoked,
    AuthorizationExpired,
    NotProved,
    OverQuota,
    MemoryShort,
    Banned,
}

impl<'a> Entry<'a> {
    /// What happened once.
    pub(crate) fn new(at: Now, what: What<'a>) -> Self {
        Self { at, until: at, count: 1, what }
    }
}

impl What<'_> {
    /// A short name, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Forgotten => "forgotten",
            Self::Connected { .. } => "connected",
            Self::Refused { .. } => "refused",
            Self::Disconnected(_) => "disconnected",
            Self::Subscribed { .. } => "subscribed",
            Self::Unsubscribed { .. } => "unsubscribed",
            Self::Denied { .. } => "denied",
            Self::Dropped { .. } => "dropped",
            Self::SafeLate { .. } => "safe_late",
            Self::AcknowledgedLate { .. } => "acknowledged_late",
            Self::WillPublished { .. } => "will_published",
            Self::WillWithdrawn => "will_withdrawn",
            Self::SessionEnded { .. } => "session_ended",
            Self::Restored { .. } => "restored",
        }
    }

    /// The topic or filter that it is about, or the beginning of a long one.
    pub fn topic(&self) -> Option<&str> {
        match self {
            Self::Subscribed { filter: topic, .. }
            | Self::Unsubscribed { filter: topic, .. }
            | Self::Denied { topic, .. }
            | Self::Dropped { topic, .. }
            | Self::WillPublished { topic, .. } => Some(topic),
            _ => None,
        }
    }

    /// Whether it is of interest to nobody but the client itself.
    pub(super) fn is_routine(&self) -> bool {
        match self {
            Self::Subscribed { answer, .. } => !answer.is_error(),
            Self::Unsubscribed { .. } | Self::Forgotten | Self::WillWithdrawn => true,
            _ => false,
        }
    }

    /// Takes in `later`, of the same client, if one entry can stand for both.
    pub(super) fn absorb(&mut self, later: &What<'_>) -> bool {
        match (self, later) {
            (Self::Dropped { why, .. }, What::Dropped { why: other, .. }) => why == other,
            (
                Self::Denied { verb, topic, because },
                What::Denied { verb: other, topic: its_topic, because: its_rule },
            ) => verb == other && topic == its_topic && because == its_rule,
            (Self::Refused { origin, why }, What::Refused { origin: from, why: other }) => {
                // A port means nothing here; the last is as good as the first.
                origin.ip() == from.ip() && why == other
            }
            (Self::SafeLate { ms_max }, What::SafeLate { ms_max: other })
            | (Self::AcknowledgedLate { ms_max }, What::AcknowledgedLate { ms_max: other }) => {
                *ms_max = (*ms_max).max(*other);
                true
            }
            _ => false,
        }
    }
}

impl Closed<'_> {
    /// Who ended it.
    pub fn by(&self) -> By {
        match self.kind {
            ClosedKind::ClientDisconnect | ClosedKind::ConnectionLost => By::Client,
            ClosedKind::Io => By::Network,
            _ => By::Broker,
        }
    }

    /// Whether nothing went wrong.
    pub fn is_orderly(&self) -> bool {
        match self.kind {
            ClosedKind::ClientDisconnect => self.reason == Some(Reason::Success),
            ClosedKind::Shutdown | ClosedKind::Administrative | ClosedKind::Banned => true,
            _ => false,
        }
    }

    /// What is to be remembered of `cause`.
    pub(crate) fn new(cause: &Cause, by_origin: Option<Origin>) -> Closed<'static> {
        let kind = ClosedKind::of(cause);
        let reason = match cause {
            Cause::ClientDisconnect(reason) => Some(*reason),
            other => other.reason(),
        };
        let why = cause.words().map_or_else(|| cause.to_string().into(), Cow::Borrowed);
        Closed { kind, reason, by_origin, why }
    }
}

impl ClosedKind {
    /// All kinds, in the order of their numbers.
    pub(super) const ALL: [Self; 21] = [
        Self::ClientDisconnect,
        Self::ConnectionLost,
        Self::Io,
        Self::KeepAlive,
        Self::TakenOver,
        Self::Malformed,
        Self::Violation,
        Self::Refused,
        Self::ConnectTimeout,
        Self::SlowReader,
        Self::TooManyConnections,
        Self::NotSafe,
        Self::Shutdown,
        Self::Administrative,
        Self::PublishDenied,
        Self::Revoked,
        Self::AuthorizationExpired,
        Self::NotProved,
        Self::OverQuota,
        Self::MemoryShort,
        Self::Banned,
    ];

    fn of(cause: &Cause) -> Self {
        match cause {
            Cause::ClientDisconnect(_) => Self::ClientDisconnect,
            Cause::ConnectionLost => Self::ConnectionLost,
            Cause::Io(_) => Self::Io,
            Cause::KeepAlive { .. } => Self::KeepAlive,
            Cause::TakenOver => Self::TakenOver,
            Cause::Malformed(_) => Self::Malformed,
            Cause::Violation(_) => Self::Violation,
            Cause::Refused(_) => Self::Refused,
            Cause::ConnectTimeout => Self::ConnectTimeout,
            Cause::SlowReader => Self::SlowReader,
            Cause::TooManyConnections => Self::TooManyConnections,
            Cause::NotSafe(_) => Self::NotSafe,
            Cause::Shutdown => Self::Shutdown,
            Cause::Administrative => Self::Administrative,
            Cause::PublishDenied => Self::PublishDenied,
            Cause::Revoked => Self::Revoked,
            Cause::AuthorizationExpired => Self::AuthorizationExpired,
            Cause::NotProved => Self::NotProved,
            Cause::OverQuota(_) => Self::OverQuota,
            Cause::MemoryShort => Self::MemoryShort,
            Cause::Banned => Self::Banned,
        }
    }

    /// The words for this kind, if they are always the same.
    pub(super) fn words(self) -> Option<&'static str> {
        let cause = match self {
            Self::ClientDisconnect => Cause::ClientDisconnect(Reason::Success),
            Self::ConnectionLost => Cause::ConnectionLost,
            Self::TakenOver => Cause::TakenOver,
            Self::ConnectTimeout => Cause::ConnectTimeout,
            Self::SlowReader => Cause::SlowReader,
            Self::TooManyConnections => Cause::TooManyConnections,
            Self::Shutdown => Cause::Shutdown,
            Self::Administrative => Cause::Administrative,
            Self::PublishDenied => Cause::PublishDenied,
            Self::Revoked => Cause::Revoked,
            Self::AuthorizationExpired => Cause::AuthorizationExpired,
            Self::NotProved => Cause::NotProved,
            Self::MemoryShort => Cause::MemoryShort,
            Self::Banned => Cause::Banned,
            _ => return None,
        };
        cause.words()
    }

    /// A short name, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientDisconnect => "client_disconnect",
            Self::ConnectionLost => "connection_lost",
            Self::Io => "io",
            Self::KeepAlive => "keep_alive",
            Self::TakenOver => "taken_over",
            Self::Malformed => "malformed",
            Self::Violation => "violation",
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::SlowReader => "slow_reader",
            Self::TooManyConnections => "too_many_connections",
            Self::NotSafe => "not_safe",
            Self::Shutdown => "shutdown",
            Self::Administrative => "administrative",
            Self::PublishDenied => "publish_denied",
            Self::Revoked => "revoked",
            Self::AuthorizationExpired => "authorization_expired",
            Self::NotProved => "not_proved",
            Self::OverQuota => "over_quota",
            Self::MemoryShort => "memory_short",
            Self::Banned => "banned",
        }
    }
}
