//! What outlives the broker of a world.

use std::sync::Arc;

use siskin_core::Recovered;
use siskin_core::store::record::Record;
use siskin_core::store::{Live, Store};
use siskin_store::sim::SimDevice;

use super::random::Random;
use crate::journal::JournalStore;
use crate::store::SimStore;

/// Where a broker keeps what must outlive it: a model of a store, or the real one on a model of a disk.
pub(super) enum Disk {
    Records(Arc<SimStore>),
    Journal(Arc<JournalStore>),
}

/// A disk, and what a broker finds on it.
pub(super) struct Found {
    pub(super) disk: Disk,
    pub(super) recovered: Recovered,
    pub(super) last: u64,
}

impl Disk {
    pub(super) fn choose(random: &mut Random) -> Found {
        match random.chance(50) {
            true => Self::found_records(SimStore::new()),
            false => Self::found_journal(SimDevice::new(random.number()), random),
        }
    }

    fn found_records(store: Arc<SimStore>) -> Found {
        let mut recovered = Recovered::default();
        let last = store.load(|live| recovered.add(live));
        store.hold();
        Found { disk: Self::Records(store), recovered, last }
    }

    fn found_journal(device: SimDevice, random: &mut Random) -> Found {
        let mut recovered = Recovered::default();
        let (store, last) = JournalStore::open(device, random.number(), |live| recovered.add(live));
        store.hold();
        Found { disk: Self::Journal(store), recovered, last }
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Records(store) => Arc::clone(store) as _,
            Self::Journal(store) => Arc::clone(store) as _,
        }
    }

    /// It gets a little further.
    pub(super) fn step(&self, random: &mut Random) {
        match self {
            Self::Records(store) => drop(store.sync(random.between(1, 20) as usize)),
            Self::Journal(store) => store.step(random),
        }
    }

    /// From now on everything is safe at once.
    pub(super) fn release(&self) {
        match self {
            Self::Records(store) => store.release(),
            Self::Journal(store) => store.release(),
        }
    }

    /// Whether bodies were fetched that nobody has taken yet.
    pub(super) fn has_fetched(&self) -> bool {
        match self {
            Self::Records(store) => store.has_fetched(),
            Self::Journal(store) => store.has_fetched(),
        }
    }

    /// The broker is gone, or the power: what is found is what was safe, and maybe some more.
    pub(super) fn crash(&self, random: &mut Random) -> Found {
        match self {
            Self::Records(store) => Self::found_records(store.crash(random.below(store.pending() + 1))),
            Self::Journal(store) => Self::found_journal(store.crash(random), random),
        }
    }

    /// The records that are not there in every broker at rest, as text, and how many messages are retained.
    pub(super) fn leftovers(&self) -> (Vec<String>, usize) {
        let (mut leftovers, mut retained) = (Vec::new(), 0);
        let mut take = |live: Live<'_>| match Record::decode(live.body)
            .expect("only records that can be read are put")
        {
            Record::Node { .. } | Record::Session(_) | Record::Subscription(_) => {}
            Record::Message(message) if message.is_retained && live.held.len() == 1 => retained += 1,
            record => leftovers.push(format!("{:?} held by {:?}: {record:?}", live.id, live.held)),
        };
        match self {
            Self::Records(store) => drop(store.load(&mut take)),
            Self::Journal(store) => store.load(&mut take),
        }
        (leftovers, retained)
    }
}
