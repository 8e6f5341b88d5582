//! A configuration that changes under connected clients.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use siskin_core::MountPoint;
use siskin_proto::{Packet, Property, Publish, Qos, Reason, TopicName, Version};
use siskin_server::config::{Anonymous, Ban, Banned, Excess, Listener, Place};
use siskin_server::{Config, ReloadError, Reloaded, Server};
use support::{Client, broker, connect_packet, dial, publish_packet};

/// A broker whose configuration can be written anew.
struct Changing {
    server: Server,
    written: Arc<Mutex<Config>>,
}

impl Changing {
    fn start(change: impl FnOnce(&mut Config)) -> Self {
        let server = broker(change);
        let written = Arc::new(Mutex::new(Config::clone(&server.handle().config())));
        let source = Arc::clone(&written);
        server.handle().set_source(Box::new(move || Ok(source.lock().unwrap().clone())));
        Self { server, written }
    }

    fn try_reload(&self, change: impl FnOnce(&mut Config)) -> Result<Reloaded, ReloadError> {
        change(&mut self.written.lock().unwrap());
        self.server.handle().reload()
    }

    fn reload(&self, change: impl FnOnce(&mut Config)) -> Vec<String> {
        let reloaded = self.try_reload(change).unwrap();
        assert_eq!(reloaded.restart, []);
        reloaded.changed.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn new_limits_hold_for_clients_that_are_connected() {
    let changing = Changing::start(|config| config.workers = 2);
    let mut clients: Vec<_> =
        (0..4).map(|number| Client::connect(&changing.server, &format!("client {number}"))).collect();
    let lines = changing.reload(|config| config.limits.topic_levels_max = 2);
    assert_eq!(lines, ["limits.topic_levels_max: 128 -> 2"]);
    for client in &mut clients {
        client.publish("a/b", b"", Qos::AtLeastOnce);
        client.expect("PUBACK", |packet| matches!(packet, Packet::PubAck(_)));
        client.publish("a/b/c", b"", Qos::AtLeastOnce);
        client.expect(
            "DISCONNECT",
            |packet| matches!(packet, Packet::Disconnect(end) if end.reason == Reason::TopicNameInvalid),
        );
    }
    changing.server.stop();
}

#[test]
fn what_a_client_was_promised_when_it_connected_holds_until_it_leaves() {
    let changing = Changing::start(|config| config.limits.topic_alias_max = 5);
    let connect = || Client::connect_as(&changing.server, &connect_packet("client", Version::V5));
    let publish_with_alias = |client: &mut Client<_>| {
        let mut properties = siskin_proto::PropertiesBuf::new();
        properties.push(Property::TopicAlias(5));
        let publish = publish_packet("a", b"", Qos::AtMostOnce);
        client.send(&Packet::Publish(Publish { properties: properties.as_properties(), ..publish }));
    };
    let mut client = connect();
    changing.reload(|config| config.limits.topic_alias_max = 1);
    publish_with_alias(&mut client);
    client.ping();
    let mut client = connect();
    publish_with_alias(&mut client);
    client.expect(
        "DISCONNECT",
        |packet| matches!(packet, Packet::Disconnect(end) if end.reason == Reason::TopicAliasInvalid),
    );
    changing.server.stop();
}

#[test]
fn a_broker_that_nobody_told_where_its_configuration_is_says_so() {
    let server = broker(|_| {});
    assert_eq!(server.handle().reload(), Err(ReloadError::NoSource));
    server.stop();
}

#[test]
fn if_anything_is_wrong_nothing_changes() {
    let changing = Changing::start(|_| {});
    changing.server.handle().add_follower(Box::new(|_, config| match config.limits.inflight_max {
        7 => Err("seven is not liked".to_owned()),
        _ => Ok(Box::new(|| {})),
    }));
    let answer = changing.try_reload(|config| config.limits.inflight_max = 7);
    assert_eq!(answer, Err(ReloadError::Wrong("seven is not liked".to_owned())));
    assert_ne!(changing.server.handle().config().limits.inflight_max, 7);
    assert_ne!(changing.server.shared().limits().inflight_max, 7);
    assert_eq!(changing.reload(|config| config.limits.inflight_max = 8), ["limits.inflight_max: 1000 -> 8"]);
    assert_eq!(changing.server.shared().limits().inflight_max, 8);
    changing.server.stop();
}

#[test]
fn new_quotas_hold_for_clients_that_are_connected_and_those_that_are_gone_hold_nobody() {
    let changing = Changing::start(|config| config.quota.excess = Excess::Drop);
    let mut client = Client::connect(&changing.server, "client");
    let lines = changing.reload(|config| config.quota.client.bytes = 1);
    assert_eq!(lines, ["quota.client_bytes: unlimited -> 1"]);
    settle(&mut client);
    let answers = |client: &mut Client| {
        [[7; 1000], [8; 1000]].map(|payload| {
            client.publish("a", &payload, Qos::AtLeastOnce);
            client.next(|packet| matches!(packet, Packet::PubAck(ack) if ack.reason == Reason::QuotaExceeded))
        })
    };
    assert!(answers(&mut client)[1]);
    changing.reload(|config| config.quota.client.bytes = 0);
    settle(&mut client);
    assert_eq!(answers(&mut client), [false, false]);
    changing.server.stop();
}

#[test]
fn a_quota_of_a_listener_is_one_for_all_its_clients_whatever_else_about_it_changes() {
    let changing = Changing::start(|config| {
        config.quota.excess = Excess::Drop;
        config.listeners[0].quota.bytes = 1;
    });
    let mut client = Client::connect(&changing.server, "client");
    let is_over = |client: &mut Client| {
        client.publish("a", &[7; 1000], Qos::AtLeastOnce);
        client.next(|packet| matches!(packet, Packet::PubAck(ack) if ack.reason == Reason::QuotaExceeded))
    };
    while !is_over(&mut client) {}
    changing.reload(|config| config.listeners[0].mount_point = MountPoint::parse("site/").ok());
    let mut other = Client::connect(&changing.server, "other");
    assert!(is_over(&mut other));
    changing.reload(|config| config.listeners[0].quota.bytes = 1_000_000_000);
    settle(&mut client);
    let both = [&mut client, &mut other].map(|client| client.publish("a", b"", Qos::AtLeastOnce));
    assert_eq!(both.len(), 2);
    changing.server.stop();
}

#[test]
fn who_reloads_while_another_does_is_told_so_and_who_waits_is_not_forgotten() {
    let changing = Changing::start(|_| {});
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let (begin, begun) = std::sync::mpsc::channel::<()>();
    let (written, wait) = (Arc::clone(&changing.written), Mutex::new(wait));
    changing.server.handle().set_source(Box::new(move || {
        begin.send(()).unwrap();
        let _ = wait.lock().unwrap().recv();
        Ok(written.lock().unwrap().clone())
    }));
    std::thread::scope(|threads| {
        let reload = || changing.server.handle().reload();
        let first = threads.spawn(reload);
        begun.recv().unwrap();
        assert_eq!(changing.server.handle().try_reload(), Err(ReloadError::UnderWay));
        let second = threads.spawn(reload);
        drop(go_on);
        assert!(first.join().unwrap().unwrap().is_empty() && second.join().unwrap().is_ok());
    });
    assert_eq!(begun.iter().take(1).count(), 1);
    changing.server.stop();
}

#[test]
fn the_file_says_who_is_banned_whatever_else_was_said_of_them() {
    let changing = Changing::start(|_| {});
    let server = &changing.server;
    let ban = |text: &str, until| Ban {
        who: Banned::Address(text.parse().unwrap()),
        until,
        reason: "file".to_owned(),
    };
    let is_banned = |text: &str| {
        let who = Banned::Address(text.parse().unwrap()).canonical();
        server.bans().iter().any(|ban| ban.who == who)
    };
    server.ban(Banned::Address("192.0.2.1".parse().unwrap()), None, "by hand").unwrap();
    changing.reload(|config| {
        config.bans =
            vec![ban("10.1.2.3/8", None), ban("192.0.2.1", None), ban("::ffff:192.0.2.0/125", None)];
    });
    assert!(is_banned("10.0.0.0/8") && is_banned("192.0.2.0/29"));
    assert!(server.unban(&Banned::Address("10.0.0.0/8".parse().unwrap())) && !is_banned("10.0.0.0/8"));
    changing.reload(|_| {});
    assert!(is_banned("10.0.0.0/8"));
    changing.reload(|config| config.bans.clear());
    assert!(!is_banned("10.0.0.0/8") && is_banned("192.0.2.1"));
    changing.server.stop();
}

#[test]
fn bans_of_the_configuration_come_and_go_with_it_and_others_stay() {
    let changing = Changing::start(|_| {});
    let server = &changing.server;
    server.ban(Banned::Client("other".to_owned()), None, "by hand").unwrap();
    let mut client = Client::connect(server, "client");
    let ban = Ban { who: Banned::Client("client".to_owned()), until: None, reason: "noise".to_owned() };
    let lines = changing.reload(|config| config.bans = vec![ban]);
    assert_eq!(lines, ["[[ban]] client id \"client\": none -> for ever, \"noise\""]);
    client.expect(
        "DISCONNECT",
        |packet| matches!(packet, Packet::Disconnect(end) if end.reason == Reason::AdministrativeAction),
    );
    assert_eq!(server.bans().len(), 2);
    let lines = changing.reload(|config| config.bans.clear());
    assert_eq!(lines, ["[[ban]] client id \"client\": for ever, \"noise\" -> none"]);
    Client::connect(server, "client").ping();
    assert_eq!(server.bans().len(), 1);
    changing.server.stop();
}

#[test]
fn listeners_open_change_their_terms_and_close_while_clients_of_all_of_them_go_on() {
    let changing = Changing::start(|_| {});
    let handle = changing.server.handle();
    let mut first = Client::connect(&changing.server, "first");
    let lines = changing.reload(|config| config.listeners.push(loopback(0)));
    assert_eq!(lines, ["[[listener]] MQTT on 127.0.0.1:0: closed -> open"]);
    let views = handle.listeners();
    let [Place::Address(kept), Place::Address(added)] = [0, 1].map(|at| views[at].listener.place.clone())
    else {
        panic!("{views:?}");
    };
    assert_eq!((kept, views[0].connections), (changing.server.addresses()[0], 1));
    let mut second = Client::connect_over(dial(added), "second");
    // Both have port 0, so the first of them is the one that changes.
    let lines = changing.reload(|config| config.listeners[0].mount_point = MountPoint::parse("site/").ok());
    assert_eq!(lines, ["[[listener]] MQTT on 127.0.0.1:0: open -> open, on other terms"]);
    let mut third = Client::connect_over(dial(kept), "third");
    second.subscribe("#", Qos::AtMostOnce);
    first.publish("from/first", b"", Qos::AtMostOnce);
    third.publish("from/third", b"", Qos::AtMostOnce);
    for topic in ["from/first", "site/from/third"] {
        second.expect(
            "PUBLISH",
            |packet| matches!(packet, Packet::Publish(publish) if publish.topic == TopicName::parse(topic).ok()),
        );
    }
    changing.reload(|config| drop(config.listeners.remove(1)));
    for client in [&mut first, &mut second, &mut third] {
        settle(client);
    }
    assert_eq!(
        TcpStream::connect(added).map(drop).map_err(|error| error.kind()),
        Err(ErrorKind::ConnectionRefused)
    );
    let views = handle.listeners();
    assert_eq!((views.len(), views[0].connections), (1, 2));
    changing.server.stop();
}

#[test]
fn a_listener_may_take_the_port_of_one_that_closes_and_if_it_cannot_that_one_stays() {
    let changing = Changing::start(|_| {});
    let old = changing.server.addresses()[0];
    // As if it had been written with its port.
    changing.reload(|config| config.listeners = vec![loopback(0), loopback(0)]);
    let fixed = loopback(free_port());
    changing.reload(|config| config.listeners = vec![fixed.clone()]);
    let Place::Address(address) = fixed.place else { panic!("{fixed:?}") };
    assert_ne!(address, old);
    let mut client = Client::connect_over(dial(address), "client");

    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    let in_vain = changing.try_reload(|config| {
        config.listeners = vec![everywhere.into(), taken.local_addr().unwrap().into()];
    });
    let Err(ReloadError::Wrong(why)) = in_vain else { panic!("{in_vain:?}") };
    assert!(why.contains(&taken.local_addr().unwrap().to_string()) && why.contains("in use"), "{why}");
    settle(&mut client);
    Client::connect_over(dial(address), "another").ping();
    assert_eq!(changing.server.handle().listeners()[0].listener.place, Place::Address(address));

    let lines = changing.reload(|config| {
        config.access.allow_anonymous = Anonymous::Allowed;
        config.listeners = vec![everywhere.into()];
    });
    assert_eq!(lines.len(), 3, "{lines:?}");
    settle(&mut client);
    Client::connect_over(dial(SocketAddr::from(([127, 0, 0, 2], address.port()))), "elsewhere").ping();
    changing.server.stop();
}

#[test]
fn a_unix_socket_opens_with_its_mode_changes_it_and_is_removed_when_it_closes() {
    let folder = std::env::temp_dir().join(format!("siskin-reload-unix-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join("mqtt.sock");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let changing = Changing::start(|_| {});
    let listener =
        |mode| Listener { place: Place::Unix { path: path.clone(), mode: Some(mode) }, ..loopback(0) };
    changing.reload(|config| config.listeners.push(listener(0o600)));
    let mut client = Client::connect_over(UnixStream::connect(&path).unwrap(), "client");
    assert_eq!(mode(), 0o600);
    let lines = changing.reload(|config| config.listeners[1] = listener(0o660));
    assert_eq!((mode(), lines.len()), (0o660, 1));
    assert!(lines[0].ends_with("open -> open, on other terms"), "{lines:?}");
    let mut another = Client::connect_over(UnixStream::connect(&path).unwrap(), "another");
    another.ping();
    // It is the socket that it was, with all who came by it.
    assert_eq!(changing.server.handle().listeners()[1].connections, 2);
    changing.reload(|config| config.listeners.truncate(1));
    settle(&mut client);
    assert!(!path.exists());
    fs::remove_dir_all(&folder).unwrap();
    changing.server.stop();
}

#[test]
fn who_is_let_in_and_what_clients_may_do_changes_with_the_files_that_are_named() {
    let folder = std::env::temp_dir().join(format!("siskin-reload-access-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, text: &str| {
        fs::write(folder.join(name), text).unwrap();
        folder.join(name)
    };
    let changing = Changing::start(|_| {});
    let mut client = Client::connect(&changing.server, "client");
    client.subscribe("#", Qos::AtMostOnce);
    let acl = file("acl", "topic read open/#\ntopic write #\n");
    changing.reload(|config| config.access.acl_file = acl);
    settle(&mut client);
    client.publish("shut/1", b"", Qos::AtMostOnce);
    client.publish("open/1", b"", Qos::AtMostOnce);
    client.expect(
        "PUBLISH",
        |packet| matches!(packet, Packet::Publish(publish) if publish.topic == TopicName::parse("open/1").ok()),
    );

    let bad = file("bad", "topic red #\n");
    let before = changing.written.lock().unwrap().clone();
    let Err(ReloadError::Wrong(why)) = changing.try_reload(|config| config.access.acl_file = bad) else {
        panic!("a bad file was taken");
    };
    assert!(why.contains("bad") && why.contains('1'), "{why}");
    *changing.written.lock().unwrap() = before;

    changing.reload(|config| config.access.allow_anonymous = Anonymous::Denied);
    settle(&mut client);
    let mut stranger = Client::open(&changing.server);
    stranger.send(&Packet::Connect(connect_packet("stranger", Version::V5)));
    stranger.expect(
        "CONNACK",
        |packet| matches!(packet, Packet::ConnAck(ack) if ack.reason == Reason::NotAuthorized),
    );
    fs::remove_dir_all(&folder).unwrap();
    changing.server.stop();
}

/// When this is over, the only worker has opened the mail that was posted before.
fn settle<S: Read + Write>(client: &mut Client<S>) {
    client.ping();
    client.ping();
}

fn loopback(port: u16) -> Listener {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()
}

/// A port that nobody listened on a moment ago.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}
