//! A client id connects while it is connected: the older connection goes, on one worker and across two.

use siskin_core::{Cause, Limits};
use siskin_proto::{Packet, PingReq, Property, PubRel, Publish, Qos, Reason, TopicName, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// With two workers each new transport meets the other one.
fn brokers() -> [Broker; 2] {
    [1, 2].map(|workers| Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() }))
}

fn each(mut check: impl FnMut(&Broker, Version, Version)) {
    for old in VERSIONS {
        for new in VERSIONS {
            brokers().iter().for_each(|broker| check(broker, old, new));
        }
    }
}

#[test]
fn the_older_connection_is_told_and_closed_and_the_newer_works() {
    each(|broker, old_version, new_version| {
        for clean_start in [true, false] {
            let old = broker.client(old_version, "c");
            old.subscribe("old", Qos::AtMostOnce);
            let new = broker.client_with(new_version, "c", |connect| connect.clean_start = clean_start, &[]);
            // 0x8E in 5.0; nothing before 5.0.
            old.expect_disconnect(Reason::SessionTakenOver);
            assert_eq!(old.end(), Some(Cause::TakenOver));
            new.expect_nothing();
            assert_eq!((broker.sessions(), broker.totals().connections), (1, 1));
            new.subscribe("t", Qos::AtMostOnce);
            let publisher = broker.client(Version::V5, "publisher");
            publisher.publish("t", b"x", Qos::AtMostOnce);
            publisher.publish("old", b"x", Qos::AtMostOnce);
            // A session that was not meant to last has ended with its connection.
            assert_eq!(new.receive_publishes().len(), 1);
            publisher.disconnect();
            new.disconnect();
        }
    });
}

#[test]
fn a_session_that_lasts_goes_over_with_all_that_is_open() {
    each(|broker, old_version, new_version| {
        let (old, _) = broker.persistent(old_version, "c");
        old.subscribe("t", Qos::ExactlyOnce);
        let publisher = broker.client(Version::V5, "publisher");
        for payload in [b"1", b"2", b"3"] {
            publisher.publish("t", payload, Qos::ExactlyOnce);
        }
        let first = old.receive_publish();
        // The first is released, the second received, the third still on its way.
        old.pubrec(first.packet_id.unwrap());
        let (new, present) = broker.persistent(new_version, "c");
        assert_eq!(present, new_version != Version::V3_1);
        let again = new.receive_all();
        let Packet::PubRel(PubRel { packet_id, .. }) = again[0].packet() else { panic!("{again:?}") };
        assert_eq!(Some(packet_id), first.packet_id);
        let payloads: Vec<_> = again[1..].iter().map(|p| (p.publish().payload, p.publish().dup)).collect();
        assert_eq!(payloads, [(b"2".to_vec(), true), (b"3".to_vec(), true)]);
        new.pubcomp(packet_id);
        again[1..].iter().for_each(|message| new.acknowledge(&message.publish()));
        new.expect_nothing();
        assert_eq!(broker.totals().stored_messages, 0);
    });
}

#[test]
fn a_clean_start_takes_over_and_begins_anew() {
    each(|broker, old_version, new_version| {
        let (old, _) = broker.persistent(old_version, "c");
        old.subscribe("t", Qos::AtLeastOnce);
        let publisher = broker.client(Version::V5, "publisher");
        publisher.publish("t", b"1", Qos::AtLeastOnce);
        let mut new = broker.open(new_version);
        let connack = new.connect("c", |_| {}, &[]);
        assert_eq!(connack.bytes()[2], 0, "session present");
        old.receive_publish();
        old.expect_disconnect(Reason::SessionTakenOver);
        publisher.publish("t", b"2", Qos::AtLeastOnce);
        new.expect_nothing();
        assert_eq!(broker.shared().router.subscriptions(), 0);
    });
}

#[test]
fn what_the_older_connection_still_sends_or_suffers_does_nothing_to_the_newer() {
    each(|broker, old_version, new_version| {
        let (old, _) = broker.persistent(old_version, "c");
        let watcher = broker.client(Version::V5, "watcher");
        watcher.subscribe("#", Qos::AtMostOnce);
        let (new, _) = broker.persistent(new_version, "c");
        old.expect_disconnect(Reason::SessionTakenOver);
        old.send(&Packet::Publish(Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic: Some(TopicName::parse("t").expect("a topic name")),
            packet_id: None,
            properties: Default::default(),
            payload: b"x",
        }));
        old.disconnect();
        old.cut();
        watcher.expect_nothing();
        new.expect_nothing();
        new.send(&Packet::PingReq(PingReq));
        assert!(matches!(new.receive().packet(), Packet::PingResp(_)));
        assert_eq!(broker.totals().connections, 2);
    });
}

#[test]
fn many_take_each_other_over_and_one_remains() {
    for broker in brokers() {
        let mut clients: Vec<Client> = Vec::new();
        for round in 0..20_usize {
            let (client, present) = broker.persistent(VERSIONS[round % 3], "c");
            assert_eq!(present, round > 0 && VERSIONS[round % 3] != Version::V3_1);
            if let Some(before) = clients.last() {
                before.expect_disconnect(Reason::SessionTakenOver);
            }
            clients.push(client);
        }
        clients.last().unwrap().expect_nothing();
        assert_eq!((broker.sessions(), broker.totals().connections), (1, 1));
    }
}

#[test]
fn other_client_ids_are_not_disturbed() {
    for broker in brokers() {
        let others: Vec<_> = ["C", "c2", "", "c/"].map(|id| broker.client(Version::V5, id)).into();
        broker.client(Version::V5, "c");
        broker.client(Version::V5, "c");
        others.iter().for_each(Client::expect_nothing);
    }
}

#[test]
fn the_newer_connection_has_its_own_terms() {
    for broker in brokers() {
        let lasting = Property::SessionExpiryInterval(u32::MAX);
        let with_alias = [lasting, Property::TopicAliasMaximum(5)];
        let old = broker.client_with(Version::V5, "c", |connect| connect.keep_alive_s = 2, &with_alias);
        old.subscribe("#", Qos::AtMostOnce);
        let mut new = broker.open(Version::V5);
        let tight = [lasting, Property::MaximumPacketSize(40)];
        assert!(new.connect("c", |connect| connect.clean_start = false, &tight).session_present());
        // No keep alive, no alias, small packets.
        broker.advance_s(60);
        new.expect_nothing();
        let publisher = broker.client(Version::V5, "publisher");
        for _ in 0..3 {
            publisher.publish("t", b"x", Qos::AtMostOnce);
            assert_eq!(new.receive_publish().properties().topic_alias(), None);
            publisher.publish("t", &[b'x'; 50], Qos::AtMostOnce);
            new.expect_nothing();
        }
    }
}

/// A QoS 2 message to the broker. 3.x has no property length.
fn send_qos_2(client: &Client, dup: bool) {
    client.send(&Packet::Publish(Publish {
        dup,
        qos: Qos::ExactlyOnce,
        retain: false,
        topic: Some(TopicName::parse("t").expect("a topic name")),
        packet_id: Some(id(7)),
        properties: Default::default(),
        payload: b"x",
    }));
}

/// The ways in which a flow is cut: the transport breaks, or the client comes back before that is noticed.
fn come_back(broker: &Broker, version: Version, client: &Client, is_takeover: bool) -> Client {
    client.receive_all();
    if !is_takeover {
        client.cut();
    }
    broker.persistent(version, "c").0
}

#[test]
fn a_qos_2_flow_to_the_broker_cut_at_each_of_its_four_steps_delivers_once() {
    for broker_of in [0, 1] {
        for version in VERSIONS {
            for is_takeover in [true, false] {
                for cut_after in 0..4 {
                    let broker = &brokers()[broker_of];
                    let watcher = broker.client(Version::V5, "watcher");
                    watcher.subscribe("t", Qos::ExactlyOnce);
                    let (mut client, _) = broker.persistent(version, "c");
                    send_qos_2(&client, false);
                    if cut_after == 0 {
                        // The PUBREC is on its way.
                        client = come_back(broker, version, &client, is_takeover);
                        send_qos_2(&client, true);
                    }
                    assert!(matches!(client.receive().packet(), Packet::PubRec(p) if p.packet_id == id(7)));
                    if cut_after == 1 {
                        client = come_back(broker, version, &client, is_takeover);
                    }
                    client.pubrel(id(7));
                    if cut_after == 2 {
                        // The PUBCOMP is on its way.
                        client = come_back(broker, version, &client, is_takeover);
                        client.pubrel(id(7));
                    }
                    assert!(matches!(client.receive().packet(), Packet::PubComp(p) if p.packet_id == id(7)));
                    if cut_after == 3 {
                        client = come_back(broker, version, &client, is_takeover);
                    }
                    client.expect_nothing();
                    watcher.acknowledge(&watcher.receive_publish());
                    watcher.expect_nothing();
                    // Done: the same id is another message, even if it says DUP.
                    send_qos_2(&client, true);
                    assert_eq!(watcher.receive_publishes().len(), 1, "{version} {is_takeover} {cut_after}");
                }
            }
        }
    }
}

#[test]
fn a_qos_2_flow_to_a_client_cut_at_each_of_its_four_steps_goes_on_there() {
    for broker_of in [0, 1] {
        for version in VERSIONS {
            for is_takeover in [true, false] {
                for cut_after in 0..4 {
                    let broker = &brokers()[broker_of];
                    let (mut client, _) = broker.persistent(version, "c");
                    client.subscribe("t", Qos::ExactlyOnce);
                    let publisher = broker.client(Version::V5, "publisher");
                    publisher.publish("t", b"x", Qos::ExactlyOnce);
                    let mut message = client.receive_publish();
                    assert!(!message.dup);
                    let packet_id = message.packet_id.unwrap();
                    if cut_after == 0 {
                        client = come_back(broker, version, &client, is_takeover);
                        let again = client.receive_publish();
                        message.dup = true;
                        assert_eq!(again, message, "the same, but for DUP");
                    }
                    client.pubrec(packet_id);
                    if cut_after == 1 {
                        // The PUBREL is on its way.
                        client = come_back(broker, version, &client, is_takeover);
                    }
                    assert!(
                        matches!(client.receive().packet(), Packet::PubRel(p) if p.packet_id == packet_id)
                    );
                    if cut_after == 2 {
                        client = come_back(broker, version, &client, is_takeover);
                        assert!(
                            matches!(client.receive().packet(), Packet::PubRel(p) if p.packet_id == packet_id)
                        );
                    }
                    client.pubcomp(packet_id);
                    if cut_after == 3 {
                        client = come_back(broker, version, &client, is_takeover);
                    }
                    client.expect_nothing();
                    assert_eq!(broker.totals().stored_messages, 0);
                }
            }
        }
    }
}

#[test]
fn while_two_take_each_other_over_a_message_meets_one_of_them() {
    for broker in brokers() {
        let publisher = broker.client(Version::V5, "publisher");
        let mut clients = Vec::new();
        for round in 0..10_u8 {
            let (client, _) = broker.persistent(Version::V5, "c");
            client.subscribe("t", Qos::AtLeastOnce);
            publisher.publish("t", &[round], Qos::AtLeastOnce);
            let message = client.receive_publish();
            assert_eq!((&message.payload[..], message.dup), (&[round][..], false));
            client.acknowledge(&message);
            clients.push(client);
        }
        assert!(clients.iter().all(|client| client.receive_all().iter().all(|p| p.bytes()[0] >> 4 != 3)));
    }
}
