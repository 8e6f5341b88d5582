//! What happens, as log lines. The only place that words them, so that each reads the same everywhere.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;

use siskin_core::{Cause, Event};
use tracing::{debug, info, warn};

/// One line for `event`; `peer` is the transport it is about, if that is still known.
pub(crate) fn event(event: &Event, peer: Option<SocketAddr>) {
    let peer = peer.map(tracing::field::display);
    let line = Printable(event);
    match event {
        Event::Connected { client_id, .. } | Event::Disconnected { client_id, .. } => {
            info!(client = ?client_id, peer, "{line}");
        }
        Event::Dropped { client_id, .. } => warn!(client = ?client_id, "{line}"),
        Event::SubscriptionRefused { client_id, .. } => info!(client = ?client_id, "{line}"),
        Event::SessionEnded { client_id, .. } => debug!(client = ?client_id, "{line}"),
    }
}

/// A transport that never became a session's.
pub(crate) fn turned_away(peer: SocketAddr, client_id: Option<&str>, cause: &Cause, stands_for: u64) {
    let others = stands_for - 1;
    match client_id {
        Some(client_id) => info!(client = ?client_id, %peer, others, "connection not accepted: {cause}"),
        None => info!(%peer, others, "connection not accepted: {cause}"),
    }
}

/// Text from strangers, with nothing in it that could pass for another line or steer a terminal.
struct Printable<T>(T);

impl<T: fmt::Display> fmt::Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escape(f), "{}", self.0)
    }
}

struct Escape<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            match part.char_indices().next_back() {
                Some((at, last)) if last.is_control() => {
                    self.0.write_str(&part[..at])?;
                    write!(self.0, "{}", last.escape_default())?;
                }
                _ => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_cannot_make_a_line_of_its_own() {
        assert_eq!(Printable("a\nb\u{1b}[31m é\u{85}").to_string(), "a\\nb\\u{1b}[31m é\\u{85}");
    }
}
