//! `siskin verify-durability` as its users run it.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A path that is free at first; what is there at the end goes away.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("siskin-verify-{name}-{}", std::process::id())))
    }

    /// What the broker has written.
    fn log(&self) -> String {
        std::fs::read_to_string(self.0.join("broker.log")).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The command with these words, split at blanks.
fn verify(directory: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siskin"));
    command.arg("verify-durability").arg("--dir").arg(directory).args(words.split_whitespace());
    // Several runs go on at once where tests do: little load shows as much.
    command.args(["--rate", "200", "--kill-after", "50-300"]).stdin(Stdio::null());
    command
}

fn run(directory: &Path, words: &str) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = verify(directory, words).output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// How often the report in JSON has found this.
fn found(report: &str, what: &str) -> u64 {
    let start = format!("\"{what}\":{{\"count\":");
    let digits = report.split(&start).nth(1).unwrap_or_else(|| panic!("{what} is not in {report}"));
    digits.split(',').next().unwrap().parse().unwrap()
}

/// The address of the broker that wrote this log.
fn address(log: &str) -> SocketAddr {
    let words = log.split("listening for MQTT on ").nth(1).unwrap();
    words.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_broker_that_keeps_nothing_is_found_out() {
    let scratch = Scratch::new("control");
    let (status, report, errors) = run(&scratch.0, "--no-store --kills 1 --drain-limit 0.5 --quiet --json");
    assert_eq!(status, Some(1), "{report}{errors}");
    assert!(report.starts_with("{\"ok\":false,\"verdict\":\"FAILED after 1 kills: "), "{report}");
    for what in ["lost", "sessions", "retained", "wills", "subscriptions"] {
        assert!(found(&report, what) > 0, "nothing is {what}: {report}");
    }
    for what in ["repeated", "foreign", "refused"] {
        assert_eq!(found(&report, what), 0, "{what}: {report}");
    }
    assert!(errors.contains(scratch.0.to_str().unwrap()), "{errors}");
    assert!(TcpStream::connect(address(&scratch.log())).is_err());
}

#[test]
fn a_broker_that_keeps_what_it_acknowledges_passes_and_leaves_nothing_behind() {
    let scratch = Scratch::new("store");
    let (status, report, errors) = run(&scratch.0, "--kills 5 --timeout 120");
    assert_eq!(status, Some(0), "{report}{errors}");
    assert!(report.ends_with("\nOK: 5 kills, and nothing lost that was acknowledged.\n"), "{report}");
    assert!(!scratch.0.exists());
}

#[test]
fn a_signal_ends_the_run_and_its_broker() {
    let scratch = Scratch::new("signal");
    let mut command = verify(&scratch.0, "--no-store --kills 1000 --drain-limit 0");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("Kill 1 of 1000: ")));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    // Until its end, or it might wait for us to read.
    let errors: Vec<String> = lines.map(Result::unwrap).collect();
    let mut report = String::new();
    child.stdout.take().unwrap().read_to_string(&mut report).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2), "{report}{errors:?}");
    assert!(report.ends_with("it was interrupted.\n"), "{report}");
    assert!(TcpStream::connect(address(&scratch.log())).is_err());
}

#[test]
fn a_broker_that_does_not_start_is_reported_with_its_last_words() {
    let scratch = Scratch::new("start");
    let (status, report, errors) = run(&scratch.0, "--no-store --broker-arg --nonsense");
    assert_eq!(status, Some(2), "{report}{errors}");
    assert!(report.contains("the broker ended by itself: exit status: 2"), "{report}");
    assert!(report.contains("unexpected argument '--nonsense'"), "{report}");
}

#[test]
fn a_directory_with_something_else_in_it_is_left_alone() {
    let scratch = Scratch::new("letter");
    std::fs::create_dir(&scratch.0).unwrap();
    std::fs::write(scratch.0.join("letter"), "dear").unwrap();
    let (status, report, errors) = run(&scratch.0, "--no-store");
    assert_eq!((status, report.as_str()), (Some(2), ""), "{errors}");
    assert!(errors.contains("holds `letter`, which no run has made"), "{errors}");
    assert_eq!(std::fs::read(scratch.0.join("letter")).unwrap(), b"dear");
}
