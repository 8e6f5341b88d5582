//! The messages themselves, each under a number that stays while its topic has a message.

use std::ops::Index;

use crate::message::Message;

/// A slot's number.
pub(super) type Slot = u32;

/// Messages by number. A freed slot is used again.
#[derive(Default)]
pub(super) struct Slots {
    messages: Vec<Option<Message>>,
    free: Vec<Slot>,
}

impl Slots {
    /// The number that the next message will have; none when 32 bits have no more.
    pub(super) fn vacant(&self) -> Option<Slot> {
        self.free.last().copied().or_else(|| Slot::try_from(self.messages.len()).ok())
    }

    pub(super) fn insert(&mut self, message: Message) {
        match self.free.pop() {
            Some(slot) => self.messages[slot as usize] = Some(message),
            None => self.messages.push(Some(message)),
        }
    }

    pub(super) fn replace(&mut self, slot: Slot, message: Message) -> Option<Message> {
        self.messages[slot as usize].replace(message)
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<Message> {
        let message = self.messages[slot as usize].take()?;
        self.free.push(slot);
        if self.free.len() == self.messages.len() {
            *self = Self::default();
        }
        Some(message)
    }
}

impl Index<Slot> for Slots {
    type Output = Message;

    fn index(&self, slot: Slot) -> &Message {
        self.messages[slot as usize].as_ref().expect("who knows a slot's number took it from a message there")
    }
}
