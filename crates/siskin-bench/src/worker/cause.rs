//! Why a connection did not come about or did not last.

use std::fmt;
use std::io;

use siskin_proto::{DecodeError, PacketKind, Reason};

#[derive(Debug)]
pub(super) enum Cause {
    Io(io::Error),
    /// The system has no local port left for this address.
    NoPort,
    Closed,
    Refused(Reason, Option<String>),
    Disconnected(Reason, Option<String>),
    Malformed(DecodeError),
    /// An acknowledgement of what was not sent.
    Unexpected(&'static str),
    /// A packet that a broker may not send, or not now.
    Misplaced(PacketKind),
    /// More QoS 2 messages at once than we allowed.
    ReceiveMaximum,
    NotGranted(Reason),
    /// SUBSCRIBE was granted less than it asked for.
    GrantedLess {
        asked: u8,
        granted: u8,
    },
    /// The session that was kept is not there.
    SessionForgotten,
    TimedOut,
    /// The broker does not take messages like ours.
    TooLarge {
        packet: usize,
        max: u32,
    },
    QosMaximum(u8),
    NoRetain,
}

impl Cause {
    pub(super) fn of_io(error: io::Error) -> Self {
        match error.kind() {
            // The second is what binding to a source address without free ports gives.
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => Self::NoPort,
            _ => Self::Io(error),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = |text: &Option<String>| text.as_ref().map_or(String::new(), |text| format!(", {text:?}"));
        match self {
            Self::Io(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => f.write_str("connection refused; is a broker running there?"),
                io::ErrorKind::ConnectionReset => f.write_str("connection reset by the broker"),
                io::ErrorKind::BrokenPipe => f.write_str("connection closed by the broker while we wrote"),
                _ => write!(f, "{error}"),
            },
            Self::NoPort => f.write_str(
                "no local port is left towards this address; spread the clients over several source addresses, \
                 as with --bind 127.0.0.1-127.0.0.20",
            ),
            Self::Closed => f.write_str("connection closed by the broker without a reason"),
            Self::Refused(reason, text) => write!(f, "CONNECT was refused: {reason}{}", why(text)),
            Self::Disconnected(reason, text) => {
                write!(f, "the broker sent DISCONNECT: {reason}{}", why(text))
            }
            Self::Malformed(error) => write!(f, "the broker sent what is no MQTT: {error}"),
            Self::Unexpected(what) => write!(f, "the broker sent {what}"),
            Self::Misplaced(kind) => write!(f, "the broker sent {kind}, which it may not do here"),
            Self::ReceiveMaximum => f.write_str("the broker sent more QoS 2 messages at once than was allowed"),
            Self::NotGranted(reason) => write!(f, "SUBSCRIBE was refused: {reason}"),
            Self::GrantedLess { asked, granted } => {
                write!(f, "a subscription of QoS {asked} was granted QoS {granted} (ask for that with --subscribe-qos)")
            }
            Self::SessionForgotten => f.write_str("the broker did not keep the session"),
            Self::TimedOut => f.write_str("no answer within the time for it"),
            Self::TooLarge { packet, max } => {
                write!(f, "messages take {packet} bytes each, and the broker takes at most {max}")
            }
            Self::QosMaximum(qos) => write!(f, "the broker takes messages up to QoS {qos} only"),
            Self::NoRetain => f.write_str("the broker does not retain messages"),
        }
    }
}
