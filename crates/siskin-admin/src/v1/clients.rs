//! Clients: who is there, what is known of each, and how to be rid of one.

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use siskin_core::recorder::{Clock, Entry};
use siskin_core::{Cause, ClientView, Dropped, Limits, Now, SessionKey, WaitingView, Worker};
use siskin_proto::Version;
use utoipa::{IntoParams, ToSchema};

use super::{Count, Part, limit};
use crate::app::App;
use crate::failure::{Failure, Problem};
use crate::message::{MessageProperties, Text};
use crate::request::{Path, Queries, Query};
use crate::v1::subscriptions::Subscription;

/// Which clients are wanted: those that all of these fit.
#[derive(Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Part of the client id.
    client_id: Option<String>,
    /// The whole user name.
    user_name: Option<String>,
    /// The address that the client comes from.
    #[param(value_type = Option<String>)]
    ip: Option<IpAddr>,
    /// Whether the client is there.
    connected: Option<bool>,
    /// The version of MQTT that it speaks.
    #[param(example = "5.0")]
    version: Option<String>,
}

/// A session, and its client if that is there.
#[derive(Serialize, ToSchema)]
pub(super) struct Client {
    client_id: String,
    /// The user name that it has proven to be its own; none of a client that was let in without proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_name: Option<String>,
    connected: bool,
    /// The version of MQTT it speaks or spoke.
    #[schema(example = "5.0")]
    version: String,
    /// The worker that the session belongs to.
    worker: u16,
    /// Where the client comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connected_at: Option<String>,
    /// When its last packet came.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_packet_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnected_at: Option<String>,
    /// When the session ends if the client does not come back.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// How long the session outlives its connection; without a value for ever.
    session_expiry_s: Option<u32>,
    /// Whether the session survives the broker.
    stored: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    clean_start: Option<bool>,
    /// The keep alive in force; 0 for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_alive_s: Option<u16>,
    subscriptions: usize,
    shared_subscriptions: u32,
    /// Messages that wait for it.
    queue_messages: usize,
    queue_bytes: u64,
    /// QoS 1 and 2 messages sent to it and not acknowledged.
    inflight: usize,
    /// How many of these there may be at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    inflight_max: Option<u16>,
    /// QoS 2 messages from it that it has not released.
    awaiting_release: usize,
    /// Bytes that its transport has not taken yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    out_buffer_bytes: Option<usize>,
    has_will: bool,
    /// Traffic of this connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic: Option<Traffic>,
    /// Messages for or from it that were dropped, by cause; only causes that there were.
    dropped: BTreeMap<&'static str, u64>,
}

/// What came from a client and was sent to it since it connected.
#[derive(Serialize, ToSchema)]
struct Traffic {
    messages_received: u64,
    messages_sent: u64,
    bytes_received: u64,
    bytes_sent: u64,
}

/// A part of the list of clients.
#[derive(Serialize, ToSchema)]
pub(super) struct Clients {
    clients: Vec<Client>,
    /// The cursor of the next part; none at the end. A part may be short and still not be the last.
    next: Option<String>,
}

/// What happened to a client, as the flight recorder remembers it.
#[derive(Serialize, ToSchema)]
pub(super) struct Story {
    client_id: String,
    /// Whether it is connected, and why or why not.
    headline: String,
    /// What all of it taken together comes to.
    findings: Vec<String>,
    /// One line for each thing that happened, oldest first.
    lines: Vec<String>,
    /// The same for programs.
    events: Vec<StoryEvent>,
}

/// Something that happened to a client, once or several times.
#[derive(Serialize, ToSchema)]
struct StoryEvent {
    /// When for the first time, in milliseconds since 1970.
    unix_ms: u64,
    /// When for the last time.
    until_unix_ms: u64,
    count: u64,
    /// What: `connected`, `refused`, `disconnected`, `subscribed`, `dropped` and so on.
    #[schema(example = "disconnected")]
    event: &'static str,
    /// What happened, in words.
    text: String,
}

/// How a story is told.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HowToTell {
    /// Seconds by which the times in sentences are ahead of UTC.
    #[param(default = 0, example = 3600)]
    utc_offset_s: Option<i32>,
}

/// The subscriptions of one client.
#[derive(Serialize, ToSchema)]
pub(super) struct ClientSubscriptions {
    subscriptions: Vec<Subscription>,
}

/// A message that waits for a client.
#[derive(Serialize, ToSchema)]
struct Waiting {
    /// None if the message lies in the store alone.
    topic: Option<String>,
    /// Up to 1 KiB of the payload, if it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    /// How the payload stands here: `plain` or `base64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_encoding: Option<crate::message::Coding>,
    /// That the payload goes on; left out if it does not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    qos: u8,
    retain: bool,
    /// Bytes that it holds in the broker.
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    received_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    properties: Option<MessageProperties>,
}

/// Messages that wait for a client.
#[derive(Serialize, ToSchema)]
pub(super) struct WaitingMessages {
    /// How many there are in all.
    count: usize,
    messages: Vec<Waiting>,
}

/// Which waiting messages are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichWaiting {
    /// How many of them are passed over, from the oldest on.
    #[param(default = 0)]
    from: Option<usize>,
    /// How many at most, up to 1,000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<usize>,
    /// Whether the beginning of each payload is wanted too.
    #[param(default = false)]
    payload: Option<bool>,
}

impl Wanted {
    fn compile(&self) -> Result<impl Fn(&ClientView) -> bool + Clone + Send + 'static, Failure> {
        let Self { client_id, user_name, ip, connected, version } = self.clone();
        let version = version.map(|text| parse_version(&text)).transpose()?;
        Ok(move |client: &ClientView| {
            let connection = client.connection.as_ref();
            client_id.as_ref().is_none_or(|part| client.client_id.contains(part.as_str()))
                && user_name.as_deref().is_none_or(|name| client.user_name.as_deref() == Some(name))
                && ip.is_none_or(|ip| connection.and_then(|connection| connection.origin.ip()) == Some(ip))
                && connected.is_none_or(|connected| connection.is_some() == connected)
                && version.is_none_or(|version| client.version == version)
        })
    }
}

impl Client {
    fn of(view: &ClientView) -> Self {
        let connection = view.connection.as_ref();
        let dropped = Dropped::ALL.iter().zip(view.dropped).filter(|(_, count)| *count > 0);
        Self {
            client_id: view.client_id.to_string(),
            user_name: view.user_name.as_deref().map(str::to_owned),
            connected: connection.is_some(),
            version: view.version.to_string(),
            worker: view.key.worker(),
            address: connection.map(|connection| connection.origin.to_string()),
            connected_at: connection.map(|connection| connection.since.rfc3339()),
            last_packet_at: connection.map(|connection| connection.last_packet_at.rfc3339()),
            disconnected_at: view.left_at.map(Now::rfc3339),
            expires_at: view.expires_at.map(Now::rfc3339),
            session_expiry_s: Some(view.expiry_s).filter(|expiry| *expiry != u32::MAX),
            stored: view.is_stored,
            clean_start: connection.map(|connection| connection.clean_start),
            keep_alive_s: connection.map(|connection| connection.keep_alive_s),
            subscriptions: view.subscriptions,
            shared_subscriptions: view.shared_subscriptions,
            queue_messages: view.queue_messages,
            queue_bytes: view.queue_bytes,
            inflight: view.inflight,
            inflight_max: connection.map(|connection| connection.window),
            awaiting_release: view.receiving,
            out_buffer_bytes: connection.map(|connection| connection.out_buffer_bytes),
            has_will: view.has_will,
            traffic: connection.map(|connection| Traffic {
                messages_received: connection.messages_received,
                messages_sent: connection.messages_sent,
                bytes_received: connection.bytes_received,
                bytes_sent: connection.bytes_sent,
            }),
            dropped: dropped.map(|(why, count)| (why.name(), count)).collect(),
        }
    }
}

/// Sessions with their clients, in no order.
#[utoipa::path(get, path = "/clients", tag = "clients", params(Wanted, Part),
    responses((status = 200, body = Clients), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Queries(wanted, part): Queries<Wanted, Part>,
) -> Result<Json<Clients>, Failure> {
    clients(&app, &part, wanted.compile()?).await
}

/// Sessions that outlive their connections, in no order.
#[utoipa::path(get, path = "/sessions", tag = "clients", params(Wanted, Part),
    responses((status = 200, body = Clients), (status = 400, body = Problem)))]
pub(super) async fn sessions(
    State(app): State<App>,
    Queries(wanted, part): Queries<Wanted, Part>,
) -> Result<Json<Clients>, Failure> {
    let is_wanted = wanted.compile()?;
    clients(&app, &part, move |client| client.expiry_s > 0 && is_wanted(client)).await
}

async fn clients(
    app: &App,
    part: &Part,
    is_wanted: impl Fn(&ClientView) -> bool + Clone + Send + 'static,
) -> Result<Json<Clients>, Failure> {
    let page = app.broker().clients(part.cursor()?, part.limit()?, is_wanted).await?;
    let clients = page.items.iter().map(Client::of).collect();
    Ok(Json(Clients { clients, next: page.next.map(|cursor| cursor.to_string()) }))
}

/// One session with its client.
#[utoipa::path(get, path = "/clients/{client_id}", tag = "clients", params(("client_id" = String, Path)),
    responses((status = 200, body = Client), (status = 404, body = Problem)))]
pub(super) async fn one(
    State(app): State<App>,
    Path(client_id): Path<String>,
) -> Result<Json<Client>, Failure> {
    let view = app.broker().client(&client_id).await?.ok_or_else(|| Failure::no_client(&client_id))?;
    Ok(Json(Client::of(&view)))
}

/// Ends a client's connection. Its session stays if it is one that outlives it. The count is 0 if the client was not
/// there.
#[utoipa::path(delete, path = "/clients/{client_id}", tag = "clients", params(("client_id" = String, Path)),
    responses((status = 200, body = Count), (status = 404, body = Problem)))]
pub(super) async fn kick(
    State(app): State<App>,
    Path(client_id): Path<String>,
) -> Result<Json<Count>, Failure> {
    let was_there = end(&app, &client_id).await?;
    let was_there = was_there.ok_or_else(|| Failure::no_client(&client_id))?;
    Ok(Json(Count { count: was_there.into() }))
}

/// Ends a client's connection and says whether it had one; None if there is no session.
pub(crate) async fn end(app: &App, client_id: &str) -> Result<Option<bool>, Failure> {
    let end = |worker: &mut Worker, key: SessionKey, now: Now| {
        let was_there = worker.client_of(key)?.connection.is_some();
        worker.disconnect(key, Cause::Administrative, now);
        Some(was_there)
    };
    let ended = app.broker().ask_owner(client_id, end).await?.flatten();
    if ended == Some(true) {
        tracing::info!(client = client_id, "an operator ends the connection of a client");
    }
    Ok(ended)
}

/// What happened to a client, be it there or gone, in sentences.
#[utoipa::path(get, path = "/clients/{client_id}/story", tag = "clients",
    params(("client_id" = String, Path), HowToTell),
    responses((status = 200, body = Story), (status = 404, body = Problem)))]
pub(super) async fn story(
    State(app): State<App>,
    Path(client_id): Path<String>,
    Query(how): Query<HowToTell>,
) -> Result<Json<Story>, Failure> {
    let worker = app.broker().shared().owner(&client_id).map_or(0, SessionKey::worker);
    let id = client_id.clone();
    let story = app.broker().ask(worker, move |worker, _| worker.story(&id)).await?;
    let limits = app.broker().shared().limits();
    let story = story.ok_or_else(|| unknown(&client_id, &limits))?;
    let utc_offset_s = how.utc_offset_s.unwrap_or(0).clamp(-DAY_S, DAY_S);
    let clock = Clock { now: app.broker().now(), utc_offset_s };
    Ok(Json(Story {
        client_id,
        headline: story.headline(clock),
        findings: story.findings(&limits),
        lines: story.lines(clock),
        events: story.entries.iter().map(StoryEvent::of).collect(),
    }))
}

impl StoryEvent {
    fn of(entry: &Entry<'_>) -> Self {
        Self {
            unix_ms: entry.at.as_millis(),
            until_unix_ms: entry.until.as_millis(),
            count: entry.count,
            event: entry.what.name(),
            text: entry.to_string(),
        }
    }
}

/// There is no story of a client: it never came, or it is too long ago.
fn unknown(client_id: &str, limits: &Limits) -> Failure {
    let kept = match limits.recorder_enabled {
        true => format!(
            "no client of that id came since the broker was started, or its story had to make room: those of the last \
             {} clients that are gone are kept, within {} MiB",
            limits.recorder_clients_max,
            limits.recorder_bytes_max.div_ceil(1024 * 1024),
        ),
        false => "it has no session, and without recorder.enabled nothing is kept of clients that are gone"
            .to_owned(),
    };
    Failure::not_found(format!("nothing is known of `{client_id}`: {kept}"))
}

/// Up to 1,000 subscriptions of a client, in no order. Those of one who has more are in the list of all subscriptions.
#[utoipa::path(get, path = "/clients/{client_id}/subscriptions", tag = "clients",
    params(("client_id" = String, Path)),
    responses((status = 200, body = ClientSubscriptions), (status = 404, body = Problem)))]
pub(super) async fn subscriptions(
    State(app): State<App>,
    Path(client_id): Path<String>,
) -> Result<Json<ClientSubscriptions>, Failure> {
    let ask = |worker: &mut Worker, key, _| worker.subscriptions_of(key, SUBSCRIPTIONS_MAX);
    let views =
        app.broker().ask_owner(&client_id, ask).await?.ok_or_else(|| Failure::no_client(&client_id))?;
    let subscriptions = views.iter().map(|view| Subscription::of(&client_id, view)).collect();
    Ok(Json(ClientSubscriptions { subscriptions }))
}

/// Messages that wait for a client, oldest first.
#[utoipa::path(get, path = "/clients/{client_id}/queue", tag = "clients",
    params(("client_id" = String, Path), WhichWaiting),
    responses((status = 200, body = WaitingMessages), (status = 404, body = Problem)))]
pub(super) async fn queue(
    State(app): State<App>,
    Path(client_id): Path<String>,
    Query(which): Query<WhichWaiting>,
) -> Result<Json<WaitingMessages>, Failure> {
    waiting(&app, &client_id, &which, |worker, key, from, most| {
        (worker.client_of(key).map_or(0, |client| client.queue_messages), worker.queue_of(key, from, most))
    })
    .await
}

/// QoS 1 and 2 messages that were sent to a client and not acknowledged, oldest first.
#[utoipa::path(get, path = "/clients/{client_id}/inflight", tag = "clients",
    params(("client_id" = String, Path), WhichWaiting),
    responses((status = 200, body = WaitingMessages), (status = 404, body = Problem)))]
pub(super) async fn inflight(
    State(app): State<App>,
    Path(client_id): Path<String>,
    Query(which): Query<WhichWaiting>,
) -> Result<Json<WaitingMessages>, Failure> {
    waiting(&app, &client_id, &which, |worker, key, from, most| {
        let mut messages = worker.inflight_of(key, from.saturating_add(most));
        (
            worker.client_of(key).map_or(0, |client| client.inflight),
            messages.split_off(from.min(messages.len())),
        )
    })
    .await
}

async fn waiting(
    app: &App,
    client_id: &str,
    which: &WhichWaiting,
    look: impl FnOnce(&Worker, SessionKey, usize, usize) -> (usize, Vec<WaitingView>) + Send + 'static,
) -> Result<Json<WaitingMessages>, Failure> {
    let (from, most) = (which.from.unwrap_or(0), limit(which.limit)?.min(WAITING_MAX));
    let ask = move |worker: &mut Worker, key, _| look(worker, key, from, most);
    let found = app.broker().ask_owner(client_id, ask).await?;
    let (count, views) = found.ok_or_else(|| Failure::no_client(client_id))?;
    let now = app.broker().now();
    let has_payload = which.payload.unwrap_or(false);
    let messages = views.iter().map(|view| Waiting::of(view, has_payload, now)).collect();
    Ok(Json(WaitingMessages { count, messages }))
}

impl Waiting {
    fn of(view: &WaitingView, has_payload: bool, now: Now) -> Self {
        let message = view.message.as_ref();
        let payload = message
            .filter(|_| has_payload)
            .map(|message| Text::beginning(message.payload(), PAYLOAD_BYTES_MAX));
        Self {
            topic: message.map(|message| message.topic().to_owned()),
            payload_encoding: payload.as_ref().map(|payload| payload.coding),
            truncated: payload.as_ref().is_some_and(|payload| payload.is_cut),
            payload: payload.map(|payload| payload.text),
            qos: view.qos as u8,
            retain: view.retain,
            bytes: view.bytes,
            received_at: message.map(|message| message.received_at().rfc3339()),
            properties: message.map(|message| MessageProperties::of(message, now)),
        }
    }
}

/// `3.1`, `3.1.1`, `5` or `5.0`.
fn parse_version(text: &str) -> Result<Version, Failure> {
    match text {
        "3.1" => Ok(Version::V3_1),
        "3.1.1" => Ok(Version::V3_1_1),
        "5" | "5.0" => Ok(Version::V5),
        _ => Err(Failure::bad_request(format!("`{text}` is not one of the versions 3.1, 3.1.1 and 5.0"))),
    }
}

/// Seconds of a day: no time zone is further from UTC.
const DAY_S: i32 = 86_400;

/// Subscriptions of one client in one answer: what a worker looks up within a millisecond.
const SUBSCRIPTIONS_MAX: usize = 1000;

/// Waiting messages in one answer.
const WAITING_MAX: usize = 1000;

/// Bytes of a payload that are shown beside others.
const PAYLOAD_BYTES_MAX: usize = 1024;
