//! The chain itself: the order of steps, clients without credentials, password files, limits, reloading.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::sync::mpsc;
use std::time::Duration;

use siskin_auth::config::{CacheConfig, Hashing, JwtConfig, KeySource, PasswordFileConfig, StepConfig};
use siskin_auth::{Certificate, Chain, Clock, Config, Request, Secret, Verdict};
use siskin_proto::Reason;
use support::{ARGON2, Directory, SEVEN, allowed, chain, login, password_file, refused, verdict};

#[test]
fn without_credentials_the_listener_decides_then_the_configuration_then_whether_it_is_local() {
    for is_local in [false, true] {
        for (listener, config, is_allowed) in [
            (None, None, is_local),
            (None, Some(false), false),
            (None, Some(true), true),
            (Some(false), Some(true), false),
            (Some(true), Some(false), true),
        ] {
            let chain = Chain::start(Config { anonymous: config, ..Config::default() }).unwrap();
            let request = Request { is_local, allow_anonymous: listener, ..Request::new("c") };
            match chain.at_once(&request).expect("nobody is to be asked") {
                Verdict::Allowed(identity) if is_allowed => assert_eq!(identity.user_name, None),
                Verdict::Refused(refusal) if !is_allowed => assert_eq!(refusal.reason, Reason::NotAuthorized),
                other => panic!("{is_local} {listener:?} {config:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_refusal_tells_the_operator_what_to_do_and_the_client_what_is_missing() {
    let nothing = chain(Vec::new());
    let refusal = refused(&nothing, Request::new("c"));
    assert!(refusal.why.contains("allow_anonymous") && refusal.why.contains("no way to do so"), "{refusal}");
    assert_eq!(refusal.told, "anonymous clients are not allowed here");

    let directory = Directory::new("hint");
    let users = chain(vec![password_file(&directory.write("users", format!("bob:{SEVEN}")))]);
    let refusal = refused(&users, Request::new("c"));
    assert!(refusal.why.contains("allow_anonymous"), "{refusal}");
    assert_eq!(refusal.told, "a user name and a password are needed");
}

#[test]
fn without_any_step_a_name_is_taken_at_its_word_where_no_name_is_needed() {
    let chain = chain(Vec::new());
    let local = Request { is_local: true, ..login("bob", "whatever") };
    assert_eq!(allowed(&chain, local).user_name.as_deref(), Some("bob"));
    assert_eq!(refused(&chain, login("bob", "whatever")).reason, Reason::NotAuthorized);
}

#[test]
fn a_user_of_the_file_comes_in_with_the_right_password_only() {
    let directory = Directory::new("file");
    let chain = chain(vec![password_file(&directory.write("users", format!("bob:{SEVEN}")))]);
    let identity = allowed(&chain, login("bob", "secret"));
    assert_eq!((identity.user_name.as_deref(), &*identity.by), (Some("bob"), "password file"));
    // Local or not: whoever claims to be somebody must prove it.
    for request in [
        login("bob", "wrong"),
        login("eve", "secret"),
        Request { password: None, ..login("bob", "") },
        Request { user_name: None, is_local: true, ..login("", "secret") },
        Request { is_local: true, ..login("eve", "secret") },
    ] {
        let refusal = refused(&chain, request.clone());
        assert_eq!(refusal.reason, Reason::BadUserNameOrPassword, "{request:?}");
        assert_eq!(refusal.told, Reason::BadUserNameOrPassword.name(), "all are told the same");
        assert!(!refusal.why.contains("secret"), "{refusal}");
    }
    let stats = chain.stats();
    assert_eq!((stats.allowed, stats.refused, stats.waiting), (1, 5, 0));
    let step = &stats.steps[0];
    assert_eq!((step.allowed, step.denied, step.ignored), (1, 2, 3));
}

#[test]
fn the_first_step_that_knows_the_user_decides() {
    let directory = Directory::new("order");
    let other = siskin_access::password::NewHash::Pbkdf2Sha512 { iterations: 3 };
    let other = siskin_access::password::Hash::create(other, b"other", &[1; 12]).unwrap().encode();
    let first = directory.write("first", format!("bob:{SEVEN}"));
    let second = directory.write("second", format!("bob:{other}\nann:{other}"));
    let second = StepConfig::PasswordFile(PasswordFileConfig {
        name: "second".to_owned(),
        ..PasswordFileConfig::new(second)
    });
    let chain = chain(vec![password_file(&first), second]);
    assert_eq!(&*allowed(&chain, login("ann", "other")).by, "second");
    assert_eq!(refused(&chain, login("bob", "other")).by.as_deref(), Some("password file"));
    let refusal = refused(&chain, login("eve", "other"));
    assert_eq!(refusal.by, None);
    assert!(refusal.why.contains("password file: no such user; second: no such user"), "{refusal}");
}

#[test]
fn a_certificate_that_is_proof_needs_no_password() {
    let directory = Directory::new("certificate");
    let chain = chain(vec![password_file(&directory.write("users", format!("bob:{SEVEN}")))]);
    let certificate = Certificate { is_proof: true, ..Certificate::default() };
    let request = Request { certificate: Some(certificate.clone()), password: None, ..login("device", "") };
    assert_eq!(allowed(&chain, request.clone()).user_name.as_deref(), Some("device"));
    let certificate = Some(Certificate { is_proof: false, ..certificate });
    assert_eq!(refused(&chain, Request { certificate, ..request }).reason, Reason::BadUserNameOrPassword);
}

#[test]
fn a_new_file_counts_after_a_reload_and_a_bad_one_leaves_the_old_in_force() {
    let directory = Directory::new("reload");
    let path = directory.write("users", format!("bob:{SEVEN}"));
    let chain = chain(vec![password_file(&path)]);
    directory.write("users", format!("ann:{SEVEN}\nbob:secret"));
    let error = chain.reload().unwrap_err();
    let place = format!("password file: {}:2:5: ", path.display());
    assert!(error.to_string().starts_with(&place), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
    allowed(&chain, login("bob", "secret"));
    directory.write("users", format!("ann:{SEVEN}"));
    chain.reload().unwrap();
    allowed(&chain, login("ann", "secret"));
    refused(&chain, login("bob", "secret"));
}

#[test]
fn a_chain_does_not_start_with_a_file_that_cannot_be_used() {
    let directory = Directory::new("start");
    let missing = directory.write("x", "").with_file_name("missing");
    let error =
        Chain::start(Config { steps: vec![password_file(&missing)], ..Config::default() }).unwrap_err();
    assert_eq!(error.step.as_deref(), Some("password file"));
    assert!(error.why.contains("missing: No such file"), "{error}");
}

#[test]
fn what_a_file_said_is_remembered_only_if_so_configured_and_until_it_is_replaced() {
    let directory = Directory::new("cache");
    let (clock, hand) = Clock::manual(1_000);
    let cache = CacheConfig { allowed_s: 60, denied_s: 10, entries_max: 10 };
    let path = directory.write("users", format!("bob:{SEVEN}"));
    let step = StepConfig::PasswordFile(PasswordFileConfig { cache, ..PasswordFileConfig::new(path) });
    let chain = Chain::start_with(Config { steps: vec![step], ..Config::default() }, clock).unwrap();
    let computed = || chain.stats().pool.computed;
    allowed(&chain, login("bob", "secret"));
    allowed(&chain, login("bob", "secret"));
    refused(&chain, login("bob", "wrong"));
    refused(&chain, login("bob", "wrong"));
    refused(&chain, login("eve", "secret"));
    assert_eq!((computed(), chain.stats().steps[0].cached), (3, 2));
    hand.advance_s(10);
    allowed(&chain, login("bob", "secret"));
    refused(&chain, login("bob", "wrong"));
    assert_eq!(computed(), 4);
    chain.reload().unwrap();
    allowed(&chain, login("bob", "secret"));
    assert_eq!(computed(), 5);
}

#[test]
fn a_storm_of_hashes_does_not_keep_a_token_waiting() {
    let directory = Directory::new("storm");
    let users = directory.write("users", format!("bob:{ARGON2}"));
    let secret = directory.write("secret", "0123456789abcdef0123456789abcdef");
    let jwt = JwtConfig {
        needs_expiry: false,
        ..JwtConfig::new(vec![KeySource::Secret { path: secret, is_base64: false }])
    };
    let steps = vec![StepConfig::Jwt(Box::new(jwt)), password_file(&users)];
    let hashing = Hashing { threads: 1, ..Hashing::default() };
    let chain = Chain::start(Config { steps, hashing, timeout: HOUR, ..Config::default() }).unwrap();
    let (sender, verdicts) = mpsc::channel();
    for _ in 0..1_000 {
        let sender = sender.clone();
        // The channel is gone when the chain is.
        chain.authenticate(login("bob", "secret"), move |verdict| drop(sender.send(verdict)));
    }
    // HMAC of header and `{}` with the secret.
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"0123456789abcdef0123456789abcdef");
    let signed = "eyJhbGciOiJIUzI1NiJ9.e30";
    let signature = ring::hmac::sign(&key, signed.as_bytes());
    use base64ct::Encoding as _;
    let token = format!("{signed}.{}", base64ct::Base64UrlUnpadded::encode_string(signature.as_ref()));
    assert_eq!(&*allowed(&chain, login("device", &token)).by, "jwt");
    let stats = chain.stats();
    assert!(stats.pool.queued > 900, "{stats:?}");
    assert!(stats.pool.memory_bytes <= 47_104 * 1024, "{stats:?}");
    drop(verdicts);
}

#[test]
fn what_does_not_fit_the_queue_is_refused_at_once() {
    let directory = Directory::new("queue");
    let users = directory.write("users", format!("bob:{ARGON2}"));
    let hashing = Hashing { threads: 1, queue_max: 2, ..Hashing::default() };
    let config = Config { steps: vec![password_file(&users)], hashing, timeout: HOUR, ..Config::default() };
    let chain = Chain::start(config).unwrap();
    let (sender, verdicts) = mpsc::channel();
    for _ in 0..20 {
        let sender = sender.clone();
        chain.authenticate(login("bob", "secret"), move |verdict| drop(sender.send(verdict)));
    }
    let Verdict::Refused(refusal) = verdicts.recv().unwrap() else { panic!("a hash takes longer") };
    assert_eq!(refusal.reason, Reason::ServerBusy);
    assert_eq!(refusal.why, "password file: 2 password hashes wait already");
    assert_eq!(refusal.told, "too many clients log in at once, try again later");
}

#[test]
fn a_hash_that_needs_more_memory_than_there_may_be_is_named() {
    let directory = Directory::new("memory");
    let users = directory.write("users", format!("bob:{ARGON2}"));
    let hashing = Hashing { memory_max_bytes: 1 << 20, ..Hashing::default() };
    let chain =
        Chain::start(Config { steps: vec![password_file(&users)], hashing, ..Config::default() }).unwrap();
    let refusal = refused(&chain, login("bob", "secret"));
    assert_eq!(refusal.reason, Reason::ServerBusy);
    assert!(refusal.why.contains("needs 48234496 bytes of memory, and 1048576 is the limit"), "{refusal}");
}

#[test]
fn one_client_more_than_may_wait_is_refused_before_anything_is_done_for_it() {
    let directory = Directory::new("attempts");
    let users = directory.write("users", format!("bob:{ARGON2}"));
    let hashing = Hashing { threads: 1, ..Hashing::default() };
    let steps = vec![password_file(&users)];
    let chain =
        Chain::start(Config { steps, attempts_max: 3, hashing, timeout: HOUR, ..Config::default() }).unwrap();
    let pending: Vec<_> = (0..3).map(|_| chain.authenticate(login("bob", "secret"), drop)).collect();
    let refusal = refused(&chain, login("bob", "secret"));
    assert_eq!(refusal.reason, Reason::ServerBusy);
    assert_eq!(refusal.why, "3 clients wait for their verdict already");
    drop(pending);
}

#[test]
fn what_waiting_clients_have_said_takes_no_more_memory_than_it_may() {
    let directory = Directory::new("bytes");
    let users = directory.write("users", format!("bob:{ARGON2}"));
    let hashing = Hashing { threads: 1, ..Hashing::default() };
    let steps = vec![password_file(&users)];
    let config = Config { steps, waiting_max_bytes: 200_000, hashing, timeout: HOUR, ..Config::default() };
    let chain = Chain::start(config).unwrap();
    let long = "x".repeat(65_535);
    for _ in 0..3 {
        chain.authenticate(login("bob", &long), drop);
    }
    assert_eq!(refused(&chain, login("bob", &long)).reason, Reason::ServerBusy);
    assert_eq!(chain.stats().waiting, 3);
}

#[test]
fn nothing_is_computed_for_a_client_that_has_left() {
    let directory = Directory::new("cancel");
    let users = directory.write("users", format!("bob:{ARGON2}\nann:{SEVEN}"));
    let hashing = Hashing { threads: 1, ..Hashing::default() };
    let config = Config { steps: vec![password_file(&users)], hashing, timeout: HOUR, ..Config::default() };
    let chain = Chain::start(config).unwrap();
    let left: Vec<_> = (0..50).map(|_| chain.authenticate(login("bob", "secret"), drop)).collect();
    left.iter().for_each(siskin_auth::Pending::cancel);
    // Comes after all of them, in one queue.
    allowed(&chain, login("ann", "secret"));
    let computed = chain.stats().pool.computed;
    assert!(computed < 10, "{computed} of 51");
}

#[test]
fn a_verdict_that_takes_too_long_is_a_no() {
    let directory = Directory::new("late");
    let users = directory.write("users", format!("bob:{ARGON2}"));
    let hashing = Hashing { threads: 1, ..Hashing::default() };
    let timeout = Duration::from_nanos(1);
    let chain =
        Chain::start(Config { steps: vec![password_file(&users)], hashing, timeout, ..Config::default() })
            .unwrap();
    let refusal = refused(&chain, login("bob", "secret"));
    assert_eq!(refusal.reason, Reason::ServerUnavailable);
    assert_eq!(refusal.why, "no verdict within 1ns");
}

#[test]
fn a_method_that_nobody_knows_is_refused_as_such() {
    let chain = chain(Vec::new());
    let request = Request { method: Some("GS2-KRB5".into()), is_local: true, ..Request::new("c") };
    let refusal = refused(&chain, request);
    assert_eq!(refusal.reason, Reason::BadAuthenticationMethod);
    assert!(refusal.why.contains("`GS2-KRB5`"), "{refusal}");
}

#[test]
fn secrets_are_not_shown() {
    let text = format!("{:?}", Request { password: Some(Secret::new("hunter2")), ..login("bob", "") });
    assert!(text.contains("bob") && !text.contains("hunter2"), "{text}");
    assert!(!format!("{:?}", verdict(&chain(Vec::new()), login("bob", "hunter2"))).contains("hunter2"));
}

const HOUR: Duration = Duration::from_secs(3600);
