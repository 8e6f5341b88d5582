//! What happens each second: counters looked at by one task, for whoever wants to see them move.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;
use siskin_core::{Now, Totals};
use siskin_server::{Broker, ProcessView, WorkerView};
use tokio::time::{MissedTickBehavior, interval};
use utoipa::ToSchema;

use crate::app::App;

/// The last minutes, second by second.
#[derive(Default)]
pub(crate) struct Rates {
    seconds: VecDeque<Second>,
    last: Option<Reading>,
}

/// All counters at one moment.
struct Reading {
    taken: Instant,
    totals: Totals,
    process: ProcessView,
    workers: Vec<WorkerView>,
}

/// What a broker did in one second, and how much it held at its end. Numbers of what was done are per second.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct Second {
    /// The end of the second, in milliseconds since 1970.
    pub(crate) unix_ms: u64,
    /// PUBLISH packets that came in.
    pub(crate) messages_received: f64,
    /// PUBLISH packets that went out.
    pub(crate) messages_sent: f64,
    /// Bytes of packets that came in.
    pub(crate) bytes_received: f64,
    /// Bytes of packets that went out.
    pub(crate) bytes_sent: f64,
    /// Messages that a client should have had and did not get.
    pub(crate) messages_dropped: f64,
    /// Clients that came.
    pub(crate) connected: f64,
    /// Clients that left.
    pub(crate) disconnected: f64,
    /// Connections that there are.
    pub(crate) connections: u64,
    /// Sessions that there are.
    pub(crate) sessions: u64,
    /// Messages that wait in queues and windows.
    pub(crate) messages_waiting: u64,
    /// Bytes of these.
    pub(crate) bytes_waiting: u64,
    /// Bytes of memory that the process holds.
    pub(crate) memory_bytes: u64,
    /// Processors that the process keeps busy.
    pub(crate) cpu: f64,
    /// For each worker the part of the second, from 0 to 1, in which it had something to do.
    pub(crate) workers_busy: Vec<f64>,
}

impl Rates {
    /// Up to `most` of the last seconds, oldest first.
    pub(crate) fn last(&self, most: usize) -> Vec<Second> {
        let skipped = self.seconds.len().saturating_sub(most);
        self.seconds.iter().skip(skipped).cloned().collect()
    }

    fn advance(&mut self, reading: Reading, now: Now) {
        if let Some(last) = &self.last {
            if self.seconds.len() >= SECONDS_MAX {
                self.seconds.pop_front();
            }
            self.seconds.push_back(reading.since(last, now));
        }
        self.last = Some(reading);
    }
}

impl Reading {
    fn of(broker: &Broker) -> Self {
        Self {
            taken: Instant::now(),
            totals: broker.shared().totals(),
            process: broker.process(),
            workers: broker.worker_views(),
        }
    }

    fn since(&self, last: &Self, now: Now) -> Second {
        let seconds = self.taken.duration_since(last.taken).as_secs_f64().max(f64::MIN_POSITIVE);
        let (these, those) = (&self.totals, &last.totals);
        let rate =
            |count: fn(&Totals) -> u64| rounded(count(these).saturating_sub(count(those)) as f64 / seconds);
        let share =
            |now: Duration, before: Duration| rounded(now.saturating_sub(before).as_secs_f64() / seconds);
        let workers = self.workers.iter().zip(&last.workers);
        Second {
            unix_ms: now.as_millis(),
            messages_received: rate(|totals| totals.messages_received.iter().sum()),
            messages_sent: rate(|totals| totals.messages_sent.iter().sum()),
            bytes_received: rate(|totals| totals.bytes_received),
            bytes_sent: rate(|totals| totals.bytes_sent),
            messages_dropped: rate(dropped),
            connected: rate(|totals| totals.connected),
            disconnected: rate(|totals| totals.disconnected),
            connections: these.connections,
            sessions: these.sessions,
            messages_waiting: these.stored_messages,
            bytes_waiting: these.stored_bytes,
            memory_bytes: self.process.resident_bytes,
            cpu: share(self.process.cpu, last.process.cpu),
            workers_busy: workers.map(|(now, before)| share(now.busy, before.busy).min(1.0)).collect(),
        }
    }
}

/// Messages that a client should have had and did not get, for whatever cause.
pub(crate) fn dropped(totals: &Totals) -> u64 {
    totals.dropped_queue_full
        + totals.dropped_expired
        + totals.dropped_too_large
        + totals.dropped_slow_reader
        + totals.dropped_unreadable
}

/// Looks at the counters every second for as long as it is polled.
pub(crate) async fn sample(app: App) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (reading, now) = (Reading::of(app.broker()), app.broker().now());
        app.rates().advance(reading, now);
    }
}

/// Three decimals are enough for anybody.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

/// Ten minutes.
pub(crate) const SECONDS_MAX: usize = 600;

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(taken: Instant, count: u64, busy_ms: u64) -> Reading {
        let process = ProcessView { resident_bytes: 7, cpu: Duration::from_millis(busy_ms) };
        let totals = Totals { messages_received: [count, 0, 0], connections: 3, ..Totals::default() };
        let worker = WorkerView { connections: 3, turns: 1, busy: Duration::from_millis(busy_ms) };
        Reading { taken, totals, process, workers: vec![worker] }
    }

    #[test]
    fn rates_are_by_the_second_however_long_it_was() {
        let start = Instant::now();
        let mut rates = Rates::default();
        rates.advance(reading(start, 100, 0), Now::from_millis(0));
        assert!(rates.last(10).is_empty());
        rates.advance(reading(start + Duration::from_secs(2), 500, 500), Now::from_millis(2000));
        let last = rates.last(10);
        assert_eq!((last.len(), last[0].messages_received, last[0].connections), (1, 200.0, 3));
        assert_eq!((last[0].cpu, last[0].workers_busy.as_slice()), (0.25, &[0.25][..]));
    }

    #[test]
    fn only_the_last_minutes_are_kept() {
        let start = Instant::now();
        let mut rates = Rates::default();
        for second in 0..=SECONDS_MAX as u64 + 10 {
            rates.advance(reading(start + Duration::from_secs(second), second, 0), Now::from_millis(second));
        }
        assert_eq!(rates.last(usize::MAX).len(), SECONDS_MAX);
        assert_eq!(rates.last(2)[1].unix_ms, SECONDS_MAX as u64 + 10);
    }
}
