//! Who is let in, how fast, and to which worker.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use siskin_core::{Cause, Now};
use siskin_proto::Reason;

use super::LISTENERS;
use crate::config::Excess;
use crate::report;
use crate::throttle::Throttle;
use crate::transport::{Arrival, Bound, Door, ListeningSocket, Peer, Socket};
use crate::turnstile::Kind;

/// The listeners. The first worker has it: with one worker, nothing of a connection crosses threads.
pub(crate) struct Acceptor {
    listeners: Vec<Attended>,
    /// The event of the next socket.
    next_token: usize,
    connections_max: u32,
    rate: Rate,
    paused_until: Option<Now>,
    /// When the first listener at which somebody waits has room again, if none has now.
    room_at: Option<Now>,
    full: Throttle,
    failing: Throttle,
}

/// A listening socket.
struct Attended {
    socket: ListeningSocket,
    /// The terms on which those are let in who come now.
    door: Arc<Door>,
    token: Token,
    /// Whether somebody may be waiting at it.
    is_waiting: bool,
}

/// What came of asking for one more connection.
pub(super) enum Accepted {
    /// It goes to this worker.
    Connection(Arrival, u16),
    /// It was closed at once, for want of room. There may be more.
    Full(Peer),
    /// One failed. There may be more.
    Closed,
    /// Nobody waits, or nobody may come in now.
    Nobody,
}

impl Acceptor {
    pub(crate) fn new(
        bound: Vec<Bound>,
        registry: &Registry,
        connections_max: u32,
        rate_max: u32,
    ) -> io::Result<Self> {
        let attended = bound.into_iter().zip(LISTENERS.0..);
        let attended = attended.map(|(bound, token)| Attended::new(bound, Token(token), registry));
        let listeners = attended.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            next_token: LISTENERS.0 + listeners.len(),
            listeners,
            connections_max,
            rate: Rate { per_s: rate_max.into(), next_us: 0 },
            paused_until: None,
            room_at: None,
            full: Throttle::default(),
            failing: Throttle::default(),
        })
    }

    /// Lets as many in as these say from now on.
    pub(super) fn set_limits(&mut self, connections_max: u32, rate_max: u32) {
        self.connections_max = connections_max;
        self.rate.per_s = rate_max.into();
        self.paused_until = None;
    }

    /// Listens on the sockets of `doors`, on their terms, and on no others; `opened` are new.
    pub(super) fn attend(&mut self, doors: &[Arc<Door>], opened: Vec<Bound>, registry: &Registry) {
        for bound in opened {
            let listener = bound.door.bound_listener();
            match Attended::new(bound, Token(self.next_token), registry) {
                Ok(attended) => self.listeners.push(attended),
                Err(error) => tracing::error!("nobody is let in by {listener}: {error}"),
            }
            self.next_token += 1;
        }
        self.retain(registry, |attended| {
            let door = doors.iter().find(|door| door.has_socket_of(&attended.door));
            door.inspect(|door| attended.door = Arc::clone(door)).is_some()
        });
    }

    /// Listens no more on the sockets of `doors`.
    pub(super) fn close(&mut self, doors: &[Arc<Door>], registry: &Registry) {
        self.retain(registry, |attended| !doors.iter().any(|door| door.has_socket_of(&attended.door)));
    }

    /// Closes all but those that stay. Who waits at a socket that is closed is turned away by the system.
    fn retain(&mut self, registry: &Registry, stays: impl Fn(&mut Attended) -> bool) {
        self.listeners.retain_mut(|attended| {
            let stays = stays(attended);
            if !stays {
                // It is closed in any case.
                let _ = registry.deregister(attended.socket.source());
            }
            stays
        });
        self.room_at = None;
    }

    /// Somebody waits at the listener of `token`.
    pub(super) fn knock(&mut self, token: Token) {
        if let Some(listener) = self.listeners.iter_mut().find(|listener| listener.token == token) {
            listener.is_waiting = true;
            self.room_at = None;
        }
    }

    /// When to accept again: now if somebody waits, later after a pause.
    pub(super) fn next_deadline(&self, now: Now) -> Option<Now> {
        let waiting = self.listeners.iter().any(|listener| listener.is_waiting);
        let next = waiting.then(|| self.paused_until.or(self.room_at).unwrap_or(now));
        next.into_iter().chain(self.full.next()).min()
    }

    /// Lets one more in.
    pub(super) fn accept(&mut self, now: Now, excess: Excess, loads: &[AtomicU32]) -> Accepted {
        if let Some(count) = self.full.owed(now) {
            report::more_turned_away(count);
        }
        if self.paused_until.is_some_and(|until| now < until) {
            return Accepted::Nobody;
        }
        self.paused_until = None;
        let Some(at) = self.next_waiting(now, excess) else { return Accepted::Nobody };
        if let Err(until) = self.rate.admit(now) {
            self.paused_until = Some(until);
            return Accepted::Nobody;
        }
        match self.listeners[at].socket.accept() {
            Ok((socket, peer)) => self.admit(at, (socket, peer), now, loads),
            Err(error) => {
                self.rate.give_back();
                self.fail(at, &error, now)
            }
        }
    }

    /// A listener at which somebody waits, and that has room.
    fn next_waiting(&mut self, now: Now, excess: Excess) -> Option<usize> {
        let delays = excess == Excess::Delay;
        let room_at = |listener: &Attended| match &listener.door.quota {
            Some(quota) if delays => quota.room_at(Kind::Connects, now),
            _ => None,
        };
        let waiting = self.listeners.iter().enumerate().filter(|(_, listener)| listener.is_waiting);
        let waiting = waiting.map(|(at, listener)| (at, room_at(listener)));
        let (at, room_at) = waiting.min_by_key(|(_, room_at)| *room_at)?;
        self.room_at = room_at;
        room_at.is_none().then_some(at)
    }

    fn admit(
        &mut self,
        at: usize,
        (socket, peer): (Socket, Peer),
        now: Now,
        loads: &[AtomicU32],
    ) -> Accepted {
        let open: u32 = loads.iter().map(|load| load.load(Ordering::Relaxed)).sum();
        let door = &self.listeners[at].door;
        if let Some(quota) = &door.quota {
            // Where excess waits, it waits before it is accepted.
            if quota.is_over(Kind::Connects, now) {
                if let Some(count) = self.full.pass(now) {
                    report::turned_away(peer, None, &Cause::OverQuota(Reason::ConnectionRateExceeded), count);
                }
                return Accepted::Closed;
            }
            quota.charge(Kind::Connects, 1, now);
        }
        if open >= self.connections_max || !door.enter() {
            if let Some(count) = self.full.pass(now) {
                report::turned_away(peer, None, &Cause::TooManyConnections, count);
            }
            return Accepted::Full(peer);
        }
        let transport = match door.transport(socket, peer) {
            Ok(transport) => transport,
            Err(problem) => {
                door.leave();
                tracing::error!(%peer, "connection not accepted: {problem}");
                return Accepted::Closed;
            }
        };
        let by_load = loads.iter().map(|load| load.load(Ordering::Relaxed)).zip(0..);
        let worker = by_load.min().map_or(0, |(_, worker)| worker);
        loads[usize::from(worker)].fetch_add(1, Ordering::Relaxed);
        Accepted::Connection(Arrival { transport, peer, door: Arc::clone(door) }, worker)
    }

    fn fail(&mut self, at: usize, error: &io::Error, now: Now) -> Accepted {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.listeners[at].is_waiting = false;
            return Accepted::Closed;
        }
        // Out of files or memory: whoever waits goes on waiting until somebody has left.
        let is_ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
            .iter()
            .any(|ours| error.raw_os_error() == Some(ours.raw_os_error()));
        if is_ours {
            self.paused_until = Some(now.plus_ms(PAUSE_MS));
            if self.failing.pass(now).is_some() {
                tracing::error!("no connection can be accepted: {error}");
            }
            return Accepted::Nobody;
        }
        // Everything else is the trouble of the one who was about to come in.
        tracing::debug!("a connection ended before it was accepted: {error}");
        Accepted::Closed
    }
}

impl Attended {
    fn new(bound: Bound, token: Token, registry: &Registry) -> io::Result<Self> {
        let Bound { door, mut socket } = bound;
        registry.register(socket.source(), token, Interest::READABLE)?;
        Ok(Self { socket, door, token, is_waiting: false })
    }
}

/// At most so many a second, and at most so many at once.
struct Rate {
    /// 0 for any number.
    per_s: u64,
    /// When the next one would be due if all came evenly, in microseconds.
    next_us: u64,
}

impl Rate {
    /// Counts one more, or says when there is room for it.
    fn admit(&mut self, now: Now) -> Result<(), Now> {
        if self.per_s == 0 {
            return Ok(());
        }
        let now_us = now.as_millis() * 1000;
        let due_us = self.next_us.max(now_us);
        if due_us > now_us + SECOND_US - self.interval_us() {
            let room_us = due_us + self.interval_us() - SECOND_US;
            return Err(Now::from_millis(room_us.div_ceil(1000)));
        }
        self.next_us = due_us + self.interval_us();
        Ok(())
    }

    /// The one that was counted last did not come.
    fn give_back(&mut self) {
        if self.per_s > 0 {
            self.next_us = self.next_us.saturating_sub(self.interval_us());
        }
    }

    fn interval_us(&self) -> u64 {
        (SECOND_US / self.per_s).max(1)
    }
}

/// How long nobody is accepted when the system has nothing left for them.
const PAUSE_MS: u64 = 100;

const SECOND_US: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_lets_a_second_s_worth_in_at_once_and_then_one_by_one() {
        let mut rate = Rate { per_s: 10, next_us: 0 };
        let at = Now::from_millis;
        let start = at(5000);
        assert_eq!((0..20).take_while(|_| rate.admit(start).is_ok()).count(), 10);
        assert_eq!(rate.admit(start), Err(at(5100)));
        assert_eq!(rate.admit(at(5099)), Err(at(5100)));
        assert_eq!(rate.admit(at(5100)), Ok(()));
        assert_eq!(rate.admit(at(5100)), Err(at(5200)));
        rate.give_back();
        assert_eq!(rate.admit(at(5100)), Ok(()));
    }

    #[test]
    fn no_rate_lets_everybody_in() {
        let mut rate = Rate { per_s: 0, next_us: 0 };
        assert!((0..100_000).all(|_| rate.admit(Now::from_millis(1)).is_ok()));
    }
}
