//! Listeners that open, close and change their terms while the others go on.

use std::io;
use std::sync::Arc;

use super::Broker;
use crate::config::{Config, Listener, Place, Protocol};
use crate::in_force::InForce;
use crate::server::StartError;
use crate::transport::{Bound, Door, is_missing};

/// The doors of another configuration.
pub(super) struct Reopened {
    /// All of them, in the order of the configuration.
    pub(super) doors: Vec<Arc<Door>>,
    /// Those among them whose sockets nobody attends to yet.
    pub(super) opened: Vec<Bound>,
}

/// Opens what is new in `config`. What is not in it any more stays open until the doors are in force, unless its address
/// is in the way: then it is closed now, and opened again if something goes wrong.
pub(super) fn reopen(broker: &Broker, old: &Config, config: &Config) -> Result<Reopened, StartError> {
    let packet_size_max = config.limits.packet_size_max;
    let is_other_size = packet_size_max != old.limits.packet_size_max;
    let before = broker.in_force();
    let mut left: Vec<&Arc<Door>> = before.doors.iter().collect();
    let mut places = Vec::new();
    for listener in &config.listeners {
        let at = left.iter().position(|door| door.listener.place.is_socket_of(&listener.place));
        places.push(match at.map(|at| left.remove(at)) {
            Some(door) if door.listener == *listener && !(is_other_size && is_websocket(listener)) => {
                Some(Arc::clone(door))
            }
            Some(door) => Some(Arc::new(door.on_terms_of(listener, packet_size_max)?)),
            None => None,
        });
    }
    let mut closed = Vec::new();
    let bound = bind(broker, config, &places, &left, &mut closed)
        .map_err(|error| open_again(broker, &before, &closed, error))?;
    let mut opened = Vec::new();
    let mut doors = Vec::new();
    for (place, bound) in places.into_iter().zip(bound) {
        doors.extend(place.or_else(|| bound.as_ref().map(|bound| Arc::clone(&bound.door))));
        opened.extend(bound);
    }
    Ok(Reopened { doors, opened })
}

/// A socket for each place that has no door. The doors that had to make room are `closed`, some of those that are `left`.
fn bind(
    broker: &Broker,
    config: &Config,
    places: &[Option<Arc<Door>>],
    left: &[&Arc<Door>],
    closed: &mut Vec<Arc<Door>>,
) -> Result<Vec<Option<Bound>>, StartError> {
    let mut all = Vec::new();
    for (listener, place) in config.listeners.iter().zip(places) {
        if place.is_some() {
            all.push(None);
            continue;
        }
        let open = || Bound::new(listener, config.limits.packet_size_max);
        let bound = match open() {
            Err(StartError::Bind { source, .. }) if source.kind() == io::ErrorKind::AddrInUse => {
                let is_open = |door: &Arc<Door>| !closed.iter().any(|other| Arc::ptr_eq(other, door));
                let in_the_way =
                    |door: &&Arc<Door>| is_open(door) && overlap(&door.bound_listener(), listener);
                let blocking: Vec<_> = left.iter().copied().filter(in_the_way).map(Arc::clone).collect();
                if !blocking.is_empty() && !broker.close_doors(blocking.clone()) {
                    let late =
                        io::Error::new(io::ErrorKind::TimedOut, "who listens there does not stop in time");
                    return Err(StartError::Bind { place: listener.place.to_string(), source: late });
                }
                closed.extend(blocking);
                open()
            }
            bound => bound,
        };
        match bound {
            Err(StartError::Bind { source, .. })
                if is_missing(&listener.place, &source) && config.listeners.len() > 1 =>
            {
                tracing::debug!("not listening on {}: {source}", listener.place);
                all.push(None);
            }
            bound => all.push(Some(bound?)),
        }
    }
    Ok(all)
}

/// Opens those that were `closed` in vain because of `error`, which then tells of those that do not open.
fn open_again(broker: &Broker, before: &InForce, closed: &[Arc<Door>], error: StartError) -> StartError {
    if closed.is_empty() {
        return error;
    }
    let mut opened = Vec::new();
    let mut doors = Vec::new();
    let mut lost = Vec::new();
    for door in &before.doors {
        if !closed.iter().any(|other| Arc::ptr_eq(other, door)) {
            doors.push(Arc::clone(door));
            continue;
        }
        match Bound::again(door) {
            Ok(bound) => {
                doors.push(Arc::clone(door));
                opened.push(bound);
            }
            Err(error) => lost.push(format!("{} was closed and does not open again: {error}", door.listener)),
        }
    }
    broker.hand_out(InForce { doors, ..before.clone() }, opened);
    if lost.is_empty() { error } else { StartError::Lost { error: Box::new(error), lost } }
}

fn is_websocket(listener: &Listener) -> bool {
    matches!(listener.protocol, Protocol::WebSocket(_))
}

/// Whether one socket may keep the other from being opened.
fn overlap(one: &Listener, other: &Listener) -> bool {
    match (&one.place, &other.place) {
        (Place::Address(one), Place::Address(other)) => one.port() == other.port(),
        (Place::Unix { path: one, .. }, Place::Unix { path: other, .. }) => one == other,
        _ => false,
    }
}
