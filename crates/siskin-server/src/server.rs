//! A running broker.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::Poll;
use mio::net::TcpListener;
use siskin_core::store::Durability;
use siskin_core::{NodeInfo, Recovered, Shared};
use siskin_store::{DiskStore, Opened};

use crate::clock::Clock;
use crate::config::{Config, StoreConfig};
use crate::listener;
use crate::mailbox::{Letter, Mailbox};
use crate::open_files;
use crate::report;
use crate::worker::{Acceptor, Neighbours, WAKER, Worker};

/// A broker that listens and works until it is stopped. Dropped without [`Server::stop`] it goes on.
pub struct Server {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    store: Option<Arc<DiskStore>>,
    neighbours: Arc<Neighbours>,
    threads: Vec<JoinHandle<()>>,
}

/// Why a broker does not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The system gave no thread, no poll or no waker.
    System(io::Error),
    /// The store cannot be used.
    Store(siskin_store::Error),
    /// Nobody says where the store is to be, and there is no home to put it.
    NoDirectory,
}

impl Server {
    /// Listens, and starts the workers. When this returns, clients can connect.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let workers = config.worker_count();
        let open_files = open_files::raise();
        let ceiling = open_files::connections(open_files, workers);
        let connections_max = match config.transport.connections_max {
            0 => ceiling,
            wished => wished.min(ceiling),
        };
        let mut recovered = Recovered::default();
        let opened = open_store(&config.store, &mut recovered)?;
        let listeners = listener::bind(&config.listeners)?;
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
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
        let neighbours = Arc::new(Neighbours { mailboxes, loads });
        let seed = recovered.seed().unwrap_or_else(random_seed);
        let last = opened.as_ref().map_or(0, Opened::last_id);
        let store = opened.map(|opened| start_store(opened, &neighbours)).transpose()?;
        let shared = match &store {
            Some(store) => {
                Shared::with_store(config.limits, workers, seed, node, Arc::clone(store) as _, last)
            }
            None => Shared::new(config.limits, workers, seed, node),
        };
        let core = |index| siskin_core::Worker::new(index, Arc::clone(&shared), clock.now());
        let mut cores: Vec<_> = (0..workers).map(core).collect();
        if store.is_some() {
            report::recovered(&recovered.install(&shared, &mut cores, clock.now()));
        }
        let mut acceptor = Some(Acceptor::new(
            listeners,
            polls[0].registry(),
            connections_max,
            config.transport.connect_rate_max,
        )?);
        let mut threads = Vec::new();
        for ((index, poll), core) in (0..workers).zip(polls).zip(cores) {
            let neighbours = Arc::clone(&neighbours);
            let worker = Worker::new(index, core, poll, neighbours, clock, config.transport, acceptor.take());
            threads.push(thread::Builder::new().name(format!("siskin-{index}")).spawn(|| worker.run())?);
        }
        for address in &addresses {
            announce(*address);
        }
        tracing::info!(
            workers,
            open_files,
            connections_max,
            "open files {open_files}, so at most {connections_max} connections"
        );
        Ok(Self { addresses, shared, store, neighbours, threads })
    }

    /// The addresses listened on, with the ports that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The state that all workers share: limits, router, retained messages, counters.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Ends the broker in good order: nobody is accepted any more, wills are published, 5.0 clients are
    /// told, last bytes are written as far as their clients take them. Blocks until all threads are done.
    pub fn stop(self) {
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
                tracing::error!("a worker had panicked");
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

fn announce(address: SocketAddr) {
    tracing::info!(%address, "listening for MQTT on {address}");
    if !address.ip().is_loopback() {
        tracing::warn!(
            "{address} is not only for this machine, and there is no authentication: \
             anyone who can reach it may connect, publish and subscribe"
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
            Self::Bind { address, source } => write!(f, "cannot listen on {address}: {source}"),
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
            Self::NoDirectory => None,
        }
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}
