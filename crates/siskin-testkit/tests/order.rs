//! The order of messages, of what is sent again, and of acknowledgements.

use siskin_core::Limits;
use siskin_proto::{Packet, PacketKind, Property, Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];
const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// Takes and acknowledges all there is, so that the window moves on.
fn take(client: &Client, into: &mut Vec<(Qos, u8)>) {
    let mut waiting = std::collections::VecDeque::new();
    loop {
        for received in client.receive_all() {
            match received.packet() {
                Packet::PubRel(release) => client.pubcomp(release.packet_id),
                _ => waiting.push_back(received.publish()),
            }
        }
        let Some(delivered) = waiting.pop_front() else { return };
        into.push((delivered.qos, delivered.payload[0]));
        match (delivered.qos, delivered.packet_id) {
            (Qos::AtLeastOnce, Some(id)) => client.puback(id),
            (Qos::ExactlyOnce, Some(id)) => client.pubrec(id),
            _ => {}
        }
    }
}

#[track_caller]
fn is_in_order(came: &[(Qos, u8)], qos: Qos) {
    let of_qos: Vec<_> = came.iter().filter(|(q, _)| *q == qos).map(|(_, n)| *n).collect();
    assert!(of_qos.is_sorted_by(|a, b| a < b), "{qos:?}: {of_qos:?}");
}

#[test]
fn one_publishers_messages_of_one_topic_and_qos_come_in_their_order() {
    for version in VERSIONS {
        for workers in [1, 2] {
            // A narrow window and a small buffer, so that some are sent at once and some wait.
            let limits = Limits { sys_interval_s: 0, inflight_max: 3, ..Limits::default() };
            let broker = Broker::with(workers, limits);
            let publisher = broker.client(version, "p");
            let subscriber = broker.client(version, "s");
            subscriber.subscribe("t", Qos::ExactlyOnce);
            let mut came = Vec::new();
            for n in 0..200_u8 {
                publisher.publish("t", &[n], QOS[usize::from(n) % 3]);
                if n % 7 == 0 {
                    take(&subscriber, &mut came);
                }
            }
            take(&subscriber, &mut came);
            assert_eq!(came.len(), 200);
            QOS.iter().for_each(|qos| is_in_order(&came, *qos));
        }
    }
}

#[test]
fn messages_keep_their_order_through_queue_and_stall_and_reconnect() {
    for version in VERSIONS {
        for workers in [1, 2] {
            let limits =
                Limits { sys_interval_s: 0, inflight_max: 5, out_buffer_bytes_max: 500, ..Limits::default() };
            let broker = Broker::with(workers, limits);
            let publisher = broker.client(version, "p");
            let (mut subscriber, _) = broker.persistent(version, "s");
            subscriber.subscribe("t", Qos::ExactlyOnce);
            let mut came: Vec<(Qos, u8)> = Vec::new();
            for n in 0..200_u8 {
                let qos = [Qos::AtLeastOnce, Qos::ExactlyOnce][usize::from(n) % 2];
                publisher.publish("t", &[n; 40], qos);
                match n % 20 {
                    3 => subscriber.stall_after(60),
                    9 => subscriber.resume(),
                    10 => take(&subscriber, &mut came),
                    14 => subscriber.cut(),
                    17 => subscriber = broker.persistent(version, "s").0,
                    _ => {}
                }
            }
            take(&subscriber, &mut came);
            // What was on its way when the connection was cut was not taken, and comes again.
            assert_eq!(came.len(), 200);
            is_in_order(&came, Qos::AtLeastOnce);
            is_in_order(&came, Qos::ExactlyOnce);
        }
    }
}

#[test]
fn what_comes_while_a_long_queue_goes_out_goes_behind_it() {
    for version in VERSIONS {
        let broker = Broker::new();
        let publisher = broker.client(version, "p");
        let (subscriber, _) = broker.persistent(version, "s");
        subscriber.subscribe("t", Qos::AtLeastOnce);
        subscriber.cut();
        // More than is put out in one portion, and fewer than the window holds.
        for n in 0..60 {
            publisher.publish("t", &[n; 3000], Qos::AtLeastOnce);
        }
        let mut subscriber = broker.open(version);
        subscriber.stall_after(100);
        subscriber.connect_persistent("s");
        for n in 60..70 {
            publisher.publish("t", &[n], Qos::AtLeastOnce);
        }
        subscriber.resume();
        let mut came = Vec::new();
        take(&subscriber, &mut came);
        assert_eq!(came.len(), 70);
        is_in_order(&came, Qos::AtLeastOnce);
    }
}

#[test]
fn queued_qos_0_messages_are_not_overtaken() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| {
            limits.queue_qos0 = true;
            limits.inflight_max = 1;
        });
        let publisher = broker.client(version, "p");
        let (subscriber, _) = broker.persistent(version, "s");
        subscriber.subscribe("t", Qos::AtLeastOnce);
        subscriber.cut();
        for n in [0, 1, 2, 3, 4] {
            let qos = if n < 2 { Qos::AtLeastOnce } else { Qos::AtMostOnce };
            publisher.publish("t", &[n], qos);
        }
        let (subscriber, _) = broker.persistent(version, "s");
        // The queue stands behind the first of QoS 1.
        publisher.publish("t", &[5], Qos::AtMostOnce);
        let mut came = Vec::new();
        take(&subscriber, &mut came);
        assert_eq!(came.len(), 6);
        is_in_order(&came, Qos::AtMostOnce);
    }
}

#[test]
fn large_and_small_messages_keep_their_order() {
    for version in VERSIONS {
        let broker = Broker::new();
        let publisher = broker.client(version, "p");
        let subscriber = broker.client(version, "s");
        subscriber.subscribe("t", Qos::AtMostOnce);
        subscriber.stall_after(10_000);
        for n in 0..60_u8 {
            let len = [1, 5_000, 100, 10_000][usize::from(n) % 4];
            publisher.publish("t", &vec![n; len], Qos::AtMostOnce);
        }
        subscriber.resume();
        let came = subscriber.receive_publishes();
        assert_eq!(came.len(), 60);
        for (n, delivered) in came.iter().enumerate() {
            assert!(delivered.payload.iter().all(|byte| usize::from(*byte) == n));
        }
    }
}

#[test]
fn the_broker_acknowledges_in_the_order_of_the_messages() {
    for version in VERSIONS {
        let client = Broker::new().client(version, "c");
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for packet_id in [9, 3, 65_535, 1, 4, 77, 2] {
            for (qos, kind) in
                [(Qos::AtLeastOnce, PacketKind::PubAck), (Qos::ExactlyOnce, PacketKind::PubRec)]
            {
                Packet::Publish(publish("t", b"", qos, packet_id)).encode(version, &mut bytes);
                expected.push((kind, packet_id));
            }
        }
        client.send_bytes(&bytes);
        for (kind, packet_id) in expected {
            client.expect_ack(kind, packet_id, Reason::NoMatchingSubscribers);
        }
    }
}

#[test]
fn pubrels_come_in_the_order_of_the_pubrecs() {
    for version in VERSIONS {
        let broker = Broker::new();
        let subscriber = broker.client(version, "s");
        subscriber.subscribe("t", Qos::ExactlyOnce);
        let publisher = broker.client(version, "p");
        (0..6).for_each(|_| _ = publisher.publish("t", b"m", Qos::ExactlyOnce));
        let ids: Vec<_> = subscriber.receive_publishes().iter().map(|m| m.packet_id.unwrap()).collect();
        let order = [4, 0, 5, 2, 1, 3].map(|at: usize| ids[at]);
        order.iter().for_each(|id| subscriber.pubrec(*id));
        order.iter().for_each(|id| {
            subscriber.expect_ack(PacketKind::PubRel, id.get(), Reason::Success);
        });
        // And a client that answers in no order at all is served all the same.
        ids.iter().for_each(|id| subscriber.pubcomp(*id));
        assert_eq!(broker.totals().stored_messages, 0);
        assert_eq!(broker.totals().acknowledged, 6);
    }
}

#[test]
fn acknowledgements_in_any_order_are_taken() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.inflight_max = 5);
        let subscriber = broker.client(version, "s");
        subscriber.subscribe("t", Qos::AtLeastOnce);
        let publisher = broker.client(version, "p");
        (0..10).for_each(|n| _ = publisher.publish("t", &[n], Qos::AtLeastOnce));
        let open = subscriber.receive_publishes();
        for at in [4, 1, 3, 0, 2] {
            subscriber.acknowledge(&open[at]);
        }
        let rest = subscriber.receive_publishes();
        assert_eq!(rest.iter().map(|m| m.payload[0]).collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
        rest.iter().rev().for_each(|delivered| subscriber.acknowledge(delivered));
        assert_eq!(broker.totals().stored_messages, 0);
    }
}

#[test]
fn a_client_that_never_acknowledges_gets_everything_again() {
    for version in VERSIONS {
        let broker = Broker::new();
        let (mut subscriber, _) = broker.persistent(version, "s");
        subscriber.subscribe("t", Qos::AtLeastOnce);
        let publisher = broker.client(version, "p");
        (0..10).for_each(|n| _ = publisher.publish("t", &[n], Qos::AtLeastOnce));
        for _ in 0..3 {
            assert_eq!(subscriber.receive_publishes().len(), 10);
            broker.advance_s(60);
            subscriber.expect_nothing();
            assert_eq!(broker.totals().stored_messages, 10);
            subscriber.cut();
            subscriber = broker.persistent(version, "s").0;
        }
    }
}

#[test]
fn a_message_goes_to_every_session_with_a_matching_subscription() {
    for version in VERSIONS {
        for workers in [1, 2] {
            let broker = Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() });
            let filters = ["a/b", "a/+", "#", "+/b", "a/b/#", "+/+"];
            let mut present = Vec::new();
            for (n, filter) in filters.iter().enumerate() {
                let client = broker.client(version, &format!("present{n}"));
                client.subscribe(filter, Qos::AtLeastOnce);
                present.push(client);
                let (client, _) = broker.persistent(version, &format!("absent{n}"));
                client.subscribe(filter, Qos::AtLeastOnce);
                client.cut();
            }
            let other = broker.client(version, "other");
            other.subscribe("a", Qos::AtLeastOnce);
            other.subscribe("b/+", Qos::AtLeastOnce);
            broker.client(version, "p").publish("a/b", b"m", Qos::AtLeastOnce);
            for (n, client) in present.iter().enumerate() {
                assert_eq!(client.receive_publish().payload, b"m");
                client.expect_nothing();
                let (client, _) = broker.persistent(version, &format!("absent{n}"));
                assert_eq!(client.receive_publish().payload, b"m");
                client.expect_nothing();
            }
            other.expect_nothing();
        }
    }
}

#[test]
fn a_subscriber_with_properties_of_its_own_keeps_the_order_too() {
    // Aliases and identifiers take another way through the encoder than what all receivers share.
    let broker = Broker::limited(|limits| limits.inflight_max = 4);
    let properties = [Property::TopicAliasMaximum(2), Property::ReceiveMaximum(3)];
    let subscriber = broker.client_with(Version::V5, "s", |_| {}, &properties);
    let options = siskin_proto::SubscriptionOptions { qos: Qos::ExactlyOnce, ..Default::default() };
    subscriber.subscribe_with("#", options, &[Property::SubscriptionIdentifier(7)]);
    let publisher = broker.client(Version::V5, "p");
    let mut came = Vec::new();
    for n in 0..90_u8 {
        publisher.publish(["a", "b", "c"][usize::from(n) % 3], &[n], QOS[usize::from(n / 3) % 3]);
    }
    take(&subscriber, &mut came);
    assert_eq!(came.len(), 90);
    QOS.iter().for_each(|qos| is_in_order(&came, *qos));
}
