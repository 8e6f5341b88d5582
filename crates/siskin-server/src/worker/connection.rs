//! One transport and where it stands.

use std::sync::Arc;

use siskin_auth::{Conversation, Pending};
use siskin_core::{OutBuffer, SessionKey};
use siskin_proto::{DecodeError, FrameStatus, frame};

use super::READ_BYTES;
use super::partial::Partial;
use crate::access::Gate;
use crate::transport::{Arrival, Door, Peer, Transport};

/// A transport of this worker. An idle one holds no memory besides this struct.
pub(super) struct Connection {
    pub(super) transport: Transport,
    pub(super) peer: Peer,
    /// The listener it came through.
    pub(super) door: Arc<Door>,
    pub(super) phase: Phase,
    /// The beginning of a frame whose end has not come yet.
    pub(super) partial: Partial,
    /// Which of its slot's tenants it is, for deadlines that outlive it.
    pub(super) serial: u32,
    /// Bytes that its own packets have put into its out-buffer since the kernel refused to take more.
    pub(super) answers_unread: u32,
    /// Is on the list of those to be read again without being asked.
    pub(super) continues: bool,
    /// Is not read until it takes its answers.
    pub(super) is_paused: bool,
    /// Is not read until the store has made safe what it sent.
    pub(super) is_ahead: bool,
    /// Is not read until a quota has room again.
    pub(super) is_throttled: bool,
    /// The peer sends no more: what is short of a full read may still be followed by the end.
    pub(super) is_read_closed: bool,
    /// The kernel refused bytes and will say when it takes some.
    pub(super) is_refused: bool,
    /// The poll watches for room to write, too.
    pub(super) watches_writable: bool,
}

/// ```text
/// Opening ──CONNECT──> Open ──Close──> Closing ──written, peer gone──> Gone
///    │ │ └──────────> Leaving <┐ ^        ^                              ^
///    │ └───> Identifying ──────┴─┘        │                              │
///    └────────────┴──refused, with an answer──────peer lost, in time─────┘
/// ```
pub(super) enum Phase {
    /// No whole CONNECT yet.
    Opening,
    /// Its CONNECT is whole, and somebody finds out who its client is. It is not read meanwhile.
    Identifying(Box<Identifying>),
    /// The transport of this session.
    Open(SessionKey),
    /// Ended; the last bytes are on their way.
    Closing(Box<Closing>),
    /// On its way to the worker that owns its session, when the turn is over.
    Leaving,
    /// To be dropped when the turn is over.
    Gone,
}

pub(super) struct Identifying {
    /// The CONNECT without its password, and what came behind it.
    pub(super) bytes: Vec<u8>,
    /// What it is to answer, if it was asked; then it is read.
    pub(super) asked: Option<(Arc<Gate>, Conversation)>,
    /// What is given up if the client does not wait.
    pub(super) pending: Option<Pending>,
}

impl Drop for Identifying {
    fn drop(&mut self) {
        if let Some(pending) = &self.pending {
            pending.cancel();
        }
    }
}

pub(super) struct Closing {
    pub(super) out: OutBuffer,
    /// Wait for the peer's end before closing: a socket closed with unread input in it takes back, on
    /// many systems, what it sent last.
    pub(super) lingers: bool,
}

impl Connection {
    pub(super) fn new(arrival: Arrival, serial: u32) -> Self {
        let Arrival { transport, peer, door } = arrival;
        Self {
            transport,
            peer,
            door,
            phase: Phase::Opening,
            partial: Partial::default(),
            serial,
            answers_unread: 0,
            continues: false,
            is_paused: false,
            is_ahead: false,
            is_throttled: false,
            is_read_closed: false,
            is_refused: false,
            watches_writable: false,
        }
    }

    /// Bytes held of a packet of which not all has come, if it is none of those that are counted one by one, and of a CONNECT
    /// whose client is yet to be known.
    pub(super) fn small_partial(&self) -> usize {
        let partial = Some(self.partial.capacity()).filter(|bytes| *bytes < READ_BYTES).unwrap_or(0);
        match &self.phase {
            Phase::Identifying(waiting) => partial + waiting.bytes.capacity(),
            _ => partial,
        }
    }

    /// Whether it is not decided yet what becomes of its CONNECT.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self.phase, Phase::Opening | Phase::Identifying(_))
    }

    pub(super) fn session(&self) -> Option<SessionKey> {
        match self.phase {
            Phase::Open(key) => Some(key),
            _ => None,
        }
    }

    /// Whether it is not read for now, whatever it has sent.
    pub(super) fn is_kept_waiting(&self) -> bool {
        self.is_paused || self.is_ahead || self.is_throttled
    }

    /// Bytes of the largest frame it may send now. A stranger gets less memory than a client.
    pub(super) fn frame_max(&self, packet_size_max: u32) -> u32 {
        match self.phase {
            Phase::Opening | Phase::Identifying(_) => packet_size_max.min(CONNECT_BYTES_MAX),
            _ => packet_size_max,
        }
    }

    /// How many bytes the frame that has begun still lacks, 0 if that is not known or none has.
    pub(super) fn missing(&self, packet_size_max: u32) -> usize {
        match frame(&self.partial, packet_size_max) {
            Ok(FrameStatus::Incomplete { len: Some(len) }) => len - self.partial.len(),
            _ => 0,
        }
    }

    /// Moves bytes from the front of `bytes` to the frame that has begun; says whether it is whole now.
    pub(super) fn complete(&mut self, bytes: &mut &[u8], packet_size_max: u32) -> Result<bool, DecodeError> {
        loop {
            let wanted = match frame(&self.partial, packet_size_max)? {
                FrameStatus::Complete(_) => return Ok(true),
                FrameStatus::Incomplete { len } => len.map_or(1, |len| len - self.partial.len()),
            };
            if bytes.is_empty() {
                return Ok(false);
            }
            let (front, rest) = bytes.split_at(wanted.min(bytes.len()));
            self.partial.bytes_mut().extend_from_slice(front);
            *bytes = rest;
        }
    }
}

/// What an idle connection costs beside its session. Debug builds have more in each socket.
#[cfg(not(debug_assertions))]
const _: () = assert!(size_of::<Connection>() <= 96);

/// Bytes of the largest CONNECT: five fields of 64 KiB and as much again for properties.
const CONNECT_BYTES_MAX: u32 = 512 * 1024;
