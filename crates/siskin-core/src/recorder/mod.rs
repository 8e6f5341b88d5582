//! The flight recorder: what happened to each client, kept for whoever asks later.
//!
//! It is always on and costs a message nothing: only what is rare is recorded. Each session has a diary, some
//! tens of bytes while nothing much happens and never more than 1 KiB; when the session ends, its diary is kept
//! among those of the latest sessions that are gone. Beside these a worker remembers its latest events of all clients.
//!
//! ```text
//! Session ── Diary ── Log          entries as bytes, the oldest go first
//!               └──── pending      what happens per message: counted, written down once a second
//! session ends ─> Gone             of all workers; the client that comes back takes its log with it
//! Recorder ── Recent               what was written down last, of all clients of a worker
//! ```

mod bytes;
mod diary;
mod entry;
mod gone;
mod log;
mod origin;
mod recent;
mod story;

pub(crate) use diary::Diary;
pub use entry::{By, Closed, ClosedKind, Entry, What};
pub(crate) use gone::Gone;
pub use gone::GoneClient;
pub(crate) use log::Log;
pub use origin::Origin;
pub use recent::Recent;
pub use story::{Clock, Story};
pub(crate) use story::{Plain, Quoted, Span, plural};

use crate::limits::Limits;
use crate::time::Now;

/// A worker's side of the recorder.
#[derive(Debug)]
pub(crate) struct Recorder {
    pub(crate) is_on: bool,
    pub(crate) recent: recent::Ring,
    /// What happened since last asked, also what is routine, while somebody follows it.
    pub(crate) live: Option<Box<recent::Ring>>,
    scratch: Vec<u8>,
}

impl Recorder {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            is_on: limits.recorder_enabled,
            recent: recent::Ring::default(),
            live: None,
            scratch: Vec::new(),
        }
    }

    /// Writes `what` down among the latest events, and into `log`.
    pub(crate) fn record(&mut self, log: &mut Log, client_id: &str, what: What<'_>, now: Now) {
        self.record_many(log, client_id, &Entry::new(now, what));
    }

    /// The same for what happened several times.
    pub(crate) fn record_many(&mut self, log: &mut Log, client_id: &str, entry: &Entry<'_>) {
        if !self.is_on {
            return;
        }
        self.scratch.clear();
        bytes::encode(entry, &mut self.scratch);
        self.note_encoded(client_id, entry);
        log.push_encoded(entry, &self.scratch);
    }

    /// Writes `entry` down among the latest events alone.
    pub(crate) fn note(&mut self, client_id: &str, entry: &Entry<'_>) {
        self.scratch.clear();
        bytes::encode(entry, &mut self.scratch);
        self.note_encoded(client_id, entry);
    }

    /// The same for an entry whose bytes are in `scratch`.
    fn note_encoded(&mut self, client_id: &str, entry: &Entry<'_>) {
        if let Some(live) = &mut self.live {
            live.push(client_id, &self.scratch);
        }
        if !entry.what.is_routine() {
            self.recent.push(client_id, &self.scratch);
        }
    }
}
