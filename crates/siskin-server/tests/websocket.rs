//! MQTT over WebSocket, through real sockets.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::io::{Read, Write};

use siskin_proto::{FrameStatus, Packet, PingReq, Properties, PubAck, Qos, Reason, TopicName, Version, Will};
use siskin_server::Server;
use siskin_server::config::Protocol;
use support::pki::{Authority, Folder, tls_listener};
use support::web::{MQTT, Web, ask, frame, upgrade, web_listener};
use support::{Client, broker, connect_packet, dial, publish_packet};

fn web_broker() -> Server {
    broker(|config| config.listeners = vec![web_listener()])
}

fn web(server: &Server) -> Web<std::net::TcpStream> {
    Web::open(dial(server.addresses()[0]))
}

/// [MQTT-6.0.0-4]
#[test]
fn the_sub_protocol_that_the_server_names_is_mqtt() {
    let server = web_broker();
    let answer = ask(&mut dial(server.addresses()[0]), &upgrade("/mqtt", MQTT)).to_lowercase();
    assert!(answer.starts_with("http/1.1 101 ") && answer.contains("sec-websocket-protocol: mqtt\r\n"));
    let both = "Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n";
    let answer = ask(&mut dial(server.addresses()[0]), &upgrade("/", both)).to_lowercase();
    assert!(answer.contains("sec-websocket-protocol: mqtt\r\n"), "{answer}");
    server.stop();
}

/// [MQTT-6.0.0-3]
#[test]
fn a_client_that_does_not_offer_mqtt_is_refused() {
    let server = web_broker();
    for offered in ["", "Sec-WebSocket-Protocol: chat\r\n"] {
        let mut stream = dial(server.addresses()[0]);
        let answer = ask(&mut stream, &upgrade("/mqtt", offered));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let mut body = String::new();
        stream.read_to_string(&mut body).unwrap();
        assert!(body.contains("sub-protocol `mqtt`"), "{body}");
    }
    server.stop();
}

#[test]
fn a_browser_s_request_is_answered_and_closed() {
    let server = web_broker();
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "426"),
        ("GET /elsewhere HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        ("POST / HTTP/1.1\r\nHost: x\r\n\r\n", "405"),
        ("\u{10}\u{c}\0\u{4}MQTT", "400"),
    ] {
        let mut stream = dial(server.addresses()[0]);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
    }
    Client::connect_over(web(&server), "client").ping();
    server.stop();
}

#[test]
fn a_request_longer_than_8_kib_is_refused() {
    let server = web_broker();
    let mut stream = dial(server.addresses()[0]);
    stream.write_all(format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(8192)).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    server.stop();
}

#[test]
fn an_origin_that_is_not_allowed_is_refused() {
    let server = broker(|config| {
        let mut listener = web_listener();
        if let Protocol::WebSocket(options) = &mut listener.protocol {
            options.origins = vec!["https://app.example".to_owned()];
        }
        config.listeners = vec![listener];
    });
    for (origin, status) in [("https://app.example", "101"), ("https://evil.example", "403")] {
        let headers = format!("{MQTT}Origin: {origin}\r\n");
        let answer = ask(&mut dial(server.addresses()[0]), &upgrade("/", &headers));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    server.stop();
}

#[test]
fn messages_of_every_size_arrive_whole_in_every_version() {
    let server = broker(|config| {
        config.limits.out_buffer_bytes_max = 1 << 30;
        config.listeners = vec![web_listener()];
    });
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let mut reader = Client::over(web(&server)).connected(&connect_packet("reader", version));
        reader.subscribe("a", Qos::AtLeastOnce);
        let mut writer = Client::connect_over(web(&server), "writer");
        for size in [0, 1, 100, 125, 126, 4095, 4097, 65_530, 65_536, 200_000, 1 << 20] {
            let payload: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
            writer.publish("a", &payload, Qos::AtMostOnce);
            writer.publish("a", b"after it", Qos::AtMostOnce);
            reader.expect_payload(&payload);
            reader.expect_payload(b"after it");
        }
    }
    server.stop();
}

/// [MQTT-6.0.0-2]
#[test]
fn packets_and_frames_need_not_line_up() {
    let server = web_broker();
    let connect = encoded(&Packet::Connect(connect_packet("client", Version::V5)));
    let ping = encoded(&Packet::PingReq(PingReq));
    let publish = encoded(&Packet::Publish(publish_packet("a", &[7; 300], Qos::AtLeastOnce)));
    let packets = [&connect[..], &ping, &publish, &ping].concat();

    // One packet in many frames, of one message and of many, with a ping in between.
    let mut split = Vec::new();
    for (at, byte) in packets.iter().enumerate() {
        let first = match at % 3 {
            0 => 0x02,
            1 => 0x00,
            _ => 0x80,
        };
        split.extend(frame(first, &[*byte]));
        if at % 100 == 0 {
            split.extend(frame(0x89, b"there?"));
        }
    }
    split.extend(frame(0x80, b""));
    // Many packets in one frame.
    let whole = frame(0x82, &packets);
    for (stream, chunk) in [(&split, 1), (&split, 1 << 20), (&whole, 1), (&whole, 1 << 20)] {
        let mut web = web(&server);
        for bytes in stream.chunks(chunk) {
            web.stream.write_all(bytes).unwrap();
        }
        let mut answers = Vec::new();
        while kinds(&answers) != [0x20, 0xd0, 0x40, 0xd0] {
            let (first, payload) = web.next();
            match first {
                0x82 => answers.extend(payload),
                _ => assert_eq!((first, &payload[..]), (0x8a, &b"there?"[..])),
            }
        }
    }
    server.stop();
}

/// [MQTT-6.0.0-1]
#[test]
fn a_text_frame_closes_the_connection() {
    let server = web_broker();
    let mut stranger = web(&server);
    stranger.send(0x81, b"hello");
    stranger.expect_close(1003);
    let mut client = Client::connect_over(web(&server), "client");
    client.stream.send(0x01, b"hello");
    client.stream.expect_close(1003);
    server.stop();
}

#[test]
fn a_frame_that_announces_too_much_is_refused_by_its_header() {
    let server = broker(|config| {
        config.limits.packet_size_max = 1000;
        config.listeners = vec![web_listener()];
    });
    let mut client = Client::connect_over(web(&server), "client");
    let huge = [0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4];
    client.stream.stream.write_all(&huge).unwrap();
    client.stream.expect_close(1009);
    let mut client = Client::connect_over(web(&server), "client");
    // The packet within is judged as on any other transport.
    client.stream.send(0x82, &[&[0x30, 0xd0, 0x0f][..], &[0; 2000]].concat());
    client.expect("DISCONNECT", |packet| {
        matches!(packet, Packet::Disconnect(disconnect) if disconnect.reason == Reason::PacketTooLarge)
    });
    server.stop();
}

#[test]
fn a_ping_is_answered_before_and_after_the_connect() {
    let server = web_broker();
    let mut web = web(&server);
    web.send(0x89, b"one");
    assert_eq!(web.next(), (0x8a, b"one".to_vec()));
    let mut client = Client::connect_over(web, "client");
    client.stream.send(0x89, b"two");
    assert_eq!(client.stream.next(), (0x8a, b"two".to_vec()));
    client.ping();
    server.stop();
}

#[test]
fn pings_that_nobody_waits_for_cost_no_memory() {
    let server = web_broker();
    let mut client = Client::connect_over(web(&server), "client");
    let pings = frame(0x89, &[7; 125]).repeat(100_000);
    let mut reading = client.stream.stream.try_clone().unwrap();
    let mut writing = client.stream.stream.try_clone().unwrap();
    let thread = std::thread::spawn(move || writing.write_all(&pings));
    thread.join().unwrap().unwrap();
    client.stream.send(0x88, &1000_u16.to_be_bytes());
    let mut answers = Vec::new();
    reading.read_to_end(&mut answers).unwrap();
    // As many pongs as there were turns, not as there were pings; the last of all is the close.
    assert!(answers.len() < 1_000_000 && answers.ends_with(&[0x88, 2, 0x03, 0xe8]), "{}", answers.len());
    server.stop();
}

#[test]
fn a_close_is_answered_and_the_will_published() {
    let server = web_broker();
    let mut reader = Client::connect_over(web(&server), "reader");
    reader.subscribe("will", Qos::AtMostOnce);
    let mut connect = connect_packet("mortal", Version::V3_1_1);
    connect.will = Some(Will {
        topic: TopicName::parse("will").unwrap(),
        payload: b"gone",
        qos: Qos::AtMostOnce,
        retain: false,
        properties: Properties::EMPTY,
    });
    let mut mortal = Client::over(web(&server)).connected(&connect);
    mortal.stream.send(0x88, b"\x0f\xa0bye");
    mortal.stream.expect_close(4000);
    reader.expect_payload(b"gone");
    server.stop();
}

#[test]
fn the_server_s_end_comes_with_a_close_frame() {
    let server = web_broker();
    let mut client = Client::connect_over(web(&server), "client");
    let stopping = std::thread::spawn(|| server.stop());
    client.expect("DISCONNECT", |packet| matches!(packet, Packet::Disconnect(_)));
    client.stream.expect_close(1000);
    stopping.join().unwrap();
}

#[test]
fn clients_of_any_transport_meet_in_the_same_broker() {
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let certificate = folder.put_issued("server", &authority.issue(&["localhost"]));
    let server = broker(|config| {
        config.workers = 2;
        let mut secure = tls_listener(vec![certificate]);
        secure.protocol = web_listener().protocol;
        config.listeners.extend([web_listener(), secure]);
    });
    let mut plain = Client::connect(&server, "plain");
    let mut web = Client::connect_over(Web::open(dial(server.addresses()[1])), "web");
    let secure = Web::open(authority.dial(server.addresses()[2], None));
    let mut secure = Client::connect_over(secure, "secure");
    plain.subscribe("a", Qos::AtMostOnce);
    web.subscribe("a", Qos::AtMostOnce);
    secure.subscribe("a", Qos::AtMostOnce);
    for size in [5, 100_000] {
        let payload = vec![b'x'; size];
        plain.publish("a", &payload, Qos::AtMostOnce);
        web.publish("a", &payload, Qos::AtMostOnce);
        secure.publish("a", &payload, Qos::AtMostOnce);
        for _ in 0..3 {
            plain.expect_payload(&payload);
            web.expect_payload(&payload);
            secure.expect_payload(&payload);
        }
    }
    server.stop();
}

#[test]
fn a_session_is_taken_over_from_one_worker_s_socket_by_another_s() {
    let server = broker(|config| {
        config.workers = 2;
        config.listeners = vec![web_listener()];
    });
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(Client::connect_over(web(&server), "same"));
        clients.last_mut().unwrap().ping();
    }
    server.stop();
}

#[test]
fn a_reader_that_does_not_read_gets_whole_frames_when_it_does() {
    let server = broker(|config| {
        config.limits.out_buffer_bytes_max = 1 << 20;
        config.listeners = vec![web_listener()];
    });
    let mut stuck = Client::connect_over(web(&server), "stuck");
    stuck.subscribe("a", Qos::AtLeastOnce);
    let mut writer = Client::connect_over(web(&server), "writer");
    let payload = [7; 50_000];
    // More than the kernel and the out-buffer hold; at QoS 1, so that nothing of it is dropped.
    for _ in 0..400 {
        writer.publish("a", &payload, Qos::AtLeastOnce);
        writer.expect("PUBACK", |packet| matches!(packet, Packet::PubAck(_)));
    }
    for _ in 0..400 {
        let id = stuck.next(|packet| match packet {
            Packet::Publish(publish) => {
                assert!(publish.payload == payload);
                publish.packet_id.unwrap()
            }
            other => panic!("expected PUBLISH, got {other:?}"),
        });
        stuck.send(&Packet::PubAck(PubAck {
            packet_id: id,
            reason: Reason::Success,
            properties: Properties::EMPTY,
        }));
    }
    server.stop();
}

/// The first byte of each packet in `bytes`.
fn kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let Ok(FrameStatus::Complete(whole)) = siskin_proto::frame(bytes, u32::MAX) {
        kinds.push(whole.first);
        bytes = &bytes[whole.len..];
    }
    kinds
}

fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(Version::V5, &mut bytes);
    bytes
}
