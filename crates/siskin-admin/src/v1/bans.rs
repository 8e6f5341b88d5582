//! Who may not connect.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use siskin_core::Now;
use siskin_server::config;
use siskin_server::config::Banned;
use utoipa::{IntoParams, ToSchema};

use super::{Count, limit};
use crate::app::App;
use crate::failure::{Failure, Problem};
use crate::request::{Body, Query};

/// One who may not connect: one of client id, user name and address is there.
#[derive(Serialize, ToSchema)]
struct Ban {
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_name: Option<String>,
    /// An address or a network, or `unix`.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    reason: String,
    /// When it is over; none for never.
    until: Option<String>,
}

/// A part of the list of bans.
#[derive(Serialize, ToSchema)]
pub(super) struct Bans {
    bans: Vec<Ban>,
    /// `after` of the next part; none at the end.
    next: Option<usize>,
}

/// Which part of the list is wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// How many at most, up to 10,000.
    #[param(minimum = 1, maximum = 10000, default = 100)]
    limit: Option<usize>,
    /// `next` of the part before.
    after: Option<usize>,
}

/// Whom a ban is about: one of these.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Whom {
    client_id: Option<String>,
    user_name: Option<String>,
    /// An address or a network, or `unix`.
    #[param(example = "203.0.113.0/24")]
    address: Option<String>,
}

/// A ban to be made: of one of client id, user name and address.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBan {
    client_id: Option<String>,
    user_name: Option<String>,
    /// An address or a network, or `unix`.
    #[schema(example = "203.0.113.0/24")]
    address: Option<String>,
    /// Why, for the log and for operators.
    #[serde(default)]
    reason: String,
    /// For how long; without it until the broker stops.
    #[schema(minimum = 1)]
    seconds: Option<u64>,
}

/// What a ban did.
#[derive(Serialize, ToSchema)]
pub(super) struct Disconnected {
    /// How many connections it ended.
    disconnected: usize,
}

/// The bans in force: those of the configuration, those made by this API, and those of clients that came again and again.
#[utoipa::path(get, path = "/bans", tag = "clients", params(Which),
    responses((status = 200, body = Bans), (status = 400, body = Problem)))]
pub(super) async fn list(State(app): State<App>, Query(which): Query<Which>) -> Result<Json<Bans>, Failure> {
    let (most, after) = (limit(which.limit)?, which.after.unwrap_or(0));
    let all = sorted(&app);
    let next = Some(after.saturating_add(most)).filter(|next| *next < all.len());
    let bans = all.into_iter().skip(after).take(most).map(Ban::of).collect();
    Ok(Json(Bans { bans, next }))
}

/// Keeps somebody out from now on, in place of an earlier ban of the same, and disconnects who is here. MQTT 5.0 clients
/// are told: by a DISCONNECT of 0x98 and a reason string, and by a CONNACK of 0x8A (Banned) when they come again. The ban
/// ends with the broker.
#[utoipa::path(post, path = "/bans", tag = "clients", request_body = NewBan,
    responses((status = 201, body = Disconnected), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn ban(
    State(app): State<App>,
    Body(new): Body<NewBan>,
) -> Result<(StatusCode, Json<Disconnected>), Failure> {
    let NewBan { client_id, user_name, address, reason, seconds } = new;
    let who = whom(Whom { client_id, user_name, address })?;
    if seconds == Some(0) {
        return Err(Failure::bad_request(
            "a ban lasts a second at least; leave `seconds` out for one without end",
        ));
    }
    let disconnected = app.broker().ban(who, seconds.map(Duration::from_secs), &reason).await?;
    Ok((StatusCode::CREATED, Json(Disconnected { disconnected })))
}

/// Ends a ban.
#[utoipa::path(delete, path = "/bans", tag = "clients", params(Whom),
    responses((status = 200, body = Count), (status = 404, body = Problem)))]
pub(super) async fn unban(
    State(app): State<App>,
    Query(whom_to): Query<Whom>,
) -> Result<Json<Count>, Failure> {
    let who = whom(whom_to)?;
    match app.broker().unban(&who) {
        true => Ok(Json(Count { count: 1 })),
        false => Err(Failure::not_found(format!("the {who} is not banned"))),
    }
}

/// All bans in force: of client ids, of user names, of addresses.
pub(crate) fn sorted(app: &App) -> Vec<config::Ban> {
    let mut all = app.broker().bans();
    all.sort_by_cached_key(|ban| match &ban.who {
        Banned::Client(id) => (0, id.clone()),
        Banned::User(name) => (1, name.clone()),
        Banned::Address(network) => (2, network.to_string()),
    });
    all
}

fn whom(whom: Whom) -> Result<Banned, Failure> {
    match whom {
        Whom { client_id: Some(id), user_name: None, address: None } => Ok(Banned::Client(id)),
        Whom { client_id: None, user_name: Some(name), address: None } => Ok(Banned::User(name)),
        Whom { client_id: None, user_name: None, address: Some(address) } => {
            Ok(Banned::Address(address.parse().map_err(Failure::bad_request)?))
        }
        _ => Err(Failure::bad_request("a ban is about one of `client_id`, `user_name` and `address`")),
    }
}

impl Ban {
    fn of(ban: config::Ban) -> Self {
        let (mut client_id, mut user_name, mut address) = (None, None, None);
        match ban.who {
            Banned::Client(id) => client_id = Some(id),
            Banned::User(name) => user_name = Some(name),
            Banned::Address(network) => address = Some(network.to_string()),
        }
        Self { client_id, user_name, address, reason: ban.reason, until: ban.until.map(Now::rfc3339) }
    }
}
