//! Topic names and filters: what is one, and what matches.

use siskin_proto::{Packet, Properties, Publish, Qos, Reason, TopicName, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// A broker that allows names and filters as deep as the protocol does.
fn deep() -> Broker {
    Broker::limited(|limits| limits.topic_levels_max = u16::MAX)
}

/// A PUBLISH of QoS 0 to whatever `topic` is.
fn publish_bytes(version: Version, topic: &[u8]) -> Vec<u8> {
    let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
    let body = [&(topic.len() as u16).to_be_bytes(), topic, properties, b"x"].concat();
    [&[0x30, u8::try_from(body.len()).expect("short")], body.as_slice()].concat()
}

fn subscribe_bytes(version: Version, filter: &[u8]) -> Vec<u8> {
    let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
    let length = (filter.len() as u16).to_be_bytes();
    let body = [&[0, 1], properties, &length, filter, &[1]].concat();
    [&[0x82, u8::try_from(body.len()).expect("short")], body.as_slice()].concat()
}

fn unsubscribe_bytes(version: Version, filter: &[u8]) -> Vec<u8> {
    let mut bytes = subscribe_bytes(version, filter);
    bytes[0] = 0xA2;
    bytes[1] -= 1;
    bytes.pop();
    bytes
}

#[test]
fn a_topic_name_with_a_wildcard_closes_and_reaches_nobody() {
    for version in VERSIONS {
        for topic in ["+", "#", "a/+", "a/#", "a/+/b", "a+", "#a", "+a/b"] {
            let broker = Broker::new();
            let other = broker.client(version, "o");
            other.subscribe("#", Qos::AtMostOnce);
            let client = broker.client(version, "c");
            client.send_bytes(&publish_bytes(version, topic.as_bytes()));
            client.expect_disconnect(Reason::TopicNameInvalid);
            other.expect_nothing();
        }
    }
}

#[test]
fn a_filter_with_a_wildcard_out_of_place_closes() {
    let multi_level = ["a#", "#a", "a/b#", "#/a", "a/#/b", "##", "#/", "a/#/#"];
    let single_level = ["a+", "+a", "a/b+", "++", "a/+b/c", "+a/#"];
    let shared = ["$share/g/a#", "$share/g/#/a", "$share/g/a+"];
    for version in VERSIONS {
        for filter in [multi_level.as_slice(), &single_level, &shared].concat() {
            let broker = Broker::new();
            for bytes in [subscribe_bytes, unsubscribe_bytes] {
                let client = broker.client(version, "c");
                client.send_bytes(&bytes(version, filter.as_bytes()));
                client.expect_disconnect(Reason::TopicFilterInvalid);
            }
            assert_eq!(broker.shared().router.subscriptions(), 0, "{filter}");
        }
    }
}

#[test]
fn names_and_filters_without_a_character_close() {
    for version in VERSIONS {
        let client = Broker::new().client(version, "c");
        client.send_bytes(&subscribe_bytes(version, b""));
        client.expect_disconnect(Reason::TopicFilterInvalid);
        let client = Broker::new().client(version, "c");
        client.send_bytes(&publish_bytes(version, b""));
        // In 5.0 an alias might stand for it; there is none.
        client.expect_disconnect(Reason::ProtocolError);
    }
}

#[test]
fn names_and_filters_with_u_0000_or_bytes_that_are_not_utf_8_close() {
    let bad: [&[u8]; 7] =
        [b"\0", b"a\0", b"a/\0/b", b"\xC0\x80", b"a/\xFF", b"\xED\xA0\x80", b"\xF0\x82\x82\xAC"];
    for version in VERSIONS {
        for text in bad {
            for bytes in [publish_bytes, subscribe_bytes, unsubscribe_bytes] {
                let client = Broker::new().client(version, "c");
                client.send_bytes(&bytes(version, text));
                client.expect_disconnect(Reason::MalformedPacket);
            }
        }
    }
}

#[test]
fn filters_match_the_topics_that_they_should_and_no_others() {
    let topics = [
        "a",
        "b",
        "/",
        "/a",
        "a/",
        "//",
        "a/b",
        "a//b",
        "a/b/",
        "a/b/c",
        "b/b",
        "A",
        "a b",
        "$SYSTEM",
        "$x/a",
        "$x/a/b",
        "a/$x",
        "\u{FEFF}a",
        "\u{E9}",
        "e\u{301}",
    ];
    let expected: [(&str, &[&str]); 22] = [
        ("a", &["a"]),
        ("/", &["/"]),
        ("/a", &["/a"]),
        ("a/", &["a/"]),
        ("a//b", &["a//b"]),
        ("\u{FEFF}a", &["\u{FEFF}a"]),
        ("\u{E9}", &["\u{E9}"]),
        ("e\u{301}", &["e\u{301}"]),
        ("$x/a", &["$x/a"]),
        ("+", &["a", "b", "A", "a b", "\u{FEFF}a", "\u{E9}", "e\u{301}"]),
        ("/+", &["/", "/a"]),
        ("+/", &["/", "a/"]),
        ("+/+", &["/", "/a", "a/", "a/b", "b/b", "a/$x"]),
        ("a/+", &["a/", "a/b", "a/$x"]),
        ("+/b", &["a/b", "b/b"]),
        ("+/$x", &["a/$x"]),
        ("a/+/b", &["a//b"]),
        ("+/b/#", &["a/b", "a/b/", "a/b/c", "b/b"]),
        ("a/#", &["a", "a/", "a/b", "a//b", "a/b/", "a/b/c", "a/$x"]),
        ("/#", &["/", "/a", "//"]),
        ("$x/#", &["$x/a", "$x/a/b"]),
        ("$x/+", &["$x/a"]),
    ];
    for version in VERSIONS {
        let broker = Broker::new();
        let publisher = broker.client(version, "p");
        for is_retained in [false, true] {
            for (filter, expected) in expected {
                for prefix in ["", "$share/g/"] {
                    if is_retained && !prefix.is_empty() {
                        continue;
                    }
                    let client = broker.client(version, "c");
                    client.subscribe(&format!("{prefix}{filter}"), Qos::AtMostOnce);
                    if !is_retained {
                        for topic in topics {
                            publisher.publish(topic, b"x", Qos::AtMostOnce);
                        }
                    }
                    let mut got: Vec<_> =
                        client.receive_publishes().into_iter().map(|got| got.topic).collect();
                    let mut expected = expected.to_vec();
                    // Retained messages come in an order of their own.
                    got.sort_unstable();
                    expected.sort_unstable();
                    assert_eq!(got, expected, "{version} {prefix}{filter} retained: {is_retained}");
                }
            }
            for topic in topics {
                publisher.retain(topic, b"x", Qos::AtMostOnce);
            }
        }
    }
}

#[test]
fn everything_but_dollar_topics_matches_a_lone_multi_level_wildcard() {
    for version in VERSIONS {
        for filter in ["#", "+/#", "$share/g/#"] {
            let broker = Broker::new();
            let client = broker.client(version, "c");
            client.subscribe(filter, Qos::AtMostOnce);
            let publisher = broker.client(version, "p");
            for topic in ["$", "$x", "$x/a", "$share", "a", "/$x", "a/$SYS/b"] {
                publisher.publish(topic, b"x", Qos::AtMostOnce);
            }
            let got: Vec<_> = client.receive_publishes().into_iter().map(|got| got.topic).collect();
            assert_eq!(got, ["a", "/$x", "a/$SYS/b"], "{version} {filter}");
        }
    }
}

#[test]
fn a_filter_that_begins_with_a_wildcard_gets_no_retained_dollar_topics() {
    for version in VERSIONS {
        let broker = Broker::new();
        let publisher = broker.client(version, "p");
        publisher.retain("$x/a", b"x", Qos::AtMostOnce);
        publisher.retain("b/$x", b"x", Qos::AtMostOnce);
        let client = broker.client(version, "c");
        for (filter, expected) in
            [("#", Some("b/$x")), ("+/a", None), ("+/+", Some("b/$x")), ("$x/#", Some("$x/a"))]
        {
            client.subscribe(filter, Qos::AtMostOnce);
            let got = client.try_receive().map(|got| got.publish().topic);
            assert_eq!(got.as_deref(), expected, "{filter}");
            client.expect_nothing();
        }
    }
}

#[test]
fn a_byte_order_mark_stays_where_it_is() {
    for version in VERSIONS {
        let broker = Broker::new();
        let client = broker.client(version, "c");
        client.subscribe("\u{FEFF}a/+", Qos::AtMostOnce);
        client.subscribe("a/+", Qos::AtMostOnce);
        let publisher = broker.client(version, "p");
        for topic in ["\u{FEFF}a/b", "a/\u{FEFF}", "\u{FEFF}"] {
            publisher.publish(topic, b"x", Qos::AtMostOnce);
        }
        let got: Vec<_> = client.receive_publishes().into_iter().map(|got| got.topic).collect();
        assert_eq!(got, ["\u{FEFF}a/b", "a/\u{FEFF}"]);
    }
}

#[test]
fn names_and_filters_of_65535_bytes_work() {
    let flat = "a".repeat(65_535);
    let two_levels = format!("{}/{}", "\u{E9}".repeat(10_000), "b".repeat(65_535 - 20_001));
    let slashes = "/".repeat(65_534);
    for version in VERSIONS {
        for topic in [&flat, &two_levels, &slashes] {
            let broker = deep();
            let client = broker.client(version, "c");
            client.subscribe(topic, Qos::AtLeastOnce);
            let publisher = broker.client(version, "p");
            publisher.retain(topic, b"x", Qos::AtLeastOnce);
            let got = client.receive_publish();
            assert_eq!(&got.topic, topic);
            client.acknowledge(&got);
            client.subscribe("#", Qos::AtMostOnce);
            assert_eq!(&client.receive_publish().topic, topic);
            client.unsubscribe(topic);
            client.unsubscribe("#");
            publisher.publish(topic, b"x", Qos::AtMostOnce);
            client.expect_nothing();
        }
    }
}

#[test]
fn a_filter_of_nothing_but_wildcard_levels_matches_as_deep_as_a_filter_can_be() {
    let filter = "+/".repeat(32_767) + "#";
    let name = "/".repeat(40_000);
    for version in VERSIONS {
        let broker = deep();
        let client = broker.client(version, "c");
        client.subscribe(&filter, Qos::AtMostOnce);
        let publisher = broker.client(version, "p");
        publisher.publish(&name, b"x", Qos::AtMostOnce);
        publisher.publish("a/b", b"x", Qos::AtMostOnce);
        assert_eq!(client.receive_publish().topic, name);
        client.expect_nothing();
    }
}

#[test]
fn what_is_sent_is_named_as_it_was_published() {
    for version in VERSIONS {
        let broker = Broker::new();
        let client = broker.client(version, "c");
        client.subscribe("#", Qos::ExactlyOnce);
        let publisher = broker.client(version, "p");
        let topics = ["a", "A", " a", "a ", "//", "\u{1F980}/\u{E9}", "e\u{301}", "a\u{FFFD}", "%2B"];
        for topic in topics {
            publisher.send(&Packet::Publish(Publish {
                dup: false,
                qos: Qos::AtMostOnce,
                retain: false,
                topic: Some(TopicName::parse(topic).expect("legal")),
                packet_id: None,
                properties: Properties::EMPTY,
                payload: topic.as_bytes(),
            }));
            let got = client.receive_publish();
            assert_eq!(
                (got.topic.as_bytes(), got.topic.as_bytes()),
                (topic.as_bytes(), got.payload.as_slice())
            );
        }
    }
}
