//! The way of a message as spans: one for what the broker did with it, below it one for each receiver.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use rustix::rand::{GetRandomFlags, getrandom};
use siskin_core::Now;
use siskin_core::recorder::Origin;
use siskin_core::trace::{Station, Traced};

/// Who sends spans.
pub(super) struct Source {
    resource: Resource,
    scope: InstrumentationScope,
}

/// The spans of one message, the broker's own first.
#[derive(Debug)]
pub(super) struct Trace(Vec<Span>);

/// What a publisher says its message is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parent {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    is_sampled: bool,
}

impl Source {
    pub(super) fn new(node: &str) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let attributes = vec![
            text("service.name", "siskin"),
            text("service.version", version),
            text("service.instance.id", node),
        ];
        Self {
            resource: Resource { attributes, ..Resource::default() },
            scope: InstrumentationScope {
                name: "siskin".to_owned(),
                version: version.to_owned(),
                ..InstrumentationScope::default()
            },
        }
    }

    /// What is sent to a collector, in requests that each are of a size that collectors take.
    pub(super) fn requests(&self, traces: Vec<Trace>) -> impl Iterator<Item = ExportTraceServiceRequest> {
        let mut spans = traces.into_iter().flat_map(|Trace(spans)| spans).peekable();
        std::iter::from_fn(move || {
            spans.peek()?;
            Some(self.request(spans.by_ref().take(SPANS_MAX).collect()))
        })
    }

    fn request(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let scope = ScopeSpans { scope: Some(self.scope.clone()), spans, ..ScopeSpans::default() };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(self.resource.clone()),
                scope_spans: vec![scope],
                ..ResourceSpans::default()
            }],
        }
    }
}

impl Trace {
    /// None for what was not received here, and for a message whose publisher wants no trace of it.
    pub(super) fn of(mut stations: Vec<Traced>) -> Option<Self> {
        stations.sort_by_key(|traced| (traced.at, rank(&traced.station)));
        let first = stations.iter().position(|traced| matches!(traced.station, Station::Received { .. }))?;
        let first = stations.remove(first);
        let Station::Received { traceparent, .. } = &first.station else { return None };
        let parent = traceparent.as_deref().and_then(Parent::read);
        if parent.is_some_and(|parent| !parent.is_sampled) {
            return None;
        }
        let trace_id = match parent {
            Some(parent) => parent.trace_id.to_vec(),
            None => random(16)?,
        };
        let (own, mut theirs): (Vec<_>, Vec<_>) =
            stations.iter().partition(|traced| receiver(&traced.station).is_none());
        let mut root = span(&trace_id, "mqtt route", SpanKind::Server, first.at, &own)?;
        root.parent_span_id = parent.map(|parent| parent.span_id.to_vec()).unwrap_or_default();
        root.attributes = received(&first.station);
        // Each receiver's stay in the order of time.
        theirs.sort_by_key(|traced| receiver(&traced.station));
        let deliveries = || theirs.chunk_by(|a, b| receiver(&a.station) == receiver(&b.station));
        let left_out = deliveries().count().saturating_sub(DELIVERIES_MAX);
        if left_out > 0 {
            root.attributes.push(number("siskin.deliveries_left_out", left_out as u64));
        }
        let mut spans = vec![root];
        for own in deliveries().take(DELIVERIES_MAX) {
            let Some(client_id) = receiver(&own[0].station) else { continue };
            let mut delivery = span(&trace_id, "mqtt deliver", SpanKind::Producer, own[0].at, own)?;
            delivery.parent_span_id.clone_from(&spans[0].span_id);
            delivery.attributes = delivered(client_id, &first.station, own);
            spans.push(delivery);
        }
        Some(Self(spans))
    }
}

impl Parent {
    /// Reads `00-TRACE-SPAN-FLAGS`. [W3C Trace Context 3.2.2]
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version: [u8; 1] = hex(parts.next()?)?;
        let (trace_id, span_id): ([u8; 16], [u8; 8]) = (hex(parts.next()?)?, hex(parts.next()?)?);
        let flags: [u8; 1] = hex(parts.next()?)?;
        let is_legal = version != [0xff]
            && trace_id != [0; 16]
            && span_id != [0; 8]
            && (version != [0] || parts.next().is_none());
        is_legal.then_some(Self { trace_id, span_id, is_sampled: flags[0] & 1 == 1 })
    }
}

/// A span from `from` to the last of `stations`, which are its events.
fn span(trace_id: &[u8], name: &str, kind: SpanKind, from: Now, stations: &[&Traced]) -> Option<Span> {
    let until = stations.iter().map(|traced| traced.at).max().unwrap_or(from);
    let status = stations
        .iter()
        .find(|traced| is_failure(&traced.station))
        .map(|traced| Status { message: traced.station.to_string(), code: StatusCode::Error.into() });
    let event = |traced: &&Traced| Event {
        time_unix_nano: nanoseconds(traced.at),
        name: traced.station.name().to_owned(),
        attributes: vec![text("siskin.text", &traced.station.to_string())],
        ..Event::default()
    };
    Some(Span {
        trace_id: trace_id.to_vec(),
        span_id: random(8)?,
        name: name.to_owned(),
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(from),
        end_time_unix_nano: nanoseconds(until),
        events: stations.iter().map(event).collect(),
        status,
        ..Span::default()
    })
}

/// Names from OpenTelemetry's conventions for messaging, where they have one.
fn received(station: &Station) -> Vec<KeyValue> {
    let mut attributes = vec![text("messaging.system", "mqtt"), text("messaging.operation.name", "publish")];
    if let Station::Received { client_id, origin, topic, qos, retain, payload_bytes, .. } = station {
        attributes.push(text("messaging.destination.name", topic));
        attributes.push(number("messaging.message.body.size", *payload_bytes as u64));
        attributes.push(number("mqtt.qos", *qos as u64));
        attributes.push(attribute("mqtt.retain", Value::BoolValue(*retain)));
        attributes.extend(client_id.as_deref().map(|client_id| text("messaging.client.id", client_id)));
        if let Origin::Address(ip, port) = origin {
            attributes.push(text("network.peer.address", &ip.to_string()));
            attributes.push(number("network.peer.port", (*port).into()));
        }
    }
    attributes
}

fn delivered(client_id: &str, first: &Station, stations: &[&Traced]) -> Vec<KeyValue> {
    let mut attributes = vec![
        text("messaging.system", "mqtt"),
        text("messaging.operation.name", "deliver"),
        text("messaging.client.id", client_id),
    ];
    if let Station::Received { topic, .. } = first {
        attributes.push(text("messaging.destination.name", topic));
    }
    let sent = stations.iter().find_map(|traced| match &traced.station {
        Station::Sent { qos, .. } => Some(number("mqtt.qos", *qos as u64)),
        _ => None,
    });
    attributes.extend(sent);
    attributes
}

/// Whose delivery a station belongs to; none for what happens to the message as a whole.
fn receiver(station: &Station) -> Option<&str> {
    match station {
        Station::Received { .. } | Station::Withheld { .. } => None,
        other => other.client_id().map(|client_id| &**client_id),
    }
}

fn is_failure(station: &Station) -> bool {
    match station {
        Station::Refused { .. } | Station::Dropped { .. } => true,
        Station::Answered { reason } => reason.is_error(),
        _ => false,
    }
}

/// In which order stations stand that are of one millisecond.
fn rank(station: &Station) -> u8 {
    match station {
        Station::Received { .. } => 0,
        Station::Routed { .. } | Station::Refused { .. } => 1,
        Station::Acknowledged { .. } => 3,
        _ => 2,
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(value.try_into().unwrap_or(i64::MAX)))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn nanoseconds(at: Now) -> u64 {
    at.as_millis().saturating_mul(1_000_000)
}

/// Bytes that nobody else has; none if the system has none.
fn random(len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    (getrandom(&mut bytes, GetRandomFlags::empty()) == Ok(len)).then_some(bytes)
}

/// Exactly `N` bytes in lowercase hexadecimal digits.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != N * 2 || !text.bytes().all(is_lower) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Deliveries of one message that are shown each by its own span.
const DELIVERIES_MAX: usize = 1000;

/// Spans of one request, of half a kilobyte each and more where topics are long.
const SPANS_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use siskin_core::trace::TraceId;
    use siskin_proto::Qos;

    use super::*;

    #[test]
    fn of_many_deliveries_the_first_have_spans_and_requests_are_of_bounded_size() {
        let at = |ms: u64| Now::from_millis(1000 + ms);
        let id = TraceId::new(NonZeroU32::MIN, 0, 0);
        let received = Station::Received {
            client_id: None,
            origin: Origin::Unknown,
            topic: "t".into(),
            qos: Qos::AtMostOnce,
            retain: false,
            payload_bytes: 0,
            properties_bytes: 0,
            traceparent: None,
        };
        let mut stations = vec![Traced { id, at: at(0), station: received }];
        for n in 0..DELIVERIES_MAX + 7 {
            let client_id: Arc<str> = format!("{n:05}").into();
            let sent = Station::Sent {
                client_id: Arc::clone(&client_id),
                qos: Qos::AtLeastOnce,
                packet_id: None,
                dup: false,
            };
            stations.push(Traced { id, at: at(2), station: Station::Acknowledged { client_id } });
            stations.push(Traced { id, at: at(1), station: sent });
        }
        let trace = Trace::of(stations).unwrap();
        assert_eq!(trace.0.len(), 1 + DELIVERIES_MAX);
        assert!(trace.0[0].attributes.contains(&number("siskin.deliveries_left_out", 7)));
        let delivery = &trace.0[DELIVERIES_MAX];
        assert!(delivery.attributes.contains(&text("messaging.client.id", "00999")), "{delivery:?}");
        let events: Vec<_> = delivery.events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(events, ["sent", "acknowledged"]);
        let sizes: Vec<_> = Source::new("node")
            .requests(vec![trace])
            .map(|request| request.resource_spans[0].scope_spans[0].spans.len())
            .collect();
        assert_eq!(sizes, [SPANS_MAX, 1 + DELIVERIES_MAX - SPANS_MAX]);
        assert_eq!(Source::new("node").requests(Vec::new()).count(), 0);
    }

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_as_its_specification_says() {
        let parent = Parent::read(PARENT).unwrap();
        assert_eq!((parent.trace_id[0], parent.span_id[7], parent.is_sampled), (0x0a, 0x31, true));
        assert!(!Parent::read(&PARENT.replace("-01", "-00")).unwrap().is_sampled);
        // A later version may have more behind it.
        assert!(Parent::read(&PARENT.replacen("00-", "01-", 1).replace("-01", "-01-more")).is_some());
        for bad in [
            "",
            "00",
            &PARENT.to_uppercase(),
            &PARENT.replacen("00-", "ff-", 1),
            &format!("{PARENT}-more"),
            &PARENT.replace("b7ad6b7169203331", "0000000000000000"),
            &PARENT.replace("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"),
            &PARENT[1..],
            "é0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(Parent::read(bad), None, "{bad}");
        }
    }
}
