//! The handle on a running broker: questions are answered by the workers whose sessions they are about.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::mpsc;
use std::time::Duration;

use siskin_core::{Cause, ClientSubscription, Worker};
use siskin_proto::{Connect, Packet, Qos, Reason, Version};
use siskin_server::config::Banned;
use siskin_server::{Broker, Cursor, Unanswered};
use support::{Client, broker, connect_packet};

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// All client ids, asked for in pages of `most`.
async fn all_clients(broker: &Broker, most: usize) -> Vec<String> {
    let mut ids = Vec::new();
    let mut next = Some(Cursor::default());
    while let Some(from) = next {
        let page = broker.clients(from, most, |_| true).await.unwrap();
        assert!(page.items.len() <= most);
        ids.extend(page.items.iter().map(|client| client.client_id.to_string()));
        next = page.next;
    }
    ids
}

#[test]
fn every_worker_answers_in_its_turn() {
    let server = broker(|config| config.workers = 3);
    let handle = server.handle().clone();
    let answers = wait(handle.ask_all(|worker, _| worker.sessions()));
    assert_eq!(answers, Ok(vec![0, 0, 0]));
    assert_eq!(wait(handle.ask(1, |worker, now| (worker.connections(), now.as_millis() > 0))), Ok((0, true)));
    assert_eq!(wait(handle.ask(3, |_, _| ())), Err(Unanswered::Stopped));
    server.stop();
}

#[test]
fn pages_hold_every_client_once_whatever_their_size() {
    let server = broker(|config| config.workers = 2);
    let clients: Vec<_> = (0..25).map(|n| Client::connect(&server, &format!("c{n}"))).collect();
    let expected: BTreeSet<_> = (0..25).map(|n| format!("c{n}")).collect();
    for most in [1, 7, 1000] {
        let ids = wait(all_clients(server.handle(), most));
        assert_eq!(ids.len(), 25);
        assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), expected);
    }
    drop(clients);
    server.stop();
}

#[test]
fn subscriptions_come_in_pages_with_those_who_have_them() {
    let server = broker(|config| config.workers = 2);
    let mut clients: Vec<_> = (0..4).map(|n| Client::connect(&server, &format!("c{n}"))).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        for filter in 0..10 {
            client.subscribe(&format!("{n}/{filter}"), Qos::AtLeastOnce);
        }
    }
    let mut found = BTreeSet::new();
    let mut next = Some(Cursor::default());
    while let Some(from) = next {
        let page =
            wait(server.handle().subscriptions(from, 3, |_, view| !view.filter.ends_with("/9"))).unwrap();
        for ClientSubscription { client_id, subscription: view } in page.items {
            assert_eq!(view.options.qos, Qos::AtLeastOnce);
            assert!(found.insert(format!("{client_id} {}", view.filter)));
        }
        next = page.next;
    }
    assert_eq!(found.len(), 36);
    assert!(found.contains("c2 2/8"));
    server.stop();
}

#[test]
fn a_client_is_found_by_its_id_and_ended_by_an_operator() {
    let server = broker(|config| config.workers = 2);
    let mut client = Client::connect(&server, "one");
    let handle = server.handle();
    assert_eq!(wait(handle.client("one")).unwrap().unwrap().client_id.as_ref(), "one");
    assert!(wait(handle.client("nobody")).unwrap().is_none());
    let kick = |worker: &mut Worker, key, now| worker.disconnect(key, Cause::Administrative, now);
    wait(handle.ask_owner("one", kick)).unwrap().unwrap();
    client.expect("DISCONNECT", |packet| matches!(packet, siskin_proto::Packet::Disconnect(_)));
    client.expect_end();
    server.stop();
}

#[test]
fn a_client_is_served_between_two_questions_however_many_there_are() {
    let server = broker(|_| {});
    let mut client = Client::connect(&server, "c");
    let handle = server.handle().clone();
    let (tell, told) = mpsc::channel();
    let (holds, released): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::channel::<()>()).unzip();
    let asker = std::thread::spawn(move || {
        wait(async {
            // The first holds the worker until all others wait in its mailbox together.
            let hold = |held: mpsc::Receiver<()>| {
                let (handle, tell) = (handle.clone(), tell.clone());
                tokio::spawn(async move {
                    let hold = move |_: &mut Worker, _| {
                        tell.send("held").unwrap();
                        held.recv().unwrap();
                    };
                    handle.ask(0, hold).await.unwrap();
                })
            };
            let held: Vec<_> = released.into_iter().map(hold).collect();
            let ask = |_| {
                let handle = handle.clone();
                tokio::spawn(async move { handle.ask(0, |worker, _| pings(worker)).await.unwrap() })
            };
            let asked: Vec<_> = (0..50).map(ask).collect();
            tokio::task::yield_now().await;
            tell.send("asked").unwrap();
            let mut counts = Vec::new();
            for answer in asked {
                counts.push(answer.await.unwrap());
            }
            for hold in held {
                hold.await.unwrap();
            }
            counts
        })
    });
    let first = [told.recv().unwrap(), told.recv().unwrap()];
    assert!(first.contains(&"held") && first.contains(&"asked"));
    holds[0].send(()).unwrap();
    assert_eq!(told.recv(), Ok("held"));
    client.send(&siskin_proto::Packet::PingReq(siskin_proto::PingReq));
    holds[1].send(()).unwrap();
    client.expect("PINGRESP", |packet| matches!(packet, siskin_proto::Packet::PingResp(_)));
    assert_eq!(asker.join().unwrap(), [1; 50]);
    server.stop();
}

fn pings(worker: &Worker) -> u64 {
    worker.shared().totals().packets_received[12]
}

#[test]
fn a_broker_that_has_stopped_says_so() {
    let server = broker(|_| {});
    let handle = server.handle().clone();
    server.stop();
    assert_eq!(wait(handle.ask(0, |_, _| ())), Err(Unanswered::Stopped));
}

fn as_user<'a>(client_id: &'a str, version: Version, user_name: &'a str) -> Connect<'a> {
    Connect { user_name: Some(user_name), ..connect_packet(client_id, version) }
}

#[test]
fn who_is_banned_is_put_out_in_every_version_and_only_5_0_is_told_why() {
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let server = broker(|config| config.workers = 3);
        for who in [Banned::Client("client".to_owned()), Banned::User("user".to_owned())] {
            let mut clients: Vec<_> = ["client", "other"]
                .into_iter()
                .zip(["user", "somebody"])
                .map(|(id, user)| Client::connect_as(&server, &as_user(id, version, user)))
                .collect();
            let ended = wait(server.handle().ban(who.clone(), None, "a test"));
            assert_eq!(ended, Ok(1), "{who}");
            if version == Version::V5 {
                clients[0].expect("DISCONNECT", |packet| {
                    let Packet::Disconnect(disconnect) = packet else { return false };
                    let words = disconnect.properties.reason_string().unwrap_or_default();
                    disconnect.reason == Reason::AdministrativeAction && words.contains("banned")
                });
            }
            clients[0].expect_end();
            clients[1].ping();
            let mut again = Client::open(&server);
            again.send(&Packet::Connect(as_user("client", version, "user")));
            let connack = again.next_bytes().expect("a CONNACK");
            assert_eq!(connack[3], if version == Version::V5 { Reason::Banned as u8 } else { 5 });
            assert!(server.handle().unban(&who) && server.bans().is_empty());
        }
        server.stop();
    }
}

#[test]
fn a_ban_of_a_network_puts_out_all_who_come_from_it_on_every_worker() {
    let server = broker(|config| config.workers = 3);
    let mut clients: Vec<_> = (0..9).map(|n| Client::connect(&server, &format!("c{n}"))).collect();
    let ban = |network: &str| {
        let who = Banned::Address(network.parse().unwrap());
        wait(server.handle().ban(who, Some(Duration::from_secs(3600)), "a test"))
    };
    assert_eq!(ban("10.0.0.0/8"), Ok(0));
    clients.iter_mut().for_each(Client::ping);
    assert_eq!(ban("127.0.0.0/8"), Ok(9));
    for mut client in clients {
        client.expect("DISCONNECT", |packet| matches!(packet, Packet::Disconnect(_)));
        client.expect_end();
    }
    assert_eq!(server.handle().bans().len(), 2);
    server.stop();
}

#[test]
fn a_session_outlives_the_ban_of_its_client_and_says_what_happened() {
    let server = broker(|_| {});
    let mut client = Client::connect_as(
        &server,
        &Connect { clean_start: false, ..connect_packet("client", Version::V3_1_1) },
    );
    client.ping();
    let who = Banned::Client("client".to_owned());
    assert_eq!(wait(server.handle().ban(who.clone(), None, "a test")), Ok(1));
    client.expect_end();
    // It is not connected any more: nobody is put out a second time.
    assert_eq!(wait(server.handle().ban(who, None, "a test")), Ok(0));
    let story = wait(server.handle().ask_owner("client", |worker, _, _| worker.story("client")));
    let story = story.unwrap().flatten().unwrap();
    assert!(story.entries.iter().any(|entry| entry.to_string().contains("an operator banned the client")));
    server.stop();
}
