//! The threads on which password hashes are computed, and the queue before them.
//!
//! A hash takes milliseconds and may take dozens of megabytes, and anybody may ask for one: threads, memory and
//! queue have limits, and what is over them is refused at once instead of waiting longer than a client would.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use crate::config::Hashing;
use crate::stats::PoolStats;

/// Threads and their queue. They end when it is dropped; what is queued then is forgotten.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    threads: usize,
}

impl Pool {
    pub(crate) fn start(limits: &Hashing) -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = if limits.threads == 0 { (cores / 2).max(1) } else { limits.threads };
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            queue_max: limits.queue_max,
            memory_max_bytes: limits.memory_max_bytes,
        });
        // Made first, so that threads end which were started before one could not be.
        let pool = Self { shared: Arc::clone(&shared), threads };
        for index in 0..threads {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("siskin-hash-{index}")).spawn(move || shared.run())?;
        }
        Ok(pool)
    }

    /// Queues work that needs so much memory. Nobody does it if the receiver is gone when its turn comes.
    pub(crate) fn submit<T: Send + 'static>(
        &self,
        memory_bytes: u64,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, Full> {
        let Shared { queue_max, memory_max_bytes, .. } = *self.shared;
        if memory_bytes > memory_max_bytes {
            return Err(Full::Memory { memory_bytes, memory_max_bytes });
        }
        let mut state = self.shared.lock();
        if state.queue.len() >= queue_max {
            state.refused += 1;
            return Err(Full::Queue { queue_max });
        }
        let (sender, receiver) = oneshot::channel();
        let work = Box::new(move || {
            if sender.is_closed() {
                return None;
            }
            let result = work();
            // Whoever left in the meantime does not miss it.
            let tell: Tell = Box::new(move || drop(sender.send(result)));
            Some(tell)
        });
        state.queue.push_back(Job { memory_bytes, work });
        drop(state);
        self.shared.changed.notify_one();
        Ok(receiver)
    }

    pub(crate) fn stats(&self) -> PoolStats {
        let state = self.shared.lock();
        PoolStats {
            threads: self.threads,
            running: state.running,
            queued: state.queue.len(),
            memory_bytes: state.memory_bytes,
            computed: state.computed,
            refused: state.refused,
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        state.queue.clear();
        drop(state);
        self.shared.changed.notify_all();
    }
}

/// Why work was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Queue { queue_max: usize },
    Memory { memory_bytes: u64, memory_max_bytes: u64 },
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue { queue_max } => write!(f, "{queue_max} password hashes wait already"),
            Self::Memory { memory_bytes, memory_max_bytes } => write!(
                f,
                "this password's hash needs {memory_bytes} bytes of memory, and {memory_max_bytes} is the limit"
            ),
        }
    }
}

struct Job {
    memory_bytes: u64,
    /// Does it, if anybody still wants it.
    work: Box<dyn FnOnce() -> Option<Tell> + Send>,
}

/// Tells the result.
type Tell = Box<dyn FnOnce()>;

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    queue_max: usize,
    memory_max_bytes: u64,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    running: usize,
    memory_bytes: u64,
    computed: u64,
    refused: u64,
    is_closed: bool,
}

impl Shared {
    fn run(&self) {
        while let Some(Job { memory_bytes, work }) = self.next() {
            let tell = work();
            let mut state = self.lock();
            state.running -= 1;
            state.memory_bytes -= memory_bytes;
            state.computed += u64::from(tell.is_some());
            drop(state);
            // A thread may wait for this much memory.
            self.changed.notify_one();
            // Last, so that who knows the result finds it counted.
            if let Some(tell) = tell {
                tell();
            }
        }
    }

    /// The next job, in order, as soon as there is memory for it.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return None;
            }
            let room = self.memory_max_bytes - state.memory_bytes;
            if let Some(job) = state.queue.pop_front_if(|job| job.memory_bytes <= room) {
                state.running += 1;
                state.memory_bytes += job.memory_bytes;
                return Some(job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn hashes_are_computed_side_by_side_as_far_as_memory_goes_and_in_order() {
        let pool = Pool::start(&Hashing { threads: 3, queue_max: 10, memory_max_bytes: 10 }).unwrap();
        let (started, starts) = mpsc::channel();
        let mut gates = Vec::new();
        let mut results = Vec::new();
        for memory_bytes in [6, 4, 6, 1] {
            let (gate, opened) = mpsc::channel::<()>();
            let started = started.clone();
            let work = move || {
                started.send(memory_bytes).unwrap();
                opened.recv().unwrap();
            };
            results.push(pool.submit(memory_bytes, work).unwrap());
            gates.push(gate);
        }
        let mut first = [starts.recv().unwrap(), starts.recv().unwrap()];
        first.sort_unstable();
        assert_eq!(first, [4, 6]);
        // A thread is free, but the next does not fit, and the one behind does not overtake it.
        let stats = pool.stats();
        assert_eq!((stats.running, stats.queued, stats.memory_bytes), (2, 2, 10));
        gates[0].send(()).unwrap();
        assert_eq!(starts.recv().unwrap(), 6);
        gates.iter().skip(1).for_each(|gate| gate.send(()).unwrap());
        results.into_iter().for_each(|result| result.blocking_recv().unwrap());
        assert_eq!(pool.stats().computed, 4);
    }
}
