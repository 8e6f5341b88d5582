//! What a worker gathers while it handles what came in, for its driver to carry out.

use std::collections::VecDeque;
use std::sync::Arc;

use siskin_proto::PacketKind;

use crate::cause::Cause;
use crate::durable::Durable;
use crate::event::{Dropped, Event};
use crate::frames::Frames;
use crate::limits::Limits;
use crate::out_buffer::{OutBuffer, Pool};
use crate::pressure::Pressure;
use crate::recorder::{Diary, Recorder};
use crate::session::{Delivery, SessionKey};
use crate::stats::Stats;
use crate::time::Now;
use crate::trace::Tracer;

/// What a client says to prove once more who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthStep {
    /// The session.
    pub key: SessionKey,
    /// The driver's number of the transport.
    pub connection: u32,
    /// Its client id.
    pub client_id: Arc<str>,
    /// The method.
    pub method: Arc<str>,
    /// Authentication Data.
    pub data: Vec<u8>,
    /// Whether it begins anew, or else answers what it was asked.
    pub is_first: bool,
}

/// A connection that the core has ended.
#[derive(Debug)]
pub struct Close {
    /// The driver's number of the transport.
    pub connection: u32,
    /// The last bytes for it.
    pub out: OutBuffer,
    /// Why it ended.
    pub cause: Cause,
}

/// The effects of one turn, and what all sessions of a worker share.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) limits: Limits,
    /// How near the process is to its memory budget. The limits are what it leaves of them.
    pub(crate) pressure: Pressure,
    pub(crate) stats: Arc<Stats>,
    pub(crate) durable: Durable,
    pub(crate) frames: Frames,
    pub(crate) dirty: Vec<(SessionKey, u32)>,
    pub(crate) closes: Vec<Close>,
    pub(crate) events: Vec<Event>,
    pub(crate) recorder: Recorder,
    pub(crate) tracer: Tracer,
    /// What clients have said in their AUTH packets.
    pub(crate) auths: Vec<AuthStep>,
    /// Sessions with something to be reported, and when; in that order, as all wait equally long.
    pub(crate) reports: VecDeque<(Now, SessionKey)>,
    /// Memory that drained buffers gave back.
    pub(crate) pool: Pool,
    /// Subscription identifiers of the delivery at hand.
    pub(crate) ids: Vec<u32>,
    /// Deliveries by shared subscriptions whose session is gone: others of the group should have them.
    pub(crate) orphans: Vec<(Option<SessionKey>, Delivery)>,
}

impl Turn {
    pub(crate) fn new(limits: Limits, stats: Arc<Stats>, durable: Durable) -> Self {
        Self {
            recorder: Recorder::new(&limits),
            tracer: Tracer::default(),
            limits,
            pressure: Pressure::Calm,
            stats,
            durable,
            frames: Frames::default(),
            dirty: Vec::new(),
            closes: Vec::new(),
            events: Vec::new(),
            auths: Vec::new(),
            reports: VecDeque::new(),
            pool: Pool::default(),
            ids: Vec::new(),
            orphans: Vec::new(),
        }
    }

    pub(crate) fn count_sent(&self, kind: PacketKind, len: usize) {
        self.stats.packets_sent[kind as usize].add(1);
        self.stats.bytes_sent.add(len as u64);
    }

    /// Counts a message that begins to wait for a session, in its queue or its window.
    pub(crate) fn count_stored(&self, delivery: &Delivery) {
        self.stats.stored_messages.add(1);
        self.stats.stored_bytes.add(delivery.size() as u64);
    }

    /// Counts a message that waits no longer: each that was stored, once.
    pub(crate) fn count_released(&self, delivery: &Delivery) {
        self.stats.stored_messages.sub(1);
        self.stats.stored_bytes.sub(delivery.size() as u64);
    }

    /// A delivery is over: it waits no longer, and its claim to a record is given up.
    pub(crate) fn release(&mut self, delivery: &Delivery) {
        self.count_released(delivery);
        self.give_up(delivery);
    }

    /// Gives up a delivery's claim to a record.
    pub(crate) fn give_up(&mut self, delivery: &Delivery) {
        if let Some((record, reference)) = delivery.claim() {
            self.durable.batch().release(record, reference);
        }
    }

    /// Counts a message that a client does not get, and sees to it that it is told: at once if none was
    /// within the last second, else with the others when that is over.
    pub(crate) fn dropped(
        &mut self,
        diary: &mut Diary,
        client_id: &Arc<str>,
        topic: &str,
        why: Dropped,
        now: Now,
    ) {
        match why {
            Dropped::QueueFull => &self.stats.dropped_queue_full,
            Dropped::Expired => &self.stats.dropped_expired,
            Dropped::TooLarge => &self.stats.dropped_too_large,
            Dropped::SlowReader => &self.stats.dropped_slow_reader,
            Dropped::RetainedFull => &self.stats.dropped_retained_full,
            Dropped::NotAllowed => &self.stats.dropped_not_allowed,
            Dropped::OverQuota => &self.stats.dropped_over_quota,
            Dropped::MemoryShort => &self.stats.dropped_memory_short,
            Dropped::OutsideMountPoint => &self.stats.dropped_outside_mount_point,
            Dropped::Denied => &self.stats.dropped_denied,
            Dropped::Unreadable => &self.stats.dropped_unreadable,
        }
        .add(1);
        let report = diary.dropped(client_id, topic, why, &mut self.recorder, &mut self.events, now);
        self.reports.extend(report);
    }
}
