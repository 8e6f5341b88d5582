//! What happens to clients: the latest, or while it happens.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use siskin_proto::TopicFilter;
use utoipa::{IntoParams, ToSchema};

use super::limit;
use crate::app::App;
use crate::events::{self, Event, Level, Wanted};
use crate::failure::{Failure, Problem};
use crate::request::Query;

/// Which events are wanted: those that fit all that is given.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// The whole client id.
    client_id: Option<String>,
    /// The address that the client comes from, a network, or `unix`.
    #[param(example = "192.0.2.0/24")]
    address: Option<String>,
    /// A filter: events that are about a topic that it matches, or about a filter that has a topic in common with it.
    topic: Option<String>,
    /// The least that an event must matter: `debug` (all), `info` or `warn`.
    #[param(default = "debug")]
    level: Option<String>,
    /// How many at most, up to 10,000; with `follow`, how many of those that were before.
    #[param(default = 100)]
    limit: Option<usize>,
    /// Whether to go on with what happens from now on.
    #[param(default = false)]
    follow: Option<bool>,
}

/// The latest events, oldest first.
#[derive(Serialize, ToSchema)]
pub(super) struct Events {
    events: Vec<Event>,
}

/// What happened to clients: the latest events that matter to others than the client itself; subscriptions are not among
/// them. With `follow` the answer does not end: a line of JSON for each event while it happens, subscriptions included,
/// and an empty one now and then. `{"event":"missed","count":7}` says that so many came faster than they were read.
#[utoipa::path(get, path = "/events", tag = "clients", params(Which),
    responses((status = 200, body = Events), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn events(State(app): State<App>, Query(which): Query<Which>) -> Result<Response, Failure> {
    if !app.broker().shared().limits().recorder_enabled {
        return Err(Failure::conflict("nothing is recorded: recorder.enabled is off"));
    }
    let (most, follow) = (which.limit, which.follow.unwrap_or(false));
    let wanted = which.check()?;
    if !follow {
        let events = events::latest(&app, &wanted, limit(most)?).await?;
        return Ok(Json(Events { events: events.iter().map(Event::of).collect() }).into_response());
    }
    let last = if most == Some(0) { 0 } else { limit(most)? };
    let lines = events::follow(&app, wanted, last).await?;
    let lines = lines.ok_or_else(|| Failure::conflict("as many follow events as may: end one of them"))?;
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(lines)).into_response())
}

impl Which {
    fn check(self) -> Result<Wanted, Failure> {
        let Self { client_id, address, topic, level, .. } = self;
        if let Some(filter) = &topic {
            TopicFilter::parse(filter).map_err(|error| {
                Failure::bad_request(format!("`{filter}` is not a topic filter: {error}"))
            })?;
        }
        let address = address.map(|text| text.parse().map_err(Failure::bad_request)).transpose()?;
        let level = match level.as_deref() {
            None | Some("debug") => Level::Debug,
            Some("info") => Level::Info,
            Some("warn") => Level::Warn,
            Some(other) => {
                return Err(Failure::bad_request(format!("`{other}` is not one of debug, info and warn")));
            }
        };
        Ok(Wanted { client_id, address, topic, level })
    }
}
