//! What it costs to store a retained message, and to find it for a subscriber, among many.
//!
//! `cargo bench -p siskin-core --bench retained`

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the clock and reports"
)]

use std::time::{Duration, Instant};

use siskin_core::retained::{Page, Retained};
use siskin_core::{Message, Now, Parts};
use siskin_proto::{Properties, Qos};

const PAGE: Page = Page { matches: 64, visits: 256 };

fn main() {
    for number in [10_000, 1_000_000] {
        measure(number);
    }
}

fn measure(number: usize) {
    let before = resident();
    let mut retained = Retained::new(usize::MAX, usize::MAX, 7);
    let store = |retained: &mut Retained| {
        let start = Instant::now();
        for n in 0..number {
            // In no order, as clients come.
            let replaced = retained.insert(message(n * 7919 % number));
            assert!(replaced.is_ok());
        }
        start.elapsed()
    };
    let insert = store(&mut retained);
    let bytes = resident() - before;
    let replace = store(&mut retained);
    let topics: Vec<_> = (0..number).step_by(10).map(|n| topic(n * 104_729 % number)).collect();
    let start = Instant::now();
    assert!(topics.iter().all(|topic| retained.get(topic).is_some()));
    let get = start.elapsed();
    println!(
        "{number} messages: insert {:.2} µs, {} bytes, replace {:.2} µs, get {:.2} µs",
        each(insert, number),
        bytes / number,
        each(replace, number),
        each(get, topics.len()),
    );
    for filter in ["#", "building/+/sensor/+/temperature", "building/7/#", "+/+/sensor/77/#", "+/+/+/+/none"]
    {
        deliver(&retained, filter);
    }
}

fn deliver(retained: &Retained, filter: &str) {
    let (mut found, mut longest, mut total) = (0, Duration::ZERO, Duration::ZERO);
    let mut out = Vec::new();
    let mut after = None::<String>;
    loop {
        let start = Instant::now();
        after = retained.page(filter, after.as_deref(), PAGE, Now::default(), &mut out);
        let took = start.elapsed();
        longest = longest.max(took);
        total += took;
        found += out.len();
        out.clear();
        if after.is_none() {
            break;
        }
    }
    println!("    {filter:32} {found:>8} found in {total:>10.1?}, longest page {longest:.1?}");
}

fn topic(n: usize) -> String {
    format!("building/{}/sensor/{n}/temperature", n % 1000)
}

fn message(n: usize) -> Message {
    let parts = Parts {
        topic: &topic(n),
        properties: Properties::EMPTY,
        payload: &[0; 64],
        qos: Qos::AtMostOnce,
        retain: true,
        publisher: None,
        received_at: Now::default(),
        expires_at: None,
        kept_until: None,
        record: None,
    };
    Message::new(parts, None)
}

/// In microseconds.
fn each(time: Duration, number: usize) -> f64 {
    time.as_nanos() as f64 / number as f64 / 1e3
}

/// Bytes of memory in use by this process; 0 where the system does not tell.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}
