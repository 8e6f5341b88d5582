//! What is sent again after a reconnect, and what is not.

use siskin_core::Limits;
use siskin_proto::{PacketKind, Property, Publish, Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// Brokers of one worker and of two, for each version.
fn every_world() -> impl Iterator<Item = (Version, Broker)> {
    let limits = || Limits { sys_interval_s: 0, ..Limits::default() };
    VERSIONS.into_iter().flat_map(move |v| [1, 2].map(|workers| (v, Broker::with(workers, limits()))))
}

/// A session that subscribes to `t` at QoS 2.
fn subscriber(broker: &Broker, version: Version) -> Client {
    let (subscriber, _) = broker.persistent(version, "subscriber");
    subscriber.subscribe("t", Qos::ExactlyOnce);
    subscriber
}

fn back(broker: &Broker, version: Version) -> Client {
    broker.persistent(version, "subscriber").0
}

#[test]
fn a_publish_that_never_left_is_sent_after_the_reconnect() {
    for (version, broker) in every_world() {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let client = subscriber(&broker, version);
            client.stall_after(0);
            broker.client(version, "p").publish("t", b"m", qos);
            client.cut();
            let client = back(&broker, version);
            let delivered = client.receive_publish();
            assert_eq!((&*delivered.payload, delivered.qos), (&b"m"[..], qos));
            client.acknowledge(&delivered);
            client.expect_nothing();
            client.cut();
        }
    }
}

#[test]
fn a_publish_without_answer_is_sent_again_with_its_id_and_dup_1() {
    for (version, broker) in every_world() {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let mut client = subscriber(&broker, version);
            broker.client(version, "p").publish("t", b"m", qos);
            let first = client.receive_publish();
            assert!(!first.dup);
            for _ in 0..3 {
                client.cut();
                client = back(&broker, version);
                let again = client.receive_publish();
                assert_eq!(again, first.again());
                client.expect_nothing();
            }
            client.acknowledge(&first);
            client.cut();
            back(&broker, version).expect_nothing();
        }
    }
}

#[test]
fn after_pubrec_only_pubrel_is_sent_again_until_pubcomp() {
    for (version, broker) in every_world() {
        let mut client = subscriber(&broker, version);
        broker.client(version, "p").publish("t", b"m", Qos::ExactlyOnce);
        let open = client.receive_publish().packet_id.unwrap();
        // The PUBREL that answers it is lost, once before it left and then on its way.
        client.stall_after(0);
        client.pubrec(open);
        for _ in 0..3 {
            client.cut();
            client = back(&broker, version);
            client.expect_ack(PacketKind::PubRel, open.get(), Reason::Success);
            client.expect_nothing();
        }
        client.pubcomp(open);
        client.cut();
        back(&broker, version).expect_nothing();
        assert_eq!(broker.totals().stored_messages, 0);
    }
}

#[test]
fn a_pubcomp_that_is_lost_costs_one_more_pubrel_and_no_second_message() {
    for (version, broker) in every_world() {
        let client = subscriber(&broker, version);
        broker.client(version, "p").publish("t", b"m", Qos::ExactlyOnce);
        let open = client.receive_publish().packet_id.unwrap();
        client.pubrec(open);
        client.expect_ack(PacketKind::PubRel, open.get(), Reason::Success);
        client.cut();
        let client = back(&broker, version);
        client.expect_ack(PacketKind::PubRel, open.get(), Reason::Success);
        client.pubcomp(open);
        client.expect_nothing();
        // The place is free and the next message takes the next id.
        broker.client(version, "p").publish("t", b"next", Qos::ExactlyOnce);
        let next = client.receive_publish();
        assert_eq!((&*next.payload, next.dup), (&b"next"[..], false));
        assert_ne!(next.packet_id, Some(open));
    }
}

#[test]
fn a_qos_2_publish_that_was_lost_is_taken_when_it_is_sent_again() {
    for (version, broker) in every_world() {
        let listener = broker.client(version, "listener");
        listener.subscribe("t", Qos::AtMostOnce);
        let (publisher, _) = broker.persistent(version, "publisher");
        publisher.cut();
        let (publisher, _) = broker.persistent(version, "publisher");
        publisher.send_publish(Publish { dup: true, ..publish("t", b"m", Qos::ExactlyOnce, 7) });
        publisher.expect_ack(PacketKind::PubRec, 7, Reason::Success);
        publisher.pubrel(id(7));
        publisher.expect_ack(PacketKind::PubComp, 7, Reason::Success);
        assert_eq!(listener.receive_publishes().len(), 1);
    }
}

#[test]
fn a_qos_2_publish_sent_again_over_a_new_connection_is_delivered_once() {
    for (version, broker) in every_world() {
        let listener = broker.client(version, "listener");
        listener.subscribe("t", Qos::AtMostOnce);
        let (mut publisher, _) = broker.persistent(version, "publisher");
        publisher.send_publish(publish("t", b"m", Qos::ExactlyOnce, 7));
        for _ in 0..3 {
            // The PUBREC is lost.
            publisher.cut();
            publisher = broker.persistent(version, "publisher").0;
            publisher.send_publish(Publish { dup: true, ..publish("t", b"m", Qos::ExactlyOnce, 7) });
            publisher.expect_ack(PacketKind::PubRec, 7, Reason::Success);
        }
        publisher.pubrel(id(7));
        publisher.expect_ack(PacketKind::PubComp, 7, Reason::Success);
        assert_eq!(listener.receive_publishes().len(), 1);
    }
}

#[test]
fn a_pubrel_that_was_lost_ends_the_exchange_over_a_new_connection() {
    for (version, broker) in every_world() {
        let listener = broker.client(version, "listener");
        listener.subscribe("t", Qos::AtMostOnce);
        let (publisher, _) = broker.persistent(version, "publisher");
        publisher.send_publish(publish("t", b"m", Qos::ExactlyOnce, 7));
        publisher.expect_ack(PacketKind::PubRec, 7, Reason::Success);
        publisher.cut();
        let (publisher, _) = broker.persistent(version, "publisher");
        publisher.pubrel(id(7));
        publisher.expect_ack(PacketKind::PubComp, 7, Reason::Success);
        publisher.send_publish(publish("t", b"next", Qos::ExactlyOnce, 7));
        publisher.expect_ack(PacketKind::PubRec, 7, Reason::Success);
        assert_eq!(listener.receive_publishes().len(), 2);
    }
}

#[test]
fn a_pubrel_sent_again_after_a_lost_pubcomp_is_answered_and_delivers_nothing() {
    for (version, broker) in every_world() {
        let listener = broker.client(version, "listener");
        listener.subscribe("t", Qos::AtMostOnce);
        let (publisher, _) = broker.persistent(version, "publisher");
        publisher.send_publish(publish("t", b"m", Qos::ExactlyOnce, 7));
        publisher.pubrel(id(7));
        publisher.cut();
        let (publisher, _) = broker.persistent(version, "publisher");
        publisher.pubrel(id(7));
        publisher.expect_ack(PacketKind::PubComp, 7, Reason::PacketIdentifierNotFound);
        publisher.expect_nothing();
        assert_eq!(listener.receive_publishes().len(), 1);
    }
}

#[test]
fn a_take_over_in_the_middle_of_a_flow_goes_on_where_it_stood() {
    for (version, broker) in every_world() {
        let client = subscriber(&broker, version);
        let publisher = broker.client(version, "p");
        publisher.publish("t", b"one", Qos::ExactlyOnce);
        publisher.publish("t", b"two", Qos::ExactlyOnce);
        let (one, two) = (client.receive_publish(), client.receive_publish());
        client.send_publish(publish("u", b"up", Qos::ExactlyOnce, 9));
        client.expect_ack(PacketKind::PubRec, 9, Reason::NoMatchingSubscribers);
        client.pubrec(one.packet_id.unwrap());
        client.expect_ack(PacketKind::PubRel, one.packet_id.unwrap().get(), Reason::Success);
        let next = back(&broker, version);
        client.expect_disconnect(Reason::SessionTakenOver);
        let came = next.receive_all();
        assert_eq!(came.len(), 2, "{came:?}");
        let publishes: Vec<_> =
            came.iter().filter(|packet| packet.packet().kind() == PacketKind::Publish).collect();
        assert_eq!(publishes[0].publish(), two.again());
        next.send_publish(Publish { dup: true, ..publish("u", b"up", Qos::ExactlyOnce, 9) });
        next.expect_ack(PacketKind::PubRec, 9, Reason::Success);
        assert_eq!(broker.totals().no_subscribers, 1, "the message was taken over once");
    }
}

#[test]
fn publishes_are_sent_again_in_their_order_and_with_their_ids() {
    for (version, broker) in every_world() {
        let client = subscriber(&broker, version);
        let publisher = broker.client(version, "p");
        for n in 0..20_u8 {
            let qos = if n % 3 == 0 { Qos::AtLeastOnce } else { Qos::ExactlyOnce };
            publisher.publish("t", &[n], qos);
        }
        let mut first = client.receive_publishes();
        // Some are done, in no order: the others keep theirs.
        for at in [13, 4, 0, 19, 9] {
            client.acknowledge(&first[at]);
        }
        for at in [19, 13, 9, 4, 0] {
            first.remove(at);
        }
        client.cut();
        // What comes meanwhile goes behind them.
        publisher.publish("t", b"later", Qos::AtLeastOnce);
        let client = back(&broker, version);
        let mut again = client.receive_publishes();
        let later = again.pop().unwrap();
        assert_eq!((&*later.payload, later.dup), (&b"later"[..], false));
        let expected: Vec<_> = first.iter().map(Delivered::again).collect();
        assert_eq!(again, expected);
    }
}

#[test]
fn pubrels_are_sent_again_in_the_order_of_their_messages() {
    for (version, broker) in every_world() {
        let client = subscriber(&broker, version);
        let publisher = broker.client(version, "p");
        for _ in 0..5 {
            publisher.publish("t", b"m", Qos::ExactlyOnce);
        }
        let ids: Vec<_> = client.receive_publishes().iter().map(|m| m.packet_id.unwrap()).collect();
        ids.iter().for_each(|id| client.pubrec(*id));
        client.cut();
        let client = back(&broker, version);
        for id in ids {
            client.expect_ack(PacketKind::PubRel, id.get(), Reason::Success);
        }
        client.expect_nothing();
    }
}

#[test]
fn nothing_is_sent_again_while_the_connection_lasts() {
    for (version, broker) in every_world() {
        let client = subscriber(&broker, version);
        let publisher = broker.client(version, "p");
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce, Qos::ExactlyOnce] {
            publisher.publish("t", b"m", qos);
        }
        let open = client.receive_publishes();
        client.pubrec(open[1].packet_id.unwrap());
        client.receive();
        broker.advance_s(24 * 3600);
        client.expect_nothing();
    }
}

#[test]
fn a_new_session_gets_nothing_of_the_old_one() {
    for (version, broker) in every_world() {
        let client = subscriber(&broker, version);
        broker.client(version, "p").publish("t", b"m", Qos::ExactlyOnce);
        client.receive_publish();
        client.cut();
        broker.client(version, "subscriber").expect_nothing();
        assert_eq!(broker.totals().stored_messages, 0);
    }
}

#[test]
fn an_acknowledgement_from_before_the_reconnect_does_no_harm() {
    for (version, broker) in every_world() {
        let client = subscriber(&broker, version);
        let publisher = broker.client(version, "p");
        publisher.publish("t", b"m", Qos::AtLeastOnce);
        let open = client.receive_publish().packet_id.unwrap();
        client.cut();
        let client = back(&broker, version);
        client.puback(open);
        client.puback(open);
        client.pubcomp(open);
        assert!(client.receive_publish().dup);
        client.expect_nothing();
        assert_eq!(broker.totals().stored_messages, 0);
        publisher.publish("t", b"next", Qos::AtLeastOnce);
        assert_eq!(client.receive_publish().payload, b"next");
    }
}

fn with_receive_maximum(broker: &Broker, maximum: u16) -> Client {
    let properties = [Property::SessionExpiryInterval(u32::MAX), Property::ReceiveMaximum(maximum)];
    broker.client_with(Version::V5, "subscriber", |connect| connect.clean_start = false, &properties)
}

#[test]
fn resends_keep_within_the_receive_maximum_and_the_rest_waits() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let broker = Broker::new();
        let client = with_receive_maximum(&broker, 10);
        client.subscribe("t", qos);
        let publisher = broker.client(Version::V5, "p");
        for n in 0..10_u8 {
            publisher.publish("t", &[n], qos);
        }
        assert_eq!(client.receive_publishes().len(), 10);
        client.cut();
        publisher.publish("t", &[10], qos);
        let client = with_receive_maximum(&broker, 3);
        let mut open = client.receive_publishes();
        assert_eq!(open.len(), 3);
        for n in 0..=10_u8 {
            assert!(open.len() <= 3);
            let oldest = open.remove(0);
            assert_eq!((&*oldest.payload, oldest.dup), (&[n][..], n < 10));
            client.acknowledge(&oldest);
            open.extend(client.receive_publishes());
        }
        assert!(open.is_empty());
        assert_eq!(broker.totals().stored_messages, 0);
    }
}

#[test]
fn pubrels_are_not_held_back_by_the_receive_maximum() {
    let broker = Broker::new();
    let client = with_receive_maximum(&broker, 10);
    client.subscribe("t", Qos::ExactlyOnce);
    let publisher = broker.client(Version::V5, "p");
    for _ in 0..4 {
        publisher.publish("t", b"m", Qos::ExactlyOnce);
    }
    let ids: Vec<_> = client.receive_publishes().iter().map(|m| m.packet_id.unwrap()).collect();
    client.pubrec(ids[1]);
    client.pubrec(ids[3]);
    client.cut();
    let client = with_receive_maximum(&broker, 1);
    let kinds = |client: &Client| -> Vec<_> {
        let came = client.receive_all();
        came.iter().map(|received| received.packet().kind()).collect()
    };
    let came = kinds(&client);
    assert_eq!(came.iter().filter(|kind| **kind == PacketKind::PubRel).count(), 2, "{came:?}");
    client.pubcomp(ids[1]);
    client.pubcomp(ids[3]);
    let came = [came, kinds(&client)].concat();
    assert_eq!(came.iter().filter(|kind| **kind == PacketKind::Publish).count(), 1, "{came:?}");
    // The two publishes come one after the other, and nothing stalls behind them.
    for open in [ids[0], ids[2]] {
        client.pubrec(open);
        client.pubcomp(open);
    }
    client.receive_all();
    assert_eq!(broker.totals().stored_messages, 0);
    publisher.publish("t", b"next", Qos::ExactlyOnce);
    assert_eq!(client.receive_publish().payload, b"next");
}

#[test]
fn a_resend_that_the_new_connection_cannot_take_is_dropped_and_the_next_goes_on() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let broker = Broker::new();
        let client = with_receive_maximum(&broker, 10);
        client.subscribe("t", qos);
        let publisher = broker.client(Version::V5, "p");
        for payload in [&[0; 10][..], &[1; 200], &[2; 10], &[3; 200], &[4; 10]] {
            publisher.publish("t", payload, qos);
        }
        client.receive_publishes();
        client.cut();
        let properties = [
            Property::SessionExpiryInterval(u32::MAX),
            Property::ReceiveMaximum(1),
            Property::MaximumPacketSize(100),
        ];
        let resume = |connect: &mut siskin_proto::Connect<'_>| connect.clean_start = false;
        let client = broker.client_with(Version::V5, "subscriber", resume, &properties);
        for n in [0, 2, 4] {
            let delivered = client.receive_publish();
            assert_eq!(delivered.payload, [n; 10]);
            client.expect_nothing();
            client.acknowledge(&delivered);
        }
        client.expect_nothing();
        assert_eq!(broker.totals().dropped_too_large, 2);
        assert_eq!(broker.totals().stored_messages, 0);
        publisher.publish("t", b"next", qos);
        assert_eq!(client.receive_publish().payload, b"next");
    }
}
