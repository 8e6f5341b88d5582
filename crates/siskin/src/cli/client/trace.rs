//! The lines that `-d` prints, in the form that mosquitto's tools gave them.

use std::fmt;

use siskin_proto::PacketId;

use super::connection::Client;
use super::failure::Failure;

impl Client {
    pub(super) fn trace_sending(&mut self, what: fmt::Arguments<'_>) -> Result<(), Failure> {
        let id = shown(&self.id);
        self.console.trace(format_args!("Client {id} sending {what}"))
    }

    pub(super) fn trace_received(&mut self, what: fmt::Arguments<'_>) -> Result<(), Failure> {
        let id = shown(&self.id);
        self.console.trace(format_args!("Client {id} received {what}"))
    }

    /// A line about what a packet came to.
    pub(crate) fn trace(&mut self, what: fmt::Arguments<'_>) -> Result<(), Failure> {
        self.console.trace(what)
    }
}

fn shown(id: &str) -> &str {
    if id.is_empty() { "(null)" } else { id }
}

/// A packet id, 0 for none.
pub(super) struct Id(pub(super) Option<PacketId>);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.map_or(0, PacketId::get))
    }
}

/// What a return code of 3.x means. [MQTT-3.2.2-4]
pub(super) fn return_code_text(code: u8) -> &'static str {
    match code {
        1 => "unacceptable protocol version",
        2 => "identifier rejected",
        3 => "server unavailable",
        4 => "bad user name or password",
        5 => "not authorised",
        _ => "unknown reason",
    }
}
