//! Counters for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a chain has done since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Clients that were let in.
    pub allowed: u64,
    /// Clients that were refused, for whatever reason.
    pub refused: u64,
    /// Clients that wait for their verdict now.
    pub waiting: usize,
    /// Each step, in order.
    pub steps: Vec<StepStats>,
    /// The threads that compute password hashes.
    pub pool: PoolStats,
}

/// What a step has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepStats {
    /// The name that the configuration gives it.
    pub name: Arc<str>,
    /// Let in.
    pub allowed: u64,
    /// Kept out.
    pub denied: u64,
    /// Passed on.
    pub ignored: u64,
    /// Asked something.
    pub challenged: u64,
    /// Not known, because the back end failed.
    pub unavailable: u64,
    /// Refused for want of room.
    pub busy: u64,
    /// Answered from memory; these are counted above too.
    pub cached: u64,
    /// Whether the back end has failed so often that it is not asked for a while.
    pub is_broken: bool,
}

/// The threads that compute password hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// How many there are.
    pub threads: usize,
    /// How many compute.
    pub running: usize,
    /// How many hashes wait.
    pub queued: usize,
    /// How much memory the running ones need.
    pub memory_bytes: u64,
    /// How many hashes were computed.
    pub computed: u64,
    /// How many hashes were refused because too many waited.
    pub refused: u64,
}

/// A number that goes up.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a step counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) allowed: Counter,
    pub(crate) denied: Counter,
    pub(crate) ignored: Counter,
    pub(crate) challenged: Counter,
    pub(crate) unavailable: Counter,
    pub(crate) busy: Counter,
}
