//! The store that the broker's workers share: a journal with a thread that writes and one that reads.
//!
//! ```text
//!  workers ──append──► Pending ──► writer thread: write, sync, publish `safe`, wake
//!          ──fetch───► Fetches ──► reader thread: read, put into `fetched`, wake
//! ```
//!
//! The writer takes all that is pending at once. While it waits for the device the next batch gathers, and
//! nothing that comes alone waits for company.

mod pending;
mod reader;
mod writer;

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use siskin_core::store::{Batch, Durability, Fetch, Fetched, Health, Live, Store, Ticket};

use crate::device::Device;
use crate::disk::Disk;
use crate::error::Error;
use crate::figures::Figures;
use crate::journal::{Journal, JournalOptions, Progress, Recovered, lock};
use pending::Pending;
use reader::Fetches;
use writer::Writer;

/// What a store is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// When a batch counts as safe. [`Durability::Memory`] is taken for [`Durability::Written`].
    pub durability: Durability,
    /// Bytes of a segment file.
    pub segment_bytes: u32,
    /// When more bytes than these wait, the store is [`Health::Behind`].
    pub pending_bytes_max: u64,
    /// How long nothing must come until space is reclaimed beyond what is necessary.
    pub idle_after: Duration,
    /// How long to wait between attempts after a failure, and between syncs where nobody waits for them.
    pub pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Synced,
            segment_bytes: 32 * 1024 * 1024,
            pending_bytes_max: 64 * 1024 * 1024,
            idle_after: Duration::from_secs(1),
            pause: Duration::from_secs(1),
        }
    }
}

/// A store whose records have been read, and that is ready for its workers.
#[derive(Debug)]
pub struct Opened<D: Device = Disk> {
    journal: Journal<D>,
    recovered: Recovered,
    options: Options,
}

/// The store: see the module's picture. Closed when dropped, or by [`DiskStore::close`].
pub struct DiskStore<D: Device = Disk> {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<Result<(), Error>>>>,
    _device: std::marker::PhantomData<fn() -> D>,
}

/// What the workers and the two threads have in common.
struct Shared {
    pending: Mutex<Pending>,
    work: Condvar,
    fetches: Mutex<Fetches>,
    fetch_work: Condvar,
    fetched: Mutex<Vec<Vec<Fetched>>>,
    safe: AtomicU64,
    /// Bytes that are not safe.
    waiting_bytes: AtomicU64,
    waiting_bytes_max: u64,
    trouble: AtomicU8,
    figures: Mutex<Figures>,
    wake: Box<Wake>,
}

/// Wakes a worker.
type Wake = dyn Fn(u16) + Send + Sync;

impl DiskStore {
    /// Opens the store in `directory` and hands out what is alive: see [`Journal::open`] for the order.
    pub fn open(directory: &Path, options: Options, live: impl FnMut(Live<'_>)) -> Result<Opened, Error> {
        Self::open_on(Disk::open(directory)?, options, live)
    }
}

impl<D: Device> DiskStore<D> {
    /// Opens the store on a device.
    pub fn open_on(device: D, options: Options, mut live: impl FnMut(Live<'_>)) -> Result<Opened<D>, Error> {
        let began = Instant::now();
        let mut said = began;
        let mut progress = |progress: Progress| {
            if said.elapsed() >= Duration::from_secs(1) {
                said = Instant::now();
                let percent = progress.done * 100 / progress.total.max(1);
                tracing::info!(percent, records = progress.records, "reading the store");
            }
        };
        let seed = std::hash::RandomState::new().build_hasher().finish();
        let layout = JournalOptions { segment_bytes: options.segment_bytes, spares_max: SPARES_MAX, seed };
        let (journal, recovered) = Journal::open(device, layout, &mut progress, &mut live)?;
        if let Some(torn) = &recovered.torn {
            tracing::warn!(
                file = torn.path,
                offset = torn.offset,
                bytes = torn.bytes,
                frames = torn.frames,
                "cut off what was being written when the broker or the machine stopped; nothing of it had been acknowledged"
            );
        }
        tracing::info!(
            records = recovered.records,
            segments = recovered.segments,
            bytes = recovered.bytes,
            ms = began.elapsed().as_millis() as u64,
            "read the store"
        );
        Ok(Opened { journal, recovered, options })
    }

    /// Bytes that are in memory because they are not safe yet.
    pub fn waiting_bytes(&self) -> u64 {
        self.shared.waiting_bytes.load(Ordering::Relaxed)
    }

    /// Makes all that was appended safe and stops. What is appended from now on is not.
    pub fn close(&self) -> Result<(), Error> {
        lock(&self.shared.pending).closing = true;
        self.shared.work.notify_all();
        lock(&self.shared.fetches).closing = true;
        self.shared.fetch_work.notify_all();
        let threads = std::mem::take(&mut *lock(&self.threads));
        let mut result = Ok(());
        for thread in threads {
            let ended = thread.join().unwrap_or_else(|_| {
                Err(Error::io("run", "a thread of the store", std::io::Error::other("it panicked")))
            });
            result = result.and(ended);
        }
        result
    }

    /// What it counts.
    pub fn figures(&self) -> Figures {
        let figures = *lock(&self.shared.figures);
        let last = lock(&self.shared.pending).last_ticket;
        Figures { lag: last - self.safe().0, ..figures }
    }
}

impl<D: Device> Opened<D> {
    /// What was found.
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// The highest id that was ever put. New records have higher ones.
    pub fn last_id(&self) -> u64 {
        self.recovered.last_id
    }

    /// Starts the threads. `wake` is called with a worker's number when there is something for it.
    pub fn start(self, wake: impl Fn(u16) + Send + Sync + 'static) -> Result<DiskStore<D>, Error> {
        let shared = Arc::new(Shared {
            pending: Mutex::new(Pending::default()),
            work: Condvar::new(),
            fetches: Mutex::new(Fetches::default()),
            fetch_work: Condvar::new(),
            fetched: Mutex::new(Vec::new()),
            safe: AtomicU64::new(0),
            waiting_bytes: AtomicU64::new(0),
            waiting_bytes_max: self.options.pending_bytes_max,
            trouble: AtomicU8::new(GOOD),
            figures: Mutex::new(self.journal.figures()),
            wake: Box::new(wake),
        });
        let reader = self.journal.reader();
        let store = DiskStore {
            shared: shared.clone(),
            threads: Mutex::new(Vec::new()),
            _device: std::marker::PhantomData,
        };
        let spawn = |name: &str, run: Box<dyn FnOnce() -> Result<(), Error> + Send>| {
            let thread = std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(run)
                .map_err(|error| Error::io("start", "a thread of the store", error))?;
            lock(&store.threads).push(thread);
            Ok(())
        };
        let mut writer = Writer::new(shared.clone(), self.journal, self.options);
        spawn("store-write", Box::new(move || writer.run()))?;
        spawn("store-read", Box::new(move || reader::run(&shared, &reader)))?;
        Ok(store)
    }
}

impl<D: Device> Store for DiskStore<D> {
    fn append(&self, worker: u16, batch: &mut Batch) -> Ticket {
        let mut pending = lock(&self.shared.pending);
        let Some(bytes) = pending.push(worker, batch, self.safe()) else {
            return Ticket(pending.last_ticket);
        };
        let ticket = Ticket(pending.last_ticket);
        // Nobody else has to be woken: whoever writes looks again before it sleeps.
        let sleeps = std::mem::take(&mut pending.writer_sleeps);
        self.shared.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        drop(pending);
        if sleeps {
            self.shared.work.notify_one();
        }
        batch.clear();
        ticket
    }

    fn safe(&self) -> Ticket {
        Ticket(self.shared.safe.load(Ordering::Acquire))
    }

    fn health(&self) -> Health {
        match self.shared.trouble.load(Ordering::Relaxed) {
            TIGHT => Health::Tight,
            FULL => Health::Full,
            FAILING => Health::Failing,
            _ if self.shared.waiting_bytes.load(Ordering::Relaxed) > self.shared.waiting_bytes_max => {
                Health::Behind
            }
            _ => Health::Good,
        }
    }

    fn fetch(&self, fetch: Fetch) {
        let after = lock(&self.shared.pending).last_ticket;
        lock(&self.shared.fetches).push(fetch, after);
        self.shared.fetch_work.notify_one();
    }

    fn take_fetched(&self, worker: u16, into: &mut Vec<Fetched>) {
        if let Some(fetched) = lock(&self.shared.fetched).get_mut(usize::from(worker)) {
            into.append(fetched);
        }
    }
}

impl<D: Device> Drop for DiskStore<D> {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the store could not be closed");
        }
    }
}

impl<D: Device> fmt::Debug for DiskStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskStore").field("safe", &self.safe()).field("health", &self.health()).finish()
    }
}

const SPARES_MAX: usize = 2;

const GOOD: u8 = 0;
const TIGHT: u8 = 1;
const FULL: u8 = 2;
const FAILING: u8 = 3;
