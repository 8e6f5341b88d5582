//! Shared subscriptions over a crash: what one member had is with it or with another.

use siskin_core::Limits;
use siskin_proto::{Qos, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

const QOS_1: Qos = Qos::AtLeastOnce;
const QOS_2: Qos = Qos::ExactlyOnce;

/// Calls `test` for each version, and for each way from one or two workers to one or two.
fn everywhere(test: impl Fn(Version, Broker, u16)) {
    for version in VERSIONS {
        for (before, after) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            test(version, Broker::with(before, Limits { sys_interval_s: 0, ..Limits::default() }), after);
        }
    }
}

#[track_caller]
fn lasting(broker: &Broker, version: Version, name: &str, filter: &str, qos: Qos) -> Client {
    let (client, _) = broker.persistent(version, name);
    assert!(!client.subscribe(filter, qos).is_error());
    client
}

/// The client of a session that must have been found again.
#[track_caller]
fn back(broker: &Broker, version: Version, name: &str) -> Client {
    let (client, present) = broker.persistent(version, name);
    assert_eq!(present, version != Version::V3_1, "session present of {name}");
    client
}

/// Lets `act` on a store that holds, kills the broker with every number of batches that were not safe, and calls
/// `check` with whether all were.
fn at_every_crash(act: impl Fn(&Broker, Version), check: impl Fn(&Broker, Version, bool)) {
    everywhere(|version, first, after| {
        let workers = first.shared().workers();
        for more in 0.. {
            let broker = Broker::with(workers, (*first.shared().limits()).clone());
            act(&broker, version);
            let pending = broker.store().pending();
            assert!(pending > 0, "nothing was at stake");
            broker.crash_to(after, more);
            check(&broker, version, more >= pending);
            if more == pending {
                break;
            }
        }
    });
}

fn payloads(client: &Client) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    while let Some(received) = client.try_receive() {
        let delivered = received.publish();
        client.acknowledge(&delivered);
        payloads.push(delivered.payload);
    }
    payloads
}

#[test]
fn a_shared_delivery_goes_to_another_member_when_its_own_does_not_come_back() {
    everywhere(|version, broker, after| {
        for name in ["x", "y"] {
            let client = lasting(&broker, version, name, "$share/g/a", QOS_2);
            client.cut();
        }
        let publisher = broker.client(version, "p");
        for number in 0..6_u8 {
            publisher.publish("a", &[number], if number % 2 == 0 { QOS_1 } else { QOS_2 });
        }
        broker.crash_to(after, 0);
        let stays = back(&broker, version, "y");
        let mut got = payloads(&stays);
        assert_eq!(got.len(), 3);
        // Its session ends, and what waited there is for the other.
        broker.client(version, "x").disconnect();
        got.extend(payloads(&stays));
        got.sort();
        assert_eq!(got, (0..6).map(|number| vec![number]).collect::<Vec<_>>());
        assert_eq!(broker.store().leftovers(), [""; 0]);
    });
}

#[test]
fn a_shared_delivery_that_moved_is_with_its_new_member_wherever_the_crash_cuts() {
    let act = |broker: &Broker, version| {
        for name in ["x", "y"] {
            lasting(broker, version, name, "$share/g/a", QOS_1).cut();
        }
        let publisher = broker.client(version, "p");
        (0..4_u8).for_each(|number| _ = publisher.publish("a", &[number], QOS_1));
        broker.store().hold();
        let mut clean = broker.open(version);
        clean.send_connect("x", |_| {}, &[]);
    };
    at_every_crash(act, |broker, version, is_whole| {
        let mut got: Vec<_> =
            ["x", "y"].iter().flat_map(|name| payloads(&broker.persistent(version, name).0)).collect();
        got.sort();
        assert_eq!(got, (0..4).map(|number| vec![number]).collect::<Vec<_>>(), "whole: {is_whole}");
        assert_eq!(broker.store().leftovers(), [""; 0]);
    });
}

#[test]
fn a_shared_delivery_to_a_session_that_ended_before_it_arrived_goes_to_another_after_a_crash() {
    for version in VERSIONS {
        for (after, qos) in [(1, QOS_1), (2, QOS_1), (1, QOS_2), (2, QOS_2)] {
            let broker = Broker::with(2, Limits { sys_interval_s: 0, ..Limits::default() });
            let publisher = broker.client(version, "p");
            lasting(&broker, version, "x", "$share/g/a", QOS_2).cut();
            broker.client(version, "q").disconnect();
            lasting(&broker, version, "y", "$share/g/a", QOS_2).cut();
            broker.hold_post();
            (0..4_u8).for_each(|number| _ = publisher.publish("a", &[number], qos));
            // On the other worker, where two of them are on their way to.
            broker.client(version, "x").disconnect();
            broker.crash_to(after, 0);
            let mut got = payloads(&back(&broker, version, "y"));
            got.sort();
            assert_eq!(got, (0..4).map(|number| vec![number]).collect::<Vec<_>>());
            assert_eq!(broker.store().leftovers(), [""; 0]);
        }
    }
}

#[test]
fn shared_subscriptions_take_turns_after_a_restart_among_those_who_are_back() {
    everywhere(|version, broker, after| {
        for name in ["x", "y"] {
            lasting(&broker, version, name, "$share/g/a", QOS_1);
        }
        broker.crash_to(after, 0);
        assert_eq!(broker.shared().router.shared_subscriptions(), 2);
        let only = back(&broker, version, "x");
        let publisher = broker.client(version, "p");
        (0..4_u8).for_each(|number| _ = publisher.publish("a", &[number], QOS_1));
        assert_eq!(payloads(&only).len(), 4);
        let other = back(&broker, version, "y");
        (0..4_u8).for_each(|number| _ = publisher.publish("a", &[number], QOS_1));
        assert_eq!((payloads(&only).len(), payloads(&other).len()), (2, 2));
    });
}
