//! Messages that wait for one session, within its limits.

use std::collections::VecDeque;
use std::sync::Arc;

use siskin_proto::Qos;

use super::seldom::Empty;
use crate::limits::{Limits, QueueFull};
use crate::message::Message;
use crate::store::RecordId;

/// One message for one session.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) body: Body,
    /// What few deliveries have, so that the others stay small.
    pub(crate) extra: Option<Box<Extra>>,
    /// Which reference of its record is this session's.
    pub(crate) reference: Option<Reference>,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
}

/// Where a message lies that waits.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// In memory.
    Kept(Message),
    /// In the store alone, where it has this many bytes.
    Stored { record: RecordId, bytes: u32 },
}

/// A number below `u32::MAX`, stored so that none costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference(std::num::NonZeroU32);

/// Why a message came to this session, where there is more to say than its topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    pub(crate) subscription_ids: Vec<u32>,
    /// The shared subscription it came by: if this member leaves, another should have it.
    pub(crate) shared: Option<Arc<str>>,
}

impl Reference {
    pub(crate) fn new(number: u32) -> Self {
        Self(std::num::NonZeroU32::MIN.saturating_add(number))
    }

    pub(crate) fn number(self) -> u32 {
        self.0.get() - 1
    }
}

impl Extra {
    /// None where there is nothing more to say.
    pub(crate) fn of(subscription_ids: &[u32], shared: Option<&Arc<str>>) -> Option<Box<Self>> {
        (!subscription_ids.is_empty() || shared.is_some())
            .then(|| Box::new(Self { subscription_ids: subscription_ids.to_vec(), shared: shared.cloned() }))
    }
}

impl Delivery {
    /// A message for whichever member of the shared subscription `filter` may be found.
    pub(crate) fn shared_by(message: &Message, filter: &Arc<str>, reference: Option<Reference>) -> Self {
        Self {
            qos: message.qos(),
            retain: false,
            extra: Extra::of(&[], Some(filter)),
            reference,
            body: Body::Kept(message.clone()),
        }
    }

    /// The message, if it is in memory.
    pub(crate) fn message(&self) -> Option<&Message> {
        match &self.body {
            Body::Kept(message) => Some(message),
            Body::Stored { .. } => None,
        }
    }

    /// The record that keeps it safe for this session, and which of its references does.
    pub(crate) fn claim(&self) -> Option<(RecordId, u32)> {
        let reference = self.reference?.number();
        match &self.body {
            Body::Kept(message) => Some((message.record()?, reference)),
            Body::Stored { record, .. } => Some((*record, reference)),
        }
    }

    /// Bytes it holds or held, the message whole, wherever it lies.
    pub(crate) fn size(&self) -> usize {
        let extra = self
            .extra
            .as_ref()
            .map_or(0, |extra| size_of::<Extra>() + size_of::<u32>() * extra.subscription_ids.len());
        let body = match &self.body {
            Body::Kept(message) => message.size(),
            Body::Stored { bytes, .. } => *bytes as usize,
        };
        body + extra
    }

    pub(crate) fn kept_bytes(&self) -> u64 {
        self.message().map_or(0, |message| message.size() as u64)
    }

    pub(crate) fn subscription_ids(&self) -> &[u32] {
        self.extra.as_ref().map_or(&[], |extra| &extra.subscription_ids)
    }

    pub(crate) fn shared(&self) -> Option<&Arc<str>> {
        self.extra.as_ref()?.shared.as_ref()
    }
}

/// The messages of one session that have not been sent yet.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    deliveries: VecDeque<Delivery>,
    bytes: u64,
    /// Of those that are in memory.
    kept_bytes: u64,
}

impl Empty for Queue {
    const EMPTY: &'static Self = &Self { deliveries: VecDeque::new(), bytes: 0, kept_bytes: 0 };

    fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }
}

impl Queue {
    /// Queues `delivery`; gives back what had to go for the limits, maybe `delivery` itself.
    pub(crate) fn push(&mut self, delivery: Delivery, limits: &Limits) -> Vec<Delivery> {
        let size = delivery.size() as u64;
        let mut dropped = Vec::new();
        // One that could never stay drives nothing out.
        if size > limits.queue_bytes_max || limits.queue_messages_max == 0 {
            dropped.push(delivery);
            return dropped;
        }
        while self.deliveries.len() >= limits.queue_messages_max as usize
            || self.bytes + size > limits.queue_bytes_max
        {
            match limits.queue_full {
                QueueFull::DropOldest => dropped.extend(self.pop()),
                QueueFull::DropNewest => {
                    dropped.push(delivery);
                    return dropped;
                }
            }
        }
        self.append(delivery);
        dropped
    }

    /// Queues `delivery`, which was within the limits when it was queued first.
    pub(crate) fn append(&mut self, delivery: Delivery) {
        self.bytes += delivery.size() as u64;
        self.kept_bytes += delivery.kept_bytes();
        self.deliveries.push_back(delivery);
    }

    /// Whether no more of it should be in memory, where it may lie in the store alone.
    pub(crate) fn is_heavy(&self, limits: &Limits) -> bool {
        self.kept_bytes >= limits.queue_memory_bytes_max
    }

    pub(crate) fn front(&self) -> Option<&Delivery> {
        self.deliveries.front()
    }

    pub(crate) fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.deliveries.pop_front()?;
        self.bytes -= delivery.size() as u64;
        self.kept_bytes -= delivery.kept_bytes();
        if self.deliveries.is_empty() {
            self.deliveries = VecDeque::new();
        }
        Some(delivery)
    }

    /// Frees about `bytes` of memory, the oldest messages first: those that the store has too lie there alone from now
    /// on, the others are given back if they `may_go`. Says how many bytes it were.
    pub(crate) fn ease(&mut self, bytes: u64, may_go: bool) -> (u64, Vec<Delivery>) {
        let (mut freed, mut gone) = (0, Vec::new());
        let Self { deliveries, bytes: all_bytes, kept_bytes } = self;
        deliveries.retain_mut(|delivery| {
            let Body::Kept(message) = &delivery.body else { return true };
            // What came by a group may have to move to another member at any time.
            let is_shared = delivery.shared().is_some();
            if freed >= bytes || is_shared {
                return true;
            }
            let size = message.size();
            match (message.record(), delivery.reference) {
                (Some(record), Some(_)) => {
                    delivery.body = Body::Stored { record, bytes: size.try_into().unwrap_or(u32::MAX) };
                }
                _ if may_go => {
                    *all_bytes -= delivery.size() as u64;
                    gone.push(delivery.clone());
                }
                _ => return true,
            }
            freed += size as u64;
            *kept_bytes -= size as u64;
            matches!(delivery.body, Body::Stored { .. })
        });
        if deliveries.is_empty() {
            *deliveries = VecDeque::new();
        }
        (freed, gone)
    }

    /// The records of those that stand first and lie in the store alone, as many as should be in memory soon.
    pub(crate) fn missing(&self, limits: &Limits) -> Vec<RecordId> {
        let mut room = limits.queue_memory_bytes_max.max(1) as i64;
        let mut records = Vec::new();
        for delivery in self.deliveries.iter().take(FETCH_MAX) {
            let Body::Stored { record, bytes } = delivery.body else { break };
            if room <= 0 {
                break;
            }
            room -= i64::from(bytes);
            records.push(record);
        }
        records
    }

    /// The first delivery of `record` is in memory again, if it still waits near the front.
    pub(crate) fn restore(&mut self, record: RecordId, message: Message) {
        let place = self.place_of(record);
        if let Some(delivery) = place.and_then(|place| self.deliveries.get_mut(place)) {
            self.bytes -= delivery.size() as u64;
            self.kept_bytes += message.size() as u64;
            delivery.body = Body::Kept(message);
            self.bytes += delivery.size() as u64;
        }
    }

    /// Takes out the first delivery of `record`, which can no longer be read.
    pub(crate) fn take_unreadable(&mut self, record: RecordId) -> Option<Delivery> {
        let delivery = self.deliveries.remove(self.place_of(record)?)?;
        self.bytes -= delivery.size() as u64;
        Some(delivery)
    }

    fn place_of(&self, record: RecordId) -> Option<usize> {
        let is_it =
            |delivery: &Delivery| matches!(delivery.body, Body::Stored { record: at, .. } if at == record);
        self.deliveries.iter().take(FETCH_MAX).position(is_it)
    }

    /// Takes out what came by a shared subscription, in order.
    pub(crate) fn take_shared(&mut self) -> Vec<Delivery> {
        if self.deliveries.iter().all(|delivery| delivery.shared().is_none()) {
            return Vec::new();
        }
        let all = std::mem::take(self).deliveries;
        let (shared, rest): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|delivery| delivery.shared().is_some());
        rest.into_iter().for_each(|delivery| self.append(delivery));
        shared
    }

    pub(crate) fn len(&self) -> usize {
        self.deliveries.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// Bytes of the places of all messages, wherever they lie.
    pub(crate) fn place_bytes(&self) -> u64 {
        (self.deliveries.capacity() * size_of::<Delivery>()) as u64
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.deliveries.iter()
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Delivery> {
        std::mem::take(self).deliveries.into_iter()
    }
}

/// Messages fetched from the store at once.
const FETCH_MAX: usize = 64;
