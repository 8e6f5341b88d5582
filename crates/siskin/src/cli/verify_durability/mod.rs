//! `siskin verify-durability`: kills the broker again and again under load, on the user's own disk, and
//! accounts for everything that it had acknowledged.
//!
//! `course.rs` says what happens when; each kind of client has a file; the ledger decides what is wrong.

mod broker;
mod connection;
mod course;
mod dice;
mod directory;
mod ledger;
mod message;
mod publisher;
mod ranges;
mod report;
mod retained;
mod session;
mod subscriber;
mod switcher;
mod wills;
mod world;

use std::ffi::OsString;
use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::broker::{Broker, free_port};
use self::course::{Course, Plan};
use self::dice::Dice;
use self::directory::Directory;
use self::report::Report;
use self::world::World;
use super::client::complain;

/// Kill the broker under load, again and again, and show that it loses nothing it has acknowledged.
///
/// It starts a broker of its own on the loopback address, with its data in DIR: on the disk that is to be
/// trusted. SIGKILL takes the broker away and leaves the system running: it shows what the broker gets
/// wrong, not what a disk forgets that loses power.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Directory for the broker's data and log: a new or empty one, or that of an earlier run
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,

    /// How often to kill the broker
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,

    /// When a message counts as safe, as --store-durability of `siskin serve`
    #[arg(long, value_name = "LEVEL", default_value = "synced")]
    level: Level,

    /// Let the broker keep nothing on disk: shows that this command would notice
    #[arg(long, conflicts_with = "level")]
    no_store: bool,

    /// Argument for the broker, as of `siskin serve`; may be repeated
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    broker_arg: Vec<String>,

    /// Number that decides everything random [default: another one each time]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// Milliseconds under load after which the broker is killed: at random between the two
    #[arg(long, value_name = "MIN-MAX", default_value = "50-800", value_parser = parse_range)]
    kill_after: RangeInclusive<u64>,

    /// Publishers, half of them at QoS 1 and half at QoS 2
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    publishers: u16,

    /// Subscribers, half of them away most of the time; each gets every message
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    subscribers: u16,

    /// Messages a second of each publisher, if the broker acknowledges them as fast
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,

    /// Bytes of a payload, at least what is needed to tell it
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=1_048_576))]
    payload_size: u32,

    /// Seconds without anything new after which what is still missing counts as lost
    #[arg(long, value_name = "SECONDS", default_value = "20", value_parser = parse_seconds)]
    drain_limit: Duration,

    /// Seconds after which the run is given up
    #[arg(long, value_name = "SECONDS", default_value = "1800", value_parser = parse_seconds)]
    timeout: Duration,

    /// Keep the directory though all is well
    #[arg(long)]
    keep: bool,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,

    /// Print the report only, no line for each kill
    #[arg(long)]
    quiet: bool,
}

/// What the broker waits for before it acknowledges.
#[derive(Clone, Copy, ValueEnum)]
enum Level {
    /// The disk has it.
    Synced,
    /// The operating system has it.
    Written,
    /// Nothing: this cannot end well here.
    Memory,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match verify(args) {
        Ok(report) if report.is_well() => ExitCode::SUCCESS,
        Ok(report) if report.stop.is_none() => ExitCode::from(FOUND),
        Ok(_) => ExitCode::from(NOT_FINISHED),
        Err(text) => {
            complain(&format!("Error: {text}."));
            ExitCode::from(NOT_FINISHED)
        }
    }
}

fn verify(args: &Args) -> Result<Report, String> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .map_err(|error| format!("signals cannot be watched: {error}"))?;
    }
    let seed = args.seed.unwrap_or_else(seed_of_now);
    let directory = Directory::take(&args.dir)?;
    let mut dice = Dice::new(seed_of_now(), u64::from(std::process::id()));
    let port = free_port(|| dice.next() as u16).ok_or("no free port was found")?;
    let plan = args.plan();
    if !plan.is_quiet {
        complain(&format!("Verifying with seed {seed} in {}.", directory.path().display()));
    }
    let ledger = course::ledger(&plan);
    let world = World::new(port, seed, args.payload_size as usize, course::clients(&plan), ledger);
    let broker = Broker::new(args.broker_command(port, &directory), directory.log());
    let (starts, outcome) = Course::new(&plan, &broker, &world, &interrupted).run();
    let mut ledger = world.into_ledger();
    if outcome.is_ok() {
        ledger.close();
    }
    let report = Report {
        level: args.level_name(),
        seed,
        directory: directory.path().to_owned(),
        kills_asked: plan.kills,
        kills: ledger.kills(),
        starts,
        flows: ledger.flows(),
        tally: ledger.tally.clone(),
        wills_checked: ledger.wills_checked(),
        findings: ledger.findings,
        stop: outcome.err(),
    };
    if report.is_well() && !args.keep {
        directory.remove()?;
    } else {
        complain(&format!("The broker's data and its log are in {}.", directory.path().display()));
    }
    let text = if args.json { report.to_json() } else { report.to_text() };
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| format!("cannot print: {error}"))?;
    Ok(report)
}

impl Args {
    fn plan(&self) -> Plan {
        Plan {
            kills: self.kills,
            kill_after_ms: self.kill_after.clone(),
            publishers: usize::from(self.publishers),
            subscribers: usize::from(self.subscribers),
            interval: Duration::from_secs(1) / self.rate,
            drain_limit: self.drain_limit,
            look_limit: self.drain_limit.min(LOOK_LIMIT),
            timeout: self.timeout,
            is_quiet: self.quiet,
        }
    }

    /// The command line of the broker. What the user gives for it stands for itself.
    fn broker_command(&self, port: u16, directory: &Directory) -> Vec<OsString> {
        let mut command: Vec<OsString> =
            ["serve", "--bind", "127.0.0.1", "--port", &port.to_string(), "--admin", "off"]
                .map(OsString::from)
                .to_vec();
        // Who is away must find everything: no queue may be full.
        let mut defaults = vec![
            ("--queue-messages-max", u32::MAX.to_string().into()),
            ("--queue-bytes-max", QUEUE_BYTES_MAX.to_string().into()),
        ];
        if self.no_store {
            defaults.push(("--store-durability", "memory".into()));
        } else {
            defaults.push(("--store-dir", directory.store().into_os_string()));
            defaults.push(("--store-durability", self.level_name().into()));
        }
        for (flag, value) in defaults {
            let is_given = |arg: &String| arg.split('=').next() == Some(flag);
            if !self.broker_arg.iter().any(is_given) {
                command.extend([flag.into(), value]);
            }
        }
        command.extend(self.broker_arg.iter().map(OsString::from));
        command
    }

    fn level_name(&self) -> String {
        match (self.no_store, self.level) {
            (true, _) => "none (--no-store)",
            (false, Level::Synced) => "synced",
            (false, Level::Written) => "written",
            (false, Level::Memory) => "memory",
        }
        .to_owned()
    }
}

fn seed_of_now() -> u64 {
    // A clock before 1970 gives the same number each time, which is no harm.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Dice::new(now.as_nanos() as u64, 0).next()
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of seconds"))?;
    let duration = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    if duration > SECONDS_MAX { Err("it is more than a year".to_owned()) } else { Ok(duration) }
}

fn parse_range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let ends = text.split_once('-').unwrap_or((text, text));
    let parse =
        |end: &str| end.parse::<u32>().map_err(|_| format!("`{end}` is not a number of milliseconds"));
    let (min, max) = (parse(ends.0)?, parse(ends.1)?);
    if min > max {
        return Err(format!("{min} is more than {max}"));
    }
    Ok(min.into()..=max.into())
}

/// Exit status: something acknowledged was lost, or something else was not as promised.
const FOUND: u8 = 1;

/// Exit status: the run could not be begun or not be finished.
const NOT_FINISHED: u8 = 2;

/// What a broker that runs has at hand comes at once; no need to wait for it as long as for a full queue.
const LOOK_LIMIT: Duration = Duration::from_secs(5);

const QUEUE_BYTES_MAX: u64 = 1 << 40;

/// So that no point in time is out of reach.
const SECONDS_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

const AFTER_HELP: &str = "\
What it looks at: messages of QoS 1 and 2 that were acknowledged to their publishers,
for subscribers that are there and for those that come back later; QoS 2 messages that
come twice; the order in each topic; sessions; retained messages; wills; SUBSCRIBE and
UNSUBSCRIBE. Now and then the broker is killed again while it starts.

Exit status:
  0  nothing was lost, repeated or changed
  1  something was; the report names the first of it, and DIR stays as it is
  2  the run could not be begun or finished: a wrong flag, a broker that ended by itself,
     the time was up, a signal

Examples:
  siskin verify-durability --dir /var/lib/siskin-verify
  siskin verify-durability --dir ./verify --kills 500 --level written --json
  siskin verify-durability --dir ./verify --kills 1 --no-store";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Tool {
        #[command(flatten)]
        args: Args,
    }

    fn args(flags: &str) -> Result<Args, clap::Error> {
        Tool::try_parse_from(format!("verify {flags}").split_whitespace()).map(|tool| tool.args)
    }

    fn command(flags: &str) -> String {
        let path =
            std::env::temp_dir().join(format!("siskin-command-{}-{}", flags.len(), std::process::id()));
        let directory = Directory::take(&path).unwrap();
        let command =
            args(&format!("--dir d {flags}")).unwrap().broker_command(1234, &directory).join(" ".as_ref());
        directory.remove().unwrap();
        command.to_str().unwrap().replace(path.to_str().unwrap(), "DIR")
    }

    #[test]
    fn the_broker_keeps_its_data_in_the_directory_unless_it_shall_keep_none() {
        assert_eq!(
            command("--level written"),
            "serve --bind 127.0.0.1 --port 1234 --admin off --queue-messages-max 4294967295 --queue-bytes-max \
             1099511627776 --store-dir DIR/store --store-durability written"
        );
        assert!(command("--no-store").ends_with("--store-durability memory"));
    }

    #[test]
    fn what_the_user_says_to_the_broker_stands_for_itself() {
        let flags = "--no-store --broker-arg --queue-bytes-max=5 --broker-arg --workers --broker-arg 1";
        assert_eq!(
            command(flags),
            "serve --bind 127.0.0.1 --port 1234 --admin off --queue-messages-max 4294967295 --store-durability memory \
             --queue-bytes-max=5 --workers 1"
        );
    }

    #[test]
    fn a_range_has_one_end_or_two() {
        let range =
            |text: &str| args(&format!("--dir d --kill-after {text}")).map(|args| args.kill_after).ok();
        assert_eq!(range("50-800"), Some(50..=800));
        assert_eq!(range("7"), Some(7..=7));
        for wrong in ["8-7", "-5", "a-b", "1-", ""] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn seconds_may_have_a_fraction_and_are_never_too_many() {
        assert_eq!(parse_seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["-1", "x", "nan", "1e30", "1e9"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
    }
}
