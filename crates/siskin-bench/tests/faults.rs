//! A broker that drops, duplicates, reorders or refuses is found out, to the message.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use siskin_bench::{BenchError, CutShort, Options, Plan, ProblemKind, Report, Scenario, run};
use siskin_proto::{Qos, Reason};
use support::{Fault, faulty_broker};

const ALL_QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

fn try_pair(target: SocketAddr, qos: Qos, window: u16) -> Result<Report, BenchError> {
    let mut options = Options::new(Scenario::Pairs);
    options.host = target.ip().to_string();
    options.port = target.port();
    options.clients = Some(1);
    options.messages = Some(105);
    options.window = Some(window);
    options.qos = Some(qos);
    options.patience = Duration::from_millis(300);
    run(Plan::new(options)?, &mut |_| {})
}

fn pair(fault: Fault, qos: Qos) -> Report {
    try_pair(faulty_broker(fault), qos, 20).unwrap()
}

fn fails(report: &Report, with: &str) -> bool {
    report.failures().iter().any(|failure| failure.contains(with))
}

#[test]
fn where_nothing_is_wrong_nothing_is_found() {
    for qos in ALL_QOS {
        let report = pair(Fault::Nothing, qos);
        assert_eq!(report.failures(), [""; 0]);
        assert_eq!((report.counts.sent, report.counts.received, report.lost), (105, 105, Some(0)));
    }
}

#[test]
fn every_message_that_is_dropped_is_lost() {
    for qos in ALL_QOS {
        let report = pair(Fault::Drop(10), qos);
        assert_eq!(
            (report.lost, report.counts.received, report.counts.expected),
            (Some(10), 95, 105),
            "{qos:?}"
        );
        assert_eq!((report.counts.duplicated, report.counts.misordered), (0, 0));
        assert_eq!(fails(&report, "lost"), qos > Qos::AtMostOnce);
        assert_eq!(report.to_string().contains("--window-on arrival"), qos > Qos::AtMostOnce);
    }
}

#[test]
fn a_window_at_qos_0_does_not_wait_for_what_was_overtaken() {
    let report = try_pair(faulty_broker(Fault::Drop(2)), Qos::AtMostOnce, 4).unwrap();
    assert_eq!((report.lost, report.counts.received, report.counts.written_off), (Some(52), 53, 0));
}

#[test]
fn a_window_at_qos_0_that_lost_all_of_its_messages_goes_on_without_them() {
    let report = try_pair(faulty_broker(Fault::Drop(100)), Qos::AtMostOnce, 1).unwrap();
    assert_eq!((report.lost, report.counts.received, report.counts.written_off), (Some(1), 104, 1));
    assert!(report.to_string().contains("1 messages did not arrive within a second"));
}

#[test]
fn every_message_that_comes_twice_is_counted_and_allowed_only_at_qos_1() {
    for qos in ALL_QOS {
        let report = pair(Fault::Duplicate(10), qos);
        assert_eq!(
            (report.counts.duplicated, report.counts.received, report.lost),
            (10, 105, Some(0)),
            "{qos:?}"
        );
        assert_eq!(fails(&report, "more than once"), qos != Qos::AtLeastOnce);
    }
}

#[test]
fn a_duplicate_behind_the_last_message_is_seen_too() {
    let report = pair(Fault::Duplicate(105), Qos::ExactlyOnce);
    assert_eq!((report.counts.duplicated, report.counts.received), (1, 105));
}

#[test]
fn every_message_that_was_overtaken_is_out_of_order() {
    for qos in ALL_QOS {
        let report = pair(Fault::Swap(10), qos);
        assert_eq!(
            (report.counts.misordered, report.counts.received, report.lost),
            (10, 105, Some(0)),
            "{qos:?}"
        );
        assert!(fails(&report, "out of order"));
    }
}

#[test]
fn a_message_of_another_length_is_not_what_was_sent() {
    let report = pair(Fault::Shorten(10), Qos::AtLeastOnce);
    assert_eq!((report.counts.corrupted, report.lost), (10, Some(0)));
    assert!(fails(&report, "another length"));
}

#[test]
fn a_message_that_was_refused_is_not_lost_and_its_reason_is_named() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        let report = pair(Fault::Refuse(10), qos);
        let counts = report.counts;
        assert_eq!(
            (counts.refused, counts.acknowledged, counts.received, report.lost),
            (10, 95, 95, Some(0))
        );
        assert_eq!((report.problems[0].kind, report.problems[0].count), (ProblemKind::Publish, 10));
        assert!(report.problems[0].cause.contains("Quota exceeded"));
        assert!(fails(&report, "not accepted"));
    }
}

#[test]
fn a_connection_that_ends_is_counted_with_its_reason() {
    let report = pair(Fault::Disconnect(50), Qos::AtLeastOnce);
    assert_eq!(report.problems.len(), 1);
    assert_eq!((report.problems[0].kind, report.problems[0].count), (ProblemKind::Lost, 1));
    assert!(report.problems[0].cause.contains("Quota exceeded (0x97)"), "{report}");
    assert_eq!((report.counts.acknowledged, report.counts.received), (49, 49));
    let report = pair(Fault::Close(50), Qos::AtLeastOnce);
    assert_eq!((report.problems[0].kind, report.problems[0].count), (ProblemKind::Lost, 1));
    assert!(fails(&report, "1 connections were refused or lost"));
}

#[test]
fn what_a_broker_may_not_send_ends_the_connection_and_is_named() {
    for (fault, cause) in [(Fault::Babble(50), "no MQTT"), (Fault::Greet(50), "CONNACK")] {
        let report = pair(fault, Qos::AtLeastOnce);
        assert_eq!((report.problems.len(), report.problems[0].kind), (1, ProblemKind::Lost));
        assert!(report.problems[0].cause.contains(cause), "{report}");
    }
}

#[test]
fn without_room_for_accounting_what_is_missing_is_still_counted() {
    let target = faulty_broker(Fault::Drop(10));
    let mut options = Options::new(Scenario::Pairs);
    options.host = target.ip().to_string();
    options.port = target.port();
    options.clients = Some(1);
    options.messages = Some(105);
    options.payload_bytes = Some(8);
    options.qos = Some(Qos::AtLeastOnce);
    options.patience = Duration::from_millis(300);
    let report = run(Plan::new(options).unwrap(), &mut |_| {}).unwrap();
    assert_eq!((report.lost, report.delivery), (Some(10), None));
    assert!(report.to_string().contains("below 24 bytes"));
    assert!(report.to_json().contains("\"duplicated\": null"));
}

#[test]
fn a_refused_connect_is_told_in_words() {
    let error = try_pair(faulty_broker(Fault::RefuseConnect(Reason::NotAuthorized)), Qos::AtMostOnce, 20);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("1 of 1 connections") && text.contains("Not authorized (0x87)"), "{text}");
}

#[test]
fn a_refused_subscription_is_told_in_words() {
    let error = try_pair(faulty_broker(Fault::RefuseSubscribe(Reason::QuotaExceeded)), Qos::AtMostOnce, 20);
    let text = error.unwrap_err().to_string();
    assert!(text.contains("SUBSCRIBE was refused: Quota exceeded"), "{text}");
}

#[test]
fn a_broker_that_is_not_there_is_told_at_once() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = try_pair(target, Qos::AtMostOnce, 20).unwrap_err().to_string();
    assert!(text.contains("connection refused"), "{text}");
}

#[test]
fn a_connect_load_without_a_broker_ends_by_itself() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut options = Options::new(Scenario::Connect);
    options.host = target.ip().to_string();
    options.port = target.port();
    let text = run(Plan::new(options).unwrap(), &mut |_| {}).unwrap_err().to_string();
    assert!(text.contains("connection refused"), "{text}");
}

#[test]
fn the_time_limit_ends_a_run_and_says_so() {
    let target = faulty_broker(Fault::Nothing);
    let mut options = Options::new(Scenario::Pairs);
    options.host = target.ip().to_string();
    options.port = target.port();
    options.clients = Some(1);
    options.messages = Some(u64::MAX);
    options.timeout = Some(Duration::from_millis(200));
    let report = run(Plan::new(options).unwrap(), &mut |_| {}).unwrap();
    assert!(report.cut_short == Some(CutShort::TimedOut) && fails(&report, "time limit"));
    // What had no time to arrive is not lost.
    assert_eq!(report.lost, None);
    assert!(!fails(&report, "lost") && report.to_string().contains("lost unknown"), "{report}");
}

#[test]
fn who_interrupts_a_run_gets_its_report() {
    let target = faulty_broker(Fault::Nothing);
    let mut options = Options::new(Scenario::Pairs);
    options.host = target.ip().to_string();
    options.port = target.port();
    options.clients = Some(1);
    let stop = std::sync::Arc::clone(&options.stop);
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let report = run(Plan::new(options).unwrap(), &mut |_| {}).unwrap();
    assert!(report.cut_short == Some(CutShort::Stopped) && fails(&report, "interrupted"));
    assert!(report.counts.sent > 0 && report.lost.is_none());
}

#[test]
fn a_message_at_the_wrong_subscriber_is_found_out() {
    let target = faulty_broker(Fault::Nothing);
    let mut options = Options::new(Scenario::Pairs);
    options.host = target.ip().to_string();
    options.port = target.port();
    // It sends everything to everybody.
    options.clients = Some(2);
    options.messages = Some(20);
    options.patience = Duration::from_millis(300);
    let report = run(Plan::new(options).unwrap(), &mut |_| {}).unwrap();
    assert_eq!((report.counts.received, report.counts.misrouted, report.lost), (20, 20, Some(0)));
    assert!(fails(&report, "filters do not match"));
}

#[test]
fn a_subscription_that_is_granted_less_than_it_asked_for_is_named() {
    let target = faulty_broker(Fault::RefuseSubscribe(Reason::Success));
    let error = try_pair(target, Qos::AtLeastOnce, 20).unwrap_err().to_string();
    assert!(error.contains("QoS 1 was granted QoS 0"), "{error}");
}
