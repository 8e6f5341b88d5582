//! `/metrics`: what is counted, in the text format of Prometheus.
//!
//! Our own names come from one [table](own), each with its unit and help. Two other families are for boards that
//! are there already: the names of mosquitto-exporter and those of EMQX are the `$SYS` topics in other letters.
//! The text is written by hand because these families need names that no library for new metrics gives: counters
//! without `_total`.

mod own;
mod system;
mod text;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::failure::Failure;
use own::Reading;
use text::Text;

/// The families that the configuration names.
pub(crate) async fn all(State(app): State<App>) -> Result<Response, Failure> {
    let families = app.broker().config().admin.metrics;
    let mut text = Text::default();
    if families.siskin {
        own::write(&Reading::of(app.broker()), &mut text);
    }
    if families.mosquitto || families.emqx {
        let values = app.broker().ask(0, siskin_core::Worker::system_values).await?;
        if families.mosquitto {
            system::write_mosquitto(&values, &mut text);
        }
        if families.emqx {
            system::write_emqx(&app, &values, &mut text);
        }
    }
    Ok(answer(text))
}

/// EMQX's names, where its own path is asked for.
pub(crate) async fn emqx(State(app): State<App>) -> Result<Response, Failure> {
    let values = app.broker().ask(0, siskin_core::Worker::system_values).await?;
    let mut text = Text::default();
    system::write_emqx(&app, &values, &mut text);
    Ok(answer(text))
}

fn answer(text: Text) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], text.finish()).into_response()
}
