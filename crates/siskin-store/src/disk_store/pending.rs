//! What workers have appended and the writer has not yet taken.

use std::collections::VecDeque;

use siskin_core::store::{Batch, Ticket};

use crate::journal::Frame;

/// Batches in order, gathered into frames.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) chunks: VecDeque<Chunk>,
    pub(super) last_ticket: u64,
    /// The writer waits to be told.
    pub(super) writer_sleeps: bool,
    pub(super) closing: bool,
}

/// A frame in the making.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) frame: Frame,
    /// The last ticket in it.
    pub(super) ticket: u64,
    /// The workers that wait for it.
    pub(super) waiters: Vec<u16>,
}

impl Pending {
    /// Takes a batch over, and says how many bytes it is; none if there was nothing to take.
    pub(super) fn push(&mut self, worker: u16, batch: &Batch, safe: Ticket) -> Option<u64> {
        if batch.is_empty() && (!batch.awaits() || safe.0 == self.last_ticket) {
            return None;
        }
        if self.chunks.back().is_none_or(|chunk| chunk.frame.len() >= CHUNK_BYTES) {
            self.chunks.push_back(Chunk::default());
        }
        let chunk = self.chunks.back_mut().expect("it was pushed");
        if !batch.is_empty() {
            self.last_ticket += 1;
            chunk.frame.push(batch);
        }
        chunk.ticket = self.last_ticket;
        if batch.awaits() && !chunk.waiters.contains(&worker) {
            chunk.waiters.push(worker);
        }
        Some(batch.bytes().len() as u64)
    }
}

/// A frame that has so many bytes gets no further batch: they are copied forward whole.
const CHUNK_BYTES: u64 = 1024 * 1024;
