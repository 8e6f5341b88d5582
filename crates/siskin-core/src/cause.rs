//! Why a connection ended, or was never accepted.

use std::fmt;

use siskin_proto::{DecodeError, Reason};

use crate::store::Health;

/// Who ended a connection, and why.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// The client sent DISCONNECT with this reason.
    ClientDisconnect(Reason),
    /// The client closed its transport without a DISCONNECT.
    ConnectionLost,
    /// The transport failed.
    Io(std::io::ErrorKind),
    /// Nothing came for longer than the keep alive allows.
    KeepAlive {
        /// How long the client might be silent, in milliseconds.
        allowed_ms: u64,
    },
    /// The same client id connected again.
    TakenOver,
    /// The client sent something that is no packet, or one out of place.
    Malformed(DecodeError),
    /// The client broke a rule of the protocol or a limit that it was told.
    Violation(Violation),
    /// The broker did not accept the connection.
    Refused(Reason),
    /// The transport opened and no CONNECT came in time.
    ConnectTimeout,
    /// The client did not take the bytes meant for it.
    SlowReader,
    /// The broker has as many connections as it may.
    TooManyConnections,
    /// The store cannot make safe what the client wants a promise for, and the client's version has no word for
    /// that.
    NotSafe(Health),
    /// The client published where it may not.
    PublishDenied,
    /// The client is no longer one who may connect.
    Revoked,
    /// The client could not prove once more who it is. [MQTT5 4.12.1-2]
    NotProved,
    /// The time is over for which the client was let in.
    AuthorizationExpired,
    /// The client did more than a quota allows; the reason it is told.
    OverQuota(Reason),
    /// The client left much unread when the process was at its memory budget.
    MemoryShort,
    /// The broker stops.
    Shutdown,
    /// An operator closed it.
    Administrative,
    /// An operator banned the client, its user or its address.
    Banned,
}

/// A rule that a well-formed packet broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A second CONNECT. [MQTT-3.1.0-2]
    SecondConnect,
    /// A packet that only a server sends.
    ServerPacket(&'static str),
    /// AUTH on a connection without an authentication method. [MQTT5 4.12.0-7]
    AuthWithoutMethod,
    /// AUTH with another method than the CONNECT's. [MQTT5 4.12.1-1]
    OtherAuthMethod,
    /// AUTH with a reason code that is out of place. [MQTT5 4.12.0-3]
    AuthOutOfPlace,
    /// More QoS 2 messages open than the Receive Maximum allows. [MQTT5 3.3.4-7]
    ReceiveMaximum,
    /// A topic alias above the maximum. [MQTT5 3.2.2-17]
    TopicAliasTooHigh(u16),
    /// A topic alias that was never set.
    TopicAliasUnknown(u16),
    /// A subscription identifier in a PUBLISH, where only a server puts one. [MQTT5 3.3.4-6]
    SubscriptionIdentifierSent,
    /// A QoS above the one allowed. [MQTT5 3.2.2-11]
    QosNotSupported,
    /// RETAIN where retained messages are off. [MQTT5 3.2.2-14]
    RetainNotSupported,
    /// More bytes of properties than allowed.
    PropertiesTooLarge,
    /// A topic name with more levels than allowed.
    TopicTooDeep,
    /// A topic name or filter has more than 65,535 bytes with its listener's mount point in front.
    MountedTooLong,
    /// No Local on a shared subscription. [MQTT5 3.8.3-4]
    NoLocalShared,
    /// A DISCONNECT that gives a session an expiry that its CONNECT denied it.
    SessionExpiryFromZero,
    /// A 5.0 client asked for a kind of subscription that its CONNACK denied it.
    SubscriptionNotSupported(Reason),
    /// A 3.1 client was refused a subscription, which 3.1 has no word for.
    SubscriptionRefused(Reason),
}

impl Cause {
    /// The reason code that tells a 5.0 client, where there is something to tell.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::ClientDisconnect(_) | Self::ConnectionLost | Self::Io(_) | Self::ConnectTimeout => None,
            Self::KeepAlive { .. } => Some(Reason::KeepAliveTimeout),
            Self::TakenOver => Some(Reason::SessionTakenOver),
            Self::Malformed(error) => Some(error.reason()),
            Self::Violation(violation) => Some(violation.reason()),
            Self::Refused(reason) | Self::OverQuota(reason) => Some(*reason),
            Self::SlowReader | Self::TooManyConnections | Self::MemoryShort => Some(Reason::QuotaExceeded),
            Self::NotSafe(health) => Some(unsafe_reason(*health)),
            Self::PublishDenied | Self::Revoked | Self::NotProved => Some(Reason::NotAuthorized),
            Self::AuthorizationExpired => Some(Reason::MaximumConnectTime),
            Self::Shutdown => Some(Reason::ServerShuttingDown),
            // [MQTT5 3.14.2-1] Banned (0x8A) is a code of CONNACK alone: the reason string says it here.
            Self::Administrative | Self::Banned => Some(Reason::AdministrativeAction),
        }
    }

    /// Whether nothing went wrong.
    pub fn is_orderly(&self) -> bool {
        matches!(
            self,
            Self::ClientDisconnect(Reason::Success)
                | Self::TakenOver
                | Self::Shutdown
                | Self::Administrative
                | Self::Banned
        )
    }
}

/// The reason code for what a store in this state cannot promise.
pub(crate) fn unsafe_reason(health: Health) -> Reason {
    match health {
        Health::Tight | Health::Full => Reason::QuotaExceeded,
        Health::Good | Health::Behind | Health::Failing => Reason::ImplementationSpecific,
    }
}

impl Violation {
    /// The reason code of 5.0 for it.
    pub fn reason(self) -> Reason {
        match self {
            Self::SecondConnect
            | Self::ServerPacket(_)
            | Self::AuthWithoutMethod
            | Self::OtherAuthMethod
            | Self::AuthOutOfPlace
            | Self::TopicAliasUnknown(_)
            | Self::SubscriptionIdentifierSent
            | Self::NoLocalShared
            | Self::SessionExpiryFromZero => Reason::ProtocolError,
            Self::ReceiveMaximum => Reason::ReceiveMaximumExceeded,
            Self::TopicAliasTooHigh(_) => Reason::TopicAliasInvalid,
            Self::QosNotSupported => Reason::QosNotSupported,
            Self::RetainNotSupported => Reason::RetainNotSupported,
            Self::PropertiesTooLarge => Reason::QuotaExceeded,
            Self::TopicTooDeep | Self::MountedTooLong => Reason::TopicNameInvalid,
            Self::SubscriptionNotSupported(reason) | Self::SubscriptionRefused(reason) => reason,
        }
    }
}

impl Cause {
    /// What it is shown as, where that is always the same.
    pub(crate) fn words(&self) -> Option<&'static str> {
        Some(match self {
            Self::ClientDisconnect(Reason::Success) => "the client disconnected",
            Self::ConnectionLost => "the client closed the connection without a DISCONNECT",
            Self::TakenOver => "the same client id connected again",
            Self::ConnectTimeout => "no CONNECT came in time",
            Self::SlowReader => "the client did not take its bytes",
            Self::TooManyConnections => "the broker has as many connections as it may",
            Self::NotSafe(Health::Tight | Health::Full) => "the store has no room for what must be kept",
            Self::NotSafe(_) => "the store fails to keep what must be kept",
            Self::PublishDenied => "the client published where it may not",
            Self::Revoked => "the client is no longer one who may connect",
            Self::NotProved => "the client could not prove once more who it is",
            Self::AuthorizationExpired => "the time is over for which the client was let in",
            Self::MemoryShort => "the client did not take its bytes, and the broker is at its memory budget",
            Self::Shutdown => "the broker stops",
            Self::Administrative => "an operator closed the connection",
            Self::Banned => "an operator banned the client, its user or its address",
            Self::ClientDisconnect(_)
            | Self::Io(_)
            | Self::KeepAlive { .. }
            | Self::Malformed(_)
            | Self::Violation(_)
            | Self::Refused(_)
            | Self::OverQuota(_) => return None,
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientDisconnect(reason) if *reason != Reason::Success => {
                write!(f, "the client disconnected, saying: {reason}")
            }
            Self::Io(kind) => write!(f, "the connection failed: {kind}"),
            Self::KeepAlive { allowed_ms } => {
                let seconds = *allowed_ms as f64 / 1000.0;
                write!(f, "no packet from the client for {seconds} s, which its keep alive does not allow")
            }
            Self::Malformed(error) => write!(f, "bad packet: {error}"),
            Self::Violation(violation) => write!(f, "protocol violation: {violation}"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
            Self::OverQuota(reason) => {
                write!(f, "more than the quota of the client, its user or its listener allows ({reason})")
            }
            other => f.write_str(other.words().unwrap_or_default()),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SecondConnect => f.write_str("a second CONNECT"),
            Self::ServerPacket(name) => write!(f, "{name}, which only a server sends"),
            Self::AuthWithoutMethod => f.write_str("AUTH without an authentication method in the CONNECT"),
            Self::OtherAuthMethod => f.write_str("AUTH with another method than the CONNECT's"),
            Self::AuthOutOfPlace => f.write_str("AUTH with a reason code that is out of place"),
            Self::ReceiveMaximum => f.write_str("more messages open than the Receive Maximum allows"),
            Self::TopicAliasTooHigh(alias) => write!(f, "topic alias {alias} is above the maximum"),
            Self::TopicAliasUnknown(alias) => write!(f, "topic alias {alias} was never set"),
            Self::SubscriptionIdentifierSent => {
                f.write_str("a PUBLISH with a subscription identifier, which only a server sends")
            }
            Self::QosNotSupported => f.write_str("a QoS above the one allowed"),
            Self::RetainNotSupported => f.write_str("RETAIN, and retained messages are off"),
            Self::PropertiesTooLarge => f.write_str("more bytes of properties than allowed"),
            Self::TopicTooDeep => f.write_str("a topic name with more levels than allowed"),
            Self::MountedTooLong => f.write_str("a topic that is too long behind its listener's mount point"),
            Self::NoLocalShared => f.write_str("No Local on a shared subscription"),
            Self::SessionExpiryFromZero => {
                f.write_str("a DISCONNECT with a session expiry, after a CONNECT with none")
            }
            Self::SubscriptionNotSupported(reason) => {
                write!(f, "a subscription that the CONNACK said is not available ({reason})")
            }
            Self::SubscriptionRefused(reason) => {
                write!(f, "a subscription was refused ({reason}), and MQTT 3.1 has no answer for that")
            }
        }
    }
}
