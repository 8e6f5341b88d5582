//! Running the binary.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// `siskin` with these words, split at blanks, for the server at `address`.
fn siskin(words: &str, address: SocketAddr) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_siskin"));
    command.args(words.split(' ')).args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
    command.stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(words: &str, address: SocketAddr) -> Output {
    siskin(words, address).output().unwrap()
}

/// Runs it to its end with something to read.
pub(crate) fn run_with_input(words: &str, address: SocketAddr, input: &[u8]) -> Output {
    let mut command = siskin(words, address);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A tool that ends early does not read it all.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// Runs it, it must go well and say nothing on stderr; what it printed.
pub(crate) fn printed(words: &str, address: SocketAddr) -> String {
    let output = run(words, address);
    assert_eq!(stderr(&output), "", "{words}");
    assert_eq!(output.status.code(), Some(0), "{words}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A tool that still runs. Its process ends with this value at the latest.
pub(crate) struct Running {
    pub(crate) child: Child,
    out: Option<BufReader<ChildStdout>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Most have ended by themselves.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    pub(crate) fn start(words: &str, address: SocketAddr) -> Self {
        let mut command = siskin(words, address);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out: Some(out) }
    }

    /// A subscriber whose subscriptions stand; the words need `-d` for that.
    pub(crate) fn subscribed(words: &str, address: SocketAddr) -> Self {
        let mut running = Self::start(words, address);
        running.line_with("Subscribed");
        running
    }

    /// The next line with `text` in it.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// The next line that is about no packet.
    pub(crate) fn message(&mut self) -> String {
        loop {
            let line = self.line();
            if !line.starts_with("Client ") && !line.starts_with("Subscribed") {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops reading what it prints.
    pub(crate) fn close_output(&mut self) {
        self.out = None;
    }

    /// Waits for its end: the status, and what it said on stderr.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        (self.child.wait().unwrap().code(), errors)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let out = self.out.as_mut().expect("its output is still open");
        assert!(out.read_line(&mut line).unwrap() > 0, "it ended before the line was printed");
        line.truncate(line.trim_end_matches('\n').len());
        line
    }
}
