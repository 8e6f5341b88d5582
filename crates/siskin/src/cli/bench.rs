//! `siskin bench`: load for a broker, and an exact account of what became of it.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::builder::PossibleValue;
use clap::{ArgAction, ValueEnum};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use siskin_bench::{Options, Plan, Progress, Report, Scenario, WindowOn};
use siskin_proto::{Qos, Version};

use super::client::{complain, parse_qos, parse_version};

/// Put load on an MQTT broker and account for every message.
///
/// Works with any broker. Each payload carries its publisher, a sequence number and the time at which it was
/// due, so that lost, duplicated and misordered messages are counted exactly and latency is end to end. A run
/// ends after --duration, --messages or --cycles, and in any case after --timeout.
#[derive(clap::Args)]
#[command(disable_help_flag = true, after_help = AFTER_HELP)]
#[command(override_usage = "siskin bench SCENARIO [OPTIONS]")]
pub(crate) struct Args {
    /// What load
    #[arg(value_name = "SCENARIO", value_enum)]
    scenario: Named,

    /// Host name or address of the broker
    #[arg(short = 'h', long, value_name = "HOST", default_value = "localhost", help_heading = CONNECTION)]
    host: String,

    /// TCP port of the broker
    #[arg(short, long, value_name = "PORT", default_value_t = 1883, value_parser = clap::value_parser!(u16).range(1..), help_heading = CONNECTION)]
    port: u16,

    /// Protocol version: 5, 311 or 31
    #[arg(short = 'V', long, value_name = "VERSION", default_value = "5", value_parser = parse_version, help_heading = CONNECTION)]
    protocol_version: Version,

    /// User name
    #[arg(short, long, value_name = "NAME", allow_hyphen_values = true, help_heading = CONNECTION)]
    username: Option<String>,

    /// Password; without a user name only in MQTT 5
    #[arg(short = 'P', long = "pw", value_name = "PASSWORD", allow_hyphen_values = true, help_heading = CONNECTION)]
    password: Option<String>,

    /// Ask for sessions that last: clean start (before 5: clean session) 0. The scenario offline does anyway
    #[arg(short = 'c', long, help_heading = CONNECTION)]
    disable_clean_session: bool,

    /// Seconds until the broker forgets a session after its connection ended (MQTT 5)
    /// [default: 0; offline: 3600]
    #[arg(short = 'x', long, value_name = "SECONDS", help_heading = CONNECTION)]
    session_expiry_interval: Option<u32>,

    /// Keep alive in seconds; 0 for none
    #[arg(short, long, value_name = "SECONDS", default_value_t = 0, help_heading = CONNECTION)]
    keepalive: u16,

    /// How many QoS 1 and 2 messages a subscriber lets the broker have unacknowledged (MQTT 5)
    /// [default: 65535]
    #[arg(long, value_name = "COUNT", help_heading = CONNECTION)]
    receive_maximum: Option<u16>,

    /// Client identifiers are PREFIX, then p (publisher) or s (subscriber), then the number
    /// [default: sb and seven random digits, other for each run]
    #[arg(short = 'I', long, value_name = "PREFIX", allow_hyphen_values = true, help_heading = CONNECTION)]
    id_prefix: Option<String>,

    /// Connect from these addresses in turn: one, or the first and the last of a range, as in
    /// 127.0.0.1-127.0.0.50. Each is good for about 28,000 connections
    #[arg(short = 'A', long, value_name = "ADDRESS[-ADDRESS]", value_parser = parse_sources, help_heading = CONNECTION)]
    bind: Option<Sources>,

    /// Use TLS, and trust those whose certificates are in this PEM file
    #[arg(long, value_name = "FILE", help_heading = CONNECTION)]
    cafile: Option<PathBuf>,

    /// Use WebSocket, at this path
    #[arg(long, value_name = "PATH", num_args = 0..=1, default_missing_value = "/mqtt", help_heading = CONNECTION)]
    ws: Option<String>,

    /// Connections begun in a second at most [default: as many as go]
    #[arg(long, value_name = "RATE", help_heading = CONNECTION)]
    connect_rate: Option<f64>,

    /// Connections begun and not yet answered at most
    #[arg(long, value_name = "COUNT", default_value_t = 100, help_heading = CONNECTION)]
    connecting_max: u32,

    /// N: how many clients of the kind that the scenario has many of
    #[arg(short = 'n', long, value_name = "N", help_heading = LOAD)]
    clients: Option<u32>,

    /// How many publish [default: for the scenario to say]
    #[arg(long, value_name = "COUNT", help_heading = LOAD)]
    publishers: Option<u32>,

    /// How many subscribe [default: for the scenario to say]
    #[arg(long, value_name = "COUNT", help_heading = LOAD)]
    subscribers: Option<u32>,

    /// Add this to all client numbers: for several processes that share a load
    #[arg(long, value_name = "NUMBER", default_value_t = 0, help_heading = LOAD)]
    client_offset: u32,

    /// Topic to publish to, with placeholders (below)
    #[arg(short, long, value_name = "TOPIC", allow_hyphen_values = true, help_heading = LOAD)]
    topic: Option<String>,

    /// Filter to subscribe to, with placeholders (below); may be repeated
    #[arg(short, long, value_name = "FILTER", allow_hyphen_values = true, help_heading = LOAD)]
    filter: Vec<String>,

    /// K: filters of each subscriber in the scenario wildcard
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1_000_000), help_heading = LOAD)]
    filters: Option<u32>,

    /// Quality of service of what is published: 0, 1 or 2
    #[arg(short, long, value_name = "QOS", value_parser = parse_qos, help_heading = LOAD)]
    qos: Option<Qos>,

    /// Quality of service of the subscriptions [default: that of what is published]
    #[arg(long, value_name = "QOS", value_parser = parse_qos, help_heading = LOAD)]
    subscribe_qos: Option<Qos>,

    /// Publish with the RETAIN flag
    #[arg(short, long, help_heading = LOAD)]
    retain: bool,

    /// Payload in bytes, or with a unit as 64KiB. Below 24 bytes there is no room for the accounting
    /// [default: 64; large: 64KiB]
    #[arg(short = 's', long, value_name = "SIZE", value_parser = parse_size, help_heading = LOAD)]
    payload_size: Option<usize>,

    /// Publish so many messages in all, dealt evenly to the publishers. With --duration, whichever ends first
    #[arg(short = 'm', long, value_name = "COUNT", help_heading = LOAD)]
    messages: Option<u64>,

    /// Publish for so long: 10s, 500ms, 2m
    #[arg(short, long, value_name = "TIME", value_parser = parse_time, help_heading = LOAD)]
    duration: Option<Duration>,

    /// Closed loop: how many messages each publisher may have on their way [default: 64; large: 4; offline: 1]
    #[arg(short, long, value_name = "COUNT", conflicts_with = "rate", help_heading = LOAD)]
    window: Option<u16>,

    /// What makes room in the window: the acknowledgement of a message, or that all its copies have arrived
    /// (and the acknowledgement, if there is one). At QoS 0 always the arrival
    /// [default: ack; arrival in fanout, fanin, shared, wildcard, large]
    #[arg(long, value_name = "WHAT", value_enum, help_heading = LOAD)]
    window_on: Option<RoomOn>,

    /// Open loop: publish so many messages a second in all, each at a time fixed beforehand from which its
    /// latency counts, whether the broker keeps up or not
    #[arg(long, value_name = "RATE", help_heading = LOAD)]
    rate: Option<f64>,

    /// connect, churn: end after so many connections
    #[arg(long, value_name = "COUNT", help_heading = LOAD)]
    cycles: Option<u64>,

    /// connect, churn: messages that each connection publishes [default: 0; churn: 1]
    #[arg(long, value_name = "COUNT", help_heading = LOAD)]
    each: Option<u32>,

    /// idle: how long to do nothing
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time, help_heading = LOAD)]
    hold: Duration,

    /// offline, retained: leave on the broker what was stored there
    #[arg(long, help_heading = LOAD)]
    keep: bool,

    /// offline: only come for what an earlier run with --keep has left, given the same numbers
    #[arg(long, conflicts_with = "keep", help_heading = LOAD)]
    drain_only: bool,

    /// Process number of the broker, on this machine: its CPU time, memory and writes are reported
    #[arg(long, value_name = "PID", help_heading = MEASURING)]
    pid: Option<u32>,

    /// Threads of this tool [default: 2, or 1 on a single core]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=64), help_heading = MEASURING)]
    threads: Option<u16>,

    /// Wait so long for messages that are missing
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_time, help_heading = MEASURING)]
    patience: Duration,

    /// Give up after so long and report what is missing
    /// [default: --duration, --hold, the time that connecting may take, and a minute; instead of the minute five where no
    /// duration ends it]
    #[arg(long, value_name = "TIME", value_parser = parse_time, help_heading = MEASURING)]
    timeout: Option<Duration>,

    /// Print the report as JSON
    #[arg(short, long, help_heading = MEASURING)]
    json: bool,

    /// Show each second on stderr how it goes, also where that is no terminal
    #[arg(long, help_heading = MEASURING)]
    progress: bool,

    /// Print this help
    #[arg(long, action = ArgAction::HelpLong, help_heading = MEASURING)]
    help: Option<bool>,
}

pub(crate) fn run(args: Args) -> ExitCode {
    let (is_json, shows) = (args.json, args.progress || stderr().is_terminal());
    let options = args.options();
    if let Err(error) = stop_on_signals(&options.stop) {
        complain(&format!("Error: {error}"));
        return ExitCode::from(NO_RUN);
    }
    let outcome = Plan::new(options).and_then(|plan| {
        let report = siskin_bench::run(plan, &mut |progress| {
            if shows {
                show(progress);
            }
        });
        if shows && stderr().is_terminal() {
            let _ = write!(stderr(), "{CLEAR_LINE}");
        }
        report
    });
    match outcome {
        Ok(report) => print(&report, is_json),
        Err(error) => {
            complain(&format!("Error: {error}"));
            ExitCode::from(NO_RUN)
        }
    }
}

/// Ctrl-C ends a run with a report of what there is, a second one at once.
fn stop_on_signals(stop: &Arc<AtomicBool>) -> std::io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(stop))?;
        flag::register(signal, Arc::clone(stop))?;
    }
    Ok(())
}

fn print(report: &Report, is_json: bool) -> ExitCode {
    let text = if is_json { report.to_json() } else { report.to_string() };
    // If nobody reads the report, the exit status still tells.
    let _ = writeln!(stdout(), "{text}");
    if report.failures().is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

/// One line that each next one takes the place of.
fn show(progress: &Progress) {
    let Progress { stage, elapsed, connected, cycles, sent, received, .. } = progress;
    let cycles = if *cycles > 0 { format!(", {cycles} came and left") } else { String::new() };
    let bar = progress.done.map_or(String::new(), |done| {
        let full = (done * BAR_CHARS as f64).round() as usize;
        format!(" [{}{}] {:.0} %", "#".repeat(full), ".".repeat(BAR_CHARS - full), done * 100.0)
    });
    let line = format!(
        "{:>4} s {stage}{bar}: {connected} connected{cycles}, {sent} sent ({:.0}/s), {received} received ({:.0}/s)",
        elapsed.as_secs(),
        progress.sent_per_s,
        progress.received_per_s,
    );
    let mut out = stderr().lock();
    let _ = if out.is_terminal() { write!(out, "{CLEAR_LINE}{line}") } else { writeln!(out, "{line}") };
    let _ = out.flush();
}

impl Args {
    fn options(self) -> Options {
        Options {
            host: self.host,
            port: self.port,
            version: self.protocol_version,
            user_name: self.username,
            password: self.password,
            clean_start: !self.disable_clean_session,
            session_expiry_s: self.session_expiry_interval,
            receive_maximum: self.receive_maximum,
            keep_alive_s: self.keepalive,
            id_prefix: self.id_prefix,
            clients: self.clients,
            publishers: self.publishers,
            subscribers: self.subscribers,
            client_offset: self.client_offset,
            topic: self.topic,
            filters: self.filter,
            filters_each: self.filters,
            qos: self.qos,
            subscribe_qos: self.subscribe_qos,
            retain: self.retain,
            payload_bytes: self.payload_size,
            messages: self.messages,
            duration: self.duration,
            window: self.window,
            window_on: self.window_on.map(|room| match room {
                RoomOn::Ack => WindowOn::Acknowledgement,
                RoomOn::Arrival => WindowOn::Arrival,
            }),
            rate_per_s: self.rate,
            connect_rate_per_s: self.connect_rate,
            connecting_max: self.connecting_max,
            sources: self.bind.map_or(Vec::new(), |sources| sources.0),
            ca: self.cafile,
            websocket_path: self.ws,
            cycles: self.cycles,
            each: self.each,
            hold: self.hold,
            keep: self.keep,
            drain_only: self.drain_only,
            pid: self.pid,
            threads: self.threads,
            timeout: self.timeout,
            patience: self.patience,
            ..Options::new(self.scenario.0)
        }
    }
}

/// A scenario as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Named(Scenario);

impl ValueEnum for Named {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [Named; Scenario::ALL.len()] = {
            let mut all = [Named(Scenario::Pairs); Scenario::ALL.len()];
            let mut place = 0;
            while place < all.len() {
                all[place] = Named(Scenario::ALL[place]);
                place += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()).help(self.0.about()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RoomOn {
    /// PUBACK or PUBCOMP
    Ack,
    /// Every subscriber has the message, on the average over them
    Arrival,
}

/// Addresses to connect from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sources(Vec<IpAddr>);

fn parse_sources(text: &str) -> Result<Sources, String> {
    let address = |text: &str| text.parse::<IpAddr>().map_err(|_| format!("{text:?} is no IP address"));
    let Some((first, last)) = text.split_once('-') else { return Ok(Sources(vec![address(text)?])) };
    let (IpAddr::V4(first), IpAddr::V4(last)) = (address(first)?, address(last)?) else {
        return Err("a range is of IPv4 addresses".to_owned());
    };
    let (first, last) = (u32::from(first), u32::from(last));
    match last.checked_sub(first) {
        None => Err("the range ends before it begins".to_owned()),
        Some(count) if count >= SOURCES_MAX => {
            Err(format!("a range may have {SOURCES_MAX} addresses at most"))
        }
        Some(_) => Ok(Sources((first..=last).map(|address| Ipv4Addr::from(address).into()).collect())),
    }
}

fn parse_size(text: &str) -> Result<usize, String> {
    let (digits, unit) = split_unit(text);
    let factor = match unit {
        "" | "B" => 1,
        "KiB" | "K" | "k" => 1024,
        "MiB" | "M" => 1024 * 1024,
        _ => return Err(format!("{unit:?} is no unit of size: B, KiB or MiB")),
    };
    let number: usize = digits.parse().map_err(|_| "expected a number, as in 64 or 64KiB".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "too large".to_owned())
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let (digits, unit) = split_unit(text);
    let seconds = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("{unit:?} is no unit of time: ms, s, m or h")),
    };
    let number: f64 = digits.parse().map_err(|_| "expected a number, as in 10s or 500ms".to_owned())?;
    let time = number * seconds;
    if time > 0.0 && time <= TIME_S_MAX {
        Ok(Duration::from_secs_f64(time))
    } else {
        Err("expected more than 0 and at most 24h".to_owned())
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|character: char| !character.is_ascii_digit() && character != '.');
    text.split_at(end.unwrap_or(text.len()))
}

const AFTER_HELP: &str = "\
Placeholders in topics and filters: %i the number of the client among those of its kind, %p the number of its \
pair (its number modulo the smaller of the numbers of publishers and subscribers), %c its client identifier, %s \
the sequence number of the message with eight digits (topics only), %% a percent sign.

Closed loop, without --rate: a publisher that has --window messages on their way waits. At QoS 1 and 2 a message \
is on its way until it is acknowledged. At QoS 0 nothing is acknowledged, and it is until every subscriber that \
it is due to has it or a later one, on the average over them; if all that is on its way is lost, the publisher goes on after a second, and \
the report says so. With --topic and without --filter, the filters are those that match the topic. Without subscribers QoS 0 goes as fast as the sockets take it. An MQTT 5 broker may narrow \
the window, and the report says to what. Earlier versions have no word for that: Mosquitto, by default, ends \
connections with more than 20 QoS 2 messages on their way (use --window 20).

Latency counts until a delivery or an acknowledgement was read from the socket: in closed loop from the moment \
at which the message was put together to be written, in open loop from the moment at which it was due, however \
late it was written; how late that was is shown as well.

Ctrl-C ends a run with a report of what there is, and leaves what is retained or kept for sessions where it is; a second \
one ends it at once. Processes that share a load with --client-offset do so in pairs, latency, large, wildcard and \
idle; in the other scenarios their messages would reach each other's subscribers.

Exit status: 0 if all is well; 1 if a message of QoS 1 or 2 was lost or not accepted, one of QoS 0 or 2 came \
twice, none arrived at all, order was broken, a connection was lost, or the time limit or Ctrl-C came first; 2 if there was \
no run, as when connections were refused.

Examples:
  siskin bench pairs --clients 100 --qos 1 --duration 10s
  siskin bench fanout --clients 5000 --messages 1000 --pid $(pidof mosquitto)
  siskin bench latency --rate 20000 --json
  siskin bench idle --clients 100000 --bind 127.0.0.1-127.0.0.10 --pid 4711";

const CONNECTION: &str = "Connection";
const LOAD: &str = "Load";
const MEASURING: &str = "Measuring";

const BAR_CHARS: usize = 20;

/// Back to the beginning of the line, and nothing on it.
const CLEAR_LINE: &str = "\r\x1b[K";

const SOURCES_MAX: u32 = 65_536;
const TIME_S_MAX: f64 = 24.0 * 3600.0;

const FAILED: u8 = 1;
const NO_RUN: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn options(line: &str) -> Result<Options, clap::Error> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Cli::try_parse_from(words).map(|cli| cli.args.options())
    }

    #[test]
    fn flags_reach_the_plan() {
        let options = options(
            "offline -h there -p 1884 -V 311 -u me -P secret -c -n 7 --publishers 3 --subscribers 5 -q 2 -r \
             --subscribe-qos 1 -t a/%i -f a/+ -f b -s 64KiB -m 1000 -d 500ms -w 1 --window-on arrival \
             --bind 127.0.0.1-127.0.0.3 --connect-rate 10.5 --client-offset 100 --keep --timeout 2m --pid 1",
        )
        .unwrap();
        assert_eq!(
            (options.scenario, options.host.as_str(), options.port),
            (Scenario::Offline, "there", 1884)
        );
        assert_eq!((options.version, options.clean_start), (Version::V3_1_1, false));
        assert_eq!((options.clients, options.publishers, options.subscribers), (Some(7), Some(3), Some(5)));
        assert_eq!((options.qos, options.subscribe_qos), (Some(Qos::ExactlyOnce), Some(Qos::AtLeastOnce)));
        assert_eq!(
            (options.topic.as_deref(), options.filters),
            (Some("a/%i"), vec!["a/+".into(), "b".into()])
        );
        assert_eq!((options.payload_bytes, options.messages), (Some(65_536), Some(1000)));
        assert_eq!(
            (options.duration, options.timeout),
            (Some(Duration::from_millis(500)), Some(Duration::from_secs(120)))
        );
        assert_eq!((options.window, options.window_on), (Some(1), Some(WindowOn::Arrival)));
        assert_eq!(options.sources.len(), 3);
        assert_eq!((options.connect_rate_per_s, options.client_offset), (Some(10.5), 100));
        assert!(options.keep && options.retain);
        assert_eq!(
            (options.pid, options.user_name.as_deref(), options.password.as_deref()),
            (Some(1), Some("me"), Some("secret"))
        );
    }

    #[test]
    fn every_scenario_has_its_name() {
        for scenario in Scenario::ALL {
            assert_eq!(options(scenario.name()).unwrap().scenario, scenario);
        }
        let error = options("pears").err().unwrap().to_string();
        assert!(error.contains("pairs"), "{error}");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "",
            "pairs -q 3",
            "pairs -w 1 --rate 5",
            "pairs -s 1GB",
            "pairs -d 0s",
            "pairs -d x",
            "pairs -p 0",
        ] {
            assert!(options(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_range_of_addresses_has_both_ends_and_a_limit() {
        let of = |text| parse_sources(text).map(|sources| sources.0.len());
        assert_eq!(of("127.0.0.1-127.0.1.0"), Ok(256));
        assert_eq!(of("::1"), Ok(1));
        for wrong in ["", "a", "127.0.0.2-127.0.0.1", "127.0.0.1-128.0.0.1", "::1-::2"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(parse_time("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_time("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_time("7"), Ok(Duration::from_secs(7)));
        assert!(parse_time("1e99s").is_err() && parse_time("25h").is_err());
        assert_eq!((parse_size("1MiB"), parse_size("24")), (Ok(1 << 20), Ok(24)));
        assert!(parse_size("99999999999999999999").is_err() && parse_size("-1").is_err());
    }
}
