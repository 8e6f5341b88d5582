//! The report for people.

use std::fmt;

use siskin_proto::Qos;

use crate::latency::LatencySummary;
use crate::options::WindowOn;
use crate::report::{Report, Settings, StageReport};
use crate::scenario::Scenario;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.settings)?;
        if let Some(maximum) = self.receive_maximum {
            write!(f, " (the broker takes {maximum} at once)")?;
        }
        f.write_str("\n\n")?;
        // What is over at once and measures nothing is for the JSON report.
        let is_shown = |stage: &&StageReport| {
            stage.is_measured || stage.seconds > 1.0 || ["connect", "subscribe"].contains(&stage.name)
        };
        for stage in self.stages.iter().filter(is_shown) {
            writeln!(f, "  {stage}")?;
        }
        writeln!(f)?;
        self.messages(f)?;
        self.latencies(f)?;
        self.processes(f)?;
        for problem in &self.problems {
            writeln!(f, "  {problem}")?;
        }
        if self.may_have_overrun_queues() {
            f.write_str("  Publishers waited for the broker alone. Where it acknowledged faster than subscribers took messages, ")?;
            f.write_str("their queues may have been full; --window-on arrival waits for arrivals, too.\n")?;
        }
        let failures = self.failures();
        if failures.is_empty() { write!(f, "OK") } else { write!(f, "FAILED: {}", failures.join("; ")) }
    }
}

impl Report {
    fn messages(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        if let Some(rate) = self.cycles_per_s() {
            writeln!(f, "  connections {:>14}  {:>10}/s", number(counts.cycles), number(rate as u64))?;
        }
        if counts.sent > 0 {
            let rate = self.sent_per_s().unwrap_or(0.0);
            write!(f, "  sent        {:>14}  {:>10}/s", number(counts.sent), number(rate as u64))?;
            if counts.acknowledged + counts.refused + self.unacknowledged > 0 {
                write!(f, "   acknowledged {}", number(counts.acknowledged))?;
            }
            if counts.refused > 0 {
                write!(f, ", refused {}", number(counts.refused))?;
            }
            if self.unacknowledged > 0 {
                write!(f, ", open {}", number(self.unacknowledged))?;
            }
            writeln!(f)?;
        }
        if self.settings.delivers && counts.expected + counts.received > 0 {
            let rate = self.received_per_s().unwrap_or(0.0);
            let of = format!("of {} expected", number(counts.expected));
            writeln!(
                f,
                "  received    {:>14}  {:>10}/s   {of}",
                number(counts.received),
                number(rate as u64)
            )?;
            if self.settings.accounts {
                writeln!(
                    f,
                    "  lost {}, duplicated {}, out of order {}",
                    self.lost.map_or("unknown".to_owned(), number),
                    number(counts.duplicated),
                    number(counts.misordered)
                )?;
            } else {
                writeln!(
                    f,
                    "  missing {} (payloads below 24 bytes: duplicates, order and latency cannot be told)",
                    self.lost.map_or("unknown".to_owned(), number)
                )?;
            }
        }
        for (count, what) in [
            (counts.foreign, "messages came that nobody of this run sent"),
            (counts.misrouted, "messages of this run came to subscribers whose filters do not match them"),
            (counts.corrupted, "messages came with another length than they were sent with"),
            (counts.written_off, "messages did not arrive within a second and were taken out of the window"),
            (counts.resent, "QoS 2 messages came again under an open packet id, and were known"),
        ] {
            if count > 0 {
                writeln!(f, "  {} {what}", number(count))?;
            }
        }
        if counts.sent + counts.received + counts.cycles > 0 { writeln!(f) } else { Ok(()) }
    }

    /// Whether what was lost may have been more than a session's queue holds.
    fn may_have_overrun_queues(&self) -> bool {
        let settings = &self.settings;
        let is_acknowledged =
            settings.qos > Qos::AtMostOnce && settings.window_on == WindowOn::Acknowledgement;
        self.lost.is_some_and(|lost| lost > 0)
            && is_acknowledged
            && settings.times_delivery
            && self.problems.is_empty()
    }

    fn latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("delivery", self.delivery),
            ("acknowledgement", self.acknowledgement),
            ("sent late by", self.lateness),
            ("connect", self.connect),
        ];
        let head = ["p50", "p90", "p99", "p99.9", "max"];
        write!(f, "  {:<20}", "latency in ms")?;
        head.iter().try_for_each(|name| write!(f, "{name:>11}"))?;
        writeln!(f)?;
        for (name, summary) in rows {
            if let Some(LatencySummary { p50_us, p90_us, p99_us, p999_us, max_us, .. }) = summary {
                write!(f, "  {name:<20}")?;
                for us in [p50_us, p90_us, p99_us, p999_us, max_us] {
                    write!(f, "{:>11.3}", us / 1000.0)?;
                }
                writeln!(f)?;
            }
        }
        writeln!(f)
    }

    fn processes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (work, name) = self.work();
        let per = |cpu_s: f64| match work {
            0 => String::new(),
            _ => format!(", {:.2} µs per {name}", cpu_s * 1e6 / work as f64),
        };
        if let Some(broker) = &self.broker {
            match self.broker_cpu_s() {
                Some(cpu_s) => {
                    writeln!(f, "  broker    {cpu_s:.2} s CPU{} (process {})", per(cpu_s), broker.pid)?;
                }
                None => writeln!(f, "  broker    CPU unknown (process {})", broker.pid)?,
            }
            write!(
                f,
                "            memory {} before, {} after, {} at most",
                bytes(broker.rss_before_bytes as f64),
                bytes(broker.rss_after_bytes as f64),
                bytes(broker.rss_peak_bytes as f64)
            )?;
            if let Some(each) = self.rss_per_connection() {
                write!(f, "; {} per connection", bytes(each))?;
            }
            if let Some(written) = broker.written_bytes {
                write!(f, "; pages of {} touched in files", bytes(written as f64))?;
            }
            writeln!(f)?;
        }
        let cpu_s = self.tool_cpu_s();
        writeln!(f, "  this tool {cpu_s:.2} s CPU{}", per(cpu_s))?;
        if self.is_tool_at_its_limit() {
            writeln!(
                f,
                "            which is all that its {} can do: it may be what was measured",
                threads(self.settings.threads)
            )?;
        }
        if let Some(missed) = self.rate_missed() {
            writeln!(f, "            {:.1} % less than --rate was sent", missed * 100.0)?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} ({})", self.scenario.name(), self.host, self.target)?;
        write!(f, ": MQTT {}", self.version)?;
        if self.transport != "tcp" {
            write!(f, " over {}", self.transport)?;
        }
        let count = |count: u32, name: &str| format!(", {count} {name}{}", if count == 1 { "" } else { "s" });
        match self.scenario {
            Scenario::Idle => f.write_str(&count(self.subscribers, "connection"))?,
            Scenario::Connect | Scenario::Churn => f.write_str(&count(self.publishers, "client"))?,
            _ => f.write_str(&count(self.publishers, "publisher"))?,
        }
        if self.delivers && self.scenario != Scenario::Idle {
            f.write_str(&count(self.subscribers, "subscriber"))?;
        }
        if self.scenario == Scenario::Wildcard && self.filters.is_empty() {
            write!(f, " with {} filters each", self.filters_each)?;
        }
        if matches!(self.scenario, Scenario::Idle | Scenario::Connect) {
            return Ok(());
        }
        write!(f, ", QoS {}", self.qos as u8)?;
        if self.delivers && self.subscribe_qos != self.qos {
            write!(f, " (subscribed at {})", self.subscribe_qos as u8)?;
        }
        write!(f, ", {} bytes", number(self.payload_bytes as u64))?;
        match (self.rate_per_s, self.window_on) {
            (Some(rate), _) => write!(f, ", open loop at {rate} messages a second"),
            (None, _) if !self.has_window() => f.write_str(", as fast as the sockets take it"),
            (None, WindowOn::Arrival) => {
                write!(f, ", window of {} that have not arrived", self.window)
            }
            (None, WindowOn::Acknowledgement) => {
                write!(f, ", window of {} unacknowledged", self.window)
            }
        }
    }
}

impl fmt::Display for StageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<10}{:>10.3} s", self.name, self.seconds)?;
        for (count, name) in [(self.cycles, "connections"), (self.sent, "sent"), (self.received, "received")]
        {
            if count > 0 {
                let rate = count as f64 / self.seconds.max(1e-9);
                write!(f, "   {} {name} ({}/s)", number(count), number(rate as u64))?;
            }
        }
        match self.broker_cpu_s {
            Some(cpu_s) => write!(f, "   broker {cpu_s:.2} s CPU"),
            None => Ok(()),
        }
    }
}

/// A number with a comma between thousands.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn threads(count: u16) -> String {
    if count == 1 { "1 thread".to_owned() } else { format!("{count} threads") }
}

fn bytes(bytes: f64) -> String {
    match bytes.abs() {
        size if size < 10.0 * 1024.0 => format!("{bytes:.0} B"),
        size if size < 1024.0 * 1024.0 => format!("{:.1} KiB", bytes / 1024.0),
        _ => format!("{:.1} MiB", bytes / 1024.0 / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!([0.0, 20_480.0, 20_971_520.0].map(bytes), ["0 B", "20.0 KiB", "20.0 MiB"]);
    }
}
