//! What travels with a message from publisher to subscriber, and that it arrives as it was sent.

use siskin_core::Limits;
use siskin_proto::{Property, Qos, SubscriptionOptions, Version};
use siskin_testkit::*;

const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// All that a message may carry to its receivers, with user properties between and repeated.
fn travelling() -> [Property<'static>; 8] {
    [
        Property::UserProperty(("z", "first")),
        Property::PayloadFormatIndicator(1),
        Property::ContentType("text/\u{FEFF}plain; ü"),
        Property::UserProperty(("a", "second")),
        Property::ResponseTopic("\u{FEFF}answers/to/me"),
        Property::UserProperty(("z", "first")),
        Property::CorrelationData(b"\0\xFF\xED\xA0\x80"),
        Property::UserProperty(("", "")),
    ]
}

#[track_caller]
fn arrived_unaltered(delivered: &Delivered) {
    let properties = delivered.properties();
    assert_eq!(properties.payload_format_indicator(), Some(1));
    assert_eq!(properties.content_type(), Some("text/\u{FEFF}plain; ü"));
    assert_eq!(properties.response_topic(), Some("\u{FEFF}answers/to/me"));
    assert_eq!(properties.correlation_data(), Some(&b"\0\xFF\xED\xA0\x80"[..]));
    let user: Vec<_> = properties.user_properties().collect();
    assert_eq!(user, [("z", "first"), ("a", "second"), ("z", "first"), ("", "")]);
}

#[test]
fn properties_reach_subscribers_unaltered_and_in_their_order() {
    for workers in [1, 2] {
        let broker = Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() });
        let publisher = broker.client(Version::V5, "p");
        // One that shares its packets with others, and one whose packets are its own.
        let plain = broker.client(Version::V5, "plain");
        let aliases = [Property::TopicAliasMaximum(5)];
        let own = broker.client_with(Version::V5, "own", |_| {}, &aliases);
        let options = SubscriptionOptions { qos: Qos::ExactlyOnce, ..Default::default() };
        plain.subscribe_with("t", options, &[]);
        own.subscribe_with("t", options, &[Property::SubscriptionIdentifier(9)]);
        for payload in [&b"m"[..], &[b'x'; 10_000]] {
            for qos in QOS {
                publisher.publish_with("t", payload, qos, false, &travelling());
                for subscriber in [&plain, &own] {
                    let delivered = subscriber.receive_publish();
                    arrived_unaltered(&delivered);
                    assert_eq!(delivered.payload, payload);
                    subscriber.acknowledge(&delivered);
                }
            }
        }
    }
}

#[test]
fn properties_are_unaltered_by_an_alias_and_an_expiry_between_them() {
    let broker = Broker::new();
    let subscriber = broker.client(Version::V5, "s");
    subscriber.subscribe("t", Qos::AtMostOnce);
    let publisher = broker.client(Version::V5, "p");
    let mut properties = travelling().to_vec();
    properties.insert(3, Property::TopicAlias(1));
    properties.insert(6, Property::MessageExpiryInterval(100));
    publisher.publish_with("t", b"m", Qos::AtMostOnce, false, &properties);
    let delivered = subscriber.receive_publish();
    arrived_unaltered(&delivered);
    assert_eq!(delivered.properties().message_expiry_interval(), Some(100));
    assert_eq!(delivered.properties().topic_alias(), None);
}

#[test]
fn properties_are_unaltered_by_waiting_and_by_coming_again() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let broker = Broker::new();
        let (subscriber, _) = broker.persistent(Version::V5, "s");
        subscriber.subscribe("t", qos);
        subscriber.cut();
        let publisher = broker.client(Version::V5, "p");
        publisher.publish_with("t", b"m", qos, false, &travelling());
        for is_again in [false, true, true] {
            let (subscriber, _) = broker.persistent(Version::V5, "s");
            let delivered = subscriber.receive_publish();
            assert_eq!(delivered.dup, is_again);
            arrived_unaltered(&delivered);
            subscriber.cut();
        }
    }
}

#[test]
fn properties_of_a_retained_message_are_unaltered() {
    let broker = Broker::new();
    let publisher = broker.client(Version::V5, "p");
    publisher.publish_with("t", b"m", Qos::AtLeastOnce, true, &travelling());
    let subscriber = broker.client(Version::V5, "s");
    subscriber.subscribe("t", Qos::AtLeastOnce);
    arrived_unaltered(&subscriber.receive_publish());
}

#[test]
fn a_message_without_properties_gets_none() {
    let broker = Broker::new();
    let subscriber = broker.client(Version::V5, "s");
    subscriber.subscribe("t", Qos::AtMostOnce);
    for from in [Version::V3_1, Version::V3_1_1, Version::V5] {
        broker.client(from, "p").publish("t", b"m", Qos::AtMostOnce);
        assert_eq!(subscriber.receive_publish().properties().iter().count(), 0);
    }
}

#[test]
fn each_property_is_passed_on_whatever_its_value() {
    let broker = Broker::new();
    let subscriber = broker.client(Version::V5, "s");
    subscriber.subscribe("t", Qos::AtMostOnce);
    let publisher = broker.client(Version::V5, "p");
    let long = "ü".repeat(32_767);
    let data = vec![0xFF; 65_535];
    let properties = [
        Property::PayloadFormatIndicator(0),
        Property::PayloadFormatIndicator(1),
        Property::ContentType(""),
        Property::ContentType(&long),
        Property::ResponseTopic("$SYS/x"),
        Property::ResponseTopic(&long),
        Property::CorrelationData(b""),
        Property::CorrelationData(&data),
        Property::UserProperty((&long, &long)),
        Property::UserProperty(("$", "\u{7F}\u{9F}\u{FFFF}")),
    ];
    for property in properties {
        // A payload that is no UTF-8 too: the indicator is the receiver's business.
        publisher.publish_with("t", b"\xFF", Qos::AtMostOnce, false, &[property]);
        let delivered = subscriber.receive_publish();
        assert_eq!(delivered.properties().iter().collect::<Vec<_>>(), [property]);
    }
}

#[test]
fn a_subscriber_of_3_gets_the_message_without_properties() {
    for version in [Version::V3_1, Version::V3_1_1] {
        for qos in QOS {
            let broker = Broker::new();
            let (subscriber, _) = broker.persistent(version, "s");
            subscriber.subscribe("t", qos);
            let publisher = broker.client(Version::V5, "p");
            publisher.publish_with("t", b"m", qos, false, &travelling());
            let received = subscriber.receive();
            let len = if qos == Qos::AtMostOnce { 6 } else { 8 };
            assert_eq!(received.bytes().len(), len);
            assert_eq!(received.publish().payload, b"m");
        }
    }
}
