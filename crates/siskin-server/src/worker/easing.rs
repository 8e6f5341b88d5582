//! What a worker holds, and what it gives up when it is told that memory is short.

use std::cmp::Reverse;
use std::collections::HashMap;

use siskin_core::{Cause, Now, Pressure};

use super::connection::{Connection, Phase};
use super::{READ_BYTES, Worker};
use crate::budget::{Easing, Surveying};

impl Worker {
    /// Goes on with the survey that waits first, for a part of a turn.
    pub(super) fn go_on_surveying(&mut self) {
        let Some(Surveying { survey, next, .. }) = self.surveys.front_mut() else { return };
        let places = *next..*next + SURVEYED_PER_TURN;
        let has_more_sessions = self.core.survey(places.clone(), &mut survey.holdings);
        let has_more_connections = places.end < self.connections.capacity();
        for connection in places.clone().filter_map(|place| self.connections.get(place)) {
            survey.partial += connection.small_partial() as u64;
        }
        *next = places.end;
        if !has_more_sessions
            && !has_more_connections
            && let Some(Surveying { mut survey, answer, .. }) = self.surveys.pop_front()
        {
            survey.partial += self.partials.bytes as u64;
            // Who asked may have given up.
            let _ = answer.try_send(survey);
        }
    }

    pub(super) fn ease(&mut self, easing: &Easing) {
        self.core.set_pressure(easing.pressure);
        if easing.bytes == 0 {
            return;
        }
        let freed = self.core.relieve(&easing.holdings, easing.bytes, self.now);
        if easing.pressure == Pressure::Critical {
            self.put_out_senders(easing.bytes.saturating_sub(freed));
        }
    }

    /// Disconnects those of whose packets most has come and the rest not, until `bytes` are free.
    fn put_out_senders(&mut self, bytes: u64) {
        let small =
            self.connections.iter().map(|(index, connection)| (connection.small_partial(), index as u32));
        let small = small.filter(|(bytes, _)| *bytes >= WORTH_BYTES);
        let large = self.partials.of.iter().map(|(index, bytes)| (*bytes, *index));
        let mut senders: Vec<_> = large.chain(small).collect();
        senders.sort_unstable_by_key(|(bytes, _)| Reverse(*bytes));
        let mut freed = 0;
        for (its_bytes, index) in senders {
            if freed >= bytes {
                return;
            }
            freed += its_bytes as u64;
            self.drop_partial(index);
            match self.connections.get(index as usize).and_then(Connection::session) {
                Some(key) => self.core.disconnect(key, Cause::MemoryShort, self.now),
                None => self.lost(index, Cause::MemoryShort),
            }
        }
    }

    /// Whether more of a large packet would be too much now. It is read on when there is room.
    pub(super) fn must_wait_for_memory(&mut self, index: u32, missing: usize) -> bool {
        let own = self.connections[index as usize].partial.capacity();
        if missing < READ_BYTES && own < READ_BYTES {
            return false;
        }
        let max = self.neighbours.memory.partial_max();
        // One that is alone may have as much as a packet may.
        let is_full = self.partials.bytes > own && self.partials.bytes + READ_BYTES > max;
        if !is_full && self.core.pressure() < Pressure::Critical {
            self.partials.full_since = None;
            return false;
        }
        let since = *self.partials.full_since.get_or_insert(self.now);
        if self.now.ms_since(since) >= STUCK_MS {
            self.partials.full_since = None;
            self.put_out_senders(self.partials.bytes as u64 / 2);
        }
        self.throttle(index, self.now.plus_ms(LARGE_WAIT_MS));
        true
    }

    /// Counts what is held of a packet of which not all has come, after a read.
    pub(super) fn count_partial(&mut self, index: u32) {
        let bytes =
            self.connections.get(index as usize).map_or(0, |connection| connection.partial.capacity());
        let is_large = bytes >= READ_BYTES;
        if !is_large && self.partials.of.is_empty() {
            return;
        }
        let before = match is_large {
            true => self.partials.of.insert(index, bytes),
            false => self.partials.of.remove(&index),
        };
        let before = before.unwrap_or(0);
        let after = if is_large { bytes } else { 0 };
        self.partials.bytes = self.partials.bytes + after - before;
    }

    /// Frees what has come of a packet that is not to be completed.
    pub(super) fn drop_partial(&mut self, index: u32) {
        if let Some(connection) = self.connections.get_mut(index as usize) {
            connection.partial.take();
        }
        self.count_partial(index);
    }

    /// How many messages have come by this connection, as far as that matters now.
    pub(super) fn count_published(&self, index: u32) -> u64 {
        if self.core.pressure() < Pressure::Critical && !self.is_mail_unread {
            return 0;
        }
        let Some(Phase::Open(key)) = self.connections.get(index as usize).map(|connection| &connection.phase)
        else {
            return 0;
        };
        self.core.messages_received(*key)
    }

    /// Stops reading for a while who publishes while no memory is left, or more than another worker keeps up with.
    /// Others are read: their acknowledgements make room.
    pub(super) fn check_memory(&mut self, index: u32, published_before: u64) {
        let is_critical = self.core.pressure() == Pressure::Critical;
        if !is_critical && !self.is_mail_unread || self.count_published(index) == published_before {
            return;
        }
        if is_critical {
            self.throttle(index, self.now.plus_ms(WAIT_MS));
        } else {
            self.wait_for_mail(index);
        }
    }

    /// Stops reading a client until another worker may have read what was sent to it.
    pub(super) fn wait_for_mail(&mut self, index: u32) {
        self.throttle(index, self.now.plus_ms(MAIL_WAIT_MS));
    }

    /// Looks whether another worker leaves unread what this one and others have for it.
    pub(super) fn look_at_mail(&mut self) {
        let own = usize::from(self.index);
        let mut others = self.neighbours.mailboxes.iter().enumerate().filter(|(index, _)| *index != own);
        self.is_mail_unread = others.any(|(_, mailbox)| mailbox.is_full());
    }
}

/// Sessions and connections that are looked at in one turn: a fraction of a millisecond.
const SURVEYED_PER_TURN: usize = 4096;

/// Large packets of which not all has come: those that take more than a read.
#[derive(Default)]
pub(super) struct Partials {
    /// What is held of each, in bytes, by its connection.
    of: HashMap<u32, usize>,
    /// The sum of these.
    bytes: usize,
    /// Since when there was no room for more whenever somebody wanted some.
    full_since: Option<Now>,
}

/// Whoever has sent less than this of a packet is not disconnected for it.
const WORTH_BYTES: usize = 4096;

/// After this time it is looked again whether there is room for more of a large packet.
const LARGE_WAIT_MS: u64 = 20;

/// When none of them got complete for so long, some have to go.
const STUCK_MS: u64 = 2000;

/// Who publishes while another worker has too much unread is read once in this time.
const MAIL_WAIT_MS: u64 = 1;

/// Who publishes while no memory is left is read once in this time.
const WAIT_MS: u64 = 250;
