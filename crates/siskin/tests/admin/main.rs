//! `siskin serve --admin`, `siskin ctl` and `siskin top` as their users run them.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod bans;
mod explain;
mod log;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{read, write};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use serde_json::Value;

/// A broker with its API on a free port.
struct Broker {
    child: Child,
    /// Its end would be the broker's at its next line.
    log: BufReader<ChildStderr>,
    mqtt_port: String,
    url: String,
}

fn siskin(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siskin"));
    command.args(args).stdin(Stdio::null());
    for name in ["SISKIN_ADMIN_URL", "SISKIN_ADMIN_TOKEN", "SISKIN_ADMIN_USER"] {
        command.env_remove(name);
    }
    command
}

impl Broker {
    fn start(args: &[&str]) -> Self {
        let always = ["serve", "--bind", "127.0.0.1", "--port", "0", "--workers", "1", "--admin", "0"];
        let memory = ["--store-durability", "memory"];
        let mut child =
            siskin(&[&always[..], &memory, args].concat()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut after = |text: &str| {
            let mut all = String::new();
            loop {
                let mut line = String::new();
                assert!(log.read_line(&mut line).unwrap() > 0, "the log ended without `{text}`:\n{all}");
                if let Some((_, rest)) = line.split_once(text) {
                    return rest.split_whitespace().next().unwrap().to_owned();
                }
                all.push_str(&line);
            }
        };
        let mqtt_port = after("listening for MQTT on 127.0.0.1:");
        let url = after("the admin API is on ");
        Self { child, log, mqtt_port, url }
    }

    fn ctl(&self, args: &[&str]) -> Output {
        siskin(&[&["ctl", "--url", &self.url], args].concat()).output().unwrap()
    }

    /// What `siskin ctl` prints.
    fn says(&self, args: &[&str]) -> String {
        let output = self.ctl(args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(0), "{args:?}\n{out}{err}");
        out
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[args, &["--json"]].concat())).unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::KILL).unwrap();
        self.child.wait().unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// `siskin sub` that is subscribed, and ends with this.
struct Subscriber(Child);

impl Subscriber {
    fn start(broker: &Broker, client_id: &str, filter: &str) -> Self {
        let args = ["sub", "-p", &broker.mqtt_port, "-i", client_id, "-t", filter, "-q", "1"];
        let child = siskin(&args).stdout(Stdio::null()).spawn().unwrap();
        while !broker.says(&["subscriptions", "--client", client_id]).contains(filter) {}
        Self(child)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn clients_and_their_subscriptions_are_listed_shown_and_ended() {
    let broker = Broker::start(&[]);
    let _subscriber = Subscriber::start(&broker, "kitchen/1", "home/+/light");
    let clients = broker.says(&["clients"]);
    assert!(clients.starts_with("CLIENT ID"), "{clients}");
    assert!(clients.lines().nth(1).unwrap().starts_with("kitchen/1  yes   3.1.1"), "{clients}");
    assert_eq!(broker.json(&["clients", "--id", "bath"])["clients"], Value::Array(Vec::new()));
    let shown = broker.says(&["client", "show", "kitchen/1"]);
    for line in ["client id             kitchen/1", "connected             yes", "subscriptions         1"] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    let story = broker.says(&["client", "story", "kitchen/1"]);
    assert!(story.starts_with("'kitchen/1' is connected since "), "{story}");
    assert!(broker.says(&["client", "subscriptions", "kitchen/1"]).contains("home/+/light"));
    assert_eq!(broker.says(&["sessions"]).lines().count(), 1);
    assert!(broker.says(&["topics"]).lines().nth(1).unwrap().ends_with("1  home/+/light"));
    assert_eq!(broker.says(&["client", "kick", "kitchen/1"]), "its connection was ended\n");
    // It comes back by itself, and its story tells of both.
    let story = broker.says(&["client", "story", "kitchen/1"]);
    assert!(story.contains("an operator closed the connection"), "{story}");
    let output = broker.ctl(&["client", "show", "nobody"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "the broker says no: there is no session of `nobody`\n");
}

#[test]
fn messages_are_published_and_retained_ones_looked_after() {
    let broker = Broker::start(&[]);
    assert_eq!(
        broker.says(&["publish", "a/1", "hello\u{1b}[31m", "--retain"]),
        "published, but nobody has subscribed to it\n"
    );
    let mut from_input = siskin(&["ctl", "--url", &broker.url, "publish", "a/2", "-r"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    from_input.stdin.take().unwrap().write_all(b"from input").unwrap();
    assert!(from_input.wait().unwrap().success());
    let list = broker.says(&["retained", "list", "a/#"]);
    assert!(list.contains("a/1    1") && list.contains("a/2    1"), "{list}");
    let one = broker.says(&["retained", "get", "a/1"]);
    assert!(one.contains("topic     a/1\n") && one.ends_with("\nhello\\u{1b}[31m\n"), "{one}");
    assert_eq!(broker.json(&["retained", "get", "a/2"])["payload"], "from input");
    let limited = broker.says(&["retained", "list", "-n", "1"]);
    assert!(limited.ends_with("... and more: --limit N or --all\n"), "{limited}");
    assert_eq!(broker.says(&["retained", "delete", "a/#"]), "2 messages were forgotten\n");
}

#[test]
fn the_broker_as_a_whole_is_described() {
    let broker = Broker::start(&["--inflight-max", "7"]);
    assert_eq!(broker.says(&["health"]), "ready: all workers answer, the store is memory\n");
    let stats = broker.says(&["stats"]);
    assert!(stats.starts_with("broker                  siskin, Siskin 0.1.0\n"), "{stats}");
    assert!(stats.contains("\nworker 0 ") && stats.contains("\nmemory "), "{stats}");
    let config = broker.says(&["config", "--changed", "limits"]);
    assert_eq!(config.lines().count(), 2, "{config}");
    assert!(config.contains("limits.inflight_max  7      1000"), "{config}");
    let listeners = broker.says(&["listeners"]);
    let line = format!("MQTT on 127.0.0.1:{}            0  any number\n", broker.mqtt_port);
    assert!(listeners.ends_with(&line), "{listeners}");
}

#[test]
fn credentials_come_from_flags_and_from_the_environment() {
    let broker = Broker::start(&["--admin-token", "hush"]);
    let output = broker.ctl(&["stats"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "the broker says no: this needs a token (Bearer) or a user and password (Basic); give --token or --user\n"
    );
    assert!(broker.says(&["stats", "--token", "hush"]).contains("Siskin"));
    assert!(broker.says(&["stats", "--user", "me:hush"]).contains("Siskin"));
    let environment = [("SISKIN_ADMIN_URL", broker.url.as_str()), ("SISKIN_ADMIN_TOKEN", "hush")];
    let output = siskin(&["ctl", "health"]).envs(environment).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn a_broker_that_is_not_there_is_told_with_a_hint() {
    // Nobody listens on a port that has just been let go.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for args in [&["ctl", "stats"][..], &["top", "--once"]] {
        let output = siskin(&[args, &["--url", &format!("127.0.0.1:{port}")]].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = text(&output.stderr);
        assert!(text.starts_with(&format!("cannot ask the broker at http://127.0.0.1:{port}: ")), "{text}");
        assert!(text.contains("is its admin API there?"), "{text}");
    }
    let output = siskin(&["ctl", "--url", "https://x", "stats"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}

#[test]
fn top_prints_one_look_where_there_is_no_terminal() {
    let broker = Broker::start(&[]);
    let _subscriber = Subscriber::start(&broker, "one", "a");
    assert_eq!(broker.says(&["publish", "a", "x"]), "published\n");
    let output = siskin(&["top", "--url", &broker.url]).output().unwrap();
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(out.starts_with("siskin, Siskin 0.1.0, up "), "{out}");
    assert!(out.contains("connections 1 ") && out.contains("workers busy "), "{out}");
    assert!(out.contains("\nheaviest clients") && out.contains("\nslowest clients: none\n"), "{out}");
}

#[test]
fn an_api_that_others_could_reach_without_a_password_keeps_the_broker_from_starting() {
    let rest = ["--bind", "127.0.0.1", "--port", "0", "--store-durability", "memory", "--admin", "0.0.0.0:0"];
    for command in ["serve", "check"] {
        let output = siskin(&[&[command], &rest[..]].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let text = text(&output.stderr);
        assert!(text.contains("give it admin.token, admin.token_file or admin.password_file"), "{text}");
        assert!(!text.contains("listening for"), "{text}");
    }
}

#[test]
fn top_shows_a_live_screen_until_q_and_leaves_the_terminal_as_it_was() {
    let broker = Broker::start(&[]);
    let outside = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&outside).unwrap();
    unlockpt(&outside).unwrap();
    let name = ptsname(&outside, Vec::new()).unwrap();
    let inside: OwnedFd = open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    tcsetwinsize(&inside, Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let before = tcgetattr(&inside).unwrap().local_modes;
    let end = || Stdio::from(inside.try_clone().unwrap());
    let mut command = siskin(&["top", "--url", &broker.url]);
    let mut top = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
    // It has the terminal too.
    drop(command);
    let mut shown = String::new();
    // Blanks are not written: the cursor goes past them.
    while !shown.contains("slowest") {
        let mut bytes = [0; 65_536];
        let len = read(&outside, &mut bytes).unwrap();
        shown.push_str(&String::from_utf8_lossy(&bytes[..len]));
    }
    assert!(shown.contains("heaviest"), "{shown}");
    write(&outside, b"q").unwrap();
    // Who does not read what a terminal shows keeps those waiting that write to it.
    let reader =
        std::thread::spawn(move || while read(&outside, &mut [0_u8; 65_536]).is_ok_and(|len| len > 0) {});
    assert_eq!(top.wait().unwrap().code(), Some(0));
    assert_eq!(tcgetattr(&inside).unwrap().local_modes, before);
    drop(inside);
    reader.join().unwrap();
}
