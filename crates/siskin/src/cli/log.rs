//! Who shows the broker's log lines, and how: on stderr, for a person or as JSON.

use std::io::IsTerminal as _;

use siskin_server::config::{Log, LogFormat, LogLevel};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload::{Handle, Layer};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, registry};

/// Which lines are shown; it can be changed.
pub(crate) struct Shown(Handle<LevelFilter, Registry>);

/// Shows log lines from now on.
pub(crate) fn start(log: Log) -> Shown {
    let (level, handle) = Layer::new(filter(log.level));
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match log.format {
        LogFormat::Human => registry().with(level).with(lines).init(),
        LogFormat::Json => registry().with(level).with(lines.json().flatten_event(true)).init(),
    }
    Shown(handle)
}

impl Shown {
    /// Shows lines of `level` and graver ones from now on.
    pub(crate) fn set(&self, level: LogLevel) -> Result<(), String> {
        self.0.reload(filter(level)).map_err(|error| error.to_string())
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
