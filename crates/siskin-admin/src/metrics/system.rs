//! The names of others, made from the `$SYS` topics that they are made from everywhere.

use siskin_core::store::Health;

use super::text::{Kind, Text};
use crate::app::App;

/// Writes `$SYS/broker/...` as mosquitto-exporter does: without `$SYS/`, and `_` for what a name cannot have.
pub(super) fn write_mosquitto(values: &[(String, String)], text: &mut Text) {
    for (topic, value) in values {
        let Some(name) = topic.strip_prefix("$SYS/").filter(|name| name.starts_with("broker/")) else {
            continue;
        };
        let Some(number) = number(value) else { continue };
        let kind = if is_mosquitto_counter(name) { Kind::Counter } else { Kind::Gauge };
        text.family(&underscored(name), &format!("{topic} of Mosquitto."), kind).value(number);
    }
}

/// Writes `$SYS/brokers/NODE/stats/...` and `.../metrics/...` as EMQX does.
pub(super) fn write_emqx(app: &App, values: &[(String, String)], text: &mut Text) {
    let root = format!("$SYS/brokers/{}/", app.broker().shared().node().name);
    for (topic, value) in values {
        let Some(path) = topic.strip_prefix(&root) else { continue };
        let (kind, name) = match path.split_once('/') {
            Some(("stats", name)) => (Kind::Gauge, name),
            Some(("metrics", name)) => (Kind::Counter, name),
            _ => continue,
        };
        let Some(number) = number(value) else { continue };
        text.family(&format!("emqx_{}", underscored(name)), &format!("{path} of EMQX."), kind).value(number);
    }
    let process = app.broker().process();
    let mut gauge = |name, help, value| text.family(name, help, Kind::Gauge).value(value);
    gauge("emqx_vm_used_memory", "Bytes of memory that the process holds.", process.resident_bytes as f64);
    gauge("emqx_cluster_nodes_running", "Nodes that run.", 1.0);
    let certificates = app.broker().tls_expiries().into_iter().filter(|expiry| expiry.is_certificate);
    if let Some(unix_s) = certificates.map(|expiry| expiry.unix_s).min() {
        gauge(
            "emqx_cert_expiry_at",
            "When the first certificate ends, in seconds since 1970.",
            unix_s as f64,
        );
    }
    let is_in_trouble = app.broker().store_health().is_some_and(|health| !Health::may_promise(health));
    gauge("emqx_alarms_active", "Whether the store is in trouble.", f64::from(u8::from(is_in_trouble)));
}

/// The number that a value begins with: "17 seconds" is 17.
fn number(value: &str) -> Option<f64> {
    value.split(' ').next()?.parse().ok()
}

fn underscored(name: &str) -> String {
    name.replace(['/', ' ', '-', '.'], "_")
}

/// The topics that mosquitto-exporter takes for counters.
fn is_mosquitto_counter(name: &str) -> bool {
    const COUNTERS: [&str; 13] = [
        "broker/bytes/received",
        "broker/bytes/sent",
        "broker/messages/received",
        "broker/messages/sent",
        "broker/publish/bytes/received",
        "broker/publish/bytes/sent",
        "broker/publish/messages/received",
        "broker/publish/messages/sent",
        "broker/publish/messages/dropped",
        "broker/uptime",
        "broker/clients/maximum",
        "broker/clients/total",
        "broker/connections/socket/count",
    ];
    COUNTERS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_become_names_and_values_numbers() {
        let value = |topic: &str, value: &str| (topic.to_owned(), value.to_owned());
        let mut text = Text::default();
        let values = [
            value("$SYS/broker/retained messages/count", "3"),
            value("$SYS/broker/version", "mosquitto version 2"),
            value("$SYS/broker/uptime", "17 seconds"),
            value("$SYS/brokers/a/uptime", "5"),
        ];
        write_mosquitto(&values, &mut text);
        let text = text.finish();
        assert!(
            text.contains(
                "\n# TYPE broker_retained_messages_count gauge\nbroker_retained_messages_count 3\n"
            )
        );
        assert!(text.ends_with("# TYPE broker_uptime counter\nbroker_uptime 17\n"), "{text}");
        assert!(!text.contains("version") && !text.contains("brokers"), "{text}");
    }
}
