//! What happens, as log lines. The only place that words them, so that each reads the same everywhere.

use std::fmt::{self, Write as _};

use siskin_core::{Event, Report};
use tracing::{debug, info, warn};

use crate::transport::Peer;

/// One line for `event`; `peer` is the transport it is about, if that is still known.
pub(crate) fn event(event: &Event, peer: Option<Peer>) {
    let peer = peer.map(tracing::field::display);
    let line = Printable(event);
    match event {
        Event::Connected { client_id, .. } | Event::Disconnected { client_id, .. } => {
            info!(client = ?Short(client_id), peer, "{line}");
        }
        Event::Dropped { client_id, .. } => warn!(client = ?Short(client_id), "{line}"),
        Event::Denied { client_id, user_name, .. } => {
            let user = user_name.as_deref().map(Short);
            let user = user.as_ref().map(tracing::field::debug);
            info!(client = ?Short(client_id), user, "{line}");
        }
        Event::SubscriptionRefused { client_id, .. } => info!(client = ?Short(client_id), "{line}"),
        Event::SessionEnded { client_id, .. } => debug!(client = ?Short(client_id), "{line}"),
    }
}

/// What was found in the store.
pub(crate) fn recovered(report: &Report) {
    let Report {
        sessions,
        subscriptions,
        messages,
        retained,
        wills,
        retained_dropped,
        ownerless,
        unreadable,
    } = *report;
    info!(
        sessions,
        subscriptions,
        messages,
        retained,
        wills,
        "recovered {sessions} sessions with {messages} messages, and {retained} retained messages"
    );
    if retained_dropped > 0 {
        warn!("{retained_dropped} retained messages were dropped: the limits have no room for them any more");
    }
    if ownerless > 0 {
        warn!(
            "{ownerless} messages were dropped: the sessions that they were due to are not in the store any more"
        );
    }
    if unreadable > 0 {
        warn!("{unreadable} records of the store make no sense to this version and were left where they are");
    }
}

/// A transport that never became a session's.
pub(crate) fn turned_away(peer: Peer, client_id: Option<&str>, cause: &dyn fmt::Display, stands_for: u64) {
    let others = stands_for - 1;
    let cause = Printable(cause);
    match client_id {
        Some(client_id) => {
            info!(client = ?Short(client_id), %peer, others, "connection not accepted: {cause}");
        }
        None => info!(%peer, others, "connection not accepted: {cause}"),
    }
}

/// What came on a client's transport is not what it should be, beneath MQTT.
pub(crate) fn broken_layer(peer: Peer, problem: &str) {
    info!(%peer, "the connection cannot go on: {}", Printable(problem));
}

/// Clients with one id that go on taking its session from each other.
pub(crate) fn take_over_loop(client_id: &str, from: Peer, by: Peer, times: u32, within_s: u64) {
    let id = Short(client_id);
    warn!(
        client = ?id, %from, %by, times,
        "two clients use the id {id:?} and take its session from each other: {times} times within {within_s} s, \
         now the one at {by} from the one at {from}; each client needs an id of its own"
    );
}

/// The transports turned away that got no line of their own.
pub(crate) fn more_turned_away(count: u64) {
    info!("{count} more connections were not accepted");
}

/// A client id in a field of a line: as much of it as helps.
struct Short<'a>(&'a str);

impl fmt::Debug for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(ID_CHARS_MAX) {
            Some((end, _)) => write!(f, "{:?}…", &self.0[..end]),
            None => fmt::Debug::fmt(self.0, f),
        }
    }
}

/// Characters of a client id that a field shows.
const ID_CHARS_MAX: usize = 100;

/// Characters of a line that strangers have a say in.
const LINE_CHARS_MAX: usize = 500;

/// Text from strangers, with nothing in it that could pass for another line or steer a terminal.
struct Printable<T>(T);

impl<T: fmt::Display> fmt::Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = Escape { f, left: LINE_CHARS_MAX };
        // Cut off is as good as written.
        let _ = write!(line, "{}", self.0);
        if line.left == 0 { f.write_str("…") } else { Ok(()) }
    }
}

struct Escape<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    left: usize,
}

impl fmt::Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            if character.is_control() {
                write!(self.f, "{}", character.escape_default())?;
            } else {
                self.f.write_char(character)?;
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

    #[test]
    fn a_long_client_id_is_cut() {
        let id = "é".repeat(60_000);
        assert_eq!(Printable(&id).to_string().chars().count(), LINE_CHARS_MAX + 1);
        assert_eq!(format!("{:?}", Short(&id)).chars().count(), ID_CHARS_MAX + 3);
        assert_eq!(format!("{:?}", Short("a\nb")), "\"a\\nb\"");
    }
}
