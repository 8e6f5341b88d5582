//! What a client says of itself, and what is known of it without its word.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use siskin_proto::Version;
use zeroize::Zeroizing;

/// A client that wants in.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its client id, or the one that the broker made up for it.
    pub client_id: Arc<str>,
    /// The user name that it gave, or that its certificate gave where the listener takes names from those.
    pub user_name: Option<Arc<str>>,
    /// The password, which may be any bytes.
    pub password: Option<Secret>,
    /// The version of its CONNECT.
    pub version: Version,
    /// Where it comes from; none on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Whether it came by a listener that only this machine reaches: a loopback address or a Unix socket.
    pub is_local: bool,
    /// The listener's own word on clients without credentials, which goes before [`Config::anonymous`].
    ///
    /// [`Config::anonymous`]: crate::Config::anonymous
    pub allow_anonymous: Option<bool>,
    /// The certificate that it has shown and TLS has verified.
    pub certificate: Option<Certificate>,
    /// Authentication Method of 5.0.
    pub method: Option<Arc<str>>,
    /// Authentication Data that came with the method.
    pub data: Vec<u8>,
}

impl Request {
    /// A client of 3.1.1 that says nothing but its id, from elsewhere.
    pub fn new(client_id: impl Into<Arc<str>>) -> Self {
        Self {
            client_id: client_id.into(),
            user_name: None,
            password: None,
            version: Version::V3_1_1,
            peer: None,
            is_local: false,
            allow_anonymous: None,
            certificate: None,
            method: None,
            data: Vec::new(),
        }
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        let password = self.password.as_ref().map_or(0, |password| password.expose().len());
        let texts = [&self.user_name, &self.method].into_iter().flatten().map(|text| text.len());
        size_of::<Self>() + self.client_id.len() + password + self.data.len() + texts.sum::<usize>()
    }

    /// Whether it claims to be anybody.
    pub(crate) fn has_credentials(&self) -> bool {
        self.user_name.is_some() || self.password.is_some() || self.method.is_some()
    }
}

/// A client's certificate, of which TLS has found that its authority is one of ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The common name.
    pub common_name: Option<Arc<str>>,
    /// The whole subject, as one line.
    pub subject: Option<Arc<str>>,
    /// Whether the listener counts the certificate as proof enough, so that no step is asked.
    pub is_proof: bool,
}

/// Bytes that nobody may see: wiped when they are freed, never shown.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The text, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
