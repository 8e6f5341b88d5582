//! The broker as a whole: how it is, what it did, and on which terms it runs.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use siskin_core::store::Health;
use siskin_core::{Dropped, Totals};
use siskin_server::config::{Place, Protocol};
use siskin_server::settings::SETTINGS;
use siskin_server::{Broker, StoreFigures};
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

use super::limit;
use crate::app::App;
use crate::failure::{Failure, Problem};
use crate::heaviest::{Heaviest, KEPT_MAX};
use crate::rates::{SECONDS_MAX, Second};
use crate::request::Query;

/// That the broker is there, and which one it is.
#[derive(Serialize, ToSchema)]
pub(super) struct Alive {
    #[schema(example = "up")]
    status: &'static str,
    node: String,
    version: String,
    uptime_s: u64,
}

/// Whether the broker does its work.
#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    ready: bool,
    /// Whether all workers answered within a second.
    workers_answer: bool,
    /// `good`, `behind`, `full` or `failing`; `memory` without a store.
    #[schema(example = "good")]
    store: &'static str,
}

/// That the broker is there. Answered without asking any worker, and without credentials.
#[utoipa::path(get, path = "/health", tag = "broker", responses((status = 200, body = Alive)))]
pub(super) async fn health(State(app): State<App>) -> Json<Alive> {
    let node = app.broker().shared().node();
    Json(Alive {
        status: "up",
        node: node.name.clone(),
        version: node.version.clone(),
        uptime_s: uptime(app.broker()).as_secs(),
    })
}

/// Whether the broker does its work: all workers answer, and the store makes safe what it is given. Answered without
/// credentials.
#[utoipa::path(get, path = "/ready", tag = "broker",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
pub(super) async fn ready(State(app): State<App>) -> Response {
    let answers = timeout(READY_TIMEOUT, app.broker().ask_all(|_, _| ())).await;
    let workers_answer = matches!(answers, Ok(Ok(_)));
    let health = app.broker().store_health();
    let ready = workers_answer && health.is_none_or(Health::may_promise);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, workers_answer, store: health_name(health) })).into_response()
}

/// What there is now, and what was done since the broker started.
#[derive(Serialize, ToSchema)]
pub(super) struct Stats {
    node: String,
    version: String,
    uptime_s: u64,
    connections: u64,
    sessions: u64,
    subscriptions: usize,
    shared_subscriptions: usize,
    /// Different filters that are subscribed to.
    filters: usize,
    retained_messages: usize,
    retained_bytes: usize,
    /// Messages that wait in queues and windows.
    messages_waiting: u64,
    bytes_waiting: u64,
    /// PUBLISH packets that came in, by QoS.
    messages_received: [u64; 3],
    /// PUBLISH packets that went out, by QoS.
    messages_sent: [u64; 3],
    /// Bytes of all packets that came in.
    bytes_received: u64,
    /// Bytes of all packets that went out.
    bytes_sent: u64,
    /// Messages that no subscription matched.
    without_subscribers: u64,
    /// Messages that were dropped, by cause.
    dropped: BTreeMap<&'static str, u64>,
    connected: u64,
    disconnected: u64,
    refused: u64,
    memory_bytes: u64,
    cpu_s: f64,
    open_files: u64,
    open_files_max: u64,
    workers: Vec<WorkerStats>,
}

/// A worker.
#[derive(Serialize, ToSchema)]
struct WorkerStats {
    connections: u32,
    /// Turns of its loop.
    turns: u64,
    /// How long it did not wait for something to do.
    busy_s: f64,
}

/// What there is now, and what was done since the broker started.
#[utoipa::path(get, path = "/stats", tag = "broker", responses((status = 200, body = Stats)))]
pub(super) async fn stats(State(app): State<App>) -> Json<Stats> {
    let broker = app.broker();
    let shared = broker.shared();
    let (totals, process, files) = (shared.totals(), broker.process(), broker.files());
    let (retained_messages, retained_bytes) = retained(broker);
    let worker = |view: siskin_server::WorkerView| WorkerStats {
        connections: view.connections,
        turns: view.turns,
        busy_s: view.busy.as_secs_f64(),
    };
    Json(Stats {
        node: shared.node().name.clone(),
        version: shared.node().version.clone(),
        uptime_s: uptime(broker).as_secs(),
        connections: totals.connections,
        sessions: totals.sessions,
        subscriptions: shared.router.subscriptions(),
        shared_subscriptions: shared.router.shared_subscriptions(),
        filters: shared.router.filters(),
        retained_messages,
        retained_bytes,
        messages_waiting: totals.stored_messages,
        bytes_waiting: totals.stored_bytes,
        messages_received: totals.messages_received,
        messages_sent: totals.messages_sent,
        bytes_received: totals.bytes_received,
        bytes_sent: totals.bytes_sent,
        without_subscribers: totals.no_subscribers,
        dropped: drops(&totals).collect(),
        connected: totals.connected,
        disconnected: totals.disconnected,
        refused: totals.refused,
        memory_bytes: process.resident_bytes,
        cpu_s: process.cpu.as_secs_f64(),
        open_files: files.open,
        open_files_max: files.max,
        workers: broker.worker_views().into_iter().map(worker).collect(),
    })
}

/// The last seconds.
#[derive(Serialize, ToSchema)]
pub(super) struct LastSeconds {
    /// Oldest first.
    seconds: Vec<Second>,
}

/// How many seconds are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HowMany {
    /// The last of them, up to 600.
    #[param(minimum = 1, maximum = 600, default = 60)]
    last: Option<usize>,
}

/// What happened in each of the last seconds.
#[utoipa::path(get, path = "/rates", tag = "broker", params(HowMany), responses((status = 200, body = LastSeconds)))]
pub(super) async fn rates(State(app): State<App>, Query(how_many): Query<HowMany>) -> Json<LastSeconds> {
    let last = how_many.last.unwrap_or(60).min(SECONDS_MAX);
    let seconds = app.rates().last(last);
    Json(LastSeconds { seconds })
}

/// How many clients are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HowManyClients {
    /// Of each kind, up to 100.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<usize>,
}

/// The clients with most traffic, and those for whom most waits. Looks at all clients: meant for people, not for
/// programs that ask every second on brokers of millions.
#[utoipa::path(get, path = "/top", tag = "broker", params(HowManyClients),
    responses((status = 200, body = Heaviest), (status = 400, body = Problem)))]
pub(super) async fn top(
    State(app): State<App>,
    Query(how_many): Query<HowManyClients>,
) -> Result<Json<Heaviest>, Failure> {
    let most = limit(how_many.limit.or(Some(20)))?.min(KEPT_MAX);
    let mut scan = app.scan().lock().await;
    Ok(Json(scan.look(app.broker(), most).await?))
}

/// The store.
#[derive(Serialize, ToSchema)]
pub(super) struct StoreStats {
    /// `good`, `behind`, `full` or `failing`; `memory` without a store.
    health: &'static str,
    /// What it counts; none without a store.
    figures: Option<Figures>,
}

/// What a store counts.
#[derive(Serialize, ToSchema)]
struct Figures {
    /// Records that are alive.
    records: u64,
    live_bytes: u64,
    segments: u64,
    segment_bytes: u64,
    spare_bytes: u64,
    bytes_written: u64,
    bytes_copied: u64,
    syncs: u64,
    /// Operations that the system refused.
    failures: u64,
    /// Batches that are not safe yet.
    unsafe_batches: u64,
    last_sync_s: f64,
    longest_sync_s: f64,
}

/// How the store is.
#[utoipa::path(get, path = "/store", tag = "broker", responses((status = 200, body = StoreStats)))]
pub(super) async fn store(State(app): State<App>) -> Json<StoreStats> {
    let figures = |figures: StoreFigures| Figures {
        records: figures.records,
        live_bytes: figures.live_bytes,
        segments: figures.segments,
        segment_bytes: figures.segment_bytes,
        spare_bytes: figures.spare_bytes,
        bytes_written: figures.bytes_written,
        bytes_copied: figures.bytes_copied,
        syncs: figures.syncs,
        failures: figures.failures,
        unsafe_batches: figures.lag,
        last_sync_s: figures.sync_times.last.as_secs_f64(),
        longest_sync_s: figures.sync_times.longest.as_secs_f64(),
    };
    let health = health_name(app.broker().store_health());
    Json(StoreStats { health, figures: app.broker().store_figures().map(figures) })
}

/// A listener.
#[derive(Serialize, ToSchema)]
struct Listener {
    /// What is spoken there, and where.
    #[schema(example = "MQTT over TLS on 127.0.0.1:8883")]
    name: String,
    /// `tcp` or `ws`.
    protocol: &'static str,
    tls: bool,
    /// Address and port, or the path of a Unix socket.
    address: String,
    /// Of WebSocket, the path that clients ask for; there may be others.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "/mqtt")]
    path: Option<String>,
    /// Connections that came through it and are there.
    connections: u32,
    /// How many there may be; 0 for no limit of its own.
    connections_max: u32,
}

/// The listeners.
#[derive(Serialize, ToSchema)]
pub(super) struct Listeners {
    listeners: Vec<Listener>,
    /// When certificates and revocation lists end.
    expiries: Vec<Expiry>,
}

/// When a file is not good any more.
#[derive(Serialize, ToSchema)]
struct Expiry {
    file: String,
    /// `certificate` or `revocation list`.
    kind: &'static str,
    expires_at: String,
}

/// Where clients come in.
#[utoipa::path(get, path = "/listeners", tag = "broker", responses((status = 200, body = Listeners)))]
pub(super) async fn listeners(State(app): State<App>) -> Json<Listeners> {
    let listener = |view: siskin_server::ListenerView| Listener {
        name: view.listener.to_string(),
        protocol: if matches!(view.listener.protocol, Protocol::WebSocket(_)) { "ws" } else { "tcp" },
        path: match &view.listener.protocol {
            Protocol::WebSocket(terms) => terms.paths.first().cloned(),
            Protocol::Mqtt => None,
        },
        tls: view.listener.tls.is_some(),
        address: match &view.listener.place {
            Place::Address(address) => address.to_string(),
            Place::Unix { path, .. } => path.display().to_string(),
        },
        connections: view.connections,
        connections_max: view.listener.connections_max,
    };
    let expiry = |expiry: siskin_server::Expiry| Expiry {
        file: expiry.path.display().to_string(),
        kind: if expiry.is_certificate { "certificate" } else { "revocation list" },
        expires_at: siskin_core::Now::from_millis(expiry.unix_s.max(0) as u64 * 1000).rfc3339(),
    };
    Json(Listeners {
        listeners: app.broker().listeners().into_iter().map(listener).collect(),
        expiries: app.broker().tls_expiries().into_iter().map(expiry).collect(),
    })
}

/// A setting.
#[derive(Serialize, ToSchema)]
struct SettingValue {
    #[schema(example = "limits.packet_size_max")]
    name: &'static str,
    /// Its value; that of a secret is only told to be there.
    #[schema(example = "16MiB")]
    value: String,
    default: String,
    /// What values it may have.
    allowed: String,
    help: &'static str,
    /// Whether a running broker takes a new value.
    reloads: bool,
}

/// The configuration.
#[derive(Serialize, ToSchema)]
pub(super) struct Configuration {
    settings: Vec<SettingValue>,
    /// The listeners, each in words.
    listeners: Vec<String>,
}

/// The configuration as it is in force, secrets left out.
#[utoipa::path(get, path = "/config", tag = "broker", responses((status = 200, body = Configuration)))]
pub(super) async fn config(State(app): State<App>) -> Json<Configuration> {
    let config = app.broker().config();
    let settings = SETTINGS.iter().map(|setting| SettingValue {
        name: setting.name,
        value: setting.show_masked(&config),
        default: setting.kind().show(&setting.default()),
        allowed: setting.kind().allowed(),
        help: setting.help,
        reloads: setting.reloads,
    });
    Json(Configuration {
        settings: settings.collect(),
        listeners: app.broker().listeners().iter().map(|view| view.listener.to_string()).collect(),
    })
}

/// How long the broker has been running.
pub(crate) fn uptime(broker: &Broker) -> Duration {
    Duration::from_millis(broker.now().as_millis().saturating_sub(broker.shared().node().started_unix_ms))
}

/// How many messages are retained, and their bytes.
pub(crate) fn retained(broker: &Broker) -> (usize, usize) {
    let retained = broker.shared().retained.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    (retained.len(), retained.bytes())
}

/// How many messages were dropped, by cause.
pub(crate) fn drops(totals: &Totals) -> impl Iterator<Item = (&'static str, u64)> {
    let by_cause = Dropped::ALL.map(|why| (why.name(), totals.dropped(why)));
    by_cause.into_iter().chain([("no_local", totals.dropped_no_local)])
}

/// The word for how the store is.
pub(crate) fn health_name(health: Option<Health>) -> &'static str {
    match health {
        None => "memory",
        Some(Health::Good) => "good",
        Some(Health::Behind) => "behind",
        Some(Health::Tight) => "tight",
        Some(Health::Full) => "full",
        Some(Health::Failing) => "failing",
    }
}

/// How long workers may take to show that they work.
const READY_TIMEOUT: Duration = Duration::from_secs(1);
