//! A publisher with a session of its own: what is unacknowledged when the broker dies is sent again, under
//! the same packet id and in the same order.

use std::time::{Duration, Instant};

use siskin_proto::delivery::{Acked, Resend, Sender};
use siskin_proto::{Packet, PacketId, Properties, PubRel, Publish, Qos, Reason, TopicName, Version, decode};

use super::connection::{Connection, Lost, TURN, unexpected};
use super::message::Message;
use super::session::Session;
use super::world::{Phase, World};
use crate::cli::client::packets;

pub(super) struct Publisher<'a> {
    world: &'a World,
    /// Its number among the publishers and among all clients.
    number: usize,
    session: Session,
    qos: Qos,
    /// Between two messages.
    interval: Duration,
    outbound: Sender<Message>,
    /// The life in which an acknowledgement last came.
    marked: u32,
}

/// Messages on their way to the broker at once.
const WINDOW: u16 = 32;

impl<'a> Publisher<'a> {
    pub(super) fn new(world: &'a World, number: usize, interval: Duration) -> Self {
        let (qos, version) = kind(number);
        let session = Session::new(client_id(number), version);
        Self { world, number, session, qos, interval, outbound: Sender::new(), marked: 0 }
    }

    /// Publishes until the load ends and everything is acknowledged.
    pub(super) fn run(mut self) {
        while let Some(life) = self.world.wait_for_broker(Phase::Load) {
            match self.connect(life) {
                Ok(()) => return self.world.finish(),
                Err(lost) => lost.note(&name(self.number), self.world),
            }
            self.outbound.disconnected();
        }
    }

    /// One connection, until everything is done.
    fn connect(&mut self, life: u32) -> Result<(), Lost> {
        let mut connection = Connection::open(self.world.address, &self.session.identity())?;
        if self.session.is_lost(&connection, life, self.world) {
            // The broker knows nothing of the ids: the messages are given up, and may have come or not.
            self.outbound = Sender::new();
        }
        self.outbound.connected(connection.receive_maximum.min(WINDOW));
        let mut next = Instant::now();
        loop {
            self.send_again(&mut connection);
            let phase = self.world.phase();
            let now = Instant::now();
            while phase == Phase::Load && next <= now && self.outbound.is_ready() {
                self.publish(&mut connection);
                next += self.interval;
            }
            if phase > Phase::Load && self.outbound.open() == 0 || phase == Phase::End {
                connection.leave();
                return Ok(());
            }
            let wait = if self.outbound.is_ready() && phase == Phase::Load { next - now } else { TURN };
            let bytes = connection.receive(wait.min(TURN))?;
            for frame in packets(&bytes) {
                let packet = decode(frame, connection.version())?;
                self.handle(&packet, life, &mut connection)?;
            }
            // A window that was full is no reason to make up for it by a burst.
            next = next.max(now.checked_sub(TURN).unwrap_or(now));
        }
    }

    fn publish(&mut self, connection: &mut Connection) {
        let message = self.world.ledger().send(self.number);
        if let Ok(id) = self.outbound.send(message, self.qos) {
            send(message, self.qos, id, false, self.world.payload_size, connection);
        }
    }

    /// Sends what an earlier connection left open. [MQTT-4.4.0-1]
    fn send_again(&mut self, connection: &mut Connection) {
        while let Some(again) = self.outbound.resend() {
            match again {
                Resend::Release(id) => connection.send(&Packet::PubRel(PubRel::success(id))),
                Resend::Publish(id, qos, message) => {
                    send(*message, qos, id, true, self.world.payload_size, connection);
                }
            }
        }
    }

    fn handle(&mut self, packet: &Packet<'_>, life: u32, connection: &mut Connection) -> Result<(), Lost> {
        match packet {
            Packet::PubAck(puback) => {
                if let Acked::Finished(Some(message)) = self.outbound.puback(puback.packet_id) {
                    self.taken_over(message, puback.reason, life);
                }
            }
            Packet::PubRec(pubrec) => {
                let id = pubrec.packet_id;
                match self.outbound.pubrec(id, pubrec.reason.is_error()) {
                    Acked::Release(message) => {
                        self.taken_over(message, pubrec.reason, life);
                        connection.send(&Packet::PubRel(PubRel::success(id)));
                    }
                    Acked::Finished(Some(message)) => self.taken_over(message, pubrec.reason, life),
                    Acked::ReleaseAgain => connection.send(&Packet::PubRel(PubRel::success(id))),
                    Acked::Finished(None) | Acked::Unknown => {
                        let reason = Reason::PacketIdentifierNotFound;
                        let properties = Properties::EMPTY;
                        connection.send(&Packet::PubRel(PubRel { packet_id: id, reason, properties }));
                    }
                }
            }
            // Whatever its reason code: if the broker has forgotten the id, it has finished it before.
            Packet::PubComp(pubcomp) => drop(self.outbound.pubcomp(pubcomp.packet_id)),
            packet => return Err(unexpected(packet)),
        }
        Ok(())
    }

    /// The broker has said what becomes of a message.
    fn taken_over(&mut self, message: Message, reason: Reason, life: u32) {
        let mut ledger = self.world.ledger();
        if reason.is_error() {
            let name = name(self.number);
            return ledger
                .findings
                .refused
                .note(|| format!("{name}, message {}: {reason}", message.sequence));
        }
        ledger.acknowledge(message, self.world.now_ms());
        drop(ledger);
        if self.marked != life {
            self.marked = life;
            self.world.mark(self.number, life);
        }
    }
}

fn send(message: Message, qos: Qos, id: PacketId, dup: bool, size: usize, connection: &mut Connection) {
    let (topic, payload) = (message.topic(), message.payload(size));
    connection.send(&Packet::Publish(Publish {
        dup,
        qos,
        retain: message.retain(),
        topic: Some(TopicName::parse(&topic).expect("the topics of the load have no wildcard")),
        packet_id: Some(id),
        properties: Properties::EMPTY,
        payload: &payload,
    }));
}

/// QoS and version of a publisher: each combination in turn.
pub(super) fn kind(number: usize) -> (Qos, Version) {
    match number % 4 {
        0 => (Qos::AtLeastOnce, Version::V5),
        1 => (Qos::ExactlyOnce, Version::V5),
        2 => (Qos::AtLeastOnce, Version::V3_1_1),
        _ => (Qos::ExactlyOnce, Version::V3_1_1),
    }
}

/// A publisher in the words of the report.
pub(super) fn name(number: usize) -> String {
    let (qos, version) = kind(number);
    format!("publisher {number} (QoS {}, MQTT {version})", qos as u8)
}

fn client_id(number: usize) -> String {
    format!("siskin-verify-publisher-{number}")
}
