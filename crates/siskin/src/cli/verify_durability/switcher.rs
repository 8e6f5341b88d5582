//! A client that subscribes and unsubscribes all the time. After each kill it publishes to every topic
//! itself: what was acknowledged last, SUBSCRIBE or UNSUBSCRIBE, must be in force.

use std::time::{Duration, Instant};

use siskin_proto::{
    Packet, PacketId, Properties, PubAck, Publish, Qos, Reason, Subscribe, SubscriptionOptions, TopicFilter,
    TopicName, Unsubscribe, Version, decode,
};

use super::connection::{Connection, Lost, TURN, unexpected};
use super::dice::Dice;
use super::message::number;
use super::session::Session;
use super::world::{Phase, World};
use crate::cli::client::packets;

pub(super) struct Switcher<'a> {
    world: &'a World,
    /// Its number among all clients.
    client: usize,
    session: Session,
    dice: Dice,
    subscriptions: [State; TOPICS],
    /// Counts the checks: what an earlier one has published counts no more.
    round: u64,
    limit: Duration,
}

/// Whether a subscription is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    On,
    Off,
    /// A change was asked for and is not acknowledged.
    Either,
}

const TOPICS: usize = 9;

/// This topic stays subscribed. It is published to last: when that has come, the others have too.
const LAST: usize = TOPICS - 1;

/// What a turn of the connection brought.
#[derive(Default)]
struct Came {
    messages: [bool; TOPICS],
    /// The topic whose SUBSCRIBE or UNSUBSCRIBE was acknowledged, and how.
    acknowledged: Option<(usize, Reason)>,
}

impl<'a> Switcher<'a> {
    /// `limit` is how long a message that is due may take.
    pub(super) fn new(world: &'a World, client: usize, limit: Duration) -> Self {
        let session = Session::new(NAME.to_owned(), Version::V5);
        let dice = Dice::new(world.seed, client as u64);
        Self { world, client, session, dice, subscriptions: [State::Off; TOPICS], round: 0, limit }
    }

    /// Checks and changes subscriptions until the load ends.
    pub(super) fn run(mut self) {
        while let Some(life) = self.world.wait_for_broker(Phase::Setup) {
            match self.connect(life) {
                Ok(()) => break,
                Err(lost) => lost.note(NAME, self.world),
            }
        }
    }

    fn connect(&mut self, life: u32) -> Result<(), Lost> {
        let mut connection = Connection::open(self.world.address, &self.session.identity())?;
        if self.session.is_lost(&connection, life, self.world) {
            for topic in (0..TOPICS).filter(|topic| self.subscriptions[*topic] == State::On) {
                self.note(topic, "was subscribed, and the session is gone", life);
            }
            self.subscriptions = [State::Off; TOPICS];
        }
        if self.subscriptions[LAST] != State::On {
            self.switch(LAST, true, life, &mut connection)?;
        }
        self.check(life, &mut connection)?;
        self.world.mark(self.client, life);
        while self.world.phase() < Phase::Finish {
            let topic = self.dice.within(0..=LAST as u64 - 1) as usize;
            let is_on = self.subscriptions[topic] == State::On;
            self.switch(topic, !is_on, life, &mut connection)?;
            self.turn(PAUSE, &mut connection)?;
        }
        connection.leave();
        Ok(())
    }

    /// Subscribes or unsubscribes, and waits until that is acknowledged.
    fn switch(&mut self, topic: usize, on: bool, life: u32, connection: &mut Connection) -> Result<(), Lost> {
        self.subscriptions[topic] = State::Either;
        let (packet_id, properties, name) = (packet_id(topic), Properties::EMPTY, topic_name(topic));
        let filter = TopicFilter::parse(&name).expect("it is a filter");
        connection.send(&if on {
            let options = SubscriptionOptions { qos: Qos::AtLeastOnce, ..SubscriptionOptions::default() };
            Packet::Subscribe(Subscribe { packet_id, properties, filters: vec![(filter, options)] })
        } else {
            Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters: vec![filter] })
        });
        let began = Instant::now();
        loop {
            match self.turn(TURN, connection)?.acknowledged {
                Some((acknowledged, reason)) if acknowledged == topic => {
                    if reason.is_error() {
                        return Err(Lost::Misbehaved(format!("{name} was refused: {reason}")));
                    }
                    if reason == Reason::NoSubscriptionExisted {
                        self.note(topic, "was subscribed, and UNSUBACK says it was not", life);
                    }
                    self.subscriptions[topic] = if on { State::On } else { State::Off };
                    return Ok(());
                }
                _ if began.elapsed() > self.limit => {
                    return Err(Lost::Misbehaved(format!("no SUBACK or UNSUBACK for {name}")));
                }
                _ => {}
            }
        }
    }

    /// Publishes to every topic, and looks what comes.
    fn check(&mut self, life: u32, connection: &mut Connection) -> Result<(), Lost> {
        self.round += 1;
        for topic in 0..TOPICS {
            self.publish(topic, connection);
        }
        let mut came = [false; TOPICS];
        let mut progress = Instant::now();
        let is_due = |state: State, came: bool| state == State::On && !came;
        while self.subscriptions.iter().zip(came).any(|(state, came)| is_due(*state, came))
            && progress.elapsed() < self.limit
        {
            for (topic, new) in self.turn(TURN, connection)?.messages.into_iter().enumerate() {
                if new && !came[topic] {
                    came[topic] = true;
                    progress = Instant::now();
                }
            }
        }
        for (topic, came) in came.into_iter().enumerate() {
            match (self.subscriptions[topic], came) {
                (State::On, false) => self.note(topic, "was subscribed, and nothing comes", life),
                (State::Off, true) => self.note(topic, "was unsubscribed, and messages come", life),
                (State::On, true) | (State::Off, false) | (State::Either, _) => {}
            }
            let is_known = self.subscriptions[topic] != State::Either;
            self.world.ledger().tally.subscriptions_checked += u64::from(is_known && life > 1);
            self.subscriptions[topic] = if came { State::On } else { State::Off };
        }
        Ok(())
    }

    fn publish(&self, topic: usize, connection: &mut Connection) {
        let (name, payload) = (topic_name(topic), format!("{} ", self.round));
        connection.send(&Packet::Publish(Publish {
            dup: false,
            qos: Qos::AtLeastOnce,
            retain: false,
            topic: Some(TopicName::parse(&name).expect("it has no wildcard")),
            packet_id: Some(packet_id(topic)),
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        }));
    }

    fn turn(&self, wait: Duration, connection: &mut Connection) -> Result<Came, Lost> {
        let mut came = Came::default();
        let bytes = connection.receive(wait)?;
        for frame in packets(&bytes) {
            match decode(frame, connection.version())? {
                Packet::Publish(publish) => {
                    let topic = publish.topic.map_or("", |topic| topic.as_str());
                    let place = (0..TOPICS).find(|place| topic_name(*place) == topic);
                    let round = number(publish.payload).map(|(round, _)| round);
                    if let Some(place) = place.filter(|_| round == Some(self.round)) {
                        came.messages[place] = true;
                    }
                    if let Some(id) = publish.packet_id {
                        connection.send(&Packet::PubAck(PubAck::success(id)));
                    }
                }
                Packet::SubAck(suback) => came.acknowledge(suback.packet_id, &suback.reasons),
                Packet::UnsubAck(unsuback) => came.acknowledge(unsuback.packet_id, &unsuback.reasons),
                Packet::PubAck(_) => {}
                packet => return Err(unexpected(&packet)),
            }
        }
        Ok(came)
    }

    fn note(&self, topic: usize, what: &str, life: u32) {
        let (topic, kills) = (topic_name(topic), life - 1);
        self.world.ledger().findings.subscriptions.note(|| format!("{topic} {what}, after kill {kills}"));
    }
}

impl Came {
    fn acknowledge(&mut self, id: PacketId, reasons: &[Reason]) {
        let topic = usize::from(id.get()) - 1;
        self.acknowledged = Some((topic, reasons.first().copied().unwrap_or(Reason::Success)));
    }
}

fn topic_name(topic: usize) -> String {
    format!("siskin-verify/switch/{topic}")
}

fn packet_id(topic: usize) -> PacketId {
    PacketId::new(topic as u16 + 1).expect("it is not 0")
}

/// As a client, and in the report.
const NAME: &str = "siskin-verify-switcher";

/// Between two changes.
const PAUSE: Duration = Duration::from_millis(3);
