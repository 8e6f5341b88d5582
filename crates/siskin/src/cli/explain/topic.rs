//! `siskin explain topic`: who would receive a message, and who would not.

use super::super::ctl::text;
use super::{Api, Failure, View};

/// Tell who would receive a message on a topic, and who would not
///
/// By which filter and at which QoS, what would become of it for each, and by which rule others may not receive it. Nothing
/// is published. A line that begins with `!` is about one that does not get it although it has subscribed.
#[derive(clap::Args)]
pub(super) struct Topic {
    /// Topic name
    #[arg(allow_hyphen_values = true)]
    topic: String,

    /// Client id of the publisher: says whether it may, and heeds No Local
    #[arg(long = "from", value_name = "ID", allow_hyphen_values = true)]
    publisher: Option<String>,

    /// Receivers at most, of each worker of the broker
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

impl Topic {
    pub(super) fn run(&self, api: &Api, view: &mut View<'_>) -> Result<(), Failure> {
        let mut query = vec![("topic", self.topic.clone()), ("limit", self.limit.to_string())];
        query.extend(self.publisher.clone().map(|publisher| ("publisher", publisher)));
        view.show(&api.get("/api/v1/explain/topic", &query)?, |answer, out| {
            for line in answer["text"].as_str().unwrap_or_default().lines() {
                writeln!(out, "{}", text(&line.into()))?;
            }
            Ok(())
        })
    }
}
