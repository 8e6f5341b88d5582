//! Every scenario, small, against a whole broker through real sockets: all counts are exact.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use siskin_bench::{BenchError, Options, Plan, Report, Scenario, WindowOn, run};
use siskin_proto::{Qos, Version};
use siskin_server::{Config, Server};

const ALL_QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

fn broker() -> Server {
    let mut config = Config { workers: 2, ..Config::default() };
    config.listeners = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()];
    config.limits.sys_interval_s = 0;
    config.store.durability = siskin_server::config::Durability::Memory;
    Server::start(config).unwrap()
}

fn attempt(
    server: &Server,
    scenario: Scenario,
    change: impl FnOnce(&mut Options),
) -> Result<Report, BenchError> {
    let mut options = Options::new(scenario);
    options.host = "127.0.0.1".to_owned();
    options.port = server.addresses()[0].port();
    options.threads = Some(2);
    options.clients = Some(10);
    change(&mut options);
    run(Plan::new(options)?, &mut |_| {})
}

#[track_caller]
fn good(server: &Server, scenario: Scenario, change: impl FnOnce(&mut Options)) -> Report {
    let report = attempt(server, scenario, change).unwrap();
    assert_eq!(report.failures(), [""; 0], "{report}");
    assert_eq!(
        (report.lost.unwrap_or(0), report.counts.duplicated, report.counts.misordered),
        (0, 0, 0),
        "{report}"
    );
    assert_eq!(
        (report.counts.foreign, report.counts.corrupted, report.unacknowledged),
        (0, 0, 0),
        "{report}"
    );
    assert_eq!(report.counts.received, report.counts.expected, "{report}");
    report
}

#[test]
fn pairs_at_every_qos_and_in_every_version() {
    let server = broker();
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        for qos in ALL_QOS {
            let report = good(&server, Scenario::Pairs, |options| {
                options.version = version;
                options.qos = Some(qos);
                options.messages = Some(2005);
                options.window = Some(16);
            });
            assert_eq!((report.counts.sent, report.counts.received), (2005, 2005));
            assert_eq!(report.counts.received_bytes, 2005 * 64);
            assert_eq!(report.delivery.unwrap().count, 2005);
            let acknowledged = if qos == Qos::AtMostOnce { None } else { Some(2005) };
            assert_eq!(report.acknowledgement.map(|summary| summary.count), acknowledged);
            assert_eq!(report.connect.unwrap().count, 20);
        }
    }
    server.stop();
}

#[test]
fn a_run_that_time_ends_still_accounts_for_everything() {
    let server = broker();
    for qos in ALL_QOS {
        let report = good(&server, Scenario::Pairs, |options| {
            options.qos = Some(qos);
            options.duration = Some(Duration::from_millis(100));
        });
        assert!(report.counts.sent > 0 && report.received_per_s().unwrap() > 0.0);
    }
    server.stop();
}

#[test]
fn publishers_without_subscribers_are_only_counted() {
    let server = broker();
    for qos in ALL_QOS {
        let report = good(&server, Scenario::Pairs, |options| {
            options.subscribers = Some(0);
            options.messages = Some(10_000);
            options.qos = Some(qos);
        });
        assert_eq!((report.counts.sent, report.counts.expected), (10_000, 0));
    }
    server.stop();
}

#[test]
fn fanout_gives_every_subscriber_every_message() {
    let server = broker();
    for window_on in [WindowOn::Acknowledgement, WindowOn::Arrival] {
        let report = good(&server, Scenario::Fanout, |options| {
            options.messages = Some(100);
            options.qos = Some(Qos::AtLeastOnce);
            options.window_on = Some(window_on);
        });
        assert_eq!((report.counts.sent, report.counts.received), (100, 1000));
    }
    server.stop();
}

#[test]
fn fanin_gives_one_subscriber_all_messages() {
    let server = broker();
    let report = good(&server, Scenario::Fanin, |options| options.messages = Some(1000));
    assert_eq!((report.counts.sent, report.counts.received), (1000, 1000));
    server.stop();
}

#[test]
fn a_shared_subscription_gets_each_message_once_whichever_thread_has_the_member() {
    let server = broker();
    for qos in ALL_QOS {
        let report = good(&server, Scenario::Shared, |options| {
            options.messages = Some(1000);
            options.qos = Some(qos);
            options.subscribers = Some(3);
        });
        assert_eq!((report.counts.expected, report.counts.received), (1000, 1000));
    }
    server.stop();
}

#[test]
fn of_many_filters_one_brings_each_message() {
    let server = broker();
    let report = good(&server, Scenario::Wildcard, |options| {
        options.filters_each = Some(250);
        options.messages = Some(1000);
    });
    assert_eq!((report.counts.sent, report.counts.received), (1000, 1000));
    server.stop();
}

#[test]
fn connections_come_and_go_as_often_as_they_are_told() {
    let server = broker();
    let report = good(&server, Scenario::Connect, |options| options.cycles = Some(55));
    assert_eq!((report.counts.cycles, report.connect.unwrap().count, report.counts.sent), (55, 55, 0));
    let report = good(&server, Scenario::Connect, |options| {
        options.cycles = Some(30);
        options.connect_rate_per_s = Some(1000.0);
        options.each = Some(2);
        options.qos = Some(Qos::ExactlyOnce);
    });
    assert_eq!((report.counts.cycles, report.counts.sent, report.counts.acknowledged), (30, 60, 60));
    server.stop();
}

#[test]
fn what_short_lived_connections_publish_arrives() {
    let server = broker();
    for qos in ALL_QOS {
        let report = good(&server, Scenario::Churn, |options| {
            options.cycles = Some(55);
            options.each = Some(3);
            options.qos = Some(qos);
        });
        assert_eq!((report.counts.cycles, report.counts.sent, report.counts.received), (55, 165, 165));
    }
    server.stop();
}

#[test]
fn idle_connections_come_from_all_source_addresses() {
    let server = broker();
    let report = good(&server, Scenario::Idle, |options| {
        options.clients = Some(100);
        options.sources = (1..=5).map(|last| Ipv4Addr::new(127, 0, 0, last).into()).collect();
        options.hold = Duration::from_millis(50);
        options.keep_alive_s = 60;
        options.pid = Some(std::process::id());
    });
    assert_eq!(report.connect.unwrap().count, 100);
    assert!(report.rss_per_connection().is_some());
    server.stop();
}

#[test]
fn retained_messages_are_stored_handed_out_and_cleared() {
    let server = broker();
    let retained = |keep, messages| {
        move |options: &mut Options| {
            options.messages = Some(messages);
            options.keep = keep;
        }
    };
    let report = good(&server, Scenario::Retained, retained(false, 500));
    assert_eq!((report.counts.sent, report.counts.received), (500, 500));
    // Had they not been cleared, more would come than are sent now.
    let report = good(&server, Scenario::Retained, retained(true, 100));
    assert_eq!(report.counts.received, 100);
    let report = attempt(&server, Scenario::Retained, retained(false, 50)).unwrap();
    assert_eq!((report.counts.received, report.counts.foreign), (50, 50));
    server.stop();
}

#[test]
fn messages_wait_for_who_is_away() {
    let server = broker();
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let report = good(&server, Scenario::Offline, |options| {
                options.version = version;
                options.publishers = Some(16);
                options.subscribers = Some(4);
                options.messages = Some(800);
                options.qos = Some(qos);
            });
            assert_eq!((report.counts.sent, report.counts.received), (800, 800));
            let names: Vec<_> =
                report.stages.iter().filter(|stage| stage.is_measured).map(|stage| stage.name).collect();
            assert_eq!(names, ["store", "resume", "drain"]);
        }
    }
    server.stop();
}

#[test]
fn one_run_leaves_messages_and_another_comes_for_them() {
    let server = broker();
    let stored = attempt(&server, Scenario::Offline, |options| {
        options.messages = Some(500);
        options.keep = true;
    })
    .unwrap();
    assert_eq!(stored.failures(), [""; 0]);
    assert_eq!((stored.counts.sent, stored.counts.received, stored.lost), (500, 0, None));
    let drain = |options: &mut Options| {
        options.messages = Some(500);
        options.drain_only = true;
    };
    let report = good(&server, Scenario::Offline, drain);
    assert_eq!((report.counts.sent, report.counts.received), (0, 500));
    // Whoever comes again finds that the sessions are gone.
    let error = attempt(&server, Scenario::Offline, drain).unwrap_err().to_string();
    assert!(error.contains("did not keep the session"), "{error}");
    server.stop();
}

#[test]
fn in_open_loop_exactly_what_is_due_is_sent() {
    let server = broker();
    for qos in ALL_QOS {
        let report = good(&server, Scenario::Latency, |options| {
            options.qos = Some(qos);
            options.rate_per_s = Some(2000.0);
            options.duration = Some(Duration::from_millis(250));
        });
        assert_eq!((report.counts.sent, report.counts.received), (500, 500));
    }
    // Faster than anybody is: all the same nothing is left out.
    let report = good(&server, Scenario::Latency, |options| {
        options.qos = Some(Qos::AtLeastOnce);
        options.publishers = Some(1);
        options.subscribers = Some(1);
        options.rate_per_s = Some(5_000_000.0);
        options.window = Some(16);
        options.duration = Some(Duration::from_millis(2));
    });
    assert_eq!((report.counts.sent, report.counts.received), (10_000, 10_000));
    let report = good(&server, Scenario::Latency, |options| {
        options.rate_per_s = Some(1_000_000.0);
        options.messages = Some(1003);
    });
    assert_eq!((report.counts.sent, report.delivery.unwrap().count), (1003, 1003));
    server.stop();
}

#[test]
fn payloads_larger_than_any_buffer_arrive_whole() {
    let server = broker();
    for payload_bytes in [65_536, 200_000, 1 << 20] {
        let report = good(&server, Scenario::Large, |options| {
            options.clients = Some(2);
            options.payload_bytes = Some(payload_bytes);
            options.messages = Some(20);
            options.window = Some(2);
            options.qos = Some(Qos::AtLeastOnce);
        });
        assert_eq!(report.counts.received_bytes, 20 * payload_bytes as u64);
    }
    server.stop();
}

#[test]
fn several_processes_share_a_load_by_their_offsets() {
    let server = broker();
    let of = |offset| {
        move |options: &mut Options| {
            options.client_offset = offset;
            options.id_prefix = Some("same".to_owned());
            options.messages = Some(1000);
            options.qos = Some(Qos::AtLeastOnce);
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| good(&server, Scenario::Pairs, of(10)));
        let report = good(&server, Scenario::Pairs, of(0));
        assert_eq!((report.counts.received, other.join().unwrap().counts.received), (1000, 1000));
    });
    server.stop();
}

#[test]
fn the_json_report_has_its_keys() {
    let server = broker();
    let report = good(&server, Scenario::Pairs, |options| {
        options.messages = Some(100);
        options.pid = Some(std::process::id());
    });
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(json["scenario"], "pairs");
    assert_eq!(json["ok"], true);
    assert_eq!(json["messages"]["received"], 100);
    assert_eq!(json["messages"]["lost"], 0);
    assert_eq!(json["settings"]["protocol"], "5.0");
    assert_eq!(json["latency_us"]["acknowledgement"], serde_json::Value::Null);
    for pointer in [
        "/latency_us/delivery/p50",
        "/latency_us/delivery/p99_9",
        "/latency_us/connect/max",
        "/rates/received_per_s",
        "/cpu/broker_us_per",
        "/broker/rss_peak_bytes",
        "/stages/2/seconds",
    ] {
        assert!(json.pointer(pointer).is_some_and(serde_json::Value::is_number), "{pointer}: {json:#}");
    }
    server.stop();
}
