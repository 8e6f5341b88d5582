//! The time of day for tokens, and one that never goes back for caches and breakers; in tests, both by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Where the chain looks up the time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System(Instant),
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's.
    pub fn system() -> Self {
        Self(Source::System(Instant::now()))
    }

    /// One that stands still until its hand is moved.
    pub fn manual(unix_s: u64) -> (Self, Hand) {
        let now_ms = Arc::new(AtomicU64::new(unix_s * 1000));
        (Self(Source::Manual(Arc::clone(&now_ms))), Hand(now_ms))
    }

    /// Seconds since 1970.
    pub(crate) fn unix_s(&self) -> u64 {
        match &self.0 {
            Source::System(_) => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()),
            Source::Manual(now_ms) => now_ms.load(Ordering::Relaxed) / 1000,
        }
    }

    /// Milliseconds since some time in the past.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        match &self.0 {
            Source::System(start) => u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            Source::Manual(now_ms) => now_ms.load(Ordering::Relaxed),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

/// Moves a [`Clock::manual`].
#[derive(Clone, Debug)]
pub struct Hand(Arc<AtomicU64>);

impl Hand {
    /// Moves it forward.
    pub fn advance_s(&self, seconds: u64) {
        self.0.fetch_add(seconds * 1000, Ordering::Relaxed);
    }
}
