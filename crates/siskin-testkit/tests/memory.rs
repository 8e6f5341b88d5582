//! What happens when the process comes near its memory budget.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use siskin_core::{Cause, Dropped, Holdings, Limits, Pressure};
use siskin_proto::{Qos, Reason, Version};
use siskin_testkit::*;

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// Sessions that are away, each with so many messages of 10,000 bytes, the first byte being their number.
fn queues(broker: &Broker, lengths: &[(&str, u8)]) {
    let publisher = broker.client(Version::V5, "publisher");
    for (name, length) in lengths {
        let (client, _) = broker.persistent(Version::V5, name);
        client.subscribe(name, Qos::AtLeastOnce);
        client.cut();
        for n in 0..*length {
            publisher.publish(name, &[n; 10_000], Qos::AtLeastOnce);
        }
    }
}

fn holdings(broker: &Broker) -> Holdings {
    let mut holdings = Holdings::default();
    broker.ask(|worker| while worker.survey(0..usize::MAX, &mut holdings) {});
    holdings
}

fn relieve(broker: &Broker, pressure: Pressure, bytes: u64) -> u64 {
    let (holdings, now) = (holdings(broker), broker.now());
    let freed = broker.ask(|worker| {
        worker.set_pressure(pressure);
        worker.relieve(&holdings, bytes, now)
    });
    // For what it has come to.
    broker.advance_ms(1);
    freed.iter().sum()
}

fn calm_down(broker: &Broker) {
    broker.ask(|worker| worker.set_pressure(Pressure::Calm));
}

fn came(broker: &Broker, name: &str) -> Vec<u8> {
    let (client, present) = broker.persistent(Version::V5, name);
    assert!(present);
    let mut came = Vec::new();
    while let Some(received) = client.try_receive() {
        let delivered = received.publish();
        came.push(delivered.payload[0]);
        client.puback(delivered.packet_id.unwrap());
        broker.settle();
    }
    came
}

#[test]
fn what_is_in_the_store_leaves_memory_from_the_heaviest_queue_on_and_nothing_is_lost() {
    let broker = Broker::new();
    queues(&broker, &[("light", 5), ("heavy", 20)]);
    broker.settle();
    let before = holdings(&broker).queued;
    assert!(before > 250_000, "{before}");
    let freed = relieve(&broker, Pressure::Short, 100_000);
    assert!((100_000..115_000).contains(&freed), "{freed}");
    assert_eq!(holdings(&broker).queued, before - freed);
    // What comes now goes there at once, whoever it is for.
    let publisher = broker.client(Version::V5, "another");
    publisher.publish("light", &[5; 10_000], Qos::AtLeastOnce);
    assert_eq!(holdings(&broker).queued, before - freed);
    let rest = relieve(&broker, Pressure::Critical, u64::MAX);
    assert_eq!((holdings(&broker).queued, rest), (0, before - freed));
    assert_eq!(broker.totals().dropped_memory_short, 0);
    calm_down(&broker);
    assert_eq!(came(&broker, "heavy"), (0..20).collect::<Vec<_>>());
    assert_eq!(came(&broker, "light"), (0..6).collect::<Vec<_>>());
}

#[test]
fn without_a_store_the_oldest_of_the_heaviest_queue_go_when_nothing_else_is_left() {
    let broker = Broker::forgetful(1, Limits { sys_interval_s: 0, ..Limits::default() });
    queues(&broker, &[("light", 5), ("heavy", 20)]);
    assert_eq!(relieve(&broker, Pressure::Short, 100_000), 0);
    let freed = relieve(&broker, Pressure::Critical, 100_000);
    assert!((100_000..115_000).contains(&freed), "{freed}");
    assert_eq!(broker.totals().dropped(Dropped::MemoryShort), 10);
    broker.advance_s(1);
    let told = broker.story("heavy").unwrap().entries.last().unwrap().to_string();
    assert_eq!(
        told,
        "10 messages dropped, the first on 'heavy': the broker is at its memory budget (memory_max)"
    );
    calm_down(&broker);
    assert_eq!(came(&broker, "heavy"), (10..20).collect::<Vec<_>>());
    assert_eq!(came(&broker, "light"), (0..5).collect::<Vec<_>>());
}

#[test]
fn nothing_new_waits_or_is_retained_when_there_is_no_memory() {
    let broker = Broker::forgetful(1, Limits { sys_interval_s: 0, ..Limits::default() });
    queues(&broker, &[("away", 1)]);
    let publisher = broker.client(Version::V5, "another");
    assert_eq!(publisher.retain("known", b"1", Qos::AtLeastOnce), Reason::NoMatchingSubscribers);
    relieve(&broker, Pressure::Critical, 0);
    assert_eq!(publisher.publish("away", &[1; 10_000], Qos::AtLeastOnce), Reason::Success);
    assert_eq!(broker.totals().dropped(Dropped::MemoryShort), 1);
    assert_eq!(publisher.retain("new", b"1", Qos::AtLeastOnce), Reason::QuotaExceeded);
    assert_eq!(publisher.retain("known", b"2", Qos::AtLeastOnce), Reason::NoMatchingSubscribers);
    calm_down(&broker);
    assert_eq!(publisher.retain("new", b"1", Qos::AtLeastOnce), Reason::NoMatchingSubscribers);
    publisher.publish("away", &[2; 10_000], Qos::AtLeastOnce);
    assert_eq!(came(&broker, "away"), [0, 2]);
}

#[test]
fn what_is_not_acknowledged_counts_and_less_of_it_goes_out_while_memory_is_short() {
    let broker = Broker::new();
    let publisher = broker.client(Version::V5, "publisher");
    let (client, _) = broker.persistent(Version::V5, "client");
    client.subscribe("a", Qos::AtLeastOnce);
    let publish = |range: std::ops::Range<u8>| {
        for n in range {
            assert_eq!(publisher.publish("a", &[n; 10_000], Qos::AtLeastOnce), Reason::Success);
        }
    };
    publish(0..10);
    let in_flight = holdings(&broker).in_flight;
    assert!((100_000..110_000).contains(&in_flight), "{in_flight}");
    relieve(&broker, Pressure::Short, 0);
    publish(10..60);
    let limit = holdings(&broker).in_flight;
    assert!((256 * 1024..280_000).contains(&limit), "{limit}");
    // Each that is acknowledged makes room for another, and all come in order.
    for n in 0..60 {
        let received = client.receive();
        let delivered = received.publish();
        assert_eq!(delivered.payload[0], n);
        client.puback(delivered.packet_id.unwrap());
        broker.settle();
    }
    assert_eq!(holdings(&broker).in_flight, 0);
}

#[test]
fn what_was_acknowledged_goes_out_before_qos_0_to_who_does_not_keep_up() {
    let broker = Broker::limited(|limits| limits.out_buffer_bytes_max = 1 << 20);
    let publisher = broker.client(Version::V5, "publisher");
    let client = broker.client(Version::V5, "slow");
    client.subscribe("a", Qos::AtLeastOnce);
    client.stall_after(0);
    let publish = |qos| publisher.publish("a", &[qos as u8; 10_000], qos);
    while broker.totals().dropped_slow_reader == 0 {
        publish(Qos::AtMostOnce);
    }
    // It waits, as there is no room; from now on QoS 0 has to leave room for it.
    publish(Qos::AtLeastOnce);
    client.stall_after(600_000);
    let dropped = broker.totals().dropped_slow_reader;
    publish(Qos::AtMostOnce);
    assert_eq!(broker.totals().dropped_slow_reader, dropped + 1);
    client.resume();
    broker.settle();
    let came = std::iter::from_fn(|| client.try_receive()).map(|received| received.publish().qos);
    assert!(came.into_iter().any(|qos| qos == Qos::AtLeastOnce));
    publish(Qos::AtMostOnce);
    assert_eq!(broker.totals().dropped_slow_reader, dropped + 1);
}

#[test]
fn what_clients_choose_the_size_of_counts_with_its_size() {
    let broker = Broker::new();
    let before = holdings(&broker).chosen;
    let name = "n".repeat(20_000);
    let (client, _) = broker.persistent(Version::V5, &name);
    assert_eq!(holdings(&broker).chosen - before, 20_000);
    let filter = "f".repeat(30_000);
    client.subscribe(&filter, Qos::AtMostOnce);
    let filters = || broker.ask(|worker| worker.shared().router.filter_bytes())[0];
    assert_eq!(filters(), 30_000);
    client.subscribe(&filter, Qos::AtLeastOnce);
    assert_eq!(filters(), 30_000);
    client.unsubscribe(&filter);
    assert_eq!(filters(), 0);
}

#[test]
fn without_memory_a_retained_message_does_not_grow() {
    let broker = Broker::forgetful(1, Limits { sys_interval_s: 0, ..Limits::default() });
    let publisher = broker.client(Version::V5, "publisher");
    publisher.retain("a", &[1; 1000], Qos::AtLeastOnce);
    relieve(&broker, Pressure::Critical, 0);
    assert_eq!(publisher.retain("a", &[2; 1001], Qos::AtLeastOnce), Reason::QuotaExceeded);
    assert_eq!(publisher.retain("a", &[2; 1000], Qos::AtLeastOnce), Reason::NoMatchingSubscribers);
}

#[test]
fn without_memory_nothing_is_taken_over_for_a_group_that_is_away() {
    let broker = Broker::new();
    let publisher = broker.client(Version::V5, "publisher");
    let (member, _) = broker.persistent(Version::V5, "member");
    member.subscribe("$share/g/a", Qos::AtLeastOnce);
    relieve(&broker, Pressure::Critical, 0);
    assert_eq!(publisher.publish("a", b"0", Qos::AtLeastOnce), Reason::Success);
    member.cut();
    assert_eq!(publisher.publish("a", b"1", Qos::AtLeastOnce), Reason::QuotaExceeded);
    calm_down(&broker);
    assert_eq!(publisher.publish("a", b"2", Qos::AtLeastOnce), Reason::Success);
}

#[test]
fn nobody_new_is_let_in_when_there_is_no_memory_and_who_has_a_session_may_come() {
    for version in VERSIONS {
        let broker = Broker::new();
        let (client, _) = broker.persistent(version, "known");
        client.cut();
        relieve(&broker, Pressure::Critical, 0);
        let mut stranger = broker.open(version);
        stranger.send_connect_persistent("stranger");
        let busy = if version.is_v5() { Reason::ServerBusy } else { Reason::ServerUnavailable };
        assert_eq!(stranger.receive().reason(), busy);
        stranger.expect_closed();
        // 3.1 has no word for a session that was found.
        assert_eq!(broker.persistent(version, "known").1, version != Version::V3_1);
        calm_down(&broker);
        assert!(!broker.persistent(version, "stranger").1);
    }
}

#[test]
fn no_subscription_is_added_when_there_is_no_memory_and_those_that_are_there_may_be_renewed() {
    let broker = Broker::new();
    let client = broker.client(Version::V5, "client");
    let old = broker.client(Version::V3_1_1, "old");
    client.subscribe("known", Qos::AtMostOnce);
    relieve(&broker, Pressure::Critical, 0);
    assert_eq!(client.subscribe("new", Qos::AtMostOnce), Reason::QuotaExceeded);
    assert_eq!(client.subscribe("known", Qos::AtLeastOnce), Reason::GrantedQos1);
    // SUBACK of 3.1.1 has one word for all refusals.
    assert_eq!(old.subscribe("new", Qos::AtMostOnce), Reason::Unspecified);
    calm_down(&broker);
    assert_eq!(client.subscribe("new", Qos::AtMostOnce), Reason::Success);
}

#[test]
fn who_leaves_most_unread_is_put_out_when_there_is_no_memory() {
    let broker = Broker::limited(|limits| limits.out_buffer_bytes_max = 1 << 20);
    let publisher = broker.client(Version::V5, "publisher");
    let clients = [("slow", 100), ("slower", 200)].map(|(name, count)| {
        let client = broker.client(Version::V5, name);
        client.subscribe(name, Qos::AtMostOnce);
        client.stall_after(0);
        for n in 0..count {
            publisher.publish(name, &[n; 1000], Qos::AtMostOnce);
        }
        client
    });
    assert_eq!(relieve(&broker, Pressure::Short, u64::MAX), 0);
    // From now on a client may leave no more than 64 KiB unread.
    publisher.publish("slow", &[0; 1000], Qos::AtMostOnce);
    assert_eq!(broker.totals().dropped_slow_reader, 1);
    let freed = relieve(&broker, Pressure::Critical, 150_000);
    assert!(freed > 190_000, "{freed}");
    let put_out = |name: &str| format!("{:?}", broker.story(name)).contains("MemoryShort");
    assert_eq!((put_out("slower"), put_out("slow")), (true, false));
    relieve(&broker, Pressure::Critical, 1);
    assert!(put_out("slow"));
    clients[0].resume();
    assert_eq!(clients[0].end(), Some(Cause::MemoryShort));
    assert_eq!(publisher.end(), None);
}
