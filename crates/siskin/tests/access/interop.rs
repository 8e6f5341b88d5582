//! Files of Siskin with Mosquitto, and Mosquitto's with Siskin.
//!
//! Where Mosquitto is not installed these tests say so and pass, unless `SISKIN_REQUIRE_INTEROP` is set, as it is
//! in the project's gate.

#![allow(clippy::print_stderr)] // What was left out is said where tests say things.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use siskin_access::acl::{Access, Acl, Who};
use siskin_access::password::PasswordFile;

use crate::{Directory, read, siskin};

#[test]
fn files_of_mosquitto_passwd_let_the_same_users_in() {
    let Some(()) = installed("mosquitto_passwd") else { return };
    let directory = Directory::new("theirs");
    let passwd = |args: &[&str]| {
        let status = Command::new("mosquitto_passwd").args(args).stdout(Stdio::null()).status().unwrap();
        assert!(status.success(), "{args:?}");
    };
    let file = directory.file("users");
    let name = file.to_str().unwrap();
    passwd(&["-c", "-b", name, "bob", "one"]);
    passwd(&["-H", "sha512", "-b", name, "al", "two words"]);
    passwd(&["-H", "sha512-pbkdf2", "-b", name, "cy", "dré"]);
    let plain = directory.with("plain", "di:four\ned:five\n");
    passwd(&["-U", plain.to_str().unwrap()]);
    let users = PasswordFile::parse(read(&file) + &read(&plain)).unwrap();
    for (user, password) in
        [("bob", "one"), ("al", "two words"), ("cy", "dré"), ("di", "four"), ("ed", "five")]
    {
        assert!(users.verify(user, password.as_bytes()), "{user}");
        assert!(!users.verify(user, b"other"), "{user}");
    }
    // And each changes what the other wrote.
    assert_eq!(siskin(&[&"passwd", &"-H", &"sha512", &"-b", &file, &"bob", &"new"], "").0, 0);
    passwd(&["-b", name, "al", "newer"]);
    passwd(&["-D", name, "cy"]);
    let users = PasswordFile::parse(read(&file)).unwrap();
    assert!(users.verify("bob", b"new") && users.verify("al", b"newer") && users.user("cy").is_none());
}

#[test]
fn mosquitto_lets_in_whom_siskin_passwd_wrote_down() {
    let (Some(program), Some(())) = (mosquitto(), installed("mosquitto_pub")) else { return };
    let directory = Directory::new("ours");
    let file = directory.file("users");
    let write = |args: &[&str]| {
        let mut words: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"passwd"];
        words.extend(args.iter().map(|word| word as &dyn AsRef<std::ffi::OsStr>));
        assert_eq!(siskin(&words, "").0, 0, "{args:?}");
    };
    let name = file.to_str().unwrap();
    write(&["-H", "sha512-pbkdf2", "-c", "-b", name, "bob", "one"]);
    write(&["-H", "sha512", "-b", name, "al", "two words"]);
    write(&["-H", "sha512-pbkdf2", "-I", "101", "-b", name, "the boss", "dré"]);
    let broker = Mosquitto::start(&program, &directory, &format!("password_file {name}\n"));
    let is_let_in = |user: &str, password: &str| {
        let mut command = Command::new("mosquitto_pub");
        command.args(["-h", "127.0.0.1", "-p", &broker.port.to_string(), "-u", user, "-P", password]);
        command.args(["-t", "a", "-m", "b"]).stderr(Stdio::null()).status().unwrap().success()
    };
    for (user, password) in [("bob", "one"), ("al", "two words"), ("the boss", "dré")] {
        assert!(is_let_in(user, password), "{user}");
        assert!(!is_let_in(user, "wrong"), "{user}");
    }
    assert!(!is_let_in("nobody", "one"));
}

const ACL: &str = "topic read news/#\n\
    topic readwrite open/+\n\
    topic deny open/shut\n\
    user bob\n\
    topic home/+/light\n\
    topic read home/#\n\
    topic deny home/attic/+\n\
    topic write home/attic/light\n\
    topic readwrite #\n\
    topic deny x/#\n\
    topic read $SYS/broker/version\n\
    user al\n\
    topic readwrite $SYS/#\n\
    topic read a b\n\
    topic write a  b/+\n\
    topic write own/al\n\
    user root\n\
    topic readwrite #\n\
    topic readwrite $own/#\n\
    pattern readwrite users/%u/#\n\
    pattern write ids/%c\n\
    pattern read ids/+\n\
    pattern deny own/+\n\
    pattern write own/al\n\
    pattern read all\n";

const USERS: [Option<&str>; 4] = [None, Some("bob"), Some("al"), Some("eve")];
const IDS: [&str; 3] = ["dev", "a/b", "d#"];
const TOPICS: [&str; 20] = [
    "news",
    "news/a/b",
    "open/x",
    "open/shut",
    "home/hall/light",
    "home/attic/light",
    "home/hall/door",
    "other/b",
    "x",
    "x/y",
    "$SYS/broker/version",
    "$own/a",
    "a b",
    "a  b/c",
    "own/al",
    "users/bob/a",
    "users/al",
    "ids/dev",
    "ids/a/b",
    "all",
];

#[test]
fn decisions_are_those_of_mosquitto() {
    let Some(program) = mosquitto() else { return };
    let directory = Directory::new("decisions");
    let file = directory.with("acl", ACL);
    let broker = Mosquitto::start(&program, &directory, &format!("acl_file {}\n", file.display()));
    let acl = Acl::parse(ACL).unwrap();

    let mut root = Client::connect(broker.port, Some("root"), "root");
    for topic in TOPICS.into_iter().filter(|topic| !topic.starts_with("$SYS")) {
        assert!(root.publish(topic, true), "{topic}");
    }
    let mut denied = 0;
    for user in USERS {
        for id in IDS {
            let mut client = Client::connect(broker.port, user, id);
            for topic in TOPICS {
                let decide = |access| acl.check(Who { user, client_id: id }, access, topic);
                let [read, write] = [Access::Read, Access::Write].map(decide);
                assert_eq!(client.receives(topic), read.allowed, "{user:?} {id} reads {topic}: {read}");
                assert_eq!(
                    client.publish(topic, false),
                    write.allowed,
                    "{user:?} {id} writes {topic}: {write}"
                );
                denied += usize::from(!read.allowed) + usize::from(!write.allowed);
            }
        }
    }
    let number = USERS.len() * IDS.len() * TOPICS.len() * 2;
    assert!((number / 4..number * 3 / 4).contains(&denied), "{denied} of {number} say no");
}

/// A Mosquitto with its own configuration, ended with the test.
struct Mosquitto {
    child: Child,
    port: u16,
}

impl Mosquitto {
    fn start(program: &Path, directory: &Directory, settings: &str) -> Self {
        // Between our look and its bind somebody else may take the port.
        (0..5).find_map(|_| Self::try_start(program, directory, settings)).expect("Mosquitto starts")
    }

    fn try_start(program: &Path, directory: &Directory, settings: &str) -> Option<Self> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let allow = !settings.contains("password_file");
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous {allow}\nuser root\nlog_dest stderr\nsys_interval 1\n{settings}"
        );
        let config = directory.with("mosquitto.conf", config);
        let mut child = Command::new(program).arg("-c").arg(config).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains(" running") {
            line.clear();
            if log.read_line(&mut line).unwrap() == 0 {
                child.wait().unwrap();
                return None;
            }
        }
        // It must not wait for somebody to read its log.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Some(Self { child, port })
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of MQTT 5 that does one thing after the other.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(port: u16, user: Option<&str>, id: &str) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut client = Self { stream: BufReader::new(stream) };
        let flags = if user.is_some() { 0x82 } else { 0x02 };
        let mut body = [b"\0\x04MQTT\x05", &[flags, 0, 60, 0][..]].concat();
        for text in [Some(id), user].into_iter().flatten() {
            body.extend(string(text));
        }
        client.send(0x10, &body);
        let (kind, body) = client.packet();
        assert_eq!((kind, body[1]), (0x20, 0), "{user:?} {id} is let in");
        client
    }

    /// Whether the broker takes the message.
    fn publish(&mut self, topic: &str, retain: bool) -> bool {
        let body = [&string(topic)[..], &[0, 1, 0], b"hello"].concat();
        self.send(0x32 | u8::from(retain), &body);
        let (kind, body) = self.packet();
        assert_eq!(kind, 0x40, "{topic}");
        body.get(2).is_none_or(|reason| *reason < 0x80)
    }

    /// Whether what is retained of the topic arrives for a subscription, which is always granted.
    fn receives(&mut self, topic: &str) -> bool {
        self.send(0x82, &[&[0, 2, 0], &string(topic)[..], &[0]].concat());
        // Whatever is retained comes before the answer to this.
        self.send(0xc0, &[]);
        let mut is_received = false;
        loop {
            match self.packet() {
                (0x90, body) => assert!(body.last().is_some_and(|reason| *reason < 0x80), "{topic}"),
                (0xd0, _) => break,
                (kind, body) => {
                    assert_eq!((kind & 0xf0, &body[2..2 + topic.len()]), (0x30, topic.as_bytes()));
                    is_received = true;
                }
            }
        }
        self.send(0xa2, &[&[0, 3, 0], &string(topic)[..]].concat());
        while self.packet().0 != 0xb0 {}
        is_received
    }

    fn send(&mut self, kind: u8, body: &[u8]) {
        let len = u8::try_from(body.len()).ok().filter(|len| *len < 128).expect("short packets");
        self.stream.get_mut().write_all(&[&[kind, len], body].concat()).unwrap();
    }

    fn packet(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).unwrap();
        assert!(head[1] < 128, "short packets");
        let mut body = vec![0; head[1].into()];
        self.stream.read_exact(&mut body).unwrap();
        (head[0], body)
    }
}

fn string(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).unwrap();
    [&len.to_be_bytes()[..], text.as_bytes()].concat()
}

/// Debian keeps it where not everybody looks for programs.
fn mosquitto() -> Option<PathBuf> {
    let places = ["mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].map(PathBuf::from);
    let found = places.into_iter().find(|program| Command::new(program).arg("-h").output().is_ok());
    found.or_else(|| left_out("mosquitto"))
}

fn installed(program: &str) -> Option<()> {
    let found = Command::new(program).arg("--help").output().is_ok();
    found.then_some(()).or_else(|| left_out(program))
}

fn left_out<T>(what: &str) -> Option<T> {
    assert!(std::env::var_os("SISKIN_REQUIRE_INTEROP").is_none(), "{what} is not installed");
    eprintln!("left out: {what} is not installed");
    None
}
