use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Broker, Client};

fn ids(answer: &Value) -> Vec<&str> {
    answer["clients"].as_array().unwrap().iter().map(|client| client["client_id"].as_str().unwrap()).collect()
}

#[test]
fn a_client_is_shown_with_its_connection_and_its_session() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker, "home/one", 2, 300);
    client.subscribe("a/+", 1);
    client.publish("x", b"12345", 0, false);
    client.ping();
    let shown = broker.get("/api/v1/clients/home%2Fone");
    assert_eq!(shown["client_id"], "home/one");
    assert_eq!((&shown["connected"], &shown["version"]), (&json!(true), &json!("5.0")));
    assert_eq!((&shown["session_expiry_s"], &shown["subscriptions"]), (&json!(300), &json!(1)));
    assert_eq!(shown["traffic"]["messages_received"], 1);
    assert!(shown["address"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(shown["connected_at"].as_str().unwrap().ends_with('Z'));
    let (status, problem) = broker.try_get("/api/v1/clients/nobody");
    assert_eq!((status, &problem["code"]), (404, &json!("NOT_FOUND")));
    assert!(problem["message"].as_str().unwrap().contains("`nobody`"));
    broker.stop();
}

#[test]
fn lists_are_by_what_is_asked_for() {
    let broker = Broker::start();
    let _here: Vec<_> = ["red-1", "red-2", "blue-1"].map(|id| broker.client(id)).into();
    drop(Client::connect(&broker, "red-gone", 2, 300));
    // The broker has seen the end of that connection when it says so.
    while broker.get("/api/v1/clients/red-gone")["connected"] == true {}
    let list = |query: &str| {
        let answer = broker.get(&format!("/api/v1/clients?{query}"));
        ids(&answer).into_iter().map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let set = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(list("client_id=red"), set(&["red-1", "red-2", "red-gone"]));
    assert_eq!(list("connected=true&client_id=red"), set(&["red-1", "red-2"]));
    assert_eq!(list("connected=false"), set(&["red-gone"]));
    assert_eq!(list("version=3.1.1"), set(&[]));
    assert_eq!(list("ip=127.0.0.1&version=5"), set(&["red-1", "red-2", "blue-1"]));
    assert_eq!(list("ip=10.0.0.1"), set(&[]));
    assert_eq!(ids(&broker.get("/api/v1/sessions")), ["red-gone"]);
    for query in ["ip=x", "connected=maybe", "version=4", "limit=0", "limit=x", "limit=10001", "cursor=x"] {
        let (status, problem) = broker.try_get(&format!("/api/v1/clients?{query}"));
        assert_eq!((status, &problem["code"]), (400, &json!("BAD_REQUEST")), "{query}: {problem}");
    }
    broker.stop();
}

#[test]
fn ten_thousand_clients_are_listed_once_each_while_others_are_served() {
    let broker = Broker::start();
    let mut waiting = broker.client("waiting");
    // Sessions that last are clients as well, and need no open file each.
    for id in 0..10_000 {
        drop(Client::connect(&broker, &format!("c{id}"), 2, 3600));
    }
    let mut seen = BTreeSet::new();
    let mut path = "/api/v1/clients?limit=700".to_owned();
    loop {
        let answer = broker.get(&path);
        let page = ids(&answer);
        assert!(page.len() <= 700);
        page.into_iter().for_each(|id| assert!(seen.insert(id.to_owned()), "{id} twice"));
        waiting.ping();
        let Some(next) = answer["next"].as_str() else { break };
        path = format!("/api/v1/clients?limit=700&cursor={next}");
    }
    assert_eq!(seen.len(), 10_001);
    broker.stop();
}

#[test]
fn an_operator_ends_a_connection_and_leaves_the_session() {
    let broker = Broker::start();
    let mut client = Client::connect(&broker, "one", 2, 300);
    assert_eq!(broker.delete("/api/v1/clients/one"), (200, json!({ "count": 1 })));
    // [MQTT5 3.14.2-1] 0x98: administrative action.
    let (first, body) = client.next().unwrap();
    assert_eq!((first, body[0]), (0xE0, 0x98));
    assert!(client.next().is_none());
    assert_eq!(broker.delete("/api/v1/clients/one"), (200, json!({ "count": 0 })));
    assert_eq!(broker.get("/api/v1/clients/one")["connected"], false);
    assert_eq!(broker.delete("/api/v1/clients/nobody").0, 404);
    broker.stop();
}

#[test]
fn what_happened_to_a_client_is_told_while_it_is_there_and_after() {
    let broker = Broker::start();
    let client = broker.client("one");
    let story = broker.get("/api/v1/clients/one/story");
    assert!(story["headline"].as_str().unwrap().contains("is connected since"), "{story}");
    drop(client);
    while broker.try_get("/api/v1/clients/one").0 == 200 {}
    let story = broker.get("/api/v1/clients/one/story");
    assert!(story["headline"].as_str().unwrap().contains("has no session"), "{story}");
    assert!(story["lines"].as_array().unwrap().len() >= 2, "{story}");
    assert_eq!(broker.try_get("/api/v1/clients/nobody/story").0, 404);
    broker.stop();
}

#[test]
fn what_waits_for_a_client_can_be_looked_at() {
    let broker = Broker::start();
    let mut slow = Client::connect(&broker, "slow", 2, 300);
    slow.subscribe("q/#", 1);
    drop(slow);
    while broker.get("/api/v1/clients/slow")["connected"] == true {}
    let mut source = broker.client("source");
    for number in 0..5 {
        source.publish(&format!("q/{number}"), format!("payload {number}").as_bytes(), 1, false);
    }
    let queue = broker.get("/api/v1/clients/slow/queue?payload=true&from=1&limit=2");
    assert_eq!(queue["count"], 5);
    let messages = queue["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2);
    assert_eq!((&messages[0]["topic"], &messages[0]["payload"]), (&json!("q/1"), &json!("payload 1")));
    assert_eq!(messages[1]["qos"], 1);
    assert_eq!(broker.get("/api/v1/clients/slow/inflight")["count"], 0);
    let mut slow = Client::connect(&broker, "slow", 0, 300);
    for _ in 0..5 {
        assert_eq!(slow.next().unwrap().0 & 0xF0, 0x30);
    }
    let inflight = broker.get("/api/v1/clients/slow/inflight");
    assert_eq!((&inflight["count"], &inflight["messages"][0]["topic"]), (&json!(5), &json!("q/0")));
    assert_eq!(broker.get("/api/v1/clients/slow/queue")["count"], 0);
    assert_eq!(broker.try_get("/api/v1/clients/nobody/queue").0, 404);
    broker.stop();
}

#[test]
fn subscriptions_are_listed_by_client_filter_and_topic() {
    let broker = Broker::start();
    let (mut one, mut two) = (broker.client("one"), broker.client("two"));
    one.subscribe("home/+/light", 1);
    one.subscribe("home/#", 0);
    two.subscribe("$share/g/home/kitchen/light", 1);
    let filters = |path: &str| {
        let answer = broker.get(path);
        let all = answer["subscriptions"].as_array().unwrap().clone();
        all.iter().map(|one| one["filter"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(filters("/api/v1/subscriptions").len(), 3);
    assert_eq!(filters("/api/v1/subscriptions?client_id=two").len(), 1);
    assert_eq!(filters("/api/v1/subscriptions?filter=%2B").into_iter().collect::<Vec<_>>(), ["home/+/light"]);
    assert_eq!(filters("/api/v1/subscriptions?topic=home/x").into_iter().collect::<Vec<_>>(), ["home/#"]);
    assert_eq!(filters("/api/v1/clients/one/subscriptions").len(), 2);
    assert_eq!(broker.try_get("/api/v1/subscriptions?topic=%2B").0, 400);
    let topics = broker.get("/api/v1/topics?limit=2");
    assert_eq!(topics["topics"][0], json!({ "filter": "$share/g/home/kitchen/light", "subscribers": 1 }));
    assert_eq!((&topics["next"], &topics["complete"]), (&json!("home/#"), &json!(true)));
    let rest = broker.get("/api/v1/topics?after=home/%23");
    assert_eq!((rest["topics"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
    broker.stop();
}
