//! The terms of listeners: Unix sockets, the PROXY protocol, versions, limits, and those who take their time.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Instant;

use siskin_proto::{Packet, Qos, Reason, Version};
use siskin_server::config::{Durability, Identity, IdentityIs, Listener, Place};
use siskin_server::{Config, Server, StartError};
use support::pki::{Authority, Folder, tls_listener};
use support::web::{Web, web_listener};
use support::{Client, PATIENCE, broker, connect_packet, dial};

fn unix_listener(path: &Path) -> Listener {
    Listener::new(Place::Unix { path: path.to_owned(), mode: Some(0o600) })
}

fn unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn start(listener: Listener) -> Result<Server, StartError> {
    let mut config = Config { workers: 1, listeners: vec![listener], ..Config::default() };
    config.store.durability = Durability::Memory;
    Server::start(config)
}

#[test]
fn clients_come_in_through_a_unix_socket_with_its_mode() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let server = broker(|config| config.listeners.push(unix_listener(&path)));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut reader = Client::connect_over(unix(&path), "reader");
    reader.subscribe("a", Qos::AtMostOnce);
    let mut writer = Client::connect(&server, "writer");
    writer.publish("a", &[7; 200_000], Qos::AtMostOnce);
    reader.expect_payload(&[7; 200_000]);
    reader.publish("a", b"back", Qos::AtMostOnce);
    reader.expect_payload(b"back");
    drop(reader);
    server.stop();
    assert!(!path.exists(), "the socket is left behind");
}

#[test]
fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
    let folder = Folder::new();
    let path = folder.path("socket");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let first = start(unix_listener(&path)).unwrap();
    let error = start(unix_listener(&path)).err().unwrap().to_string();
    assert!(error.contains("socket"), "{error}");
    Client::connect_over(unix(&path), "client").ping();
    first.stop();
    let file = folder.put("file", "not to be lost");
    let error = start(unix_listener(&file)).err().unwrap().to_string();
    assert!(error.contains("no socket"), "{error}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "not to be lost");
}

fn proxied() -> Listener {
    let mut listener = Listener::from(SocketAddr::from(([127, 0, 0, 1], 0)));
    listener.proxy_protocol = true;
    listener.allow_anonymous = Some(true);
    listener
}

/// A header of version 2 from 10.1.2.3, with the common name of a verified certificate.
fn header_v2(name: &str) -> Vec<u8> {
    let sub_field = [&[0x22, 0, name.len() as u8], name.as_bytes()].concat();
    let value = [&[3, 0, 0, 0, 0][..], &sub_field].concat();
    let field = [&[0x20, 0, value.len() as u8][..], &value].concat();
    let len = (12 + field.len() as u16).to_be_bytes();
    let addresses = [10, 1, 2, 3, 10, 0, 0, 1, 0x30, 0x39, 0x07, 0x5b];
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11", &len[..], &addresses, &field].concat()
}

#[test]
fn a_proxy_s_header_comes_first_and_nothing_else_does() {
    let server = broker(|config| {
        let mut web = web_listener();
        web.proxy_protocol = true;
        web.allow_anonymous = Some(true);
        config.listeners = vec![proxied(), web];
    });
    let v1 = b"PROXY TCP4 10.1.2.3 10.0.0.1 12345 1883\r\n".to_vec();
    for (at, header) in [&v1, &header_v2("meter")].into_iter().enumerate() {
        for chunk in [1, 1000] {
            let mut stream = dial(server.addresses()[0]);
            header.chunks(chunk).for_each(|bytes| stream.write_all(bytes).unwrap());
            let mut client = Client::connect_over(stream, &format!("plain{at}"));
            client.ping();
        }
        let mut stream = dial(server.addresses()[1]);
        stream.write_all(header).unwrap();
        Client::connect_over(Web::open(stream), &format!("web{at}")).ping();
    }
    for bad in [&b"\x10\x0d\0\x04MQTT"[..], b"PROXY NONSENSE\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0"] {
        let mut stream = dial(server.addresses()[0]);
        stream.write_all(bad).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.is_empty(), "{answer:?}");
    }
    server.stop();
}

#[test]
fn a_name_that_a_proxy_has_verified_is_the_client_s() {
    let server = broker(|config| {
        let mut listener = proxied();
        listener.identity = Identity::CommonName;
        listener.identity_is = IdentityIs::ClientId;
        config.listeners = vec![listener];
    });
    let open = |header: &[u8]| {
        let mut stream = dial(server.addresses()[0]);
        stream.write_all(header).unwrap();
        stream
    };
    let mut first = Client::connect_over(open(&header_v2("meter")), "one");
    let mut second = Client::connect_over(open(&header_v2("meter")), "two");
    first.expect(
        "DISCONNECT",
        |packet| matches!(packet, Packet::Disconnect(packet) if packet.reason == Reason::SessionTakenOver),
    );
    second.ping();
    let mut nameless = Client::over(open(b"PROXY TCP4 10.1.2.3 10.0.0.1 1 2\r\n"));
    nameless.send(&Packet::Connect(connect_packet("meter", Version::V5)));
    nameless.expect(
        "CONNACK",
        |packet| matches!(packet, Packet::ConnAck(packet) if packet.reason == Reason::NotAuthorized),
    );
    server.stop();
}

#[test]
fn a_version_that_a_listener_does_not_let_in_is_told_in_its_own_words() {
    let server = broker(|config| {
        config.listeners[0].versions = vec![Version::V3_1_1];
        let mut new = Listener::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        new.versions = vec![Version::V5];
        config.listeners.push(new);
    });
    let [old, new] = server.addresses() else { panic!("two listeners") };
    for (address, version, answer) in [
        (old, Version::V3_1, &[0x20, 2, 0, 1][..]),
        (old, Version::V5, &[0x20, 3, 0, 0x84, 0]),
        (old, Version::V3_1_1, &[0x20, 2, 0, 0]),
        (new, Version::V3_1_1, &[0x20, 2, 0, 1]),
    ] {
        let mut bytes = Vec::new();
        Packet::Connect(connect_packet("client", version)).encode(version, &mut bytes);
        let mut stream = dial(*address);
        stream.write_all(&bytes).unwrap();
        let mut given = vec![0; answer.len()];
        stream.read_exact(&mut given).unwrap();
        assert_eq!(given, answer, "{version} at {address}");
    }
    Client::connect_over(dial(*new), "client").ping();
    server.stop();
}

#[test]
fn a_listener_s_limit_of_connections_is_its_own() {
    let server = broker(|config| {
        config.listeners[0].connections_max = 1;
        config.listeners.push(SocketAddr::from(([127, 0, 0, 1], 0)).into());
    });
    let first = Client::connect(&server, "first");
    Client::open(&server).expect_end();
    Client::connect_over(dial(server.addresses()[1]), "other").ping();
    drop(first);
    // Its place is free as soon as the broker has heard of its end.
    let until = Instant::now() + PATIENCE;
    loop {
        let mut client = Client::open(&server);
        let connect = client.encoded(&Packet::Connect(connect_packet("second", Version::V5)));
        if client.stream.write_all(&connect).is_ok() && client.next_bytes().is_some() {
            break;
        }
        assert!(Instant::now() < until, "the place was not given anew");
    }
    server.stop();
}

#[test]
fn who_takes_its_time_before_the_connect_is_closed_on_every_transport() {
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let certificate = folder.put_issued("server", &authority.issue(&["localhost"]));
    let server = broker(|config| {
        config.transport.connect_timeout_ms = 100;
        config.listeners.extend([proxied(), web_listener(), tls_listener(vec![certificate])]);
    });
    let beginnings: [&[u8]; 4] =
        [&[0x10, 20, 0, 4], b"PROXY TCP4 ", b"GET /mqtt HTTP/1.1\r\nHost: ", &[0x16, 3, 1, 2, 0, 1, 0, 1]];
    let mut slow = Vec::new();
    for (address, beginning) in server.addresses().iter().zip(beginnings) {
        for len in 0..=beginning.len() {
            let mut stream = dial(*address);
            stream.write_all(&beginning[..len]).unwrap();
            slow.push(stream);
        }
    }
    // One that has come through its layers and stops there.
    let silent = Web::open(dial(server.addresses()[2]));
    slow.push(silent.stream);
    for mut stream in slow {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{answer:?}");
    }
    Client::connect(&server, "client").ping();
    server.stop();
}
