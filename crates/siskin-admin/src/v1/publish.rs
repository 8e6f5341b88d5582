//! Publishing a message without being a client.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use siskin_core::{Now, Parts, Published, Worker};
use siskin_proto::Qos;
use utoipa::ToSchema;

use crate::app::App;
use crate::failure::{Failure, Problem};
use crate::message::{self, Coding, MessageProperties};
use crate::request::Body;

/// A message to be published.
#[derive(Deserialize, ToSchema)]
pub(super) struct Publish {
    #[schema(example = "home/light")]
    topic: String,
    /// The payload; with RETAIN, an empty one ends what is retained.
    #[serde(default)]
    #[schema(example = "on")]
    payload: String,
    /// How the payload stands here: `plain` or `base64`.
    #[serde(default)]
    payload_encoding: Coding,
    #[serde(default)]
    #[schema(maximum = 2)]
    qos: u8,
    #[serde(default)]
    retain: bool,
    #[serde(default)]
    properties: MessageProperties,
}

/// What became of a message.
#[derive(Serialize, ToSchema)]
pub(super) struct Receipt {
    /// Whether any subscription matches it.
    matched: bool,
}

/// A message as it is published.
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) properties: MessageProperties,
}

/// Publishes a message. The answer comes when it is as safe as a client's would be at its PUBACK.
#[utoipa::path(post, path = "/publish", tag = "messages", request_body = Publish,
    responses((status = 200, body = Receipt), (status = 400, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn publish(
    State(app): State<App>,
    Body(publish): Body<Publish>,
) -> Result<Json<Receipt>, Failure> {
    let Publish { topic, payload, payload_encoding, qos, retain, properties } = publish;
    let payload = message::bytes(payload, payload_encoding)?;
    let outgoing = Outgoing { topic, payload, qos: message::qos(qos)?, retain, properties };
    let matched = send(&app, outgoing).await?;
    Ok(Json(Receipt { matched }))
}

/// Publishes a message and waits until it is safe. Whether any subscription matches it.
pub(crate) async fn send(app: &App, outgoing: Outgoing) -> Result<bool, Failure> {
    let properties = outgoing.properties.encode()?;
    let publish = move |worker: &mut Worker, now: Now| {
        let parts = Parts {
            topic: &outgoing.topic,
            properties: properties.as_properties(),
            payload: &outgoing.payload,
            qos: outgoing.qos,
            retain: outgoing.retain,
            publisher: None,
            received_at: now,
            expires_at: outgoing.properties.message_expiry_interval.map(|s| now.plus_s(s)),
            kept_until: None,
            record: None,
        };
        worker.publish_as_operator(parts, now)
    };
    let (published, ticket) = app.broker().ask(0, publish).await??;
    if let Some(ticket) = ticket {
        app.broker().safe(ticket).await?;
    }
    Ok(published == Published::Routed)
}
