//! How connections end: what DISCONNECT means from either end, and every fault that closes.

use siskin_core::{Cause, Limits};
use siskin_proto::{Connect, Disconnect, Packet, Property, Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

fn with_will(connect: &mut Connect<'_>) {
    connect.will = Some(will("will", b"gone", Qos::AtMostOnce));
}

/// A client `c` with a will, and one that sees it.
fn watched(broker: &Broker, version: Version, expiry_s: u32) -> (Client, Client) {
    let watcher = broker.client(Version::V5, "watcher");
    watcher.subscribe("#", Qos::AtMostOnce);
    let expiry = [Property::SessionExpiryInterval(expiry_s)];
    let expiry: &[_] = if version.is_v5() { &expiry } else { &[] };
    (broker.client_with(version, "c", with_will, expiry), watcher)
}

#[test]
fn disconnect_closes_and_no_answer_comes() {
    for version in VERSIONS {
        let (client, watcher) = watched(&Broker::new(), version, 0);
        client.send_bytes(b"\xE0\0");
        client.expect_closed();
        assert_eq!(client.end(), Some(Cause::ClientDisconnect(Reason::Success)));
        watcher.expect_nothing();
    }
}

#[test]
fn what_a_client_sends_behind_its_disconnect_is_not_processed() {
    for version in VERSIONS {
        let (client, watcher) = watched(&Broker::new(), version, 60);
        let publish: &[u8] = if version.is_v5() { b"\x30\x05\0\x01t\0x" } else { b"\x30\x04\0\x01tx" };
        client.send_bytes(&[b"\xE0\0", publish, b"\xC0\0", b"\x10\0"].concat());
        client.send_bytes(publish);
        client.expect_closed();
        watcher.expect_nothing();
    }
}

#[test]
fn a_disconnect_with_header_flags_is_malformed_and_does_not_count() {
    for version in VERSIONS {
        for flags in 1..16 {
            let (client, watcher) = watched(&Broker::new(), version, 0);
            client.send_bytes(&[0xE0 | flags, 0]);
            client.expect_disconnect(Reason::MalformedPacket);
            assert_eq!(watcher.receive_publish().payload, b"gone");
        }
    }
}

#[test]
fn before_5_0_a_disconnect_with_a_body_does_not_count() {
    for version in [Version::V3_1, Version::V3_1_1] {
        for bytes in [&b"\xE0\x01\0"[..], b"\xE0\x02\0\0"] {
            let (client, watcher) = watched(&Broker::new(), version, 0);
            client.send_bytes(bytes);
            client.expect_closed();
            assert_eq!(watcher.receive_publish().payload, b"gone");
        }
    }
}

#[test]
fn a_disconnect_may_leave_out_its_properties_and_0x00() {
    for (bytes, reason) in [
        (&b"\xE0\0"[..], Reason::Success),
        (b"\xE0\x01\0", Reason::Success),
        (b"\xE0\x02\0\0", Reason::Success),
        (b"\xE0\x01\x04", Reason::DisconnectWithWill),
        (b"\xE0\x02\x04\0", Reason::DisconnectWithWill),
    ] {
        let (client, watcher) = watched(&Broker::new(), Version::V5, 0);
        client.send_bytes(bytes);
        client.expect_closed();
        assert_eq!(client.end(), Some(Cause::ClientDisconnect(reason)));
        assert_eq!(watcher.receive_publishes().len(), usize::from(reason != Reason::Success));
    }
}

#[test]
fn a_disconnect_with_a_code_of_other_packets_is_a_protocol_error() {
    for code in [0x01, 0x02, 0x10, 0x18, 0x19, 0x84, 0x85, 0x86, 0x88, 0x8A, 0x91, 0x92, 0x05, 0xFF] {
        let (client, watcher) = watched(&Broker::new(), Version::V5, 0);
        client.send_bytes(&[0xE0, 1, code]);
        client.expect_disconnect(Reason::ProtocolError);
        assert_eq!(watcher.receive_publishes().len(), 1, "0x{code:02X}: the will stands");
    }
}

#[test]
fn disconnect_may_change_how_long_the_session_lasts() {
    for (connect_s, disconnect_s, lasts_s) in [
        (60, None, 60),
        (60, Some(5), 5),
        (5, Some(60), 60),
        (60, Some(0), 0),
        (0, Some(0), 0),
        (60, Some(u32::MAX), u32::MAX),
    ] {
        let broker = Broker::new();
        let expiry = [Property::SessionExpiryInterval(connect_s)];
        let client = broker.client_with(Version::V5, "c", |_| {}, &expiry);
        let change: Vec<_> = disconnect_s.map(Property::SessionExpiryInterval).into_iter().collect();
        client.disconnect_with(Reason::Success, &change);
        client.expect_closed();
        if lasts_s > 0 {
            broker.leap_s(u64::from(lasts_s) - 1);
            assert_eq!(broker.sessions(), 1);
            broker.leap_s(1);
        }
        assert_eq!(broker.sessions(), usize::from(lasts_s == u32::MAX));
    }
}

#[test]
fn disconnect_may_not_give_life_to_a_session_that_had_none() {
    for expiry in [&[][..], &[Property::SessionExpiryInterval(0)]] {
        for reason in [Reason::Success, Reason::DisconnectWithWill] {
            for wish_s in [1, u32::MAX] {
                let broker = Broker::new();
                let watcher = broker.client(Version::V5, "watcher");
                watcher.subscribe("will", Qos::AtMostOnce);
                let client = broker.client_with(Version::V5, "c", with_will, expiry);
                client.disconnect_with(reason, &[Property::SessionExpiryInterval(wish_s)]);
                client.expect_disconnect(Reason::ProtocolError);
                // It is no valid DISCONNECT: the session ends, and the will stands.
                assert_eq!(broker.sessions(), 1);
                assert_eq!(watcher.receive_publishes().len(), 1);
            }
        }
    }
}

#[test]
fn a_client_whose_session_was_cut_to_0_may_still_wish_for_more() {
    let broker = Broker::limited(|limits| limits.session_expiry_s_max = 0);
    let (client, watcher) = watched(&broker, Version::V5, 60);
    client.disconnect_with(Reason::Success, &[Property::SessionExpiryInterval(60)]);
    client.expect_closed();
    watcher.expect_nothing();
    assert_eq!(broker.sessions(), 1, "it is granted as little as before");
}

type End = fn(&Broker, &Client);

/// Why the broker ends a connection that did nothing wrong in its last packet.
fn ends_by_the_broker() -> [(Reason, End); 5] {
    [
        (Reason::ServerShuttingDown, |broker, _| broker.stop()),
        (Reason::SessionTakenOver, |broker, _| _ = broker.client(Version::V5, "c")),
        (Reason::KeepAliveTimeout, |broker, _| broker.advance_s(15)),
        (Reason::AdministrativeAction, |_, client| client.kick()),
        (Reason::QuotaExceeded, |_, client| flood_unread(client)),
    ]
}

/// Asks and asks and reads no answer.
fn flood_unread(client: &Client) {
    client.stall_after(0);
    while client.end().is_none() {
        // PUBREL of an unknown id, each answered with a PUBCOMP of four bytes or five.
        client.send_bytes(&[0x62, 2, 0, 9].repeat(100));
    }
}

#[test]
fn the_broker_says_why_it_ends_a_connection_to_5_0_alone() {
    for version in VERSIONS {
        for (reason, end) in ends_by_the_broker() {
            let broker = Broker::new();
            let client = broker.client_with(version, "c", |connect| connect.keep_alive_s = 10, &[]);
            end(&broker, &client);
            let answers = client.receive_all();
            let disconnects: Vec<_> = answers.iter().filter(|packet| packet.bytes()[0] == 0xE0).collect();
            assert_eq!(disconnects.len(), usize::from(version.is_v5()), "{version}, {reason}");
            assert!(client.end().is_some());
            if let [disconnect] = disconnects[..] {
                assert_eq!(disconnect.reason(), reason);
                assert_eq!(answers.last(), Some(disconnect), "nothing follows");
            }
        }
    }
}

#[test]
fn a_disconnect_of_the_broker_has_no_session_expiry_and_keeps_to_the_size() {
    let told = Broker::new().open(Version::V5).connect("c", |_| {}, &[]).bytes().len() as u32;
    let mut with_text = [0; 2];
    for maximum in [told, told + 1, 40, 60, 100, 1000, u32::MAX] {
        for (reason, end) in &ends_by_the_broker()[..4] {
            let broker = Broker::new();
            let allows = [Property::MaximumPacketSize(maximum), Property::SessionExpiryInterval(60)];
            let client = broker.client_with(Version::V5, "c", |connect| connect.keep_alive_s = 10, &allows);
            end(&broker, &client);
            let last = client.receive();
            assert!(last.bytes().len() <= maximum as usize);
            let Packet::Disconnect(Disconnect { reason: told, properties }) = last.packet() else {
                panic!("{last:?}")
            };
            assert_eq!(told, *reason, "the code comes in any case");
            assert_eq!(properties.session_expiry_interval(), None);
            assert_eq!(properties.user_properties().count(), 0);
            with_text[usize::from(properties.reason_string().is_some())] += 1;
            client.expect_closed();
        }
    }
    assert!(with_text[0] > 0 && with_text[1] > 0, "some had room for a text and some had not: {with_text:?}");
}

#[test]
fn nothing_comes_behind_a_disconnect_of_the_broker() {
    let broker = Broker::new();
    let (client, _) = broker.persistent(Version::V5, "c");
    client.subscribe("t", Qos::AtLeastOnce);
    let publisher = broker.client(Version::V5, "publisher");
    // All in one write: what is asked behind the fault is not answered.
    client.send_bytes(&[&b"\xC0\0"[..], b"\xC1\0", b"\xC0\0", b"\x82\x07\0\x01\0\0\x01u\0"].concat());
    publisher.publish("t", b"x", Qos::AtLeastOnce);
    broker.advance_s(1000);
    assert!(matches!(client.receive().packet(), Packet::PingResp(_)));
    client.expect_disconnect(Reason::MalformedPacket);
    assert_eq!(broker.shared().router.subscriptions(), 1);
}

#[test]
fn packets_that_only_a_server_sends_close() {
    for version in VERSIONS {
        let v5 = version.is_v5();
        let packets: [(&[u8], Reason); 6] = [
            (if v5 { b"\x20\x03\0\0\0" } else { b"\x20\x02\0\0" }, Reason::ProtocolError),
            (if v5 { b"\x90\x04\0\x01\0\0" } else { b"\x90\x03\0\x01\0" }, Reason::ProtocolError),
            (if v5 { b"\xB0\x04\0\x01\0\0" } else { b"\xB0\x02\0\x01" }, Reason::ProtocolError),
            (b"\xD0\0", Reason::ProtocolError),
            (b"\x00\0", Reason::MalformedPacket),
            (b"\xF0\0", Reason::ProtocolError),
        ];
        for (packet, reason) in packets {
            let (client, watcher) = watched(&Broker::new(), version, 0);
            client.send_bytes(packet);
            client.expect_disconnect(reason);
            assert_eq!(watcher.receive_publish().payload, b"gone", "{packet:02X?}");
        }
    }
}

#[test]
fn malformed_packets_and_protocol_errors_close_the_connection_they_came_on() {
    use Reason::{
        MalformedPacket, PacketTooLarge, ProtocolError, TopicAliasInvalid, TopicFilterInvalid,
        TopicNameInvalid,
    };
    let cases: [(&[u8], &[u8], Reason); 17] = [
        // As 5.0, as 3.x, and what it is.
        (b"\x30\xFF\xFF\xFF\xFF\x01", b"\x30\xFF\xFF\xFF\xFF\x01", MalformedPacket),
        (b"\xC0\x80\0", b"\xC0\x80\0", MalformedPacket),
        (b"\xC0\x01\0", b"\xC0\x01\0", MalformedPacket),
        (b"\xC1\0", b"\xC1\0", MalformedPacket),
        (b"\x36\x06\0\x01t\0\x01\0", b"\x36\x05\0\x01t\0\x01", MalformedPacket),
        (b"\x38\x04\0\x01t\0", b"\x38\x03\0\x01t", MalformedPacket),
        (b"\x30\x04\0\x01\xFF\0", b"\x30\x03\0\x01\xFF", MalformedPacket),
        (b"\x30\x04\0\x01\0\0", b"\x30\x03\0\x01\0", MalformedPacket),
        (b"\x30\x04\0\x01#\0", b"\x30\x03\0\x01#", TopicNameInvalid),
        (b"\x32\x06\0\x01t\0\0\0", b"\x32\x05\0\x01t\0\0", ProtocolError),
        (b"\x80\x07\0\x01\0\0\x01t\0", b"\x80\x06\0\x01\0\x01t\0", MalformedPacket),
        (b"\x82\x03\0\x01\0", b"\x82\x02\0\x01", ProtocolError),
        (b"\x82\x08\0\x01\0\0\x02a#\0", b"\x82\x07\0\x01\0\x02a#\0", TopicFilterInvalid),
        (b"\x40\x02\0\0", b"\x40\x02\0\0", ProtocolError),
        (b"\x60\x02\0\x01", b"\x60\x02\0\x01", MalformedPacket),
        (b"\x30\x07\0\x01t\x03\x23\0\0", b"\x31\x01\0", TopicAliasInvalid),
        (b"\x30\xFF\xFF\xFF\x7F", b"\x30\xFF\xFF\xFF\x7F", PacketTooLarge),
    ];
    for (v5, v3, reason) in cases {
        for version in VERSIONS {
            let broker = Broker::new();
            let (client, watcher) = watched(&broker, version, 0);
            client.send_bytes(if version.is_v5() { v5 } else { v3 });
            client.expect_disconnect(reason);
            // The client's will goes out, and nobody else is disturbed.
            assert_eq!(watcher.receive_publish().payload, b"gone", "{v5:02X?}");
            watcher.expect_nothing();
        }
    }
}

#[test]
fn a_client_that_leaves_its_answers_unread_is_closed_and_no_other() {
    for version in VERSIONS {
        let broker = Broker::new();
        let (client, watcher) = watched(&broker, version, 0);
        flood_unread(&client);
        assert_eq!(client.end(), Some(Cause::SlowReader));
        assert_eq!(watcher.receive_publish().payload, b"gone");
        watcher.expect_nothing();
    }
}

#[test]
fn a_broker_that_stops_sends_wills_first_and_then_tells_everybody() {
    for workers in [1, 2] {
        let broker = Broker::with(workers, Limits { sys_interval_s: 0, ..Limits::default() });
        let watchers: Vec<_> = VERSIONS
            .map(|version| {
                let (watcher, _) = broker.persistent(version, &format!("watcher {version}"));
                watcher.subscribe("will/#", Qos::AtLeastOnce);
                (version, watcher)
            })
            .into();
        for version in VERSIONS {
            let topic = format!("will/{version}");
            let own = will(&topic, b"gone", Qos::AtLeastOnce);
            broker.client_with(version, &format!("c {version}"), |connect| connect.will = Some(own), &[]);
        }
        // No delay outlasts a session that ends with its connection.
        let delay = buffer(&[Property::WillDelayInterval(60)]);
        let mut late = will("will/delayed", b"gone", Qos::AtLeastOnce);
        late.properties = delay.as_properties();
        broker.client_with(Version::V5, "late", |connect| connect.will = Some(late), &[]);
        broker.stop();
        for (version, watcher) in &watchers {
            let mut came = watcher.receive_all();
            if version.is_v5() {
                assert_eq!(came.pop().unwrap().reason(), Reason::ServerShuttingDown);
            }
            let mut topics: Vec<_> = came.iter().map(|packet| packet.publish().topic).collect();
            topics.sort();
            assert_eq!(topics, ["will/3.1", "will/3.1.1", "will/5.0", "will/delayed"]);
            assert_eq!(watcher.end(), Some(Cause::Shutdown));
        }
        assert_eq!(broker.totals().connections, 0);
        assert_eq!(broker.sessions(), 3, "only what was meant to last");
    }
}
