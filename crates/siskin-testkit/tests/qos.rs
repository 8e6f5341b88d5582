//! QoS 0, 1 and 2, in both directions and through the broker.

use siskin_core::Limits;
use siskin_proto::{PacketKind, Publish, Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];
const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

#[track_caller]
fn passes_on_at_the_lower_qos(broker: &Broker, from: Version, to: Version) {
    let publisher = broker.client(from, "publisher");
    let subscriber = broker.client(to, "subscriber");
    for granted in QOS {
        assert_eq!(subscriber.subscribe("t", granted) as u8, granted as u8);
        for published in QOS {
            assert!(!publisher.publish("t", b"m", published).is_error());
            let delivered = subscriber.receive_publish();
            let qos = published.min(granted);
            assert_eq!(delivered.qos, qos, "published {published:?}, granted {granted:?}");
            assert_eq!(delivered.packet_id.is_some(), qos > Qos::AtMostOnce);
            assert_eq!((delivered.dup, delivered.retain), (false, false));
            assert_eq!((&*delivered.topic, &*delivered.payload), ("t", &b"m"[..]));
            subscriber.acknowledge(&delivered);
            subscriber.expect_nothing();
        }
    }
    publisher.expect_nothing();
    publisher.disconnect();
    subscriber.disconnect();
}

#[test]
fn a_message_goes_out_at_the_lower_of_published_and_granted_qos() {
    let broker = Broker::new();
    for from in VERSIONS {
        for to in VERSIONS {
            passes_on_at_the_lower_qos(&broker, from, to);
        }
    }
}

#[test]
fn a_message_for_another_worker_goes_out_at_the_lower_qos_too() {
    let broker = Broker::with(2, Limits { sys_interval_s: 0, ..Limits::default() });
    for from in VERSIONS {
        for to in VERSIONS {
            passes_on_at_the_lower_qos(&broker, from, to);
        }
    }
}

#[test]
fn each_message_to_a_client_has_an_id_that_is_not_0_and_not_in_use() {
    for version in VERSIONS {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let broker = Broker::limited(|limits| limits.inflight_max = 50);
            let subscriber = broker.client(version, "s");
            subscriber.subscribe("t", qos);
            let publisher = broker.client(version, "p");
            let mut open = std::collections::BTreeSet::new();
            for round in 0..10 {
                while open.len() < 50 {
                    publisher.publish("t", b"m", qos);
                    let delivered = subscriber.receive_publish();
                    assert!(!delivered.dup);
                    let id = delivered.packet_id.unwrap().get();
                    assert!(open.insert(id), "{id} is in use");
                }
                // Every third is done, so that the window has holes.
                for id_done in open.iter().copied().skip(round % 3).step_by(3).collect::<Vec<_>>() {
                    match qos {
                        Qos::ExactlyOnce => {
                            subscriber.pubrec(id(id_done));
                            subscriber.expect_ack(PacketKind::PubRel, id_done, Reason::Success);
                            subscriber.pubcomp(id(id_done));
                        }
                        _ => subscriber.puback(id(id_done)),
                    }
                    open.remove(&id_done);
                }
            }
        }
    }
}

#[test]
fn ids_wrap_past_65535_and_leave_out_0_and_the_one_in_use() {
    const MESSAGES: usize = 66_000;
    for version in [Version::V3_1_1, Version::V5] {
        let broker = Broker::new();
        let subscriber = broker.client(version, "s");
        subscriber.subscribe("t", Qos::AtLeastOnce);
        let publisher = broker.client(version, "p");
        let mut ids = Vec::new();
        let receive = |ids: &mut Vec<u16>| {
            while let Some(received) = subscriber.try_receive() {
                let packet_id = received.publish().packet_id.unwrap();
                // The first is never acknowledged.
                if !ids.is_empty() {
                    subscriber.puback(packet_id);
                }
                ids.push(packet_id.get());
            }
        };
        for _ in 0..MESSAGES {
            publisher.send_publish(publish("t", b"", Qos::AtLeastOnce, 1));
            publisher.receive();
            receive(&mut ids);
        }
        assert!(ids.len() > 60_000);
        assert!(!ids[1..].contains(&ids[0]), "an id in use was given again");
        subscriber.puback(id(ids[0]));
        receive(&mut ids);
        assert_eq!(ids.len(), MESSAGES, "some still wait");
        assert!(ids[60_000..].contains(&ids[0]), "a free id is used again");
    }
}

#[test]
fn a_qos_1_message_is_open_until_its_puback() {
    for version in VERSIONS {
        let broker = Broker::new();
        let (subscriber, _) = broker.persistent(version, "s");
        subscriber.subscribe("t", Qos::AtLeastOnce);
        let publisher = broker.client(version, "p");
        publisher.publish("t", b"m", Qos::AtLeastOnce);
        let first = subscriber.receive_publish();
        // What is no PUBACK of it does not end it.
        let id_open = first.packet_id.unwrap();
        subscriber.puback(id(id_open.get() + 1));
        subscriber.pubcomp(id_open);
        assert_eq!(broker.totals().stored_messages, 1);
        subscriber.cut();
        let (subscriber, _) = broker.persistent(version, "s");
        assert_eq!(subscriber.receive_publish().packet_id, Some(id_open));
        subscriber.puback(id_open);
        assert_eq!(broker.totals().stored_messages, 0);
        subscriber.cut();
        let (subscriber, session_present) = broker.persistent(version, "s");
        assert_eq!(session_present, version != Version::V3_1);
        subscriber.expect_nothing();
    }
}

#[test]
fn a_puback_with_an_error_ends_the_delivery_too() {
    let broker = Broker::new();
    let (subscriber, _) = broker.persistent(Version::V5, "s");
    subscriber.subscribe("t", Qos::AtLeastOnce);
    let publisher = broker.client(Version::V5, "p");
    for code in [0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] {
        publisher.publish("t", b"m", Qos::AtLeastOnce);
        let id = subscriber.receive_publish().packet_id.unwrap().get().to_be_bytes();
        subscriber.send_bytes(&[0x40, 3, id[0], id[1], code]);
        assert_eq!(broker.totals().stored_messages, 0);
    }
    subscriber.cut();
    let (subscriber, _) = broker.persistent(Version::V5, "s");
    subscriber.expect_nothing();
}

#[test]
fn after_its_puback_a_qos_1_id_is_a_new_message_whatever_dup_says() {
    for version in VERSIONS {
        let broker = Broker::new();
        let subscriber = broker.client(version, "s");
        subscriber.subscribe("t", Qos::AtMostOnce);
        let publisher = broker.client(version, "p");
        for (dup, payload) in [(false, b"1"), (true, b"2"), (false, b"2"), (true, b"2")] {
            publisher.send_publish(Publish { dup, ..publish("t", payload, Qos::AtLeastOnce, 7) });
            publisher.expect_ack(PacketKind::PubAck, 7, Reason::Success);
        }
        let payloads: Vec<_> = subscriber.receive_publishes().into_iter().map(|m| m.payload).collect();
        assert_eq!(payloads, [b"1", b"2", b"2", b"2"]);
    }
}

#[test]
fn a_qos_2_id_is_one_message_until_its_pubrel() {
    for version in VERSIONS {
        let broker = Broker::new();
        let subscriber = broker.client(version, "s");
        subscriber.subscribe("#", Qos::ExactlyOnce);
        let publisher = broker.client(version, "p");
        for (dup, topic) in [(false, "first"), (true, "first"), (false, "first"), (true, "other")] {
            publisher.send_publish(Publish { dup, ..publish(topic, b"m", Qos::ExactlyOnce, 7) });
            publisher.expect_ack(PacketKind::PubRec, 7, Reason::Success);
        }
        let delivered = subscriber.receive_publish();
        assert_eq!(delivered.topic, "first");
        subscriber.acknowledge(&delivered);
        subscriber.expect_nothing();
        publisher.pubrel(id(7));
        publisher.expect_ack(PacketKind::PubComp, 7, Reason::Success);
        // Now it is new, even with DUP 1.
        publisher.send_publish(Publish { dup: true, ..publish("second", b"m", Qos::ExactlyOnce, 7) });
        publisher.expect_ack(PacketKind::PubRec, 7, Reason::Success);
        assert_eq!(subscriber.receive_publish().topic, "second");
    }
}

#[test]
fn qos_1_and_qos_2_messages_with_one_id_do_not_disturb_each_other() {
    for version in VERSIONS {
        let broker = Broker::new();
        let subscriber = broker.client(version, "s");
        subscriber.subscribe("t", Qos::AtMostOnce);
        let publisher = broker.client(version, "p");
        publisher.send_publish(publish("t", b"2", Qos::ExactlyOnce, 7));
        publisher.expect_ack(PacketKind::PubRec, 7, Reason::Success);
        publisher.send_publish(publish("t", b"1", Qos::AtLeastOnce, 7));
        publisher.expect_ack(PacketKind::PubAck, 7, Reason::Success);
        publisher.send_publish(Publish { dup: true, ..publish("t", b"2", Qos::ExactlyOnce, 7) });
        publisher.expect_ack(PacketKind::PubRec, 7, Reason::Success);
        assert_eq!(subscriber.receive_publishes().len(), 2);
    }
}

#[test]
fn a_qos_2_delivery_goes_from_pubrec_over_pubrel_to_pubcomp_with_one_id() {
    for version in VERSIONS {
        let broker = Broker::new();
        let subscriber = broker.client(version, "s");
        subscriber.subscribe("t", Qos::ExactlyOnce);
        broker.client(version, "p").publish("t", b"m", Qos::ExactlyOnce);
        let delivered = subscriber.receive_publish();
        let id_open = delivered.packet_id.unwrap();
        // Nothing comes of PUBACK or PUBCOMP before PUBREC.
        subscriber.puback(id_open);
        subscriber.pubcomp(id_open);
        subscriber.expect_nothing();
        for _ in 0..3 {
            // PUBREC again is answered again: its PUBREL may have been lost on the client's side.
            subscriber.pubrec(id_open);
            subscriber.expect_ack(PacketKind::PubRel, id_open.get(), Reason::Success);
        }
        subscriber.pubcomp(id_open);
        subscriber.expect_nothing();
        assert_eq!(broker.totals().acknowledged, 1);
        // After PUBCOMP it is unknown.
        subscriber.pubrec(id_open);
        subscriber.expect_ack(PacketKind::PubRel, id_open.get(), Reason::PacketIdentifierNotFound);
    }
}

#[test]
fn a_pubrec_with_an_error_ends_the_delivery_without_a_pubrel() {
    for code in [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99] {
        let broker = Broker::new();
        let (subscriber, _) = broker.persistent(Version::V5, "s");
        subscriber.subscribe("t", Qos::ExactlyOnce);
        broker.client(Version::V5, "p").publish("t", b"m", Qos::ExactlyOnce);
        let id_open = subscriber.receive_publish().packet_id.unwrap();
        subscriber.pubrec_with(id_open, Reason::from_u8(code).unwrap());
        subscriber.expect_nothing();
        assert_eq!(broker.totals().stored_messages, 0);
        // The id is free: nothing waits for it.
        subscriber.pubrec(id_open);
        subscriber.expect_ack(PacketKind::PubRel, id_open.get(), Reason::PacketIdentifierNotFound);
        subscriber.cut();
        broker.persistent(Version::V5, "s").0.expect_nothing();
    }
}

#[test]
fn a_pubrec_of_no_matching_subscribers_is_a_success() {
    let broker = Broker::new();
    let subscriber = broker.client(Version::V5, "s");
    subscriber.subscribe("t", Qos::ExactlyOnce);
    broker.client(Version::V5, "p").publish("t", b"m", Qos::ExactlyOnce);
    let id_open = subscriber.receive_publish().packet_id.unwrap();
    subscriber.pubrec_with(id_open, Reason::NoMatchingSubscribers);
    subscriber.expect_ack(PacketKind::PubRel, id_open.get(), Reason::Success);
}

#[test]
fn after_a_pubrec_with_an_error_from_the_broker_the_id_is_new() {
    let broker = Broker::new();
    let subscriber = broker.client(Version::V5, "s");
    subscriber.subscribe("t", Qos::AtMostOnce);
    let publisher = broker.client(Version::V5, "p");
    publisher.send_publish(publish("$SYS/mine", b"m", Qos::ExactlyOnce, 7));
    publisher.expect_ack(PacketKind::PubRec, 7, Reason::NotAuthorized);
    publisher.send_publish(publish("t", b"m", Qos::ExactlyOnce, 7));
    publisher.expect_ack(PacketKind::PubRec, 7, Reason::Success);
    assert_eq!(subscriber.receive_publish().topic, "t");
}

#[test]
fn a_pubrel_or_pubrec_of_an_unknown_id_is_answered_and_closes_nothing() {
    for version in VERSIONS {
        let client = Broker::new().client(version, "c");
        client.pubrel(id(99));
        client.expect_ack(PacketKind::PubComp, 99, Reason::PacketIdentifierNotFound);
        client.pubrec(id(98));
        client.expect_ack(PacketKind::PubRel, 98, Reason::PacketIdentifierNotFound);
        client.expect_nothing();
    }
}

#[test]
fn acknowledgements_of_unknown_ids_do_no_harm() {
    for version in VERSIONS {
        let broker = Broker::new();
        let client = broker.client(version, "c");
        client.subscribe("t", Qos::ExactlyOnce);
        for packet_id in [1, 2, 65_535] {
            client.puback(id(packet_id));
            client.pubcomp(id(packet_id));
            if version == Version::V5 {
                client.pubrec_with(id(packet_id), Reason::Unspecified);
            }
        }
        client.expect_nothing();
        // Their ids are given to messages all the same, and those are not taken for acknowledged.
        client.publish("t", b"m", Qos::ExactlyOnce);
        let delivered = client.receive_publish();
        client.acknowledge(&delivered);
        client.expect_nothing();
        assert_eq!(broker.totals().acknowledged, 1);
    }
}

#[test]
fn short_acknowledgements_mean_success_and_may_leave_out_their_properties() {
    // Length 2, length 3, and the whole form with an empty property list.
    for tail in [&[][..], &[0], &[0, 0]] {
        let ack = |first: u8, id: u16| {
            let mut bytes = vec![first, 2 + tail.len() as u8];
            bytes.extend(id.to_be_bytes());
            bytes.extend(tail);
            bytes
        };
        let broker = Broker::new();
        let client = broker.client(Version::V5, "c");
        client.subscribe("t", Qos::ExactlyOnce);
        client.publish("t", b"m", Qos::AtLeastOnce);
        let once = client.receive_publish().packet_id.unwrap().get();
        client.send_bytes(&ack(0x40, once));
        client.publish("t", b"m", Qos::ExactlyOnce);
        let exactly = client.receive_publish().packet_id.unwrap().get();
        client.send_bytes(&ack(0x50, exactly));
        client.expect_ack(PacketKind::PubRel, exactly, Reason::Success);
        client.send_bytes(&ack(0x70, exactly));
        assert_eq!(broker.totals().acknowledged, 2);
        client.send_publish(publish("u", b"m", Qos::ExactlyOnce, 9));
        client.receive();
        client.send_bytes(&ack(0x62, 9));
        client.expect_ack(PacketKind::PubComp, 9, Reason::Success);
        client.expect_nothing();
    }
}
