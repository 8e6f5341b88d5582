//! A store in memory that a test can stop, break and crash.
//!
//! It takes what it is told literally: a release of what is not held, or a body asked for that is not there, ends
//! the test.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use siskin_core::store::record::Record;
use siskin_core::store::{Batch, Fetch, Fetched, Health, Held, Live, Op, RecordId, Store, Ticket};

/// The store. What it holds after [`SimStore::crash`] is what a new one begins with.
pub struct SimStore(Mutex<Inner>);

struct Inner {
    /// What all safe batches come to.
    safe: Records,
    /// What all batches come to.
    all: Records,
    /// Batches that are not safe yet, in order.
    pending: VecDeque<Vec<u8>>,
    last: u64,
    is_manual: bool,
    is_deaf: bool,
    health: Health,
    fetches: Vec<Fetch>,
    fetched: BTreeMap<u16, Vec<Fetched>>,
    /// Records that can no longer be read.
    spoilt: BTreeSet<RecordId>,
}

/// Live records, by id.
#[derive(Clone, Default)]
struct Records(BTreeMap<RecordId, Entry>);

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    body: Vec<u8>,
    /// Held references with their notes.
    held: BTreeMap<u32, u32>,
}

impl SimStore {
    /// An empty store. Everything is safe at once until [`SimStore::hold`].
    pub fn new() -> Arc<Self> {
        Self::begin(Records::default())
    }

    /// A store that takes everything and keeps nothing.
    pub fn deaf() -> Arc<Self> {
        let store = Self::new();
        store.lock().is_deaf = true;
        store
    }

    fn begin(records: Records) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner {
            safe: records.clone(),
            all: records,
            pending: VecDeque::new(),
            last: 0,
            is_manual: false,
            is_deaf: false,
            health: Health::Good,
            fetches: Vec::new(),
            fetched: BTreeMap::new(),
            spoilt: BTreeSet::new(),
        })))
    }

    /// From now on nothing becomes safe, and nothing is fetched, until the test says so.
    pub fn hold(&self) {
        self.lock().is_manual = true;
    }

    /// Everything is safe, and stays so.
    pub fn release(&self) {
        let mut inner = self.lock();
        inner.is_manual = false;
        inner.sync(usize::MAX);
    }

    /// Makes up to `batches` more safe, and fetches what was asked for; says whether anything changed.
    pub fn sync(&self, batches: usize) -> bool {
        self.lock().sync(batches)
    }

    /// Says this of itself from now on.
    pub fn set_health(&self, health: Health) {
        self.lock().health = health;
    }

    /// What lies on the device for records whose body holds `bytes` can no longer be read; says how many.
    pub fn spoil(&self, bytes: &[u8]) -> usize {
        let mut inner = self.lock();
        let holds = |entry: &Entry| entry.body.windows(bytes.len()).any(|window| window == bytes);
        let spoilt: Vec<_> =
            inner.all.0.iter().filter(|(_, entry)| holds(entry)).map(|(id, _)| *id).collect();
        inner.spoilt.extend(&spoilt);
        spoilt.len()
    }

    /// Bodies that were asked for and not fetched yet.
    pub fn fetching(&self) -> usize {
        self.lock().fetches.iter().map(|fetch| fetch.ids.len()).sum()
    }

    /// Whether bodies were fetched that nobody has taken yet.
    pub fn has_fetched(&self) -> bool {
        self.lock().fetched.values().any(|fetched| !fetched.is_empty())
    }

    /// Batches that are not safe.
    pub fn pending(&self) -> usize {
        self.lock().pending.len()
    }

    /// Bytes of these.
    pub fn pending_bytes(&self) -> usize {
        self.lock().pending.iter().map(Vec::len).sum()
    }

    /// Bytes of the largest of these.
    pub fn largest_pending(&self) -> usize {
        self.lock().pending.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// What a process finds that starts after this one was killed: all that was safe, and `more` batches that were
    /// not but reached the disk.
    pub fn crash(&self, more: usize) -> Arc<Self> {
        let inner = self.lock();
        let mut records = inner.safe.clone();
        for batch in inner.pending.iter().take(more) {
            records.apply(batch);
        }
        Self::begin(records)
    }

    /// Hands all live records to `take`, and says which id was used last.
    pub fn load(&self, mut take: impl FnMut(Live<'_>)) -> u64 {
        let inner = self.lock();
        for (id, entry) in &inner.all.0 {
            let held = entry.held.iter().map(|(reference, note)| Held { reference: *reference, note: *note });
            let held: Vec<_> = held.collect();
            take(Live { id: *id, body: &entry.body, held: &held });
        }
        inner.all.0.keys().next_back().map_or(0, |id| id.get())
    }

    /// How many records are live, the broker's own included.
    pub fn records(&self) -> usize {
        self.lock().all.0.len()
    }

    /// The live records as text, without those that are there in every broker at rest: its own, sessions and
    /// subscriptions.
    pub fn leftovers(&self) -> Vec<String> {
        let inner = self.lock();
        let records = inner.all.0.iter().map(|(id, entry)| {
            let record = Record::decode(&entry.body).expect("only records that can be read are put");
            (id, &entry.held, record)
        });
        let at_rest = |record: &Record<'_>| {
            matches!(record, Record::Node { .. } | Record::Session(_) | Record::Subscription(_))
        };
        records
            .filter(|(_, _, record)| !at_rest(record))
            .map(|(id, held, record)| format!("{id:?} held by {held:?}: {record:?}"))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn sync(&mut self, batches: usize) -> bool {
        if !self.health.may_make_room() {
            return false;
        }
        let count = batches.min(self.pending.len());
        for batch in self.pending.drain(..count) {
            self.safe.apply(&batch);
        }
        let fetches = std::mem::take(&mut self.fetches);
        let has_fetched = !fetches.is_empty();
        for Fetch { session, ids } in fetches {
            let readable = |id: &RecordId| self.all.0.get(id).filter(|_| !self.spoilt.contains(id));
            let body = |id: RecordId| (id, readable(&id).map(|entry| entry.body.clone()));
            let bodies = ids.into_iter().map(body).collect();
            self.fetched.entry(session.worker()).or_default().push(Fetched { session, bodies });
        }
        count > 0 || has_fetched
    }
}

impl Records {
    fn apply(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match Op::decode(&mut bytes).expect("batches hold operations") {
                Op::Put { id, references, body } => {
                    let held = (0..references).map(|reference| (reference, 0)).collect();
                    self.0.insert(id, Entry { body: body.to_vec(), held });
                }
                Op::Release { id, reference } => {
                    let entry = self.0.get_mut(&id).unwrap_or_else(|| panic!("{id:?} is released but gone"));
                    assert!(entry.held.remove(&reference).is_some(), "{id:?}/{reference} is released twice");
                    if entry.held.is_empty() {
                        self.0.remove(&id);
                    }
                }
                Op::Note { id, reference, note } => {
                    let held = self.0.get_mut(&id).and_then(|entry| entry.held.get_mut(&reference));
                    *held.unwrap_or_else(|| panic!("a note at {id:?}/{reference}, which nobody holds")) =
                        note;
                }
            }
        }
    }
}

impl Store for SimStore {
    fn append(&self, _: u16, batch: &mut Batch) -> Ticket {
        let mut inner = self.lock();
        if inner.is_deaf {
            batch.clear();
        }
        if !batch.is_empty() {
            inner.all.apply(batch.bytes());
            inner.pending.push_back(batch.bytes().to_vec());
            inner.last += 1;
            batch.clear();
        }
        if !inner.is_manual {
            inner.sync(usize::MAX);
        }
        Ticket(inner.last)
    }

    fn safe(&self) -> Ticket {
        let inner = self.lock();
        Ticket(inner.last - inner.pending.len() as u64)
    }

    fn health(&self) -> Health {
        self.lock().health
    }

    fn fetch(&self, fetch: Fetch) {
        let mut inner = self.lock();
        for id in &fetch.ids {
            assert!(inner.all.0.contains_key(id), "{id:?} is asked for but gone");
        }
        inner.fetches.push(fetch);
        if !inner.is_manual {
            inner.sync(0);
        }
    }

    fn take_fetched(&self, worker: u16, into: &mut Vec<Fetched>) {
        into.append(self.lock().fetched.entry(worker).or_default());
    }
}

impl fmt::Debug for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimStore")
    }
}
