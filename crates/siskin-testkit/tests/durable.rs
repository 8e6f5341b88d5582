//! What is said while the store has not made anything safe: what waits for it, and what does not.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use siskin_core::Limits;
use siskin_core::store::Health;
use siskin_proto::{
    Connect, Packet, PacketKind, Properties, Property, Publish, Qos, Reason, Subscribe, TopicFilter,
};
use siskin_proto::{Unsubscribe, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

const QOS_1: Qos = Qos::AtLeastOnce;
const QOS_2: Qos = Qos::ExactlyOnce;

/// Calls `test` for each version and for brokers of one worker and of two.
fn everywhere(test: impl Fn(Version, Broker)) {
    for version in VERSIONS {
        for workers in [1, 2] {
            test(version, Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() }));
        }
    }
}

/// A client of a session that lasts, with this subscription.
#[track_caller]
fn lasting(broker: &Broker, version: Version, name: &str, filter: &str, qos: Qos) -> Client {
    let (client, _) = broker.persistent(version, name);
    assert!(!client.subscribe(filter, qos).is_error());
    client
}

/// The store makes everything safe that it was given, and goes on holding.
fn sync(broker: &Broker) {
    while broker.store().sync(usize::MAX) {
        broker.settle();
    }
}

fn retained<'a>(topic: &'a str, payload: &'a [u8], qos: Qos, packet_id: u16) -> Publish<'a> {
    Publish { retain: true, ..publish(topic, payload, qos, packet_id) }
}

fn send_subscribe(client: &Client, filter: &str, qos: Qos) {
    let options = siskin_proto::SubscriptionOptions { qos, ..Default::default() };
    let filters = vec![(TopicFilter::parse(filter).expect("a legal filter"), options)];
    client.send(&Packet::Subscribe(Subscribe { packet_id: id(9), properties: Properties::EMPTY, filters }));
}

fn send_unsubscribe(client: &Client, filter: &str) {
    let filters = vec![TopicFilter::parse(filter).expect("a legal filter")];
    let properties = Properties::EMPTY;
    client.send(&Packet::Unsubscribe(Unsubscribe { packet_id: id(9), properties, filters }));
}

#[track_caller]
fn expect_kind(client: &Client, kind: PacketKind) -> Received {
    let received = client.receive();
    assert_eq!(received.packet().kind(), kind);
    received
}

#[test]
fn puback_of_a_message_for_a_lasting_session_waits_for_its_record_and_no_longer() {
    everywhere(|version, broker| {
        for subscribed in [QOS_1, QOS_2] {
            let subscriber = lasting(&broker, version, "s", "a", subscribed);
            let publisher = broker.client(version, "p");
            broker.store().hold();
            publisher.send_publish(publish("a", b"x", QOS_1, 5));
            publisher.expect_nothing();
            // Its receiver has it already: at QoS 1 nothing is promised to that one.
            let delivered = subscriber.receive_publish();
            assert_eq!(delivered.payload, b"x");
            subscriber.acknowledge(&delivered);
            broker.settle();
            publisher.expect_nothing();
            broker.store().sync(1);
            broker.settle();
            publisher.expect_ack(PacketKind::PubAck, 5, Reason::Success);
            publisher.expect_nothing();
            broker.store().release();
            broker.settle();
        }
    });
}

#[test]
fn puback_waits_for_an_absent_session_too_but_not_for_subscriptions_at_qos_0() {
    everywhere(|version, broker| {
        lasting(&broker, version, "away", "a", QOS_1).cut();
        let plain = lasting(&broker, version, "plain", "b", Qos::AtMostOnce);
        let publisher = broker.client(version, "p");
        broker.store().hold();
        publisher.send_publish(publish("b", b"x", QOS_1, 4));
        publisher.expect_ack(PacketKind::PubAck, 4, Reason::Success);
        assert_eq!(plain.receive_publish().qos, Qos::AtMostOnce);
        publisher.send_publish(publish("a", b"x", QOS_1, 5));
        publisher.expect_nothing();
        sync(&broker);
        publisher.expect_ack(PacketKind::PubAck, 5, Reason::Success);
    });
}

#[test]
fn pubrec_to_a_session_that_lasts_waits_for_its_packet_id_even_if_nobody_subscribes() {
    everywhere(|version, broker| {
        let (publisher, _) = broker.persistent(version, "p");
        broker.store().hold();
        publisher.send_publish(publish("a", b"x", QOS_2, 5));
        publisher.expect_nothing();
        sync(&broker);
        publisher.expect_ack(PacketKind::PubRec, 5, Reason::NoMatchingSubscribers);
        publisher.send_publish(Publish { dup: true, ..publish("a", b"x", QOS_2, 5) });
        publisher.expect_ack(PacketKind::PubRec, 5, Reason::Success);
    });
}

#[test]
fn pubrec_to_a_passing_session_waits_for_lasting_receivers_alone() {
    everywhere(|version, broker| {
        let passing = broker.client(version, "passing");
        passing.subscribe("a", QOS_2);
        lasting(&broker, version, "s", "b", QOS_2).cut();
        let publisher = broker.client(version, "p");
        broker.store().hold();
        publisher.send_publish(publish("a", b"x", QOS_2, 5));
        publisher.expect_ack(PacketKind::PubRec, 5, Reason::Success);
        publisher.pubrel(id(5));
        publisher.expect_ack(PacketKind::PubComp, 5, Reason::Success);
        assert_eq!(passing.receive_publish().qos, QOS_2);
        publisher.send_publish(publish("b", b"x", QOS_2, 6));
        publisher.expect_nothing();
        sync(&broker);
        publisher.expect_ack(PacketKind::PubRec, 6, Reason::Success);
        publisher.pubrel(id(6));
        publisher.expect_ack(PacketKind::PubComp, 6, Reason::Success);
    });
}

#[test]
fn a_repeated_publish_is_not_answered_before_the_first_is_safe() {
    everywhere(|version, broker| {
        let (publisher, _) = broker.persistent(version, "p");
        broker.store().hold();
        publisher.send_publish(publish("a", b"x", QOS_2, 5));
        publisher.send_publish(Publish { dup: true, ..publish("a", b"x", QOS_2, 5) });
        publisher.expect_nothing();
        sync(&broker);
        publisher.expect_ack(PacketKind::PubRec, 5, Reason::NoMatchingSubscribers);
        publisher.expect_ack(PacketKind::PubRec, 5, Reason::Success);
        publisher.expect_nothing();
    });
}

#[test]
fn pubcomp_waits_until_a_lasting_session_has_forgotten_the_id() {
    everywhere(|version, broker| {
        let (publisher, _) = broker.persistent(version, "p");
        publisher.send_publish(publish("a", b"x", QOS_2, 5));
        publisher.expect_ack(PacketKind::PubRec, 5, Reason::NoMatchingSubscribers);
        broker.store().hold();
        publisher.pubrel(id(7));
        publisher.expect_ack(PacketKind::PubComp, 7, Reason::PacketIdentifierNotFound);
        publisher.pubrel(id(5));
        publisher.expect_nothing();
        sync(&broker);
        publisher.expect_ack(PacketKind::PubComp, 5, Reason::Success);
        assert_eq!(broker.store().leftovers(), [""; 0]);
    });
}

#[test]
fn pubrel_to_a_lasting_session_waits_until_its_message_is_known_to_be_taken_over() {
    everywhere(|version, broker| {
        let subscriber = lasting(&broker, version, "s", "a", QOS_2);
        let passing = broker.client(version, "passing");
        passing.subscribe("a", QOS_2);
        broker.client(version, "p").publish("a", b"x", QOS_2);
        let [taken, passed] = [&subscriber, &passing].map(|client| client.receive_publish());
        broker.store().hold();
        passing.pubrec(passed.packet_id.unwrap());
        passing.expect_ack(PacketKind::PubRel, 1, Reason::Success);
        subscriber.pubrec(taken.packet_id.unwrap());
        subscriber.pubrec(taken.packet_id.unwrap());
        subscriber.expect_nothing();
        subscriber.pubrec(id(77));
        subscriber.expect_nothing();
        sync(&broker);
        subscriber.expect_ack(PacketKind::PubRel, 1, Reason::Success);
        subscriber.expect_ack(PacketKind::PubRel, 1, Reason::Success);
        subscriber.expect_ack(PacketKind::PubRel, 77, Reason::PacketIdentifierNotFound);
        subscriber.pubcomp(id(1));
        sync(&broker);
        assert_eq!(broker.store().leftovers(), [""; 0]);
    });
}

#[test]
fn a_qos_2_publish_to_a_lasting_session_waits_for_its_packet_id_and_qos_1_does_not() {
    everywhere(|version, broker| {
        let two = lasting(&broker, version, "two", "a", QOS_2);
        let one = lasting(&broker, version, "one", "a", QOS_1);
        let passing = broker.client(version, "passing");
        passing.subscribe("a", QOS_2);
        let publisher = broker.client(version, "p");
        broker.store().hold();
        publisher.send_publish(publish("a", b"x", QOS_2, 5));
        assert_eq!(one.receive_publish().qos, QOS_1);
        assert_eq!(passing.receive_publish().qos, QOS_2);
        two.expect_nothing();
        sync(&broker);
        let delivered = two.receive_publish();
        assert_eq!((delivered.qos, delivered.dup, delivered.packet_id), (QOS_2, false, Some(id(1))));
        two.expect_nothing();
    });
}

#[test]
fn no_message_overtakes_a_qos_2_one_that_waits_for_its_packet_id() {
    everywhere(|version, broker| {
        let subscriber = lasting(&broker, version, "s", "a", QOS_2);
        let publisher = broker.client(version, "p");
        broker.store().hold();
        publisher.send_publish(publish("a", b"1", QOS_2, 5));
        publisher.send_publish(publish("a", b"2", QOS_1, 6));
        publisher.send_publish(publish("a", b"3", QOS_2, 7));
        subscriber.expect_nothing();
        sync(&broker);
        let payloads: Vec<_> = subscriber.receive_publishes().into_iter().map(|p| p.payload).collect();
        assert_eq!(payloads, [b"1", b"2", b"3"]);
    });
}

#[test]
fn suback_and_unsuback_of_a_lasting_session_wait_and_others_do_not() {
    everywhere(|version, broker| {
        let (client, _) = broker.persistent(version, "lasting");
        let passing = broker.client(version, "passing");
        broker.store().hold();
        send_subscribe(&passing, "a", QOS_1);
        expect_kind(&passing, PacketKind::SubAck);
        send_unsubscribe(&passing, "a");
        expect_kind(&passing, PacketKind::UnsubAck);
        send_unsubscribe(&client, "never");
        expect_kind(&client, PacketKind::UnsubAck);
        send_subscribe(&client, "a", QOS_1);
        client.expect_nothing();
        sync(&broker);
        expect_kind(&client, PacketKind::SubAck);
        send_unsubscribe(&client, "a");
        client.expect_nothing();
        sync(&broker);
        expect_kind(&client, PacketKind::UnsubAck);
    });
}

#[test]
fn a_subscription_that_is_refused_is_refused_at_once() {
    let broker = Broker::limited(|limits| limits.topic_levels_max = 2);
    let (client, _) = broker.persistent(Version::V5, "c");
    broker.store().hold();
    broker.open(Version::V5).send_connect_persistent("other");
    assert_eq!(client.subscribe("a/b/c", QOS_1), Reason::TopicFilterInvalid);
}

#[test]
fn what_is_retained_comes_behind_a_suback_that_waits() {
    everywhere(|version, broker| {
        broker.client(version, "p").retain("a", b"old", QOS_2);
        let (client, _) = broker.persistent(version, "c");
        broker.store().hold();
        send_subscribe(&client, "a", QOS_2);
        client.expect_nothing();
        sync(&broker);
        expect_kind(&client, PacketKind::SubAck);
        let delivered = client.receive_publish();
        assert_eq!((delivered.payload.as_slice(), delivered.retain), (&b"old"[..], true));
        client.expect_nothing();
    });
}

#[test]
fn connack_of_a_lasting_session_waits_and_nothing_comes_before_it() {
    everywhere(|version, broker| {
        let subscriber = lasting(&broker, version, "s", "a", QOS_1);
        subscriber.cut();
        let publisher = broker.client(version, "p");
        publisher.publish("a", b"queued", QOS_1);
        broker.store().hold();
        let mut client = broker.open(version);
        client.send_connect_persistent("s");
        client.send(&Packet::PingReq(siskin_proto::PingReq));
        publisher.send_publish(publish("a", b"fresh", Qos::AtMostOnce, 1));
        send_subscribe(&client, "b", Qos::AtMostOnce);
        client.expect_nothing();
        sync(&broker);
        expect_kind(&client, PacketKind::ConnAck);
        let rest: Vec<_> = client.receive_all().iter().map(|received| received.packet().kind()).collect();
        let (publish, ping, suback) = (PacketKind::Publish, PacketKind::PingResp, PacketKind::SubAck);
        assert_eq!(rest, [publish, ping, publish, suback]);
    });
}

#[test]
fn connack_of_a_passing_session_waits_for_its_will_alone_and_not_for_a_store_in_trouble() {
    everywhere(|version, broker| {
        let with_will = |connect: &mut Connect<'_>| connect.will = Some(will("w", b"gone", QOS_1));
        broker.store().hold();
        broker.client(version, "plain").expect_nothing();
        let mut client = broker.open(version);
        client.send_connect("c", with_will, &[]);
        client.expect_nothing();
        sync(&broker);
        assert_eq!(expect_kind(&client, PacketKind::ConnAck).reason(), Reason::Success);
        broker.store().set_health(Health::Failing);
        broker.client_with(version, "d", with_will, &[]).expect_nothing();
    });
}

#[test]
fn connack_waits_until_the_lasting_session_that_it_ends_cannot_come_back() {
    everywhere(|version, broker| {
        lasting(&broker, version, "c", "a", QOS_1).cut();
        broker.store().hold();
        let mut client = broker.open(version);
        client.send_connect("c", |_| {}, &[]);
        client.expect_nothing();
        sync(&broker);
        assert_eq!(expect_kind(&client, PacketKind::ConnAck).reason(), Reason::Success);
        broker.crash(0);
        assert_eq!(broker.sessions(), 0);
        assert!(!broker.persistent(version, "c").1);
    });
}

#[test]
fn a_message_that_touches_nothing_durable_passes_while_others_wait() {
    everywhere(|version, broker| {
        lasting(&broker, version, "s", "durable", QOS_2).cut();
        let passing = broker.client(version, "passing");
        passing.subscribe("plain", QOS_2);
        let [waiting, other] = ["p", "q"].map(|name| broker.client(version, name));
        broker.store().hold();
        waiting.send_publish(publish("durable", b"x", QOS_1, 1));
        for qos in [Qos::AtMostOnce, QOS_1, QOS_2] {
            assert!(!other.publish("plain", b"y", qos).is_error());
            let delivered = passing.receive_publish();
            assert_eq!(delivered.qos, qos);
            passing.acknowledge(&delivered);
        }
        waiting.expect_nothing();
    });
}

#[test]
fn acknowledgements_of_one_client_stay_in_order_across_what_waits_and_what_need_not() {
    everywhere(|version, broker| {
        lasting(&broker, version, "s", "durable", QOS_2).cut();
        let passing = broker.client(version, "passing");
        passing.subscribe("plain", QOS_1);
        let publisher = broker.client(version, "p");
        broker.store().hold();
        publisher.send_publish(publish("durable", b"x", QOS_1, 1));
        publisher.send_publish(publish("plain", b"y", QOS_1, 2));
        publisher.send_publish(publish("durable", b"z", QOS_2, 3));
        publisher.send_publish(publish("plain", b"z", QOS_2, 4));
        // Delivered at once, only not acknowledged.
        assert_eq!(passing.receive_publishes().len(), 2);
        publisher.expect_nothing();
        sync(&broker);
        publisher.expect_ack(PacketKind::PubAck, 1, Reason::Success);
        publisher.expect_ack(PacketKind::PubAck, 2, Reason::Success);
        publisher.expect_ack(PacketKind::PubRec, 3, Reason::Success);
        publisher.expect_ack(PacketKind::PubRec, 4, Reason::Success);
        publisher.expect_nothing();
    });
}

#[test]
fn a_retained_message_is_acknowledged_when_it_is_safe_and_so_is_its_end() {
    everywhere(|version, broker| {
        let publisher = broker.client(version, "p");
        broker.store().hold();
        for (payload, packet_id) in [(&b"one"[..], 1), (b"two", 2), (b"", 3)] {
            publisher.send_publish(retained("a", payload, QOS_1, packet_id));
            publisher.expect_nothing();
            sync(&broker);
            publisher.expect_ack(PacketKind::PubAck, packet_id, Reason::NoMatchingSubscribers);
        }
        // Nothing is there to be made safe.
        publisher.send_publish(retained("a", b"", QOS_1, 4));
        publisher.expect_ack(PacketKind::PubAck, 4, Reason::NoMatchingSubscribers);
        assert_eq!(broker.store().leftovers(), [""; 0]);
    });
}

#[test]
fn a_retained_message_of_qos_0_has_no_answer_and_is_kept() {
    everywhere(|version, broker| {
        let publisher = broker.client(version, "p");
        broker.store().hold();
        publisher.send_publish(retained("a", b"x", Qos::AtMostOnce, 0));
        publisher.expect_nothing();
        sync(&broker);
        publisher.expect_nothing();
        broker.crash(0);
        let subscriber = broker.client(version, "s");
        subscriber.subscribe("a", QOS_1);
        assert_eq!(subscriber.receive_publish().payload, b"x");
    });
}

#[test]
fn pingresp_is_never_delayed() {
    everywhere(|version, broker| {
        let client = lasting(&broker, version, "c", "a", QOS_2);
        broker.store().hold();
        client.send_publish(publish("a", b"x", QOS_2, 1));
        client.send(&Packet::PingReq(siskin_proto::PingReq));
        expect_kind(&client, PacketKind::PingResp);
        client.expect_nothing();
    });
}

#[test]
fn promises_are_void_when_their_connection_is_gone_whatever_number_the_next_one_has() {
    for version in VERSIONS {
        let broker = Broker::new();
        let first = lasting(&broker, version, "c", "a", QOS_2);
        broker.store().hold();
        first.send_publish(publish("a", b"x", QOS_2, 1));
        send_subscribe(&first, "b", QOS_1);
        first.cut();
        let mut second = broker.open_in_place_of(&first, version);
        second.send_connect_persistent("c");
        second.expect_nothing();
        // One by one: the first promises of the present connection are not kept in place of those of the last.
        while broker.store().sync(1) {
            broker.settle();
        }
        assert!(expect_kind(&second, PacketKind::ConnAck).session_present() || version == Version::V3_1);
        let again = second.receive_publish();
        assert_eq!((again.qos, again.packet_id), (QOS_2, Some(id(1))));
        second.expect_nothing();
        second.send_publish(Publish { dup: true, ..publish("a", b"x", QOS_2, 1) });
        sync(&broker);
        second.expect_ack(PacketKind::PubRec, 1, Reason::Success);
    }
}

#[test]
fn a_connection_that_was_not_let_in_yet_is_taken_over_without_a_word() {
    everywhere(|version, broker| {
        broker.store().hold();
        let mut first = broker.open(version);
        first.send_connect_persistent("c");
        let mut second = broker.open(version);
        second.send_connect_persistent("c");
        first.expect_closed();
        second.expect_nothing();
        sync(&broker);
        let connack = expect_kind(&second, PacketKind::ConnAck);
        assert_eq!(connack.session_present(), version != Version::V3_1);
        second.expect_nothing();
        assert_eq!(broker.sessions(), 1);
    });
}

#[test]
fn a_connection_that_ends_before_it_is_let_in_ends_its_session_if_that_was_not_to_last() {
    let broker = Broker::new();
    lasting(&broker, Version::V5, "c", "a", QOS_1).cut();
    broker.store().hold();
    let mut client = broker.open(Version::V5);
    client.send_connect("c", |connect| connect.clean_start = false, &[Property::SessionExpiryInterval(0)]);
    client.expect_nothing();
    client.cut();
    sync(&broker);
    assert_eq!((broker.sessions(), broker.store().records()), (0, 1));
}

#[test]
fn without_a_store_nothing_waits() {
    for version in VERSIONS {
        let broker = Broker::forgetful(1, Limits { sys_interval_s: 0, ..Limits::default() });
        let client = lasting(&broker, version, "c", "a", QOS_2);
        assert_eq!(client.publish("a", b"x", QOS_2), Reason::Success);
        let delivered = client.receive_publish();
        client.acknowledge(&delivered);
        client.unsubscribe("a");
        client.expect_nothing();
    }
}
