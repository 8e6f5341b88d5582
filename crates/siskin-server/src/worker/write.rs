//! From the core to a socket: one write per connection and turn, and the last bytes of those that end.

use std::mem;

use mio::{Interest, Token};
use siskin_core::{Cause, OutBuffer, SessionKey};

use super::Worker;
use super::connection::{Closing, Phase};
use crate::transport::Written;

impl Worker {
    /// Writes what has gathered for the connections of this worker, one system call each.
    pub(super) fn flush(&mut self) {
        let mut dirty = mem::take(&mut self.dirty);
        self.core.take_dirty(&mut dirty);
        for (key, index) in &dirty {
            self.write(*key, *index);
        }
        let mut owing = mem::take(&mut self.owing);
        for index in owing.drain(..) {
            self.write_owed(index);
        }
        owing.append(&mut self.owing);
        self.owing = owing;
        // What writing made room for goes out in the next turn, after others had theirs.
        dirty.clear();
        dirty.append(&mut self.dirty);
        self.core.take_dirty(&mut dirty);
        self.dirty = dirty;
    }

    fn write(&mut self, key: SessionKey, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        if connection.session() != Some(key) || connection.is_refused {
            return;
        }
        let Some(out) = self.core.out(key) else { return };
        if out.is_empty() && !connection.transport.owes() {
            return;
        }
        let before = out.len();
        let written = connection.transport.write(out, &mut self.scratch);
        // Who takes what waits reads answers, whatever else comes behind them.
        let taken = before.saturating_sub(out.len()).try_into().unwrap_or(u32::MAX);
        connection.answers_unread = match written {
            Ok(Written::All) => 0,
            _ => connection.answers_unread.saturating_sub(taken),
        };
        let goes_on = connection.is_paused && connection.answers_unread <= self.answers_bytes_max;
        connection.is_paused &= !goes_on;
        match written {
            Ok(Written::All) => self.core.drained(key, self.now),
            Ok(Written::Part) => self.dirty.push((key, index)),
            Ok(Written::Refused) => self.await_room(index),
            Err(error) => return self.lost(index, Cause::Io(error.kind())),
        }
        if goes_on {
            self.read_again(index);
        }
    }

    /// Writes what a connection's layers have to say, unless it went out with packets already.
    fn write_owed(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        if connection.is_refused || !connection.transport.owes() {
            return;
        }
        match connection.phase {
            Phase::Open(key) => self.write(key, index),
            Phase::Opening | Phase::Identifying(_) => {
                match connection.transport.write(&mut OutBuffer::default(), &mut self.scratch) {
                    Ok(Written::All) => {}
                    Ok(Written::Part) => self.owing.push(index),
                    Ok(Written::Refused) => self.await_room(index),
                    Err(error) => self.lost(index, Cause::Io(error.kind())),
                }
            }
            // The one writes by itself, the others no more.
            Phase::Closing(_) | Phase::Leaving | Phase::Gone => {}
        }
    }

    /// The kernel takes no more for now: it shall say when it does.
    fn await_room(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        connection.is_refused = true;
        if mem::replace(&mut connection.watches_writable, true) {
            return;
        }
        let both = Interest::READABLE | Interest::WRITABLE;
        let token = Token(index as usize);
        if let Err(error) = self.poll.registry().reregister(&mut connection.transport, token, both) {
            self.lost(index, Cause::Io(error.kind()));
        }
    }

    /// The kernel takes bytes again.
    pub(super) fn handle_room(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        if !mem::replace(&mut connection.is_refused, false) {
            return;
        }
        match connection.phase {
            Phase::Open(key) => self.dirty.push((key, index)),
            Phase::Closing(_) => self.write_last(index),
            Phase::Opening | Phase::Identifying(_) => self.owing.push(index),
            Phase::Leaving | Phase::Gone => {}
        }
    }

    /// Begins to close the connections that the core has ended. Gives the last of those that another took over.
    pub(super) fn apply_closes(&mut self) -> Option<u32> {
        let mut taken_over = None;
        let mut closes = mem::take(&mut self.closes);
        self.core.take_closes(&mut closes);
        for close in closes.drain(..) {
            let connection = self.connections.get(close.connection as usize);
            if close.cause == Cause::TakenOver {
                taken_over = Some(close.connection);
            }
            if connection.is_some_and(|connection| connection.session().is_some()) {
                // After its DISCONNECT a client sends nothing, and waits for nothing.
                let lingers = !matches!(close.cause, Cause::ClientDisconnect(_));
                self.begin_close(close.connection, close.out, lingers);
            }
        }
        self.closes = closes;
        taken_over
    }

    /// Closes a connection once the peer has taken `out`, or its time for that is over.
    pub(super) fn begin_close(&mut self, index: u32, out: OutBuffer, lingers: bool) {
        self.drop_partial(index);
        let connection = &mut self.connections[index as usize];
        connection.transport.finish();
        connection.phase = Phase::Closing(Box::new(Closing { out, lingers }));
        self.to_close.set(self.now, index, connection.serial);
        if !connection.is_refused {
            self.write_last(index);
        }
    }

    /// Writes the last bytes as far as the kernel takes them; then the connection ends.
    fn write_last(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        let Phase::Closing(closing) = &mut connection.phase else { return };
        let written = loop {
            match connection.transport.write(&mut closing.out, &mut self.scratch) {
                Ok(Written::Part) => {}
                written => break written,
            }
        };
        match written {
            Ok(Written::All | Written::Part) if closing.lingers => {
                if connection.transport.shutdown_write().is_err() {
                    return self.forget(index);
                }
                // What came before may be waiting unread without another event.
                self.read_again(index);
            }
            Ok(Written::Refused) => self.await_room(index),
            Ok(Written::All | Written::Part) | Err(_) => self.forget(index),
        }
    }
}
