//! The configuration read anew.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use siskin_server::{Change, ReloadError};
use utoipa::ToSchema;

use crate::app::App;
use crate::failure::{Failure, Problem};

/// What came of reading the configuration anew.
#[derive(Serialize, ToSchema)]
pub(super) struct Reloaded {
    /// What is in force now and was not before.
    changed: Vec<Difference>,
    /// What differs from what is in force, and needs a restart.
    restart: Vec<Difference>,
    /// All of it in a few words.
    #[schema(example = "1 changed, 0 to wait for a restart")]
    summary: String,
}

/// A setting that differs.
#[derive(Serialize, ToSchema)]
pub(super) struct Difference {
    #[schema(example = "limits.queue_messages_max")]
    name: String,
    /// Its value before, `***` for a secret.
    #[schema(example = "10000")]
    from: String,
    /// Its value now.
    #[schema(example = "20000")]
    to: String,
}

/// Reads the configuration and the files it names anew, as SIGHUP does. If anything is wrong nothing changes.
#[utoipa::path(post, path = "/reload", tag = "broker",
    responses((status = 200, body = Reloaded), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn reload(State(app): State<App>) -> Result<Json<Reloaded>, Failure> {
    let broker = app.broker().clone();
    // Files are read, and others wait for this thread.
    let reloaded = tokio::task::spawn_blocking(move || broker.try_reload()).await;
    let reloaded = reloaded.map_err(|_| Failure::unavailable("the reload did not come to its end"))?;
    match reloaded {
        Ok(reloaded) => Ok(Json(Reloaded {
            summary: reloaded.summary(),
            changed: reloaded.changed.into_iter().map(Difference::from).collect(),
            restart: reloaded.restart.into_iter().map(Difference::from).collect(),
        })),
        Err(ReloadError::NoSource) => Err(Failure::unavailable(ReloadError::NoSource.to_string())),
        Err(ReloadError::UnderWay) => Err(Failure::conflict(ReloadError::UnderWay.to_string())),
        Err(wrong @ ReloadError::Wrong(_)) => Err(Failure::bad_configuration(wrong.to_string())),
    }
}

impl From<Change> for Difference {
    fn from(Change { name, from, to }: Change) -> Self {
        Self { name, from, to }
    }
}
