//! Quotas and bans through real sockets. What is counted and when there is room again is tested beside the buckets;
//! here is what clients notice.
//!
//! Where it must not matter how long a test takes, a quota of one byte a second is used up for many minutes by the first
//! packet.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::io::Write as _;
use std::time::Duration;

use siskin_proto::{
    Connect, Packet, PacketId, Properties, Qos, Reason, Subscribe, SubscriptionOptions, TopicFilter, Version,
};
use siskin_server::config::{Banned, Excess, Rates};
use siskin_server::{Config, Server};
use support::{Client, broker, connect_packet, dial, publish_packet};

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

fn quota_broker(excess: Excess, change: impl FnOnce(&mut Config)) -> Server {
    broker(|config| {
        config.quota.excess = excess;
        change(config);
    })
}

fn messages(messages: u64) -> Rates {
    Rates { messages, ..Rates::default() }
}

fn connect_as_user<'a>(client_id: &'a str, version: Version, user_name: &'a str) -> Connect<'a> {
    Connect { user_name: Some(user_name), ..connect_packet(client_id, version) }
}

fn subscribe_to(client: &mut Client, filters: &[&'static str]) {
    let filter = |text: &&'static str| (TopicFilter::parse(text).unwrap(), SubscriptionOptions::default());
    client.send(&Packet::Subscribe(Subscribe {
        packet_id: PacketId::new(1).unwrap(),
        properties: Properties::EMPTY,
        filters: filters.iter().map(filter).collect(),
    }));
}

/// What a single packet uses up for longer than any test takes.
const ONE_BYTE: Rates = Rates { messages: 0, bytes: 1, connects: 0, subscribes: 0 };

const MUCH: &[u8] = &[7; 1000];

#[test]
fn a_dropped_message_is_answered_where_there_is_an_answer_and_the_client_stays() {
    for version in VERSIONS {
        let server = quota_broker(Excess::Drop, |config| config.quota.client = ONE_BYTE);
        let mut watcher = Client::connect(&server, "watcher");
        let mut client = Client::connect_as(&server, &connect_packet("client", version));
        watcher.subscribe("#", Qos::AtMostOnce);
        for payload in [MUCH, b"2", b"3"] {
            client.publish("a", payload, Qos::AtLeastOnce);
        }
        let refused = if version == Version::V5 { Reason::QuotaExceeded } else { Reason::Success };
        for reason in [Reason::Success, refused, refused] {
            client.expect("PUBACK", |packet| matches!(packet, Packet::PubAck(ack) if ack.reason == reason));
        }
        client.publish("a", b"4", Qos::ExactlyOnce);
        client.expect("PUBREC", |packet| matches!(packet, Packet::PubRec(ack) if ack.reason == refused));
        client.publish("a", b"5", Qos::AtMostOnce);
        client.ping();
        watcher.expect_payload(MUCH);
        watcher.ping();
        assert_eq!(server.shared().totals().dropped_over_quota, 4);
        server.stop();
    }
}

#[test]
fn who_publishes_too_much_is_disconnected_and_told_in_5_0() {
    for version in VERSIONS {
        let server = quota_broker(Excess::Disconnect, |config| config.quota.client = messages(2));
        let mut client = Client::connect_as(&server, &connect_packet("client", version));
        // In one piece, and so at one time.
        let publish = client.encoded(&Packet::Publish(publish_packet("a", b"x", Qos::AtMostOnce)));
        client.stream.write_all(&publish.repeat(3)).unwrap();
        if version == Version::V5 {
            client.expect("DISCONNECT", |packet| is_disconnect(packet, Reason::MessageRateTooHigh));
        }
        client.expect_end();
        server.stop();
    }
}

#[test]
fn bytes_count_too_and_a_packet_larger_than_the_quota_is_let_through_once() {
    let server = quota_broker(Excess::Disconnect, |config| {
        config.quota.client = Rates { bytes: 100, ..Rates::default() };
    });
    let mut client = Client::connect(&server, "client");
    client.subscribe("a", Qos::AtMostOnce);
    client.publish("a", &[7; 100_000], Qos::AtMostOnce);
    client.expect_payload(&[7; 100_000]);
    // What is no message and no subscription is never refused.
    client.ping();
    client.publish("a", b"", Qos::AtMostOnce);
    client.expect("DISCONNECT", |packet| is_disconnect(packet, Reason::MessageRateTooHigh));
    server.stop();
}

#[test]
fn what_waits_arrives_in_order_and_others_do_not_wait() {
    // Sixty at once, and thirty more that come one by one.
    let server = quota_broker(Excess::Delay, |config| config.quota.client = messages(60));
    let (mut client, mut watcher) = (Client::connect(&server, "client"), Client::connect(&server, "watcher"));
    watcher.subscribe("#", Qos::AtMostOnce);
    for number in 0..60_u8 {
        client.publish("a", &[number], Qos::AtMostOnce);
    }
    client.ping();
    for number in 60..90 {
        client.publish("a", &[number], Qos::AtMostOnce);
    }
    // While the client waits nobody else does.
    let mut other = Client::connect(&server, "other");
    other.ping();
    for number in 0..90 {
        watcher.expect_payload(&[number]);
    }
    client.ping();
    assert_eq!(server.shared().totals().dropped_over_quota, 0);
    server.stop();
}

#[test]
fn a_client_that_must_wait_is_not_cut_off_for_its_silence() {
    let server = quota_broker(Excess::Delay, |config| {
        config.quota.client = Rates { bytes: 2000, ..Rates::default() };
        config.limits.keep_alive_percent = 100;
    });
    let connect = Connect { keep_alive_s: 1, ..connect_packet("client", Version::V5) };
    let mut client = Client::connect_as(&server, &connect);
    // Worth three seconds: two and a bit beyond the bucket, twice as long as the keep alive.
    client.publish("a", &[0; 6000], Qos::AtLeastOnce);
    client.expect("PUBACK", |packet| matches!(packet, Packet::PubAck(_)));
    client.ping();
    server.stop();
}

#[test]
fn clients_of_one_user_share_its_quota_and_those_of_another_do_not() {
    let server = quota_broker(Excess::Disconnect, |config| {
        config.quota.user = ONE_BYTE;
        config.workers = 2;
    });
    let join = |id: &str, user: &str| Client::connect_as(&server, &connect_as_user(id, Version::V5, user));
    let (mut first, mut second, mut other) = (join("a", "u"), join("b", "u"), join("c", "v"));
    for client in [&mut first, &mut other] {
        client.publish("a", MUCH, Qos::AtMostOnce);
        client.ping();
    }
    second.publish("a", b"", Qos::AtMostOnce);
    second.expect("DISCONNECT", |packet| is_disconnect(packet, Reason::MessageRateTooHigh));
    first.ping();
    server.stop();
}

#[test]
fn clients_of_one_listener_share_its_quota_and_those_of_another_do_not() {
    let server = quota_broker(Excess::Disconnect, |config| {
        config.listeners.push(config.listeners[0].clone());
        config.listeners[0].quota = ONE_BYTE;
    });
    let mut free = Client::connect_over(dial(server.addresses()[1]), "free");
    let (mut first, mut second) = (Client::connect(&server, "first"), Client::connect(&server, "second"));
    first.publish("a", MUCH, Qos::AtMostOnce);
    first.ping();
    second.publish("a", b"", Qos::AtMostOnce);
    second.expect("DISCONNECT", |packet| is_disconnect(packet, Reason::MessageRateTooHigh));
    for _ in 0..10 {
        free.publish("a", MUCH, Qos::AtMostOnce);
    }
    free.ping();
    server.stop();
}

#[test]
fn subscriptions_are_counted_by_their_filters() {
    let one = Rates { subscribes: 1, ..Rates::default() };
    for version in [Version::V5, Version::V3_1_1] {
        let server = quota_broker(Excess::Drop, |config| config.quota.client = one);
        let mut client = Client::connect_as(&server, &connect_packet("client", version));
        subscribe_to(&mut client, &["a"; 500]);
        client.expect("SUBACK", |packet| matches!(packet, Packet::SubAck(ack) if ack.reasons.len() == 500 && !ack.reasons[499].is_error()));
        subscribe_to(&mut client, &["b"]);
        client.expect("SUBACK", |packet| matches!(packet, Packet::SubAck(ack) if ack.reasons[0].is_error()));
        server.stop();
    }
    let server = quota_broker(Excess::Disconnect, |config| config.quota.client = one);
    let mut client = Client::connect(&server, "client");
    subscribe_to(&mut client, &["a"; 500]);
    client.expect("SUBACK", |packet| matches!(packet, Packet::SubAck(_)));
    subscribe_to(&mut client, &["b"]);
    client.expect("DISCONNECT", |packet| is_disconnect(packet, Reason::QuotaExceeded));
    server.stop();
}

#[test]
fn connects_of_a_client_or_user_are_refused_when_there_are_too_many() {
    let one = Rates { connects: 1, ..Rates::default() };
    for version in VERSIONS {
        let server = quota_broker(Excess::Drop, |config| config.quota.client = one);
        Client::connect_as(&server, &connect_packet("client", version)).ping();
        expect_refusal(&server, &connect_packet("client", version), Reason::QuotaExceeded, 3);
        Client::connect_as(&server, &connect_packet("other", version)).ping();
        server.stop();
        let server = quota_broker(Excess::Disconnect, |config| config.quota.user = one);
        Client::connect_as(&server, &connect_as_user("client", version, "user")).ping();
        expect_refusal(&server, &connect_as_user("other", version, "user"), Reason::QuotaExceeded, 3);
        server.stop();
    }
}

#[test]
fn a_connect_that_must_wait_is_answered_when_there_is_room() {
    let server = quota_broker(Excess::Delay, |config| {
        config.quota.user = Rates { connects: 2, ..Rates::default() };
        config.workers = 2;
    });
    // The third waits for half a second, with what was sent behind it.
    for id in ["a", "b", "c"] {
        let mut client = Client::open(&server);
        let mut bytes = client.encoded(&Packet::Connect(connect_as_user(id, Version::V5, "user")));
        bytes.extend(client.encoded(&Packet::PingReq(siskin_proto::PingReq)));
        client.stream.write_all(&bytes).unwrap();
        client.expect("CONNACK", |packet| matches!(packet, Packet::ConnAck(ack) if !ack.reason.is_error()));
        client.expect("PINGRESP", |packet| matches!(packet, Packet::PingResp(_)));
    }
    server.stop();
}

#[test]
fn transports_above_a_listener_s_quota_are_closed_or_wait() {
    let one = Rates { connects: 1, ..Rates::default() };
    let server = quota_broker(Excess::Drop, |config| config.listeners[0].quota = one);
    let mut first = Client::connect(&server, "first");
    Client::open(&server).expect_end();
    first.ping();
    server.stop();
    let two = Rates { connects: 2, ..Rates::default() };
    let server = quota_broker(Excess::Delay, |config| config.listeners[0].quota = two);
    for id in ["a", "b", "c", "d"] {
        Client::connect(&server, id).ping();
    }
    server.stop();
}

#[test]
fn the_banned_are_refused_in_every_version_by_client_id_user_name_and_address() {
    let server = broker(|_| {});
    let bans = [
        Banned::Client("client".to_owned()),
        Banned::User("user".to_owned()),
        Banned::Address("127.0.0.0/8".parse().unwrap()),
    ];
    for who in bans {
        let mut connected = Client::connect(&server, "connected");
        server.ban(who.clone(), None, "a test").unwrap();
        assert_eq!(server.bans().len(), 1);
        for version in VERSIONS {
            expect_refusal(&server, &connect_as_user("client", version, "user"), Reason::Banned, 5);
        }
        connected.ping();
        assert!(server.unban(&who) && !server.unban(&who));
        Client::connect_as(&server, &connect_as_user("client", Version::V5, "user")).ping();
    }
    server.stop();
}

#[test]
fn a_ban_of_no_time_is_over_at_once() {
    let server = broker(|_| {});
    server.ban(Banned::Client("client".to_owned()), Some(Duration::ZERO), "a test").unwrap();
    Client::connect(&server, "client").ping();
    assert_eq!(server.bans(), []);
    server.stop();
}

#[test]
fn a_client_id_that_flaps_is_banned_and_named_with_the_reason() {
    let server = broker(|config| {
        config.flapping.client_connects = 3;
        // Whichever worker a connection meets, it is counted once.
        config.workers = 4;
    });
    for _ in 0..3 {
        Client::connect(&server, "flapping").ping();
    }
    expect_refusal(&server, &connect_packet("flapping", Version::V5), Reason::Banned, 5);
    Client::connect(&server, "steady").ping();
    let [ban] = &server.bans()[..] else { panic!("one ban") };
    assert_eq!((&ban.who, &*ban.reason), (&Banned::Client("flapping".to_owned()), "3 connects within 60 s"));
    server.stop();
}

fn expect_refusal(server: &Server, connect: &Connect<'_>, reason: Reason, return_code: u8) {
    let mut client = Client::open(server);
    client.send(&Packet::Connect(*connect));
    let bytes = client.next_bytes().expect("a CONNACK");
    // In 3.x nothing follows the code; in 5.0 the length of no properties.
    let expected: &[u8] = match connect.version {
        Version::V5 => &[0x20, 3, 0, reason as u8, 0],
        _ => &[0x20, 2, 0, return_code],
    };
    assert_eq!(bytes, expected);
    client.expect_end();
}

fn is_disconnect(packet: &Packet<'_>, reason: Reason) -> bool {
    matches!(packet, Packet::Disconnect(disconnect) if disconnect.reason == reason)
}
