//! Where a client comes from, as far as its driver knows.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The other end of a transport. Smaller than a `SocketAddr`, as each idle connection has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Its driver does not say.
    #[default]
    Unknown,
    /// An address, and its port where that is known.
    Address(IpAddr, u16),
    /// A process of this machine.
    Local,
}

impl Origin {
    /// The address without its port.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Address(ip, _) => Some(ip),
            Self::Unknown | Self::Local => None,
        }
    }
}

impl From<SocketAddr> for Origin {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address.ip(), address.port())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("an unknown address"),
            Self::Address(ip, 0) => ip.fmt(f),
            Self::Address(ip, port) => SocketAddr::new(*ip, *port).fmt(f),
            Self::Local => f.write_str("this machine, by a Unix socket"),
        }
    }
}
