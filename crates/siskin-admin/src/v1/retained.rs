//! Retained messages.

use std::sync::PoisonError;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use siskin_core::retained::Page;
use siskin_core::{Message, Now};
use siskin_proto::TopicFilter;
use utoipa::{IntoParams, ToSchema};

use super::{Count, limit};
use crate::app::App;
use crate::failure::{Failure, Problem};
use crate::message::{Coding, MessageProperties, Text};
use crate::request::Query;

/// A retained message.
#[derive(Serialize, ToSchema)]
pub(super) struct Retained {
    topic: String,
    qos: u8,
    /// Bytes of the payload.
    payload_bytes: usize,
    /// The payload, if it is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_encoding: Option<Coding>,
    /// That the payload goes on; left out if it does not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    received_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    properties: MessageProperties,
}

/// A part of the retained messages, in the order of topics.
#[derive(Serialize, ToSchema)]
pub(super) struct RetainedMessages {
    messages: Vec<Retained>,
    /// `after` of the next part; none at the end. A part may be short and still not be the last.
    next: Option<String>,
}

/// Which retained messages are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// A topic filter; as for subscribers, `#` does not match topics that begin with a `$`.
    #[param(default = "#")]
    filter: Option<String>,
    /// How many at most, up to 10,000; up to 100 with their payloads.
    #[param(minimum = 1, maximum = 10000, default = 100)]
    limit: Option<usize>,
    /// The topic to go on after: `next` of the part before.
    after: Option<String>,
    /// Whether payloads are wanted too; each is cut off after 64 KiB.
    #[param(default = false)]
    payload: Option<bool>,
}

/// Which retained message is wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichOne {
    topic: String,
}

/// Which retained messages are to go.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichToDelete {
    /// A topic or a topic filter.
    filter: String,
}

impl Retained {
    fn of(message: &Message, payload_bytes_max: usize, now: Now) -> Self {
        let payload = message.payload();
        let shown = (payload_bytes_max > 0).then(|| Text::beginning(payload, payload_bytes_max));
        Self {
            topic: message.topic().to_owned(),
            qos: message.qos() as u8,
            payload_bytes: payload.len(),
            payload_encoding: shown.as_ref().map(|shown| shown.coding),
            truncated: shown.as_ref().is_some_and(|shown| shown.is_cut),
            payload: shown.map(|shown| shown.text),
            received_at: message.received_at().rfc3339(),
            expires_at: message.expires_at().map(Now::rfc3339),
            properties: MessageProperties::of(message, now),
        }
    }
}

/// Retained messages by a filter.
#[utoipa::path(get, path = "/retained", tag = "retained", params(Which),
    responses((status = 200, body = RetainedMessages), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Query(which): Query<Which>,
) -> Result<Json<RetainedMessages>, Failure> {
    let filter = which.filter.as_deref().unwrap_or("#");
    check(filter)?;
    let has_payload = which.payload.unwrap_or(false);
    let most = limit(which.limit)?.min(if has_payload { WITH_PAYLOAD_MAX } else { usize::MAX });
    let (messages, next) = page(&app, filter, which.after, most);
    let payload_bytes_max = if has_payload { PAYLOAD_BYTES_MAX } else { 0 };
    let now = app.broker().now();
    let messages = messages.iter().map(|message| Retained::of(message, payload_bytes_max, now)).collect();
    Ok(Json(RetainedMessages { messages, next }))
}

/// One retained message with all of its payload.
#[utoipa::path(get, path = "/retained/message", tag = "retained", params(WhichOne),
    responses((status = 200, body = Retained), (status = 404, body = Problem)))]
pub(super) async fn one(
    State(app): State<App>,
    Query(which): Query<WhichOne>,
) -> Result<Json<Retained>, Failure> {
    let message = get(&app, &which.topic)
        .ok_or_else(|| Failure::not_found(format!("no message is retained for `{}`", which.topic)))?;
    Ok(Json(Retained::of(&message, usize::MAX, app.broker().now())))
}

/// Forgets retained messages. Subscribers are not told.
#[utoipa::path(delete, path = "/retained", tag = "retained", params(WhichToDelete),
    responses((status = 200, body = Count), (status = 400, body = Problem)))]
pub(super) async fn delete(
    State(app): State<App>,
    Query(which): Query<WhichToDelete>,
) -> Result<Json<Count>, Failure> {
    check(&which.filter)?;
    let count = clear(&app, &which.filter).await?;
    tracing::info!(filter = which.filter, count, "an operator deletes retained messages");
    Ok(Json(Count { count }))
}

/// The message retained for `topic`.
pub(crate) fn get(app: &App, topic: &str) -> Option<Message> {
    let now = app.broker().now();
    let retained = app.broker().shared().retained.read().unwrap_or_else(PoisonError::into_inner);
    retained.get(topic).filter(|message| !message.is_expired(now)).cloned()
}

/// Up to `most` retained messages that `filter` matches, after the topic `after`; and the topic to go on after. The
/// lock is let go between the parts of a long look.
pub(crate) fn page(
    app: &App,
    filter: &str,
    mut after: Option<String>,
    most: usize,
) -> (Vec<Message>, Option<String>) {
    let mut messages = Vec::new();
    for _ in 0..LOOKS {
        let page = Page { matches: most - messages.len(), visits: VISITS };
        let retained = app.broker().shared().retained.read().unwrap_or_else(PoisonError::into_inner);
        after = retained.page(filter, after.as_deref(), page, app.broker().now(), &mut messages);
        drop(retained);
        if after.is_none() || messages.len() >= most {
            break;
        }
    }
    (messages, after)
}

/// Forgets what is retained by `filter`, and waits until that is safe. How many there were.
pub(crate) async fn clear(app: &App, filter: &str) -> Result<usize, Failure> {
    let mut count = 0;
    let mut after = None;
    loop {
        let (messages, next) = page(app, filter, after, CLEARED_AT_ONCE);
        let topics: Vec<_> = messages.iter().map(|message| message.topic().to_owned()).collect();
        let (cleared, ticket) = app.broker().ask(0, move |worker, _| worker.clear_retained(&topics)).await?;
        count += cleared;
        if let Some(ticket) = ticket {
            app.broker().safe(ticket).await?;
        }
        if next.is_none() {
            return Ok(count);
        }
        after = next;
    }
}

/// Whether `filter` is one by which messages are retained.
fn check(filter: &str) -> Result<(), Failure> {
    if TopicFilter::parse(filter).is_ok_and(|filter| filter.share().is_none()) {
        return Ok(());
    }
    Err(Failure::bad_request(format!("`{filter}` is no topic filter that messages are retained by")))
}

/// Messages in one answer where payloads are wanted.
const WITH_PAYLOAD_MAX: usize = 100;

/// Bytes of a payload in a list.
const PAYLOAD_BYTES_MAX: usize = 64 * 1024;

/// Messages forgotten under one lock.
const CLEARED_AT_ONCE: usize = 64;

/// Topics looked at under one lock.
const VISITS: usize = 4096;

/// How often the lock is taken for one answer.
const LOOKS: usize = 256;
