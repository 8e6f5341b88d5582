//! The turnstile as a worker applies it: who is let in by a CONNECT, and when a client is not read for a while.

use std::cmp::Reverse;

use siskin_core::{Cause, Ended, Now, SessionKey};
use siskin_proto::{Connect, Frame, Packet, PacketKind, Reason, Version, decode, decode_connect};

use super::Worker;
use super::connection::Phase;
use super::terms::refusal;
use crate::config::{Banned, Excess, Network};
use crate::transport::Peer;
use crate::turnstile::{Closed, Kind, Meter, Stranger, Turnstile};

/// A connection that is not read before a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Throttled {
    pub(super) until: Now,
    index: u32,
    serial: u32,
}

impl Worker {
    /// Whether the CONNECT `frame` may be handled. If not, it is answered, or waits with all `bytes` behind it.
    pub(super) fn pass_turnstile(&mut self, index: u32, frame: Frame<'_>, bytes: &[u8]) -> bool {
        if !self.in_force.turnstile.is_watched() {
            return true;
        }
        // The core says what is wrong with it.
        let Ok(connect) = decode_connect(frame) else { return true };
        let peer = self.connections[index as usize].peer;
        let (reason, cause) = match self.in_force.turnstile.look(stranger(&connect, peer), self.now) {
            Ok(()) => return true,
            Err(Closed::OverQuota(room_at)) if self.in_force.turnstile.excess() == Excess::Delay => {
                self.connections[index as usize].partial.bytes_mut().extend_from_slice(bytes);
                self.throttle(index, room_at);
                return false;
            }
            Err(Closed::OverQuota(_)) => {
                (Reason::QuotaExceeded, Cause::OverQuota(Reason::QuotaExceeded).to_string())
            }
            Err(Closed::Banned(why)) => (Reason::Banned, why),
        };
        self.keep_out(index, &connect, reason, &cause);
        false
    }

    /// Whether a client may come in who was let through a while ago, or turned out to be another. If not, it is
    /// answered.
    pub(super) fn pass_bans(&mut self, index: u32, connect: &Connect<'_>, user_name: Option<&str>) -> bool {
        let peer = self.connections[index as usize].peer;
        let named = Stranger { user_name: user_name.or(connect.user_name), ..stranger(connect, peer) };
        let Some(why) = self.in_force.turnstile.ban_of(named, self.now) else { return true };
        self.keep_out(index, connect, Reason::Banned, &why);
        false
    }

    fn keep_out(&mut self, index: u32, connect: &Connect<'_>, reason: Reason, cause: &str) {
        let reply = refusal(connect, reason, "");
        self.core.count_refused();
        self.turn_away(index, Some(connect.client_id), &cause);
        self.refuse(index, &reply);
    }

    /// Ends the connections of those who are `banned`, and says how many there were.
    pub(super) fn put_out(&mut self, banned: &Banned) -> usize {
        let here =
            |key: &SessionKey| self.core.client_of(*key).is_some_and(|client| client.connection.is_some());
        let keys: Vec<SessionKey> = match banned {
            // One session at most, wherever its connection is.
            Banned::Client(id) => self.core.shared().owner(id).filter(here).into_iter().collect(),
            Banned::User(name) => {
                let named = self.user_names.iter().filter(|(_, other)| ***other == **name);
                named.filter_map(|(index, _)| self.connections.get(*index as usize)?.session()).collect()
            }
            Banned::Address(network) => {
                let is_there = |peer: Peer| match peer.ip() {
                    Some(ip) => network.contains(ip),
                    None => *network == Network::Unix,
                };
                let theirs = self.connections.iter().filter(|(_, connection)| is_there(connection.peer));
                theirs.filter_map(|(_, connection)| connection.session()).collect()
            }
        };
        for key in &keys {
            self.core.disconnect(*key, Cause::Banned, self.now);
        }
        keys.len()
    }

    /// Counts the CONNECT `frame`, which the core has accepted or refused, and gives the connection its meter.
    pub(super) fn settle_turnstile(&mut self, index: u32, frame: Frame<'_>, taken_over: Option<u32>) {
        let turnstile = &self.in_force.turnstile;
        let connection = &self.connections[index as usize];
        let quota = connection.door.quota.as_ref();
        if !turnstile.has_quotas() && quota.is_none() && !turnstile.is_watched() && taken_over.is_none() {
            return;
        }
        let Ok(connect) = decode_connect(frame) else { return };
        let (peer, now) = (connection.peer, self.now);
        if turnstile.is_watched() {
            turnstile.count(stranger(&connect, peer), now);
        }
        let meter = turnstile.meter(connect.user_name, quota, now);
        if meter.is_some() && self.meters.len() <= index as usize {
            self.meters.resize_with(index as usize + 1, || None);
        }
        if let Some(place) = self.meters.get_mut(index as usize) {
            *place = meter;
        }
        if let Some(other) = taken_over.and_then(|other| self.connections.get(other as usize)) {
            self.take_overs.note(connect.client_id, other.peer, peer, now);
        }
    }

    /// Counts a CONNECT that was refused before the core saw it.
    pub(super) fn count_turned_back(&self, index: u32, connect: &Connect<'_>) {
        if self.in_force.turnstile.is_watched() {
            let peer = self.connections[index as usize].peer;
            self.in_force.turnstile.count(stranger(connect, peer), self.now);
        }
    }

    /// Has the connections that are there go by quotas that have changed since `before`.
    pub(super) fn renew_meters(&mut self, before: &Turnstile) {
        let turnstile = &self.in_force.turnstile;
        if turnstile.has_quotas_of(before) {
            return;
        }
        for (index, connection) in &self.connections {
            if !matches!(connection.phase, Phase::Open(_)) {
                continue;
            }
            if self.meters.len() <= index {
                self.meters.resize_with(index + 1, || None);
            }
            let user_name = self.user_names.get(&(index as u32)).map(|name| &**name);
            let meter = self.meters[index].take();
            self.meters[index] = turnstile.renewed_meter(meter, user_name, self.now);
        }
    }

    /// What the connection may do in a second, if that is limited.
    pub(super) fn meter(&self, index: u32) -> Option<&Meter> {
        self.meters.get(index as usize)?.as_deref()
    }

    /// Handles a frame of a client whose packets are counted.
    pub(super) fn handle_metered(
        &mut self,
        index: u32,
        key: SessionKey,
        frame: Frame<'_>,
    ) -> Result<(), Ended> {
        let now = self.now;
        let Some(meter) = self.meter(index) else {
            return self.core.handle(key, frame, now);
        };
        let counted = match frame.first >> 4 {
            kind if kind == PacketKind::Publish as u8 => Some((Kind::Messages, 1)),
            kind if kind == PacketKind::Subscribe as u8 => Some((Kind::Subscribes, filters(frame))),
            _ => None,
        };
        let excess = self.in_force.turnstile.excess();
        if let Some((kind, count)) = counted {
            let is_over =
                excess != Excess::Delay && (meter.is_over(kind, now) || meter.is_over(Kind::Bytes, now));
            match excess {
                Excess::Drop if is_over => return self.core.handle_over_quota(key, frame, now),
                Excess::Disconnect if is_over => {
                    let reason = match kind {
                        Kind::Subscribes => Reason::QuotaExceeded,
                        _ => Reason::MessageRateTooHigh,
                    };
                    self.core.disconnect(key, Cause::OverQuota(reason), now);
                    return Err(Ended);
                }
                _ => meter.charge(kind, count, now),
            }
        }
        meter.charge(Kind::Bytes, frame.len as u64, now);
        self.core.handle(key, frame, now)
    }

    /// Stops reading a client that has used up a quota, where excess waits.
    pub(super) fn check_quota(&mut self, index: u32) {
        let Some(connection) = self.connections.get(index as usize) else { return };
        let (Some(meter), Phase::Open(_)) = (self.meter(index), &connection.phase) else { return };
        if self.in_force.turnstile.excess() == Excess::Delay
            && let Some(room_at) = meter.room_at(self.now)
        {
            self.throttle(index, room_at);
        }
    }

    /// Looks after those whose quotas have room again.
    pub(super) fn resume_throttled(&mut self) {
        while let Some(Reverse(throttled)) = self.throttled.peek().copied()
            && throttled.until <= self.now
        {
            self.throttled.pop();
            let Some(connection) = self.connections.get_mut(throttled.index as usize) else { continue };
            if connection.serial != throttled.serial || !connection.is_throttled {
                continue;
            }
            connection.is_throttled = false;
            match connection.phase {
                // Whoever waits for that, or for something else: there is still no room.
                Phase::Open(_) if self.is_mail_unread => self.wait_for_mail(throttled.index),
                Phase::Opening => self.connect_at_last(throttled.index),
                Phase::Open(_) => {
                    self.check_quota(throttled.index);
                    self.read_again(throttled.index);
                }
                Phase::Closing(_) => self.read_again(throttled.index),
                Phase::Identifying(_) | Phase::Leaving | Phase::Gone => {}
            }
        }
    }

    /// Handles the CONNECT that had to wait.
    fn connect_at_last(&mut self, index: u32) {
        let bytes = self.connections[index as usize].partial.take();
        self.count_partial(index);
        if self.split(index, &bytes) {
            self.check_quota(index);
        }
        self.settle_layers(index);
        self.read_again(index);
    }

    pub(super) fn throttle(&mut self, index: u32, room_at: Now) {
        let connection = &mut self.connections[index as usize];
        if std::mem::replace(&mut connection.is_throttled, true) {
            return;
        }
        // Nobody who has left meanwhile is remembered for longer than that.
        let until = room_at.min(self.now.plus_ms(THROTTLE_MS_MAX));
        self.throttled.push(Reverse(Throttled { until, index, serial: connection.serial }));
        if let Phase::Open(key) = connection.phase {
            self.core.excuse(key, until);
        }
    }
}

fn stranger<'a>(connect: &Connect<'a>, peer: Peer) -> Stranger<'a> {
    Stranger { client_id: connect.client_id, user_name: connect.user_name, address: peer.ip() }
}

/// How many filters a SUBSCRIBE has, whatever its version.
fn filters(frame: Frame<'_>) -> u64 {
    let versions = [Version::V5, Version::V3_1_1];
    let count = versions.into_iter().find_map(|version| match decode(frame, version) {
        Ok(Packet::Subscribe(subscribe)) => Some(subscribe.filters.len()),
        _ => None,
    });
    count.unwrap_or(1) as u64
}

/// After so long it is looked again whether there is room.
const THROTTLE_MS_MAX: u64 = 10_000;
