//! Enhanced authentication at a broker that knows no method: it says so, and never begins one.

use siskin_proto::{Auth, Packet, Property, Qos, Reason, Version};
use siskin_testkit::*;

const METHOD: Property<'static> = Property::AuthenticationMethod("SCRAM-SHA-1");

#[test]
fn an_authentication_method_is_refused_with_connack_0x8c() {
    let with_data = [METHOD, Property::AuthenticationData(b"client-first")];
    for properties in [&with_data[..1], &with_data, &[Property::AuthenticationMethod("")]] {
        let broker = Broker::new();
        let mut client = broker.open(Version::V5);
        let connack = client.connect("c", |_| {}, properties);
        // The one and only packet: no AUTH before it, and no success without the method's name.
        assert!(matches!(connack.packet(), Packet::ConnAck(_)), "{connack:?}");
        assert_eq!(connack.reason(), Reason::BadAuthenticationMethod);
        client.expect_closed();
        assert_eq!(broker.sessions(), 0);
    }
}

#[test]
fn a_refused_authentication_leaves_the_session_and_its_connection_alone() {
    let broker = Broker::new();
    let (present, _) = broker.persistent(Version::V5, "c");
    let mut client = broker.open(Version::V5);
    client.connect("c", |_| {}, &[METHOD]);
    present.expect_nothing();
    present.cut();
    assert!(broker.persistent(Version::V5, "c").1, "its clean start was not carried out");
}

#[test]
fn behind_a_connect_with_a_method_nothing_is_processed() {
    let broker = Broker::new();
    let watcher = broker.client(Version::V5, "watcher");
    watcher.subscribe("#", Qos::AtMostOnce);
    let client = broker.open(Version::V5);
    let connect = b"\x10\x12\0\x04MQTT\x05\x02\0\0\x04\x15\0\x01m\0\x01c";
    client.send_bytes(&[&connect[..], b"\x30\x05\0\x01t\0x", b"\xC0\0", b"\xF0\0"].concat());
    assert_eq!(client.receive().reason(), Reason::BadAuthenticationMethod);
    client.expect_closed();
    watcher.expect_nothing();
}

#[test]
fn without_a_method_there_is_no_auth_and_none_in_connack() {
    let broker = Broker::new();
    let mut client = broker.open(Version::V5);
    let connack = client.connect("c", |connect| connect.user_name = Some("user"), &[]);
    let Packet::ConnAck(answer) = connack.packet() else { panic!("{connack:?}") };
    assert_eq!(answer.properties.authentication_method(), None);
    assert_eq!(answer.properties.authentication_data(), None);
    client.expect_nothing();
}

#[test]
fn auth_without_a_method_in_connect_is_a_protocol_error_and_the_will_goes_out() {
    for reason in [Reason::Success, Reason::ContinueAuthentication, Reason::ReAuthenticate] {
        for properties in [&[METHOD][..], &[METHOD, Property::AuthenticationData(b"x")]] {
            let broker = Broker::new();
            let watcher = broker.client(Version::V5, "watcher");
            watcher.subscribe("will", Qos::AtMostOnce);
            let with_will = |connect: &mut siskin_proto::Connect<'_>| {
                connect.will = Some(will("will", b"x", Qos::AtMostOnce));
            };
            let client = broker.client_with(Version::V5, "c", with_will, &[]);
            let properties = buffer(properties);
            client.send(&Packet::Auth(Auth { reason, properties: properties.as_properties() }));
            client.expect_disconnect(Reason::ProtocolError);
            assert_eq!(watcher.receive_publishes().len(), 1);
        }
    }
}

#[test]
fn auth_is_also_the_wrong_first_packet() {
    let client = Broker::new().open(Version::V5);
    client.send_bytes(b"\xF0\0");
    client.expect_closed();
}

#[test]
fn auth_with_header_flags_is_malformed() {
    for flags in 0..16 {
        let client = Broker::new().client(Version::V5, "c");
        client.send_bytes(&[0xF0 | flags, 0]);
        let expected = if flags == 0 { Reason::ProtocolError } else { Reason::MalformedPacket };
        client.expect_disconnect(expected);
    }
}

#[test]
fn auth_of_another_reason_code_closes_too() {
    for code in (1..=255).filter(|code| ![0x18, 0x19].contains(code)) {
        let client = Broker::new().client(Version::V5, "c");
        client.send_bytes(&[0xF0, 6, code, 4, 0x15, 0, 1, b'm']);
        client.expect_disconnect(Reason::ProtocolError);
    }
}

#[test]
fn before_5_0_packet_type_15_closes() {
    for version in [Version::V3_1, Version::V3_1_1] {
        for bytes in [&b"\xF0\0"[..], b"\xF0\x06\0\x04\x15\0\x01m", b"\xFF\0"] {
            let client = Broker::new().client(version, "c");
            client.send_bytes(bytes);
            client.expect_closed();
        }
    }
}
