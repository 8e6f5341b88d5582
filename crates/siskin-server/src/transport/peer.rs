//! Who is at the other end.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use siskin_core::Origin;

/// The other end of a transport, as log lines name it. Smaller than a `SocketAddr`, as each idle
/// connection has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// An address, and its port where that is known.
    Address(IpAddr, u16),
    /// A process of this machine, through a Unix socket.
    Local,
}

impl Peer {
    pub(crate) fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Address(ip, port) => Some(SocketAddr::new(ip, port)),
            Self::Local => None,
        }
    }

    pub(crate) fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Address(ip, _) => Some(ip),
            Self::Local => None,
        }
    }
}

impl From<Peer> for Origin {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Address(ip, port) => Self::Address(ip, port),
            Peer::Local => Self::Local,
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address.ip(), address.port())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(ip, 0) => ip.fmt(f),
            Self::Address(ip, port) => SocketAddr::new(*ip, *port).fmt(f),
            Self::Local => f.write_str("unix"),
        }
    }
}
