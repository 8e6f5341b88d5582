//! Sessions: what of a client outlives its connection, for how long, and what a clean start ends.

use siskin_core::Event;
use siskin_proto::{Packet, Property, Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// Connects without clean start; whether the session was there shows in its subscription to `t`.
#[track_caller]
fn returns(broker: &Broker, version: Version, client_id: &str) -> (Client, bool) {
    let (client, present) = broker.persistent(version, client_id);
    client.receive_all();
    let prober = broker.client(Version::V5, "prober");
    prober.publish("t", b"probe", Qos::AtMostOnce);
    prober.disconnect();
    let has_state = !client.receive_all().is_empty();
    assert_eq!(present, has_state && version != Version::V3_1, "what is said and what is");
    (client, has_state)
}

/// A 5.0 client that begins clean with this expiry and has subscribed to `t`.
fn with_expiry(broker: &Broker, expiry: Option<u32>) -> Client {
    let expiry: Vec<_> = expiry.map(Property::SessionExpiryInterval).into_iter().collect();
    let client = broker.client_with(Version::V5, "c", |_| {}, &expiry);
    client.subscribe("t", Qos::AtLeastOnce);
    client
}

type End = fn(&Broker, &Client);

/// Every way in which a connection may end.
fn ends() -> [(&'static str, End); 4] {
    [
        ("lost", |_, client| client.cut()),
        ("disconnect", |_, client| client.disconnect()),
        ("violation", |_, client| client.send_bytes(&[0xC1, 0])),
        ("stop", |broker, _| broker.stop()),
    ]
}

#[test]
fn a_session_that_is_not_meant_to_last_ends_with_its_connection() {
    for (how, end) in ends() {
        for version in VERSIONS {
            let expiries: &[&[Property<'_>]] =
                if version.is_v5() { &[&[], &[Property::SessionExpiryInterval(0)]] } else { &[&[]] };
            for expiry in expiries {
                let broker = Broker::new();
                let client = broker.client_with(version, "c", |_| {}, expiry);
                client.subscribe("t", Qos::AtLeastOnce);
                end(&broker, &client);
                assert_eq!(broker.sessions(), 0, "{version}, {how}");
                assert_eq!(broker.shared().router.subscriptions(), 0);
                broker.client(version, "publisher").publish("t", b"x", Qos::AtLeastOnce);
                assert!(!returns(&broker, version, "c").1);
            }
        }
    }
}

#[test]
fn a_session_that_is_meant_to_last_outlives_its_connection_however_that_ended() {
    for (how, end) in ends() {
        for version in VERSIONS {
            let broker = Broker::new();
            let (client, _) = broker.persistent(version, "c");
            client.subscribe("t", Qos::AtLeastOnce);
            end(&broker, &client);
            assert_eq!(broker.sessions(), 1, "{version}, {how}");
            assert!(returns(&broker, version, "c").1);
        }
    }
}

#[test]
fn a_session_keeps_subscriptions_and_what_came_for_them() {
    for version in VERSIONS {
        let broker = Broker::new();
        let (client, _) = broker.persistent(version, "c");
        client.subscribe("0", Qos::AtMostOnce);
        client.subscribe("1/+", Qos::AtLeastOnce);
        client.subscribe("2/#", Qos::ExactlyOnce);
        client.disconnect();
        let publisher = broker.client(version, "publisher");
        for round in 0..3 {
            publisher.publish("1/x", &[round], Qos::AtLeastOnce);
            publisher.publish("2", &[round], Qos::ExactlyOnce);
            publisher.publish("2/x", &[round], Qos::AtLeastOnce);
        }
        let (client, _) = broker.persistent(version, "c");
        let came: Vec<_> = client.receive_publishes();
        assert_eq!(came.len(), 9);
        for (at, message) in came.iter().enumerate() {
            let (topic, qos) =
                [("1/x", Qos::AtLeastOnce), ("2", Qos::ExactlyOnce), ("2/x", Qos::AtLeastOnce)][at % 3];
            assert_eq!((&*message.topic, message.qos), (topic, qos));
            assert_eq!(message.payload, [at as u8 / 3]);
            assert!(!message.dup, "never sent before");
            client.acknowledge(message);
        }
        publisher.publish("0", b"x", Qos::AtMostOnce);
        assert_eq!(client.receive_publish().topic, "0");
    }
}

#[test]
fn a_clean_start_throws_everything_away_before_it_is_answered() {
    for version in VERSIONS {
        let broker = Broker::new();
        let (client, _) = broker.persistent(version, "c");
        client.subscribe("t", Qos::ExactlyOnce);
        let publisher = broker.client(version, "publisher");
        publisher.publish("t", b"in flight", Qos::ExactlyOnce);
        // A QoS 2 message whose id the broker remembers.
        let publish =
            if version.is_v5() { &b"\x34\x07\0\x01u\0\x05\0x"[..] } else { b"\x34\x06\0\x01u\0\x05x" };
        client.send_bytes(publish);
        client.cut();
        publisher.publish("t", b"queued", Qos::AtLeastOnce);
        let client = broker.client(version, "c");
        client.expect_nothing();
        assert_eq!(broker.totals().stored_messages, 0);
        assert_eq!(broker.shared().router.subscriptions(), 0);
        publisher.publish("t", b"x", Qos::AtLeastOnce);
        client.expect_nothing();
        // The id stands for a new message.
        publisher.subscribe("u", Qos::AtMostOnce);
        client.send_bytes(publish);
        assert_eq!(publisher.receive_publishes().len(), 1);
        client.cut();
        assert!(!returns(&broker, version, "c").1, "nor does the old one come back");
    }
}

#[test]
fn retained_messages_are_not_part_of_a_session() {
    for version in VERSIONS {
        let broker = Broker::new();
        let client = broker.client(version, "c");
        client.retain("t", b"kept", Qos::AtLeastOnce);
        client.disconnect();
        broker.client(version, "c").cut();
        assert_eq!(broker.sessions(), 0);
        let other = broker.client(version, "other");
        other.subscribe("t", Qos::AtMostOnce);
        assert_eq!(other.receive_publish().payload, b"kept");
    }
}

#[test]
fn a_session_expires_when_its_time_is_over_and_not_before() {
    for expiry_s in [1, 2, 10, 3600] {
        for (late_ms, is_there) in [(0, true), (100, false)] {
            let broker = Broker::new();
            with_expiry(&broker, Some(expiry_s)).cut();
            broker.advance_ms(u64::from(expiry_s) * 1000 - 100 + late_ms);
            assert_eq!(broker.sessions(), usize::from(is_there), "{expiry_s} s");
            assert_eq!(returns(&broker, Version::V5, "c").1, is_there);
        }
    }
}

#[test]
fn an_expired_session_is_gone_with_all_it_held() {
    let broker = Broker::new();
    with_expiry(&broker, Some(5)).cut();
    broker.client(Version::V5, "publisher").publish("t", b"x", Qos::AtLeastOnce);
    assert_eq!(broker.totals().stored_messages, 1);
    broker.advance_s(5);
    assert_eq!(broker.totals().stored_messages, 0);
    assert_eq!(broker.shared().router.subscriptions(), 0);
}

#[test]
fn a_session_that_never_expires_does_not() {
    let broker = Broker::new();
    with_expiry(&broker, Some(u32::MAX)).cut();
    broker.leap_s(u64::from(u32::MAX) + 1000);
    assert!(returns(&broker, Version::V5, "c").1);
    // One second less is a time like any other.
    let broker = Broker::new();
    with_expiry(&broker, Some(u32::MAX - 1)).cut();
    broker.leap_s(u64::from(u32::MAX) - 2);
    assert_eq!(broker.sessions(), 1);
    broker.leap_s(1);
    assert_eq!(broker.sessions(), 0);
}

#[test]
fn a_session_lasts_at_least_as_long_as_its_connection() {
    for version in VERSIONS {
        let expiry: &[_] = if version.is_v5() { &[Property::SessionExpiryInterval(1)] } else { &[] };
        let broker = Broker::limited(|limits| limits.session_expiry_s_v3 = 1);
        for clean in [true, false] {
            let client = broker.client_with(version, "c", |connect| connect.clean_start = clean, expiry);
            client.subscribe("t", Qos::AtLeastOnce);
            broker.advance_s(100);
            let publisher = broker.client(version, "publisher");
            publisher.publish("t", b"x", Qos::AtLeastOnce);
            publisher.disconnect();
            assert_eq!(client.receive_publishes().len(), 1);
            client.cut();
            broker.advance_s(2);
            assert_eq!(broker.sessions(), 0);
        }
    }
}

#[test]
fn expiry_counts_from_the_end_of_the_last_connection() {
    let broker = Broker::new();
    with_expiry(&broker, Some(10)).cut();
    for _ in 0..3 {
        broker.advance_ms(9_900);
        let resume = [Property::SessionExpiryInterval(10)];
        let mut client = broker.open(Version::V5);
        let connack = client.connect("c", |connect| connect.clean_start = false, &resume);
        assert!(connack.session_present());
        broker.advance_s(30);
        client.cut();
    }
    broker.advance_s(10);
    assert_eq!(broker.sessions(), 0);
}

#[test]
fn each_connect_says_anew_how_long_the_session_lasts() {
    let broker = Broker::new();
    with_expiry(&broker, Some(u32::MAX)).cut();
    let mut client = broker.open(Version::V5);
    assert!(client.connect("c", |connect| connect.clean_start = false, &[]).session_present());
    client.cut();
    assert_eq!(broker.sessions(), 0, "absent means 0");
}

#[test]
fn a_clean_start_may_begin_a_session_that_lasts() {
    let broker = Broker::new();
    for _ in 0..2 {
        let mut client = broker.open(Version::V5);
        let connack = client.connect("c", |_| {}, &[Property::SessionExpiryInterval(60)]);
        assert!(!connack.session_present());
        client.cut();
        assert_eq!(broker.sessions(), 1);
    }
    assert!(broker.persistent(Version::V5, "c").1);
}

#[test]
fn a_session_of_3_x_without_clean_session_lasts_30_days_by_default() {
    for version in [Version::V3_1, Version::V3_1_1] {
        let broker = Broker::new();
        let (client, _) = broker.persistent(version, "c");
        client.subscribe("t", Qos::AtLeastOnce);
        client.disconnect();
        broker.leap_s(30 * 86_400 - 1);
        assert!(returns(&broker, version, "c").1);
        client.cut();
        broker.persistent(version, "c").0.cut();
        broker.leap_s(30 * 86_400);
        assert_eq!(broker.sessions(), 0);
    }
}

#[test]
fn how_long_sessions_of_3_x_last_is_set_by_the_operator() {
    for (expiry_s, max_s, lasts_s) in [(10, u32::MAX, 10), (10, 5, 5), (u32::MAX, 7, 7)] {
        let broker = Broker::limited(|limits| {
            limits.session_expiry_s_v3 = expiry_s;
            limits.session_expiry_s_max = max_s;
        });
        broker.persistent(Version::V3_1_1, "c").0.cut();
        broker.advance_ms(lasts_s * 1000 - 100);
        assert_eq!(broker.sessions(), 1);
        broker.advance_ms(100);
        assert_eq!(broker.sessions(), 0);
    }
}

#[test]
fn a_session_expiry_above_the_maximum_is_cut_and_the_client_told() {
    for (wish, told, lasts_s) in [
        (None, None, 0),
        (Some(0), None, 0),
        (Some(9), None, 9),
        (Some(10), None, 10),
        (Some(11), Some(10), 10),
        (Some(u32::MAX), Some(10), 10),
    ] {
        let broker = Broker::limited(|limits| limits.session_expiry_s_max = 10);
        let mut client = broker.open(Version::V5);
        let wish: Vec<_> = wish.map(Property::SessionExpiryInterval).into_iter().collect();
        let connack = client.connect("c", |_| {}, &wish);
        let Packet::ConnAck(answer) = connack.packet() else { panic!("{connack:?}") };
        assert_eq!(answer.properties.session_expiry_interval(), told);
        client.cut();
        if lasts_s > 0 {
            broker.advance_ms(lasts_s * 1000 - 100);
            assert_eq!(broker.sessions(), 1);
            broker.advance_ms(100);
        }
        assert_eq!(broker.sessions(), 0);
    }
}

#[test]
fn disconnect_cannot_ask_for_more_than_the_maximum_either() {
    let broker = Broker::limited(|limits| limits.session_expiry_s_max = 10);
    with_expiry(&broker, Some(5))
        .disconnect_with(Reason::Success, &[Property::SessionExpiryInterval(u32::MAX)]);
    broker.advance_ms(9_900);
    assert_eq!(broker.sessions(), 1);
    broker.advance_ms(100);
    assert_eq!(broker.sessions(), 0);
}

#[test]
fn a_session_may_be_resumed_in_another_version() {
    for first in [Version::V3_1_1, Version::V5] {
        for second in [Version::V3_1_1, Version::V5] {
            let broker = Broker::new();
            let (client, _) = broker.persistent(first, "c");
            client.subscribe("t", Qos::ExactlyOnce);
            let properties = [Property::UserProperty(("k", "v"))];
            let publisher = broker.client(Version::V5, "publisher");
            publisher.publish_with("t", b"open", Qos::ExactlyOnce, false, &properties);
            client.cut();
            publisher.publish_with("t", b"queued", Qos::ExactlyOnce, false, &properties);
            let (client, present) = broker.persistent(second, "c");
            assert!(present);
            let came = client.receive_publishes();
            assert_eq!(
                came.iter().map(|m| (&m.payload[..], m.dup)).collect::<Vec<_>>(),
                [(&b"open"[..], true), (b"queued", false)]
            );
            for message in &came {
                assert_eq!(message.properties().user_properties().count(), usize::from(second.is_v5()));
                client.acknowledge(message);
            }
        }
    }
}

#[test]
fn the_event_of_a_connect_says_how_long_the_session_lasts() {
    let broker = Broker::new();
    broker.persistent(Version::V3_1_1, "c").0.cut();
    let lasts: Vec<_> = broker
        .events()
        .into_iter()
        .filter_map(|event| if let Event::Connected { expiry_s, .. } = event { Some(expiry_s) } else { None })
        .collect();
    assert_eq!(lasts, [30 * 86_400]);
}
