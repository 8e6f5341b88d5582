//! Siskin with clients that others wrote: Debian's mosquitto_pub and mosquitto_sub, and paho-mqtt.
//!
//! Where they are not installed these tests say so and pass, unless `SISKIN_REQUIRE_INTEROP` is set, as
//! it is in the project's gate. `.ci/install` installs them.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use siskin_access::password::{Hash, NewHash, set};
use siskin_server::config::{Anonymous, ClientCertificates, Durability, Listener, Place};
use siskin_server::{Config, Server};
use support::foreign::{installed, left_out};
use support::pki::{Authority, Folder, asking_listener};
use support::web::web_listener;

#[test]
fn mosquitto_sub_receives_what_mosquitto_pub_sends_at_each_qos_and_version() {
    let Some(()) = installed("mosquitto_sub") else { return };
    let broker = Broker::start();
    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        for qos in ["0", "1", "2"] {
            let topic = format!("{version}/{qos}/a");
            let filter = format!("{version}/{qos}/+");
            let sub = broker.subscribe(&["-V", version, "-t", &filter, "-q", qos, "-v", "-C", "1"]);
            broker.publish(&["-V", version, "-t", &topic, "-q", qos, "-m", "hello"]);
            assert_eq!(sub.output(), format!("{topic} hello\n"));
        }
    }
    broker.stop();
}

#[test]
fn mosquitto_clients_set_read_and_clear_a_retained_message() {
    let Some(()) = installed("mosquitto_sub") else { return };
    let broker = Broker::start();
    broker.publish(&["-t", "state/lamp", "-r", "-m", "on", "-q", "1"]);
    broker.publish(&["-t", "state/lamp", "-r", "-m", "off", "-q", "1"]);
    assert_eq!(broker.collect(&["-t", "state/#", "-C", "1", "-F", "%t %p %r"]), "state/lamp off 1\n");

    let live = broker.subscribe(&["-t", "state/#", "-R", "-C", "1", "-F", "%t [%p] %r"]);
    broker.publish(&["-t", "state/lamp", "-r", "-n", "-q", "1"]);
    assert_eq!(live.output(), "state/lamp [] 0\n", "the clearing itself is delivered, not as retained");
    broker.publish(&["-t", "state/door", "-r", "-m", "shut", "-q", "1"]);
    assert_eq!(broker.collect(&["-t", "state/#", "-C", "1", "-F", "%t %p"]), "state/door shut\n");
    broker.stop();
}

#[test]
fn mosquitto_sub_gets_what_waited_for_its_session() {
    let Some(()) = installed("mosquitto_sub") else { return };
    let broker = Broker::start();
    let session = ["-i", "sleeper", "-c", "-q", "2", "-t", "work/#"];
    // -E leaves after the SUBACK.
    broker.collect(&[&session[..], &["-E"]].concat());
    for number in ["1", "2", "3"] {
        broker.publish(&["-t", "work/list", "-q", number.min("2"), "-m", number]);
    }
    assert_eq!(broker.collect(&[&session[..], &["-C", "3"]].concat()), "1\n2\n3\n");
    broker.stop();
}

#[test]
fn mosquitto_pub_streams_ten_thousand_lines_in_order() {
    let Some(()) = installed("mosquitto_sub") else { return };
    let broker = Broker::start();
    let sub = broker.subscribe(&["-t", "lines", "-q", "1", "-C", "10000"]);
    let lines: String = (0..10_000).map(|line| format!("{line}\n")).collect();
    let mut publisher = broker.client("mosquitto_pub", &["-t", "lines", "-q", "1", "-l"]);
    let mut publisher = publisher.stdin(Stdio::piped()).spawn().expect("mosquitto_pub starts");
    let mut stdin = publisher.stdin.take().expect("a pipe was asked for");
    std::io::Write::write_all(&mut stdin, lines.as_bytes()).expect("it reads its lines");
    drop(stdin);
    assert!(publisher.wait().expect("it ends").success());
    assert_eq!(sub.output(), lines);
    broker.stop();
}

#[test]
fn paho_mqtt_works_through_siskin_in_3_1_1() {
    paho("311", "tcp");
}

#[test]
fn paho_mqtt_works_through_siskin_in_5() {
    paho("5", "tcp");
}

#[test]
fn paho_mqtt_works_through_siskin_over_websocket() {
    paho("311", "websockets");
    paho("5", "websockets");
}

#[test]
fn mosquitto_clients_come_in_over_tls_with_a_certificate_and_not_without() {
    let Some(()) = installed("mosquitto_sub") else { return };
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let ca = folder.put("ca.pem", &authority.pem);
    let certificate = folder.put_issued("server", &authority.issue(&["127.0.0.1"]));
    let client = folder.put_issued("client", &authority.issue(&["client"]));
    let broker = Broker::on(asking_listener(vec![certificate], ClientCertificates::Required, &ca));
    let text = |path: &Path| path.display().to_string();
    let (ca, chain, key) = (text(&ca), text(&client.chain), text(&client.key));
    let known = ["--cafile", &ca];
    let shown = ["--cafile", &ca, "--cert", &chain, "--key", &key];
    broker.publish(&[&shown[..], &["-t", "a", "-m", "hello", "-q", "2", "-r"]].concat());
    assert_eq!(broker.collect(&[&shown[..], &["-t", "a", "-C", "1"]].concat()), "hello\n");
    let mut unknown =
        broker.client("mosquitto_pub", &[&known[..], &["-t", "a", "-m", "x", "-q", "1"]].concat());
    assert!(!unknown.status().expect("it starts").success(), "let in without a certificate");
    broker.stop();
}

#[test]
fn mosquitto_clients_come_in_through_a_unix_socket() {
    let Some(()) = installed("mosquitto_sub") else { return };
    let folder = Folder::new();
    let path = folder.path("socket");
    let mut config = Config {
        listeners: vec![Listener::new(Place::Unix { path: path.clone(), mode: None })],
        workers: 2,
        ..Config::default()
    };
    config.store.durability = Durability::Memory;
    let server = Server::start(config).expect("the broker starts");
    let path = path.display().to_string();
    let message = ["-t", "a", "-m", "hello", "-r", "-q", "1"];
    let sent = Command::new("mosquitto_pub").args(["--unix", &path]).args(message).status();
    assert!(sent.expect("it starts").success());
    let got =
        Command::new("mosquitto_sub").args(["--unix", &path, "-t", "a", "-C", "1", "-W", "20"]).output();
    assert_eq!(got.expect("it starts").stdout, b"hello\n");
    server.stop();
}

#[test]
fn mosquitto_clients_log_in_and_go_by_the_acl_file() {
    let Some(()) = installed("mosquitto_sub") else { return };
    let folder = Folder::new();
    let hash = Hash::create(NewHash::Argon2id, b"secret", &[7; 64]).expect("a salt of that length");
    let (passwords, _) = set(b"", "ann", &hash);
    let passwords = String::from_utf8(passwords).expect("text");
    let address: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let broker = Broker::with(address.into(), |config| {
        config.access.password_file = folder.put("passwords", &passwords);
        config.access.acl_file = folder.put("acl", "user ann\ntopic readwrite open/#\n");
        config.access.allow_anonymous = Anonymous::Denied;
    });
    let known = ["-u", "ann", "-P", "secret"];
    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        let sub = broker.subscribe(&[&known[..], &["-V", version, "-t", "#", "-v", "-C", "1"]].concat());
        broker.publish(&[&known[..], &["-V", version, "-q", "0", "-t", "closed/a", "-m", "no"]].concat());
        broker.publish(&[&known[..], &["-V", version, "-q", "1", "-t", "open/a", "-m", "yes"]].concat());
        assert_eq!(sub.output(), "open/a yes\n");
        for stranger in [&["-u", "ann", "-P", "wrong"][..], &["-u", "bob", "-P", "secret"], &[]] {
            let arguments = [stranger, &["-V", version, "-t", "open/a", "-m", "x"]].concat();
            let output = broker.client("mosquitto_pub", &arguments).output().expect("it starts");
            assert!(!output.status.success(), "{version} {stranger:?}");
        }
    }
    broker.stop();
}

fn paho(version: &str, transport: &str) {
    let Some(python) = python_with_paho() else { return };
    let broker = match transport {
        "tcp" => Broker::start(),
        _ => Broker::on(web_listener()),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/paho_client.py");
    let output = Command::new(python)
        .arg(script)
        .args([&broker.port.to_string(), version, transport])
        .output()
        .expect("python starts");
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.ends_with("all good\n"), "{said}\n{failed}");
    broker.stop();
}

/// A broker of two workers on a free port.
struct Broker {
    server: Server,
    port: u16,
}

impl Broker {
    fn start() -> Self {
        let address: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        Self::on(address.into())
    }

    fn on(listener: Listener) -> Self {
        Self::with(listener, |_| {})
    }

    fn with(listener: Listener, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { listeners: vec![listener], workers: 2, ..Config::default() };
        config.store.durability = Durability::Memory;
        change(&mut config);
        let server = Server::start(config).expect("the broker starts");
        let port = server.addresses()[0].port();
        Self { server, port }
    }

    fn client(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]).args(arguments);
        command
    }

    /// Runs mosquitto_pub to its end.
    fn publish(&self, arguments: &[&str]) {
        let status = self.client("mosquitto_pub", arguments).status().expect("mosquitto_pub starts");
        assert!(status.success(), "mosquitto_pub {arguments:?}: {status}");
    }

    /// Runs mosquitto_sub to its end and returns what it printed.
    fn collect(&self, arguments: &[&str]) -> String {
        let output = self.client("mosquitto_sub", arguments).args(["-W", "20"]).output().expect("it starts");
        assert!(output.status.success(), "mosquitto_sub {arguments:?}: {}", output.status);
        String::from_utf8(output.stdout).expect("text")
    }

    /// Starts mosquitto_sub and returns when its subscription stands.
    fn subscribe(&self, arguments: &[&str]) -> Subscriber {
        // Line by line, and with its own word for the SUBACK.
        let mut child = Command::new("stdbuf")
            .args(["-oL", "mosquitto_sub", "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(arguments)
            .args(["-W", "20", "-d"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("mosquitto_sub starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe was asked for"));
        let mut line = String::new();
        while !line.starts_with("Subscribed") {
            line.clear();
            let len = stdout.read_line(&mut line).expect("it prints text");
            assert!(len > 0, "mosquitto_sub ended before it was subscribed");
        }
        Subscriber { child, stdout }
    }

    fn stop(self) {
        self.server.stop();
    }
}

struct Subscriber {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Subscriber {
    /// What it prints until it ends, without its words about packets.
    fn output(mut self) -> String {
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).expect("it prints text");
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "mosquitto_sub: {status}\n{text}");
        let is_message = |line: &&str| !line.starts_with("Client ") && !line.starts_with("Subscribed");
        text.split_inclusive('\n').filter(is_message).collect()
    }
}

fn python_with_paho() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/interop-python/bin/python");
    let works = |python: &PathBuf| {
        let import = ["-c", "import paho.mqtt.client as c; c.CallbackAPIVersion.VERSION2"];
        Command::new(python).args(import).output().is_ok_and(|output| output.status.success())
    };
    [own, PathBuf::from("python3")].into_iter().find(works).or_else(|| left_out("paho-mqtt"))
}
