//! Publishing and retained messages in EMQX's shape.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64ct::{Base64, Encoding as _};
use serde::Deserialize;
use serde_json::{Value, json};
use siskin_core::Message;
use siskin_proto::{Reason, TopicFilter, TopicName};
use utoipa::{IntoParams, ToSchema};

use super::{List, PageAndLimit};
use crate::app::App;
use crate::failure::{Failure, Problem};
use crate::message::{self, Coding, MessageProperties};
use crate::request::{Body, Path, Queries};
use crate::v1::publish::{Outgoing, send};
use crate::v1::retained;

/// A message to be published.
#[derive(Deserialize, ToSchema)]
pub(super) struct Publish {
    topic: String,
    #[serde(default)]
    payload: String,
    #[serde(default)]
    payload_encoding: Coding,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    retain: bool,
    #[serde(default)]
    properties: Properties,
}

/// The properties of a message to be published. Unlike a packet, EMQX wants user properties as an object.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct Properties {
    payload_format_indicator: Option<u8>,
    message_expiry_interval: Option<u32>,
    response_topic: Option<String>,
    correlation_data: Option<String>,
    content_type: Option<String>,
    user_properties: BTreeMap<String, String>,
}

/// Publishes a message: 200 where somebody has it, 202 where nobody has subscribed to it.
#[utoipa::path(post, path = "/publish", tag = "v5", request_body = Publish,
    responses((status = 200, body = Value), (status = 202, body = Value), (status = 400, body = Problem)))]
pub(super) async fn publish(
    State(app): State<App>,
    Body(publish): Body<Publish>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let matched = send(&app, outgoing(publish)?).await?;
    Ok(answer(&[matched], |mut receipts| receipts.remove(0)))
}

/// Publishes messages in their order, up to the first that cannot be.
#[utoipa::path(post, path = "/publish/bulk", tag = "v5", request_body = Vec<Publish>,
    responses((status = 200, body = Value), (status = 202, body = Value), (status = 400, body = Problem)))]
pub(super) async fn publish_many(
    State(app): State<App>,
    Body(publishes): Body<Vec<Publish>>,
) -> Result<(StatusCode, Json<Value>), Failure> {
    let outgoing: Vec<_> = publishes.into_iter().map(outgoing).collect::<Result<_, _>>()?;
    let mut matched = Vec::new();
    for outgoing in outgoing {
        matched.push(send(&app, outgoing).await?);
    }
    Ok(answer(&matched, Value::Array))
}

fn outgoing(publish: Publish) -> Result<Outgoing, Failure> {
    let Publish { topic, payload, payload_encoding, qos, retain, properties } = publish;
    Ok(Outgoing {
        topic,
        payload: message::bytes(payload, payload_encoding)?,
        qos: message::qos(qos)?,
        retain,
        properties: MessageProperties {
            payload_format_indicator: properties.payload_format_indicator,
            message_expiry_interval: properties.message_expiry_interval,
            content_type: properties.content_type,
            response_topic: properties.response_topic,
            correlation_data: properties.correlation_data,
            user_properties: properties.user_properties,
        },
    })
}

/// One receipt for each message, by whether anybody has it.
fn answer(matched: &[bool], shape: impl FnOnce(Vec<Value>) -> Value) -> (StatusCode, Json<Value>) {
    let receipt = |matched: &bool| match matched {
        true => json!({ "reason_code": 0, "message": "success" }),
        false => json!({
            "reason_code": Reason::NoMatchingSubscribers as u8,
            "message": "no_matching_subscribers",
        }),
    };
    let status = if matched.contains(&false) { StatusCode::ACCEPTED } else { StatusCode::OK };
    (status, Json(shape(matched.iter().map(receipt).collect())))
}

/// Which retained messages are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// A topic filter.
    topic: Option<String>,
}

/// Retained messages, without their payloads, in the order of topics.
#[utoipa::path(get, path = "/mqtt/retainer/messages", tag = "v5", params(Wanted, PageAndLimit),
    responses((status = 200, body = List), (status = 400, body = Problem)))]
pub(super) async fn retained(
    State(app): State<App>,
    Queries(wanted, which): Queries<Wanted, PageAndLimit>,
) -> Result<Json<List>, Failure> {
    let mut gathering = which.begin()?;
    let filter = wanted.topic.as_deref().unwrap_or("#");
    if TopicFilter::parse(filter).is_err() {
        return Err(Failure::bad_request(format!("`{filter}` is no topic filter")));
    }
    let mut after = None;
    loop {
        let most = gathering.missing().min(PAGE);
        let (messages, next) = retained::page(&app, filter, after, most);
        messages.iter().for_each(|message| gathering.add(|| describe(message, false)));
        after = next;
        if after.is_none() || gathering.is_full() {
            return Ok(Json(gathering.finish(None)));
        }
    }
}

/// One retained message with its payload, in Base64.
#[utoipa::path(get, path = "/mqtt/retainer/message/{topic}", tag = "v5", params(("topic" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = Problem)))]
pub(super) async fn retained_one(
    State(app): State<App>,
    Path(topic): Path<String>,
) -> Result<Json<Value>, Failure> {
    let message = retained::get(&app, &topic).ok_or_else(|| nothing(&topic))?;
    Ok(Json(describe(&message, true)))
}

/// Forgets one retained message. Subscribers are not told.
#[utoipa::path(delete, path = "/mqtt/retainer/message/{topic}", tag = "v5", params(("topic" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn forget(State(app): State<App>, Path(topic): Path<String>) -> Result<StatusCode, Failure> {
    if TopicName::parse(&topic).is_err() {
        return Err(Failure::bad_request(format!("`{topic}` is no topic name")));
    }
    match retained::clear(&app, &topic).await? {
        0 => Err(nothing(&topic)),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

fn nothing(topic: &str) -> Failure {
    Failure::not_found(format!("no message is retained for `{topic}`"))
}

fn describe(message: &Message, has_payload: bool) -> Value {
    let mut value = json!({
        "topic": message.topic(),
        "qos": message.qos() as u8,
        "publish_at": message.received_at().rfc3339(),
        "from_clientid": null,
        "from_username": null,
    });
    if has_payload {
        value["payload"] = json!(Base64::encode_string(message.payload()));
    }
    value
}

/// Messages asked for at once.
const PAGE: usize = 1000;
