//! Publishing by way of the admin API.

use std::io::Read as _;

use base64ct::{Base64, Encoding as _};
use serde_json::json;

use super::{Api, Failure, View};

/// Publish a message as an operator, without a client id
#[derive(clap::Args)]
pub(super) struct Publish {
    /// Topic
    topic: String,

    /// Payload; from standard input if it is left out
    #[arg(allow_hyphen_values = true)]
    payload: Option<String>,

    /// QoS: 0, 1 or 2
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,

    /// Retain it; an empty payload ends what is retained
    #[arg(short, long)]
    retain: bool,
}

impl Publish {
    pub(super) fn run(&self, api: &Api, view: &mut View<'_>) -> Result<(), Failure> {
        let payload = match &self.payload {
            Some(payload) => payload.clone().into_bytes(),
            None => {
                let mut payload = Vec::new();
                std::io::stdin()
                    .read_to_end(&mut payload)
                    .map_err(|error| Failure::Usage(format!("cannot read standard input: {error}")))?;
                payload
            }
        };
        let body = json!({
            "topic": self.topic,
            "payload": Base64::encode_string(&payload),
            "payload_encoding": "base64",
            "qos": self.qos,
            "retain": self.retain,
        });
        let answer = api.post("/api/v1/publish", &body)?;
        view.show(&answer, |answer, out| match answer["matched"].as_bool() {
            Some(true) => writeln!(out, "published"),
            _ => writeln!(out, "published, but nobody has subscribed to it"),
        })
    }
}
