//! Carries a plan out: starts the threads, leads them from stage to stage, and gathers what they found.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::{Poll, Waker};

use crate::clock::{SECOND_NS, now_ns};
use crate::error::BenchError;
use crate::open_files;
use crate::plan::{Plan, Role};
use crate::procfs::{self, Usage};
use crate::report::{BrokerUse, CutShort, Report, Settings, StageReport};
use crate::scenario::Scenario;
use crate::shared::{Live, Mailbox, STOP, Shared, Sum};
use crate::steps::{Stage, Step};
use crate::tally::{Heard, Losses, Outcome, Sent, Tally, losses};
use crate::worker::{Done, WAKER, Worker};

/// Where a run stands.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is being done.
    pub stage: &'static str,
    /// Since the beginning of the run.
    pub elapsed: Duration,
    /// How much of what is being done is done, from 0 to 1, where that can be told.
    pub done: Option<f64>,
    /// Connections that stand.
    pub connected: u64,
    /// Connections that have come and left.
    pub cycles: u64,
    /// Messages published.
    pub sent: u64,
    /// Copies that arrived.
    pub received: u64,
    /// Messages published in the last second.
    pub sent_per_s: f64,
    /// Copies that arrived in the last second.
    pub received_per_s: f64,
}

/// Carries out `plan`. About every second `watch` is told how it goes.
///
/// Blocks until all is done, the plan's time limit is over, or whoever made it sets [`Options::stop`](crate::Options::stop).
/// What goes wrong on the way stands in the
/// report; an error means that there was no run.
pub fn run(plan: Plan, watch: &mut dyn FnMut(&Progress)) -> Result<Report, BenchError> {
    let target = resolve(&plan.host, plan.port)?;
    open_files::reserve(u64::from(plan.publishers) + u64::from(plan.subscribers), plan.threads)?;
    let before = look(plan.pid)?;
    let settings = Settings::of(&plan, target);
    let crew = Crew::start(plan, target)?;
    let mut lead = Lead::new(&crew, before, watch);
    let ended = lead.through_all_stages();
    let (stages, broker, has_drained) = (lead.stages, lead.broker, lead.has_drained);
    let (shared, outcomes) = crew.stop()?;
    let gathered = gather(&shared.plan, outcomes, has_drained);
    let cut_short = match ended {
        Ended::Through => None,
        Ended::Missing { missing, wanted } if !stages.iter().any(StageReport::says_something) => {
            let problems = gathered.tally.problems.into_list();
            return Err(BenchError::Connections { target, missing, wanted, problems });
        }
        Ended::Missing { missing, wanted } => Some(CutShort::Missing { missing, wanted }),
        Ended::Stopped => Some(CutShort::Stopped),
        Ended::TimedOut => Some(CutShort::TimedOut),
    };
    Ok(Report::new(settings, &shared.plan, stages, broker, cut_short, gathered))
}

/// What all threads found.
pub(crate) struct Gathered {
    pub(crate) tally: Tally,
    /// None if nobody has waited until what was on its way had arrived.
    pub(crate) losses: Option<Losses>,
    pub(crate) unacknowledged: u64,
}

fn gather(plan: &Plan, outcomes: Vec<Outcome>, has_drained: bool) -> Gathered {
    let mut tally = Tally::new();
    let mut sent = Vec::new();
    let mut heard: Vec<Heard> = Vec::new();
    let mut groups = Vec::new();
    let mut unacknowledged = 0;
    for outcome in outcomes {
        tally.merge(outcome.tally);
        sent.extend(outcome.sent);
        heard.extend(outcome.heard);
        groups.push(outcome.groups);
        unacknowledged += outcome.unacknowledged;
    }
    if !publishes(plan) {
        // Another run has sent them.
        let stored = |publisher| Sent { sent: plan.messages_of(publisher), ..Sent::of(publisher) };
        sent = (0..plan.publishers).map(stored).collect();
    }
    tally.counts.expected += foreseen(plan);
    let mut all = if plan.accounts {
        losses(&sent, &heard, groups)
    } else {
        Losses { lost: tally.counts.expected.saturating_sub(tally.counts.received), duplicated: 0 }
    };
    // What several members of a shared subscription got came once too often for all but the first.
    all.duplicated = all.duplicated.min(tally.counts.received);
    tally.counts.received -= all.duplicated;
    tally.counts.duplicated += all.duplicated;
    Gathered { tally, losses: has_drained.then_some(all), unacknowledged }
}

/// Whether this run sends what it receives.
fn publishes(plan: &Plan) -> bool {
    plan.stages.iter().any(|stage| matches!(stage.step, Step::Publish | Step::Cycle))
}

/// Copies that an earlier run stored.
fn foreseen(plan: &Plan) -> u64 {
    if publishes(plan) {
        return 0;
    }
    let of = |(publisher, copies): (u32, &u32)| plan.messages_of(publisher).saturating_mul((*copies).into());
    (0..).zip(&plan.copies).map(of).sum()
}

/// The threads of a run.
struct Crew {
    shared: Arc<Shared>,
    done: Receiver<Done>,
    threads: Vec<JoinHandle<io::Result<Outcome>>>,
}

impl Crew {
    fn start(plan: Plan, target: SocketAddr) -> Result<Self, BenchError> {
        let mut polls = Vec::new();
        let mut mailboxes = Vec::new();
        for _ in 0..plan.threads {
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), WAKER)?;
            mailboxes.push(Mailbox { publishers: Mutex::default(), waker });
            polls.push(poll);
        }
        let shared = Arc::new(Shared {
            target,
            // No stage yet.
            stage: AtomicUsize::new(STOP - 1),
            stage_began_ns: AtomicU64::new(0),
            live: (0..plan.threads).map(|_| Live::default()).collect(),
            arrived: (0..plan.publishers).map(|_| AtomicU64::new(0)).collect(),
            mailboxes,
            filler: vec![b'.'; plan.payload_bytes],
            plan,
        });
        let (sender, done) = channel();
        let mut workers = Vec::new();
        for (index, poll) in polls.into_iter().enumerate() {
            workers.push(Worker::new(index, poll, Arc::clone(&shared), sender.clone())?);
        }
        let mut threads = Vec::new();
        for (index, worker) in workers.into_iter().enumerate() {
            let name = format!("bench-{index}");
            threads.push(thread::Builder::new().name(name).spawn(|| worker.run())?);
        }
        Ok(Self { shared, done, threads })
    }

    fn stop(self) -> Result<(Arc<Shared>, Vec<Outcome>), BenchError> {
        self.shared.enter(STOP);
        let mut outcomes = Vec::new();
        for thread in self.threads {
            let outcome = thread.join().map_err(|_| io::Error::other("a thread of the tool failed"))?;
            outcomes.push(outcome?);
        }
        Ok((self.shared, outcomes))
    }
}

/// Leads the threads from stage to stage, and watches the broker's process meanwhile.
struct Lead<'a> {
    shared: &'a Shared,
    done: &'a Receiver<Done>,
    watch: &'a mut dyn FnMut(&Progress),
    began: Instant,
    deadline: Instant,
    /// Whether all has arrived that would.
    has_drained: bool,
    /// How many connections should stand.
    connected: u64,
    stages: Vec<StageReport>,
    broker: Option<BrokerUse>,
    shown: Instant,
    shown_sum: Sum,
}

/// How the last stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Through,
    TimedOut,
    /// Whoever runs it wants no more.
    Stopped,
    /// So many connections could not be opened that figures would mean nothing.
    Missing {
        missing: u64,
        wanted: u64,
    },
}

impl<'a> Lead<'a> {
    fn new(crew: &'a Crew, before: Option<Usage>, watch: &'a mut dyn FnMut(&Progress)) -> Self {
        let began = Instant::now();
        let pid = crew.shared.plan.pid;
        Self {
            shared: &crew.shared,
            done: &crew.done,
            watch,
            began,
            deadline: began + crew.shared.plan.timeout,
            has_drained: false,
            connected: 0,
            stages: Vec::new(),
            broker: before.zip(pid).map(|(usage, pid)| BrokerUse::new(pid, usage)),
            shown: began,
            shown_sum: Sum::default(),
        }
    }

    fn through_all_stages(&mut self) -> Ended {
        for (index, stage) in self.shared.plan.stages.iter().enumerate() {
            let ended = self.through(index, *stage);
            if ended != Ended::Through {
                return ended;
            }
        }
        Ended::Through
    }

    fn through(&mut self, index: usize, stage: Stage) -> Ended {
        let before = self.shared.sum();
        let broker_before = self.look();
        let tool_before = procfs::look(None).unwrap_or_default();
        let began_ns = now_ns();
        self.shared.enter(index);
        let is_through = match stage.step {
            Step::Drain => self.drain(stage, began_ns),
            Step::Hold => self.hold(stage),
            // Whoever does not answer a PING has arrived at nothing that can be waited for.
            Step::Settle(_) => {
                let until = self.deadline.min(Instant::now() + self.shared.plan.patience);
                self.all_are_through(index, stage, until) || !self.is_over()
            }
            _ => self.all_are_through(index, stage, self.deadline),
        };
        let now_ns = now_ns();
        let after = self.shared.sum();
        let ended_ns = match stage.step {
            // Waiting for what does not come is not part of it.
            Step::Drain => after.last_arrival_ns.clamp(began_ns, now_ns),
            _ => now_ns,
        };
        let broker_after = self.look();
        let tool_after = procfs::look(None).unwrap_or_default();
        self.stages.push(StageReport {
            name: stage.name,
            is_measured: stage.is_measured,
            seconds: (ended_ns - began_ns) as f64 / SECOND_NS as f64,
            sent: after.sent - before.sent,
            received: after.received - before.received,
            cycles: after.cycles - before.cycles,
            may_deliver: !matches!(stage.name, "store"),
            broker_cpu_s: broker_after.zip(broker_before).map(|(after, before)| after.cpu_s - before.cpu_s),
            tool_cpu_s: tool_after.cpu_s - tool_before.cpu_s,
            broker_rss_bytes: broker_after.map(|after| after.rss_bytes),
        });
        self.has_drained |= is_through && stage.step == Step::Drain;
        match is_through {
            true => self.missing(stage),
            false if self.is_stopped() => Ended::Stopped,
            false => Ended::TimedOut,
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline || self.is_stopped()
    }

    fn is_stopped(&self) -> bool {
        self.shared.plan.stop.load(Ordering::Relaxed)
    }

    /// Whether all have connected that should have.
    fn missing(&mut self, stage: Stage) -> Ended {
        let plan = &self.shared.plan;
        let count = |role| match role {
            Role::Publisher => u64::from(plan.publishers),
            Role::Subscriber => u64::from(plan.subscribers),
        };
        match stage.step {
            Step::Connect(role, _) => self.connected += count(role),
            Step::Leave(role) => {
                self.connected = self.connected.saturating_sub(count(role));
                return Ended::Through;
            }
            Step::Cycle if self.shared.sum().cycles == 0 => {
                let wanted = plan.cycles.unwrap_or(plan.publishers.into());
                return Ended::Missing { missing: wanted, wanted };
            }
            _ => return Ended::Through,
        }
        let wanted = self.connected;
        let connected = self.shared.sum().connected;
        let missing = wanted.saturating_sub(connected);
        // Idle connections mean something one by one.
        let is_enough = missing == 0 || (plan.scenario == Scenario::Idle && connected > 0);
        if is_enough { Ended::Through } else { Ended::Missing { missing, wanted } }
    }

    /// Waits until all threads have said that they are through with the stage.
    fn all_are_through(&mut self, index: usize, stage: Stage, until: Instant) -> bool {
        let mut waiting = self.shared.live.len();
        while waiting > 0 {
            let now = Instant::now();
            if now >= until || self.is_stopped() {
                return false;
            }
            match self.done.recv_timeout(LOOK_EVERY.min(until - now)) {
                Ok(done) => waiting -= usize::from(done.stage == index),
                Err(RecvTimeoutError::Timeout) => self.look_around(stage),
                // All threads are gone, which their results explain.
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        true
    }

    /// Waits until everything has arrived, or nothing has for a while.
    fn drain(&mut self, stage: Stage, began_ns: u64) -> bool {
        let patience_ns = self.shared.plan.patience.as_nanos() as u64;
        let foreseen = foreseen(&self.shared.plan);
        let mut looked = Instant::now();
        loop {
            let sum = self.shared.sum();
            let waited_ns = now_ns().saturating_sub(sum.last_arrival_ns.max(began_ns));
            if sum.received >= sum.expected + foreseen || waited_ns >= patience_ns {
                return true;
            }
            if self.is_over() {
                return false;
            }
            thread::sleep(DRAIN_EVERY);
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                self.look_around(stage);
            }
        }
    }

    fn hold(&mut self, stage: Stage) -> bool {
        let until = Instant::now() + self.shared.plan.hold;
        while Instant::now() < until {
            if self.is_over() {
                return false;
            }
            thread::sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now())));
            self.look_around(stage);
        }
        true
    }

    fn look_around(&mut self, stage: Stage) {
        self.look();
        let since = self.shown.elapsed();
        if since < SHOW_EVERY {
            return;
        }
        let sum = self.shared.sum();
        let per_s = |now: u64, before: u64| (now - before) as f64 / since.as_secs_f64();
        let done = self.share_done(stage, &sum);
        (self.watch)(&Progress {
            stage: stage.name,
            elapsed: self.began.elapsed(),
            done,
            connected: sum.connected,
            cycles: sum.cycles,
            sent: sum.sent,
            received: sum.received,
            sent_per_s: per_s(sum.sent, self.shown_sum.sent),
            received_per_s: per_s(sum.received, self.shown_sum.received),
        });
        self.shown = Instant::now();
        self.shown_sum = sum;
    }

    /// How much of a step is done, from 0 to 1, where that can be told.
    fn share_done(&self, stage: Stage, sum: &Sum) -> Option<f64> {
        let plan = &self.shared.plan;
        let since_s = now_ns().saturating_sub(self.shared.stage_began_ns.load(Ordering::Relaxed)) as f64
            / SECOND_NS as f64;
        let of_time = |whole: Option<Duration>| whole.map(|whole| since_s / whole.as_secs_f64().max(1e-9));
        let of_count = |count: u64, whole: Option<u64>| whole.map(|whole| count as f64 / whole.max(1) as f64);
        let shares = match stage.step {
            Step::Publish => [of_time(plan.duration), of_count(sum.sent, plan.messages)],
            Step::Cycle => [of_time(plan.duration), of_count(sum.cycles, plan.cycles)],
            Step::Hold => [of_time(Some(plan.hold)), None],
            Step::Drain => [of_count(sum.received, Some(sum.expected + foreseen(plan))), None],
            Step::Connect(Role::Subscriber, _) => {
                [of_count(sum.connected, Some(plan.subscribers.into())), None]
            }
            _ => [None, None],
        };
        // Whichever comes first ends it.
        shares.into_iter().flatten().reduce(f64::max).map(|share| share.clamp(0.0, 1.0))
    }

    /// Looks at the broker's process, if there is one to look at.
    fn look(&mut self) -> Option<Usage> {
        let broker = self.broker.as_mut()?;
        match procfs::look(Some(broker.pid)) {
            // Another process may have its number by now.
            Ok(usage) if usage.started == broker.started && !broker.is_gone => {
                broker.add(usage);
                Some(usage)
            }
            _ => {
                broker.is_gone = true;
                None
            }
        }
    }
}

fn look(pid: Option<u32>) -> Result<Option<Usage>, BenchError> {
    let Some(pid) = pid else { return Ok(None) };
    procfs::look(Some(pid)).map(Some).map_err(|source| BenchError::Process { pid, source })
}

/// The address to connect to. If a host has several, the first at which somebody answers.
fn resolve(host: &str, port: u16) -> Result<SocketAddr, BenchError> {
    let fault = |source| BenchError::Resolve { host: host.to_owned(), source };
    let addresses: Vec<_> = (host, port).to_socket_addrs().map_err(fault)?.collect();
    let answers = |address: &&SocketAddr| TcpStream::connect_timeout(address, ANSWER).is_ok();
    let first = match &addresses[..] {
        [only] => Some(only),
        several => several.iter().find(answers).or(several.first()),
    };
    first.copied().ok_or_else(|| fault(io::Error::other("it has no address")))
}

const LOOK_EVERY: Duration = Duration::from_millis(50);
const DRAIN_EVERY: Duration = Duration::from_millis(1);
const SHOW_EVERY: Duration = Duration::from_secs(1);
const ANSWER: Duration = Duration::from_secs(3);
