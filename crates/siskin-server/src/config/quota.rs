//! How much clients may do in a second, and who may not come in at all.

use std::fmt;

use siskin_core::Now;

use super::Network;

/// What is allowed in a second, with as much at once after a second of silence; 0 for any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// PUBLISH packets.
    pub messages: u64,
    /// Bytes of packets.
    pub bytes: u64,
    /// CONNECT packets; of a listener, transports.
    pub connects: u64,
    /// Filters in SUBSCRIBE packets.
    pub subscribes: u64,
}

/// Quotas that are the same at every listener; a listener's own stand with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// Of one client.
    pub client: Rates,
    /// Of all clients with the same user name.
    pub user: Rates,
    /// What becomes of what is more, here and at listeners.
    pub excess: Excess,
}

/// What becomes of what is more than a quota allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// It waits: the client is not read until there is room again.
    Delay,
    /// A message is dropped, with an answer of 0x97 where the client's version has one; a subscription or a
    /// connection is refused.
    Drop,
    /// The client is disconnected.
    Disconnect,
}

/// Who comes again and again is banned for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flapping {
    /// CONNECT packets with one client id within the window, 0 for any number.
    pub client_connects: u32,
    /// The same from one address.
    pub address_connects: u32,
    /// Milliseconds in which they are counted.
    pub window_ms: u64,
    /// Milliseconds for which the client id or address is banned.
    pub ban_ms: u64,
}

/// One who may not connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Who.
    pub who: Banned,
    /// When it is over, if ever.
    pub until: Option<Now>,
    /// Why, for the log and the operator.
    pub reason: String,
}

/// Whom a ban is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Banned {
    /// Who says this client id.
    Client(String),
    /// Who says this user name.
    User(String),
    /// Who comes from there.
    Address(Network),
}

impl Banned {
    /// The same by the one name that it has among bans.
    #[must_use]
    pub fn canonical(self) -> Self {
        match self {
            Self::Address(network) => Self::Address(network.canonical()),
            Self::Client(_) | Self::User(_) => self,
        }
    }
}

impl Rates {
    /// Whether nothing is limited.
    pub fn is_unlimited(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Banned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(id) => write!(f, "client id {id:?}"),
            Self::User(name) => write!(f, "user name {name:?}"),
            Self::Address(network) => write!(f, "address {network}"),
        }
    }
}

impl Default for Quotas {
    fn default() -> Self {
        Self { client: Rates::default(), user: Rates::default(), excess: Excess::Delay }
    }
}

impl Default for Flapping {
    fn default() -> Self {
        Self { client_connects: 0, address_connects: 0, window_ms: 60_000, ban_ms: 300_000 }
    }
}
