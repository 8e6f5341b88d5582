//! Shared subscriptions: who gets a message, and at which QoS.

use siskin_core::Limits;
use siskin_proto::{Packet, Properties, PubAck, PubRec, Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];
const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// Brokers of one worker and of two, where members of a group are on either.
fn brokers() -> [Broker; 2] {
    [1, 2].map(|workers| Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() }))
}

/// Takes and answers everything that came, until nothing more does.
fn take(client: &Client) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    while let Some(received) = client.try_receive() {
        let delivered = received.publish();
        client.acknowledge(&delivered);
        payloads.push(delivered.payload);
    }
    payloads
}

#[test]
fn every_message_goes_to_one_member_and_all_members_take_turns() {
    for version in VERSIONS {
        for qos in QOS {
            for broker in brokers() {
                let members: Vec<_> = (0..4).map(|n| broker.client(version, &format!("m{n}"))).collect();
                members.iter().for_each(|member| _ = member.subscribe("$share/g/a/+", qos));
                let publisher = broker.client(version, "p");
                (0..40u8).for_each(|n| _ = publisher.publish("a/b", &[n], qos));
                let got: Vec<_> = members.iter().map(take).collect();
                assert!(got.iter().all(|got| got.len() == 10), "{version} {qos:?}: {got:?}");
                assert!(got.iter().all(|got| got.is_sorted()), "out of order: {got:?}");
                let mut all = got.concat();
                all.sort_unstable();
                assert_eq!(all, (0..40u8).map(|n| vec![n]).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn many_topics_with_a_message_each_are_spread_over_all_members() {
    for broker in brokers() {
        for topics in ["a", "b"] {
            let members: Vec<_> = (0..4).map(|n| broker.client(Version::V5, &format!("m{n}"))).collect();
            members.iter().for_each(|member| _ = member.subscribe("$share/g/#", Qos::AtMostOnce));
            let publisher = broker.client(Version::V5, "p");
            (0..4000).for_each(|n| _ = publisher.publish(&format!("{topics}/{n}"), b"x", Qos::AtMostOnce));
            let counts: Vec<_> = members.iter().map(|member| take(member).len()).collect();
            assert_eq!(counts.iter().sum::<usize>(), 4000);
            // A fair die would stray from 1000 by more than 150 less than once in a million times.
            assert!(counts.iter().all(|count| (850..=1150).contains(count)), "{counts:?}");
        }
    }
}

#[test]
fn every_group_and_every_plain_subscription_gets_its_own_copy() {
    for version in VERSIONS {
        for broker in brokers() {
            let filters = ["$share/g/a/b", "$share/h/a/b", "$share/g/a/+", "$share/g/#", "a/b"];
            let clients: Vec<_> = filters
                .iter()
                .enumerate()
                .map(|(n, filter)| {
                    let client = broker.client(version, &format!("c{n}"));
                    client.subscribe(filter, Qos::AtLeastOnce);
                    client
                })
                .collect();
            broker.client(version, "p").publish("a/b", b"x", Qos::AtLeastOnce);
            for (client, filter) in clients.iter().zip(filters) {
                assert_eq!(take(client).len(), 1, "{version} {filter}");
            }
        }
    }
}

#[test]
fn clients_of_all_versions_share_one_subscription() {
    for broker in brokers() {
        let members = VERSIONS.map(|version| broker.client(version, &format!("{version}")));
        members.iter().for_each(|member| _ = member.subscribe("$share/g/a", Qos::AtLeastOnce));
        let publisher = broker.client(Version::V5, "p");
        (0..9u8).for_each(|n| _ = publisher.publish("a", &[n], Qos::AtLeastOnce));
        assert_eq!(members.map(|member| take(&member).len()), [3; 3]);
    }
}

#[test]
fn a_message_goes_out_at_the_lower_of_its_qos_and_that_of_the_member_it_goes_to() {
    for version in VERSIONS {
        for broker in brokers() {
            let members = QOS.map(|qos| broker.client(version, &format!("{qos:?}")));
            members.iter().zip(QOS).for_each(|(member, qos)| _ = member.subscribe("$share/g/a", qos));
            let publisher = broker.client(version, "p");
            for published in QOS {
                (0..6).for_each(|_| _ = publisher.publish("a", b"x", published));
                for (member, granted) in members.iter().zip(QOS) {
                    for _ in 0..2 {
                        let got = member.receive_publish();
                        assert_eq!(got.qos, published.min(granted));
                        member.acknowledge(&got);
                    }
                    member.expect_nothing();
                }
            }
        }
    }
}

#[test]
fn who_unsubscribes_gets_nothing_more_and_the_others_get_all() {
    for version in VERSIONS {
        for broker in brokers() {
            let members = ["x", "y", "z"].map(|name| broker.client(version, name));
            members.iter().for_each(|member| _ = member.subscribe("$share/g/a", Qos::AtMostOnce));
            members[1].unsubscribe("$share/g/a");
            let publisher = broker.client(version, "p");
            (0..10).for_each(|_| _ = publisher.publish("a", b"x", Qos::AtMostOnce));
            assert_eq!(members.map(|member| take(&member).len()), [5, 0, 5]);
        }
    }
}

#[test]
fn subscribing_again_to_a_shared_filter_does_not_make_a_second_member() {
    for broker in brokers() {
        let members = ["x", "y"].map(|name| broker.client(Version::V5, name));
        for qos in [Qos::AtLeastOnce, Qos::AtMostOnce] {
            members.iter().for_each(|member| _ = member.subscribe("$share/g/a", qos));
            (0..3).for_each(|_| _ = members[0].subscribe("$share/g/a", qos));
        }
        assert_eq!(broker.shared().router.shared_subscriptions(), 2);
        let publisher = broker.client(Version::V5, "p");
        (0..10).for_each(|_| _ = publisher.publish("a", b"x", Qos::AtLeastOnce));
        for member in members {
            let got = member.receive_publishes();
            assert_eq!(got.len(), 5);
            assert!(got.iter().all(|got| got.qos == Qos::AtMostOnce));
        }
    }
}

#[test]
fn a_share_name_that_is_empty_or_has_a_wildcard_and_a_share_without_a_filter_close() {
    let names = [
        "$share//a",
        "$share//",
        "$share/+/a",
        "$share/#/a",
        "$share/g+/a",
        "$share/g#/a",
        "$share/+",
        "$share/#",
    ];
    let filters = ["$share/g", "$share/g/", "$share/", "$share"];
    for version in VERSIONS {
        for filter in names.iter().chain(&filters) {
            for first in [0x82, 0xA2] {
                let broker = Broker::new();
                let client = broker.client(version, "c");
                let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
                let options: &[u8] = if first == 0x82 { &[1] } else { &[] };
                let body =
                    [&[0, 1], properties, &[0, filter.len() as u8], filter.as_bytes(), options].concat();
                client.send_bytes(&[&[first, body.len() as u8], body.as_slice()].concat());
                client.expect_disconnect(Reason::TopicFilterInvalid);
                assert_eq!(broker.shared().router.subscriptions(), 0, "{filter}");
            }
        }
    }
}

#[test]
fn share_names_may_be_any_other_text_and_are_told_apart_exactly() {
    let names = ["g", "G", " ", "\u{E9}", "e\u{301}", "$share", "\u{FEFF}g"];
    for version in VERSIONS {
        let broker = Broker::new();
        let clients = names.map(|name| broker.client(version, &format!("c{name}")));
        for (client, name) in clients.iter().zip(names) {
            assert!(!client.subscribe(&format!("$share/{name}/a"), Qos::AtMostOnce).is_error());
        }
        broker.client(version, "p").publish("a", b"x", Qos::AtMostOnce);
        assert!(clients.iter().all(|client| take(client).len() == 1), "{version}");
    }
}

#[test]
fn the_filter_of_a_share_may_begin_with_a_slash_or_be_a_share_itself_in_name_only() {
    let broker = Broker::new();
    let client = broker.client(Version::V5, "c");
    client.subscribe("$share/g//a", Qos::AtMostOnce);
    client.subscribe("$share/g/$share/h/a", Qos::AtMostOnce);
    let publisher = broker.client(Version::V5, "p");
    for topic in ["/a", "a", "$share/h/a", "$share/g//a"] {
        publisher.publish(topic, topic.as_bytes(), Qos::AtMostOnce);
    }
    assert_eq!(take(&client), [b"/a".to_vec(), b"$share/h/a".to_vec()]);
}

#[test]
fn an_error_for_an_answer_ends_the_message_and_nobody_else_gets_it() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        for broker in brokers() {
            let members = ["x", "y"].map(|name| broker.client(Version::V5, name));
            members.iter().for_each(|member| _ = member.subscribe("$share/g/a", Qos::ExactlyOnce));
            broker.client(Version::V5, "p").publish("a", b"x", qos);
            let (got, other): (Vec<_>, Vec<_>) = members
                .iter()
                .map(|member| (member, member.receive_publishes()))
                .partition(|(_, got)| !got.is_empty());
            let ([(member, got)], [(other, _)]) = (got.as_slice(), other.as_slice()) else {
                panic!("not one of two got it")
            };
            let (packet_id, properties) = (got[0].packet_id.expect("above QoS 0"), Properties::EMPTY);
            let reason = Reason::QuotaExceeded;
            member.send(&match qos {
                Qos::ExactlyOnce => Packet::PubRec(PubRec { packet_id, reason, properties }),
                _ => Packet::PubAck(PubAck { packet_id, reason, properties }),
            });
            member.expect_nothing();
            other.expect_nothing();
            assert_eq!(broker.totals().stored_messages, 0);
            // Nor when its session ends.
            member.disconnect();
            other.expect_nothing();
        }
    }
}
