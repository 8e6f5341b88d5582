//! The broker's real journal on a simulated device, moved on step by step by a test.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use siskin_core::store::{Batch, Fetch, Fetched, Health, Live, Store, Ticket};
use siskin_store::sim::SimDevice;
use siskin_store::{Frame, Journal, JournalOptions, Recovered};

use crate::world::Random;

/// A store whose disk loses and tears what was not synced when the power goes.
pub struct JournalStore(Mutex<Inner>);

struct Inner {
    device: SimDevice,
    journal: Journal<SimDevice>,
    gathered: Frame,
    last: u64,
    /// Sequences of frames that are not safe, each with the last ticket in it.
    under_way: VecDeque<(u64, u64)>,
    safe: u64,
    is_manual: bool,
    fetches: Vec<Fetch>,
    fetched: BTreeMap<u16, Vec<Fetched>>,
}

impl JournalStore {
    /// The store on `device`, whose records go to `take`, and the last id that was ever used. Everything is safe at
    /// once until [`JournalStore::hold`]. `seed` must be another at each opening.
    ///
    /// # Panics
    ///
    /// If the journal finds that anything was damaged: a simulated device only loses what was not synced.
    pub fn open(device: SimDevice, seed: u64, mut take: impl FnMut(Live<'_>)) -> (Arc<Self>, u64) {
        // Small, so that segments are filled, freed and used again all the time.
        let options = JournalOptions { segment_bytes: 4096, spares_max: 1, seed };
        let opened = Journal::open(device.clone(), options, &mut |_| {}, &mut take);
        let (journal, Recovered { last_id, .. }) = opened.unwrap_or_else(|error| panic!("{error}"));
        let store = Self(Mutex::new(Inner {
            device,
            journal,
            gathered: Frame::default(),
            last: 0,
            under_way: VecDeque::new(),
            safe: 0,
            is_manual: false,
            fetches: Vec::new(),
            fetched: BTreeMap::new(),
        }));
        (Arc::new(store), last_id)
    }

    /// From now on nothing becomes safe, and nothing is fetched, until the test says so.
    pub fn hold(&self) {
        self.lock().is_manual = true;
    }

    /// Everything is safe, and stays so.
    pub fn release(&self) {
        let mut inner = self.lock();
        inner.is_manual = false;
        inner.finish();
    }

    /// Does a few things that the threads of the real store would do about now.
    pub fn step(&self, random: &mut Random) {
        self.lock().step(random);
    }

    /// Whether bodies were fetched that nobody has taken yet.
    pub fn has_fetched(&self) -> bool {
        self.lock().fetched.values().any(|fetched| !fetched.is_empty())
    }

    /// The power goes, now or within the next few operations; gives back the device as it is found afterwards.
    pub fn crash(&self, random: &mut Random) -> SimDevice {
        let mut inner = self.lock();
        if random.chance(70) {
            inner.device.cut_power_after(random.below(8) as u64);
            inner.step(random);
        }
        inner.device.crash();
        inner.device.clone()
    }

    /// The live records, as a process would find them that started now.
    pub fn load(&self, take: impl FnMut(Live<'_>)) {
        let mut inner = self.lock();
        inner.finish();
        Self::open(inner.device.copy(), 0, take);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn step(&mut self, random: &mut Random) {
        for _ in 0..random.between(1, 4) {
            match random.below(4) {
                0 => self.write(),
                1 => self.sync(),
                2 => drop(self.journal.maintain(random.chance(30))),
                _ => self.fetch(),
            }
        }
    }

    fn finish(&mut self) {
        self.write();
        self.sync();
        self.fetch();
    }

    fn write(&mut self) {
        if !self.gathered.is_empty() {
            let sequence = self.journal.write(std::mem::take(&mut self.gathered));
            self.under_way.push_back((sequence, self.last));
        }
    }

    fn sync(&mut self) {
        self.journal.sync();
        let synced = self.journal.synced();
        while let Some((_, ticket)) = self.under_way.pop_front_if(|(sequence, _)| *sequence <= synced) {
            self.safe = ticket;
        }
    }

    fn fetch(&mut self) {
        // What is asked for may be in a batch that was just handed over.
        self.write();
        for Fetch { session, ids } in std::mem::take(&mut self.fetches) {
            let reader = self.journal.reader();
            let body = |id| (id, reader.read(id).unwrap_or_default());
            let bodies = ids.into_iter().map(body).collect();
            self.fetched.entry(session.worker()).or_default().push(Fetched { session, bodies });
        }
    }
}

impl Store for JournalStore {
    fn append(&self, _: u16, batch: &mut Batch) -> Ticket {
        let mut inner = self.lock();
        if !batch.is_empty() {
            inner.gathered.push(batch);
            inner.last += 1;
            batch.clear();
        }
        if !inner.is_manual {
            inner.finish();
        }
        Ticket(inner.last)
    }

    fn safe(&self) -> Ticket {
        Ticket(self.lock().safe)
    }

    fn health(&self) -> Health {
        Health::Good
    }

    fn fetch(&self, fetch: Fetch) {
        let mut inner = self.lock();
        inner.fetches.push(fetch);
        if !inner.is_manual {
            inner.finish();
        }
    }

    fn take_fetched(&self, worker: u16, into: &mut Vec<Fetched>) {
        into.append(self.lock().fetched.entry(worker).or_default());
    }
}

impl fmt::Debug for JournalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JournalStore")
    }
}
