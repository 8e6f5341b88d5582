//! Message Expiry Interval: counted down while a message waits, and at its end.

use siskin_core::Limits;
use siskin_proto::{PacketKind, Property, Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

fn publish_for(client: &Client, payload: &[u8], qos: Qos, seconds: u32) {
    let properties = [Property::MessageExpiryInterval(seconds)];
    assert!(!client.publish_with("t", payload, qos, false, &properties).is_error());
}

/// A session of `version` that subscribes to `t` at QoS 2, and a 5.0 publisher.
fn pair(broker: &Broker, version: Version) -> (Client, Client) {
    let (subscriber, _) = broker.persistent(version, "s");
    subscriber.subscribe("t", Qos::ExactlyOnce);
    (subscriber, broker.client(Version::V5, "p"))
}

fn left_s(delivered: &Delivered) -> Option<u32> {
    delivered.properties().message_expiry_interval()
}

#[test]
fn a_message_that_did_not_wait_keeps_its_interval() {
    for workers in [1, 2] {
        let broker = Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() });
        let (subscriber, publisher) = pair(&broker, Version::V5);
        for seconds in [1, 100, u32::MAX] {
            for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
                publish_for(&publisher, b"m", qos, seconds);
                assert_eq!(left_s(&subscriber.receive_publish()), Some(seconds));
            }
        }
        publisher.publish("t", b"m", Qos::AtLeastOnce);
        assert_eq!(left_s(&subscriber.receive_publish()), None);
    }
}

#[test]
fn the_interval_is_less_by_the_time_a_message_waited_in_the_queue() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let broker = Broker::new();
        let (subscriber, publisher) = pair(&broker, Version::V5);
        subscriber.cut();
        publish_for(&publisher, b"1", qos, 100);
        broker.advance_s(30);
        publish_for(&publisher, b"2", qos, 100);
        publisher.publish("t", b"3", qos);
        broker.advance_s(12);
        let (subscriber, _) = broker.persistent(Version::V5, "s");
        let left: Vec<_> = subscriber.receive_publishes().iter().map(left_s).collect();
        assert_eq!(left, [Some(58), Some(88), None]);
    }
}

#[test]
fn the_interval_of_a_retained_message_is_less_by_its_age() {
    let broker = Broker::new();
    let publisher = broker.client(Version::V5, "p");
    let properties = [Property::MessageExpiryInterval(100)];
    publisher.publish_with("t", b"m", Qos::AtLeastOnce, true, &properties);
    for (waited, expected) in [(0, Some(100)), (40, Some(60)), (59, Some(1)), (1, None)] {
        broker.advance_s(waited);
        let subscriber = broker.client(Version::V5, "s");
        subscriber.subscribe("t", Qos::AtMostOnce);
        let came = subscriber.receive_publishes();
        assert_eq!(came.first().and_then(left_s), expected);
        assert_eq!(came.len(), usize::from(expected.is_some()));
        subscriber.disconnect();
    }
}

#[test]
fn a_message_that_expired_in_the_queue_is_not_sent_and_its_neighbours_are() {
    for version in VERSIONS {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let broker = Broker::new();
            let (subscriber, publisher) = pair(&broker, version);
            subscriber.cut();
            publish_for(&publisher, b"stays", qos, 11);
            publish_for(&publisher, b"goes", qos, 10);
            publisher.publish("t", b"stays", qos);
            broker.advance_s(10);
            let (subscriber, _) = broker.persistent(version, "s");
            let came = subscriber.receive_publishes();
            assert_eq!(came.len(), 2);
            assert!(came.iter().all(|delivered| delivered.payload == b"stays"));
            assert_eq!(broker.totals().dropped_expired, 1);
            // No id was spent on it.
            assert_eq!(came[1].packet_id.unwrap().get(), came[0].packet_id.unwrap().get() + 1);
        }
    }
}

#[test]
fn a_message_lives_until_the_last_millisecond_of_its_interval() {
    for (waited_ms, expected) in [(9_999, Some(Some(1))), (10_000, None)] {
        let broker = Broker::new();
        let (subscriber, publisher) = pair(&broker, Version::V5);
        subscriber.cut();
        publish_for(&publisher, b"m", Qos::AtLeastOnce, 10);
        broker.advance_ms(waited_ms);
        let (subscriber, _) = broker.persistent(Version::V5, "s");
        let came = subscriber.receive_publishes();
        assert_eq!(came.first().map(left_s), expected);
    }
}

#[test]
fn each_subscribers_copy_expires_for_itself() {
    let broker = Broker::new();
    let (subscriber, publisher) = pair(&broker, Version::V5);
    let present = broker.client(Version::V5, "present");
    present.subscribe("t", Qos::AtLeastOnce);
    subscriber.cut();
    publish_for(&publisher, b"m", Qos::AtLeastOnce, 1);
    assert_eq!(present.receive_publish().payload, b"m");
    broker.advance_s(1);
    broker.persistent(Version::V5, "s").0.expect_nothing();
}

#[test]
fn a_message_waiting_for_room_in_the_window_expires_too() {
    let broker = Broker::limited(|limits| limits.inflight_max = 1);
    let (subscriber, publisher) = pair(&broker, Version::V5);
    publisher.publish("t", b"first", Qos::AtLeastOnce);
    publish_for(&publisher, b"goes", Qos::AtLeastOnce, 5);
    publish_for(&publisher, b"stays", Qos::AtLeastOnce, 50);
    let first = subscriber.receive_publish();
    broker.advance_s(5);
    subscriber.acknowledge(&first);
    let delivered = subscriber.receive_publish();
    assert_eq!((&*delivered.payload, left_s(&delivered)), (&b"stays"[..], Some(45)));
    subscriber.expect_nothing();
}

#[test]
fn a_message_that_was_sent_is_sent_again_though_its_interval_is_over() {
    for version in VERSIONS {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let broker = Broker::new();
            let (subscriber, publisher) = pair(&broker, version);
            publish_for(&publisher, b"m", qos, 10);
            let first = subscriber.receive_publish();
            subscriber.cut();
            broker.advance_s(20);
            let (subscriber, _) = broker.persistent(version, "s");
            let again = subscriber.receive_publish();
            assert_eq!((&*again.payload, again.dup, again.packet_id), (&b"m"[..], true, first.packet_id));
            subscriber.acknowledge(&again);
            assert_eq!(broker.totals().stored_messages, 0);
            assert_eq!(broker.totals().dropped_expired, 0);
        }
    }
}

#[test]
fn acknowledgements_go_on_to_their_end_though_the_message_has_expired() {
    for version in VERSIONS {
        let broker = Broker::new();
        let (subscriber, publisher) = pair(&broker, version);
        publish_for(&publisher, b"1", Qos::ExactlyOnce, 10);
        publish_for(&publisher, b"2", Qos::AtLeastOnce, 10);
        let (two, one) = (subscriber.receive_publish(), subscriber.receive_publish());
        broker.advance_s(11);
        subscriber.puback(one.packet_id.unwrap());
        let open = two.packet_id.unwrap();
        subscriber.pubrec(open);
        subscriber.expect_ack(PacketKind::PubRel, open.get(), Reason::Success);
        broker.advance_s(11);
        subscriber.pubcomp(open);
        assert_eq!(broker.totals().acknowledged, 2);
    }
    // The other way round, the broker's receiving half.
    let broker = Broker::new();
    let (_, publisher) = pair(&broker, Version::V5);
    let properties = buffer(&[Property::MessageExpiryInterval(1)]);
    let properties = properties.as_properties();
    publisher.send_publish(siskin_proto::Publish { properties, ..publish("t", b"m", Qos::ExactlyOnce, 7) });
    publisher.expect_ack(PacketKind::PubRec, 7, Reason::Success);
    broker.advance_s(2);
    publisher.pubrel(id(7));
    publisher.expect_ack(PacketKind::PubComp, 7, Reason::Success);
}

#[test]
fn an_interval_of_0_reaches_who_is_there_and_waits_for_nobody() {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let broker = Broker::new();
        let (subscriber, publisher) = pair(&broker, Version::V5);
        publish_for(&publisher, b"m", qos, 0);
        let delivered = subscriber.receive_publish();
        assert_eq!(left_s(&delivered), Some(0));
        subscriber.acknowledge(&delivered);
        subscriber.cut();
        publish_for(&publisher, b"m", qos, 0);
        broker.persistent(Version::V5, "s").0.expect_nothing();
    }
}
