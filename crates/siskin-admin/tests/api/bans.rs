use serde_json::json;

use crate::support::Broker;

#[test]
fn a_ban_disconnects_is_listed_and_taken_back() {
    let broker = Broker::start();
    let mut client = broker.client("loud");
    let mut other = broker.client("quiet");
    let ban = json!({"client_id": "loud", "reason": "too loud", "seconds": 3600});
    assert_eq!(broker.post("/api/v1/bans", &ban), (201, json!({"disconnected": 1})));
    let (first, body) = client.next().unwrap();
    assert_eq!((first, body[0]), (0xE0, 0x98));
    assert!(client.next().is_none());
    other.ping();
    broker.post("/api/v1/bans", &json!({"address": "192.0.2.77/24"}));
    broker.post("/api/v1/bans", &json!({"user_name": "u"}));
    let list = broker.get("/api/v1/bans?limit=2");
    assert_eq!(
        (&list["bans"][0]["client_id"], &list["bans"][0]["reason"]),
        (&json!("loud"), &json!("too loud"))
    );
    assert!(list["bans"][0]["until"].as_str().unwrap().ends_with('Z'));
    assert_eq!((&list["bans"][1]["user_name"], &list["bans"][1]["until"]), (&json!("u"), &json!(null)));
    let rest = broker.get(&format!("/api/v1/bans?after={}", list["next"]));
    assert_eq!(
        rest,
        json!({"bans": [{"address": "192.0.2.0/24", "reason": "", "until": null}], "next": null})
    );
    assert_eq!(broker.delete("/api/v1/bans?client_id=loud"), (200, json!({"count": 1})));
    let (status, problem) = broker.delete("/api/v1/bans?client_id=loud");
    assert_eq!((status, &problem["message"]), (404, &json!("the client id \"loud\" is not banned")));
    broker.client("loud").ping();
    broker.stop();
}

#[test]
fn a_ban_of_nobody_of_two_or_of_no_time_is_refused() {
    let broker = Broker::start();
    for (ban, why) in [
        (json!({}), "about one of"),
        (json!({"client_id": "a", "user_name": "b"}), "about one of"),
        (json!({"address": "300.0.0.1"}), "300.0.0.1"),
        (json!({"client_id": "a", "seconds": 0}), "a second at least"),
        (json!({"client": "a"}), "unknown field `client`"),
    ] {
        let (status, problem) = broker.post("/api/v1/bans", &ban);
        assert!(status >= 400 && problem["message"].as_str().unwrap().contains(why), "{ban}: {problem}");
    }
    assert_eq!(broker.get("/api/v1/bans")["bans"], json!([]));
    broker.stop();
}

#[test]
fn bans_have_the_shape_that_scripts_for_emqx_know() {
    let broker = Broker::start();
    let ban = json!({"as": "clientid", "who": "c/1", "reason": "r", "until": "2100-01-01T01:00:00+01:00"});
    let made = json!({"as": "clientid", "who": "c/1", "reason": "r", "until": "2100-01-01T00:00:00Z"});
    assert_eq!(broker.post("/api/v5/banned", &ban), (200, made.clone()));
    let (status, problem) = broker.post("/api/v5/banned", &ban);
    assert_eq!((status, &problem["code"]), (400, &json!("ALREADY_EXISTS")));
    let (status, net) = broker
        .post("/api/v5/banned", &json!({"as": "peerhost_net", "who": "192.0.2.0/24", "until": "infinity"}));
    assert_eq!((status, &net["until"]), (200, &json!("infinity")));
    let list = broker.get("/api/v5/banned");
    assert_eq!((&list["data"][0], &list["data"][1]["as"]), (&made, &json!("peerhost_net")));
    assert_eq!((&list["meta"]["count"], &list["meta"]["hasnext"]), (&json!(2), &json!(false)));
    for wrong in [
        json!({"as": "shoe", "who": "x"}),
        json!({"as": "clientid", "who": "x", "until": "noon"}),
        json!({"as": "clientid", "who": "x", "until": 1}),
    ] {
        assert_eq!(broker.post("/api/v5/banned", &wrong).0, 400, "{wrong}");
    }
    assert_eq!(broker.delete("/api/v5/banned/clientid/c%2F1").0, 204);
    assert_eq!(broker.delete("/api/v5/banned/clientid/c%2F1").0, 404);
    assert_eq!(broker.delete("/api/v5/banned/peerhost_net/192.0.2.0%2F24").0, 204);
    broker.stop();
}
