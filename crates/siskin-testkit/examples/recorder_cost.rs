//! What the flight recorder costs: the same work by two brokers in memory, one with it and one without, in turns.
//!
//! ```sh
//! cargo run --release -p siskin-testkit --example recorder_cost
//! ```
//!
//! For each kind of work it prints the fastest of many batches, which is what the processor needs when nothing else
//! is in the way.

#![allow(clippy::print_stdout)] // It is there to say what it measured.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use siskin_core::Limits;
use siskin_proto::{Qos, Version};
use siskin_testkit::{Broker, Client};

fn main() {
    println!("{:<36}{:>12}{:>12}{:>9}", "nanoseconds each", "without", "with", "");
    compare("QoS 0 message to 1 subscriber", |broker| messages(broker, Qos::AtMostOnce, 1));
    compare("QoS 1 message to 1 subscriber", |broker| messages(broker, Qos::AtLeastOnce, 1));
    compare("QoS 0 message to 100 subscribers", |broker| messages(broker, Qos::AtMostOnce, 100));
    compare("connection, subscription, end", connections);
}

type Work = Box<dyn Fn()>;

fn compare(name: &str, work: impl Fn(&Broker) -> Work) {
    let broker = |recorder_enabled| {
        Broker::forgetful(1, Limits { recorder_enabled, sys_interval_s: 0, ..Limits::default() })
    };
    let works = [false, true].map(|is_on| work(&broker(is_on)));
    let mut fastest = [Duration::MAX; 2];
    for round in 0..ROUNDS {
        for at in [round % 2, (round + 1) % 2] {
            let began = Instant::now();
            (0..BATCH).for_each(|_| works[at]());
            fastest[at] = fastest[at].min(began.elapsed());
        }
    }
    let [without, with] = fastest.map(|time| time.as_nanos() as f64 / f64::from(BATCH));
    println!("{name:<36}{without:>12.0}{with:>12.0}{:>8.1}%", (with / without - 1.0) * 100.0);
}

/// One publisher, some subscribers that take and acknowledge all they get.
fn messages(broker: &Broker, qos: Qos, subscribers: usize) -> Work {
    let publisher = broker.client(Version::V5, "publisher");
    let subscribers: Vec<Client> = (0..subscribers)
        .map(|number| {
            let client = broker.client(Version::V5, &format!("subscriber-{number}"));
            client.subscribe("a/b", qos);
            client
        })
        .collect();
    Box::new(move || {
        publisher.publish("a/b", &[7; 64], qos);
        for subscriber in &subscribers {
            let delivered = subscriber.receive_publish();
            if qos > Qos::AtMostOnce {
                subscriber.acknowledge(&delivered);
            }
        }
    })
}

/// A client that comes, subscribes and leaves, over and over.
fn connections(broker: &Broker) -> Work {
    let broker = broker.clone();
    let last = RefCell::new(broker.client(Version::V5, "client"));
    last.borrow().disconnect();
    Box::new(move || {
        let mut client = broker.open_in_place_of(&last.borrow(), Version::V5);
        client.connect("client", |_| {}, &[]);
        client.subscribe("a/b", Qos::AtLeastOnce);
        client.disconnect();
        drop(broker.events());
        last.replace(client);
    })
}

/// Works in a batch, and batches.
const BATCH: u32 = 200;
const ROUNDS: usize = 400;
