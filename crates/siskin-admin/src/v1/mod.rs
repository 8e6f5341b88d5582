//! Our own API: plain names, units in the names, lists in pages.

pub(crate) mod bans;
pub(crate) mod clients;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod log_level;
mod memory;
pub(crate) mod overview;
pub(crate) mod publish;
pub(crate) mod reload;
pub(crate) mod retained;
pub(crate) mod subscriptions;
pub(crate) mod traces;

use serde::{Deserialize, Serialize};
use siskin_server::Cursor;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::failure::Failure;

/// All paths below `/api/v1`.
pub(crate) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(overview::health))
        .routes(routes!(overview::ready))
        .routes(routes!(overview::stats))
        .routes(routes!(overview::rates))
        .routes(routes!(overview::top))
        .routes(routes!(memory::memory))
        .routes(routes!(overview::store))
        .routes(routes!(overview::listeners))
        .routes(routes!(overview::config))
        .routes(routes!(log_level::read, log_level::write))
        .routes(routes!(reload::reload))
        .routes(routes!(clients::list))
        .routes(routes!(clients::sessions))
        .routes(routes!(clients::one, clients::kick))
        .routes(routes!(clients::story))
        .routes(routes!(clients::subscriptions))
        .routes(routes!(clients::queue))
        .routes(routes!(clients::inflight))
        .routes(routes!(bans::list, bans::ban, bans::unban))
        .routes(routes!(subscriptions::list))
        .routes(routes!(subscriptions::topics))
        .routes(routes!(retained::list, retained::delete))
        .routes(routes!(retained::one))
        .routes(routes!(publish::publish))
        .routes(routes!(events::events))
        .routes(routes!(explain::topic))
        .routes(routes!(traces::list, traces::arm))
        .routes(routes!(traces::one, traces::remove))
}

/// Which part of a list is wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Part {
    /// How many items at most, up to 10,000.
    #[param(minimum = 1, maximum = 10000, default = 100)]
    limit: Option<usize>,
    /// Where to go on: `next` of the part before.
    cursor: Option<String>,
}

impl Part {
    fn limit(&self) -> Result<usize, Failure> {
        limit(self.limit)
    }

    fn cursor(&self) -> Result<Cursor, Failure> {
        self.cursor
            .as_deref()
            .map_or(Ok(Cursor::default()), |text| text.parse().map_err(Failure::bad_request))
    }
}

fn limit(limit: Option<usize>) -> Result<usize, Failure> {
    match limit.unwrap_or(LIMIT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        other => {
            Err(Failure::bad_request(format!("limit is a number from 1 to {LIMIT_MAX}, and not {other}")))
        }
    }
}

/// That something was done.
#[derive(Serialize, ToSchema)]
pub(super) struct Count {
    /// How many it was done to.
    count: usize,
}

/// Items of a list, if nobody says how many.
const LIMIT: usize = 100;

/// The most items of a list in one answer.
const LIMIT_MAX: usize = 10_000;
