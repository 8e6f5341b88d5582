//! One transport of the world: bytes under way in both directions, and a limit to what it holds.

use std::collections::VecDeque;
use std::io::IoSlice;

use siskin_core::{Caller, Connected, Now, OutBuffer, SessionKey, Worker, refuse_first};
use siskin_proto::{FrameStatus, frame};

pub(super) struct Link {
    pub(super) worker: usize,
    pub(super) key: Option<SessionKey>,
    /// Whether the broker still serves it.
    pub(super) is_open: bool,
    /// From client to broker.
    pub(super) up: VecDeque<u8>,
    /// From broker to client.
    pub(super) down: VecDeque<u8>,
    /// At the broker, not yet a whole frame.
    pub(super) inbound: Vec<u8>,
    /// How many bytes `down` holds before the broker must wait.
    room: usize,
}

impl Link {
    pub(super) fn new(worker: usize, room: usize) -> Self {
        let (up, down) = (VecDeque::new(), VecDeque::new());
        Self { worker, key: None, is_open: true, up, down, inbound: Vec::new(), room }
    }

    pub(super) fn take_up(&mut self, most: usize) -> Vec<u8> {
        let len = self.up.len().min(most);
        self.up.drain(..len).collect()
    }

    pub(super) fn take_down(&mut self, most: usize) -> Vec<u8> {
        let len = self.down.len().min(most);
        self.down.drain(..len).collect()
    }

    /// The broker is gone, and all that was under way with it.
    pub(super) fn vanish(&mut self) {
        self.is_open = false;
        self.key = None;
        self.up.clear();
        self.down.clear();
        self.inbound.clear();
    }

    pub(super) fn close(&mut self, mut out: OutBuffer) {
        self.is_open = false;
        while write_some(&mut self.down, &mut out, usize::MAX) > 0 {}
    }
}

/// Handles one whole frame; false if there is none.
pub(super) fn take_frame(links: &mut [Link], number: usize, worker: &mut Worker, now: Now) -> bool {
    let link = &mut links[number];
    if !link.is_open {
        link.inbound.clear();
        return false;
    }
    let inbound = std::mem::take(&mut link.inbound);
    let frame = match frame(&inbound, u32::MAX) {
        Ok(FrameStatus::Complete(frame)) => frame,
        Ok(FrameStatus::Incomplete { .. }) => {
            link.inbound = inbound;
            return false;
        }
        Err(error) => {
            link.is_open = false;
            match link.key {
                Some(key) => worker.reject(key, error, now),
                None => link.down.extend(refuse_first(&error, None)),
            }
            return false;
        }
    };
    let used = frame.len;
    match link.key {
        Some(key) => {
            if worker.handle(key, frame, now).is_err() {
                return false;
            }
        }
        None => {
            match worker.connect(frame, &Caller { connection: number as u32, ..Caller::default() }, now) {
                Connected::Accepted(key) => link.key = Some(key),
                Connected::Elsewhere { worker } => {
                    link.worker = usize::from(worker);
                    link.inbound = inbound;
                    return true;
                }
                Connected::Refused { reply, .. } => {
                    link.down.extend(reply);
                    link.is_open = false;
                    return false;
                }
            }
        }
    }
    link.inbound = inbound[used..].to_vec();
    true
}

/// Writes what waits for `key` as far as the link has room.
pub(super) fn write(link: &mut Link, worker: &mut Worker, key: SessionKey, now: Now) {
    loop {
        let room = link.room.saturating_sub(link.down.len());
        let Some(out) = worker.out(key) else { return };
        if out.is_empty() || room == 0 {
            return;
        }
        write_some(&mut link.down, out, room);
        if out.is_empty() {
            worker.drained(key, now);
        }
    }
}

fn write_some(down: &mut VecDeque<u8>, out: &mut OutBuffer, room: usize) -> usize {
    let mut slices = [IoSlice::new(&[]); 8];
    let count = out.slices(&mut slices);
    let mut written = 0;
    for slice in &slices[..count] {
        let taken = slice.len().min(room - written);
        down.extend(&slice[..taken]);
        written += taken;
    }
    out.advance(written);
    written
}
