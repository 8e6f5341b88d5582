//! `$SYS`: what the broker says of itself, and that nobody else says it.

use std::collections::BTreeMap;

use siskin_core::{Dropped, Event, Limits};
use siskin_proto::{Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];
const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// A broker that speaks of itself every ten seconds, after its first round.
fn broker(workers: u16) -> Broker {
    let broker = Broker::with(workers, Limits { sys_interval_s: 10, ..Limits::default() });
    broker.advance_ms(0);
    broker
}

/// The text of each topic that came; each may come once.
fn values(delivered: Vec<Delivered>) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for one in delivered {
        let text = String::from_utf8(one.payload).expect("text");
        assert!(values.insert(one.topic.clone(), text).is_none(), "{} twice", one.topic);
    }
    values
}

/// What a new subscription to `filter` finds.
fn read(broker: &Broker, filter: &str) -> BTreeMap<String, String> {
    let probe = broker.client(Version::V5, "probe");
    probe.subscribe(filter, Qos::AtMostOnce);
    let got = probe.receive_publishes();
    assert!(got.iter().all(|one| one.retain));
    probe.disconnect();
    values(got)
}

#[test]
fn who_subscribes_finds_the_values_of_the_last_round_retained() {
    for version in VERSIONS {
        let broker = broker(1);
        let client = broker.client(version, "c");
        client.subscribe("$SYS/#", Qos::AtMostOnce);
        let got = client.receive_publishes();
        assert!(got.iter().all(|one| one.retain && one.topic.starts_with("$SYS/")));
        let values = values(got);
        assert!(values["$SYS/broker/version"].starts_with("mosquitto version "));
        assert_eq!(values["$SYS/broker/uptime"], "0 seconds");
        assert_eq!(values["$SYS/brokers"], "test");
        assert_eq!(values["$SYS/brokers/test/version"], "0.0.0");
        assert!(values.len() > 100, "{}", values.len());
    }
}

#[test]
fn values_come_anew_when_the_interval_is_over_and_not_before() {
    for version in VERSIONS {
        let broker = broker(1);
        let client = broker.client(version, "c");
        client.subscribe("$SYS/broker/uptime", Qos::AtMostOnce);
        assert_eq!(client.receive_publish().payload, b"0 seconds");
        for round in 1..5 {
            broker.advance_ms(9_999);
            client.expect_nothing();
            broker.advance_ms(1);
            let got = client.receive_publish();
            assert_eq!(got.payload, format!("{} seconds", round * 10).as_bytes());
            assert!(!got.retain, "to a subscription that stood");
            client.expect_nothing();
        }
    }
}

#[test]
fn only_values_that_changed_come_anew() {
    let broker = broker(1);
    let client = broker.client(Version::V5, "c");
    client.subscribe("$SYS/#", Qos::AtMostOnce);
    let mut known = values(client.receive_publishes());
    let mut rounds = 0;
    for _ in 0..6 {
        broker.advance_s(10);
        let changed = values(client.receive_publishes());
        assert!(changed.contains_key("$SYS/broker/uptime"));
        for constant in
            ["$SYS/broker/version", "$SYS/brokers", "$SYS/brokers/test/metrics/client/unsubscribe"]
        {
            assert!(!changed.contains_key(constant), "{constant}");
        }
        for (topic, value) in changed {
            assert_ne!(
                known.insert(topic.clone(), value.clone()).as_ref(),
                Some(&value),
                "{topic} came for nothing"
            );
            rounds += 1;
        }
    }
    assert!(rounds > 60, "{rounds}");
    // What did not come anew is retained as it was.
    assert_eq!(read(&broker, "$SYS/#"), known);
}

#[test]
fn values_are_right_across_workers() {
    for workers in [1, 2] {
        let broker = broker(workers);
        let clients: Vec<_> = (0..3).map(|n| broker.client(Version::V5, &format!("c{n}"))).collect();
        let (away, _) = broker.persistent(Version::V5, "away");
        away.subscribe("queued", Qos::AtLeastOnce);
        away.subscribe("$share/g/x", Qos::AtLeastOnce);
        away.cut();
        clients[0].subscribe("a", Qos::AtMostOnce);
        let before = read(&broker, "$SYS/broker/retained messages/count");
        clients[1].retain("kept", b"12345", Qos::AtMostOnce);
        clients[1].publish("queued", b"123", Qos::AtLeastOnce);
        (0..4).for_each(|_| _ = clients[2].publish("a", b"12", Qos::AtMostOnce));
        broker.advance_s(10);
        let values = read(&broker, "$SYS/#");
        for (topic, expected) in [
            ("broker/clients/connected", 3),
            ("broker/clients/disconnected", 1),
            ("broker/clients/total", 4),
            ("broker/subscriptions/count", 3),
            ("broker/shared_subscriptions/count", 1),
            ("broker/publish/messages/received", 6),
            ("broker/publish/bytes/received", 16),
            ("brokers/test/stats/connections/count", 3),
            ("brokers/test/stats/sessions/count", 4),
            ("brokers/test/stats/subscriptions/shared/count", 1),
            ("brokers/test/metrics/messages/qos0/received", 5),
            ("brokers/test/metrics/messages/qos1/received", 1),
        ] {
            assert_eq!(values[&format!("$SYS/{topic}")], expected.to_string(), "{topic}");
        }
        // Its own values are retained messages too, and were not all there in the first round.
        let retained = |values: &BTreeMap<String, String>| {
            values["$SYS/broker/retained messages/count"].parse::<usize>().expect("a number")
        };
        assert_eq!(retained(&before), 0);
        assert_eq!(retained(&values), values.len() + 1);
        broker.advance_s(10);
        let later = read(&broker, "$SYS/#");
        assert_eq!(later["$SYS/broker/clients/maximum"], "4");
        assert_eq!(later["$SYS/broker/clients/connected"], "3");
    }
}

#[test]
fn values_are_published_at_qos_2_for_who_asks_for_that() {
    for version in VERSIONS {
        for qos in QOS {
            let broker = broker(1);
            let client = broker.client(version, "c");
            client.subscribe("$SYS/broker/uptime", qos);
            let got = client.receive_publish();
            assert_eq!(got.qos, qos);
            client.acknowledge(&got);
            broker.advance_s(10);
            assert_eq!(client.receive_publish().qos, qos);
        }
    }
}

#[test]
fn filters_that_begin_with_a_wildcard_get_none_of_it() {
    for version in VERSIONS {
        let broker = broker(1);
        let client = broker.client(version, "c");
        for filter in ["#", "+/#", "+/broker/uptime", "/#", "$share/g/#", "$share/g/+/broker/uptime"] {
            client.subscribe(filter, Qos::AtMostOnce);
        }
        broker.advance_s(30);
        client.expect_nothing();
    }
}

#[test]
fn without_an_interval_there_are_no_values() {
    let broker = Broker::with(1, Limits { sys_interval_s: 0, ..Limits::default() });
    broker.advance_s(100);
    let client = broker.client(Version::V5, "c");
    client.subscribe("$SYS/#", Qos::AtMostOnce);
    broker.advance_s(100);
    client.expect_nothing();
}

#[test]
fn a_client_that_publishes_to_sys_is_refused_or_in_3_x_answered_as_usual_and_nobody_gets_it() {
    for version in VERSIONS {
        for workers in [1, 2] {
            for topic in ["$SYS", "$SYS/x", "$SYS/broker/version"] {
                let broker = broker(workers);
                let listener = broker.client(Version::V5, "l");
                listener.subscribe("$SYS/#", Qos::AtMostOnce);
                listener.receive_publishes();
                let before = read(&broker, "$SYS/#");
                let client = broker.client(version, "c");
                broker.events();
                for payload in [b"forged".as_slice(), b""] {
                    for qos in QOS {
                        for retain in [false, true] {
                            let refused = version.is_v5() && qos > Qos::AtMostOnce;
                            let expected = if refused { Reason::NotAuthorized } else { Reason::Success };
                            assert_eq!(client.publish_with(topic, payload, qos, retain, &[]), expected);
                        }
                    }
                }
                client.expect_nothing();
                listener.expect_nothing();
                assert_eq!(read(&broker, "$SYS/#"), before, "{version} {topic}");
                let is_told =
                    |event: &Event| matches!(event, Event::Dropped { why: Dropped::NotAllowed, .. });
                assert!(broker.events().iter().any(is_told));
                assert_eq!(broker.totals().dropped_not_allowed, 12);
            }
        }
    }
}

#[test]
fn topics_that_only_begin_like_sys_are_for_anybody() {
    for version in VERSIONS {
        let broker = broker(1);
        let client = broker.client(version, "c");
        for topic in ["$SYSTEM/x", "$sys/x", "$other", "a/$SYS", "/$SYS/x"] {
            client.subscribe(topic, Qos::AtMostOnce);
            client.publish(topic, b"x", Qos::AtLeastOnce);
            assert_eq!(client.receive_publish().topic, topic);
        }
    }
}

#[test]
fn a_will_for_sys_is_refused_at_connect() {
    for version in VERSIONS {
        let broker = broker(1);
        let mut client = broker.open(version);
        let forge = |connect: &mut siskin_proto::Connect<'_>| {
            connect.will = Some(will("$SYS/broker/version", b"forged", Qos::AtLeastOnce));
        };
        assert_eq!(client.connect("c", forge, &[]).reason(), Reason::NotAuthorized);
        client.expect_closed();
        assert_eq!(broker.sessions(), 0);
    }
}
