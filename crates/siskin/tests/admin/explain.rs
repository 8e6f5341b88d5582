use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{Broker, Subscriber, siskin, text};

fn explain(broker: &Broker, args: &[&str]) -> Output {
    siskin(&[&["explain", "--url", &broker.url], args].concat()).output().unwrap()
}

#[test]
fn a_client_and_a_topic_are_explained_in_sentences() {
    let broker = Broker::start(&[]);
    let _subscriber = Subscriber::start(&broker, "kitchen/1", "home/+/light");
    let output = explain(&broker, &["client", "kitchen/1"]);
    let story = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert!(story.starts_with("'kitchen/1' is connected since "), "{story}");
    assert!(story.contains("subscribed to 'home/+/light' at QoS 1"), "{story}");
    let output = explain(&broker, &["client", "nobody"]);
    let problem = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        problem.contains("nothing is known of `nobody`") && problem.contains("10000 clients"),
        "{problem}"
    );

    let output = explain(&broker, &["topic", "home/bath/light", "--from", "kitchen/1"]);
    let topic = text(&output.stdout);
    assert!(topic.starts_with("A message on 'home/bath/light' is due to 1 session.\n  'kitchen/1' at QoS 1 by 'home/+/light', connected from "), "{topic}");
    assert!(topic.ends_with("  'kitchen/1' may publish it: no rule limits it\n"), "{topic}");
    let output = explain(&broker, &["topic", "home/bath/light", "--json"]);
    let answer: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!(answer["receivers"][0]["client_id"], "kitchen/1");
    let output = explain(&broker, &["topic", "home/#"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("`home/#` is not a topic name"), "{}", text(&output.stderr));
}

#[test]
fn messages_are_followed_until_there_were_so_many() {
    let broker = Broker::start(&[]);
    let _subscriber = Subscriber::start(&broker, "s", "a/+");
    let mut command =
        siskin(&["explain", "--url", &broker.url, "message", "-t", "a/#", "-n", "2", "--timeout", "3600"]);
    let mut follower = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut notes = BufReader::new(follower.stderr.take().unwrap());
    let mut note = String::new();
    notes.read_line(&mut note).unwrap();
    assert_eq!(note, "following 2 messages at most for 3600 s; Ctrl-C ends it\n");
    let output = explain(&broker, &["message", "-c", "p"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("of messages on `a/#` is armed"), "{}", text(&output.stderr));
    for topic in ["a/1", "b", "a/2"] {
        let publish = ["pub", "-p", &broker.mqtt_port, "-i", "p", "-t", topic, "-m", "x", "-q", "1"];
        assert!(siskin(&publish).status().unwrap().success());
    }
    let mut told = String::new();
    follower.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(follower.wait().unwrap().code(), Some(0), "{told}");
    for line in [
        "#1 a message on 'a/1' from 'p' at 127.0.0.1:",
        "#2 a message on 'a/2'",
        "  due to 1 session\n",
        "  acknowledged by 's'\n",
    ] {
        assert!(told.contains(line), "`{line}` is not in\n{told}");
    }
    assert!(!told.contains("'b'"), "{told}");
    let mut note = String::new();
    notes.read_line(&mut note).unwrap();
    assert_eq!(note, "2 messages were followed\n");
}

#[test]
fn a_trace_ends_with_its_follower_and_without_messages_there_is_a_status_for_that() {
    let broker = Broker::start(&[]);
    let mut command = siskin(&["explain", "--url", &broker.url, "message", "-c", "p", "--timeout", "3600"]);
    let mut follower = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut notes = BufReader::new(follower.stderr.take().unwrap());
    notes.read_line(&mut String::new()).unwrap();
    kill_process(Pid::from_child(&follower), Signal::INT).unwrap();
    let mut rest = String::new();
    notes.read_to_string(&mut rest).unwrap();
    assert_eq!((follower.wait().unwrap().code(), &*rest), (Some(1), "no such message was published\n"));
    // The broker follows nothing any more, or this would be refused.
    let output = explain(&broker, &["message", "-c", "p", "--timeout", "1"]);
    assert_eq!(text(&output.stderr).lines().last(), Some("the time is over: no such message was published"));
}
