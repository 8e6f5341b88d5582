//! What is told of a few clients of a broker in memory: the samples of `docs/explain.md`.
//!
//! ```sh
//! cargo run -p siskin-testkit --example story
//! ```

#![allow(clippy::print_stdout)] // It is there to tell.

use siskin_core::Limits;
use siskin_core::explain::TopicView;
use siskin_core::recorder::Clock;
use siskin_core::trace::{Amount, Watch, tell};
use siskin_proto::{Connect, Property, Qos, Version};
use siskin_testkit::{Broker, will};

const QOS_1: Qos = Qos::AtLeastOnce;

fn main() {
    let broker = Broker::with(2, Limits { sys_interval_s: 0, queue_messages_max: 100, ..Limits::default() });
    broker.leap_s(1_795_390_000);
    let dashboard = broker.client(Version::V5, "dashboard");
    dashboard.subscribe("plant/#", QOS_1);
    let publisher = broker.client(Version::V3_1_1, "press-2");

    a_sensor(&broker, || {
        for _ in 0..120 {
            publisher.publish("plant/press-2/load", b"0.7", QOS_1);
            broker.advance_ms(700);
        }
    });
    story(&broker, "sensor-17");
    two_with_one_id(&broker);
    story(&broker, "gateway");
    topic(&broker, "plant/press-2/load");

    let number = broker.shared().next_trace();
    broker.ask(|worker| {
        let filter = Some("plant/press-2/#".into());
        worker.arm_trace(Watch { number, filter, client_id: None, amount: Amount::InAll(1) });
    });
    broker.store().hold();
    publisher.send_publish(siskin_testkit::publish("plant/press-2/load", b"0.7", QOS_1, 9));
    broker.advance_ms(3);
    broker.store().release();
    broker.settle();
    broker.advance_ms(40);
    dashboard.receive_publishes().iter().for_each(|delivered| dashboard.acknowledge(delivered));
    let stations = broker.ask(|worker| worker.take_trace(number)).concat();
    println!("-- the way of a message\n\n{}", tell(stations, clock(&broker)));
}

/// A client that falls silent, and what it misses while it is away.
fn a_sensor(broker: &Broker, meanwhile: impl Fn()) {
    let connect = |connect: &mut Connect<'_>| {
        connect.keep_alive_s = 60;
        connect.will = Some(will("plant/sensor-17/state", b"offline", QOS_1));
    };
    let properties = [Property::SessionExpiryInterval(7200)];
    let sensor = broker.client_with(Version::V5, "sensor-17", connect, &properties);
    sensor.subscribe("plant/press-2/#", QOS_1);
    broker.advance_s(90);
    meanwhile();
    broker.advance_s(250);
}

/// Two clients with one id, each of which comes back when the other takes its session.
fn two_with_one_id(broker: &Broker) {
    for _ in 0..4 {
        broker.persistent(Version::V3_1_1, "gateway");
        broker.advance_ms(1200);
    }
}

fn story(broker: &Broker, client_id: &str) {
    let story = broker.story(client_id).expect("it was connected");
    println!("-- {client_id}\n\n{}", story.tell(clock(broker), &Limits::default()));
}

fn topic(broker: &Broker, topic: &str) {
    let views = broker.ask(|worker| worker.explain_topic(topic, None, 100));
    let mut all = TopicView::default();
    for view in views.into_iter().flatten() {
        if all.topic.is_empty() {
            all = view;
        } else {
            all.join(view);
        }
    }
    println!("-- {topic}\n\n{}", all.tell());
}

fn clock(broker: &Broker) -> Clock {
    Clock { now: broker.now(), utc_offset_s: 0 }
}
