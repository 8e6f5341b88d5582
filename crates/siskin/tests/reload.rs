//! A configuration that is changed while the broker runs, by SIGHUP and by `siskin ctl reload`.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process};

/// A broker with its API on a free port and a configuration file of its own.
struct Broker {
    child: Child,
    log: BufReader<ChildStderr>,
    url: String,
    folder: PathBuf,
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
    fn start(name: &str, file: &str, flags: &[&str]) -> Self {
        let mut broker = Self::start_with(name, file, &[&["--admin", "0"], flags].concat());
        let line = broker.line_with("the admin API is on ");
        let url = line.split_once("the admin API is on ").unwrap().1.split_whitespace().next().unwrap();
        broker.url = url.to_owned();
        broker
    }

    fn start_with(name: &str, file: &str, flags: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("siskin-reload-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("siskin.toml"), file).unwrap();
        Self::start_in(folder, flags)
    }

    fn start_in(folder: PathBuf, flags: &[&str]) -> Self {
        let config = folder.join("siskin.toml");
        let always = ["serve", "--bind", "127.0.0.1", "--port", "0", "--workers", "2"];
        let args =
            [&always[..], &["--store-durability", "memory", "-c", config.to_str().unwrap()], flags].concat();
        let mut child = siskin(&args).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut broker = Self { child, log, url: String::new(), folder };
        broker.line_with("listening for ");
        broker
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

    fn write(&self, file: &str) {
        fs::write(self.folder.join("siskin.toml"), file).unwrap();
    }

    fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    /// The status of `siskin ctl`, and what it prints to whichever end.
    fn ctl(&self, args: &[&str]) -> (Option<i32>, String) {
        let output = siskin(&[&["ctl", "--url", &self.url], args].concat()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    /// The value of a setting that is in force.
    fn value(&self, name: &str) -> String {
        let (_, answer) = self.ctl(&["config", name, "--json"]);
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        answer["settings"][0]["value"].as_str().unwrap().to_owned()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // One that has ended by itself is not there to be killed.
        let _ = self.child.kill();
        self.child.wait().unwrap();
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

#[test]
fn a_changed_file_is_in_force_after_a_reload_and_the_answer_says_what_changed() {
    let mut broker = Broker::start("changed", "[limits]\nqueue_messages_max = 10\n", &[]);
    assert_eq!(broker.ctl(&["reload"]), (Some(0), "reloaded: nothing differs\n".to_owned()));
    broker.write(
        "workers = 3\n[limits]\nqueue_messages_max = 20\nqueue_bytes_max = \"1MiB\"\n[store]\ndir = \"/x\"\n",
    );
    let (status, said) = broker.ctl(&["reload"]);
    assert_eq!(status, Some(0), "{said}");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "limits.queue_messages_max: 10 -> 20",
            "limits.queue_bytes_max: 64MiB -> 1MiB",
            "not before a restart: store.dir: default -> /x",
            "reloaded: 2 changed, 1 to wait for a restart",
        ]
    );
    broker.line_with("in force now: limits.queue_messages_max: 10 -> 20");
    broker.line_with("not in force before a restart: store.dir");
    assert_eq!(broker.value("queue_messages_max"), "20");
    // The flag `--workers` beats the file, and what needs a restart is not in force.
    assert_eq!((broker.value("workers"), broker.value("store.dir")), ("2".to_owned(), "default".to_owned()));
}

#[test]
fn a_hangup_reloads_too_and_a_mistake_changes_nothing_and_is_named_with_its_line() {
    let mut broker = Broker::start("mistake", "", &[]);
    broker.write("[limits]\nqueue_messages_max = 5\nqueue_bytes_max = \"many\"\n");
    broker.hang_up();
    broker.line_with("stays as it was");
    let line = broker.line_with("siskin.toml:3:19: ");
    assert!(line.contains("limits.queue_bytes_max"), "{line}");
    let (status, said) = broker.ctl(&["reload"]);
    assert_eq!(status, Some(1), "{said}");
    assert!(said.contains("siskin.toml:3:19: ") && said.contains("`many`"), "{said}");
    assert_eq!(broker.value("queue_messages_max"), "10000");

    broker.write("[access]\nacl_file = \"/no/such/file\"\n[limits]\nqueue_messages_max = 5\n");
    let (status, said) = broker.ctl(&["reload"]);
    assert!(status == Some(1) && said.contains("/no/such/file"), "{said}");
    assert_eq!(broker.value("queue_messages_max"), "10000");

    broker.write("[limits]\nqueue_messages_max = 5\n");
    broker.hang_up();
    broker.line_with("in force now: limits.queue_messages_max: 10000 -> 5");
    assert_eq!(broker.value("queue_messages_max"), "5");
}

#[test]
fn what_would_only_be_wrong_after_a_restart_is_wrong_now() {
    let mut broker = Broker::start_with("later", "[admin]\naddress = \"127.0.0.1:0\"\n", &[]);
    for (file, why) in [
        ("[admin]\naddress = \"0.0.0.0:18083\"\n", "0.0.0.0:18083"),
        ("[telemetry]\ntraces_url = \"http://[\"\n", "traces_url"),
    ] {
        broker.write(file);
        broker.hang_up();
        broker.line_with("stays as it was");
        let line = broker.line_with(why);
        assert!(line.contains("ERROR"), "{line}");
    }
}

#[test]
fn a_file_without_an_end_holds_up_the_reload_and_not_the_stop() {
    let mut broker = Broker::start_with("endless", "", &["--admin", "off"]);
    let config = broker.folder.join("siskin.toml");
    fs::remove_file(&config).unwrap();
    mkfifoat(CWD, &config, Mode::RUSR | Mode::WUSR).unwrap();
    broker.hang_up();
    // Somebody opens it to read, and waits for what is never written.
    let writer = fs::OpenOptions::new().write(true).open(&config).unwrap();
    kill_process(Pid::from_child(&broker.child), Signal::TERM).unwrap();
    broker.line_with("stopped");
    assert!(broker.child.wait().unwrap().success());
    drop(writer);
}

#[test]
fn who_may_use_the_api_and_what_the_log_shows_change_with_the_file() {
    let mut broker = Broker::start("admin", "", &[]);
    broker.write("[log]\nlevel = \"debug\"\n[admin]\ntoken = \"hush\"\nmetrics_emqx = true\n");
    let (status, said) = broker.ctl(&["reload"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("admin.token: none -> ***") && !said.contains("hush"), "{said}");
    assert!(said.contains("log.level: info -> debug"), "{said}");
    assert_eq!(broker.ctl(&["health"]).0, Some(0));
    let (status, said) = broker.ctl(&["log-level"]);
    assert!(status == Some(1) && said.contains("token"), "{said}");
    assert_eq!(broker.ctl(&["--token", "hush", "log-level"]), (Some(0), "debug\n".to_owned()));

    broker.write("[admin]\ntoken_file = \"/no/such/token\"\n");
    broker.hang_up();
    broker.line_with("/no/such/token");
    assert_eq!(broker.ctl(&["--token", "hush", "log-level"]).0, Some(0));
}

#[test]
fn flags_of_the_command_line_still_beat_the_file() {
    let mut broker = Broker::start("listener", "", &[]);
    broker.write("[[listener]]\naddress = \"192.0.2.1\"\n");
    let (status, said) = broker.ctl(&["reload"]);
    // The flags `--bind` and `--port` beat the file's listeners.
    assert_eq!((status, said.as_str()), (Some(0), "reloaded: nothing differs\n"));
    broker.hang_up();
    broker.line_with("nothing differs");
}
