//! The flight recorder behind real sockets: that stories have the addresses of those they are about.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::io::Read;
use std::sync::Arc;

use siskin_proto::{Packet, Version};
use siskin_server::Server;
use support::{Client, broker, connect_packet};

/// Stops the broker; then what happened to `client_id`, each in a sentence.
fn told(server: Server, client_id: &str) -> Vec<String> {
    let shared = Arc::clone(server.shared());
    server.stop();
    let story = shared.story_of_gone(client_id).unwrap();
    story.entries.iter().map(ToString::to_string).collect()
}

#[test]
fn a_take_over_names_the_addresses_of_both_whichever_workers_they_came_to() {
    for workers in [1, 4] {
        let server = broker(|config| config.workers = workers);
        let old = Client::connect(&server, "c");
        let new = Client::connect(&server, "c");
        let (from, to) = (old.stream.local_addr().unwrap(), new.stream.local_addr().unwrap());
        let told = told(server, "c");
        assert!(told[0].starts_with(&format!("connected from {from} (MQTT 5.0")), "{told:?}");
        assert_eq!(told[1], format!("taken over: the same client id connected from {to}"));
        assert!(told[2].contains(&format!("connected from {to} ")), "{told:?}");
        assert!(told[2].contains(&format!("taking over from {from}")), "{told:?}");
        assert_eq!(told[3], "disconnected by the broker: the broker stops");
    }
}

#[test]
fn who_is_refused_by_a_listener_is_told_under_the_client_id_that_it_gave() {
    let server = broker(|config| config.listeners[0].versions = vec![Version::V5]);
    let mut client = Client::open(&server);
    client.send(&Packet::Connect(connect_packet("old", Version::V3_1_1)));
    client.stream.read_to_end(&mut Vec::new()).unwrap();
    let from = client.stream.local_addr().unwrap();
    let expected =
        format!("a connection from {from} was not accepted: refused: Unsupported Protocol Version (0x84)");
    assert_eq!(told(server, "old"), [expected]);
}
