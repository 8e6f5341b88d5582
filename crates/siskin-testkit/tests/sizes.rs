//! Maximum Packet Size, to the byte and in both directions, and what is left out to keep within it.

use siskin_proto::{Packet, PacketKind, Properties, Property, Publish, Qos, Reason, Version};
use siskin_testkit::*;

const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// A 5.0 client that takes packets of up to `maximum` bytes.
fn small(broker: &Broker, maximum: u32, more: &[Property<'_>]) -> Client {
    let mut properties = vec![Property::MaximumPacketSize(maximum)];
    properties.extend(more);
    broker.client_with(Version::V5, "small", |_| {}, &properties)
}

/// The length of the PUBLISH of `payload` on topic `t` that a client without limits gets.
fn published_len(qos: Qos, payload: &[u8]) -> usize {
    let broker = Broker::new();
    let client = broker.client(Version::V5, "c");
    client.subscribe("t", qos);
    broker.client(Version::V5, "p").publish("t", payload, qos);
    client.receive().bytes().len()
}

#[test]
fn a_message_of_the_maximum_packet_size_comes_and_one_byte_more_does_not() {
    for qos in QOS {
        // Lengths around those where the remaining length takes another byte, and one that is not copied.
        for payload_len in [30, 118, 119, 120, 121, 122, 123, 124, 16_374, 16_375, 16_376, 16_377, 16_378] {
            let payload = vec![b'x'; payload_len];
            let len = published_len(qos, &payload) as u32;
            for (maximum, fits) in [(len, true), (len - 1, false)] {
                let broker = Broker::new();
                let client = small(&broker, maximum, &[]);
                client.subscribe("t", qos);
                let publisher = broker.client(Version::V5, "p");
                assert_eq!(publisher.publish("t", &payload, qos), Reason::Success);
                match client.try_receive() {
                    Some(received) => {
                        assert!(fits, "{payload_len} bytes came");
                        assert_eq!(received.bytes().len(), maximum as usize);
                        assert_eq!(received.publish().payload, payload);
                    }
                    None => assert!(!fits, "{payload_len} bytes did not come"),
                }
                assert_eq!(broker.totals().dropped_too_large, u64::from(!fits));
                client.expect_nothing();
            }
        }
    }
}

#[test]
fn what_the_broker_adds_to_a_message_counts() {
    let payload = [b'x'; 50];
    let options = siskin_proto::SubscriptionOptions::default();
    let identifier = [Property::SubscriptionIdentifier(300)];
    let expiry = [Property::MessageExpiryInterval(9)];
    let send = |broker: &Broker, client: &Client| {
        client.subscribe_with("t", options, &identifier);
        let publisher = broker.client(Version::V5, "p");
        publisher.publish_with("t", &payload, Qos::AtMostOnce, false, &expiry);
        client.try_receive()
    };
    let broker = Broker::new();
    let len = send(&broker, &broker.client(Version::V5, "c")).unwrap().bytes().len() as u32;
    assert_eq!(len, 2 + 3 + 1 + 5 + 3 + 50);
    for (maximum, fits) in [(len, true), (len - 1, false)] {
        let broker = Broker::new();
        assert_eq!(send(&broker, &small(&broker, maximum, &[])).is_some(), fits);
    }
}

#[test]
fn an_alias_never_makes_a_message_too_large() {
    let payload = [b'x'; 50];
    let len = published_len(Qos::AtMostOnce, &payload) as u32;
    for (maximum, fits) in [(len + 3, true), (len + 2, true), (len, true), (len - 1, false)] {
        let broker = Broker::new();
        let client = small(&broker, maximum, &[Property::TopicAliasMaximum(5)]);
        client.subscribe("t", Qos::AtMostOnce);
        let publisher = broker.client(Version::V5, "p");
        for _ in 0..2 {
            publisher.publish("t", &payload, Qos::AtMostOnce);
        }
        let came = client.receive_all();
        assert!(came.iter().all(|received| received.bytes().len() <= maximum as usize));
        assert_eq!(came.len(), if fits { 2 } else { 0 });
    }
}

#[test]
fn a_message_that_is_too_large_counts_as_delivered_and_holds_nothing() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        for is_present in [true, false] {
            let broker = Broker::new();
            let lasting = [Property::SessionExpiryInterval(u32::MAX)];
            let narrow = [lasting[0], Property::MaximumPacketSize(100), Property::ReceiveMaximum(1)];
            let come = |properties: &[Property<'_>]| {
                broker.client_with(Version::V5, "s", |connect| connect.clean_start = false, properties)
            };
            let mut client = come(&narrow);
            client.subscribe("t", qos);
            if !is_present {
                client.cut();
            }
            let publisher = broker.client(Version::V5, "p");
            for payload in [&[1; 10][..], &[2; 200], &[3; 10], &[4; 200], &[5; 200], &[6; 10]] {
                assert_eq!(publisher.publish("t", payload, qos), Reason::Success);
            }
            if !is_present {
                client = come(&narrow);
            }
            let mut ids = Vec::new();
            for n in [1, 3, 6] {
                let delivered = client.receive_publish();
                assert_eq!(delivered.payload, [n; 10]);
                client.expect_nothing();
                client.acknowledge(&delivered);
                ids.push(delivered.packet_id.unwrap().get());
            }
            assert_eq!(ids, [1, 2, 3], "an id was spent on what was not sent");
            assert_eq!(broker.totals().dropped_too_large, 3);
            assert_eq!(broker.totals().stored_messages, 0);
            // A connection that takes more does not get them later.
            client.cut();
            come(&lasting).expect_nothing();
        }
    }
}

#[test]
fn other_subscribers_get_what_is_too_large_for_one() {
    let broker = Broker::new();
    let client = small(&broker, 100, &[]);
    let clients: Vec<_> = [Version::V3_1, Version::V3_1_1, Version::V5]
        .map(|version| broker.client(version, &format!("c{version:?}")))
        .into();
    client.subscribe("t", Qos::AtLeastOnce);
    clients.iter().for_each(|client| _ = client.subscribe("t", Qos::AtLeastOnce));
    broker.client(Version::V5, "p").publish("t", &[0; 5000], Qos::AtLeastOnce);
    client.expect_nothing();
    assert!(clients.iter().all(|client| client.receive_publish().payload == [0; 5000]));
}

#[test]
fn a_packet_of_the_brokers_maximum_is_taken_and_one_byte_more_ends_the_connection() {
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        for qos in QOS {
            let broker = Broker::limited(|limits| limits.packet_size_max = 300);
            let listener = broker.client(Version::V5, "listener");
            listener.subscribe("#", Qos::AtMostOnce);
            let client =
                broker.client_with(version, "c", |c| c.will = Some(will("w", b"", Qos::AtMostOnce)), &[]);
            let head = publish("t", b"", qos, 1).encoded_len(version, 0);
            // The remaining length takes two bytes.
            let payload = vec![b'x'; 300 - head - 1];
            client.send_publish(publish("t", &payload, qos, 1));
            assert_eq!(listener.receive_publish().payload, payload);
            client.receive_all();
            client.expect_nothing();
            client.send_publish(publish("t", &[&payload[..], b"x"].concat(), qos, 2));
            client.expect_disconnect(Reason::PacketTooLarge);
            // The connection ended as by a fault.
            assert_eq!(listener.receive_publish().topic, "w");
            listener.expect_nothing();
        }
    }
}

#[test]
fn a_client_of_5_is_told_the_brokers_maximum_packet_size() {
    let broker = Broker::limited(|limits| limits.packet_size_max = 300);
    let connack = broker.open(Version::V5).connect("c", |_| {}, &[]);
    let Packet::ConnAck(connack) = connack.packet() else { panic!() };
    assert_eq!(connack.properties.maximum_packet_size(), Some(300));
}

/// The answer to a refused PUBLISH, with the reason string if it has one.
fn refusal(client: &Client, qos: Qos) -> (PacketKind, Reason, Option<String>, usize) {
    client.send_publish(publish("$SYS/mine", b"", qos, 7));
    let received = client.receive();
    let (reason, properties) = match received.packet() {
        Packet::PubAck(ack) => (ack.reason, ack.properties),
        Packet::PubRec(ack) => (ack.reason, ack.properties),
        other => panic!("{other:?}"),
    };
    assert!(properties.user_properties().next().is_none());
    let text = properties.reason_string().map(str::to_owned);
    (received.packet().kind(), reason, text, received.bytes().len())
}

const ANSWERS: [(Qos, PacketKind); 2] =
    [(Qos::AtLeastOnce, PacketKind::PubAck), (Qos::ExactlyOnce, PacketKind::PubRec)];

#[test]
fn a_reason_string_is_left_out_where_it_would_exceed_the_clients_maximum_packet_size() {
    for (qos, kind) in ANSWERS {
        let broker = Broker::new();
        let (came, reason, text, len) = refusal(&broker.client(Version::V5, "c"), qos);
        assert_eq!((came, reason), (kind, Reason::NotAuthorized));
        assert!(text.is_some() && len > 20);
        for (maximum, has_text) in [(len, true), (len - 1, false), (20, false)] {
            let client = small(&broker, maximum as u32, &[]);
            let (came, reason, text, len) = refusal(&client, qos);
            // The code comes in any case.
            assert_eq!((came, reason, text.is_some()), (kind, Reason::NotAuthorized, has_text));
            assert!(len <= maximum);
            client.disconnect();
        }
    }
}

#[test]
fn a_reason_string_is_left_out_where_the_client_wants_no_problem_information() {
    for (qos, kind) in ANSWERS {
        for (wish, has_text) in [(Some(false), false), (Some(true), true), (None, true)] {
            let broker = Broker::new();
            let properties: Vec<_> = wish.map(Property::RequestProblemInformation).into_iter().collect();
            let client = broker.client_with(Version::V5, "c", |_| {}, &properties);
            let (came, reason, text, _) = refusal(&client, qos);
            assert_eq!((came, reason, text.is_some()), (kind, Reason::NotAuthorized, has_text));
            // User properties of a PUBLISH come all the same.
            client.subscribe("t", Qos::AtMostOnce);
            let publisher = broker.client(Version::V5, "p");
            let pair = [Property::UserProperty(("a", "b"))];
            publisher.publish_with("t", b"", Qos::AtMostOnce, false, &pair);
            assert_eq!(client.receive_publish().properties().user_properties().count(), 1);
        }
    }
}

#[test]
fn pubrel_and_pubcomp_carry_no_text_and_fit_the_smallest_client() {
    let broker = Broker::new();
    for client in [broker.client(Version::V5, "c"), small(&broker, 20, &[])] {
        client.pubrec(id(9));
        client.pubrel(id(8));
        let came = client.receive_all();
        let bytes: Vec<_> = came.iter().map(|received| received.bytes().to_vec()).collect();
        assert_eq!(bytes, [[0x62, 3, 0, 9, 0x92], [0x70, 3, 0, 8, 0x92]]);
        client.expect_nothing();
    }
}

#[test]
fn a_disconnect_leaves_its_text_out_if_it_is_too_large() {
    let broker = Broker::new();
    let bad = b"\x36\x06\0\x01t\0\x01\0";
    let client = broker.client(Version::V5, "c");
    client.send_bytes(bad);
    let with_text = client.receive().bytes().len();
    assert!(with_text > 20);
    for (maximum, expected) in [(with_text, with_text), (with_text - 1, 3)] {
        let client = small(&broker, maximum as u32, &[]);
        client.send_bytes(bad);
        let received = client.receive();
        assert_eq!(received.reason(), Reason::MalformedPacket);
        assert_eq!(received.bytes().len(), expected);
    }
}

#[test]
fn a_client_that_takes_only_small_packets_may_send_large_ones() {
    let broker = Broker::new();
    let listener = broker.client(Version::V5, "listener");
    listener.subscribe("t", Qos::AtMostOnce);
    let client = small(&broker, 20, &[]);
    let large = [0; 10_000];
    let properties = Properties::EMPTY;
    client.send_publish(Publish { properties, ..publish("t", &large, Qos::ExactlyOnce, 1) });
    client.expect_ack(PacketKind::PubRec, 1, Reason::Success);
    assert_eq!(listener.receive_publish().payload, large);
}
