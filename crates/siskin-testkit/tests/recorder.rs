//! The flight recorder: what is told of a client afterwards.

use siskin_core::recorder::{Clock, ClosedKind, What};
use siskin_core::{Dropped, Limits, Story};
use siskin_proto::{Connect, Property, Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

const QOS_1: Qos = Qos::AtLeastOnce;

fn story(broker: &Broker, client_id: &str) -> Story {
    broker.story(client_id).expect("something is known of it")
}

/// What happened, each in a sentence without its time.
fn told(broker: &Broker, client_id: &str) -> Vec<String> {
    story(broker, client_id).entries.iter().map(ToString::to_string).collect()
}

fn names(broker: &Broker, client_id: &str) -> Vec<&'static str> {
    story(broker, client_id).entries.iter().map(|entry| entry.what.name()).collect()
}

fn headline(broker: &Broker, client_id: &str) -> String {
    story(broker, client_id).headline(Clock { now: broker.now(), utc_offset_s: 0 })
}

#[test]
fn a_connection_is_told_with_what_was_offered_and_answered() {
    for workers in [1, 2] {
        let limits = Limits { sys_interval_s: 0, keep_alive_s_max: 60, ..Limits::default() };
        let broker = Broker::with(workers, limits);
        let properties = [Property::SessionExpiryInterval(7200), Property::ReceiveMaximum(20)];
        let change = |connect: &mut Connect<'_>| connect.keep_alive_s = 300;
        let client = broker.client_with(Version::V5, "c", change, &properties);
        let origin = client.origin();
        assert_eq!(
            told(&broker, "c"),
            [format!(
                "connected from {origin} (MQTT 5.0, clean start, keep alive 60 s instead of the 300 s asked for, \
                 session for 2 h, at most 20 unacknowledged); new session"
            )]
        );
        assert_eq!(
            headline(&broker, "c"),
            format!(
                "'c' is connected since 00:16:40 (just now) from {origin}. MQTT 5.0, keep alive 60 s, last heard of \
                 just now. It sent 0 messages and was sent 0 messages. 0 subscriptions; 0 messages (0 bytes) in its \
                 queue, 0 sent and not acknowledged of at most 20."
            )
        );
    }
}

#[test]
fn every_end_of_a_connection_is_told_with_who_closed_it_and_why() {
    type End = fn(&Broker, &Client);
    let ends: [(End, &str); 6] = [
        (|_, client| client.disconnect(), "the client disconnected"),
        (|_, client| client.cut(), "the client closed the connection without a DISCONNECT"),
        (
            |broker, _| broker.advance_s(15),
            "disconnected by the broker: no packet from the client for 15 s, which its keep alive does not allow",
        ),
        (
            |_, client| client.send_bytes(b"\x10\0"),
            "disconnected by the broker: protocol violation: a second CONNECT",
        ),
        (|_, client| client.kick(), "disconnected by the broker: an operator closed the connection"),
        (|broker, _| broker.stop(), "disconnected by the broker: the broker stops"),
    ];
    for (end, expected) in ends {
        for version in VERSIONS {
            let broker = Broker::new();
            let client = broker.client_with(version, "c", |connect| connect.keep_alive_s = 10, &[]);
            end(&broker, &client);
            let told = told(&broker, "c");
            assert_eq!(told[1..], [expected], "{version}");
            assert!(story(&broker, "c").present.is_none());
            assert!(headline(&broker, "c").ends_with(&format!("{expected}.")));
        }
    }
}

#[test]
fn a_take_over_names_both_addresses() {
    for workers in [1, 3] {
        let broker = Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() });
        let (old, _) = broker.persistent(Version::V5, "c");
        let (new, _) = broker.persistent(Version::V3_1_1, "c");
        let told = told(&broker, "c");
        assert_eq!(told[1], format!("taken over: the same client id connected from {}", new.origin()));
        assert!(told[2].starts_with(&format!("connected from {} (MQTT 3.1.1", new.origin())), "{}", told[2]);
        let rest = format!("taking over from {}; session resumed with 0 messages waiting", old.origin());
        assert!(told[2].ends_with(&rest), "{}", told[2]);
        assert_eq!(told.len(), 3);
    }
}

#[test]
fn two_clients_with_one_id_are_found_out() {
    let broker = Broker::with(2, Limits { sys_interval_s: 0, ..Limits::default() });
    let findings = |broker: &Broker| story(broker, "c").findings(&Limits::default());
    let mut clients = vec![broker.client(Version::V5, "c")];
    for _ in 0..40 {
        assert!(clients.len() > 3 || findings(&broker).is_empty());
        clients.push(broker.client(Version::V5, "c"));
        broker.advance_s(1);
    }
    let findings = findings(&broker);
    assert!(findings[0].starts_with("Several clients use this client id"), "{findings:?}");
    assert!(findings[0].ends_with(", and others. Give each its own."), "{findings:?}");
    let story = story(&broker, "c");
    assert_eq!(story.entries[0].what, What::Forgotten, "a loop does not make a story longer");
    assert!(story.entries.len() < 60);
}

#[test]
fn a_refused_connection_is_told_to_whoever_asks_for_the_client_id_that_it_gave() {
    let broker = Broker::new();
    let refuse = |property: Property<'_>| {
        let mut stranger = broker.open(Version::V5);
        let connack = stranger.connect("c", |_| {}, &[property]);
        assert!(connack.reason().is_error());
        stranger
    };
    let stranger = refuse(Property::AuthenticationMethod("x"));
    let expected =
        format!("a connection from {} was not accepted: Bad authentication method (0x8C)", stranger.origin());
    assert_eq!(told(&broker, "c"), [&*expected]);
    assert!(headline(&broker, "c").starts_with("'c' was never connected"));
    // Also beside a session that is there, and in the order of time.
    broker.advance_s(1);
    let _client = broker.client(Version::V5, "c");
    broker.advance_s(1);
    refuse(Property::AuthenticationMethod("x"));
    assert_eq!(names(&broker, "c"), ["refused", "connected", "refused"]);
    let recent: Vec<_> = broker.ask(|worker| worker.recent(10)).concat();
    assert_eq!((recent.len(), recent[0].client_id.as_str()), (3, "c"));
    assert_eq!(recent[0].entry.to_string(), expected);
}

#[test]
fn what_is_no_connect_is_among_the_latest_events() {
    let broker = Broker::new();
    let stranger = broker.open(Version::V5);
    stranger.send_bytes(&[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]);
    let recent: Vec<_> = broker.ask(|worker| worker.recent(10)).concat();
    assert_eq!(recent.len(), 1);
    assert_eq!(recent[0].client_id, "");
    assert!(recent[0].entry.to_string().starts_with(&format!("a connection from {}", stranger.origin())));
}

#[test]
fn subscriptions_are_told_with_what_came_of_them() {
    let broker = Broker::limited(|limits| limits.topic_levels_max = 3);
    let client = broker.client(Version::V5, "c");
    client.subscribe("a/+", QOS_1);
    assert_eq!(client.subscribe("a/b/c/d", QOS_1), Reason::TopicFilterInvalid);
    client.unsubscribe("a/+");
    client.unsubscribe("a/+");
    assert_eq!(
        told(&broker, "c")[1..],
        [
            "subscribed to 'a/+' at QoS 1",
            "was refused the subscription to 'a/b/c/d' at QoS 1: Topic Filter invalid (0x8F)",
            "unsubscribed from 'a/+'",
            "unsubscribed from 'a/+', to which it had no subscription",
        ]
    );
}

#[test]
fn a_thousand_subscriptions_leave_room_for_what_else_is_to_be_told() {
    let broker = Broker::new();
    let client = broker.client(Version::V5, "c");
    for n in 0..1000 {
        client.subscribe(&format!("filter/{n}"), QOS_1);
    }
    let told = told(&broker, "c");
    assert!(told[0].starts_with("connected"));
    assert_eq!(told[8], "subscribed to 'filter/999' at QoS 1, and 992 more filters before it");
    assert_eq!(told.len(), 9);
}

#[test]
fn drops_are_told_with_their_number_cause_and_time() {
    let broker = Broker::limited(|limits| limits.queue_messages_max = 3);
    let (subscriber, _) = broker.persistent(Version::V5, "s");
    subscriber.subscribe("t/#", QOS_1);
    subscriber.cut();
    let publisher = broker.client(Version::V5, "p");
    for n in 0..10 {
        publisher.publish(&format!("t/{n}"), b"x", QOS_1);
        broker.advance_ms(300);
    }
    let story = story(&broker, "s");
    let dropped = story.entries.last().unwrap();
    let queue_full = What::Dropped { topic: "t/3".into(), why: Dropped::QueueFull };
    assert_eq!((dropped.count, &dropped.what), (7, &queue_full));
    assert_eq!(dropped.until.ms_since(dropped.at), 6 * 300);
    let present = story.present.as_ref().unwrap();
    assert_eq!(present.dropped[Dropped::QueueFull as usize], 7);
    assert_eq!(present.queue_messages, 3);
    let (subscriber, _) = broker.persistent(Version::V5, "s");
    assert_eq!(subscriber.receive_publishes().len(), 3);
    assert!(told(&broker, "s").last().unwrap().ends_with("session resumed with 3 messages waiting"));
}

#[test]
fn a_slow_reader_is_told_what_it_lost() {
    let broker = Broker::limited(|limits| limits.out_buffer_bytes_max = 10_000);
    let subscriber = broker.client(Version::V5, "s");
    subscriber.subscribe("t", Qos::AtMostOnce);
    subscriber.stall_after(0);
    let publisher = broker.client(Version::V5, "p");
    for _ in 0..50 {
        publisher.publish("t", &[0; 1000], Qos::AtMostOnce);
    }
    let story = story(&broker, "s");
    let sentence = "40 messages dropped, the first on 't': QoS 0, and the client does not take its bytes";
    assert_eq!(story.entries.last().unwrap().to_string(), sentence);
    let findings = story.findings(&broker.shared().limits());
    assert!(findings[0].starts_with("It does not take its bytes"), "{findings:?}");
}

#[test]
fn a_client_that_acknowledges_late_is_told_so() {
    for qos in [QOS_1, Qos::ExactlyOnce] {
        let broker = Broker::new();
        let subscriber = broker.client(Version::V5, "s");
        subscriber.subscribe("t", qos);
        let publisher = broker.client(Version::V5, "p");
        for _ in 0..3 {
            publisher.publish("t", b"x", qos);
        }
        let came = subscriber.receive_publishes();
        broker.advance_s(9);
        subscriber.acknowledge(&came[0]);
        assert_eq!(names(&broker, "s"), ["connected", "subscribed"]);
        broker.advance_s(21);
        subscriber.acknowledge(&came[1]);
        subscriber.acknowledge(&came[2]);
        let sentence = "the client acknowledged 2 messages up to 30 s after they had arrived";
        assert_eq!(told(&broker, "s")[2..], [sentence]);
    }
}

#[test]
fn a_promise_that_waits_long_for_the_disk_is_told_to_the_one_who_waited() {
    let broker = Broker::new();
    let (subscriber, _) = broker.persistent(Version::V5, "s");
    subscriber.subscribe("t", QOS_1);
    let publisher = broker.client(Version::V5, "p");
    for ms in [999, 1500] {
        broker.store().hold();
        publisher.send_publish(publish("t", b"x", QOS_1, 1));
        publisher.expect_nothing();
        broker.advance_ms(ms);
        broker.store().release();
        broker.settle();
        publisher.expect_ack(siskin_proto::PacketKind::PubAck, 1, Reason::Success);
    }
    assert_eq!(told(&broker, "p")[1..], ["an acknowledgement waited 1 s to be safe in the store"]);
}

#[test]
fn a_will_is_told_with_those_who_were_to_have_it() {
    let broker = Broker::new();
    let watcher = broker.client(Version::V5, "watcher");
    watcher.subscribe("will", QOS_1);
    watcher.subscribe("#", QOS_1);
    broker.client(Version::V3_1_1, "other").subscribe("+", QOS_1);
    let connect = |broker: &Broker| {
        let with_will = |connect: &mut Connect<'_>| connect.will = Some(will("will", b"gone", QOS_1));
        broker.client_with(Version::V5, "c", with_will, &[])
    };
    connect(&broker).cut();
    let lines = story(&broker, "c").lines(Clock { now: broker.now(), utc_offset_s: 0 });
    assert_eq!(
        lines[1],
        "00:16:40 (just now)  the client closed the connection without a DISCONNECT; will published on 'will' to 2 \
         subscribers"
    );
    connect(&broker).disconnect();
    assert_eq!(told(&broker, "c")[4..], ["will withdrawn", "the client disconnected"]);
}

#[test]
fn the_end_of_a_session_is_told_with_what_was_lost_with_it() {
    let broker = Broker::new();
    let expiry = [Property::SessionExpiryInterval(60)];
    let subscriber = broker.client_with(Version::V5, "s", |_| {}, &expiry);
    subscriber.subscribe("t", QOS_1);
    subscriber.cut();
    let publisher = broker.client(Version::V5, "p");
    publisher.publish("t", b"x", QOS_1);
    let waiting = headline(&broker, "s");
    assert!(waiting.contains("Its session ends 00:17:40 (in 1 min)"), "{waiting}");
    assert!(waiting.contains("1 message "), "{waiting}");
    broker.advance_s(61);
    assert_eq!(told(&broker, "s").last().unwrap(), "its session ended: its time was over; 1 message with it");
    let gone = headline(&broker, "s");
    assert!(
        gone.starts_with("'s' has no session. It was last connected until 00:16:40 (1 min 1 s ago)"),
        "{gone}"
    );
}

#[test]
fn a_story_goes_on_when_its_client_comes_back_to_whichever_worker() {
    let broker = Broker::with(3, Limits { sys_interval_s: 0, ..Limits::default() });
    for _ in 0..5 {
        broker.client(Version::V5, "c").disconnect();
    }
    let expected = ["connected", "disconnected"].repeat(5);
    assert_eq!(names(&broker, "c"), expected);
    assert_eq!(broker.shared().gone_clients(10).len(), 1);
    let _client = broker.client(Version::V5, "c");
    assert_eq!(names(&broker, "c").len(), 11);
    assert!(broker.shared().gone_clients(10).is_empty());
    // Only the worker that has the session tells its story.
    let tellers = broker.ask(|worker| worker.story("c").is_some());
    assert_eq!(tellers.iter().filter(|tells| **tells).count(), 1);
}

#[test]
fn stories_of_clients_that_are_gone_are_bounded_and_the_oldest_go_first() {
    let broker = Broker::limited(|limits| {
        limits.recorder_clients_max = 40;
        limits.recorder_bytes_max = 1 << 20;
    });
    for n in 0..100 {
        broker.client(Version::V5, &format!("c{n}")).cut();
        broker.advance_ms(1);
    }
    assert!(broker.story("c69").is_none());
    assert!(broker.story("c70").is_some());
    let (count, bytes) = broker.shared().gone_size();
    assert_eq!(count, 30, "a quarter is for those who were never let in");
    assert!(bytes < 30 * 400);
    assert_eq!(&*broker.shared().gone_clients(1)[0].client_id, "c99");
}

#[test]
fn after_a_restart_a_session_tells_that_it_was_found_in_the_store() {
    let broker = Broker::new();
    let (subscriber, _) = broker.persistent(Version::V5, "s");
    subscriber.subscribe("t", QOS_1);
    subscriber.cut();
    broker.client(Version::V5, "p").publish("t", b"x", QOS_1);
    broker.crash(0);
    assert_eq!(
        told(&broker, "s"),
        ["the broker was started; the session was in the store, with 1 message waiting"]
    );
}

#[test]
fn a_recorder_that_is_off_keeps_nothing_and_views_go_on() {
    let broker = Broker::limited(|limits| limits.recorder_enabled = false);
    let client = broker.client(Version::V5, "c");
    client.subscribe("a", QOS_1);
    let story = story(&broker, "c");
    assert!(story.entries.is_empty());
    assert_eq!(story.present.as_ref().unwrap().connection.as_ref().unwrap().origin, client.origin());
    client.cut();
    assert!(broker.story("c").is_none());
    assert!(broker.ask(|worker| worker.recent(10)).concat().is_empty());
}

#[test]
fn the_kind_of_an_end_is_there_for_programs() {
    let broker = Broker::new();
    broker.client(Version::V5, "c").disconnect_with(Reason::DisconnectWithWill, &[]);
    let story = story(&broker, "c");
    let Some(What::Disconnected(closed)) = story.entries.last().map(|entry| &entry.what) else {
        panic!("{story:?}");
    };
    assert_eq!(
        (closed.kind, closed.reason),
        (ClosedKind::ClientDisconnect, Some(Reason::DisconnectWithWill))
    );
}

#[test]
fn who_follows_is_told_of_everything_with_the_address_and_of_nothing_before_and_after() {
    let broker = Broker::with(1, Limits { sys_interval_s: 0, ..Limits::default() });
    broker.client(Version::V5, "before");
    let take = || {
        let (events, lost) = broker.ask(|worker| worker.take_followed(100)).remove(0);
        assert_eq!(lost, 0);
        events
    };
    assert_eq!(take(), []);
    broker.ask(|worker| worker.follow(true));
    let (client, _) = broker.persistent(Version::V3_1_1, "c");
    client.subscribe("t", QOS_1);
    // Once more is the same.
    broker.ask(|worker| worker.follow(true));
    let (next, _) = broker.persistent(Version::V3_1_1, "c");
    let events = take();
    let told: Vec<_> = events.iter().map(|event| (event.entry.what.name(), event.origin)).collect();
    let (first, second) = (client.origin(), next.origin());
    assert_eq!(
        told,
        [("connected", first), ("subscribed", first), ("disconnected", first), ("connected", second)]
    );
    assert_eq!(take(), []);
    broker.ask(|worker| worker.follow(false));
    next.disconnect();
    assert_eq!(take(), []);
    let recent = broker.ask(|worker| worker.recent(1)).remove(0);
    assert_eq!((recent[0].entry.what.name(), recent[0].origin), ("disconnected", second));
}
