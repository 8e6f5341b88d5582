//! The one place where the time is read.

use std::time::Instant;

use siskin_core::Now;

/// Counts from the start of the broker, the same for all its workers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Now {
        Now::from_millis(self.0.elapsed().as_millis() as u64)
    }
}
