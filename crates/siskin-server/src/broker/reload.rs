//! The configuration read anew while the broker runs: checked whole, then applied.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::Broker;
use crate::config::{Config, TransportLimits};
use crate::mailbox::Letter;
use crate::open_files;
use crate::reload::{ReloadError, Reloaded, take_over};

/// Reads the whole configuration anew and checks what can be checked without a broker. The error names file and line.
pub type Source = Box<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// What a reload goes by. Whoever reloads holds it, so that there is one at a time.
pub(super) struct Written {
    /// The configuration as it was written, with what was taken over since.
    pub(super) config: Config,
    pub(super) source: Option<Source>,
}

impl Broker {
    /// Says where the configuration comes from when it is to be read anew.
    pub fn set_source(&self, source: Source) {
        self.written().source = Some(source);
    }

    /// Reads the configuration anew and has it in force, as far as that can be done while the broker runs. If anything
    /// is wrong with it nothing changes. The log says the same as the answer. Blocks while files are read.
    pub fn reload(&self) -> Result<Reloaded, ReloadError> {
        let mut written = self.written();
        let reloaded = written
            .source
            .as_ref()
            .ok_or(ReloadError::NoSource)
            .and_then(|source| source().map_err(ReloadError::Wrong))
            .map(|new| self.change(&mut written.config, &new));
        match &reloaded {
            Ok(reloaded) => tell(reloaded),
            Err(error) => {
                tracing::error!("the configuration stays as it is: {error}");
            }
        }
        reloaded
    }

    fn change(&self, written: &mut Config, new: &Config) -> Reloaded {
        let reloaded = Reloaded::between(written, new);
        take_over(written, new);
        let mut config = Config::clone(&self.config());
        take_over(&mut config, new);
        self.put_in_force(config);
        reloaded
    }

    fn put_in_force(&self, config: Config) {
        let inner = &self.0;
        inner.shared.set_limits(config.limits.clone());
        let limits = transport_limits(&config);
        *inner.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        for mailbox in &inner.neighbours.mailboxes {
            mailbox.post(Letter::NewLimits(limits));
        }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.0.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The limits on transports, with as many connections as there may be open files.
pub(crate) fn transport_limits(config: &Config) -> TransportLimits {
    let ceiling = open_files::connections(open_files::raise(), config.worker_count());
    let connections_max = match config.transport.connections_max {
        0 => ceiling,
        wished => wished.min(ceiling),
    };
    TransportLimits { connections_max, ..config.transport }
}

fn tell(reloaded: &Reloaded) {
    for change in &reloaded.changed {
        tracing::info!("in force now: {change}");
    }
    for change in &reloaded.restart {
        tracing::warn!("needs a restart: {change}");
    }
    if reloaded.is_empty() {
        tracing::info!("the configuration is as it was");
    }
}
