//! Retained messages.

use serde_json::Value;

use super::table::text;
use super::{Api, Column, Extent, Failure, View};

/// What is wanted of retained messages.
#[derive(clap::Subcommand)]
#[command(disable_help_subcommand = true)]
pub(super) enum Command {
    /// List them, by a topic filter
    List(List),
    /// Print the payload of one
    Get {
        /// Its topic
        topic: String,
    },
    /// Forget those of a topic or a topic filter; subscribers are not told
    Delete {
        /// The topic or filter; `#` for all but those that begin with a `$`
        filter: String,
    },
}

#[derive(clap::Args)]
pub(super) struct List {
    /// Topic filter
    #[arg(default_value = "#")]
    filter: String,

    #[command(flatten)]
    extent: Extent,
}

impl Command {
    pub(super) fn run(&self, api: &Api, view: &mut View<'_>) -> Result<(), Failure> {
        match self {
            Self::List(list) => {
                let query = [("filter", list.filter.clone())];
                let whole = list.extent.read(api, "/api/v1/retained", &query, ("messages", "after"))?;
                whole.show(view, "messages", COLUMNS)
            }
            Self::Get { topic } => {
                let answer = api.get("/api/v1/retained/message", &[("topic", topic.clone())])?;
                view.show(&answer, |answer, out| {
                    let is_text = answer["payload_encoding"] == "plain";
                    let note = if is_text { "" } else { " (Base64)" };
                    let payload = answer["payload"].as_str().unwrap_or_default();
                    for (name, value) in [
                        ("topic", text(&answer["topic"])),
                        ("QoS", text(&answer["qos"])),
                        ("received", text(&answer["received_at"])),
                        ("expires", answer.get("expires_at").map_or_else(|| "never".to_owned(), text)),
                        ("bytes", format!("{}{note}", text(&answer["payload_bytes"]))),
                    ] {
                        writeln!(out, "{name:<10}{value}")?;
                    }
                    for (name, value) in answer["properties"].as_object().into_iter().flatten() {
                        writeln!(out, "{name:<10}{}", text(value))?;
                    }
                    let lines = payload.lines().map(|line| text(&Value::from(line)));
                    writeln!(out, "\n{}", lines.collect::<Vec<_>>().join("\n"))
                })
            }
            Self::Delete { filter } => {
                let answer = api.delete("/api/v1/retained", &[("filter", filter.clone())])?;
                view.show(&answer, |answer, out| match answer["count"].as_u64() {
                    Some(1) => writeln!(out, "1 message was forgotten"),
                    count => writeln!(out, "{} messages were forgotten", count.unwrap_or(0)),
                })
            }
        }
    }
}

const COLUMNS: &[Column] = &[
    Column::text("TOPIC", "/topic"),
    Column::text("QOS", "/qos"),
    Column::bytes("PAYLOAD", "/payload_bytes"),
    Column::text("RECEIVED", "/received_at"),
    Column::text("EXPIRES", "/expires_at"),
];
