//! What a user may write, in a file or on the command line, and how it becomes a [`Config`].

mod auth;
mod ban;
mod file;
mod kind;
mod listener;
mod nearest;
mod sample;
mod table;
#[cfg(test)]
pub(crate) mod tests;

use std::fmt::Write as _;
use std::net::IpAddr;

pub use auth::AUTH_KEYS;
pub use ban::BAN_KEYS;
pub use file::Mistake;
pub use kind::{Kind, Unit, Value};
pub use listener::{LISTENER_KEYS, Listen};
pub use sample::{manual, sample};
pub use table::{SETTINGS, Setting};

use siskin_auth::config::StepConfig;

use crate::config::{Ban, Config, LOOPBACK, Listener, Place, Protocol, Tls, WebSocket};

/// What one user wrote in one place; what was left out is not in here.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    values: Vec<(&'static str, Value)>,
    listeners: Vec<Listen>,
    auth: Vec<StepConfig>,
    port: Option<u16>,
    extras: Vec<(Extra, u16)>,
    tls: Option<Tls>,
    bans: Vec<Ban>,
}

/// A kind of listener that a port alone can ask for, beside those for plain MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// MQTT over TLS.
    Tls,
    /// MQTT over WebSocket.
    WebSocket,
    /// MQTT over WebSocket over TLS.
    SecureWebSocket,
}

impl Settings {
    /// Sets what `setting` has the value `value`, in place of an earlier one.
    pub fn put(&mut self, setting: &Setting, value: Value) {
        self.values.retain(|(name, _)| *name != setting.name);
        self.values.push((setting.name, value));
    }

    /// Adds an address to listen on.
    pub fn listen(&mut self, listen: Listen) {
        self.listeners.push(listen);
    }

    /// The port of every listener for plain MQTT that does not name its own.
    pub fn set_port(&mut self, port: u16) {
        self.port = Some(port);
    }

    /// Adds a listener of a kind at `port` of every address that is listened on for plain MQTT. It takes
    /// the place of those of its kind.
    pub fn add(&mut self, extra: Extra, port: u16) {
        self.extras.push((extra, port));
    }

    /// The TLS of the listeners that [`Self::add`] adds.
    pub fn set_tls(&mut self, tls: Tls) {
        self.tls = Some(tls);
    }

    /// What `self` says counts, and what it does not say is as in `other`.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        let mut listeners = other.listeners;
        if self.port.is_some() {
            let plain = listeners.iter_mut().filter(|listener| listener.is_plain());
            plain.for_each(|listener| listener.port = None);
        }
        if self.listeners.is_empty() {
            self.listeners = listeners;
        }
        let mut values = other.values;
        values.append(&mut self.values);
        self.extras.extend(other.extras);
        self.bans.extend(other.bans);
        Self {
            values,
            listeners: self.listeners,
            auth: if self.auth.is_empty() { other.auth } else { self.auth },
            port: self.port.or(other.port),
            extras: self.extras,
            tls: self.tls.or(other.tls),
            bans: self.bans,
        }
    }

    /// The whole configuration, with the defaults for what nobody said.
    pub fn resolve(&self) -> Config {
        let mut config = Config::default();
        for (name, value) in &self.values {
            if let Some(setting) = Setting::named(name) {
                setting.write(&mut config, value);
            }
        }
        config.access.auth.clone_from(&self.auth);
        let loopback = LOOPBACK.map(|address| Listen::at(address, None));
        let listeners = if self.listeners.is_empty() { &loopback[..] } else { &self.listeners };
        let added = self.extras.iter().flat_map(|(extra, port)| self.added(*extra, *port, listeners));
        let kept = listeners
            .iter()
            .map(|listen| listen.resolve(self.port))
            .filter(|listener| !self.extras.iter().any(|(extra, _)| extra.is_kind_of(listener)));
        config.bans.clone_from(&self.bans);
        config.listeners.clear();
        for listener in kept.chain(added) {
            let is_free_port = matches!(&listener.place, Place::Address(address) if address.port() == 0);
            if is_free_port || !config.listeners.contains(&listener) {
                config.listeners.push(listener);
            }
        }
        config
    }

    fn added(&self, extra: Extra, port: u16, listeners: &[Listen]) -> Vec<Listener> {
        let plain = listeners.iter().filter(|listen| listen.is_plain()).filter_map(Listen::ip);
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in plain {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            addresses.extend(LOOPBACK);
        }
        let with_port = |address| {
            let mut listen = Listen::at(address, Some(port));
            if extra != Extra::Tls {
                listen.listener.protocol = Protocol::WebSocket(WebSocket::default());
            }
            if extra != Extra::WebSocket {
                listen.listener.tls.clone_from(&self.tls);
            }
            listen.resolve(None)
        };
        addresses.into_iter().map(with_port).collect()
    }
}

impl Extra {
    fn is_kind_of(self, listener: &Listener) -> bool {
        let is_websocket = matches!(listener.protocol, Protocol::WebSocket(_));
        let kind = match (is_websocket, listener.tls.is_some()) {
            (false, false) => return false,
            (false, true) => Self::Tls,
            (true, false) => Self::WebSocket,
            (true, true) => Self::SecureWebSocket,
        };
        self == kind && matches!(listener.place, Place::Address(_))
    }
}

impl Config {
    /// The whole configuration as a file that says the same, each setting with its explanation.
    pub fn to_toml(&self) -> String {
        self.write(false)
    }

    /// The same for other people's eyes: of secrets only that they are there, in comments.
    pub fn to_toml_masked(&self) -> String {
        self.write(true)
    }

    fn write(&self, is_masked: bool) -> String {
        let mut text = String::new();
        let mut section = "";
        for setting in SETTINGS {
            let (its_section, key) = setting.section_and_key();
            if its_section != section {
                section = its_section;
                let _ = writeln!(text, "[{section}]\n");
            }
            let value = setting.kind().show_toml(&setting.read(self));
            let allowed = setting.kind().allowed();
            let default = setting.kind().show(&setting.default());
            let _ = writeln!(text, "# {}.\n# {allowed}; default {default}", setting.help);
            let _ = match is_masked && setting.holds_secret(self) {
                true => writeln!(text, "# {key} (not shown) = is set\n"),
                false => writeln!(text, "{key} = {value}\n"),
            };
        }
        for (key, kinds, help) in AUTH_KEYS {
            let _ = writeln!(text, "# {key} ({kinds}): {help}.");
        }
        for step in &self.access.auth {
            let _ = writeln!(text, "{}", auth::to_toml(step, is_masked));
        }
        if self.access.auth.is_empty() {
            text.push('\n');
        }
        for (key, help) in LISTENER_KEYS {
            let _ = writeln!(text, "# {key}: {help}.");
        }
        for listener in &self.listeners {
            let _ = writeln!(text, "{}", listener::to_toml(listener));
        }
        for (key, help) in BAN_KEYS {
            let _ = writeln!(text, "# {key}: {help}.");
        }
        for ban in &self.bans {
            let _ = writeln!(text, "{}", ban::to_toml(ban));
        }
        text.truncate(text.trim_end().len() + 1);
        text
    }
}
