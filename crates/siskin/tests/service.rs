//! The broker as a service: what it tells a service manager, whom it runs as, and the files that packages are made of.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, geteuid, kill_process};

fn siskin(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siskin"));
    command.args(args).stdin(Stdio::null());
    command
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A directory of its own that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("siskin-service-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Broker {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Broker {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
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

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

const SERVE: [&str; 7] = ["serve", "--bind", "127.0.0.1:0", "--workers", "2", "--admin", "off"];

/// A service manager's end of the socket.
struct Manager(UnixDatagram);

impl Manager {
    fn message(&self) -> String {
        let mut buffer = [0; 1024];
        let length = self.0.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// The next message that is not for the watchdog.
    fn news(&self) -> String {
        loop {
            let message = self.message();
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }
}

#[test]
fn a_service_manager_hears_of_readiness_reloads_life_and_the_end() {
    let folder = Folder::new("notify");
    let socket = UnixDatagram::bind(folder.0.join("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let manager = Manager(socket);
    let mut command = siskin(&SERVE);
    command.args(["--store-durability", "memory"]).env("NOTIFY_SOCKET", folder.at("notify"));
    command.env("WATCHDOG_USEC", "400000").env_remove("WATCHDOG_PID");
    let broker = Broker::start(&mut command);

    let ready = manager.news();
    assert!(ready.starts_with("READY=1\nSTATUS=listening on 127.0.0.1:"), "{ready}");
    for _ in 0..2 {
        assert_eq!(manager.message(), "WATCHDOG=1");
    }
    broker.signal(Signal::HUP);
    let reloading = manager.news();
    let moment = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading);
    assert!(moment.lines().next().unwrap().parse::<u64>().unwrap() > 0, "{reloading}");
    assert_eq!(manager.news(), ready);
    broker.signal(Signal::TERM);
    assert!(manager.news().starts_with("STOPPING=1\n"));
    let (status, log) = broker.end();
    assert_eq!(status, Some(0), "{log}");
    assert!(!log.contains("watchdog"), "{log}");
}

#[test]
fn without_a_watchdog_the_service_manager_hears_nothing_of_it() {
    let folder = Folder::new("no-watchdog");
    let socket = UnixDatagram::bind(folder.0.join("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut command = siskin(&SERVE);
    command.args(["--store-durability", "memory"]).env("NOTIFY_SOCKET", folder.at("notify"));
    // It is for another process.
    command.env("WATCHDOG_USEC", "4000").env("WATCHDOG_PID", "1");
    let broker = Broker::start(&mut command);
    let manager = Manager(socket);
    assert!(manager.message().starts_with("READY=1"));
    broker.signal(Signal::TERM);
    assert!(manager.message().starts_with("STOPPING=1"));
    assert_eq!(broker.end().0, Some(0));
}

#[test]
fn a_service_manager_that_is_not_there_is_named() {
    let mut command = siskin(&SERVE);
    command.args(["--store-durability", "memory"]).env("NOTIFY_SOCKET", "/no/such/place");
    let output = command.output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && log.contains("$NOTIFY_SOCKET"), "{log}");
}

/// Whether the process is root's, without which nobody can become another user. Says so if it is not.
fn is_root(test: &str) -> bool {
    if !geteuid().is_root() {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("{test}: left out, as only root can do it\n").as_bytes(),
        );
    }
    geteuid().is_root()
}

/// What `/proc` says of `key` in each thread of a process.
fn of_threads(pid: u32, key: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let status = threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).unwrap());
    let line = |text: String| text.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    status.map(|text| line(text)[key.len()..].split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn started_as_root_it_becomes_its_user_in_all_threads_and_its_store_is_that_user_s() {
    if !is_root("started_as_root") {
        return;
    }
    let folder = Folder::new("user");
    let (store, socket) = (folder.at("store"), folder.at("mqtt.sock"));
    let config = folder.at("siskin.toml");
    let listeners = format!(
        "[[listener]]\naddress = \"127.0.0.1\"\nport = 0\n[[listener]]\nsocket = \"{socket}\"\nmode = \"0660\"\n"
    );
    let file = folder.at("users");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(&config, format!("user = \"45678:45679\"\n{listeners}[store]\ndir = \"{store}\"\n")).unwrap();
    let args = ["serve", "-c", &config, "--workers", "2", "--admin", "off", "--password-file", &file];
    let mut broker = Broker::start(&mut siskin(&args));
    let lost = broker.line_with("may not be read by uid 45678");
    assert!(lost.contains(&file) && !lost.contains(&config), "{lost}");
    broker.line_with("open files");

    let threads = of_threads(broker.child.id(), "Uid:");
    assert!(threads.len() > 3, "{threads:?}");
    assert!(threads.iter().all(|uids| uids == "45678 45678 45678 45678"), "{threads:?}");
    let threads = of_threads(broker.child.id(), "Gid:");
    assert!(threads.iter().all(|gids| gids == "45679 45679 45679 45679"), "{threads:?}");
    for key in ["Groups:", "CapEff:", "CapPrm:"] {
        let threads = of_threads(broker.child.id(), key);
        assert!(threads.iter().all(|set| set.trim_matches('0').is_empty()), "{key} {threads:?}");
    }
    let owner = |path: &Path| fs::metadata(path).map(|there| (there.uid(), there.gid())).unwrap();
    assert_eq!(owner(Path::new(&socket)), (45_678, 45_679));
    assert_eq!(owner(Path::new(&store)), (45_678, 45_679));
    for file in fs::read_dir(&store).unwrap() {
        assert_eq!(owner(&file.unwrap().path()), (45_678, 45_679));
    }
    broker.signal(Signal::TERM);
    assert_eq!(broker.end().0, Some(0));
}

#[test]
fn a_store_that_its_user_cannot_use_is_refused_with_the_command_that_helps() {
    if !is_root("a_store_that_its_user_cannot_use") {
        return;
    }
    let folder = Folder::new("chown");
    let store = folder.at("store");
    let serve = |user: &str| siskin(&SERVE).args(["--store-dir", &store, "--user", user]).output().unwrap();
    // Something of root's in a directory of the user's.
    fs::create_dir(&store).unwrap();
    fs::write(folder.0.join("store/segment"), "").unwrap();
    chown(&store, Some(45_678), Some(45_678)).unwrap();
    let output = serve("45678");
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{log}");
    assert!(log.contains("store/segment") && log.contains("chown -R 45678:45678"), "{log}");
    assert!(log.contains(&store), "{log}");
}

#[test]
fn root_is_warned_to_name_a_user_and_may_not_name_itself_or_nobody_there() {
    if !is_root("root_is_warned") {
        return;
    }
    let serve =
        |user: &str| siskin(&[&SERVE[..], &["--store-durability", "memory", "--user", user]].concat());
    let mut broker = Broker::start(&mut serve("none"));
    broker.line_with("runs as root");
    broker.line_with("open files");
    broker.signal(Signal::TERM);
    assert_eq!(broker.end().0, Some(0));
    for (user, expected) in
        [("root", "is root"), ("0:5", "is root"), ("no-such-one", "no user `no-such-one`")]
    {
        let output = serve(user).output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && log.contains(expected), "{log}");
    }
}

#[test]
fn the_printed_configuration_is_one_that_says_what_holds_without_it() {
    let folder = Folder::new("print-config");
    let path = folder.at("siskin.toml");
    let sample = succeeded(&siskin(&["serve", "--print-config"]).output().unwrap());
    fs::write(&path, &sample).unwrap();
    let with = succeeded(&siskin(&["check", "-c", &path]).output().unwrap());
    assert_eq!(with, succeeded(&siskin(&["check"]).output().unwrap()));
    for line in ["[limits]", "#packet_size_max = ", "#[[listener]]"] {
        assert!(sample.lines().any(|there| there.starts_with(line)), "{line}");
    }
}

/// The subcommands that `--help` of `path` lists.
fn subcommands(path: &[&str]) -> Vec<String> {
    let help = succeeded(&siskin(&[path, &["--help"]].concat()).output().unwrap());
    let Some((_, list)) = help.split_once("Commands:\n") else { return Vec::new() };
    let list = list.lines().take_while(|line| !line.is_empty());
    let name = |line: &str| {
        line.strip_prefix("  ")?.split(' ').next().filter(|name| !name.is_empty()).map(str::to_owned)
    };
    list.filter_map(name).filter(|name| name != "help").collect()
}

fn add_pages(path: &[&str], pages: &mut Vec<String>) {
    pages.push(format!("{}.1", [&["siskin"], path].concat().join("-")));
    for name in subcommands(path) {
        add_pages(&[path, &[&name]].concat(), pages);
    }
}

#[test]
fn every_subcommand_has_its_man_page_and_no_page_is_without_one() {
    let folder = Folder::new("man");
    let directory = folder.at("made/man1");
    succeeded(&siskin(&["man", &directory]).output().unwrap());
    let mut expected = Vec::new();
    add_pages(&[], &mut expected);
    let mut there: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    there.sort();
    expected.sort();
    assert!(expected.contains(&"siskin-acl-test.1".to_owned()), "{expected:?}");
    assert_eq!(there, expected);
    let serve = fs::read_to_string(folder.0.join("made/man1/siskin-serve.1")).unwrap();
    assert!(serve.contains("packet\\-size\\-max"), "flags of settings are missing");
}

#[test]
fn man_pages_that_cannot_be_written_are_an_error_that_says_where() {
    let output = siskin(&["man", "/dev/null/man"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("/dev/null/man"), "{error}");
}

#[test]
fn every_shell_has_completions_that_know_the_subcommands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = succeeded(&siskin(&["completions", shell]).output().unwrap());
        for name in subcommands(&[]) {
            assert!(text.contains(&name), "{shell}: {name}");
        }
        assert!(text.contains("packet-size-max"), "{shell}");
    }
}

#[test]
fn the_configuration_of_the_container_says_what_it_should() {
    let folder = Folder::new("container");
    fs::write(folder.at("users"), "").unwrap();
    let text = include_str!("../../../contrib/docker/siskin.toml");
    assert!(text.contains("/etc/siskin/users"));
    fs::write(folder.at("siskin.toml"), text.replace("/etc/siskin/users", &folder.at("users"))).unwrap();
    let checked = succeeded(&siskin(&["check", "-c", &folder.at("siskin.toml")]).output().unwrap());
    for line in ["address = \"0.0.0.0\"", "port = 1883", "port = 8083", "dir = \"/var/lib/siskin/store\""] {
        assert!(checked.contains(line), "{checked}");
    }
}
