//! The receiving half: which QoS 2 ids are open, and how many messages the other end may still send.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::PacketId;

/// The open packet ids of QoS 2 messages that came in, and the window of the present connection.
///
/// ```text
/// PUBLISH  -> New: take the message over, PUBREC      [MQTT-4.3.3-2]
/// PUBLISH  -> Again: PUBREC, deliver nothing          [MQTT5 4.3.3-10]
/// PUBREL   -> PUBCOMP, the id is new again            [MQTT5 4.3.3-11, -12]
/// ```
#[derive(Debug, Default)]
pub struct Receiver {
    /// Made with the first, as most clients send none.
    open: Option<Box<Open>>,
    maximum: u16,
}

/// Sorted; as short as the window.
#[derive(Debug, Default)]
struct Open(Vec<PacketId>);

/// What a QoS 2 PUBLISH is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A message not seen before.
    New,
    /// One that was taken over already.
    Again,
    /// One more than the window allows. [MQTT5 3.3.4-7]
    TooMany,
}

impl Receiver {
    /// Nothing open, no connection yet.
    pub const fn new() -> Self {
        Self { open: None, maximum: 0 }
    }

    /// These ids are open, and there is no connection yet.
    pub fn restored(mut open: Vec<PacketId>) -> Self {
        open.sort_unstable();
        open.dedup();
        Self { open: (!open.is_empty()).then(|| Box::new(Open(open))), maximum: 0 }
    }

    /// A connection began on which the sender may have `receive_maximum` messages open.
    pub fn connected(&mut self, receive_maximum: u16) {
        self.maximum = receive_maximum;
        match &mut self.open {
            Some(open) if !open.0.is_empty() => open.0.shrink_to_fit(),
            open => *open = None,
        }
    }

    /// A QoS 2 PUBLISH came. After `New` the id is open.
    pub fn publish(&mut self, id: PacketId) -> Arrival {
        let Open(open) = &mut **self.open.get_or_insert_default();
        match open.binary_search(&id) {
            Ok(_) => Arrival::Again,
            // What an earlier connection left open counts too: it is open, and memory stays bounded.
            Err(_) if open.len() >= usize::from(self.maximum) => Arrival::TooMany,
            Err(place) => {
                open.insert(place, id);
                Arrival::New
            }
        }
    }

    /// PUBREL came, or a message was refused: the id is free. False if it was not open.
    pub fn release(&mut self, id: PacketId) -> bool {
        let Some(Open(open)) = self.open.as_deref_mut() else { return false };
        match open.binary_search(&id) {
            Ok(place) => {
                open.remove(place);
                true
            }
            Err(_) => false,
        }
    }

    /// How many QoS 2 messages are open.
    pub fn open(&self) -> usize {
        self.ids().len()
    }

    /// The open ids, in ascending order.
    pub fn ids(&self) -> &[PacketId] {
        self.open.as_deref().map_or(&[], |Open(open)| open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: u16) -> PacketId {
        PacketId::new(id).unwrap()
    }

    #[test]
    fn an_open_id_is_the_same_message_until_it_is_released() {
        let mut receiver = Receiver::new();
        receiver.connected(10);
        assert_eq!(receiver.publish(id(7)), Arrival::New);
        assert_eq!(receiver.publish(id(7)), Arrival::Again);
        assert!(receiver.release(id(7)));
        assert!(!receiver.release(id(7)));
        assert_eq!(receiver.publish(id(7)), Arrival::New);
    }

    #[test]
    fn open_ids_outlive_a_connection() {
        let mut receiver = Receiver::new();
        receiver.connected(10);
        receiver.publish(id(7));
        receiver.connected(10);
        assert_eq!(receiver.publish(id(7)), Arrival::Again);
        let mut receiver = Receiver::restored(vec![id(9), id(7)]);
        receiver.connected(10);
        assert_eq!(receiver.ids(), [id(7), id(9)]);
        assert_eq!(receiver.publish(id(7)), Arrival::Again);
    }

    #[test]
    fn one_more_than_the_receive_maximum_is_too_many() {
        let mut receiver = Receiver::new();
        receiver.connected(2);
        receiver.publish(id(1));
        receiver.publish(id(2));
        assert_eq!(receiver.publish(id(2)), Arrival::Again);
        assert_eq!(receiver.publish(id(3)), Arrival::TooMany);
        receiver.release(id(1));
        assert_eq!(receiver.publish(id(3)), Arrival::New);
        assert_eq!(receiver.ids(), [id(2), id(3)]);
    }
}
