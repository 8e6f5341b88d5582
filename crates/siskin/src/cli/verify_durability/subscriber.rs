//! A subscriber with a session of its own. It speaks QoS 2 as it should: the packet ids of what it has
//! received outlive the connection, so that the broker may send again whatever was not completed.

use std::time::{Duration, Instant};

use siskin_proto::delivery::{Arrival, Receiver};
use siskin_proto::{
    Packet, PacketId, Properties, PubAck, PubComp, PubRec, Publish, Qos, RetainHandling, Subscribe,
    SubscriptionOptions, TopicFilter, Version, decode,
};

use super::connection::{Connection, Lost, TURN, unexpected};
use super::dice::Dice;
use super::ledger::Will;
use super::message::{LOAD_FILTER, Message, WILL_FILTER};
use super::session::Session;
use super::world::{Phase, World};
use crate::cli::client::packets;

pub(super) struct Subscriber<'a> {
    world: &'a World,
    /// Its number among the subscribers.
    number: usize,
    /// Its number among all clients.
    client: usize,
    session: Session,
    is_subscribed: bool,
    inbound: Receiver,
    dice: Dice,
}

impl<'a> Subscriber<'a> {
    pub(super) fn new(world: &'a World, number: usize, client: usize) -> Self {
        let session = Session::new(format!("siskin-verify-subscriber-{number}"), kind(number).1);
        let (inbound, dice) = (Receiver::new(), Dice::new(world.seed, client as u64));
        Self { world, number, client, session, is_subscribed: false, inbound, dice }
    }

    /// Receives until the run ends.
    pub(super) fn run(mut self) {
        let mut away_in = 0;
        while let Some(life) = self.world.wait_for_broker(Phase::Setup) {
            if away_in == life && self.world.phase() < Phase::Drain {
                self.world.wait_for_kill(life, Phase::Drain);
                continue;
            }
            let stay = self.stay(life);
            if stay == Stay::Away {
                away_in = life;
                continue;
            }
            match self.connect(life, stay) {
                Ok(()) => away_in = life,
                Err(lost) => lost.note(&name(self.number), self.world),
            }
        }
    }

    /// How long to be connected in this life of the broker.
    fn stay(&mut self, life: u32) -> Stay {
        if !is_often_away(self.number) || self.world.phase() >= Phase::Drain {
            Stay::UntilKilled
        } else if !self.is_subscribed {
            Stay::UntilSubscribed
        } else if life == 1 || self.dice.within(0..=2) > 0 {
            // Away over several kills, it has much to fetch when it comes back.
            Stay::Away
        } else {
            // Perhaps long enough to fetch it all, perhaps only to begin with it.
            Stay::Until(Instant::now() + Duration::from_millis(self.dice.within(20..=600)))
        }
    }

    fn is_over(&self, stay: Stay) -> bool {
        match self.world.phase() {
            Phase::End => true,
            Phase::Drain => false,
            _ => match stay {
                Stay::Away => true,
                Stay::UntilSubscribed => self.is_subscribed,
                Stay::Until(end) => end <= Instant::now(),
                Stay::UntilKilled => false,
            },
        }
    }

    /// One connection, until it is over by itself.
    fn connect(&mut self, life: u32, stay: Stay) -> Result<(), Lost> {
        let mut connection = Connection::open(self.world.address, &self.session.identity())?;
        if self.session.is_lost(&connection, life, self.world) {
            self.inbound = Receiver::new();
            self.is_subscribed = false;
        }
        self.inbound.connected(u16::MAX);
        if !self.is_subscribed {
            self.subscribe(&mut connection);
        }
        while !self.is_over(stay) {
            let bytes = connection.receive(TURN)?;
            for frame in packets(&bytes) {
                let packet = decode(frame, connection.version())?;
                self.handle(&packet, life, &mut connection)?;
            }
        }
        connection.flush()?;
        // Half of them in good order, half without a word: the session stays either way.
        if self.dice.within(0..=1) == 0 {
            connection.leave();
        } else {
            connection.vanish();
        }
        Ok(())
    }

    fn subscribe(&mut self, connection: &mut Connection) {
        let options = SubscriptionOptions {
            qos: kind(self.number).0,
            retain_handling: if connection.version().is_v5() {
                RetainHandling::DoNotSend
            } else {
                RetainHandling::SendAtSubscribe
            },
            ..SubscriptionOptions::default()
        };
        let filter = |text| (TopicFilter::parse(text).expect("it is a filter"), options);
        let filters = vec![filter(LOAD_FILTER), filter(WILL_FILTER)];
        connection.send(&Packet::Subscribe(Subscribe {
            packet_id: PacketId::new(1).expect("it is not 0"),
            properties: Properties::EMPTY,
            filters,
        }));
    }

    fn handle(&mut self, packet: &Packet<'_>, life: u32, connection: &mut Connection) -> Result<(), Lost> {
        match packet {
            Packet::Publish(publish) => self.handle_publish(publish, connection),
            Packet::PubRel(pubrel) => {
                self.inbound.release(pubrel.packet_id);
                connection.send(&Packet::PubComp(PubComp::success(pubrel.packet_id)));
                Ok(())
            }
            Packet::SubAck(suback) => {
                if let Some(reason) = suback.reasons.iter().find(|reason| reason.is_error()) {
                    return Err(Lost::Misbehaved(format!("SUBSCRIBE was refused: {reason}")));
                }
                self.is_subscribed = true;
                self.world.mark(self.client, life);
                Ok(())
            }
            packet => Err(unexpected(packet)),
        }
    }

    fn handle_publish(&mut self, publish: &Publish<'_>, connection: &mut Connection) -> Result<(), Lost> {
        match (publish.qos, publish.packet_id) {
            (Qos::ExactlyOnce, Some(id)) => {
                match self.inbound.publish(id) {
                    Arrival::New => self.take(publish),
                    Arrival::Again => {}
                    Arrival::TooMany => {
                        return Err(Lost::Misbehaved("it sends more at once than it may".to_owned()));
                    }
                }
                connection.send(&Packet::PubRec(PubRec::success(id)));
            }
            (_, Some(id)) => {
                self.take(publish);
                connection.send(&Packet::PubAck(PubAck::success(id)));
            }
            (_, None) => self.world.ledger().deliver_foreign(self.number, "came at QoS 0"),
        }
        Ok(())
    }

    fn take(&self, publish: &Publish<'_>) {
        // What is retained comes when one subscribes, which is beside the account.
        if publish.retain {
            return;
        }
        let topic = publish.topic.map_or("", |topic| topic.as_str());
        let mut ledger = self.world.ledger();
        if let Some(message) = Message::parse(topic, publish.payload, self.world.payload_size) {
            ledger.deliver(self.number, message);
        } else if let Some(will) = Will::parse(topic, publish.payload) {
            ledger.deliver_will(self.number, will);
        } else {
            ledger.deliver_foreign(self.number, &format!("on {topic} is not whole"));
        }
    }
}

/// How long a subscriber is connected, at most until the broker is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stay {
    Away,
    UntilSubscribed,
    Until(Instant),
    UntilKilled,
}

/// QoS and version of a subscriber.
pub(super) fn kind(number: usize) -> (Qos, Version) {
    match number % 4 {
        0 => (Qos::ExactlyOnce, Version::V5),
        1 => (Qos::ExactlyOnce, Version::V3_1_1),
        2 => (Qos::AtLeastOnce, Version::V5),
        _ => (Qos::ExactlyOnce, Version::V3_1_1),
    }
}

/// Two of four are away most of the time.
fn is_often_away(number: usize) -> bool {
    number % 4 >= 2
}

/// A subscriber in the words of the report.
pub(super) fn name(number: usize) -> String {
    let (qos, version) = kind(number);
    let often = if is_often_away(number) { ", often away" } else { "" };
    format!("subscriber {number} (QoS {}, MQTT {version}{often})", qos as u8)
}
