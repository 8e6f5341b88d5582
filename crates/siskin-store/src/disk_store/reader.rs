//! The thread that reads bodies back.

use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

use siskin_core::store::{Fetch, Fetched, RecordId};

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
        // What cannot be read for now is not among what has come, and will be asked for again.
        let bodies = fetch.ids.into_iter().map_while(|id| Some((id, read(shared, reader, id)?))).collect();
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

/// The body of a record, none if it is damaged or gone. What the device does not give is tried again for a while; then there
/// is no answer, as it may well be there.
fn read<D: Device>(shared: &Shared, reader: &Reader<D>, id: RecordId) -> Option<Option<Vec<u8>>> {
    let mut tries = 0;
    loop {
        match reader.read(id) {
            Ok(body) => return Some(body),
            Err(error @ Error::Io { .. }) => {
                tries += 1;
                if tries == 1 {
                    tracing::error!(record = id.get(), %error, "a stored message cannot be read for now");
                }
                if tries > RETRIES || lock(&shared.fetches).closing {
                    return None;
                }
                thread::sleep(RETRY_EVERY);
            }
            Err(error) => {
                tracing::error!(record = id.get(), %error, "a stored message is lost");
                return Some(None);
            }
        }
    }
}

/// How often, and how soon, what the device does not give is tried again before others have their turn.
const RETRIES: u32 = 10;
const RETRY_EVERY: Duration = Duration::from_millis(100);

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
