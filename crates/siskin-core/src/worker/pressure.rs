//! What a worker does about memory when it is told that there is little of it.

use std::ops::Range;

use super::Worker;
use crate::cause::Cause;
use crate::pressure::{Holdings, Pressure};
use crate::session::SessionKey;
use crate::time::Now;

impl Worker {
    /// How near the process is to its memory budget, as this worker was told last.
    pub fn pressure(&self) -> Pressure {
        self.turn.pressure
    }

    /// The process is as near to its memory budget as `pressure` says.
    pub fn set_pressure(&mut self, pressure: Pressure) {
        if std::mem::replace(&mut self.turn.pressure, pressure) != pressure {
            self.turn.limits = pressure.tighten((*self.shared.limits()).clone());
        }
    }

    /// PUBLISH packets that came by the connection of session `key`.
    pub fn messages_received(&self, key: SessionKey) -> u64 {
        let connection = self.sessions.get(key).and_then(|session| session.connection.as_deref());
        connection.map_or(0, |connection| connection.messages_received)
    }

    /// Adds what the sessions in `places` hold to `holdings`. False if there are none behind them.
    pub fn survey(&self, places: Range<usize>, holdings: &mut Holdings) -> bool {
        let end = places.end.min(self.sessions.places());
        for session in (places.start..end).filter_map(|slot| self.sessions.at(slot)) {
            let unread = session.connection.as_deref().map_or(0, |connection| connection.out.len() as u64);
            holdings.add(session.key(), session.queue.kept_bytes(), unread);
            holdings.places += session.queue.place_bytes();
            holdings.in_flight += session.in_flight_bytes(u64::MAX);
            holdings.chosen += session.chosen_bytes();
        }
        end < self.sessions.places()
    }

    /// Frees about `bytes` of those that wait in memory: the oldest messages of the sessions with most in their queues
    /// lie in the store alone from now on. What lies in no store is dropped if the pressure is critical; so are
    /// connections that leave much unread. `holdings` is from a survey of all sessions. Says how many bytes it were.
    pub fn relieve(&mut self, holdings: &Holdings, bytes: u64, now: Now) -> u64 {
        let is_critical = self.turn.pressure == Pressure::Critical;
        let mut freed = 0;
        for (_, key) in holdings.heaviest_queues() {
            if freed >= bytes {
                return freed;
            }
            if let Some(session) = self.sessions.get_mut(key) {
                freed += session.ease_queue(&mut self.turn, bytes - freed, is_critical, now);
            }
        }
        if !is_critical {
            return freed;
        }
        for (unread, key) in holdings.heaviest_readers() {
            if freed >= bytes || unread < UNREAD_BYTES_MIN {
                break;
            }
            let is_slow = |worker: &Self| {
                let connection = worker.sessions.get(key).and_then(|session| session.connection.as_deref());
                connection.is_some_and(|connection| connection.out.len() as u64 >= UNREAD_BYTES_MIN)
            };
            if is_slow(self) {
                self.disconnect(key, Cause::MemoryShort, now);
                freed += unread;
            }
        }
        freed
    }
}

/// Who leaves less than this unread is not disconnected for want of memory.
const UNREAD_BYTES_MIN: u64 = 64 * 1024;
