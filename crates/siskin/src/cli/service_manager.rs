//! What systemd, or who else started the broker and set `$NOTIFY_SOCKET`, is told of it: that it is ready, reloads or
//! stops, and, where a watchdog is wanted, that its workers are alive. Nobody is told anything without that variable.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use siskin_server::{Broker, Watchdog};

/// The way to the service manager, if there is one.
#[derive(Clone)]
pub(crate) struct ServiceManager(Option<Arc<Inner>>);

struct Inner {
    socket: UnixDatagram,
    /// Workers that end now are not stuck.
    is_stopping: AtomicBool,
}

impl ServiceManager {
    /// The one that the environment names. The error says why it cannot be told anything.
    pub(crate) fn from_env() -> io::Result<Self> {
        let Some(name) = variable("NOTIFY_SOCKET") else { return Ok(Self(None)) };
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(&name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        Ok(Self(Some(Arc::new(Inner { socket, is_stopping: AtomicBool::new(false) }))))
    }

    /// The broker serves, and `status` says where.
    pub(crate) fn ready(&self, status: &str) {
        let is_stopping = self.0.as_ref().is_some_and(|inner| inner.is_stopping.load(Ordering::Relaxed));
        if !is_stopping {
            self.tell(&format!("READY=1\nSTATUS={status}"));
        }
    }

    /// The broker takes up changes; [`Self::ready`] follows.
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let now_us = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now_us}\nSTATUS=taking up changes"));
    }

    /// The broker is about to end.
    pub(crate) fn stopping(&self) {
        if let Some(inner) = &self.0 {
            inner.is_stopping.store(true, Ordering::Relaxed);
        }
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    /// Has the service manager's watchdog fed, if it has one for this process, for as long as all workers of `broker`
    /// answer.
    pub(crate) fn feed_watchdog(&self, broker: &Broker) -> io::Result<()> {
        let Some(limit) = watchdog_limit(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID")) else {
            return Ok(());
        };
        let Some(inner) = self.0.clone() else { return Ok(()) };
        let manager = self.clone();
        let mut watchdog = Watchdog::new(broker);
        // A quarter to wait for answers, a quarter until the next questions: fed twice as often as it must be.
        let step = limit / 4;
        thread::Builder::new().name("siskin-watchdog".to_owned()).spawn(move || {
            loop {
                match watchdog.check(step) {
                    Ok(()) => manager.tell("WATCHDOG=1"),
                    Err(_) if inner.is_stopping.load(Ordering::Relaxed) => {}
                    Err(workers) => tracing::error!(
                        ?workers,
                        "workers have not answered for {step:?}: the watchdog is not fed"
                    ),
                }
                thread::sleep(step);
            }
        })?;
        Ok(())
    }

    fn tell(&self, message: &str) {
        if let Some(inner) = &self.0
            && let Err(error) = inner.socket.send(message.as_bytes())
        {
            tracing::warn!("the service manager cannot be told anything: {error}");
        }
    }
}

fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// How long the watchdog waits, if there is one and it is for this process.
fn watchdog_limit(limit_us: Option<OsString>, pid: Option<OsString>) -> Option<Duration> {
    let number = |text: OsString| text.to_str()?.parse::<u64>().ok();
    let is_ours = pid.is_none_or(|pid| number(pid) == Some(std::process::id().into()));
    limit_us.and_then(number).filter(|limit| is_ours && *limit > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_only_by_the_process_that_it_is_for() {
        let limit =
            |limit: &str, pid: Option<String>| watchdog_limit(Some(limit.into()), pid.map(Into::into));
        let (ours, other) = (std::process::id().to_string(), "1".to_owned());
        assert_eq!(limit("30000000", None), Some(Duration::from_secs(30)));
        assert_eq!(limit("30000000", Some(ours)), Some(Duration::from_secs(30)));
        assert_eq!(limit("30000000", Some(other)), None);
        assert_eq!((limit("0", None), limit("soon", None), watchdog_limit(None, None)), (None, None, None));
    }
}
