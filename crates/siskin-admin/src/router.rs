//! Where paths meet what answers them.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::failure::{Failure, Problem};
use crate::guard::guard;
use crate::{dashboard, metrics, v1, v5};

#[derive(OpenApi)]
#[openapi(
    info(title = "Siskin admin API", description = "What a Siskin MQTT broker tells operators, and does for them."),
    components(schemas(Problem)),
    tags(
        (name = "broker", description = "The broker as a whole"),
        (name = "clients", description = "Clients and their sessions"),
        (name = "subscriptions", description = "Who has subscribed to what"),
        (name = "retained", description = "Retained messages"),
        (name = "messages", description = "Publishing"),
        (name = "v5", description = "The shapes of EMQX's API, for scripts that know it"),
    )
)]
struct Document;

/// Everything that is answered.
pub(crate) fn build(app: App) -> Router {
    let (api, document) = OpenApiRouter::with_openapi(Document::openapi())
        .nest("/api/v1", v1::routes())
        .nest("/api/v5", v5::routes())
        .split_for_parts();
    let document: Arc<str> = document.to_json().unwrap_or_default().into();
    let openapi = move || async move {
        ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], document.to_string())
    };
    api.route("/api/openapi.json", get(openapi))
        .route("/metrics", get(metrics::all))
        .route("/api/v5/prometheus/stats", get(metrics::emqx))
        .route("/status", get(v5::status_text))
        .merge(dashboard::routes())
        .fallback(async || {
            Failure::not_found("there is nothing here; / is the dashboard, /api/openapi.json has all paths")
        })
        .method_not_allowed_fallback(async || Failure::bad_method())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(app.clone(), guard))
        .layer(middleware::from_fn(harden))
        .with_state(app)
}

/// What keeps a browser from making more of an answer than it is.
async fn harden(request: axum::extract::Request, next: Next) -> Response {
    let mut response = next.run(request).await.into_response();
    let headers = response.headers_mut();
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Bytes of a request's body: a message of some megabytes in Base64.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
