//! What the broker shall do: every value decided, nothing left to default.

mod admin;
mod listener;
mod quota;
mod telemetry;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

pub use siskin_auth::config as authentication;
use siskin_auth::config::StepConfig;
use siskin_core::Limits;
pub use siskin_core::store::Durability;

pub use admin::{AdminConfig, AdminListen, MetricFamilies, Secret};
pub use listener::{
    Certificate, ClientCertificates, Identity, IdentityIs, Listener, Network, Place, Protocol, Tls, WebSocket,
};
pub use quota::{Ban, Banned, Excess, Flapping, Quotas, Rates};
pub use telemetry::TelemetryConfig;

use crate::budget;

/// A whole configuration. [`Settings`](crate::settings::Settings) make one from what a user wrote.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name: one level of a topic, it stands in `$SYS/brokers/NAME/...`.
    pub node_name: String,
    /// Threads that own sessions and connections, 0 for one per core.
    pub workers: u16,
    /// Whom to become when started as root, `USER` or `USER:GROUP`, names or numbers; empty for nobody else.
    pub user: String,
    /// Bytes of memory that the process should not exceed; 0 for no limit, 1 for a part of what there is.
    pub memory_max: u64,
    /// Where to listen, and on which terms.
    pub listeners: Vec<Listener>,
    /// What the log shows, and how.
    pub log: Log,
    /// What outlives the broker, and where it lies.
    pub store: StoreConfig,
    /// Who is let in, and who says what clients may do.
    pub access: AccessConfig,
    /// The HTTP API for operators.
    pub admin: AdminConfig,
    /// What is told to an OpenTelemetry collector.
    pub telemetry: TelemetryConfig,
    /// What one transport may cost before and after it is a session's.
    pub transport: TransportLimits,
    /// How much clients may do in a second.
    pub quota: Quotas,
    /// When those are banned who come again and again.
    pub flapping: Flapping,
    /// Who may not come in at all.
    pub bans: Vec<Ban>,
    /// What clients may do once they are connected.
    pub limits: Limits,
}

/// What the log shows, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least grave lines that are shown.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

/// What outlives the broker, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// The directory; empty for [`StoreConfig::default_directory`]. Not used at [`Durability::Memory`].
    pub directory: PathBuf,
}

impl StoreConfig {
    /// Where a store lies if nobody says otherwise: `$STATE_DIRECTORY`, as systemd sets it; `/var/lib/siskin` for
    /// root; `$XDG_STATE_HOME/siskin` or `~/.local/state/siskin` for others. None where there is no home either.
    pub fn default_directory() -> Option<PathBuf> {
        let path = |name: &str| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        if let Some(directory) = path("STATE_DIRECTORY") {
            return Some(directory);
        }
        if rustix::process::geteuid().is_root() {
            return Some("/var/lib/siskin".into());
        }
        let state = path("XDG_STATE_HOME").or_else(|| path("HOME").map(|home| home.join(".local/state")));
        state.map(|state| state.join("siskin"))
    }

    /// The directory to use.
    pub fn resolved(&self) -> Option<PathBuf> {
        if self.directory.as_os_str().is_empty() {
            Self::default_directory()
        } else {
            Some(self.directory.clone())
        }
    }
}

/// Who is let in, and who says what clients may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccessConfig {
    /// Whether clients are let in that give no user name, where a listener does not say so itself.
    pub allow_anonymous: Anonymous,
    /// The file of users and their passwords; empty for none.
    pub password_file: PathBuf,
    /// Who is asked after that file, in this order.
    pub auth: Vec<StepConfig>,
    /// The file of who may do what; empty for none, and then everybody may do everything.
    pub acl_file: PathBuf,
    /// When a subscription is held against that file.
    pub subscribe_check: SubscribeCheck,
    /// Who is asked besides the password file, and before it.
    pub steps: Vec<authentication::StepConfig>,
}

/// Whether clients are let in that give no user name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// By listeners that only this machine reaches, and by those that require a certificate.
    #[default]
    Local,
    /// They are.
    Allowed,
    /// They are not.
    Denied,
}

/// When a subscription is held against the ACL file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubscribeCheck {
    /// When a message is to be delivered, as Mosquitto does: everybody may subscribe to everything.
    #[default]
    Delivery,
    /// At once too: one that can never bring a message is refused.
    Strict,
}

/// How grave a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Something does not work.
    Error,
    /// Somebody should look at this some day.
    Warn,
    /// What an operator wants to know: listeners, clients that come and go.
    Info,
    /// What explains a single client's trouble.
    Debug,
    /// What explains the broker's own.
    Trace,
}

impl LogLevel {
    /// All levels, the gravest first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A sentence with a time before and details after it.
    Human,
    /// One JSON object.
    Json,
}

/// Limits on transports, kept by the driver; those on clients are the core's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportLimits {
    /// Connections open at once, 0 for as many as there are open files. One more is closed at once.
    pub connections_max: u32,
    /// New connections in one second, 0 for any number. Those above it wait in the listener's backlog.
    pub connect_rate_max: u32,
    /// Milliseconds from the transport's beginning to a whole CONNECT. Then it is closed.
    pub connect_timeout_ms: u64,
    /// Milliseconds that an ended connection has to take its last bytes. Then they are dropped.
    pub close_timeout_ms: u64,
    /// Milliseconds between two looks at whether files of certificates, passwords and rules have changed.
    pub tls_check_ms: u64,
}

/// The port of MQTT without TLS.
pub const PORT: u16 = 1883;

/// The port of MQTT over TLS.
pub const TLS_PORT: u16 = 8883;

/// The port of MQTT over WebSocket, as others have it.
pub const WEBSOCKET_PORT: u16 = 8083;

/// The port of MQTT over secure WebSocket, as others have it.
pub const SECURE_WEBSOCKET_PORT: u16 = 8084;

/// The addresses to listen on if nobody says otherwise: this machine only.
pub const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

impl Config {
    /// The files that are read at the start and again when they change: of certificates, passwords, rules and the like.
    pub fn files(&self) -> Vec<&Path> {
        let mut files: Vec<&Path> = Vec::new();
        for tls in self.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
            let pairs = tls.certificates.iter().flat_map(|pair| [&*pair.chain, &*pair.key]);
            files.extend(pairs.chain(tls.ca.iter().chain(&tls.crl).map(PathBuf::as_path)));
        }
        files.extend([&*self.access.password_file, &*self.access.acl_file]);
        files.extend(self.access.auth.iter().flat_map(StepConfig::files));
        files.extend([&*self.admin.token_file, &*self.admin.password_file]);
        files.retain(|file| !file.as_os_str().is_empty());
        files
    }

    /// The number of worker threads to start.
    pub fn worker_count(&self) -> u16 {
        if self.workers > 0 {
            return self.workers;
        }
        std::thread::available_parallelism().map_or(1, |cores| cores.get().min(WORKERS_MAX.into()) as u16)
    }
}

/// More threads than this are no broker.
pub const WORKERS_MAX: u16 = 1024;

impl Default for Config {
    fn default() -> Self {
        Self {
            node_name: "siskin".to_owned(),
            workers: 0,
            user: String::new(),
            memory_max: budget::AUTO,
            listeners: LOOPBACK.map(|address| SocketAddr::new(address, PORT).into()).to_vec(),
            log: Log { level: LogLevel::Info, format: LogFormat::Human },
            store: StoreConfig { durability: Durability::Synced, directory: PathBuf::new() },
            access: AccessConfig::default(),
            admin: AdminConfig::default(),
            telemetry: TelemetryConfig::default(),
            transport: TransportLimits::default(),
            quota: Quotas::default(),
            flapping: Flapping::default(),
            bans: Vec::new(),
            limits: Limits::default(),
        }
    }
}

impl Default for TransportLimits {
    fn default() -> Self {
        Self {
            connections_max: 0,
            connect_rate_max: 0,
            connect_timeout_ms: 10_000,
            close_timeout_ms: 2_000,
            tls_check_ms: 5_000,
        }
    }
}
