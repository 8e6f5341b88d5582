use serde_json::{Value, json};

use crate::support::Broker;

#[test]
fn health_and_readiness_are_told() {
    let broker = Broker::start();
    let health = broker.get("/api/v1/health");
    assert_eq!((&health["status"], &health["node"]), (&json!("up"), &json!("siskin")));
    assert_eq!(
        broker.get("/api/v1/ready"),
        json!({ "ready": true, "workers_answer": true, "store": "memory" })
    );
    broker.stop();
}

#[test]
fn a_worker_that_does_not_answer_makes_the_broker_not_ready() {
    let broker = Broker::start();
    let handle = broker.server.handle().clone();
    let (begun, begins) = std::sync::mpsc::channel();
    let (go_on, held) = std::sync::mpsc::channel::<()>();
    let asker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(handle.ask(1, move |_, _| {
            begun.send(()).unwrap();
            held.recv().unwrap();
        }))
    });
    begins.recv().unwrap();
    let (status, answer) = broker.try_get("/api/v1/ready");
    assert_eq!((status, &answer["ready"], &answer["workers_answer"]), (503, &json!(false), &json!(false)));
    // What needs no worker is answered all the same.
    assert_eq!(broker.get("/api/v1/health")["status"], "up");
    go_on.send(()).unwrap();
    asker.join().unwrap().unwrap();
    assert_eq!(broker.get("/api/v1/ready")["ready"], true);
    broker.stop();
}

#[test]
fn stats_count_what_happens() {
    let broker = Broker::start();
    let mut client = broker.client("one");
    client.subscribe("$share/g/a", 1);
    client.publish("x", b"12345", 1, true);
    client.publish("x", b"1", 0, false);
    client.ping();
    let stats = broker.get("/api/v1/stats");
    assert_eq!(stats["messages_received"], json!([1, 1, 0]));
    assert_eq!((&stats["connections"], &stats["retained_messages"]), (&json!(1), &json!(1)));
    assert_eq!((&stats["subscriptions"], &stats["shared_subscriptions"]), (&json!(1), &json!(1)));
    assert_eq!(stats["without_subscribers"], 2);
    assert_eq!(stats["dropped"]["queue_full"], 0);
    let workers = stats["workers"].as_array().unwrap();
    assert_eq!(workers.len(), 2);
    assert!(workers.iter().all(|worker| worker["turns"].as_u64() > Some(0)), "{stats}");
    assert!(stats["memory_bytes"].as_u64() > Some(1 << 20), "{stats}");
    broker.stop();
}

#[test]
fn memory_is_told_with_what_holds_it_and_how_much_there_may_be() {
    let broker = Broker::with(|config| config.memory_max = 1 << 30);
    let mut client = broker.client("client");
    client.subscribe("a/b", 0);
    client.publish("c", &[7; 1000], 1, true);
    let memory = loop {
        let memory = broker.get("/api/v1/memory");
        if memory["held"]["subscriptions"].as_u64() > Some(0) {
            break memory;
        }
    };
    assert_eq!((&memory["max_bytes"], &memory["pressure"]), (&json!(1 << 30), &json!("calm")));
    assert!(memory["resident_bytes"].as_u64() > Some(1 << 20), "{memory}");
    assert!(memory["held"]["retained"].as_u64() > Some(1000), "{memory}");
    let sum: u64 = memory["held"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(memory["held_bytes"], sum);
    broker.stop();
}

#[test]
fn rates_come_second_by_second() {
    let broker = Broker::start();
    let seconds = loop {
        let rates = broker.get("/api/v1/rates?last=5");
        let seconds = rates["seconds"].as_array().unwrap().clone();
        if !seconds.is_empty() {
            break seconds;
        }
    };
    assert!(seconds[0]["unix_ms"].as_u64() > Some(1_600_000_000_000), "{seconds:?}");
    assert_eq!(seconds[0]["workers_busy"].as_array().unwrap().len(), 2);
    broker.stop();
}

#[test]
fn the_heaviest_and_the_slowest_clients_stand_out() {
    let broker = Broker::start();
    let (mut loud, mut quiet) = (broker.client("loud"), broker.client("quiet"));
    let mut slow = crate::support::Client::connect(&broker, "slow", 2, 300);
    slow.subscribe("q", 1);
    drop(slow);
    while broker.get("/api/v1/clients/slow")["connected"] == true {}
    for _ in 0..50 {
        loud.publish("q", &[b'x'; 100], 1, false);
    }
    quiet.publish("x", b"", 1, false);
    let top = broker.get("/api/v1/top?limit=2");
    assert_eq!(top["sessions"], 3);
    assert_eq!(top["heaviest"][0]["client_id"], "loud");
    assert_eq!(top["heaviest"][1]["client_id"], "quiet");
    assert_eq!(
        (&top["slowest"][0]["client_id"], &top["slowest"][0]["queue_messages"]),
        (&json!("slow"), &json!(50))
    );
    assert_eq!(broker.try_get("/api/v1/top?limit=0").0, 400);
    broker.stop();
}

#[test]
fn listeners_and_configuration_are_as_they_are_in_force() {
    let broker = Broker::with(|config| config.limits.inflight_max = 7);
    let address = broker.server.addresses()[0].to_string();
    let _client = broker.client("one");
    let listeners = broker.get("/api/v1/listeners");
    let listener = &listeners["listeners"][0];
    assert_eq!((&listener["address"], &listener["connections"]), (&json!(address), &json!(1)));
    assert_eq!((&listener["protocol"], &listener["tls"]), (&json!("tcp"), &json!(false)));
    let config = broker.get("/api/v1/config");
    let settings = config["settings"].as_array().unwrap();
    let inflight = settings.iter().find(|setting| setting["name"] == "limits.inflight_max").unwrap();
    assert_eq!((&inflight["value"], &inflight["default"]), (&json!("7"), &json!("1000")));
    assert_eq!(config["listeners"][0], format!("MQTT on {address}"));
    broker.stop();
}

#[test]
fn the_document_has_every_path_and_every_reference_in_it_leads_somewhere() {
    let broker = Broker::start();
    let document = broker.get("/api/openapi.json");
    let paths = document["paths"].as_object().unwrap();
    for path in [
        "/api/v1/clients/{client_id}",
        "/api/v1/publish",
        "/api/v5/clients",
        "/api/v5/mqtt/retainer/messages",
    ] {
        assert!(paths.contains_key(path), "{path} is not among {:?}", paths.keys());
    }
    // What is described is there: every GET without a name in its path is answered.
    for (path, item) in paths.iter().filter(|(path, _)| !path.contains('{')) {
        if item.get("get").is_some() {
            let status = broker.try_get(path).0;
            assert!(status == 200 || status == 400, "{path}: {status}");
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some_and(Value::is_object), "{pointer}");
    }
    broker.stop();
}

#[test]
fn the_level_of_the_log_is_changed_where_the_program_lets_it() {
    let broker = Broker::start();
    assert_eq!(broker.get("/api/v1/log-level"), json!({"level": "info"}));
    let put = |level: &str| broker.put("/api/v1/log-level", &json!({"level": level}));
    let (status, problem) = put("debug");
    assert_eq!((status, &problem["code"]), (409, &json!("CONFLICT")));
    let (tell, told) = std::sync::mpsc::channel();
    broker.server.handle().on_log_level(move |level| tell.send(level).map_err(|error| error.to_string()));
    assert_eq!(put("debug"), (200, json!({"level": "debug"})));
    assert_eq!(told.recv().unwrap(), siskin_server::config::LogLevel::Debug);
    assert_eq!(broker.get("/api/v1/log-level"), json!({"level": "debug"}));
    assert_eq!(put("loud").0, 400);
    drop(told);
    assert_eq!(put("info").0, 409);
    assert_eq!(broker.get("/api/v1/log-level"), json!({"level": "debug"}));
    broker.stop();
}
