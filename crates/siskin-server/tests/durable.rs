//! A broker that ends and begins again on the same directory, through real sockets and a real disk.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use siskin_proto::{
    Connect, Disconnect, Packet, Properties, PropertiesBuf, Property, PubAck, Publish, Qos, Reason, Version,
};
use siskin_server::config::Durability;
use siskin_server::{Server, StartError};
use support::{Client, broker, connect_packet, publish_packet};

/// A directory of its own, gone when the test is over.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("siskin-durable-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn start(directory: &Path, workers: u16, durability: Durability) -> Server {
    broker(|config| {
        config.workers = workers;
        config.store.durability = durability;
        config.store.directory = directory.to_owned();
    })
}

fn lasting<'a>(client_id: &'a str, expiry: &'a PropertiesBuf) -> Connect<'a> {
    Connect {
        clean_start: false,
        properties: expiry.as_properties(),
        ..connect_packet(client_id, Version::V5)
    }
}

fn hour() -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    properties.push(Property::SessionExpiryInterval(3600));
    properties
}

/// Connects to a session that lasts, which must be there or not.
fn resume(server: &Server, client_id: &str, is_present: bool) -> Client {
    let expiry = hour();
    let mut client = Client::open(server);
    client.send(&Packet::Connect(lasting(client_id, &expiry)));
    client.expect("a CONNACK", |packet| {
        matches!(packet, Packet::ConnAck(ack) if ack.session_present == is_present && !ack.reason.is_error())
    });
    client
}

fn leave(mut client: Client) {
    let (reason, properties) = (Reason::Success, Properties::EMPTY);
    client.send(&Packet::Disconnect(Disconnect { reason, properties }));
    client.expect_end();
}

#[test]
fn sessions_queues_and_retained_messages_are_there_after_a_restart_with_another_number_of_workers() {
    for durability in [Durability::Synced, Durability::Written] {
        let directory = Directory::new();
        let server = start(&directory.0, 2, durability);
        for id in ["one", "two", "three"] {
            let mut client = resume(&server, id, false);
            client.subscribe("a/#", Qos::AtLeastOnce);
            leave(client);
        }
        let mut writer = Client::connect(&server, "writer");
        for number in 0..100_u8 {
            writer.publish("a/b", &[number], Qos::AtLeastOnce);
            writer.expect("PUBACK", |packet| matches!(packet, Packet::PubAck(ack) if !ack.reason.is_error()));
        }
        let retained = Publish { retain: true, ..publish_packet("r", b"kept", Qos::AtLeastOnce) };
        writer.send(&Packet::Publish(retained));
        writer.expect("PUBACK", |packet| matches!(packet, Packet::PubAck(ack) if !ack.reason.is_error()));
        server.stop();

        for workers in [1, 3] {
            let server = start(&directory.0, workers, durability);
            let mut reader = Client::connect(&server, "reader");
            reader.subscribe("r", Qos::AtMostOnce);
            reader.expect_payload(b"kept");
            if workers == 3 {
                for id in ["one", "two", "three"] {
                    let mut client = resume(&server, id, true);
                    for number in 0..100_u8 {
                        let packet_id = client.next(|packet| match packet {
                            Packet::Publish(publish) => {
                                assert_eq!(publish.payload, [number]);
                                publish.packet_id.unwrap()
                            }
                            other => panic!("expected PUBLISH, got {other:?}"),
                        });
                        let (reason, properties) = (Reason::Success, Properties::EMPTY);
                        client.send(&Packet::PubAck(PubAck { packet_id, reason, properties }));
                    }
                    client.ping();
                }
            }
            server.stop();
        }
        let server = start(&directory.0, 2, durability);
        let mut client = resume(&server, "two", true);
        // All was acknowledged before the last stop.
        client.ping();
        server.stop();
    }
}

#[test]
fn a_queue_beyond_its_memory_comes_back_from_the_disk_in_order() {
    let directory = Directory::new();
    let server = broker(|config| {
        config.store.durability = Durability::Written;
        config.store.directory = directory.0.clone();
        config.limits.queue_memory_bytes_max = 1000;
    });
    let mut reader = resume(&server, "reader", false);
    reader.subscribe("a", Qos::ExactlyOnce);
    leave(reader);
    let mut writer = Client::connect(&server, "writer");
    for number in 0..500_u16 {
        writer.publish("a", &number.to_be_bytes(), Qos::AtLeastOnce);
        writer.expect("PUBACK", |packet| matches!(packet, Packet::PubAck(_)));
    }
    let mut reader = resume(&server, "reader", true);
    for number in 0..500_u16 {
        let packet_id = reader.next(|packet| match packet {
            Packet::Publish(publish) => {
                assert_eq!(publish.payload, number.to_be_bytes());
                publish.packet_id.unwrap()
            }
            other => panic!("expected PUBLISH, got {other:?}"),
        });
        let (reason, properties) = (Reason::Success, Properties::EMPTY);
        reader.send(&Packet::PubAck(PubAck { packet_id, reason, properties }));
    }
    reader.ping();
    server.stop();
}

#[test]
fn a_directory_that_cannot_be_used_is_named_and_nothing_is_started() {
    let directory = Directory::new();
    let refused = |path: &Path| {
        let mut config = siskin_server::Config { workers: 1, ..Default::default() };
        config.listeners = vec![std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()];
        config.store.directory = path.to_owned();
        match Server::start(config) {
            Err(error @ StartError::Store(_)) => error.to_string(),
            Err(other) => panic!("another error: {other}"),
            Ok(_) => panic!("it started on {}", path.display()),
        }
    };
    let server = start(&directory.0, 1, Durability::Synced);
    let said = refused(&directory.0);
    assert!(said.contains(&*directory.0.to_string_lossy()), "{said}");
    assert!(said.contains("in use"), "{said}");
    server.stop();
    let file = directory.0.join("file");
    fs::write(&file, "not a directory").unwrap();
    let said = refused(&file);
    assert!(said.contains(&*file.to_string_lossy()), "{said}");
    assert!(refused(Path::new("/proc/siskin")).contains("/proc/siskin"));
}

#[test]
fn without_a_store_nothing_is_written_and_nothing_outlives_the_broker() {
    let directory = Directory::new();
    let server = start(&directory.0, 1, Durability::Memory);
    let mut client = resume(&server, "one", false);
    client.subscribe("a", Qos::AtLeastOnce);
    leave(client);
    server.stop();
    assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 0);
    let server = start(&directory.0, 1, Durability::Memory);
    resume(&server, "one", false);
    server.stop();
}
