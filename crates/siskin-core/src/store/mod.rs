//! What must outlive the process: records, and the one border behind which they are kept safe.
//!
//! A store is a bag of records. It knows their ids and how many references to each are still held, and
//! nothing of what is in them; the worker does. Whoever holds the last reference releases it, and the record
//! is gone. What a broker is after a crash is exactly what the records say that were safe before it.

mod batch;
pub mod record;

pub use batch::{Batch, Damaged, Op};

use std::fmt;
use std::num::NonZeroU64;

use crate::session::SessionKey;

/// Names one record for as long as it lives. Ids are given out in rising order, so that they tell which of
/// two messages came first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(NonZeroU64);

impl RecordId {
    /// The record `number`; zero names none.
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A batch's place among all that were handed to a store. When a ticket is safe, all before it are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Ticket(pub u64);

/// How far an acknowledgement reaches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Durability {
    /// Lost with the process.
    Memory,
    /// Survives the process: handed to the kernel.
    Written,
    /// Survives the loss of power: on stable storage.
    Synced,
}

/// Whether what is handed to a store becomes safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// It does, shortly.
    Good,
    /// It does, but more waits than should: who publishes is to be slowed.
    Behind,
    /// It does, but there is room only for what makes room again: what is kept may be delivered and given up, and
    /// nothing more is to be promised that takes some.
    Tight,
    /// It does not for now: there is no room. Nothing more is to be promised until that changes.
    Full,
    /// It does not for now: the device fails. Nothing more is to be promised until that changes.
    Failing,
}

impl Health {
    /// Whether anything may be promised that needs the store.
    pub const fn may_promise(self) -> bool {
        matches!(self, Self::Good | Self::Behind)
    }

    /// Whether at least what makes room becomes safe.
    pub const fn may_make_room(self) -> bool {
        matches!(self, Self::Good | Self::Behind | Self::Tight)
    }
}

/// Bodies that a session wants back.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// The session, whose worker is to be woken when they are there.
    pub session: SessionKey,
    /// The records, all put before and not released.
    pub ids: Vec<RecordId>,
}

/// What came of a [`Fetch`].
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Who asked.
    pub session: SessionKey,
    /// In the order asked for: each body, or none where it can no longer be read. The store has said why.
    pub bodies: Vec<(RecordId, Option<Vec<u8>>)>,
}

/// Where records are kept safe. All workers of a broker use one.
///
/// - Batches become safe in the order in which they were appended, each whole or not at all.
/// - After a crash the store gives back what all safe batches come to, and perhaps a few more that followed.
/// - When a batch that [awaits](Batch::await_safety) becomes safe, its worker is woken and asks
///   [`Store::safe`]; likewise when bodies that a worker's session asked for are there.
/// - What cannot be made safe is kept and tried again until it can, and [`Store::health`] says so meanwhile.
///
/// No method waits for a device.
pub trait Store: fmt::Debug + Send + Sync {
    /// Takes over what `batch` holds, for `worker`, and leaves it empty. An empty batch has the ticket of the
    /// one before.
    fn append(&self, worker: u16, batch: &mut Batch) -> Ticket;

    /// The last ticket that is safe.
    fn safe(&self) -> Ticket;

    /// Whether anything more may be promised.
    fn health(&self) -> Health;

    /// Asks for bodies of records.
    fn fetch(&self, fetch: Fetch);

    /// Moves what has been fetched for sessions of `worker` into `into`.
    fn take_fetched(&self, worker: u16, into: &mut Vec<Fetched>);
}

/// A record as it is after a restart.
#[derive(Clone, Copy, Debug)]
pub struct Live<'a> {
    /// Its id.
    pub id: RecordId,
    /// What was put, last.
    pub body: &'a [u8],
    /// The references that are still held.
    pub held: &'a [Held],
}

/// A reference that is held, with what was last noted at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Which of the record's references.
    pub reference: u32,
    /// The last note, 0 if there was none.
    pub note: u32,
}
