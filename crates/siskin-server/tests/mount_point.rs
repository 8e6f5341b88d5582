//! Listeners with a mount point: their clients know a part of the topic tree, and take it for the whole.
//!
//! The first listener of each broker has none, the second has `plant/7/`.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};

use siskin_core::MountPoint;
use siskin_proto::{
    Connect, Disconnect, Packet, PacketId, Properties, PropertiesBuf, Property, Publish, Qos, Reason,
    Subscribe, TopicFilter, TopicName, Unsubscribe, Version, Will,
};
use siskin_server::Server;
use siskin_server::config::Listener;
use support::{Client, broker, connect_packet, dial, publish_packet};

fn mounted_broker(workers: u16) -> Server {
    broker(|config| {
        let whole = Listener::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let mount_point = Some(MountPoint::parse("plant/7/").unwrap());
        let other = Some(MountPoint::parse("plant/8/").unwrap());
        config.listeners = vec![
            whole.clone(),
            Listener { mount_point, ..whole.clone() },
            Listener { mount_point: other, ..whole },
        ];
        config.workers = workers;
    })
}

fn join(server: &Server, listener: usize, connect: &Connect<'_>) -> Client {
    Client::over(dial(server.addresses()[listener])).connected(connect)
}

/// A 5.0 client with a new session that sees everything.
fn outside(server: &Server, client_id: &str) -> Client {
    join(server, 0, &connect_packet(client_id, Version::V5))
}

/// One that sees what is below `plant/7/`.
fn inside(server: &Server, client_id: &str) -> Client {
    join(server, 1, &connect_packet(client_id, Version::V5))
}

impl<S: std::io::Read + std::io::Write> Client<S> {
    /// Waits for a PUBLISH: its topic, payload and RETAIN.
    fn expect_message(&mut self, topic: &str, payload: &str, retain: bool) {
        self.next(|packet| match packet {
            Packet::Publish(publish) => {
                let name = publish.topic.map(TopicName::as_str);
                let said = std::str::from_utf8(publish.payload).unwrap();
                assert_eq!((name, said, publish.retain), (Some(topic), payload, retain));
            }
            other => panic!("expected PUBLISH, got {other:?}"),
        });
    }

    fn publish_and_wait(&mut self, topic: &str, payload: &str) {
        self.publish(topic, payload.as_bytes(), Qos::AtLeastOnce);
        self.expect("PUBACK", |packet| matches!(packet, Packet::PubAck(ack) if !ack.reason.is_error()));
    }

    fn retain(&mut self, topic: &str, payload: &str) {
        let publish = publish_packet(topic, payload.as_bytes(), Qos::AtLeastOnce);
        self.send(&Packet::Publish(Publish { retain: true, ..publish }));
        self.expect("PUBACK", |packet| matches!(packet, Packet::PubAck(ack) if !ack.reason.is_error()));
    }

    fn expect_nothing(&mut self) {
        // An answer that comes next says that nothing came before it.
        self.ping();
    }
}

#[test]
fn topics_get_the_mount_point_in_front_and_lose_it_again() {
    for workers in [1, 2] {
        let server = mounted_broker(workers);
        let (mut all, mut device) = (outside(&server, "all"), inside(&server, "device"));
        let mut colleague = join(&server, 1, &connect_packet("colleague", Version::V3_1_1));
        all.subscribe("#", Qos::AtMostOnce);
        colleague.subscribe("+/a", Qos::AtMostOnce);
        device.publish_and_wait("line/a", "from inside");
        all.expect_message("plant/7/line/a", "from inside", false);
        colleague.expect_message("line/a", "from inside", false);
        all.publish("plant/7/line/a", b"from outside", Qos::AtMostOnce);
        colleague.expect_message("line/a", "from outside", false);
        server.stop();
    }
}

#[test]
fn what_is_not_below_the_mount_point_is_not_there() {
    let server = mounted_broker(1);
    let (mut all, mut device) = (outside(&server, "all"), inside(&server, "device"));
    device.subscribe("#", Qos::AtMostOnce);
    for topic in ["line/a", "plant/8/a", "plant/7", "plant/7/", "plant", "/plant/7/a"] {
        all.publish(topic, b"not for you", Qos::AtMostOnce);
    }
    all.ping();
    device.expect_nothing();
    server.stop();
}

#[test]
fn names_that_begin_with_a_dollar_are_below_the_mount_point_too() {
    let server = mounted_broker(1);
    let (mut all, mut device) = (outside(&server, "all"), inside(&server, "device"));
    all.subscribe("plant/7/$SYS/#", Qos::AtMostOnce);
    device.subscribe("$SYS/#", Qos::AtMostOnce);
    // Its own and not the broker's, which nobody may publish to.
    device.publish("$SYS/broker/version", b"mine", Qos::AtMostOnce);
    all.expect_message("plant/7/$SYS/broker/version", "mine", false);
    device.expect_message("$SYS/broker/version", "mine", false);
    server.stop();
}

#[test]
fn retained_messages_are_found_by_the_names_of_either_side() {
    let server = mounted_broker(1);
    let (mut all, mut device) = (outside(&server, "all"), inside(&server, "device"));
    device.retain("state", "on");
    all.retain("plant/7/mode", "auto");
    all.retain("mode", "not for you");
    all.subscribe("+/+/state", Qos::AtLeastOnce);
    all.expect_message("plant/7/state", "on", true);
    device.subscribe("+", Qos::AtMostOnce);
    device.expect_message("mode", "auto", true);
    device.expect_message("state", "on", true);
    let mut other = inside(&server, "other");
    other.retain("state", "");
    let mut late = inside(&server, "late");
    late.subscribe("state", Qos::AtMostOnce);
    late.expect_nothing();
    server.stop();
}

#[test]
fn a_will_is_published_below_the_mount_point() {
    let server = mounted_broker(1);
    let (mut all, mut colleague) = (outside(&server, "all"), inside(&server, "colleague"));
    all.subscribe("#", Qos::AtMostOnce);
    colleague.subscribe("#", Qos::AtMostOnce);
    let will = Will {
        topic: TopicName::parse("gone").unwrap(),
        payload: b"device",
        qos: Qos::AtMostOnce,
        retain: false,
        properties: Properties::EMPTY,
    };
    let connect = Connect { will: Some(will), ..connect_packet("device", Version::V5) };
    drop(join(&server, 1, &connect));
    all.expect_message("plant/7/gone", "device", false);
    colleague.expect_message("gone", "device", false);
    server.stop();
}

#[test]
fn a_shared_subscription_shares_what_is_below_the_mount_point() {
    let server = mounted_broker(1);
    let (mut all, mut device) = (outside(&server, "all"), inside(&server, "device"));
    device.subscribe("$share/group/work/+", Qos::AtLeastOnce);
    all.publish_and_wait("plant/7/work/1", "first");
    all.publish("work/1", b"not for you", Qos::AtMostOnce);
    device.expect_message("work/1", "first", false);
    // The same group by its whole name.
    let mut member = outside(&server, "member");
    member.subscribe("$share/group/plant/7/work/+", Qos::AtMostOnce);
    for _ in 0..4 {
        all.publish_and_wait("plant/7/work/2", "one of two");
    }
    for _ in 0..2 {
        member.expect_message("plant/7/work/2", "one of two", false);
        device.expect_message("work/2", "one of two", false);
    }
    server.stop();
}

#[test]
fn an_unsubscribe_ends_what_the_same_words_began() {
    let server = mounted_broker(1);
    let (mut all, mut device) = (outside(&server, "all"), inside(&server, "device"));
    let unsubscribe = |device: &mut Client, filter: &str, expected: Reason| {
        device.send(&Packet::Unsubscribe(Unsubscribe {
            packet_id: PacketId::new(2).unwrap(),
            properties: Properties::EMPTY,
            filters: vec![TopicFilter::parse(filter).unwrap()],
        }));
        device.expect(
            "UNSUBACK",
            |packet| matches!(packet, Packet::UnsubAck(ack) if ack.reasons == [expected]),
        );
    };
    for filter in ["a/+", "$share/group/a/b"] {
        device.subscribe(filter, Qos::AtMostOnce);
        unsubscribe(&mut device, &format!("plant/7/{filter}"), Reason::NoSubscriptionExisted);
        unsubscribe(&mut device, filter, Reason::Success);
    }
    all.publish_and_wait("plant/7/a/b", "nobody listens");
    device.expect_nothing();
    server.stop();
}

#[test]
fn topic_aliases_and_subscription_identifiers_work_in_both_directions() {
    let server = mounted_broker(1);
    let mut properties = PropertiesBuf::new();
    properties.push(Property::TopicAliasMaximum(5));
    let connect = Connect { properties: properties.as_properties(), ..connect_packet("device", Version::V5) };
    let (mut device, mut all) = (join(&server, 1, &connect), outside(&server, "all"));
    all.subscribe("#", Qos::AtMostOnce);
    let mut id = PropertiesBuf::new();
    id.push(Property::SubscriptionIdentifier(77));
    device.send(&Packet::Subscribe(Subscribe {
        packet_id: PacketId::new(1).unwrap(),
        properties: id.as_properties(),
        filters: vec![(TopicFilter::parse("b").unwrap(), Default::default())],
    }));
    device.expect("SUBACK", |packet| matches!(packet, Packet::SubAck(_)));
    let mut alias = PropertiesBuf::new();
    alias.push(Property::TopicAlias(3));
    for topic in [TopicName::parse("b").ok(), None] {
        let publish = publish_packet("b", b"aliased", Qos::AtMostOnce);
        device.send(&Packet::Publish(Publish { topic, properties: alias.as_properties(), ..publish }));
        all.expect_message("plant/7/b", "aliased", false);
    }
    let seen = |packet: Packet<'_>| match packet {
        Packet::Publish(publish) => {
            let ids: Vec<_> = publish.properties.subscription_identifiers().collect();
            assert_eq!(ids, [77]);
            (publish.topic.map(|topic| topic.as_str().to_owned()), publish.properties.topic_alias())
        }
        other => panic!("expected PUBLISH, got {other:?}"),
    };
    let (name, set) = device.next(seen);
    assert_eq!((name.as_deref(), set.is_some()), (Some("b"), true));
    assert_eq!(device.next(seen), (None, set));
    server.stop();
}

#[test]
fn a_session_that_is_away_keeps_its_mount_point_until_it_is_back() {
    let server = mounted_broker(2);
    let mut properties = PropertiesBuf::new();
    properties.push(Property::SessionExpiryInterval(1000));
    let lasting = Connect { properties: properties.as_properties(), ..connect_packet("device", Version::V5) };
    let back = Connect { clean_start: false, ..lasting };
    let mut device = join(&server, 1, &lasting);
    device.subscribe("a/#", Qos::AtLeastOnce);
    device.send(&Packet::Disconnect(Disconnect { reason: Reason::Success, properties: Properties::EMPTY }));
    device.expect_end();
    let mut all = outside(&server, "all");
    for payload in ["1", "2"] {
        all.publish_and_wait("plant/7/a/b", payload);
    }
    let mut device = join(&server, 1, &back);
    device.expect_message("a/b", "1", false);
    device.expect_message("a/b", "2", false);
    drop(device);
    // By the door of others it finds its session, and nothing that is not theirs.
    let mut device = join(&server, 2, &back);
    all.publish_and_wait("plant/7/a/b", "3");
    device.expect_nothing();
    drop(device);
    // By the door without a mount point it sees what the whole names say.
    let mut device = join(&server, 0, &back);
    all.publish_and_wait("plant/7/a/b", "4");
    device.expect_message("plant/7/a/b", "4", false);
    server.stop();
}

#[test]
fn a_name_too_long_behind_its_mount_point_ends_the_connection() {
    let server = mounted_broker(1);
    let long = "x".repeat(65_530);
    let mut device = inside(&server, "device");
    device.publish(&long, b"", Qos::AtMostOnce);
    let is_told = |packet: &Packet<'_>| matches!(packet, Packet::Disconnect(end) if end.reason == Reason::TopicNameInvalid);
    device.expect("DISCONNECT", is_told);
    device.expect_end();
    let will = Will {
        topic: TopicName::parse(&long).unwrap(),
        payload: b"",
        qos: Qos::AtMostOnce,
        retain: false,
        properties: Properties::EMPTY,
    };
    let mut device = Client::over(dial(server.addresses()[1]));
    device.send(&Packet::Connect(Connect { will: Some(will), ..connect_packet("device", Version::V5) }));
    device.expect(
        "CONNACK",
        |packet| matches!(packet, Packet::ConnAck(ack) if ack.reason == Reason::TopicNameInvalid),
    );
    server.stop();
}
