//! OpenTelemetry: the ways of some messages as traces, for those who have a collector. Off unless one is named.
//!
//! ```text
//! workers ──stations──> every half second ──> Way of each message ──done, or over time──> spans ──> OTLP over HTTP
//! ```
//!
//! Workers follow so many messages a second and no more; nothing waits for the collector. What it does not take is lost,
//! and the log says so once until it takes something again.

mod spans;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use prost::Message as _;
use siskin_auth::HttpClient;
use siskin_core::trace::{Amount, Station, TraceId, Traced, Watch};
use siskin_server::Broker;
use siskin_server::config::TelemetryConfig;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::traces::{self, Progress};
use spans::{Source, Trace};

/// What sends the ways of messages to a collector, while there is one. Dropped it goes on.
#[derive(Debug)]
pub struct Telemetry(Arc<Mutex<Option<Running>>>);

#[derive(Debug)]
struct Running {
    config: TelemetryConfig,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// What goes to a collector, and how.
struct Exporter {
    client: HttpClient,
    url: String,
    header: Option<(HeaderName, HeaderValue)>,
    source: Source,
    /// Whether the collector did not take what was sent last.
    is_failing: bool,
}

/// A message on its way.
#[derive(Default)]
struct Way {
    stations: Vec<Traced>,
    progress: Progress,
}

impl Telemetry {
    /// Goes by the configuration of `broker`, also when it changes. The error says what is wrong with it.
    pub fn start(broker: &Broker) -> io::Result<Self> {
        let config = broker.config().telemetry.clone();
        let wrong = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
        Self::check(&config).map_err(wrong)?;
        let telemetry = Self(Arc::default());
        telemetry.renew(broker, config)?;
        let running = Self(Arc::clone(&telemetry.0));
        broker.add_follower(Box::new(move |broker, config| {
            Self::check(&config.telemetry)?;
            let (running, broker, config) =
                (Self(Arc::clone(&running.0)), broker.clone(), config.telemetry.clone());
            Ok(Box::new(move || {
                if let Err(error) = running.renew(&broker, config) {
                    tracing::error!("no traces are sent: {error}");
                }
            }))
        }));
        Ok(telemetry)
    }

    /// Whether traces can be sent with this configuration, as far as can be told without sending any.
    pub fn check(config: &TelemetryConfig) -> Result<(), String> {
        let TelemetryConfig { traces_url, traces_header, .. } = config;
        if !traces_url.is_empty() {
            let wrong =
                |why: &dyn fmt::Display| format!("telemetry.traces_url: `{traces_url}` is no URL: {why}");
            let url: Uri = traces_url.parse().map_err(|error| wrong(&error))?;
            if !["http", "https"].contains(&url.scheme_str().unwrap_or_default()) || url.host().is_none() {
                return Err(wrong(&"it is like http://localhost:4318/v1/traces"));
            }
        }
        header(&traces_header.0).map(drop)
    }

    /// Sends nothing any more, and waits until the thread is done.
    pub fn stop(self) {
        stop(self.running().take());
    }

    fn renew(&self, broker: &Broker, config: TelemetryConfig) -> io::Result<()> {
        let mut running = self.running();
        if running.as_ref().is_some_and(|running| running.config == config) {
            return Ok(());
        }
        stop(running.take());
        if config.traces_url.is_empty() {
            return Ok(());
        }
        let exporter = Exporter::new(broker, &config).map_err(io::Error::other)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (stop, stopped) = oneshot::channel();
        let (broker, per_second) = (broker.clone(), config.traces_per_second);
        let thread = thread::Builder::new()
            .name("siskin-traces".to_owned())
            .spawn(move || runtime.block_on(run(broker, per_second, exporter, stopped)))?;
        tracing::info!("traces of {per_second} messages a second of each worker go to {}", config.traces_url);
        *running = Some(Running { config, stop, thread });
        Ok(())
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stop(running: Option<Running>) {
    let Some(Running { stop, thread, .. }) = running else { return };
    // If nobody hears it the thread has ended by itself.
    let _ = stop.send(());
    if thread.join().is_err() {
        tracing::error!("the thread that sends traces had panicked");
    }
}

/// Follows messages until it is told to stop.
async fn run(broker: Broker, per_second: u16, mut exporter: Exporter, mut stopped: oneshot::Receiver<()>) {
    let number = broker.shared().next_trace();
    let amount = Amount::EachSecond(per_second);
    // A filter that does not match what the broker says of itself.
    let watch = Watch { number, filter: Some("#".into()), client_id: None, amount };
    let mut is_armed = false;
    let mut ways = BTreeMap::new();
    let mut is_over = false;
    while !is_over {
        if !is_armed {
            let watch = watch.clone();
            let armed = broker.ask_all(move |worker, _| worker.arm_trace(watch.clone())).await;
            // Workers that follow messages already go on, those that were late are told once more.
            match armed {
                Ok(_) => is_armed = true,
                Err(error) => tracing::debug!("not all workers are told to trace: {error}"),
            }
        }
        is_over = tokio::select! {
            () = sleep(FETCH_EVERY) => false,
            _ = &mut stopped => true,
        };
        let traces = fetch(&broker, number, &mut ways, is_over).await;
        tokio::select! {
            () = exporter.send(traces) => {}
            () = until_stopped(&mut stopped, is_over) => is_over = true,
        }
    }
    // Those that did not answer have stopped, or follow no more messages than they were told.
    let _ = broker.ask_all(move |worker, _| worker.disarm_trace(number)).await;
}

/// Ends when it is to stop, and never if that was heard already: then what is left is still sent.
async fn until_stopped(stopped: &mut oneshot::Receiver<()>, is_over: bool) {
    match is_over {
        true => sleep(LAST_SEND_TIMEOUT).await,
        // The other end gone means the same.
        false => drop(stopped.await),
    }
}

/// The messages that have come to the ends of their ways, or are not waited for any longer.
async fn fetch(
    broker: &Broker,
    number: NonZeroU32,
    ways: &mut BTreeMap<TraceId, Way>,
    is_over: bool,
) -> Vec<Trace> {
    let now = broker.now();
    let mut done = Vec::new();
    for traced in traces::fetch(broker, number).await.unwrap_or_default() {
        let is_first = matches!(traced.station, Station::Received { .. });
        // After many messages numbers are given anew. Of one that crosses workers its end may be heard of first.
        if is_first && ways.get(&traced.id).is_some_and(Way::has_begun) {
            done.extend(ways.remove(&traced.id).and_then(|way| Trace::of(way.stations)));
        }
        let way: &mut Way = ways.entry(traced.id).or_default();
        way.progress.advance(&traced.station);
        way.stations.push(traced);
    }
    let is_old = |way: &Way| way.stations[0].at.plus_ms(WAIT_MS) <= now;
    let ended = ways.extract_if(.., |_, way| is_over || way.progress.is_done() || is_old(way));
    done.extend(ended.filter_map(|(_, way)| Trace::of(way.stations)));
    done
}

impl Way {
    fn has_begun(&self) -> bool {
        self.stations.iter().any(|traced| matches!(traced.station, Station::Received { .. }))
    }
}

impl Exporter {
    fn new(broker: &Broker, config: &TelemetryConfig) -> Result<Self, String> {
        Ok(Self {
            client: HttpClient::new(None, SEND_TIMEOUT, ANSWER_BYTES_MAX)?,
            url: config.traces_url.clone(),
            header: header(&config.traces_header.0)?,
            source: Source::new(&broker.shared().node().name),
            is_failing: false,
        })
    }

    async fn send(&mut self, traces: Vec<Trace>) {
        if traces.is_empty() {
            return;
        }
        let was_failing = self.is_failing;
        let failure = self.try_send(traces).await.err();
        self.is_failing = failure.is_some();
        match failure {
            Some(why) if !was_failing => {
                tracing::warn!("{} does not take traces, which are lost until it does: {why}", self.url);
            }
            None if was_failing => tracing::info!("{} takes traces again", self.url),
            _ => {}
        }
    }

    /// What one request is refused for says nothing about the others, but all of them wait for a collector that does not
    /// answer.
    async fn try_send(&self, traces: Vec<Trace>) -> Result<(), String> {
        let mut result = Ok(());
        for request in self.source.requests(traces) {
            let status = self.post(request.encode_to_vec()).await?;
            if !status.is_success() {
                result = Err(format!("it answers {status}"));
            }
        }
        result
    }

    async fn post(&self, body: Vec<u8>) -> Result<StatusCode, String> {
        let mut request = Request::post(&self.url)
            .header(CONTENT_TYPE, "application/x-protobuf")
            .header(USER_AGENT, concat!("siskin/", env!("CARGO_PKG_VERSION")));
        if let Some((name, value)) = &self.header {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body.into())).map_err(|error| error.to_string())?;
        Ok(self.client.ask(request).await?.status)
    }
}

/// A header as it is configured. What is wrong with it is told without it.
fn header(text: &str) -> Result<Option<(HeaderName, HeaderValue)>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || "telemetry.traces_header is not like `Name: value`".to_owned();
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let mut value: HeaderValue = value.trim().parse().map_err(|_| wrong())?;
    value.set_sensitive(true);
    Ok(Some((name.trim().parse().map_err(|_| wrong())?, value)))
}

/// How often workers are asked what they have noted.
const FETCH_EVERY: Duration = Duration::from_millis(500);

/// How long a message is waited for that has not come to the end of its way.
const WAIT_MS: u64 = 10_000;

/// Time for one request. What workers note meanwhile is bounded by their own limit.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for the request that is sent when the broker stops.
const LAST_SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes of a collector's answer, of which the status alone matters.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_named_by_a_whole_url() {
        let check = |url: &str| {
            Telemetry::check(&TelemetryConfig { traces_url: url.to_owned(), ..TelemetryConfig::default() })
        };
        for url in ["", "http://localhost:4318/v1/traces", "https://collector.example/v1/traces"] {
            assert_eq!(check(url), Ok(()), "{url}");
        }
        for url in ["localhost:4318", "/v1/traces", "ftp://localhost/v1/traces", "http://[", "http:///v1"] {
            assert!(check(url).unwrap_err().contains("telemetry.traces_url"), "{url}");
        }
    }

    #[test]
    fn a_header_has_a_name_and_a_value_and_what_is_wrong_with_it_is_no_secret() {
        let (name, value) = header("Authorization: Bearer a:b").unwrap().unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("authorization", "Bearer a:b"));
        assert_eq!(header(""), Ok(None));
        for text in ["hush", "bad name: hush", "name: hu\u{1}sh"] {
            let problem = header(text).unwrap_err();
            assert!(problem.contains("traces_header") && !problem.contains("hush"), "{problem}");
        }
    }
}
