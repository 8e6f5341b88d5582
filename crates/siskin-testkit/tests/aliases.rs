//! Topic aliases, both directions.

use std::collections::HashMap;

use siskin_proto::{PacketKind, Property, Publish, Qos, Reason, Version};
use siskin_testkit::*;

/// Publishes by alias alone, at QoS 0.
fn publish_by_alias(client: &Client, alias: u16, payload: &[u8]) {
    let properties = buffer(&[Property::TopicAlias(alias)]);
    let named = publish("unused", payload, Qos::AtMostOnce, 0);
    client.send_publish(Publish { topic: None, properties: properties.as_properties(), ..named });
}

fn set_alias(client: &Client, alias: u16, topic: &str) {
    client.publish_with(topic, b"set", Qos::AtMostOnce, false, &[Property::TopicAlias(alias)]);
}

/// A listener for everything, and a client that may set aliases.
fn pair(broker: &Broker) -> (Client, Client) {
    let listener = broker.client(Version::V5, "listener");
    listener.subscribe("#", Qos::AtMostOnce);
    (listener, broker.client(Version::V5, "c"))
}

#[test]
fn every_alias_up_to_the_maximum_may_be_set_and_used() {
    let broker = Broker::limited(|limits| limits.topic_alias_max = 20);
    let (listener, _) = pair(&broker);
    let mut client = broker.open(Version::V5);
    let connack = client.connect("c", |_| {}, &[]);
    let siskin_proto::Packet::ConnAck(connack) = connack.packet() else { panic!() };
    assert_eq!(connack.properties.topic_alias_maximum(), Some(20));
    for alias in (1..=20).rev() {
        set_alias(&client, alias, &format!("topic/{alias}"));
        assert_eq!(listener.receive_publish().topic, format!("topic/{alias}"));
    }
    for alias in 1..=20 {
        publish_by_alias(&client, alias, b"m");
        let delivered = listener.receive_publish();
        assert_eq!((delivered.topic, delivered.payload), (format!("topic/{alias}"), b"m".to_vec()));
    }
    client.expect_nothing();
}

#[test]
fn an_alias_stands_for_the_topic_it_was_set_to_last() {
    let broker = Broker::new();
    let (listener, client) = pair(&broker);
    set_alias(&client, 1, "a");
    publish_by_alias(&client, 1, b"");
    set_alias(&client, 1, "b");
    publish_by_alias(&client, 1, b"");
    set_alias(&client, 2, "b");
    set_alias(&client, 1, "b");
    publish_by_alias(&client, 2, b"");
    let topics: Vec<_> = listener.receive_publishes().into_iter().map(|m| m.topic).collect();
    assert_eq!(topics, ["a", "a", "b", "b", "b", "b", "b"]);
}

#[test]
fn an_alias_above_the_maximum_ends_the_connection() {
    for (maximum, alias) in [(20, 21), (20, u16::MAX), (0, 1)] {
        let broker = Broker::limited(|limits| limits.topic_alias_max = maximum);
        let (listener, client) = pair(&broker);
        set_alias(&client, alias, "a");
        client.expect_disconnect(Reason::TopicAliasInvalid);
        listener.expect_nothing();
    }
}

#[test]
fn alias_0_ends_the_connection() {
    let broker = Broker::new();
    let (listener, client) = pair(&broker);
    set_alias(&client, 0, "a");
    client.expect_disconnect(Reason::TopicAliasInvalid);
    listener.expect_nothing();
}

#[test]
fn an_alias_that_was_never_set_and_no_alias_at_all_are_protocol_errors() {
    for bytes in [&b"\x30\x06\0\0\x03\x23\0\x01"[..], b"\x30\x03\0\0\0"] {
        let broker = Broker::new();
        let (listener, client) = pair(&broker);
        client.send_bytes(bytes);
        client.expect_disconnect(Reason::ProtocolError);
        listener.expect_nothing();
    }
}

#[test]
fn aliases_end_with_the_connection_though_the_session_goes_on() {
    let broker = Broker::new();
    let (client, _) = broker.persistent(Version::V5, "c");
    set_alias(&client, 1, "a");
    client.cut();
    let (client, session_present) = broker.persistent(Version::V5, "c");
    assert!(session_present);
    publish_by_alias(&client, 1, b"");
    client.expect_disconnect(Reason::ProtocolError);
}

#[test]
fn each_client_has_its_own_aliases() {
    let broker = Broker::new();
    let (listener, client) = pair(&broker);
    let other = broker.client(Version::V5, "other");
    set_alias(&client, 1, "a");
    set_alias(&other, 1, "b");
    publish_by_alias(&client, 1, b"");
    publish_by_alias(&other, 1, b"");
    let topics: Vec<_> = listener.receive_publishes().into_iter().map(|m| m.topic).collect();
    assert_eq!(topics, ["a", "b", "a", "b"]);
}

#[test]
fn a_qos_2_message_that_comes_again_sets_its_alias_all_the_same() {
    let broker = Broker::new();
    let (listener, _) = pair(&broker);
    let (client, _) = broker.persistent(Version::V5, "c");
    let properties = buffer(&[Property::TopicAlias(1)]);
    let properties = properties.as_properties();
    let aliased = Publish { properties, ..publish("a", b"m", Qos::ExactlyOnce, 7) };
    client.send_publish(aliased);
    client.expect_ack(PacketKind::PubRec, 7, Reason::Success);
    client.cut();
    let (client, _) = broker.persistent(Version::V5, "c");
    client.send_publish(Publish { dup: true, ..aliased });
    client.expect_ack(PacketKind::PubRec, 7, Reason::Success);
    // The client has set it on this connection and goes on to use it.
    publish_by_alias(&client, 1, b"next");
    client.expect_nothing();
    let payloads: Vec<_> = listener.receive_publishes().into_iter().map(|m| m.payload).collect();
    assert_eq!(payloads, [&b"m"[..], b"next"]);
}

#[test]
fn a_qos_2_message_that_comes_again_may_not_break_the_rules_for_aliases_either() {
    let broker = Broker::new();
    let client = broker.client(Version::V5, "c");
    client.send_publish(publish("a", b"m", Qos::ExactlyOnce, 7));
    client.expect_ack(PacketKind::PubRec, 7, Reason::NoMatchingSubscribers);
    let properties = buffer(&[Property::TopicAlias(u16::MAX)]);
    let properties = properties.as_properties();
    client.send_publish(Publish { dup: true, properties, ..publish("a", b"m", Qos::ExactlyOnce, 7) });
    client.expect_disconnect(Reason::TopicAliasInvalid);
}

#[test]
fn the_publishers_alias_is_not_passed_on() {
    for to in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let broker = Broker::new();
        let subscriber = broker.client(to, "s");
        subscriber.subscribe("#", Qos::AtLeastOnce);
        let client = broker.client(Version::V5, "c");
        set_alias(&client, 3, "a");
        publish_by_alias(&client, 3, b"m");
        for _ in 0..2 {
            let delivered = subscriber.receive_publish();
            assert_eq!(delivered.topic, "a");
            assert_eq!(delivered.properties().topic_alias(), None);
        }
    }
}

/// A subscriber for everything that allows `maximum` aliases, or does not speak of them.
fn subscriber(broker: &Broker, maximum: Option<u16>) -> Client {
    let mut properties = vec![Property::SessionExpiryInterval(u32::MAX)];
    properties.extend(maximum.map(Property::TopicAliasMaximum));
    let subscriber = broker.client_with(Version::V5, "s", |connect| connect.clean_start = false, &properties);
    subscriber.receive_all();
    subscriber
}

/// The topics of all messages that came, by the receiver's rules for aliases; and how many were named
/// by an alias alone.
#[track_caller]
fn resolve(client: &Client, maximum: u16) -> (Vec<String>, usize) {
    let mut aliases = HashMap::new();
    let mut by_alias = 0;
    let mut topics = Vec::new();
    for delivered in client.receive_publishes() {
        let alias = delivered.properties().topic_alias();
        assert!(alias.is_none_or(|alias| (1..=maximum).contains(&alias)), "{alias:?}");
        let topic = match (alias, delivered.topic.is_empty()) {
            (None, true) => panic!("neither topic nor alias"),
            (None, false) => delivered.topic.clone(),
            (Some(alias), false) => {
                aliases.insert(alias, delivered.topic.clone());
                delivered.topic.clone()
            }
            (Some(alias), true) => {
                by_alias += 1;
                aliases.get(&alias).expect("an alias that was set").clone()
            }
        };
        topics.push(topic);
    }
    (topics, by_alias)
}

#[test]
fn a_client_gets_no_alias_above_its_maximum_and_none_if_it_allows_none() {
    for (maximum, expected) in [(None, 0), (Some(0), 0), (Some(1), 2), (Some(2), 4), (Some(9), 6)] {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let broker = Broker::new();
            let client = subscriber(&broker, maximum);
            client.subscribe("#", qos);
            let publisher = broker.client(Version::V5, "p");
            let topics = ["a", "b", "c", "a", "b", "c", "c", "b", "a"];
            for topic in topics {
                publisher.publish(topic, b"m", qos);
            }
            let (resolved, by_alias) = resolve(&client, maximum.unwrap_or(0));
            assert_eq!(resolved, topics);
            assert_eq!(by_alias, expected, "of {maximum:?}");
        }
    }
}

#[test]
fn the_broker_sets_no_more_aliases_than_it_means_to() {
    let broker = Broker::limited(|limits| limits.topic_alias_max_out = 2);
    let client = subscriber(&broker, Some(u16::MAX));
    client.subscribe("#", Qos::AtMostOnce);
    let publisher = broker.client(Version::V5, "p");
    for n in (0..10).chain(0..10) {
        publisher.publish(&format!("t{n}"), b"", Qos::AtMostOnce);
    }
    let (resolved, by_alias) = resolve(&client, 2);
    assert_eq!((resolved.len(), by_alias), (20, 2));
}

#[test]
fn a_client_of_3_never_gets_an_alias() {
    for version in [Version::V3_1, Version::V3_1_1] {
        let broker = Broker::new();
        let client = broker.client(version, "s");
        client.subscribe("#", Qos::AtMostOnce);
        let publisher = broker.client(Version::V5, "p");
        (0..3).for_each(|_| _ = publisher.publish("a", b"", Qos::AtMostOnce));
        assert!(client.receive_publishes().iter().all(|m| m.topic == "a"));
    }
}

#[test]
fn on_a_new_connection_every_alias_is_set_again_also_for_resends() {
    let broker = Broker::new();
    let client = subscriber(&broker, Some(5));
    client.subscribe("#", Qos::AtLeastOnce);
    let publisher = broker.client(Version::V5, "p");
    publisher.publish("a", b"1", Qos::AtLeastOnce);
    publisher.publish("a", b"2", Qos::AtLeastOnce);
    assert_eq!(resolve(&client, 5), (vec!["a".into(), "a".into()], 1));
    client.cut();
    publisher.publish("a", b"3", Qos::AtLeastOnce);
    let resume = |connect: &mut siskin_proto::Connect<'_>| connect.clean_start = false;
    let properties = [Property::SessionExpiryInterval(u32::MAX), Property::TopicAliasMaximum(5)];
    let client = broker.client_with(Version::V5, "s", resume, &properties);
    assert_eq!(resolve(&client, 5), (vec!["a".into(); 3], 2));
    // And one that allows none any more gets names.
    client.cut();
    let properties = [Property::SessionExpiryInterval(u32::MAX)];
    let client = broker.client_with(Version::V5, "s", resume, &properties);
    assert_eq!(resolve(&client, 0), (vec!["a".into(); 3], 0));
}

#[test]
fn a_message_that_is_dropped_sets_no_alias() {
    let broker = Broker::limited(|limits| limits.out_buffer_bytes_max = 1000);
    let properties = [Property::TopicAliasMaximum(5), Property::MaximumPacketSize(100)];
    let client = broker.client_with(Version::V5, "s", |_| {}, &properties);
    client.subscribe("#", Qos::AtMostOnce);
    let publisher = broker.client(Version::V5, "p");
    // Too large for the client.
    publisher.publish("a", &[0; 200], Qos::AtMostOnce);
    client.expect_nothing();
    publisher.publish("a", b"", Qos::AtMostOnce);
    assert_eq!(client.receive_publish().topic, "a");
    // Dropped because the client does not read.
    client.stall_after(0);
    (0..50).for_each(|_| _ = publisher.publish("a", &[0; 50], Qos::AtMostOnce));
    publisher.publish("b", b"", Qos::AtMostOnce);
    assert!(broker.totals().dropped_slow_reader > 1);
    client.resume();
    client.receive_all();
    publisher.publish("b", b"", Qos::AtMostOnce);
    assert_eq!(client.receive_publish().topic, "b");
}

#[test]
fn a_qos_2_message_refused_for_its_alias_is_new_when_it_comes_rightly() {
    let broker = Broker::new();
    let (listener, _) = pair(&broker);
    let (client, _) = broker.persistent(Version::V5, "c");
    let properties = buffer(&[Property::TopicAlias(1)]);
    let properties = properties.as_properties();
    client.send_publish(Publish { topic: None, properties, ..publish("a", b"m", Qos::ExactlyOnce, 7) });
    client.expect_disconnect(Reason::ProtocolError);
    let (client, _) = broker.persistent(Version::V5, "c");
    client.send_publish(Publish { dup: true, ..publish("a", b"m", Qos::ExactlyOnce, 7) });
    client.expect_ack(PacketKind::PubRec, 7, Reason::Success);
    assert_eq!(listener.receive_publish().topic, "a");
}
