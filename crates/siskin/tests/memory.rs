//! A broker that is given more to hold than its memory budget.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

#[test]
fn packets_half_sent_unread_and_queued_stay_in_the_budget_and_others_are_served_again() {
    let broker = Broker::start("mixed", &["--store-durability", "memory", "--packet-size-max", "4MiB"]);
    // Three times the budget: what has come of packets that are never completed,
    let mut half_sent: Vec<_> = (0..128).map(|n| broker.client(&format!("half-{n}"), true)).collect();
    for client in &mut half_sent {
        client.try_write(&[0x30, 0x80, 0x80, 0x80, 0x01, 0, 1, b't']);
        client.try_write(&vec![0; 1 << 20]);
    }
    // what slow readers leave,
    let slow: Vec<_> = (0..32)
        .map(|n| {
            let mut client = broker.client(&format!("slow-{n}"), true);
            client.subscribe("flood");
            client
        })
        .collect();
    // and what waits for those who are away.
    let away: Vec<_> = (0..16)
        .map(|n| {
            let mut client = broker.client(&format!("away-{n}"), false);
            client.subscribe(&format!("away/{n}"));
            format!("away/{n}")
        })
        .collect();
    let mut publisher = broker.client("publisher", true);
    for _ in 0..64 {
        for topic in &away {
            publisher.publish_at_least_once(topic, &[0; 65_536]);
        }
        publisher.try_write(&publish("flood", &[0; 65_536]));
    }
    broker.log_line(" of 128 MiB ");
    // A stranger is let in as soon as there is room again, and that comes by itself.
    drop((half_sent, slow));
    let until = Instant::now() + PATIENCE;
    while Client::connect(broker.address, "stranger", true).is_err() {
        assert!(Instant::now() < until, "nobody is let in any more");
    }
    let peak = broker.peak_kib();
    assert!(peak < BUDGET_KIB * 11 / 10, "{peak} KiB of {BUDGET_KIB}");
}

#[test]
fn a_queue_longer_than_the_budget_lies_in_the_store_and_all_of_it_comes() {
    let broker = Broker::start("queue", &["--queue-bytes-max", "1GiB", "--queue-memory-bytes-max", "1GiB"]);
    broker.client("away", false).subscribe("away/0");
    let mut publisher = broker.client("publisher", true);
    const COUNT: usize = 3200;
    for n in 0..COUNT {
        let mut payload = vec![0; 65_536];
        payload[..8].copy_from_slice(&n.to_be_bytes());
        publisher.publish_at_least_once("away/0", &payload);
    }
    broker.log_line(" of 128 MiB ");
    let mut back = broker.client("away", false);
    for n in 0..COUNT {
        let body = back.packet(0x32);
        let payload = &body[body.len() - 65_536..];
        assert_eq!(payload[..8], n.to_be_bytes());
        let id = [body[8], body[9]];
        back.0.write_all(&[0x40, 2, id[0], id[1]]).unwrap();
    }
    let peak = broker.peak_kib();
    assert!(peak < BUDGET_KIB * 11 / 10, "{peak} KiB of {BUDGET_KIB}");
}

/// What the brokers of these tests may take.
const BUDGET: &str = "128MiB";
const BUDGET_KIB: u64 = 128 * 1024;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

struct Broker {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
    log: Receiver<String>,
}

impl Broker {
    fn start(name: &str, more: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("siskin-memory-{name}-{}", std::process::id()));
        let mut child = Command::new(env!("CARGO_BIN_EXE_siskin"))
            .args(["serve", "--bind", "127.0.0.1:0", "--admin", "off", "--memory-max", BUDGET, "--store-dir"])
            .arg(&folder)
            .args(more)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (tell, log) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| drop(tell.send(line)));
        });
        let mut broker = Self { child, folder, address: ([127, 0, 0, 1], 0).into(), log };
        let line = broker.log_line("listening for ");
        let address = line.split(" on ").nth(1).unwrap().split_whitespace().next().unwrap();
        broker.address = address.parse().unwrap();
        broker
    }

    /// The next line of the log that has `text`.
    fn log_line(&self, text: &str) -> String {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{text} is not in the log"));
            if line.contains(text) {
                return line;
            }
        }
    }

    fn client(&self, id: &str, clean: bool) -> Client {
        Client::connect(self.address, id, clean).unwrap()
    }

    /// The most that was ever resident.
    fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
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

/// A 3.1.1 client that knows no more than these tests need.
struct Client(TcpStream);

impl Client {
    /// The error is the code of the CONNACK.
    fn connect(address: SocketAddr, id: &str, clean: bool) -> Result<Self, u8> {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut body = b"\0\x04MQTT\x04".to_vec();
        body.extend_from_slice(&[u8::from(clean) << 1, 0, 0, 0, id.len() as u8]);
        body.extend_from_slice(id.as_bytes());
        stream.write_all(&packet(0x10, &body)).unwrap();
        let mut client = Self(stream);
        match client.packet(0x20)[1] {
            0 => Ok(client),
            code => Err(code),
        }
    }

    fn subscribe(&mut self, filter: &str) {
        let mut body = vec![0, 1, 0, filter.len() as u8];
        body.extend_from_slice(filter.as_bytes());
        body.push(1);
        self.0.write_all(&packet(0x82, &body)).unwrap();
        assert_eq!(self.packet(0x90), [0, 1, 1]);
    }

    fn publish_at_least_once(&mut self, topic: &str, payload: &[u8]) {
        let mut body = vec![0, topic.len() as u8];
        body.extend_from_slice(topic.as_bytes());
        body.extend_from_slice(&[0, 1]);
        body.extend_from_slice(payload);
        self.0.write_all(&packet(0x32, &body)).unwrap();
        assert_eq!(self.packet(0x40), [0, 1]);
    }

    /// Writes to one whom the broker may have put out.
    fn try_write(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// The body of the next packet, which must begin with `first`.
    fn packet(&mut self, first: u8) -> Vec<u8> {
        let mut byte = [0];
        self.0.read_exact(&mut byte).unwrap();
        assert_eq!(byte[0], first);
        let (mut len, mut shift) = (0, 0);
        loop {
            self.0.read_exact(&mut byte).unwrap();
            len |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] < 0x80 {
                break;
            }
        }
        let mut body = vec![0; len];
        self.0.read_exact(&mut body).unwrap();
        body
    }
}

fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![0, topic.len() as u8];
    body.extend_from_slice(topic.as_bytes());
    body.extend_from_slice(payload);
    packet(0x30, &body)
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut len = body.len();
    loop {
        let more = if len > 0x7f { 0x80 } else { 0 };
        packet.push((len & 0x7f) as u8 | more);
        len >>= 7;
        if len == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}
