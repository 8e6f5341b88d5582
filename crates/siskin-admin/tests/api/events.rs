use std::io::{BufRead as _, BufReader, Read};

use serde_json::{Value, json};

use crate::support::{Broker, Client};

/// Events while they happen.
struct Follower(BufReader<Box<dyn Read>>);

impl Follower {
    fn start(broker: &Broker, query: &str) -> Self {
        let mut follower = Self::begin(broker, query);
        // An empty line says that it is followed.
        let mut line = String::new();
        follower.0.read_line(&mut line).unwrap();
        assert_eq!(line, "\n");
        follower
    }

    fn begin(broker: &Broker, query: &str) -> Self {
        let answer =
            broker.agent.get(broker.url(&format!("/api/v1/events?follow=true&{query}"))).call().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
        Self(BufReader::new(Box::new(answer.into_body().into_reader())))
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        while line.trim().is_empty() {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the answer has ended");
        }
        serde_json::from_str(&line).unwrap()
    }

    fn next_kinds<const N: usize>(&mut self) -> [String; N] {
        [(); N].map(|()| self.next()["event"].as_str().unwrap().to_owned())
    }
}

#[test]
fn what_happens_to_a_client_is_told_while_it_happens() {
    let broker = Broker::start();
    let mut all = Follower::start(&broker, "limit=0");
    let mut of_one = Follower::start(&broker, "limit=0&client_id=one");
    let mut warnings = Follower::start(&broker, "limit=0&level=warn");
    let mut of_topic = Follower::start(&broker, "limit=0&topic=b/c");
    let mut from_elsewhere = Follower::start(&broker, "limit=0&address=192.0.2.0/24");
    let mut one = broker.client("one");
    one.subscribe("a", 1);
    let mut two = broker.client("two");
    two.subscribe("b/+", 0);
    let first = all.next();
    assert_eq!((&first["event"], &first["client_id"]), (&json!("connected"), &json!("one")));
    assert!(first["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{first}");
    let second = all.next();
    assert_eq!((&second["event"], &second["topic"]), (&json!("subscribed"), &json!("a")));
    assert_eq!((&second["level"], &second["address"]), (&json!("debug"), &first["address"]));
    assert_eq!(of_topic.next()["client_id"], "two");
    drop(one);
    assert_eq!(of_one.next_kinds(), ["connected", "subscribed", "disconnected"]);
    let warning = warnings.next();
    assert_eq!((&warning["event"], &warning["client_id"]), (&json!("disconnected"), &json!("one")));
    // Nothing came for it: the next is what is told to all.
    broker.admin.stop();
    let mut rest = String::new();
    let _ = from_elsewhere.0.read_to_string(&mut rest);
    assert_eq!(rest.trim(), "");
    broker.server.stop();
}

#[test]
fn the_latest_events_are_there_without_following_and_before_what_follows() {
    let broker = Broker::start();
    drop(broker.client("gone"));
    while broker.get("/api/v1/events")["events"].as_array().unwrap().len() < 2 {}
    let events = broker.get("/api/v1/events?limit=1&client_id=gone");
    assert_eq!(events["events"][0]["event"], "disconnected");
    assert!(events["events"][0]["text"].as_str().unwrap().contains("without a DISCONNECT"));
    let mut follower = Follower::begin(&broker, "limit=10");
    assert_eq!(follower.next_kinds(), ["connected", "disconnected"]);
    let _new = Client::connect(&broker, "new", 2, 0);
    assert_eq!(follower.next()["client_id"], "new");
    broker.stop();
}

#[test]
fn there_are_no_more_followers_than_may_be_and_one_that_leaves_makes_room() {
    let broker = Broker::start();
    let followers: Vec<_> = (0..16).map(|_| Follower::start(&broker, "limit=0")).collect();
    let path = "/api/v1/events?follow=true&limit=0";
    let (status, problem) = broker.try_get(path);
    assert_eq!((status, &problem["code"]), (409, &json!("CONFLICT")), "{problem}");
    drop(followers);
    // The broker learns of it when it has something to tell them.
    loop {
        drop(broker.client("c"));
        if broker.agent.get(broker.url(path)).call().unwrap().status() == 200 {
            break;
        }
    }
    broker.stop();
}

#[test]
fn a_question_about_events_that_makes_no_sense_is_refused() {
    let broker = Broker::start();
    for (query, why) in [
        ("topic=a/%23/b", "`a/#/b` is not a topic filter"),
        ("address=nowhere", "nowhere"),
        ("level=loud", "`loud` is not one of"),
        ("limit=0", "limit is a number"),
    ] {
        let (status, problem) = broker.try_get(&format!("/api/v1/events?{query}"));
        assert_eq!(status, 400, "{query}");
        assert!(problem["message"].as_str().unwrap().contains(why), "{query}: {problem}");
    }
    broker.stop();
    let broker = Broker::with(|config| config.limits.recorder_enabled = false);
    let (status, problem) = broker.try_get("/api/v1/events");
    assert_eq!(
        (status, problem["message"].as_str()),
        (409, Some("nothing is recorded: recorder.enabled is off"))
    );
    broker.stop();
}
