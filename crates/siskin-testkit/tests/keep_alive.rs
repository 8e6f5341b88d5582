//! Keep alive: who is silent for one and a half times as long as it said is cut off, and nobody else.

use siskin_core::Cause;
use siskin_proto::{Connect, Packet, PingReq, Property, Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

fn client(broker: &Broker, version: Version, keep_alive_s: u16) -> Client {
    broker.client_with(version, "c", |connect| connect.keep_alive_s = keep_alive_s, &[])
}

fn server_keep_alive(connack: &Received) -> Option<u16> {
    match connack.packet() {
        Packet::ConnAck(connack) => connack.properties.server_keep_alive(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_silent_client_is_cut_off_after_one_and_a_half_keep_alives() {
    for version in VERSIONS {
        for keep_alive_s in [1, 2, 10, 60, 601] {
            let broker = Broker::new();
            let client = client(&broker, version, keep_alive_s);
            broker.advance_ms(u64::from(keep_alive_s) * 1500 - 1);
            client.expect_nothing();
            // The clock of timers ticks ten times a second.
            broker.advance_ms(101);
            client.expect_disconnect(Reason::KeepAliveTimeout);
            assert_eq!(client.end(), Some(Cause::KeepAlive { allowed_ms: u64::from(keep_alive_s) * 1500 }));
        }
    }
}

#[test]
fn the_longest_keep_alive_is_as_exact() {
    let broker = Broker::new();
    let client = client(&broker, Version::V3_1_1, u16::MAX);
    broker.leap_s(98_302);
    client.expect_nothing();
    broker.leap_s(1);
    client.expect_closed();
}

#[test]
fn a_short_keep_alive_is_exact_whenever_the_last_packet_came() {
    for version in VERSIONS {
        for offset_ms in [0, 1, 37, 50, 99, 100, 101, 499, 999, 1000, 1500, 2999] {
            let broker = Broker::new();
            let client = client(&broker, version, 2);
            broker.advance_ms(offset_ms);
            client.send(&Packet::PingReq(PingReq));
            client.receive();
            broker.advance_ms(2_999);
            client.expect_nothing();
            broker.advance_ms(101);
            client.expect_disconnect(Reason::KeepAliveTimeout);
        }
    }
}

#[test]
fn keep_alive_0_is_for_ever() {
    for version in VERSIONS {
        let broker = Broker::new();
        let client = client(&broker, version, 0);
        broker.leap_s(10_000_000);
        client.expect_nothing();
    }
}

#[test]
fn every_packet_from_the_client_counts() {
    for version in VERSIONS {
        let v5 = version.is_v5();
        let packets: [&[u8]; 9] = [
            b"\xC0\0",
            if v5 { b"\x30\x04\0\x01t\0" } else { b"\x30\x03\0\x01t" },
            if v5 { b"\x32\x06\0\x01t\0\x01\0" } else { b"\x32\x05\0\x01t\0\x01" },
            if v5 { b"\x82\x07\0\x01\0\0\x01u\0" } else { b"\x82\x06\0\x01\0\x01u\0" },
            if v5 { b"\xA2\x06\0\x01\0\0\x01u" } else { b"\xA2\x05\0\x01\0\x01u" },
            b"\x40\x02\0\x09",
            b"\x50\x02\0\x09",
            b"\x62\x02\0\x09",
            b"\x70\x02\0\x09",
        ];
        for packet in packets {
            let broker = Broker::new();
            let client = client(&broker, version, 10);
            for _ in 0..5 {
                broker.advance_ms(14_900);
                assert_eq!(client.end(), None, "{version}: {packet:02X?}");
                client.send_bytes(packet);
            }
            client.receive_all();
            broker.advance_s(15);
            client.expect_disconnect(Reason::KeepAliveTimeout);
        }
    }
}

#[test]
fn what_the_broker_sends_does_not_count() {
    for version in VERSIONS {
        let broker = Broker::new();
        let client = client(&broker, version, 10);
        client.subscribe("t", Qos::AtMostOnce);
        let publisher = broker.client(Version::V5, "publisher");
        for second in 0..15 {
            publisher.publish("t", b"x", Qos::AtMostOnce);
            assert_eq!(client.receive_publishes().len(), 1, "second {second}");
            broker.advance_s(1);
        }
        client.expect_disconnect(Reason::KeepAliveTimeout);
    }
}

#[test]
fn a_part_of_a_packet_does_not_count() {
    for version in VERSIONS {
        let broker = Broker::new();
        let client = client(&broker, version, 10);
        client.send_bytes(&[0x30, 100, 0, 1, b't']);
        for _ in 0..14 {
            broker.advance_s(1);
            client.send_bytes(&[0]);
            client.expect_nothing();
        }
        broker.advance_s(1);
        client.expect_disconnect(Reason::KeepAliveTimeout);
    }
}

#[test]
fn the_end_by_keep_alive_is_that_of_a_network_that_failed() {
    for version in VERSIONS {
        let broker = Broker::new();
        let watcher = broker.client(version, "watcher");
        watcher.subscribe("will", Qos::AtMostOnce);
        let change = |connect: &mut Connect<'_>| {
            connect.keep_alive_s = 10;
            connect.clean_start = false;
            connect.will = Some(will("will", b"gone", Qos::AtMostOnce));
        };
        let lasting = [Property::SessionExpiryInterval(60)];
        let client = broker.client_with(version, "c", change, &lasting[..usize::from(version.is_v5())]);
        client.subscribe("t", Qos::AtLeastOnce);
        broker.advance_s(15);
        client.expect_disconnect(Reason::KeepAliveTimeout);
        assert_eq!(watcher.receive_publish().payload, b"gone");
        watcher.publish("t", b"kept", Qos::AtLeastOnce);
        let (client, _) = broker.persistent(version, "c");
        assert_eq!(client.receive_publish().payload, b"kept");
    }
}

#[test]
fn the_keep_alive_of_an_earlier_connection_does_not_strike_the_next() {
    for version in VERSIONS {
        for is_takeover in [true, false] {
            let broker = Broker::new();
            let change = |connect: &mut Connect<'_>| {
                connect.keep_alive_s = 10;
                connect.clean_start = false;
            };
            let lasting = [Property::SessionExpiryInterval(60)];
            let first = broker.client_with(version, "c", change, &lasting[..usize::from(version.is_v5())]);
            broker.advance_s(14);
            if !is_takeover {
                first.cut();
            }
            let (second, _) = broker.persistent(version, "c");
            broker.advance_s(60);
            second.expect_nothing();
        }
    }
}

#[test]
fn each_client_has_its_own_keep_alive() {
    let broker = Broker::new();
    let clients: Vec<_> = (1..=20_u16)
        .map(|s| {
            broker.client_with(VERSIONS[s as usize % 3], &s.to_string(), |c| c.keep_alive_s = s * 2, &[])
        })
        .collect();
    for second in 1..=60 {
        broker.advance_s(1);
        for (at, client) in clients.iter().enumerate() {
            assert_eq!(
                client.end().is_some(),
                second >= 3 * (at + 1),
                "client {} in second {second}",
                at + 1
            );
        }
    }
}

#[test]
fn a_longer_keep_alive_than_allowed_is_cut_and_told_to_5_0() {
    for (wish_s, told_s, lasts_ms) in
        [(60, Some(10), 15_000), (0, Some(10), 15_000), (10, None, 15_000), (5, None, 7_500)]
    {
        let broker = Broker::limited(|limits| limits.keep_alive_s_max = 10);
        let mut client = broker.open(Version::V5);
        let connack = client.connect("c", |connect| connect.keep_alive_s = wish_s, &[]);
        assert_eq!(server_keep_alive(&connack), told_s);
        broker.advance_ms(lasts_ms - 100);
        client.expect_nothing();
        broker.advance_ms(100);
        client.expect_disconnect(Reason::KeepAliveTimeout);
    }
}

#[test]
fn without_a_server_keep_alive_the_clients_own_holds() {
    for wish_s in [0, 1, 60, u16::MAX] {
        let mut client = Broker::new().open(Version::V5);
        let connack = client.connect("c", |connect| connect.keep_alive_s = wish_s, &[]);
        assert_eq!(server_keep_alive(&connack), None);
    }
}

#[test]
fn before_5_0_nobody_can_be_told_another_keep_alive_so_the_clients_own_holds() {
    for version in [Version::V3_1, Version::V3_1_1] {
        let broker = Broker::limited(|limits| limits.keep_alive_s_max = 10);
        let client = client(&broker, version, 60);
        broker.advance_ms(89_900);
        client.expect_nothing();
        broker.advance_ms(100);
        client.expect_closed();
    }
}

#[test]
fn how_much_silence_is_allowed_is_set_by_the_operator() {
    for (percent, lasts_ms) in [(100, 10_000), (150, 15_000), (200, 20_000), (1000, 100_000)] {
        for version in VERSIONS {
            let broker = Broker::limited(|limits| limits.keep_alive_percent = percent);
            let client = client(&broker, version, 10);
            broker.advance_ms(lasts_ms - 100);
            client.expect_nothing();
            broker.advance_ms(100);
            client.expect_disconnect(Reason::KeepAliveTimeout);
        }
    }
}

#[test]
fn each_pingreq_gets_one_pingresp() {
    for version in VERSIONS {
        let client = client(&Broker::new(), version, 10);
        for count in [1, 2, 5] {
            client.send_bytes(&[0xC0, 0].repeat(count));
            let answers = client.receive_all();
            assert_eq!(answers.len(), count);
            assert!(answers.iter().all(|answer| answer.bytes() == [0xD0, 0]));
            client.expect_nothing();
        }
    }
}
