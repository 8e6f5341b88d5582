//! How much the broker's log says.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use siskin_server::config::LogLevel;
use utoipa::ToSchema;

use crate::app::App;
use crate::failure::{Failure, Problem};
use crate::request::Body;

/// How grave a line of the log must be to be shown.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Level {
    /// `error`, `warn`, `info`, `debug` or `trace`.
    #[schema(example = "debug")]
    level: String,
}

/// How grave a line of the log must be to be shown.
#[utoipa::path(get, path = "/log-level", tag = "broker", responses((status = 200, body = Level)))]
pub(super) async fn read(State(app): State<App>) -> Json<Level> {
    Json(Level { level: app.broker().log_level().name().to_owned() })
}

/// Shows more or less of the log from now on, until the broker is started again.
#[utoipa::path(put, path = "/log-level", tag = "broker", request_body = Level,
    responses((status = 200, body = Level), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn write(State(app): State<App>, Body(wanted): Body<Level>) -> Result<Json<Level>, Failure> {
    let known = LogLevel::ALL.into_iter().find(|level| level.name() == wanted.level);
    let level = known.ok_or_else(|| {
        Failure::bad_request(format!("`{}` is not one of error, warn, info, debug and trace", wanted.level))
    })?;
    app.broker().set_log_level(level).map_err(|error| Failure::conflict(error.to_string()))?;
    tracing::warn!("an operator has the log show lines of level {} and graver ones", level.name());
    Ok(Json(wanted))
}
