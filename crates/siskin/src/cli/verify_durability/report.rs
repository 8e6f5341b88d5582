//! What a run has shown, as text and as JSON.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use super::course::{Starts, Stop};
use super::ledger::{Finding, Findings, Flow, Tally};
use crate::cli::client::json_string;

pub(super) struct Report {
    pub(super) level: String,
    pub(super) seed: u64,
    pub(super) directory: PathBuf,
    pub(super) kills_asked: u32,
    pub(super) kills: usize,
    pub(super) starts: Starts,
    pub(super) flows: [Flow; 2],
    pub(super) tally: Tally,
    pub(super) wills_checked: u64,
    pub(super) findings: Findings,
    pub(super) stop: Option<Stop>,
}

impl Report {
    /// Whether the run came to its end and everything was as promised.
    pub(super) fn is_well(&self) -> bool {
        self.stop.is_none() && self.findings.is_empty()
    }

    pub(super) fn to_text(&self) -> String {
        let mut out = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(out, "{name:17}{value}");
        };
        row("directory", self.directory.display().to_string());
        row("durability", self.level.clone());
        row("seed", self.seed.to_string());
        row(
            "kills",
            format!("{} of {} under load, and {} starting", self.kills, self.kills_asked, self.starts.killed),
        );
        if let Some((p50, max)) = self.restarts() {
            let (p50, max) = (p50.as_millis(), max.as_millis());
            row("restarts", format!("accept again after p50 {p50} ms, at most {max} ms"));
        }
        for (qos, flow) in [(1, self.flows[0]), (2, self.flows[1])] {
            let Flow { published, acknowledged, delivered, lost } = flow;
            let text = format!(
                "{published} published, {acknowledged} acknowledged, {delivered} delivered, {lost} lost"
            );
            row(&format!("QoS {qos}"), text);
        }
        row("delivered twice", format!("{} with QoS 1, as is allowed", self.tally.redelivered));
        row("sessions", format!("{} resumed", self.tally.sessions_resumed));
        row("retained", format!("{} checked", self.tally.retained_checked));
        row("wills", format!("{} checked", self.wills_checked));
        row("subscriptions", format!("{} checked", self.tally.subscriptions_checked));
        for (_, words, finding) in self.findings.all() {
            describe(words, finding, &mut out);
        }
        let _ = writeln!(out, "{}", self.verdict());
        out
    }

    pub(super) fn to_json(&self) -> String {
        let (p50, max) = self.restarts().unwrap_or_default();
        let mut members = vec![
            ("ok", self.is_well().to_string()),
            ("verdict", quoted(&self.verdict())),
            ("directory", quoted(&self.directory.display().to_string())),
            ("durability", quoted(&self.level)),
            // As text: many readers of JSON know only numbers up to 2^53.
            ("seed", quoted(&self.seed.to_string())),
            ("kills", self.kills.to_string()),
            ("kills_asked", self.kills_asked.to_string()),
            ("kills_starting", self.starts.killed.to_string()),
            ("restart_ms_p50", p50.as_millis().to_string()),
            ("restart_ms_max", max.as_millis().to_string()),
            ("qos1", flow_json(self.flows[0])),
            ("qos2", flow_json(self.flows[1])),
            ("redelivered", self.tally.redelivered.to_string()),
            ("sessions_resumed", self.tally.sessions_resumed.to_string()),
            ("retained_checked", self.tally.retained_checked.to_string()),
            ("wills_checked", self.wills_checked.to_string()),
            ("subscriptions_checked", self.tally.subscriptions_checked.to_string()),
        ];
        let findings = self.findings.all().map(|(name, _, finding)| (name, finding_json(finding)));
        members.push(("findings", object(&findings)));
        object(&members) + "\n"
    }

    /// All of it in a line.
    fn verdict(&self) -> String {
        let kills = self.kills;
        match &self.stop {
            None if self.findings.is_empty() => {
                return format!("OK: {kills} kills, and nothing lost that was acknowledged.");
            }
            None => {}
            Some(stop) => {
                let found =
                    if self.findings.is_empty() { String::new() } else { self.findings_line() + "; " };
                return format!("NOT FINISHED: {found}after {kills} kills {}", stop_text(stop));
            }
        }
        format!("FAILED after {kills} kills: {}.", self.findings_line())
    }

    fn findings_line(&self) -> String {
        let all = self.findings.all();
        let found = all.iter().filter(|(_, _, finding)| finding.count > 0);
        let words = found.map(|(_, words, finding)| format!("{words}: {}", finding.count));
        words.collect::<Vec<_>>().join(", ")
    }

    /// The median and the longest restart, if there was one. The first start is none.
    fn restarts(&self) -> Option<(Duration, Duration)> {
        let mut restarts = self.starts.took.get(1..)?.to_vec();
        restarts.sort_unstable();
        Some((*restarts.get(restarts.len() / 2)?, *restarts.last()?))
    }
}

fn stop_text(stop: &Stop) -> String {
    match stop {
        Stop::Interrupted => "it was interrupted.".to_owned(),
        Stop::TimedOut => "the time was up (--timeout).".to_owned(),
        Stop::Exited(how) => format!("the broker ended by itself: {how}"),
        Stop::Stuck(what) => format!("{what}."),
        Stop::Failed(what) => format!("{what}."),
    }
}

fn describe(words: &str, finding: &Finding, out: &mut String) {
    if finding.count == 0 {
        return;
    }
    let _ = writeln!(out, "{words}: {}", finding.count);
    for text in &finding.first {
        let _ = writeln!(out, "    {text}");
    }
    let more = finding.count - finding.first.len() as u64;
    if more > 0 {
        let _ = writeln!(out, "    and {more} more");
    }
}

fn flow_json(flow: Flow) -> String {
    object(&[
        ("published", flow.published.to_string()),
        ("acknowledged", flow.acknowledged.to_string()),
        ("delivered", flow.delivered.to_string()),
        ("lost", flow.lost.to_string()),
    ])
}

fn finding_json(finding: &Finding) -> String {
    let first: Vec<String> = finding.first.iter().map(|text| quoted(text)).collect();
    object(&[("count", finding.count.to_string()), ("first", format!("[{}]", first.join(",")))])
}

fn object(members: &[(&str, String)]) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn quoted(text: &str) -> String {
    let mut out = Vec::new();
    json_string(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            level: "synced".to_owned(),
            seed: 7,
            directory: PathBuf::from("/tmp/\"d\""),
            kills_asked: 3,
            kills: 3,
            starts: Starts { took: [900, 10, 30, 20].map(Duration::from_millis).to_vec(), killed: 2 },
            flows: [Flow { published: 4, acknowledged: 3, delivered: 6, lost: 0 }, Flow::default()],
            tally: Tally::default(),
            wills_checked: 12,
            findings: Findings::default(),
            stop: None,
        }
    }

    #[test]
    fn a_run_without_findings_is_well_and_the_first_start_is_no_restart() {
        let text = report().to_text();
        assert!(report().is_well());
        assert!(text.contains("accept again after p50 20 ms, at most 30 ms\n"), "{text}");
        assert!(
            text.contains("QoS 1            4 published, 3 acknowledged, 6 delivered, 0 lost\n"),
            "{text}"
        );
        assert!(text.ends_with("\nOK: 3 kills, and nothing lost that was acknowledged.\n"), "{text}");
    }

    #[test]
    fn what_was_found_is_counted_named_and_decides() {
        let mut report = report();
        for number in 0..7 {
            report.findings.lost.note(|| format!("message {number}"));
        }
        report.findings.wills.note(|| "a will".to_owned());
        assert!(!report.is_well());
        let text = report.to_text();
        let expected = "acknowledged messages lost: 7\n    message 0\n    message 1\n    message 2\n    \
                        message 3\n    message 4\n    and 2 more\nwills wrong: 1\n    a will\n\
                        FAILED after 3 kills: acknowledged messages lost: 7, wills wrong: 1.\n";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn a_run_that_was_not_finished_proves_nothing() {
        let report = Report { stop: Some(Stop::TimedOut), ..report() };
        assert!(!report.is_well());
        assert!(report.to_text().ends_with("\nNOT FINISHED: after 3 kills the time was up (--timeout).\n"));
    }

    #[test]
    fn json_says_the_same() {
        let mut report = report();
        report.findings.sessions.note(|| "a \"session\"".to_owned());
        let json = report.to_json();
        for part in [
            "{\"ok\":false,\"verdict\":\"FAILED after 3 kills: sessions lost: 1.\"",
            "\"directory\":\"/tmp/\\\"d\\\"\"",
            "\"restart_ms_p50\":20,\"restart_ms_max\":30",
            "\"qos1\":{\"published\":4,\"acknowledged\":3,\"delivered\":6,\"lost\":0}",
            "\"sessions\":{\"count\":1,\"first\":[\"a \\\"session\\\"\"]}",
        ] {
            assert!(json.contains(part), "{part} is not in {json}");
        }
    }
}
