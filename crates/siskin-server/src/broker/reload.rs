//! The configuration read anew while the broker runs: checked whole, then put in force.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError, TryLockError, mpsc};

use tokio::sync::oneshot;

use super::Broker;
use super::reopen::{Reopened, reopen};
use crate::access::Gate;
use crate::config::{Ban, Config, TransportLimits};
use crate::in_force::InForce;
use crate::mailbox::Letter;
use crate::open_files;
use crate::reload::{ReloadError, Reloaded, take_over};
use crate::server::{StartError, announce, check_files};
use crate::transport::{Bound, Door};

/// Reads the whole configuration anew. The error names file and line.
pub type Source = Box<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// What else goes by the configuration. It is shown the broker and what is to be in force, and says what is wrong with it, or
/// gives what has it in force; that is not called if somebody else finds something wrong.
pub type Follower = Box<dyn Fn(&Broker, &Config) -> Result<Commit, String> + Send + Sync>;

/// Has something in force that was found to be right.
pub type Commit = Box<dyn FnOnce() + Send>;

/// What a reload goes by. Whoever reloads holds it, so that there is one at a time.
pub(super) struct Reloading {
    /// The configuration as it was written, with what was taken over since.
    pub(super) written: Config,
    pub(super) source: Option<Source>,
    pub(super) followers: Vec<Follower>,
}

impl Broker {
    /// Says where the configuration comes from when it is to be read anew.
    pub fn set_source(&self, source: Source) {
        self.reloading().source = Some(source);
    }

    /// Has `follower` go by the configuration when it changes. It should not keep a handle on the broker.
    pub fn add_follower(&self, follower: Follower) {
        self.reloading().followers.push(follower);
    }

    /// Reads the configuration and the files it names anew, and has them in force as far as that can be done while the
    /// broker runs. If anything is wrong nothing changes. The log says the same as the answer. Blocks while files are
    /// read.
    pub fn reload(&self) -> Result<Reloaded, ReloadError> {
        tell(self.reload_quietly(&mut self.reloading()))
    }

    /// The same, unless somebody else does it at the moment: a file that cannot be read to its end holds up one who asks, not
    /// all of them.
    pub fn try_reload(&self) -> Result<Reloaded, ReloadError> {
        match self.0.reloading.try_lock() {
            Ok(mut reloading) => tell(self.reload_quietly(&mut reloading)),
            Err(TryLockError::Poisoned(poisoned)) => tell(self.reload_quietly(&mut poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => Err(ReloadError::UnderWay),
        }
    }

    fn reload_quietly(&self, reloading: &mut Reloading) -> Result<Reloaded, ReloadError> {
        let source = reloading.source.as_ref().ok_or(ReloadError::NoSource)?;
        let new = source().map_err(ReloadError::Wrong)?;
        let wrong = |error: StartError| ReloadError::Wrong(error.to_string());
        check_files(&new).map_err(wrong)?;
        let old = self.config();
        let mut config = Config::clone(&old);
        take_over(&mut config, &new);
        let commits = reloading.followers.iter().map(|follower| follower(self, &config));
        let commits: Vec<_> = commits.collect::<Result<_, _>>().map_err(ReloadError::Wrong)?;
        let is_other_gate = config.access != old.access
            || config.transport.connect_timeout_ms != old.transport.connect_timeout_ms;
        let gate = is_other_gate.then(|| Gate::start_after(&config, &self.in_force().gate)).transpose();
        let gate = gate.map_err(StartError::Access).map_err(wrong)?;
        // The last that can go wrong.
        let reopened = reopen(self, &old, &config).map_err(wrong)?;

        let reloaded = Reloaded::between(&reloading.written, &new);
        take_over(&mut reloading.written, &new);
        self.put_in_force(&old, config, gate.map(Arc::new), reopened);
        commits.into_iter().for_each(|commit| commit());
        Ok(reloaded)
    }

    fn put_in_force(&self, old: &Config, config: Config, gate: Option<Arc<Gate>>, reopened: Reopened) {
        let before = self.in_force();
        let Reopened { doors, opened } = reopened;
        opened.iter().for_each(|Bound { door, .. }| announce(door, &config.access));
        let is_new_gate = gate.is_some();
        let in_force = InForce {
            limits: transport_limits(&config),
            turnstile: Arc::new(before.turnstile.renewed(config.quota, config.flapping)),
            gate: gate.unwrap_or_else(|| Arc::clone(&before.gate)),
            doors,
        };
        self.0.shared.set_limits(config.limits.clone());
        in_force.doors.iter().for_each(|door| door.settle());
        self.hand_out(in_force, opened);
        self.renew_bans(&old.bans, &config.bans);
        if config.log.level != old.log.level
            && let Err(error) = self.set_log_level(config.log.level)
        {
            tracing::warn!("{error}");
        }
        *self.0.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        self.wake_file_watch();
        self.reload_tls();
        if is_new_gate {
            self.go_by_new_rules();
        } else {
            self.reload_access();
        }
    }

    /// Has all workers go by `in_force` from their next turns on.
    pub(super) fn hand_out(&self, in_force: InForce, opened: Vec<Bound>) {
        let in_force = Arc::new(in_force);
        *self.0.in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&in_force);
        let mut opened = Some(opened);
        for mailbox in &self.0.neighbours.mailboxes {
            // The first worker accepts.
            mailbox.post(Letter::InForce(Arc::clone(&in_force), opened.take().unwrap_or_default()));
        }
    }

    /// Closes the sockets of `doors`; false if the worker that has them does not come to it in time: then they stay open.
    pub(super) fn close_doors(&self, doors: Vec<Arc<Door>>) -> bool {
        let (done, closed) = mpsc::channel();
        let is_begun = Arc::new(AtomicBool::new(false));
        self.0.neighbours.mailboxes[0].post(Letter::CloseDoors(doors, Arc::clone(&is_begun), done));
        // Whoever sets it first decides.
        closed.recv_timeout(super::ANSWER_TIMEOUT).is_ok()
            || is_begun.swap(true, Ordering::Relaxed) && closed.recv().is_ok()
    }

    /// Bans of the configuration come and go with it, whoever has made others meanwhile.
    fn renew_bans(&self, old: &[Ban], new: &[Ban]) {
        self.in_force().turnstile.configure_bans(new, self.now());
        for ban in new.iter().filter(|ban| !old.contains(ban)) {
            for mailbox in &self.0.neighbours.mailboxes {
                // How many they were is in the log of each.
                mailbox.post(Letter::PutOut(ban.who.clone(), oneshot::channel().0));
            }
        }
    }

    fn reloading(&self) -> MutexGuard<'_, Reloading> {
        self.0.reloading.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Has the log say the same as the answer.
fn tell(reloaded: Result<Reloaded, ReloadError>) -> Result<Reloaded, ReloadError> {
    match &reloaded {
        Ok(reloaded) => {
            tracing::info!("the configuration was read anew: {}", reloaded.summary());
            reloaded.changed.iter().for_each(|change| tracing::info!("in force now: {change}"));
            let waits = |change| tracing::warn!("not in force before a restart: {change}");
            reloaded.restart.iter().for_each(waits);
        }
        Err(error) => {
            tracing::error!("the configuration is not reloaded, and stays as it was");
            error.to_string().lines().for_each(|line| tracing::error!("{line}"));
        }
    }
    reloaded
}
