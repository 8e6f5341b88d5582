//! The monotonic clock, whose zero all processes of a machine share.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since some moment before now.
#[inline]
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * SECOND_NS + now.tv_nsec as u64
}

pub(crate) const SECOND_NS: u64 = 1_000_000_000;
pub(crate) const MILLISECOND_NS: u64 = 1_000_000;
