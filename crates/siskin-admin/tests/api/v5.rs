use serde_json::{Value, json};

use crate::support::{Broker, Client};

#[test]
fn the_node_is_described_as_scripts_expect() {
    let broker = Broker::start();
    let _client = broker.client("one");
    assert!(broker.text("/api/v5/status").contains("is running"));
    assert_eq!(broker.text("/status"), broker.text("/api/v5/status"));
    let nodes = broker.get("/api/v5/nodes");
    assert_eq!((&nodes[0]["node"], &nodes[0]["node_status"]), (&json!("siskin"), &json!("running")));
    assert_eq!(broker.get("/api/v5/nodes/siskin")["live_connections"], 1);
    assert_eq!(broker.try_get("/api/v5/nodes/other").0, 404);
    let stats = broker.get("/api/v5/stats");
    assert_eq!((&stats[0]["connections.count"], &stats[0]["node"]), (&json!(1), &json!("siskin")));
    assert_eq!(broker.get("/api/v5/stats?aggregate=true")["subscriptions.shared.count"], 0);
    let metrics = broker.get("/api/v5/metrics");
    assert_eq!(metrics[0]["client.connected"], 1);
    assert!(metrics[0]["packets.publish.received"].is_u64(), "{metrics}");
    let listeners = broker.get("/api/v5/listeners");
    let bind = broker.server.addresses()[0].to_string();
    assert_eq!((&listeners[0]["type"], &listeners[0]["bind"]), (&json!("tcp"), &json!(bind)));
    assert_eq!(listeners[0]["status"]["current_connections"], 1);
    broker.stop();
}

#[test]
fn clients_come_by_page_and_filter_and_are_kicked() {
    let broker = Broker::start();
    let mut clients: Vec<_> = (0..5).map(|id| broker.client(&format!("c{id}"))).collect();
    let first = broker.get("/api/v5/clients?limit=2");
    assert_eq!(first["meta"], json!({ "page": 1, "limit": 2, "count": 5, "hasnext": true }));
    let mut seen: Vec<Value> = Vec::new();
    for page in 1..=3 {
        let answer = broker.get(&format!("/api/v5/clients?limit=2&page={page}"));
        seen.extend(answer["data"].as_array().unwrap().iter().map(|client| client["clientid"].clone()));
        assert_eq!(answer["meta"]["hasnext"], page < 3);
    }
    seen.sort_by_key(Value::to_string);
    assert_eq!(seen, ["c0", "c1", "c2", "c3", "c4"]);
    assert_eq!(broker.get("/api/v5/clients?limit=2&page=9")["data"], json!([]));
    let found =
        |query: &str| broker.get(&format!("/api/v5/clients?{query}"))["data"].as_array().unwrap().len();
    assert_eq!((found("clientid=c1"), found("like_clientid=c"), found("conn_state=disconnected")), (1, 5, 0));
    assert_eq!((found("ip_address=127.0.0.1"), found("proto_ver=4"), found("clean_start=true")), (5, 0, 5));
    let one = broker.get("/api/v5/clients/c1");
    assert_eq!(
        (&one["proto_name"], &one["proto_ver"], &one["connected"]),
        (&json!("MQTT"), &json!(5), &json!(true))
    );
    assert_eq!(broker.delete("/api/v5/clients/c1"), (204, Value::Null));
    assert_eq!(clients[1].next().unwrap().0, 0xE0);
    let (status, problem) = broker.delete("/api/v5/clients/c1");
    assert_eq!((status, &problem["code"]), (404, &json!("CLIENTID_NOT_FOUND")));
    assert_eq!(broker.post("/api/v5/clients/kickout/bulk", &json!(["c2", "nobody"])).0, 204);
    assert_eq!(clients[2].next().unwrap().0, 0xE0);
    for query in ["page=0", "limit=0", "limit=10001", "page=99999999&limit=10000", "page=x"] {
        assert_eq!(broker.try_get(&format!("/api/v5/clients?{query}")).0, 400, "{query}");
    }
    broker.stop();
}

/// A line of a password file for a user whose password is the name.
fn line_of_user(name: &str) -> String {
    use siskin_access::password::{Hash, NewHash};
    let hash = Hash::create(NewHash::Pbkdf2Sha512 { iterations: 1 }, name.as_bytes(), &[7; 12]).unwrap();
    format!("{name}:{}\n", hash.encode())
}

#[test]
fn clients_are_found_by_user_and_a_filter_that_is_not_known_finds_nobody() {
    let users = std::env::temp_dir().join(format!("siskin-admin-{}-bobs", std::process::id()));
    std::fs::write(&users, ["bob", "bobby"].map(line_of_user).concat()).unwrap();
    let broker = Broker::with(|config| config.access.password_file.clone_from(&users));
    let (_bob, _bobby) = (Client::of_user(&broker, "b1", "bob"), Client::of_user(&broker, "b2", "bobby"));
    let _third = Client::of_user(&broker, "c", "bob");
    let found = |query: &str| {
        let answer = broker.get(&format!("/api/v5/clients?{query}"));
        let mut ids: Vec<_> =
            answer["data"].as_array().unwrap().iter().map(|c| c["clientid"].to_string()).collect();
        ids.sort();
        ids.concat()
    };
    assert_eq!(found("username=bob"), r#""b1""c""#);
    assert_eq!(found("username=bobb"), "");
    assert_eq!(found("like_username=bob"), r#""b1""b2""c""#);
    assert_eq!(broker.get("/api/v5/clients/b2")["username"], "bobby");
    assert_eq!(broker.get("/api/v1/clients?user_name=bobby")["clients"][0]["client_id"], "b2");
    assert_eq!(broker.get("/api/v1/clients/b2")["user_name"], "bobby");
    for path in ["/api/v5/clients?usrname=bob", "/api/v5/clients?node=siskin", "/api/v1/clients?client=b1"] {
        let (status, problem) = broker.try_get(path);
        let message = problem["message"].as_str().unwrap();
        assert!(status == 400 && message.contains("there is no `"), "{path}: {status} {message}");
    }
    assert!(broker.try_get("/api/v5/clients?a=1").1["message"].as_str().unwrap().contains("like_username"));
    broker.stop();
    std::fs::remove_file(&users).unwrap();
}

#[test]
fn subscriptions_and_topics_come_in_its_shape() {
    let broker = Broker::start();
    let (mut one, mut two) = (broker.client("one"), broker.client("two"));
    one.subscribe("a/+", 1);
    two.subscribe("a/+", 0);
    two.subscribe("$share/g/b", 1);
    let found =
        |query: &str| broker.get(&format!("/api/v5/subscriptions?{query}"))["data"].as_array().unwrap().len();
    assert_eq!((found(""), found("clientid=two"), found("qos=1"), found("share_group=g")), (3, 2, 2, 1));
    assert_eq!((found("topic=a/%2B"), found("match_topic=a/x"), found("topic=b")), (2, 2, 1));
    assert_eq!(
        broker.get("/api/v5/clients/one/subscriptions"),
        json!([{ "clientid": "one", "topic": "a/+", "qos": 1, "nl": 0, "rap": 0, "rh": 0, "node": "siskin" }])
    );
    let topics = broker.get("/api/v5/topics");
    assert_eq!(topics["meta"]["count"], 2);
    assert_eq!((&topics["data"][0]["topic"], &topics["data"][1]["topic"]), (&json!("a/+"), &json!("b")));
    broker.stop();
}

#[test]
fn messages_are_published_alone_and_in_bulk() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker, "one", 2, 0);
    client.subscribe("a", 0);
    let (status, receipt) =
        broker.post("/api/v5/publish", &json!({ "topic": "a", "payload": "1", "qos": 1 }));
    assert_eq!((status, &receipt["message"]), (200, &json!("success")));
    assert!(client.next().unwrap().1.ends_with(b"1"));
    let (status, receipt) = broker.post("/api/v5/publish", &json!({ "topic": "nobody" }));
    assert_eq!((status, &receipt["reason_code"]), (202, &json!(16)));
    let many = json!([{ "topic": "a", "payload": "Mg==", "payload_encoding": "base64" }, { "topic": "a", "payload": "3" }]);
    let (status, receipts) = broker.post("/api/v5/publish/bulk", &many);
    assert_eq!((status, receipts.as_array().unwrap().len()), (200, 2));
    for payload in [b"2", b"3"] {
        assert!(client.next().unwrap().1.ends_with(payload));
    }
    assert_eq!(broker.post("/api/v5/publish", &json!({ "topic": "#" })).0, 400);
    broker.stop();
}

#[test]
fn retained_messages_are_listed_read_and_deleted() {
    let broker = Broker::start();
    let mut client = broker.client("one");
    for topic in ["a/1", "a/2", "b"] {
        client.publish(topic, b"hello", 1, true);
    }
    let list = broker.get("/api/v5/mqtt/retainer/messages?limit=2");
    assert_eq!((list["data"].as_array().unwrap().len(), &list["meta"]["hasnext"]), (2, &json!(true)));
    assert_eq!(
        broker.get("/api/v5/mqtt/retainer/messages?topic=a/%2B&page=1")["data"].as_array().unwrap().len(),
        2
    );
    let one = broker.get("/api/v5/mqtt/retainer/message/a%2F1");
    assert_eq!((&one["topic"], &one["payload"]), (&json!("a/1"), &json!("aGVsbG8=")));
    assert_eq!(broker.delete("/api/v5/mqtt/retainer/message/a%2F1"), (204, Value::Null));
    assert_eq!(broker.try_get("/api/v5/mqtt/retainer/message/a%2F1").0, 404);
    // A filter is no topic: nothing is deleted by accident.
    assert_eq!(broker.delete("/api/v5/mqtt/retainer/message/%23").0, 400);
    assert_eq!(broker.get("/api/v5/mqtt/retainer/messages")["data"].as_array().unwrap().len(), 2);
    broker.stop();
}
