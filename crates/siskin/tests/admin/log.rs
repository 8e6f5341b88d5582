use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Broker, siskin, text};

/// `siskin ctl log -f`.
struct Follower {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Follower {
    fn start(broker: &Broker, args: &[&str]) -> Self {
        let mut command = siskin(&[&["ctl", "--url", &broker.url, "log", "-f"], args].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// The next line that has `words` in it.
    fn find(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.out.read_line(&mut line).unwrap() > 0, "the log ended without `{words}`");
            if line.contains(words) {
                return line;
            }
        }
    }

    fn interrupt(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        self.out.read_to_string(&mut String::new()).unwrap();
        self.child.wait().unwrap().code()
    }
}

fn publish(broker: &Broker, id: &str, topic: &str) {
    let publish = ["pub", "-p", &broker.mqtt_port, "-i", id, "-t", topic, "-m", "x", "-q", "1"];
    assert!(siskin(&publish).status().unwrap().success());
}

#[test]
fn events_are_printed_while_they_happen_until_somebody_has_seen_enough() {
    let broker = Broker::start(&[]);
    publish(&broker, "before", "a");
    let mut follower = Follower::start(&broker, &["--client", "before"]);
    let line = follower.find("connected from 127.0.0.1:");
    assert!(line.contains("  info   'before': connected from "), "{line}");
    follower.find("the client disconnected");
    publish(&broker, "other", "a");
    publish(&broker, "before", "a");
    let line = follower.find("'");
    assert!(line.contains("'before': connected from "), "{line}");
    assert_eq!(follower.interrupt(), Some(0));
}

#[test]
fn messages_are_in_the_log_if_they_are_asked_for() {
    let broker = Broker::start(&[]);
    let mut follower = Follower::start(&broker, &["--topic", "a/+", "--messages"]);
    // The first may be published before they are followed.
    let publisher = [
        "pub",
        "-p",
        &broker.mqtt_port,
        "-i",
        "p",
        "-t",
        "a/b",
        "-m",
        "x",
        "--repeat",
        "600",
        "--repeat-delay",
        "0.1",
    ];
    let mut publisher = siskin(&publisher).spawn().unwrap();
    let line = follower.find("a message on 'a/b' from 'p'");
    assert!(line.contains("  trace  #1 "), "{line}");
    follower.find("#1 matches no subscription");
    assert_eq!(follower.interrupt(), Some(0));
    publisher.kill().unwrap();
    publisher.wait().unwrap();
    let output = broker.ctl(&["log", "-f", "--messages"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("needs --client or --topic"), "{}", text(&output.stderr));
}

#[test]
fn the_latest_events_go_to_a_file_with_their_dates() {
    let broker = Broker::start(&[]);
    publish(&broker, "p", "a");
    let directory = std::env::temp_dir().join(format!("siskin-log-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("events");
    for _ in 0..2 {
        assert_eq!(broker.says(&["log", "-n", "1", "-o", file.to_str().unwrap()]), "");
    }
    let written = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(written.lines().count(), 2, "{written}");
    let line = written.lines().next().unwrap();
    assert!(line.starts_with("20") && line.contains(" 'p' at 127.0.0.1:"), "{written}");
    let output = broker.ctl(&["log", "-o", "/nowhere/at/all"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).starts_with("/nowhere/at/all cannot be written: "));
}

#[test]
fn a_broker_that_stops_ends_the_log() {
    let broker = Broker::start(&[]);
    let mut command = siskin(&["ctl", "--url", &broker.url, "log", "-f"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    publish(&broker, "p", "a");
    out.read_line(&mut String::new()).unwrap();
    drop(broker);
    let mut problem = String::new();
    child.stderr.take().unwrap().read_to_string(&mut problem).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(problem.starts_with("the broker has ended the log: "), "{problem}");
}

#[test]
fn the_broker_s_own_log_says_more_when_it_is_told_to() {
    let mut broker = Broker::start(&[]);
    assert_eq!(broker.says(&["log-level"]), "info\n");
    assert_eq!(broker.says(&["log-level", "debug"]), "debug\n");
    let port = broker.mqtt_port.parse().unwrap();
    drop(std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
    let mut line = String::new();
    while !line.contains("gone before a CONNECT") {
        line.clear();
        assert!(broker.log.read_line(&mut line).unwrap() > 0);
    }
    assert!(line.contains("DEBUG"), "{line}");
    assert_eq!(broker.says(&["log-level"]), "debug\n");
    assert_eq!(broker.ctl(&["log-level", "loud"]).status.code(), Some(1));
}
