//! How many files this process may have open, which bounds its connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::BenchError;

/// Raises the limit as far as the system lets us, and says whether `connections` fit.
pub(crate) fn reserve(connections: u64, threads: u16) -> Result<(), BenchError> {
    let limit = getrlimit(Resource::Nofile);
    // A refusal leaves the limit as it was, and that is what we then go by.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let needed = connections + OTHER_FILES + u64::from(threads) * FILES_PER_THREAD;
    if needed > limit { Err(BenchError::OpenFiles { connections, needed, limit }) } else { Ok(()) }
}

/// A thread's poll, waker and timer.
const FILES_PER_THREAD: u64 = 3;

/// Standard streams and what the process needs for a moment.
const OTHER_FILES: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_connections_than_any_system_allows_are_refused_with_the_limit() {
        let text = reserve(1 << 40, 2).unwrap_err().to_string();
        assert!(text.contains("1099511627776 connections") && text.contains("ulimit -n"), "{text}");
        assert!(reserve(1, 1).is_ok());
    }
}
