//! Subscriptions and topics in EMQX's shape.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use siskin_core::SubscriptionView;
use siskin_proto::{TopicFilter, TopicName};
use siskin_server::Cursor;
use utoipa::IntoParams;

use super::{List, PageAndLimit};
use crate::app::App;
use crate::failure::{Failure, Problem};
use crate::request::{Queries, Query};
use crate::v1::subscriptions::{count, handling};

/// Which subscriptions are wanted: those that all of these fit.
#[derive(Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    clientid: Option<String>,
    qos: Option<u8>,
    /// The whole filter, without the share.
    topic: Option<String>,
    /// A topic name that the filter matches.
    match_topic: Option<String>,
    /// The name of the share.
    share_group: Option<String>,
}

impl Wanted {
    fn is_empty(&self) -> bool {
        let Self { clientid, qos, topic, match_topic, share_group } = self;
        clientid.is_none()
            && qos.is_none()
            && topic.is_none()
            && match_topic.is_none()
            && share_group.is_none()
    }

    fn fits(&self, client_id: &str, view: &SubscriptionView) -> bool {
        let Ok(filter) = TopicFilter::parse(&view.filter) else { return false };
        let is_match = |topic: &String| TopicName::parse(topic).is_ok_and(|topic| filter.matches(topic));
        self.clientid.as_ref().is_none_or(|clientid| clientid == client_id)
            && self.qos.is_none_or(|qos| view.options.qos as u8 == qos)
            && self.topic.as_ref().is_none_or(|topic| topic == filter.filter())
            && self.match_topic.as_ref().is_none_or(is_match)
            && self.share_group.as_ref().is_none_or(|group| filter.share() == Some(group.as_str()))
    }
}

/// Subscriptions of all clients, in no order.
#[utoipa::path(get, path = "/subscriptions", tag = "v5", params(Wanted, PageAndLimit),
    responses((status = 200, body = List), (status = 400, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Queries(wanted, which): Queries<Wanted, PageAndLimit>,
) -> Result<Json<List>, Failure> {
    let mut gathering = which.begin()?;
    let count = wanted.is_empty().then(|| app.broker().shared().router.subscriptions());
    let node = &app.broker().shared().node().name;
    let mut next = Some(Cursor::default());
    while let Some(from) = next.filter(|_| !gathering.is_full()) {
        let fits = wanted.clone();
        let most = gathering.missing().min(PAGE);
        let page = app.broker().subscriptions(from, most, move |id, view| fits.fits(id, view)).await?;
        for item in &page.items {
            gathering.add(|| describe(&item.client_id, &item.subscription, node));
        }
        next = page.next;
    }
    Ok(Json(gathering.finish(count)))
}

/// A subscription.
pub(super) fn describe(client_id: &str, view: &SubscriptionView, node: &str) -> Value {
    json!({
        "clientid": client_id,
        "topic": &*view.filter,
        "qos": view.options.qos as u8,
        "nl": u8::from(view.options.no_local),
        "rap": u8::from(view.options.retain_as_published),
        "rh": handling(view.options.retain_handling),
        "node": node,
    })
}

/// Filters that somebody has subscribed to, sorted, without the names of shares.
#[utoipa::path(get, path = "/topics", tag = "v5", params(PageAndLimit),
    responses((status = 200, body = List), (status = 400, body = Problem)))]
pub(super) async fn topics(
    State(app): State<App>,
    Query(which): Query<PageAndLimit>,
) -> Result<Json<List>, Failure> {
    let mut gathering = which.begin()?;
    let (all, is_complete) = count(app.broker(), None).await?;
    let node = &app.broker().shared().node().name;
    let filters: BTreeSet<_> = all.keys().map(|text| unshared(text)).collect();
    filters.iter().for_each(|filter| gathering.add(|| json!({ "topic": filter, "node": node })));
    Ok(Json(gathering.finish(is_complete.then_some(filters.len()))))
}

fn unshared(filter: &str) -> &str {
    TopicFilter::parse(filter).map_or(filter, |parsed| parsed.filter())
}

/// Subscriptions asked for at once.
const PAGE: usize = 5000;
