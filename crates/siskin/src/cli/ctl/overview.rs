//! The broker as a whole.

use std::io;

use serde_json::{Value, json};

use super::table::{bytes, duration, number, text};
use super::{Api, Column, Failure, Table, View};

/// Which settings are wanted.
#[derive(clap::Args)]
pub(super) struct Config {
    /// Only those with this in their name
    name: Option<String>,

    /// Only those that are not as they are by default
    #[arg(long)]
    changed: bool,
}

/// Print how grave a line of the broker's log must be to be shown, or change it
///
/// It is so until the broker is started again; the log goes where it went before.
#[derive(clap::Args)]
pub(super) struct LogLevel {
    /// error, warn, info, debug or trace
    level: Option<String>,
}

impl LogLevel {
    pub(super) fn run(&self, api: &Api, view: &mut View<'_>) -> Result<(), Failure> {
        let answer = match &self.level {
            None => api.get(LOG_LEVEL, &[])?,
            Some(level) => api.put(LOG_LEVEL, &json!({ "level": level }))?,
        };
        view.show(&answer, |answer, out| writeln!(out, "{}", text(&answer["level"])))
    }
}

impl Config {
    pub(super) fn run(&self, api: &Api, view: &mut View<'_>) -> Result<(), Failure> {
        let mut answer = api.get("/api/v1/config", &[])?;
        if let Some(settings) = answer["settings"].as_array_mut() {
            settings.retain(|setting| {
                let name = setting["name"].as_str().unwrap_or_default();
                self.name.as_ref().is_none_or(|part| name.contains(part.as_str()))
                    && (!self.changed || setting["value"] != setting["default"])
            });
        }
        view.show(&answer, |answer, out| {
            let settings = answer["settings"].as_array().map_or(&[][..], Vec::as_slice);
            Table::new(SETTINGS, settings).print(out)
        })
    }
}

pub(super) fn listeners(api: &Api, view: &mut View<'_>) -> Result<(), Failure> {
    view.show(&api.get("/api/v1/listeners", &[])?, |answer, out| {
        let items = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
        let mut listeners = items("listeners");
        for listener in &mut listeners {
            if listener["connections_max"] == 0 {
                listener["connections_max"] = Value::from("any number");
            }
        }
        Table::new(LISTENERS, &listeners).print(out)?;
        let expiries = items("expiries");
        if !expiries.is_empty() {
            writeln!(out)?;
            Table::new(EXPIRIES, &expiries).print(out)?;
        }
        Ok(())
    })
}

pub(super) fn reload(api: &Api, view: &mut View<'_>) -> Result<(), Failure> {
    let answer = api.post("/api/v1/reload", &Value::Object(serde_json::Map::new()))?;
    view.show(&answer, |answer, out| {
        for (list, head) in [("changed", ""), ("restart", "not before a restart: ")] {
            for change in answer[list].as_array().into_iter().flatten() {
                let (name, from, to) = (text(&change["name"]), text(&change["from"]), text(&change["to"]));
                match from == to {
                    true => writeln!(out, "{head}{name}: another")?,
                    false => writeln!(out, "{head}{name}: {from} -> {to}")?,
                }
            }
        }
        writeln!(out, "reloaded: {}", text(&answer["summary"]))
    })
}

pub(super) fn stats(api: &Api, view: &mut View<'_>) -> Result<(), Failure> {
    let mut answer = api.get("/api/v1/stats", &[])?;
    answer["store"] = api.get("/api/v1/store", &[])?;
    view.show(&answer, print_stats)
}

fn print_stats(stats: &Value, out: &mut dyn io::Write) -> io::Result<()> {
    let mut line = |name: &str, value: String| writeln!(out, "{name:<24}{value}");
    let of = |name: &str| number(&stats[name]);
    let bytes_of = |name: &str| bytes(stats[name].as_f64().unwrap_or(0.0));
    let by_qos = |name: &str| {
        let counts: Vec<_> = stats[name].as_array().into_iter().flatten().map(number).collect();
        format!("{} at QoS 0, 1, 2", counts.join(" / "))
    };
    line("broker", format!("{}, Siskin {}", text(&stats["node"]), text(&stats["version"])))?;
    line("up", duration(stats["uptime_s"].as_u64().unwrap_or(0)))?;
    line("connections", of("connections"))?;
    line("sessions", of("sessions"))?;
    line("subscriptions", format!("{}, {} of them shared", of("subscriptions"), of("shared_subscriptions")))?;
    line("filters", of("filters"))?;
    line("retained", format!("{} messages, {}", of("retained_messages"), bytes_of("retained_bytes")))?;
    line("waiting", format!("{} messages, {}", of("messages_waiting"), bytes_of("bytes_waiting")))?;
    line("messages received", by_qos("messages_received"))?;
    line("messages sent", by_qos("messages_sent"))?;
    line("bytes received", bytes_of("bytes_received"))?;
    line("bytes sent", bytes_of("bytes_sent"))?;
    line("without subscribers", of("without_subscribers"))?;
    for (cause, count) in stats["dropped"].as_object().into_iter().flatten() {
        if count.as_u64() > Some(0) {
            line("dropped", format!("{} ({})", number(count), cause.replace('_', " ")))?;
        }
    }
    line(
        "clients came",
        format!("{}, left {}, refused {}", of("connected"), of("disconnected"), of("refused")),
    )?;
    line("memory", bytes_of("memory_bytes"))?;
    line("CPU time", format!("{:.1} s", stats["cpu_s"].as_f64().unwrap_or(0.0)))?;
    line("open files", format!("{} of {}", of("open_files"), of("open_files_max")))?;
    line("store", text(&stats["store"]["health"]))?;
    for (at, worker) in stats["workers"].as_array().into_iter().flatten().enumerate() {
        let busy = worker["busy_s"].as_f64().unwrap_or(0.0);
        let (connections, turns) = (number(&worker["connections"]), number(&worker["turns"]));
        line(&format!("worker {at}"), format!("connections {connections}, busy {busy:.1} s, turns {turns}"))?;
    }
    Ok(())
}

pub(super) fn health(api: &Api, view: &mut View<'_>) -> Result<(), Failure> {
    let (status, answer) = api.get_any("/api/v1/ready", &[])?;
    view.show(&answer, |answer, out| {
        let workers = match answer["workers_answer"].as_bool() {
            Some(true) => "all workers answer",
            _ => "not all workers answer",
        };
        let state = if answer["ready"] == true { "ready" } else { "not ready" };
        writeln!(out, "{state}: {workers}, the store is {}", text(&answer["store"]))
    })?;
    match status {
        200 => Ok(()),
        _ => Err(Failure::Refused("the broker does not do its work".to_owned())),
    }
}

const LOG_LEVEL: &str = "/api/v1/log-level";

const SETTINGS: &[Column] = &[
    Column::text("SETTING", "/name"),
    Column::text("VALUE", "/value"),
    Column::text("DEFAULT", "/default"),
    Column::text("ALLOWED", "/allowed"),
];

const LISTENERS: &[Column] = &[
    Column::text("LISTENER", "/name"),
    Column::number("CONNECTIONS", "/connections"),
    Column::number("AT MOST", "/connections_max"),
];

const EXPIRIES: &[Column] =
    &[Column::text("EXPIRES", "/expires_at"), Column::text("KIND", "/kind"), Column::text("FILE", "/file")];
