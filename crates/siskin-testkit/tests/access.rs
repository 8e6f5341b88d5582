//! What clients may do: refused, withheld, and changed while they are there or away.

use std::sync::Arc;

use siskin_core::trace::{Amount, Watch};
use siskin_core::{Access, Cause, Event, Identity, Limits, Permissions, PublishDenied, Rulebook, Standing};
use siskin_proto::{Connect, PacketKind, Property, Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];
const PUBLISH: &str = "publish to";
const SUBSCRIBE: &str = "subscribe to";
const RECEIVE: &str = "receive";
const ANSWERING: [Version; 2] = [Version::V3_1_1, Version::V5];

/// Users and what each may do: an access, and the first letters of a topic. Who has no line may do everything, and
/// who has an empty one is unknown.
#[derive(Clone, Debug)]
struct Book(Vec<(&'static str, Vec<(&'static str, &'static str)>)>);

#[derive(Debug)]
struct Rules(Vec<(&'static str, &'static str)>);

impl Rulebook for Book {
    fn standing(&self, identity: &Identity, _: &str) -> Standing {
        let line = self.0.iter().find(|(user, _)| Some(*user) == identity.user_name.as_deref());
        match line {
            None => Standing::Unlimited,
            Some((_, rules)) if rules.is_empty() => Standing::Unknown,
            Some((_, rules)) => Standing::Limited(Arc::new(Rules(rules.clone()))),
        }
    }
}

impl Permissions for Rules {
    fn allows(&self, access: Access, topic: &str) -> bool {
        self.0.iter().any(|(its, start)| *its == access.to_string() && topic.starts_with(start))
    }

    fn because(&self, access: Access, _: &str) -> String {
        format!("rule for {access}")
    }
}

fn book(lines: &[(&'static str, &[(&'static str, &'static str)])]) -> Option<Arc<dyn Rulebook>> {
    Some(Arc::new(Book(lines.iter().map(|(user, rules)| (*user, rules.to_vec())).collect())))
}

/// A broker on which `user` may do these things, and all others everything.
fn broker(user: &'static str, rules: &[(&'static str, &'static str)]) -> Broker {
    let broker = Broker::new();
    broker.go_by(book(&[(user, rules)]));
    broker
}

fn user(broker: &Broker, version: Version, name: &str) -> Client {
    broker.client_with(version, name, |connect| connect.user_name = Some(name), &[])
}

/// A client whose session lasts, of the same user name and client id.
fn lasting(broker: &Broker, version: Version, name: &str) -> Client {
    let mut client = broker.open(version);
    client.connect(
        name,
        |connect| {
            connect.user_name = Some(name);
            connect.clean_start = false;
        },
        if version.is_v5() { &[Property::SessionExpiryInterval(u32::MAX)] } else { &[] },
    );
    client
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

fn denials(broker: &Broker) -> Vec<String> {
    let is_denial = |event: &Event| matches!(event, Event::Denied { .. });
    broker.events().iter().filter(|event| is_denial(event)).map(ToString::to_string).collect()
}

#[test]
fn a_message_that_its_client_may_not_publish_goes_nowhere_and_only_5_0_is_told() {
    for version in VERSIONS {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let broker = broker("u", &[(PUBLISH, "good")]);
            let watcher = broker.client(Version::V5, "watcher");
            watcher.subscribe("#", Qos::ExactlyOnce);
            let client = user(&broker, version, "u");
            for topic in ["bad", "bad", "good"] {
                let reason = client.retain(topic, topic.as_bytes(), qos);
                let is_told = version.is_v5() && qos > Qos::AtMostOnce && topic == "bad";
                let expected = if is_told { Reason::NotAuthorized } else { Reason::Success };
                assert_eq!(reason, expected, "{version} {qos:?} {topic}");
            }
            assert_eq!(payloads(&watcher), [b"good"], "{version} {qos:?}");
            let late = broker.client(version, "late");
            late.subscribe("#", qos);
            assert_eq!(payloads(&late), [b"good"], "neither is it retained");
            assert_eq!(broker.totals().denied_publish, 2);
            let told = denials(&broker);
            assert_eq!(told, ["u, user u, may not publish to bad: rule for publish to"], "one line a second");
        }
    }
}

#[test]
fn a_client_that_publishes_where_it_may_not_is_put_out_if_so_wished() {
    for version in VERSIONS {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let broker = Broker::limited(|limits| limits.publish_denied = PublishDenied::Disconnect);
            broker.go_by(book(&[("u", &[(PUBLISH, "good")])]));
            let client = user(&broker, version, "u");
            client.send_publish(publish("bad", b"x", qos, 1));
            if version.is_v5() {
                client.expect_disconnect(Reason::NotAuthorized);
            }
            assert_eq!(client.end(), Some(Cause::PublishDenied));
        }
    }
}

#[test]
fn a_qos_2_id_that_was_refused_is_free_again() {
    let broker = broker("u", &[(PUBLISH, "good")]);
    let client = user(&broker, Version::V5, "u");
    client.send_publish(publish("bad", b"x", Qos::ExactlyOnce, 1));
    client.expect_ack(PacketKind::PubRec, 1, Reason::NotAuthorized);
    let watcher = broker.client(Version::V5, "watcher");
    watcher.subscribe("good", Qos::AtMostOnce);
    client.send_publish(publish("good", b"y", Qos::ExactlyOnce, 1));
    client.expect_ack(PacketKind::PubRec, 1, Reason::Success);
    assert_eq!(payloads(&watcher), [b"y"]);
}

#[test]
fn a_filter_that_its_client_may_not_subscribe_to_is_refused_alone() {
    for version in ANSWERING {
        let broker = broker("u", &[(SUBSCRIBE, "a"), (RECEIVE, "")]);
        let client = user(&broker, version, "u");
        assert_eq!(client.subscribe("a/b", Qos::AtLeastOnce), Reason::GrantedQos1);
        let refused = if version.is_v5() { Reason::NotAuthorized } else { Reason::Unspecified };
        assert_eq!(client.subscribe("b", Qos::AtLeastOnce), refused);
        assert_eq!(client.subscribe("$share/g/a", Qos::AtLeastOnce), Reason::GrantedQos1);
        assert_eq!(client.subscribe("$share/a/b", Qos::AtLeastOnce), refused);
        let publisher = broker.client(version, "p");
        publisher.publish("b", b"b", Qos::AtLeastOnce);
        publisher.publish("a/b", b"a", Qos::AtLeastOnce);
        assert_eq!(payloads(&client), [b"a"]);
        assert_eq!(broker.totals().denied_subscribe, 2);
        assert_eq!(denials(&broker), ["u, user u, may not subscribe to b: rule for subscribe to"]);
    }
}

#[test]
fn a_3_1_client_cannot_be_told_and_so_is_closed() {
    let broker = broker("u", &[(SUBSCRIBE, "a")]);
    let client = user(&broker, Version::V3_1, "u");
    client.send_bytes(b"\x82\x06\0\x01\0\x01b\0");
    client.expect_closed();
}

#[test]
fn a_subscription_brings_only_what_its_client_may_receive_from_any_worker() {
    for version in VERSIONS {
        for workers in [1, 2] {
            let broker = Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() });
            broker.go_by(book(&[("u", &[(SUBSCRIBE, ""), (RECEIVE, "good")])]));
            let client = user(&broker, version, "u");
            let free = user(&broker, version, "free");
            for (at, client) in [&client, &free].into_iter().enumerate() {
                client.subscribe("#", Qos::AtLeastOnce);
                client.subscribe(["+", "+/x"][at], Qos::AtMostOnce);
            }
            for name in ["p", "q"] {
                let publisher = broker.client(version, name);
                publisher.publish("bad", b"bad", Qos::AtLeastOnce);
                publisher.publish("good", b"good", Qos::AtLeastOnce);
            }
            assert_eq!(payloads(&client), [b"good", b"good"]);
            assert_eq!(payloads(&free), [&b"bad"[..], b"good", b"bad", b"good"]);
        }
    }
}

#[test]
fn retained_messages_are_withheld_too_and_the_others_come_in_full() {
    for version in VERSIONS {
        let broker = broker("u", &[(SUBSCRIBE, ""), (RECEIVE, "good")]);
        let publisher = broker.client(version, "p");
        for n in 0..100 {
            publisher.retain(&format!("bad/{n}"), b"bad", Qos::AtLeastOnce);
            publisher.retain(&format!("good/{n}"), b"good", Qos::AtLeastOnce);
        }
        let client = user(&broker, version, "u");
        client.subscribe("#", Qos::AtLeastOnce);
        assert_eq!(payloads(&client), vec![b"good"; 100]);
    }
}

#[test]
fn a_group_chooses_only_members_that_may_receive_and_one_that_is_away_rather_than_nobody() {
    for workers in [1, 2] {
        let broker = Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() });
        let all = &[(SUBSCRIBE, ""), (RECEIVE, "good")][..];
        broker.go_by(book(&[("x", all), ("y", all)]));
        let limited = ["x", "y"].map(|name| lasting(&broker, Version::V5, name));
        let free = lasting(&broker, Version::V5, "free");
        for client in limited.iter().chain([&free]) {
            client.subscribe("$share/g/#", Qos::AtLeastOnce);
        }
        let publisher = broker.client(Version::V5, "p");
        for _ in 0..6 {
            publisher.publish("bad", b"bad", Qos::AtLeastOnce);
        }
        assert_eq!(payloads(&free), vec![b"bad"; 6]);
        for _ in 0..6 {
            publisher.publish("good", b"good", Qos::AtLeastOnce);
        }
        let shares = [&limited[0], &limited[1], &free].map(|client| payloads(client).len());
        assert_eq!(shares, [2, 2, 2]);
        free.cut();
        publisher.publish("bad", b"late", Qos::AtLeastOnce);
        limited.iter().for_each(Client::expect_nothing);
        assert_eq!(payloads(&lasting(&broker, Version::V5, "free")), [b"late"]);
    }
}

#[test]
fn what_a_member_leaves_behind_is_not_given_to_one_that_may_not_receive_it() {
    let broker = broker("x", &[(SUBSCRIBE, ""), (RECEIVE, "good")]);
    let free = lasting(&broker, Version::V5, "free");
    free.subscribe("$share/g/#", Qos::AtLeastOnce);
    let limited = user(&broker, Version::V5, "x");
    limited.subscribe("$share/g/#", Qos::AtLeastOnce);
    let publisher = broker.client(Version::V5, "p");
    publisher.publish("bad", b"bad", Qos::AtLeastOnce);
    // Sent, not acknowledged; the session ends, and the message is for others who may.
    assert_eq!(free.receive_publish().payload, b"bad");
    free.disconnect();
    broker.client_with(Version::V5, "free", |connect| connect.clean_start = true, &[]);
    limited.expect_nothing();
}

#[test]
fn a_will_that_its_client_may_not_publish_is_dropped_when_it_is_due() {
    for version in VERSIONS {
        for rules in [&[(PUBLISH, "other")][..], &[(PUBLISH, "w")]] {
            let broker = broker("u", rules);
            let watcher = broker.client(Version::V5, "watcher");
            watcher.subscribe("#", Qos::AtMostOnce);
            let change = |connect: &mut Connect<'_>| {
                connect.user_name = Some("u");
                connect.will = Some(will("w", b"gone", Qos::AtLeastOnce));
            };
            broker.client_with(version, "u", change, &[]).cut();
            let is_allowed = rules[0].1 == "w";
            assert_eq!(payloads(&watcher), vec![b"gone"; usize::from(is_allowed)]);
            assert_eq!(broker.totals().denied_publish, u64::from(!is_allowed));
        }
    }
}

#[test]
fn a_will_that_outlived_the_process_goes_by_the_rules_of_its_user() {
    for (rules, count) in [(&[(PUBLISH, "other")], 0), (&[(PUBLISH, "w")], 1)] {
        let broker = broker("u", &[(PUBLISH, "w")]);
        let watcher = lasting(&broker, Version::V5, "watcher");
        watcher.subscribe("w", Qos::AtLeastOnce);
        for expiry_s in [0, 1000] {
            let id = format!("u{expiry_s}");
            let change = |connect: &mut Connect<'_>| {
                connect.user_name = Some("u");
                connect.will = Some(will("w", b"gone", Qos::AtLeastOnce));
            };
            let mut client = broker.open(Version::V5);
            client.connect(&id, change, &[Property::SessionExpiryInterval(expiry_s)]);
        }
        broker.go_by(book(&[("u", rules)]));
        broker.crash(0);
        broker.advance_ms(1);
        assert_eq!(payloads(&lasting(&broker, Version::V5, "watcher")).len(), 2 * count);
    }
}

#[test]
fn new_rules_count_at_once_for_those_who_are_there() {
    for version in VERSIONS {
        let broker = Broker::new();
        let client = user(&broker, version, "u");
        client.subscribe("#", Qos::AtLeastOnce);
        let publisher = broker.client(version, "p");
        let round = || {
            publisher.publish("good", b"good", Qos::AtLeastOnce);
            publisher.publish("bad", b"bad", Qos::AtLeastOnce);
            payloads(&client)
        };
        assert_eq!(round(), [&b"good"[..], b"bad"]);
        broker.go_by(book(&[("u", &[(RECEIVE, "good")])]));
        assert_eq!(round(), [b"good"]);
        broker.go_by(book(&[("u", &[(RECEIVE, "bad")])]));
        assert_eq!(round(), [b"bad"]);
        assert_eq!(client.retain("x", b"", Qos::AtMostOnce), Reason::Success);
        assert_eq!(broker.totals().denied_publish, 1);
        broker.go_by(None);
        assert_eq!(round(), [&b"good"[..], b"bad"]);
    }
}

#[test]
fn a_client_whose_user_is_no_more_is_put_out_and_what_it_left_gets_nothing() {
    for version in VERSIONS {
        let broker = Broker::new();
        let client = lasting(&broker, version, "u");
        client.subscribe("a", Qos::AtLeastOnce);
        broker.go_by(book(&[("u", &[])]));
        if version.is_v5() {
            client.expect_disconnect(Reason::NotAuthorized);
        }
        assert_eq!(client.end(), Some(Cause::Revoked));
        let publisher = broker.client(version, "p");
        publisher.publish("a", b"secret", Qos::AtLeastOnce);
        let mut refused = broker.open(version);
        let connack = refused.connect("u", |connect| connect.user_name = Some("u"), &[]);
        assert_eq!(connack.reason(), Reason::NotAuthorized);
        broker.go_by(None);
        publisher.publish("a", b"open", Qos::AtLeastOnce);
        assert_eq!(payloads(&lasting(&broker, version, "u")), [b"open"]);
    }
}

#[test]
fn what_waits_for_a_client_that_may_no_longer_receive_it_is_dropped() {
    for version in VERSIONS {
        for (queue_memory_bytes_max, inflight_max) in [(256 * 1024, 1000), (0, 2)] {
            let broker = Broker::limited(|limits| {
                limits.queue_memory_bytes_max = queue_memory_bytes_max;
                limits.inflight_max = inflight_max;
            });
            let client = lasting(&broker, version, "u");
            client.subscribe("#", Qos::ExactlyOnce);
            let publisher = broker.client(version, "p");
            let publish = |qos| {
                publisher.publish("good", b"good", qos);
                publisher.publish("bad", b"bad", qos);
            };
            // One sent and not acknowledged, and then what is queued.
            publish(Qos::AtLeastOnce);
            client.cut();
            publish(Qos::AtLeastOnce);
            publish(Qos::ExactlyOnce);
            broker.go_by(book(&[("u", &[(RECEIVE, "good")])]));
            let client = lasting(&broker, version, "u");
            assert_eq!(payloads(&client), vec![b"good"; 3]);
            assert_eq!(broker.totals().dropped_denied, 3);
            assert_eq!(broker.totals().stored_messages, 0);
        }
    }
}

#[test]
fn a_session_that_another_user_takes_over_goes_by_the_rules_of_that_user() {
    let broker = broker("u", &[(SUBSCRIBE, ""), (RECEIVE, "good")]);
    let (client, _) = broker.persistent(Version::V5, "u");
    client.subscribe("#", Qos::AtLeastOnce);
    let publisher = broker.client(Version::V5, "p");
    publisher.publish("bad", b"1", Qos::AtLeastOnce);
    assert_eq!(payloads(&client), [b"1"]);
    let client = lasting(&broker, Version::V5, "u");
    publisher.publish("bad", b"2", Qos::AtLeastOnce);
    publisher.publish("good", b"3", Qos::AtLeastOnce);
    assert_eq!(payloads(&client), [b"3"]);
    let (client, session_present) = broker.persistent(Version::V5, "u");
    assert!(session_present);
    publisher.publish("bad", b"4", Qos::AtLeastOnce);
    assert_eq!(payloads(&client), [b"4"]);
}

#[test]
fn after_a_restart_absent_sessions_go_by_the_rules_of_their_users() {
    for version in VERSIONS {
        for workers in [1, 2] {
            let broker = Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() });
            broker.go_by(book(&[("u", &[(SUBSCRIBE, ""), (RECEIVE, "good")])]));
            let client = lasting(&broker, version, "u");
            client.subscribe("#", Qos::AtLeastOnce);
            broker.crash(0);
            let publisher = broker.client(version, "p");
            publisher.publish("bad", b"bad", Qos::AtLeastOnce);
            publisher.publish("good", b"good", Qos::AtLeastOnce);
            assert_eq!(broker.totals().stored_messages, 1);
            assert_eq!(payloads(&lasting(&broker, version, "u")), [b"good"]);
        }
    }
}

#[test]
fn a_client_may_be_refused_what_is_the_brokers_own_whatever_its_rules_say() {
    let broker = broker("u", &[(PUBLISH, "")]);
    let client = user(&broker, Version::V5, "u");
    assert_eq!(client.publish("$SYS/x", b"x", Qos::AtLeastOnce), Reason::NotAuthorized);
    assert_eq!(broker.totals().dropped_not_allowed, 1);
}

#[test]
fn many_sessions_learn_of_new_rules_some_in_each_tick() {
    let broker = Broker::new();
    let clients: Vec<_> = (0..2500).map(|n| lasting(&broker, Version::V5, &format!("c{n}"))).collect();
    broker.go_by(Some(Arc::new(Closed)));
    assert!(clients[0].end().is_some() && clients[2499].end().is_none());
    broker.advance_ms(1);
    assert!(clients.iter().all(|client| client.end() == Some(Cause::Revoked)));
}

/// Knows nobody.
#[derive(Debug)]
struct Closed;

impl Rulebook for Closed {
    fn standing(&self, _: &Identity, _: &str) -> Standing {
        Standing::Unknown
    }
}

#[test]
fn who_has_subscribed_and_may_not_receive_a_topic_is_named_with_the_rule() {
    let broker = broker("u", &[(SUBSCRIBE, ""), (RECEIVE, "open/")]);
    let limited = user(&broker, Version::V5, "u");
    limited.subscribe("#", Qos::AtLeastOnce);
    limited.subscribe("$share/g/+/x", Qos::AtLeastOnce);
    let free = broker.client(Version::V5, "free");
    free.subscribe("$share/g/+/x", Qos::AtLeastOnce);
    let explain = |topic: &str| {
        let views = broker.ask(|worker| worker.explain_topic(topic, Some("u"), 100).unwrap());
        views.into_iter().next().unwrap()
    };
    let view = explain("closed/x");
    assert_eq!((view.receivers.len(), view.groups[0].candidates, view.denied.len()), (0, 1, 1));
    assert_eq!(
        view.tell(),
        format!(
            "A message on 'closed/x' is due to 0 sessions and to one member of each of 1 shared subscription. \
             1 session that has subscribed may not receive it.\n  \
             '$share/g/+/x': one of 1, in turns\n    \
             'free' at QoS 1 by '$share/g/+/x', connected from {}: it would be sent\n\
             ! 'u' has subscribed to '#', '$share/g/+/x', connected from {}: it would not get it, rule for receive\n\
             ! 'u' may not publish it: rule for publish to\n",
            free.origin(),
            limited.origin(),
        )
    );
    let view = explain("open/x");
    assert_eq!((view.receivers.len(), view.groups[0].candidates, view.denied.len()), (1, 2, 0));
    assert!(!explain("$SYS/x").publisher.unwrap().is_allowed);
}

#[test]
fn a_trace_names_those_from_whom_a_message_is_kept_and_the_rule_that_refuses_one() {
    let broker = broker("u", &[(SUBSCRIBE, "")]);
    let limited = user(&broker, Version::V5, "u");
    limited.subscribe("t", Qos::AtMostOnce);
    let number = broker.shared().next_trace();
    broker.ask(|worker| {
        let watch = Watch { number, filter: Some("t".into()), client_id: None, amount: Amount::InAll(10) };
        worker.arm_trace(watch);
    });
    let stations = || {
        let traced = broker.ask(|worker| worker.take_trace(number)).concat();
        traced.into_iter().map(|traced| traced.station.to_string()).skip(1).collect::<Vec<_>>()
    };
    broker.client(Version::V5, "free").publish("t", b"x", Qos::AtMostOnce);
    assert_eq!(
        stations(),
        ["matches no subscription", "kept from 'u', which has subscribed: rule for receive"]
    );
    limited.publish("t", b"x", Qos::AtLeastOnce);
    assert_eq!(
        stations(),
        ["not taken over: rule for publish to", "refused to its publisher: Not authorized (0x87)"]
    );
}

#[test]
fn what_a_client_may_not_do_is_in_its_story_with_the_rule() {
    let broker = broker("u", &[]);
    broker.go_by(book(&[("u", &[(RECEIVE, "")])]));
    let client = user(&broker, Version::V5, "u");
    for _ in 0..3 {
        client.publish("a", b"x", Qos::AtMostOnce);
        broker.advance_ms(1000);
    }
    client.publish("b", b"x", Qos::AtLeastOnce);
    let story = broker.story("u").unwrap();
    let told: Vec<_> = story.entries.iter().skip(1).map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "may not publish to 'a': rule for publish to (3 times)",
            "may not publish to 'b': rule for publish to"
        ]
    );
}
