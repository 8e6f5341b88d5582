//! A socket with layers between it and the codec.
//!
//! ```text
//! socket ──> PROXY header ──> TLS ──> WebSocket ──> packets
//! socket <─────────────────── TLS <── WebSocket <── packets
//! ```
//!
//! Idle it holds no buffer: what one read or write needs is the worker's, and only what is neither whole
//! nor taken by the kernel stays here. Both are bounded.

use std::io::{self, IoSlice};
use std::mem;
use std::sync::Arc;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use siskin_core::OutBuffer;

use super::door::Socket;
use super::proxy_protocol::{self, Header};
use super::tls::Tls;
use super::websocket::WebSocket;
use super::{Peer, SLICES_MAX, Written};

/// A socket and its layers.
pub(crate) struct Layered {
    socket: Socket,
    /// A PROXY protocol header must come before anything else.
    awaits_header: bool,
    tls: Option<Box<Tls>>,
    websocket: Option<Box<WebSocket>>,
    /// Received, and not yet whole enough for the lowest layer.
    undecoded: Vec<u8>,
    /// Encoded, and not yet taken by the kernel.
    pending: Vec<u8>,
    end: Option<End>,
    farewell: Farewell,
    /// Who the client is, according to what has come so far.
    peer: Peer,
    /// The common name that a proxy found in the client's certificate.
    proxied_name: Option<Arc<str>>,
}

/// Memory that one worker's connections share for the time of a read or a write.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    wire: Vec<u8>,
    plain: Vec<u8>,
}

/// Why nothing more comes through the layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer said so, in the way of its protocol.
    Closed,
    /// The peer broke that protocol, or is not let in: the reason.
    Failed(String),
}

/// Where our own last words stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    /// The connection goes on.
    Not,
    /// They follow the last packet.
    Wanted,
    Said,
}

impl Layered {
    pub(super) fn new(
        socket: Socket,
        peer: Peer,
        awaits_header: bool,
        tls: Option<Box<Tls>>,
        websocket: Option<Box<WebSocket>>,
    ) -> Self {
        Self {
            socket,
            awaits_header,
            tls,
            websocket,
            undecoded: Vec::new(),
            pending: Vec::new(),
            end: None,
            farewell: Farewell::Not,
            peer,
            proxied_name: None,
        }
    }

    /// Reads the socket once, and decodes what has come into `plain`. Gives the outcome of the read and
    /// how many bytes it asked for.
    pub(crate) fn read(
        &mut self,
        scratch: &mut Scratch,
        plain: &mut Vec<u8>,
    ) -> (Result<usize, Errno>, usize) {
        plain.clear();
        let wire = &mut scratch.wire;
        wire.clear();
        wire.append(&mut mem::take(&mut self.undecoded));
        wire.reserve(super::READ_BYTES);
        let asked = wire.capacity() - wire.len();
        let result = rustix::io::read(self.socket.fd(), spare_capacity(wire));
        match result {
            Ok(1..) if self.end.is_none() => self.decode(wire, plain),
            _ => self.undecoded.extend_from_slice(wire),
        }
        (result, asked)
    }

    /// Writes what waits, in front of it what the layers have to say, in one system call.
    pub(crate) fn write(&mut self, out: &mut OutBuffer, scratch: &mut Scratch) -> io::Result<Written> {
        if self.pending.len() < PENDING_BYTES_MAX {
            let is_last = self.gather(out, &mut scratch.plain);
            self.encode(scratch, is_last);
        } else {
            scratch.wire.clear();
        }
        // Mostly nothing is pending, and the bytes go out from where they were encoded.
        let from_scratch = self.pending.is_empty();
        if !from_scratch {
            self.pending.append(&mut scratch.wire);
        }
        let bytes = if from_scratch { &scratch.wire } else { &self.pending };
        let (written, is_refused) = match bytes.len() {
            0 => (0, false),
            offered => match self.socket.write(bytes) {
                Ok(written) => (written, written < offered),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (0, true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (0, false),
                Err(error) => return Err(error),
            },
        };
        if written == bytes.len() {
            self.pending = Vec::new();
        } else if from_scratch {
            self.pending.extend_from_slice(&scratch.wire[written..]);
        } else {
            self.pending.drain(..written);
        }
        Ok(match () {
            () if is_refused => Written::Refused,
            () if out.is_empty() && !self.owes() => Written::All,
            () => Written::Part,
        })
    }

    /// Adds `bytes` to those that wait for the next write.
    pub(super) fn put(&mut self, bytes: &[u8], scratch: &mut Scratch) {
        self.gather_own(&mut scratch.plain);
        if let Some(websocket) = &mut self.websocket {
            websocket.frame(bytes.len(), &mut scratch.plain);
        }
        scratch.plain.extend_from_slice(bytes);
        self.encode(scratch, false);
        self.pending.append(&mut scratch.wire);
    }

    /// The layers say farewell after the last packet.
    pub(super) fn finish(&mut self) {
        if self.farewell == Farewell::Not {
            self.farewell = Farewell::Wanted;
        }
    }

    /// Why nothing more will come, told once.
    pub(crate) fn take_end(&mut self) -> Option<End> {
        self.end.take()
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn socket_mut(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Who the client is, as far as is known by now.
    pub(crate) fn peer(&self) -> Peer {
        self.peer
    }

    /// The client's certificate, if it showed one.
    pub(crate) fn client_certificate(&self) -> Option<&[u8]> {
        self.tls.as_ref()?.client_certificate()
    }

    /// The common name that a proxy found in the client's certificate.
    pub(crate) fn proxied_name(&self) -> Option<&str> {
        self.proxied_name.as_deref()
    }

    /// Whether there is something to write besides packets.
    pub(super) fn owes(&self) -> bool {
        !self.pending.is_empty()
            || self.farewell == Farewell::Wanted
            || self.websocket.as_ref().is_some_and(|websocket| websocket.owes())
    }

    /// From what was on the wire to the bytes of packets.
    fn decode(&mut self, wire: &mut Vec<u8>, plain: &mut Vec<u8>) {
        if self.awaits_header {
            match proxy_protocol::parse(wire) {
                Ok(Some(header)) => self.apply_header(wire, header),
                Ok(None) => return self.undecoded.extend_from_slice(wire),
                Err(problem) => return self.end = Some(End::Failed(problem)),
            }
        }
        let end = match &mut self.tls {
            Some(tls) => tls.decode(wire, plain, &mut self.undecoded, &mut self.pending),
            None => {
                mem::swap(wire, plain);
                None
            }
        };
        let upper_end = match &mut self.websocket {
            Some(websocket) => {
                let end = websocket.decode(plain, self.peer);
                if let Some(peer) = websocket.take_peer() {
                    self.peer = peer;
                }
                end
            }
            None => None,
        };
        self.end = upper_end.or(end);
    }

    fn apply_header(&mut self, wire: &mut Vec<u8>, header: Header) {
        wire.drain(..header.len);
        self.awaits_header = false;
        self.peer = header.peer.unwrap_or(self.peer);
        self.proxied_name = header.common_name;
    }

    /// What goes out next, before TLS: WebSocket's own words, then packets, then its farewell. True if that
    /// was the last.
    fn gather(&mut self, out: &mut OutBuffer, plain: &mut Vec<u8>) -> bool {
        self.gather_own(plain);
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = out.slices(&mut slices);
        let offered: usize = slices[..count].iter().map(|slice| slice.len()).sum();
        let taken = offered.min(super::READ_BYTES);
        if taken > 0 {
            if let Some(websocket) = &mut self.websocket {
                websocket.frame(taken, plain);
            }
            let end = plain.len() + taken;
            for slice in &slices[..count] {
                let room = end - plain.len();
                plain.extend_from_slice(&slice[..slice.len().min(room)]);
            }
            out.advance(taken);
        }
        if self.farewell != Farewell::Wanted || !out.is_empty() {
            return false;
        }
        self.farewell = Farewell::Said;
        if let Some(websocket) = &mut self.websocket {
            websocket.farewell(plain);
        }
        true
    }

    fn gather_own(&mut self, plain: &mut Vec<u8>) {
        plain.clear();
        if let Some(websocket) = &mut self.websocket {
            websocket.take_own(plain);
        }
    }

    /// From `scratch.plain` to `scratch.wire`.
    fn encode(&mut self, scratch: &mut Scratch, is_last: bool) {
        scratch.wire.clear();
        let Some(tls) = &mut self.tls else { return mem::swap(&mut scratch.plain, &mut scratch.wire) };
        tls.encode(&scratch.plain, &mut self.undecoded, &mut scratch.wire, is_last);
    }
}

/// No more is encoded while this many bytes wait for the kernel.
const PENDING_BYTES_MAX: usize = 64 * 1024;
