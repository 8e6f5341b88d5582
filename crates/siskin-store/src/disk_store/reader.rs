//! The thread that reads bodies back.

use std::collections::VecDeque;

use siskin_core::store::{Fetch, Fetched};

use super::{Shared, lock};
use crate::device::Device;
use crate::error::Error;
use crate::journal::Reader;

/// Bodies that are asked for.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    /// Each with the ticket that must be written before.
    queue: VecDeque<(Fetch, u64)>,
    /// The last ticket that is written.
    pub(super) written: u64,
    pub(super) closing: bool,
}

impl Fetches {
    pub(super) fn push(&mut self, fetch: Fetch, after: u64) {
        self.queue.push_back((fetch, after));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

pub(super) fn run<D: Device>(shared: &Shared, reader: &Reader<D>) -> Result<(), Error> {
    while let Some(fetch) = next(shared) {
        let bodies = fetch
            .ids
            .into_iter()
            .map(|id| {
                let body = reader.read(id).unwrap_or_else(|error| {
                    tracing::error!(record = id.get(), %error, "a stored message is lost");
                    None
                });
                (id, body)
            })
            .collect();
        let worker = fetch.session.worker();
        let mut fetched = lock(&shared.fetched);
        if fetched.len() <= usize::from(worker) {
            fetched.resize_with(usize::from(worker) + 1, Vec::new);
        }
        fetched[usize::from(worker)].push(Fetched { session: fetch.session, bodies });
        drop(fetched);
        (shared.wake)(worker);
    }
    Ok(())
}

fn next(shared: &Shared) -> Option<Fetch> {
    let mut fetches = lock(&shared.fetches);
    loop {
        if fetches.closing {
            return None;
        }
        if fetches.queue.front().is_some_and(|(_, after)| *after <= fetches.written) {
            return fetches.queue.pop_front().map(|(fetch, _)| fetch);
        }
        fetches = shared.fetch_work.wait(fetches).unwrap_or_else(std::sync::PoisonError::into_inner);
    }
}
