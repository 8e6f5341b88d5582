//! `siskin serve` and `siskin check` as their users run them.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

fn siskin(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siskin"));
    command.args(args).stdin(Stdio::null());
    command
}

fn check(args: &[&str]) -> Output {
    siskin(&[&["check"], args].concat()).output().unwrap()
}

struct Broker {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Broker {
    fn start(args: &[&str]) -> Self {
        let args =
            [&["serve", "--port", "0", "--workers", "1", "--store-durability", "memory"], args].concat();
        let mut child = siskin(&args).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { child, log }
    }

    /// The first log line from here on with `text` in it.
    fn line_with(&mut self, text: &str) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "the log ended without `{text}`:\n{all}");
            if line.contains(text) {
                return line;
            }
            all.push_str(&line);
        }
    }

    fn address(&mut self) -> SocketAddr {
        let line = self.line_with("listening for MQTT on ");
        let words = line.split("listening for MQTT on ").nth(1).unwrap();
        words.split_whitespace().next().unwrap().parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn status(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

/// A client that has connected and never looks at its socket again.
fn deaf_client(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01d").unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0x20, 2, 0, 0]);
    stream
}

#[test]
fn two_clients_that_take_one_session_from_each_other_are_both_named() {
    let mut broker = Broker::start(&[]);
    let address = broker.address();
    let connect = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"\x10\x11\0\x04MQTT\x04\x02\0\0\0\x05twins").unwrap();
        // The CONNACK: each comes after the one before it.
        stream.read_exact(&mut [0; 4]).unwrap();
        stream
    };
    let twins: Vec<_> = (0..4).map(|_| connect()).collect();
    let line = broker.line_with("take its session from each other");
    let ends = [&twins[2], &twins[3]].map(|twin| twin.local_addr().unwrap().to_string());
    assert!(line.contains("\"twins\"") && ends.iter().all(|end| line.contains(end)), "{line}");
    broker.signal(Signal::TERM);
    assert_eq!(broker.status().0, Some(0));
}

#[test]
fn the_broker_serves_until_a_signal_and_leaves_in_good_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut broker = Broker::start(&["--bind", "127.0.0.1"]);
        let client = deaf_client(broker.address());
        assert!(broker.line_with(" connected").contains("client=\"d\""));
        drop(client);
        broker.line_with(" disconnected");
        broker.signal(signal);
        let (status, log) = broker.status();
        assert_eq!(status, Some(0), "{log}");
        assert!(log.contains("stopped"), "{log}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut broker = Broker::start(&["--bind", "127.0.0.1", "--close-timeout", "1m"]);
    let _client = deaf_client(broker.address());
    broker.signal(Signal::TERM);
    broker.line_with("stopping");
    // The first ones may pass for an echo of the one before.
    while broker.child.try_wait().unwrap().is_none() {
        broker.signal(Signal::TERM);
        std::thread::sleep(Duration::from_millis(20));
    }
    let (status, log) = broker.status();
    assert_eq!(status, Some(1), "{log}");
    assert!(log.contains("the second signal"), "{log}");
}

#[test]
fn a_hangup_does_not_end_it() {
    let mut broker = Broker::start(&["--bind", "127.0.0.1"]);
    broker.address();
    broker.line_with("open files");
    broker.signal(Signal::HUP);
    broker.line_with("the configuration was read anew");
    broker.signal(Signal::TERM);
    assert_eq!(broker.status().0, Some(0));
}

#[test]
fn listening_for_others_is_warned_of_and_the_log_speaks_json() {
    for (flags, warning) in [
        (&[][..], "nobody can log in there"),
        (&["--allow-anonymous"], "anyone who can reach it may connect"),
    ] {
        let mut broker = Broker::start(&[&["--bind", "0.0.0.0", "--log-format", "json"], flags].concat());
        let line = broker.line_with(warning);
        assert!(line.starts_with('{') && line.contains("\"level\":\"WARN\""), "{line}");
        broker.line_with("open files");
        broker.signal(Signal::TERM);
        assert_eq!(broker.status().0, Some(0));
    }
}

#[test]
fn an_address_that_is_taken_ends_it_with_a_reason() {
    let mut first = Broker::start(&["--bind", "127.0.0.1"]);
    let port = first.address().port().to_string();
    let second = siskin(&["serve", "--bind", "127.0.0.1", "--port", &port, "--store-durability", "memory"])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let log = String::from_utf8(second.stderr).unwrap();
    assert!(log.contains(&format!("cannot listen on 127.0.0.1:{port}")), "{log}");
    first.line_with("open files");
    first.signal(Signal::TERM);
    assert_eq!(first.status().0, Some(0));
}

#[test]
fn check_prints_a_file_that_says_the_same() {
    let first = check(&["--packet-size-max", "1MiB", "--bind", "0.0.0.0", "-p", "1884", "-v"]);
    assert_eq!(first.status.code(), Some(0));
    let text = String::from_utf8(first.stdout).unwrap();
    for line in ["packet_size_max = \"1MiB\"", "address = \"0.0.0.0\"", "port = 1884", "level = \"debug\""] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let path = std::env::temp_dir().join(format!("siskin-check-{}.toml", std::process::id()));
    std::fs::write(&path, &text).unwrap();
    let second = check(&["-c", path.to_str().unwrap()]);
    let third = check(&["-c", path.to_str().unwrap(), "-p", "5"]);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(String::from_utf8(second.stdout).unwrap(), text);
    assert_eq!(String::from_utf8(third.stdout).unwrap(), text.replace("port = 1884", "port = 5"));
}

#[test]
fn check_names_file_line_and_remedy_of_every_mistake() {
    let path = std::env::temp_dir().join(format!("siskin-bad-{}.toml", std::process::id()));
    std::fs::write(&path, "[limits]\npacket_size = 5\nmax_qos = 3\n").unwrap();
    let output = check(&["-c", path.to_str().unwrap()]);
    let served =
        siskin(&["serve", "-c", path.to_str().unwrap(), "--store-durability", "memory"]).output().unwrap();
    std::fs::remove_file(&path).unwrap();
    let name = path.display();
    let expected = format!(
        "{name}:2:1: there is no setting `packet_size` in [limits]; did you mean `packet_size_max`?\n\
         {name}:3:11: `limits.max_qos`: `3` is not one of 0, 1, 2\n"
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);
    assert_eq!(served.status.code(), Some(1));
    assert_eq!(String::from_utf8(served.stderr).unwrap(), expected);
}

#[test]
fn a_missing_file_is_told_by_its_name() {
    let output = check(&["-c", "/nonexistent/siskin.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.starts_with("cannot read /nonexistent/siskin.toml: "), "{text}");
}

#[test]
fn a_wrong_flag_value_is_told_with_what_would_be_right() {
    let output = check(&["--packet-size-max", "16MB"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("--packet-size-max: `16MB` is not a size like 512, 64KiB or 16MiB"), "{text}");
}

#[test]
fn a_port_of_another_kind_is_a_listener_more() {
    let output = check(&["--ws-port", "9001", "--bind", "127.0.0.1"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let web = "type = \"ws\"\naddress = \"127.0.0.1\"\nport = 9001\n";
    assert!(text.contains(web) && text.contains("port = 1883"), "{text}");
}

#[test]
fn a_certificate_that_cannot_be_used_is_told_by_its_file() {
    let files = ["--tls-cert", "/nonexistent/a.pem", "--tls-key", "/nonexistent/a.key"];
    for command in ["check", "serve"] {
        let output = siskin(
            &[&[command, "--port", "0", "--tls-port", "0", "--store-durability", "memory"], &files[..]]
                .concat(),
        )
        .output()
        .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("cannot use TLS: /nonexistent/a.pem: cannot be read: "), "{text}");
    }
}

#[test]
fn flags_of_tls_that_lack_another_are_told_which() {
    for (args, lacking) in [
        (&["--tls-cert", "a"][..], "--tls-key"),
        (&["--tls-key", "a"], "--tls-cert"),
        (&["--wss-port", "1"], "--tls-cert"),
        (&["--tls-ca", "a"], "--tls-cert"),
    ] {
        let output = check(args);
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("required") && text.contains(lacking), "{text}");
    }
}
