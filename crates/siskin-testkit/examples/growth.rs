//! How each cost grows: sessions, subscriptions, retained and queued messages, from a thousand to millions.
//!
//! ```sh
//! cargo run --release -p siskin-testkit --example growth             # all, as Markdown; takes two minutes and 3 GB
//! cargo run --release -p siskin-testkit --example growth sessions 1000000
//! ```
//!
//! One worker, the same code that serves sockets, with transports that are numbers: what the kernel adds is not in here.
//! Each figure comes from a process of its own. Bytes are resident memory, the allocator's waste included.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement reads the clock and reports"
)]

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use siskin_core::{Limits, SessionKey};
use siskin_proto::{Packet, PingReq, Publish, Qos};
use siskin_testkit::bare::{Bare, bytes, connect, connect_with_keep_alive, subscribe};
use siskin_testkit::publish;

/// A thing that grows, what its columns mean, and how far it goes.
struct Kind {
    name: &'static str,
    columns: &'static str,
    most: usize,
    measure: fn(usize) -> Vec<String>,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "sessions",
        columns: "connected sessions | bytes each | connect µs | publish to all: µs each | PINGREQ µs | a minute of \
                  keep alive: ms",
        most: 1_000_000,
        measure: sessions,
    },
    Kind {
        name: "absent",
        columns: "sessions without a connection | bytes each | connect and leave µs | come back µs",
        most: 1_000_000,
        measure: absent,
    },
    Kind {
        name: "subscriptions",
        columns: "subscriptions | bytes each | subscribe µs | publish to one of them, first time µs | again µs",
        most: 5_000_000,
        measure: subscriptions,
    },
    Kind {
        name: "retained",
        columns: "retained messages | bytes each | store µs | replace µs | deliver to a new subscriber µs each",
        most: 1_000_000,
        measure: retained,
    },
    Kind {
        name: "queued",
        columns: "queued messages of one session | bytes each | queue µs | deliver µs",
        most: 1_000_000,
        measure: queued,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => KINDS.iter().for_each(table),
        [name, number] => {
            let kind = KINDS.iter().find(|kind| kind.name == name);
            let (Some(kind), Ok(number)) = (kind, number.parse()) else { return usage() };
            println!("{}", (kind.measure)(number).join(" | "));
        }
        [name] => match KINDS.iter().find(|kind| kind.name == name) {
            Some(kind) => table(kind),
            None => return usage(),
        },
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
    eprintln!("usage: growth [{} [NUMBER]]", names.join("|"));
    ExitCode::from(2)
}

fn table(kind: &Kind) {
    let columns = kind.columns.split(" | ").count();
    println!("\n| {} |\n|{}", kind.columns, "---:|".repeat(columns));
    for number in [1_000, 10_000, 100_000, 1_000_000, 5_000_000] {
        if number > kind.most {
            break;
        }
        let program = std::env::current_exe().expect("this program has a path");
        let output = Command::new(program).args([kind.name, &number.to_string()]).output();
        let output = output.expect("this program can be started again");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        println!("| {number} | {} |", String::from_utf8_lossy(&output.stdout).trim());
    }
}

fn sessions(number: usize) -> Vec<String> {
    let (mut broker, before) = (broker(), resident());
    let mut keys = Vec::with_capacity(number);
    let (connecting, ()) = time(|| {
        for n in 0..number {
            keys.push(broker.connect(&connect_with_keep_alive(&format!("client-{n}"), 60)));
            if n % TURN == 0 {
                broker.discard();
            }
        }
        broker.discard();
    });
    let grown = resident() - before;
    let subscribes = subscribe("to/all", Qos::AtMostOnce);
    for key in &keys {
        broker.send(*key, &subscribes);
    }
    broker.discard();
    let message = message("to/all", Qos::AtMostOnce, 1, false);
    broker.send(keys[0], &message);
    assert_eq!(broker.discard(), number * message.len());
    let (publishing, delivered) = time(|| {
        broker.send(keys[0], &message);
        broker.discard()
    });
    assert_eq!(delivered, number * message.len());
    broker.advance_ms(60_000);
    let ping = bytes(&Packet::PingReq(PingReq));
    let (pinging, answered) = time(|| {
        let mut answered = 0;
        for turn in keys.chunks(TURN) {
            turn.iter().for_each(|key| broker.send(*key, &ping));
            answered += broker.discard();
        }
        answered
    });
    assert_eq!(answered, 2 * number);
    let (ticking, ()) = time(|| (0..60).for_each(|_| broker.advance_ms(1000)));
    assert_eq!(broker.worker().connections(), number, "all were heard of in time");
    vec![
        each_bytes(grown, number),
        each_us(connecting, number),
        each_us(publishing, number),
        each_us(pinging, number),
        format!("{:.1}", ticking.as_secs_f64() * 1e3),
    ]
}

fn absent(number: usize) -> Vec<String> {
    let (mut broker, before) = (broker(), resident());
    let leave = bytes(&Packet::Disconnect(siskin_proto::Disconnect {
        reason: siskin_proto::Reason::Success,
        properties: siskin_proto::Properties::EMPTY,
    }));
    let visit = |broker: &mut Bare| {
        for n in 0..number {
            let key = broker.connect(&connect(&format!("client-{n}"), true));
            broker.send(key, &leave);
            broker.discard();
        }
    };
    let (first, ()) = time(|| visit(&mut broker));
    let grown = resident() - before;
    let (again, ()) = time(|| visit(&mut broker));
    assert_eq!(broker.worker().sessions(), number);
    vec![each_bytes(grown, number), each_us(first, number), each_us(again, number)]
}

fn subscriptions(number: usize) -> Vec<String> {
    let mut broker = Bare::with(Limits { subscriptions_max: u32::MAX, ..Limits::default() });
    let clients: Vec<SessionKey> =
        (0..CLIENTS).map(|n| broker.connect(&connect(&format!("client-{n}"), false))).collect();
    let publisher = broker.connect(&connect("publisher", false));
    broker.discard();
    let before = resident();
    let (subscribing, ()) = time(|| {
        for n in 0..number {
            broker.send(clients[n % CLIENTS], &subscribe(&filter(n), Qos::AtMostOnce));
            if n % TURN == 0 {
                broker.discard();
            }
        }
        broker.discard();
    });
    let grown = resident() - before;
    let messages: Vec<_> =
        (0..SAMPLE).map(|n| message(&topic(n * 7919 % number), Qos::AtMostOnce, 1, false)).collect();
    let publish_all = |broker: &mut Bare| {
        for message in &messages {
            broker.send(publisher, message);
            assert_eq!(broker.discard(), message.len(), "it has one receiver");
        }
    };
    let (first, ()) = time(|| publish_all(&mut broker));
    let (again, ()) = time(|| publish_all(&mut broker));
    vec![
        each_bytes(grown, number),
        each_us(subscribing, number),
        each_us(first, SAMPLE),
        each_us(again, SAMPLE),
    ]
}

fn retained(number: usize) -> Vec<String> {
    let limits =
        Limits { retained_messages_max: u32::MAX, retained_bytes_max: u64::MAX, ..Limits::default() };
    let mut broker = Bare::with(limits);
    let client = broker.connect(&connect("client", false));
    broker.discard();
    let before = resident();
    let store = |broker: &mut Bare| {
        for n in 0..number {
            // In no order, as clients come.
            broker.send(client, &message(&topic(n * 7919 % number), Qos::AtMostOnce, 1, true));
        }
        broker.discard();
    };
    let (storing, ()) = time(|| store(&mut broker));
    let grown = resident() - before;
    let (replacing, ()) = time(|| store(&mut broker));
    let (delivering, ()) = time(|| {
        broker.send(client, &subscribe("site/#", Qos::AtMostOnce));
        while broker.discard() > 0 {}
    });
    vec![
        each_bytes(grown, number),
        each_us(storing, number),
        each_us(replacing, number),
        each_us(delivering, number),
    ]
}

fn queued(number: usize) -> Vec<String> {
    let limits = Limits { queue_messages_max: u32::MAX, queue_bytes_max: u64::MAX, ..Limits::default() };
    let mut broker = Bare::with(limits);
    let publisher = broker.connect(&connect("publisher", false));
    let comes = connect("subscriber", true);
    let key = broker.connect(&comes);
    broker.send(key, &subscribe("site/#", Qos::AtLeastOnce));
    broker.close(key);
    broker.discard();
    let before = resident();
    let (queueing, ()) = time(|| {
        for n in 0..number {
            broker.send(publisher, &message(&topic(n), Qos::AtLeastOnce, 1, false));
            broker.discard();
        }
    });
    let grown = resident() - before;
    let (delivering, delivered) = time(|| {
        let key = broker.connect(&comes);
        let (mut acks, mut delivered) = (Vec::new(), 0);
        loop {
            broker.turn(|from, taken| {
                if from == key {
                    delivered += siskin_testkit::bare::acknowledge(taken, &mut acks);
                }
            });
            if acks.is_empty() {
                return delivered;
            }
            broker.send(key, &acks);
            acks.clear();
        }
    });
    assert_eq!(delivered, number);
    vec![each_bytes(grown, number), each_us(queueing, number), each_us(delivering, number)]
}

fn broker() -> Bare {
    Bare::new()
}

fn message(topic: &str, qos: Qos, packet_id: u16, retain: bool) -> Vec<u8> {
    bytes(&Packet::Publish(Publish { retain, ..publish(topic, &[b'x'; 64], qos, packet_id) }))
}

/// A half of the filters exact, a quarter with `+`, a quarter with `#`.
fn filter(n: usize) -> String {
    match n % 4 {
        0 | 1 => topic(n),
        2 => format!("site/+/device/{n}/state"),
        _ => format!("site/{}/device/{n}/#", n % 100),
    }
}

fn topic(n: usize) -> String {
    format!("site/{}/device/{n}/state", n % 100)
}

fn time<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

fn each_us(total: Duration, number: usize) -> String {
    format!("{:.2}", total.as_secs_f64() * 1e6 / number as f64)
}

fn each_bytes(total: usize, number: usize) -> String {
    format!("{:.0}", total as f64 / number as f64)
}

/// Bytes of memory that this process holds.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has this line");
    line.trim().trim_end_matches("kB").trim().parse::<usize>().expect("a number") * 1024
}

/// Clients that are heard in one turn.
const TURN: usize = 64;

/// Clients that have all the subscriptions.
const CLIENTS: usize = 100;

/// Messages of which the mean is taken.
const SAMPLE: usize = 1000;
