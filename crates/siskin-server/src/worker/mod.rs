//! A thread that owns connections and, through the core, the sessions behind them.
//!
//! It turns in a loop: wait for events; read each readable connection once and let the core decide; take
//! in mail and time; then write each connection that has something to be written, once. Nothing in a turn
//! waits, and what a connection may do in one turn is bounded, so that all get theirs.

mod accept;
mod connection;
mod deadlines;
mod easing;
mod expiries;
mod identify;
mod partial;
mod read;
mod take_over;
mod terms;
mod turnstile;
mod write;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use mio::event::Event as Readiness;
use mio::{Events, Interest, Poll, Token};
use siskin_auth::Conversation;
use siskin_core::{Cause, Close, Event, Now, SessionKey};
use slab::Slab;

pub(crate) use accept::Acceptor;

use crate::access::{Gate, Ticket};
use crate::budget::{Latest, Surveying};
use crate::clock::Clock;
use crate::in_force::InForce;
use crate::mailbox::{Ask, Letter, Mailbox};
use crate::memory;
use crate::pulse::Pulse;
use crate::report;
use crate::throttle::Throttle;
use crate::transport::{Arrival, Bound, READ_BYTES, Scratch};
use crate::turnstile::Meter;
use accept::Accepted;
use connection::{Connection, Phase};
use deadlines::{Deadline, Deadlines};
use easing::Partials;
use expiries::Expiries;
use take_over::TakeOvers;
use turnstile::Throttled;

/// What workers know of each other.
pub(crate) struct Neighbours {
    pub(crate) mailboxes: Vec<Mailbox>,
    /// How many transports each has, those on their way to it included.
    pub(crate) loads: Vec<AtomicU32>,
    /// How busy each is.
    pub(crate) pulses: Vec<Pulse>,
    /// What the process holds in memory, as it was found last.
    pub(crate) memory: Latest,
}

/// A transport on its way to another worker.
struct Leaving {
    index: u32,
    worker: u16,
    /// What is yet to be handled, its CONNECT first.
    bytes: Vec<u8>,
    /// Who its client is, where that was to be found out.
    ticket: Option<Box<Ticket>>,
}

/// The event of a worker's own mailbox.
pub(crate) const WAKER: Token = Token(usize::MAX);

/// The event of the first listener; the others count on from here, connections from zero.
const LISTENERS: Token = Token(usize::MAX / 2);

/// One worker's thread, from the outside a function that returns when the broker stops.
pub(crate) struct Worker {
    index: u16,
    core: siskin_core::Worker,
    poll: Poll,
    neighbours: Arc<Neighbours>,
    in_force: Arc<InForce>,
    clock: Clock,
    /// The time of this turn.
    now: Now,
    acceptor: Option<Acceptor>,
    connections: Slab<Connection>,
    serial: u32,
    packet_size_max: u32,
    answers_bytes_max: u32,
    /// What one read fills, whoever is read.
    buffer: Vec<u8>,
    /// What the layers of a transport need for the time of one read or write.
    scratch: Scratch,
    /// Those to be read in the next turn without being asked.
    continuing: Vec<u32>,
    /// Those that are not read until the store has made safe what they sent.
    ahead: Vec<u32>,
    /// Those that are not read until a quota has room again.
    throttled: BinaryHeap<Reverse<Throttled>>,
    /// By connection: what it may do in a second. Empty for as long as nothing is limited.
    meters: Vec<Option<Box<Meter>>>,
    /// By connection: the user name that it came with, if it did.
    user_names: HashMap<u32, Box<str>>,
    take_overs: TakeOvers,
    /// Those with something to write.
    dirty: Vec<(SessionKey, u32)>,
    /// Those whose layers have something to say themselves.
    owing: Vec<u32>,
    /// Those to be forgotten when the turn is over; until then their numbers are not given anew.
    gone: Vec<u32>,
    /// Those to be handed to other workers when the turn is over, with their unread bytes.
    leaving: Vec<Leaving>,
    to_connect: Deadlines,
    to_close: Deadlines,
    /// Those that are let in for a certain time.
    to_expire: Expiries,
    /// What those were asked who prove once more who they are.
    renewals: HashMap<u32, (Arc<Gate>, Conversation)>,
    /// Whether what was read last has a password in it.
    has_secret: bool,
    turned_away: Throttle,
    letters: Vec<Letter>,
    /// Questions that are not answered yet: one each turn, so that many of them hold up nobody for long.
    asks: VecDeque<Ask>,
    closes: Vec<Close>,
    events: Vec<Event>,
    /// What this worker holds in memory, as far as it has been counted, and for whom.
    surveys: VecDeque<Surveying>,
    partials: Partials,
    /// Whether another worker has not read what was sent to it, as this turn began.
    is_mail_unread: bool,
    wills_published: Option<Sender<()>>,
    is_stopping: bool,
}

impl Worker {
    pub(crate) fn new(
        index: u16,
        core: siskin_core::Worker,
        poll: Poll,
        neighbours: Arc<Neighbours>,
        clock: Clock,
        in_force: Arc<InForce>,
        acceptor: Option<Acceptor>,
    ) -> Self {
        let core_limits = core.shared().limits();
        let limits = in_force.limits;
        Self {
            packet_size_max: core_limits.packet_size_max,
            answers_bytes_max: core_limits.out_buffer_bytes_max.try_into().unwrap_or(u32::MAX),
            index,
            core,
            poll,
            neighbours,
            in_force,
            clock,
            now: clock.now(),
            acceptor,
            connections: Slab::new(),
            serial: 0,
            buffer: Vec::with_capacity(READ_BYTES),
            scratch: Scratch::default(),
            continuing: Vec::new(),
            ahead: Vec::new(),
            throttled: BinaryHeap::new(),
            meters: Vec::new(),
            user_names: HashMap::new(),
            take_overs: TakeOvers::default(),
            dirty: Vec::new(),
            owing: Vec::new(),
            gone: Vec::new(),
            leaving: Vec::new(),
            to_connect: Deadlines::new(limits.connect_timeout_ms),
            to_close: Deadlines::new(limits.close_timeout_ms),
            to_expire: Expiries::default(),
            renewals: HashMap::new(),
            has_secret: false,
            turned_away: Throttle::default(),
            letters: Vec::new(),
            asks: VecDeque::new(),
            closes: Vec::new(),
            events: Vec::new(),
            surveys: VecDeque::new(),
            partials: Partials::default(),
            is_mail_unread: false,
            wills_published: None,
            is_stopping: false,
        }
    }

    /// Works until the broker stops.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut woke_us = self.clock.micros();
        while !(self.is_stopping && self.connections.is_empty()) {
            let waits_us = self.clock.micros();
            let pulse = &self.neighbours.pulses[usize::from(self.index)];
            pulse.turns.add(1);
            pulse.busy_us.add(waits_us - woke_us);
            let timeout = self.timeout(self.clock.at_micros(waits_us));
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!("a worker cannot wait for events and ends: {error}");
                return;
            }
            woke_us = self.clock.micros();
            self.now = self.clock.at_micros(woke_us);
            self.turn(&events);
        }
    }

    fn turn(&mut self, events: &Events) {
        self.look_at_mail();
        let mut has_mail = false;
        let continuing = mem::take(&mut self.continuing);
        for event in events {
            match event.token() {
                WAKER => has_mail = true,
                token if token.0 >= LISTENERS.0 => {
                    if let Some(acceptor) = &mut self.acceptor {
                        acceptor.knock(token);
                    }
                }
                token => self.handle_readiness(token.0 as u32, event),
            }
        }
        for index in continuing {
            if self.connections.get(index as usize).is_some_and(|connection| connection.continues) {
                self.read(index);
            }
        }
        if has_mail {
            self.open_mail();
        }
        self.renew();
        if let Some(ask) = self.asks.pop_front() {
            ask(&mut self.core, self.now);
        }
        self.go_on_surveying();
        self.accept();
        self.expire();
        self.core.commit(self.now);
        self.resume_ahead();
        self.post_mail();
        self.flush();
        self.apply_closes();
        // A write that failed may have published a will, and one that made room may have sent more.
        self.core.commit(self.now);
        self.core.take_dirty(&mut self.dirty);
        self.post_mail();
        self.end_turn();
    }

    fn handle_readiness(&mut self, index: u32, event: &Readiness) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        connection.is_read_closed |= event.is_read_closed();
        if event.is_error() {
            connection.is_paused = false;
            connection.is_throttled = false;
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.read(index);
        }
        if event.is_writable() {
            self.handle_room(index);
        }
    }

    fn open_mail(&mut self) {
        let mut letters = mem::take(&mut self.letters);
        self.neighbours.mailboxes[usize::from(self.index)].open(&mut letters);
        for letter in letters.drain(..) {
            match letter {
                Letter::Accepted(arrival) => {
                    self.adopt(arrival);
                }
                Letter::HandedOver(arrival, bytes, ticket) => {
                    if let Some(index) = self.adopt(arrival) {
                        match ticket {
                            Some(ticket) => self.let_in_whole(index, &bytes, *ticket),
                            None => self.feed(index, &bytes),
                        }
                        self.settle_layers(index);
                    }
                }
                Letter::Verdict { index, serial, verdict, gate } => {
                    self.take_verdict((index, serial), verdict, gate);
                }
                Letter::NewRules => self.core.renew_permissions(),
                Letter::InForce(in_force, opened) => self.go_by(in_force, opened),
                Letter::CloseDoors(doors, is_begun, done) => {
                    if let Some(acceptor) = &mut self.acceptor
                        && !is_begun.swap(true, Ordering::Relaxed)
                    {
                        acceptor.close(&doors, self.poll.registry());
                    }
                    // Whoever waits for it may have stopped waiting.
                    let _ = done.send(());
                }
                Letter::Mail(mail) => self.core.receive(mail, self.now),
                Letter::Ask(ask) => self.asks.push_back(ask),
                Letter::Survey(surveying) => self.surveys.push_back(surveying),
                Letter::Ease(easing) => self.ease(&easing),
                Letter::PutOut(banned, done) => {
                    // Whoever waits for it may have stopped waiting.
                    let _ = done.send(self.put_out(&banned));
                }
                Letter::PublishWills(done) => {
                    self.acceptor = None;
                    self.core.publish_wills_for_shutdown(self.now);
                    self.wills_published = Some(done);
                }
                Letter::Stop => self.stop(),
            }
        }
        self.letters = letters;
    }

    /// Goes by what is in force now. What began before is not ended by it.
    fn go_by(&mut self, in_force: Arc<InForce>, opened: Vec<Bound>) {
        let limits = in_force.limits;
        let before = std::mem::replace(&mut self.in_force, in_force);
        self.renew_meters(&before.turnstile);
        if !Arc::ptr_eq(&before.gate, &self.in_force.gate) {
            self.end_renewals();
        }
        self.core.renew_limits(self.now);
        let core_limits = self.core.shared().limits();
        self.packet_size_max = core_limits.packet_size_max;
        self.answers_bytes_max = core_limits.out_buffer_bytes_max.try_into().unwrap_or(u32::MAX);
        self.to_connect.set_time(limits.connect_timeout_ms, self.now);
        self.to_close.set_time(limits.close_timeout_ms, self.now);
        if let Some(acceptor) = &mut self.acceptor {
            acceptor.set_limits(limits.connections_max, limits.connect_rate_max);
            acceptor.attend(&self.in_force.doors, opened, self.poll.registry());
        }
    }

    fn stop(&mut self) {
        self.is_stopping = true;
        self.core.disconnect_all(self.now);
        self.apply_closes();
        let opening = self.connections.iter().filter(|(_, c)| c.is_opening());
        let opening: Vec<_> = opening.map(|(index, _)| index as u32).collect();
        opening.into_iter().for_each(|index| self.forget(index));
    }

    /// Lets those in who wait at the door, as many as one turn should take.
    fn accept(&mut self) {
        let Some(mut acceptor) = self.acceptor.take() else { return };
        for _ in 0..ACCEPTS_PER_TURN {
            match acceptor.accept(self.now, self.in_force.turnstile.excess(), &self.neighbours.loads) {
                Accepted::Full(peer) => {
                    let why = Cause::TooManyConnections.to_string();
                    self.core.turned_away(peer.into(), None, &why, self.now);
                }
                Accepted::Connection(arrival, worker) if worker == self.index => {
                    self.adopt(arrival);
                }
                Accepted::Connection(arrival, worker) => {
                    self.neighbours.mailboxes[usize::from(worker)].post(Letter::Accepted(arrival));
                }
                Accepted::Closed => {}
                Accepted::Nobody => break,
            }
        }
        self.acceptor = Some(acceptor);
    }

    /// Takes a transport as this worker's own. Its place in the load is counted already.
    fn adopt(&mut self, mut arrival: Arrival) -> Option<u32> {
        let entry = self.connections.vacant_entry();
        let token = Token(entry.key());
        let registered = self.poll.registry().register(&mut arrival.transport, token, Interest::READABLE);
        if self.is_stopping || registered.is_err() {
            self.neighbours.loads[usize::from(self.index)].fetch_sub(1, Ordering::Relaxed);
            arrival.door.leave();
            return None;
        }
        self.serial = self.serial.wrapping_add(1);
        entry.insert(Connection::new(arrival, self.serial));
        if let Some(meter) = self.meters.get_mut(token.0) {
            *meter = None;
        }
        self.to_connect.set(self.now, token.0 as u32, self.serial);
        Some(token.0 as u32)
    }

    /// Does what has come due.
    fn expire(&mut self) {
        if self.core.next_deadline().is_some_and(|at| at <= self.now) {
            if self.index == 0 {
                // The first worker's ticks are where `$SYS` is told.
                self.core.shared().memory_bytes.store(memory::resident_bytes(), Ordering::Relaxed);
            }
            self.core.tick(self.now);
        }
        while let Some(deadline) = self.to_connect.due(self.now) {
            if is_opening(&self.connections, &deadline) {
                self.give_up_opening(deadline.index);
            }
        }
        while let Some(index) = self.to_expire.due(self.now) {
            if let Some(key) = self.connections.get(index as usize).and_then(Connection::session) {
                self.core.disconnect(key, siskin_core::Cause::AuthorizationExpired, self.now);
            }
        }
        self.resume_throttled();
        if let Some(count) = self.turned_away.owed(self.now) {
            report::more_turned_away(count);
        }
        while let Some(deadline) = self.to_close.due(self.now) {
            if is_closing(&self.connections, &deadline) {
                self.forget(deadline.index);
            }
        }
    }

    fn post_mail(&mut self) {
        for (worker, mailbox) in (0..).zip(&self.neighbours.mailboxes) {
            if worker != self.index
                && let Some(mail) = self.core.take_mail(worker)
            {
                mailbox.post(Letter::Mail(mail));
            }
        }
        if let Some(done) = self.wills_published.take() {
            // Whoever waits for it may have stopped waiting.
            let _ = done.send(());
        }
    }

    /// Tells what happened, then lets go of those that are no longer ours.
    fn end_turn(&mut self) {
        self.core.take_events(&mut self.events);
        for event in self.events.drain(..) {
            let peer = match &event {
                Event::Connected { connection, .. } | Event::Disconnected { connection, .. } => {
                    self.connections.get(*connection as usize).map(|connection| connection.peer)
                }
                _ => None,
            };
            report::event(&event, peer);
        }
        let load = &self.neighbours.loads[usize::from(self.index)];
        for index in self.gone.drain(..) {
            let connection = self.connections.remove(index as usize);
            self.to_expire.remove(index);
            self.renewals.remove(&index);
            self.user_names.remove(&index);
            connection.door.leave();
            load.fetch_sub(1, Ordering::Relaxed);
        }
        for Leaving { index, worker, bytes, ticket } in self.leaving.drain(..) {
            let Connection { mut transport, peer, door, .. } = self.connections.remove(index as usize);
            load.fetch_sub(1, Ordering::Relaxed);
            let target = usize::from(worker);
            // Without this the old poll would go on reporting a socket that lives on elsewhere.
            if self.poll.registry().deregister(&mut transport).is_err() {
                door.leave();
                continue;
            }
            self.neighbours.loads[target].fetch_add(1, Ordering::Relaxed);
            let arrival = Arrival { transport, peer, door };
            self.neighbours.mailboxes[target].post(Letter::HandedOver(arrival, bytes, ticket));
        }
    }

    /// How long nothing is to be done but to wait for events.
    fn timeout(&mut self, now: Now) -> Option<Duration> {
        let has_more = !self.dirty.is_empty()
            || !self.continuing.is_empty()
            || !self.owing.is_empty()
            || !self.asks.is_empty()
            || !self.surveys.is_empty();
        if has_more {
            return Some(Duration::ZERO);
        }
        let connections = &self.connections;
        let next = [
            self.core.next_deadline(),
            self.to_connect.next(|deadline| !is_opening(connections, deadline)),
            self.to_close.next(|deadline| !is_closing(connections, deadline)),
            self.to_expire.next(),
            self.acceptor.as_ref().and_then(|acceptor| acceptor.next_deadline(now)),
            self.turned_away.next(),
            self.throttled.peek().map(|Reverse(throttled)| throttled.until),
        ];
        let next = next.into_iter().flatten().min()?;
        Some(Duration::from_millis(next.ms_since(now)))
    }

    /// Records and logs that a transport is not let in.
    fn turn_away(&mut self, index: u32, client_id: Option<&str>, cause: &dyn fmt::Display) {
        let Some(connection) = self.connections.get(index as usize) else { return };
        self.core.turned_away(connection.peer.into(), client_id, &cause.to_string(), self.now);
        self.report_turned_away(index, client_id, cause);
    }

    /// Logs that a transport is not let in.
    fn report_turned_away(&mut self, index: u32, client_id: Option<&str>, cause: &dyn fmt::Display) {
        let Some(connection) = self.connections.get(index as usize) else { return };
        if let Some(count) = self.turned_away.pass(self.now) {
            report::turned_away(connection.peer, client_id, cause, count);
        }
    }

    /// The connection ends here and now, without another byte.
    fn forget(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        if !matches!(connection.phase, Phase::Gone | Phase::Leaving) {
            connection.phase = Phase::Gone;
            self.gone.push(index);
            self.drop_partial(index);
        }
    }

    /// Reads those again that were too far ahead of the store and are no longer.
    fn resume_ahead(&mut self) {
        for index in mem::take(&mut self.ahead) {
            let Some(connection) = self.connections.get_mut(index as usize) else { continue };
            if connection.session().is_some_and(|key| self.core.is_ahead(key)) {
                self.ahead.push(index);
            } else if mem::replace(&mut connection.is_ahead, false) {
                self.read_again(index);
            }
        }
    }

    /// Reads the connection again in the next turn, if it is still ours then.
    fn read_again(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let is_ours = !matches!(connection.phase, Phase::Gone | Phase::Leaving);
        if is_ours && !mem::replace(&mut connection.continues, true) {
            self.continuing.push(index);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.neighbours.mailboxes[usize::from(self.index)].close();
    }
}

fn is_opening(connections: &Slab<Connection>, deadline: &Deadline) -> bool {
    is_in(connections, deadline, |phase| matches!(phase, Phase::Opening | Phase::Identifying(_)))
}

fn is_closing(connections: &Slab<Connection>, deadline: &Deadline) -> bool {
    is_in(connections, deadline, |phase| matches!(phase, Phase::Closing(_)))
}

fn is_in(connections: &Slab<Connection>, deadline: &Deadline, is: fn(&Phase) -> bool) -> bool {
    connections
        .get(deadline.index as usize)
        .is_some_and(|connection| connection.serial == deadline.serial && is(&connection.phase))
}

/// Connections let in by one turn.
const ACCEPTS_PER_TURN: usize = 64;

/// Events fetched by one system call.
const EVENTS_PER_TURN: usize = 1024;
