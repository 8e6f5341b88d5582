//! What a session knows only while its client is there.

use siskin_proto::delivery::{InboundAliases, OutboundAliases};
use siskin_proto::{Packet, PacketKind, Version};

use crate::mount_point::MountPoint;
use crate::out_buffer::OutBuffer;
use crate::pressure::Pressure;
use crate::recorder::Origin;
use crate::time::Now;
use crate::turn::Turn;

/// An authentication after the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// None is under way.
    #[default]
    None,
    /// The driver finds out.
    Pending,
    /// The client was asked something.
    Asked,
}

/// One life of a transport, from CONNECT to its end.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The driver's number of the transport, which it gives to another when this one is gone.
    pub(crate) number: u32,
    /// Which of the worker's connections it is, by which promises know it.
    pub(crate) serial: u64,
    pub(crate) version: Version,
    /// Whether it is on the turn's dirty list.
    pub(crate) is_dirty: bool,
    /// Whether nothing goes out yet, not even its CONNACK: what that promises is not safe.
    pub(crate) is_corked: bool,
    /// Promises to this client that are not kept yet.
    pub(crate) promises: u32,
    /// SUBACKs among these: what is retained comes behind them.
    pub(crate) subacks_promised: u32,
    /// Messages among these: none may overtake another.
    pub(crate) delivers_promised: u32,
    /// Whether its CONNECT asked for a session that outlives it, however short that was cut.
    pub(crate) asked_to_last: bool,
    /// Where its next authentication stands.
    pub(crate) renewal: Renewal,
    /// Whether acknowledgements may carry reason strings. [MQTT5 3.1.2-29]
    pub(crate) problem_information: bool,
    /// Bytes of the largest packet the client takes. [MQTT5 3.1.2-24]
    pub(crate) packet_size_max: u32,
    pub(crate) received_at: Now,
    pub(crate) since: Now,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    /// PUBLISH packets that came.
    pub(crate) messages_received: u64,
    /// PUBLISH packets that were put out.
    pub(crate) messages_sent: u64,
    pub(crate) origin: Origin,
    pub(crate) clean_start: bool,
    /// In force; 0 for none.
    pub(crate) keep_alive_s: u16,
    /// What stands before its topics. It is the listener's, not the session's.
    pub(crate) mount_point: Option<MountPoint>,
    pub(crate) out: OutBuffer,
    /// Made with the first that the client sets.
    pub(crate) inbound_aliases: Option<Box<InboundAliases>>,
    /// The highest of them, as the client was told.
    pub(crate) topic_alias_max: u16,
    /// Only for a client that allows any.
    pub(crate) outbound_aliases: Option<Box<OutboundAliases>>,
}

impl Connection {
    /// Appends `packet` unless it is larger than the client takes; says whether it did.
    pub(crate) fn put(&mut self, turn: &mut Turn, key: super::SessionKey, packet: &Packet<'_>) -> bool {
        let len = packet.encoded_len(self.version);
        if len > self.packet_size_max as usize {
            return false;
        }
        self.begin(turn, key);
        packet.encode(self.version, self.out.storage());
        self.bytes_sent += len as u64;
        turn.count_sent(packet.kind(), len);
        true
    }

    /// Appends a packet of `kind` that was found to fit and encoded before.
    pub(crate) fn put_encoded(
        &mut self,
        turn: &mut Turn,
        key: super::SessionKey,
        kind: PacketKind,
        bytes: &[u8],
    ) {
        self.begin(turn, key);
        self.out.storage().extend_from_slice(bytes);
        self.bytes_sent += bytes.len() as u64;
        turn.count_sent(kind, bytes.len());
    }

    /// Makes ready to append: memory to grow in, and a place on the dirty list.
    pub(crate) fn begin(&mut self, turn: &mut Turn, key: super::SessionKey) {
        self.out.lend(&mut turn.pool);
        if !self.is_dirty && !self.is_corked {
            self.is_dirty = true;
            turn.dirty.push((key, self.number));
        }
    }

    /// Bytes of the topics that have aliases.
    pub(crate) fn alias_bytes(&self) -> usize {
        let inbound = self.inbound_aliases.as_deref().map_or(0, InboundAliases::bytes);
        inbound + self.outbound_aliases.as_deref().map_or(0, OutboundAliases::bytes)
    }

    /// What was held back may go out.
    pub(crate) fn uncork(&mut self, turn: &mut Turn, key: super::SessionKey) {
        self.is_corked = false;
        if !self.out.is_empty() {
            self.begin(turn, key);
        }
    }

    /// Whether the client leaves so much unread that QoS 0 is dropped and QoS 1 and 2 wait.
    pub(crate) fn is_full(&self, turn: &Turn) -> bool {
        self.out.len() >= turn.limits.out_buffer_bytes_max
    }

    /// The same for one message with a payload of so many bytes. A few may wait however large they are: two pictures one behind the
    /// other come from no mistake, and a large message is one for all that it waits for.
    pub(crate) fn is_full_for(&self, payload: usize, turn: &Turn) -> bool {
        let may_wait = if turn.pressure == Pressure::Calm { LARGE_WAITING } else { 0 };
        self.is_full(turn) && self.out.len() >= may_wait.saturating_mul(payload)
    }

    /// Whether a portion of what waited is on its way: the next is encoded when that has gone out.
    pub(crate) fn has_pumped(&self, turn: &Turn) -> bool {
        self.out.len() >= PUMP_BYTES.min(turn.limits.out_buffer_bytes_max)
    }
}

/// Messages of QoS 0 of the same size that may wait for one connection, if more do not by their bytes.
const LARGE_WAITING: usize = 8;

/// Queued and retained messages are encoded in portions of about this many bytes.
const PUMP_BYTES: usize = 64 * 1024;
