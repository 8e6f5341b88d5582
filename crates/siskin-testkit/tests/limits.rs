//! What the broker's limits on subscriptions and topics lead to.

use siskin_core::Event;
use siskin_proto::{Packet, Property, Qos, Reason, SubscriptionOptions, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// The CONNACK of a new 5.0 client.
fn connack(broker: &Broker) -> Received {
    broker.open(Version::V5).connect("probe", |_| {}, &[])
}

/// `filter` is refused with this code in a SUBACK; 3.1, which has none, closes.
#[track_caller]
fn expect_refused(broker: &Broker, client: &Client, version: Version, filter: &str, reason: Reason) {
    broker.events();
    if version == Version::V3_1 {
        let subscriptions = broker.shared().router.subscriptions();
        client.send_bytes(
            &[&[0x82, filter.len() as u8 + 5, 0, 1, 0, filter.len() as u8], filter.as_bytes(), &[0]].concat(),
        );
        client.expect_closed();
        assert!(broker.shared().router.subscriptions() <= subscriptions);
    } else {
        let expected = if version.is_v5() { reason } else { Reason::Unspecified };
        assert_eq!(client.subscribe(filter, Qos::AtLeastOnce), expected);
        client.expect_nothing();
    }
    let is_told = |event: &Event| matches!(event, Event::SubscriptionRefused { filter: refused, reason: why, .. } if **refused == *filter && *why == reason);
    assert!(broker.events().iter().any(is_told), "nobody is told that {filter} was refused");
}

#[test]
fn one_subscription_more_than_the_limit_is_refused_with_quota_exceeded() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.subscriptions_max = 3);
        let client = broker.client(version, "c");
        for filter in ["a", "b/+", "$share/g/c"] {
            assert!(!client.subscribe(filter, Qos::AtLeastOnce).is_error());
        }
        // One that stands may be replaced at the limit, and one that goes makes room.
        assert_eq!(client.subscribe("a", Qos::ExactlyOnce), Reason::GrantedQos2);
        client.unsubscribe("b/+");
        assert_eq!(client.subscribe("d", Qos::AtMostOnce), Reason::Success);
        // The limit is each client's own.
        assert!(!broker.client(version, "other").subscribe("e", Qos::AtMostOnce).is_error());
        let publisher = broker.client(version, "p");
        expect_refused(&broker, &client, version, "e", Reason::QuotaExceeded);
        if version != Version::V3_1 {
            publisher.publish("e", b"x", Qos::AtMostOnce);
            client.expect_nothing();
            publisher.publish("d", b"x", Qos::AtMostOnce);
            assert_eq!(client.receive_publish().topic, "d");
        }
    }
}

#[test]
fn a_filter_deeper_than_the_limit_is_refused_and_one_as_deep_is_not() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.topic_levels_max = 3);
        let client = broker.client(version, "c");
        for filter in ["a/b/c", "//", "+/+/#", "$share/g/a/b/c"] {
            assert!(!client.subscribe(filter, Qos::AtLeastOnce).is_error(), "{filter}");
        }
        for filter in ["a/b/c/d", "///", "+/+/+/#", "$share/g/a/b/c/d"] {
            let client = broker.client(version, "d");
            expect_refused(&broker, &client, version, filter, Reason::TopicFilterInvalid);
        }
    }
}

#[test]
fn a_topic_name_deeper_than_the_limit_closes_and_one_as_deep_does_not() {
    for version in VERSIONS {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let broker = Broker::limited(|limits| limits.topic_levels_max = 3);
            let other = broker.client(version, "o");
            other.subscribe("#", Qos::AtMostOnce);
            let client = broker.client(version, "c");
            client.publish("a/b/c", b"x", qos);
            client.publish("//", b"x", qos);
            assert_eq!(other.receive_publishes().len(), 2);
            let packet_id: &[u8] = if qos == Qos::AtMostOnce { &[] } else { &[0, 1] };
            let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
            let body = [b"\0\x07a/b/c/d", packet_id, properties].concat();
            client.send_bytes(&[&[0x30 | (qos as u8) << 1, body.len() as u8], body.as_slice()].concat());
            client.expect_disconnect(Reason::TopicNameInvalid);
            other.expect_nothing();
        }
    }
}

#[test]
fn a_will_topic_deeper_than_the_limit_is_refused_at_connect() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.topic_levels_max = 3);
        let mut client = broker.open(version);
        let deep = |connect: &mut siskin_proto::Connect<'_>| {
            connect.will = Some(will("a/b/c/d", b"x", Qos::AtMostOnce));
        };
        let reason = client.connect("c", deep, &[]).reason();
        assert!(reason.is_error());
        if version.is_v5() {
            assert_eq!(reason, Reason::TopicNameInvalid);
        }
        client.expect_closed();
    }
}

#[test]
fn wildcards_that_are_not_available_are_announced_and_refused() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.wildcard_available = false);
        let client = broker.client(version, "c");
        assert_eq!(client.subscribe("a/b", Qos::AtLeastOnce), Reason::GrantedQos1);
        assert_eq!(client.subscribe("$share/g/a/b", Qos::AtLeastOnce), Reason::GrantedQos1);
        for filter in ["#", "a/+", "$share/g/+"] {
            let client = broker.client(version, "d");
            if version.is_v5() {
                send_subscribe(&client, filter, &[]);
                client.expect_disconnect(Reason::WildcardSubscriptionsNotSupported);
            } else {
                expect_refused(&broker, &client, version, filter, Reason::WildcardSubscriptionsNotSupported);
            }
        }
        assert_eq!(broker.shared().router.subscriptions(), 2);
        let connack = connack(&broker);
        let Packet::ConnAck(told) = connack.packet() else { panic!("{connack:?}") };
        assert_eq!(told.properties.wildcard_subscription_available(), Some(false));
    }
}

#[test]
fn shared_subscriptions_that_are_not_available_are_announced_and_refused() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.shared_available = false);
        let client = broker.client(version, "c");
        assert_eq!(client.subscribe("a/+", Qos::AtLeastOnce), Reason::GrantedQos1);
        if version.is_v5() {
            send_subscribe(&client, "$share/g/a", &[]);
            client.expect_disconnect(Reason::SharedSubscriptionsNotSupported);
        } else {
            let reason = Reason::SharedSubscriptionsNotSupported;
            expect_refused(&broker, &client, version, "$share/g/a", reason);
        }
        assert_eq!(broker.shared().router.shared_subscriptions(), 0);
        let connack = connack(&broker);
        let Packet::ConnAck(told) = connack.packet() else { panic!("{connack:?}") };
        assert_eq!(told.properties.shared_subscription_available(), Some(false));
    }
}

#[test]
fn subscription_identifiers_that_are_not_available_are_announced_and_refused() {
    let broker = Broker::limited(|limits| limits.subscription_ids_available = false);
    let client = broker.client(Version::V5, "c");
    assert_eq!(client.subscribe("a", Qos::AtLeastOnce), Reason::GrantedQos1);
    send_subscribe(&client, "b", &[Property::SubscriptionIdentifier(1)]);
    client.expect_disconnect(Reason::SubscriptionIdentifiersNotSupported);
    assert_eq!(broker.shared().router.subscriptions(), 0);
    let connack = connack(&broker);
    let Packet::ConnAck(told) = connack.packet() else { panic!("{connack:?}") };
    assert_eq!(told.properties.subscription_identifier_available(), Some(false));
}

#[test]
fn what_is_available_is_not_announced() {
    let connack = connack(&Broker::new());
    let Packet::ConnAck(told) = connack.packet() else { panic!("{connack:?}") };
    assert_eq!(told.properties.wildcard_subscription_available(), None);
    assert_eq!(told.properties.shared_subscription_available(), None);
    assert_eq!(told.properties.subscription_identifier_available(), None);
}

#[test]
fn a_subscription_that_is_not_available_takes_the_others_of_its_packet_with_it() {
    let broker = Broker::limited(|limits| limits.wildcard_available = false);
    let client = broker.client(Version::V5, "c");
    client.send_bytes(b"\x82\x0B\x00\x01\x00\x00\x01a\x01\x00\x01+\x01");
    client.expect_disconnect(Reason::WildcardSubscriptionsNotSupported);
    assert_eq!(broker.shared().router.subscriptions(), 0);
}

fn send_subscribe(client: &Client, filter: &str, properties: &[Property<'_>]) {
    let properties = buffer(properties);
    let filter = siskin_proto::TopicFilter::parse(filter).expect("a legal filter");
    client.send(&Packet::Subscribe(siskin_proto::Subscribe {
        packet_id: id(1),
        properties: properties.as_properties(),
        filters: vec![(filter, SubscriptionOptions::default())],
    }));
}

#[test]
fn more_bytes_of_properties_than_allowed_end_the_connection_and_refuse_a_will() {
    let broker = Broker::limited(|limits| limits.properties_bytes_max = 100);
    let (fits, more) = ("v".repeat(94), "v".repeat(95));
    let client = broker.client(Version::V5, "client");
    client.publish_with("t", b"", Qos::AtMostOnce, false, &[Property::UserProperty(("n", &fits))]);
    client.expect_nothing();
    client.publish_with("t", b"", Qos::AtMostOnce, false, &[Property::UserProperty(("n", &more))]);
    client.expect_disconnect(Reason::QuotaExceeded);

    let properties = buffer(&[Property::UserProperty(("n", &more))]);
    let mut heir = broker.open(Version::V5);
    let connack = heir.connect(
        "heir",
        |connect| {
            let mut will = will("t", b"", Qos::AtMostOnce);
            will.properties = properties.as_properties();
            connect.will = Some(will);
        },
        &[],
    );
    assert_eq!(connack.reason(), Reason::QuotaExceeded);
}

#[test]
fn a_client_that_cannot_be_given_its_suback_is_not_left_waiting() {
    let broker = Broker::new();
    let client = broker.client_with(Version::V5, "client", |_| {}, &[Property::MaximumPacketSize(30)]);
    let filters = (0..40).map(|n| (n, format!("f/{n}"))).collect::<Vec<_>>();
    let filter = |text| siskin_proto::TopicFilter::parse(text).unwrap();
    client.send(&Packet::Subscribe(siskin_proto::Subscribe {
        packet_id: id(1),
        properties: siskin_proto::Properties::EMPTY,
        filters: filters.iter().map(|(_, text)| (filter(text), SubscriptionOptions::default())).collect(),
    }));
    client.expect_disconnect(Reason::PacketTooLarge);
}

#[test]
fn ten_thousand_subscriptions_in_one_packet_each_get_their_retained_message() {
    let broker = Broker::limited(|limits| limits.inflight_max = 1);
    let client = broker.client(Version::V5, "client");
    let texts: Vec<_> = (0..10_000).map(|n| format!("f/{n}")).collect();
    for text in &texts {
        client.retain(text, b"kept", Qos::AtMostOnce);
    }
    let filter = |text| siskin_proto::TopicFilter::parse(text).unwrap();
    client.send(&Packet::Subscribe(siskin_proto::Subscribe {
        packet_id: id(1),
        properties: siskin_proto::Properties::EMPTY,
        filters: texts.iter().map(|text| (filter(text), SubscriptionOptions::default())).collect(),
    }));
    assert!(matches!(client.receive().packet(), Packet::SubAck(_)));
    assert_eq!(client.receive_publishes().len(), 10_000, "each filter has its retained message");
}
