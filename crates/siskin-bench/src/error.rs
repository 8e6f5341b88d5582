//! Why a run did not take place. What goes wrong during one is a [`Problem`](crate::Problem).

use std::fmt;
use std::io;
use std::net::SocketAddr;

use siskin_proto::TopicError;

use crate::problem::Problem;
use crate::topic::UnknownPlaceholder;

/// Why there is no report.
#[derive(Debug)]
pub enum BenchError {
    /// A topic or filter has a placeholder that we do not know.
    Placeholder {
        /// What was written.
        text: String,
        /// What is wrong with it.
        fault: PlaceholderFault,
    },
    /// A topic, once its placeholders are filled in, is none.
    Topic {
        /// The topic or filter.
        text: String,
        /// What is wrong with it.
        error: TopicError,
    },
    /// Two filters of one subscriber match one topic, which leaves open how many copies are right.
    Overlap {
        /// The topic.
        topic: String,
    },
    /// Options that cannot be combined, or a number that makes no sense.
    Option(&'static str),
    /// More client and publisher pairs would have to be accounted for than memory should be spent on.
    TooManyStreams(u64),
    /// The host has no address.
    Resolve {
        /// The host.
        host: String,
        /// What the system says.
        source: io::Error,
    },
    /// The file limit is too low for the connections.
    OpenFiles {
        /// Connections that the run opens.
        connections: u64,
        /// Files that they and we need.
        needed: u64,
        /// Files that the system allows.
        limit: u64,
    },
    /// The process that was named cannot be looked at.
    Process {
        /// Its number.
        pid: u32,
        /// What the system says.
        source: io::Error,
    },
    /// Not all connections could be opened, so that figures would mean nothing.
    Connections {
        /// Where to.
        target: SocketAddr,
        /// How many are missing.
        missing: u64,
        /// Of how many.
        wanted: u64,
        /// Why.
        problems: Vec<Problem>,
    },
    /// TLS or WebSocket cannot be had as it was asked for: what, and why.
    Transport(String),
    /// The system gave no thread, poll or timer.
    System(io::Error),
}

/// What is wrong with a placeholder.
#[derive(Debug)]
pub struct PlaceholderFault(pub(crate) UnknownPlaceholder);

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Placeholder { text, fault } => write!(f, "{text:?}: {}", fault.0),
            Self::Topic { text, error } => write!(f, "{text:?} is no topic or filter: it {error}"),
            Self::Overlap { topic } => write!(
                f,
                "two filters of one subscriber match {topic:?}: how many copies it gets is the broker's choice, \
                 so nothing could be accounted for"
            ),
            Self::Option(text) => f.write_str(text),
            Self::Transport(text) => f.write_str(text),
            Self::TooManyStreams(streams) => write!(
                f,
                "{streams} pairs of publisher and subscriber are too many to account for; take fewer of either"
            ),
            Self::Resolve { host, source } => write!(f, "cannot find the host {host}: {source}"),
            Self::OpenFiles { connections, needed, limit } => write!(
                f,
                "{connections} connections need {needed} open files, but this process may have {limit}. Raise \
                 the limit (`ulimit -n {needed}` in a shell of root, LimitNOFILE={needed} in a systemd unit), or \
                 start several processes with fewer clients each and --client-offset"
            ),
            Self::Process { pid, source } => write!(f, "cannot look at process {pid}: {source}"),
            Self::Connections { target, missing, wanted, problems } => {
                write!(f, "{missing} of {wanted} connections to {target} could not be opened")?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
            Self::System(source) => write!(f, "the system does not give what is needed: {source}"),
        }
    }
}

impl std::error::Error for BenchError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve { source, .. } | Self::Process { source, .. } | Self::System(source) => {
                Some(source)
            }
            _ => None,
        }
    }
}

impl From<io::Error> for BenchError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}
