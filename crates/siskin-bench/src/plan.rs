//! What a run will do: every value decided, every topic checked, every delivery foreseen.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use siskin_proto::{Qos, TopicFilter, TopicName, Version};

use crate::error::{BenchError, PlaceholderFault};
use crate::header::HEADER_BYTES;
use crate::layers::Transport;
use crate::options::{Options, WindowOn};
use crate::route::Routes;
use crate::scenario::{Bound, Count, Scenario};
use crate::steps::{self, Stage};
use crate::topic::{Pattern, Values};

/// A run that can be carried out by [`run`](crate::run).
#[derive(Debug)]
pub struct Plan {
    pub(crate) scenario: Scenario,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) version: Version,
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) clean_start: bool,
    pub(crate) session_expiry_s: u32,
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) keep_alive_s: u16,
    pub(crate) prefix: String,
    pub(crate) client_offset: u32,
    pub(crate) publishers: u32,
    pub(crate) subscribers: u32,
    topic: Pattern,
    filters: Vec<Pattern>,
    pub(crate) filters_each: u32,
    pub(crate) qos: Qos,
    pub(crate) subscribe_qos: Qos,
    pub(crate) retain: bool,
    pub(crate) payload_bytes: usize,
    pub(crate) window: u16,
    pub(crate) window_on: WindowOn,
    /// Whether arrivals make room in the windows. They do not where nobody can tell, or nobody is there.
    pub(crate) waits_for_arrival: bool,
    pub(crate) rate_per_s: Option<f64>,
    pub(crate) messages: Option<u64>,
    pub(crate) duration: Option<Duration>,
    pub(crate) connect_rate_per_s: Option<f64>,
    pub(crate) connecting_max: u32,
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) transport: Transport,
    pub(crate) cycles: Option<u64>,
    pub(crate) each: u32,
    pub(crate) hold: Duration,
    pub(crate) pid: Option<u32>,
    pub(crate) threads: u16,
    pub(crate) timeout: Duration,
    pub(crate) patience: Duration,
    /// Set from outside when no more is wanted.
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) run: u32,
    pub(crate) stages: Vec<Stage>,
    /// Whether payloads have room for the header.
    pub(crate) accounts: bool,
    /// Whether the messages of a publisher must come in order: they do if all have one topic.
    pub(crate) is_ordered: bool,
    /// How many copies of a message of each publisher must arrive.
    pub(crate) copies: Vec<u32>,
    /// What each subscriber is to hear.
    pub(crate) streams: Vec<Vec<StreamKey>>,
    pub(crate) groups: u32,
}

/// A publisher as one subscriber hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamKey {
    pub(crate) publisher: u32,
    /// The shared subscription through which its messages come.
    pub(crate) group: Option<u32>,
}

/// Which end of the messages a client is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Publisher,
    Subscriber,
}

impl Plan {
    /// Decides everything that `options` leaves open, and refuses what cannot be done or accounted for.
    pub fn new(options: Options) -> Result<Self, BenchError> {
        check(&options)?;
        let transport = Transport::new(
            (&options.host, options.port),
            options.ca.as_deref(),
            options.websocket_path.as_deref(),
        )?;
        let scenario = options.scenario;
        let defaults = scenario.defaults();
        let clients = options.clients.unwrap_or(defaults.clients);
        let count = |count| match count {
            Count::Clients => clients,
            Count::Exactly(count) => count,
        };
        let publishers = options.publishers.unwrap_or(count(defaults.publishers));
        let subscribers = options.subscribers.unwrap_or(count(defaults.subscribers));
        let (duration, messages) = match (options.duration, options.messages, defaults.bound) {
            (None, None, Bound::Duration(duration)) => (Some(duration), None),
            (None, None, Bound::Messages(messages)) => (None, Some(messages)),
            given => (given.0, given.1),
        };
        let cycles = options.cycles;
        let duration = if cycles.is_some() { options.duration } else { duration };
        let qos = options.qos.unwrap_or(defaults.qos);
        let payload_bytes = options.payload_bytes.unwrap_or(defaults.payload_bytes);
        let topic = pattern(options.topic.as_deref().unwrap_or(defaults.topic))?;
        let filters = match (&options.topic, options.filters.is_empty()) {
            (_, false) => options.filters.iter().map(|text| pattern(text)).collect::<Result<_, _>>()?,
            (_, true) if defaults.filter.is_empty() => Vec::new(),
            (None, true) => vec![pattern(defaults.filter)?],
            (Some(topic), true) => vec![pattern(&filter_for(topic, defaults.filter))?],
        };
        let run = if options.keep || options.drain_only { KEPT_RUN } else { random() };
        // Connecting takes its time, too, as much as the options want or a slow broker needs.
        let connections = f64::from(publishers) + f64::from(subscribers);
        let per_s =
            options.connect_rate_per_s.unwrap_or(f64::INFINITY).clamp(f64::MIN_POSITIVE, CONNECTS_PER_S);
        let connecting = Duration::try_from_secs_f64(connections / per_s).unwrap_or(TIME_MAX).min(TIME_MAX);
        let limit = duration.unwrap_or_default() + options.hold + connecting;
        let spare = if duration.is_none() { Duration::from_secs(300) } else { Duration::from_secs(60) };
        let mut plan = Self {
            scenario,
            host: options.host,
            port: options.port,
            version: options.version,
            user_name: options.user_name,
            password: options.password,
            clean_start: options.clean_start,
            session_expiry_s: options.session_expiry_s.unwrap_or(match scenario {
                Scenario::Offline => 3600,
                _ => 0,
            }),
            receive_maximum: options.receive_maximum,
            keep_alive_s: options.keep_alive_s,
            prefix: options.id_prefix.unwrap_or_else(|| format!("sb{run:x}")),
            client_offset: options.client_offset,
            publishers,
            subscribers,
            is_ordered: topic.sequences() == 0,
            topic,
            filters,
            filters_each: options.filters_each.unwrap_or(defaults.filters_each),
            qos,
            subscribe_qos: options.subscribe_qos.unwrap_or(qos),
            retain: options.retain || defaults.retain,
            payload_bytes,
            window: options.window.unwrap_or(match options.rate_per_s.or(defaults.rate_per_s) {
                // In open loop nothing but the packet ids bounds what is on its way.
                Some(_) => u16::MAX,
                None => defaults.window,
            }),
            window_on: options.window_on.unwrap_or(defaults.window_on),
            waits_for_arrival: false,
            rate_per_s: options.rate_per_s.or(defaults.rate_per_s),
            messages,
            duration,
            connect_rate_per_s: options.connect_rate_per_s,
            connecting_max: options.connecting_max,
            sources: options.sources,
            transport,
            cycles,
            each: options.each.unwrap_or(defaults.each),
            hold: options.hold,
            pid: options.pid,
            threads: options.threads.unwrap_or_else(threads),
            timeout: options.timeout.unwrap_or(limit + spare),
            patience: options.patience,
            stop: options.stop,
            run,
            stages: steps::stages(scenario, subscribers, options.keep, options.drain_only),
            accounts: payload_bytes >= HEADER_BYTES,
            copies: Vec::new(),
            streams: Vec::new(),
            groups: 0,
        };
        plan.check_numbers()?;
        plan.foresee()?;
        plan.waits_for_arrival = plan.can_wait_for_arrival();
        Ok(plan)
    }

    /// Which publisher's messages must reach whom.
    fn foresee(&mut self) -> Result<(), BenchError> {
        let mut routes = Routes::new();
        let mut members: Vec<Vec<u32>> = Vec::new();
        let mut groups: HashMap<String, u32> = HashMap::new();
        for number in 0..self.subscribers {
            for text in self.filters_of(number) {
                let filter = TopicFilter::parse(&text)
                    .map_err(|error| BenchError::Topic { text: text.clone(), error })?;
                if filter.share().is_none() {
                    routes.add(filter.filter(), number);
                    continue;
                }
                let next = members.len() as u32;
                let group = *groups.entry(text.clone()).or_insert(next);
                if group == next {
                    routes.add(filter.filter(), self.subscribers + group);
                    members.push(Vec::new());
                }
                let members = &mut members[group as usize];
                if members.last() != Some(&number) {
                    members.push(number);
                }
            }
        }
        self.streams = vec![Vec::new(); self.subscribers as usize];
        let mut streams = 0;
        for publisher in 0..self.publishers {
            let (topic, _) = self.topic_of(publisher)?;
            let receivers = routes.receivers(&topic);
            if receivers.windows(2).any(|two| two[0] == two[1]) {
                return Err(BenchError::Overlap { topic });
            }
            self.copies.push(receivers.len() as u32);
            for receiver in receivers {
                let (group, heard_by) = match receiver.checked_sub(self.subscribers) {
                    Some(group) => (Some(group), &members[group as usize][..]),
                    None => (None, std::slice::from_ref(&receiver)),
                };
                streams += heard_by.len() as u64;
                if streams > STREAMS_MAX {
                    let all = u64::from(self.publishers) * u64::from(self.subscribers);
                    return Err(BenchError::TooManyStreams(all));
                }
                for number in heard_by {
                    let heard = &mut self.streams[*number as usize];
                    if heard.last().is_some_and(|last| last.publisher == publisher) {
                        return Err(BenchError::Overlap { topic });
                    }
                    heard.push(StreamKey { publisher, group });
                }
            }
        }
        self.groups = members.len() as u32;
        if self.publishers > 0 && self.subscribers > 0 && self.copies.iter().all(|copies| *copies == 0) {
            let fault =
                "no filter of a subscriber matches the topic of a publisher: nobody would receive anything";
            return Err(BenchError::Option(fault));
        }
        Ok(())
    }

    fn can_wait_for_arrival(&self) -> bool {
        let is_wanted = self.qos == Qos::AtMostOnce || self.window_on == WindowOn::Arrival;
        let is_told = self.accounts || self.streams.iter().all(|streams| streams.len() <= 1);
        let is_there = !matches!(self.scenario, Scenario::Retained | Scenario::Offline);
        is_wanted && is_told && is_there && self.rate_per_s.is_none()
    }

    fn check_numbers(&self) -> Result<(), BenchError> {
        let clients = u64::from(self.publishers) + u64::from(self.subscribers);
        let fault = if clients == 0 {
            "there is nobody to connect: --clients, --publishers or --subscribers must be more than 0"
        } else if clients > CLIENTS_MAX {
            "more than 2,000,000 clients in one process: start several with --client-offset"
        } else if self.publishers == 0 && !matches!(self.scenario, Scenario::Idle) {
            "nobody publishes or connects: --publishers must be more than 0"
        } else if self.publishers > 0 && self.scenario == Scenario::Idle {
            "the idle scenario has no publishers"
        } else if self.subscribers == 0 && matches!(self.scenario, Scenario::Retained | Scenario::Offline) {
            "nobody would get what is stored: --subscribers must be more than 0"
        } else if self.messages == Some(0) || self.cycles == Some(0) {
            "--messages and --cycles must be more than 0"
        } else if self.scenario == Scenario::Retained && self.topic.sequences() == 0 {
            "the topic of the retained scenario must have %s in it, or each message would replace the one before"
        } else if self.topic.sequences() > 1 {
            "%s may stand in a topic once"
        } else if self.filters.iter().any(|filter| filter.sequences() > 0) {
            "%s belongs in a topic to publish to, not in a filter"
        } else if self.filters_each > 1 && self.scenario != Scenario::Wildcard {
            "only the wildcard scenario makes up filters; elsewhere give --filter several times"
        } else {
            return Ok(());
        };
        Err(BenchError::Option(fault))
    }

    /// The topic of a publisher, and where its sequence number stands in it.
    pub(crate) fn topic_of(&self, publisher: u32) -> Result<(String, Option<usize>), BenchError> {
        let (text, sequence_at) = self.expand(&self.topic, Role::Publisher, publisher);
        match TopicName::parse(&text) {
            Ok(_) => Ok((text, sequence_at)),
            Err(error) => Err(BenchError::Topic { text, error }),
        }
    }

    /// The filters of a subscriber.
    pub(crate) fn filters_of(&self, subscriber: u32) -> Vec<String> {
        if self.scenario == Scenario::Wildcard && self.filters.is_empty() {
            return wildcard_filters(
                self.pair(subscriber),
                subscriber + self.client_offset,
                self.filters_each,
            );
        }
        self.filters.iter().map(|filter| self.expand(filter, Role::Subscriber, subscriber).0).collect()
    }

    /// The topic as it was written.
    pub(crate) fn topic_text(&self) -> String {
        self.topic.to_string()
    }

    /// The filters as they were written.
    pub(crate) fn filter_texts(&self) -> Vec<String> {
        self.filters.iter().map(ToString::to_string).collect()
    }

    pub(crate) fn client_id(&self, role: Role, number: u32) -> String {
        let letter = match role {
            Role::Publisher => 'p',
            Role::Subscriber => 's',
        };
        // 3.1 allows 23 characters.
        format!("{}{letter}{}", self.prefix, number + self.client_offset)
    }

    /// How many messages a publisher sends, unless time ends it.
    pub(crate) fn messages_of(&self, publisher: u32) -> u64 {
        let publishers = u64::from(self.publishers);
        let share = |all: u64| all / publishers + u64::from(u64::from(publisher) < all % publishers);
        self.messages.map_or(u64::MAX, share)
    }

    /// Which clients belong together.
    fn pair(&self, number: u32) -> u32 {
        let pairs = match (self.publishers, self.subscribers) {
            (0, pairs) | (pairs, 0) => pairs,
            (publishers, subscribers) => publishers.min(subscribers),
        };
        number % pairs + self.client_offset
    }

    fn expand(&self, pattern: &Pattern, role: Role, number: u32) -> (String, Option<usize>) {
        let client_id = self.client_id(role, number);
        let pair = self.pair(number);
        pattern.expand(Values { number: number + self.client_offset, pair, client_id: &client_id })
    }
}

/// One filter that matches the pair's topic, of three kinds in turn, among many that match nothing.
fn wildcard_filters(pair: u32, number: u32, count: u32) -> Vec<String> {
    let matching = match number % 3 {
        0 => format!("bench/wild/{pair}/a/b"),
        1 => format!("bench/wild/{pair}/+/b"),
        _ => format!("bench/wild/{pair}/#"),
    };
    let others = (1..count).map(|place| match place % 3 {
        0 => format!("bench/wild/{pair}/a/x{place}"),
        1 => format!("bench/wild/+/x{number}/{place}"),
        _ => format!("bench/wild/{pair}/x{place}/#"),
    });
    std::iter::once(matching).chain(others).collect()
}

fn check(options: &Options) -> Result<(), BenchError> {
    let is_cycling = matches!(options.scenario, Scenario::Connect | Scenario::Churn);
    let is_positive = |rate: Option<f64>| rate.is_none_or(|rate| rate.is_finite() && rate > 0.0);
    let times = [options.duration, options.timeout, Some(options.hold), Some(options.patience)];
    let fault = if times.into_iter().flatten().any(|time| time > TIME_MAX) {
        "no time may be longer than a week"
    } else if options.rate_per_s.is_some_and(|rate| rate > RATE_MAX) {
        "--rate may be at most 100,000,000"
    } else if options.window == Some(0) {
        "--window must be at least 1"
    } else if !is_positive(options.rate_per_s) || !is_positive(options.connect_rate_per_s) {
        "--rate and --connect-rate must be more than 0"
    } else if options.receive_maximum == Some(0) {
        "--receive-maximum must be at least 1"
    } else if options.threads == Some(0) || options.connecting_max == 0 {
        "--threads and --connecting-max must be at least 1"
    } else if options.payload_bytes.is_some_and(|bytes| bytes > PAYLOAD_BYTES_MAX) {
        "MQTT has no payloads of more than 256 MiB"
    } else if options.client_offset > OFFSET_MAX {
        "--client-offset may be at most 1,000,000,000"
    } else if (options.keep || options.drain_only)
        && !matches!(options.scenario, Scenario::Offline | Scenario::Retained)
    {
        "--keep is for the scenarios offline and retained, --drain-only for offline"
    } else if options.drain_only && options.scenario != Scenario::Offline {
        "--drain-only is for the scenario offline"
    } else if options.drain_only && options.duration.is_some() {
        "with --drain-only the number of messages must be known: --messages as they were stored"
    } else if is_cycling && (options.messages.is_some() || options.rate_per_s.is_some()) {
        "connect and churn take --cycles, --each and --connect-rate instead of --messages and --rate"
    } else if !is_cycling && (options.cycles.is_some() || options.each.is_some()) {
        "--cycles and --each are for the scenarios connect and churn"
    } else if options.password.is_some() && options.user_name.is_none() && !options.version.is_v5() {
        "a password without a user name is only for MQTT 5"
    } else if options.receive_maximum.is_some() && !options.version.is_v5() {
        "--receive-maximum is only for MQTT 5"
    } else {
        return Ok(());
    };
    Err(BenchError::Option(fault))
}

/// The filter that is to a topic of the user's what the scenario's own is to its own: if that has a wildcard, one subscriber
/// hears several publishers.
fn filter_for(topic: &str, default: &str) -> String {
    let (share, own) = match default.split('/').collect::<Vec<_>>()[..] {
        ["$share", group, ref own @ ..] => (format!("$share/{group}/"), own.concat()),
        ref own => (String::new(), own.concat()),
    };
    if !own.contains(['+', '#']) {
        return format!("{share}{topic}");
    }
    let level = |level: &str| {
        let varies = ["%i", "%p", "%c", "%s"].iter().any(|placeholder| level.contains(placeholder));
        if varies { "+".to_owned() } else { level.to_owned() }
    };
    let levels: Vec<_> = topic.split('/').map(level).collect();
    format!("{share}{}", levels.join("/"))
}

fn pattern(text: &str) -> Result<Pattern, BenchError> {
    Pattern::parse(text)
        .map_err(|fault| BenchError::Placeholder { text: text.to_owned(), fault: PlaceholderFault(fault) })
}

/// Two, if there are two cores: the broker needs some as well.
fn threads() -> u16 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(2) as u16)
}

/// Tells this run from others; not the number of kept messages. Seven hexadecimal digits leave room in a client id.
fn random() -> u32 {
    (RandomState::new().build_hasher().finish() as u32 & 0x0FFF_FFFF).max(1)
}

/// The run that leaves messages behind, and the one that comes for them.
pub(crate) const KEPT_RUN: u32 = 0;

const TIME_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
const RATE_MAX: f64 = 1e8;

/// What a slow broker lets in in a second, for the time limit.
const CONNECTS_PER_S: f64 = 500.0;
const CLIENTS_MAX: u64 = 2_000_000;
const STREAMS_MAX: u64 = 10_000_000;
const OFFSET_MAX: u32 = 1_000_000_000;
const PAYLOAD_BYTES_MAX: usize = 256 * 1024 * 1024 - 128 * 1024;

#[cfg(test)]
mod tests;
