//! Where clients come in, and on which terms.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use siskin_core::MountPoint;
use siskin_proto::Version;

use super::Rates;

/// One socket that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The socket's address.
    pub place: Place,
    /// What is spoken on it, beneath MQTT.
    pub protocol: Protocol,
    /// TLS, which then is beneath all of it.
    pub tls: Option<Tls>,
    /// Which name out of a client's certificate is the client's, whatever its CONNECT says.
    pub identity: Identity,
    /// What that name is.
    pub identity_is: IdentityIs,
    /// Every connection begins with a PROXY protocol header, version 1 or 2, that names the client.
    pub proxy_protocol: bool,
    /// Versions of MQTT that are let in; empty for all of them.
    pub versions: Vec<Version>,
    /// Whether clients must show who they are. If not, everybody is let in, and no user name believed.
    pub authentication: bool,
    /// Whether clients are let in that give no user name; none for what the whole broker does.
    pub allow_anonymous: Option<bool>,
    /// Connections of this listener at once, 0 for no limit of its own. One more is closed at once.
    pub connections_max: u32,
    /// What all its clients together may do in a second.
    pub quota: Rates,
    /// The part of the topic tree that its clients take for the whole.
    pub mount_point: Option<MountPoint>,
}

/// The address of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An address and port. Port 0 is a free port of the system's choice.
    Address(SocketAddr),
    /// A Unix domain socket.
    Unix {
        /// The file.
        path: PathBuf,
        /// Its permissions; without them, what the process's umask leaves.
        mode: Option<u32>,
    },
}

/// What is spoken beneath MQTT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Nothing: packets stand one after the other.
    Mqtt,
    /// WebSocket.
    WebSocket(WebSocket),
}

/// The terms of a WebSocket listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocket {
    /// The paths that a request may name.
    pub paths: Vec<String>,
    /// The origins that a browser may come from; empty for any.
    pub origins: Vec<String>,
    /// Who is believed when it says in a header for whom it speaks.
    pub trusted_proxies: Vec<Network>,
}

/// The terms of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chains, each with its key; a client that names no server, or another one, gets the first.
    pub certificates: Vec<Certificate>,
    /// What is asked of clients.
    pub client_certificates: ClientCertificates,
    /// Files of those who may sign clients' certificates.
    pub ca: Vec<PathBuf>,
    /// Files of certificates that were revoked.
    pub crl: Vec<PathBuf>,
}

/// A certificate chain and its key, both PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The file of the chain, the server's own certificate first.
    pub chain: PathBuf,
    /// The file of the private key.
    pub key: PathBuf,
}

/// Whether clients show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are not asked for one.
    #[default]
    Off,
    /// One who shows none is let in; one who shows a bad one is not.
    Optional,
    /// Nobody is let in without.
    Required,
}

/// Which part of a certificate says who the client is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// No part of it: it only lets the client in.
    #[default]
    None,
    /// The common name of its subject.
    CommonName,
    /// Its first alternative name: DNS name, e-mail address or URI.
    AlternativeName,
    /// Its whole subject.
    Subject,
}

/// What the name in a certificate is taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdentityIs {
    /// The user name.
    #[default]
    UserName,
    /// The client id.
    ClientId,
}

/// Addresses with a common prefix, or the peers of Unix sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// All whose first `bits` bits are those of `address`.
    Prefix {
        /// One of the addresses.
        address: IpAddr,
        /// How many bits count.
        bits: u8,
    },
    /// Processes of this machine that come through a Unix socket.
    Unix,
}

impl Listener {
    /// A listener on `place` for plain MQTT, open to every version.
    pub fn new(place: Place) -> Self {
        Self {
            place,
            protocol: Protocol::Mqtt,
            tls: None,
            identity: Identity::None,
            identity_is: IdentityIs::UserName,
            proxy_protocol: false,
            versions: Vec::new(),
            authentication: true,
            allow_anonymous: None,
            connections_max: 0,
            quota: Rates::default(),
            mount_point: None,
        }
    }

    /// Whether only this machine reaches it, as far as can be seen: what a proxy here passes on comes from elsewhere.
    pub fn is_local(&self) -> bool {
        let has_proxy = match &self.protocol {
            Protocol::Mqtt => self.proxy_protocol,
            Protocol::WebSocket(options) => self.proxy_protocol || !options.trusted_proxies.is_empty(),
        };
        let is_here = match &self.place {
            Place::Address(address) => address.ip().to_canonical().is_loopback(),
            Place::Unix { .. } => true,
        };
        is_here && !has_proxy
    }

    /// Whether a client must have shown a certificate of ours.
    pub fn requires_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_certificates == ClientCertificates::Required)
    }
}

impl From<SocketAddr> for Listener {
    fn from(address: SocketAddr) -> Self {
        Self::new(Place::Address(address))
    }
}

impl fmt::Display for Listener {
    /// What is spoken there, and where: `MQTT over TLS on 127.0.0.1:8883`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (&self.protocol, self.tls.is_some()) {
            (Protocol::Mqtt, false) => "MQTT on ",
            (Protocol::Mqtt, true) => "MQTT over TLS on ",
            (Protocol::WebSocket(_), false) => "MQTT over WebSocket on ",
            (Protocol::WebSocket(_), true) => "MQTT over secure WebSocket on ",
        })?;
        self.place.fmt(f)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unix { path, .. } => path.display().fmt(f),
        }
    }
}

impl Default for WebSocket {
    fn default() -> Self {
        let paths = ["/mqtt", "/"].map(str::to_owned).to_vec();
        Self { paths, origins: Vec::new(), trusted_proxies: Vec::new() }
    }
}

impl Network {
    /// Whether `address` is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let Self::Prefix { address: network, bits } = self else { return false };
        let (ours, theirs, len) = match (network, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => (u32::from(*ours).into(), u32::from(theirs).into(), 32),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (u128::from(*ours), u128::from(theirs), 128),
            _ => return false,
        };
        (ours ^ theirs).checked_shr(len - u32::from(*bits)).unwrap_or(0) == 0
    }

    /// The same network by its first address.
    #[must_use]
    pub fn canonical(self) -> Self {
        let Self::Prefix { address, bits } = self else { return self };
        match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                Self::Prefix { address: IpAddr::from((u32::from(address) & mask).to_be_bytes()), bits }
            }
            IpAddr::V6(address) if bits >= MAPPED_BITS && address.to_ipv4_mapped().is_some() => {
                let address = IpAddr::V6(address).to_canonical();
                Self::Prefix { address, bits: bits - MAPPED_BITS }.canonical()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                Self::Prefix { address: IpAddr::from((u128::from(address) & mask).to_be_bytes()), bits }
            }
        }
    }
}

impl Place {
    /// Whether a socket at one is a socket at the other.
    pub(crate) fn is_socket_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Address(one), Self::Address(other)) => one == other,
            (Self::Unix { path: one, .. }, Self::Unix { path: other, .. }) => one == other,
            (Self::Address(_), Self::Unix { .. }) | (Self::Unix { .. }, Self::Address(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    /// `ADDRESS`, `ADDRESS/BITS` or `unix`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == UNIX {
            return Ok(Self::Unix);
        }
        let wrong = || format!("`{text}` is not an IP address, a network like 10.0.0.0/8, or `{UNIX}`");
        let (address, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(bits_max), str::parse).map_err(|_| wrong())?;
        if bits > bits_max { Err(wrong()) } else { Ok(Self::Prefix { address, bits }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix => f.write_str(UNIX),
            Self::Prefix { address, bits } if *bits == if address.is_ipv4() { 32 } else { 128 } => {
                address.fmt(f)
            }
            Self::Prefix { address, bits } => write!(f, "{address}/{bits}"),
        }
    }
}

/// What IPv4 addresses written as IPv6 have in common.
const MAPPED_BITS: u8 = 96;

/// The word for peers of Unix sockets.
const UNIX: &str = "unix";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_all_addresses_with_its_prefix() {
        let is_in = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(is_in("10.0.0.0/8", "10.255.1.2") && !is_in("10.0.0.0/8", "11.0.0.1"));
        assert!(is_in("10.0.0.1", "10.0.0.1") && !is_in("10.0.0.1", "10.0.0.2"));
        assert!(is_in("0.0.0.0/0", "1.2.3.4") && !is_in("0.0.0.0/0", "::1"));
        assert!(is_in("fd00::/8", "fd12::1") && !is_in("fd00::/8", "fe80::1") && is_in("::/0", "::1"));
        assert!(is_in("10.0.0.0/8", "::ffff:10.1.1.1") && !is_in("unix", "10.1.1.1"));
    }

    #[test]
    fn what_is_no_network_is_an_error() {
        for text in ["", "10.0.0.0/33", "::/129", "localhost", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        for text in ["10.0.0.0/8", "::1", "unix"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
    }
}
