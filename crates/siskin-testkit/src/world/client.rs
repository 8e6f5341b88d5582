//! A client that keeps its side of the protocol, at its own pace.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use siskin_proto::{
    Connect, FrameStatus, Packet, PacketId, Properties, PropertiesBuf, Property, PubAck, PubComp, PubRec,
    PubRel, Publish, Qos, Reason, Subscribe, SubscriptionOptions, TopicFilter, TopicName, Version, decode,
    frame,
};

use super::ledger::{Ledger, Note};
use super::link::Link;
use super::random::Random;

/// The retained topic of each publisher, and behind them one that all publish to.
pub(super) const RETAINED: [&str; 8] = ["r/0", "r/1", "r/2", "r/3", "r/4", "r/5", "r/6", "r/all"];

pub(super) struct SimClient {
    pub(super) number: usize,
    pub(super) is_persistent: bool,
    pub(super) version: Version,
    pub(super) link: Option<usize>,
    is_accepted: bool,
    /// How many sessions it has had.
    pub(super) sessions: usize,
    has_been_accepted: bool,
    pub(super) receive_maximum: u16,
    /// Broker's.
    send_maximum: u16,
    pub(super) filters: Vec<(&'static str, Qos)>,
    /// How many of `filters` the broker has confirmed.
    pub(super) confirmed: usize,
    inbound: Vec<u8>,
    next_id: u16,
    /// What it has sent and is not finished: in order, by when it was first sent.
    sending: BTreeMap<u64, Sending>,
    sends: u64,
    /// Acknowledgements it has not sent yet.
    owed: VecDeque<Owed>,
    /// QoS 2 ids between PUBLISH and PUBREL.
    half_received: BTreeSet<PacketId>,
    /// QoS 1 and 2 messages on this connection that it has not finished acknowledging.
    pub(super) open: BTreeSet<PacketId>,
    pub(super) open_most: usize,
}

#[derive(Clone, Copy)]
struct Sending {
    id: PacketId,
    note: Note,
    is_released: bool,
}

#[derive(Clone, Copy)]
enum Owed {
    Ack(PacketId),
    Received(PacketId),
    Complete(PacketId),
}

impl SimClient {
    pub(super) fn new(number: usize, is_persistent: bool, random: &mut Random) -> Self {
        let mut filters = Vec::new();
        for filter in ["t/#", "t/+", "t/1", "+/2"] {
            if random.chance(40) {
                filters.push((filter, Qos::from_u8(random.below(3) as u8).unwrap_or_default()));
            }
        }
        Self {
            number,
            is_persistent,
            version: super::version(random),
            link: None,
            is_accepted: false,
            sessions: 0,
            has_been_accepted: false,
            receive_maximum: random.between(1, 10) as u16,
            send_maximum: 5,
            filters,
            confirmed: 0,
            inbound: Vec::new(),
            next_id: 0,
            sending: BTreeMap::new(),
            sends: 0,
            owed: VecDeque::new(),
            half_received: BTreeSet::new(),
            open: BTreeSet::new(),
            open_most: 0,
        }
    }

    /// The best QoS at which it is sure to have subscribed to `topic`.
    pub(super) fn confirmed_qos(&self, topic: &str) -> Option<Qos> {
        let topic = TopicName::parse(topic).expect("topics of the world are legal");
        let matching = |(filter, _): &&(&'static str, Qos)| {
            TopicFilter::parse(filter).expect("filters of the world are legal").matches(topic)
        };
        self.filters[..self.confirmed].iter().filter(matching).map(|(_, qos)| *qos).max()
    }

    fn send(&self, links: &mut [Link], packet: &Packet<'_>) {
        let Some(link) = self.link else { return };
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        links[link].up.extend(bytes);
    }

    pub(super) fn connect(&mut self, link: usize, links: &mut [Link]) {
        self.link = Some(link);
        let mut properties = PropertiesBuf::new();
        if self.version.is_v5() {
            properties.push(Property::ReceiveMaximum(self.receive_maximum));
            properties.push(Property::TopicAliasMaximum(3));
            if self.is_persistent {
                properties.push(Property::SessionExpiryInterval(u32::MAX));
            }
        }
        let client_id = format!("client{}", self.number);
        self.send(
            links,
            &Packet::Connect(Connect {
                version: self.version,
                clean_start: !self.is_persistent,
                keep_alive_s: 0,
                client_id: &client_id,
                will: None,
                user_name: None,
                password: None,
                properties: properties.as_properties(),
                bridge: false,
            }),
        );
    }

    /// Its link is gone. A session that does not last goes with it.
    pub(super) fn disconnected(&mut self) {
        self.link = None;
        self.is_accepted = false;
        self.inbound.clear();
        self.owed.clear();
        self.open.clear();
        if !self.is_persistent {
            self.sessions += 1;
            self.confirmed = 0;
            self.sending.clear();
            self.half_received.clear();
        }
    }

    pub(super) fn publish(&mut self, random: &mut Random, ledger: &mut Ledger, links: &mut [Link]) {
        if !self.is_accepted || self.sending.len() >= usize::from(self.send_maximum) {
            return;
        }
        let mut topic = ["t/1", "t/2", "t/3", "u/2"][random.below(4)];
        let mut qos = Qos::from_u8(random.below(3) as u8).unwrap_or_default();
        if random.chance(15) {
            // One publisher each and one QoS, so that it is known which is the last.
            let place = if random.chance(40) { RETAINED.len() - 1 } else { self.number };
            (topic, qos) = (RETAINED[place], Qos::AtLeastOnce);
        }
        let note = ledger.published(self, topic, qos);
        if qos == Qos::AtMostOnce {
            self.send_publish(links, note, None, false);
            return;
        }
        let id = self.free_id();
        self.sending.insert(self.sends, Sending { id, note, is_released: false });
        self.sends += 1;
        self.send_publish(links, note, Some(id), false);
    }

    fn free_id(&mut self) -> PacketId {
        loop {
            self.next_id = self.next_id % 40 + 1;
            let id = PacketId::new(self.next_id).expect("1 to 40");
            if self.sending.values().all(|sending| sending.id != id) {
                return id;
            }
        }
    }

    fn send_publish(&self, links: &mut [Link], note: Note, packet_id: Option<PacketId>, dup: bool) {
        let payload = note.to_payload();
        self.send(
            links,
            &Packet::Publish(Publish {
                dup,
                qos: note.qos,
                retain: RETAINED.contains(&note.topic),
                topic: Some(TopicName::parse(note.topic).expect("topics of the world are legal")),
                packet_id,
                properties: Properties::EMPTY,
                payload: payload.as_bytes(),
            }),
        );
    }

    /// Bytes came from the broker.
    pub(super) fn receive(&mut self, bytes: &[u8], links: &mut [Link], ledger: &mut Ledger) {
        self.inbound.extend_from_slice(bytes);
        loop {
            let inbound = std::mem::take(&mut self.inbound);
            let Ok(FrameStatus::Complete(frame)) = frame(&inbound, u32::MAX) else {
                self.inbound = inbound;
                return;
            };
            let len = frame.len;
            let packet = decode(frame, self.version).expect("the broker sends packets that decode");
            self.handle(&packet, links, ledger);
            if self.link.is_none() {
                return;
            }
            self.inbound = inbound[len..].to_vec();
        }
    }

    fn handle(&mut self, packet: &Packet<'_>, links: &mut [Link], ledger: &mut Ledger) {
        match packet {
            Packet::ConnAck(connack) => {
                assert_eq!(connack.reason, Reason::Success);
                let is_told = self.version > Version::V3_1;
                if is_told && self.is_persistent && self.has_been_accepted && !connack.session_present {
                    ledger.lost_session(self.number);
                }
                self.has_been_accepted = true;
                self.accepted(connack.properties, links, ledger);
            }
            Packet::SubAck(suback) => {
                assert!(suback.reasons.iter().all(|reason| !reason.is_error()));
                self.confirmed = self.filters.len();
            }
            Packet::Publish(publish) => self.take(publish, ledger),
            Packet::PubAck(PubAck { packet_id, .. }) | Packet::PubComp(PubComp { packet_id, .. }) => {
                self.finish(*packet_id, ledger);
            }
            Packet::PubRec(PubRec { packet_id, .. }) => {
                if let Some(sending) = self.sending.values_mut().find(|s| s.id == *packet_id) {
                    sending.is_released = true;
                    let note = sending.note;
                    ledger.acknowledged(note);
                }
                self.send_pubrel(links, *packet_id);
            }
            Packet::PubRel(PubRel { packet_id, .. }) => {
                self.half_received.remove(packet_id);
                self.owed.push_back(Owed::Complete(*packet_id));
            }
            // Taken over by itself: the new link is the one that counts, and this one is gone.
            Packet::Disconnect(_) => self.disconnected(),
            other => panic!("a client got {other:?}"),
        }
    }

    fn accepted(&mut self, properties: Properties<'_>, links: &mut [Link], ledger: &mut Ledger) {
        self.is_accepted = true;
        self.send_maximum = properties.receive_maximum().unwrap_or(5).min(5);
        if self.confirmed < self.filters.len() {
            let options = |qos| SubscriptionOptions { qos, ..Default::default() };
            let filter = |text| TopicFilter::parse(text).expect("filters of the world are legal");
            self.send(
                links,
                &Packet::Subscribe(Subscribe {
                    packet_id: PacketId::new(100).expect("not 0"),
                    properties: Properties::EMPTY,
                    filters: self.filters.iter().map(|(f, qos)| (filter(f), options(*qos))).collect(),
                }),
            );
        }
        // [MQTT-4.4.0-1] Everything unfinished again, in order.
        for sending in self.sending.clone().into_values() {
            match sending.is_released {
                true => self.send_pubrel(links, sending.id),
                false => {
                    ledger.repeated(sending.note);
                    self.send_publish(links, sending.note, Some(sending.id), true);
                }
            }
        }
    }

    fn send_pubrel(&self, links: &mut [Link], packet_id: PacketId) {
        let (reason, properties) = (Reason::Success, Properties::EMPTY);
        self.send(links, &Packet::PubRel(PubRel { packet_id, reason, properties }));
    }

    fn finish(&mut self, id: PacketId, ledger: &mut Ledger) {
        let Some((&place, sending)) = self.sending.iter().find(|(_, sending)| sending.id == id) else {
            return;
        };
        ledger.acknowledged(sending.note);
        self.sending.remove(&place);
    }

    /// A message came.
    fn take(&mut self, publish: &Publish<'_>, ledger: &mut Ledger) {
        let note = Note::from_payload(publish.payload);
        let Some(id) = publish.packet_id else {
            ledger.delivered(self.number, note, publish.qos);
            return;
        };
        self.open.insert(id);
        self.open_most = self.open_most.max(self.open.len());
        match publish.qos {
            Qos::ExactlyOnce => {
                // [MQTT-4.3.3-2]
                if self.half_received.insert(id) {
                    ledger.delivered(self.number, note, publish.qos);
                }
                self.owed.push_back(Owed::Received(id));
            }
            _ => {
                ledger.delivered(self.number, note, publish.qos);
                self.owed.push_back(Owed::Ack(id));
            }
        }
    }

    /// Sends one acknowledgement that it owes.
    pub(super) fn acknowledge(&mut self, random: &mut Random, links: &mut [Link]) {
        let most = random.between(1, 3);
        for _ in 0..most {
            self.acknowledge_one(links);
        }
    }

    pub(super) fn acknowledge_all(&mut self, links: &mut [Link]) -> bool {
        let mut has_any = false;
        while self.acknowledge_one(links) {
            has_any = true;
        }
        has_any
    }

    fn acknowledge_one(&mut self, links: &mut [Link]) -> bool {
        let Some(owed) = self.owed.pop_front() else { return false };
        let (reason, properties) = (Reason::Success, Properties::EMPTY);
        match owed {
            Owed::Ack(packet_id) => {
                self.open.remove(&packet_id);
                self.send(links, &Packet::PubAck(PubAck { packet_id, reason, properties }));
            }
            Owed::Received(packet_id) => {
                self.send(links, &Packet::PubRec(PubRec { packet_id, reason, properties }));
            }
            Owed::Complete(packet_id) => {
                self.open.remove(&packet_id);
                self.send(links, &Packet::PubComp(PubComp { packet_id, reason, properties }));
            }
        }
        true
    }
}
