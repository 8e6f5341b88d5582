//! The report for programs. Keys stay; new ones may be added.

use serde_json::{Value, json};

use crate::latency::LatencySummary;
use crate::options::WindowOn;
use crate::report::{BrokerUse, CutShort, Report, Settings, StageReport};

impl Report {
    /// One JSON object, on lines of its own, with keys that stay as they are.
    pub fn to_json(&self) -> String {
        let (work, work_name) = self.work();
        let per_work = |cpu_s: f64| (work > 0).then(|| cpu_s * 1e6 / work as f64);
        let counts = &self.counts;
        let accounted = |number: u64| self.settings.accounts.then_some(number);
        let failures = self.failures();
        let report = json!({
            "tool": "siskin bench",
            "version": env!("CARGO_PKG_VERSION"),
            "scenario": self.settings.scenario.name(),
            "ok": failures.is_empty(),
            "failures": failures,
            "timed_out": self.cut_short == Some(CutShort::TimedOut),
            "cut_short": self.cut_short.map(|why| why.to_string()),
            "settings": settings(&self.settings),
            "receive_maximum": self.receive_maximum,
            "stages": self.stages.iter().map(stage).collect::<Vec<_>>(),
            "messages": {
                "accounted": self.settings.accounts,
                "sent": counts.sent,
                "acknowledged": counts.acknowledged,
                "unacknowledged": self.unacknowledged,
                "refused": counts.refused,
                "expected": counts.expected,
                "received": counts.received,
                "received_bytes": counts.received_bytes,
                "lost": self.lost,
                "duplicated": accounted(counts.duplicated),
                "misordered": accounted(counts.misordered),
                "foreign": accounted(counts.foreign),
                "misrouted": accounted(counts.misrouted),
                "corrupted": counts.corrupted,
                "resent": counts.resent,
                "written_off": counts.written_off,
            },
            "connections": { "cycles": counts.cycles },
            "rates": {
                "sent_per_s": self.sent_per_s(),
                "received_per_s": self.received_per_s(),
                "cycles_per_s": self.cycles_per_s(),
            },
            "latency_us": {
                "delivery": latency(self.delivery),
                "acknowledgement": latency(self.acknowledgement),
                "sent_late_by": latency(self.lateness),
                "connect": latency(self.connect),
            },
            "cpu": {
                "per": work_name,
                "broker_s": self.broker_cpu_s().map(rounded),
                "broker_us_per": self.broker_cpu_s().and_then(per_work),
                "tool_s": rounded(self.tool_cpu_s()),
                "tool_us_per": per_work(self.tool_cpu_s()),
            },
            "broker": self.broker.as_ref().map(|broker| process(broker, self.rss_per_connection())),
            "problems": self.problems.iter().map(|problem| json!({
                "kind": problem.kind.name(),
                "cause": problem.cause,
                "count": problem.count,
            })).collect::<Vec<_>>(),
        });
        format!("{report:#}")
    }
}

/// The system counts CPU time in hundredths of a second; what is behind them is no news.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

fn settings(settings: &Settings) -> Value {
    json!({
        "host": settings.host,
        "address": settings.target.to_string(),
        "protocol": settings.version.to_string(),
        "publishers": settings.publishers,
        "subscribers": settings.subscribers,
        "transport": settings.transport,
        "topic": settings.topic,
        "filters": settings.filters,
        "filters_per_subscriber": settings.filters.len().max(settings.filters_each as usize),
        "duration_s": settings.duration.map(|duration| duration.as_secs_f64()),
        "messages": settings.messages,
        "qos": settings.qos as u8,
        "subscribe_qos": settings.subscribe_qos as u8,
        "retain": settings.retain,
        "payload_bytes": settings.payload_bytes,
        "window": settings.has_window().then_some(settings.window),
        "window_on": settings.has_window().then_some(match settings.window_on {
            WindowOn::Acknowledgement => "ack",
            WindowOn::Arrival => "arrival",
        }),
        "rate_per_s": settings.rate_per_s,
        "threads": settings.threads,
    })
}

fn stage(stage: &StageReport) -> Value {
    json!({
        "name": stage.name,
        "measured": stage.is_measured,
        "seconds": stage.seconds,
        "sent": stage.sent,
        "received": stage.received,
        "cycles": stage.cycles,
        "broker_cpu_s": stage.broker_cpu_s.map(rounded),
        "broker_rss_bytes": stage.broker_rss_bytes,
        "tool_cpu_s": rounded(stage.tool_cpu_s),
    })
}

fn latency(latency: Option<LatencySummary>) -> Value {
    latency.map_or(Value::Null, |latency| {
        json!({
            "count": latency.count,
            "mean": latency.mean_us,
            "p50": latency.p50_us,
            "p90": latency.p90_us,
            "p99": latency.p99_us,
            "p99_9": latency.p999_us,
            "max": latency.max_us,
        })
    })
}

fn process(broker: &BrokerUse, rss_per_connection: Option<f64>) -> Value {
    json!({
        "pid": broker.pid,
        "ended_during_run": broker.is_gone,
        "rss_before_bytes": broker.rss_before_bytes,
        "rss_after_bytes": broker.rss_after_bytes,
        "rss_peak_bytes": broker.rss_peak_bytes,
        "rss_peak_ever_bytes": broker.rss_peak_ever_bytes,
        "rss_per_connection_bytes": rss_per_connection,
        "written_bytes": broker.written_bytes,
    })
}
