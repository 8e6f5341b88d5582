//! Bans in EMQX's shape.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use siskin_core::Now;
use siskin_server::config::{Ban, Banned, Network};
use utoipa::ToSchema;

use super::{List, PageAndLimit};
use crate::app::App;
use crate::failure::{Failure, Problem};
use crate::request::{Body, Path, Query};
use crate::v1::bans::sorted;

/// A ban to be made.
#[derive(Deserialize, ToSchema)]
pub(super) struct NewBan {
    /// `clientid`, `username`, `peerhost` or `peerhost_net`.
    #[serde(rename = "as")]
    kind: String,
    who: String,
    #[serde(default)]
    reason: String,
    /// When it is over; without it, never.
    until: Option<Until>,
}

/// A moment, in seconds since 1970 or like `2030-12-31T12:00:00Z`; `infinity` is none.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum Until {
    Seconds(u64),
    Text(String),
}

impl Until {
    fn moment(self) -> Option<Result<Now, Failure>> {
        let text = match self {
            Self::Seconds(seconds) => return Some(Ok(Now::from_millis(seconds.saturating_mul(1000)))),
            Self::Text(text) if text == "infinity" => return None,
            Self::Text(text) => text,
        };
        let moment = text.parse::<Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
        let wrong = || format!("`{text}` is not a date and time like 2030-12-31T12:00:00Z");
        Some(moment.map(Now::from_millis).ok_or_else(|| Failure::bad_request(wrong())))
    }
}

/// The bans in force.
#[utoipa::path(get, path = "/banned", tag = "v5", params(PageAndLimit),
    responses((status = 200, body = List), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Query(which): Query<PageAndLimit>,
) -> Result<Json<List>, Failure> {
    let mut gathering = which.begin()?;
    let all = sorted(&app);
    all.iter().for_each(|ban| gathering.add(|| describe(ban)));
    Ok(Json(gathering.finish(Some(all.len()))))
}

/// Keeps somebody out from now on and disconnects who is here.
#[utoipa::path(post, path = "/banned", tag = "v5", request_body = NewBan,
    responses((status = 200, body = Value), (status = 400, body = Problem)))]
pub(super) async fn ban(State(app): State<App>, Body(new): Body<NewBan>) -> Result<Json<Value>, Failure> {
    let who = banned(&new.kind, &new.who)?;
    if app.broker().bans().iter().any(|ban| ban.who == who) {
        return Err(Failure::already_exists(format!("the {who} is banned already")));
    }
    let until = new.until.and_then(Until::moment).transpose()?;
    let now = app.broker().now();
    if until.is_some_and(|until| until <= now) {
        return Err(Failure::bad_request("`until` is over"));
    }
    let time = until.map(|until| Duration::from_millis(until.ms_since(now)));
    app.broker().ban(who.clone(), time, &new.reason).await?;
    Ok(Json(describe(&Ban { who, until, reason: new.reason })))
}

/// Ends a ban.
#[utoipa::path(delete, path = "/banned/{as}/{who}", tag = "v5",
    params(("as" = String, Path), ("who" = String, Path)),
    responses((status = 204), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn unban(
    State(app): State<App>,
    Path((kind, who)): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    let who = banned(&kind, &who)?;
    match app.broker().unban(&who) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Failure::not_found(format!("the {who} is not banned"))),
    }
}

fn banned(kind: &str, who: &str) -> Result<Banned, Failure> {
    match kind {
        "clientid" => Ok(Banned::Client(who.to_owned())),
        "username" => Ok(Banned::User(who.to_owned())),
        "peerhost" | "peerhost_net" => {
            let network: Network = who.parse().map_err(Failure::bad_request)?;
            Ok(Banned::Address(network.canonical()))
        }
        other => Err(Failure::bad_request(format!(
            "`{other}` is not one of clientid, username, peerhost and peerhost_net"
        ))),
    }
}

fn describe(ban: &Ban) -> Value {
    let (kind, who) = match &ban.who {
        Banned::Client(id) => ("clientid", id.clone()),
        Banned::User(name) => ("username", name.clone()),
        Banned::Address(network) if network.to_string().contains('/') => {
            ("peerhost_net", network.to_string())
        }
        Banned::Address(network) => ("peerhost", network.to_string()),
    };
    let until = ban.until.map_or_else(|| "infinity".to_owned(), Now::rfc3339);
    json!({ "as": kind, "who": who, "reason": ban.reason, "until": until })
}
