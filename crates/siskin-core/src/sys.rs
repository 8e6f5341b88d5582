//! The `$SYS` topics: the names that dashboards already know, and the numbers behind them.

use crate::shared::NodeInfo;
use crate::stats::Totals;
use crate::time::Now;

/// What one round of `$SYS` messages is made from.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot<'a> {
    /// The broker's name and version.
    pub node: &'a NodeInfo,
    /// Since the broker started, in milliseconds.
    pub uptime_ms: u64,
    /// All workers' counters.
    pub totals: &'a Totals,
    /// What is there now, and the most there ever was.
    pub gauges: &'a Gauges,
    /// Rates.
    pub loads: &'a Loads,
}

/// Numbers that come and go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub(crate) struct Gauges {
    pub connections: Gauge,
    pub sessions: Gauge,
    pub subscriptions: Gauge,
    pub shared_subscriptions: Gauge,
    pub filters: Gauge,
    pub retained: Gauge,
    pub retained_bytes: Gauge,
    pub heap_bytes: Gauge,
}

/// A number and its maximum so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gauge {
    /// Now.
    pub now: u64,
    /// The most there ever was.
    pub max: u64,
}

impl Gauge {
    /// It is `now`.
    pub(crate) fn set(&mut self, now: u64) {
        self.now = now;
        self.max = self.max.max(now);
    }
}

/// Rates per minute, averaged over 1, 5 and 15 minutes, as `load/...` has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loads {
    last: [u64; LOADS.len()],
    averages: [[f64; 3]; LOADS.len()],
}

impl Loads {
    /// The counters have come to `totals` after another `elapsed_ms`.
    pub(crate) fn advance(&mut self, totals: &Totals, elapsed_ms: u64) {
        if elapsed_ms == 0 {
            return;
        }
        let minutes = elapsed_ms as f64 / 60_000.0;
        for (place, (_, count)) in LOADS.iter().enumerate() {
            let count = count(totals);
            let rate = count.saturating_sub(self.last[place]) as f64 / minutes;
            self.last[place] = count;
            for (average, window) in self.averages[place].iter_mut().zip(WINDOWS) {
                *average += (rate - *average) * (1.0 - (-minutes / window.0).exp());
            }
        }
    }
}

/// Calls `publish` with each topic and its value.
pub(crate) fn publish_all(snapshot: &Snapshot<'_>, mut publish: impl FnMut(&str, &str)) {
    publish_broker(snapshot, &mut publish);
    publish_loads(snapshot.loads, &mut publish);
    publish_node(snapshot, &mut publish);
}

/// `$SYS/broker/...`
fn publish_broker(snapshot: &Snapshot<'_>, publish: &mut impl FnMut(&str, &str)) {
    let Snapshot { node, totals, gauges, uptime_ms, .. } = snapshot;
    // Many programs look for this word.
    publish("$SYS/broker/version", &format!("mosquitto version 2.1.0 (siskin {})", node.version));
    publish("$SYS/broker/uptime", &format!("{} seconds", uptime_ms / 1000));
    let disconnected = gauges.sessions.now.saturating_sub(gauges.connections.now);
    let numbers = [
        ("clients/total", gauges.sessions.now),
        ("clients/maximum", gauges.sessions.max),
        ("clients/disconnected", disconnected),
        ("clients/inactive", disconnected),
        ("clients/connected", gauges.connections.now),
        ("clients/active", gauges.connections.now),
        ("clients/expired", totals.sessions_expired),
        ("messages/stored", stored(totals, gauges)),
        ("store/messages/count", stored(totals, gauges)),
        ("store/messages/bytes", totals.stored_bytes + gauges.retained_bytes.now),
        ("subscriptions/count", gauges.subscriptions.now),
        ("shared_subscriptions/count", gauges.shared_subscriptions.now),
        ("retained messages/count", gauges.retained.now),
        ("heap/current", gauges.heap_bytes.now),
        ("heap/maximum", gauges.heap_bytes.max),
        ("messages/received", received(totals)),
        ("messages/sent", sent(totals)),
        ("bytes/received", totals.bytes_received),
        ("bytes/sent", totals.bytes_sent),
        ("publish/bytes/received", totals.publish_bytes_received),
        ("publish/bytes/sent", totals.publish_bytes_sent),
        ("publish/messages/received", totals.messages_received.iter().sum()),
        ("publish/messages/sent", totals.messages_sent.iter().sum()),
        ("publish/messages/dropped", dropped(totals)),
        ("connections/socket/count", totals.connected),
    ];
    for (name, value) in numbers {
        publish(&format!("$SYS/broker/{name}"), &value.to_string());
    }
}

fn publish_loads(loads: &Loads, publish: &mut impl FnMut(&str, &str)) {
    for ((name, _), averages) in LOADS.iter().zip(&loads.averages) {
        for (average, window) in averages.iter().zip(WINDOWS) {
            publish(&format!("$SYS/broker/load/{name}/{}", window.1), &format!("{average:.2}"));
        }
    }
}

/// `$SYS/brokers` and `$SYS/brokers/NODE/...`
fn publish_node(snapshot: &Snapshot<'_>, publish: &mut impl FnMut(&str, &str)) {
    let Snapshot { node, totals, gauges, uptime_ms, .. } = snapshot;
    let root = format!("$SYS/brokers/{}", node.name);
    publish("$SYS/brokers", &node.name);
    publish(&format!("{root}/version"), &node.version);
    publish(&format!("{root}/sysdescr"), "Siskin MQTT broker");
    publish(&format!("{root}/uptime"), &uptime_ms.to_string());
    publish(&format!("{root}/datetime"), &rfc3339(node.started_unix_ms + uptime_ms));
    let gauges = [
        ("connections", gauges.connections),
        ("live_connections", gauges.connections),
        ("sessions", gauges.sessions),
        ("cluster_sessions", gauges.sessions),
        ("channels", gauges.sessions),
        ("topics", gauges.filters),
        ("routes", gauges.filters),
        ("subscribers", gauges.subscriptions),
        ("subscriptions", gauges.subscriptions),
        ("subscriptions/shared", gauges.shared_subscriptions),
        ("suboptions", gauges.subscriptions),
        ("retained", gauges.retained),
    ];
    for (name, gauge) in gauges {
        publish(&format!("{root}/stats/{name}/count"), &gauge.now.to_string());
        publish(&format!("{root}/stats/{name}/max"), &gauge.max.to_string());
    }
    let mut metric = |name: &str, value: u64| {
        publish(&format!("{root}/metrics/{name}"), &value.to_string());
    };
    metric("bytes/received", totals.bytes_received);
    metric("bytes/sent", totals.bytes_sent);
    metric("packets/received", received(totals));
    metric("packets/sent", sent(totals));
    for (kind, name, is_received, is_sent) in PACKETS {
        if is_received {
            metric(&format!("packets/{name}/received"), totals.packets_received[kind]);
        }
        if is_sent {
            metric(&format!("packets/{name}/sent"), totals.packets_sent[kind]);
        }
    }
    let messages_received: u64 = totals.messages_received.iter().sum();
    let messages_sent: u64 = totals.messages_sent.iter().sum();
    metric("messages/received", messages_received);
    metric("messages/sent", messages_sent);
    metric("messages/publish", messages_received);
    metric("messages/delivered", messages_sent);
    metric("messages/acked", totals.acknowledged);
    metric("messages/retained", totals.retained_received);
    metric("messages/dropped", dropped(totals) + totals.no_subscribers);
    metric("messages/dropped/no_subscribers", totals.no_subscribers);
    let over_quota = totals.dropped_retained_full + totals.dropped_over_quota;
    metric("messages/dropped/quota_exceeded", over_quota);
    for qos in 0..3 {
        metric(&format!("messages/qos{qos}/received"), totals.messages_received[qos]);
        metric(&format!("messages/qos{qos}/sent"), totals.messages_sent[qos]);
    }
    metric("delivery/dropped", dropped(totals));
    metric("delivery/dropped/expired", totals.dropped_expired);
    metric("delivery/dropped/no_local", totals.dropped_no_local);
    metric("delivery/dropped/queue_full", totals.dropped_queue_full);
    metric("delivery/dropped/too_large", totals.dropped_too_large);
    metric("delivery/dropped/qos0_msg", totals.dropped_slow_reader);
    metric("client/connect", totals.connected + totals.refused);
    metric("client/connack", totals.packets_sent[2]);
    metric("client/connected", totals.connected);
    metric("client/disconnected", totals.disconnected);
    metric("client/subscribe", totals.subscribes);
    metric("client/unsubscribe", totals.unsubscribes);
    metric("client/ping", totals.packets_received[12]);
    metric("session/created", totals.sessions_created);
    metric("session/resumed", totals.sessions_resumed);
    metric("session/takenover", totals.sessions_taken_over);
    metric("session/discarded", totals.sessions_discarded);
    metric("session/terminated", totals.sessions_terminated);
}

fn received(totals: &Totals) -> u64 {
    totals.packets_received.iter().sum()
}

fn sent(totals: &Totals) -> u64 {
    totals.packets_sent.iter().sum()
}

fn dropped(totals: &Totals) -> u64 {
    totals.dropped_queue_full + totals.dropped_expired + totals.dropped_too_large + totals.dropped_slow_reader
}

fn stored(totals: &Totals, gauges: &Gauges) -> u64 {
    totals.stored_messages + gauges.retained.now
}

/// A moment in UTC, to the second.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March have their leap day at the end.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// When a round is due, in milliseconds: aligned to the interval, as counted since the start.
pub(crate) fn next_round(now: Now, interval_s: u32) -> Now {
    let interval = u64::from(interval_s) * 1000;
    Now::from_millis((now.as_millis() / interval + 1) * interval)
}

type Count = fn(&Totals) -> u64;

const LOADS: [(&str, Count); 9] = [
    ("messages/received", received),
    ("messages/sent", sent),
    ("publish/dropped", dropped),
    ("publish/received", |totals| totals.messages_received.iter().sum()),
    ("publish/sent", |totals| totals.messages_sent.iter().sum()),
    ("bytes/received", |totals| totals.bytes_received),
    ("bytes/sent", |totals| totals.bytes_sent),
    ("sockets", |totals| totals.connected + totals.refused),
    ("connections", |totals| totals.connected),
];

const WINDOWS: [(f64, &str); 3] = [(1.0, "1min"), (5.0, "5min"), (15.0, "15min")];

/// Packet type, its name in a topic, whether a broker receives it, whether it sends it.
const PACKETS: [(usize, &str, bool, bool); 15] = [
    (1, "connect", true, false),
    (2, "connack", false, true),
    (3, "publish", true, true),
    (4, "puback", true, true),
    (5, "pubrec", true, true),
    (6, "pubrel", true, true),
    (7, "pubcomp", true, true),
    (8, "subscribe", true, false),
    (9, "suback", false, true),
    (10, "unsubscribe", true, false),
    (11, "unsuback", false, true),
    (12, "pingreq", true, false),
    (13, "pingresp", false, true),
    (14, "disconnect", true, true),
    (15, "auth", true, true),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn published() -> std::collections::BTreeMap<String, String> {
        let node = NodeInfo { name: "n1".into(), version: "0.1.0".into(), started_unix_ms: 951_782_400_000 };
        let mut totals =
            Totals { bytes_received: 7, dropped_expired: 2, no_subscribers: 3, ..Totals::default() };
        totals.messages_received = [1, 2, 3];
        let mut gauges = Gauges::default();
        gauges.connections.set(5);
        gauges.sessions.set(9);
        gauges.sessions.set(8);
        let mut loads = Loads::default();
        loads.advance(&totals, 60_000);
        let snapshot =
            Snapshot { node: &node, uptime_ms: 12_345, totals: &totals, gauges: &gauges, loads: &loads };
        let mut values = std::collections::BTreeMap::new();
        publish_all(&snapshot, |topic, value| {
            assert!(values.insert(topic.to_owned(), value.to_owned()).is_none(), "{topic} twice");
        });
        values
    }

    #[test]
    fn the_names_that_mosquitto_dashboards_read_are_there() {
        let values = published();
        assert!(values["$SYS/broker/version"].starts_with("mosquitto version "));
        assert_eq!(values["$SYS/broker/uptime"], "12 seconds");
        assert_eq!(values["$SYS/broker/clients/total"], "8");
        assert_eq!(values["$SYS/broker/clients/maximum"], "9");
        assert_eq!(values["$SYS/broker/clients/inactive"], "3");
        assert_eq!(values["$SYS/broker/bytes/received"], "7");
        assert_eq!(values["$SYS/broker/publish/messages/received"], "6");
        assert_eq!(values["$SYS/broker/publish/messages/dropped"], "2");
        assert_eq!(values["$SYS/broker/retained messages/count"], "0");
        assert_eq!(values.keys().filter(|topic| topic.starts_with("$SYS/broker/load/")).count(), 27);
    }

    #[test]
    fn the_counters_by_node_are_there() {
        let values = published();
        assert_eq!(values["$SYS/brokers"], "n1");
        assert_eq!(values["$SYS/brokers/n1/datetime"], "2000-02-29T00:00:12Z");
        assert_eq!(values["$SYS/brokers/n1/stats/connections/count"], "5");
        assert_eq!(values["$SYS/brokers/n1/stats/sessions/max"], "9");
        assert_eq!(values["$SYS/brokers/n1/metrics/messages/qos2/received"], "3");
        assert_eq!(values["$SYS/brokers/n1/metrics/messages/dropped/no_subscribers"], "3");
        assert_eq!(values["$SYS/brokers/n1/metrics/delivery/dropped/expired"], "2");
        assert!(!values.contains_key("$SYS/brokers/n1/metrics/packets/connect/sent"));
    }

    #[test]
    fn a_load_approaches_the_rate_faster_in_the_shorter_window() {
        let values = published();
        let load = |window: &str| -> f64 {
            values[&format!("$SYS/broker/load/publish/received/{window}")].parse().unwrap()
        };
        assert!(load("1min") > load("5min") && load("5min") > load("15min"));
        assert!(load("1min") < 6.0);
    }

    #[test]
    fn rounds_are_aligned() {
        assert_eq!(next_round(Now::from_millis(0), 10), Now::from_millis(10_000));
        assert_eq!(next_round(Now::from_millis(10_000), 10), Now::from_millis(20_000));
        assert_eq!(next_round(Now::from_millis(12_345), 10), Now::from_millis(20_000));
    }
}
