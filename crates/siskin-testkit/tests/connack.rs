//! CONNACK: what a client is told, what it is not, and what follows for it.

use siskin_core::Limits;
use siskin_proto::{Connect, Packet, Property, PropertyId, Publish, Qos, Reason, TopicName, Version, Will};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// Limits that are all as the protocol assumes them.
fn assumed(limits: &mut Limits) {
    limits.receive_maximum = u16::MAX;
    limits.packet_size_max = u32::MAX;
    limits.topic_alias_max = 0;
}

fn told(connack: &Received) -> Vec<PropertyId> {
    let Packet::ConnAck(connack) = connack.packet() else { panic!("{connack:?}") };
    connack.properties.iter().map(|property| property.id()).collect()
}

fn has(connack: &Received, property: Property<'_>) -> bool {
    let Packet::ConnAck(connack) = connack.packet() else { panic!("{connack:?}") };
    connack.properties.iter().any(|other| other == property)
}

#[test]
fn session_present_tells_of_a_stored_session_and_only_of_one() {
    for version in [Version::V3_1_1, Version::V5] {
        let broker = Broker::new();
        let (client, present) = broker.persistent(version, "c");
        assert!(!present, "there was none");
        client.cut();
        let (client, present) = broker.persistent(version, "c");
        assert!(present);
        client.cut();
        let mut client = broker.open(version);
        let connack = client.connect("c", |_| {}, &[]);
        assert_eq!(&connack.bytes()[2..4], [0, 0], "clean start throws it away");
        client.cut();
        assert!(!broker.persistent(version, "c").1, "what began clean has ended with its connection");
    }
}

#[test]
fn the_flags_of_connack_have_no_bit_but_session_present() {
    for version in VERSIONS {
        let broker = Broker::new();
        for round in 0..2 {
            let client = broker.open(version);
            let expiry: &[u8] = if version.is_v5() { &[5, 0x11, 0, 0, 0, 60] } else { &[] };
            let name = version.protocol_name().as_bytes();
            let head = [&[0, name.len() as u8], name, &[version as u8, 0, 0, 0]].concat();
            let body = [&head[..], expiry, b"\0\x01c"].concat();
            client.send_bytes(&[&[0x10, body.len() as u8], &body[..]].concat());
            let present = u8::from(round == 1 && version != Version::V3_1);
            assert_eq!(client.receive().bytes()[2], present);
            client.cut();
        }
    }
}

#[test]
fn a_refusal_has_session_present_0_and_closes_also_if_a_session_is_there() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.max_qos = Qos::AtMostOnce);
        let (stored, _) = broker.persistent(version, "c");
        stored.subscribe("t", Qos::AtMostOnce);
        let mut client = broker.open(version);
        let change = |connect: &mut Connect<'_>| {
            connect.clean_start = false;
            connect.will = Some(will("will", b"x", Qos::AtLeastOnce));
        };
        let connack = client.connect("c", change, &[]);
        assert_eq!(connack.bytes()[2], 0);
        assert!(connack.bytes()[3] != 0);
        client.expect_closed();
        // The session and its connection are none the worse for it.
        stored.expect_nothing();
        broker.client(version, "publisher").publish("t", b"y", Qos::AtMostOnce);
        assert_eq!(stored.receive_publish().payload, b"y");
    }
}

#[test]
fn limits_are_told_only_if_they_differ_from_what_the_protocol_assumes() {
    let mut client = Broker::limited(assumed).open(Version::V5);
    assert_eq!(told(&client.connect("c", |_| {}, &[])), []);
    type Change = fn(&mut Limits);
    let cases: [(Change, Property<'_>); 9] = [
        (|limits| limits.receive_maximum = 9, Property::ReceiveMaximum(9)),
        (|limits| limits.packet_size_max = 1000, Property::MaximumPacketSize(1000)),
        (|limits| limits.topic_alias_max = 3, Property::TopicAliasMaximum(3)),
        (|limits| limits.max_qos = Qos::AtMostOnce, Property::MaximumQos(0)),
        (|limits| limits.max_qos = Qos::AtLeastOnce, Property::MaximumQos(1)),
        (|limits| limits.retain_available = false, Property::RetainAvailable(false)),
        (|limits| limits.wildcard_available = false, Property::WildcardSubscriptionAvailable(false)),
        (
            |limits| limits.subscription_ids_available = false,
            Property::SubscriptionIdentifierAvailable(false),
        ),
        (|limits| limits.shared_available = false, Property::SharedSubscriptionAvailable(false)),
    ];
    for (change, property) in cases {
        let broker = Broker::limited(|limits| {
            assumed(limits);
            change(limits);
        });
        let connack = broker.open(Version::V5).connect("c", |_| {}, &[]);
        assert_eq!(told(&connack), [property.id()]);
        assert!(has(&connack, property), "{connack:?}");
    }
}

#[test]
fn before_5_0_limits_are_not_told_at_all() {
    for version in [Version::V3_1, Version::V3_1_1] {
        let broker = Broker::limited(|limits| {
            limits.max_qos = Qos::AtMostOnce;
            limits.keep_alive_s_max = 10;
            limits.session_expiry_s_max = 10;
        });
        let connack = broker.open(version).connect("c", |connect| connect.keep_alive_s = 60, &[]);
        assert_eq!(connack.bytes(), [0x20, 2, 0, 0]);
    }
}

#[test]
fn subscriptions_may_ask_for_more_than_the_maximum_qos() {
    for max_qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        for version in VERSIONS {
            let broker = Broker::limited(|limits| limits.max_qos = max_qos);
            let client = broker.client(version, "c");
            for asked in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
                assert!(!client.subscribe("t", asked).is_error());
            }
            client.publish("t", b"x", max_qos);
            assert_eq!(client.receive_publish().qos, max_qos);
        }
    }
}

#[test]
fn a_will_above_the_maximum_qos_is_refused() {
    for max_qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let broker = Broker::limited(|limits| limits.max_qos = max_qos);
            let mut client = broker.open(Version::V5);
            let connack = client.connect("c", |connect| connect.will = Some(will("t", b"x", qos)), &[]);
            if qos <= max_qos {
                assert_eq!(connack.reason(), Reason::Success);
                client.expect_nothing();
            } else {
                assert_eq!(connack.reason(), Reason::QosNotSupported);
                client.expect_closed();
                assert_eq!(broker.sessions(), 0);
            }
        }
    }
}

#[test]
fn a_retained_will_is_refused_where_nothing_is_retained() {
    for available in [true, false] {
        for retain in [true, false] {
            let broker = Broker::limited(|limits| limits.retain_available = available);
            let mut client = broker.open(Version::V5);
            let change = |connect: &mut Connect<'_>| {
                let mut will = will("t", b"x", Qos::AtMostOnce);
                will.retain = retain;
                connect.will = Some(will);
            };
            let connack = client.connect("c", change, &[]);
            if available || !retain {
                assert_eq!(connack.reason(), Reason::Success);
                client.expect_nothing();
            } else {
                assert_eq!(connack.reason(), Reason::RetainNotSupported);
                client.expect_closed();
                assert_eq!(broker.sessions(), 0);
            }
        }
    }
}

#[test]
fn a_will_that_will_not_be_published_is_refused() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.topic_levels_max = 2);
        let mut client = broker.open(version);
        let change = |connect: &mut Connect<'_>| connect.will = Some(will("$SYS/x", b"x", Qos::AtMostOnce));
        assert_eq!(client.connect("c", change, &[]).reason(), Reason::NotAuthorized);
        client.expect_closed();
        let mut client = broker.open(version);
        let change = |connect: &mut Connect<'_>| connect.will = Some(will("a/b/c", b"x", Qos::AtMostOnce));
        let connack = client.connect("c", change, &[]);
        let expected = if version.is_v5() { Reason::TopicNameInvalid } else { Reason::NotAuthorized };
        assert_eq!(connack.reason(), expected);
        client.expect_closed();
    }
}

/// Sends a CONNECT of 5.0 and takes no answer.
fn connect(client: &Client, will: Option<Will<'_>>, properties: &[Property<'_>]) {
    let properties = buffer(properties);
    client.send(&Packet::Connect(Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 0,
        client_id: "c",
        will,
        user_name: None,
        password: None,
        properties: properties.as_properties(),
        bridge: false,
    }));
}

fn publish(client: &Client, topic: Option<&str>, qos: Qos, retain: bool, properties: &[Property<'_>]) {
    let properties = buffer(properties);
    client.send(&Packet::Publish(Publish {
        dup: false,
        qos,
        retain,
        topic: topic.map(|topic| TopicName::parse(topic).expect("a topic name")),
        packet_id: (qos > Qos::AtMostOnce).then(|| id(1)),
        properties: properties.as_properties(),
        payload: b"x",
    }));
}

#[test]
fn who_publishes_above_the_maximum_qos_is_cut_off() {
    for version in VERSIONS {
        for (max_qos, qos) in [(Qos::AtMostOnce, Qos::AtLeastOnce), (Qos::AtLeastOnce, Qos::ExactlyOnce)] {
            let broker = Broker::limited(|limits| limits.max_qos = max_qos);
            let watcher = broker.client(version, "watcher");
            watcher.subscribe("t", Qos::AtMostOnce);
            let client = broker.client(version, "c");
            client.publish("t", b"x", max_qos);
            assert_eq!(watcher.receive_publishes().len(), 1, "up to it all goes well");
            publish(&client, Some("t"), qos, false, &[]);
            client.expect_disconnect(Reason::QosNotSupported);
            watcher.expect_nothing();
        }
    }
}

#[test]
fn who_retains_where_nothing_is_retained_is_cut_off() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.retain_available = false);
        let client = broker.client(version, "c");
        publish(&client, Some("t"), Qos::AtMostOnce, false, &[]);
        client.expect_nothing();
        publish(&client, Some("t"), Qos::AtMostOnce, true, &[]);
        client.expect_disconnect(Reason::RetainNotSupported);
    }
}

#[test]
fn who_sends_a_packet_above_the_maximum_size_is_cut_off() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.packet_size_max = 100);
        let client = broker.client(version, "c");
        let head: &[u8] = if version.is_v5() { b"\0\x01t\0" } else { b"\0\x01t" };
        let packet =
            |len: usize| [&[0x30, (len - 2) as u8], head, &vec![b'x'; len - 2 - head.len()]].concat();
        client.send_bytes(&packet(100));
        client.expect_nothing();
        // Its header is enough.
        client.send_bytes(&packet(101)[..2]);
        client.expect_disconnect(Reason::PacketTooLarge);
    }
}

#[test]
fn who_sets_a_topic_alias_above_the_maximum_is_cut_off() {
    for maximum in [0, 1, 32, 65_534] {
        let broker = Broker::limited(|limits| limits.topic_alias_max = maximum);
        let client = broker.client(Version::V5, "c");
        client.subscribe("t", Qos::AtMostOnce);
        for alias in (1..=maximum).take(40).chain(maximum.checked_sub(1).filter(|alias| *alias > 0)) {
            publish(&client, Some("t"), Qos::AtMostOnce, false, &[Property::TopicAlias(alias)]);
            publish(&client, None, Qos::AtMostOnce, false, &[Property::TopicAlias(alias)]);
            assert_eq!(client.receive_publishes().len(), 2, "{alias} of {maximum}");
        }
        publish(&client, Some("t"), Qos::AtMostOnce, false, &[Property::TopicAlias(maximum + 1)]);
        client.expect_disconnect(Reason::TopicAliasInvalid);
    }
}

#[test]
fn a_client_that_cannot_be_told_its_terms_is_refused_without_a_trace() {
    let full = Broker::new().open(Version::V5).connect("c", |_| {}, &[]).bytes().len();
    assert!(full > 5, "there is something to tell");
    for maximum in 1..full as u32 + 10 {
        let broker = Broker::new();
        let watcher = broker.client(Version::V5, "watcher");
        watcher.subscribe("#", Qos::AtMostOnce);
        let (present, _) = broker.persistent(Version::V5, "c");
        let client = broker.open(Version::V5);
        let with_will = Some(will("will", b"x", Qos::AtMostOnce));
        connect(&client, with_will, &[Property::MaximumPacketSize(maximum)]);
        let answers = client.receive_all();
        assert!(answers.iter().all(|answer| answer.bytes().len() <= maximum as usize));
        // A CONNACK, never a DISCONNECT.
        assert!(answers.iter().all(|answer| answer.bytes()[0] == 0x20));
        if maximum as usize >= full {
            assert_eq!(answers[0].reason(), Reason::Success);
            assert_eq!(answers[0].bytes().len(), full, "and nothing is left out");
            present.expect_disconnect(Reason::SessionTakenOver);
            continue;
        }
        // A refusal has five bytes. Whether it can be said or not, the connection closes.
        let expected: &[Reason] = if maximum < 5 { &[] } else { &[Reason::PacketTooLarge] };
        let reasons: Vec<_> = answers.iter().map(Received::reason).collect();
        assert_eq!(reasons, expected);
        client.expect_closed();
        // Nobody was taken over, no session began, no will went out.
        present.expect_nothing();
        watcher.expect_nothing();
        assert_eq!(broker.sessions(), 2);
    }
}

#[test]
fn no_refusal_is_larger_than_the_client_takes() {
    for maximum in 1..10 {
        let broker = Broker::new();
        let client = broker.open(Version::V5);
        let method = Property::AuthenticationMethod("unknown");
        connect(&client, None, &[Property::MaximumPacketSize(maximum), method]);
        let expected: &[&[u8]] = if maximum < 5 { &[] } else { &[&[0x20, 3, 0, 0x8C, 0]] };
        let answers = client.receive_all();
        assert_eq!(answers.iter().map(Received::bytes).collect::<Vec<_>>(), expected);
        client.expect_closed();
    }
}
