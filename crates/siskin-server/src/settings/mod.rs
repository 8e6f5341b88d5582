//! What a user may write, in a file or on the command line, and how it becomes a [`Config`].

mod file;
mod kind;
mod nearest;
mod table;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

pub use file::Mistake;
pub use kind::{Kind, Unit, Value};
pub use table::{LISTENER_KEYS, SETTINGS, Setting};

use crate::config::{Config, LOOPBACK, PORT};

/// What one user wrote in one place; what was left out is not in here.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    values: Vec<(&'static str, Value)>,
    listeners: Vec<Listen>,
    port: Option<u16>,
}

/// An address to listen on, as a user names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The address.
    pub address: IpAddr,
    /// The port, where one was named.
    pub port: Option<u16>,
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

    /// The port of every listener that does not name its own.
    pub fn set_port(&mut self, port: u16) {
        self.port = Some(port);
    }

    /// What `self` says counts, and what it does not say is as in `other`.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        let mut listeners = other.listeners;
        if self.port.is_some() {
            listeners.iter_mut().for_each(|listener| listener.port = None);
        }
        if self.listeners.is_empty() {
            self.listeners = listeners;
        }
        let mut values = other.values;
        values.append(&mut self.values);
        Self { values, listeners: self.listeners, port: self.port.or(other.port) }
    }

    /// The whole configuration, with the defaults for what nobody said.
    pub fn resolve(&self) -> Config {
        let mut config = Config::default();
        for (name, value) in &self.values {
            if let Some(setting) = Setting::named(name) {
                setting.write(&mut config, value);
            }
        }
        let loopback = LOOPBACK.map(|address| Listen { address, port: None });
        let listeners = if self.listeners.is_empty() { &loopback[..] } else { &self.listeners };
        config.listeners.clear();
        for listener in listeners {
            let port = listener.port.or(self.port).unwrap_or(PORT);
            let address = SocketAddr::new(listener.address, port);
            if port == 0 || !config.listeners.contains(&address) {
                config.listeners.push(address);
            }
        }
        config
    }
}

impl Config {
    /// The whole configuration as a file that says the same, each setting with its explanation.
    pub fn to_toml(&self) -> String {
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
            let _ = writeln!(text, "{key} = {value}\n");
        }
        for (key, help) in LISTENER_KEYS {
            let _ = writeln!(text, "# {key}: {help}.");
        }
        for listener in &self.listeners {
            let (address, port) = (listener.ip(), listener.port());
            let _ = writeln!(text, "[[listener]]\naddress = \"{address}\"\nport = {port}\n");
        }
        text.truncate(text.trim_end().len() + 1);
        text
    }
}

impl FromStr for Listen {
    type Err = String;

    /// `ADDRESS` or `ADDRESS:PORT`, an IPv6 address with a port in brackets.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { address: address.ip(), port: Some(address.port()) });
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        match bare.parse() {
            Ok(address) => Ok(Self { address, port: None }),
            Err(_) => Err(format!("`{text}` is neither an IP address nor one with a port")),
        }
    }
}
