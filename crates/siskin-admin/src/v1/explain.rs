//! Who would receive a message on a topic, and who would not.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use siskin_core::Origin;
use siskin_core::explain::{DeniedView, GroupView, PublisherView, ReceiverView, TopicView};
use utoipa::{IntoParams, ToSchema};

use super::limit;
use crate::app::App;
use crate::failure::{Failure, Problem};
use crate::request::Query;

/// Which topic is to be explained.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// A topic name.
    #[param(example = "plant/press-2/load")]
    topic: String,
    /// The client id of whoever would publish: says whether it may, and heeds No Local.
    publisher: Option<String>,
    /// How many receivers of each worker at most, up to 10,000.
    #[param(minimum = 1, maximum = 10000, default = 100)]
    limit: Option<usize>,
}

/// Who would receive a message on a topic.
#[derive(Serialize, ToSchema)]
pub(super) struct Topic {
    topic: String,
    /// All of this in sentences.
    text: String,
    /// Sessions with subscriptions of their own that match.
    receivers: Vec<Receiver>,
    /// Shared subscriptions that match: one member of each gets the message.
    groups: Vec<Group>,
    /// Sessions that have subscribed and may not receive it.
    denied: Vec<Denied>,
    /// Whether the client named as publisher may publish; none if it has no session, or none was named.
    publisher: Option<Publisher>,
    /// Whether a message is retained on the topic.
    retained: bool,
    /// Receivers that are not in the list for their number.
    left_out: usize,
}

/// A session that would have the message.
#[derive(Serialize, ToSchema)]
struct Receiver {
    client_id: String,
    connected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// The QoS granted, the highest of the subscriptions that match.
    qos: u8,
    /// The filters that match.
    filters: Vec<String>,
    /// Messages that wait for it already.
    queue_messages: usize,
    /// What would become of the message: `sent`, `queued`, `queue_full`, `slow_reader`, `missed` or `no_local`.
    outlook: &'static str,
    /// The same in words.
    because: String,
}

/// A shared subscription that matches.
#[derive(Serialize, ToSchema)]
struct Group {
    filter: String,
    /// How many take turns: the members that are connected, or all if none is.
    candidates: usize,
    members: Vec<Receiver>,
}

/// A session that has subscribed and may not receive the message.
#[derive(Serialize, ToSchema)]
struct Denied {
    client_id: String,
    connected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// The filters that match.
    filters: Vec<String>,
    /// The rule that decides it.
    because: String,
}

/// Whether a client may publish on the topic.
#[derive(Serialize, ToSchema)]
struct Publisher {
    client_id: String,
    allowed: bool,
    /// The rule that decides it.
    because: String,
}

/// Who would receive a message on a topic, by which filter and at which QoS, what would become of it for each, and who
/// may not receive it by which rule.
#[utoipa::path(get, path = "/explain/topic", tag = "broker", params(Which),
    responses((status = 200, body = Topic), (status = 400, body = Problem)))]
pub(super) async fn topic(
    State(app): State<App>,
    Query(which): Query<Which>,
) -> Result<Json<Topic>, Failure> {
    let Which { topic, publisher, limit: most } = which;
    let most = limit(most)?;
    let (name, from) = (topic.clone(), publisher.clone());
    let answers =
        app.broker().ask_all(move |worker, _| worker.explain_topic(&name, from.as_deref(), most)).await?;
    let mut all: Option<TopicView> = None;
    for view in answers {
        let view =
            view.map_err(|error| Failure::bad_request(format!("`{topic}` is not a topic name: {error}")))?;
        match &mut all {
            Some(all) => all.join(view),
            None => all = Some(view),
        }
    }
    let mut view = all.unwrap_or_default();
    view.receivers.sort_by(|a, b| a.client_id.cmp(&b.client_id));
    view.denied.sort_by(|a, b| a.client_id.cmp(&b.client_id));
    let mut text = view.tell();
    if let Some(id) = publisher.filter(|_| view.publisher.is_none()) {
        text.push_str(&format!("  whether '{id}' may publish it is not known: it has no session\n"));
    }
    Ok(Json(Topic::of(view, text)))
}

impl Topic {
    fn of(view: TopicView, text: String) -> Self {
        let TopicView { topic, receivers, groups, denied, left_out, is_retained, publisher, .. } = view;
        Self {
            topic,
            text,
            receivers: receivers.iter().map(Receiver::of).collect(),
            groups: groups.iter().map(Group::of).collect(),
            denied: denied.into_iter().map(Denied::of).collect(),
            publisher: publisher.map(Publisher::of),
            retained: is_retained,
            left_out,
        }
    }
}

impl Receiver {
    fn of(view: &ReceiverView) -> Self {
        Self {
            client_id: view.client_id.to_string(),
            connected: view.origin.is_some(),
            address: view.origin.as_ref().map(Origin::to_string),
            qos: view.qos as u8,
            filters: view.subscriptions.iter().map(|subscription| subscription.filter.to_string()).collect(),
            queue_messages: view.queue_messages,
            outlook: view.outlook.name(),
            because: view.outlook.to_string(),
        }
    }
}

impl Group {
    fn of(view: &GroupView) -> Self {
        Self {
            filter: view.filter.to_string(),
            candidates: view.candidates,
            members: view.members.iter().map(Receiver::of).collect(),
        }
    }
}

impl Denied {
    fn of(view: DeniedView) -> Self {
        Self {
            client_id: view.client_id.to_string(),
            connected: view.origin.is_some(),
            address: view.origin.as_ref().map(Origin::to_string),
            filters: view.filters.iter().map(ToString::to_string).collect(),
            because: view.because,
        }
    }
}

impl Publisher {
    fn of(view: PublisherView) -> Self {
        Self { client_id: view.client_id.to_string(), allowed: view.is_allowed, because: view.because }
    }
}
