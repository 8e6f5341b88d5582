//! Traces of messages, as a collector gets them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use siskin_admin::Telemetry;
use siskin_server::Config;
use siskin_server::config::Secret;

use crate::support::{Broker, Client};

/// Takes one request for each status that it is to answer with, and gives away their heads and bodies.
struct Collector {
    address: SocketAddr,
    requests: Receiver<(String, ExportTraceServiceRequest)>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    if stream.read_line(&mut head).unwrap() == 0 {
                        break;
                    }
                }
                let len = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let Some(len) = len.and_then(|len| len.parse().ok()) else { continue };
                let mut body = vec![0; len];
                stream.read_exact(&mut body).unwrap();
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                stream.get_mut().write_all(answer).unwrap();
                let request = ExportTraceServiceRequest::decode(&body[..]).unwrap();
                if sender.send((head, request)).is_err() {
                    return;
                }
            }
        });
        Self { address, requests }
    }

    fn url(&self) -> String {
        format!("http://{}/v1/traces", self.address)
    }

    fn next(&self) -> (String, ExportTraceServiceRequest) {
        self.requests.recv_timeout(Duration::from_secs(30)).unwrap()
    }

    /// The spans of the next request by their names.
    fn spans(&self) -> BTreeMap<String, Span> {
        let (_, request) = self.next();
        let spans = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        spans.flat_map(|scope| scope.spans).map(|span| (span.name.clone(), span)).collect()
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    found.value.clone()?.value
}

fn text(value: &str) -> Option<Value> {
    Some(Value::StringValue(value.to_owned()))
}

fn traced(collector: &Collector, change: impl FnOnce(&mut Config)) -> (Broker, Telemetry) {
    let broker = Broker::with(|config| {
        config.telemetry.traces_url = collector.url();
        change(config);
    });
    let telemetry = Telemetry::start(broker.server.handle()).unwrap();
    // It follows messages from a moment later on.
    let mut probe = broker.client("probe");
    loop {
        probe.publish("probe", b"", 1, false);
        if collector.requests.recv_timeout(Duration::from_millis(700)).is_ok() {
            break;
        }
    }
    while collector.requests.recv_timeout(Duration::from_millis(1200)).is_ok() {}
    (broker, telemetry)
}

#[test]
fn a_message_is_a_span_and_each_of_its_deliveries_another_below_it() {
    let collector = Collector::start();
    let (broker, telemetry) =
        traced(&collector, |config| config.telemetry.traces_header = Secret("X-Key: hush".to_owned()));
    let mut subscriber = broker.client("subscriber");
    subscriber.subscribe("home/#", 0);
    broker.client("publisher").publish("home/door", b"open", 1, false);
    let (head, request) = collector.next();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains("x-key: hush\r\n") && head.contains("content-type: application/x-protobuf\r\n"),
        "{head}"
    );
    let resource = &request.resource_spans[0].resource.as_ref().unwrap().attributes;
    assert_eq!(attribute(resource, "service.name"), text("siskin"));
    let spans = &request.resource_spans[0].scope_spans[0].spans;
    let [route, deliver] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((route.name.as_str(), deliver.name.as_str()), ("mqtt route", "mqtt deliver"));
    assert_eq!((route.trace_id.len(), route.span_id.len(), route.parent_span_id.len()), (16, 8, 0));
    assert_eq!((&deliver.trace_id, &deliver.parent_span_id), (&route.trace_id, &route.span_id));
    assert_eq!(attribute(&route.attributes, "messaging.destination.name"), text("home/door"));
    assert_eq!(attribute(&route.attributes, "messaging.client.id"), text("publisher"));
    assert_eq!(attribute(&route.attributes, "messaging.message.body.size"), Some(Value::IntValue(4)));
    assert_eq!(attribute(&deliver.attributes, "messaging.client.id"), text("subscriber"));
    let events: Vec<_> = route.events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(events, ["routed", "answered"]);
    assert_eq!(deliver.events[0].name, "sent");
    assert!(route.start_time_unix_nano > 1_700_000_000_000_000_000);
    assert!(route.end_time_unix_nano >= route.start_time_unix_nano && route.status.is_none());
    telemetry.stop();
    broker.stop();
}

#[test]
fn a_message_that_is_part_of_a_trace_goes_on_in_it_unless_its_publisher_wants_none() {
    let collector = Collector::start();
    let (broker, telemetry) = traced(&collector, |_| {});
    let mut publisher = broker.client("publisher");
    let parent = |flags| format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
    for flags in ["00", "01"] {
        publisher.publish_with_user_property("t", b"x", ("traceparent", &parent(flags)));
    }
    let spans = collector.spans();
    let route = &spans["mqtt route"];
    assert_eq!((route.trace_id[0], route.parent_span_id[7]), (0x0a, 0x31));
    telemetry.stop();
    assert!(collector.requests.try_recv().is_err(), "the message without a trace has one");
    broker.stop();
}

#[test]
fn a_reload_starts_and_stops_it_and_a_collector_that_is_not_there_disturbs_nobody() {
    let broker = Broker::start();
    let telemetry = Telemetry::start(broker.server.handle()).unwrap();
    let written = Arc::new(Mutex::new(Config::clone(&broker.server.handle().config())));
    let source = Arc::clone(&written);
    broker.server.handle().set_source(Box::new(move || Ok(source.lock().unwrap().clone())));
    let reload = |url: &str| {
        url.clone_into(&mut written.lock().unwrap().telemetry.traces_url);
        broker.server.handle().reload()
    };
    // Nobody listens there.
    reload("http://127.0.0.1:1/v1/traces").unwrap();
    let mut publisher = broker.client("publisher");
    publish(&mut publisher);
    let wrong = reload("http://[").unwrap_err().to_string();
    assert!(wrong.contains("telemetry.traces_url") && wrong.contains("http://["), "{wrong}");
    let collector = Collector::start();
    reload(&collector.url()).unwrap();
    while collector.requests.recv_timeout(Duration::from_millis(100)).is_err() {
        publish(&mut publisher);
    }
    reload("").unwrap();
    while collector.requests.try_recv().is_ok() {}
    publish(&mut publisher);
    let late = collector.requests.recv_timeout(Duration::from_millis(1500));
    assert!(late.is_err(), "traces come though nobody wants them");
    telemetry.stop();
    broker.stop();
}

fn publish(publisher: &mut Client) {
    for _ in 0..100 {
        publisher.publish("t", b"x", 1, false);
    }
}
