//! How many files this process may have open, which bounds its connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit as far as the system lets us, and says what it is then.
pub(crate) fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    // A refusal leaves the limit as it was, and that is what we then go by.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many connections fit into `open_files` beside what `workers` and the rest of the process hold.
pub(crate) fn connections(open_files: u64, workers: u16) -> u32 {
    let ours = OTHER_FILES + u64::from(workers) * FILES_PER_WORKER;
    open_files.saturating_sub(ours).clamp(1, u32::MAX.into()) as u32
}

/// How many are open, and how many may be; 0 where the system does not say.
pub(crate) fn count() -> (u64, u64) {
    // The look itself opens one.
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count().saturating_sub(1) as u64);
    (open, getrlimit(Resource::Nofile).current.unwrap_or(0))
}

/// A worker's poll and its waker.
const FILES_PER_WORKER: u64 = 2;

/// Standard streams, signals, listeners, and some to spare.
const OTHER_FILES: u64 = 32;
