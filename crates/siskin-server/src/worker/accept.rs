//! Who is let in, how fast, and to which worker.

use std::io;
use std::sync::atomic::Ordering;

use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use siskin_core::{Cause, Now};
use siskin_proto::Reason;

use super::{LISTENERS, Neighbours};
use crate::config::Excess;
use crate::report;
use crate::throttle::Throttle;
use crate::transport::{Arrival, ListeningSocket, Peer, Socket};
use crate::turnstile::Kind;

/// The listeners. The first worker has it: with one worker, nothing of a connection crosses threads.
pub(crate) struct Acceptor {
    listeners: Vec<ListeningSocket>,
    /// Which of them may have somebody waiting.
    waiting: Vec<bool>,
    connections_max: u32,
    rate: Rate,
    paused_until: Option<Now>,
    /// When the first listener at which somebody waits has room again, if none has now.
    room_at: Option<Now>,
    full: Throttle,
    failing: Throttle,
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
        mut listeners: Vec<ListeningSocket>,
        registry: &Registry,
        connections_max: u32,
        rate_max: u32,
    ) -> io::Result<Self> {
        for (listener, token) in listeners.iter_mut().zip(LISTENERS.0..) {
            registry.register(listener.source(), Token(token), Interest::READABLE)?;
        }
        Ok(Self {
            waiting: vec![false; listeners.len()],
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

    /// Somebody waits at the listener of `token`.
    pub(super) fn knock(&mut self, token: Token) {
        if let Some(waiting) = self.waiting.get_mut(token.0 - LISTENERS.0) {
            *waiting = true;
            self.room_at = None;
        }
    }

    /// When to accept again: now if somebody waits, later after a pause.
    pub(super) fn next_deadline(&self, now: Now) -> Option<Now> {
        let waiting = self.waiting.iter().any(|waiting| *waiting);
        let next = waiting.then(|| self.paused_until.or(self.room_at).unwrap_or(now));
        next.into_iter().chain(self.full.next()).min()
    }

    /// Lets one more in.
    pub(super) fn accept(&mut self, now: Now, neighbours: &Neighbours) -> Accepted {
        if let Some(count) = self.full.owed(now) {
            report::more_turned_away(count);
        }
        if self.paused_until.is_some_and(|until| now < until) {
            return Accepted::Nobody;
        }
        self.paused_until = None;
        let Some(at) = self.next_waiting(now, neighbours) else { return Accepted::Nobody };
        if let Err(until) = self.rate.admit(now) {
            self.paused_until = Some(until);
            return Accepted::Nobody;
        }
        match self.listeners[at].accept() {
            Ok((socket, peer)) => self.admit(at, socket, peer, now, neighbours),
            Err(error) => {
                self.rate.give_back();
                self.fail(at, &error, now)
            }
        }
    }

    /// A listener at which somebody waits, and that has room.
    fn next_waiting(&mut self, now: Now, neighbours: &Neighbours) -> Option<usize> {
        let delays = neighbours.turnstile.excess() == Excess::Delay;
        let room_at = |at: usize| match &neighbours.doors[at].quota {
            Some(quota) if delays => quota.room_at(Kind::Connects, now),
            _ => None,
        };
        let waiting = self.waiting.iter().enumerate().filter(|(_, waiting)| **waiting);
        let (at, room_at) = waiting.map(|(at, _)| (at, room_at(at))).min_by_key(|(_, room_at)| *room_at)?;
        self.room_at = room_at;
        room_at.is_none().then_some(at)
    }

    fn admit(
        &mut self,
        at: usize,
        socket: Socket,
        peer: Peer,
        now: Now,
        neighbours: &Neighbours,
    ) -> Accepted {
        let loads = neighbours.loads.iter().map(|load| load.load(Ordering::Relaxed));
        let open: u32 = loads.clone().sum();
        let door = &neighbours.doors[at];
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
        let worker = loads.zip(0..).min().map_or(0, |(_, worker)| worker);
        neighbours.loads[usize::from(worker)].fetch_add(1, Ordering::Relaxed);
        Accepted::Connection(Arrival { transport, peer, door: at as u16 }, worker)
    }

    fn fail(&mut self, at: usize, error: &io::Error, now: Now) -> Accepted {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.waiting[at] = false;
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
