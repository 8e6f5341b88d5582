//! From a socket to the core: one read, as many frames as are whole, and what is left for next time.

use std::io;
use std::mem;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use siskin_core::{Cause, OutBuffer, SessionKey, refuse_first};
use siskin_proto::{DecodeError, Frame, FrameStatus, PacketKind, Violation, frame};
use zeroize::Zeroize as _;

use super::connection::Phase;
use super::terms::{Admission, admit};
use super::{READ_BYTES, Worker};
use crate::report;
use crate::transport::{End, Transport};

impl Worker {
    /// Reads the connection once, and lets the core handle what is whole.
    pub(super) fn read(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        connection.continues = false;
        match connection.phase {
            Phase::Closing(_) => return self.discard(index),
            Phase::Identifying(ref waiting) if waiting.asked.is_none() => return,
            Phase::Leaving | Phase::Gone => return,
            Phase::Opening | Phase::Open(_) if connection.is_kept_waiting() => return,
            Phase::Opening | Phase::Identifying(_) | Phase::Open(_) => {}
        }
        let missing = connection.missing(self.packet_size_max);
        if self.must_wait_for_memory(index, missing) {
            return;
        }
        let connection = &self.connections[index as usize];
        if matches!(connection.transport, Transport::Layered(_)) {
            self.read_layered(index);
        } else if missing >= READ_BYTES {
            self.read_large(index, missing);
        } else {
            self.read_small(index);
        }
        self.count_partial(index);
    }

    fn read_small(&mut self, index: u32) {
        let connection = &self.connections[index as usize];
        let mut buffer = mem::take(&mut self.buffer);
        buffer.clear();
        let asked = buffer.capacity();
        let result = rustix::io::read(connection.transport.fd(), spare_capacity(&mut buffer));
        self.take(index, result, asked, &buffer);
        self.keep_buffer(buffer);
    }

    /// Keeps the memory of what was read, but no password in it.
    fn keep_buffer(&mut self, mut buffer: Vec<u8>) {
        if mem::take(&mut self.has_secret) {
            buffer.zeroize();
        }
        self.buffer = buffer;
    }

    /// Reads through layers. What a large frame lacks is not read to its place, as it is not yet in the clear.
    fn read_layered(&mut self, index: u32) {
        let mut buffer = mem::take(&mut self.buffer);
        let connection = &mut self.connections[index as usize];
        if let Transport::Layered(layered) = &mut connection.transport {
            let (result, asked) = layered.read(&mut self.scratch, &mut buffer);
            connection.peer = layered.peer();
            self.take(index, result, asked, &buffer);
        }
        self.keep_buffer(buffer);
        self.settle_layers(index);
    }

    /// Carries out what the layers have come to, once what they let through is handled.
    pub(super) fn settle_layers(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        if matches!(connection.phase, Phase::Leaving | Phase::Gone) {
            return;
        }
        if connection.transport.owes() {
            self.owing.push(index);
        }
        let Transport::Layered(layered) = &mut connection.transport else { return };
        let Some(end) = layered.take_end() else { return };
        let peer = connection.peer;
        match (&connection.phase, end) {
            (Phase::Opening | Phase::Identifying(_), End::Closed) => {
                tracing::debug!(%peer, "gone before a CONNECT");
            }
            (Phase::Opening | Phase::Identifying(_), End::Failed(problem)) => {
                self.turn_away(index, None, &problem);
            }
            (Phase::Open(key), end) => {
                let cause = match end {
                    End::Closed => Cause::ConnectionLost,
                    End::Failed(problem) => {
                        report::broken_layer(peer, &problem);
                        Cause::Io(io::ErrorKind::InvalidData)
                    }
                };
                self.core.lost(*key, index, cause, self.now);
            }
            _ => return,
        }
        self.begin_close(index, OutBuffer::default(), true);
    }

    /// Reads a part of a large frame straight to where it is gathered. Memory for it grows with what has
    /// come, not with what was announced.
    fn read_large(&mut self, index: u32, missing: usize) {
        let partial = self.connections[index as usize].partial.bytes_mut();
        let grown_max = partial.len().clamp(READ_BYTES, LARGE_READ_BYTES);
        partial.reserve_exact(missing.min(grown_max));
        let asked = partial.capacity() - partial.len();
        let connection = &mut self.connections[index as usize];
        let result =
            rustix::io::read(connection.transport.fd(), spare_capacity(connection.partial.bytes_mut()));
        self.take(index, result, asked, &[]);
    }

    /// What came of a read that asked for `asked` bytes. `bytes` are those that are not yet in their place.
    fn take(&mut self, index: u32, result: Result<usize, Errno>, asked: usize, bytes: &[u8]) {
        match result {
            Ok(0) => self.lost(index, Cause::ConnectionLost),
            Ok(taken) => {
                // A short read has drained the socket, and the next bytes will be an event.
                let is_drained = taken < asked && !self.connections[index as usize].is_read_closed;
                let published = self.count_published(index);
                self.feed_and_account(index, bytes);
                self.check_memory(index, published);
                self.check_ahead(index);
                self.check_quota(index);
                if !is_drained {
                    self.read_again(index);
                }
            }
            Err(Errno::INTR) => self.read_again(index),
            Err(Errno::AGAIN) => {}
            Err(error) => self.lost(index, Cause::Io(io::Error::from(error).kind())),
        }
    }

    /// Stops reading a client that sends faster than the store makes safe.
    pub(super) fn check_ahead(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        if !connection.is_ahead && connection.session().is_some_and(|key| self.core.is_ahead(key)) {
            connection.is_ahead = true;
            self.ahead.push(index);
        }
    }

    /// Feeds `bytes`; if the peer leaves the answers to them unread for too long, it is not read either.
    pub(super) fn feed_and_account(&mut self, index: u32, bytes: &[u8]) {
        let connection = &self.connections[index as usize];
        let Some(key) = connection.session().filter(|_| connection.is_refused) else {
            return self.feed(index, bytes);
        };
        let before = self.core.out(key).map_or(0, |out| out.len());
        self.feed(index, bytes);
        let after = self.core.out(key).map_or(0, |out| out.len());
        let connection = &mut self.connections[index as usize];
        let grown = after.saturating_sub(before).try_into().unwrap_or(u32::MAX);
        connection.answers_unread = connection.answers_unread.saturating_add(grown);
        connection.is_paused = connection.answers_unread > self.answers_bytes_max;
    }

    /// Bytes that the peer sent: completes the frame that has begun, handles all that are whole, keeps the
    /// beginning of the next.
    pub(super) fn feed(&mut self, index: u32, mut bytes: &[u8]) {
        let connection = &mut self.connections[index as usize];
        if connection.partial.is_empty() {
            self.split(index, bytes);
            return;
        }
        match connection.complete(&mut bytes, connection.frame_max(self.packet_size_max)) {
            Ok(false) => {}
            Ok(true) => {
                let mut whole = connection.partial.take();
                if connection.is_opening() {
                    // Should this connection leave for another worker, all of it must be in one piece.
                    whole.extend_from_slice(bytes);
                    bytes = &[];
                }
                if self.split(index, &whole) {
                    self.split(index, bytes);
                }
                if self.has_secret {
                    whole.zeroize();
                }
            }
            Err(error) => self.reject(index, error),
        }
    }

    /// Handles the whole frames in `bytes` and keeps the rest. False if the connection is read no more.
    pub(super) fn split(&mut self, index: u32, mut bytes: &[u8]) -> bool {
        let mut session = self.connections[index as usize].session();
        let mut is_metered = self.meter(index).is_some();
        while !bytes.is_empty() {
            let frame_max = self.connections[index as usize].frame_max(self.packet_size_max);
            let frame = match frame(bytes, frame_max) {
                Ok(FrameStatus::Complete(frame)) => frame,
                // A stranger that speaks something else is told by its first byte. [MQTT-3.1.0-1]
                Ok(FrameStatus::Incomplete { .. })
                    if matches!(self.connections[index as usize].phase, Phase::Opening)
                        && bytes[0] >> 4 != PacketKind::Connect as u8 =>
                {
                    self.reject(index, Violation::FirstPacketNotConnect.into());
                    return false;
                }
                Ok(FrameStatus::Incomplete { .. }) => {
                    self.connections[index as usize].partial.bytes_mut().extend_from_slice(bytes);
                    return true;
                }
                Err(error) => {
                    self.reject(index, error);
                    return false;
                }
            };
            let Some(key) = session else {
                if matches!(self.connections[index as usize].phase, Phase::Identifying(_)) {
                    self.take_answer(index, frame, &bytes[frame.len..]);
                    return false;
                }
                session = self.connect(index, frame, bytes);
                if session.is_none() {
                    return false;
                }
                is_metered = self.meter(index).is_some();
                bytes = &bytes[frame.len..];
                continue;
            };
            let handled = match is_metered {
                false => self.core.handle(key, frame, self.now),
                true => self.handle_metered(index, key, frame),
            };
            if handled.is_err() {
                self.apply_closes();
                return false;
            }
            bytes = &bytes[frame.len..];
        }
        true
    }

    /// The first frame, with all that came after it. None if the connection does not go on here.
    fn connect(&mut self, index: u32, frame: Frame<'_>, bytes: &[u8]) -> Option<SessionKey> {
        let connection = &self.connections[index as usize];
        let door = &connection.door.listener;
        let named;
        let (admitted, is_named) = match admit(frame, door, &connection.transport) {
            Admission::AsItIs => (frame, false),
            Admission::Named(bytes) => {
                named = bytes;
                match siskin_proto::frame(&named, u32::MAX) {
                    Ok(FrameStatus::Complete(frame)) => (frame, true),
                    // Not what the client wrote in its place: that would be another's name.
                    Ok(FrameStatus::Incomplete { .. }) | Err(_) => {
                        self.refuse(index, &[]);
                        return None;
                    }
                }
            }
            Admission::Refused { reply, cause, client_id } => {
                self.turn_away(index, Some(&client_id), &cause);
                self.refuse(index, &reply);
                return None;
            }
        };
        if !self.pass_turnstile(index, admitted, bytes) {
            return None;
        }
        let door = &self.connections[index as usize].door.listener;
        if self.in_force.gate.is_open(door) {
            self.let_in(index, admitted, bytes, None)
        } else {
            self.identify(index, admitted, is_named, &bytes[frame.len..])
        }
    }

    /// What came is no frame.
    fn reject(&mut self, index: u32, error: DecodeError) {
        match self.connections[index as usize].session() {
            Some(key) => {
                self.core.reject(key, error, self.now);
                self.apply_closes();
            }
            None => {
                let reply = refuse_first(&error, None);
                self.turn_away(index, None, &Cause::Malformed(error));
                self.refuse(index, &reply);
            }
        }
    }

    /// Sends the last bytes to a peer that is not let in.
    pub(super) fn refuse(&mut self, index: u32, reply: &[u8]) {
        let connection = &mut self.connections[index as usize];
        connection.transport.write_once(reply, &mut self.scratch);
        self.begin_close(index, OutBuffer::default(), true);
    }

    /// The transport ended without the core having ended it.
    pub(super) fn lost(&mut self, index: u32, cause: Cause) {
        let Some(connection) = self.connections.get(index as usize) else { return };
        match connection.session() {
            Some(key) => self.core.lost(key, index, cause, self.now),
            // Port scans and health checks.
            None => tracing::debug!(peer = %connection.peer, "gone before a CONNECT: {cause}"),
        }
        self.forget(index);
    }

    /// Reads and throws away what still comes on an ended connection, until the peer ends it too.
    fn discard(&mut self, index: u32) {
        self.buffer.clear();
        let asked = self.buffer.capacity();
        let connection = &mut self.connections[index as usize];
        match rustix::io::read(connection.transport.fd(), spare_capacity(&mut self.buffer)) {
            Ok(0) => {
                // It may have closed its sending side alone, and still wait for the last bytes.
                match &mut connection.phase {
                    Phase::Closing(closing) if !closing.out.is_empty() => closing.lingers = false,
                    _ => self.forget(index),
                }
            }
            Ok(taken) if taken == asked || connection.is_read_closed => self.read_again(index),
            Ok(_) => {}
            Err(Errno::INTR) => self.read_again(index),
            Err(Errno::AGAIN) => {}
            Err(_) => self.forget(index),
        }
        self.buffer.clear();
    }
}

/// A large frame's memory grows by no more than this at once, and so no read takes more.
const LARGE_READ_BYTES: usize = 1024 * 1024;
