//! Connections that are begun and not gone on with, by the thousand: what they cost the broker's process.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]
#![allow(clippy::print_stderr)] // The measured run shows its figures where tests say things.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use socket2::{Domain, Socket, Type};

#[test]
fn a_thousand_half_open_connections_cost_little_and_delay_nobody() {
    let figures = half_open(1000);
    assert!(figures.grown_kib < 64 * 1024, "{figures:?}");
}

/// `cargo test --release -p siskin --test abuse -- --ignored --nocapture`
#[test]
#[ignore = "a measurement: it needs 20,000 open files, and takes half a minute"]
fn ten_thousand_half_open_connections() {
    let figures = half_open(10_000);
    eprintln!("{figures:#?}");
    assert!(figures.grown_kib < 512 * 1024);
}

#[derive(Debug)]
#[allow(dead_code, reason = "read by its Debug")]
struct Figures {
    connections: usize,
    resident_kib_before: u64,
    grown_kib: u64,
    resident_kib_after_they_were_closed: u64,
    round_trip_us_before_p50_and_max: (u128, u128),
    round_trip_us_meanwhile_p50_and_max: (u128, u128),
}

/// Begins `count` connections, a quarter on each transport: nothing sent, or half a CONNECT, half a ClientHello, half a
/// request.
fn half_open(count: usize) -> Figures {
    let broker = Broker::start();
    let mut client = Client::connect(broker.plain);
    let before = client.round_trips(200);
    let resident_kib_before = broker.resident_kib();
    let beginnings: [(SocketAddr, &[u8]); 4] = [
        (broker.plain, b""),
        (broker.plain, &[0x10, 0x80, 0x10, 0, 4, b'M', b'Q']),
        (broker.tls, &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]),
        (broker.web, b"GET /mqtt HTTP/1.1\r\nHost: broker\r\n"),
    ];
    let mut meanwhile = Vec::new();
    let mut half_open = Vec::with_capacity(count);
    for number in 0..count {
        let (address, beginning) = beginnings[number % 4];
        let mut stream = dial_from(number / 5000, address);
        stream.write_all(beginning).unwrap();
        half_open.push(stream);
        if number % 10 == 0 {
            meanwhile.extend(client.round_trips(1));
        }
    }
    meanwhile.extend(client.round_trips(200));
    let grown_kib = broker.resident_kib().saturating_sub(resident_kib_before);
    drop(half_open);
    client.round_trips(200);
    Figures {
        connections: count,
        resident_kib_before,
        grown_kib,
        resident_kib_after_they_were_closed: broker.resident_kib(),
        round_trip_us_before_p50_and_max: median_and_max(before),
        round_trip_us_meanwhile_p50_and_max: median_and_max(meanwhile),
    }
}

/// A connection from a loopback address of its own for every few thousand.
fn dial_from(number: usize, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let source = Ipv4Addr::new(127, 0, 1, 1 + number as u8);
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

fn median_and_max(mut times: Vec<Duration>) -> (u128, u128) {
    times.sort_unstable();
    (times[times.len() / 2].as_micros(), times[times.len() - 1].as_micros())
}

struct Broker {
    child: Child,
    folder: std::path::PathBuf,
    plain: SocketAddr,
    tls: SocketAddr,
    web: SocketAddr,
}

impl Broker {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!(
            "siskin-abuse-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&folder).unwrap();
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let [certificate, key, config] =
            ["server.pem", "server.key", "siskin.toml"].map(|name| folder.join(name));
        std::fs::write(&certificate, cert.pem()).unwrap();
        std::fs::write(&key, signing_key.serialize_pem()).unwrap();
        let listener = "[[listener]]\naddress = \"127.0.0.1\"\nport = 0\n";
        let text = format!(
            "workers = 1\n[limits]\nconnect_timeout = \"1h\"\n{listener}{listener}tls_cert = {certificate:?}\ntls_key = {key:?}\n\
             {listener}type = \"ws\"\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_siskin"))
            .args(["serve", "--store-durability", "memory", "-c"])
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut listening = || {
            let line =
                log.by_ref().map(|line| line.unwrap()).find(|line| line.contains("listening for ")).unwrap();
            let address = line.split(" on ").nth(1).unwrap().split_whitespace().next().unwrap();
            address.parse().unwrap()
        };
        let (plain, tls, web) = (listening(), listening(), listening());
        // Whoever writes a log must find somebody who reads it.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, folder, plain, tls, web }
    }

    fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

struct Client(TcpStream);

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(b"\x10\x12\0\x04MQTT\x04\x02\0\0\0\x06served").unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        Self(stream)
    }

    /// How long the answers to some pings took.
    fn round_trips(&mut self, count: usize) -> Vec<Duration> {
        let mut ping = || {
            let started = Instant::now();
            self.0.write_all(&[0xc0, 0]).unwrap();
            self.0.read_exact(&mut [0; 2]).unwrap();
            started.elapsed()
        };
        (0..count).map(|_| ping()).collect()
    }
}
