//! How busy a worker is: counted by it, read by whoever asks.

use siskin_core::Counter;

/// What a worker counts of its own work. A cache line of its own: every turn writes to it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Pulse {
    /// Turns of its loop.
    pub(crate) turns: Counter,
    /// Microseconds in which it did not wait for something to do.
    pub(crate) busy_us: Counter,
}
