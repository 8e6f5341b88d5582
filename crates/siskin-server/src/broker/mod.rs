//! A running broker as the rest of the program sees it: what it counts, and its workers to be asked.
//!
//! Sessions belong to workers, so whoever wants to know of one, or to end it, has a worker do it in its turn. A
//! worker runs one such question a turn, between its own work. A question must be short: lists are asked for in
//! [pages](Broker::clients). Who asks may wait; no worker ever does.

mod bans;
mod lists;
mod log_level;
mod reload;
mod reopen;
mod views;
mod watchdog;

use std::fmt;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use siskin_core::store::{Health, Store as _, Ticket};
use siskin_core::{Now, SessionKey, Shared, Worker};
use siskin_store::{DiskStore, Figures};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

pub use bans::NotBanned;
pub use lists::{Cursor, Page};
pub use log_level::LevelNotSet;
pub(crate) use reload::transport_limits;
pub use reload::{Commit, Follower, Source};
pub use views::{FilesView, ListenerView, ProcessView, WorkerView};
pub use watchdog::Watchdog;

use log_level::LogSwitch;

use crate::clock::Clock;
use crate::config::Config;
use crate::in_force::InForce;
use crate::mailbox::Letter;
use crate::transport::{Context, Expiry};
use crate::worker::Neighbours;
use reload::Reloading;

/// A handle on a running broker, to be cloned at will. It does not keep the broker running.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    neighbours: Arc<Neighbours>,
    shared: Arc<Shared>,
    store: Option<Arc<DiskStore>>,
    clock: Clock,
    config: RwLock<Arc<Config>>,
    reloading: Mutex<Reloading>,
    in_force: RwLock<Arc<InForce>>,
    /// Wakes the thread that looks after files, while there is one.
    file_watch: Mutex<Option<Sender<()>>>,
    log: LogSwitch,
    /// For each worker, how many more questions it may have before it.
    rooms: Vec<Arc<Semaphore>>,
}

/// A worker or the store did not do in time what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Not in time: it has too much else to do.
    Late,
    /// It has stopped.
    Stopped,
    /// It was done, but the store has not made it safe yet.
    NotSafe,
}

impl Broker {
    pub(crate) fn new(
        neighbours: &Arc<Neighbours>,
        shared: &Arc<Shared>,
        store: Option<Arc<DiskStore>>,
        clock: Clock,
        (written, config): (Config, Config),
        in_force: Arc<InForce>,
    ) -> Self {
        let room = |_| Arc::new(Semaphore::new(ASKS_MAX));
        Self(Arc::new(Inner {
            neighbours: Arc::clone(neighbours),
            shared: Arc::clone(shared),
            store,
            clock,
            log: LogSwitch::new(config.log.level),
            config: RwLock::new(Arc::new(config)),
            reloading: Mutex::new(Reloading { written, source: None, followers: Vec::new() }),
            in_force: RwLock::new(in_force),
            file_watch: Mutex::default(),
            rooms: (0..shared.workers()).map(room).collect(),
        }))
    }

    /// What workers go by from their next turn on.
    fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.0.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn neighbours(&self) -> &Neighbours {
        &self.0.neighbours
    }

    /// What `question` says when `worker` runs it in its turn. It should take less than a millisecond, as the
    /// worker's clients wait for it. Must be awaited in a tokio runtime with a timer.
    pub async fn ask<T: Send + 'static>(
        &self,
        worker: u16,
        question: impl FnOnce(&mut Worker, Now) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let room = self.0.rooms.get(usize::from(worker)).ok_or(Unanswered::Stopped)?;
        let place = timeout_at(deadline, Arc::clone(room).acquire_owned()).await;
        let place = place.map_err(|_| Unanswered::Late)?.map_err(|_| Unanswered::Stopped)?;
        let (answer, answered) = oneshot::channel();
        self.0.neighbours.mailboxes[usize::from(worker)].post(Letter::Ask(Box::new(move |core, now| {
            // Whoever asked may have stopped waiting, and then does not want it done any more.
            if !answer.is_closed() {
                let _ = answer.send(question(core, now));
            }
            drop(place);
        })));
        let answered = timeout_at(deadline, answered).await;
        answered.map_err(|_| Unanswered::Late)?.map_err(|_| Unanswered::Stopped)
    }

    /// What each worker says to `question`, in the order of their numbers. All are asked at once.
    pub async fn ask_all<T: Send + 'static>(
        &self,
        question: impl Fn(&mut Worker, Now) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, Unanswered> {
        self.ask_each(question).await.into_iter().collect()
    }

    /// The same, with the answers of those that gave one though others did not.
    pub async fn ask_each<T: Send + 'static>(
        &self,
        question: impl Fn(&mut Worker, Now) -> T + Clone + Send + 'static,
    ) -> Vec<Result<T, Unanswered>> {
        let asked: Vec<_> =
            (0..self.workers()).map(|worker| Box::pin(self.ask(worker, question.clone()))).collect();
        lists::join_all(asked).await
    }

    /// What the worker that owns the session of `client_id` says to `question`; None if there is no such session.
    pub async fn ask_owner<T: Send + 'static>(
        &self,
        client_id: &str,
        question: impl FnOnce(&mut Worker, SessionKey, Now) -> T + Send + 'static,
    ) -> Result<Option<T>, Unanswered> {
        let Some(key) = self.0.shared.owner(client_id) else { return Ok(None) };
        self.ask(key.worker(), move |worker, now| question(worker, key, now)).await.map(Some)
    }

    /// How many workers there are; they are numbered from 0.
    pub fn workers(&self) -> u16 {
        self.0.shared.workers()
    }

    /// The state that all workers share: limits, router, retained messages, counters.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// The configuration that is in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The time as the workers know it.
    pub fn now(&self) -> Now {
        self.0.clock.now()
    }

    /// Waits until what `ticket` stands for is safe.
    pub async fn safe(&self, ticket: Ticket) -> Result<(), Unanswered> {
        let Some(store) = &self.0.store else { return Ok(()) };
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        while store.safe() < ticket {
            if Instant::now() > deadline {
                return Err(Unanswered::NotSafe);
            }
            sleep(SAFE_POLL).await;
        }
        Ok(())
    }

    /// Whether the store makes safe what it is given; None without one.
    pub fn store_health(&self) -> Option<Health> {
        self.0.store.as_ref().map(|store| store.health())
    }

    /// What the store counts, if there is one.
    pub fn store_figures(&self) -> Option<Figures> {
        self.0.store.as_ref().map(|store| store.figures())
    }

    /// When certificates and revocation lists expire.
    pub fn tls_expiries(&self) -> Vec<Expiry> {
        let in_force = self.in_force();
        in_force.doors.iter().filter_map(|door| door.tls()).flat_map(Context::expiries).collect()
    }

    /// Reads certificates, keys and revocation lists anew.
    pub fn reload_tls(&self) {
        self.in_force().doors.iter().filter_map(|door| door.tls()).for_each(Context::reload);
    }

    /// Reads password and ACL files anew. Where one cannot be used both stay as they were, and the log says why; so does a
    /// step of `[[auth]]` whose own file cannot be used.
    pub fn reload_access(&self) {
        if self.in_force().gate.reload() {
            self.go_by_new_rules();
        }
    }

    /// Bytes that are in memory because they are not on the disk yet.
    pub(crate) fn unsafe_bytes(&self) -> u64 {
        self.0.store.as_deref().map_or(0, DiskStore::waiting_bytes)
    }

    /// Whom to tell of another interval between two looks at files.
    pub(crate) fn watched_by(&self, watch: Sender<()>) {
        *self.file_watch() = Some(watch);
    }

    /// The thread that looks after files is to end.
    pub(crate) fn watched_no_more(&self) {
        *self.file_watch() = None;
    }

    fn wake_file_watch(&self) {
        if let Some(watch) = &*self.file_watch() {
            // One that has ended has nothing to be told.
            let _ = watch.send(());
        }
    }

    fn file_watch(&self) -> MutexGuard<'_, Option<Sender<()>>> {
        self.0.file_watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks whether files of certificates, passwords and rules have changed, and reads those that have.
    pub(crate) fn check_files(&self) {
        let in_force = self.in_force();
        in_force.doors.iter().filter_map(|door| door.tls()).for_each(Context::check);
        if in_force.gate.check() {
            self.go_by_new_rules();
        }
    }

    /// Has all sessions go by the rules as they are now.
    fn go_by_new_rules(&self) {
        self.0.shared.set_rulebook(self.in_force().gate.rulebook());
        for mailbox in &self.0.neighbours.mailboxes {
            mailbox.post(Letter::NewRules);
        }
        tracing::info!("new passwords and rules are in force");
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("workers", &self.workers()).finish_non_exhaustive()
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Late => "a worker did not answer in time",
            Self::Stopped => "the broker has stopped",
            Self::NotSafe => "it was done, but the store has not made it safe yet",
        })
    }
}

impl std::error::Error for Unanswered {}

/// How long an answer may take. A worker that needs as long has its clients waiting, too.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How often to look whether something is safe. Only workers are woken when it is.
const SAFE_POLL: Duration = Duration::from_millis(2);

/// Questions that one worker may have before it; who has more waits.
const ASKS_MAX: usize = 64;
