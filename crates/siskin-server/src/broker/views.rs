//! What a broker shows of itself that no worker needs to be asked for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::Broker;
use crate::budget::MemoryView;
use crate::config::Listener;
use crate::transport::Door;
use crate::{memory, open_files};

/// A listener, and who came through it.
#[derive(Clone, Debug)]
pub struct ListenerView {
    /// Its terms, with the port that the system chose where none was named.
    pub listener: Listener,
    /// Connections that came through it and are there.
    pub connections: u32,
}

/// How busy a worker is and was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerView {
    /// Connections it has, or that are on their way to it.
    pub connections: u32,
    /// Turns of its loop since the start.
    pub turns: u64,
    /// How long it did not wait for something to do, since the start.
    pub busy: Duration,
}

/// What the process takes of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessView {
    /// Bytes of memory that are resident, 0 where the system does not say.
    pub resident_bytes: u64,
    /// Processor time of all threads.
    pub cpu: Duration,
}

/// The files that the process has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilesView {
    /// How many there are, 0 where the system does not say.
    pub open: u64,
    /// How many there may be.
    pub max: u64,
}

impl Broker {
    /// The workers, in the order of their numbers.
    pub fn worker_views(&self) -> Vec<WorkerView> {
        let neighbours = &self.0.neighbours;
        let view = |(load, pulse): (&std::sync::atomic::AtomicU32, &crate::pulse::Pulse)| WorkerView {
            connections: load.load(Ordering::Relaxed),
            turns: pulse.turns.value(),
            busy: Duration::from_micros(pulse.busy_us.value()),
        };
        neighbours.loads.iter().zip(&neighbours.pulses).map(view).collect()
    }

    /// What the process takes of the machine now.
    pub fn process(&self) -> ProcessView {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        ProcessView {
            resident_bytes: memory::resident_bytes(),
            cpu: Duration::new(cpu.tv_sec as u64, cpu.tv_nsec as u32),
        }
    }

    /// What the process holds in memory: its resident bytes now, the rest as of some seconds ago at most.
    pub fn memory(&self) -> MemoryView {
        MemoryView { resident: memory::resident_bytes(), ..self.0.neighbours.memory.get() }
    }

    /// The files that the process has open. Takes milliseconds where these are tens of thousands.
    pub fn files(&self) -> FilesView {
        let (open, max) = open_files::count();
        FilesView { open, max }
    }

    /// The listeners, in the order of the configuration.
    pub fn listeners(&self) -> Vec<ListenerView> {
        let view = |door: &Arc<Door>| ListenerView {
            listener: door.bound_listener(),
            connections: door.connections(),
        };
        self.in_force().doors.iter().map(view).collect()
    }
}
