//! Wills: when they go out, when they do not, and as what.

use siskin_core::Limits;
use siskin_proto::{Connect, Property, Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];
const V3: [Version; 2] = [Version::V3_1, Version::V3_1_1];

fn with_will(connect: &mut Connect<'_>) {
    connect.will = Some(will("will", b"gone", Qos::AtMostOnce));
}

fn watcher(broker: &Broker) -> Client {
    let watcher = broker.client(Version::V5, "watcher");
    watcher.subscribe("will", Qos::ExactlyOnce);
    watcher
}

/// A 5.0 client `c` whose will waits `delay_s` and whose session lasts `expiry_s` longer than it.
fn delayed(broker: &Broker, delay_s: u32, expiry_s: u32) -> Client {
    let properties = buffer(&[Property::WillDelayInterval(delay_s)]);
    let mut will = will("will", b"gone", Qos::AtMostOnce);
    will.properties = properties.as_properties();
    let mut client = broker.open(Version::V5);
    let expiry = [Property::SessionExpiryInterval(expiry_s)];
    client.connect("c", |connect| connect.will = Some(will), &expiry);
    client
}

type End = fn(&Broker, &Client);

/// The ends that are not the client's wish.
fn abnormal_ends() -> [(&'static str, End); 6] {
    [
        ("lost", |_, client| client.cut()),
        ("keep alive", |broker, _| broker.advance_s(15)),
        ("second connect", |_, client| client.send_bytes(b"\x10\0")),
        ("malformed", |_, client| client.send_bytes(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF])),
        ("stop", |broker, _| broker.stop()),
        ("takeover", |broker, _| _ = broker.client(Version::V5, "c")),
    ]
}

#[test]
fn the_will_goes_out_once_when_the_connection_ends_in_any_way_but_disconnect() {
    for (how, end) in abnormal_ends() {
        for version in VERSIONS {
            for clean in [true, false] {
                let broker = Broker::new();
                let watcher = watcher(&broker);
                let change = |connect: &mut Connect<'_>| {
                    with_will(connect);
                    connect.clean_start = clean;
                    connect.keep_alive_s = 10;
                };
                let client = broker.client_with(version, "c", change, &[]);
                broker.advance_ms(14_900);
                watcher.expect_nothing();
                end(&broker, &client);
                assert!(client.end().is_some() || how == "lost");
                let came = watcher.receive_all();
                assert_eq!(came[0].publish().payload, b"gone", "{version}, {how}");
                assert!(came[1..].iter().all(|packet| packet.reason() == Reason::ServerShuttingDown));
                // Gone is gone: neither time nor the end of the session sends it again.
                broker.leap_s(u64::from(u32::MAX) * 2);
                broker.client(version, "c").cut();
                assert!(watcher.receive_all().is_empty());
            }
        }
    }
}

#[test]
fn disconnect_discards_the_will() {
    for version in VERSIONS {
        for delay in [0, 5] {
            let broker = Broker::new();
            let watcher = watcher(&broker);
            let client = match version {
                Version::V5 => delayed(&broker, delay, 20),
                _ => broker.client_with(version, "c", with_will, &[]),
            };
            client.disconnect();
            broker.advance_s(100);
            broker.client(version, "c").cut();
            watcher.expect_nothing();
        }
    }
}

#[test]
fn without_a_will_nothing_is_published_at_the_end() {
    for (how, end) in abnormal_ends() {
        for version in VERSIONS {
            let broker = Broker::new();
            let watcher = broker.client(version, "watcher");
            watcher.subscribe("#", Qos::AtMostOnce);
            let client = broker.client_with(version, "c", |connect| connect.keep_alive_s = 10, &[]);
            broker.advance_ms(14_900);
            end(&broker, &client);
            assert!(watcher.receive_all().iter().all(|packet| packet.bytes()[0] >> 4 != 3), "{how}");
        }
    }
}

#[test]
fn a_will_is_of_its_connection_and_not_of_the_session() {
    for version in VERSIONS {
        let broker = Broker::new();
        let watcher = watcher(&broker);
        let change = |connect: &mut Connect<'_>| {
            with_will(connect);
            connect.clean_start = false;
        };
        broker
            .client_with(
                version,
                "c",
                change,
                &[Property::SessionExpiryInterval(60)][..usize::from(version.is_v5())],
            )
            .cut();
        assert_eq!(watcher.receive_publishes().len(), 1);
        // The next connection has none, or another.
        broker.persistent(version, "c").0.cut();
        watcher.expect_nothing();
        let change = |connect: &mut Connect<'_>| connect.will = Some(will("will", b"other", Qos::AtMostOnce));
        broker.client_with(version, "c", change, &[]).cut();
        assert_eq!(watcher.receive_publish().payload, b"other");
        watcher.expect_nothing();
    }
}

#[test]
fn every_disconnect_reason_but_0x00_leaves_the_will_in_force() {
    let codes = [0x00_u8, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
    for code in codes {
        for (delay_s, expiry_s) in [(0, 0), (0, 60), (5, 0), (5, 60)] {
            let broker = Broker::new();
            let watcher = watcher(&broker);
            let client = delayed(&broker, delay_s, expiry_s);
            client.disconnect_with(Reason::from_u8(code).unwrap(), &[]);
            client.expect_closed();
            let waits = u64::from(delay_s.min(expiry_s));
            if waits > 0 {
                watcher.expect_nothing();
                broker.advance_s(waits);
            }
            assert_eq!(watcher.receive_publishes().len(), usize::from(code != 0), "0x{code:02X}");
        }
    }
}

#[test]
fn a_retained_will_is_retained_and_another_is_not() {
    for version in VERSIONS {
        for retain in [true, false] {
            let broker = Broker::new();
            broker.client(version, "before").retain("will", b"before", Qos::AtMostOnce);
            let watcher = watcher(&broker);
            assert_eq!(watcher.receive_publish().payload, b"before");
            let change = |connect: &mut Connect<'_>| {
                with_will(connect);
                connect.will.as_mut().unwrap().retain = retain;
            };
            broker.client_with(version, "c", change, &[]).cut();
            let came = watcher.receive_publish();
            assert_eq!((&came.payload[..], came.retain), (&b"gone"[..], false), "like any message");
            let later = broker.client(version, "later");
            later.subscribe("will", Qos::AtMostOnce);
            let kept = later.receive_publish();
            assert!(kept.retain);
            assert_eq!(kept.payload, if retain { b"gone".to_vec() } else { b"before".to_vec() });
        }
    }
}

#[test]
fn a_retained_will_without_a_payload_clears() {
    for version in VERSIONS {
        let broker = Broker::new();
        broker.client(version, "before").retain("will", b"before", Qos::AtMostOnce);
        let change = |connect: &mut Connect<'_>| {
            connect.will = Some(will("will", b"", Qos::AtMostOnce));
            connect.will.as_mut().unwrap().retain = true;
        };
        broker.client_with(version, "c", change, &[]).cut();
        let later = broker.client(version, "later");
        later.subscribe("will", Qos::AtMostOnce);
        later.expect_nothing();
    }
}

#[test]
fn a_will_has_its_qos_and_waits_for_who_is_away() {
    for version in VERSIONS {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let broker = Broker::new();
            let here = watcher(&broker);
            let (away, _) = broker.persistent(version, "away");
            away.subscribe("will", Qos::ExactlyOnce);
            away.cut();
            let change = |connect: &mut Connect<'_>| connect.will = Some(will("will", b"gone", qos));
            broker.client_with(version, "c", change, &[]).cut();
            assert_eq!(here.receive_publish().qos, qos);
            let (away, _) = broker.persistent(version, "away");
            let came: Vec<_> = away.receive_publishes().into_iter().map(|message| message.qos).collect();
            assert_eq!(came, if qos == Qos::AtMostOnce { vec![] } else { vec![qos] });
        }
    }
}

#[test]
fn the_properties_of_a_will_become_those_of_its_message() {
    let list = [
        Property::PayloadFormatIndicator(1),
        Property::ContentType("text/plain"),
        Property::ResponseTopic("answers"),
        Property::CorrelationData(b"\0\xFF"),
        Property::UserProperty(("b", "1")),
        Property::UserProperty(("a", "2")),
        Property::UserProperty(("b", "1")),
        Property::UserProperty(("", "")),
    ];
    let broker = Broker::new();
    let watcher = watcher(&broker);
    let properties: Vec<_> = list
        .into_iter()
        .chain([Property::WillDelayInterval(10), Property::MessageExpiryInterval(100)])
        .collect();
    let properties = buffer(&properties);
    let mut will = will("will", b"gone", Qos::AtMostOnce);
    will.properties = properties.as_properties();
    let lasting = [Property::SessionExpiryInterval(60)];
    broker.client_with(Version::V5, "c", |connect| connect.will = Some(will), &lasting).cut();
    let (away, _) = broker.persistent(Version::V5, "away");
    away.subscribe("will", Qos::AtLeastOnce);
    broker.advance_s(10);
    let came = watcher.receive_publish();
    let mut got: Vec<_> = came.properties().iter().collect();
    // Its life begins when it is published; the delay is none of its properties.
    let expiry = got.iter().position(|p| *p == Property::MessageExpiryInterval(100)).expect("an expiry");
    got.remove(expiry);
    assert_eq!(got, list, "all others in their order");
}

#[test]
fn a_will_expires_like_any_message() {
    let broker = Broker::new();
    let (away, _) = broker.persistent(Version::V5, "away");
    away.subscribe("will", Qos::AtLeastOnce);
    away.cut();
    let properties = buffer(&[Property::MessageExpiryInterval(10)]);
    let mut will = will("will", b"gone", Qos::AtLeastOnce);
    will.properties = properties.as_properties();
    for after_s in [9, 10] {
        broker.client_with(Version::V5, "c", |connect| connect.will = Some(will), &[]).cut();
        broker.advance_s(after_s);
        let (away, _) = broker.persistent(Version::V5, "away");
        let came = away.receive_publishes();
        let left: Vec<_> = came.iter().map(|m| m.properties().message_expiry_interval()).collect();
        assert_eq!(left, if after_s == 9 { vec![Some(1)] } else { vec![] });
        came.iter().for_each(|message| away.acknowledge(message));
        away.cut();
    }
}

/// What a client does after its connection is lost at second 0, or instead of losing it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    StaysAway,
    TakesOver { clean_start: bool },
    Returns { at_s: u32, clean_start: bool },
}

/// In which second a will goes out, if ever. The rules of section 3.1.2.5, in the words of the text.
fn due(delay_s: u32, expiry_s: u32, then: Then) -> Option<u32> {
    // "The Will Delay Interval has elapsed or the Session ends, whichever happens first."
    let waits_s = delay_s.min(expiry_s);
    match then {
        Then::StaysAway => Some(waits_s),
        Then::TakesOver { clean_start } if clean_start || waits_s == 0 => Some(0),
        Then::TakesOver { .. } => None,
        Then::Returns { at_s, .. } if at_s >= waits_s => Some(waits_s),
        Then::Returns { at_s, clean_start: true } => Some(at_s),
        // "A new Network Connection to this Session is made before the Will Delay Interval has passed."
        Then::Returns { clean_start: false, .. } => None,
    }
}

#[test]
fn delay_expiry_takeover_return_and_clean_start_in_every_combination() {
    let mut thens = vec![Then::StaysAway];
    for clean_start in [true, false] {
        thens.push(Then::TakesOver { clean_start });
        thens.extend([1, 3, 6, 9].map(|at_s| Then::Returns { at_s, clean_start }));
    }
    let mut seen = [0; 2];
    for workers in [1, 2] {
        for delay_s in [0, 2, 5, u32::MAX] {
            for expiry_s in [0, 2, 4, 7, u32::MAX] {
                for then in &thens {
                    let expected = due(delay_s, expiry_s, *then).filter(|second| *second < 20);
                    let published = observe(workers, delay_s, expiry_s, *then);
                    assert_eq!(published, expected, "delay {delay_s}, expiry {expiry_s}, {then:?}");
                    seen[usize::from(expected.is_some())] += 1;
                }
            }
        }
    }
    assert!(seen[0] > 50 && seen[1] > 50, "both outcomes were met: {seen:?}");
}

/// In which of the first 20 seconds the will comes to somebody who watches.
fn observe(workers: u16, delay_s: u32, expiry_s: u32, then: Then) -> Option<u32> {
    let broker = Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() });
    let watcher = watcher(&broker);
    let client = delayed(&broker, delay_s, expiry_s);
    if !matches!(then, Then::TakesOver { .. }) {
        client.cut();
    }
    let mut published = None;
    let mut returned = Vec::new();
    for second in 0..20 {
        let clean_start = match then {
            Then::TakesOver { clean_start } if second == 0 => Some(clean_start),
            Then::Returns { at_s, clean_start } if second == at_s => Some(clean_start),
            _ => None,
        };
        if let Some(clean_start) = clean_start {
            let lasting = [Property::SessionExpiryInterval(u32::MAX)];
            let change = |connect: &mut Connect<'_>| connect.clean_start = clean_start;
            returned.push(broker.client_with(Version::V5, "c", change, &lasting));
        }
        for message in watcher.receive_publishes() {
            assert_eq!((message.payload, published), (b"gone".to_vec(), None), "once");
            published = Some(second);
        }
        broker.advance_s(1);
    }
    published
}

#[test]
fn a_will_that_waits_goes_out_on_the_second_and_not_before() {
    for (delay_s, expiry_s) in [(3, 60), (60, 3), (3, 3), (3, u32::MAX)] {
        let broker = Broker::new();
        let watcher = watcher(&broker);
        let client = delayed(&broker, delay_s, expiry_s);
        broker.advance_s(100);
        client.cut();
        broker.advance_ms(2_900);
        watcher.expect_nothing();
        broker.advance_ms(100);
        assert_eq!(watcher.receive_publishes().len(), 1);
    }
}

#[test]
fn the_delay_of_a_will_that_was_called_back_does_not_strike_the_next_will() {
    let broker = Broker::new();
    let watcher = watcher(&broker);
    delayed(&broker, 5, 60).cut();
    broker.advance_s(2);
    let lasting = [Property::SessionExpiryInterval(60)];
    let change = |connect: &mut Connect<'_>| {
        connect.clean_start = false;
        connect.will = Some(will("will", b"next", Qos::AtMostOnce));
    };
    let client = broker.client_with(Version::V5, "c", change, &lasting);
    broker.advance_s(60);
    watcher.expect_nothing();
    client.cut();
    assert_eq!(watcher.receive_publish().payload, b"next");
    watcher.expect_nothing();
}

#[test]
fn disconnect_with_a_new_expiry_decides_how_long_the_will_waits() {
    let broker = Broker::new();
    let watcher = watcher(&broker);
    let expiry = |s| [Property::SessionExpiryInterval(s)];
    delayed(&broker, 10, 60).disconnect_with(Reason::DisconnectWithWill, &expiry(0));
    assert_eq!(watcher.receive_publishes().len(), 1, "the session has ended");
    delayed(&broker, 10, 60).disconnect_with(Reason::DisconnectWithWill, &expiry(4));
    broker.advance_ms(3_900);
    watcher.expect_nothing();
    broker.advance_ms(100);
    assert_eq!(watcher.receive_publishes().len(), 1);
    delayed(&broker, 10, 4).disconnect_with(Reason::DisconnectWithWill, &expiry(60));
    broker.advance_ms(9_900);
    watcher.expect_nothing();
    broker.advance_ms(100);
    assert_eq!(watcher.receive_publishes().len(), 1);
}

#[test]
fn before_5_0_a_returning_client_does_not_call_its_will_back() {
    for version in V3 {
        for is_takeover in [true, false] {
            let broker = Broker::new();
            let watcher = watcher(&broker);
            let change = |connect: &mut Connect<'_>| {
                with_will(connect);
                connect.clean_start = false;
            };
            let client = broker.client_with(version, "c", change, &[]);
            if !is_takeover {
                client.cut();
            }
            broker.persistent(version, "c");
            assert_eq!(watcher.receive_publishes().len(), 1);
        }
    }
}

#[test]
fn a_client_may_receive_its_own_will() {
    for version in VERSIONS {
        let broker = Broker::new();
        let change = |connect: &mut Connect<'_>| {
            connect.will = Some(will("will", b"gone", Qos::AtLeastOnce));
            connect.clean_start = false;
        };
        let lasting = [Property::SessionExpiryInterval(60)];
        let lasting: &[_] = if version.is_v5() { &lasting } else { &[] };
        let client = broker.client_with(version, "c", change, lasting);
        client.subscribe("will", Qos::AtLeastOnce);
        client.cut();
        let (client, _) = broker.persistent(version, "c");
        assert_eq!(client.receive_publish().payload, b"gone");
    }
}

#[test]
fn a_will_crosses_workers() {
    for clients in 0..4 {
        let broker = Broker::with(2, Limits { sys_interval_s: 0, ..Limits::default() });
        let watchers: Vec<_> = (0..4).map(|at| broker.client(Version::V5, &format!("w{at}"))).collect();
        for watcher in &watchers {
            watcher.subscribe("will", Qos::AtLeastOnce);
        }
        (0..clients).for_each(|at| _ = broker.client(Version::V5, &format!("c{at}")));
        broker.client_with(Version::V5, "c", with_will, &[]).cut();
        assert!(watchers.iter().all(|watcher| watcher.receive_publishes().len() == 1));
    }
}
