//! Whether what is retained is what was acknowledged last, or sent later.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use siskin_proto::{
    Packet, PacketId, Properties, Publish, Subscribe, SubscriptionOptions, TopicFilter, Version, decode,
};

use super::connection::{Connection, Identity, Lost, TURN};
use super::ledger::Value;
use super::message::{LOAD_FILTER, Message, TOPICS, topic};
use super::publisher;
use super::world::World;
use crate::cli::client::packets;

/// Asks for everything that is retained, as a new client, and compares. It waits for values that are due
/// until for `limit` none has come.
pub(super) fn check(life: u32, limit: Duration, world: &World) -> Result<(), Lost> {
    // What is acknowledged from here on may come or not.
    let before = values(world);
    let found = ask(&before, limit, world)?;
    let after = values(world);
    let mut ledger = world.ledger();
    for (publisher, (before, after)) in before.iter().zip(&after).enumerate() {
        for index in 0..TOPICS {
            let Some(least) = before[index].acknowledged else { continue };
            let value = found.get(&(publisher, index)).copied();
            ledger.tally.retained_checked += 1;
            if value < Some(least) || value > after[index].sent {
                let (topic, kills) = (topic(publisher, index), life - 1);
                let name = publisher::name(publisher);
                let found = value.map_or("nothing".to_owned(), |value| format!("message {value}"));
                ledger.findings.retained.note(|| {
                    format!("{topic} has {found} instead of message {least} of {name}, after kill {kills}")
                });
            }
        }
    }
    Ok(())
}

fn values(world: &World) -> Vec<[Value; TOPICS]> {
    let ledger = world.ledger();
    (0..ledger.publishers()).map(|publisher| ledger.retained(publisher)).collect()
}

type Found = BTreeMap<(usize, usize), u64>;

fn ask(due: &[[Value; TOPICS]], limit: Duration, world: &World) -> Result<Found, Lost> {
    let client_id = CLIENT_ID;
    let identity = Identity { client_id, version: Version::V5, is_clean: true, will: None };
    let mut connection = Connection::open(world.address, &identity)?;
    let filter = TopicFilter::parse(LOAD_FILTER).expect("it is a filter");
    connection.send(&Packet::Subscribe(Subscribe {
        packet_id: PacketId::new(1).expect("it is not 0"),
        properties: Properties::EMPTY,
        filters: vec![(filter, SubscriptionOptions::default())],
    }));
    let mut found = Found::new();
    let mut progress = Instant::now();
    while is_missing(due, &found) && progress.elapsed() < limit {
        let bytes = connection.receive(TURN)?;
        for frame in packets(&bytes) {
            if let Packet::Publish(publish) = decode(frame, connection.version())?
                && let Some(message) = retained(&publish, world)
            {
                found.insert((message.publisher, message.topic_index()), message.sequence);
                progress = Instant::now();
            }
        }
    }
    connection.leave();
    Ok(found)
}

/// What comes as it is published has no RETAIN.
fn retained(publish: &Publish<'_>, world: &World) -> Option<Message> {
    let topic = publish.topic.filter(|_| publish.retain)?;
    Message::parse(topic.as_str(), publish.payload, world.payload_size)
}

fn is_missing(due: &[[Value; TOPICS]], found: &Found) -> bool {
    due.iter().enumerate().any(|(publisher, values)| {
        let is_due = |(index, value): (usize, &Value)| {
            value.acknowledged.is_some() && !found.contains_key(&(publisher, index))
        };
        values.iter().enumerate().any(is_due)
    })
}

/// The client that asks.
pub(super) const CLIENT_ID: &str = "siskin-verify-retained";
