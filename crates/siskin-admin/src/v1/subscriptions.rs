//! Subscriptions of all clients, and what they are to.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use siskin_core::SubscriptionView;
use siskin_proto::{RetainHandling, TopicFilter, TopicName};
use siskin_server::{Broker, Cursor, Unanswered};
use utoipa::{IntoParams, ToSchema};

use super::{Part, limit};
use crate::app::App;
use crate::failure::{Failure, Problem};
use crate::request::{Queries, Query};

/// A subscription.
#[derive(Serialize, ToSchema)]
pub(super) struct Subscription {
    client_id: String,
    /// The whole filter, `$share/` and name included.
    filter: String,
    qos: u8,
    no_local: bool,
    retain_as_published: bool,
    /// 0 sends what is retained, 1 only if the subscription is new, 2 never.
    retain_handling: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_id: Option<u32>,
}

/// A part of the list of subscriptions.
#[derive(Serialize, ToSchema)]
pub(super) struct Subscriptions {
    subscriptions: Vec<Subscription>,
    /// The cursor of the next part; none at the end. A part may be short and still not be the last.
    next: Option<String>,
}

/// Which subscriptions are wanted: those that all of these fit.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The whole client id.
    client_id: Option<String>,
    /// Part of the filter.
    filter: Option<String>,
    /// A topic name that the filter matches.
    topic: Option<String>,
}

/// A filter that somebody has subscribed to.
#[derive(Serialize, ToSchema)]
struct Topic {
    filter: String,
    /// How many have.
    subscribers: usize,
}

/// The filters that somebody has subscribed to, sorted.
#[derive(Serialize, ToSchema)]
pub(super) struct Topics {
    topics: Vec<Topic>,
    /// `after` of the next part; none at the end.
    next: Option<String>,
    /// Whether all subscriptions were looked at. Beyond 200,000 the others are left out.
    complete: bool,
}

/// Which filters are wanted.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichTopics {
    /// Part of the filter.
    filter: Option<String>,
    /// How many at most, up to 10,000.
    #[param(minimum = 1, maximum = 10000, default = 100)]
    limit: Option<usize>,
    /// The filter to go on after: `next` of the part before.
    after: Option<String>,
}

impl Subscription {
    pub(super) fn of(client_id: &str, view: &SubscriptionView) -> Self {
        Self {
            client_id: client_id.to_owned(),
            filter: view.filter.to_string(),
            qos: view.options.qos as u8,
            no_local: view.options.no_local,
            retain_as_published: view.options.retain_as_published,
            retain_handling: handling(view.options.retain_handling),
            subscription_id: view.id.map(Into::into),
        }
    }
}

/// The number of a Retain Handling. [MQTT5 3.8.3.1]
pub(crate) fn handling(handling: RetainHandling) -> u8 {
    handling as u8
}

/// Subscriptions of all clients, in no order.
#[utoipa::path(get, path = "/subscriptions", tag = "subscriptions", params(Wanted, Part),
    responses((status = 200, body = Subscriptions), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Queries(wanted, part): Queries<Wanted, Part>,
) -> Result<Json<Subscriptions>, Failure> {
    if let Some(topic) = &wanted.topic
        && TopicName::parse(topic).is_err()
    {
        return Err(Failure::bad_request(format!("`{topic}` is no topic name")));
    }
    let Wanted { client_id, filter, topic } = wanted;
    let is_wanted = move |id: &str, view: &SubscriptionView| {
        client_id.as_ref().is_none_or(|client_id| client_id == id)
            && filter.as_ref().is_none_or(|part| view.filter.contains(part.as_str()))
            && topic.as_ref().is_none_or(|topic| is_match(&view.filter, topic))
    };
    let page = app.broker().subscriptions(part.cursor()?, part.limit()?, is_wanted).await?;
    let subscriptions =
        page.items.iter().map(|item| Subscription::of(&item.client_id, &item.subscription)).collect();
    Ok(Json(Subscriptions { subscriptions, next: page.next.map(|cursor| cursor.to_string()) }))
}

fn is_match(filter: &str, topic: &str) -> bool {
    match (TopicFilter::parse(filter), TopicName::parse(topic)) {
        (Ok(filter), Ok(topic)) => filter.matches(topic),
        _ => false,
    }
}

/// Filters that somebody has subscribed to.
#[utoipa::path(get, path = "/topics", tag = "subscriptions", params(WhichTopics),
    responses((status = 200, body = Topics), (status = 400, body = Problem)))]
pub(super) async fn topics(
    State(app): State<App>,
    Query(which): Query<WhichTopics>,
) -> Result<Json<Topics>, Failure> {
    let limit = limit(which.limit)?;
    let (all, complete) = count(app.broker(), which.filter).await?;
    let is_later = |filter: &String| which.after.as_ref().is_none_or(|after| filter > after);
    let mut rest = all.into_iter().filter(|(filter, _)| is_later(filter));
    let topics: Vec<_> =
        rest.by_ref().take(limit).map(|(filter, subscribers)| Topic { filter, subscribers }).collect();
    let next = rest.next().and_then(|_| topics.last().map(|topic| topic.filter.clone()));
    Ok(Json(Topics { topics, next, complete }))
}

/// The filters with `part` in them and how many have each, and whether these are all.
pub(crate) async fn count(
    broker: &Broker,
    part: Option<String>,
) -> Result<(BTreeMap<String, usize>, bool), Unanswered> {
    let mut all = BTreeMap::new();
    let mut looked_at = 0;
    let mut next = Some(Cursor::default());
    while let Some(from) = next {
        if looked_at >= SUBSCRIPTIONS_MAX {
            return Ok((all, false));
        }
        let part = part.clone();
        let is_wanted = move |_: &str, view: &SubscriptionView| {
            part.as_ref().is_none_or(|part| view.filter.contains(part.as_str()))
        };
        let page = broker.subscriptions(from, PAGE, is_wanted).await?;
        looked_at += page.items.len();
        for item in &page.items {
            *all.entry(item.subscription.filter.to_string()).or_default() += 1;
        }
        next = page.next;
    }
    Ok((all, true))
}

/// Subscriptions looked at for the list of filters.
const SUBSCRIPTIONS_MAX: usize = 200_000;

/// Subscriptions asked for at once.
const PAGE: usize = 5000;
