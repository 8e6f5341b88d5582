//! Our own metrics: one table, from which help, type and samples come.

use std::time::Duration;

use siskin_core::store::Health;
use siskin_core::{HistogramTotals, NodeInfo, Pressure, Totals};
use siskin_proto::PacketKind;
use siskin_server::{
    Broker, Expiry, FilesView, ListenerView, MemoryView, ProcessView, StoreFigures, WorkerView,
};

use super::text::{Family, Kind, Text};
use crate::v1::overview;

/// Everything that the metrics are made from, at one moment.
pub(super) struct Reading {
    node: NodeInfo,
    uptime: Duration,
    totals: Totals,
    process: ProcessView,
    files: FilesView,
    workers: Vec<WorkerView>,
    listeners: Vec<ListenerView>,
    expiries: Vec<Expiry>,
    store: Option<(Health, StoreFigures)>,
    subscriptions: usize,
    shared_subscriptions: usize,
    filters: usize,
    retained: (usize, usize),
    stories: (usize, u64),
    memory: MemoryView,
}

impl Reading {
    pub(super) fn of(broker: &Broker) -> Self {
        let shared = broker.shared();
        Self {
            node: shared.node().clone(),
            uptime: overview::uptime(broker),
            totals: shared.totals(),
            process: broker.process(),
            files: broker.files(),
            workers: broker.worker_views(),
            listeners: broker.listeners(),
            expiries: broker.tls_expiries(),
            store: broker.store_health().zip(broker.store_figures()),
            subscriptions: shared.router.subscriptions(),
            shared_subscriptions: shared.router.shared_subscriptions(),
            filters: shared.router.filters(),
            retained: overview::retained(broker),
            stories: shared.gone_size(),
            memory: broker.memory(),
        }
    }
}

/// A metric.
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    write: Write,
}

/// How its samples come from a reading.
enum Write {
    /// One number.
    Value(fn(&Reading) -> f64),
    /// One of the totals.
    Total(fn(&Totals) -> u64),
    /// One of the store's figures; without a store there is none.
    Store(fn(&StoreFigures) -> f64),
    /// Samples with labels, or a histogram.
    Samples(fn(&Reading, &mut Family<'_>)),
}

/// Writes all of the table.
pub(super) fn write(reading: &Reading, text: &mut Text) {
    for metric in METRICS {
        if matches!(metric.write, Write::Store(_)) && reading.store.is_none() {
            continue;
        }
        let mut family = text.family(metric.name, metric.help, metric.kind);
        match metric.write {
            Write::Value(value) => family.value(value(reading)),
            Write::Total(total) => family.value(total(&reading.totals) as f64),
            Write::Store(figure) => {
                if let Some((_, figures)) = &reading.store {
                    family.value(figure(figures));
                }
            }
            Write::Samples(write) => write(reading, &mut family),
        }
    }
}

const fn counter(name: &'static str, help: &'static str, write: Write) -> Metric {
    Metric { name, help, kind: Kind::Counter, write }
}

const fn gauge(name: &'static str, help: &'static str, write: Write) -> Metric {
    Metric { name, help, kind: Kind::Gauge, write }
}

const fn histogram(name: &'static str, help: &'static str, write: fn(&Reading, &mut Family<'_>)) -> Metric {
    Metric { name, help, kind: Kind::Histogram, write: Write::Samples(write) }
}

/// All of them, in the order in which they are shown.
#[rustfmt::skip]
static METRICS: &[Metric] = &[
    gauge("siskin_info", "Which broker this is; always 1.", Write::Samples(info)),
    gauge("siskin_uptime_seconds", "How long the broker has been running.",
        Write::Value(|reading| reading.uptime.as_secs_f64())),

    gauge("siskin_connections", "Connections that there are.", Write::Total(|totals| totals.connections)),
    gauge("siskin_sessions", "Sessions that there are, connected or not.", Write::Total(|totals| totals.sessions)),
    counter("siskin_connections_accepted_total", "CONNECT packets accepted.", Write::Total(|totals| totals.connected)),
    counter("siskin_connections_ended_total", "Connections that ended.", Write::Total(|totals| totals.disconnected)),
    counter("siskin_connections_refused_total", "CONNECT packets refused.", Write::Total(|totals| totals.refused)),
    counter("siskin_sessions_created_total", "Sessions begun.", Write::Total(|totals| totals.sessions_created)),
    counter("siskin_sessions_resumed_total", "Sessions gone on with.", Write::Total(|totals| totals.sessions_resumed)),
    counter("siskin_sessions_taken_over_total", "Connections ended because their client id connected again.",
        Write::Total(|totals| totals.sessions_taken_over)),
    counter("siskin_sessions_discarded_total", "Sessions thrown away by a clean start.",
        Write::Total(|totals| totals.sessions_discarded)),
    counter("siskin_sessions_expired_total", "Sessions that ended because their time was over.",
        Write::Total(|totals| totals.sessions_expired)),
    counter("siskin_sessions_terminated_total", "Sessions that ended for any reason.",
        Write::Total(|totals| totals.sessions_terminated)),

    gauge("siskin_subscriptions", "Subscriptions that there are.", Write::Value(|reading| reading.subscriptions as f64)),
    gauge("siskin_shared_subscriptions", "Those of them that are shared.",
        Write::Value(|reading| reading.shared_subscriptions as f64)),
    gauge("siskin_topic_filters", "Different filters that are subscribed to.",
        Write::Value(|reading| reading.filters as f64)),
    counter("siskin_subscribes_total", "SUBSCRIBE packets handled.", Write::Total(|totals| totals.subscribes)),
    counter("siskin_unsubscribes_total", "UNSUBSCRIBE packets handled.", Write::Total(|totals| totals.unsubscribes)),
    gauge("siskin_retained_messages", "Retained messages.", Write::Value(|reading| reading.retained.0 as f64)),
    gauge("siskin_retained_bytes", "Bytes of retained messages.", Write::Value(|reading| reading.retained.1 as f64)),

    counter("siskin_packets_received_total", "Packets that came in, by type.",
        Write::Samples(|reading, family| packets(&reading.totals.packets_received, family))),
    counter("siskin_packets_sent_total", "Packets that went out, by type.",
        Write::Samples(|reading, family| packets(&reading.totals.packets_sent, family))),
    counter("siskin_received_bytes_total", "Bytes of packets that came in.",
        Write::Total(|totals| totals.bytes_received)),
    counter("siskin_sent_bytes_total", "Bytes of packets that went out.", Write::Total(|totals| totals.bytes_sent)),
    counter("siskin_messages_received_total", "PUBLISH packets that came in, by QoS.",
        Write::Samples(|reading, family| by_qos(&reading.totals.messages_received, family))),
    counter("siskin_messages_sent_total", "PUBLISH packets that went out, by QoS.",
        Write::Samples(|reading, family| by_qos(&reading.totals.messages_sent, family))),
    counter("siskin_payload_received_bytes_total", "Payload bytes of PUBLISH packets that came in.",
        Write::Total(|totals| totals.publish_bytes_received)),
    counter("siskin_payload_sent_bytes_total", "Payload bytes of PUBLISH packets that went out.",
        Write::Total(|totals| totals.publish_bytes_sent)),
    counter("siskin_messages_acknowledged_total", "Deliveries acknowledged to their end.",
        Write::Total(|totals| totals.acknowledged)),
    counter("siskin_messages_dropped_total", "Messages that a client did not get, by cause.", Write::Samples(drops)),
    counter("siskin_messages_unmatched_total", "Messages that no subscription matched.",
        Write::Total(|totals| totals.no_subscribers)),
    gauge("siskin_messages_waiting", "Messages in queues and windows, once for each session.",
        Write::Total(|totals| totals.stored_messages)),
    gauge("siskin_messages_waiting_bytes", "Bytes of these.", Write::Total(|totals| totals.stored_bytes)),
    histogram("siskin_queue_depth_messages", "Messages that waited for a session before the one that joined them.",
        queue_depths),
    histogram("siskin_acknowledgement_wait_seconds",
        "Time from a PUBLISH to its PUBACK or PUBREC, where that had to wait until the message was safe.",
        acknowledgement_waits),

    gauge("siskin_worker_connections", "Connections of each worker.", Write::Samples(|reading, family| {
        workers(reading, family, |worker| f64::from(worker.connections));
    })),
    counter("siskin_worker_busy_seconds_total", "Time in which a worker did not wait for something to do.",
        Write::Samples(|reading, family| workers(reading, family, |worker| worker.busy.as_secs_f64()))),
    counter("siskin_worker_turns_total", "Turns of each worker's loop.",
        Write::Samples(|reading, family| workers(reading, family, |worker| worker.turns as f64))),
    gauge("siskin_listener_connections", "Connections that came through each listener.", Write::Samples(listeners)),
    gauge("siskin_tls_expiry_timestamp_seconds", "When a certificate or revocation list ends, in seconds since 1970.",
        Write::Samples(expiries)),

    gauge("siskin_store_health", "How the store is: 1 for the state it is in.", Write::Samples(health)),
    gauge("siskin_store_records", "Records that are alive.", Write::Store(|figures| figures.records as f64)),
    gauge("siskin_store_live_bytes", "Bytes of these.", Write::Store(|figures| figures.live_bytes as f64)),
    gauge("siskin_store_segments", "Files of the journal.", Write::Store(|figures| figures.segments as f64)),
    gauge("siskin_store_segment_bytes", "Bytes of these.", Write::Store(|figures| figures.segment_bytes as f64)),
    counter("siskin_store_written_bytes_total", "Bytes written.", Write::Store(|figures| figures.bytes_written as f64)),
    counter("siskin_store_copied_bytes_total", "Bytes of these that were copied forward to reclaim space.",
        Write::Store(|figures| figures.bytes_copied as f64)),
    counter("siskin_store_syncs_total", "Syncs of files.", Write::Store(|figures| figures.syncs as f64)),
    counter("siskin_store_failures_total", "Operations that the system refused.",
        Write::Store(|figures| figures.failures as f64)),
    gauge("siskin_store_unsafe_batches", "Batches that are not safe yet.", Write::Store(|figures| figures.lag as f64)),
    histogram("siskin_store_sync_seconds", "How long syncs took.", sync_times),
    histogram("siskin_store_commit_bytes", "How many bytes became safe at once.", commit_sizes),

    gauge("siskin_recorder_stories", "Clients without a session whose stories are kept.",
        Write::Value(|reading| reading.stories.0 as f64)),
    gauge("siskin_recorder_bytes", "Bytes of these.", Write::Value(|reading| reading.stories.1 as f64)),

    gauge("siskin_memory_max_bytes", "Memory that the process should not exceed (memory_max); 0 for no limit.",
        Write::Value(|reading| reading.memory.max.unwrap_or(0) as f64)),
    gauge("siskin_memory_held_bytes", "Memory that the broker knows what it is for, as of some seconds ago.",
        Write::Samples(held)),
    gauge("siskin_memory_pressure", "What is done about memory: 1 for the present state.", Write::Samples(pressure)),

    gauge("process_resident_memory_bytes", "Resident memory size in bytes.",
        Write::Value(|reading| reading.process.resident_bytes as f64)),
    counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.",
        Write::Value(|reading| reading.process.cpu.as_secs_f64())),
    gauge("process_open_fds", "Number of open file descriptors.",
        Write::Value(|reading| reading.files.open as f64)),
    gauge("process_max_fds", "Maximum number of open file descriptors.",
        Write::Value(|reading| reading.files.max as f64)),
    gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.",
        Write::Value(|reading| reading.node.started_unix_ms as f64 / 1000.0)),
];

fn info(reading: &Reading, family: &mut Family<'_>) {
    family.labelled(&[("node", &reading.node.name), ("version", &reading.node.version)], 1.0);
}

fn packets(counts: &[u64; 16], family: &mut Family<'_>) {
    for (number, count) in (0..).zip(counts) {
        if let Some(kind) = PacketKind::from_u8(number) {
            family.labelled(&[("type", kind.name())], *count as f64);
        }
    }
}

fn by_qos(counts: &[u64; 3], family: &mut Family<'_>) {
    for (qos, count) in counts.iter().enumerate() {
        family.labelled(&[("qos", &qos.to_string())], *count as f64);
    }
}

fn drops(reading: &Reading, family: &mut Family<'_>) {
    for (cause, count) in overview::drops(&reading.totals) {
        family.labelled(&[("cause", cause)], count as f64);
    }
}

fn workers(reading: &Reading, family: &mut Family<'_>, value: fn(&WorkerView) -> f64) {
    for (number, worker) in reading.workers.iter().enumerate() {
        family.labelled(&[("worker", &number.to_string())], value(worker));
    }
}

fn listeners(reading: &Reading, family: &mut Family<'_>) {
    for view in &reading.listeners {
        family.labelled(&[("listener", &view.listener.to_string())], f64::from(view.connections));
    }
}

/// The earliest of each file: one may serve several listeners.
fn expiries(reading: &Reading, family: &mut Family<'_>) {
    let mut seen = std::collections::BTreeMap::new();
    for expiry in &reading.expiries {
        let earliest = seen.entry(expiry.path.display().to_string()).or_insert(expiry.unix_s);
        *earliest = expiry.unix_s.min(*earliest);
    }
    for (file, unix_s) in seen {
        family.labelled(&[("file", &file)], unix_s as f64);
    }
}

fn health(reading: &Reading, family: &mut Family<'_>) {
    let present = overview::health_name(reading.store.as_ref().map(|(health, _)| *health));
    for state in ["memory", "good", "behind", "tight", "full", "failing"] {
        family.labelled(&[("state", state)], f64::from(u8::from(state == present)));
    }
}

fn held(reading: &Reading, family: &mut Family<'_>) {
    for (what, bytes) in reading.memory.held() {
        family.labelled(&[("for", what)], bytes as f64);
    }
}

fn pressure(reading: &Reading, family: &mut Family<'_>) {
    for pressure in [Pressure::Calm, Pressure::Short, Pressure::Critical] {
        let is_present = pressure == reading.memory.pressure;
        family.labelled(&[("state", pressure.name())], f64::from(u8::from(is_present)));
    }
}

fn queue_depths(reading: &Reading, family: &mut Family<'_>) {
    let depths = &reading.totals.queue_depths;
    // A range of whole numbers below a power of two ends one before it.
    family.histogram(ranges(depths, |end| end - 1.0), depths.sum as f64);
}

fn acknowledgement_waits(reading: &Reading, family: &mut Family<'_>) {
    let waits = &reading.totals.acknowledgement_waits;
    family.histogram(ranges(waits, |end_ms| end_ms / 1000.0), waits.sum as f64 / 1000.0);
}

fn ranges(totals: &HistogramTotals, end: impl Fn(f64) -> f64) -> impl Iterator<Item = (f64, u64)> {
    totals.counts.iter().enumerate().map(move |(range, count)| (end((1_u64 << range) as f64), *count))
}

fn sync_times(reading: &Reading, family: &mut Family<'_>) {
    if let Some((_, figures)) = &reading.store {
        let times = &figures.sync_times;
        let end_s = |range: usize| (64_u64 << range) as f64 / 1e6;
        let ranges = times.histogram.iter().enumerate().map(|(range, count)| (end_s(range), *count));
        family.histogram(ranges, times.total.as_secs_f64());
    }
}

fn commit_sizes(reading: &Reading, family: &mut Family<'_>) {
    if let Some((_, figures)) = &reading.store {
        let sizes = &figures.commit_sizes;
        let end = |range: usize| (256_u64 << range) as f64 - 1.0;
        let ranges = sizes.histogram.iter().enumerate().map(|(range, count)| (end(range), *count));
        family.histogram(ranges, sizes.total as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_end_in_what_they_are() {
        for (place, metric) in METRICS.iter().enumerate() {
            let name = metric.name;
            assert!(METRICS[place + 1..].iter().all(|other| other.name != name), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert!(metric.help.ends_with(['.', '1']), "{name}: {}", metric.help);
        }
    }
}
