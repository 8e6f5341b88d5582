use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use siskin_server::config::Durability;

use crate::support::Broker;

/// Samples by name and labels, after all of the text was found to be as Prometheus wants it.
fn parsed(text: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut kinds, mut helped) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(helped.insert(help.split(' ').next().unwrap().to_owned()), "twice: {line}");
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(helped.contains(name), "without HELP: {line}");
            kinds.insert(name.to_owned(), kind.to_owned());
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let name = sample.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let is_histogram =
            family.is_some_and(|family| kinds.get(family).is_some_and(|kind| kind == "histogram"));
        assert!(kinds.contains_key(name) || is_histogram, "without TYPE: {line}");
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
        assert_eq!(samples.insert(sample.to_owned(), value.parse().unwrap()), None, "twice: {line}");
    }
    samples
}

#[test]
fn own_metrics_count_what_happens() {
    let broker = Broker::start();
    let mut client = broker.client("one");
    client.subscribe("a", 1);
    client.publish("x", b"12345", 1, true);
    client.ping();
    let samples = parsed(&broker.text("/metrics"));
    for (sample, value) in [
        ("siskin_info{node=\"siskin\",version=\"0.1.0\"}", 1.0),
        ("siskin_connections", 1.0),
        ("siskin_subscriptions", 1.0),
        ("siskin_retained_messages", 1.0),
        ("siskin_messages_received_total{qos=\"1\"}", 1.0),
        ("siskin_packets_received_total{type=\"SUBSCRIBE\"}", 1.0),
        ("siskin_payload_received_bytes_total", 5.0),
        ("siskin_messages_dropped_total{cause=\"queue_full\"}", 0.0),
        ("siskin_store_health{state=\"memory\"}", 1.0),
        ("siskin_queue_depth_messages_count", 0.0),
    ] {
        assert_eq!(samples.get(sample), Some(&value), "{sample} in {samples:#?}");
    }
    let connections: f64 =
        (0..2).map(|worker| samples[&format!("siskin_worker_connections{{worker=\"{worker}\"}}")]).sum();
    assert_eq!(connections, 1.0);
    assert!(samples["siskin_worker_turns_total{worker=\"0\"}"] > 0.0);
    assert!(samples["process_resident_memory_bytes"] > 1e6 && samples["process_open_fds"] > 3.0);
    assert!(samples["process_cpu_seconds_total"] > 0.0);
    broker.stop();
}

#[test]
fn queues_are_counted_by_their_depth() {
    let broker = Broker::start();
    let mut away = crate::support::Client::connect(&broker, "away", 2, 300);
    away.subscribe("q", 1);
    drop(away);
    while broker.get("/api/v1/clients/away")["connected"] == true {}
    let mut client = broker.client("one");
    for _ in 0..10 {
        client.publish("q", b"", 1, false);
    }
    let samples = parsed(&broker.text("/metrics"));
    // Depths of 0 to 9: one below 1, two up to 1, four up to 3, eight up to 7.
    for (end, count) in [("0", 1.0), ("1", 2.0), ("3", 4.0), ("7", 8.0), ("15", 10.0), ("+Inf", 10.0)] {
        let sample = format!("siskin_queue_depth_messages_bucket{{le=\"{end}\"}}");
        assert_eq!(samples.get(&sample), Some(&count), "{sample}");
    }
    assert_eq!(samples["siskin_queue_depth_messages_sum"], 45.0);
    assert_eq!(samples["siskin_messages_waiting"], 10.0);
    broker.stop();
}

#[test]
fn each_family_has_its_switch() {
    let families = |siskin, mosquitto, emqx| {
        let broker = Broker::with(|config| {
            config.admin.metrics = siskin_server::config::MetricFamilies { siskin, mosquitto, emqx };
        });
        let _client = broker.client("one");
        let text = broker.text("/metrics");
        let of_emqx = broker.text("/api/v5/prometheus/stats");
        broker.stop();
        (parsed(&text), parsed(&of_emqx))
    };
    let has = |samples: &BTreeMap<String, f64>| {
        ["siskin_connections", "broker_clients_connected", "emqx_live_connections_count"]
            .map(|name| samples.get(name) == Some(&1.0))
    };
    let (all, of_emqx) = families(true, true, true);
    assert_eq!((has(&all), has(&of_emqx)), ([true; 3], [false, false, true]));
    for name in [
        "broker_retained_messages_count",
        "broker_uptime",
        "broker_load_messages_received_1min",
        "emqx_connections_max",
        "emqx_packets_publish_received",
        "emqx_messages_dropped_no_subscribers",
        "emqx_delivery_dropped_queue_full",
        "emqx_client_connected",
        "emqx_session_created",
        "emqx_vm_used_memory",
    ] {
        assert!(all.contains_key(name), "{name} is not in {all:#?}");
    }
    assert_eq!(has(&families(true, true, false).0), [true, true, false]);
    assert_eq!(has(&families(false, false, true).0), [false, false, true]);
    assert!(families(false, false, false).0.is_empty());
}

/// The names in `text` that look like ours.
fn names(text: &str) -> BTreeSet<&str> {
    text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
        .filter(|word| word.starts_with("siskin_") || word.starts_with("process_"))
        .collect()
}

#[test]
fn every_metric_that_dashboard_and_alerts_use_is_there() {
    let directory = std::env::temp_dir().join(format!("siskin-metrics-{}", std::process::id()));
    let broker = Broker::with(|config| {
        config.store.durability = Durability::Written;
        config.store.directory.clone_from(&directory);
    });
    let text = broker.text("/metrics");
    broker.stop();
    std::fs::remove_dir_all(&directory).unwrap();
    let there: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .flat_map(|line| {
            let (name, kind) = line.split_once(' ').unwrap();
            match kind {
                "histogram" => ["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")).to_vec(),
                _ => vec![name.to_owned()],
            }
        })
        .collect();
    let contrib = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contrib");
    for file in ["grafana/siskin.json", "prometheus/alerts.yml"] {
        let text = std::fs::read_to_string(contrib.join(file)).unwrap();
        let used = names(&text);
        assert!(used.len() > 5, "{file} uses only {used:?}");
        for name in used {
            assert!(there.contains(name), "{file} uses {name}, which is not there");
        }
    }
}

#[test]
fn the_dashboard_is_json_whose_panels_do_not_overlap() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contrib/grafana/siskin.json");
    let board: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut taken = BTreeSet::new();
    for panel in board["panels"].as_array().unwrap() {
        let at = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(x < 24 && taken.insert((x, y)), "{} overlaps another panel", panel["title"]);
            }
        }
    }
}
