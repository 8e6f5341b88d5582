//! How long retained messages are kept, and how many.

use siskin_proto::{Property, Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// What a new subscription to `filter` gets at once: topics, and Message Expiry Intervals.
fn retained(broker: &Broker, version: Version, filter: &str) -> Vec<(String, Option<u32>)> {
    let probe = broker.client(version, "probe");
    probe.subscribe(filter, Qos::AtLeastOnce);
    let expiry = |got: Delivered| (got.topic.clone(), got.properties().message_expiry_interval());
    probe.receive_publishes().into_iter().map(expiry).collect()
}

fn kept(broker: &Broker) -> usize {
    broker.shared().retained.read().expect("no panic under the lock").len()
}

fn retain_for(broker: &Broker, topic: &str, seconds: u32) {
    let publisher = broker.client(Version::V5, "p");
    let properties = [Property::MessageExpiryInterval(seconds)];
    publisher.publish_with(topic, b"x", Qos::AtLeastOnce, true, &properties);
}

#[test]
fn a_retained_message_is_sent_with_what_is_left_of_its_expiry_interval() {
    let broker = Broker::new();
    retain_for(&broker, "a", 100);
    for (wait_s, left) in [(0, 100), (30, 70), (69, 1)] {
        broker.advance_s(wait_s);
        assert_eq!(retained(&broker, Version::V5, "a"), [("a".to_owned(), Some(left))]);
        // 3.x has no words for it, and the message all the same.
        assert_eq!(retained(&broker, Version::V3_1_1, "a"), [("a".to_owned(), None)]);
    }
}

#[test]
fn an_expired_retained_message_is_not_sent_and_is_forgotten() {
    for version in VERSIONS {
        let broker = Broker::new();
        retain_for(&broker, "short", 10);
        retain_for(&broker, "long", 1000);
        broker.client(version, "q").retain("ever", b"x", Qos::AtLeastOnce);
        broker.advance_ms(9999);
        assert_eq!(retained(&broker, version, "short").len(), 1);
        broker.advance_ms(1);
        assert!(retained(&broker, version, "short").is_empty());
        assert_eq!(retained(&broker, version, "#").len(), 2);
        broker.advance_s(5);
        assert_eq!(kept(&broker), 2, "it still takes up room");
        broker.advance_s(1000);
        assert_eq!(retained(&broker, version, "#"), [("ever".to_owned(), None)]);
        broker.advance_s(5);
        assert_eq!(kept(&broker), 1);
    }
}

#[test]
fn thousands_of_expired_messages_are_forgotten_and_no_others() {
    let broker = Broker::new();
    let publisher = broker.client(Version::V5, "p");
    for n in 0..20_000 {
        let seconds = if n % 2 == 0 { 10 } else { 1000 };
        let properties = [Property::MessageExpiryInterval(seconds)];
        publisher.publish_with(&format!("a/{n}"), b"x", Qos::AtMostOnce, true, &properties);
    }
    assert_eq!(kept(&broker), 20_000);
    broker.advance_s(20);
    assert_eq!(kept(&broker), 10_000);
    let odd = |topic: &str| topic.trim_start_matches("a/").parse::<u32>().is_ok_and(|n| n % 2 == 1);
    let mut left = 0;
    let probe = broker.client(Version::V5, "probe");
    probe.subscribe("a/+", Qos::AtMostOnce);
    for got in probe.receive_publishes() {
        assert!(odd(&got.topic));
        left += 1;
    }
    assert_eq!(left, 10_000);
}

#[test]
fn a_replaced_retained_message_has_the_expiry_of_the_new_one() {
    let broker = Broker::new();
    retain_for(&broker, "a", 10);
    retain_for(&broker, "b", 1000);
    broker.advance_s(5);
    retain_for(&broker, "a", 1000);
    retain_for(&broker, "b", 10);
    broker.advance_s(10);
    assert_eq!(retained(&broker, Version::V5, "#"), [("a".to_owned(), Some(990))]);
    broker.client(Version::V5, "p").retain("a", b"x", Qos::AtLeastOnce);
    broker.advance_s(10_000);
    assert_eq!(retained(&broker, Version::V5, "#"), [("a".to_owned(), None)]);
}

#[test]
fn the_brokers_own_time_limit_clears_retained_messages_and_is_not_told_to_receivers() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.retained_expiry_s = 60);
        broker.client(version, "p").retain("a", b"x", Qos::AtLeastOnce);
        broker.advance_ms(59_999);
        assert_eq!(retained(&broker, Version::V5, "a"), [("a".to_owned(), None)]);
        broker.advance_ms(1);
        assert!(retained(&broker, Version::V5, "a").is_empty());
        broker.advance_s(5);
        assert_eq!(kept(&broker), 0);
    }
}

#[test]
fn a_new_message_begins_the_brokers_time_limit_anew() {
    let broker = Broker::limited(|limits| limits.retained_expiry_s = 60);
    let publisher = broker.client(Version::V5, "p");
    publisher.retain("a", b"1", Qos::AtMostOnce);
    broker.advance_s(50);
    publisher.retain("a", b"2", Qos::AtMostOnce);
    broker.advance_s(50);
    assert_eq!(retained(&broker, Version::V5, "a").len(), 1);
    broker.advance_s(10);
    assert!(retained(&broker, Version::V5, "a").is_empty());
}

#[test]
fn beside_the_brokers_time_limit_receivers_are_told_the_messages_own_expiry_whichever_is_longer() {
    let broker = Broker::limited(|limits| limits.retained_expiry_s = 60);
    retain_for(&broker, "longer", 100);
    retain_for(&broker, "shorter", 20);
    broker.advance_s(10);
    let expected = [("longer".to_owned(), Some(90)), ("shorter".to_owned(), Some(10))];
    assert_eq!(retained(&broker, Version::V5, "#"), expected);
    broker.advance_s(10);
    assert_eq!(retained(&broker, Version::V5, "#"), [("longer".to_owned(), Some(80))]);
    broker.advance_s(40);
    assert!(retained(&broker, Version::V5, "#").is_empty());
}

#[test]
fn the_brokers_time_limit_is_not_for_messages_that_wait_in_a_queue() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.retained_expiry_s = 60);
        let (client, _) = broker.persistent(version, "c");
        client.subscribe("a", Qos::AtLeastOnce);
        client.cut();
        broker.client(version, "p").retain("a", b"x", Qos::AtLeastOnce);
        broker.advance_s(1000);
        let (client, _) = broker.persistent(version, "c");
        let got = client.receive_publish();
        assert_eq!((got.payload.as_slice(), got.properties().is_empty()), (b"x".as_slice(), true));
    }
}

#[test]
fn a_retained_message_that_was_sent_before_it_expired_is_sent_again_after_it() {
    let broker = Broker::new();
    retain_for(&broker, "a", 10);
    let (client, _) = broker.persistent(Version::V5, "c");
    client.subscribe("a", Qos::AtLeastOnce);
    let first = client.receive_publish();
    client.cut();
    broker.advance_s(20);
    let (client, _) = broker.persistent(Version::V5, "c");
    let again = client.receive_publish();
    assert!(again.dup && again.retain);
    assert_eq!(again.packet_id, first.packet_id);
}

#[test]
fn at_the_limit_by_count_a_new_topic_is_not_retained_and_an_old_one_is_replaced() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.retained_messages_max = 2);
        let other = broker.client(version, "o");
        other.subscribe("#", Qos::AtMostOnce);
        let client = broker.client(version, "c");
        for topic in ["a", "b"] {
            assert_eq!(client.retain(topic, b"x", Qos::AtLeastOnce), Reason::Success);
            other.receive_publish();
        }
        let refused = [Qos::AtLeastOnce, Qos::ExactlyOnce].map(|qos| client.retain("c", b"x", qos));
        if version.is_v5() {
            // Not taken over at all: it is the publisher's still.
            assert_eq!(refused, [Reason::QuotaExceeded; 2]);
            other.expect_nothing();
        } else {
            // There is no word for it: as if it had come without RETAIN.
            assert_eq!(refused, [Reason::Success; 2]);
            assert_eq!(other.receive_publishes().len(), 2);
        }
        client.retain("c", b"x", Qos::AtMostOnce);
        assert_eq!(other.receive_publish().topic, "c");
        assert_eq!(client.retain("a", b"newer", Qos::AtLeastOnce), Reason::Success);
        let topics = |got: Vec<(String, _)>| got.into_iter().map(|(topic, _)| topic).collect::<Vec<_>>();
        assert_eq!(topics(retained(&broker, version, "#")), ["a", "b"]);
        client.retain("b", b"", Qos::AtLeastOnce);
        assert_eq!(client.retain("c", b"x", Qos::AtLeastOnce), Reason::Success);
        assert_eq!(topics(retained(&broker, version, "#")), ["a", "c"]);
    }
}

#[test]
fn at_the_limit_by_bytes_a_message_is_not_retained_and_the_one_before_it_stays() {
    for version in VERSIONS {
        let broker = Broker::limited(|limits| limits.retained_bytes_max = 20_000);
        let client = broker.client(version, "c");
        let large = [b'x'; 9000];
        client.retain("a", &large, Qos::AtLeastOnce);
        client.retain("b", &large, Qos::AtLeastOnce);
        let full = if version.is_v5() { Reason::QuotaExceeded } else { Reason::Success };
        assert_eq!(client.retain("c", &large, Qos::AtLeastOnce), full);
        assert_eq!(client.retain("a", &[b'y'; 12_000], Qos::AtLeastOnce), full);
        let probe = broker.client(version, "probe");
        probe.subscribe("#", Qos::AtMostOnce);
        let got: Vec<_> = probe.receive_publishes().into_iter().map(|got| (got.topic, got.payload)).collect();
        assert_eq!(got, [("a".to_owned(), large.to_vec()), ("b".to_owned(), large.to_vec())]);
        // A smaller one makes room for another.
        client.retain("a", b"y", Qos::AtLeastOnce);
        client.retain("c", &large, Qos::AtLeastOnce);
        assert_eq!(retained(&broker, version, "#").len(), 3);
        let bytes = broker.shared().retained.read().expect("no panic under the lock").bytes();
        assert!((18_000..=20_000).contains(&bytes), "{bytes}");
    }
}

#[test]
fn a_refused_qos_2_message_leaves_its_packet_id_free() {
    let broker = Broker::limited(|limits| limits.retained_messages_max = 1);
    let client = broker.client(Version::V5, "c");
    client.retain("a", b"x", Qos::ExactlyOnce);
    assert_eq!(client.retain("b", b"x", Qos::ExactlyOnce), Reason::QuotaExceeded);
    // The same id again is another message, not the refused one resent.
    let other = broker.client(Version::V5, "o");
    other.subscribe("c", Qos::AtMostOnce);
    assert_eq!(client.publish("c", b"x", Qos::ExactlyOnce), Reason::Success);
    assert_eq!(other.receive_publish().topic, "c");
}
