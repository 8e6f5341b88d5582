//! Messages that wait for one session, within its limits.

use std::collections::VecDeque;
use std::sync::Arc;

use siskin_proto::Qos;

use crate::limits::{Limits, QueueFull};
use crate::message::Message;

/// One message for one session.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) message: Arc<Message>,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// What few deliveries have, so that the others stay small.
    pub(crate) extra: Option<Box<Extra>>,
}

/// Why a message came to this session, where there is more to say than its topic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extra {
    pub(crate) subscription_ids: Vec<u32>,
    /// The shared subscription it came by: if this member leaves, another should have it.
    pub(crate) shared: Option<Arc<str>>,
}

impl Delivery {
    /// A message for whichever member of the shared subscription `filter` may be found.
    pub(crate) fn shared_by(message: &Arc<Message>, filter: &Arc<str>) -> Self {
        let extra = Extra { subscription_ids: Vec::new(), shared: Some(Arc::clone(filter)) };
        let message = Arc::clone(message);
        Self { qos: message.qos(), retain: false, extra: Some(Box::new(extra)), message }
    }

    /// Bytes it holds, the message whole.
    pub(crate) fn size(&self) -> usize {
        let extra = self
            .extra
            .as_ref()
            .map_or(0, |extra| size_of::<Extra>() + size_of::<u32>() * extra.subscription_ids.len());
        self.message.size() + extra
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
        self.bytes += size;
        self.deliveries.push_back(delivery);
        dropped
    }

    pub(crate) fn front(&self) -> Option<&Delivery> {
        self.deliveries.front()
    }

    pub(crate) fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.deliveries.pop_front()?;
        self.bytes -= delivery.size() as u64;
        if self.deliveries.is_empty() {
            self.deliveries = VecDeque::new();
        }
        Some(delivery)
    }

    /// Takes out what came by a shared subscription, in order.
    pub(crate) fn take_shared(&mut self) -> Vec<Delivery> {
        if self.deliveries.iter().all(|delivery| delivery.shared().is_none()) {
            return Vec::new();
        }
        let (shared, rest): (Vec<_>, Vec<_>) =
            self.deliveries.drain(..).partition(|delivery| delivery.shared().is_some());
        self.deliveries = rest.into();
        self.bytes = self.deliveries.iter().map(|delivery| delivery.size() as u64).sum();
        shared
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Delivery> {
        self.bytes = 0;
        std::mem::take(&mut self.deliveries).into_iter()
    }
}
