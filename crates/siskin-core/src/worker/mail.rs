//! What one worker has for another, a batch a turn.

use std::sync::Arc;

use super::publish::Claim;
use crate::message::Message;
use crate::router::Subscriber;

/// A batch for one worker. A message is named once, its receivers stand in one list.
#[derive(Debug, Default)]
pub struct Mail {
    pub(super) deliveries: Vec<Envelope>,
    pub(super) receivers: Vec<Subscriber>,
    pub(super) claims: Vec<Claim>,
    bytes: usize,
}

/// One message and how many of the batch's receivers are its own.
#[derive(Debug)]
pub(super) struct Envelope {
    pub(super) message: Message,
    pub(super) receivers: usize,
    /// How many of the batch's claims are those of its receivers.
    pub(super) claims: usize,
    /// The shared subscription by which it goes to its one receiver.
    pub(super) shared: Option<Arc<str>>,
}

impl Mail {
    pub(super) fn push(
        &mut self,
        message: &Message,
        receivers: &[Subscriber],
        claims: &[Claim],
        shared: Option<Arc<str>>,
    ) {
        let message = message.clone();
        self.bytes += message.parts().size() + receivers.len() * RECEIVER_BYTES;
        self.deliveries.push(Envelope { message, receivers: receivers.len(), claims: claims.len(), shared });
        self.receivers.extend_from_slice(receivers);
        self.claims.extend_from_slice(claims);
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// Bytes of its messages, each as if it were held by nobody else, with what their receivers will take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// About what a message takes for each receiver when it has arrived.
const RECEIVER_BYTES: usize = 64;
