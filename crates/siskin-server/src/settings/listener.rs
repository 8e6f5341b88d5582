//! A `[[listener]]` table: read, checked for what does not go together, and written.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use siskin_core::MountPoint;
use siskin_proto::Version;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::{did_you_mean, scalar};
use super::kind::{Kind, Unit, Value, quoted};
use super::nearest::nearest;
use crate::config::{
    Certificate, ClientCertificates, Identity, IdentityIs, Listener, PORT, Place, Protocol, Rates,
    SECURE_WEBSOCKET_PORT, TLS_PORT, Tls, WEBSOCKET_PORT, WebSocket,
};

/// A listener as a user describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The listener; its port is not decided yet.
    pub(super) listener: Listener,
    /// The port, where one was named.
    pub(super) port: Option<u16>,
}

/// What a `[[listener]]` table may hold: key and what it is.
pub const LISTENER_KEYS: [(&str, &str); 25] = [
    ("type", "What is spoken: tcp for MQTT alone, ws for MQTT over WebSocket"),
    ("address", "IP address to listen on; 0.0.0.0 and :: mean every address of this machine"),
    ("port", "Port to listen on; 0 means a free one; default 1883, 8883 with TLS, 8083 ws, 8084 ws with TLS"),
    ("socket", "Path of a Unix socket to listen on, in place of address and port"),
    ("mode", "Permissions of that socket, like \"0660\"; default is what the umask leaves"),
    ("connections_max", "Connections of this listener at once; one more is closed at once"),
    ("quota_messages", "Messages a second from all its clients together; what is more is for quota.excess"),
    ("quota_bytes", "Bytes a second from all its clients together"),
    ("quota_connects", "Connections a second"),
    ("quota_subscribes", "Subscriptions a second of all its clients together"),
    (
        "mount_point",
        "Topics below which its clients live, like \"plant/7/\": put in front of all they name, taken off again",
    ),
    ("versions", "Versions of MQTT that are let in, of \"3.1\", \"3.1.1\" and \"5\"; default is all"),
    ("authentication", "on, or off: everybody is let in, and nobody's user name is believed; default on"),
    (
        "allow_anonymous",
        "Whether clients without a user name are let in; default is as access.allow_anonymous says",
    ),
    ("proxy_protocol", "Whether connections begin with a PROXY protocol header, version 1 or 2"),
    ("tls_cert", "PEM file of the certificate chain, or a list of files; with it, the listener speaks TLS"),
    ("tls_key", "PEM file of the private key, or a list in the order of tls_cert"),
    ("tls_ca", "PEM files of those who sign clients' certificates"),
    ("tls_crl", "PEM files of revocation lists, one for each of those"),
    ("client_certificates", "off, optional or required; default is required with tls_ca, else off"),
    ("tls_identity", "Part of a client's certificate that names it: none, cn, san or dn"),
    ("tls_identity_as", "What that name is: user or client_id"),
    ("path", "Paths at which there is WebSocket; default is /mqtt and /"),
    ("origins", "Origins that browsers may come from, like https://example.org; default is any"),
    ("trusted_proxies", "Who may name the client in X-Forwarded-For or X-Real-IP: addresses, networks, unix"),
];

impl Listen {
    /// A listener for plain MQTT at `address`.
    pub fn at(address: IpAddr, port: Option<u16>) -> Self {
        Self { listener: SocketAddr::new(address, 0).into(), port }
    }

    /// Whether it speaks MQTT and nothing beneath it.
    pub(super) fn is_plain(&self) -> bool {
        let listener = &self.listener;
        listener.tls.is_none()
            && listener.protocol == Protocol::Mqtt
            && matches!(listener.place, Place::Address(_))
    }

    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self.listener.place {
            Place::Address(address) => Some(address.ip()),
            Place::Unix { .. } => None,
        }
    }

    /// The listener, at `plain_port` if it is one for plain MQTT that names no port itself.
    pub(super) fn resolve(&self, plain_port: Option<u16>) -> Listener {
        let mut listener = self.listener.clone();
        let default = match (&listener.protocol, listener.tls.is_some()) {
            (Protocol::Mqtt, false) => plain_port.unwrap_or(PORT),
            (Protocol::Mqtt, true) => TLS_PORT,
            (Protocol::WebSocket(_), false) => WEBSOCKET_PORT,
            (Protocol::WebSocket(_), true) => SECURE_WEBSOCKET_PORT,
        };
        if let Place::Address(address) = &mut listener.place {
            address.set_port(self.port.unwrap_or(default));
        }
        listener
    }
}

impl FromStr for Listen {
    type Err = String;

    /// `ADDRESS` or `ADDRESS:PORT`, an IPv6 address with a port in brackets.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::at(address.ip(), Some(address.port())));
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        match bare.parse() {
            Ok(address) => Ok(Self::at(address, None)),
            Err(_) => Err(format!("`{text}` is neither an IP address nor one with a port")),
        }
    }
}

/// What a table says, before it is known whether it makes sense together.
#[derive(Default)]
struct Draft {
    is_websocket: bool,
    address: Option<IpAddr>,
    port: Option<u16>,
    socket: Option<PathBuf>,
    mode: Option<u32>,
    websocket: WebSocket,
    certs: Vec<PathBuf>,
    keys: Vec<PathBuf>,
    ca: Vec<PathBuf>,
    crl: Vec<PathBuf>,
    client_certificates: Option<ClientCertificates>,
    identity: Identity,
    identity_is: IdentityIs,
    proxy_protocol: bool,
    versions: Vec<Version>,
    is_open: bool,
    allow_anonymous: Option<bool>,
    connections_max: u32,
    quota: Rates,
    mount_point: Option<MountPoint>,
}

/// Reads the table at `at`. The mistakes are all there are, each with its place.
pub(super) fn read(at: usize, table: &DeTable<'_>) -> Result<Listen, Vec<(usize, String)>> {
    let mut draft = Draft::default();
    let mut mistakes = Vec::new();
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        if LISTENER_KEYS.iter().any(|(key, _)| *key == name) {
            if let Err(message) = draft.read(name, value.get_ref()) {
                mistakes.push((value.span().start, format!("`{name}`: {message}")));
            }
        } else {
            let keys = LISTENER_KEYS.iter().map(|(key, _)| *key);
            let message = did_you_mean(format!("a listener has no `{name}`"), nearest(name, keys));
            mistakes.push((key.span().start, message));
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    draft.finish(table).map_err(|(key, message)| {
        let place = key.and_then(|key| table.keys().find(|there| there.get_ref() == key)).map(Spanned::span);
        vec![(place.map_or(at, |span| span.start), message)]
    })
}

impl Draft {
    fn read(&mut self, key: &str, value: &DeValue<'_>) -> Result<(), String> {
        match key {
            "type" => self.is_websocket = word(value, &[("tcp", false), ("ws", true)])?,
            "address" => {
                let text = one(value)?;
                self.address = Some(text.parse().map_err(|_| format!("`{text}` is not an IP address"))?);
            }
            "port" => {
                let text = one(value)?;
                self.port = Some(text.parse().map_err(|_| format!("`{text}` is not a port, 0 to 65535"))?);
            }
            "socket" => {
                let text = one(value)?;
                if text.is_empty() {
                    return Err("a file must be named".to_owned());
                }
                self.socket = Some(text.into());
            }
            "mode" => self.mode = Some(mode(value)?),
            "connections_max" => {
                if let Value::Number(max) = CONNECTIONS_MAX.parse(&one(value)?)? {
                    self.connections_max = max as u32;
                }
            }
            "quota_messages" => self.quota.messages = rate(value, Unit::Count)?,
            "quota_bytes" => self.quota.bytes = rate(value, Unit::Bytes)?,
            "quota_connects" => self.quota.connects = rate(value, Unit::Count)?,
            "quota_subscribes" => self.quota.subscribes = rate(value, Unit::Count)?,
            "mount_point" => {
                let text = one(value)?;
                let parsed = MountPoint::parse(&text).map_err(|error| format!("`{text}` {error}"))?;
                self.mount_point = Some(parsed);
            }
            "versions" => self.versions = versions(value)?,
            "authentication" => self.is_open = word(value, &[("on", false), ("off", true)])?,
            "allow_anonymous" => {
                self.allow_anonymous = Some(word(value, &[("true", true), ("false", false)])?);
            }
            "proxy_protocol" => self.proxy_protocol = word(value, &[("true", true), ("false", false)])?,
            "tls_cert" => self.certs = paths(value)?,
            "tls_key" => self.keys = paths(value)?,
            "tls_ca" => self.ca = paths(value)?,
            "tls_crl" => self.crl = paths(value)?,
            "client_certificates" => self.client_certificates = Some(word(value, &CLIENT_CERTIFICATES)?),
            "tls_identity" => self.identity = word(value, &IDENTITIES)?,
            "tls_identity_as" => self.identity_is = word(value, &IDENTITY_IS)?,
            "path" => {
                self.websocket.paths = many(value)?;
                if let Some(path) = self.websocket.paths.iter().find(|path| !path.starts_with('/')) {
                    return Err(format!("`{path}` does not begin with /"));
                }
            }
            "origins" => {
                let origins = many(value)?.into_iter();
                self.websocket.origins = origins.map(|text| text.trim_end_matches('/').to_owned()).collect();
            }
            _ => {
                let texts = many(value)?;
                let networks: Result<_, _> = texts.iter().map(|text| text.parse()).collect();
                self.websocket.trusted_proxies = networks?;
            }
        }
        Ok(())
    }

    /// The listener, or the first key that does not go with the others, and why not.
    fn finish(self, table: &DeTable<'_>) -> Result<Listen, (Option<&'static str>, String)> {
        let has = |key: &str| table.keys().any(|there| there.get_ref() == key);
        let wrong = |key: &'static str, message: &str| Err((Some(key), format!("`{key}`: {message}")));
        let place = match (self.address, self.socket) {
            (Some(_), Some(_)) => return wrong("socket", "a listener has either an `address` or a `socket`"),
            (None, None) => return Err((None, "this listener has no `address`".to_owned())),
            (None, Some(_)) if self.port.is_some() => return wrong("port", "a Unix socket has no port"),
            (None, Some(path)) => Place::Unix { path, mode: self.mode },
            (Some(_), None) if self.mode.is_some() => return wrong("mode", "it is the mode of a `socket`"),
            (Some(address), None) => Place::Address(SocketAddr::new(address, 0)),
        };
        for key in ["path", "origins", "trusted_proxies"] {
            if has(key) && !self.is_websocket {
                return wrong(key, "it is for listeners with `type = \"ws\"`");
            }
        }
        if self.is_open && self.allow_anonymous.is_some() {
            return wrong("allow_anonymous", "with `authentication = \"off\"` everybody is let in");
        }
        match (self.certs.len(), self.keys.len()) {
            (0, 0) => {
                let tls_keys = ["tls_ca", "tls_crl", "client_certificates"];
                if let Some(key) = tls_keys.into_iter().find(|key| has(key)) {
                    return wrong(key, "it is for listeners with `tls_cert` and `tls_key`");
                }
            }
            (_, 0) => return wrong("tls_cert", "its private key is missing: `tls_key`"),
            (0, _) => return wrong("tls_key", "its certificate is missing: `tls_cert`"),
            (certs, keys) if certs != keys => {
                return wrong("tls_key", &format!("there are {certs} certificates and {keys} keys"));
            }
            _ => {}
        }
        let wished = self.client_certificates;
        let by_ca = if self.ca.is_empty() { ClientCertificates::Off } else { ClientCertificates::Required };
        let client_certificates = wished.unwrap_or(by_ca);
        let asks_clients = client_certificates != ClientCertificates::Off;
        if asks_clients && self.ca.is_empty() {
            return wrong("client_certificates", "who signs them is missing: `tls_ca`");
        }
        if !asks_clients && !self.ca.is_empty() {
            return wrong("tls_ca", "it is for clients' certificates, and `client_certificates` is off");
        }
        if !self.crl.is_empty() && !asks_clients {
            return wrong("tls_crl", "it is for clients' certificates, which nobody asks for");
        }
        if self.identity != Identity::None && !asks_clients {
            if !self.proxy_protocol {
                return wrong("tls_identity", "there are no clients' certificates to take it from");
            }
            if self.identity != Identity::CommonName {
                return wrong("tls_identity", "a proxy tells the common name alone: `cn`");
            }
        }
        if has("tls_identity_as") && self.identity == Identity::None {
            return wrong("tls_identity_as", "there is no `tls_identity` to be one");
        }
        let certificates = self.certs.into_iter().zip(self.keys);
        let certificates: Vec<_> = certificates.map(|(chain, key)| Certificate { chain, key }).collect();
        let (ca, crl) = (self.ca, self.crl);
        let has_tls = !certificates.is_empty();
        let listener = Listener {
            place,
            protocol: if self.is_websocket { Protocol::WebSocket(self.websocket) } else { Protocol::Mqtt },
            tls: has_tls.then_some(Tls { certificates, client_certificates, ca, crl }),
            identity: self.identity,
            identity_is: self.identity_is,
            proxy_protocol: self.proxy_protocol,
            versions: self.versions,
            authentication: !self.is_open,
            allow_anonymous: self.allow_anonymous,
            connections_max: self.connections_max,
            quota: self.quota,
            mount_point: self.mount_point,
        };
        Ok(Listen { listener, port: self.port })
    }
}

/// `listener` as a table that says the same.
pub(super) fn to_toml(listener: &Listener) -> String {
    let mut text = "[[listener]]\n".to_owned();
    let mut put = |key: &str, value: String| {
        let _ = writeln!(text, "{key} = {value}");
    };
    let is_websocket = matches!(listener.protocol, Protocol::WebSocket(_));
    put("type", quoted(if is_websocket { "ws" } else { "tcp" }));
    match &listener.place {
        Place::Address(address) => {
            put("address", quoted(&address.ip().to_string()));
            put("port", address.port().to_string());
        }
        Place::Unix { path, mode } => {
            put("socket", quoted(&path.display().to_string()));
            if let Some(mode) = mode {
                put("mode", format!("\"{mode:04o}\""));
            }
        }
    }
    put("connections_max", CONNECTIONS_MAX.show_toml(&Value::Number(listener.connections_max.into())));
    for (key, unit, number) in [
        ("quota_messages", Unit::Count, listener.quota.messages),
        ("quota_bytes", Unit::Bytes, listener.quota.bytes),
        ("quota_connects", Unit::Count, listener.quota.connects),
        ("quota_subscribes", Unit::Count, listener.quota.subscribes),
    ] {
        put(key, rate_kind(unit).show_toml(&Value::Number(number)));
    }
    let is_open = |version: &Version| listener.versions.is_empty() || listener.versions.contains(version);
    let versions = VERSIONS.iter().filter(|(_, version)| is_open(version)).map(|(word, _)| *word);
    put("versions", list(versions));
    if let Some(mount_point) = &listener.mount_point {
        put("mount_point", quoted(mount_point.as_str()));
    }
    put("authentication", quoted(if listener.authentication { "on" } else { "off" }));
    if let Some(is_allowed) = listener.allow_anonymous {
        put("allow_anonymous", is_allowed.to_string());
    }
    put("proxy_protocol", listener.proxy_protocol.to_string());
    if let Some(tls) = &listener.tls {
        let files = |files: &mut dyn Iterator<Item = &PathBuf>| list(files.map(|path| path.display()));
        put("tls_cert", files(&mut tls.certificates.iter().map(|file| &file.chain)));
        put("tls_key", files(&mut tls.certificates.iter().map(|file| &file.key)));
        if !tls.ca.is_empty() {
            put("tls_ca", files(&mut tls.ca.iter()));
        }
        if !tls.crl.is_empty() {
            put("tls_crl", files(&mut tls.crl.iter()));
        }
        put("client_certificates", quoted(word_for(&CLIENT_CERTIFICATES, &tls.client_certificates)));
    }
    if listener.identity != Identity::None {
        put("tls_identity", quoted(word_for(&IDENTITIES, &listener.identity)));
        put("tls_identity_as", quoted(word_for(&IDENTITY_IS, &listener.identity_is)));
    }
    if let Protocol::WebSocket(options) = &listener.protocol {
        put("path", list(options.paths.iter()));
        put("origins", list(options.origins.iter()));
        put("trusted_proxies", list(options.trusted_proxies.iter()));
    }
    text
}

pub(super) fn list(items: impl Iterator<Item = impl ToString>) -> String {
    let items: Vec<_> = items.map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

pub(super) fn one(value: &DeValue<'_>) -> Result<String, String> {
    let text = scalar(value).ok_or_else(|| "it takes one value".to_owned())?;
    match text.chars().any(char::is_control) {
        true => Err("there is a control character in it".to_owned()),
        false => Ok(text),
    }
}

/// One value, or a list of them.
fn many(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value.as_array() {
        Some(values) => values.iter().map(|value| one(value.get_ref())).collect(),
        None => one(value).map(|text| vec![text]),
    }
}

fn paths(value: &DeValue<'_>) -> Result<Vec<PathBuf>, String> {
    let texts = many(value)?;
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return Err("a file must be named".to_owned());
    }
    Ok(texts.into_iter().map(PathBuf::from).collect())
}

pub(super) fn word<T: Copy>(value: &DeValue<'_>, words: &[(&str, T)]) -> Result<T, String> {
    let text = one(value)?;
    words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("`{text}` is not one of {}", words.join(", "))
    })
}

pub(super) fn word_for<T: PartialEq>(words: &[(&'static str, T)], meaning: &T) -> &'static str {
    words.iter().find(|(_, its)| its == meaning).map_or("", |(word, _)| word)
}

/// All of them are the same as none: no version is kept out.
fn versions(value: &DeValue<'_>) -> Result<Vec<Version>, String> {
    let mut versions = Vec::new();
    for text in many(value)? {
        match VERSIONS.iter().find(|(word, _)| *word == text || (*word == "5" && text == "5.0")) {
            Some((_, version)) if versions.contains(version) => {}
            Some((_, version)) => versions.push(*version),
            None => return Err(format!("`{text}` is not one of 3.1, 3.1.1, 5")),
        }
    }
    if versions.is_empty() {
        return Err("at least one version must be let in".to_owned());
    }
    versions.sort_unstable();
    Ok(if versions.len() == VERSIONS.len() { Vec::new() } else { versions })
}

fn mode(value: &DeValue<'_>) -> Result<u32, String> {
    let text = one(value)?;
    let is_octal = matches!(value, DeValue::String(_));
    let mode = match value {
        DeValue::Integer(number) if number.radix() == 8 => text.parse().ok(),
        _ if is_octal => u32::from_str_radix(&text, 8).ok(),
        _ => None,
    };
    mode.filter(|mode| *mode <= 0o777).ok_or_else(|| format!("`{text}` is not a mode like \"0660\""))
}

const VERSIONS: [(&str, Version); 3] =
    [("3.1", Version::V3_1), ("3.1.1", Version::V3_1_1), ("5", Version::V5)];

const CLIENT_CERTIFICATES: [(&str, ClientCertificates); 3] = [
    ("off", ClientCertificates::Off),
    ("optional", ClientCertificates::Optional),
    ("required", ClientCertificates::Required),
];

const IDENTITIES: [(&str, Identity); 4] = [
    ("none", Identity::None),
    ("cn", Identity::CommonName),
    ("san", Identity::AlternativeName),
    ("dn", Identity::Subject),
];

const IDENTITY_IS: [(&str, IdentityIs); 2] =
    [("user", IdentityIs::UserName), ("client_id", IdentityIs::ClientId)];

/// What may come in a second.
const fn rate_kind(unit: Unit) -> Kind {
    Kind::Number { unit, range: 0..=RATE_MAX, word: Some(("unlimited", 0)) }
}

fn rate(value: &DeValue<'_>, unit: Unit) -> Result<u64, String> {
    match rate_kind(unit).parse(&one(value)?)? {
        Value::Number(number) => Ok(number),
        Value::Switch(_) | Value::Text(_) => Ok(0),
    }
}

/// More than this in a second cannot be told from any number.
pub(super) const RATE_MAX: u64 = 1_000_000_000;

const CONNECTIONS_MAX: Kind =
    Kind::Number { unit: Unit::Count, range: 0..=u32::MAX as u64, word: Some(("unlimited", 0)) };
