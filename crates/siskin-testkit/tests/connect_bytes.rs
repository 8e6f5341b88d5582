//! CONNECT byte by byte: what the broker takes for one, and what it answers to everything else.

use siskin_proto::{Property, Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];
const STRICT: [Version; 2] = [Version::V3_1_1, Version::V5];

const CLEAN: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

/// A length of two bytes and as many bytes.
fn field(bytes: &[u8]) -> Vec<u8> {
    let mut field = (bytes.len() as u16).to_be_bytes().to_vec();
    field.extend_from_slice(bytes);
    field
}

/// The fields of a will as they stand behind the client id.
fn will_fields(version: Version, topic: &[u8], payload: &[u8]) -> Vec<u8> {
    let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
    [properties, &field(topic), &field(payload)].concat()
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    assert!(body.len() < 128, "one byte holds the remaining length");
    [&[first, body.len() as u8], body].concat()
}

/// The body of a CONNECT: everything in front of the payload, then `payload` as it is.
fn body(version: Version, flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    let mut body = field(version.protocol_name().as_bytes());
    body.extend([version as u8, flags, 0, 0]);
    if version.is_v5() {
        body.push(0);
    }
    body.extend(payload.concat());
    body
}

fn connect(version: Version, flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    packet(0x10, &body(version, flags, payload))
}

#[track_caller]
fn expect_accepted(version: Version, bytes: &[u8]) -> (Broker, Client) {
    let broker = Broker::new();
    let client = broker.open(version);
    client.send_bytes(bytes);
    assert_eq!(client.receive().reason(), Reason::Success, "{version}");
    client.expect_nothing();
    assert_eq!(broker.sessions(), 1);
    (broker, client)
}

/// 3.x closes without a word; 5.0 says why in a CONNACK, and closes.
#[track_caller]
fn expect_refused(version: Version, bytes: &[u8], reason: Reason) {
    let broker = Broker::new();
    let watcher = broker.client(version, "watcher");
    watcher.subscribe("#", Qos::AtMostOnce);
    let client = broker.open(version);
    client.send_bytes(bytes);
    if version.is_v5() {
        let connack = client.receive();
        assert_eq!(connack.reason(), reason);
        assert!(!connack.session_present());
    }
    client.expect_closed();
    assert_eq!(broker.sessions(), 1, "only the watcher has a session");
    watcher.expect_nothing();
}

#[test]
fn the_reserved_connect_flag_must_be_0() {
    for version in STRICT {
        expect_accepted(version, &connect(version, CLEAN, &[&field(b"c")]));
        expect_refused(version, &connect(version, CLEAN | 1, &[&field(b"c")]), Reason::MalformedPacket);
    }
}

#[test]
fn reserved_header_flags_of_connect_must_be_0() {
    for version in VERSIONS {
        for flags in 1..16 {
            let broker = Broker::new();
            let client = broker.open(version);
            client.send_bytes(&packet(0x10 | flags, &body(version, CLEAN, &[&field(b"c")])));
            let answers = client.receive_all();
            assert!(answers.iter().all(|answer| answer.reason() == Reason::MalformedPacket), "{answers:?}");
            assert!(client.end().is_some());
            assert_eq!(broker.sessions(), 0);
        }
    }
}

#[test]
fn without_the_will_flag_will_qos_and_will_retain_are_malformed() {
    for version in STRICT {
        for qos in 0..=3 {
            for retain in [0, WILL_RETAIN] {
                let flags = CLEAN | qos << 3 | retain;
                let id = field(b"c");
                if flags == CLEAN {
                    expect_accepted(version, &connect(version, flags, &[&id]));
                } else {
                    expect_refused(version, &connect(version, flags, &[&id]), Reason::MalformedPacket);
                }
                // Nor do the fields of a will stand there without the flag.
                let will = will_fields(version, b"t", b"x");
                expect_refused(version, &connect(version, flags, &[&id, &will]), Reason::MalformedPacket);
            }
        }
    }
}

#[test]
fn will_qos_3_is_malformed() {
    for version in VERSIONS {
        for qos in 0..=3 {
            let payload: &[&[u8]] = &[&field(b"c"), &will_fields(version, b"t", b"x")];
            let bytes = connect(version, CLEAN | WILL | qos << 3, payload);
            if qos < 3 {
                expect_accepted(version, &bytes);
            } else {
                expect_refused(version, &bytes, Reason::MalformedPacket);
            }
        }
    }
}

#[test]
fn with_the_will_flag_topic_and_payload_must_be_there() {
    for version in VERSIONS {
        let flags = CLEAN | WILL;
        let id = field(b"c");
        let will = will_fields(version, b"t", b"x");
        expect_accepted(version, &connect(version, flags, &[&id, &will]));
        for cut in 0..will.len() {
            let bytes = connect(version, flags, &[&id, &will[..cut]]);
            expect_refused(version, &bytes, Reason::MalformedPacket);
        }
        if version.is_v5() {
            // Its properties are a field too: here the topic stands where their length is due.
            let bytes = connect(version, flags, &[&id, &field(b"t"), &field(b"x")]);
            expect_refused(version, &bytes, Reason::MalformedPacket);
        }
    }
}

#[test]
fn a_will_topic_has_no_wildcards_and_is_not_empty() {
    for version in VERSIONS {
        for topic in [&b"#"[..], b"a/+", b"+/b", b"a#", b""] {
            let payload: &[&[u8]] = &[&field(b"c"), &will_fields(version, topic, b"x")];
            expect_refused(version, &connect(version, CLEAN | WILL, payload), Reason::TopicNameInvalid);
        }
    }
}

#[test]
fn user_name_and_password_are_there_exactly_if_their_flags_say_so() {
    for version in STRICT {
        for flags in [0, USER_NAME, PASSWORD, USER_NAME | PASSWORD] {
            for fields in 0..=3 {
                let mut payload = field(b"c");
                (0..fields).for_each(|_| payload.extend(field(b"x")));
                let bytes = connect(version, CLEAN | flags, &[&payload]);
                let is_alone = flags == PASSWORD && !version.is_v5();
                if fields == flags.count_ones() && !is_alone {
                    expect_accepted(version, &bytes);
                } else {
                    expect_refused(version, &bytes, Reason::MalformedPacket);
                }
            }
        }
    }
}

#[test]
fn a_password_may_stand_without_a_user_name_only_in_5_0() {
    for version in VERSIONS {
        let bytes = connect(version, CLEAN | PASSWORD, &[&field(b"c"), &field(b"\xFFsecret")]);
        if version.is_v5() {
            expect_accepted(version, &bytes);
        } else {
            expect_refused(version, &bytes, Reason::MalformedPacket);
        }
    }
}

#[test]
fn the_payload_is_client_id_will_topic_will_payload_user_name_password() {
    for version in VERSIONS {
        let (user_name, password) = (field(b"user"), field(b"\xFF\xFE"));
        let flags = CLEAN | WILL | USER_NAME | PASSWORD;
        let (id, will) = (field(b"client"), will_fields(version, b"topic", b"payload"));
        let (broker, client) =
            expect_accepted(version, &connect(version, flags, &[&id, &will, &user_name, &password]));
        let watcher = broker.client(version, "watcher");
        watcher.subscribe("#", Qos::AtMostOnce);
        // The first field is the client id: another connection of that id takes over.
        broker.client(version, "client");
        client.expect_disconnect(Reason::SessionTakenOver);
        let will = watcher.receive_publish();
        assert_eq!((&*will.topic, &*will.payload), ("topic", &b"payload"[..]));
        // The user name is text, the password behind it is not.
        let will = will_fields(version, b"topic", b"payload");
        let bytes = connect(version, flags, &[&id, &will, &password, &user_name]);
        expect_refused(version, &bytes, Reason::MalformedPacket);
        // What is no text cannot be the will's topic, but its payload.
        let payload: &[&[u8]] = &[&id, &will_fields(version, b"\xFF", b"topic")];
        expect_refused(version, &connect(version, CLEAN | WILL, payload), Reason::MalformedPacket);
        expect_accepted(
            version,
            &connect(version, CLEAN | WILL, &[&id, &will_fields(version, b"t", b"\xFF")]),
        );
    }
}

#[test]
fn client_id_will_topic_and_user_name_are_utf_8() {
    let bad: [&[u8]; 6] = [b"\xFF", b"a\x80", b"\xC0\x80", b"\xED\xA0\x80", b"\xE2\x82", b"a\0b"];
    for version in VERSIONS {
        for bad in bad {
            let good = field(b"c");
            let bytes = connect(version, CLEAN, &[&field(bad)]);
            expect_refused(version, &bytes, Reason::MalformedPacket);
            let bytes = connect(version, CLEAN | WILL, &[&good, &will_fields(version, bad, b"x")]);
            expect_refused(version, &bytes, Reason::MalformedPacket);
            let bytes = connect(version, CLEAN | USER_NAME, &[&good, &field(bad)]);
            expect_refused(version, &bytes, Reason::MalformedPacket);
        }
        let text = "\u{FEFF}ü€😀".as_bytes();
        let payload: &[&[u8]] = &[&field(text), &will_fields(version, text, text), &field(text)];
        expect_accepted(version, &connect(version, CLEAN | WILL | USER_NAME, payload));
    }
}

#[test]
fn the_client_id_is_always_there() {
    for version in VERSIONS {
        expect_refused(version, &connect(version, CLEAN, &[]), Reason::MalformedPacket);
    }
}

#[test]
fn a_connect_that_ends_too_early_or_too_late_is_refused() {
    for version in STRICT {
        let payload: &[&[u8]] =
            &[&field(b"c"), &will_fields(version, b"t", b"x"), &field(b"user"), &field(b"secret")];
        let flags = CLEAN | WILL | USER_NAME | PASSWORD;
        let body = body(version, flags, payload);
        expect_accepted(version, &packet(0x10, &body));
        // Where name and level are cut off too, nobody knows a version to answer in.
        for cut in 7..body.len() {
            expect_refused(version, &packet(0x10, &body[..cut]), Reason::MalformedPacket);
        }
        for cut in 0..7 {
            let client = Broker::new().open(version);
            client.send_bytes(&packet(0x10, &body[..cut]));
            client.expect_closed();
        }
        let longer = [&body[..], &[0]].concat();
        expect_refused(version, &packet(0x10, &longer), Reason::MalformedPacket);
    }
}

#[test]
fn a_connect_in_pieces_waits_for_the_last_byte() {
    for version in VERSIONS {
        let client = Broker::new().open(version);
        let bytes = connect(version, CLEAN, &[&field(b"c")]);
        for byte in &bytes[..bytes.len() - 1] {
            client.send_bytes(&[*byte]);
            client.expect_nothing();
        }
        client.send_bytes(&bytes[bytes.len() - 1..]);
        assert_eq!(client.receive().reason(), Reason::Success);
    }
}

#[test]
fn another_protocol_name_is_not_served() {
    for name in [&b""[..], b"M", b"mqtt", b"MQTTT", b"MQIsdpp", b"HTTP", b"\xFF\xFF\xFF\xFF"] {
        for level in [3, 4, 5] {
            let body = [&field(name)[..], &[level, CLEAN, 0, 0], &field(b"c")].concat();
            let broker = Broker::new();
            let client = broker.open(Version::V3_1_1);
            client.send_bytes(&packet(0x10, &body));
            let answers = client.receive_all();
            assert!(answers.iter().all(|answer| answer.bytes() == [0x20, 2, 0, 1]), "{answers:?}");
            assert!(client.end().is_some());
            assert_eq!(broker.sessions(), 0);
        }
    }
}

#[test]
fn another_protocol_level_gets_return_code_1_in_the_form_that_everybody_reads() {
    let levels = |name: &[u8]| -> Vec<u8> {
        let known: &[u8] = if name == b"MQTT" { &[4, 5, 0x84] } else { &[3, 0x83] };
        (0..=255).filter(|level| !known.contains(level)).collect()
    };
    for name in [&b"MQTT"[..], b"MQIsdp"] {
        for level in levels(name) {
            // Whatever follows, also if it would be malformed in the versions we know.
            let rests: [&[u8]; 2] = [&[CLEAN, 0, 0, 0, 1, b'c'], &[0xFF]];
            for rest in rests {
                let broker = Broker::new();
                let client = broker.open(Version::V3_1_1);
                client.send_bytes(&packet(0x10, &[&field(name), &[level][..], rest].concat()));
                assert_eq!(client.receive().bytes(), [0x20, 2, 0, 1], "level {level}");
                client.expect_closed();
                assert_eq!(broker.sessions(), 0);
            }
        }
    }
}

#[test]
fn the_first_packet_must_be_connect() {
    for first in (0..=255).filter(|first| first >> 4 != 1) {
        let bodies: [&[u8]; 4] = [&[], &[0, 1], &[0, 1, b'a'], &[0, 1, 0, 1, b'a', 0]];
        for body in bodies {
            let broker = Broker::new();
            let client = broker.open(Version::V5);
            client.send_bytes(&packet(first, body));
            client.expect_closed();
            // Too late.
            client.send_bytes(&connect(Version::V5, CLEAN, &[&field(b"c")]));
            client.expect_closed();
            assert_eq!(broker.sessions(), 0);
        }
    }
}

#[test]
fn nothing_behind_a_refused_connect_is_processed() {
    for version in VERSIONS {
        let empty_id = connect(version, 0, &[&field(b"")]);
        let malformed = connect(version, CLEAN, &[&field(b"\xFF")]);
        let mut method = field(b"MQTT");
        // Authentication Method "m", and none is known here.
        method.extend([5, CLEAN, 0, 0, 4, 0x15, 0, 1, b'm', 0, 1, b'c']);
        let method = packet(0x10, &method);
        let first = packet(0x30, b"\0\x01t");
        let refused = match version {
            Version::V5 => vec![malformed, method, first],
            _ => vec![malformed, empty_id, first],
        };
        for refused in refused {
            let broker = Broker::new();
            let watcher = broker.client(version, "watcher");
            watcher.subscribe("#", Qos::AtMostOnce);
            let client = broker.open(version);
            let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
            let publish = packet(0x31, &[b"\0\x01t", properties, b"x"].concat());
            let ping = [0xC0, 0];
            let good = connect(version, CLEAN, &[&field(b"c")]);
            client.send_bytes(&[&refused[..], &publish, &ping, &good].concat());
            client.send_bytes(&publish);
            let answers = client.receive_all();
            assert!(answers.len() <= 1, "{answers:?}");
            assert!(answers.iter().all(|answer| answer.reason().is_error()));
            assert!(client.end().is_some());
            watcher.expect_nothing();
            watcher.subscribe("t", Qos::AtMostOnce);
            watcher.expect_nothing();
            assert_eq!(broker.sessions(), 1);
        }
    }
}

#[test]
fn a_client_may_send_right_behind_connect() {
    for version in VERSIONS {
        // On the second round the session is on the other worker, to which all of it must go.
        let broker = Broker::with(2, siskin_core::Limits { sys_interval_s: 0, ..Default::default() });
        for _ in 0..2 {
            let client = broker.open(version);
            let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
            let expiry: &[u8] = if version.is_v5() { &[5, 0x11, 0, 0, 0, 60] } else { &[] };
            let mut body = field(version.protocol_name().as_bytes());
            body.extend([version as u8, 0, 0, 0]);
            body.extend([expiry, &field(b"c")].concat());
            let subscribe = packet(0x82, &[b"\0\x01", properties, b"\0\x01t\0"].concat());
            let publish = packet(0x32, &[&b"\0\x01t\0\x07"[..], properties, b"x"].concat());
            let all = [packet(0x10, &body), subscribe, publish, vec![0xC0, 0]].concat();
            client.send_bytes(&all);
            let kinds =
                client.receive_all().iter().map(|packet| packet.bytes()[0] & 0xF0).collect::<Vec<u8>>();
            // Nothing before the CONNACK; what must be safe first may come behind what need not.
            assert_eq!(kinds, [0x20, 0x30, 0xD0, 0x90, 0x40], "{version}");
            client.expect_nothing();
            client.cut();
        }
        assert_eq!(broker.sessions(), 1);
    }
}

#[test]
fn a_connect_property_out_of_place_or_range_is_refused_with_its_code() {
    let cases: [(&[u8], Reason); 15] = [
        (&[0x21, 0, 0], Reason::ProtocolError),             // Receive Maximum 0
        (&[0x27, 0, 0, 0, 0], Reason::ProtocolError),       // Maximum Packet Size 0
        (&[0x17, 2], Reason::ProtocolError),                // Request Problem Information 2
        (&[0x19, 2], Reason::ProtocolError),                // Request Response Information 2
        (&[0x16, 0, 1, b'd'], Reason::ProtocolError),       // Authentication Data alone
        (&[0x21, 0, 1, 0x21, 0, 1], Reason::ProtocolError), // twice
        (&[0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1], Reason::ProtocolError),
        (&[0x22, 0, 1, 0x22, 0, 1], Reason::ProtocolError),
        (&[0x17, 1, 0x17, 1], Reason::ProtocolError),
        (&[0x01, 0], Reason::MalformedPacket), // of another packet
        (&[0x18, 0, 0, 0, 1], Reason::MalformedPacket),
        (&[0x13, 0, 1], Reason::MalformedPacket),
        (&[0x7E], Reason::MalformedPacket),          // of none
        (&[0x11, 0, 0, 0], Reason::MalformedPacket), // cut short
        (&[0x26, 0, 1, b'a', 0, 1, 0xFF], Reason::MalformedPacket), // no text
    ];
    let with = |properties: &[u8]| {
        let head = [&field(b"MQTT")[..], &[5, CLEAN, 0, 0, properties.len() as u8]].concat();
        packet(0x10, &[&head[..], properties, &field(b"c")].concat())
    };
    for (properties, reason) in cases {
        expect_refused(Version::V5, &with(properties), reason);
    }
    let all = buffer(&[
        Property::SessionExpiryInterval(1),
        Property::ReceiveMaximum(1),
        Property::MaximumPacketSize(100),
        Property::TopicAliasMaximum(0),
        Property::RequestProblemInformation(false),
        Property::RequestResponseInformation(true),
        Property::UserProperty(("a", "1")),
        Property::UserProperty(("a", "1")),
    ]);
    expect_accepted(Version::V5, &with(all.as_properties().raw()));
}
