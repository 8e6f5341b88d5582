//! SCRAM-SHA-256 from the client's side, written from the RFC with other means than the server's.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::sync::mpsc;

use base64ct::{Base64, Encoding as _};
use ring::{digest, hmac, pbkdf2};
use siskin_access::password::{Hash, NewHash};
use siskin_auth::config::{ScramConfig, StepConfig};
use siskin_auth::{Chain, Config, Conversation, Identity, Request, Verdict};
use siskin_proto::{Reason, Version};
use support::{Directory, SEVEN, login, password_file, refused};

#[test]
fn a_client_and_the_server_prove_to_each_other_that_they_know_the_password() {
    let (chain, _directory) = scram("mutual");
    let client = Client { user: "bob", password: "p,=ä" };
    let (first, rest) = client.first();
    let (data, conversation) = challenged(ask(&chain, request(first.as_bytes())));
    let (last, signature) = client.last(&rest, &data);
    let identity = identity(proceed(&chain, conversation, last));
    assert_eq!(identity.user_name.as_deref(), Some("bob"));
    assert_eq!(identity.final_data, Some(signature.into_bytes()), "what the client computes too");
    let stats = chain.stats();
    assert_eq!((stats.allowed, stats.refused, stats.waiting), (1, 0, 0));
    assert_eq!((stats.steps[0].challenged, stats.steps[0].allowed), (1, 1));
}

#[test]
fn a_client_may_name_the_method_first_and_begin_when_it_is_asked() {
    let (chain, _directory) = scram("begin");
    let client = Client { user: "bob", password: "p,=ä" };
    let (nothing, conversation) = challenged(ask(&chain, request(b"")));
    assert_eq!(nothing, b"");
    let (first, rest) = client.first();
    let (data, conversation) = challenged(proceed(&chain, conversation, first));
    let (last, _) = client.last(&rest, &data);
    identity(proceed(&chain, conversation, last));
}

#[test]
fn a_wrong_password_and_an_unknown_user_get_as_far_and_hear_the_same() {
    let (chain, _directory) = scram("wrong");
    let mut told = Vec::new();
    for (user, password) in [("bob", "wrong"), ("eve", "p,=ä"), ("plain", "secret")] {
        let client = Client { user, password };
        let (first, rest) = client.first();
        let (data, conversation) = challenged(ask(&chain, request(first.as_bytes())));
        let text = String::from_utf8(data.clone()).unwrap();
        assert!(text.ends_with(",i=4096"), "{user}: {text}");
        let (last, _) = client.last(&rest, &data);
        match proceed(&chain, conversation, last) {
            Verdict::Refused(refusal) => told.push((refusal.reason, refusal.told)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told[0].0, Reason::BadUserNameOrPassword);
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
}

#[test]
fn an_answer_counts_for_the_exchange_that_it_belongs_to_only() {
    let (chain, _directory) = scram("replay");
    let client = Client { user: "bob", password: "p,=ä" };
    let (first, rest) = client.first();
    let (data, _) = challenged(ask(&chain, request(first.as_bytes())));
    let (last, _) = client.last(&rest, &data);
    let (_, conversation) = challenged(ask(&chain, request(first.as_bytes())));
    let Verdict::Refused(refusal) = proceed(&chain, conversation, last) else { panic!("replayed") };
    assert_eq!(refusal.why, "scram: the client's final message belongs to another exchange");
}

#[test]
fn of_several_files_the_one_that_has_the_user_counts() {
    let directory = Directory::new("scram-several");
    let kind = NewHash::ScramSha256 { iterations: 4096 };
    let step = |name: &str| {
        let hash = Hash::create(kind, name.as_bytes(), &[3; 16]).unwrap().encode();
        let path = directory.write(name, format!("{name}:{hash}"));
        StepConfig::Scram(ScramConfig { name: name.to_owned(), ..ScramConfig::new(path) })
    };
    let steps = vec![step("one"), step("two")];
    let chain = Chain::start(Config { steps, ..Config::default() }).unwrap();
    for (user, password, by) in [("one", "one", "one"), ("two", "two", "two"), ("eve", "x", "two")] {
        let client = Client { user, password };
        let (first, rest) = client.first();
        // Whether it begins with CONNECT or when it is asked.
        let (_, conversation) = challenged(ask(&chain, request(b"")));
        for (data, conversation) in [
            challenged(ask(&chain, request(first.as_bytes()))),
            challenged(proceed(&chain, conversation, first.clone())),
        ] {
            let (last, _) = client.last(&rest, &data);
            match proceed(&chain, conversation, last) {
                Verdict::Allowed(identity) => assert_eq!((&*identity.by, user), (by, by)),
                Verdict::Refused(refusal) => assert_eq!((refusal.by.as_deref(), user), (Some(by), "eve")),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    let (chain, _directory) = scram("bytes");
    for data in [&b"\xff\xff"[..], b"n,,", b"p=tls-exporter,,n=bob,r=x", b"n,,n=bob,r="] {
        assert_eq!(refused(&chain, request(data)).reason, Reason::BadUserNameOrPassword, "{data:?}");
    }
}

#[test]
fn steps_for_passwords_are_not_asked_about_a_method_and_the_other_way_round() {
    let (chain, _directory) = scram("apart");
    // `plain` has a password that the password file knows, and asks for SCRAM.
    let request = Request { method: Some("SCRAM-SHA-1".into()), ..login("plain", "secret") };
    assert_eq!(refused(&chain, request).reason, Reason::BadAuthenticationMethod);
    assert_eq!(&*identity(ask(&chain, login("plain", "secret"))).by, "password file");
    // A SCRAM hash is as good as any for a plain password.
    assert_eq!(&*identity(ask(&chain, login("bob", "p,=ä"))).by, "password file");
}

/// A chain whose file has users for SCRAM and others.
fn scram(name: &str) -> (Chain, Directory) {
    let directory = Directory::new(&format!("scram-{name}"));
    let kind = NewHash::ScramSha256 { iterations: 4096 };
    let hash = Hash::create(kind, "p,=ä".as_bytes(), &[9; 16]).unwrap().encode();
    let path = directory.write("users", format!("bob:{hash}\nplain:{SEVEN}"));
    let steps = vec![StepConfig::Scram(ScramConfig::new(&path)), password_file(&path)];
    (Chain::start(Config { steps, ..Config::default() }).unwrap(), directory)
}

fn request(data: &[u8]) -> Request {
    let method = Some("SCRAM-SHA-256".into());
    Request { method, data: data.to_vec(), version: Version::V5, ..Request::new("phone") }
}

fn ask(chain: &Chain, request: Request) -> Verdict {
    support::verdict(chain, request)
}

fn proceed(chain: &Chain, conversation: Conversation, data: String) -> Verdict {
    let (sender, receiver) = mpsc::channel();
    chain.proceed(conversation, data.into_bytes(), move |verdict| sender.send(verdict).unwrap());
    receiver.recv().unwrap()
}

fn challenged(verdict: Verdict) -> (Vec<u8>, Conversation) {
    match verdict {
        Verdict::Challenge { data, conversation } => (data, conversation),
        other => panic!("{other:?}"),
    }
}

fn identity(verdict: Verdict) -> Identity {
    match verdict {
        Verdict::Allowed(identity) => *identity,
        other => panic!("{other:?}"),
    }
}

/// RFC 5802, section 3, with PBKDF2 and HMAC from elsewhere.
struct Client {
    user: &'static str,
    password: &'static str,
}

impl Client {
    /// The first message, and the part of it that is signed.
    fn first(&self) -> (String, String) {
        let bare = format!("n={},r=fyko+d2lbbFgONRv9qkxdawL", self.user);
        (format!("n,,{bare}"), bare)
    }

    /// The final message, and what the server must answer.
    fn last(&self, first_bare: &str, challenge: &[u8]) -> (String, String) {
        let challenge = std::str::from_utf8(challenge).unwrap();
        let field = |name: &str| challenge.split(',').find_map(|part| part.strip_prefix(name)).unwrap();
        let salt = Base64::decode_vec(field("s=")).unwrap();
        let iterations = field("i=").parse().unwrap();
        let mut salted = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, self.password.as_bytes(), &mut salted);
        let sign = |key: &[u8], text: &str| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
        };
        let client_key = sign(&salted, "Client Key");
        let stored_key = digest::digest(&digest::SHA256, &client_key);
        let last = format!("c=biws,r={}", field("r="));
        let signed = format!("{first_bare},{challenge},{last}");
        let signature = sign(stored_key.as_ref(), &signed);
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, mask)| key ^ mask).collect();
        let server = sign(&sign(&salted, "Server Key"), &signed);
        (
            format!("{last},p={}", Base64::encode_string(&proof)),
            format!("v={}", Base64::encode_string(&server)),
        )
    }
}
