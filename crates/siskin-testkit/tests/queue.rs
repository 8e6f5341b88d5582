//! What waits for a client that is away or slow, and what is dropped at the limits.

use siskin_core::{Dropped, Event, QueueFull};
use siskin_proto::{Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// A session that subscribes to `t` at QoS 2 and is away.
fn absent(broker: &Broker, version: Version) {
    let (subscriber, _) = broker.persistent(version, "s");
    subscriber.subscribe("t", Qos::ExactlyOnce);
    subscriber.cut();
}

/// Comes back and takes everything.
fn take_all(broker: &Broker, version: Version) -> Vec<Delivered> {
    let (subscriber, _) = broker.persistent(version, "s");
    let mut taken = Vec::new();
    while let Some(received) = subscriber.try_receive() {
        let delivered = received.publish();
        match (delivered.qos, delivered.packet_id) {
            (Qos::AtLeastOnce, Some(id)) => subscriber.puback(id),
            (Qos::ExactlyOnce, Some(_)) => panic!("these tests queue QoS 1"),
            _ => {}
        }
        taken.push(delivered);
    }
    subscriber.cut();
    taken
}

fn first_bytes(taken: &[Delivered]) -> Vec<u8> {
    taken.iter().map(|delivered| delivered.payload[0]).collect()
}

#[test]
fn qos_1_and_2_wait_for_an_absent_client_and_qos_0_does_not() {
    for version in VERSIONS {
        let broker = Broker::new();
        absent(&broker, version);
        let publisher = broker.client(version, "p");
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::AtMostOnce, Qos::ExactlyOnce] {
            publisher.publish("t", &[qos as u8], qos);
        }
        let (subscriber, _) = broker.persistent(version, "s");
        let came = subscriber.receive_publishes();
        assert_eq!(first_bytes(&came), [1, 2]);
        assert!(came.iter().all(|m| !m.dup), "they come for the first time");
    }
}

#[test]
fn qos_0_waits_too_if_the_broker_is_told_so() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.queue_qos0 = true);
        absent(&broker, version);
        let publisher = broker.client(version, "p");
        for n in 0..5 {
            publisher.publish("t", &[n], Qos::AtMostOnce);
        }
        let taken = take_all(&broker, version);
        assert_eq!(first_bytes(&taken), [0, 1, 2, 3, 4]);
        assert!(taken.iter().all(|m| m.qos == Qos::AtMostOnce && m.packet_id.is_none()));
    }
}

#[test]
fn a_queue_of_as_many_messages_as_allowed_loses_the_newest() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.queue_messages_max = 3);
        absent(&broker, version);
        let publisher = broker.client(version, "p");
        for n in 0..5 {
            // The publisher's side is done with it all the same.
            assert!(!publisher.publish("t", &[n], Qos::AtLeastOnce).is_error());
            assert_eq!(broker.totals().stored_messages, u64::from(n + 1).min(3));
        }
        assert_eq!(broker.totals().dropped_queue_full, 2);
        assert_eq!(first_bytes(&take_all(&broker, version)), [0, 1, 2]);
        assert_eq!(broker.totals().stored_messages, 0);
        // Room again.
        publisher.publish("t", &[9], Qos::AtLeastOnce);
        assert_eq!(first_bytes(&take_all(&broker, version)), [9]);
    }
}

#[test]
fn a_queue_of_as_many_messages_as_allowed_loses_the_oldest_if_told_so() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| {
            limits.queue_messages_max = 3;
            limits.queue_full = QueueFull::DropOldest;
        });
        absent(&broker, version);
        let publisher = broker.client(version, "p");
        (0..5).for_each(|n| assert!(!publisher.publish("t", &[n], Qos::AtLeastOnce).is_error()));
        assert_eq!((broker.totals().dropped_queue_full, broker.totals().stored_messages), (2, 3));
        assert_eq!(first_bytes(&take_all(&broker, version)), [2, 3, 4]);
    }
}

#[test]
fn a_queue_of_as_many_bytes_as_allowed_drops_the_newest_or_the_oldest() {
    for (queue_full, expected) in [(QueueFull::DropNewest, [0, 1, 2]), (QueueFull::DropOldest, [2, 3, 4])] {
        let broker = Broker::limited(|limits| {
            limits.queue_bytes_max = 35_000;
            limits.queue_full = queue_full;
        });
        absent(&broker, Version::V5);
        let publisher = broker.client(Version::V5, "p");
        (0..5).for_each(|n| assert!(!publisher.publish("t", &[n; 10_000], Qos::AtLeastOnce).is_error()));
        assert_eq!(broker.totals().dropped_queue_full, 2);
        assert!((30_000..=35_000).contains(&broker.totals().stored_bytes));
        assert_eq!(first_bytes(&take_all(&broker, Version::V5)), expected);
        assert_eq!(broker.totals().stored_bytes, 0);
    }
}

#[test]
fn a_message_larger_than_the_whole_queue_drives_nothing_out() {
    for queue_full in [QueueFull::DropNewest, QueueFull::DropOldest] {
        let broker = Broker::limited(|limits| {
            limits.queue_bytes_max = 35_000;
            limits.queue_full = queue_full;
        });
        absent(&broker, Version::V5);
        let publisher = broker.client(Version::V5, "p");
        publisher.publish("t", &[1; 10_000], Qos::AtLeastOnce);
        publisher.publish("t", &[2; 40_000], Qos::AtLeastOnce);
        publisher.publish("t", &[3; 10_000], Qos::AtLeastOnce);
        assert_eq!(broker.totals().dropped_queue_full, 1);
        assert_eq!(first_bytes(&take_all(&broker, Version::V5)), [1, 3]);
    }
}

#[test]
fn drops_are_told_once_a_second_with_their_number() {
    let broker = Broker::limited(|limits| limits.queue_messages_max = 1);
    absent(&broker, Version::V5);
    let publisher = broker.client(Version::V5, "p");
    let drops = || -> Vec<_> {
        let events = broker.events();
        let drop = |event: Event| match event {
            Event::Dropped { client_id, count, why, .. } => Some((client_id.to_string(), count, why)),
            _ => None,
        };
        events.into_iter().filter_map(drop).collect()
    };
    (0..5).for_each(|_| assert_eq!(publisher.publish("t", b"m", Qos::AtLeastOnce), Reason::Success));
    let told = |count| vec![("s".to_owned(), count, Dropped::QueueFull)];
    assert_eq!(drops(), told(1));
    broker.advance_ms(999);
    assert_eq!(drops(), []);
    broker.advance_ms(1);
    assert_eq!(drops(), told(3));
    publisher.publish("t", b"m", Qos::AtLeastOnce);
    assert_eq!(drops(), []);
    broker.advance_s(1);
    assert_eq!(drops(), told(1));
    broker.advance_s(10);
    assert_eq!(drops(), []);
}

#[test]
fn a_reader_that_stops_loses_qos_0_and_the_loss_is_counted() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.out_buffer_bytes_max = 1000);
        let subscriber = broker.client(version, "s");
        subscriber.subscribe("t", Qos::AtMostOnce);
        subscriber.stall_after(0);
        let publisher = broker.client(version, "p");
        for n in 0..50 {
            publisher.publish("t", &[n; 100], Qos::AtMostOnce);
        }
        subscriber.expect_nothing();
        subscriber.resume();
        let came = first_bytes(&subscriber.receive_publishes());
        // Whole packets, the first ones, about as many as fit.
        assert_eq!(came, (0..came.len() as u8).collect::<Vec<_>>());
        assert!((9..=11).contains(&came.len()), "{} came", came.len());
        assert_eq!(broker.totals().dropped_slow_reader, 50 - came.len() as u64);
        // It reads again, and gets the next.
        publisher.publish("t", &[77], Qos::AtMostOnce);
        assert_eq!(subscriber.receive_publish().payload, [77]);
    }
}

#[test]
fn a_few_qos_0_messages_may_wait_for_a_slow_reader_however_large_they_are() {
    let broker = Broker::limited(|limits| limits.out_buffer_bytes_max = 1000);
    let subscriber = broker.client(Version::V5, "s");
    subscriber.subscribe("t", Qos::AtMostOnce);
    subscriber.stall_after(0);
    let publisher = broker.client(Version::V5, "p");
    for n in 0..12 {
        publisher.publish("t", &[n; 200_000], Qos::AtMostOnce);
    }
    // What is small finds them in its way.
    publisher.publish("t", b"small", Qos::AtMostOnce);
    subscriber.resume();
    assert_eq!(first_bytes(&subscriber.receive_publishes()), (0..8).collect::<Vec<_>>());
    assert_eq!(broker.totals().dropped_slow_reader, 5);
}

#[test]
fn a_reader_that_stops_gets_every_qos_1_message_later_and_in_order() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.out_buffer_bytes_max = 1000);
        let subscriber = broker.client(version, "s");
        subscriber.subscribe("t", Qos::AtLeastOnce);
        subscriber.stall_after(150);
        let publisher = broker.client(version, "p");
        for n in 0..50 {
            publisher.publish("t", &[n; 100], Qos::AtLeastOnce);
        }
        subscriber.resume();
        let mut came = Vec::new();
        while let Some(received) = subscriber.try_receive() {
            let delivered = received.publish();
            subscriber.acknowledge(&delivered);
            came.push(delivered.payload[0]);
        }
        assert_eq!(came, (0..50).collect::<Vec<u8>>());
        let totals = broker.totals();
        assert_eq!(
            (totals.dropped_slow_reader, totals.dropped_queue_full, totals.stored_messages),
            (0, 0, 0)
        );
    }
}

#[test]
fn one_reader_that_stops_does_not_hold_up_another() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.out_buffer_bytes_max = 1000);
        let slow = broker.client(version, "slow");
        let quick = broker.client(version, "quick");
        slow.subscribe("t", Qos::AtLeastOnce);
        quick.subscribe("t", Qos::AtLeastOnce);
        slow.stall_after(0);
        let publisher = broker.client(version, "p");
        for n in 0..50 {
            publisher.publish("t", &[n; 100], Qos::AtLeastOnce);
            let delivered = quick.receive_publish();
            assert_eq!(delivered.payload[0], n);
            quick.acknowledge(&delivered);
        }
    }
}

#[test]
fn a_reader_that_stops_and_is_cut_off_gets_its_qos_1_messages_after_the_reconnect() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.out_buffer_bytes_max = 1000);
        let (subscriber, _) = broker.persistent(version, "s");
        subscriber.subscribe("t", Qos::AtLeastOnce);
        subscriber.stall_after(0);
        let publisher = broker.client(version, "p");
        for n in 0..50 {
            publisher.publish("t", &[n; 100], Qos::AtLeastOnce);
        }
        subscriber.cut();
        assert_eq!(first_bytes(&take_all(&broker, version)), (0..50).collect::<Vec<u8>>());
    }
}
