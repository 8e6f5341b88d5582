//! Clients in EMQX's shape.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use siskin_core::{ClientView, Limits, Now, SubscriptionView, Worker};
use siskin_server::Cursor;
use utoipa::IntoParams;

use super::subscriptions::describe as describe_subscription;
use super::{List, PageAndLimit};
use crate::app::App;
use crate::failure::{Failure, Problem};
use crate::request::{Body, Path, Queries};
use crate::v1::clients::end;

/// Which clients are wanted: those that all of these fit.
#[derive(Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    clientid: Option<String>,
    like_clientid: Option<String>,
    username: Option<String>,
    like_username: Option<String>,
    #[param(value_type = Option<String>)]
    ip_address: Option<IpAddr>,
    /// `connected`, `idle` or `disconnected`.
    conn_state: Option<String>,
    proto_ver: Option<u8>,
    clean_start: Option<bool>,
}

impl Wanted {
    fn is_empty(&self) -> bool {
        let Self {
            clientid,
            like_clientid,
            username,
            like_username,
            ip_address,
            conn_state,
            proto_ver,
            clean_start,
        } = self;
        clientid.is_none()
            && like_clientid.is_none()
            && username.is_none()
            && like_username.is_none()
            && ip_address.is_none()
            && conn_state.is_none()
            && proto_ver.is_none()
            && clean_start.is_none()
    }

    fn fits(&self, client: &ClientView) -> bool {
        let connection = client.connection.as_ref();
        let user = client.user_name.as_deref();
        let state = if connection.is_some() { "connected" } else { "disconnected" };
        self.clientid.as_ref().is_none_or(|id| **id == *client.client_id)
            && self.like_clientid.as_ref().is_none_or(|part| client.client_id.contains(part.as_str()))
            && self.username.as_deref().is_none_or(|name| user == Some(name))
            && self.like_username.as_deref().is_none_or(|part| user.is_some_and(|user| user.contains(part)))
            && self.ip_address.is_none_or(|ip| connection.and_then(|c| c.origin.ip()) == Some(ip))
            && self.conn_state.as_ref().is_none_or(|wanted| wanted == state)
            && self.proto_ver.is_none_or(|level| client.version.level() == level)
            && self.clean_start.is_none_or(|wanted| connection.is_some_and(|c| c.clean_start == wanted))
    }
}

/// Clients, in no order.
#[utoipa::path(get, path = "/clients", tag = "v5", params(Wanted, PageAndLimit),
    responses((status = 200, body = List), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Queries(wanted, which): Queries<Wanted, PageAndLimit>,
) -> Result<Json<List>, Failure> {
    let mut gathering = which.begin()?;
    let count = wanted.is_empty().then(|| app.broker().shared().totals().sessions as usize);
    let (node, limits) = (app.broker().shared().node().name.clone(), app.broker().shared().limits());
    let mut next = Some(Cursor::default());
    while let Some(from) = next.filter(|_| !gathering.is_full()) {
        let fits = wanted.clone();
        let most = gathering.missing().min(PAGE);
        let page = app.broker().clients(from, most, move |client| fits.fits(client)).await?;
        page.items.iter().for_each(|client| gathering.add(|| describe(client, &node, &limits)));
        next = page.next;
    }
    Ok(Json(gathering.finish(count)))
}

/// One client.
#[utoipa::path(get, path = "/clients/{clientid}", tag = "v5", params(("clientid" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = Problem)))]
pub(super) async fn one(
    State(app): State<App>,
    Path(clientid): Path<String>,
) -> Result<Json<Value>, Failure> {
    let client = app.broker().client(&clientid).await?.ok_or_else(|| no_client(&clientid))?;
    let shared = app.broker().shared();
    Ok(Json(describe(&client, &shared.node().name, &shared.limits())))
}

/// Ends a client's connection.
#[utoipa::path(delete, path = "/clients/{clientid}", tag = "v5", params(("clientid" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn kick(
    State(app): State<App>,
    Path(clientid): Path<String>,
) -> Result<StatusCode, Failure> {
    match end(&app, &clientid).await? {
        Some(true) => Ok(StatusCode::NO_CONTENT),
        _ => Err(no_client(&clientid)),
    }
}

/// Ends the connections of several clients; those that are not there are passed over.
#[utoipa::path(post, path = "/clients/kickout/bulk", tag = "v5", request_body = Vec<String>,
    responses((status = 204), (status = 400, body = Problem)))]
pub(super) async fn kick_many(
    State(app): State<App>,
    Body(clientids): Body<Vec<String>>,
) -> Result<StatusCode, Failure> {
    for clientid in &clientids {
        end(&app, clientid).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Up to 1,000 subscriptions of a client.
#[utoipa::path(get, path = "/clients/{clientid}/subscriptions", tag = "v5",
    params(("clientid" = String, Path)), responses((status = 200, body = Value), (status = 404, body = Problem)))]
pub(super) async fn subscriptions(
    State(app): State<App>,
    Path(clientid): Path<String>,
) -> Result<Json<Value>, Failure> {
    let ask = |worker: &mut Worker, key, _| worker.subscriptions_of(key, SUBSCRIPTIONS_MAX);
    let found = app.broker().ask_owner(&clientid, ask).await?.ok_or_else(|| no_client(&clientid))?;
    let node = &app.broker().shared().node().name;
    let describe = |view: &SubscriptionView| describe_subscription(&clientid, view, node);
    Ok(Json(found.iter().map(describe).collect()))
}

fn no_client(clientid: &str) -> Failure {
    Failure::no_client(clientid).coded("CLIENTID_NOT_FOUND")
}

fn describe(client: &ClientView, node: &str, limits: &Limits) -> Value {
    let connection = client.connection.as_ref();
    let (ip, port) = match connection.map(|connection| connection.origin) {
        Some(siskin_core::Origin::Address(ip, port)) => (ip.to_string(), port),
        _ => (String::new(), 0),
    };
    json!({
        "node": node,
        "clientid": &*client.client_id,
        "username": client.user_name.as_deref(),
        "ip_address": ip,
        "port": port,
        "proto_name": client.version.protocol_name(),
        "proto_ver": client.version.level(),
        "connected": connection.is_some(),
        "connected_at": connection.map(|connection| connection.since.rfc3339()),
        "disconnected_at": client.left_at.map(Now::rfc3339),
        "keepalive": connection.map_or(0, |connection| connection.keep_alive_s),
        "clean_start": connection.is_some_and(|connection| connection.clean_start),
        "expiry_interval": client.expiry_s,
        "durable": client.is_stored,
        "is_bridge": false,
        "is_expired": false,
        "subscriptions_cnt": client.subscriptions,
        "subscriptions_max": limits.subscriptions_max,
        "inflight_cnt": client.inflight,
        "inflight_max": connection.map_or(0, |connection| connection.window),
        "mqueue_len": client.queue_messages,
        "mqueue_max": limits.queue_messages_max,
        "mqueue_dropped": client.dropped[siskin_core::Dropped::QueueFull as usize],
        "awaiting_rel_cnt": client.receiving,
        "awaiting_rel_max": limits.receive_maximum,
        "recv_oct": connection.map_or(0, |connection| connection.bytes_received),
        "send_oct": connection.map_or(0, |connection| connection.bytes_sent),
        "recv_msg": connection.map_or(0, |connection| connection.messages_received),
        "send_msg": connection.map_or(0, |connection| connection.messages_sent),
    })
}

/// Clients asked for at once.
const PAGE: usize = 2000;

/// Subscriptions of one client in one answer.
const SUBSCRIPTIONS_MAX: usize = 1000;
