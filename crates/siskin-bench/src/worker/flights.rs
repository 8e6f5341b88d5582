//! The messages of a publisher that are not acknowledged. A packet id is a place in a small table.

use siskin_proto::PacketId;

#[derive(Debug, Default)]
pub(super) struct Flights {
    /// By packet id less one.
    places: Vec<Place>,
    free: Vec<u16>,
    open: usize,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Free,
    /// Sent; the time from which its latency counts.
    Published(u64),
    /// PUBREC came.
    Released(u64),
}

impl Flights {
    /// A packet id for a message, unless `max` are on their way.
    #[inline]
    pub(super) fn send(&mut self, time_ns: u64, max: u16) -> Option<PacketId> {
        if self.open >= usize::from(max) {
            return None;
        }
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.places.len() < usize::from(u16::MAX) => {
                self.places.push(Place::Free);
                self.places.len() as u16 - 1
            }
            None => return None,
        };
        self.places[usize::from(place)] = Place::Published(time_ns);
        self.open += 1;
        PacketId::new(place + 1)
    }

    /// PUBACK, or a PUBREC that ends the delivery: the time from which the latency counts.
    #[inline]
    pub(super) fn acknowledge(&mut self, id: PacketId) -> Option<u64> {
        match self.place(id)? {
            &mut Place::Published(time_ns) => {
                self.finish(id);
                Some(time_ns)
            }
            _ => None,
        }
    }

    /// PUBREC. False if nothing waits for it.
    #[inline]
    pub(super) fn release(&mut self, id: PacketId) -> bool {
        match self.place(id) {
            Some(place) => match *place {
                Place::Published(time_ns) | Place::Released(time_ns) => {
                    *place = Place::Released(time_ns);
                    true
                }
                Place::Free => false,
            },
            None => false,
        }
    }

    /// PUBCOMP: the time from which the latency counts.
    #[inline]
    pub(super) fn complete(&mut self, id: PacketId) -> Option<u64> {
        match self.place(id)? {
            &mut Place::Released(time_ns) => {
                self.finish(id);
                Some(time_ns)
            }
            _ => None,
        }
    }

    pub(super) fn open(&self) -> usize {
        self.open
    }

    fn place(&mut self, id: PacketId) -> Option<&mut Place> {
        self.places.get_mut(usize::from(id.get()) - 1)
    }

    fn finish(&mut self, id: PacketId) {
        self.places[usize::from(id.get()) - 1] = Place::Free;
        self.free.push(id.get() - 1);
        self.open -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_kept_and_ids_are_used_again() {
        let mut flights = Flights::default();
        let first = flights.send(10, 2).unwrap();
        let second = flights.send(20, 2).unwrap();
        assert_ne!(first, second);
        assert_eq!(flights.send(30, 2), None);
        assert_eq!(flights.acknowledge(first), Some(10));
        assert_eq!(flights.acknowledge(first), None);
        assert_eq!(flights.send(30, 2), Some(first));
        assert_eq!(flights.open(), 2);
    }

    #[test]
    fn qos_2_takes_both_steps_in_order() {
        let mut flights = Flights::default();
        let id = flights.send(10, 2).unwrap();
        assert_eq!(flights.complete(id), None);
        assert!(flights.release(id));
        assert_eq!(flights.acknowledge(id), None);
        assert_eq!(flights.complete(id), Some(10));
        assert!(!flights.release(id));
        assert_eq!(flights.open(), 0);
    }

    #[test]
    fn an_acknowledgement_of_nothing_is_told_apart() {
        let mut flights = Flights::default();
        assert_eq!(flights.acknowledge(PacketId::new(65_535).unwrap()), None);
    }

    #[test]
    fn all_packet_ids_can_be_on_their_way() {
        let mut flights = Flights::default();
        assert_eq!((0..70_000).filter_map(|at| flights.send(at, u16::MAX)).count(), 65_535);
    }
}
