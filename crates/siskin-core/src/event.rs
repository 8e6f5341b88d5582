//! What an operator may want to read: typed, and put into words only by who shows it.

use std::fmt;
use std::sync::Arc;

use siskin_proto::{Reason, Version};

use crate::access::Access;
use crate::cause::Cause;

/// Something that happened to one client.
#[derive(Clone, Debug)]
pub enum Event {
    /// A client was accepted.
    Connected {
        /// Its client id.
        client_id: Arc<str>,
        /// The driver's number of its transport.
        connection: u32,
        /// The protocol it speaks.
        version: Version,
        /// Whether it asked for a new session.
        clean_start: bool,
        /// Whether it found its session again.
        session_present: bool,
        /// The keep alive in force, in seconds; 0 for none.
        keep_alive_s: u16,
        /// How long the session outlives the connection, in seconds.
        expiry_s: u32,
    },
    /// A client's connection ended.
    Disconnected {
        /// Its client id.
        client_id: Arc<str>,
        /// The driver's number of its transport.
        connection: u32,
        /// Why.
        cause: Cause,
    },
    /// A subscription was refused.
    SubscriptionRefused {
        /// The client that asked.
        client_id: Arc<str>,
        /// The filter it asked for.
        filter: Arc<str>,
        /// The reason code it was given.
        reason: Reason,
    },
    /// A client may not do what it wanted to.
    Denied {
        /// The client.
        client_id: Arc<str>,
        /// Its user name.
        user_name: Option<Arc<str>>,
        /// What it wanted.
        access: Access,
        /// The topic or filter.
        topic: Arc<str>,
        /// What decided.
        because: Arc<str>,
        /// How many refusals since the last such event of this session.
        count: u64,
    },
    /// Messages for or from a client were dropped.
    Dropped {
        /// The client that missed or sent them.
        client_id: Arc<str>,
        /// The topic of the first of them.
        topic: Arc<str>,
        /// How many since the last such event of this session.
        count: u64,
        /// Why.
        why: Dropped,
    },
    /// A session ended and its state is gone.
    SessionEnded {
        /// Its client id.
        client_id: Arc<str>,
        /// Why.
        why: Ended,
    },
}

/// Why a message did not reach a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// The session's queue was full.
    QueueFull,
    /// Its expiry interval was over.
    Expired,
    /// It was larger than the client's Maximum Packet Size.
    TooLarge,
    /// QoS 0, and the client does not take its bytes fast enough.
    SlowReader,
    /// It lay in the store alone, where it can no longer be read.
    Unreadable,
    /// The store of retained messages is full: delivered, where it could be, but not retained.
    RetainedFull,
    /// A client published to a topic that is the broker's own.
    NotAllowed,
    /// The session was found again through a listener whose mount point the topic is not below.
    OutsideMountPoint,
    /// It waited for a client that may no longer receive it.
    Denied,
    /// More came from the client than a quota allows.
    OverQuota,
    /// The process is at its memory budget, and the message lay in no store.
    MemoryShort,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its expiry interval was over.
    Expired,
    /// The client began a new one.
    CleanStart,
}

impl Dropped {
    /// All causes, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::QueueFull,
        Self::Expired,
        Self::TooLarge,
        Self::SlowReader,
        Self::Unreadable,
        Self::RetainedFull,
        Self::NotAllowed,
        Self::OutsideMountPoint,
        Self::Denied,
        Self::OverQuota,
        Self::MemoryShort,
    ];

    /// A short name, for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Expired => "expired",
            Self::TooLarge => "too_large",
            Self::SlowReader => "slow_reader",
            Self::Unreadable => "unreadable",
            Self::RetainedFull => "retained_full",
            Self::NotAllowed => "not_allowed",
            Self::OutsideMountPoint => "outside_mount_point",
            Self::Denied => "denied",
            Self::OverQuota => "over_quota",
            Self::MemoryShort => "memory_short",
        }
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::QueueFull => "the session's queue is full",
            Self::Expired => "the message expired",
            Self::TooLarge => "larger than the client's Maximum Packet Size",
            Self::SlowReader => "QoS 0, and the client does not take its bytes",
            Self::RetainedFull => "as many retained messages as allowed",
            Self::Unreadable => "its record in the store can no longer be read",
            Self::NotAllowed => "the topic is the broker's own",
            Self::OverQuota => "more than the quota of the client, its user or its listener allows",
            Self::MemoryShort => "the broker is at its memory budget (memory_max)",
            Self::OutsideMountPoint => "the topic is not below the mount point of the client's listener",
            Self::Denied => "the client may no longer receive it",
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { client_id, version, clean_start, session_present, keep_alive_s, .. } => {
                let session = match (clean_start, session_present) {
                    (_, true) => "resumed session",
                    (true, false) => "new session, clean start",
                    (false, false) => "new session",
                };
                write!(f, "{client_id} connected: MQTT {version}, {session}, keep alive {keep_alive_s} s")
            }
            Self::Disconnected { client_id, cause, .. } => write!(f, "{client_id} disconnected: {cause}"),
            Self::SubscriptionRefused { client_id, filter, reason } => {
                write!(f, "{client_id} was refused {filter}: {reason}")
            }
            Self::Denied { client_id, user_name, access, topic, because, count } => {
                write!(f, "{client_id}")?;
                match user_name {
                    Some(user) => write!(f, ", user {user}, ")?,
                    None => f.write_str(", without a user name, ")?,
                }
                write!(f, "may not {access} {topic}: {because}")?;
                if *count > 1 { write!(f, "; {count} refusals since it was last said") } else { Ok(()) }
            }
            Self::Dropped { client_id, topic, count: 1, why } => {
                write!(f, "{client_id}: a message on {topic} was dropped: {why}")
            }
            Self::Dropped { client_id, topic, count, why } => {
                write!(f, "{client_id}: {count} messages were dropped, the first on {topic}: {why}")
            }
            Self::SessionEnded { client_id, why: Ended::Expired } => {
                write!(f, "the session of {client_id} expired")
            }
            Self::SessionEnded { client_id, why: Ended::CleanStart } => {
                write!(f, "the session of {client_id} was discarded by a clean start")
            }
        }
    }
}
