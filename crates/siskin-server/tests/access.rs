//! Who is let in and what clients may do, through real sockets: each refusal with its exact code.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use ring::hmac;
use siskin_access::password::{Hash, NewHash, set};
use siskin_proto::{Connect, Packet, PropertiesBuf, Property, Qos, Reason, Version};
use siskin_server::config::authentication::{HttpConfig, JwtConfig, KeySource, StepConfig};
use siskin_server::config::{Anonymous, ClientCertificates, Listener, Place, SubscribeCheck};
use siskin_server::{Config, Server};
use support::pki::{Authority, Folder, asking_listener};
use support::{Client, PATIENCE, broker, connect_packet, publish_packet};

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// The text of a password file in which each user's password is the name backwards.
fn passwords(users: &[&str]) -> String {
    let mut text = Vec::new();
    for user in users {
        let kind = NewHash::Pbkdf2Sha512 { iterations: 1000 };
        let hash = Hash::create(kind, &password(user), &[7; 12]).unwrap();
        (text, _) = set(&text, user, &hash);
    }
    String::from_utf8(text).unwrap()
}

fn password(user: &str) -> Vec<u8> {
    user.bytes().rev().collect()
}

/// A broker with these users and these rules, if any.
fn guarded(folder: &Folder, users: &[&str], acl: &str, change: impl FnOnce(&mut Config)) -> Server {
    let password_file = folder.put("passwords", &passwords(users));
    let acl_file = folder.put("acl", acl);
    broker(|config| {
        config.access.password_file = password_file;
        if !acl.is_empty() {
            config.access.acl_file = acl_file;
        }
        config.transport.tls_check_ms = 100;
        change(config);
    })
}

fn anywhere() -> Listener {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into()
}

/// What the CONNACK says: its code as it is on the wire, and the reason string.
fn connack(server: &Server, connect: &Connect<'_>) -> (u8, Option<String>) {
    connack_at(server, 0, connect)
}

fn connack_at(server: &Server, listener: usize, connect: &Connect<'_>) -> (u8, Option<String>) {
    let mut address = server.addresses()[listener];
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let mut client = Client::over(support::dial(address));
    client.send_as(connect.version, &Packet::Connect(*connect));
    let bytes = client.next_bytes().unwrap();
    client.next_of(&bytes, |packet| match packet {
        Packet::ConnAck(ack) => (bytes[3], ack.properties.reason_string().map(str::to_owned)),
        other => panic!("expected CONNACK, got {other:?}"),
    })
}

fn named<'a>(name: &'a str, password: Option<&'a [u8]>, version: Version) -> Connect<'a> {
    Connect { user_name: Some(name), password, ..connect_packet(name, version) }
}

fn log_in(server: &Server, user: &str, version: Version) -> Client {
    let password = password(user);
    Client::connect_as(server, &named(user, Some(&password), version))
}

#[test]
fn the_right_password_lets_in_and_everything_else_is_refused_with_its_code() {
    let folder = Folder::new();
    let server = guarded(&folder, &["ann", "bob"], "", |_| {});
    for version in VERSIONS {
        log_in(&server, "ann", version).ping();
        let wrong = if version.is_v5() { 0x86 } else { 4 };
        for (user, password) in [
            ("ann", Some(&b"bob"[..])),
            ("ann", Some(b"")),
            ("ann", None),
            ("nobody", Some(b"ydobon")),
            ("", Some(b"")),
        ] {
            let (code, told) = connack(&server, &named(user, password, version));
            assert_eq!(code, wrong, "{version} {user}");
            let expected = version.is_v5().then(|| "Bad User Name or Password".to_owned());
            assert_eq!(told, expected, "and not whether there is such a user");
        }
    }
    assert_eq!(server.shared().totals().refused, 15);
    server.stop();
}

#[test]
fn without_any_setting_only_this_machine_comes_in() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let server = broker(|config| {
        let unix = Listener::new(Place::Unix { path, mode: None });
        config.listeners.extend([unix, anywhere()]);
    });
    for version in VERSIONS {
        assert_eq!(connack_at(&server, 0, &connect_packet("c", version)).0, 0);
        let refused = if version.is_v5() { 0x87 } else { 5 };
        let (code, told) = connack_at(&server, 1, &connect_packet("c", version));
        assert_eq!(code, refused);
        let expected = version.is_v5().then(|| "anonymous clients are not allowed here".to_owned());
        assert_eq!(told, expected);
    }
    let unix = std::os::unix::net::UnixStream::connect(folder.path("socket")).unwrap();
    Client::connect_over(unix, "unix").ping();
    server.stop();
}

#[test]
fn a_listener_s_own_word_on_anonymous_clients_comes_before_the_broker_s() {
    for (broker_s, listener_s, is_allowed) in [
        (Anonymous::Local, None, false),
        (Anonymous::Local, Some(true), true),
        (Anonymous::Allowed, None, true),
        (Anonymous::Allowed, Some(false), false),
        (Anonymous::Denied, None, false),
        (Anonymous::Denied, Some(true), true),
    ] {
        let server = broker(|config| {
            config.access.allow_anonymous = broker_s;
            config.listeners = vec![anywhere()];
            config.listeners[0].allow_anonymous = listener_s;
        });
        let (code, _) = connack(&server, &connect_packet("c", Version::V5));
        assert_eq!(code == 0, is_allowed, "{broker_s:?} {listener_s:?}");
        server.stop();
    }
}

#[test]
fn with_a_password_file_a_client_without_a_name_is_still_anonymous_and_one_with_a_name_is_not() {
    let folder = Folder::new();
    let server = guarded(&folder, &["ann"], "", |config| config.listeners.push(anywhere()));
    assert_eq!(connack_at(&server, 0, &connect_packet("c", Version::V5)).0, 0);
    let (code, told) = connack_at(&server, 1, &connect_packet("c", Version::V5));
    assert_eq!((code, told.as_deref()), (0x87, Some("a user name and a password are needed")));
    let password = password("ann");
    assert_eq!(connack_at(&server, 1, &named("ann", Some(&password), Version::V5)).0, 0);
    server.stop();
}

#[test]
fn behind_a_proxy_on_this_machine_is_not_this_machine() {
    let server = broker(|config| config.listeners[0].proxy_protocol = true);
    let mut stream = support::dial(server.addresses()[0]);
    stream.write_all(b"PROXY TCP4 203.0.113.1 10.0.0.1 12345 1883\r\n").unwrap();
    let mut client = Client::over(stream);
    client.send(&Packet::Connect(connect_packet("c", Version::V5)));
    client.expect(
        "CONNACK 0x87",
        |packet| matches!(packet, Packet::ConnAck(ack) if ack.reason == Reason::NotAuthorized),
    );
    server.stop();
}

#[test]
fn without_authentication_nobody_s_user_name_is_believed() {
    let folder = Folder::new();
    let server = guarded(&folder, &["ann"], "user ann\ntopic write secret\n", |config| {
        let mut open = config.listeners[0].clone();
        open.authentication = false;
        config.listeners.push(open);
    });
    let mut client = Client::over(support::dial(server.addresses()[1])).connected(&named(
        "ann",
        Some(b"whatever"),
        Version::V5,
    ));
    assert_eq!(publish(&mut client, "secret"), Reason::NotAuthorized);
    let mut ann = log_in(&server, "ann", Version::V5);
    assert_eq!(publish(&mut ann, "secret"), Reason::NoMatchingSubscribers);
    server.stop();
}

#[test]
fn a_method_that_nobody_knows_is_refused() {
    let folder = Folder::new();
    let server = guarded(&folder, &["ann"], "", |_| {});
    let mut properties = PropertiesBuf::new();
    properties.push(Property::AuthenticationMethod("nonsense"));
    let connect = Connect { properties: properties.as_properties(), ..connect_packet("c", Version::V5) };
    assert_eq!(connack(&server, &connect).0, 0x8C);
    server.stop();
}

/// Publishes at QoS 1 and gives the reason of the PUBACK.
fn publish(client: &mut Client, topic: &str) -> Reason {
    client.publish(topic, b"x", Qos::AtLeastOnce);
    client.next(|packet| match packet {
        Packet::PubAck(ack) => ack.reason,
        other => panic!("expected PUBACK, got {other:?}"),
    })
}

#[test]
fn the_acl_file_says_what_each_user_may_publish_and_receive() {
    let folder = Folder::new();
    let acl =
        "topic read public/#\n\nuser ann\ntopic readwrite a/#\ntopic deny a/b\n\npattern write own/%u/%c\n";
    let server = guarded(&folder, &["ann", "bob"], acl, |_| {});
    let mut ann = log_in(&server, "ann", Version::V5);
    let mut bob = log_in(&server, "bob", Version::V5);
    let mut anonymous = Client::connect(&server, "anonymous");
    for client in [&mut ann, &mut bob, &mut anonymous] {
        client.subscribe("#", Qos::AtMostOnce);
    }
    assert_eq!(publish(&mut bob, "a/c"), Reason::NotAuthorized);
    assert_eq!(publish(&mut ann, "a/b"), Reason::NotAuthorized);
    assert_eq!(publish(&mut ann, "own/bob/ann"), Reason::NotAuthorized);
    assert_eq!(publish(&mut ann, "own/ann/ann"), Reason::NoMatchingSubscribers);
    ann.publish("a/c", b"for ann", Qos::AtMostOnce);
    ann.expect_payload(b"for ann");
    bob.ping();
    anonymous.ping();
    assert_eq!(server.shared().totals().denied_publish, 3);
    server.stop();
}

#[test]
fn a_strict_broker_refuses_subscriptions_that_could_never_bring_anything() {
    let folder = Folder::new();
    let acl = "user ann\ntopic read a/#\n";
    let strict = |config: &mut Config| config.access.subscribe_check = SubscribeCheck::Strict;
    let server = guarded(&folder, &["ann"], acl, strict);
    for version in [Version::V3_1_1, Version::V5] {
        let mut ann = log_in(&server, "ann", version);
        ann.subscribe("a/+", Qos::AtLeastOnce);
        ann.send(&support::subscribe_packet("b/#", Qos::AtLeastOnce));
        let refused = if version.is_v5() { 0x87 } else { 0x80 };
        assert_eq!(ann.next_bytes().unwrap().last(), Some(&refused), "{version}");
    }
    server.stop();
}

#[test]
fn a_certificate_that_names_its_client_needs_no_password() {
    let folder = Folder::new();
    let authority = Authority::new("ca");
    let (server_s, client_s) = (authority.issue(&["localhost"]), authority.issue(&["meter"]));
    let certificate = folder.put_issued("server", &server_s);
    let ca = folder.put("ca.pem", &authority.pem);
    let server = guarded(&folder, &["ann"], "user meter\ntopic write m\n", |config| {
        let mut listener = asking_listener(vec![certificate], ClientCertificates::Required, &ca);
        listener.identity = siskin_server::config::Identity::CommonName;
        config.listeners = vec![listener];
    });
    let stream = authority.dial(server.addresses()[0], Some(&client_s));
    let mut client = Client::over(stream).connected(&named("ann", Some(b"wrong"), Version::V5));
    client.send(&Packet::Publish(publish_packet("m", b"x", Qos::AtLeastOnce)));
    client.expect(
        "PUBACK",
        |packet| matches!(packet, Packet::PubAck(ack) if ack.reason == Reason::NoMatchingSubscribers),
    );
    server.stop();
}

#[test]
fn what_comes_behind_a_connect_waits_for_the_verdict_and_is_handled_in_order() {
    let folder = Folder::new();
    let server = guarded(&folder, &["ann"], "", |_| {});
    let password = password("ann");
    for cut in [1, 20, 1000] {
        let mut client = Client::open(&server);
        let mut bytes = client.encoded(&Packet::Connect(named("ann", Some(&password), Version::V5)));
        bytes.extend(client.encoded(&support::subscribe_packet("a", Qos::AtMostOnce)));
        for number in 0..100 {
            let payload = vec![number; 500];
            bytes.extend(client.encoded(&Packet::Publish(publish_packet("a", &payload, Qos::AtMostOnce))));
        }
        bytes.chunks(cut.max(bytes.len() / 50)).for_each(|bytes| client.stream.write_all(bytes).unwrap());
        client.expect("CONNACK", |packet| matches!(packet, Packet::ConnAck(ack) if !ack.reason.is_error()));
        client.expect("SUBACK", |packet| matches!(packet, Packet::SubAck(_)));
        (0..100).for_each(|number| client.expect_payload(&[number; 500]));
    }
    server.stop();
}

#[test]
fn a_client_that_leaves_before_its_verdict_harms_nobody() {
    let folder = Folder::new();
    let server = guarded(&folder, &["ann"], "", |_| {});
    let password = password("ann");
    for _ in 0..50 {
        let mut client = Client::open(&server);
        client.send(&Packet::Connect(named("ann", Some(&password), Version::V5)));
        drop(client);
    }
    log_in(&server, "ann", Version::V5).ping();
    server.stop();
}

#[test]
fn a_session_on_another_worker_is_found_after_one_log_in() {
    let folder = Folder::new();
    let acl = "user ann\ntopic readwrite a\n";
    let server = guarded(&folder, &["ann"], acl, |config| config.workers = 2);
    let password = password("ann");
    for round in 0..8 {
        let connect = Connect { clean_start: round == 0, ..named("ann", Some(&password), Version::V3_1_1) };
        let mut client = Client::connect_as(&server, &connect);
        client.subscribe("#", Qos::AtLeastOnce);
        client.publish("b", b"not", Qos::AtMostOnce);
        client.publish("a", b"yes", Qos::AtMostOnce);
        client.expect_payload(b"yes");
    }
    assert_eq!(server.shared().totals().sessions, 1);
    server.stop();
}

/// Asks until the answer is `wanted`: what reaches a worker by mail comes when it comes.
fn until<T: PartialEq + std::fmt::Debug>(wanted: &T, mut ask: impl FnMut() -> T) {
    let end = Instant::now() + PATIENCE;
    loop {
        let got = ask();
        if got == *wanted {
            return;
        }
        assert!(Instant::now() < end, "{got:?} instead of {wanted:?}");
    }
}

#[test]
fn new_files_count_for_those_who_are_there_and_bad_ones_change_nothing() {
    let folder = Folder::new();
    let server = guarded(&folder, &["ann", "bob"], "user ann\ntopic write a\n", |config| {
        config.transport.tls_check_ms = 3_600_000;
    });
    let mut ann = log_in(&server, "ann", Version::V5);
    let mut bob = log_in(&server, "bob", Version::V5);
    assert_eq!(publish(&mut ann, "a"), Reason::NoMatchingSubscribers);
    folder.put("acl", "user ann\ntopic write b\n");
    server.reload_access();
    until(&Reason::NotAuthorized, || publish(&mut ann, "a"));
    assert_eq!(publish(&mut ann, "b"), Reason::NoMatchingSubscribers);
    for (file, text) in [("acl", "user ann\nnonsense\n"), ("passwords", "ann\nann:plain\n")] {
        let before = fs::read_to_string(folder.path(file)).unwrap();
        folder.put(file, text);
        server.reload_access();
        log_in(&server, "ann", Version::V3_1_1).ping();
        ann = log_in(&server, "ann", Version::V5);
        assert_eq!(publish(&mut ann, "b"), Reason::NoMatchingSubscribers);
        folder.put(file, &before);
    }
    folder.put("passwords", &passwords(&["ann"]));
    server.reload_access();
    bob.expect(
        "DISCONNECT 0x87",
        |packet| matches!(packet, Packet::Disconnect(last) if last.reason == Reason::NotAuthorized),
    );
    bob.expect_end();
    let password = password("bob");
    assert_eq!(connack(&server, &named("bob", Some(&password), Version::V5)).0, 0x86);
    ann.ping();
    server.stop();
}

#[test]
fn a_file_that_changes_is_found_without_being_told() {
    let folder = Folder::new();
    let server = guarded(&folder, &["ann"], "user ann\ntopic write a\n", |_| {});
    let mut ann = log_in(&server, "ann", Version::V5);
    assert_eq!(publish(&mut ann, "bcd"), Reason::NotAuthorized);
    folder.put("acl", "user ann\ntopic write bcd\n");
    until(&Reason::NoMatchingSubscribers, || publish(&mut ann, "bcd"));
    server.stop();
}

/// A token for `user` that ends at `exp` and brings along that `a` may be published to, and `b` heard.
fn token(secret: &[u8], user: &str, exp: u64) -> String {
    let encode = Base64UrlUnpadded::encode_string;
    let claims = format!(r#"{{"sub":"{user}","exp":{exp},"acl":{{"pub":["a"],"sub":["b"],"all":[]}}}}"#);
    let signed = format!("{}.{}", encode(br#"{"alg":"HS256","typ":"JWT"}"#), encode(claims.as_bytes()));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", encode(signature.as_ref()))
}

fn unix_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// A broker that believes tokens signed with this secret.
fn with_tokens(folder: &Folder, secret: &str) -> Server {
    let path = folder.put("secret", secret);
    let jwt = JwtConfig { leeway_s: 0, ..JwtConfig::new(vec![KeySource::Secret { path, is_base64: false }]) };
    broker(|config| config.access.auth = vec![StepConfig::Jwt(Box::new(jwt))])
}

#[test]
fn a_token_brings_along_what_its_client_may_do_without_any_file() {
    let folder = Folder::new();
    let server = with_tokens(&folder, "0123456789abcdef0123456789abcdef");
    let token = token(b"0123456789abcdef0123456789abcdef", "ann", unix_s() + 1000);
    let mut client = Client::connect_as(&server, &named("ann", Some(token.as_bytes()), Version::V5));
    assert_eq!(publish(&mut client, "a"), Reason::NoMatchingSubscribers);
    assert_eq!(publish(&mut client, "b"), Reason::NotAuthorized);
    client.subscribe("b", Qos::AtMostOnce);
    client.send(&support::subscribe_packet("#", Qos::AtMostOnce));
    assert_eq!(client.next_bytes().unwrap().last(), Some(&0x87));
    let mut anonymous = Client::connect(&server, "anonymous");
    anonymous.publish("b", b"for ann", Qos::AtMostOnce);
    client.expect_payload(b"for ann");
    server.stop();
}

#[test]
fn a_client_is_put_out_when_its_token_ends() {
    let folder = Folder::new();
    let server = with_tokens(&folder, "0123456789abcdef0123456789abcdef");
    for version in VERSIONS {
        let token = token(b"0123456789abcdef0123456789abcdef", "ann", unix_s() + 2);
        let mut client = Client::connect_as(&server, &named("ann", Some(token.as_bytes()), version));
        if version.is_v5() {
            client.expect("DISCONNECT 0xA0", |packet| {
                matches!(packet, Packet::Disconnect(last) if last.reason == Reason::MaximumConnectTime)
            });
        }
        client.expect_end();
    }
    server.stop();
}

#[test]
fn nobody_is_let_in_while_who_should_be_asked_does_not_answer() {
    // A port that was free a moment ago, and where nobody listens.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let http = HttpConfig::new(format!("http://{closed}/"));
    let server = broker(|config| config.access.auth = vec![StepConfig::Http(Box::new(http))]);
    for version in VERSIONS {
        let (code, told) = connack(&server, &named("ann", Some(b"x"), version));
        assert_eq!(code, if version.is_v5() { 0x88 } else { 3 });
        let expected = "authentication is not available at the moment".to_owned();
        assert_eq!(told, version.is_v5().then_some(expected));
    }
    server.stop();
}

#[test]
fn a_broker_does_not_start_on_files_that_it_cannot_use() {
    let folder = Folder::new();
    for (acl, passwords, problem) in
        [("user ann\nnonsense here\n", "", "acl:2:1"), ("", "ann:plain\n", "passwords:1:5")]
    {
        let mut config = Config::default();
        config.access.acl_file = folder.put("acl", acl);
        config.access.password_file = folder.put("passwords", passwords);
        config.store.durability = siskin_server::config::Durability::Memory;
        config.listeners = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()];
        let error = siskin_server::check_files(&config).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
        assert_eq!(Server::start(config).err().unwrap().to_string(), error);
    }
}
