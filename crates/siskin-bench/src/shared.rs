//! What the threads of a run look at together.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use mio::Waker;

use crate::clock::now_ns;
use crate::plan::Plan;
use crate::tally::Counts;

pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) target: SocketAddr,
    /// Which stage all are in; [`STOP`] at the end.
    pub(crate) stage: AtomicUsize,
    /// When that stage began.
    pub(crate) stage_began_ns: AtomicU64,
    pub(crate) live: Vec<Live>,
    /// By publisher: copies of its messages that have arrived, for its window.
    pub(crate) arrived: Vec<AtomicU64>,
    /// By thread: its publishers whose messages have arrived elsewhere.
    pub(crate) mailboxes: Vec<Mailbox>,
    /// The end of every payload.
    pub(crate) filler: Vec<u8>,
}

/// What a thread shows of itself while it works. Each on its own cache lines.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Live {
    pub(crate) sent: AtomicU64,
    pub(crate) expected: AtomicU64,
    pub(crate) received: AtomicU64,
    pub(crate) cycles: AtomicU64,
    pub(crate) connected: AtomicU64,
    pub(crate) last_arrival_ns: AtomicU64,
    pub(crate) last_done_ns: AtomicU64,
}

pub(crate) struct Mailbox {
    pub(crate) publishers: Mutex<Vec<u32>>,
    pub(crate) waker: Waker,
}

/// The sum of what all threads show.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) sent: u64,
    pub(crate) expected: u64,
    pub(crate) received: u64,
    pub(crate) cycles: u64,
    pub(crate) connected: u64,
    pub(crate) last_arrival_ns: u64,
    pub(crate) last_done_ns: u64,
}

/// The stage behind the last.
pub(crate) const STOP: usize = usize::MAX;

impl Shared {
    pub(crate) fn enter(&self, stage: usize) {
        self.stage_began_ns.store(now_ns(), Ordering::Release);
        self.stage.store(stage, Ordering::Release);
        for mailbox in &self.mailboxes {
            // A thread that cannot be woken looks at the stage by itself a little later.
            let _ = mailbox.waker.wake();
        }
    }

    pub(crate) fn sum(&self) -> Sum {
        let mut sum = Sum::default();
        for live in &self.live {
            let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
            sum.sent += load(&live.sent);
            sum.expected += load(&live.expected);
            sum.received += load(&live.received);
            sum.cycles += load(&live.cycles);
            sum.connected += load(&live.connected);
            sum.last_arrival_ns = sum.last_arrival_ns.max(load(&live.last_arrival_ns));
            sum.last_done_ns = sum.last_done_ns.max(load(&live.last_done_ns));
        }
        sum
    }
}

impl Live {
    pub(crate) fn show(&self, counts: &Counts, connected: u64) {
        let store = |number: &AtomicU64, value| number.store(value, Ordering::Relaxed);
        store(&self.sent, counts.sent);
        store(&self.expected, counts.expected);
        store(&self.received, counts.received);
        store(&self.cycles, counts.cycles);
        store(&self.connected, connected);
    }
}
