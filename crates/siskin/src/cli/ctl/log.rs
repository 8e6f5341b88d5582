//! `siskin ctl log`: what happens to clients and messages, as it happens.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{Api, Failure, Trace, View, text};

/// Print what happens to clients: who comes and goes, is refused, is denied something, loses messages
///
/// Prints the latest such events, and with -f goes on with those that happen, subscriptions included, until Ctrl-C. The
/// broker need not be started again for it, and gathers nothing while nobody follows.
#[derive(clap::Args)]
pub(super) struct Log {
    /// Only events of this client
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    client: Option<String>,

    /// Only events of clients from this address or network, like 192.0.2.0/24, or unix
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,

    /// Only events about topics that this filter matches, or about filters that have a topic in common with it
    #[arg(long, value_name = "FILTER", allow_hyphen_values = true)]
    topic: Option<String>,

    /// Only events that matter so much
    #[arg(long, value_name = "LEVEL", default_value = "debug")]
    level: Level,

    /// Of the events that were before, so many at most [default: 100, with -f 10]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    limit: Option<u16>,

    /// Go on with what happens from now on
    #[arg(short, long)]
    follow: bool,

    /// Follow messages too, on their way from --client or on topics of --topic
    #[arg(long, requires = "follow")]
    messages: bool,

    /// Append to this file instead of printing
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Level {
    /// All
    Debug,
    /// Who came and went, and what is a warning
    Info,
    /// Refused, denied, dropped, late, cut off
    Warn,
}

/// What is followed comes from two sides.
enum News {
    Event(Value),
    /// The broker has ended the answer, for this reason.
    End(String),
}

impl Log {
    pub(super) fn run(&self, api: &Api, view: &mut View<'_>) -> Result<(), Failure> {
        if self.messages && self.client.is_none() && self.topic.is_none() {
            let message = "--messages needs --client or --topic: which messages are to be followed?";
            return Err(Failure::Usage(message.to_owned()));
        }
        let mut file = self.output.as_ref().map(|path| self.open(path)).transpose()?;
        let mut printer = Printer {
            is_json: view.is_json,
            is_dated: file.is_some(),
            zone: TimeZone::system(),
            out: match &mut file {
                Some(file) => file,
                None => view.out,
            },
        };
        if self.follow {
            return self.follow(api, &mut printer);
        }
        let answer = api.get("/api/v1/events", &self.query(100))?;
        for event in answer["events"].as_array().into_iter().flatten() {
            printer.event(event)?;
        }
        printer.out.flush()?;
        Ok(())
    }

    fn open(&self, path: &PathBuf) -> Result<File, Failure> {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        opened.map_err(|error| Failure::Usage(format!("{} cannot be written: {error}", path.display())))
    }

    fn query(&self, limit: u16) -> Vec<(&'static str, String)> {
        let level = match self.level {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
        };
        let mut query = vec![
            ("level", level.to_owned()),
            ("limit", self.limit.unwrap_or(limit).to_string()),
            ("follow", self.follow.to_string()),
        ];
        let filters = [("client_id", &self.client), ("address", &self.address), ("topic", &self.topic)];
        query.extend(filters.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))));
        query
    }

    fn follow(&self, api: &Api, printer: &mut Printer<'_>) -> Result<(), Failure> {
        let is_over = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            let register = signal_hook::flag::register(signal, Arc::clone(&is_over));
            register.map_err(|error| Failure::Usage(format!("signals cannot be caught: {error}")))?;
        }
        let mut messages = self.messages.then(|| Messages::arm(self, api)).transpose()?;
        let lines = api.stream("/api/v1/events", &self.query(10))?;
        let (tell, told) = mpsc::channel();
        thread::spawn(move || read(lines, &tell));
        let mut is_last = false;
        while !is_last {
            // What has happened by now is still to be seen.
            is_last = is_over.load(Ordering::Relaxed);
            if is_last {
                thread::sleep(LOOK_EVERY);
            }
            let end = take(&told, printer)?;
            if let Some(messages) = &mut messages {
                messages.look(self, api, printer)?;
            }
            printer.out.flush()?;
            if let Some(why) = end {
                return Err(Failure::Unreachable(format!("the broker has ended the log: {why}")));
            }
        }
        Ok(())
    }
}

/// Reads lines until there are no more.
fn read(lines: impl BufRead, tell: &Sender<News>) {
    let mut why = "it has stopped, or its admin API has".to_owned();
    for line in lines.lines() {
        match line {
            // The pulse.
            Ok(line) if line.is_empty() => {}
            Ok(line) => {
                let Ok(event) = serde_json::from_str(&line) else { continue };
                if tell.send(News::Event(event)).is_err() {
                    return;
                }
            }
            Err(error) => {
                why = error.to_string();
                break;
            }
        }
    }
    // Nobody waits for it any more.
    _ = tell.send(News::End(why));
}

/// Prints what has come, and waits a little if that is nothing. Why there will be no more, if so.
fn take(told: &Receiver<News>, printer: &mut Printer<'_>) -> Result<Option<String>, Failure> {
    let mut news = told.recv_timeout(LOOK_EVERY);
    loop {
        match news {
            Ok(News::Event(event)) => printer.event(&event)?,
            Ok(News::End(why)) => return Ok(Some(why)),
            Err(RecvTimeoutError::Disconnected) => return Ok(Some("it cannot be read".to_owned())),
            Err(RecvTimeoutError::Timeout) => return Ok(None),
        }
        news = told.try_recv().map_err(|_| RecvTimeoutError::Timeout);
    }
}

/// The trace of messages, armed anew when it has ended by itself.
struct Messages<'a> {
    trace: Option<Trace<'a>>,
    after: u64,
    /// Of all traces before.
    count: u64,
}

impl<'a> Messages<'a> {
    fn arm(log: &Log, api: &'a Api) -> Result<Self, Failure> {
        Ok(Self { trace: Some(Self::order(log, api)?), after: 0, count: 0 })
    }

    fn order(log: &Log, api: &'a Api) -> Result<Trace<'a>, Failure> {
        let wanted = json!({ "topic": log.topic, "client_id": log.client, "count": 1000, "seconds": 3600 });
        Trace::arm(api, &wanted)
    }

    fn look(&mut self, log: &Log, api: &'a Api, printer: &mut Printer<'_>) -> Result<(), Failure> {
        let Some(trace) = &self.trace else { return Ok(()) };
        let answer = trace.read(self.after)?;
        for station in answer["stations"].as_array().into_iter().flatten() {
            printer.station(station, self.count)?;
        }
        self.after = answer["next"].as_u64().unwrap_or(self.after);
        if !answer["ended"].is_null() {
            self.count += answer["messages"].as_u64().unwrap_or(0);
            self.after = 0;
            self.trace = None;
            match Self::order(log, api) {
                Ok(trace) => self.trace = Some(trace),
                Err(failure) => {
                    // The events go on.
                    _ = writeln!(io::stderr(), "messages are not followed any more: {failure}");
                }
            }
        }
        Ok(())
    }
}

/// Lines, for people or for programs.
struct Printer<'a> {
    is_json: bool,
    /// Whether each line has its date.
    is_dated: bool,
    zone: TimeZone,
    out: &'a mut dyn Write,
}

impl Printer<'_> {
    fn event(&mut self, event: &Value) -> Result<(), Failure> {
        if self.is_json {
            writeln!(self.out, "{event}")?;
            return Ok(());
        }
        if event["event"] == "missed" {
            let count = &event["count"];
            writeln!(self.out, "... {count} events were missed: they came faster than they were read")?;
            return Ok(());
        }
        let (time, level, words) = (self.time(event), text(&event["level"]), text(&event["text"]));
        let mut line = format!("{time}  {level:<5}  ");
        if !event["client_id"].is_null() {
            line.push_str(&format!("'{}'", text(&event["client_id"])));
            // These say so themselves.
            let says_where = ["connected", "refused"].iter().any(|name| event["event"] == *name);
            if !event["address"].is_null() && !says_where {
                line.push_str(&format!(" at {}", text(&event["address"])));
            }
            line.push_str(": ");
        }
        writeln!(self.out, "{line}{words}")?;
        Ok(())
    }

    fn station(&mut self, station: &Value, before: u64) -> Result<(), Failure> {
        let number = station["message"].as_u64().unwrap_or(0) + before;
        if self.is_json {
            let mut station = station.clone();
            station["message"] = number.into();
            writeln!(self.out, "{station}")?;
            return Ok(());
        }
        writeln!(self.out, "{}  trace  #{number} {}", self.time(station), text(&station["text"]))?;
        Ok(())
    }

    fn time(&self, item: &Value) -> String {
        let ms = item["unix_ms"].as_i64().unwrap_or(0);
        let moment = Timestamp::from_millisecond(ms).unwrap_or_default().to_zoned(self.zone.clone());
        let format = if self.is_dated { "%Y-%m-%d %H:%M:%S.%3f" } else { "%H:%M:%S.%3f" };
        moment.strftime(format).to_string()
    }
}

/// How long nothing is waited for before it is looked elsewhere.
const LOOK_EVERY: Duration = Duration::from_millis(200);
