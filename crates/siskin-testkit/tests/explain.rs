//! What an operator can ask: clients, receivers of a topic, the way of a message.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use siskin_core::explain::{Outlook, TopicView, Waits};
use siskin_core::recorder::Clock;
use siskin_core::trace::{Amount, Station, Traced, Watch, tell};
use siskin_core::{Limits, QueueFull};
use siskin_proto::{Property, Qos, SubscriptionOptions, Version};
use siskin_testkit::*;

const QOS_0: Qos = Qos::AtMostOnce;
const QOS_1: Qos = Qos::AtLeastOnce;

fn of_workers(workers: u16) -> Broker {
    Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() })
}

/// What all workers say of a topic.
fn topic(broker: &Broker, topic: &str, publisher: Option<&str>) -> TopicView {
    let views = broker.ask(|worker| worker.explain_topic(topic, publisher, 100).expect("a legal topic"));
    views
        .into_iter()
        .reduce(|mut all, view| {
            all.join(view);
            all
        })
        .expect("a broker has a worker")
}

fn outlooks(view: &TopicView) -> Vec<(String, Outlook)> {
    let mut all: Vec<_> = view.receivers.iter().map(|r| (r.client_id.to_string(), r.outlook)).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

#[test]
fn a_client_is_shown_with_its_connection_and_what_waits_for_it() {
    let broker = of_workers(2);
    let properties = [Property::ReceiveMaximum(2), Property::SessionExpiryInterval(100)];
    let subscriber = broker.client_with(Version::V5, "s", |connect| connect.keep_alive_s = 20, &properties);
    subscriber.subscribe("t", QOS_1);
    subscriber.subscribe("$share/g/u", QOS_0);
    let publisher = broker.client(Version::V3_1_1, "p");
    for _ in 0..5 {
        publisher.publish("t", b"12345", QOS_1);
    }
    let owner = broker.shared().owner("s").unwrap();
    let find = || broker.ask(|worker| worker.client("s")).into_iter().flatten().collect::<Vec<_>>();
    let [view] = &find()[..] else { panic!("{:?}", find()) };
    assert_eq!((view.key, &*view.client_id, view.expiry_s), (owner, "s", 100));
    assert_eq!((view.subscriptions, view.shared_subscriptions), (2, 1));
    assert_eq!((view.inflight, view.queue_messages), (2, 3));
    assert_eq!((view.left_at, view.expires_at), (None, None));
    let connection = view.connection.as_ref().unwrap();
    assert_eq!((connection.origin, connection.window, connection.keep_alive_s), (subscriber.origin(), 2, 20));
    assert_eq!((connection.messages_sent, connection.messages_received), (2, 0));
    let sent: usize = subscriber.receive_all().iter().map(|packet| packet.bytes().len()).sum();
    // Without CONNACK and SUBACKs, which were taken before.
    assert_eq!(connection.bytes_sent as usize, sent + connection_overhead(&broker));
    let key = view.key;
    let worker_sees = |broker: &Broker| {
        broker.ask(|worker| {
            (
                worker.queue_of(key, 1, 10).len(),
                worker.inflight_of(key, 10).len(),
                worker.subscriptions_of(key, 10).len(),
            )
        })
    };
    assert!(worker_sees(&broker).contains(&(2, 2, 2)));
    subscriber.cut();
    let [view] = &find()[..] else { panic!("{:?}", find()) };
    assert!(view.connection.is_none());
    assert_eq!(view.left_at, Some(broker.now()));
    assert_eq!(view.expires_at.map(|at| at.ms_since(broker.now())), Some(100_000));
    assert_eq!((view.inflight, view.queue_messages), (2, 3));
}

/// Bytes that a client like `s` is told before the first message.
fn connection_overhead(broker: &Broker) -> usize {
    let mut same = broker.open(Version::V5);
    let properties = [Property::ReceiveMaximum(2), Property::SessionExpiryInterval(100)];
    let connack = same.connect("same", |connect| connect.keep_alive_s = 20, &properties);
    same.subscribe("t2", QOS_1);
    same.subscribe("$share/g/u2", QOS_0);
    let views = broker.ask(|worker| worker.client("same")).into_iter().flatten().next().expect("it is there");
    let bytes = views.connection.expect("it is connected").bytes_sent as usize;
    assert!(bytes > connack.bytes().len());
    bytes
}

#[test]
fn clients_are_listed_page_by_page_each_once() {
    let broker = of_workers(3);
    let clients: Vec<_> = (0..50).map(|n| broker.client(Version::V5, &format!("c{n}"))).collect();
    clients[7].disconnect();
    let mut found = BTreeSet::new();
    for pages in broker.ask(|worker| {
        let (mut from, mut ids) = (Some(0), Vec::new());
        while let Some(at) = from {
            let (page, next) = worker.clients(at, 4, |view| &*view.client_id != "c9");
            assert!(page.len() <= 4);
            ids.extend(page.iter().map(|view| view.client_id.to_string()));
            from = next;
        }
        ids
    }) {
        for id in pages {
            assert!(found.insert(id));
        }
    }
    assert_eq!(found.len(), 48);
    assert!(!found.contains("c7") && !found.contains("c9"));
}

#[test]
fn the_receivers_of_a_topic_are_told_with_the_filters_by_which_they_match() {
    for workers in [1, 3] {
        let broker = of_workers(workers);
        let one = broker.client(Version::V5, "one");
        one.subscribe("a/+", QOS_0);
        one.subscribe("a/#", Qos::ExactlyOnce);
        one.subscribe("b", QOS_1);
        one.subscribe("$share/g/a/b", QOS_1);
        let two = broker.client(Version::V3_1_1, "two");
        two.subscribe("a/b", QOS_1);
        let view = topic(&broker, "a/b", None);
        let mut told: Vec<_> = view.receivers.iter().map(ToString::to_string).collect();
        told.sort();
        assert_eq!(
            told,
            [
                format!("'one' at QoS 2 by 'a/#', 'a/+', connected from {}: it would be sent", one.origin()),
                format!("'two' at QoS 1 by 'a/b', connected from {}: it would be sent", two.origin()),
            ]
        );
        assert_eq!((view.groups.len(), view.groups[0].candidates), (1, 1));
        assert_eq!(view.groups[0].members.len(), 1);
        let text = view.tell();
        assert!(
            text.starts_with("A message on 'a/b' is due to 2 sessions and to one member of each of 1 shared")
        );
        assert!(topic(&broker, "c", None).receivers.is_empty());
    }
}

#[test]
fn topics_that_are_none_are_refused() {
    let broker = Broker::new();
    for bad in ["", "a/+", "#", "a\0"] {
        assert!(broker.ask(|worker| worker.explain_topic(bad, None, 1).is_err())[0], "{bad:?}");
    }
}

#[test]
fn what_would_become_of_a_message_is_told_and_becomes_true() {
    let broker = Broker::limited(|limits| {
        limits.queue_messages_max = 1;
        limits.inflight_max = 1;
        limits.out_buffer_bytes_max = 1000;
    });
    for (name, qos) in [("away-0", QOS_0), ("away-1", QOS_1)] {
        let (client, _) = broker.persistent(Version::V5, name);
        client.subscribe("t", qos);
        client.cut();
    }
    let slow = broker.client(Version::V5, "slow");
    slow.subscribe("t", QOS_0);
    slow.subscribe("large", QOS_0);
    slow.stall_after(0);
    let window = broker.client(Version::V5, "window");
    window.subscribe("t", QOS_1);
    let own = broker.client(Version::V5, "own");
    own.subscribe_with("t", SubscriptionOptions { no_local: true, ..Default::default() }, &[]);
    let outlook = |broker: &Broker| {
        outlooks(&topic(broker, "t", Some("own"))).into_iter().map(|(_, outlook)| outlook).collect::<Vec<_>>()
    };
    let publish = || _ = own.publish("t", &[0; 1000], QOS_1);
    use Outlook::{Missed, NoLocal, Queued, Sent, SlowReader};
    // By name: away-0, away-1, own, slow, window.
    assert_eq!(outlook(&broker), [Missed, Queued(Waits::Away), NoLocal, Sent, Sent]);
    own.publish("large", &[0; 10_000], QOS_0);
    publish();
    let full = Outlook::QueueFull(QueueFull::DropNewest);
    assert_eq!(outlook(&broker), [Missed, full, NoLocal, SlowReader, Queued(Waits::WindowFull)]);
    publish();
    assert_eq!(outlook(&broker), [Missed, full, NoLocal, SlowReader, full]);
    publish();
    let dropped = |id: &str| {
        let views = broker.ask(|worker| worker.client(id));
        views[0].as_ref().unwrap().dropped.iter().sum::<u64>()
    };
    assert_eq!(["away-0", "away-1", "own", "slow", "window"].map(dropped), [0, 2, 0, 3, 1]);
    let view = topic(&broker, "t", Some("own"));
    assert!(view.tell().contains("'window' at QoS 1 by 't', connected from"));
}

fn arm(broker: &Broker, filter: Option<&str>, client_id: Option<&str>, messages: u16) -> NonZeroU32 {
    let number = broker.shared().next_trace();
    broker.ask(|worker| {
        let (filter, client_id) = (filter.map(Into::into), client_id.map(Into::into));
        worker.arm_trace(Watch { number, filter, client_id, amount: Amount::InAll(messages) });
    });
    number
}

fn traced(broker: &Broker, number: NonZeroU32) -> Vec<Traced> {
    broker.ask(|worker| worker.take_trace(number)).concat()
}

/// The stations in sentences, without their times, and those of one moment in the order of their words.
fn stations(broker: &Broker, number: NonZeroU32) -> Vec<String> {
    let mut all: Vec<_> =
        traced(broker, number).into_iter().map(|traced| (traced.at, traced.station.to_string())).collect();
    all.sort();
    all.into_iter().map(|(_, text)| text).collect()
}

#[test]
fn a_message_is_followed_from_its_publisher_to_each_receiver() {
    for workers in [1, 2, 3] {
        let broker = of_workers(workers);
        let (away, _) = broker.persistent(Version::V5, "away");
        away.subscribe("t/#", QOS_1);
        away.cut();
        let there = broker.client(Version::V5, "there");
        there.subscribe("t/a", QOS_1);
        let publisher = broker.client(Version::V5, "p");
        let trace = arm(&broker, Some("t/+"), None, 10);
        broker.store().hold();
        publisher.send_publish(publish("t/a", b"12345", QOS_1, 7));
        publisher.send_publish(publish("u", b"", QOS_0, 0));
        let mut all = stations(&broker, trace);
        all.sort();
        assert_eq!(
            all,
            [
                format!("a message on 't/a' from 'p' at {}: QoS 1, 5 bytes", publisher.origin()),
                "due to 2 sessions; put into the store for 1 of them".to_owned(),
                "sent to 'there' at QoS 1 as packet 1".to_owned(),
                "waits for 'away' behind 0 others: the client is not connected".to_owned(),
            ]
        );
        broker.advance_ms(20);
        broker.store().release();
        broker.settle();
        assert_eq!(stations(&broker, trace), ["safe, and acknowledged to its publisher: Success (0x00)"]);
        broker.advance_ms(20);
        there.acknowledge(&there.receive_publish());
        assert_eq!(stations(&broker, trace), ["acknowledged by 'there'"]);
        let (away, _) = broker.persistent(Version::V5, "away");
        away.acknowledge(&away.receive_publish());
        assert_eq!(
            stations(&broker, trace),
            ["acknowledged by 'away'", "sent to 'away' at QoS 1 as packet 1"]
        );
    }
}

#[test]
fn a_trace_says_who_does_not_get_a_message_and_why() {
    let broker = Broker::limited(|limits| limits.queue_messages_max = 0);
    for (name, qos) in [("away-0", QOS_0), ("away-1", QOS_1)] {
        let (client, _) = broker.persistent(Version::V5, name);
        client.subscribe("t", qos);
        client.cut();
    }
    let small = broker.client_with(Version::V5, "small", |_| {}, &[Property::MaximumPacketSize(50)]);
    small.subscribe("t", QOS_1);
    let own = broker.client(Version::V5, "own");
    own.subscribe_with("t", SubscriptionOptions { no_local: true, ..Default::default() }, &[]);
    let trace = arm(&broker, None, Some("own"), 10);
    own.publish("t", &[0; 100], QOS_1);
    let mut all = stations(&broker, trace);
    all.retain(|text| text.contains("away") || text.contains("small") || text.contains("not sent"));
    assert_eq!(
        all,
        [
            "dropped for 'away-1': the session's queue is full",
            "dropped for 'small': larger than the client's Maximum Packet Size",
            "missed by 'away-0', who is not connected: QoS 0 does not wait",
            "not sent to 'own', who published it: its subscription says No Local",
            "waits for 'away-1' behind 0 others: the client is not connected",
        ]
    );
    own.publish("nobody", b"", QOS_0);
    assert_eq!(stations(&broker, trace)[1], "matches no subscription");
}

#[test]
fn a_trace_follows_no_more_messages_than_it_was_told_and_none_of_an_earlier_one() {
    let broker = Broker::new();
    let subscriber = broker.client(Version::V5, "s");
    subscriber.subscribe("#", QOS_1);
    let publisher = broker.client(Version::V5, "p");
    let trace = arm(&broker, None, None, 2);
    for _ in 0..5 {
        publisher.publish("t", b"x", QOS_1);
    }
    let messages = traced(&broker, trace).iter().map(|traced| traced.id).collect::<BTreeSet<_>>();
    assert_eq!(messages.len(), 2);
    let trace = arm(&broker, Some("other"), None, 2);
    subscriber.receive_publishes().iter().for_each(|delivered| subscriber.acknowledge(delivered));
    assert!(stations(&broker, trace).is_empty());
    broker.ask(|worker| worker.disarm_trace(trace));
    publisher.publish("other", b"x", QOS_1);
    assert!(stations(&broker, trace).is_empty());
}

#[test]
fn a_lasting_watch_follows_so_many_messages_each_second_and_leaves_those_to_another_that_it_wants() {
    let broker = Broker::new();
    let publisher = broker.client(Version::V5, "publisher");
    let number = broker.shared().next_trace();
    broker.ask(|worker| {
        let amount = Amount::EachSecond(2);
        worker.arm_trace(Watch { number, filter: Some("#".into()), client_id: None, amount });
    });
    let followed = |number| {
        let received = |traced: &Traced| matches!(traced.station, Station::Received { .. });
        traced(&broker, number).iter().filter(|traced| received(traced)).count()
    };
    for _ in 0..3 {
        for _ in 0..5 {
            publisher.publish("t", b"x", QOS_1);
        }
        assert_eq!(followed(number), 2);
        broker.advance_ms(1000);
    }
    let wanted = arm(&broker, Some("t"), None, 1);
    for _ in 0..5 {
        publisher.publish("t", b"x", QOS_1);
    }
    assert_eq!((followed(wanted), followed(number)), (1, 2));
    broker.ask(|worker| worker.disarm_trace(wanted));
    broker.advance_ms(1000);
    publisher.publish("t", b"x", QOS_1);
    assert_eq!(followed(number), 1);
}

#[test]
fn a_message_says_of_which_trace_it_is_a_part() {
    let broker = Broker::new();
    let publisher = broker.client(Version::V5, "publisher");
    let trace = arm(&broker, None, None, 3);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for value in [parent, &"x".repeat(1000)] {
        let properties = [("other", "1"), ("traceparent", value)].map(Property::UserProperty);
        publisher.publish_with("t", b"x", QOS_0, false, &properties);
    }
    let parents: Vec<_> = traced(&broker, trace)
        .into_iter()
        .filter_map(|traced| match traced.station {
            Station::Received { traceparent, .. } => Some(traceparent),
            _ => None,
        })
        .collect();
    assert_eq!(parents, [Some(parent.into()), None]);
}

#[test]
fn stations_are_told_message_by_message_with_the_time_between_them() {
    let broker = Broker::new();
    let subscriber = broker.client(Version::V5, "s");
    subscriber.subscribe("t", QOS_1);
    let publisher = broker.client(Version::V5, "p");
    let trace = arm(&broker, None, None, 10);
    publisher.publish("t", b"x", QOS_1);
    broker.advance_ms(1500);
    publisher.publish("t", b"x", QOS_0);
    subscriber.receive_publishes().iter().for_each(|delivered| subscriber.acknowledge(delivered));
    let text = tell(traced(&broker, trace), Clock { now: broker.now(), utc_offset_s: 0 });
    let expected = format!(
        "00:16:40 (1 s ago)  a message on 't' from 'p' at {origin}: QoS 1, 1 byte\n  \
         +0 ms    due to 1 session\n  \
         +0 ms    sent to 's' at QoS 1 as packet 1\n  \
         +0 ms    safe, and acknowledged to its publisher: Success (0x00)\n  \
         +1 s     acknowledged by 's'\n\n\
         00:16:41 (just now)  a message on 't' from 'p' at {origin}: QoS 0, 1 byte\n  \
         +0 ms    due to 1 session\n  \
         +0 ms    sent to 's' at QoS 0\n",
        origin = publisher.origin()
    );
    assert_eq!(text, expected);
}
