use serde_json::{Value, json};

use crate::support::Broker;

/// The trace when it has ended.
fn ended(broker: &Broker, id: &Value) -> Value {
    loop {
        let trace = broker.get(&format!("/api/v1/traces/{id}"));
        if !trace["ended"].is_null() {
            return trace;
        }
    }
}

#[test]
fn a_topic_is_explained_by_its_receivers() {
    let broker = Broker::start();
    let mut one = broker.client("one");
    one.subscribe("a/#", 1);
    one.subscribe("a/+", 2);
    let mut member = broker.client("member");
    member.subscribe("$share/g/a/b", 1);
    let topic = broker.get("/api/v1/explain/topic?topic=a/b&publisher=one");
    let [receiver] = &topic["receivers"].as_array().unwrap()[..] else { panic!("{topic}") };
    assert_eq!((&receiver["client_id"], &receiver["qos"]), (&json!("one"), &json!(2)));
    assert_eq!((&receiver["filters"], &receiver["outlook"]), (&json!(["a/#", "a/+"]), &json!("sent")));
    assert_eq!(topic["groups"][0]["members"][0]["client_id"], "member");
    assert_eq!(
        topic["publisher"],
        json!({"client_id": "one", "allowed": true, "because": "no rule limits it"})
    );
    let text = topic["text"].as_str().unwrap();
    assert!(text.starts_with("A message on 'a/b' is due to 1 session and to one member of"), "{text}");
    let (status, problem) = broker.try_get("/api/v1/explain/topic?topic=a/%2B");
    assert_eq!((status, problem["code"].as_str()), (400, Some("BAD_REQUEST")));
    broker.stop();
}

#[test]
fn a_trace_ends_when_its_messages_were_followed_and_is_kept_for_those_who_ask() {
    let broker = Broker::start();
    let mut subscriber = broker.client("s");
    subscriber.subscribe("a", 0);
    let (status, trace) = broker.post("/api/v1/traces", &json!({"topic": "a", "count": 2}));
    assert_eq!(status, 201, "{trace}");
    let mut publisher = broker.client("p");
    for topic in ["a", "b", "a", "a"] {
        publisher.publish(topic, b"x", 1, false);
    }
    let trace = ended(&broker, &trace["id"]);
    assert_eq!((&trace["ended"], &trace["messages"]), (&json!("count"), &json!(2)));
    let stations = trace["stations"].as_array().unwrap();
    let of_first: Vec<_> = stations.iter().filter(|station| station["message"] == 1).collect();
    assert_eq!((&of_first[0]["station"], &of_first[0]["client_id"]), (&json!("received"), &json!("p")));
    assert_eq!((&of_first[0]["topic"], &of_first[1]["station"]), (&json!("a"), &json!("routed")));
    for station in ["sent", "answered"] {
        assert!(of_first.iter().any(|noted| noted["station"] == station), "{station}: {trace}");
    }
    let rest = broker.get(&format!("/api/v1/traces/{}?after={}", trace["id"], stations.len() - 1));
    assert_eq!(rest["stations"].as_array().unwrap()[..], stations[stations.len() - 1..]);
    broker.stop();
}

#[test]
fn one_trace_is_armed_at_a_time_and_ends_by_itself_or_when_told() {
    let broker = Broker::start();
    let wanted = json!({"client_id": "p", "seconds": 3600});
    let (_, first) = broker.post("/api/v1/traces", &wanted);
    let (status, problem) = broker.post("/api/v1/traces", &wanted);
    assert_eq!((status, &problem["code"]), (409, &json!("CONFLICT")));
    let message = problem["message"].as_str().unwrap();
    assert!(message.contains(&format!("DELETE /api/v1/traces/{}", first["id"])), "{message}");
    let path = format!("/api/v1/traces/{}", first["id"]);
    assert_eq!(broker.delete(&path), (200, json!({"count": 1})));
    assert_eq!((broker.delete(&path).0, broker.try_get(&path).0), (404, 404));
    let (status, short) = broker.post("/api/v1/traces", &json!({"client_id": "p", "seconds": 1}));
    assert_eq!(status, 201, "{short}");
    assert_eq!(ended(&broker, &short["id"])["ended"], "time");
    let traces = broker.get("/api/v1/traces");
    assert_eq!(traces["traces"].as_array().unwrap().len(), 1, "{traces}");
    broker.stop();
}

#[test]
fn no_more_than_the_last_traces_are_kept() {
    let broker = Broker::start();
    for _ in 0..6 {
        // The one before may still be on its way out.
        let trace = loop {
            match broker.post("/api/v1/traces", &json!({"topic": "a", "count": 1})) {
                (409, _) => {}
                (_, trace) => break trace,
            }
        };
        broker.client("p").publish("a", b"x", 0, false);
        ended(&broker, &trace["id"]);
    }
    assert_eq!(broker.get("/api/v1/traces")["traces"].as_array().unwrap().len(), 4);
    broker.stop();
}

#[test]
fn a_trace_of_nothing_or_of_too_much_is_refused() {
    let broker = Broker::start();
    for (wanted, why) in [
        (json!({}), "say which messages"),
        (json!({"topic": "a/#/b"}), "`a/#/b` is not a topic filter"),
        (json!({"topic": "$share/g/a"}), "behind the name of the share"),
        (json!({"topic": "a", "count": 0}), "count is a number from 1 to 1000"),
        (json!({"topic": "a", "seconds": 3601}), "seconds from 1 to 3600"),
        (json!({"tpoic": "a"}), "unknown field `tpoic`"),
    ] {
        let (status, problem) = broker.post("/api/v1/traces", &wanted);
        let message = problem["message"].as_str().unwrap();
        assert!(status >= 400 && message.contains(why), "{wanted}: {status} {message}");
    }
    broker.stop();
}
