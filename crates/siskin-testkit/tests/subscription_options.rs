//! No Local, overlapping subscriptions and subscription identifiers.

use siskin_core::Limits;
use siskin_proto::{
    Packet, PropertiesBuf, Property, Qos, Reason, RetainHandling, Subscribe, SubscriptionOptions,
    TopicFilter, Version,
};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

const NO_LOCAL: SubscriptionOptions = SubscriptionOptions {
    qos: Qos::ExactlyOnce,
    no_local: true,
    retain_as_published: false,
    retain_handling: RetainHandling::SendAtSubscribe,
};

fn at(qos: Qos) -> SubscriptionOptions {
    SubscriptionOptions { qos, ..Default::default() }
}

/// Subscribes under a subscription identifier.
#[track_caller]
fn subscribe_as(client: &Client, filter: &str, qos: Qos, identifier: u32) {
    let reason = client.subscribe_with(filter, at(qos), &[Property::SubscriptionIdentifier(identifier)]);
    assert!(!reason.is_error(), "{reason}");
}

fn identifiers(delivered: &Delivered) -> Vec<u32> {
    let mut identifiers: Vec<_> = delivered.properties().subscription_identifiers().collect();
    identifiers.sort_unstable();
    identifiers
}

#[test]
fn no_local_keeps_a_clients_own_messages_from_it_and_no_others() {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let broker = Broker::new();
        let client = broker.client(Version::V5, "c");
        let other = broker.client(Version::V5, "o");
        client.subscribe_with("a/+", NO_LOCAL, &[]);
        other.subscribe_with("a/+", NO_LOCAL, &[]);
        client.publish("a/1", b"mine", qos);
        client.expect_nothing();
        let got = other.receive_publish();
        assert_eq!((got.payload.as_slice(), got.qos), (b"mine".as_slice(), qos));
        other.acknowledge(&got);
        other.publish("a/1", b"its", qos);
        assert_eq!(client.receive_publish().payload, b"its");
        other.expect_nothing();
    }
}

#[test]
fn without_no_local_a_client_gets_what_it_publishes() {
    for version in VERSIONS {
        let client = Broker::new().client(version, "c");
        client.subscribe("a", Qos::AtMostOnce);
        client.retain("a", b"mine", Qos::AtMostOnce);
        assert_eq!(client.receive_publish().payload, b"mine");
        client.subscribe("a", Qos::AtMostOnce);
        assert!(client.receive_publish().retain);
    }
}

#[test]
fn no_local_holds_across_workers_and_for_queued_messages() {
    let broker = Broker::with(2, Limits { sys_interval_s: 0, ..Limits::default() });
    let clients = ["c", "d"].map(|name| broker.persistent(Version::V5, name).0);
    clients.iter().for_each(|client| _ = client.subscribe_with("a", NO_LOCAL, &[]));
    clients[0].publish("a", b"of c", Qos::AtLeastOnce);
    clients[1].publish("a", b"of d", Qos::AtLeastOnce);
    assert_eq!(clients[0].receive_publish().payload, b"of d");
    assert_eq!(clients[1].receive_publish().payload, b"of c");
    clients.iter().for_each(Client::expect_nothing);
}

#[test]
fn no_local_holds_for_a_will_of_the_same_client_id() {
    let broker = Broker::new();
    let other = broker.client(Version::V5, "o");
    other.subscribe("a", Qos::AtLeastOnce);
    let mut client = broker.open(Version::V5);
    let set_will = |connect: &mut siskin_proto::Connect<'_>| {
        connect.clean_start = false;
        connect.will = Some(will("a", b"gone", Qos::AtLeastOnce));
    };
    client.connect("c", set_will, &[Property::SessionExpiryInterval(60)]);
    client.subscribe_with("a", NO_LOCAL, &[]);
    client.cut();
    assert_eq!(other.receive_publish().payload, b"gone");
    let (client, present) = broker.persistent(Version::V5, "c");
    assert!(present);
    client.expect_nothing();
}

#[test]
fn no_local_holds_for_retained_messages_of_an_earlier_connection() {
    let broker = Broker::new();
    let (client, _) = broker.persistent(Version::V5, "c");
    client.retain("a/1", b"mine", Qos::AtLeastOnce);
    broker.client(Version::V5, "o").retain("a/2", b"its", Qos::AtLeastOnce);
    client.disconnect();
    let (client, present) = broker.persistent(Version::V5, "c");
    assert!(present);
    client.subscribe_with("a/+", NO_LOCAL, &[]);
    assert_eq!(client.receive_publish().payload, b"its");
    client.expect_nothing();
}

#[test]
fn no_local_goes_by_the_client_id_and_not_by_the_session() {
    let broker = Broker::new();
    let client = broker.client(Version::V5, "c");
    client.retain("a/1", b"mine", Qos::AtLeastOnce);
    client.disconnect();
    // Takes the place that the session of c had.
    let other = broker.client(Version::V5, "o");
    let client = broker.client(Version::V5, "c");
    client.subscribe_with("a/+", NO_LOCAL, &[]);
    client.expect_nothing();
    other.subscribe_with("a/+", NO_LOCAL, &[]);
    assert_eq!(other.receive_publish().payload, b"mine");
}

#[test]
fn a_subscription_without_no_local_beside_one_with_it_gets_the_clients_own_messages() {
    let client = Broker::new().client(Version::V5, "c");
    let identifier = [Property::SubscriptionIdentifier(1)];
    client.subscribe_with("a/+", NO_LOCAL, &identifier);
    subscribe_as(&client, "a/b", Qos::AtLeastOnce, 2);
    client.publish("a/b", b"mine", Qos::ExactlyOnce);
    let got = client.receive_publish();
    // Only by the one that lets it pass: its QoS, its identifier.
    assert_eq!((got.qos, identifiers(&got)), (Qos::AtLeastOnce, vec![2]));
    client.expect_nothing();
}

#[test]
fn subscribing_again_replaces_no_local() {
    for no_local in [false, true] {
        let client = Broker::new().client(Version::V5, "c");
        client.subscribe_with("a", SubscriptionOptions { no_local: !no_local, ..NO_LOCAL }, &[]);
        client.subscribe_with("a", SubscriptionOptions { no_local, ..NO_LOCAL }, &[]);
        client.publish("a", b"mine", Qos::AtMostOnce);
        assert_eq!(client.try_receive().is_some(), !no_local);
        client.expect_nothing();
    }
}

#[test]
fn no_local_on_a_shared_subscription_is_a_protocol_error_and_nothing_of_it_is_granted() {
    let broker = Broker::new();
    let client = broker.client(Version::V5, "c");
    let filters = [("b", at(Qos::AtMostOnce)), ("$share/g/a", NO_LOCAL)];
    client.send(&Packet::Subscribe(Subscribe {
        packet_id: id(1),
        properties: siskin_proto::Properties::EMPTY,
        filters: filters
            .map(|(filter, options)| (TopicFilter::parse(filter).expect("legal"), options))
            .into(),
    }));
    client.expect_disconnect(Reason::ProtocolError);
    assert_eq!(broker.shared().router.subscriptions(), 0);
}

#[test]
fn overlapping_subscriptions_deliver_one_copy_at_the_highest_qos_that_matches() {
    let orders: [&[(&str, Qos)]; 4] = [
        &[("a/+", Qos::AtMostOnce), ("a/b", Qos::ExactlyOnce), ("#", Qos::AtLeastOnce)],
        &[("a/b", Qos::ExactlyOnce), ("#", Qos::AtLeastOnce), ("a/+", Qos::AtMostOnce)],
        &[("#", Qos::AtLeastOnce), ("a/+", Qos::ExactlyOnce), ("a/b", Qos::AtMostOnce)],
        &[("a/b", Qos::AtMostOnce), ("a/#", Qos::AtLeastOnce), ("+/+", Qos::ExactlyOnce)],
    ];
    for version in VERSIONS {
        for order in orders {
            let broker = Broker::new();
            let client = broker.client(version, "c");
            order.iter().for_each(|(filter, qos)| _ = client.subscribe(filter, *qos));
            // Matches nothing, and so must not raise the QoS.
            client.subscribe("other", Qos::ExactlyOnce);
            let publisher = broker.client(version, "p");
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
                publisher.publish("a/b", b"x", qos);
                let got = client.receive_publish();
                assert_eq!(got.qos, qos, "{version} {order:?}");
                client.acknowledge(&got);
                client.expect_nothing();
            }
        }
    }
}

#[test]
fn the_highest_qos_is_of_the_subscriptions_that_match_and_no_others() {
    for version in VERSIONS {
        let broker = Broker::new();
        let client = broker.client(version, "c");
        client.subscribe("a/+", Qos::AtMostOnce);
        client.subscribe("a/b", Qos::ExactlyOnce);
        client.subscribe("a/+/c", Qos::ExactlyOnce);
        broker.client(version, "p").publish("a/x", b"x", Qos::ExactlyOnce);
        assert_eq!(client.receive_publish().qos, Qos::AtMostOnce);
    }
}

#[test]
fn a_message_carries_the_identifiers_of_all_subscriptions_that_match_once() {
    let broker = Broker::with(2, Limits { sys_interval_s: 0, ..Limits::default() });
    // On the publisher's worker and on the other; sent at once, and queued.
    for (name, is_queued) in [("a", false), ("b", false), ("c", true), ("d", true)] {
        let (client, _) = broker.persistent(Version::V5, name);
        subscribe_as(&client, "a/b", Qos::AtMostOnce, 1);
        subscribe_as(&client, "a/+", Qos::AtLeastOnce, 268_435_455);
        subscribe_as(&client, "#", Qos::AtMostOnce, 127);
        subscribe_as(&client, "x", Qos::ExactlyOnce, 5);
        client.subscribe("a/#", Qos::AtMostOnce);
        if is_queued {
            client.cut();
        }
        broker.client(Version::V5, "p").publish("a/b", b"x", Qos::ExactlyOnce);
        let client = if is_queued { broker.persistent(Version::V5, name).0 } else { client };
        let got = client.receive_publish();
        assert_eq!((got.qos, identifiers(&got)), (Qos::AtLeastOnce, vec![1, 127, 268_435_455]));
        client.expect_nothing();
        client.disconnect_with(Reason::Success, &[Property::SessionExpiryInterval(0)]);
    }
}

#[test]
fn an_identifier_that_several_matching_subscriptions_have_stands_once_for_each() {
    let broker = Broker::new();
    let client = broker.client(Version::V5, "c");
    subscribe_as(&client, "a/b", Qos::AtMostOnce, 9);
    subscribe_as(&client, "a/+", Qos::AtMostOnce, 9);
    broker.client(Version::V5, "p").publish("a/b", b"x", Qos::AtMostOnce);
    assert_eq!(identifiers(&client.receive_publish()), [9, 9]);
    client.expect_nothing();
}

#[test]
fn subscribing_again_replaces_or_removes_the_identifier() {
    let broker = Broker::new();
    let client = broker.client(Version::V5, "c");
    let publisher = broker.client(Version::V5, "p");
    for filter in ["a", "+", "$share/g/a"] {
        for expected in [Some(1), Some(2), None, Some(3)] {
            match expected {
                Some(identifier) => subscribe_as(&client, filter, Qos::AtMostOnce, identifier),
                None => _ = client.subscribe(filter, Qos::AtMostOnce),
            }
            publisher.publish("a", b"x", Qos::AtMostOnce);
            assert_eq!(identifiers(&client.receive_publish()), Vec::from_iter(expected), "{filter}");
            client.expect_nothing();
        }
        client.unsubscribe(filter);
    }
}

#[test]
fn a_copy_by_a_shared_and_one_by_a_plain_subscription_each_have_their_own_identifier() {
    let broker = Broker::new();
    let client = broker.client(Version::V5, "c");
    subscribe_as(&client, "$share/g/a", Qos::AtLeastOnce, 1);
    subscribe_as(&client, "a", Qos::AtMostOnce, 2);
    broker.client(Version::V5, "p").publish("a", b"x", Qos::AtLeastOnce);
    let mut got: Vec<_> = client.receive_publishes().iter().map(|got| (identifiers(got), got.qos)).collect();
    got.sort_unstable();
    assert_eq!(got, [(vec![1], Qos::AtLeastOnce), (vec![2], Qos::AtMostOnce)]);
}

#[test]
fn retained_messages_for_overlapping_subscriptions_each_have_their_own_identifier() {
    let broker = Broker::new();
    broker.client(Version::V5, "p").retain("a/b", b"x", Qos::AtLeastOnce);
    let client = broker.client(Version::V5, "c");
    subscribe_as(&client, "a/b", Qos::AtLeastOnce, 1);
    assert_eq!(identifiers(&client.receive_publish()), [1]);
    subscribe_as(&client, "a/+", Qos::AtMostOnce, 2);
    assert_eq!(identifiers(&client.receive_publish()), [2]);
    client.expect_nothing();
}

#[test]
fn receivers_without_an_identifier_see_none() {
    let broker = Broker::new();
    let with = broker.client(Version::V5, "with");
    subscribe_as(&with, "a", Qos::AtLeastOnce, 7);
    let others = VERSIONS.map(|version| broker.client(version, &format!("{version}")));
    others.iter().for_each(|other| _ = other.subscribe("a", Qos::AtLeastOnce));
    broker.client(Version::V5, "p").publish("a", b"x", Qos::AtLeastOnce);
    assert_eq!(identifiers(&with.receive_publish()), [7]);
    for other in others {
        assert!(other.receive_publish().properties().is_empty());
    }
}

#[test]
fn subscription_identifier_0_twice_or_in_too_many_bytes_closes() {
    let bad: [(&[u8], Reason); 4] = [
        (&[0x0B, 0], Reason::ProtocolError),
        (&[0x0B, 1, 0x0B, 2], Reason::ProtocolError),
        (&[0x0B, 0x81, 0], Reason::MalformedPacket),
        (&[0x0B, 0x80, 0x80, 0x80, 0x80, 1], Reason::MalformedPacket),
    ];
    for (property, reason) in bad {
        let broker = Broker::new();
        let client = broker.client(Version::V5, "c");
        let body = [&[0, 1, property.len() as u8], property, b"\0\x01a\0"].concat();
        client.send_bytes(&[&[0x82, body.len() as u8], body.as_slice()].concat());
        client.expect_disconnect(reason);
        assert_eq!(broker.shared().router.subscriptions(), 0);
    }
}

#[test]
fn a_subscription_identifier_in_a_clients_publish_is_a_protocol_error() {
    let broker = Broker::new();
    let other = broker.client(Version::V5, "o");
    other.subscribe("a", Qos::AtMostOnce);
    let client = broker.client(Version::V5, "c");
    let mut properties = PropertiesBuf::new();
    properties.push(Property::SubscriptionIdentifier(1));
    client.send(&Packet::Publish(siskin_proto::Publish {
        dup: false,
        qos: Qos::AtMostOnce,
        retain: false,
        topic: Some(siskin_proto::TopicName::parse("a").expect("legal")),
        packet_id: None,
        properties: properties.as_properties(),
        payload: b"x",
    }));
    client.expect_disconnect(Reason::ProtocolError);
    other.expect_nothing();
}
