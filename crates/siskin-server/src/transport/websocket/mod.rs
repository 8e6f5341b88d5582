//! WebSocket, as a filter: first the upgrade request, then frames around the bytes of packets.
//!
//! Payloads pass through as they come, so that no frame is ever gathered and none costs memory, however
//! large it says it is. Nothing is compressed, as no extension is ever agreed to.

mod frames;
mod upgrade;

use std::mem;
use std::sync::Arc;

use super::{End, Peer};
use frames::Frames;
use upgrade::Outcome;
pub(super) use upgrade::Terms;

/// ```text
/// Upgrading ──request──> Open ──Close, or an error──> Ended
///     └──────────────refused──────────────────────────^
/// ```
enum Phase {
    Upgrading(Arc<Terms>),
    Open,
    Ended,
}

pub(super) struct WebSocket {
    phase: Phase,
    frames: Frames,
    /// Received, and not yet a whole request, frame header or control frame.
    head: Vec<u8>,
    /// What we have to say besides packets.
    own: Vec<u8>,
    /// The client, named by a trusted proxy.
    peer: Option<Peer>,
}

impl WebSocket {
    pub(super) fn new(terms: &Arc<Terms>) -> Self {
        Self {
            phase: Phase::Upgrading(Arc::clone(terms)),
            frames: Frames::new(terms.message_bytes_max),
            head: Vec::new(),
            own: Vec::new(),
            peer: None,
        }
    }

    /// Replaces what was received by the bytes of packets in it.
    pub(super) fn decode(&mut self, bytes: &mut Vec<u8>, peer: Peer) -> Option<End> {
        if !self.head.is_empty() {
            bytes.splice(..0, mem::take(&mut self.head));
        }
        let outcome = match &self.phase {
            Phase::Upgrading(terms) => self.upgrade(bytes, &Arc::clone(terms), peer),
            Phase::Open => self.frames.decode(bytes, &mut self.head, &mut self.own),
            Phase::Ended => {
                bytes.clear();
                Ok(())
            }
        };
        let end = outcome.err()?;
        self.phase = Phase::Ended;
        Some(end)
    }

    fn upgrade(&mut self, bytes: &mut Vec<u8>, terms: &Terms, peer: Peer) -> Result<(), End> {
        match upgrade::answer(bytes, terms, peer) {
            Outcome::Incomplete => {
                self.head.append(bytes);
                Ok(())
            }
            Outcome::Accepted { len, response, peer } => {
                self.own.extend(response);
                self.peer = peer;
                self.phase = Phase::Open;
                bytes.drain(..len);
                self.frames.decode(bytes, &mut self.head, &mut self.own)
            }
            Outcome::Refused { response, problem } => {
                self.own.extend(response);
                bytes.clear();
                Err(End::Failed(problem))
            }
        }
    }

    /// The header of a frame around the next `len` bytes.
    pub(super) fn frame(&mut self, len: usize, out: &mut Vec<u8>) {
        frames::data_header(len, out);
    }

    /// Appends what we have to say besides packets.
    pub(super) fn take_own(&mut self, out: &mut Vec<u8>) {
        out.append(&mut mem::take(&mut self.own));
        self.frames.take_pong(out);
    }

    /// Appends the last frame, unless one was sent.
    pub(super) fn farewell(&mut self, out: &mut Vec<u8>) {
        if matches!(self.phase, Phase::Open) {
            self.phase = Phase::Ended;
            frames::close(frames::NORMAL, out);
        }
    }

    pub(super) fn owes(&self) -> bool {
        !self.own.is_empty() || self.frames.has_pong()
    }

    /// The client's address, if a trusted proxy has just named it.
    pub(super) fn take_peer(&mut self) -> Option<Peer> {
        self.peer.take()
    }
}
