//! The HTTP API for operators: where it listens, and who may use it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// The HTTP API for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where it listens.
    pub listen: AdminListen,
    /// What a request must have with it; empty for nothing.
    pub token: Secret,
    /// A file whose first line is such a token; empty for none.
    pub token_file: PathBuf,
    /// A file of users and their passwords; empty for none.
    pub password_file: PathBuf,
    /// Whether there is a dashboard for browsers.
    pub dashboard: bool,
    /// What `/metrics` shows.
    pub metrics: MetricFamilies,
}

/// Where the HTTP API listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdminListen {
    /// On [`AdminListen::DEFAULT`] if that is free, else nowhere.
    #[default]
    Default,
    /// Nowhere.
    Off,
    /// There, or the broker does not start. Port 0 is a free port of the system's choice.
    At(SocketAddr),
}

/// The families of metrics, by whose names they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricFamilies {
    /// Our own.
    pub siskin: bool,
    /// Those of mosquitto-exporter.
    pub mosquitto: bool,
    /// Those of EMQX.
    pub emqx: bool,
}

/// A text that is nobody else's business.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl AdminListen {
    /// Where other brokers have such an API too, for this machine alone.
    pub const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 18083);
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: AdminListen::default(),
            token: Secret::default(),
            token_file: PathBuf::new(),
            password_file: PathBuf::new(),
            dashboard: true,
            metrics: MetricFamilies::default(),
        }
    }
}

impl Default for MetricFamilies {
    fn default() -> Self {
        Self { siskin: true, mosquitto: true, emqx: false }
    }
}

impl FromStr for AdminListen {
    type Err = String;

    /// `default`, `off`, a port of this machine, or ADDRESS:PORT.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "default" => Ok(Self::Default),
            "off" => Ok(Self::Off),
            _ => match (text.parse(), text.parse()) {
                (Ok(address), _) => Ok(Self::At(address)),
                (_, Ok(port)) => Ok(Self::At(SocketAddr::new(Self::DEFAULT.ip(), port))),
                _ => Err(format!("`{text}` is not ADDRESS:PORT, a port, default or off")),
            },
        }
    }
}

impl fmt::Display for AdminListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "***" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_written() {
        for text in ["default", "off", "0.0.0.0:8080", "[::1]:0"] {
            assert_eq!(text.parse::<AdminListen>().unwrap().to_string(), text);
        }
        assert_eq!("99".parse::<AdminListen>().unwrap().to_string(), "127.0.0.1:99");
        for text in ["", "localhost:1", "1.2.3.4", "70000", "on"] {
            assert!(text.parse::<AdminListen>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_secret_is_not_shown_by_accident() {
        assert_eq!(format!("{:?}", Secret("hush".to_owned())), "***");
    }
}
