//! A web server that is asked: what it hears, what its answers mean, and what happens when it is unwell.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use siskin_auth::config::{AnswerForm, BreakerConfig, CacheConfig, HttpConfig, HttpForm, No, StepConfig};
use siskin_auth::{Action, Certificate, Chain, Clock, Config, Hand, Request, Secret, Subject, Verdict};
use siskin_proto::Reason;
use support::http::{Duplex, Reply, Server};
use support::{Directory, SEVEN, allowed, login, password_file, refused};

#[test]
fn the_answers_of_emqx_mean_what_they_mean_there() {
    let server = Server::start(|asked| {
        match asked.target.as_str() {
        "/empty" => Reply::Answer(204, String::new()),
        "/allow" => Reply::ok(
            json!({"result": "allow", "is_superuser": true, "expire_at": 2_000_000_000,
                "client_attrs": {"a": "b"}, "acl": [{"permission": "deny", "action": "all", "topic": "secret/#"}]})
            .to_string(),
        ),
        "/deny" => Reply::ok(r#"{"result": "deny"}"#),
        "/ignore" => Reply::ok(r#"{"result": "ignore"}"#),
        "/over" => Reply::ok(r#"{"result": "allow", "expire_at": 1000}"#),
        _ => Reply::Answer(404, String::new()),
    }
    });
    let at = |path: &str| start(plain(&server.url(path))).0;
    let identity = allowed(&at("/empty"), login("bob", "secret"));
    assert_eq!((identity.user_name.as_deref(), &*identity.by), (Some("bob"), "http"));
    assert_eq!((identity.is_superuser, identity.expires_at, identity.permissions), (false, None, None));

    let identity = allowed(&at("/allow"), login("bob", "secret"));
    assert_eq!((identity.is_superuser, identity.expires_at), (true, Some(2_000_000_000)));
    let bob = Subject { user_name: Some("bob"), client_id: "phone" };
    let permissions = identity.permissions.unwrap();
    let action = Action::Subscribe { qos: 0 };
    assert_eq!(permissions.check(bob, action, "secret/x").map(|(is_allowed, _)| is_allowed), Some(false));

    for (path, why) in [
        ("/deny", "http: the back end says deny"),
        ("/ignore", "nobody knows these credentials (http: the back end says ignore)"),
        ("/none", "http: HTTP status 404 Not Found"),
        ("/over", "http: the answer has expired (`expire_at` 1000)"),
    ] {
        assert_eq!(refused(&at(path), login("bob", "secret")).why, why);
    }
}

#[test]
fn the_answers_of_mosquitto_go_auth_mean_what_they_mean_there() {
    let server = Server::start(|asked| match asked.target.as_str() {
        "/yes" => Reply::ok(""),
        "/no" => Reply::Answer(401, String::new()),
        "/json-yes" => Reply::ok(r#"{"Ok": true, "Error": ""}"#),
        "/json-no" => Reply::ok(r#"{"Ok": false, "Error": "unknown"}"#),
        "/text-yes" => Reply::ok("ok"),
        "/text-no" => Reply::ok("not ok"),
        other => panic!("{other}"),
    });
    for (form, yes, no) in [
        (AnswerForm::Status, "/yes", "/no"),
        (AnswerForm::JsonOk, "/json-yes", "/json-no"),
        (AnswerForm::Text, "/text-yes", "/text-no"),
    ] {
        let at = |path: &str, superuser: &str| {
            let superuser_url = Some(server.url(superuser));
            start(HttpConfig { answer: form, superuser_url, ..plain(&server.url(path)) }).0
        };
        assert!(allowed(&at(yes, yes), login("bob", "secret")).is_superuser, "{form:?}");
        assert!(!allowed(&at(yes, no), login("bob", "secret")).is_superuser, "{form:?}");
        assert_eq!(refused(&at(no, yes), login("bob", "secret")).reason, Reason::BadUserNameOrPassword);
    }
}

#[test]
fn nobody_is_a_superuser_by_a_no_in_emqxs_form_or_by_a_failure() {
    let server = Server::start(|asked| match asked.target.as_str() {
        "/user" => Reply::Answer(204, String::new()),
        "/allow" => Reply::ok(r#"{"result": "allow"}"#),
        "/deny" => Reply::ok(r#"{"result": "deny"}"#),
        _ => Reply::Answer(500, String::new()),
    });
    let at = |path: &str| {
        start(HttpConfig { superuser_url: Some(server.url(path)), ..plain(&server.url("/user")) }).0
    };
    assert!(allowed(&at("/allow"), login("bob", "secret")).is_superuser);
    assert!(!allowed(&at("/deny"), login("bob", "secret")).is_superuser);
    assert_eq!(refused(&at("/fails"), login("bob", "secret")).reason, Reason::ServerUnavailable);
}

#[test]
fn a_no_may_be_left_to_the_next_step() {
    let server = Server::start(|_| Reply::Answer(401, String::new()));
    let directory = Directory::new("http-next");
    let users = password_file(&directory.write("users", format!("bob:{SEVEN}")));
    let steps = |no: No| {
        let http = HttpConfig { answer: AnswerForm::Status, no, ..plain(&server.url("/")) };
        support::chain(vec![StepConfig::Http(Box::new(http)), users.clone()])
    };
    assert_eq!(&*allowed(&steps(No::Passes), login("bob", "secret")).by, "password file");
    assert_eq!(refused(&steps(No::Denies), login("bob", "secret")).by.as_deref(), Some("http"));
}

#[test]
fn what_a_client_says_arrives_as_it_is_and_nowhere_else() {
    let server = Server::start(|_| Reply::Answer(204, String::new()));
    let fields = [("user", "%u"), ("password", "${password}"), ("who", "%c at %a"), ("100%%", "100%%")];
    let config = |form| HttpConfig {
        form,
        fields: fields.map(|(name, text)| (name.to_owned(), text.to_owned())).into(),
        headers: vec![("X-Certificate".to_owned(), "${cert_common_name}".to_owned())],
        ..plain(&server.url("/u/%u?fixed=1"))
    };
    let client = Request {
        certificate: Some(Certificate { common_name: Some("dev".into()), ..Certificate::default() }),
        ..login("b\"o/b&x=ü", "p w%u\"}")
    };
    for form in [HttpForm::PostJson, HttpForm::PostForm, HttpForm::Get] {
        allowed(&start(config(form)).0, client.clone());
    }
    let asked = server.asked();
    let path = "/u/b%22o%2Fb%26x%3D%C3%BC?fixed=1";
    let pairs =
        "user=b%22o%2Fb%26x%3D%C3%BC&password=p%20w%25u%22%7D&who=phone%20at%20192.0.2.7&100%25%25=100%25";
    assert_eq!((asked[0].method.as_str(), asked[0].target.as_str()), ("POST", path));
    let body: serde_json::Value = serde_json::from_str(&asked[0].body).unwrap();
    assert_eq!(
        body,
        json!({"user": "b\"o/b&x=ü", "password": "p w%u\"}", "who": "phone at 192.0.2.7", "100%%": "100%"})
    );
    assert!(asked[0].headers.contains(&"content-type: application/json".to_owned()), "{:?}", asked[0]);
    assert!(asked[0].headers.contains(&"x-certificate: dev".to_owned()), "{:?}", asked[0]);
    assert_eq!(
        (asked[1].method.as_str(), asked[1].target.as_str(), asked[1].body.as_str()),
        ("POST", path, pairs)
    );
    assert!(asked[1].headers.contains(&"content-type: application/x-www-form-urlencoded".to_owned()));
    assert_eq!((asked[2].method.as_str(), asked[2].body.as_str()), ("GET", ""));
    assert_eq!(asked[2].target, format!("{path}&{pairs}"));
}

#[test]
fn a_client_cannot_add_headers_or_choose_the_host() {
    let server = Server::start(|_| Reply::Answer(204, String::new()));
    let headers = vec![("X-User".to_owned(), "%u".to_owned())];
    let (chain, _) = start(HttpConfig { headers, ..plain(&server.url("/")) });
    let refusal = refused(&chain, login("bob\r\nX-Admin: yes", "secret"));
    assert_eq!(refusal.why, "http: a name or password cannot stand in a header or URL");
    assert_eq!(server.asked(), []);
    let binary = Request { password: Some(Secret::new([0xff])), ..login("bob", "") };
    assert!(refused(&chain, binary).why.contains("the password is no text"));

    for (url, why) in [
        ("http://%u.example.org/", "a client cannot choose the host"),
        ("http://example.org:%u/", "a client cannot choose the host"),
        ("example.org/auth", "it must begin with http:// or https:// and a host"),
        ("http://example.org/%x", "character 20: not a placeholder"),
    ] {
        let steps = vec![StepConfig::Http(Box::new(HttpConfig::new(url)))];
        let error = Chain::start(Config { steps, ..Config::default() }).unwrap_err().to_string();
        assert!(error.contains(why), "{url}: {error}");
    }
}

#[test]
fn nobody_is_let_in_by_a_back_end_that_is_unwell() {
    type Make = fn() -> Reply;
    let kinds: [(Make, &str); 9] = [
        (|| Reply::Answer(500, String::new()), "HTTP status 500"),
        (|| Reply::Answer(429, String::new()), "HTTP status 429"),
        (|| Reply::Answer(302, String::new()), "which is not followed"),
        (|| Reply::ok("<html>"), "the answer is no JSON"),
        (|| Reply::ok("[]"), "the answer is no JSON object"),
        (|| Reply::ok(r#"{"result": "yes"}"#), "no `result` that is allow, deny or ignore"),
        (|| Reply::ok(r#"{"result": "allow", "acl": 1}"#), "`acl` is neither an object nor an array"),
        (
            || Reply::ok(format!("{{\"result\": \"allow\", \"x\": \"{}\"}}", "x".repeat(300_000))),
            "longer than",
        ),
        (|| Reply::Garbage, ""),
    ];
    for (reply, why) in kinds {
        let server = Server::start(move |_| reply());
        let refusal = refused(&start(plain(&server.url("/"))).0, login("bob", "secret"));
        assert_eq!(refusal.reason, Reason::ServerUnavailable, "{why}");
        assert!(refusal.why.contains(why), "{refusal}");
        assert_eq!(refusal.told, "authentication is not available at the moment");
    }
    let server = Server::start(|_| Reply::HangUp);
    assert_eq!(refused(&start(plain(&server.url("/"))).0, login("b", "s")).reason, Reason::ServerUnavailable);
    let silent = Server::start(|_| Reply::Silence);
    let timeout = Duration::from_millis(50);
    let refusal =
        refused(&start(HttpConfig { timeout, ..plain(&silent.url("/")) }).0, login("bob", "secret"));
    assert_eq!(refusal.why, "http: no answer within 50ms");
    // Nobody listens there any more.
    let gone = Server::start(|_| Reply::HangUp);
    let url = gone.url("/");
    drop(gone);
    assert_eq!(refused(&start(plain(&url)).0, login("b", "s")).reason, Reason::ServerUnavailable);
}

#[test]
fn a_back_end_that_fails_again_and_again_is_left_alone_and_then_tried_with_one_question() {
    let status = Arc::new(AtomicUsize::new(500));
    let said = Arc::clone(&status);
    let server = Server::start(move |_| {
        Reply::Answer(u16::try_from(said.load(Ordering::SeqCst)).unwrap(), String::new())
    });
    let breaker = BreakerConfig { failures_max: 3, open_s: 10 };
    let (chain, hand) = start(HttpConfig { breaker, ..plain(&server.url("/")) });
    let is_broken = || chain.stats().steps[0].is_broken;
    for _ in 0..10 {
        assert_eq!(refused(&chain, login("bob", "secret")).reason, Reason::ServerUnavailable);
    }
    assert_eq!((server.asked().len(), is_broken()), (3, true));
    assert!(refused(&chain, login("bob", "secret")).why.contains("has failed too often"));

    // Still unwell.
    hand.advance_s(10);
    refused(&chain, login("bob", "secret"));
    refused(&chain, login("bob", "secret"));
    assert_eq!((server.asked().len(), is_broken()), (4, true));

    // Well again. A no is an answer.
    status.store(403, Ordering::SeqCst);
    hand.advance_s(10);
    assert_eq!(refused(&chain, login("bob", "secret")).reason, Reason::BadUserNameOrPassword);
    status.store(204, Ordering::SeqCst);
    allowed(&chain, login("bob", "secret"));
    assert_eq!((server.asked().len(), is_broken()), (6, false));
}

#[test]
fn an_answer_is_remembered_for_its_time_and_for_the_very_same_question_only() {
    let server = Server::start(|asked| match asked.body.contains("secret") {
        true => Reply::ok(r#"{"result": "allow", "expire_at": 1020}"#),
        false => Reply::ok(r#"{"result": "deny"}"#),
    });
    let cache = CacheConfig { allowed_s: 30, denied_s: 5, entries_max: 100 };
    let (chain, hand) = start(HttpConfig { cache, ..plain(&server.url("/")) });
    let asked = || server.asked().len();
    for _ in 0..3 {
        allowed(&chain, login("bob", "secret"));
        refused(&chain, login("bob", "wrong"));
    }
    assert_eq!((asked(), chain.stats().steps[0].cached), (2, 4));
    allowed(&chain, login("ann", "secret"));
    allowed(&chain, Request { client_id: "tablet".into(), ..login("bob", "secret") });
    assert_eq!(asked(), 4);
    hand.advance_s(5);
    refused(&chain, login("bob", "wrong"));
    allowed(&chain, login("bob", "secret"));
    assert_eq!(asked(), 5, "the no is forgotten first");
    // The answer itself says that it is over then.
    hand.advance_s(15);
    refused(&chain, login("bob", "secret"));
    assert_eq!(asked(), 6);
    refused(&chain, login("bob", "secret"));
    assert_eq!(asked(), 6);
    chain.reload().unwrap();
    refused(&chain, login("bob", "secret"));
    assert_eq!(asked(), 7, "a reload forgets");
}

#[test]
fn an_answer_is_for_nobody_else_even_if_the_question_does_not_name_the_client() {
    let server = Server::start(|asked| match asked.target.as_str() {
        "/superuser/tablet" | "/user" => Reply::ok(""),
        _ => Reply::Answer(401, String::new()),
    });
    let config = HttpConfig {
        answer: AnswerForm::Status,
        fields: vec![("password".to_owned(), "%P".to_owned())],
        superuser_url: Some(server.url("/superuser/%c")),
        cache: CacheConfig { allowed_s: 30, denied_s: 30, entries_max: 100 },
        ..plain(&server.url("/user"))
    };
    let (chain, _) = start(config);
    for _ in 0..2 {
        let tablet = Request { client_id: "tablet".into(), ..login("bob", "secret") };
        assert!(allowed(&chain, tablet).is_superuser);
        assert!(!allowed(&chain, login("bob", "secret")).is_superuser);
        assert_eq!(allowed(&chain, login("ann", "secret")).user_name.as_deref(), Some("ann"));
    }
    assert_eq!(chain.stats().steps[0].cached, 3);
}

#[test]
fn failures_are_not_remembered() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let server = Server::start(move |_| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Answer(500, String::new()),
        _ => Reply::Answer(204, String::new()),
    });
    let cache = CacheConfig { allowed_s: 30, denied_s: 30, entries_max: 100 };
    let (chain, _) = start(HttpConfig { cache, ..plain(&server.url("/")) });
    refused(&chain, login("bob", "secret"));
    allowed(&chain, login("bob", "secret"));
}

#[test]
fn a_slow_answer_delays_only_whoever_waits_for_it() {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let server = Server::start(move |asked| {
        if asked.body.contains("slow") {
            // Until the others have their verdicts.
            let _ = released.lock().unwrap().recv();
        }
        Reply::Answer(204, String::new())
    });
    let (chain, _) = start(plain(&server.url("/")));
    let (sender, slow) = mpsc::channel();
    chain.authenticate(login("slow", "secret"), move |verdict| sender.send(verdict).unwrap());
    for _ in 0..20 {
        allowed(&chain, login("bob", "secret"));
    }
    assert!(slow.try_recv().is_err());
    assert_eq!(chain.stats().waiting, 1);
    release.send(()).unwrap();
    assert!(matches!(slow.recv().unwrap(), Verdict::Allowed(_)));
}

#[test]
fn so_many_questions_are_under_way_and_no_more() {
    let under_way = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (counted, highest) = (Arc::clone(&under_way), Arc::clone(&most));
    let server = Server::start(move |_| {
        highest.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::yield_now();
        counted.fetch_sub(1, Ordering::SeqCst);
        Reply::Answer(204, String::new())
    });
    let (chain, _) = start(HttpConfig { connections_max: 3, ..plain(&server.url("/")) });
    let (sender, verdicts) = mpsc::channel();
    for index in 0..100 {
        let sender = sender.clone();
        chain.authenticate(login(&format!("user{index}"), "secret"), move |verdict| {
            sender.send(verdict).unwrap();
        });
    }
    drop(sender);
    assert_eq!(verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Allowed(_))).count(), 100);
    assert!(most.load(Ordering::SeqCst) <= 3, "{most:?}");
    assert!(server.connections() < 100, "connections are kept");
}

#[test]
fn clients_without_credentials_are_asked_about_if_so_configured() {
    let server = Server::start(|_| Reply::ok(r#"{"result": "deny"}"#));
    let client = Request { is_local: true, ..Request::new("phone") };
    let (chain, _) = start(plain(&server.url("/")));
    assert_eq!(allowed(&chain, client.clone()).user_name, None);
    assert_eq!(server.asked(), []);
    let (chain, _) = start(HttpConfig { knows_anonymous: true, ..plain(&server.url("/")) });
    refused(&chain, client);
    assert_eq!(server.asked()[0].body, r#"{"username":"","password":"","clientid":"phone"}"#);
}

#[test]
fn https_needs_a_certificate_of_a_trusted_authority() {
    let directory = Directory::new("https");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![made.cert.der().clone()],
            PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()),
        )
        .unwrap();
    let config = Arc::new(config);
    let wrap = move |stream: TcpStream| -> Option<Box<dyn Duplex>> {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).ok()?;
        Some(Box::new(rustls::StreamOwned::new(connection, stream)))
    };
    let server = Server::start_with(wrap, |_| Reply::Answer(204, String::new()));
    let url = format!("https://localhost:{}/", server.address.port());
    let ca_file = Some(directory.write("ca.pem", made.cert.pem()));
    let (chain, _) = start(HttpConfig { ca_file, ..plain(&url) });
    allowed(&chain, login("bob", "secret"));
    let refusal = refused(&start(plain(&url)).0, login("bob", "secret"));
    assert_eq!(refusal.reason, Reason::ServerUnavailable);
    assert!(refusal.why.contains("certificate"), "{refusal}");
    let ca_file = Some(directory.write("ca.pem", "nothing"));
    let steps = vec![StepConfig::Http(Box::new(HttpConfig { ca_file, ..plain(&url) }))];
    let error = Chain::start(Config { steps, ..Config::default() }).unwrap_err();
    assert!(error.why.ends_with("ca.pem: no certificate in it"), "{error}");
}

/// Without a cache, and with all the time that a busy machine may need.
fn plain(url: &str) -> HttpConfig {
    HttpConfig { cache: CacheConfig::OFF, timeout: Duration::from_secs(60), ..HttpConfig::new(url) }
}

fn start(config: HttpConfig) -> (Chain, Hand) {
    let (clock, hand) = Clock::manual(1_000);
    let steps = vec![StepConfig::Http(Box::new(config))];
    let timeout = Duration::from_secs(300);
    (Chain::start_with(Config { steps, timeout, ..Config::default() }, clock).unwrap(), hand)
}
