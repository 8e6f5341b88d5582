//! The broker through real sockets: what the core, which knows none, cannot tell of itself.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use siskin_proto::{
    Disconnect, Packet, PingReq, Properties, PropertiesBuf, Property, Qos, Reason, TopicName, Version, Will,
};
use siskin_server::config::Durability;
use siskin_server::{Config, Server, StartError};
use support::{Client, PATIENCE, broker, connect_packet, publish_packet};

#[test]
fn two_clients_talk_at_every_qos_and_in_every_version() {
    let server = broker(|_| {});
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let mut reader = Client::connect_as(&server, &connect_packet("reader", version));
        let mut writer = Client::connect(&server, "writer");
        reader.subscribe("a/+", Qos::ExactlyOnce);
        for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
            writer.publish("a/b", b"hello", qos);
            reader.expect_payload(b"hello");
            if qos > Qos::AtMostOnce {
                writer.expect("an answer", |packet| matches!(packet, Packet::PubAck(_) | Packet::PubRec(_)));
            }
        }
    }
    server.stop();
}

#[test]
fn packets_cut_into_single_bytes_are_whole_again() {
    let server = broker(|_| {});
    let mut reader = Client::connect(&server, "reader");
    reader.subscribe("a", Qos::AtMostOnce);
    let mut writer = Client::open(&server);
    let mut bytes = writer.encoded(&Packet::Connect(connect_packet("writer", Version::V5)));
    bytes.extend(writer.encoded(&Packet::Publish(publish_packet("a", &[7; 300], Qos::AtMostOnce))));
    bytes.extend(writer.encoded(&Packet::PingReq(PingReq)));
    for byte in bytes {
        writer.stream.write_all(&[byte]).unwrap();
    }
    reader.expect_payload(&[7; 300]);
    writer.expect("CONNACK", |packet| matches!(packet, Packet::ConnAck(_)));
    writer.expect("PINGRESP", |packet| matches!(packet, Packet::PingResp(_)));
    server.stop();
}

#[test]
fn messages_of_every_size_around_the_read_buffer_arrive_whole() {
    let server = broker(|config| config.limits.out_buffer_bytes_max = 1 << 30);
    let mut reader = Client::connect(&server, "reader");
    reader.subscribe("a", Qos::AtMostOnce);
    let mut writer = Client::connect(&server, "writer");
    let sizes = [0, 1, 4095, 4097, 65_520, 65_530, 65_536, 65_600, 131_072, 200_000, 1 << 20, 5_000_000];
    for size in sizes {
        let payload: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
        writer.publish("a", &payload, Qos::AtMostOnce);
        writer.publish("a", b"after it", Qos::AtMostOnce);
        reader.expect_payload(&payload);
        reader.expect_payload(b"after it");
    }
    server.stop();
}

#[test]
fn many_packets_in_one_write_are_all_handled_in_order() {
    let server = broker(|_| {});
    let mut reader = Client::connect(&server, "reader");
    reader.subscribe("a", Qos::AtMostOnce);
    let mut writer = Client::connect(&server, "writer");
    let payloads: Vec<_> = (0..20_000_u32).map(u32::to_be_bytes).collect();
    let mut bytes = Vec::new();
    for payload in &payloads {
        Packet::Publish(publish_packet("a", payload, Qos::AtMostOnce)).encode(Version::V5, &mut bytes);
    }
    let thread = std::thread::spawn(move || writer.stream.write_all(&bytes).map(|()| writer));
    for payload in &payloads {
        reader.expect_payload(payload);
    }
    thread.join().unwrap().unwrap();
    server.stop();
}

#[test]
fn garbage_is_answered_by_the_end_of_the_connection() {
    let server = broker(|_| {});
    for garbage in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0x10, 0xff, 0xff, 0xff, 0xff], &[0; 100_000]]
    {
        let mut client = Client::open(&server);
        // The broker may close before it has read all of it.
        let _ = client.stream.write_all(garbage);
        client.expect_end();
    }
    let mut client = Client::connect(&server, "client");
    client.stream.write_all(&[0xc0, 0xff, 0xff, 0xff, 0xff]).unwrap();
    client.expect("DISCONNECT", |packet| is_disconnect(packet, Reason::MalformedPacket));
    client.expect_end();
    server.stop();
}

#[test]
fn a_packet_above_the_limit_is_refused_by_its_header() {
    let server = broker(|config| config.limits.packet_size_max = 1000);
    let mut client = Client::connect(&server, "client");
    client.stream.write_all(&[0x30, 0x80, 0x10]).unwrap();
    client.expect("DISCONNECT", |packet| is_disconnect(packet, Reason::PacketTooLarge));
    client.expect_end();
    server.stop();
}

#[test]
fn the_last_packet_arrives_although_the_client_goes_on_sending() {
    let server = broker(|_| {});
    let mut client = Client::connect(&server, "client");
    // The broker stops reading at the first packet, and the rest stays unread in its socket.
    let mut bytes = vec![0xc0, 0xff, 0xff, 0xff, 0xff];
    bytes.resize(300_000, 0);
    client.stream.write_all(&bytes).unwrap();
    client.expect("DISCONNECT", |packet| is_disconnect(packet, Reason::MalformedPacket));
    client.expect_end();
    server.stop();
}

#[test]
fn who_does_not_connect_in_time_is_closed() {
    let server = broker(|config| config.transport.connect_timeout_ms = 50);
    let mut silent = Client::open(&server);
    let mut slow = Client::open(&server);
    slow.stream.write_all(&[0x10, 20, 0, 4]).unwrap();
    let mut client = Client::connect(&server, "client");
    silent.expect_end();
    slow.expect_end();
    client.ping();
    server.stop();
}

#[test]
fn one_connection_above_the_maximum_is_closed_and_may_come_when_another_has_gone() {
    let server = broker(|config| config.transport.connections_max = 2);
    let mut first = Client::connect(&server, "first");
    let _second = Client::connect(&server, "second");
    Client::open(&server).expect_end();
    first.send(&Packet::Disconnect(Disconnect { reason: Reason::Success, properties: Properties::EMPTY }));
    first.expect_end();
    // Its place is free as soon as the broker has closed its socket, which its end above does not prove.
    let until = Instant::now() + PATIENCE;
    loop {
        let mut client = Client::open(&server);
        let connect = client.encoded(&Packet::Connect(connect_packet("third", Version::V5)));
        let sent = client.stream.write_all(&connect);
        if sent.is_ok() && client.next_bytes().is_some() {
            break;
        }
        assert!(Instant::now() < until, "the place was not given anew");
    }
    server.stop();
}

#[test]
fn a_connect_rate_delays_but_refuses_nobody() {
    let server = broker(|config| config.transport.connect_rate_max = 50);
    let start = Instant::now();
    for _ in 0..60 {
        Client::connect(&server, "client").ping();
    }
    // 50 at once, and ten more at 50 a second.
    assert!(start.elapsed().as_millis() >= 150, "{:?}", start.elapsed());
    server.stop();
}

#[test]
fn a_reader_that_does_not_read_harms_nobody_and_costs_what_it_may() {
    let server = broker(|config| {
        config.limits.out_buffer_bytes_max = 64 * 1024;
        config.limits.queue_bytes_max = 64 * 1024;
    });
    let mut stuck = Client::open_narrow(&server).connected(&connect_packet("stuck", Version::V5));
    stuck.subscribe("a", Qos::AtLeastOnce);
    let mut reader = Client::connect(&server, "reader");
    reader.subscribe("a", Qos::AtLeastOnce);
    let mut writer = Client::connect(&server, "writer");
    let payload = [0; 10_000];
    let dropped = || server.shared().totals().dropped_slow_reader;
    let until = Instant::now() + PATIENCE;
    // Until the kernel's buffers towards it are full, and then some.
    let mut sent = 0;
    while dropped() < 100 {
        writer.publish("a", &payload, Qos::AtMostOnce);
        reader.expect_payload(&payload);
        sent += 1;
        assert!(Instant::now() < until, "nothing was dropped after {sent} messages");
    }
    // It still gets what was kept for it, whole packets in a row.
    stuck.widen();
    for _ in 0..sent - dropped() {
        stuck.expect_payload(&payload);
    }
    writer.publish("a", b"last", Qos::AtMostOnce);
    stuck.expect_payload(b"last");
    server.stop();
}

#[test]
fn who_leaves_answers_unread_is_not_read_until_it_takes_them() {
    let server = broker(|config| config.limits.out_buffer_bytes_max = 16 * 1024);
    let mut client = Client::open_narrow(&server).connected(&connect_packet("client", Version::V5));
    let pings = [0xc0, 0].repeat(PINGS);
    let mut writing = client.stream.try_clone().unwrap();
    let thread = std::thread::spawn(move || writing.write_all(&pings));
    let mut other = Client::connect(&server, "other");
    other.ping();
    client.widen();
    let mut answers = 0;
    let mut buffer = vec![0; 65_536];
    while answers < 2 * PINGS {
        let len = client.stream.read(&mut buffer).unwrap();
        assert!(len > 0, "closed after {answers} bytes");
        answers += len;
    }
    thread.join().unwrap().unwrap();
    server.stop();
}

/// Their answers are more than the kernel and the broker hold for a client that does not read.
const PINGS: usize = 2_500_000;

#[test]
fn a_client_that_sends_all_and_closes_its_side_is_served_to_the_end() {
    let server = broker(|_| {});
    let mut reader = Client::connect(&server, "reader");
    reader.subscribe("a", Qos::AtMostOnce);
    let mut writer = Client::open(&server);
    let mut bytes = writer.encoded(&Packet::Connect(connect_packet("writer", Version::V5)));
    bytes.extend(writer.encoded(&Packet::Publish(publish_packet("a", b"all of it", Qos::AtMostOnce))));
    writer.stream.write_all(&bytes).unwrap();
    writer.stream.shutdown(Shutdown::Write).unwrap();
    reader.expect_payload(b"all of it");
    writer.next_bytes();
    writer.expect_end();
    server.stop();
}

#[test]
fn stopping_publishes_wills_and_tells_everybody() {
    for workers in [1, 3] {
        let server = broker(|config| config.workers = workers);
        let mut watchers: Vec<_> = (0..4).map(|n| Client::connect(&server, &format!("watcher{n}"))).collect();
        for watcher in &mut watchers {
            watcher.subscribe("will", Qos::AtMostOnce);
        }
        let mut connect = connect_packet("mortal", Version::V3_1_1);
        let topic = TopicName::parse("will").unwrap();
        let (qos, properties) = (Qos::AtMostOnce, Properties::EMPTY);
        connect.will = Some(Will { topic, payload: b"gone", qos, retain: false, properties });
        let mut mortal = Client::connect_as(&server, &connect);
        let mut silent = Client::open(&server);

        let stopping = std::thread::spawn(|| server.stop());
        for mut watcher in watchers {
            watcher.expect_payload(b"gone");
            watcher.expect("DISCONNECT", |packet| is_disconnect(packet, Reason::ServerShuttingDown));
            watcher.expect_end();
        }
        mortal.expect_end();
        silent.expect_end();
        stopping.join().unwrap();
    }
}

#[test]
fn stopping_does_not_wait_for_ever_for_those_that_do_not_read() {
    let server = broker(|config| config.transport.close_timeout_ms = 50);
    let _deaf = Client::connect(&server, "deaf");
    let start = Instant::now();
    server.stop();
    assert!(start.elapsed() < PATIENCE);
}

#[test]
fn a_session_is_found_again_whichever_worker_its_client_meets() {
    let server = broker(|config| config.workers = 2);
    let mut expiry = PropertiesBuf::new();
    expiry.push(Property::SessionExpiryInterval(100));
    for round in 0..20 {
        let mut connect = connect_packet("wanderer", Version::V5);
        connect.clean_start = round == 0;
        connect.properties = expiry.as_properties();
        let mut client = Client::open(&server);
        // Cut in two, with more behind it: all of it must move along.
        let mut bytes = client.encoded(&Packet::Connect(connect));
        bytes.extend([0xc0, 0]);
        client.stream.write_all(&bytes[..10]).unwrap();
        client.stream.write_all(&bytes[10..]).unwrap();
        client.expect(
            "the session",
            |packet| matches!(packet, Packet::ConnAck(ack) if ack.session_present == (round > 0)),
        );
        client.expect("PINGRESP", |packet| matches!(packet, Packet::PingResp(_)));
        // Shifts who is next, so that both workers get their turn.
        let _others: Vec<_> = (0..round % 3).map(|_| Client::open(&server)).collect();
    }
    server.stop();
}

#[test]
fn a_second_connection_takes_over_across_workers() {
    let server = broker(|config| config.workers = 2);
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..6 {
        let client = Client::connect(&server, "same");
        if let Some(mut old) = clients.pop() {
            old.expect("DISCONNECT", |packet| is_disconnect(packet, Reason::SessionTakenOver));
            old.expect_end();
        }
        clients.push(client);
        clients[0].ping();
    }
    server.stop();
}

#[test]
fn messages_cross_workers_in_both_directions() {
    let server = broker(|config| config.workers = 2);
    let mut clients: Vec<_> = (0..8).map(|n| Client::connect(&server, &format!("client{n}"))).collect();
    for client in &mut clients {
        client.subscribe("all", Qos::AtLeastOnce);
    }
    for writer in 0..clients.len() {
        let payload = writer.to_string();
        clients[writer].publish("all", payload.as_bytes(), Qos::AtMostOnce);
        for client in &mut clients {
            client.expect_payload(payload.as_bytes());
        }
    }
    server.stop();
}

#[test]
fn who_publishes_more_than_another_worker_keeps_up_with_is_made_to_wait() {
    let server = broker(|config| {
        config.workers = 2;
        config.limits.out_buffer_bytes_max = 1 << 30;
    });
    // The first connection is the first worker's, the second the other's.
    let mut publisher = Client::connect(&server, "publisher");
    let mut subscriber = Client::connect(&server, "subscriber");
    subscriber.subscribe("#", Qos::AtMostOnce);
    let handle = server.handle().clone();
    let (begun, begins) = std::sync::mpsc::channel();
    let (go_on, held) = std::sync::mpsc::channel::<()>();
    let holding = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let hold = move |_: &mut siskin_core::Worker, _| {
            begun.send(()).unwrap();
            held.recv().unwrap();
        };
        // It takes longer than an answer may take.
        let _ = runtime.block_on(handle.ask(1, hold));
    });
    begins.recv().unwrap();
    let message = publisher.encoded(&Packet::Publish(publish_packet("a", &[7; 10_000], Qos::AtMostOnce)));
    // More than all that lies between can hold, by far.
    let most = 200_000_000;
    publisher.stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut sent = 0;
    while sent < most && publisher.stream.write_all(&message).is_ok() {
        sent += message.len();
    }
    assert!(sent < most, "all of it was read");
    go_on.send(()).unwrap();
    holding.join().unwrap();
    for _ in 0..sent / message.len() {
        subscriber.expect_payload(&[7; 10_000]);
    }
    server.stop();
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let server = broker(|_| {});
    let taken = server.addresses()[0];
    let mut config = Config { workers: 1, listeners: vec![taken.into()], ..Config::default() };
    config.store.durability = Durability::Memory;
    match Server::start(config) {
        Err(error @ StartError::Bind { .. }) => assert!(error.to_string().contains(&taken.to_string())),
        _ => panic!("two brokers on {taken}"),
    }
    server.stop();
}

fn is_disconnect(packet: &Packet<'_>, reason: Reason) -> bool {
    matches!(packet, Packet::Disconnect(disconnect) if disconnect.reason == reason)
}
