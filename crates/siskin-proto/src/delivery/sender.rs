//! The sending half: messages of QoS 1 and 2 on their way to the other end.
//!
//! ```text
//!            QoS 1            QoS 2
//! send   ->  Published        Published
//! PUBACK ->  done             (not understood: ignored)
//! PUBREC ->                   Released  -> PUBREL          [MQTT5 4.3.3-4]
//! PUBREC 0x80.. ->            done                         [MQTT5 4.3.3-9]
//! PUBCOMP ->                  done
//! ```
//!
//! Ids are handed out in turn, so an id tells its place in the window and no table is needed.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;

use crate::{PacketId, Qos};

/// What was sent at QoS 1 or 2 and is not finished, in the order it was first sent.
#[derive(Debug)]
pub struct Sender<M> {
    /// The id of each flight follows from its place: `first_id`, and so on, past 65535 comes 1.
    flights: VecDeque<Flight<M>>,
    first_id: u16,
    open: u16,
    /// Messages before this place have been sent on the present connection.
    sent: Place,
    /// Places that may hold a PUBREL to send again on the present connection.
    releases: Range<Place>,
    /// What was sent on the present connection, or released on it again, and is not finished.
    held: u16,
    /// How many messages may be held.
    receive_maximum: u16,
}

/// A place in the window, or the end of it: there are no more than ids.
type Place = u16;

#[derive(Debug)]
enum Flight<M> {
    Published {
        message: M,
        qos: Qos,
    },
    Released,
    /// Finished, but something before it is not.
    Done,
}

/// What an acknowledgement did.
#[derive(Debug, PartialEq, Eq)]
pub enum Acked<M> {
    /// The delivery ended and its place in the window is free.
    Finished(Option<M>),
    /// PUBREC: the message is the receiver's now, PUBREL must follow.
    Release(M),
    /// PUBREC of a message that was released before: PUBREL must follow again.
    ReleaseAgain,
    /// No delivery waits for this acknowledgement under this id.
    Unknown,
}

/// What goes out again on a new connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Resend<'a, M> {
    /// A PUBLISH, with DUP 1.
    Publish(PacketId, Qos, &'a M),
    /// A PUBREL.
    Release(PacketId),
}

impl<M> Default for Sender<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M> Sender<M> {
    /// Nothing on its way, and no connection yet: nothing may be sent.
    pub const fn new() -> Self {
        Self {
            flights: VecDeque::new(),
            first_id: 1,
            open: 0,
            sent: 0,
            releases: 0..0,
            held: 0,
            receive_maximum: 0,
        }
    }

    /// What was on its way before all of it was forgotten, with the ids of that time: messages, and without one
    /// what was released. An id that stands twice counts once.
    pub fn restored(mut flights: Vec<(PacketId, Option<(M, Qos)>)>) -> Self {
        flights.sort_by_key(|(id, _)| *id);
        flights.dedup_by_key(|(id, _)| *id);
        // Ids follow each other round: they begin behind the widest gap.
        let gap = |at: usize| {
            let before = flights[(at + flights.len() - 1) % flights.len()].0.get();
            (usize::from(flights[at].0.get()) + IDS - usize::from(before) - 1) % IDS
        };
        let Some(first) = (0..flights.len()).max_by_key(|at| gap(*at)) else { return Self::new() };
        flights.rotate_left(first);
        let mut sender = Self { first_id: flights[0].0.get(), ..Self::new() };
        for (id, flight) in flights {
            let place = sender.place_of(id);
            sender.flights.resize_with(place, || Flight::Done);
            sender.flights.push_back(match flight {
                Some((message, qos)) => Flight::Published { message, qos },
                None => Flight::Released,
            });
            sender.open += 1;
        }
        sender
    }

    /// A connection began: everything unfinished is to be sent again, within the receiver's maximum.
    pub fn connected(&mut self, receive_maximum: u16) {
        self.sent = 0;
        self.releases = 0..self.end();
        self.held = 0;
        self.receive_maximum = receive_maximum;
    }

    /// The connection ended: nothing may be sent.
    pub fn disconnected(&mut self) {
        self.receive_maximum = 0;
        self.flights.shrink_to_fit();
    }

    /// Whether a new message may be sent now: the window has room and no resend comes first.
    pub fn is_ready(&self) -> bool {
        self.has_room() && !self.is_resending() && self.flights.len() < SPAN_MAX
    }

    /// How many new messages may be sent before one that is on its way is finished.
    pub fn room(&self) -> u16 {
        if self.is_ready() { self.receive_maximum - self.held } else { 0 }
    }

    /// Whether resends wait, with room in the window or without.
    #[inline]
    pub fn is_resending(&self) -> bool {
        self.sent < self.end() || !self.releases.is_empty()
    }

    /// The packet id that the next message sent will have, if one may be sent now.
    pub fn next_id(&self) -> Option<PacketId> {
        self.is_ready().then(|| self.id_at(self.flights.len()))
    }

    /// Takes a new message on its way and names its packet id. Call only when [`Self::is_ready`];
    /// otherwise nothing happens and the message comes back. [MQTT-2.3.1-4] [MQTT5 2.2.1-4]
    pub fn send(&mut self, message: M, qos: Qos) -> Result<PacketId, M> {
        if !self.is_ready() {
            return Err(message);
        }
        let id = self.id_at(self.flights.len());
        self.flights.push_back(Flight::Published { message, qos });
        self.sent = self.end();
        self.open += 1;
        self.held += 1;
        Ok(id)
    }

    /// The next packet to send again on this connection: PUBRELs first, which no receiver's maximum holds
    /// back, then messages within it; both in the original order. None when all are sent or messages must
    /// wait. [MQTT-4.4.0-1] [MQTT-4.6.0-1] [MQTT5 3.3.4-9] [MQTT5 3.3.4-10]
    pub fn resend(&mut self) -> Option<Resend<'_, M>> {
        while let Some(place) = self.releases.next() {
            if matches!(self.flights.get(usize::from(place)), Some(Flight::Released)) {
                self.held = self.held.saturating_add(1);
                return Some(Resend::Release(self.id_at(usize::from(place))));
            }
        }
        while matches!(self.flights.get(usize::from(self.sent)), Some(Flight::Released | Flight::Done)) {
            self.sent += 1;
        }
        if !self.has_room() {
            return None;
        }
        let place = usize::from(self.sent);
        let id = self.id_at(place);
        let Some(Flight::Published { message, qos }) = self.flights.get(place) else { return None };
        self.sent += 1;
        self.held += 1;
        Some(Resend::Publish(id, *qos, message))
    }

    /// PUBACK: ends a QoS 1 delivery, whatever its reason code. [MQTT5 4.4.0-2]
    pub fn puback(&mut self, id: PacketId) -> Acked<M> {
        match self.flight(id) {
            Some(Flight::Published { qos: Qos::AtLeastOnce, .. }) => Acked::Finished(self.finish(id)),
            _ => Acked::Unknown,
        }
    }

    /// PUBREC: moves a QoS 2 delivery on, or ends it if its reason code is an error.
    pub fn pubrec(&mut self, id: PacketId, is_error: bool) -> Acked<M> {
        match self.flight(id) {
            Some(Flight::Published { qos: Qos::ExactlyOnce, .. }) if is_error => {
                Acked::Finished(self.finish(id))
            }
            Some(flight @ Flight::Published { qos: Qos::ExactlyOnce, .. }) => {
                match core::mem::replace(flight, Flight::Released) {
                    Flight::Published { message, .. } => Acked::Release(message),
                    Flight::Released | Flight::Done => Acked::ReleaseAgain,
                }
            }
            Some(Flight::Released) => Acked::ReleaseAgain,
            _ => Acked::Unknown,
        }
    }

    /// PUBCOMP: ends a QoS 2 delivery.
    pub fn pubcomp(&mut self, id: PacketId) -> Acked<M> {
        match self.flight(id) {
            Some(Flight::Released) => Acked::Finished(self.finish(id)),
            _ => Acked::Unknown,
        }
    }

    /// Ends the delivery that was begun last and is still unsent, because the receiver cannot take it.
    pub fn drop_resend(&mut self, id: PacketId) -> Option<M> {
        self.finish(id)
    }

    /// How many messages may be held at once on the present connection, 0 without one.
    pub fn receive_maximum(&self) -> u16 {
        self.receive_maximum
    }

    /// How many deliveries are not finished.
    pub fn open(&self) -> usize {
        usize::from(self.open)
    }

    /// The unfinished deliveries that still hold their message, in order.
    pub fn messages(&self) -> impl Iterator<Item = (Qos, &M)> {
        self.flights.iter().filter_map(|flight| match flight {
            Flight::Published { message, qos } => Some((*qos, message)),
            Flight::Released | Flight::Done => None,
        })
    }

    /// The message that is on its way under `id` and was not yet acknowledged.
    pub fn message(&self, id: PacketId) -> Option<(Qos, &M)> {
        match self.flights.get(self.place_of(id)) {
            Some(Flight::Published { message, qos }) => Some((*qos, message)),
            _ => None,
        }
    }

    /// The packet ids of all unfinished deliveries, in order.
    pub fn ids(&self) -> impl Iterator<Item = PacketId> {
        let open = |flight: &Flight<M>| !matches!(flight, Flight::Done);
        self.flights.iter().enumerate().filter(move |(_, f)| open(f)).map(|(place, _)| self.id_at(place))
    }

    fn flight(&mut self, id: PacketId) -> Option<&mut Flight<M>> {
        let place = self.place_of(id);
        // A message that was not sent on this connection cannot be acknowledged on it.
        let may_wait = place >= usize::from(self.sent);
        self.flights.get_mut(place).filter(|flight| !may_wait || matches!(flight, Flight::Released))
    }

    /// The place behind the last.
    fn end(&self) -> Place {
        self.flights.len() as Place
    }

    fn has_room(&self) -> bool {
        self.held < self.receive_maximum
    }

    fn finish(&mut self, id: PacketId) -> Option<M> {
        let place = self.place_of(id);
        let flight = core::mem::replace(self.flights.get_mut(place)?, Flight::Done);
        self.open = self.open.saturating_sub(1);
        if !(usize::from(self.releases.start)..usize::from(self.releases.end)).contains(&place) {
            self.held = self.held.saturating_sub(1);
        }
        while matches!(self.flights.front(), Some(Flight::Done)) {
            self.flights.pop_front();
            self.first_id = next_id(self.first_id);
            self.sent = self.sent.saturating_sub(1);
            self.releases = self.releases.start.saturating_sub(1)..self.releases.end.saturating_sub(1);
        }
        match flight {
            Flight::Published { message, .. } => Some(message),
            Flight::Released | Flight::Done => None,
        }
    }

    fn id_at(&self, place: usize) -> PacketId {
        let id = (usize::from(self.first_id) - 1 + place) % IDS + 1;
        PacketId::new(id as u16).expect("1 is added to what is left of dividing by 65535")
    }

    fn place_of(&self, id: PacketId) -> usize {
        (usize::from(id.get()) + IDS - usize::from(self.first_id)) % IDS
    }
}

fn next_id(id: u16) -> u16 {
    if id == u16::MAX { 1 } else { id + 1 }
}

/// Packet ids there are: 1 to 65535.
const IDS: usize = 65_535;

/// The window never spans more ids than this, so that an id always has one meaning.
const SPAN_MAX: usize = IDS - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: u16) -> PacketId {
        PacketId::new(id).unwrap()
    }

    fn connected(receive_maximum: u16) -> Sender<&'static str> {
        let mut sender = Sender::new();
        sender.connected(receive_maximum);
        sender
    }

    #[test]
    fn ids_are_handed_out_in_turn_and_not_used_twice_while_open() {
        let mut sender = connected(10);
        assert_eq!(sender.send("a", Qos::AtLeastOnce), Ok(id(1)));
        assert_eq!(sender.send("b", Qos::AtLeastOnce), Ok(id(2)));
        assert_eq!(sender.puback(id(1)), Acked::Finished(Some("a")));
        assert_eq!(sender.send("c", Qos::AtLeastOnce), Ok(id(3)));
        assert_eq!(sender.ids().collect::<Vec<_>>(), [id(2), id(3)]);
    }

    #[test]
    fn after_65535_comes_1() {
        let mut sender = connected(1);
        for round in 0..70_000_u32 {
            let expected = id((round % 65_535) as u16 + 1);
            assert_eq!(sender.send("m", Qos::AtLeastOnce), Ok(expected));
            assert_eq!(sender.puback(expected), Acked::Finished(Some("m")));
        }
    }

    #[test]
    fn a_message_never_acknowledged_stops_the_window_before_its_id_comes_round() {
        let mut sender = connected(10);
        sender.send("stuck", Qos::AtLeastOnce).unwrap();
        let mut sent = 1;
        while let Ok(id) = sender.send("m", Qos::AtLeastOnce) {
            sender.puback(id);
            sent += 1;
        }
        assert_eq!(sent, SPAN_MAX);
        sender.puback(id(1));
        assert_eq!(sender.send("m", Qos::AtLeastOnce), Ok(id(65_535)));
        assert_eq!(sender.open(), 1);
    }

    #[test]
    fn receive_maximum_one_sends_the_second_after_puback() {
        let mut sender = connected(1);
        sender.send("a", Qos::AtLeastOnce).unwrap();
        assert_eq!(sender.send("b", Qos::AtLeastOnce), Err("b"));
        sender.puback(id(1));
        assert_eq!(sender.send("b", Qos::AtLeastOnce), Ok(id(2)));
    }

    #[test]
    fn qos_2_holds_its_place_from_publish_to_pubcomp() {
        let mut sender = connected(1);
        sender.send("a", Qos::ExactlyOnce).unwrap();
        assert_eq!(sender.pubrec(id(1), false), Acked::Release("a"));
        assert!(!sender.is_ready());
        assert_eq!(sender.pubrec(id(1), false), Acked::ReleaseAgain);
        assert_eq!(sender.pubcomp(id(1)), Acked::Finished(None));
        assert!(sender.is_ready());
        assert_eq!(sender.pubcomp(id(1)), Acked::Unknown);
    }

    #[test]
    fn an_error_in_pubrec_ends_the_delivery_and_frees_its_place() {
        let mut sender = connected(1);
        sender.send("a", Qos::ExactlyOnce).unwrap();
        assert_eq!(sender.pubrec(id(1), true), Acked::Finished(Some("a")));
        assert!(sender.is_ready());
    }

    #[test]
    fn acknowledgements_of_the_wrong_kind_change_nothing() {
        let mut sender = connected(5);
        sender.send("one", Qos::AtLeastOnce).unwrap();
        sender.send("two", Qos::ExactlyOnce).unwrap();
        assert_eq!(sender.pubrec(id(1), false), Acked::Unknown);
        assert_eq!(sender.puback(id(2)), Acked::Unknown);
        assert_eq!(sender.pubcomp(id(2)), Acked::Unknown);
        assert_eq!(sender.puback(id(9)), Acked::Unknown);
        assert_eq!(sender.open(), 2);
    }

    #[test]
    fn a_new_connection_resends_in_order_within_its_receive_maximum() {
        let mut sender = connected(10);
        for message in ["a", "b", "c", "d"] {
            sender.send(message, Qos::ExactlyOnce).unwrap();
        }
        sender.pubrec(id(2), false);
        sender.pubrec(id(3), true);
        sender.disconnected();
        sender.connected(2);
        assert_eq!(sender.resend(), Some(Resend::Release(id(2))));
        assert_eq!(sender.resend(), Some(Resend::Publish(id(1), Qos::ExactlyOnce, &"a")));
        assert_eq!(sender.resend(), None);
        assert_eq!(sender.send("e", Qos::AtLeastOnce), Err("e"));
        assert_eq!(sender.pubcomp(id(2)), Acked::Finished(None));
        assert_eq!(sender.resend(), Some(Resend::Publish(id(4), Qos::ExactlyOnce, &"d")));
        assert!(!sender.is_resending());
        assert_eq!(sender.pubrec(id(1), true), Acked::Finished(Some("a")));
        assert_eq!(sender.send("e", Qos::AtLeastOnce), Ok(id(5)));
    }

    #[test]
    fn an_acknowledgement_from_before_the_reconnect_does_no_harm() {
        let mut sender = connected(10);
        sender.send("a", Qos::AtLeastOnce).unwrap();
        sender.disconnected();
        sender.connected(10);
        assert_eq!(sender.puback(id(1)), Acked::Unknown);
        assert_eq!(sender.resend(), Some(Resend::Publish(id(1), Qos::AtLeastOnce, &"a")));
        assert_eq!(sender.puback(id(1)), Acked::Finished(Some("a")));
    }

    #[test]
    fn releases_pass_the_receive_maximum_and_messages_wait_for_their_end() {
        let mut sender = connected(4);
        for message in ["a", "b", "c", "d"] {
            sender.send(message, Qos::ExactlyOnce).unwrap();
        }
        sender.pubrec(id(2), false);
        sender.pubrec(id(4), false);
        sender.disconnected();
        sender.connected(1);
        assert_eq!(sender.resend(), Some(Resend::Release(id(2))));
        assert_eq!(sender.resend(), Some(Resend::Release(id(4))));
        assert_eq!(sender.resend(), None);
        assert_eq!(sender.pubcomp(id(2)), Acked::Finished(None));
        assert_eq!(sender.resend(), None, "another is still released");
        assert_eq!(sender.pubcomp(id(4)), Acked::Finished(None));
        assert_eq!(sender.resend(), Some(Resend::Publish(id(1), Qos::ExactlyOnce, &"a")));
        assert_eq!(sender.resend(), None);
        assert_eq!(sender.pubrec(id(1), false), Acked::Release("a"));
        assert_eq!(sender.resend(), None);
        assert_eq!(sender.pubcomp(id(1)), Acked::Finished(None));
        assert_eq!(sender.resend(), Some(Resend::Publish(id(3), Qos::ExactlyOnce, &"c")));
        assert_eq!(sender.resend(), None);
        assert!(!sender.is_resending());
    }

    #[test]
    fn releases_that_end_never_raise_the_window_above_the_receive_maximum() {
        let mut sender = connected(3);
        for _ in 0..3 {
            sender.send("m", Qos::ExactlyOnce).unwrap();
        }
        for n in 1..=3 {
            sender.pubrec(id(n), false);
        }
        sender.disconnected();
        sender.connected(1);
        for n in 1..=3 {
            assert_eq!(sender.resend(), Some(Resend::Release(id(n))));
            assert_eq!(sender.pubcomp(id(n)), Acked::Finished(None));
        }
        sender.send("a", Qos::AtLeastOnce).unwrap();
        assert!(!sender.is_ready());
    }

    #[test]
    fn what_is_restored_is_sent_again_under_its_old_ids_and_new_ids_follow() {
        let published = |text| Some((text, Qos::ExactlyOnce));
        let flights = vec![(id(2), published("d")), (id(65_534), None), (id(65_535), published("b"))];
        let mut sender = Sender::restored(flights);
        sender.connected(10);
        assert_eq!(sender.resend(), Some(Resend::Release(id(65_534))));
        assert_eq!(sender.resend(), Some(Resend::Publish(id(65_535), Qos::ExactlyOnce, &"b")));
        assert_eq!(sender.resend(), Some(Resend::Publish(id(2), Qos::ExactlyOnce, &"d")));
        assert_eq!(sender.resend(), None);
        assert_eq!(sender.send("e", Qos::AtLeastOnce), Ok(id(3)));
        assert_eq!(sender.pubcomp(id(65_534)), Acked::Finished(None));
        assert_eq!(sender.open(), 3);
        assert_eq!(Sender::<()>::restored(Vec::new()).ids().count(), 0);
    }
}
