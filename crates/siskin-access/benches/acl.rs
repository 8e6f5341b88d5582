//! What an ACL file of 10,000 lines costs: to read, for each client, and for each message.
//!
//! `cargo bench -p siskin-access --bench acl`

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the clock and reports"
)]

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use siskin_access::acl::{Access, Acl, Who};

/// A file, the client that asks, and a topic with what should be the answer.
type Kind = (&'static str, fn() -> String, fn(usize) -> (String, bool));

const LINES: usize = 10_000;
const KINDS: [Kind; 5] = [
    (
        "exact topics of one user",
        || file("user bob\n", |n| format!("topic write building/{}/sensor/{n}/temperature\n", n % 100)),
        |n| (format!("building/{}/sensor/{n}/temperature", n % 100), true),
    ),
    (
        "wildcards of one user",
        || file("user bob\n", |n| format!("topic write building/+/sensor/{n}/#\n")),
        |n| (format!("building/{}/sensor/{n}/temperature", n % 100), true),
    ),
    (
        "one topic for each user",
        || {
            file("", |n| format!("user u{n}\ntopic write home/{n}/#\n"))
                + "user bob\ntopic write home/bob/+\n"
        },
        |n| (format!("home/bob/{n}"), true),
    ),
    (
        "patterns",
        || file("", |n| format!("pattern write {n}/%u/+/%c\n")),
        |n| (format!("{n}/bob/state/phone"), true),
    ),
    (
        "half denied, no match",
        || {
            file("user bob\n", |n| match n % 2 {
                0 => format!("topic deny +/{n}/#\n"),
                _ => format!("topic readwrite a/{n}/+\n"),
            })
        },
        |n| (format!("a/x{n}/c"), false),
    ),
];

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, wanted] = &arguments[..]
        && let Some((name, file, topic)) = KINDS.iter().find(|(name, ..)| name == wanted)
    {
        measure(name, &file(), *topic);
        return;
    }
    println!(
        "{:26} {:>8} {:>12} {:>12} {:>12}",
        "10,000 lines", "parse ms", "bytes a line", "client ns", "publish ns"
    );
    for (name, ..) in KINDS {
        // A process of its own, so that memory freed by one measurement is not taken for that of another.
        let program = std::env::current_exe().expect("this program");
        let status = Command::new(program).arg(name).status().expect("the same program again");
        assert!(status.success());
    }
}

fn measure(name: &str, text: &str, topic: fn(usize) -> (String, bool)) {
    let before = resident();
    let start = Instant::now();
    let acl = Acl::parse(text).expect("a good file");
    let parse = start.elapsed();
    let bytes = resident().saturating_sub(before);

    let who = Who { user: Some("bob"), client_id: "phone" };
    let clients = time(|| (0..LINES).for_each(|_| drop(black_box(acl.for_client(black_box(who))))));
    let rules = acl.for_client(who);
    // In no order, as messages come.
    let topics: Vec<_> = (0..LINES).map(|n| topic(n * 7919 % LINES)).collect();
    let publish = time(|| {
        for _ in 0..ROUNDS {
            for (topic, allowed) in &topics {
                assert_eq!(rules.check(Access::Write, topic).allowed, *allowed);
            }
        }
    });
    println!(
        "{name:26} {:>8.2} {:>12} {:>12.0} {:>12.0}",
        parse.as_secs_f64() * 1e3,
        bytes / LINES,
        each(clients, LINES),
        each(publish, ROUNDS * LINES),
    );
}

fn file(head: &str, line: fn(usize) -> String) -> String {
    (0..LINES).fold(head.to_owned(), |text, n| text + &line(n))
}

fn time(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

/// In nanoseconds.
fn each(time: Duration, number: usize) -> f64 {
    time.as_nanos() as f64 / number as f64
}

/// Bytes of memory in use by this process; 0 where the system does not tell.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

const ROUNDS: usize = 20;
