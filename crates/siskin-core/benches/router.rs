//! What a subscription costs, in time and memory, and what a route costs among many.
//!
//! `cargo bench -p siskin-core --bench router`

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the clock and reports"
)]

use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use siskin_core::SessionKey;
use siskin_core::router::{Router, Routes, Subscriber};
use siskin_proto::{SubscriptionOptions, TopicFilter};

/// The filter of a number, and a topic that it matches.
type Kind = fn(usize) -> (String, String);

const KINDS: [(&str, Kind); 5] = [
    ("exact", exact),
    ("devices/N/#", |n| (format!("devices/{n}/#"), format!("devices/{n}/state"))),
    ("site/+/device/N", site),
    ("+/device/N/+", |n| (format!("+/device/{n}/+"), format!("a/device/{n}/state"))),
    ("half wild", |n| match n % 4 {
        0 => site(n),
        1 => (format!("devices/{n}/#"), format!("devices/{n}/state")),
        _ => exact(n),
    }),
];

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, name, number] = &arguments[..]
        && let Some((name, kind)) = KINDS.iter().find(|(known, _)| known == name)
    {
        measure(name, number.parse().expect("a number"), *kind);
        return;
    }
    println!(
        "{:16} {:>9} {:>13} {:>14} {:>11} {:>11} {:>9} {:>15}",
        "filters",
        "number",
        "subscribe µs",
        "bytes, + text",
        "version ns",
        "route, hot",
        "cold ns",
        "unsubscribe µs"
    );
    for number in [200_000, 1_000_000] {
        for (name, _) in KINDS {
            in_own_process(name, number);
        }
    }
    fan_out(100_000);
}

/// A process of its own, so that memory freed by one measurement is not taken for that of another.
fn in_own_process(name: &str, number: usize) {
    let program = std::env::current_exe().expect("this program");
    let status =
        Command::new(program).args([name, &number.to_string()]).status().expect("the same program again");
    assert!(status.success());
}

fn exact(n: usize) -> (String, String) {
    let topic = format!("building/{}/sensor/{n}/temperature", n % 1000);
    (topic.clone(), topic)
}

fn site(n: usize) -> (String, String) {
    (format!("site{}/+/device/{n}", n % 500), format!("site{}/a/device/{n}", n % 500))
}

fn measure(name: &str, number: usize, kind: Kind) {
    let before = resident();
    let texts: Vec<Arc<str>> = (0..number).map(|n| kind(n).0.into()).collect();
    let of_text = resident() - before;
    let router = Router::new(7);
    let subscribe = time(|| {
        for (n, text) in texts.iter().enumerate() {
            router.subscribe(TopicFilter::parse(text).expect("a filter"), text, subscriber(n));
        }
    });
    let bytes = resident() - before - of_text;

    let topics: Vec<_> = (0..100_000).map(|n| kind(n * 7919 % number).1).collect();
    let mut routes = Routes::default();
    let mut route = |topics: &[String]| {
        time(|| {
            for topic in topics {
                router.route(topic, &mut routes);
                assert_eq!(routes.plain.len(), 1);
            }
        })
    };
    let cold = route(&topics);
    let hot = (0..100).map(|_| route(&topics[..1000])).sum();
    let version = time(|| {
        for topic in &topics {
            black_box(router.version(&router.watch(topic)));
        }
    });
    let unsubscribe = time(|| {
        for (n, text) in texts.iter().enumerate() {
            router.unsubscribe(TopicFilter::parse(text).expect("a filter"), subscriber(n).session);
        }
    });
    println!(
        "{name:16} {number:>9} {:>13.2} {:>7} + {:>4} {:>11.0} {:>11.0} {:>9.0} {:>15.2}",
        each(subscribe, number) / 1e3,
        bytes / number,
        of_text / number,
        each(version, topics.len()),
        each(hot, topics.len()),
        each(cold, topics.len()),
        each(unsubscribe, number) / 1e3,
    );
}

/// Many clients on one filter.
fn fan_out(number: usize) {
    let text: Arc<str> = "news".into();
    let filter = TopicFilter::parse(&text).expect("a filter");
    let before = resident();
    let router = Router::new(7);
    let subscribe =
        time(|| (0..number).for_each(|n| assert!(router.subscribe(filter, &text, subscriber(n)))));
    let bytes = resident() - before;
    let mut routes = Routes::default();
    let route = time(|| (0..10).for_each(|_| router.route(&text, &mut routes)));
    let unsubscribe =
        time(|| (0..number).for_each(|n| assert!(router.unsubscribe(filter, subscriber(n).session))));
    println!(
        "{number} clients on one filter: subscribe {:.2} µs, {} bytes, unsubscribe {:.2} µs, route {:.1} ns a client",
        each(subscribe, number) / 1e3,
        bytes / number,
        each(unsubscribe, number) / 1e3,
        each(route, 10 * number),
    );
}

fn subscriber(n: usize) -> Subscriber {
    let session = SessionKey::new((n % 2) as u16, 0, n as u32);
    Subscriber { session, options: SubscriptionOptions::default(), id: None }
}

fn time(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

fn each(time: Duration, number: usize) -> f64 {
    time.as_nanos() as f64 / number as f64
}

/// Bytes of memory in use by this process; 0 where the system does not tell.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}
