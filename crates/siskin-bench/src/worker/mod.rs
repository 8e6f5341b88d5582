//! A thread that drives its share of the clients, stage by stage.

mod cause;
mod client;
mod desk;
mod flights;
mod publisher;
mod stage;
mod subscriber;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

use mio::event::Event;
use mio::{Events, Poll, Token};

use crate::clock::{MILLISECOND_NS, SECOND_NS};
use crate::error::BenchError;
use crate::plan::Role;
use crate::schedule::Schedule;
use crate::shared::{STOP, Shared};
use crate::steps::{Session, Step};
use crate::tally::Outcome;
use crate::timer::Timer;

use cause::Cause;
use client::{Client, End, Phase};
use desk::Desk;
use publisher::Publisher;
use subscriber::Subscriber;

/// Somebody else has news for this thread.
pub(crate) const WAKER: Token = Token(usize::MAX);

const TIMER: Token = Token(usize::MAX - 1);

pub(crate) struct Worker {
    index: usize,
    threads: usize,
    poll: Poll,
    timer: Timer,
    desk: Desk,
    /// Subscribers, then publishers. Client `n` of a role is on thread `n % threads`.
    clients: Vec<Client>,
    /// Where the publishers begin.
    publishers_at: usize,
    buffer: Vec<u8>,
    /// Those to be read, or to go on publishing, without being asked.
    unread: VecDeque<usize>,
    unsent: VecDeque<usize>,
    stage: Option<usize>,
    began_ns: u64,
    /// When publishing ends.
    deadline_ns: u64,
    /// Those that this step is about and that it has not come to.
    to_open: VecDeque<usize>,
    session: Session,
    opened: u64,
    /// Publishers that are not done with this step.
    busy: usize,
    /// In open loop: the place of the publisher whose message is due next.
    next_due: usize,
    cycles_left: u64,
    failed_cycles: u64,
    ticked_ns: u64,
    is_done: bool,
    done: Sender<Done>,
}

/// A thread is through with a stage.
pub(crate) struct Done {
    pub(crate) stage: usize,
}

impl Worker {
    pub(crate) fn new(
        index: usize,
        poll: Poll,
        shared: Arc<Shared>,
        done: Sender<Done>,
    ) -> Result<Self, BenchError> {
        let threads = shared.live.len();
        let mut clients = Vec::new();
        for number in (index as u32..shared.plan.subscribers).step_by(threads) {
            let subscriber = Subscriber::new(&shared.plan.streams[number as usize]);
            clients.push(Client::new(number, End::Subscriber(Box::new(subscriber))));
        }
        let publishers_at = clients.len();
        for number in (index as u32..shared.plan.publishers).step_by(threads) {
            let publisher = Publisher::new(&shared.plan, number)?;
            clients.push(Client::new(number, End::Publisher(Box::new(publisher))));
        }
        let mut desk = Desk::new(shared);
        desk.phases[Phase::Away as usize] = clients.len() as u32;
        Ok(Self {
            index,
            threads,
            timer: Timer::new(poll.registry(), TIMER)?,
            poll,
            desk,
            clients,
            publishers_at,
            buffer: vec![0; READ_BYTES],
            unread: VecDeque::new(),
            unsent: VecDeque::new(),
            stage: None,
            began_ns: 0,
            deadline_ns: u64::MAX,
            to_open: VecDeque::new(),
            session: Session::Plain,
            opened: 0,
            busy: 0,
            next_due: 0,
            cycles_left: 0,
            failed_cycles: 0,
            ticked_ns: 0,
            is_done: false,
            done,
        })
    }

    /// Works until the run is over.
    pub(crate) fn run(mut self) -> io::Result<Outcome> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        loop {
            let timeout = self.timeout()?;
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.desk.tick();
            let stage = self.desk.shared.stage.load(Ordering::Acquire);
            if stage == STOP {
                return Ok(self.outcome());
            }
            if self.stage != Some(stage) && stage < self.desk.plan().stages.len() {
                self.enter(stage);
            }
            self.turn(&events);
        }
    }

    fn turn(&mut self, events: &Events) {
        for event in events {
            match event.token() {
                WAKER | TIMER => {}
                token => self.handle_event(token.0, event),
            }
        }
        for _ in 0..self.unread.len() {
            if let Some(index) = self.unread.pop_front() {
                self.read(index);
            }
        }
        for _ in 0..self.unsent.len() {
            if let Some(index) = self.unsent.pop_front() {
                self.pump(index);
            }
        }
        self.open_mail();
        self.advance();
        self.post_arrivals();
        self.show();
        self.report();
    }

    fn handle_event(&mut self, index: usize, event: &Event) {
        if event.is_writable() || event.is_error() {
            let before = self.clients[index].phase;
            let result = self.clients[index].handle_writable(&mut self.desk);
            self.settle(index, before, result);
            if self.clients[index].is_busy {
                self.pump(index);
            }
        }
        if event.is_readable() || event.is_read_closed() {
            self.clients[index].is_read_closed |= event.is_read_closed();
            self.read(index);
        }
    }

    fn read(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let before = client.phase;
        if matches!(before, Phase::Away | Phase::Failed | Phase::Connecting) {
            return;
        }
        let result = client.read(&mut self.desk, &mut self.buffer);
        if matches!(result, Ok(true)) {
            self.unread.push_back(index);
        }
        self.settle(index, before, result.map(drop));
        if self.clients[index].is_busy {
            self.pump(index);
        }
    }

    /// Lets a publisher send what it may.
    fn pump(&mut self, index: usize) {
        let before = self.clients[index].phase;
        if before != Phase::Ready {
            return;
        }
        self.desk.tick();
        let result = self.clients[index].pump(&mut self.desk);
        if matches!(result, Ok(true)) {
            self.unsent.push_back(index);
        }
        self.settle(index, before, result.map(drop));
    }

    /// Draws the conclusions from what happened to a client.
    fn settle(&mut self, index: usize, before: Phase, result: Result<(), Cause>) {
        let client = &mut self.clients[index];
        if let Err(cause) = result {
            client.close(&cause, &mut self.desk);
        }
        let is_cycling = self.desk.step == Step::Cycle && client.role == Role::Publisher;
        let phase = client.phase;
        match phase {
            Phase::Ready if is_cycling && before != Phase::Ready => self.begin_burst(index),
            Phase::Ready if client.is_busy && client.is_finished() => self.finish(index),
            Phase::Away | Phase::Failed if before != phase => {
                if mem::take(&mut client.is_busy) {
                    self.busy -= 1;
                }
                if is_cycling {
                    self.end_cycle(index);
                }
            }
            _ => {}
        }
    }

    /// A publisher has nothing left to do in this step.
    fn finish(&mut self, index: usize) {
        let client = &mut self.clients[index];
        client.is_busy = false;
        self.busy -= 1;
        if self.desk.step == Step::Cycle {
            let result = client.leave(&mut self.desk);
            self.settle(index, Phase::Ready, result);
        }
    }

    /// Publishers of this thread whose messages arrived elsewhere.
    fn open_mail(&mut self) {
        let publishers = {
            let mailbox = &self.desk.shared.mailboxes[self.index];
            let mut publishers = mailbox.publishers.lock().expect("nobody panics while holding it");
            mem::take(&mut *publishers)
        };
        for publisher in publishers {
            self.credit(publisher);
        }
    }

    fn credit(&mut self, publisher: u32) {
        let arrived = self.desk.shared.arrived[publisher as usize].load(Ordering::Relaxed);
        let index = self.publishers_at + publisher as usize / self.threads;
        let now_ns = self.desk.now_ns;
        if let Some(publisher) = self.clients[index].publisher() {
            publisher.set_arrived(arrived, now_ns);
        }
        if self.clients[index].is_busy {
            self.pump(index);
        }
    }

    /// Tells the windows what has arrived in this turn.
    fn post_arrivals(&mut self) {
        let mut woken = 0_u64;
        while let Some((publisher, count)) = self.desk.take_arrival() {
            self.desk.shared.arrived[publisher as usize].fetch_add(count.into(), Ordering::Relaxed);
            let owner = publisher as usize % self.threads;
            if owner == self.index {
                self.credit(publisher);
                continue;
            }
            let mailbox = &self.desk.shared.mailboxes[owner];
            mailbox.publishers.lock().expect("nobody panics while holding it").push(publisher);
            woken |= 1 << (owner % 64);
        }
        for (owner, mailbox) in self.desk.shared.mailboxes.iter().enumerate() {
            if woken & 1 << (owner % 64) != 0 {
                // If it is not woken it looks by itself a little later.
                let _ = mailbox.waker.wake();
            }
        }
    }

    fn show(&self) {
        let live = &self.desk.shared.live[self.index];
        live.show(&self.desk.tally.counts, self.desk.count(&[Phase::Ready]).into());
        live.last_arrival_ns.store(self.desk.last_arrival_ns, Ordering::Relaxed);
        live.last_done_ns.store(self.desk.last_done_ns, Ordering::Relaxed);
    }

    fn report(&mut self) {
        if let (Some(stage), false) = (self.stage, self.is_done)
            && self.is_through()
        {
            self.is_done = true;
            // Nobody listens any more if the run was given up.
            let _ = self.done.send(Done { stage });
        }
    }

    fn outcome(mut self) -> Outcome {
        let mut sent = Vec::new();
        let mut heard = Vec::new();
        let mut unacknowledged = 0;
        for client in &mut self.clients {
            match &mut client.end {
                End::Publisher(publisher) => {
                    sent.push(publisher.sent());
                    unacknowledged += publisher.unacknowledged();
                }
                End::Subscriber(subscriber) => heard.extend(subscriber.heard()),
            }
        }
        Outcome { tally: self.desk.tally, sent, heard, groups: self.desk.groups, unacknowledged }
    }

    /// How long the poll may wait at most.
    fn timeout(&mut self) -> io::Result<Duration> {
        if !self.unread.is_empty() || !self.unsent.is_empty() {
            return Ok(Duration::ZERO);
        }
        let now = self.desk.now_ns;
        let mut until = now + TICK_NS;
        if self.deadline_ns > now {
            until = until.min(self.deadline_ns);
        }
        if let Some(due) = self.next_open_ns() {
            until = until.min(due);
        }
        if let Some(due) = self.next_due_ns() {
            self.timer.set(due)?;
        }
        Ok(Duration::from_nanos(until.saturating_sub(now)))
    }

    /// When the next message is due, in open loop.
    fn next_due_ns(&mut self) -> Option<u64> {
        let rate_per_s = self.desk.plan().rate_per_s?;
        if self.desk.step != Step::Publish || self.busy == 0 {
            return None;
        }
        let schedule = Schedule::new(self.began_ns, rate_per_s, self.desk.plan().publishers);
        let client = self.clients.get_mut(self.publishers_at + self.next_due)?;
        let number = client.number;
        // If this one is at its end, so are all behind it: they have as many messages, or one less.
        let due = schedule.due_ns(number, client.publisher()?.next_due()?);
        (due < self.deadline_ns).then_some(due)
    }
}

/// One read asks for so many bytes.
const READ_BYTES: usize = 256 * 1024;

const EVENTS_PER_TURN: usize = 1024;

/// How often a thread looks around although nothing happens.
const TICK_NS: u64 = 100 * MILLISECOND_NS;

/// How long a broker may take to close after DISCONNECT.
const LEAVE_NS: u64 = SECOND_NS;

/// How long a broker may take to answer CONNECT or SUBSCRIBE.
const ANSWER_NS: u64 = 20 * SECOND_NS;
