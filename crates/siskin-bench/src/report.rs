//! What a run came to.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use siskin_proto::{Qos, Version};

use crate::latency::LatencySummary;
use crate::options::WindowOn;
use crate::plan::Plan;
use crate::problem::{Problem, ProblemKind};
use crate::procfs::Usage;
use crate::run::Gathered;
use crate::scenario::Scenario;
use crate::tally::Counts;

/// What a run came to. [`to_json`](Self::to_json) for programs, `Display` for people.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was done.
    pub settings: Settings,
    /// Step by step, in order.
    pub stages: Vec<StageReport>,
    /// What was counted.
    pub counts: Counts,
    /// Copies of messages that should have arrived and did not. None if the run ended before all had time to, or nothing was
    /// to arrive. What was never acknowledged on a connection that was lost is not among them: it is in doubt.
    pub lost: Option<u64>,
    /// Messages that were neither acknowledged nor refused.
    pub unacknowledged: u64,
    /// From the time that a message was due to be sent until it arrived. None where none was measured.
    pub delivery: Option<LatencySummary>,
    /// From the time that a message was due to be sent until it was acknowledged.
    pub acknowledgement: Option<LatencySummary>,
    /// In open loop, from the time that a message was due until it was put together to be written: what this tool was late,
    /// or held up by acknowledgements that did not come.
    pub lateness: Option<LatencySummary>,
    /// From opening a socket until CONNACK.
    pub connect: Option<LatencySummary>,
    /// What the broker's process used, if it was named.
    pub broker: Option<BrokerUse>,
    /// How many QoS 1 and 2 messages the broker takes from a publisher at once, where that is less than the
    /// window. The window is then this.
    pub receive_maximum: Option<u16>,
    /// What went wrong, by cause.
    pub problems: Vec<Problem>,
    /// Why the run ended before all was done.
    pub cut_short: Option<CutShort>,
}

/// Why a run ended before all was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutShort {
    /// The time limit was reached.
    TimedOut,
    /// Whoever ran it wanted no more.
    Stopped,
    /// Connections were not there for the next step.
    Missing {
        /// How many.
        missing: u64,
        /// Of how many.
        wanted: u64,
    },
}

impl fmt::Display for CutShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("the time limit was reached before all was done (--timeout)"),
            Self::Stopped => f.write_str("it was interrupted"),
            Self::Missing { missing, wanted } => {
                write!(f, "{missing} of {wanted} connections were not there for the next step")
            }
        }
    }
}

/// What was done.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are those of the options")]
pub struct Settings {
    pub scenario: Scenario,
    pub host: String,
    pub target: SocketAddr,
    /// `tcp`, `tls`, `ws` or `wss`.
    pub transport: &'static str,
    /// As written, with placeholders.
    pub topic: String,
    /// As written, with placeholders; none if they are made up.
    pub filters: Vec<String>,
    pub duration: Option<Duration>,
    pub messages: Option<u64>,
    pub version: Version,
    pub publishers: u32,
    pub subscribers: u32,
    pub filters_each: u32,
    pub qos: Qos,
    pub subscribe_qos: Qos,
    pub retain: bool,
    pub payload_bytes: usize,
    pub window: u16,
    pub window_on: WindowOn,
    pub rate_per_s: Option<f64>,
    pub threads: u16,
    /// Whether lost, duplicated and misordered messages could be told.
    pub accounts: bool,
    /// Whether any deliveries were to happen.
    pub delivers: bool,
    /// Whether the time until a delivery says something about the broker.
    pub times_delivery: bool,
}

/// What came of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct StageReport {
    /// Which step.
    pub name: &'static str,
    /// Whether rates and CPU are taken from it.
    pub is_measured: bool,
    /// Whether messages may arrive in it.
    pub may_deliver: bool,
    /// How long it took.
    pub seconds: f64,
    /// Messages published in it.
    pub sent: u64,
    /// Copies that arrived in it.
    pub received: u64,
    /// Connections that came and left in it.
    pub cycles: u64,
    /// CPU time of the broker's process in it.
    pub broker_cpu_s: Option<f64>,
    /// CPU time of this process in it.
    pub tool_cpu_s: f64,
    /// The broker's memory after it.
    pub broker_rss_bytes: Option<u64>,
}

/// What the broker's process used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BrokerUse {
    /// Which process.
    pub pid: u32,
    /// Its resident memory before the first connection.
    pub rss_before_bytes: u64,
    /// The same at the end.
    pub rss_after_bytes: u64,
    /// The most that was seen during the run, looking twenty times a second.
    pub rss_peak_bytes: u64,
    /// The most since the process started, as the system remembers it.
    pub rss_peak_ever_bytes: u64,
    /// The pages of files that it touched during the run, if we may know: a page, which may be a large one, counts each time
    /// that it is touched after it was written.
    pub written_bytes: Option<u64>,
    written_before_bytes: Option<u64>,
    pub(crate) started: u64,
    /// Whether it ended during the run.
    pub is_gone: bool,
}

impl Report {
    pub(crate) fn new(
        settings: Settings,
        plan: &Plan,
        stages: Vec<StageReport>,
        broker: Option<BrokerUse>,
        cut_short: Option<CutShort>,
        gathered: Gathered,
    ) -> Self {
        let Gathered { tally, losses, unacknowledged } = gathered;
        let delivery = tally.delivery.summary().filter(|_| settings.times_delivery && plan.accounts);
        let lateness = tally.lateness.summary().filter(|_| settings.rate_per_s.is_some());
        let narrows = settings.qos > Qos::AtMostOnce && tally.receive_maximum < settings.window;
        Self {
            receive_maximum: narrows.then_some(tally.receive_maximum),
            settings,
            stages,
            counts: tally.counts,
            lost: losses.map(|losses| losses.lost),
            lateness,
            unacknowledged,
            delivery,
            acknowledgement: tally.acknowledgement.summary(),
            connect: tally.connect.summary(),
            broker,
            problems: tally.problems.into_list(),
            cut_short,
        }
    }

    /// What is wrong with what the broker did, in words. Nothing, if all is well.
    pub fn failures(&self) -> Vec<String> {
        let counts = &self.counts;
        let qos = self.settings.qos.min(self.settings.subscribe_qos);
        let mut failures = Vec::new();
        let mut fail = |is_failure: bool, text: String| {
            if is_failure {
                failures.push(text);
            }
        };
        if let Some(why) = &self.cut_short {
            fail(true, why.to_string());
        }
        if let Some(broker) = self.broker.as_ref().filter(|broker| broker.is_gone) {
            fail(true, format!("the process {} ended during the run", broker.pid));
        }
        let lost = self.lost.unwrap_or(0);
        fail(lost > 0 && qos > Qos::AtMostOnce, format!("{lost} messages of QoS {} were lost", qos as u8));
        fail(
            lost > 0 && counts.received == 0 && qos == Qos::AtMostOnce,
            "not one message arrived".to_owned(),
        );
        fail(
            counts.misrouted > 0,
            format!("{} messages came to subscribers whose filters do not match them", counts.misrouted),
        );
        fail(
            counts.duplicated > 0 && qos != Qos::AtLeastOnce,
            format!("{} messages of QoS {} came more than once", counts.duplicated, qos as u8),
        );
        fail(counts.misordered > 0, format!("{} messages came out of order", counts.misordered));
        fail(counts.corrupted > 0, format!("{} messages came with another length", counts.corrupted));
        fail(counts.refused > 0, format!("{} messages were not accepted", counts.refused));
        fail(
            self.unacknowledged > 0 && self.cut_short.is_none(),
            format!("{} messages were never acknowledged", self.unacknowledged),
        );
        let lost_connections = self.problems.iter().filter(|problem| problem.kind != ProblemKind::Publish);
        let lost_connections: u64 = lost_connections.map(|problem| problem.count).sum();
        fail(lost_connections > 0, format!("{lost_connections} connections were refused or lost"));
        failures
    }

    /// Messages published a second, while publishing went on.
    pub fn sent_per_s(&self) -> Option<f64> {
        self.per_s(|stage| stage.sent)
    }

    /// Copies that arrived a second, from the beginning of the first step in which one could until the last arrived.
    pub fn received_per_s(&self) -> Option<f64> {
        let steps = || self.measured().filter(|stage| stage.may_deliver);
        let all: u64 = steps().map(|stage| stage.received).sum();
        let seconds: f64 = steps().map(|stage| stage.seconds).sum();
        (all > 0 && seconds > 0.0).then(|| all as f64 / seconds)
    }

    /// Whether the tool had hardly any time left, so that it may be what was measured.
    pub fn is_tool_at_its_limit(&self) -> bool {
        let seconds: f64 = self.measured().map(|stage| stage.seconds).sum();
        seconds > 0.5 && self.tool_cpu_s() >= 0.9 * seconds * f64::from(self.settings.threads)
    }

    /// How much less than what was asked for was sent a second, as a share of it, if that is more than a hundredth.
    pub fn rate_missed(&self) -> Option<f64> {
        let (rate, sent) = self.settings.rate_per_s.zip(self.sent_per_s())?;
        // Too few to tell.
        let is_long = self.counts.sent > 100;
        Some(1.0 - sent / rate).filter(|missed| *missed > 0.01 && is_long)
    }

    /// Connections that came and left a second.
    pub fn cycles_per_s(&self) -> Option<f64> {
        self.per_s(|stage| stage.cycles)
    }

    /// CPU time of the broker, in the steps that count.
    pub fn broker_cpu_s(&self) -> Option<f64> {
        self.measured().map(|stage| stage.broker_cpu_s).sum()
    }

    /// CPU time of this process, in the steps that count.
    pub fn tool_cpu_s(&self) -> f64 {
        self.measured().map(|stage| stage.tool_cpu_s).sum()
    }

    /// What CPU time is divided by: messages that arrived, or else were sent, or else connections.
    pub fn work(&self) -> (u64, &'static str) {
        let counts = &self.counts;
        let is_connecting = matches!(self.settings.scenario, Scenario::Connect | Scenario::Churn);
        match () {
            () if is_connecting => (counts.cycles, "connection"),
            () if self.settings.scenario == Scenario::Idle => {
                (self.connect.map_or(0, |connect| connect.count), "connection")
            }
            () if counts.received > 0 => (counts.received, "delivered message"),
            () => (counts.sent, "published message"),
        }
    }

    /// Resident memory that each connection of the idle scenario costs the broker.
    pub fn rss_per_connection(&self) -> Option<f64> {
        let broker = self.broker.as_ref().filter(|_| self.settings.scenario == Scenario::Idle)?;
        let held = self.stages.iter().find(|stage| stage.name == "hold")?.broker_rss_bytes?;
        let connected = self.connect.map_or(0, |connect| connect.count);
        (connected > 0).then(|| (held as f64 - broker.rss_before_bytes as f64) / connected as f64)
    }

    fn measured(&self) -> impl Iterator<Item = &StageReport> {
        self.stages.iter().filter(|stage| stage.is_measured)
    }

    /// The steps in which something happened, and a step that waited for the end of it.
    fn per_s(&self, count: impl Fn(&StageReport) -> u64) -> Option<f64> {
        let busy = || self.measured().filter(|stage| count(stage) > 0);
        let all: u64 = busy().map(&count).sum();
        let seconds: f64 = busy().map(|stage| stage.seconds).sum();
        (all > 0 && seconds > 0.0).then(|| all as f64 / seconds)
    }
}

impl StageReport {
    /// Whether it is about something and something came of it.
    pub(crate) fn says_something(&self) -> bool {
        self.is_measured && self.sent + self.received + self.cycles > 0
    }
}

impl Settings {
    pub(crate) fn of(plan: &Plan, target: SocketAddr) -> Self {
        Self {
            scenario: plan.scenario,
            host: plan.host.clone(),
            target,
            transport: plan.transport.name(),
            topic: plan.topic_text(),
            filters: plan.filter_texts(),
            duration: plan.duration,
            messages: plan.messages,
            version: plan.version,
            publishers: plan.publishers,
            subscribers: plan.subscribers,
            filters_each: plan.filters_each,
            qos: plan.qos,
            subscribe_qos: plan.subscribe_qos,
            retain: plan.retain,
            payload_bytes: plan.payload_bytes,
            window: plan.window,
            window_on: if plan.waits_for_arrival { WindowOn::Arrival } else { WindowOn::Acknowledgement },
            rate_per_s: plan.rate_per_s,
            threads: plan.threads,
            accounts: plan.accounts,
            delivers: plan.copies.iter().any(|copies| *copies > 0),
            times_delivery: !matches!(plan.scenario, Scenario::Offline | Scenario::Retained),
        }
    }

    /// Whether any window is kept: at QoS 0 only if arrivals can be told.
    pub(crate) fn has_window(&self) -> bool {
        self.rate_per_s.is_none() && (self.qos > Qos::AtMostOnce || self.window_on == WindowOn::Arrival)
    }
}

impl BrokerUse {
    pub(crate) fn new(pid: u32, usage: Usage) -> Self {
        Self {
            pid,
            rss_before_bytes: usage.rss_bytes,
            rss_after_bytes: usage.rss_bytes,
            rss_peak_bytes: usage.rss_bytes,
            rss_peak_ever_bytes: usage.rss_peak_bytes,
            written_bytes: usage.written_bytes.map(|_| 0),
            written_before_bytes: usage.written_bytes,
            started: usage.started,
            is_gone: false,
        }
    }

    pub(crate) fn add(&mut self, usage: Usage) {
        self.rss_after_bytes = usage.rss_bytes;
        self.rss_peak_bytes = self.rss_peak_bytes.max(usage.rss_bytes);
        self.rss_peak_ever_bytes = usage.rss_peak_bytes;
        let written = usage.written_bytes.zip(self.written_before_bytes);
        self.written_bytes = written.map(|(now, before)| now.saturating_sub(before));
    }
}
