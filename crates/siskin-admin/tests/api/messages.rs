use serde_json::{Value, json};
use siskin_server::config::Durability;

use crate::support::{Broker, Client};

/// Topic and payload of a PUBLISH of QoS 0.
fn publish(packet: (u8, Vec<u8>)) -> (u8, String, Vec<u8>) {
    let (first, body) = packet;
    assert_eq!(first & 0xF0, 0x30);
    let end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = String::from_utf8(body[2..end].to_vec()).unwrap();
    let properties = usize::from(body[end]);
    (first, topic, body[end + 1 + properties..].to_vec())
}

#[test]
fn a_message_published_over_http_reaches_subscribers_on_every_worker() {
    let broker = Broker::start();
    let mut clients: Vec<_> = (0..4).map(|id| broker.client(&format!("c{id}"))).collect();
    clients.iter_mut().for_each(|client| client.subscribe("a/b", 0));
    let body = json!({ "topic": "a/b", "payload": "AAEC", "payload_encoding": "base64", "qos": 1,
        "properties": { "content_type": "x", "user_properties": { "k": "v" } } });
    assert_eq!(broker.post("/api/v1/publish", &body), (200, json!({ "matched": true })));
    for client in &mut clients {
        let (_, topic, payload) = publish(client.next().unwrap());
        assert_eq!((topic.as_str(), payload.as_slice()), ("a/b", &[0, 1, 2][..]));
    }
    let nobody = json!({ "topic": "nobody" });
    assert_eq!(broker.post("/api/v1/publish", &nobody), (200, json!({ "matched": false })));
    broker.stop();
}

#[test]
fn what_cannot_be_published_is_refused_with_the_reason() {
    let broker = Broker::with(|config| config.limits.packet_size_max = 1000);
    for (body, status, word) in [
        (json!({ "topic": "a/+" }), 400, "wildcard"),
        (json!({ "topic": "" }), 400, "no topic name"),
        (json!({ "topic": "$SYS/x" }), 403, "$SYS"),
        (json!({ "topic": "a", "qos": 3 }), 400, "QoS"),
        (json!({ "topic": "a", "payload": "%", "payload_encoding": "base64" }), 400, "Base64"),
        (json!({ "topic": "a", "payload": "x".repeat(2000) }), 400, "more than this broker takes"),
        (json!({ "topic": "a", "properties": { "response_topic": "#" } }), 400, "response_topic"),
        (json!({ "payload": "x" }), 422, "topic"),
        (json!({ "topic": 5 }), 422, "topic"),
    ] {
        let (answered, problem) = broker.post("/api/v1/publish", &body);
        assert_eq!(answered, status, "{body}: {problem}");
        assert!(problem["message"].as_str().unwrap().contains(word), "{body}: {problem}");
    }
    let (status, problem) = broker.post("/api/v1/publish", &json!("x".repeat(9 << 20)));
    assert_eq!(status, 413, "{problem}");
    broker.stop();
}

#[test]
fn retained_messages_are_listed_read_and_deleted_by_filter() {
    let broker = Broker::start();
    let mut client = broker.client("one");
    for topic in ["a", "a/1", "a/2", "b"] {
        client.publish(topic, topic.as_bytes(), 1, true);
    }
    client.publish("bytes", &[0xFF], 1, true);
    let topics = |path: &str| {
        let answer = broker.get(path);
        let all = answer["messages"].as_array().unwrap().clone();
        all.iter().map(|message| message["topic"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(topics("/api/v1/retained"), ["a", "a/1", "a/2", "b", "bytes"]);
    assert_eq!(topics("/api/v1/retained?filter=a/%2B"), ["a/1", "a/2"]);
    let first = broker.get("/api/v1/retained?limit=2&payload=true");
    assert_eq!((&first["next"], &first["messages"][1]["payload"]), (&json!("a/1"), &json!("a/1")));
    assert_eq!(topics("/api/v1/retained?after=a/1&limit=100"), ["a/2", "b", "bytes"]);
    let bytes = broker.get("/api/v1/retained/message?topic=bytes");
    assert_eq!((&bytes["payload"], &bytes["payload_encoding"]), (&json!("/w=="), &json!("base64")));
    assert_eq!(broker.try_get("/api/v1/retained/message?topic=none").0, 404);
    assert_eq!(broker.try_get("/api/v1/retained?filter=$share/g/a").0, 400);
    assert_eq!(broker.delete("/api/v1/retained?filter=a/%23"), (200, json!({ "count": 3 })));
    assert_eq!(topics("/api/v1/retained"), ["b", "bytes"]);
    assert_eq!(broker.delete("/api/v1/retained").0, 400);
    broker.stop();
}

#[test]
fn what_was_published_and_deleted_over_http_survives_the_broker() {
    let directory = std::env::temp_dir().join(format!("siskin-admin-{}", std::process::id()));
    let durable = || {
        let directory = directory.clone();
        Broker::with(|config| {
            config.store.durability = Durability::Synced;
            config.store.directory = directory;
        })
    };
    let broker = durable();
    let mut client = Client::connect(&broker, "away", 2, 3600);
    client.subscribe("q", 1);
    drop(client);
    let message =
        |topic: &str, retain: bool| json!({ "topic": topic, "payload": "kept", "qos": 1, "retain": retain });
    for (topic, retain) in [("q", false), ("kept", true), ("gone", true)] {
        assert_eq!(broker.post("/api/v1/publish", &message(topic, retain)).0, 200);
    }
    assert_eq!(broker.delete("/api/v1/retained?filter=gone"), (200, json!({ "count": 1 })));
    broker.client("source").publish("q", b"waits for the disk", 1, false);
    let text = broker.text("/metrics");
    broker.stop();
    let broker = durable();
    let retained = broker.get("/api/v1/retained?payload=true");
    assert_eq!(retained["messages"].as_array().unwrap().len(), 1);
    assert_eq!(retained["messages"][0]["topic"], "kept");
    let queue = broker.get("/api/v1/clients/away/queue");
    assert_eq!(queue["count"], 2);
    let store = broker.get("/api/v1/store");
    assert_eq!(store["health"], "good");
    assert!(store["figures"]["records"].as_u64() > Some(0), "{store}");
    broker.stop();
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(text.contains("siskin_store_health{state=\"good\"} 1\n"), "{text}");
    assert!(text.contains("siskin_acknowledgement_wait_seconds_count 1\n"), "{text}");
    assert!(!text.contains("siskin_store_sync_seconds_count 0\n"), "{text}");
    assert!(!text.contains("siskin_store_commit_bytes_count 0\n"), "{text}");
}

#[test]
fn a_retained_message_over_http_is_there_for_who_subscribes_later() {
    let broker = Broker::start();
    let body = json!({ "topic": "r", "payload": "later", "retain": true,
        "properties": { "message_expiry_interval": 1000 } });
    assert_eq!(broker.post("/api/v1/publish", &body).0, 200);
    let mut client = broker.client("late");
    client.subscribe("r", 0);
    let (first, topic, payload) = publish(client.next().unwrap());
    assert_eq!((first & 1, topic.as_str(), payload.as_slice()), (1, "r", &b"later"[..]));
    let shown = broker.get("/api/v1/retained/message?topic=r");
    assert!(shown["properties"]["message_expiry_interval"].as_u64() > Some(900), "{shown}");
    assert_ne!(shown["expires_at"], Value::Null);
    broker.stop();
}
