//! CONNECT: client ids, a second CONNECT, what the client allows, and the answer.

use siskin_core::{Event, Limits};
use siskin_proto::{Connect, Packet, Property, Publish, Qos, Reason, TopicName, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

fn connect(version: Version, client_id: &str) -> Connect<'_> {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 0,
        client_id,
        will: None,
        user_name: None,
        password: None,
        properties: Default::default(),
        bridge: false,
    }
}

#[test]
fn a_good_connect_gets_connack_0() {
    for version in VERSIONS {
        let mut client = Broker::new().open(version);
        let connack = client.connect("c", |_| {}, &[]);
        match version {
            Version::V5 => assert_eq!((connack.bytes()[0], &connack.bytes()[2..4]), (0x20, &[0, 0][..])),
            _ => assert_eq!(connack.bytes(), [0x20, 2, 0, 0]),
        }
        client.expect_nothing();
    }
}

#[test]
fn user_name_and_password_do_no_harm_where_nobody_asks_for_them() {
    for version in VERSIONS {
        let with_both = |connect: &mut Connect<'_>| {
            connect.user_name = Some("user");
            connect.password = Some(b"\xFF\0");
        };
        Broker::new().client_with(version, "c", with_both, &[]);
    }
}

#[test]
fn every_client_id_of_1_to_23_letters_and_digits_is_accepted() {
    let alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for version in VERSIONS {
        let broker = Broker::new();
        let mut clients = Vec::new();
        for at in 0..alphabet.len() {
            let id: String = alphabet.chars().cycle().skip(at).take(at % 23 + 1).collect();
            clients.push(broker.client(version, &id));
        }
        assert_eq!(broker.sessions(), alphabet.len());
        clients.iter().for_each(Client::expect_nothing);
    }
}

#[test]
fn longer_and_stranger_client_ids_are_accepted_too() {
    for version in VERSIONS {
        let broker = Broker::new();
        let long = "x".repeat(65_535);
        let ids =
            ["a-client-id-of-more-than-23-characters", "a/b", "#", "$SYS", " ", "\u{FEFF}", "ü€😀", &long];
        let clients: Vec<_> = ids.iter().map(|id| broker.client(version, id)).collect();
        assert_eq!(broker.sessions(), ids.len());
        clients.iter().for_each(Client::expect_nothing);
    }
}

#[test]
fn the_client_id_is_the_key_of_the_session() {
    for version in VERSIONS {
        let broker = Broker::new();
        // Equal only character by character.
        let ids = ["c", "C", "c ", "\u{FEFF}c", "cc", "e\u{301}", "\u{e9}"];
        for id in ids {
            let (client, session_present) = broker.persistent(version, id);
            assert!(!session_present, "{id:?} is nobody else's");
            client.subscribe(&format!("to/{id}"), Qos::AtLeastOnce);
            client.cut();
        }
        assert_eq!(broker.sessions(), ids.len());
        let publisher = broker.client(version, "publisher");
        ids.iter().for_each(|id| _ = publisher.publish(&format!("to/{id}"), b"x", Qos::AtLeastOnce));
        for id in ids {
            let (client, session_present) = broker.persistent(version, id);
            assert_eq!(session_present, version != Version::V3_1, "3.1 cannot tell");
            let got: Vec<_> = client.receive_publishes().into_iter().map(|p| p.topic).collect();
            assert_eq!(got, [format!("to/{id}")], "its own messages and no others");
        }
    }
}

#[test]
fn an_empty_client_id_gets_one_that_no_other_session_has() {
    for version in [Version::V3_1_1, Version::V5] {
        let broker = Broker::new();
        let clients: Vec<_> = (0..10).map(|_| broker.client(version, "")).collect();
        assert_eq!(broker.sessions(), 10, "each has its own session");
        let mut given: Vec<_> = connected(&broker);
        given.sort();
        given.dedup();
        assert_eq!(given.len(), 10);
        assert!(given.iter().all(|id| !id.is_empty()));
        // And it is as good as any.
        for client in &clients {
            client.subscribe("t", Qos::ExactlyOnce);
        }
        clients[0].publish("t", b"x", Qos::AtLeastOnce);
        for client in &clients {
            assert_eq!(client.receive_publish().payload, b"x");
            client.expect_nothing();
        }
    }
}

#[test]
fn an_assigned_client_id_is_never_one_that_a_client_chose_itself() {
    // Which id is assigned first depends on the seed alone, and that is the same here.
    let broker = Broker::new();
    broker.client(Version::V5, "");
    let first = connected(&broker).remove(0);
    let broker = Broker::new();
    let (chosen, _) = broker.persistent(Version::V5, &first);
    broker.client(Version::V5, "");
    assert_eq!(broker.sessions(), 2);
    chosen.expect_nothing();
    chosen.cut();
    // Not that of a client that is away either.
    let broker = Broker::new();
    broker.persistent(Version::V5, &first).0.cut();
    broker.client(Version::V5, "");
    assert_eq!(broker.sessions(), 2);
}

#[test]
fn an_assigned_client_id_is_told_to_5_0_and_finds_the_session_again() {
    let broker = Broker::new();
    let mut client = broker.open(Version::V5);
    let lasting = [Property::SessionExpiryInterval(60)];
    let connack = client.connect("", |connect| connect.clean_start = false, &lasting);
    assert!(!connack.session_present());
    let Packet::ConnAck(answer) = connack.packet() else { panic!("{connack:?}") };
    let assigned = answer.properties.assigned_client_identifier().expect("an id was assigned");
    client.cut();
    let mut client = broker.open(Version::V5);
    let connack = client.connect(assigned, |connect| connect.clean_start = false, &lasting);
    assert!(connack.session_present());
    // Who brings an id is not told one.
    let Packet::ConnAck(answer) = connack.packet() else { panic!("{connack:?}") };
    assert_eq!(answer.properties.assigned_client_identifier(), None);
}

#[test]
fn an_empty_client_id_without_clean_session_is_refused_with_return_code_2_in_3_1_1() {
    let broker = Broker::new();
    let mut client = broker.open(Version::V3_1_1);
    let connack = client.connect("", |connect| connect.clean_start = false, &[]);
    assert_eq!(connack.bytes(), [0x20, 2, 0, 2]);
    client.expect_closed();
    assert_eq!(broker.sessions(), 0);
}

#[test]
fn a_second_connect_ends_the_connection_and_sends_its_will() {
    for version in VERSIONS {
        let broker = Broker::new();
        let watcher = broker.client(version, "watcher");
        watcher.subscribe("will", Qos::AtMostOnce);
        let second = |change: fn(&mut Vec<u8>)| {
            let mut bytes = Vec::new();
            Packet::Connect(connect(version, "c")).encode(version, &mut bytes);
            change(&mut bytes);
            bytes
        };
        let level = if version == Version::V3_1 { 10 } else { 8 };
        let seconds = [
            second(|_| {}),
            // No better for being wrong: header flags, connect flags, name, length.
            second(|bytes| bytes[0] |= 1),
            second(|bytes| bytes[9] |= 1),
            second(|bytes| bytes[5] = b'X'),
            vec![0x10, 0],
            {
                let mut bytes = second(|_| {});
                bytes[level] = 9;
                bytes
            },
        ];
        for second in seconds {
            let with_will =
                |connect: &mut Connect<'_>| connect.will = Some(will("will", b"x", Qos::AtMostOnce));
            let client = broker.client_with(version, "c", with_will, &[]);
            client.send_bytes(&second);
            // One DISCONNECT in 5.0, never another CONNACK.
            client.expect_disconnect(Reason::ProtocolError);
            assert_eq!(watcher.receive_publish().payload, b"x", "{second:?}");
            assert_eq!(broker.sessions(), 1, "the session has ended too");
        }
    }
}

#[test]
fn connack_comes_before_everything_that_has_waited() {
    for version in VERSIONS {
        let broker = Broker::new();
        let (client, _) = broker.persistent(version, "c");
        client.subscribe("t", Qos::ExactlyOnce);
        let publisher = broker.client(version, "publisher");
        publisher.publish("t", b"open", Qos::ExactlyOnce);
        client.cut();
        publisher.publish("t", b"queued", Qos::AtLeastOnce);
        let client = broker.open(version);
        let mut again = connect(version, "c");
        again.clean_start = false;
        client.send(&Packet::Connect(again));
        let kinds: Vec<_> = client.receive_all().iter().map(|packet| packet.bytes()[0] >> 4).collect();
        assert_eq!(kinds, [2, 3, 3], "CONNACK, then the two messages");
    }
}

#[test]
fn an_ordinary_client_needs_no_extension() {
    // The fewest bytes with which each version connects, subscribes and publishes.
    let scripts: [(Version, [&[u8]; 3]); 3] = [
        (
            Version::V3_1,
            [b"\x10\x0F\0\x06MQIsdp\x03\x02\0\0\0\x01c", b"\x82\x06\0\x01\0\x01t\0", b"\x30\x04\0\x01tx"],
        ),
        (
            Version::V3_1_1,
            [b"\x10\x0D\0\x04MQTT\x04\x02\0\0\0\x01c", b"\x82\x06\0\x01\0\x01t\0", b"\x30\x04\0\x01tx"],
        ),
        (
            Version::V5,
            [b"\x10\x0E\0\x04MQTT\x05\x02\0\0\0\0\x01c", b"\x82\x07\0\x01\0\0\x01t\0", b"\x30\x05\0\x01t\0x"],
        ),
    ];
    for (version, [connect, subscribe, publish]) in scripts {
        let client = Broker::new().open(version);
        client.send_bytes(connect);
        assert_eq!(client.receive().reason(), Reason::Success);
        client.send_bytes(subscribe);
        assert!(matches!(client.receive().packet(), Packet::SubAck(_)));
        client.send_bytes(publish);
        assert_eq!(client.receive_publish().payload, b"x");
        client.send_bytes(b"\xE0\0");
        client.expect_closed();
    }
}

#[test]
fn a_packet_larger_than_the_client_takes_is_not_sent_to_it_and_holds_nothing_up() {
    // A PUBLISH to "t" without properties has 5 bytes and the payload; QoS 1 has the packet id too.
    for (qos, overhead) in [(Qos::AtMostOnce, 6), (Qos::AtLeastOnce, 8), (Qos::ExactlyOnce, 8)] {
        let broker = Broker::new();
        let allows = [Property::MaximumPacketSize(60), Property::ReceiveMaximum(1)];
        let client = broker.client_with(Version::V5, "c", |_| {}, &allows);
        client.subscribe("t", qos);
        let publisher = broker.client(Version::V5, "publisher");
        let fits = vec![b'x'; 60 - overhead];
        let too_large = vec![b'y'; 60 - overhead + 1];
        for _ in 0..3 {
            publisher.publish("t", &too_large, qos);
            client.expect_nothing();
            publisher.publish("t", &fits, qos);
            let received = client.receive();
            assert_eq!(received.bytes().len(), 60, "as large as it may be");
            // The Receive Maximum of 1 is held by this one alone, and not by those dropped.
            client.acknowledge(&received.publish());
            client.expect_nothing();
        }
        assert_eq!(broker.totals().stored_messages, 0);
    }
}

#[test]
fn no_topic_alias_above_the_clients_maximum_and_none_if_it_is_0_or_absent() {
    for maximum in [None, Some(0), Some(1), Some(3)] {
        let broker = Broker::new();
        let allows: Vec<_> = maximum.map(Property::TopicAliasMaximum).into_iter().collect();
        let client = broker.client_with(Version::V5, "c", |_| {}, &allows);
        client.subscribe("#", Qos::AtMostOnce);
        let publisher = broker.client(Version::V5, "publisher");
        for round in 0..4 {
            for topic in ["a", "b", "c", "d", "e"] {
                publisher.publish(topic, &[round], Qos::AtMostOnce);
                let got = client.receive_publish();
                let alias = got.properties().topic_alias();
                assert!(alias.is_none_or(|alias| (1..=maximum.unwrap_or(0)).contains(&alias)), "{alias:?}");
                assert!(alias.is_some() || got.topic == topic);
            }
        }
    }
}

#[test]
fn response_information_is_not_sent_to_who_did_not_ask() {
    for asks in [&[][..], &[Property::RequestResponseInformation(false)]] {
        let mut client = Broker::new().open(Version::V5);
        let connack = client.connect("c", |_| {}, asks);
        let Packet::ConnAck(connack) = connack.packet() else { panic!("{connack:?}") };
        assert_eq!(connack.properties.response_information(), None);
    }
}

#[test]
fn without_problem_information_only_connack_publish_and_disconnect_may_explain() {
    for wants in [false, true] {
        let broker = Broker::limited(|limits| limits.topic_levels_max = 2);
        let client =
            broker.client_with(Version::V5, "c", |_| {}, &[Property::RequestProblemInformation(wants)]);
        let mut explained = 0;
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            client.send(&Packet::Publish(Publish {
                dup: false,
                qos,
                retain: false,
                topic: Some(TopicName::parse("$SYS/x").unwrap()),
                packet_id: Some(id(1)),
                properties: Default::default(),
                payload: b"",
            }));
            let answer = client.receive();
            assert_eq!(answer.reason(), Reason::NotAuthorized, "the code is the same");
            explained += usize::from(explains(&answer));
        }
        client.pubrel(id(9));
        let answer = client.receive();
        assert_eq!(answer.reason(), Reason::PacketIdentifierNotFound);
        assert!(wants || !explains(&answer));
        client.send_bytes(b"\x82\x0B\0\x01\0\0\x05a/b/c\0");
        let answer = client.receive();
        let Packet::SubAck(suback) = answer.packet() else { panic!("{answer:?}") };
        assert_eq!(suback.reasons, [Reason::TopicFilterInvalid]);
        explained += usize::from(explains(&answer));
        client.send_bytes(b"\xA2\x0A\0\x01\0\0\x05a/b/c");
        assert!(wants || !explains(&client.receive()));
        // A refusal that is explained to who wants it shows that there was something to leave out.
        assert_eq!(explained, if wants { 3 } else { 0 });
    }
}

fn explains(answer: &Received) -> bool {
    let properties = match answer.packet() {
        Packet::PubAck(p) => p.properties,
        Packet::PubRec(p) => p.properties,
        Packet::PubComp(p) => p.properties,
        Packet::SubAck(p) => p.properties,
        Packet::UnsubAck(p) => p.properties,
        other => panic!("{other:?}"),
    };
    assert_eq!(properties.user_properties().count(), 0);
    properties.reason_string().is_some()
}

/// The client ids of those who connected since last asked.
fn connected(broker: &Broker) -> Vec<String> {
    let id_of = |event| match event {
        Event::Connected { client_id, .. } => Some(client_id.to_string()),
        _ => None,
    };
    broker.events().into_iter().filter_map(id_of).collect()
}

#[test]
fn a_bridge_of_mosquitto_is_a_client_like_others() {
    for version in [Version::V3_1, Version::V3_1_1] {
        let broker = Broker::with(1, Limits { sys_interval_s: 0, ..Limits::default() });
        let client = broker.client_with(version, "bridge", |connect| connect.bridge = true, &[]);
        client.subscribe("t", Qos::AtMostOnce);
        broker.client(version, "c").publish("t", b"x", Qos::AtMostOnce);
        assert_eq!(client.receive_publish().payload, b"x");
    }
}
