//! `siskin explain message`: publishes followed on their way, as they come.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::ArgGroup;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::super::ctl::{Trace, text};
use super::{Api, Failure, View};

/// Follow messages on their way, as they are published
///
/// Tells of each who was to have it, when it was safe, who got it, who did not and why. It ends after so many messages, when its time is over, or with Ctrl-C; the broker then follows no more. Status 1 says
/// that no message came.
#[derive(clap::Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true)))]
pub(super) struct Message {
    /// Only messages on topics that this filter matches
    #[arg(short, long, value_name = "FILTER", group = "which", allow_hyphen_values = true)]
    topic: Option<String>,

    /// Only messages that this client publishes
    #[arg(short, long, value_name = "ID", group = "which", allow_hyphen_values = true)]
    client: Option<String>,

    /// Messages at most
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,

    /// Seconds at most
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=3600))]
    timeout: u32,
}

/// What is known of one message and not yet printed.
#[derive(Default)]
struct Pending {
    stations: Vec<Value>,
    since: Option<Instant>,
}

/// What was printed of a message.
struct Printed {
    topic: String,
    received_ms: u64,
}

impl Message {
    pub(super) fn run(&self, api: &Api, view: &mut View<'_>) -> Result<(), Failure> {
        let is_over = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            let register = signal_hook::flag::register(signal, Arc::clone(&is_over));
            register.map_err(|error| Failure::Usage(format!("signals cannot be caught: {error}")))?;
        }
        let wanted = json!({
            "topic": self.topic, "client_id": self.client, "count": self.count, "seconds": self.timeout,
        });
        let trace = Trace::arm(api, &wanted)?;
        let messages = if self.count == 1 { "message" } else { "messages" };
        note(&format!("following {} {messages} at most for {} s; Ctrl-C ends it", self.count, self.timeout));
        let (mut after, mut pages) = (0, Pages::new(view.is_json));
        let ended = loop {
            let is_last = is_over.load(Ordering::Relaxed);
            let answer = trace.read(after)?;
            after = answer["next"].as_u64().unwrap_or(after);
            for station in answer["stations"].as_array().into_iter().flatten() {
                pages.add(station, view.out)?;
            }
            let ended = answer["ended"].as_str().map(str::to_owned);
            let ended = ended.or_else(|| is_last.then(|| "stopped".to_owned()));
            pages.print(ended.is_some(), view.out)?;
            view.out.flush()?;
            if let Some(ended) = ended {
                if answer["cut"] == true {
                    note("the broker has noted more than it keeps of a trace");
                }
                break ended;
            }
            thread::sleep(LOOK_EVERY);
        };
        pages.finish(&ended)
    }
}

/// Messages whose stations come in any order, printed one by one.
struct Pages {
    is_json: bool,
    pending: BTreeMap<u64, Pending>,
    printed: BTreeMap<u64, Printed>,
    zone: TimeZone,
}

impl Pages {
    fn new(is_json: bool) -> Self {
        Self { is_json, pending: BTreeMap::new(), printed: BTreeMap::new(), zone: TimeZone::system() }
    }

    fn add(&mut self, station: &Value, out: &mut dyn io::Write) -> Result<(), Failure> {
        let number = station["message"].as_u64().unwrap_or(0);
        if self.is_json {
            writeln!(out, "{station}")?;
            self.printed.entry(number).or_insert(Printed { topic: String::new(), received_ms: 0 });
            return Ok(());
        }
        let pending = self.pending.entry(number).or_default();
        pending.since = Some(Instant::now());
        pending.stations.push(station.clone());
        Ok(())
    }

    /// Prints those messages to which nothing was added for a while, or all.
    fn print(&mut self, is_end: bool, out: &mut dyn io::Write) -> Result<(), Failure> {
        let is_due = |pending: &Pending| pending.since.is_none_or(|since| since.elapsed() >= QUIET);
        let due: Vec<u64> =
            self.pending.iter().filter(|(_, p)| is_end || is_due(p)).map(|(number, _)| *number).collect();
        for number in due {
            let stations = self.pending.remove(&number).map(|pending| pending.stations).unwrap_or_default();
            self.print_one(number, &stations, out)?;
        }
        Ok(())
    }

    fn print_one(&mut self, number: u64, stations: &[Value], out: &mut dyn io::Write) -> Result<(), Failure> {
        let at = |station: &Value| station["unix_ms"].as_u64().unwrap_or(0);
        let mut rest = stations;
        if let [first, others @ ..] = stations
            && first["station"] == "received"
        {
            rest = others;
            let printed = Printed { topic: text(&first["topic"]), received_ms: at(first) };
            writeln!(out, "{}  #{number} {}", self.time(printed.received_ms), text(&first["text"]))?;
            self.printed.insert(number, printed);
        } else if let (Some(printed), Some(first)) = (self.printed.get(&number), stations.first()) {
            writeln!(
                out,
                "{}  #{number} later, of the message on '{}'",
                self.time(at(first)),
                printed.topic
            )?;
        }
        let received_ms = self.printed.get(&number).map_or(0, |printed| printed.received_ms);
        for station in rest {
            let after = Span(at(station).saturating_sub(received_ms)).to_string();
            writeln!(out, "  {after:>11}  {}", text(&station["text"]))?;
        }
        writeln!(out)?;
        Ok(())
    }

    fn time(&self, unix_ms: u64) -> String {
        let moment = Timestamp::from_millisecond(unix_ms.try_into().unwrap_or(0)).unwrap_or_default();
        moment.to_zoned(self.zone.clone()).strftime("%H:%M:%S.%3f").to_string()
    }

    fn finish(&self, ended: &str) -> Result<(), Failure> {
        let count = self.printed.len();
        let messages = if count == 1 { "message was" } else { "messages were" };
        let why = match ended {
            "time" => "the time is over: ",
            "failed" => "the broker does not answer any more: ",
            _ => "",
        };
        match count {
            0 => Err(Failure::Refused(format!("{why}no such message was published"))),
            count => {
                note(&format!("{why}{count} {messages} followed"));
                Ok(())
            }
        }
    }
}

/// Says something to whoever watches, and not to whoever reads the output.
fn note(text: &str) {
    _ = writeln!(io::stderr(), "{text}");
}

/// A short time behind a plus.
struct Span(u64);

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            ms @ 0..10_000 => write!(f, "+{ms} ms"),
            ms => write!(f, "+{:.1} s", ms as f64 / 1000.0),
        }
    }
}

/// How often the broker is asked what is new.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A message is printed when nothing was noted of it for so long; what comes later is printed on its own.
const QUIET: Duration = Duration::from_millis(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_printed_as_a_whole_and_what_comes_later_on_its_own() {
        let mut pages = Pages { zone: TimeZone::UTC, ..Pages::new(false) };
        let mut out = Vec::new();
        let station = |unix_ms: u64, station: &str, words: &str| json!({ "message": 1, "unix_ms": unix_ms, "station": station, "topic": "a\u{1b}", "text": words });
        pages.add(&station(1000, "received", "a message on 'a' from 'p'"), &mut out).unwrap();
        pages.add(&station(1003, "routed", "due to 1 session"), &mut out).unwrap();
        pages.print(false, &mut out).unwrap();
        assert!(out.is_empty());
        pages.print(true, &mut out).unwrap();
        pages.add(&station(13_500, "acknowledged", "acknowledged by 's'"), &mut out).unwrap();
        pages.print(true, &mut out).unwrap();
        let expected = "00:00:01.000  #1 a message on 'a' from 'p'\n        +3 ms  due to 1 session\n\n\
                        00:00:13.500  #1 later, of the message on 'a\\u{1b}'\n      +12.5 s  acknowledged by 's'\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert!(pages.finish("time").is_ok());
    }
}
