//! A running broker.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::Poll;
use siskin_core::store::Durability;
use siskin_core::{NodeInfo, Recovered, Shared};
use siskin_store::{DiskStore, Opened};

use crate::access::{self, Gate, is_anonymous_allowed};
use crate::broker::{Broker, transport_limits};
use crate::budget::{self, Latest};
use crate::clock::Clock;
use crate::config::{AccessConfig, Ban, Banned, Config, Identity, StoreConfig};
use crate::in_force::InForce;
use crate::mailbox::{Letter, Mailbox};
use crate::open_files;
use crate::privileges;
use crate::pulse::Pulse;
use crate::report;
use crate::secret_files;
use crate::transport::{self, Bound, Door, Expiry};
use crate::turnstile::{TooManyBans, Turnstile};
use crate::worker::{Acceptor, Neighbours, WAKER, Worker};

/// A broker that listens and works until it is stopped. Dropped without [`Server::stop`] it goes on.
pub struct Server {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    store: Option<Arc<DiskStore>>,
    neighbours: Arc<Neighbours>,
    handle: Broker,
    threads: Vec<JoinHandle<()>>,
    /// Dropped, they end the threads that look after files and memory.
    watches: Vec<Watch>,
}

/// A thread that looks after something now and then, and what it lives as long as.
struct Watch {
    living: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

/// Why a broker does not start.
#[derive(Debug)]
pub enum StartError {
    /// Listeners were closed to make room and do not open again. Only a reload has that.
    Lost {
        /// Why they were closed in vain.
        error: Box<Self>,
        /// Which, and why they do not open.
        lost: Vec<String>,
    },
    /// An address cannot be listened on.
    Bind {
        /// The address, or the path of a Unix socket.
        place: String,
        /// What the system says.
        source: io::Error,
    },
    /// A certificate, a key or the like cannot be used: which file, and why.
    Tls(String),
    /// The system gave no thread, no poll or no waker.
    System(io::Error),
    /// A file of passwords or rules cannot be used: which one, and what is wrong in which line.
    Access(String),
    /// The broker cannot become the user that it is to run as: what stands in the way.
    Privileges(String),
    /// The store cannot be used.
    Store(siskin_store::Error),
    /// Nobody says where the store is to be, and there is no home to put it.
    NoDirectory,
}

impl Server {
    /// Listens, and starts the workers. When this returns, clients can connect.
    pub fn start(mut config: Config) -> Result<Self, StartError> {
        let workers = config.worker_count();
        let written = config.clone();
        let open_files = open_files::raise();
        let limits = transport_limits(&config);
        let gate = Gate::start(&config).map_err(StartError::Access)?;
        secret_files::warn_of_readers(&config);
        let listening = transport::open(&config.listeners, config.limits.packet_size_max)?;
        privileges::settle(&mut config).map_err(StartError::Privileges)?;
        let resolved = config.clone();
        let mut recovered = Recovered::default();
        let opened = open_store(&config.store, &mut recovered)?;
        let doors: Vec<_> = listening.iter().map(|Bound { door, .. }| Arc::clone(door)).collect();
        doors.iter().for_each(|door| announce(door, &config.access));
        let addresses = doors.iter().filter_map(|door| door.address()).collect();
        let node = NodeInfo {
            name: config.node_name,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_unix_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |elapsed| elapsed.as_millis() as u64),
        };
        let clock = Clock::start();

        let mut polls = Vec::new();
        let mut mailboxes = Vec::new();
        for _ in 0..workers {
            let poll = Poll::new()?;
            mailboxes.push(Mailbox::new(poll.registry(), WAKER)?);
            polls.push(poll);
        }
        let loads = (0..workers).map(|_| AtomicU32::new(0)).collect();
        let pulses = (0..workers).map(|_| Pulse::default()).collect();
        let turnstile = Turnstile::new(config.quota, config.flapping, &config.bans, clock.now());
        let in_force =
            Arc::new(InForce { limits, turnstile: Arc::new(turnstile), gate: Arc::new(gate), doors });
        let neighbours = Arc::new(Neighbours { mailboxes, loads, pulses, memory: Latest::default() });
        let seed = recovered.seed().unwrap_or_else(random_seed);
        let last = opened.as_ref().map_or(0, Opened::last_id);
        let store = opened.map(|opened| start_store(opened, &neighbours)).transpose()?;
        let shared = match &store {
            Some(store) => {
                Shared::with_store(config.limits, workers, seed, node, Arc::clone(store) as _, last)
            }
            None => Shared::new(config.limits, workers, seed, node),
        };
        shared.set_rulebook(in_force.gate.rulebook());
        let core = |index| siskin_core::Worker::new(index, Arc::clone(&shared), clock.now());
        let mut cores: Vec<_> = (0..workers).map(core).collect();
        if store.is_some() {
            report::recovered(&recovered.install(&shared, &mut cores, clock.now()));
        }
        let mut acceptor = Some(Acceptor::new(
            listening,
            polls[0].registry(),
            limits.connections_max,
            limits.connect_rate_max,
        )?);
        let mut threads = Vec::new();
        for ((index, poll), core) in (0..workers).zip(polls).zip(cores) {
            let (neighbours, in_force) = (Arc::clone(&neighbours), Arc::clone(&in_force));
            let worker = Worker::new(index, core, poll, neighbours, clock, in_force, acceptor.take());
            threads.push(thread::Builder::new().name(format!("siskin-{index}")).spawn(|| worker.run())?);
        }
        let handle = Broker::new(&neighbours, &shared, store.clone(), clock, (written, resolved), in_force);
        let (living, thread) = budget::watch(&handle)?;
        let watches = vec![watch_files(&handle)?, Watch { living, thread }];
        tracing::info!(
            workers,
            open_files,
            connections_max = limits.connections_max,
            "open files {open_files}, so at most {} connections",
            limits.connections_max
        );
        Ok(Self { addresses, shared, store, neighbours, handle, threads, watches })
    }

    /// A handle for those who look into the broker, or act on it, from outside of its workers.
    pub fn handle(&self) -> &Broker {
        &self.handle
    }

    /// Reads certificates, keys and revocation lists anew. Connections that are there keep what they have;
    /// where a file cannot be used, new ones too, and the log says why.
    pub fn reload_tls(&self) {
        self.handle.reload_tls();
    }

    /// Reads password and ACL files anew. Where one cannot be used all of them stay as they were, and the log says why.
    /// Clients that are there go by the new rules; those whose user is gone are put out.
    pub fn reload_access(&self) {
        self.handle.reload_access();
    }

    /// When certificates and revocation lists expire.
    pub fn tls_expiries(&self) -> Vec<Expiry> {
        self.handle.tls_expiries()
    }

    /// Keeps somebody out from now on, for a time or for ever. Who is connected stays.
    pub fn ban(&self, who: Banned, time: Option<Duration>, reason: &str) -> Result<(), TooManyBans> {
        self.handle.keep_out(who, time, reason)
    }

    /// Ends a ban; false if there was none.
    pub fn unban(&self, who: &Banned) -> bool {
        self.handle.unban(who)
    }

    /// The bans in force: those of the configuration, those made since, and those of flapping clients.
    pub fn bans(&self) -> Vec<Ban> {
        self.handle.bans()
    }

    /// The IP addresses listened on, in the order of the listeners, with the ports that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The state that all workers share: limits, router, retained messages, counters.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Ends the broker in good order: nobody is accepted any more, wills are published, 5.0 clients are
    /// told, last bytes are written as far as their clients take them. Blocks until all threads are done.
    pub fn stop(mut self) {
        self.handle.watched_no_more();
        for Watch { living, thread } in self.watches.drain(..) {
            drop(living);
            self.threads.push(thread);
        }
        // Wills may cross workers, so all must be in the mail before the first connection is ended.
        let (done, all_done) = mpsc::channel();
        for mailbox in &self.neighbours.mailboxes {
            mailbox.post(Letter::PublishWills(done.clone()));
        }
        drop(done);
        // Ends when every worker has dropped its end; one that panicked never does.
        while all_done.recv_timeout(WILLS_TIMEOUT).is_ok() {}
        for mailbox in &self.neighbours.mailboxes {
            mailbox.post(Letter::Stop);
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread had panicked");
            }
        }
        if let Some(store) = self.store
            && let Err(error) = store.close()
        {
            tracing::error!("the store was not closed properly: {error}");
        }
        tracing::info!("stopped");
    }
}

/// Reads the store, if there is to be one.
fn open_store(config: &StoreConfig, recovered: &mut Recovered) -> Result<Option<Opened>, StartError> {
    if config.durability == Durability::Memory {
        tracing::warn!("store.durability is memory: sessions and retained messages end with this process");
        return Ok(None);
    }
    let directory = config.resolved().ok_or(StartError::NoDirectory)?;
    let options = siskin_store::Options { durability: config.durability, ..Default::default() };
    let opened =
        DiskStore::open(&directory, options, |live| recovered.add(live)).map_err(StartError::Store)?;
    tracing::info!("the store is {}", directory.display());
    Ok(Some(opened))
}

/// Starts the threads of the store, which wake workers through their mailboxes.
fn start_store(opened: Opened, neighbours: &Arc<Neighbours>) -> Result<Arc<DiskStore>, StartError> {
    let neighbours = Arc::clone(neighbours);
    let wake = move |worker: u16| neighbours.mailboxes[usize::from(worker)].nudge();
    opened.start(wake).map(Arc::new).map_err(StartError::Store)
}

/// How long stopping waits for a worker to publish its wills.
const WILLS_TIMEOUT: Duration = Duration::from_secs(10);

/// Looks after the files of certificates, passwords and rules for as long as what it gives lives.
fn watch_files(broker: &Broker) -> io::Result<Watch> {
    let (living, watched) = mpsc::channel::<()>();
    let watching = broker.clone();
    let thread = thread::Builder::new().name("siskin-files".to_owned()).spawn(move || {
        let every = || Duration::from_millis(watching.config().transport.tls_check_ms);
        loop {
            match watched.recv_timeout(every()) {
                Err(RecvTimeoutError::Timeout) => watching.check_files(),
                // The time may be another now.
                Ok(()) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    })?;
    broker.watched_by(living.clone());
    Ok(Watch { living, thread })
}

/// Reads the files that `config` names, without starting anything. The error names the first that cannot
/// be used, and why.
pub fn check_files(config: &Config) -> Result<(), StartError> {
    for listener in config.listeners.iter().filter(|listener| listener.tls.is_some()) {
        transport::tls_context(listener).map_err(StartError::Tls)?;
    }
    access::check_files(&config.access).map_err(StartError::Access)
}

/// Tells who can come in by `door`, and warns if that is everybody or nobody.
pub(crate) fn announce(door: &Door, access: &AccessConfig) {
    let listener = door.bound_listener();
    tracing::info!("listening for {listener}");
    if listener.is_local() || listener.requires_certificate() {
        return;
    }
    let is_open = is_anonymous_allowed(access, &listener);
    let has_passwords = !access.password_file.as_os_str().is_empty() || !access.auth.is_empty();
    if is_open && access.acl_file.as_os_str().is_empty() {
        tracing::warn!(
            "{} is not only for this machine, and clients without a user name are allowed: \
             anyone who can reach it may connect, publish and subscribe",
            listener.place
        );
    } else if !is_open && !has_passwords && listener.identity == Identity::None {
        tracing::warn!(
            "{} is not only for this machine, and nobody can log in there: give it users \
             (access.password_file) or let in everybody (access.allow_anonymous = true)",
            listener.place
        );
    }
}

/// A number that nobody outside can guess: the standard library's hash keys come from the system.
fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { place, source } => write!(f, "cannot listen on {place}: {source}"),
            Self::Lost { error, lost } => write!(f, "{error}\n{}", lost.join("\n")),
            Self::Tls(problem) => write!(f, "cannot use TLS: {problem}"),
            Self::Access(problem) => write!(f, "cannot use passwords and rules: {problem}"),
            Self::Privileges(problem) => write!(f, "cannot run as another user: {problem}"),
            Self::System(source) => write!(f, "cannot start: {source}"),
            Self::Store(source) => write!(f, "cannot use the store: {source}"),
            Self::NoDirectory => f.write_str(
                "there is no home directory for the store: set store.dir, or store.durability = \"memory\"",
            ),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } | Self::System(source) => Some(source),
            Self::Store(source) => Some(source),
            Self::Lost { error, .. } => Some(error),
            Self::Tls(_) | Self::Access(_) | Self::Privileges(_) | Self::NoDirectory => None,
        }
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}
