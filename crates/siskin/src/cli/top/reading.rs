//! What is known of a broker at one moment, and how it looks as text.

use std::io;

use serde_json::Value;

use crate::cli::ctl::{Api, Column, Failure, Table, bytes, duration, number, text};

/// One look at a broker.
pub(super) struct Reading {
    stats: Value,
    seconds: Vec<Value>,
    top: Value,
    memory: Value,
}

impl Reading {
    /// Asks for up to `limit` clients of each kind.
    pub(super) fn of(api: &Api, limit: u64) -> Result<Self, Failure> {
        let stats = api.get("/api/v1/stats", &[])?;
        let mut rates = api.get("/api/v1/rates", &[("last", SECONDS.to_string())])?;
        let top = api.get("/api/v1/top", &[("limit", limit.to_string())])?;
        let seconds = match rates["seconds"].take() {
            Value::Array(seconds) => seconds,
            _ => Vec::new(),
        };
        let memory = api.get("/api/v1/memory", &[])?;
        Ok(Self::new(stats, seconds, top, memory))
    }

    pub(super) fn new(stats: Value, seconds: Vec<Value>, top: Value, memory: Value) -> Self {
        Self { stats, seconds, top, memory }
    }

    /// The broker as a whole, in a few lines.
    pub(super) fn head(&self) -> Vec<String> {
        let now = self.seconds.last().unwrap_or(&Value::Null);
        let of = |name: &str| number(&self.stats[name]);
        let rate = |name: &str| now.get(name).map_or_else(|| "-".to_owned(), number);
        let byte_rate = |name: &str| now[name].as_f64().map_or_else(|| "-".to_owned(), bytes);
        let busy = now["workers_busy"].as_array().into_iter().flatten();
        let busy = busy.map(|share| format!("{:.0} %", share.as_f64().unwrap_or(0.0) * 100.0));
        vec![
            format!(
                "{}, Siskin {}, up {}",
                text(&self.stats["node"]),
                text(&self.stats["version"]),
                duration(self.stats["uptime_s"].as_u64().unwrap_or(0))
            ),
            format!(
                "connections {}   sessions {}   subscriptions {}   retained {}   waiting {} ({})",
                of("connections"),
                of("sessions"),
                of("subscriptions"),
                of("retained_messages"),
                of("messages_waiting"),
                bytes(self.stats["bytes_waiting"].as_f64().unwrap_or(0.0))
            ),
            format!(
                "messages in {}/s   out {}/s   dropped {}/s   bytes in {}/s   out {}/s   clients came {}/s   left {}/s",
                rate("messages_received"),
                rate("messages_sent"),
                rate("messages_dropped"),
                byte_rate("bytes_received"),
                byte_rate("bytes_sent"),
                rate("connected"),
                rate("disconnected")
            ),
            memory_line(&self.memory),
            format!(
                "CPU {:.2}   files {} of {}   workers busy {}",
                now["cpu"].as_f64().unwrap_or(0.0),
                of("open_files"),
                of("open_files_max"),
                busy.collect::<Vec<_>>().join(" ")
            ),
        ]
    }

    /// Messages that came in and went out, second by second.
    pub(super) fn messages(&self) -> Vec<u64> {
        let rate = |second: &Value, name: &str| second[name].as_f64().unwrap_or(0.0).round() as u64;
        self.seconds
            .iter()
            .map(|second| rate(second, "messages_received") + rate(second, "messages_sent"))
            .collect()
    }

    /// The clients with most traffic.
    pub(super) fn heaviest(&self) -> &[Value] {
        self.top["heaviest"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The clients for whom most waits.
    pub(super) fn slowest(&self) -> &[Value] {
        self.top["slowest"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The clients for whom most is held in memory.
    pub(super) fn holders(&self) -> &[Value] {
        self.top["holders"].as_array().map_or(&[], Vec::as_slice)
    }

    /// Writes all of it as text.
    pub(super) fn print(&self, out: &mut impl io::Write) -> io::Result<()> {
        for line in self.head() {
            writeln!(out, "{line}")?;
        }
        for (title, columns, clients) in [
            ("heaviest clients", HEAVIEST, self.heaviest()),
            ("slowest clients", SLOWEST, self.slowest()),
            ("clients that hold most memory", HOLDERS, self.holders()),
        ] {
            writeln!(out, "\n{title}{}", if clients.is_empty() { ": none" } else { "" })?;
            if !clients.is_empty() {
                Table::new(columns, clients).print(out)?;
            }
        }
        Ok(())
    }
}

/// What is shown of a client with much traffic.
pub(super) const HEAVIEST: &[Column] = &[
    Column::text("CLIENT ID", "/client_id"),
    Column::text("ADDRESS", "/address"),
    Column::number("IN/S", "/messages_received"),
    Column::number("OUT/S", "/messages_sent"),
    Column::bytes("BYTES IN/S", "/bytes_received"),
    Column::bytes("BYTES OUT/S", "/bytes_sent"),
];

/// What is shown of a client for whom much waits.
pub(super) const SLOWEST: &[Column] = &[
    Column::text("CLIENT ID", "/client_id"),
    Column::text("HERE", "/connected"),
    Column::number("QUEUED", "/queue_messages"),
    Column::bytes("BYTES", "/queue_bytes"),
    Column::number("IN FLIGHT", "/inflight"),
    Column::bytes("UNSENT", "/out_buffer_bytes"),
    Column::number("LOST", "/dropped"),
];

/// What is shown of a client that much is held in memory for.
pub(super) const HOLDERS: &[Column] = &[
    Column::text("CLIENT ID", "/client_id"),
    Column::text("HERE", "/connected"),
    Column::bytes("MEMORY", "/memory_bytes"),
    Column::bytes("QUEUE", "/queue_bytes"),
    Column::bytes("UNSENT", "/out_buffer_bytes"),
    Column::bytes("SUBSCRIPTIONS", "/subscription_bytes"),
];

/// How much memory there is, what is left of it, and what most of it is for.
fn memory_line(memory: &Value) -> String {
    let of = |value: &Value| bytes(value.as_f64().unwrap_or(0.0));
    let max = memory["max_bytes"].as_f64().map(|max| format!(" of {}", bytes(max)));
    let pressure = match memory["pressure"].as_str() {
        Some(pressure @ ("short" | "critical")) => format!(", {pressure}"),
        _ => String::new(),
    };
    let mut held: Vec<_> = memory["held"].as_object().into_iter().flatten().collect();
    held.retain(|(_, bytes)| bytes.as_u64() > Some(0));
    held.sort_by_key(|(_, bytes)| std::cmp::Reverse(bytes.as_u64()));
    let held = held.iter().map(|(what, bytes)| format!("   {what} {}", of(bytes)));
    let (resident, max) = (of(&memory["resident_bytes"]), max.unwrap_or_default());
    format!("memory {resident}{max}{pressure}{}", held.collect::<String>())
}

/// Seconds of rates that are asked for.
const SECONDS: usize = 300;
