//! Loads over TLS, WebSocket and both, against a whole broker: all counts are as exact as over TCP.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use siskin_bench::{BenchError, Options, Plan, Report, Scenario, run};
use siskin_proto::Qos;
use siskin_server::config::{
    Certificate, ClientCertificates, Durability, Listener, Protocol, Tls, WebSocket,
};
use siskin_server::{Config, Server};

/// A broker with one listener, and the file of its certificate.
struct Broker {
    server: Server,
    folder: PathBuf,
    is_secure: bool,
    is_web: bool,
}

impl Broker {
    fn start(name: &str, is_secure: bool, is_web: bool) -> Self {
        let folder = std::env::temp_dir().join(format!("siskin-bench-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = Certificate { chain: folder.join("server.pem"), key: folder.join("server.key") };
        std::fs::write(&certificate.chain, issued.cert.pem()).unwrap();
        std::fs::write(&certificate.key, issued.signing_key.serialize_pem()).unwrap();
        let mut listener = Listener::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        if is_web {
            listener.protocol = Protocol::WebSocket(WebSocket::default());
        }
        listener.tls = is_secure.then(|| Tls {
            certificates: vec![certificate],
            client_certificates: ClientCertificates::Off,
            ca: Vec::new(),
            crl: Vec::new(),
        });
        let mut config = Config { workers: 1, listeners: vec![listener], ..Config::default() };
        config.store.durability = Durability::Memory;
        Self { server: Server::start(config).unwrap(), folder, is_secure, is_web }
    }

    fn attempt(&self, change: impl FnOnce(&mut Options)) -> Result<Report, BenchError> {
        let mut options = Options::new(Scenario::Pairs);
        options.port = self.server.addresses()[0].port();
        options.clients = Some(5);
        options.threads = Some(2);
        options.messages = Some(1000);
        options.ca = self.is_secure.then(|| self.folder.join("server.pem"));
        options.websocket_path = self.is_web.then(|| "/mqtt".to_owned());
        change(&mut options);
        run(Plan::new(options)?, &mut |_| {})
    }

    fn stop(self) {
        self.server.stop();
        let _ = std::fs::remove_dir_all(self.folder);
    }
}

#[test]
fn every_message_is_accounted_for_over_every_transport() {
    for (is_secure, is_web) in [(false, true), (true, false), (true, true)] {
        let broker = Broker::start(&format!("all-{is_secure}-{is_web}"), is_secure, is_web);
        for (qos, payload_bytes) in
            [(Qos::AtMostOnce, 64), (Qos::AtLeastOnce, 64), (Qos::ExactlyOnce, 70_000)]
        {
            let report = broker
                .attempt(|options| {
                    options.qos = Some(qos);
                    options.payload_bytes = Some(payload_bytes);
                    if payload_bytes > 64 {
                        options.messages = Some(100);
                    }
                })
                .unwrap();
            assert_eq!(report.failures(), [""; 0], "{report}");
            assert_eq!(
                (report.lost, report.counts.duplicated, report.counts.misordered),
                (Some(0), 0, 0),
                "{report}"
            );
        }
        broker.stop();
    }
}

#[test]
fn a_broker_that_is_not_trusted_or_grants_no_websocket_is_said_so() {
    let broker = Broker::start("bad", true, true);
    let other = Broker::start("other", true, true);
    let foreign = other.folder.join("server.pem");
    for (change, said) in [
        (
            Box::new(move |options: &mut Options| options.ca = Some(foreign))
                as Box<dyn FnOnce(&mut Options)>,
            "certificate",
        ),
        (Box::new(|options: &mut Options| options.websocket_path = Some("/nowhere".to_owned())), "404"),
        (
            Box::new(|options: &mut Options| options.websocket_path = Some("nowhere".to_owned())),
            "begins with /",
        ),
        (Box::new(|options: &mut Options| options.ca = Some("/nowhere.pem".into())), "nowhere.pem"),
    ] {
        let error = broker.attempt(change).unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
    broker.stop();
    other.stop();
}
