//! What a thread does at the beginning of a stage, while it lasts, and how it knows that it is over.

use std::sync::atomic::Ordering;

use mio::Token;

use super::cause::Cause;
use super::client::Phase;
use super::{ANSWER_NS, LEAVE_NS, TICK_NS, Worker};
use crate::clock::SECOND_NS;
use crate::plan::Role;
use crate::schedule::Schedule;
use crate::steps::{Session, Step};

impl Worker {
    pub(super) fn enter(&mut self, stage: usize) {
        let step = self.desk.plan().stages[stage].step;
        self.stage = Some(stage);
        self.is_done = false;
        self.desk.step = step;
        self.began_ns = self.desk.shared.stage_began_ns.load(Ordering::Acquire);
        self.deadline_ns = u64::MAX;
        self.opened = 0;
        self.busy = 0;
        match step {
            Step::Connect(role, session) => {
                self.session = session;
                self.to_open = self.of_role(role).filter(|index| self.is_in(*index, Phase::Away)).collect();
            }
            Step::Publish => self.begin_publishing(),
            Step::Clear => self.begin_clearing(),
            Step::Cycle => self.begin_cycles(),
            Step::Settle(role) => self.for_ready(role, |worker, index| {
                let result = worker.clients[index].ping(&mut worker.desk);
                worker.settle(index, Phase::Ready, result);
            }),
            Step::Leave(role) => self.for_ready(role, |worker, index| {
                let result = worker.clients[index].leave(&mut worker.desk);
                worker.settle(index, Phase::Ready, result);
            }),
            Step::Drain | Step::Hold => {}
        }
    }

    /// Whether this thread has nothing left to do in this stage. Waiting is not its to end.
    pub(super) fn is_through(&self) -> bool {
        let desk = &self.desk;
        match desk.step {
            Step::Connect(..) => self.to_open.is_empty() && self.connecting() == 0,
            Step::Publish | Step::Clear => self.busy == 0,
            Step::Cycle => {
                let open = [Phase::Connecting, Phase::Opening, Phase::Leaving];
                desk.count(&open) == 0 && self.busy == 0 && !self.may_cycle()
            }
            Step::Settle(_) => desk.pings == 0,
            Step::Leave(_) => desk.count(&[Phase::Leaving]) == 0,
            Step::Drain | Step::Hold => false,
        }
    }

    /// What time brings.
    pub(super) fn advance(&mut self) {
        self.desk.tick();
        self.open_more();
        self.publish_due();
        let now = self.desk.now_ns;
        if now >= self.deadline_ns && matches!(self.desk.step, Step::Publish) && self.busy > 0 {
            let deadline_ns = std::mem::replace(&mut self.deadline_ns, u64::MAX);
            self.for_publishers(|worker, index| {
                if let Some(publisher) = worker.clients[index].publisher() {
                    publisher.stop(deadline_ns);
                }
                if worker.clients[index].is_busy {
                    worker.pump(index);
                }
            });
        }
        if now.saturating_sub(self.ticked_ns) >= TICK_NS {
            self.ticked_ns = now;
            self.look_around();
        }
    }

    /// When the next connection may be opened, if one is to be opened and time alone holds it back.
    pub(super) fn next_open_ns(&self) -> Option<u64> {
        let rate_per_s = self.desk.plan().connect_rate_per_s?;
        let is_wanted = !self.to_open.is_empty() && self.connecting() < self.connecting_max();
        let is_wanted = is_wanted && (self.desk.step != Step::Cycle || self.may_cycle());
        is_wanted.then(|| {
            let schedule = Schedule::new(self.began_ns, rate_per_s, self.threads as u32);
            schedule.due_ns(self.index as u32, self.opened)
        })
    }

    fn open_more(&mut self) {
        while !self.to_open.is_empty() && self.connecting() < self.connecting_max() {
            if self.next_open_ns().is_some_and(|due| due > self.desk.now_ns) {
                return;
            }
            if self.desk.step == Step::Cycle {
                if !self.may_cycle() {
                    return;
                }
                self.cycles_left -= 1;
            }
            let Some(index) = self.to_open.pop_front() else { return };
            self.opened += 1;
            self.desk.tick();
            let (session, token) = (self.session, Token(index));
            let registry = self.poll.registry();
            let result = self.clients[index].open(session, registry, token, &mut self.desk);
            self.settle(index, Phase::Away, result);
        }
    }

    fn connecting(&self) -> u32 {
        self.desk.count(&[Phase::Connecting, Phase::Opening, Phase::Subscribing])
    }

    /// This thread's share, at least one.
    fn connecting_max(&self) -> u32 {
        self.desk.plan().connecting_max.div_ceil(self.threads as u32)
    }

    fn begin_publishing(&mut self) {
        let plan = &self.desk.shared.plan;
        if let Some(duration) = plan.duration {
            self.deadline_ns = self.began_ns + duration.as_nanos() as u64;
        }
        let schedule = plan.rate_per_s.map(|rate| Schedule::new(self.began_ns, rate, plan.publishers));
        self.next_due = 0;
        self.for_publishers(move |worker, index| {
            let client = &mut worker.clients[index];
            let count = worker.desk.plan().messages_of(client.number);
            let now_ns = worker.desk.now_ns;
            if let Some(publisher) = client.publisher() {
                publisher.begin(count, schedule, now_ns);
            }
            if client.phase == Phase::Ready && count > 0 {
                client.is_busy = true;
                worker.busy += 1;
                worker.pump(index);
            }
        });
    }

    fn begin_clearing(&mut self) {
        self.for_publishers(|worker, index| {
            let client = &mut worker.clients[index];
            if client.phase != Phase::Ready {
                return;
            }
            let plan = &worker.desk.shared.plan;
            let is_begun = client.publisher().is_some_and(|publisher| publisher.begin_clearing(plan).is_ok());
            if is_begun {
                client.is_busy = true;
                worker.busy += 1;
                worker.pump(index);
            }
        });
    }

    /// Marks the messages that are due by now, and sends them; at most so many that a turn has an end.
    fn publish_due(&mut self) {
        for _ in 0..DUE_PER_TURN {
            let Some(due) = self.next_due_ns() else { return };
            if due > self.desk.now_ns {
                return;
            }
            let index = self.publishers_at + self.next_due;
            self.next_due = (self.next_due + 1) % (self.clients.len() - self.publishers_at);
            if let Some(publisher) = self.clients[index].publisher() {
                publisher.add_due();
            }
            if self.clients[index].is_busy {
                self.pump(index);
            }
        }
    }

    fn begin_cycles(&mut self) {
        let plan = &self.desk.shared.plan;
        if let Some(duration) = plan.duration {
            self.deadline_ns = self.began_ns + duration.as_nanos() as u64;
        }
        let threads = self.threads as u64;
        let share = |all: u64| all / threads + u64::from((self.index as u64) < all % threads);
        self.cycles_left = plan.cycles.map_or(u64::MAX, share);
        self.session = Session::Plain;
        self.to_open = self.of_role(Role::Publisher).collect();
    }

    fn may_cycle(&self) -> bool {
        // A thread without a client of its own has nothing to do.
        let has_clients = self.clients.len() > self.publishers_at;
        self.cycles_left > 0 && self.desk.now_ns < self.deadline_ns && has_clients
    }

    /// A connection stands: its messages, if there are any, go out.
    pub(super) fn begin_burst(&mut self, index: usize) {
        let (each, now_ns) = (self.desk.plan().each, self.desk.now_ns);
        let client = &mut self.clients[index];
        client.is_busy = true;
        self.busy += 1;
        if let Some(publisher) = client.publisher() {
            publisher.begin(each.into(), None, now_ns);
        }
        self.pump(index);
    }

    /// A connection is over, and the client may begin another.
    pub(super) fn end_cycle(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.phase == Phase::Away {
            self.desk.tally.counts.cycles += 1;
            self.desk.last_done_ns = self.desk.now_ns;
        } else {
            client.set_phase(Phase::Away, &mut self.desk);
            self.failed_cycles += 1;
            let all = (self.clients.len() - self.publishers_at) as u64;
            if self.desk.tally.counts.cycles == 0 && self.failed_cycles >= all {
                // Nobody gets in: enough is known.
                self.cycles_left = 0;
            }
        }
        self.to_open.push_back(index);
    }

    /// Rare things: time limits, keep alive, windows that wait for what will not come.
    fn look_around(&mut self) {
        let now = self.desk.now_ns;
        let ping_after_ns = match self.desk.keep_alive_s {
            0 => u64::MAX,
            seconds => u64::from(seconds) * SECOND_NS / 2,
        };
        for index in 0..self.clients.len() {
            let client = &mut self.clients[index];
            let age = now.saturating_sub(client.since_ns);
            match client.phase {
                Phase::Connecting | Phase::Opening | Phase::Subscribing if age > ANSWER_NS => {
                    let before = client.phase;
                    self.settle(index, before, Err(Cause::TimedOut));
                }
                Phase::Leaving if age > LEAVE_NS => self.settle(index, Phase::Leaving, Err(Cause::TimedOut)),
                Phase::Ready if age > ping_after_ns => {
                    let result = client.ping(&mut self.desk);
                    self.settle(index, Phase::Ready, result);
                }
                Phase::Ready if client.is_busy => {
                    let written_off = client.publisher().map_or(0, |publisher| publisher.write_off(now));
                    self.desk.tally.counts.written_off += written_off;
                    if written_off > 0 {
                        self.pump(index);
                    }
                }
                _ => {}
            }
        }
    }

    fn is_in(&self, index: usize, phase: Phase) -> bool {
        self.clients[index].phase == phase
    }

    fn of_role(&self, role: Role) -> std::ops::Range<usize> {
        match role {
            Role::Subscriber => 0..self.publishers_at,
            Role::Publisher => self.publishers_at..self.clients.len(),
        }
    }

    fn for_publishers(&mut self, each: impl Fn(&mut Self, usize)) {
        for index in self.of_role(Role::Publisher) {
            each(self, index);
        }
    }

    fn for_ready(&mut self, role: Role, each: impl Fn(&mut Self, usize)) {
        for index in self.of_role(role) {
            if self.is_in(index, Phase::Ready) {
                each(self, index);
            }
        }
    }
}

/// Messages that become due in one turn at most. What is left is due in the next.
const DUE_PER_TURN: usize = 4096;
