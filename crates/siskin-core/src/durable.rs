//! What one worker has for the store, and what it may say only when that is safe.
//!
//! ```text
//! a turn:   records gather in the batch, promises beside them
//! flush:    the batch is appended and gets a ticket; its promises wait for that ticket
//! safe:     the promises are kept, in the order in which they were made
//! ```
//!
//! Without a store nothing gathers and nobody waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use siskin_proto::{PacketId, PacketKind, Qos, Reason};

use crate::message::Message;
use crate::session::{Extra, SessionKey, StoredWill};
use crate::store::record::{self, Receiver};
use crate::store::{Batch, Fetch, Fetched, Health, RecordId, Store, Ticket};
use crate::time::Now;

/// What all workers know of the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Records {
    store: Option<Arc<dyn Store>>,
    /// The number of the record that was named last.
    last: Arc<AtomicU64>,
    /// The ticket of the batch that ended a retained message last.
    cleared: Arc<AtomicU64>,
}

impl Records {
    /// Records kept in `store`, the next of which is named `last + 1`.
    pub(crate) fn new(store: Option<Arc<dyn Store>>, last: u64) -> Self {
        Self { store, last: Arc::new(AtomicU64::new(last)), cleared: Arc::default() }
    }

    /// Whether there is a store at all.
    pub(crate) fn is_on(&self) -> bool {
        self.store.is_some()
    }
}

/// A worker's side of the store.
#[derive(Debug)]
pub(crate) struct Durable {
    worker: u16,
    records: Records,
    batch: Batch,
    /// Whether the packet at hand changed anything that must be safe before it is answered.
    touched: bool,
    gathering: Vec<Promise>,
    waiting: VecDeque<Waiting>,
    /// The last ticket that anybody waits for.
    awaited: Ticket,
    /// Sessions whose queue begins with what lies in the store alone.
    fetches: Vec<SessionKey>,
    /// Bytes put without need since the store stopped taking everything.
    spare_bytes: u64,
}

/// Promises that wait for a batch.
#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    /// When they were first seen to wait.
    since: Option<Now>,
    promises: Vec<Promise>,
}

/// Something to do on a connection when all before it is safe.
#[derive(Debug)]
pub(crate) struct Promise {
    pub(crate) key: SessionKey,
    /// The serial of the connection, of which there is no 0; on another it is void.
    pub(crate) connection: u64,
    pub(crate) then: Then,
}

/// What a promise comes to.
#[derive(Debug)]
pub(crate) enum Then {
    PubAck(PacketId, Reason),
    PubRec(PacketId, Reason),
    PubRel(PacketId, Reason),
    PubComp(PacketId, Reason),
    /// An encoded answer.
    Answer(PacketKind, Box<[u8]>),
    /// The QoS 2 message under this id.
    Deliver(PacketId),
    /// CONNACK, and what stands behind it.
    Open,
    /// Nothing to say, but so much is still to be made safe.
    Nothing,
    /// A session that lasted is over, and others may have its client id.
    LetGo(Arc<str>),
}

impl Durable {
    pub(crate) fn new(worker: u16, records: Records) -> Self {
        Self {
            worker,
            records,
            batch: Batch::default(),
            touched: false,
            gathering: Vec::new(),
            waiting: VecDeque::new(),
            awaited: Ticket::default(),
            fetches: Vec::new(),
            spare_bytes: 0,
        }
    }

    /// Whether there is a store at all.
    pub(crate) fn is_on(&self) -> bool {
        self.records.is_on()
    }

    /// Whether the store, if there is one, makes safe what it is given.
    pub(crate) fn health(&self) -> Health {
        self.records.store.as_ref().map_or(Health::Good, |store| store.health())
    }

    /// A name for a new record.
    pub(crate) fn next_id(&self) -> RecordId {
        let number = self.records.last.fetch_add(1, Ordering::Relaxed) + 1;
        RecordId::new(number).expect("64 bits of records are never used up")
    }

    /// The records of this turn, to add to.
    pub(crate) fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// The same, for what must be safe before the packet at hand is answered.
    pub(crate) fn owed(&mut self) -> &mut Batch {
        self.touched = true;
        &mut self.batch
    }

    /// Whether a record of about `bytes` may be put that nobody was or will be promised. While the store does not
    /// take everything these gather, where publishers of QoS 0 and clients with wills come and go, so there is an end
    /// to them: what goes beyond it is in memory alone.
    pub(crate) fn has_room(&mut self, bytes: usize) -> bool {
        if self.health().may_promise() {
            self.spare_bytes = 0;
            return true;
        }
        self.spare_bytes = self.spare_bytes.saturating_add(bytes as u64 + RECORD_BYTES);
        self.spare_bytes <= SPARE_BYTES_MAX
    }

    /// Keeps a message for one session alone: gives back the message to deliver.
    pub(crate) fn keep_for(
        &mut self,
        session: RecordId,
        message: &Message,
        qos: Qos,
        retain: bool,
        extra: Option<&Extra>,
    ) -> Message {
        let id = self.next_id();
        let receiver = Receiver {
            session: session.get(),
            qos,
            retain,
            subscription_ids: extra.map_or(Vec::new(), |extra| extra.subscription_ids.clone()),
            share: extra.and_then(|extra| extra.shared.clone()),
        };
        self.batch.put(id, 1, |out| {
            record::write_message(out, &message.parts(), false, &[receiver]);
        });
        message.under(id)
    }

    /// Whether anything was [owed](Self::owed) since last asked.
    pub(crate) fn take_touched(&mut self) -> bool {
        std::mem::take(&mut self.touched)
    }

    /// A will is published or withdrawn, and need not be kept any longer.
    pub(crate) fn forget_will(&mut self, will: &StoredWill) {
        if let Some(record) = will.record {
            self.batch().release(record, 0);
        }
    }

    /// The last batch that anybody waits for.
    pub(crate) fn awaited(&self) -> Ticket {
        self.awaited
    }

    /// To be kept when all that was put into batches so far is safe.
    pub(crate) fn promise(&mut self, promise: Promise) {
        self.gathering.push(promise);
    }

    /// Appends what has gathered.
    pub(crate) fn flush(&mut self) {
        let Some(store) = &self.records.store else { return };
        let promises = std::mem::take(&mut self.gathering);
        if !self.batch.is_empty() {
            // The promise for the packet at hand may be made only after its records are handed over.
            let is_awaited = !promises.is_empty() || self.touched;
            if is_awaited {
                self.batch.await_safety();
            }
            let ticket = store.append(self.worker, &mut self.batch);
            if is_awaited {
                self.awaited = ticket;
            }
        }
        if !promises.is_empty() {
            // Those without a record of their own stand behind one that was awaited before.
            self.waiting.push_back(Waiting { ticket: self.awaited, since: None, promises });
        }
    }

    /// Appends what has gathered if it is much, between two things that are each to become safe whole. A store
    /// takes what it is handed at once as one piece, and there is an end to the size of such a piece.
    pub(crate) fn flush_much(&mut self) {
        if self.batch.bytes().len() >= BATCH_BYTES_MAX {
            // Whoever makes a promise from now on, be it without a record, stands behind this.
            let touched = std::mem::replace(&mut self.touched, true);
            self.flush();
            self.touched = touched;
        }
    }

    /// A retained message was ended: its release is handed over now, and others who say that nothing is there stand
    /// behind it.
    pub(crate) fn flush_cleared(&mut self) {
        self.touched = true;
        self.flush();
        self.records.cleared.fetch_max(self.awaited.0, Ordering::Relaxed);
    }

    /// Nothing is retained under a topic. If the end of what was there may not be safe yet, be it another worker's,
    /// the packet at hand waits for it: for a record of its own that is gone at once.
    pub(crate) fn stand_behind_cleared(&mut self) {
        let Some(store) = self.records.store.clone() else { return };
        if self.records.cleared.load(Ordering::Relaxed) > store.safe().0 && self.has_room(0) {
            let id = self.next_id();
            let batch = self.owed();
            batch.put(id, 1, |_| {});
            batch.release(id, 0);
        }
    }

    /// From now on it counts how long those wait that have just begun to.
    pub(crate) fn mark_waiting(&mut self, now: Now) {
        for waiting in self.waiting.iter_mut().rev().take_while(|waiting| waiting.since.is_none()) {
            waiting.since = Some(now);
        }
    }

    /// The next promises that may be kept, and how many milliseconds they have waited.
    pub(crate) fn take_kept(&mut self, now: Now) -> Option<(Vec<Promise>, u64)> {
        let waiting = self.waiting.front()?;
        let store = self.records.store.as_ref()?;
        if waiting.ticket > store.safe() {
            return None;
        }
        let Waiting { since, promises, .. } = self.waiting.pop_front()?;
        Some((promises, since.map_or(0, |since| now.ms_since(since))))
    }

    /// The session `key` wants bodies that lie in the store alone.
    pub(crate) fn want(&mut self, key: SessionKey) {
        self.fetches.push(key);
    }

    /// A session that wants bodies. Which, is to be asked when all batches are handed over, lest it ask for one that
    /// was released meanwhile.
    pub(crate) fn take_wanting(&mut self) -> Option<SessionKey> {
        self.fetches.pop()
    }

    /// Asks the store for bodies.
    pub(crate) fn fetch(&self, fetch: Fetch) {
        if let Some(store) = &self.records.store {
            store.fetch(fetch);
        }
    }

    /// Takes what has come of it.
    pub(crate) fn take_fetched(&self, fetched: &mut Vec<Fetched>) {
        if let Some(store) = &self.records.store {
            store.take_fetched(self.worker, fetched);
        }
    }
}

/// Batches that hold so much get no more.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// How much a worker puts without need while the store does not take everything.
const SPARE_BYTES_MAX: u64 = 1024 * 1024;

/// About what a record takes beside what is in it.
const RECORD_BYTES: u64 = 64;
