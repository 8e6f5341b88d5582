//! MQTT over TLS, through real sockets.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, ConnectionTrafficSecrets, StreamOwned};
use siskin_proto::{Packet, PingReq, Qos, Reason, Version};
use siskin_server::config::{ClientCertificates, Durability, Identity, IdentityIs, Listener};
use siskin_server::{Config, Server};
use support::pki::{Authority, Folder, Issued, Secure, asking_listener, secure, tls_listener};
use support::{Client, PATIENCE, broker, connect_packet, dial};

fn tls_broker(listeners: Vec<Listener>) -> Server {
    broker(|config| config.listeners = listeners)
}

/// Whether a CONNECT on `stream` is answered, or what came instead.
fn outcome(mut stream: Secure) -> io::Result<()> {
    let mut bytes = Vec::new();
    Packet::Connect(connect_packet("client", Version::V3_1_1)).encode(Version::V3_1_1, &mut bytes);
    stream.write_all(&bytes)?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    assert_eq!(answer, [0x20, 2, 0, 0]);
    Ok(())
}

/// The certificate that a new connection is shown for `name`.
fn shown(authority: &Authority, address: SocketAddr, name: &str) -> CertificateDer<'static> {
    let mut config = authority.client_config(None);
    config.resumption = Resumption::disabled();
    let mut stream = secure(address, name, config);
    stream.conn.complete_io(&mut stream.sock).unwrap();
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn messages_of_every_size_arrive_whole_over_tls_1_2_and_1_3() {
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let certificate = folder.put_issued("server", &authority.issue(&["localhost"]));
    let server = broker(|config| {
        config.limits.out_buffer_bytes_max = 1 << 30;
        config.listeners = vec![tls_listener(vec![certificate])];
    });
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let connect = |id| {
            let mut stream = authority.dial_with(server.addresses()[0], &[version]);
            stream.conn.complete_io(&mut stream.sock).unwrap();
            assert_eq!(stream.conn.protocol_version(), Some(version.version));
            Client::connect_over(stream, id)
        };
        let mut reader = connect("reader");
        reader.subscribe("a", Qos::ExactlyOnce);
        let mut writer = connect("writer");
        for size in [0, 1, 4097, 16_300, 16_384, 16_400, 65_536, 200_000, 1 << 20] {
            let payload: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
            writer.publish("a", &payload, Qos::AtMostOnce);
            writer.publish("a", b"after it", Qos::AtMostOnce);
            reader.expect_payload(&payload);
            reader.expect_payload(b"after it");
        }
    }
    server.stop();
}

#[test]
fn who_shows_no_good_certificate_is_refused_and_the_others_are_served() {
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let stranger = Authority::new("stranger");
    let server_certificate = folder.put_issued("server", &authority.issue(&["localhost"]));
    let ca = folder.put("ca.pem", &authority.pem);
    let (good, revoked) = (authority.issue(&["good"]), authority.issue(&["revoked"]));
    let expired = authority.issue_until(&["expired"], 2002);
    let foreign = stranger.issue(&["good"]);
    for wish in [ClientCertificates::Required, ClientCertificates::Optional] {
        let mut listener = asking_listener(vec![server_certificate.clone()], wish, &ca);
        if let Some(tls) = &mut listener.tls {
            tls.crl = vec![folder.put("crl.pem", &authority.revoke(&[&revoked]))];
        }
        let server = tls_broker(vec![listener]);
        let address = server.addresses()[0];
        let mut served = Client::connect_over(authority.dial(address, Some(&good)), "served");
        for (bad, alert) in
            [(&foreign, "UnknownCA"), (&expired, "CertificateExpired"), (&revoked, "CertificateRevoked")]
        {
            let error = outcome(authority.dial(address, Some(bad))).unwrap_err();
            assert!(error.to_string().contains(alert), "{alert}: {error}");
        }
        let nothing_shown = outcome(authority.dial(address, None));
        match wish {
            ClientCertificates::Required => {
                let error = nothing_shown.unwrap_err();
                assert!(error.to_string().contains("CertificateRequired"), "{error}");
            }
            _ => nothing_shown.unwrap(),
        }
        served.ping();
        server.stop();
    }
}

#[test]
fn a_client_refuses_a_server_that_is_not_the_one_it_meant() {
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let certificate = folder.put_issued("server", &authority.issue(&["localhost"]));
    let server = tls_broker(vec![tls_listener(vec![certificate])]);
    let address = server.addresses()[0];
    let config = authority.client_config(None);
    let error = outcome(secure(address, "other.example", config)).unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
    let config = Authority::new("stranger").client_config(None);
    let error = outcome(secure(address, "localhost", config)).unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    outcome(authority.dial(address, None)).unwrap();
    server.stop();
}

#[test]
fn the_name_a_client_asks_for_picks_the_certificate() {
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let first = authority.issue(&["first.example", "localhost"]);
    let second = authority.issue(&["second.example"]);
    let wild = authority.issue(&["*.wild.example"]);
    let certificates = [("first", &first), ("second", &second), ("wild", &wild)];
    let certificates = certificates.map(|(name, issued)| folder.put_issued(name, issued)).to_vec();
    let server = tls_broker(vec![tls_listener(certificates)]);
    let address = server.addresses()[0];
    for (name, issued) in [
        ("localhost", &first),
        ("first.example", &first),
        ("second.example", &second),
        ("a.wild.example", &wild),
    ] {
        assert_eq!(shown(&authority, address, name), issued.der, "{name}");
    }
    server.stop();
}

#[test]
fn protocols_are_agreed_on_when_a_client_offers_some() {
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let certificate = folder.put_issued("server", &authority.issue(&["localhost"]));
    let server = tls_broker(vec![tls_listener(vec![certificate])]);
    let offering = |protocols: &[&str]| {
        let mut config = authority.client_config(None);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let mut stream = secure(server.addresses()[0], "localhost", config);
        stream.conn.complete_io(&mut stream.sock)?;
        Ok::<_, io::Error>(stream.conn.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(offering(&["other", "mqtt"]).unwrap().as_deref(), Some(&b"mqtt"[..]));
    assert_eq!(offering(&[]).unwrap(), None);
    assert!(offering(&["h2"]).is_err());
    server.stop();
}

#[test]
fn new_certificates_come_into_force_while_a_thousand_clients_stay() {
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let (old, new) = (authority.issue(&["localhost"]), authority.issue(&["localhost"]));
    let certificate = folder.put_issued("server", &old);
    let server = broker(|config| {
        config.workers = 2;
        config.listeners = vec![tls_listener(vec![certificate])];
    });
    let address = server.addresses()[0];
    let connect = |number| Client::connect_over(authority.dial(address, None), &format!("client{number}"));
    let mut clients: Vec<_> = (0..1000).map(connect).collect();
    assert_eq!(shown(&authority, address, "localhost"), old.der);
    folder.put_issued("server", &new);
    server.reload_tls();
    assert_eq!(shown(&authority, address, "localhost"), new.der);
    clients.iter_mut().for_each(Client::ping);
    server.stop();
}

#[test]
fn files_that_cannot_be_used_leave_the_old_ones_in_force() {
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let old = authority.issue(&["localhost"]);
    let certificate = folder.put_issued("server", &old);
    let ca = folder.put("ca.pem", &authority.pem);
    let client = authority.issue(&["client"]);
    let mut listener = asking_listener(vec![certificate], ClientCertificates::Required, &ca);
    let crl = folder.put("crl.pem", &authority.revoke(&[]));
    if let Some(tls) = &mut listener.tls {
        tls.crl = vec![crl];
    }
    let server = tls_broker(vec![listener]);
    let connect = || outcome(authority.dial(server.addresses()[0], Some(&client)));
    connect().unwrap();
    let good: Vec<_> = FILES.iter().map(|name| fs::read(folder.path(name)).unwrap()).collect();
    for (name, good) in FILES.iter().zip(good) {
        for bad in ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            folder.put(name, bad);
            server.reload_tls();
            connect().unwrap();
        }
        fs::remove_file(folder.path(name)).unwrap();
        server.reload_tls();
        connect().unwrap();
        fs::write(folder.path(name), good).unwrap();
    }
    // A certificate with the key of another.
    folder.put("server.pem", &authority.issue(&["localhost"]).pem);
    server.reload_tls();
    connect().unwrap();
    server.stop();
}

const FILES: [&str; 4] = ["server.pem", "server.key", "ca.pem", "crl.pem"];

#[test]
fn changed_files_are_noticed_without_being_told() {
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let (old, new) = (authority.issue(&["localhost"]), authority.issue(&["localhost"]));
    let certificate = folder.put_issued("server", &old);
    let server = broker(|config| {
        config.transport.tls_check_ms = 10;
        config.listeners = vec![tls_listener(vec![certificate])];
    });
    folder.put_issued("server", &new);
    let until = Instant::now() + PATIENCE;
    while shown(&authority, server.addresses()[0], "localhost") != new.der {
        assert!(Instant::now() < until, "the new certificate did not come into force");
    }
    server.stop();
}

#[test]
fn a_client_that_is_revoked_stays_until_it_leaves_and_does_not_come_back() {
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let certificate = folder.put_issued("server", &authority.issue(&["localhost"]));
    let ca = folder.put("ca.pem", &authority.pem);
    let client = authority.issue(&["client"]);
    let mut listener = asking_listener(vec![certificate], ClientCertificates::Required, &ca);
    if let Some(tls) = &mut listener.tls {
        tls.crl = vec![folder.put("crl.pem", &authority.revoke(&[]))];
    }
    let server = tls_broker(vec![listener]);
    // One configuration, so that the client would take its TLS session up again if it could.
    let config = Arc::new(authority.client_config(Some(&client)));
    let dial = || {
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::clone(&config), name).unwrap();
        StreamOwned::new(connection, dial(server.addresses()[0]))
    };
    let mut there = Client::connect_over(dial(), "there");
    folder.put("crl.pem", &authority.revoke(&[&client]));
    server.reload_tls();
    let error = outcome(dial()).unwrap_err();
    assert!(error.to_string().contains("CertificateRevoked"), "{error}");
    there.ping();
    server.stop();
}

#[test]
fn a_certificate_names_the_client_whatever_its_connect_says() {
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let certificate = folder.put_issued("server", &authority.issue(&["localhost"]));
    let ca = folder.put("ca.pem", &authority.pem);
    let (meter, lamp) = (authority.issue(&["meter"]), authority.issue(&["lamp"]));
    let bad = authority.issue(&["bad\u{1}name"]);
    for workers in [1, 2] {
        let mut listener = asking_listener(vec![certificate.clone()], ClientCertificates::Required, &ca);
        listener.identity = Identity::CommonName;
        listener.identity_is = IdentityIs::ClientId;
        let server = broker(|config| {
            config.workers = workers;
            config.listeners = vec![listener];
        });
        let dial = |certificate: &Issued| authority.dial(server.addresses()[0], Some(certificate));
        let mut first = Client::connect_over(dial(&meter), "one name");
        let mut other = Client::connect_over(dial(&lamp), "one name");
        let mut second = Client::connect_over(dial(&meter), "another name");
        let is_taken_over = |packet: &Packet<'_>| matches!(packet, Packet::Disconnect(packet) if packet.reason == Reason::SessionTakenOver);
        first.expect("DISCONNECT", is_taken_over);
        first.expect_end();
        second.ping();
        other.ping();
        let mut nameless = Client::over(dial(&bad));
        nameless.send(&Packet::Connect(connect_packet("meter", Version::V5)));
        nameless.expect(
            "CONNACK",
            |packet| matches!(packet, Packet::ConnAck(packet) if packet.reason == Reason::NotAuthorized),
        );
        nameless.expect_end();
        server.stop();
    }
}

#[test]
fn a_server_whose_files_cannot_be_used_does_not_start_and_says_which() {
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let issued = authority.issue(&["localhost"]);
    let problem = |name: &str, text: &str| {
        let certificate = folder.put_issued("server", &issued);
        if !name.is_empty() {
            folder.put(name, text);
        }
        let mut listener = tls_listener(vec![certificate]);
        if name.is_empty() {
            listener.tls.as_mut().unwrap().certificates[0].chain = folder.path("missing.pem");
        }
        let mut config = Config { workers: 1, listeners: vec![listener], ..Config::default() };
        config.store.durability = Durability::Memory;
        let told = siskin_server::check_files(&config).unwrap_err().to_string();
        assert_eq!(Server::start(config).err().unwrap().to_string(), told);
        told
    };
    let other_key = authority.issue(&["localhost"]).key_pem();
    for (name, text, words) in [
        ("", "", "missing.pem: cannot be read"),
        ("server.pem", "text", "server.pem: there is no certificate in it"),
        ("server.key", "text", "server.key: there is no private key in it"),
        (
            "server.key",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "server.key: the private key is encrypted",
        ),
        ("server.key", &other_key, "server.key: this is not the key of the certificate"),
    ] {
        let told = problem(name, text);
        assert!(told.contains(words), "{words}: {told}");
    }
}

#[test]
fn what_is_no_tls_ends_the_connection_and_nothing_else() {
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let certificate = folder.put_issued("server", &authority.issue(&["localhost"]));
    let server = tls_broker(vec![tls_listener(vec![certificate])]);
    let address = server.addresses()[0];
    let mut served = Client::connect_over(authority.dial(address, None), "served");
    // A ClientHello that announces 60,000 bytes, in records of one byte each, as long as anybody listens.
    let mut endless = [0x16, 3, 1, 0, 4, 1, 0, 0xea, 0x60].to_vec();
    endless.extend([0x16, 3, 1, 0, 1, 7].repeat(100_000));
    let plain = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01d".to_vec();
    for bytes in [plain, vec![0; 100_000], b"GET / HTTP/1.1\r\n\r\n".to_vec(), endless] {
        let mut stream = dial(address);
        // The broker may close before it has read all of it.
        let _ = stream.write_all(&bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 100, "no more than an alert");
    }
    // Bytes within the session that are no record.
    let mut broken = Client::connect_over(authority.dial(address, None), "broken");
    broken.stream.sock.write_all(&[0x17, 3, 3, 0, 40, 1, 2, 3, 4, 5, 6, 7, 8].repeat(10)).unwrap();
    assert!(broken.stream.read(&mut [0]).is_err());
    served.ping();
    server.stop();
}

/// What is left of a handshake message must be there when the broker next writes.
#[test]
fn half_a_handshake_message_within_a_session_harms_nobody() {
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let certificate = folder.put_issued("server", &authority.issue(&["localhost"]));
    let server = tls_broker(vec![tls_listener(vec![certificate])]);
    let mut config = authority.client_config(None);
    config.enable_secret_extraction = true;
    let mut half = Client::connect_over(secure(server.addresses()[0], "localhost", config), "half");
    half.subscribe("a", Qos::AtMostOnce);
    let StreamOwned { conn, sock: mut stream } = half.stream;
    let (sequence, secrets) = conn.dangerous_extract_secrets().unwrap().tx;
    let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else { panic!("another cipher suite") };
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
    // A KeyUpdate is five bytes.
    for (at, part) in [&[24][..], &[0, 0]].into_iter().enumerate() {
        let mut nonce: [u8; 12] = iv.as_ref().try_into().unwrap();
        let number = (sequence + at as u64).to_be_bytes();
        nonce[4..].iter_mut().zip(number).for_each(|(byte, other)| *byte ^= other);
        let mut sealed = [part, &[22]].concat();
        let head = [23, 3, 3, 0, sealed.len() as u8 + 16];
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(head), &mut sealed).unwrap();
        stream.write_all(&[&head[..], &sealed].concat()).unwrap();
        let mut writer = Client::connect_over(authority.dial(server.addresses()[0], None), "writer");
        writer.publish("a", b"something to write", Qos::AtMostOnce);
        writer.ping();
        // More than the 24 bytes of an alert.
        assert!(stream.read(&mut [0; 1000]).unwrap() > 40);
    }
    server.stop();
}

#[test]
fn a_handshake_and_packets_in_single_bytes_are_whole_again() {
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let certificate = folder.put_issued("server", &authority.issue(&["localhost"]));
    let server = tls_broker(vec![tls_listener(vec![certificate])]);
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(authority.client_config(None)), name).unwrap();
    let stream = StreamOwned::new(connection, Dribble(dial(server.addresses()[0])));
    let mut client = Client::connect_over(stream, "client");
    client.send(&Packet::PingReq(PingReq));
    client.ping();
    server.stop();
}

/// Writes one byte at a time.
struct Dribble(TcpStream);

impl Read for Dribble {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Dribble {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn a_client_that_says_farewell_to_tls_hears_it_too() {
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let certificate = folder.put_issued("server", &authority.issue(&["localhost"]));
    let server = tls_broker(vec![tls_listener(vec![certificate])]);
    let mut client = Client::connect_over(authority.dial(server.addresses()[0], None), "client");
    client.stream.conn.send_close_notify();
    client.stream.flush().unwrap();
    // Without the broker's own farewell this would be an error, not the end.
    client.expect_end();
    server.stop();
}

#[test]
fn what_expires_when_can_be_asked() {
    let (folder, authority) = (Folder::new(), Authority::new("authority"));
    let certificate = folder.put_issued("server", &authority.issue(&["localhost"]));
    let server = tls_broker(vec![tls_listener(vec![certificate.clone()])]);
    let expiries = server.tls_expiries();
    assert_eq!((expiries.len(), &expiries[0].path), (1, &certificate.chain));
    assert_eq!((expiries[0].unix_s, expiries[0].is_certificate), (4_102_444_800, true));
    server.stop();
}
