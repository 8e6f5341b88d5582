//! The thread that writes.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use siskin_core::store::Durability;

use super::pending::Chunk;
use super::{FAILING, FULL, GOOD, Options, Shared, TIGHT, lock};
use crate::device::Device;
use crate::error::Error;
use crate::figures::{CommitSizes, SyncTimes};
use crate::journal::{Failure, Journal, Step, SyncTask};

pub(super) struct Writer<D: Device> {
    shared: Arc<Shared>,
    journal: Journal<D>,
    options: Options,
    /// Frames that are not safe.
    flights: VecDeque<Flight>,
    /// The last ticket that was given to the journal.
    last_ticket: u64,
    /// When something came last.
    last_work: Instant,
    /// When syncing in the background, or trying again, was done last.
    last_pause: Instant,
    /// There is nothing to maintain until something comes.
    rests: bool,
    syncer: Option<Syncer<D>>,
    sync_times: SyncTimes,
    commit_sizes: CommitSizes,
    said: u8,
    said_reserve: bool,
    said_trouble: bool,
}

struct Flight {
    sequence: u64,
    ticket: u64,
    bytes: u64,
    waiters: Vec<u16>,
}

/// A sync that is done, what came of it, and how long it took.
type Synced<F> = (SyncTask<F>, Result<(), Failure>, Duration);

/// A thread that syncs where nobody waits for it.
struct Syncer<D: Device> {
    tasks: Option<mpsc::SyncSender<SyncTask<D::File>>>,
    done: mpsc::Receiver<Synced<D::File>>,
    busy: bool,
    thread: Option<JoinHandle<()>>,
}

impl<D: Device> Writer<D> {
    pub(super) fn new(shared: Arc<Shared>, journal: Journal<D>, options: Options) -> Self {
        let now = Instant::now();
        Self {
            shared,
            journal,
            options,
            flights: VecDeque::new(),
            last_ticket: 0,
            last_work: now,
            last_pause: now,
            rests: false,
            syncer: None,
            sync_times: SyncTimes::default(),
            commit_sizes: CommitSizes::default(),
            said: GOOD,
            said_reserve: false,
            said_trouble: false,
        }
    }

    pub(super) fn run(&mut self) -> Result<(), Error> {
        if self.options.durability < Durability::Synced {
            self.syncer = Some(Syncer::start(self.journal.device().clone())?);
        }
        let mut more = true;
        loop {
            let (chunks, closing) = self.wait(more);
            if !chunks.is_empty() {
                self.last_work = Instant::now();
                self.rests = false;
            }
            for chunk in chunks {
                self.write(chunk);
            }
            if closing {
                return self.close();
            }
            self.sync_as_needed();
            self.publish();
            more = self.maintain();
            self.report();
        }
    }

    /// Takes what is pending. Waits for it if there is nothing else to do before long.
    fn wait(&self, more: bool) -> (VecDeque<Chunk>, bool) {
        let mut pending = lock(&self.shared.pending);
        if pending.chunks.is_empty() && !pending.closing && !more {
            pending.writer_sleeps = true;
            pending = match self.deadline() {
                None => self.shared.work.wait(pending).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let time = at.saturating_duration_since(Instant::now());
                    self.shared.work.wait_timeout(pending, time).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            pending.writer_sleeps = false;
        }
        (std::mem::take(&mut pending.chunks), pending.closing)
    }

    /// When there is something to do though nothing comes.
    fn deadline(&self) -> Option<Instant> {
        let after_pause = self.last_pause + self.options.pause;
        if self.journal.failure().is_some() {
            return Some(after_pause);
        }
        let pause = match &self.syncer {
            // It cannot wake us, and what it says is not urgent.
            Some(syncer) if syncer.busy => Some(Instant::now() + SYNCER_POLL),
            Some(_) if self.has_unsynced() => Some(after_pause),
            _ => self.journal.reserve_failure().map(|_| after_pause),
        };
        let idle = (!self.rests).then(|| self.last_work + self.options.idle_after);
        pause.into_iter().chain(idle).min()
    }

    fn write(&mut self, chunk: Chunk) {
        self.last_ticket = chunk.ticket;
        let bytes = chunk.frame.len();
        let sequence = match self.flights.back() {
            // It is only there for somebody who waits for what was appended before.
            Some(before) if bytes == 0 => before.sequence,
            _ => self.journal.write(chunk.frame),
        };
        self.flights.push_back(Flight { sequence, ticket: chunk.ticket, bytes, waiters: chunk.waiters });
    }

    fn sync_as_needed(&mut self) {
        let now = Instant::now();
        let pause_over = now >= self.last_pause + self.options.pause;
        if self.journal.failure().is_some() {
            if pause_over {
                self.last_pause = now;
                self.journal.retry();
            }
        } else if pause_over && self.journal.reserve_failure().is_some() {
            self.last_pause = now;
            self.journal.retry_reserve();
            self.rests = false;
        }
        match &mut self.syncer {
            None => {
                if self.has_unsynced() {
                    self.sync();
                }
            }
            Some(syncer) => {
                for (task, result, took) in syncer.done.try_iter() {
                    syncer.busy = false;
                    self.sync_times.add(took);
                    self.journal.end_sync(&task, result);
                    // What was copied before may free files now.
                    self.rests = false;
                }
                if !syncer.busy
                    && (pause_over || self.journal.unsynced_bytes() > UNSYNCED_BYTES_MAX)
                    && let Some(task) = self.journal.begin_sync()
                {
                    self.last_pause = now;
                    syncer.give(task);
                }
            }
        }
    }

    fn has_unsynced(&self) -> bool {
        self.journal.synced() < self.journal.written()
    }

    fn sync(&mut self) {
        let Some(task) = self.journal.begin_sync() else { return };
        let began = Instant::now();
        let result = task.run(&**self.journal.device());
        self.sync_times.add(began.elapsed());
        self.journal.end_sync(&task, result);
    }

    /// Tells who waits what is safe.
    fn publish(&mut self) {
        if self.journal.failure().is_none() {
            let mut fetches = lock(&self.shared.fetches);
            fetches.written = self.last_ticket;
            if !fetches.is_empty() {
                self.shared.fetch_work.notify_one();
            }
        }
        let border = if self.syncer.is_some() { self.journal.written() } else { self.journal.synced() };
        let mut waiters = Vec::new();
        let (mut ticket, mut bytes) = (None, 0);
        while let Some(flight) = self.flights.pop_front_if(|flight| flight.sequence <= border) {
            ticket = Some(flight.ticket);
            bytes += flight.bytes;
            if waiters.is_empty() {
                waiters = flight.waiters;
            } else {
                waiters.extend(flight.waiters);
            }
        }
        let Some(ticket) = ticket else { return };
        self.commit_sizes.add(bytes);
        self.shared.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.shared.safe.store(ticket, Ordering::Release);
        waiters.sort_unstable();
        waiters.dedup();
        for worker in waiters {
            (self.shared.wake)(worker);
        }
    }

    /// A piece of maintenance; whether there is more at once.
    fn maintain(&mut self) -> bool {
        if self.rests || self.journal.failure().is_some() {
            return false;
        }
        let idle = self.last_work.elapsed() >= self.options.idle_after;
        let mut more = self.journal.maintain(idle) == Step::More;
        while more && self.journal.is_outrun() {
            more = self.journal.maintain(idle) == Step::More;
        }
        // What idle time brings needs a sync to be of use; then it goes on.
        self.rests = idle && !more && (self.syncer.is_some() || !self.has_unsynced());
        more || (idle && !self.rests)
    }

    /// Sets what workers see, and logs what changed.
    fn report(&mut self) {
        let (trouble, why) = match (self.journal.failure(), self.journal.reserve_failure()) {
            (Some(failure), _) => (if failure.is_full() { FULL } else { FAILING }, Some(failure)),
            (None, Some(failure)) if failure.is_full() => (TIGHT, Some(failure)),
            _ => (GOOD, None),
        };
        if trouble != self.said {
            match (trouble, why) {
                (TIGHT, Some(why)) => {
                    tracing::error!(%why, "the store has no room but for what makes room: nothing more is acknowledged that takes some");
                }
                (FULL, Some(why)) => {
                    tracing::error!(%why, "the store has no room: nothing more is acknowledged that needs it");
                }
                (_, Some(why)) => {
                    tracing::error!(%why, "the store fails: nothing more is acknowledged that needs it");
                }
                _ => tracing::info!("the store works again; nothing that waited for it was lost"),
            }
            self.said = trouble;
            self.shared.trouble.store(trouble, Ordering::Relaxed);
        }
        let reserve = self.journal.reserve_failure().filter(|failure| !failure.is_full());
        if reserve.is_some() != self.said_reserve {
            self.said_reserve = reserve.is_some();
            if let Some(why) = reserve {
                tracing::warn!(%why, "the store has no file in reserve");
            }
        }
        if let Some(error) = self.journal.trouble()
            && !self.said_trouble
        {
            self.said_trouble = true;
            tracing::error!(%error, "the store cannot reclaim space any more: check it with `siskin store check`");
        }
        let mut figures = self.journal.figures();
        figures.sync_times = self.sync_times;
        figures.commit_sizes = self.commit_sizes;
        *lock(&self.shared.figures) = figures;
    }

    fn close(&mut self) -> Result<(), Error> {
        if let Some(mut syncer) = self.syncer.take() {
            syncer.stop();
            for (task, result, _) in syncer.done.try_iter() {
                self.journal.end_sync(&task, result);
            }
        }
        self.journal.close().inspect(|()| {
            self.publish();
            self.report();
        })
    }
}

impl<D: Device> Syncer<D> {
    fn start(device: Arc<D>) -> Result<Self, Error> {
        let (tasks, given) = mpsc::sync_channel::<SyncTask<D::File>>(1);
        let (tell, done) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("store-sync".to_owned())
            .spawn(move || {
                for task in given {
                    let began = Instant::now();
                    let result = task.run(&*device);
                    if tell.send((task, result, began.elapsed())).is_err() {
                        return;
                    }
                }
            })
            .map_err(|error| Error::io("start", "a thread of the store", error))?;
        Ok(Self { tasks: Some(tasks), done, busy: false, thread: Some(thread) })
    }

    fn give(&mut self, task: SyncTask<D::File>) {
        // There is room: one is given at a time.
        self.busy = self.tasks.as_ref().is_some_and(|tasks| tasks.send(task).is_ok());
    }

    fn stop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing that could panic, and nothing is lost without it: what it did not sync is known.
            _ = thread.join();
        }
    }
}

/// How often to look whether a sync in the background is done.
const SYNCER_POLL: Duration = Duration::from_millis(20);

/// Where syncs are in the background, one comes sooner when so much waits for it.
const UNSYNCED_BYTES_MAX: u64 = 16 * 1024 * 1024;
