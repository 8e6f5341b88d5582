//! How a tool ends early. Statuses up to 31 are those of mosquitto's tools, which scripts know; a refusal
//! by the server ends with its return code or reason code.

use std::io::{Write, stderr};
use std::process::ExitCode;

use siskin_proto::{Reason, Version};

/// Why a tool cannot go on, and the exit status that says so.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    status: u8,
    /// Nothing to say if the reader of the output went away.
    text: Option<String>,
    is_loss: bool,
}

impl Failure {
    pub(crate) fn new(status: u8, text: impl Into<String>) -> Self {
        Self { status, text: Some(text.into()), is_loss: false }
    }

    /// Flags that say nothing sensible, or a server that cannot be reached.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(INVALID, text)
    }

    /// The connection ended, and a new one may fare better.
    pub(crate) fn lost(status: u8, text: impl Into<String>) -> Self {
        Self { is_loss: true, ..Self::new(status, text) }
    }

    /// Nobody reads the output any more.
    pub(crate) fn output_closed() -> Self {
        Self { status: 0, text: None, is_loss: false }
    }

    pub(crate) fn is_loss(&self) -> bool {
        self.is_loss
    }

    /// What went wrong, for stderr.
    pub(crate) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    #[cfg(test)]
    pub(crate) fn status(&self) -> u8 {
        self.status
    }
}

/// The exit status that stands for `reason` in answer to CONNECT.
pub(crate) fn refusal_status(reason: Reason, version: Version) -> u8 {
    if version.is_v5() { reason as u8 } else { reason.connect_return_code() }
}

/// Says what went wrong, and gives the exit status.
pub(crate) fn end(outcome: Result<u8, Failure>, is_quiet: bool) -> ExitCode {
    match outcome {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            if let Some(text) = failure.text()
                && !is_quiet
            {
                complain(text);
            }
            ExitCode::from(failure.status)
        }
    }
}

/// A line on stderr. If that cannot be written, there is nobody to tell.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(stderr().lock(), "{text}");
}

pub(crate) const INVALID: u8 = 1;
pub(crate) const PROTOCOL: u8 = 2;
pub(crate) const CONNECTION_LOST: u8 = 7;
pub(crate) const PAYLOAD_SIZE: u8 = 9;
pub(crate) const IO: u8 = 14;
pub(crate) const KEEP_ALIVE: u8 = 19;
pub(crate) const MALFORMED_PACKET: u8 = 21;
pub(crate) const QOS_NOT_SUPPORTED: u8 = 24;
pub(crate) const OVERSIZE_PACKET: u8 = 25;
pub(crate) const TIMED_OUT: u8 = 27;
pub(crate) const RETAIN_NOT_SUPPORTED: u8 = 28;
pub(crate) const TOPIC_ALIAS_INVALID: u8 = 29;
