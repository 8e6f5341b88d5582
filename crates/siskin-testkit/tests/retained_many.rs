//! A hundred thousand retained messages for one subscription: all of them, each once, at the client's pace.

use siskin_core::Limits;
use siskin_proto::{Packet, PingReq, Property, Qos, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 2] = [Version::V3_1_1, Version::V5];

const MESSAGES: usize = 100_000;

/// As many messages as may be on their way to the client without an answer.
const WINDOW: usize = 20;

/// A broker full of retained messages, whose queues hold next to nothing.
fn broker(version: Version) -> Broker {
    let broker = Broker::limited(|limits: &mut Limits| {
        limits.queue_messages_max = 5;
        if !version.is_v5() {
            limits.inflight_max = WINDOW as u16;
        }
    });
    let publisher = broker.client(version, "publisher");
    for n in 0..MESSAGES {
        let topic = format!("r/{}/{}", n % 97, n / 97);
        publisher.retain(&topic, n.to_string().as_bytes(), Qos::AtLeastOnce);
    }
    publisher.disconnect();
    broker
}

/// A client with that window; its session lasts.
fn client(broker: &Broker, version: Version) -> Client {
    let properties = [Property::SessionExpiryInterval(600), Property::ReceiveMaximum(WINDOW as u16)];
    let properties: &[_] = if version.is_v5() { &properties } else { &[] };
    broker.client_with(version, "c", |connect| connect.clean_start = false, properties)
}

/// Which messages came, of those that must.
struct Seen(Vec<bool>);

impl Seen {
    fn none() -> Self {
        Self(vec![false; MESSAGES])
    }

    fn note(&mut self, got: &Delivered) {
        let n: usize = std::str::from_utf8(&got.payload).expect("text").parse().expect("a number");
        assert!(got.retain && !got.dup);
        assert_eq!((&got.topic, got.qos), (&format!("r/{}/{}", n % 97, n / 97), Qos::AtLeastOnce));
        assert!(!std::mem::replace(&mut self.0[n], true), "{n} came twice");
    }

    #[track_caller]
    fn expect_all(&self, broker: &Broker) {
        let missing = self.0.iter().filter(|seen| !**seen).count();
        assert_eq!(missing, 0, "of {MESSAGES} never came");
        assert_eq!(broker.totals().dropped_queue_full, 0);
    }
}

#[test]
fn all_retained_messages_come_each_once_and_never_more_than_the_window_at_a_time() {
    for version in VERSIONS {
        let broker = broker(version);
        let client = client(&broker, version);
        client.subscribe("r/#", Qos::AtLeastOnce);
        let mut seen = Seen::none();
        let mut open = std::collections::VecDeque::new();
        loop {
            open.extend(client.receive_publishes());
            assert!(open.len() <= WINDOW);
            let Some(got) = open.pop_front() else { break };
            seen.note(&got);
            client.acknowledge(&got);
        }
        seen.expect_all(&broker);
    }
}

#[test]
fn as_many_live_messages_as_the_client_takes_neither_stop_the_retained_ones_nor_are_stopped() {
    for version in VERSIONS {
        let broker = broker(version);
        let client = client(&broker, version);
        client.subscribe("live/+", Qos::AtLeastOnce);
        client.subscribe("r/#", Qos::AtLeastOnce);
        let publisher = broker.client(version, "p");
        let mut seen = Seen::none();
        let (mut lives, mut next, mut turns) = (0, 0, 0);
        let mut open = std::collections::VecDeque::new();
        loop {
            open.extend(client.receive_publishes());
            assert!(open.len() <= WINDOW);
            let Some(got) = open.pop_front() else { break };
            if got.topic == "live/x" {
                assert_eq!(got.payload, lives.to_string().as_bytes(), "in order, and none is missing");
                assert!(!got.retain);
                lives += 1;
            } else {
                seen.note(&got);
            }
            turns += 1;
            // Nearly every second message is a live one.
            if turns % 9 < 4 && next < MESSAGES / 2 {
                publisher.publish("live/x", next.to_string().as_bytes(), Qos::AtLeastOnce);
                next += 1;
            }
            client.acknowledge(&got);
        }
        seen.expect_all(&broker);
        assert_eq!(lives, next);
        assert!(lives > MESSAGES / 3, "{lives} live messages are too few to show anything");
    }
}

#[test]
fn live_messages_that_never_pause_do_not_keep_the_retained_ones_from_coming() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| {
            limits.inflight_max = WINDOW as u16;
            limits.queue_messages_max = 50;
        });
        let publisher = broker.client(version, "p");
        (0..100).for_each(|n| _ = publisher.retain(&format!("r/{n}"), b"x", Qos::AtLeastOnce));
        let client = broker.client(version, "c");
        client.subscribe("live", Qos::AtLeastOnce);
        client.subscribe("r/+", Qos::AtLeastOnce);
        let mut open = std::collections::VecDeque::new();
        let (mut retained, mut lives) = (0, 0);
        // One live message for each that the client takes: there is always one that waits.
        for _ in 0..10_000 {
            publisher.publish("live", b"x", Qos::AtLeastOnce);
            open.extend(client.receive_publishes());
            let got = open.pop_front().expect("it goes on");
            if got.retain {
                retained += 1;
            } else {
                lives += 1;
            }
            client.acknowledge(&got);
        }
        assert_eq!(retained, 100, "{version}");
        assert!(lives > 9_000, "{lives}");
    }
}

#[test]
fn the_end_of_the_retained_messages_does_not_stop_the_queue() {
    for version in VERSIONS {
        for retained in 0..4 {
            let broker = Broker::limited(|limits| limits.inflight_max = 1);
            let publisher = broker.client(version, "p");
            (0..retained).for_each(|n| _ = publisher.retain(&format!("r/{n}"), b"x", Qos::AtLeastOnce));
            // So that it is not plain at once that there are no more.
            publisher.retain("z", b"x", Qos::AtLeastOnce);
            let client = broker.client(version, "c");
            client.subscribe("live", Qos::AtLeastOnce);
            client.subscribe("r/+", Qos::AtLeastOnce);
            (0..200).for_each(|_| _ = publisher.publish("live", b"x", Qos::AtLeastOnce));
            let mut count = 0;
            while let Some(received) = client.try_receive() {
                client.acknowledge(&received.publish());
                count += 1;
            }
            assert_eq!(count, retained + 200, "{version} {retained}");
        }
    }
}

#[test]
fn a_connection_that_breaks_again_and_again_gets_the_rest_after_each_return() {
    for version in VERSIONS {
        let broker = broker(version);
        let mut client = client(&broker, version);
        client.subscribe("r/#", Qos::AtLeastOnce);
        let mut seen = Seen::none();
        let mut unanswered: Vec<Delivered> = Vec::new();
        let mut open: std::collections::VecDeque<Delivered> = client.receive_publishes().into();
        for turn in 1.. {
            let Some(got) = open.pop_front() else { break };
            seen.note(&got);
            client.acknowledge(&got);
            open.extend(client.receive_publishes());
            if turn % 9973 != 0 {
                continue;
            }
            client.cut();
            unanswered.extend(open.drain(..));
            broker.advance_s(1);
            client = self::client(&broker, version);
            // First what was on its way, again and under the same ids; then the rest.
            let mut back = client.receive_publishes();
            assert!(back.len() <= WINDOW);
            for (old, mut again) in unanswered.drain(..).zip(back.drain(..)) {
                assert!(again.dup);
                assert_eq!((&again.topic, again.packet_id), (&old.topic, old.packet_id));
                again.dup = false;
                open.push_back(again);
            }
            open.extend(back);
        }
        seen.expect_all(&broker);
    }
}

#[test]
fn a_slow_reader_gets_all_of_them_at_qos_0_too() {
    for version in VERSIONS {
        let broker = broker(version);
        let client = client(&broker, version);
        client.stall_after(10_000);
        client.subscribe("r/#", Qos::AtMostOnce);
        let mut seen = vec![false; MESSAGES];
        let mut count = 0;
        loop {
            let received = client.receive_all();
            let is_publish = |received: &&Received| matches!(received.packet(), Packet::Publish(_));
            let got: Vec<_> = received.iter().filter(is_publish).map(Received::publish).collect();
            for got in &got {
                let n: usize = std::str::from_utf8(&got.payload).expect("text").parse().expect("a number");
                assert_eq!((got.qos, got.retain), (Qos::AtMostOnce, true));
                assert!(!std::mem::replace(&mut seen[n], true), "{n} came twice");
            }
            count += got.len();
            assert!(got.len() < 1000, "that was no slow reader");
            if got.is_empty() {
                break;
            }
            // Anything that the broker has to say to it makes it look at the transport again.
            client.stall_after(10_000);
            client.send(&Packet::PingReq(PingReq));
        }
        assert_eq!(count, MESSAGES);
        assert_eq!(broker.totals().dropped_slow_reader, 0);
    }
}
