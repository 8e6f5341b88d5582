use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde_json::json;
use siskin_admin::{Admin, AdminError};
use siskin_server::Server;
use siskin_server::config::{AdminListen, Secret};

use crate::support::{Broker, config};

/// A file that is there for as long as this lives.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("siskin-admin-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// The file of the user `anna` with the password `secret`: PBKDF2 with one round, which is quick.
fn users(name: &str) -> File {
    use siskin_access::password::{Hash, NewHash};
    let hash = Hash::create(NewHash::Pbkdf2Sha512 { iterations: 1 }, b"secret", &[7; 12]).unwrap();
    File::new(name, &format!("anna:{}\n", hash.encode()))
}

fn status(broker: &Broker, path: &str, headers: &str) -> u16 {
    let host = broker.admin.address();
    let answer =
        broker.raw(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"));
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_name_of_another_machine_that_was_pointed_here_is_refused() {
    let broker = Broker::start();
    let port = broker.admin.address().port();
    let get = |host: &str| {
        broker.raw(&format!("GET /api/v1/clients HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    };
    for host in
        ["localhost".to_owned(), format!("localhost:{port}"), format!("127.0.0.1:{port}"), "[::1]".to_owned()]
    {
        assert!(get(&host).starts_with("HTTP/1.1 200 "), "{host}");
    }
    for host in
        ["evil.example", "evil.example:18083", "127.0.0.1.evil.example", "10.0.0.1", "localhost@evil.example"]
    {
        let answer = get(host);
        assert!(
            answer.starts_with("HTTP/1.1 403 ") || answer.starts_with("HTTP/1.1 400 "),
            "{host}: {answer}"
        );
    }
    let without = broker.raw("GET /api/v1/clients HTTP/1.1\r\nConnection: close\r\n\r\n");
    assert!(without.starts_with("HTTP/1.1 400 "), "{without}");
    broker.stop();
}

#[test]
fn a_page_of_another_site_may_ask_nothing_and_is_told_of_no_permission() {
    let broker = Broker::start();
    let host = broker.admin.address();
    assert_eq!(status(&broker, "/api/v1/clients", "Origin: http://evil.example\r\n"), 403);
    assert_eq!(status(&broker, "/api/v1/clients", "Origin: null\r\n"), 403);
    assert_eq!(status(&broker, "/api/v1/clients", "Origin: \u{e9}\r\n"), 403);
    assert_eq!(
        status(
            &broker,
            "/api/v1/clients",
            &format!("Origin: http://{host}\r\nOrigin: http://evil.example\r\n")
        ),
        403
    );
    assert_eq!(status(&broker, "/api/v1/clients", &format!("Origin: http://{host}\r\n")), 200);
    for (site, code) in [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)] {
        assert_eq!(status(&broker, "/api/v1/top", &format!("Sec-Fetch-Site: {site}\r\n")), code, "{site}");
    }
    // A link is followed, from wherever.
    let link = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: document\r\n";
    assert_eq!((status(&broker, "/metrics", link), status(&broker, "/", link)), (200, 200));
    let body = "{\"topic\":\"a\"}";
    let plain = broker.raw(&format!(
        "POST /api/v1/publish HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: text/plain\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert!(plain.starts_with("HTTP/1.1 415 "), "{plain}");
    let preflight = broker.raw(&format!(
        "OPTIONS /api/v1/publish HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nOrigin: http://{host}\r\n\r\n"
    ));
    assert!(!preflight.to_ascii_lowercase().contains("access-control-allow"), "{preflight}");
    broker.stop();
}

#[test]
fn with_a_token_nothing_is_told_without_it() {
    let broker = Broker::with(|config| config.admin.token = Secret("hush".to_owned()));
    for path in ["/api/v1/clients", "/metrics", "/api/openapi.json", "/api/v5/stats", "/api/v1/config"] {
        assert_eq!(status(&broker, path, ""), 401, "{path}");
        assert_eq!(status(&broker, path, "Authorization: Bearer hush\r\n"), 200, "{path}");
    }
    for wrong in ["Bearer hus", "Bearer hush2", "Bearer ", "hush", "Basic hush", "Basic Ojpw"] {
        assert_eq!(
            status(&broker, "/api/v1/clients", &format!("Authorization: {wrong}\r\n")),
            401,
            "{wrong}"
        );
    }
    // `any:hush` in Base64.
    assert_eq!(status(&broker, "/api/v1/clients", "Authorization: Basic YW55Omh1c2g=\r\n"), 200);
    for path in ["/api/v1/health", "/api/v1/ready", "/api/v5/status", "/status"] {
        assert_eq!(status(&broker, path, ""), 200, "{path}");
    }
    // Other ways to write a path lead nowhere.
    for path in ["//api/v1/clients", "/%61pi/v1/clients", "/API/v1/clients", "/./api/v1/clients", "/metrics/"]
    {
        assert_eq!(status(&broker, path, ""), 404, "{path}");
    }
    let config = broker.raw(&format!(
        "GET /api/v1/config HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: Bearer hush\r\n\r\n",
        broker.admin.address()
    ));
    assert!(config.contains("\"admin.token\",\"value\":\"***\"") && !config.contains("hush"), "{config}");
    broker.stop();
}

#[test]
fn a_token_may_be_of_any_characters() {
    let broker = Broker::with(|config| config.admin.token = Secret("schlüssel→".to_owned()));
    assert_eq!(status(&broker, "/api/v1/clients", "Authorization: Bearer schlüssel→\r\n"), 200);
    assert_eq!(status(&broker, "/api/v1/clients", "Authorization: Bearer schl\u{fc}ssel\r\n"), 401);
    broker.stop();
}

#[test]
fn users_of_a_password_file_and_their_log_ins_are_let_in() {
    let (users, token) = (users("users"), File::new("token", "  hush \nsecond line\n"));
    let broker = Broker::with(|config| {
        config.admin.password_file.clone_from(&users.0);
        config.admin.token_file.clone_from(&token.0);
    });
    // `anna:secret` and `anna:wrong` in Base64; the first twice, as the second time nothing is hashed.
    for _ in 0..2 {
        assert_eq!(status(&broker, "/api/v1/clients", "Authorization: Basic YW5uYTpzZWNyZXQ=\r\n"), 200);
    }
    assert_eq!(status(&broker, "/api/v1/clients", "Authorization: Basic YW5uYTp3cm9uZw==\r\n"), 401);
    assert_eq!(status(&broker, "/api/v1/clients", "Authorization: Bearer hush\r\n"), 200);
    let log_in =
        |password: &str| broker.post("/api/v5/login", &json!({ "username": "anna", "password": password }));
    let (status_of_wrong, problem) = log_in("wrong");
    assert_eq!((status_of_wrong, &problem["code"]), (401, &json!("BAD_USERNAME_OR_PWD")));
    assert_eq!(log_in(&"long".repeat(1100)).0, 413);
    let (status_of_log_in, answer) = log_in("secret");
    assert_eq!(status_of_log_in, 200);
    let token = answer["token"].as_str().unwrap();
    assert_eq!(token.len(), 64);
    assert_eq!(status(&broker, "/api/v1/clients", &format!("Authorization: Bearer {token}\r\n")), 200);
    broker.stop();
}

/// What keeps the API of a broker with this configuration from starting.
fn refused(change: impl FnOnce(&mut siskin_server::Config)) -> AdminError {
    let mut config = config();
    change(&mut config);
    let server = Server::start(config).unwrap();
    let error = Admin::start(server.handle()).unwrap_err();
    server.stop();
    error
}

#[test]
fn an_address_that_others_reach_needs_credentials() {
    let open = AdminListen::At(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
    let error = refused(|config| config.admin.listen = open);
    assert!(matches!(error, AdminError::Unprotected(_)));
    assert!(
        error.to_string().contains("give it admin.token, admin.token_file or admin.password_file"),
        "{error}"
    );
    let broker = Broker::with(|config| {
        config.admin.listen = open;
        config.admin.token = Secret("hush".to_owned());
    });
    let host = format!("127.0.0.1:{}", broker.admin.address().port());
    let mut stream = std::net::TcpStream::connect(&host).unwrap();
    let request = "GET /api/v1/clients HTTP/1.1\r\nHost: broker.example\r\nConnection: close\r\n\
                   Authorization: Bearer hush\r\n\r\n";
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let answer = std::io::read_to_string(&mut stream).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    broker.stop();
}

#[test]
fn credentials_that_cannot_be_used_are_told_by_their_file() {
    let empty = File::new("empty", "\n");
    let bad = File::new("bad", "anna:plain\n");
    for (error, text) in [
        (
            refused(|config| config.admin.token_file = "/nonexistent/token".into()),
            "/nonexistent/token: No such file",
        ),
        (refused(|config| config.admin.token_file.clone_from(&empty.0)), "has no token in its first line"),
        (refused(|config| config.admin.password_file.clone_from(&bad.0)), "bad:1:"),
        (refused(|config| config.admin.password_file.clone_from(&empty.0)), "names no user"),
    ] {
        let error = error.to_string();
        assert!(error.starts_with("cannot protect the admin API: ") && error.contains(text), "{error}");
    }
}

#[test]
fn an_address_that_is_taken_is_an_error_only_if_it_was_asked_for() {
    let first = Broker::start();
    let taken = first.admin.address();
    let error = refused(|config| config.admin.listen = AdminListen::At(taken));
    assert!(error.to_string().contains(&format!("cannot listen for the admin API on {taken}")), "{error}");
    first.stop();
    // Somebody has the default port: this test, or whoever else has it on this machine.
    let _default = std::net::TcpListener::bind(AdminListen::DEFAULT);
    let mut config = config();
    config.admin.listen = AdminListen::Default;
    let server = Server::start(config.clone()).unwrap();
    assert!(Admin::start(server.handle()).unwrap().is_none());
    server.stop();
    config.admin.listen = AdminListen::Off;
    let server = Server::start(config).unwrap();
    assert!(Admin::start(server.handle()).unwrap().is_none());
    server.stop();
}

#[test]
fn paths_and_methods_that_are_not_there_are_told_as_json() {
    let broker = Broker::start();
    let (status, problem) = broker.try_get("/api/v1/nothing");
    assert_eq!((status, &problem["code"]), (404, &json!("NOT_FOUND")));
    let (status, problem) = broker.delete("/api/v1/stats");
    assert_eq!((status, &problem["code"]), (405, &json!("METHOD_NOT_ALLOWED")));
    broker.stop();
}
