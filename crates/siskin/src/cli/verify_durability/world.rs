//! What all clients of a run look at: where the broker is and whether it is up, how far the run is, and the
//! ledger.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::ledger::Ledger;

pub(super) struct World {
    pub(super) address: SocketAddr,
    /// Decides what is random in the run.
    pub(super) seed: u64,
    pub(super) payload_size: usize,
    began: Instant,
    stage: Mutex<Stage>,
    changed: Condvar,
    ledger: Mutex<Ledger>,
}

/// How far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Subscribers subscribe, nobody publishes.
    Setup,
    Load,
    /// Nothing new is published, what is unacknowledged is sent again.
    Finish,
    /// All subscribers are connected until everything has come.
    Drain,
    /// All clients leave.
    End,
}

struct Stage {
    phase: Phase,
    /// Counts the starts of the broker, from 1.
    life: u32,
    is_up: bool,
    /// For each client in which life it last got through: a publisher with a message, others with what
    /// they check or ask for first.
    marks: Vec<u32>,
    /// Publishers for whom everything is acknowledged.
    finished: usize,
}

impl World {
    pub(super) fn new(port: u16, seed: u64, payload_size: usize, clients: usize, ledger: Ledger) -> Self {
        let marks = vec![0; clients];
        let stage = Stage { phase: Phase::Setup, life: 0, is_up: false, marks, finished: 0 };
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            seed,
            payload_size,
            began: Instant::now(),
            stage: Mutex::new(stage),
            changed: Condvar::new(),
            ledger: Mutex::new(ledger),
        }
    }

    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nobody panics while holding the ledger")
    }

    /// The ledger, when all clients have left.
    pub(super) fn into_ledger(self) -> Ledger {
        self.ledger.into_inner().expect("nobody panics while holding the ledger")
    }

    /// Milliseconds of the run.
    pub(super) fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Waits until the broker is up and the run in `phase` or past it: the broker's life. None: leave.
    pub(super) fn wait_for_broker(&self, phase: Phase) -> Option<u32> {
        let is_to_wait =
            |stage: &mut Stage| stage.phase != Phase::End && !(stage.is_up && stage.phase >= phase);
        let stage = self.changed.wait_while(self.stage(), is_to_wait);
        let stage = stage.expect("nobody panics while holding the stage");
        (stage.phase != Phase::End).then_some(stage.life)
    }

    /// Waits until the broker's life is over, or the run is in `phase` or past it.
    pub(super) fn wait_for_kill(&self, life: u32, phase: Phase) {
        let is_to_wait = |stage: &mut Stage| stage.phase < phase && stage.is_up && stage.life == life;
        drop(self.changed.wait_while(self.stage(), is_to_wait));
    }

    /// Lets a moment pass, less if something changes.
    pub(super) fn pause(&self, duration: Duration) {
        drop(self.changed.wait_timeout(self.stage(), duration));
    }

    pub(super) fn phase(&self) -> Phase {
        self.stage().phase
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.stage().phase = phase;
        self.changed.notify_all();
    }

    /// The broker accepts connections, for another life.
    pub(super) fn up(&self) -> u32 {
        let mut stage = self.stage();
        stage.is_up = true;
        stage.life += 1;
        self.changed.notify_all();
        stage.life
    }

    /// The broker is about to be killed.
    pub(super) fn down(&self) {
        self.stage().is_up = false;
        self.changed.notify_all();
    }

    /// The client got through in this life.
    pub(super) fn mark(&self, client: usize, life: u32) {
        self.stage().marks[client] = life;
    }

    /// Whether all these clients got through in this life.
    pub(super) fn are_marked(&self, mut clients: impl Iterator<Item = usize>, life: u32) -> bool {
        let stage = self.stage();
        clients.all(|client| stage.marks[client] == life)
    }

    /// Everything that one publisher has sent is acknowledged.
    pub(super) fn finish(&self) {
        self.stage().finished += 1;
    }

    pub(super) fn finished(&self) -> usize {
        self.stage().finished
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().expect("nobody panics while holding the stage")
    }
}
