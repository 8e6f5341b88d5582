//! What log-ins and rules cost those who are connected.
//!
//! `cargo run --release -p siskin-server --example access_cost`
//!
//! First the time from PINGREQ to PINGRESP of a connected client, in peace and while 1,000 others log in at once with
//! Argon2id hashes. Then publishing, without rules and with an ACL file of 10,000 lines.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement reads the clock, reports, and ends where something goes wrong"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use siskin_access::password::{Hash, NewHash, set};
use siskin_proto::{Connect, Packet, PingReq, Properties, Publish, Qos, TopicName, Version};
use siskin_server::config::{Durability, LogLevel};
use siskin_server::{Config, Server};

const LOG_INS: usize = 1000;
const PINGS: usize = 20_000;
const MESSAGES: usize = 500_000;
const LINES: usize = 10_000;

fn main() {
    let folder = std::env::temp_dir().join(format!("siskin-access-cost-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    storm(&folder);
    rules(&folder);
    fs::remove_dir_all(&folder).unwrap();
}

fn storm(folder: &Path) {
    let hash = Hash::create(NewHash::Argon2id, b"secret", &[7; 64]).unwrap();
    let passwords = folder.join("passwords");
    fs::write(&passwords, set(b"", "ann", &hash).0).unwrap();
    let server = start(|config| config.access.password_file = passwords);
    let mut client = connect(&server, "watcher", None);
    show("ping, in peace", pings(&mut client, |done| done >= PINGS));
    let mut waiting: Vec<_> = (0..LOG_INS)
        .map(|number| {
            let mut stream = TcpStream::connect(server.addresses()[0]).unwrap();
            stream.write_all(&connect_bytes(&format!("c{number}"), Some("ann"))).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        })
        .collect();
    let started = Instant::now();
    let mut answered = [0; 2];
    let times = pings(&mut client, |_| {
        let mut bytes = [0; 64];
        waiting.retain_mut(|stream| match stream.read(&mut bytes) {
            Ok(len) => {
                answered[usize::from(len > 3 && bytes[3] == 0)] += 1;
                false
            }
            Err(_) => true,
        });
        waiting.is_empty() || started.elapsed() > Duration::from_secs(120)
    });
    show("ping, in the storm", times);
    let [refused, let_in] = answered;
    let seconds = started.elapsed().as_secs_f64();
    println!("{let_in} let in and {refused} refused in {seconds:.1} s, {} not answered", waiting.len());
    server.stop();
}

fn rules(folder: &Path) {
    let mut text = "user ann\n".to_owned();
    (0..LINES).for_each(|n| _ = writeln!(text, "topic write building/{}/sensor/{n}/#", n % 100));
    let acl = folder.join("acl");
    fs::write(&acl, text).unwrap();
    for has_rules in [false, true, false, true] {
        let server = start(|config| {
            if has_rules {
                config.access.acl_file.clone_from(&acl);
            }
        });
        let mut client = connect(&server, "publisher", Some("ann"));
        let mut bytes = Vec::new();
        for n in 0..MESSAGES {
            let n = n * 7919 % LINES;
            let topic = format!("building/{}/sensor/{n}/temperature", n % 100);
            let topic = Some(TopicName::parse(&topic).unwrap());
            let (properties, payload) = (Properties::EMPTY, &b"21.5"[..]);
            let qos = Qos::AtMostOnce;
            let publish =
                Publish { dup: false, qos, retain: false, topic, packet_id: None, properties, payload };
            Packet::Publish(publish).encode(Version::V3_1_1, &mut bytes);
        }
        let started = Instant::now();
        client.write_all(&bytes).unwrap();
        ping(&mut client);
        let nanos = started.elapsed().as_nanos() as usize / MESSAGES;
        let denied = server.shared().totals().denied_publish;
        let what = if has_rules { "10,000 lines" } else { "no rules" };
        println!("publish, {what}: {nanos} ns a message, {denied} denied");
        server.stop();
    }
}

fn start(change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config { workers: 1, ..Config::default() };
    config.listeners = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()];
    config.store.durability = Durability::Memory;
    config.log.level = LogLevel::Error;
    config.limits.sys_interval_s = 0;
    config.transport.connect_timeout_ms = 120_000;
    change(&mut config);
    Server::start(config).unwrap()
}

fn connect_bytes(client_id: &str, user_name: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let connect = Connect {
        version: Version::V3_1_1,
        clean_start: true,
        keep_alive_s: 0,
        client_id,
        will: None,
        user_name,
        password: user_name.map(|_| &b"secret"[..]),
        properties: Properties::EMPTY,
        bridge: false,
    };
    Packet::Connect(connect).encode(Version::V3_1_1, &mut bytes);
    bytes
}

fn connect(server: &Server, client_id: &str, user_name: Option<&str>) -> TcpStream {
    let mut stream = TcpStream::connect(server.addresses()[0]).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(&connect_bytes(client_id, user_name)).unwrap();
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).unwrap();
    assert_eq!(connack[3], 0, "not let in");
    stream
}

fn ping(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    Packet::PingReq(PingReq).encode(Version::V3_1_1, &mut bytes);
    stream.write_all(&bytes).unwrap();
    stream.read_exact(&mut [0; 2]).unwrap();
}

/// Times of pings one after the other, until told to stop.
fn pings(stream: &mut TcpStream, mut is_over: impl FnMut(usize) -> bool) -> Vec<Duration> {
    let mut times = Vec::new();
    while !is_over(times.len()) {
        let started = Instant::now();
        ping(stream);
        times.push(started.elapsed());
    }
    times
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_micros();
    let (middle, most, worst) = (at(0.5), at(0.99), at(1.0));
    println!("{what}: {} pings, p50 {middle} us, p99 {most} us, worst {worst} us", times.len());
}
