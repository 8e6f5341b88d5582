//! Stores as no proper end leaves them: what a broker makes of records that contradict each other or make no sense.

use siskin_core::Limits;
use siskin_core::store::record::{self, SessionRecord, SubscriptionRecord, WillRecord};
use siskin_core::store::{Batch, RecordId, Store};
use siskin_proto::{Qos, SubscriptionOptions, Version};
use siskin_testkit::*;

const QOS_1: Qos = Qos::AtLeastOnce;
const QOS_2: Qos = Qos::ExactlyOnce;

fn payloads(client: &Client) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    while let Some(received) = client.try_receive() {
        let delivered = received.publish();
        client.acknowledge(&delivered);
        payloads.push(delivered.payload);
    }
    payloads
}

/// The client of a session that must have been found again.
#[track_caller]
fn back(broker: &Broker, version: Version, name: &str) -> Client {
    let (client, present) = broker.persistent(version, name);
    assert_eq!(present, version != Version::V3_1, "session present of {name}");
    client
}

/// Two sessions of one client, as they are found if the end of the first was not safe and the second was.
fn twice() -> std::sync::Arc<siskin_testkit::store::SimStore> {
    let number = |number| RecordId::new(number).expect("not zero");
    let store = siskin_testkit::store::SimStore::new();
    let mut batch = Batch::default();
    for (session, filter) in [(number(10), "old"), (number(20), "new")] {
        let head = SessionRecord {
            client_id: "c",
            user_name: None,
            version: Version::V5,
            expiry_s: 1000,
            since: None,
        };
        batch.put(session, 1, |out| record::write_session(out, &head));
        let options = SubscriptionOptions::default();
        let subscription = SubscriptionRecord { session, options, id: None, filter };
        batch.put(number(session.get() + 1), 1, |out| record::write_subscription(out, &subscription));
        let will = WillRecord {
            session: Some(session),
            client_id: "c",
            user_name: None,
            delay_s: 100,
            expiry_s: None,
            due_at: None,
            topic: "w",
            properties: siskin_proto::Properties::EMPTY,
            payload: filter.as_bytes(),
            qos: QOS_1,
            retain: false,
        };
        batch.put(number(session.get() + 2), 1, |out| record::write_will(out, &will));
        batch.put(number(session.get() + 3), 1, |out| record::write_received(out, session, id(5)));
    }
    store.append(0, &mut batch);
    store
}

#[test]
fn of_two_sessions_of_one_client_the_newer_goes_on_and_the_older_ends_with_its_will() {
    for workers in [1, 2] {
        let broker = Broker::on(twice(), workers, Limits { sys_interval_s: 0, ..Limits::default() });
        assert_eq!(broker.sessions(), 1);
        // Its session, subscription, will and packet id, the older one's will, and the broker's own.
        assert_eq!(broker.store().records(), 6);
        let watcher = broker.client(Version::V5, "watcher");
        watcher.subscribe("w", QOS_1);
        broker.advance_s(1);
        assert_eq!(payloads(&watcher), [b"old"]);
        let client = back(&broker, Version::V5, "c");
        broker.client(Version::V5, "p").publish("new", b"x", QOS_1);
        assert_eq!(client.receive_publish().topic, "new");
        assert_eq!(broker.shared().router.subscriptions(), 2);
    }
}

#[test]
fn records_that_make_no_sense_are_left_where_they_are_and_claims_of_nobody_are_given_up() {
    let number = |number| RecordId::new(number).expect("not zero");
    let store = siskin_testkit::store::SimStore::new();
    let mut batch = Batch::default();
    batch.put(number(1), 1, |out| out.extend_from_slice(b"\xffnonsense"));
    // Of a session that is not there.
    batch.put(number(2), 1, |out| record::write_received(out, number(99), id(5)));
    let receiver = record::Receiver { session: 99, qos: QOS_1, ..Default::default() };
    let parts = siskin_core::Parts {
        topic: "a",
        properties: siskin_proto::Properties::EMPTY,
        payload: b"x",
        qos: QOS_1,
        retain: false,
        publisher: None,
        received_at: siskin_core::Now::default(),
        expires_at: None,
        kept_until: None,
        record: None,
    };
    batch.put(number(3), 1, |out| record::write_message(out, &parts, false, std::slice::from_ref(&receiver)));
    // Held by more than it is due to, and with a note that says nothing.
    batch.put(number(4), 2, |out| record::write_message(out, &parts, false, &[receiver]));
    batch.note(number(4), 0, 77 << 20);
    store.append(0, &mut batch);
    let broker = Broker::on(store, 1, Limits { sys_interval_s: 0, ..Limits::default() });
    // The nonsense, the message that is held in no known way, and the broker's own.
    assert_eq!((broker.store().records(), broker.sessions()), (3, 0));
    broker.client(Version::V5, "c").publish("a", b"x", QOS_2);
}

#[test]
fn retained_messages_beyond_a_limit_that_is_lower_now_are_let_go() {
    let before = Broker::new();
    let publisher = before.client(Version::V5, "p");
    (0..5).for_each(|number| _ = publisher.retain(&format!("r/{number}"), b"x", QOS_1));
    let limits = Limits { sys_interval_s: 0, retained_messages_max: 2, ..Limits::default() };
    let after = Broker::on(before.store().crash(0), 1, limits);
    let subscriber = after.client(Version::V5, "s");
    subscriber.subscribe("r/+", QOS_1);
    assert_eq!(subscriber.receive_publishes().len(), 2);
    assert_eq!(after.store().leftovers().len(), 2);
}
