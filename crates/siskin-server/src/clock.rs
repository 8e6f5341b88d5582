//! The one place where the time is read.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use siskin_core::Now;

/// Milliseconds since 1970 as they were when the broker started, and from there on at a steady pace, whatever is done
/// to the system's clock. The same for all workers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_unix_ms: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), started_unix_ms: since_1970.as_millis() as u64 }
    }

    /// Microseconds since the start.
    pub(crate) fn micros(self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// The time that [`Self::micros`] says.
    pub(crate) fn at_micros(self, micros: u64) -> Now {
        Now::from_millis(self.started_unix_ms + micros / 1000)
    }

    pub(crate) fn now(self) -> Now {
        Now::from_millis(self.started_unix_ms + self.started.elapsed().as_millis() as u64)
    }
}
