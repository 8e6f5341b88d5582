//! Shared subscriptions whose members come and go: what they had is for the others, as far as it may be.

use siskin_core::Limits;
use siskin_proto::{Packet, Property, Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// Brokers of one worker and of two, where members of a group are on either. Few messages are on their
/// way to a client at once, so that it has a queue too.
fn brokers() -> [Broker; 2] {
    let limits = Limits { sys_interval_s: 0, inflight_max: 2, ..Limits::default() };
    [1, 2].map(|workers| Broker::with(workers, limits.clone()))
}

/// Takes and answers everything that came, until nothing more does.
fn take(client: &Client) -> Vec<u8> {
    let mut payloads = Vec::new();
    while let Some(received) = client.try_receive() {
        let delivered = received.publish();
        client.acknowledge(&delivered);
        payloads.push(delivered.payload[0]);
    }
    payloads
}

/// What is on its way, unanswered.
fn begun(client: &Client) -> Vec<u8> {
    client.receive_publishes().iter().map(|delivered| delivered.payload[0]).collect()
}

#[track_caller]
fn member(broker: &Broker, version: Version, name: &str, qos: Qos) -> Client {
    let (client, _) = broker.persistent(version, name);
    assert!(!client.subscribe("$share/g/a", qos).is_error());
    client
}

fn publish(broker: &Broker, payloads: std::ops::Range<u8>, qos: Qos) {
    let publisher = broker.client(Version::V5, "p");
    payloads.for_each(|n| _ = publisher.publish("a", &[n], qos));
}

fn sorted(mut payloads: Vec<u8>) -> Vec<u8> {
    payloads.sort_unstable();
    payloads
}

#[test]
fn members_that_are_away_get_nothing_while_another_is_there() {
    for version in VERSIONS {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            for broker in brokers() {
                let away = ["x", "y"].map(|name| member(&broker, version, name, qos));
                let there = member(&broker, version, "z", qos);
                away.iter().for_each(Client::cut);
                publish(&broker, 0..20, qos);
                assert_eq!(take(&there), (0..20).collect::<Vec<_>>());
                for name in ["x", "y"] {
                    broker.persistent(version, name).0.expect_nothing();
                }
            }
        }
    }
}

#[test]
fn when_all_are_away_each_message_waits_for_one_of_them() {
    for version in VERSIONS {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            for broker in brokers() {
                ["x", "y"].map(|name| member(&broker, version, name, qos)).iter().for_each(Client::cut);
                publish(&broker, 0..20, qos);
                let got = ["x", "y"].map(|name| take(&broker.persistent(version, name).0));
                assert_eq!(sorted(got.concat()), (0..20).collect::<Vec<_>>(), "{version} {got:?}");
            }
        }
    }
}

#[test]
fn who_returns_takes_turns_again() {
    for version in VERSIONS {
        for broker in brokers() {
            let one = member(&broker, version, "x", Qos::AtLeastOnce);
            member(&broker, version, "y", Qos::AtLeastOnce).cut();
            publish(&broker, 0..5, Qos::AtLeastOnce);
            assert_eq!(take(&one).len(), 5);
            let (other, _) = broker.persistent(version, "y");
            publish(&broker, 0..10, Qos::AtLeastOnce);
            assert_eq!([take(&one).len(), take(&other).len()], [5, 5]);
        }
    }
}

#[test]
fn a_member_taken_over_stays_a_member() {
    for version in VERSIONS {
        for broker in brokers() {
            let _old = member(&broker, version, "x", Qos::AtLeastOnce);
            let other = member(&broker, version, "y", Qos::AtLeastOnce);
            let (new, _) = broker.persistent(version, "x");
            publish(&broker, 0..10, Qos::AtLeastOnce);
            assert_eq!([take(&new).len(), take(&other).len()], [5, 5]);
        }
    }
}

#[test]
fn what_was_queued_for_a_member_that_goes_away_is_sent_to_another_that_is_there() {
    for version in VERSIONS {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            for broker in brokers() {
                let leaves = member(&broker, version, "x", qos);
                publish(&broker, 0..10, qos);
                let on_its_way = begun(&leaves);
                assert_eq!(on_its_way, [0, 1]);
                let stays = member(&broker, version, "y", qos);
                stays.expect_nothing();
                leaves.cut();
                assert_eq!(take(&stays), (2..10).collect::<Vec<_>>(), "{version} {qos:?}");
                // What was on its way is finished with whom it was begun.
                assert_eq!(take(&broker.persistent(version, "x").0), on_its_way);
            }
        }
    }
}

#[test]
fn what_was_queued_by_a_plain_subscription_is_not_given_to_others() {
    for version in VERSIONS {
        for broker in brokers() {
            let leaves = member(&broker, version, "x", Qos::AtLeastOnce);
            leaves.subscribe("b", Qos::AtLeastOnce);
            let publisher = broker.client(version, "p");
            for n in 0..10u8 {
                publisher.publish(if n % 2 == 0 { "a" } else { "b" }, &[n], Qos::AtLeastOnce);
            }
            let stays = member(&broker, version, "y", Qos::AtLeastOnce);
            leaves.cut();
            // 0 and 1 were on their way.
            assert_eq!(take(&stays), [2, 4, 6, 8]);
            assert_eq!(take(&broker.persistent(version, "x").0), [0, 1, 3, 5, 7, 9]);
        }
    }
}

#[test]
fn the_last_one_there_keeps_its_queue_while_it_is_away() {
    for version in VERSIONS {
        for broker in brokers() {
            // The other may have been given up for good.
            member(&broker, version, "y", Qos::AtLeastOnce).cut();
            let last = member(&broker, version, "x", Qos::AtLeastOnce);
            publish(&broker, 0..10, Qos::AtLeastOnce);
            assert_eq!(begun(&last).len(), 2);
            last.cut();
            let (last, _) = broker.persistent(version, "x");
            assert_eq!(take(&last), (0..10).collect::<Vec<_>>(), "{version}");
        }
    }
}

#[test]
fn qos_1_messages_of_a_session_that_ends_are_sent_to_another_member() {
    for version in VERSIONS {
        for broker in brokers() {
            let leaves = broker.client(version, "x");
            leaves.subscribe("$share/g/a", Qos::AtLeastOnce);
            publish(&broker, 0..10, Qos::AtLeastOnce);
            assert_eq!(begun(&leaves), [0, 1]);
            let stays = member(&broker, version, "y", Qos::AtLeastOnce);
            leaves.cut();
            assert_eq!(take(&stays), (0..10).collect::<Vec<_>>(), "{version}");
        }
    }
}

#[test]
fn qos_1_messages_of_a_session_that_expires_or_is_begun_anew_are_sent_to_another_member() {
    for is_expired in [true, false] {
        for broker in brokers() {
            let mut leaves = broker.open(Version::V5);
            leaves.connect("x", |_| {}, &[Property::SessionExpiryInterval(60)]);
            leaves.subscribe("$share/g/a", Qos::AtLeastOnce);
            publish(&broker, 0..2, Qos::AtLeastOnce);
            assert_eq!(begun(&leaves), [0, 1]);
            leaves.cut();
            // All are away: these wait for the one member there is.
            publish(&broker, 2..10, Qos::AtLeastOnce);
            let stays = member(&broker, Version::V5, "y", Qos::AtLeastOnce);
            broker.advance_ms(59_999);
            stays.expect_nothing();
            if is_expired {
                broker.advance_ms(1);
            } else {
                broker.client(Version::V5, "x").expect_nothing();
            }
            assert_eq!(take(&stays), (0..10).collect::<Vec<_>>());
        }
    }
}

#[test]
fn messages_of_a_session_that_ends_wait_for_a_member_that_is_away() {
    for version in VERSIONS {
        for broker in brokers() {
            let leaves = broker.client(version, "x");
            leaves.subscribe("$share/g/a", Qos::AtLeastOnce);
            publish(&broker, 0..5, Qos::AtLeastOnce);
            member(&broker, version, "y", Qos::AtLeastOnce).cut();
            leaves.cut();
            assert_eq!(take(&broker.persistent(version, "y").0), (0..5).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_qos_2_delivery_that_has_begun_is_finished_with_its_member_when_that_returns() {
    for version in VERSIONS {
        for is_received in [false, true] {
            for broker in brokers() {
                let leaves = member(&broker, version, "x", Qos::ExactlyOnce);
                publish(&broker, 7..8, Qos::ExactlyOnce);
                let first = leaves.receive_publish();
                let packet_id = first.packet_id.expect("QoS 2 has one");
                if is_received {
                    leaves.pubrec(packet_id);
                    assert!(matches!(leaves.receive().packet(), Packet::PubRel(_)));
                }
                let stays = member(&broker, version, "y", Qos::ExactlyOnce);
                leaves.cut();
                stays.expect_nothing();
                let (back, _) = broker.persistent(version, "x");
                if is_received {
                    let release = back.receive();
                    let Packet::PubRel(release) = release.packet() else { panic!("{release:?}") };
                    assert_eq!(release.packet_id, packet_id);
                    back.pubcomp(packet_id);
                } else {
                    let again = back.receive_publish();
                    assert_eq!(
                        (again.payload.as_slice(), again.packet_id, again.dup),
                        (&[7][..], first.packet_id, true)
                    );
                    back.acknowledge(&again);
                }
                back.expect_nothing();
                stays.expect_nothing();
                assert_eq!(broker.totals().stored_messages, 0);
            }
        }
    }
}

#[test]
fn a_qos_2_delivery_that_has_begun_ends_with_its_session_and_nobody_else_gets_it() {
    for version in VERSIONS {
        for is_received in [false, true] {
            for broker in brokers() {
                let leaves = broker.client(version, "x");
                leaves.subscribe("$share/g/a", Qos::ExactlyOnce);
                publish(&broker, 0..4, Qos::ExactlyOnce);
                let on_their_way = leaves.receive_publishes();
                assert_eq!(on_their_way.len(), 2);
                if is_received {
                    leaves.pubrec(on_their_way[0].packet_id.expect("QoS 2 has one"));
                    assert!(matches!(leaves.receive().packet(), Packet::PubRel(_)));
                }
                let stays = member(&broker, version, "y", Qos::ExactlyOnce);
                leaves.cut();
                // Only what had not been begun.
                assert_eq!(take(&stays), [2, 3], "{version}");
                assert_eq!(broker.totals().stored_messages, 0);
            }
        }
    }
}

#[test]
fn a_qos_2_message_sent_at_qos_1_to_a_member_that_goes_is_sent_to_another() {
    for version in VERSIONS {
        for broker in brokers() {
            let leaves = broker.client(version, "x");
            leaves.subscribe("$share/g/a", Qos::AtLeastOnce);
            publish(&broker, 0..1, Qos::ExactlyOnce);
            assert_eq!(leaves.receive_publish().qos, Qos::AtLeastOnce);
            let stays = member(&broker, version, "y", Qos::ExactlyOnce);
            leaves.cut();
            let got = stays.receive_publish();
            assert_eq!((got.qos, got.dup), (Qos::ExactlyOnce, false), "it is new to this one");
        }
    }
}

#[test]
fn with_the_last_member_its_group_ends_and_nothing_is_kept_for_it() {
    for version in VERSIONS {
        for broker in brokers() {
            let last = broker.client(version, "x");
            last.subscribe("$share/g/a", Qos::AtLeastOnce);
            publish(&broker, 0..10, Qos::AtLeastOnce);
            last.cut();
            assert_eq!(broker.totals().stored_messages, 0);
            assert_eq!(broker.shared().router.subscriptions(), 0);
            let publisher = broker.client(Version::V5, "p");
            let reason = publisher.publish("a", b"x", Qos::AtLeastOnce);
            assert_eq!(reason, Reason::NoMatchingSubscribers);
            member(&broker, version, "y", Qos::AtLeastOnce).expect_nothing();
        }
    }
}
