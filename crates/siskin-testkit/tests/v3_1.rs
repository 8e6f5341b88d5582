//! MQTT 3.1, where it differs from 3.1.1.

use siskin_core::Limits;
use siskin_proto::{Qos, Reason, Version};
use siskin_testkit::*;

const LATER: [Version; 2] = [Version::V3_1_1, Version::V5];

#[test]
fn an_empty_client_id_is_refused_with_return_code_2_and_any_other_is_not() {
    for clean in [true, false] {
        let broker = Broker::new();
        let mut client = broker.open(Version::V3_1);
        let connack = client.connect("", |connect| connect.clean_start = clean, &[]);
        assert_eq!(connack.bytes(), [0x20, 2, 0, 2]);
        client.expect_closed();
        assert_eq!(broker.sessions(), 0);
        for len in 1..=30 {
            let id = "x".repeat(len);
            broker.client_with(Version::V3_1, &id, |connect| connect.clean_start = clean, &[]);
        }
        assert_eq!(broker.sessions(), 30);
    }
}

#[test]
fn connack_does_not_tell_of_a_session() {
    let broker = Broker::new();
    for round in 0..2_u8 {
        let mut client = broker.open(Version::V3_1);
        let connack = client.connect("c", |connect| connect.clean_start = false, &[]);
        assert_eq!(connack.bytes(), [0x20, 2, 0, 0]);
        // There is one all the same.
        assert_eq!(client.receive_publishes().len(), usize::from(round));
        client.subscribe("t", Qos::AtLeastOnce);
        client.cut();
        broker.client(Version::V5, "publisher").publish("t", b"x", Qos::AtLeastOnce);
    }
}

/// The packets that 3.1 may send with DUP, without it: subscribe to `t`, release 9, unsubscribe `t`.
fn repeatable(version: Version) -> [(Vec<u8>, u8); 3] {
    let no_properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
    let packet = |first: u8, body: &[&[u8]]| {
        let body = body.concat();
        [&[first, body.len() as u8], &body[..]].concat()
    };
    [
        (packet(0x82, &[b"\0\x01", no_properties, b"\0\x01t\0"]), 0x90),
        (packet(0x62, &[b"\0\x09"]), 0x70),
        (packet(0xA2, &[b"\0\x01", no_properties, b"\0\x01t"]), 0xB0),
    ]
}

#[test]
fn subscribe_unsubscribe_and_pubrel_may_carry_dup() {
    let broker = Broker::new();
    let client = broker.client(Version::V3_1, "c");
    let publisher = broker.client(Version::V5, "publisher");
    for (mut packet, answer) in repeatable(Version::V3_1) {
        for first in [packet[0], packet[0] | 0x08] {
            packet[0] = first;
            client.send_bytes(&packet);
            assert_eq!(client.receive().bytes()[0], answer);
            client.expect_nothing();
            // It does what it says.
            publisher.publish("t", b"x", Qos::AtMostOnce);
            assert_eq!(client.receive_publishes().len(), usize::from(answer != 0xB0));
        }
    }
}

#[test]
fn a_resent_pubrel_with_dup_ends_its_exchange() {
    let broker = Broker::new();
    let client = broker.client(Version::V3_1, "c");
    client.subscribe("t", Qos::AtMostOnce);
    let publish = b"\x34\x06\0\x01t\0\x09x";
    for _ in 0..2 {
        client.send_bytes(publish);
        let kinds: Vec<_> = client.receive_all().iter().map(|packet| packet.bytes()[0] & 0xF0).collect();
        assert_eq!(kinds, [0x30, 0x50], "a new message each time");
        client.send_bytes(b"\x6A\x02\0\x09");
        assert_eq!(client.receive().bytes(), b"\x70\x02\0\x09");
    }
}

#[test]
fn other_header_flags_close_in_3_1_too() {
    for (packet, _) in repeatable(Version::V3_1) {
        for flags in (0..16).filter(|flags| ![0x2, 0xA].contains(flags)) {
            let client = Broker::new().client(Version::V3_1, "c");
            client.send_bytes(&[&[packet[0] & 0xF0 | flags], &packet[1..]].concat());
            client.expect_closed();
        }
    }
}

#[test]
fn after_3_1_dup_on_them_is_malformed() {
    for version in LATER {
        for (packet, answer) in repeatable(version) {
            let client = Broker::new().client(version, "c");
            client.send_bytes(&packet);
            assert_eq!(client.receive().bytes()[0], answer);
            client.send_bytes(&[&[packet[0] | 0x08], &packet[1..]].concat());
            client.expect_disconnect(Reason::MalformedPacket);
        }
    }
}

#[test]
fn a_subscription_that_is_not_granted_closes_instead_of_0x80() {
    type Change = fn(&mut Limits);
    let cases: [(Change, &str); 4] = [
        (|limits| limits.wildcard_available = false, "t/#"),
        (|limits| limits.shared_available = false, "$share/g/t"),
        (|limits| limits.topic_levels_max = 2, "a/b/c"),
        (|limits| limits.subscriptions_max = 0, "t"),
    ];
    for (change, filter) in cases {
        let broker = Broker::limited(change);
        let client = broker.client(Version::V3_1, "c");
        let packet =
            [&[0x82, filter.len() as u8 + 5, 0, 1, 0, filter.len() as u8], filter.as_bytes(), &[0]].concat();
        client.send_bytes(&packet);
        client.expect_closed();
        assert_eq!(broker.sessions(), 0);
        assert_eq!(broker.shared().router.subscriptions(), 0);
        // 3.1.1 has the word for it.
        let client = broker.client(Version::V3_1_1, "c");
        client.send_bytes(&packet);
        assert_eq!(client.receive().bytes(), [0x90, 3, 0, 1, 0x80]);
        client.expect_nothing();
    }
}

#[test]
fn a_subscription_that_is_granted_has_its_qos_in_suback() {
    for qos in 0..3 {
        let client = Broker::new().client(Version::V3_1, "c");
        client.send_bytes(&[0x82, 6, 0, 1, 0, 1, b't', qos]);
        assert_eq!(client.receive().bytes(), [0x90, 3, 0, 1, qos]);
    }
}

#[test]
fn topic_names_and_filters_are_checked_as_in_3_1_1() {
    let bad_names: [&[u8]; 8] = [b"", b"#", b"a/+", b"\xFF", b"a\0", b"\xED\xA0\x80", b"\xC0\x80", b"+"];
    let bad_filters: [&[u8]; 7] = [b"", b"#/a", b"a#", b"a+/b", b"\xFF", b"a\0", b"\xED\xA0\x80"];
    let field = |text: &[u8]| [&[0, text.len() as u8], text].concat();
    for name in bad_names {
        let client = Broker::new().client(Version::V3_1, "c");
        client.send_bytes(&[&[0x30, name.len() as u8 + 2], &field(name)[..]].concat());
        client.expect_closed();
    }
    for filter in bad_filters {
        let client = Broker::new().client(Version::V3_1, "c");
        client.send_bytes(&[&[0x82, filter.len() as u8 + 5, 0, 1], &field(filter)[..], &[0]].concat());
        client.expect_closed();
    }
    let client = Broker::new().client(Version::V3_1, "c");
    client.subscribe("\u{FEFF}/+/#", Qos::AtMostOnce);
    client.subscribe("#", Qos::AtMostOnce);
    client.publish("\u{FEFF}/ü/€/😀", b"x", Qos::AtMostOnce);
    assert_eq!(client.receive_publish().topic, "\u{FEFF}/ü/€/😀");
    client.publish("$a", b"x", Qos::AtMostOnce);
    client.expect_nothing();
}

#[test]
fn a_retained_message_without_a_payload_clears() {
    let broker = Broker::new();
    let client = broker.client(Version::V3_1, "c");
    client.retain("t", b"kept", Qos::AtLeastOnce);
    client.subscribe("t", Qos::AtMostOnce);
    let kept = client.receive_publish();
    assert!((kept.payload == b"kept") && kept.retain);
    client.retain("t", b"", Qos::AtLeastOnce);
    let cleared = client.receive_publish();
    assert!(cleared.payload.is_empty() && !cleared.retain, "delivered like any message");
    client.subscribe("t", Qos::AtMostOnce);
    client.expect_nothing();
}

#[test]
fn a_user_name_or_password_that_was_announced_may_be_missing_at_the_end() {
    // The one place where 3.1 lets the length of the packet count for more than its flags.
    let connect = |flags: u8, payload: &[u8]| {
        let body = [b"\0\x06MQIsdp\x03", &[flags, 0, 0][..], payload].concat();
        [&[0x10, body.len() as u8], &body[..]].concat()
    };
    let rest: [(u8, &[u8]); 4] =
        [(0x82, b"\0\x01c"), (0xC2, b"\0\x01c"), (0xC2, b"\0\x01c\0\x01u"), (0xC2, b"\0\x01c\0\x01u\0\x01p")];
    for (flags, payload) in rest {
        let client = Broker::new().open(Version::V3_1);
        client.send_bytes(&connect(flags, payload));
        assert_eq!(client.receive().reason(), Reason::Success);
    }
    for (flags, payload) in [(0xC2, &b"\0\x01c\0\x02u"[..]), (0x82, b"\0\x01c\0"), (0x02, b"\0\x01c\0\x01u")]
    {
        let client = Broker::new().open(Version::V3_1);
        client.send_bytes(&connect(flags, payload));
        client.expect_closed();
    }
}

#[test]
fn messages_flow_between_3_1_and_the_later_versions_at_every_qos() {
    for other in LATER {
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let broker = Broker::new();
            let (old, new) = (broker.client(Version::V3_1, "old"), broker.client(other, "new"));
            for (from, to) in [(&old, &new), (&new, &old)] {
                to.subscribe("t", qos);
                from.publish("t", b"x", qos);
                let message = to.receive_publish();
                assert_eq!((&message.payload[..], message.qos), (&b"x"[..], qos));
                to.acknowledge(&message);
                to.expect_nothing();
                to.unsubscribe("t");
            }
        }
    }
}
