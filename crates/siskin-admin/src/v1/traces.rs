//! Traces: arming one, reading what it has noted, ending it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use siskin_core::Now;
use siskin_proto::TopicFilter;
use utoipa::{IntoParams, ToSchema};

use super::Count;
use crate::app::App;
use crate::failure::{Failure, Problem};
use crate::request::{Body, Path, Query};
use crate::traces::{self, End, Order, Stop};

/// Which messages are to be followed: those that fit all that is given.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// A filter that the topic matches.
    #[schema(example = "plant/+/load")]
    topic: Option<String>,
    /// The client that publishes.
    client_id: Option<String>,
    /// How many messages, up to 1,000.
    #[serde(default = "count")]
    #[schema(minimum = 1, maximum = 1000, default = 10)]
    count: u16,
    /// For how long, up to an hour.
    #[serde(default = "seconds")]
    #[schema(minimum = 1, maximum = 3600, default = 60)]
    seconds: u32,
}

/// A trace.
#[derive(Serialize, ToSchema)]
pub(super) struct Trace {
    id: u32,
    topic: Option<String>,
    client_id: Option<String>,
    count: u16,
    /// When it ends at the latest.
    until: String,
    /// Why it has ended: all messages were followed, its time was over, it was stopped, a worker did not answer. None
    /// while it goes on.
    ended: Option<End>,
    /// How many messages were followed.
    messages: usize,
    /// Stations of their ways, in the order in which they were noted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stations: Vec<Stop>,
    /// What to give as `after` to go on.
    next: usize,
    /// Whether there was more than is kept of a trace.
    cut: bool,
}

/// The trace that is armed and the last that have ended.
#[derive(Serialize, ToSchema)]
pub(super) struct Traces {
    traces: Vec<Trace>,
}

/// From where on stations are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct From {
    /// `next` of the answer before; without it, from the first.
    after: Option<usize>,
}

/// Follows messages from now on. It ends by itself; while it is armed no other can be.
#[utoipa::path(post, path = "/traces", tag = "messages", request_body = Wanted,
    responses((status = 201, body = Trace), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn arm(
    State(app): State<App>,
    Body(wanted): Body<Wanted>,
) -> Result<(StatusCode, Json<Trace>), Failure> {
    let order = wanted.check()?;
    let Some(id) = traces::arm(&app, order).await? else { return Err(busy(&app)) };
    let traces = app.traces();
    let trace = traces.find(id).ok_or_else(|| unknown(id))?;
    Ok((StatusCode::CREATED, Json(Trace::of(trace, None))))
}

/// The trace that is armed, if any, and the last that have ended, without their stations.
#[utoipa::path(get, path = "/traces", tag = "messages", responses((status = 200, body = Traces)))]
pub(super) async fn list(State(app): State<App>) -> Json<Traces> {
    Json(Traces { traces: app.traces().iter().map(|trace| Trace::of(trace, None)).collect() })
}

/// A trace with what it has noted.
#[utoipa::path(get, path = "/traces/{id}", tag = "messages", params(("id" = u32, Path), From),
    responses((status = 200, body = Trace), (status = 404, body = Problem)))]
pub(super) async fn one(
    State(app): State<App>,
    Path(id): Path<u32>,
    Query(from): Query<From>,
) -> Result<Json<Trace>, Failure> {
    let traces = app.traces();
    let trace = traces.find(id).ok_or_else(|| unknown(id))?;
    Ok(Json(Trace::of(trace, Some(from.after.unwrap_or(0)))))
}

/// Ends a trace, if it has not ended, and forgets it.
#[utoipa::path(delete, path = "/traces/{id}", tag = "messages", params(("id" = u32, Path)),
    responses((status = 200, body = Count), (status = 404, body = Problem)))]
pub(super) async fn remove(State(app): State<App>, Path(id): Path<u32>) -> Result<Json<Count>, Failure> {
    match traces::remove(&app, id).await {
        true => Ok(Json(Count { count: 1 })),
        false => Err(unknown(id)),
    }
}

impl Wanted {
    fn check(self) -> Result<Order, Failure> {
        let Self { topic, client_id, count, seconds } = self;
        if topic.is_none() && client_id.is_none() {
            return Err(Failure::bad_request("say which messages: `topic`, `client_id` or both"));
        }
        if let Some(filter) = &topic {
            let parsed = TopicFilter::parse(filter).map_err(|error| {
                Failure::bad_request(format!("`{filter}` is not a topic filter: {error}"))
            })?;
            if parsed.share().is_some() {
                return Err(Failure::bad_request("a trace takes the filter behind the name of the share"));
            }
        }
        if !(1..=COUNT_MAX).contains(&count) || !(1..=SECONDS_MAX).contains(&seconds) {
            return Err(Failure::bad_request(format!(
                "count is a number from 1 to {COUNT_MAX}, seconds from 1 to {SECONDS_MAX}"
            )));
        }
        Ok(Order { topic, client_id, count, seconds })
    }
}

impl Trace {
    /// With the stations after the first so many, if they are wanted.
    fn of(trace: &traces::Trace, after: Option<usize>) -> Self {
        let (stations, next) = trace.stations(after.unwrap_or(usize::MAX));
        Self {
            id: trace.id,
            topic: trace.order.topic.clone(),
            client_id: trace.order.client_id.clone(),
            count: trace.order.count,
            until: trace.until.rfc3339(),
            ended: trace.ended,
            messages: trace.messages(),
            stations: stations.to_vec(),
            next,
            cut: trace.is_cut,
        }
    }
}

/// Somebody else is at it.
fn busy(app: &App) -> Failure {
    let traces = app.traces();
    let Some(trace) = traces.armed() else { return Failure::unavailable("another trace is just ending") };
    let mut what = String::new();
    if let Some(topic) = &trace.order.topic {
        what.push_str(&format!(" on `{topic}`"));
    }
    if let Some(client_id) = &trace.order.client_id {
        what.push_str(&format!(" of `{client_id}`"));
    }
    let left = trace.until.ms_since(app.broker().now().min(trace.until)).div_ceil(1000);
    let (id, until) = (trace.id, Now::rfc3339(trace.until));
    Failure::conflict(format!(
        "trace {id} of messages{what} is armed, until {until} (in {left} s) at the latest; wait for it, or end it by \
         DELETE /api/v1/traces/{id}"
    ))
}

fn unknown(id: u32) -> Failure {
    Failure::not_found(format!("there is no trace {id}: only the last few are kept"))
}

fn count() -> u16 {
    10
}

fn seconds() -> u32 {
    60
}

/// Messages of one trace.
const COUNT_MAX: u16 = 1000;

/// Seconds that a trace may take.
const SECONDS_MAX: u32 = 3600;
