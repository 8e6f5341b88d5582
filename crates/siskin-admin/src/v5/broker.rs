//! The node, which is all of the cluster, and its numbers.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Number, Value, json};
use siskin_core::Worker;
use siskin_server::config::{Place, Protocol};
use utoipa::{IntoParams, ToSchema};

use crate::app::App;
use crate::failure::{Failure, Problem};
use crate::request::{Body, Path, Query};
use crate::v1::overview;

/// That the broker runs, as text.
#[utoipa::path(get, path = "/status", tag = "v5", responses((status = 200, body = String)))]
pub(super) async fn status(State(app): State<App>) -> String {
    status_text(State(app)).await
}

/// The same at `/status`, where EMQX has it too.
pub(crate) async fn status_text(State(app): State<App>) -> String {
    format!("Node {} is started\nsiskin is running\n", app.broker().shared().node().name)
}

/// A user and the password.
#[derive(Deserialize, ToSchema)]
pub(super) struct LogIn {
    username: String,
    password: String,
}

/// A token for a user and a password. It is good for an hour.
#[utoipa::path(post, path = "/login", tag = "v5", request_body = LogIn,
    responses((status = 200, body = Value), (status = 401, body = Problem)))]
pub(super) async fn login(State(app): State<App>, Body(log_in): Body<LogIn>) -> Result<Json<Value>, Failure> {
    let token = app.credentials().log_in(&log_in.username, &log_in.password).await;
    let token = token.ok_or_else(|| {
        app.credentials().report_wrong();
        Failure::unauthorized("wrong user or password").coded("BAD_USERNAME_OR_PWD")
    })?;
    Ok(Json(json!({
        "token": token,
        "version": app.broker().shared().node().version,
        "license": { "edition": "opensource" },
    })))
}

/// The nodes of the cluster: this one.
#[utoipa::path(get, path = "/nodes", tag = "v5", responses((status = 200, body = Value)))]
pub(super) async fn nodes(State(app): State<App>) -> Json<Value> {
    Json(json!([describe(&app)]))
}

/// One node.
#[utoipa::path(get, path = "/nodes/{node}", tag = "v5", params(("node" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = Problem)))]
pub(super) async fn node(State(app): State<App>, Path(node): Path<String>) -> Result<Json<Value>, Failure> {
    if app.broker().shared().node().name != node {
        return Err(Failure::not_found(format!("there is no node `{node}`")));
    }
    Ok(Json(describe(&app)))
}

fn describe(app: &App) -> Value {
    let broker = app.broker();
    let (node, totals, process) = (broker.shared().node(), broker.shared().totals(), broker.process());
    json!({
        "node": node.name,
        "node_status": "running",
        "role": "core",
        "version": node.version,
        "edition": "Opensource",
        "uptime": overview::uptime(broker).as_millis() as u64,
        "connections": totals.sessions,
        "live_connections": totals.connections,
        "cluster_sessions": totals.sessions,
        "memory_used": process.resident_bytes,
        "max_fds": broker.files().max,
    })
}

/// Whether numbers are those of the cluster or one list for each node.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Aggregate {
    /// Those of the cluster.
    #[param(default = false)]
    aggregate: Option<bool>,
}

/// What there is now, and the most there was.
#[utoipa::path(get, path = "/stats", tag = "v5", params(Aggregate), responses((status = 200, body = Value)))]
pub(super) async fn stats(
    State(app): State<App>,
    Query(how): Query<Aggregate>,
) -> Result<Json<Value>, Failure> {
    numbers(&app, "stats/", how.aggregate.unwrap_or(false)).await
}

/// What was done since the start.
#[utoipa::path(get, path = "/metrics", tag = "v5", params(Aggregate), responses((status = 200, body = Value)))]
pub(super) async fn metrics(
    State(app): State<App>,
    Query(how): Query<Aggregate>,
) -> Result<Json<Value>, Failure> {
    numbers(&app, "metrics/", how.aggregate.unwrap_or(false)).await
}

/// The `$SYS` topics of this node below `part`, with dots in their names.
async fn numbers(app: &App, part: &str, is_aggregate: bool) -> Result<Json<Value>, Failure> {
    let values = app.broker().ask(0, Worker::system_values).await?;
    let node = &app.broker().shared().node().name;
    let root = format!("$SYS/brokers/{node}/{part}");
    let mut numbers = Map::new();
    for (topic, value) in values {
        if let (Some(name), Ok(number)) = (topic.strip_prefix(&root), value.parse::<u64>()) {
            numbers.insert(name.replace('/', "."), Value::Number(Number::from(number)));
        }
    }
    if is_aggregate {
        return Ok(Json(Value::Object(numbers)));
    }
    numbers.insert("node".to_owned(), json!(node));
    Ok(Json(json!([numbers])))
}

/// Where clients come in.
#[utoipa::path(get, path = "/listeners", tag = "v5", responses((status = 200, body = Value)))]
pub(super) async fn listeners(State(app): State<App>) -> Json<Value> {
    let listeners = app.broker().listeners().into_iter().map(|view| {
        let kind = match (&view.listener.protocol, view.listener.tls.is_some()) {
            (Protocol::Mqtt, false) => "tcp",
            (Protocol::Mqtt, true) => "ssl",
            (Protocol::WebSocket(_), false) => "ws",
            (Protocol::WebSocket(_), true) => "wss",
        };
        let (bind, name) = match &view.listener.place {
            Place::Address(address) => (address.to_string(), address.port().to_string()),
            Place::Unix { path, .. } => (path.display().to_string(), path.display().to_string()),
        };
        let max = view.listener.connections_max;
        json!({
            "id": format!("{kind}:{name}"),
            "type": kind,
            "name": name,
            "bind": bind,
            "enable": true,
            "running": true,
            "status": {
                "running": true,
                "current_connections": view.connections,
                "max_connections": if max == 0 { json!("infinity") } else { json!(max) },
            },
            "current_connections": view.connections,
        })
    });
    Json(listeners.collect())
}
