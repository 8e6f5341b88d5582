//! Receive Maximum in both directions: who waits for what, and that nothing waits for ever.

use siskin_proto::{
    Connect, Packet, PacketKind, Properties, Property, Publish, Qos, Reason, Subscribe, SubscriptionOptions,
    TopicFilter, Version,
};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// A broker and a 5.0 client that subscribes to `#` and takes `maximum` messages at once.
fn with_receive_maximum(maximum: u16) -> (Broker, Client) {
    let broker = Broker::new();
    let properties = [Property::ReceiveMaximum(maximum)];
    let subscriber = broker.client_with(Version::V5, "s", |_| {}, &properties);
    subscriber.subscribe("#", Qos::ExactlyOnce);
    (broker, subscriber)
}

#[test]
fn as_many_messages_come_at_once_as_the_receive_maximum_says() {
    for maximum in [1, 2, 7, 100] {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let (broker, subscriber) = with_receive_maximum(maximum);
            let publisher = broker.client(Version::V5, "p");
            let total = usize::from(maximum) + 10;
            for n in 0..total {
                publisher.publish("t", &[n as u8], qos);
            }
            let mut open = subscriber.receive_publishes();
            assert_eq!(open.len(), usize::from(maximum));
            for n in 0..total {
                let oldest = open.remove(0);
                assert_eq!(oldest.payload, [n as u8]);
                subscriber.acknowledge(&oldest);
                open.extend(subscriber.receive_publishes());
                assert_eq!(open.len(), usize::from(maximum).min(total - n - 1));
            }
        }
    }
}

#[test]
fn without_a_receive_maximum_the_brokers_own_window_holds() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.inflight_max = 5);
        let subscriber = broker.client(version, "s");
        subscriber.subscribe("t", Qos::AtLeastOnce);
        let publisher = broker.client(version, "p");
        for n in 0..12_u8 {
            publisher.publish("t", &[n], Qos::AtLeastOnce);
        }
        let mut open = subscriber.receive_publishes();
        assert_eq!(open.len(), 5);
        let mut seen = Vec::new();
        while !open.is_empty() {
            let oldest = open.remove(0);
            subscriber.acknowledge(&oldest);
            seen.extend(oldest.payload);
            open.extend(subscriber.receive_publishes());
        }
        assert_eq!(seen, (0..12).collect::<Vec<u8>>());
    }
}

#[test]
fn a_qos_2_message_holds_its_place_until_pubcomp() {
    let (broker, subscriber) = with_receive_maximum(1);
    let publisher = broker.client(Version::V5, "p");
    publisher.publish("t", b"1", Qos::ExactlyOnce);
    publisher.publish("t", b"2", Qos::AtLeastOnce);
    let open = subscriber.receive_publish().packet_id.unwrap();
    subscriber.expect_nothing();
    subscriber.pubrec(open);
    subscriber.expect_ack(PacketKind::PubRel, open.get(), Reason::Success);
    subscriber.expect_nothing();
    subscriber.pubcomp(open);
    assert_eq!(subscriber.receive_publish().payload, b"2");
}

#[test]
fn an_acknowledgement_twice_gives_back_one_place_only() {
    let (broker, subscriber) = with_receive_maximum(2);
    let publisher = broker.client(Version::V5, "p");
    for payload in [b"1", b"2", b"3", b"4", b"5"] {
        publisher.publish("t", payload, Qos::ExactlyOnce);
    }
    let open = subscriber.receive_publish().packet_id.unwrap();
    assert_eq!(subscriber.receive_publishes().len(), 1);
    subscriber.pubrec(open);
    subscriber.receive();
    for _ in 0..3 {
        subscriber.pubcomp(open);
        subscriber.puback(open);
        subscriber.pubcomp(id(60_001));
    }
    assert_eq!(subscriber.receive_publish().payload, b"3");
    subscriber.expect_nothing();
}

#[test]
fn every_way_of_freeing_a_place_starts_the_next_message() {
    let (broker, subscriber) = with_receive_maximum(1);
    let publisher = broker.client(Version::V5, "p");
    let send = |n: u8, qos, properties: &[Property<'_>]| {
        publisher.publish_with("t", &[n], qos, false, properties);
    };
    send(0, Qos::AtLeastOnce, &[]);
    send(1, Qos::AtLeastOnce, &[]);
    send(2, Qos::ExactlyOnce, &[]);
    send(3, Qos::AtLeastOnce, &[Property::MessageExpiryInterval(1)]);
    send(4, Qos::ExactlyOnce, &[Property::MessageExpiryInterval(1)]);
    send(5, Qos::ExactlyOnce, &[]);
    send(6, Qos::AtLeastOnce, &[]);
    broker.advance_s(2);
    // A success, an error in PUBACK, an error in PUBREC; two that expired; a whole QoS 2 exchange.
    let next = |n: u8| {
        let delivered = subscriber.receive_publish();
        assert_eq!(delivered.payload, [n]);
        subscriber.expect_nothing();
        delivered.packet_id.unwrap()
    };
    subscriber.puback(next(0));
    let id = next(1).get().to_be_bytes();
    subscriber.send_bytes(&[0x40, 3, id[0], id[1], 0x97]);
    subscriber.pubrec_with(next(2), Reason::QuotaExceeded);
    let open = next(5);
    subscriber.pubrec(open);
    subscriber.receive();
    subscriber.pubcomp(open);
    subscriber.puback(next(6));
    subscriber.expect_nothing();
    assert_eq!(broker.totals().dropped_expired, 2);
    assert_eq!(broker.totals().stored_messages, 0);
}

#[test]
fn a_queue_of_nothing_but_expired_messages_does_not_stall_what_comes_later() {
    for version in VERSIONS {
        let broker = Broker::new();
        let (subscriber, _) = broker.persistent(version, "s");
        subscriber.subscribe("t", Qos::AtLeastOnce);
        subscriber.cut();
        let publisher = broker.client(Version::V5, "p");
        for _ in 0..500 {
            let expiry = [Property::MessageExpiryInterval(1)];
            publisher.publish_with("t", b"old", Qos::AtLeastOnce, false, &expiry);
        }
        publisher.publish("t", b"last", Qos::AtLeastOnce);
        broker.advance_s(1);
        let (subscriber, _) = broker.persistent(version, "s");
        assert_eq!(subscriber.receive_publish().payload, b"last");
        subscriber.expect_nothing();
        publisher.publish("t", b"new", Qos::AtLeastOnce);
        assert_eq!(subscriber.receive_publish().payload, b"new");
        assert_eq!(broker.totals().dropped_expired, 500);
    }
}

#[test]
fn at_quota_0_everything_but_messages_above_qos_0_goes_on() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let (broker, client) = with_receive_maximum(1);
        let publisher = broker.client(Version::V5, "p");
        publisher.publish("t", b"1", qos);
        publisher.publish("t", b"2", qos);
        let open = client.receive_publish();
        client.expect_nothing();

        publisher.publish("t", b"0", Qos::AtMostOnce);
        assert_eq!(client.receive_publish().payload, b"0");
        client.send_bytes(&[0xC0, 0]);
        assert_eq!(client.receive().packet().kind(), PacketKind::PingResp);
        assert_eq!(client.subscribe("u", qos) as u8, qos as u8);
        assert_eq!(client.unsubscribe("u"), Some(Reason::Success));
        client.unsubscribe("#");
        client.send_publish(publish("mine", b"", Qos::AtLeastOnce, 7));
        client.expect_ack(PacketKind::PubAck, 7, Reason::NoMatchingSubscribers);
        client.send_publish(publish("mine", b"", Qos::ExactlyOnce, 7));
        client.expect_ack(PacketKind::PubRec, 7, Reason::NoMatchingSubscribers);
        client.pubrel(id(7));
        client.expect_ack(PacketKind::PubComp, 7, Reason::Success);
        client.expect_nothing();

        client.acknowledge(&open);
        assert_eq!(client.receive_publish().payload, b"2");
    }
}

#[test]
fn a_client_may_use_the_whole_receive_maximum_and_not_one_more() {
    let broker = Broker::limited(|limits| limits.receive_maximum = 3);
    let mut client = broker.open(Version::V5);
    let connack = client.connect("c", |_| {}, &[]);
    let Packet::ConnAck(connack) = connack.packet() else { panic!() };
    assert_eq!(connack.properties.receive_maximum(), Some(3));
    let open = |id| {
        client.send_publish(publish("t", b"", Qos::ExactlyOnce, id));
        client.expect_ack(PacketKind::PubRec, id, Reason::NoMatchingSubscribers);
    };
    (1..=3).for_each(open);
    // Neither QoS 0 and 1, which hold no place, nor an id that holds one already, is too many.
    client.publish("t", b"", Qos::AtMostOnce);
    client.publish("t", b"", Qos::AtLeastOnce);
    client.send_publish(Publish { dup: true, ..publish("t", b"", Qos::ExactlyOnce, 2) });
    client.expect_ack(PacketKind::PubRec, 2, Reason::Success);
    // PUBREL gives one back.
    client.pubrel(id(2));
    client.expect_ack(PacketKind::PubComp, 2, Reason::Success);
    open(4);
    client.expect_nothing();
    client.send_publish(publish("t", b"", Qos::ExactlyOnce, 5));
    client.expect_disconnect(Reason::ReceiveMaximumExceeded);
}

#[test]
fn a_message_beyond_the_receive_maximum_is_not_delivered() {
    let broker = Broker::limited(|limits| limits.receive_maximum = 1);
    let listener = broker.client(Version::V5, "listener");
    listener.subscribe("#", Qos::AtMostOnce);
    let client = broker.client(Version::V5, "c");
    client.send_publish(publish("good", b"", Qos::ExactlyOnce, 1));
    client.receive();
    client.send_publish(publish("bad", b"", Qos::ExactlyOnce, 2));
    client.expect_disconnect(Reason::ReceiveMaximumExceeded);
    let topics: Vec<_> = listener.receive_publishes().into_iter().map(|m| m.topic).collect();
    assert_eq!(topics, ["good"]);
}

#[test]
fn a_refused_message_holds_no_place() {
    let broker = Broker::limited(|limits| limits.receive_maximum = 1);
    let client = broker.client(Version::V5, "c");
    for packet_id in 1..=5 {
        client.send_publish(publish("$SYS/mine", b"", Qos::ExactlyOnce, packet_id));
        client.expect_ack(PacketKind::PubRec, packet_id, Reason::NotAuthorized);
    }
    client.expect_nothing();
}

#[test]
fn before_5_there_is_no_receive_maximum() {
    for version in [Version::V3_1, Version::V3_1_1] {
        let broker = Broker::limited(|limits| limits.receive_maximum = 3);
        let client = broker.client(version, "c");
        for packet_id in 1..=2000 {
            client.send_publish(publish("t", b"", Qos::ExactlyOnce, packet_id));
            client.expect_ack(PacketKind::PubRec, packet_id, Reason::Success);
        }
        client.expect_nothing();
    }
}

#[test]
fn messages_may_follow_connect_and_subscribe_at_once() {
    for version in VERSIONS {
        let broker = Broker::new();
        let client = broker.open(version);
        let mut bytes = Vec::new();
        Packet::Connect(Connect {
            version,
            clean_start: true,
            keep_alive_s: 0,
            client_id: "c",
            will: None,
            user_name: None,
            password: None,
            properties: Properties::EMPTY,
            bridge: false,
        })
        .encode(version, &mut bytes);
        Packet::Subscribe(Subscribe {
            packet_id: id(5),
            properties: Properties::EMPTY,
            filters: vec![(
                TopicFilter::parse("t").unwrap(),
                SubscriptionOptions { qos: Qos::AtLeastOnce, ..Default::default() },
            )],
        })
        .encode(version, &mut bytes);
        for packet_id in 1..=3 {
            Packet::Publish(publish("t", b"m", Qos::AtLeastOnce, packet_id)).encode(version, &mut bytes);
        }
        client.send_bytes(&bytes);
        assert_eq!(client.receive().reason(), Reason::Success);
        let kinds: Vec<_> = client.receive_all().iter().map(|r| r.packet().kind()).collect();
        let of = |kind| kinds.iter().filter(|k| **k == kind).count();
        assert_eq!((kinds[0], of(PacketKind::Publish), of(PacketKind::PubAck)), (PacketKind::SubAck, 3, 3));
    }
}
