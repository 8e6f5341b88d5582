//! What an idle connection and a subscription cost a running broker in memory.
//!
//! ```sh
//! siskin serve -p 21883 & # or any other broker
//! cargo run --release -p siskin-testkit --example scale -- 127.0.0.1:21883 $! 18000 1000000
//! ```
//!
//! It opens that many connections, makes that many subscriptions on a few of them, reads the broker's
//! resident memory before and after each, shows that all of them are served, and leaves.

#![allow(clippy::print_stdout)] // It is there to say what it measured.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use siskin_proto::{
    Connect, FrameStatus, Packet, PacketId, PingReq, Properties, Publish, Qos, Reason, Subscribe,
    SubscriptionOptions, TopicFilter, TopicName, Version, decode, frame,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, pid, connections, subscriptions] = &arguments[..] else {
        return Err("usage: scale ADDRESS BROKER_PID CONNECTIONS SUBSCRIPTIONS".into());
    };
    let pid: u32 = pid.parse()?;
    let (connections, subscriptions): (usize, usize) = (connections.parse()?, subscriptions.parse()?);
    let start = resident_bytes(pid)?;
    println!("at start: {} KiB", start / 1024);

    let began = Instant::now();
    let mut clients = Vec::with_capacity(connections);
    for number in 0..connections {
        clients.push(Client::connect(address, &format!("scale-{number}"))?);
    }
    let elapsed = began.elapsed();
    std::thread::sleep(SETTLE);
    let idle = resident_bytes(pid)?;
    report("idle connection", connections, idle.saturating_sub(start), elapsed);
    for client in &mut clients {
        client.ping()?;
    }
    println!("all {connections} answer a PINGREQ");

    let began = Instant::now();
    subscribe(&mut clients, subscriptions)?;
    let elapsed = began.elapsed();
    std::thread::sleep(SETTLE);
    let subscribed = resident_bytes(pid)?;
    report("subscription", subscriptions, subscribed.saturating_sub(idle), elapsed);
    check_routes(&mut clients, subscriptions)?;
    println!("publishes among them reach their one subscriber");
    Ok(())
}

/// A half of the filters exact, a quarter with `+`, a quarter with `#`.
fn filter(number: usize) -> String {
    match number % 4 {
        0 | 1 => format!("site/{}/device/{number}/state", number % 100),
        2 => format!("site/+/device/{number}/state"),
        _ => format!("site/{}/device/{number}/#", number % 100),
    }
}

fn subscribe(clients: &mut [Client], subscriptions: usize) -> Outcome<()> {
    let members = clients.len().min(MEMBERS);
    for first in (0..subscriptions).step_by(BATCH) {
        let texts: Vec<String> = (first..subscriptions.min(first + BATCH)).map(filter).collect();
        let client = &mut clients[first / BATCH % members];
        let options = SubscriptionOptions { qos: Qos::AtMostOnce, ..Default::default() };
        let filters = texts.iter().map(|text| Ok((TopicFilter::parse(text)?, options)));
        client.send(&Packet::Subscribe(Subscribe {
            packet_id: PacketId::new(1).ok_or("0")?,
            properties: Properties::EMPTY,
            filters: filters.collect::<Outcome<_>>()?,
        }))?;
        client.expect(
            |packet| matches!(packet, Packet::SubAck(s) if s.reasons.iter().all(|r| !r.is_error())),
        )?;
    }
    Ok(())
}

fn check_routes(clients: &mut [Client], subscriptions: usize) -> Outcome<()> {
    let members = clients.len().min(MEMBERS);
    for number in (0..subscriptions).step_by((subscriptions / 1000).max(1)) {
        let topic = format!("site/{}/device/{number}/state", number % 100);
        clients[members].send(&Packet::Publish(Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic: Some(TopicName::parse(&topic)?),
            packet_id: None,
            properties: Properties::EMPTY,
            payload: b"x",
        }))?;
        clients[number / BATCH % members].expect(|packet| matches!(packet, Packet::Publish(_)))?;
    }
    Ok(())
}

struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    fn connect(address: &str, client_id: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream, unread: Vec::new() };
        client.send(&Packet::Connect(Connect {
            version: Version::V3_1_1,
            clean_start: true,
            keep_alive_s: 600,
            client_id,
            will: None,
            user_name: None,
            password: None,
            properties: Properties::EMPTY,
            bridge: false,
        }))?;
        client.expect(|packet| matches!(packet, Packet::ConnAck(c) if c.reason == Reason::Success))?;
        Ok(client)
    }

    fn ping(&mut self) -> Outcome<()> {
        self.send(&Packet::PingReq(PingReq))?;
        self.expect(|packet| matches!(packet, Packet::PingResp(_)))
    }

    fn send(&mut self, packet: &Packet<'_>) -> Outcome<()> {
        let mut bytes = Vec::new();
        packet.encode(Version::V3_1_1, &mut bytes);
        Ok(self.stream.write_all(&bytes)?)
    }

    fn expect(&mut self, is_it: impl Fn(&Packet<'_>) -> bool) -> Outcome<()> {
        loop {
            if let FrameStatus::Complete(whole) = frame(&self.unread, u32::MAX)? {
                let packet = decode(whole, Version::V3_1_1)?;
                let len = whole.len;
                if !is_it(&packet) {
                    return Err(format!("{packet:?} came").into());
                }
                self.unread.drain(..len);
                if self.unread.is_empty() {
                    self.unread = Vec::new();
                }
                return Ok(());
            }
            let mut bytes = [0; 4096];
            let read = self.stream.read(&mut bytes)?;
            if read == 0 {
                return Err("the broker closed a connection".into());
            }
            self.unread.extend_from_slice(&bytes[..read]);
        }
    }
}

fn report(what: &str, count: usize, bytes: u64, elapsed: Duration) {
    let each = bytes as f64 / count.max(1) as f64;
    let micros = elapsed.as_secs_f64() * 1e6 / count.max(1) as f64;
    println!("{count} times {what}: {each:.0} bytes each, {micros:.1} µs each, client included");
}

fn resident_bytes(pid: u32) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).ok_or("no number")?.parse()?;
    Ok(kib * 1024)
}

/// Filters in one SUBSCRIBE.
const BATCH: usize = 500;

/// Clients that share the subscriptions.
const MEMBERS: usize = 100;

/// Nothing that works takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Memory is read when the broker has been idle for this long.
const SETTLE: Duration = Duration::from_secs(1);
