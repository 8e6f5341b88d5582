//! The course of a run: load, kill, restart, look, and again; then drain, and look at everything.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use siskin_proto::Version;

use super::broker::Broker;
use super::connection::{Connection, Identity, Lost};
use super::dice::Dice;
use super::publisher::{self, Publisher};
use super::retained;
use super::subscriber::{self, Subscriber};
use super::switcher::Switcher;
use super::wills::WillClients;
use super::world::{Phase, World};
use crate::cli::client::complain;

/// What is to be done.
pub(super) struct Plan {
    pub(super) kills: u32,
    /// How many milliseconds the load is under way when the broker is killed.
    pub(super) kill_after_ms: RangeInclusive<u64>,
    pub(super) publishers: usize,
    pub(super) subscribers: usize,
    /// Between two messages of a publisher.
    pub(super) interval: Duration,
    /// How long nothing may come of what is due.
    pub(super) drain_limit: Duration,
    /// The same for what is looked at after each kill.
    pub(super) look_limit: Duration,
    pub(super) timeout: Duration,
    pub(super) is_quiet: bool,
}

/// Why a run ended early.
#[derive(Debug)]
pub(super) enum Stop {
    Interrupted,
    TimedOut,
    /// The broker ended without being killed: how.
    Exited(String),
    /// The broker runs, and something that must happen does not.
    Stuck(&'static str),
    Failed(String),
}

/// How the broker has started.
#[derive(Debug, Default)]
pub(super) struct Starts {
    /// Until a client was accepted, for each start.
    pub(super) took: Vec<Duration>,
    /// How many more starts a kill has cut short.
    pub(super) killed: u32,
}

pub(super) struct Course<'a> {
    plan: &'a Plan,
    broker: &'a Broker,
    world: &'a World,
    /// A signal came.
    interrupted: &'a AtomicBool,
    starts: Starts,
    dice: Dice,
    deadline: Instant,
}

impl<'a> Course<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        broker: &'a Broker,
        world: &'a World,
        interrupted: &'a AtomicBool,
    ) -> Self {
        let deadline = Instant::now() + plan.timeout;
        let dice = Dice::new(world.seed, u64::MAX);
        Self { plan, broker, world, interrupted, starts: Starts::default(), dice, deadline }
    }

    /// Goes through it all: how long each start took, and why it ended early if it did. The broker is dead
    /// and no client is left afterwards.
    pub(super) fn run(mut self) -> (Starts, Result<(), Stop>) {
        let outcome = thread::scope(|scope| {
            let leave = Leave(self.world);
            let (plan, world) = (self.plan, self.world);
            for number in 0..plan.publishers {
                scope.spawn(move || Publisher::new(world, number, plan.interval).run());
            }
            for number in 0..plan.subscribers {
                scope.spawn(move || Subscriber::new(world, number, plan.publishers + number).run());
            }
            let switcher = plan.publishers + plan.subscribers;
            scope.spawn(move || Switcher::new(world, switcher, plan.look_limit).run());
            let outcome = self.go();
            drop(leave);
            outcome
        });
        self.broker.kill();
        (self.starts, outcome)
    }

    fn go(&mut self) -> Result<(), Stop> {
        let mut wills = WillClients::new();
        let mut life = self.start()?;
        let (clients, world) = (clients(self.plan), self.world);
        let subscribed = || world.are_marked(self.plan.publishers..clients, 1);
        self.wait("the broker does not acknowledge every subscription", subscribed)?;
        world.enter(Phase::Load);
        for kill in 1..=self.plan.kills {
            let after = self.live(life, &mut wills)?;
            self.kill();
            self.kill_starting()?;
            life = self.start()?;
            self.say(|start, acknowledged| {
                let (kills, after, start) = (self.plan.kills, after.as_millis(), start.as_millis());
                format!(
                    "Kill {kill} of {kills}: {after} ms into the load, {acknowledged} messages acknowledged, \
                     accepts again after {start} ms."
                )
            });
        }
        self.live(life, &mut wills)?;
        world.enter(Phase::Finish);
        let finished = || world.finished() == self.plan.publishers;
        self.wait("the broker does not acknowledge every message", finished)?;
        world.enter(Phase::Drain);
        self.drain()?;
        self.look_at(retained::check(life, self.plan.look_limit, world), retained::CLIENT_ID)?;
        wills.leave(world);
        Ok(())
    }

    /// One life of the broker until the moment to kill it: how long the load was under way.
    fn live(&mut self, life: u32, wills: &mut WillClients) -> Result<Duration, Stop> {
        self.look_at(wills.connect(life, self.world), "a client with a will")?;
        self.look_at(retained::check(life, self.plan.look_limit, self.world), retained::CLIENT_ID)?;
        let (clients, publishers, world) = (clients(self.plan), self.plan.publishers, self.world);
        // Every publisher got an acknowledgement, and the subscriptions were looked at.
        let got_through = || world.are_marked((0..publishers).chain([clients - 1]), life);
        self.wait("the broker does not acknowledge messages", got_through)?;
        let after = Duration::from_millis(self.dice.within(self.plan.kill_after_ms.clone()));
        self.pause(after)?;
        Ok(after)
    }

    fn kill(&self) {
        self.world.down();
        self.broker.kill();
        let now_ms = self.world.now_ms();
        self.world.ledger().kill(now_ms);
    }

    /// Once in a while the broker is killed again while it starts, which it must survive as well.
    fn kill_starting(&mut self) -> Result<(), Stop> {
        while self.dice.within(0..=STARTS_PER_KILL) == 0 {
            self.spawn()?;
            let after = Duration::from_micros(self.dice.within(START_KILLED_US));
            self.pause(after)?;
            self.broker.kill();
            self.starts.killed += 1;
        }
        Ok(())
    }

    /// Starts the broker and waits until it takes a client: its life.
    fn start(&mut self) -> Result<u32, Stop> {
        let began = Instant::now();
        self.spawn()?;
        let probe =
            Identity { client_id: "siskin-verify-probe", version: Version::V5, is_clean: true, will: None };
        let mut took = None;
        let world = self.world;
        let accepts = || match Connection::open(world.address, &probe) {
            Ok(connection) => {
                took = Some(began.elapsed());
                connection.leave();
                true
            }
            Err(_) => false,
        };
        self.wait("the broker does not accept a client", accepts)?;
        self.starts.took.extend(took);
        Ok(world.up())
    }

    fn spawn(&self) -> Result<(), Stop> {
        self.broker.start().map_err(|error| Stop::Failed(format!("the broker cannot be started: {error}")))
    }

    /// Waits until everything has come that is due, or until nothing comes any more.
    fn drain(&self) -> Result<(), Stop> {
        let mut least = u64::MAX;
        let mut progress = Instant::now();
        loop {
            let missing = self.world.ledger().missing();
            if missing == 0 {
                break;
            }
            if missing < least {
                (least, progress) = (missing, Instant::now());
            }
            if progress.elapsed() > self.plan.drain_limit {
                break;
            }
            self.pause(LOOK)?;
        }
        // What comes twice comes behind.
        self.pause(QUIET)
    }

    /// Waits for what happens by itself in a healthy broker.
    fn wait(&self, missing: &'static str, mut is_there: impl FnMut() -> bool) -> Result<(), Stop> {
        let began = Instant::now();
        while !is_there() {
            self.look()?;
            if began.elapsed() > PROGRESS_LIMIT {
                return Err(Stop::Stuck(missing));
            }
            self.world.pause(STEP);
        }
        Ok(())
    }

    /// Lets time pass, unless something ends the run.
    fn pause(&self, duration: Duration) -> Result<(), Stop> {
        let end = Instant::now() + duration;
        loop {
            self.look()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            self.world.pause(left.min(LOOK));
        }
    }

    /// Notes what a client of this thread met, which may be the end of the broker.
    fn look_at(&self, outcome: Result<(), Lost>, name: &str) -> Result<(), Stop> {
        match outcome {
            Ok(()) => Ok(()),
            Err(lost) => {
                // Where it has ended, that takes a moment to show.
                self.pause(LOOK)?;
                let lost = match lost {
                    Lost::Gone => Lost::Misbehaved("the connection ended without a reason".to_owned()),
                    lost => lost,
                };
                lost.note(name, self.world);
                Ok(())
            }
        }
    }

    fn look(&self) -> Result<(), Stop> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Stop::Interrupted);
        }
        if let Some(how) = self.broker.ended() {
            return Err(Stop::Exited(how));
        }
        if Instant::now() > self.deadline { Err(Stop::TimedOut) } else { Ok(()) }
    }

    /// A line for who watches.
    fn say(&self, line: impl FnOnce(Duration, u64) -> String) {
        if !self.plan.is_quiet {
            let start = self.starts.took.last().copied().unwrap_or_default();
            let acknowledged = self.world.ledger().acknowledged();
            complain(&line(start, acknowledged));
        }
    }
}

/// All clients leave when this value does, so that nobody is waited for in vain.
struct Leave<'a>(&'a World);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.enter(Phase::End);
    }
}

/// How many clients have a mark in the world: publishers, subscribers, and last the switcher.
pub(super) fn clients(plan: &Plan) -> usize {
    plan.publishers + plan.subscribers + 1
}

/// The ledger of a run before anything has happened.
pub(super) fn ledger(plan: &Plan) -> super::ledger::Ledger {
    let mut ledger = super::ledger::Ledger::new();
    for number in 0..plan.publishers {
        ledger.add_publisher(publisher::name(number), publisher::kind(number).0);
    }
    for number in 0..plan.subscribers {
        ledger.add_subscriber(subscriber::name(number), subscriber::kind(number).0);
    }
    ledger
}

/// One start in so many and one is cut short.
const STARTS_PER_KILL: u64 = 3;

/// When a start is cut short, in microseconds.
const START_KILLED_US: RangeInclusive<u64> = 0..=30_000;

/// Between two looks at what is waited for.
const STEP: Duration = Duration::from_millis(1);

/// Between two looks at the broker.
const LOOK: Duration = Duration::from_millis(10);

/// How long nothing must come before it is taken for the end.
const QUIET: Duration = Duration::from_millis(300);

/// For a broker that recovers, and then for everybody to get through.
const PROGRESS_LIMIT: Duration = Duration::from_secs(60);
