//! The broker under test: this program as a child process, which never outlives the run.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::Duration;

pub(super) struct Broker {
    command: Vec<OsString>,
    log: PathBuf,
    child: Arc<Mutex<Option<Child>>>,
}

impl Broker {
    /// A broker that is not started yet. If this program panics, the broker is killed first.
    pub(super) fn new(command: Vec<OsString>, log: PathBuf) -> Self {
        let child = Arc::new(Mutex::new(None));
        let broker = Self { command, log, child };
        let child = Arc::clone(&broker.child);
        let show = std::panic::take_hook();
        // A panic may end the process at once, without a destructor.
        std::panic::set_hook(Box::new(move |panic| {
            end_at_last(&child);
            show(panic);
        }));
        broker
    }

    pub(super) fn start(&self) -> io::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(&self.command).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A signal from the terminal is for this program, which then ends the broker.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        *self.child() = Some(command.spawn()?);
        Ok(())
    }

    /// Kills it, by SIGKILL, and waits until it is gone.
    pub(super) fn kill(&self) {
        end(&mut self.child());
    }

    /// How it has ended by itself, if it has.
    pub(super) fn ended(&self) -> Option<String> {
        let status = match self.child().as_mut() {
            // If its status cannot be had, the connections to it will tell.
            Some(child) => child.try_wait().ok().flatten()?.to_string(),
            None => return Some("this program has failed and killed it".to_owned()),
        };
        Some(format!("{status}; its last lines:\n{}", self.last_lines()))
    }

    fn last_lines(&self) -> String {
        let text = self.log_end().unwrap_or_else(|error| format!("its log cannot be read: {error}"));
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    fn log_end(&self) -> io::Result<String> {
        let mut file = File::open(&self.log)?;
        let len = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(len.saturating_sub(LAST_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LAST_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().expect("nobody panics while holding the child")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        // An error says that it has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Kills it though another thread may hold it just now, or this one when it failed.
fn end_at_last(child: &Mutex<Option<Child>>) {
    for _ in 0..LOCK_TRIES {
        match child.try_lock() {
            Ok(mut child) => return end(&mut child),
            Err(TryLockError::Poisoned(poisoned)) => return end(&mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
        }
    }
}

/// A port that is free now. Below those that the system hands out to connections, so that no client gets
/// it while the broker is down.
pub(super) fn free_port(mut draw: impl FnMut() -> u16) -> Option<u16> {
    let ports = std::iter::repeat_with(|| PORT_MIN + draw() % PORTS).take(PORTS_TRIED);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    ports.into_iter().find(is_free)
}

/// For a lock that is held while the broker is started or killed.
const LOCK_TRIES: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

const PORT_MIN: u16 = 20_000;
const PORTS: u16 = 12_000;
const PORTS_TRIED: usize = 100;

const LAST_LINES: usize = 12;
const LAST_BYTES: u64 = 16 * 1024;
