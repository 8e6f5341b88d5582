//! Subscriptions, and the filters that they are to.

use super::{Api, Column, Extent, Failure, View};

/// Which subscriptions are wanted.
#[derive(clap::Args)]
pub(super) struct List {
    /// Only those of this client id
    #[arg(long, value_name = "ID")]
    client: Option<String>,

    /// Only those with this in their filter
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,

    /// Only those that match this topic
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,

    #[command(flatten)]
    extent: Extent,
}

/// Which filters are wanted.
#[derive(clap::Args)]
pub(super) struct Topics {
    /// Only those with this in them
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,

    #[command(flatten)]
    extent: Extent,
}

impl List {
    pub(super) fn run(&self, api: &Api, view: &mut View<'_>) -> Result<(), Failure> {
        let filters = [("client_id", &self.client), ("filter", &self.filter), ("topic", &self.topic)];
        let query: Vec<_> =
            filters.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
        let whole = self.extent.read(api, "/api/v1/subscriptions", &query, ("subscriptions", "cursor"))?;
        whole.show(view, "subscriptions", COLUMNS)
    }
}

impl Topics {
    pub(super) fn run(&self, api: &Api, view: &mut View<'_>) -> Result<(), Failure> {
        let query: Vec<_> = self.filter.clone().map(|filter| ("filter", filter)).into_iter().collect();
        let whole = self.extent.read(api, "/api/v1/topics", &query, ("topics", "after"))?;
        whole.show(view, "topics", TOPICS)
    }
}

pub(super) const COLUMNS: &[Column] = &[
    Column::text("CLIENT ID", "/client_id"),
    Column::text("QOS", "/qos"),
    Column::text("NO LOCAL", "/no_local"),
    Column::text("ID", "/subscription_id"),
    Column::text("FILTER", "/filter"),
];

const TOPICS: &[Column] = &[Column::number("SUBSCRIBERS", "/subscribers"), Column::text("FILTER", "/filter")];
