//! Strangers that mean harm: each transport is given what costs them little and might cost the broker much.
//!
//! In every test a client of good will is there before and served afterwards.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use siskin_proto::{Packet, Qos, Reason};
use siskin_server::Server;
use siskin_server::config::Listener;
use support::pki::{Authority, Folder, tls_listener};
use support::web::{MQTT, Web, ask, upgrade, web_listener};
use support::{Client, PATIENCE, broker, dial};

/// A broker with a listener for each transport, in this order.
struct Doors {
    server: Server,
    authority: Authority,
    _folder: Folder,
}

const PLAIN: usize = 0;
const TLS: usize = 1;
const WEB: usize = 2;
const SECURE_WEB: usize = 3;
const PROXIED: usize = 4;

impl Doors {
    fn open(connect_timeout_ms: u64) -> Self {
        let (folder, authority) = (Folder::new(), Authority::new("authority"));
        let certificate = folder.put_issued("server", &authority.issue(&["localhost"]));
        let plain = Listener::from(SocketAddr::from(([127, 0, 0, 1], 0)));
        let secure = tls_listener(vec![certificate]);
        let secure_web = Listener { tls: secure.tls.clone(), ..web_listener() };
        let proxied = Listener { proxy_protocol: true, ..plain.clone() };
        let server = broker(|config| {
            config.listeners = vec![plain, secure, web_listener(), secure_web, proxied];
            config.limits.packet_size_max = 1 << 20;
            config.transport.connect_timeout_ms = connect_timeout_ms;
        });
        Self { server, authority, _folder: folder }
    }

    fn dial(&self, door: usize) -> TcpStream {
        dial(self.server.addresses()[door])
    }

    fn secure(&self, door: usize) -> support::pki::Secure {
        self.authority.dial(self.server.addresses()[door], None)
    }

    /// A client of good will.
    fn served(&self) -> Client {
        Client::connect(&self.server, "served")
    }

    fn close(self, mut served: Client) {
        served.ping();
        self.server.stop();
    }
}

/// Sends `bytes` one by one, as long as the broker listens; says how many it took.
fn dribble(mut stream: TcpStream, bytes: impl Iterator<Item = u8>) -> usize {
    // Reading is waiting, too: about as long as an attacker would.
    stream.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    let until = Instant::now() + PATIENCE;
    for (count, byte) in bytes.enumerate() {
        assert!(Instant::now() < until, "the broker goes on listening");
        let is_taken = stream.write_all(&[byte]).is_ok();
        match stream.read(&mut [0; 100]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) && is_taken => {
            }
            _ => return count,
        }
    }
    panic!("the broker took all of it");
}

#[test]
fn handshakes_byte_by_byte_are_ended_by_the_connect_timeout_however_steadily_they_go_on() {
    let doors = Doors::open(300);
    let mut served = doors.served();
    let hello = [&[0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc][..], &[3; 100_000]].concat();
    let connect = [&[0x10, 0x80, 0x80, 0x10, 0, 4][..], b"MQTT\x05\x02\0\0\0\0\0", &[b'x'; 100_000]].concat();
    let request = [b"GET /mqtt HTTP/1.1\r\nX: ", &[b'x'; 100_000][..]].concat();
    // The length of the header comes first, then as much as it says.
    let header = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", &[0; 100_000][..]].concat();
    let beginnings =
        [(PLAIN, &connect), (TLS, &hello), (WEB, &request), (SECURE_WEB, &hello), (PROXIED, &header)];
    std::thread::scope(|scope| {
        for (door, bytes) in beginnings {
            let stream = doors.dial(door);
            scope.spawn(move || dribble(stream, bytes.iter().copied()));
        }
        served.ping();
    });
    doors.close(served);
}

#[test]
fn a_packet_that_announces_too_much_is_refused_by_its_header_on_every_transport() {
    fn try_on<S: Read + Write>(stream: S) {
        let mut client = Client::connect_over(stream, "client");
        // 20 MiB, of which nothing comes.
        client.stream.write_all(&[0x30, 0x80, 0x80, 0x80, 10]).unwrap();
        client.expect(
            "DISCONNECT",
            |packet| matches!(packet, Packet::Disconnect(end) if end.reason == Reason::PacketTooLarge),
        );
    }
    let doors = Doors::open(10_000);
    let served = doors.served();
    try_on(doors.dial(PLAIN));
    try_on(doors.secure(TLS));
    try_on(Web::open(doors.dial(WEB)));
    try_on(Web::open(doors.secure(SECURE_WEB)));
    doors.close(served);
}

#[test]
fn a_stranger_s_first_packet_may_be_less_large_than_a_client_s() {
    fn try_on<S: Read + Write>(stream: S) {
        let mut stranger = Client::over(stream);
        // A CONNECT of 600,000 bytes: within the limit for packets, which is not for strangers.
        stranger.stream.write_all(&[0x10, 0xc0, 0xcf, 0x24]).unwrap();
        while stranger.next_bytes().is_some() {}
    }
    let doors = Doors::open(10_000);
    let served = doors.served();
    try_on(doors.dial(PLAIN));
    try_on(Web::open(doors.dial(WEB)));
    doors.close(served);
}

#[test]
fn fragments_without_end_are_refused_when_they_are_more_than_a_message() {
    let doors = Doors::open(10_000);
    let mut served = doors.served();
    let mut client = Client::connect_over(Web::open(doors.dial(WEB)), "client");
    let publish =
        client.encoded(&Packet::Publish(support::publish_packet("a", &[7; 50_000], Qos::AtMostOnce)));
    let web = &mut client.stream;
    web.send(0x02, &publish);
    // Fragments of nothing are as good as silence, as long as they come.
    for _ in 0..10_000 {
        web.send(0x00, b"");
    }
    served.ping();
    // More than the largest packet and what may stand beside it.
    for _ in 0..30 {
        let frame = support::web::frame(0x00, &publish);
        if web.stream.write_all(&frame).is_err() {
            break;
        }
    }
    web.expect_close(1009);
    doors.close(served);
}

#[test]
fn compression_is_not_agreed_on_and_compressed_frames_are_refused() {
    let doors = Doors::open(10_000);
    let served = doors.served();
    let offer = format!("{MQTT}Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n");
    let mut stream = doors.dial(WEB);
    let answer = ask(&mut stream, &upgrade("/mqtt", &offer));
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("sec-websocket-extensions"), "{answer}");
    // A kilobyte that would be a megabyte: RSV1 says that it is compressed.
    let mut stream = doors.dial(WEB);
    let answer = ask(&mut stream, &upgrade("/mqtt", &offer));
    assert!(answer.contains(" 101 "));
    stream.write_all(&support::web::frame(0xc2, &[0; 1000])).unwrap();
    let mut last = Vec::new();
    let _ = stream.read_to_end(&mut last);
    assert_eq!(last, [0x88, 2, 0x03, 0xea], "a close frame with 1002");
    doors.close(served);
}

#[test]
fn noise_on_any_transport_ends_the_connection_and_nothing_else() {
    let doors = Doors::open(10_000);
    let mut served = doors.served();
    let mut state = 88_172_645_463_325_252_u64;
    for round in 0..40 {
        for door in [PLAIN, TLS, WEB, SECURE_WEB, PROXIED] {
            let noise: Vec<u8> = (0..1 << (round % 13))
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state as u8
                })
                .collect();
            // Every other round begins as it should.
            let beginning: &[u8] = match (round % 2, door) {
                (0, _) => b"",
                (_, TLS | SECURE_WEB) => &[0x16, 3, 1],
                (_, WEB) => b"GET /mqtt HTTP/1.1\r\n",
                (_, PROXIED) => b"PROXY TCP4 127.0.0.1 ",
                _ => &[0x10, 20, 0, 4],
            };
            let mut stream = doors.dial(door);
            let _ = stream.write_all(&[beginning, &noise].concat());
            // The broker ends it at once, or when nothing more comes.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert!(answer.len() < 1000, "{answer:?}");
        }
        served.ping();
    }
    doors.close(served);
}
