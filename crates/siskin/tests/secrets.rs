//! Passwords, tokens and keys are in no log, no answer of the API and no output of a tool, however much is said.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

const PASSWORD: &str = "right-password-5b1f";
const WRONG_PASSWORD: &str = "wrong-password-77aa";
const PASSED_ON: &str = "password-for-the-web-server-91c0";
const HEADER: &str = "header-of-the-web-server-3e3e";
const HMAC: &str = "secret-of-the-tokens-4d0d-0123456789abcdef";
/// A JWT by its form, signed by nobody.
const JWT: &str =
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4IiwiZXhwIjo5OTk5OTk5OTk5fQ.c2lnbmVkLWJ5LW5vYm9keS1hdC1hbGw";
const ADMIN_TOKEN: &str = "token-of-the-operator-8f8f";
const WRONG_TOKEN: &str = "token-of-a-stranger-2b2b";

#[test]
fn no_secret_is_shown_by_anything_that_the_broker_says() {
    let folder = Folder::new();
    // One that takes questions and never answers, so that every question fails.
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let web_port = web.local_addr().unwrap().port();
    let answering = std::thread::spawn(move || {
        for _ in 0..QUESTIONS {
            let (mut stream, _) = web.accept().unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let _ = stream.write_all(b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let users = folder.with("users", "");
    succeeded(&siskin(&["passwd", "-b", &users, "anna", PASSWORD]).output().unwrap());
    let hash = fs::read_to_string(&users).unwrap().trim().rsplit('$').next().unwrap().to_owned();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let (chain, key_file) =
        (folder.with("server.pem", &certificate.pem()), folder.with("server.key", &key.serialize_pem()));
    let config = folder.with(
        "siskin.toml",
        &format!(
            r#"
[access]
password_file = "{users}"
allow_anonymous = false

[admin]
address = "127.0.0.1:0"
token_file = "{token}"

[log]
level = "trace"

[[auth]]
type = "jwt"
secret_file = "{hmac}"

[[auth]]
type = "http"
url = "http://127.0.0.1:{web_port}/ask?p=%P"
headers = {{ authorization = "Bearer {HEADER}" }}

[[listener]]
address = "127.0.0.1"
port = 0

[[listener]]
address = "127.0.0.1"
port = 0
tls_cert = "{chain}"
tls_key = "{key_file}"
"#,
            token = folder.with("token", ADMIN_TOKEN),
            hmac = folder.with("hmac", HMAC),
        ),
    );
    let mut said = Said::default();
    said.add("check", &siskin(&["check", "-c", &config]).output().unwrap());
    let mut broker = Broker::start(&config);

    for (user, password, status) in [
        ("anna", PASSWORD, 0),
        ("anna", WRONG_PASSWORD, REFUSED),
        ("nobody", PASSED_ON, UNAVAILABLE),
        ("token", JWT, UNAVAILABLE),
    ] {
        let publish = ["pub", "-p", &broker.mqtt_port, "-i", user, "-t", "t", "-m", "m", "-q", "1"];
        let output = siskin(&publish).args(["-u", user, "-P", password, "-d"]).output().unwrap();
        said.add("pub", &output);
        assert_eq!(output.status.code(), Some(status), "{user}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for args in [
        &["config"][..],
        &["clients"],
        &["listeners"],
        &["stats"],
        &["client", "anna"],
        &["client", "nobody"],
    ] {
        for extra in [&[][..], &["--json"]] {
            let all = [&["ctl", "--url", &broker.url, "--token", ADMIN_TOKEN], args, extra].concat();
            said.add(&args.join(" "), &siskin(&all).output().unwrap());
        }
    }
    let refused = siskin(&["ctl", "--url", &broker.url, "--token", WRONG_TOKEN, "stats"]).output().unwrap();
    assert_ne!(refused.status.code(), Some(0));
    said.add("stats of a stranger", &refused);
    for path in ["/metrics", "/api/v1/config", "/api/v1/clients/anna/story", "/api/v1/clients/nobody/story"] {
        said.text(path, broker.get(path));
    }
    said.text("log", broker.end());
    answering.join().unwrap();

    for secret in [PASSWORD, WRONG_PASSWORD, PASSED_ON, HEADER, HMAC, JWT, ADMIN_TOKEN, WRONG_TOKEN, &hash] {
        said.has_not(secret);
    }
    let key = key.serialize_pem();
    said.has_not(key.lines().nth(1).unwrap());
    // What was looked through is what was meant.
    said.has("log", "TRACE");
    said.has("/metrics", "siskin_");
    said.has("/api/v1/config", "password_file");
    said.has("config", "token_file");
}

/// Of those whom neither the file nor a key knows: one without a token, and one whose token nobody signed.
const QUESTIONS: usize = 2;

/// Status of a tool that a 3.1.1 broker refused for its user name or password.
const REFUSED: i32 = 4;

/// The same, of one whose web server failed.
const UNAVAILABLE: i32 = 3;

/// Everything that was said, each with who said it.
#[derive(Default)]
struct Said(Vec<(String, String)>);

impl Said {
    fn add(&mut self, who: &str, output: &Output) {
        self.text(who, String::from_utf8(output.stdout.clone()).unwrap());
        self.text(who, String::from_utf8(output.stderr.clone()).unwrap());
    }

    fn text(&mut self, who: &str, text: String) {
        self.0.push((who.to_owned(), text));
    }

    fn has_not(&self, secret: &str) {
        for (who, text) in &self.0 {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{who} shows a secret");
        }
    }

    fn has(&self, who: &str, text: &str) {
        let is_there = |(name, said): &(String, String)| name == who && said.contains(text);
        assert!(self.0.iter().any(is_there), "{who} does not say {text}: {:#?}", self.0);
    }
}

fn siskin(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siskin"));
    command.args(args).stdin(Stdio::null());
    command
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A directory of its own that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("siskin-secrets-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The path of a file with this text.
    fn with(&self, name: &str, text: &str) -> String {
        let path: &Path = &self.0.join(name);
        fs::write(path, text).unwrap();
        path.to_str().unwrap().to_owned()
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
    said: String,
    mqtt_port: String,
    url: String,
}

impl Broker {
    fn start(config: &str) -> Self {
        let mut command = siskin(&["serve", "-c", config, "--store-durability", "memory", "--workers", "1"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut broker =
            Self { child, log, said: String::new(), mqtt_port: String::new(), url: String::new() };
        broker.mqtt_port = broker.after("listening for MQTT on 127.0.0.1:");
        broker.url = broker.after("the admin API is on ");
        broker
    }

    fn after(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "no `{text}` in the log:\n{}", self.said);
            self.said.push_str(&line);
            if let Some((_, rest)) = line.split_once(text) {
                return rest.split_whitespace().next().unwrap().to_owned();
            }
        }
    }

    fn get(&self, path: &str) -> String {
        let address = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {ADMIN_TOKEN}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
        answer
    }

    /// Its whole log.
    fn end(&mut self) -> String {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success());
        std::mem::take(&mut self.said) + &rest
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It has ended, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
