//! Clients: lists of them, and what there is to know of one.

use std::io;

use jiff::Zoned;
use serde_json::Value;

use super::api::part;
use super::table::{bytes, duration, number, text};
use super::{Api, Column, Extent, Failure, Table, View};

/// Which clients are wanted.
#[derive(clap::Args)]
pub(super) struct List {
    /// Only those with this in their client id
    #[arg(long, value_name = "TEXT")]
    id: Option<String>,

    /// Only those from this IP address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,

    /// Only those that are there
    #[arg(long, conflicts_with = "disconnected")]
    connected: bool,

    /// Only those that are not there
    #[arg(long)]
    disconnected: bool,

    /// Only those of this version of MQTT: 3.1, 3.1.1 or 5.0
    #[arg(long = "mqtt", value_name = "VERSION")]
    version: Option<String>,

    #[command(flatten)]
    extent: Extent,
}

/// What is wanted of one client.
#[derive(clap::Subcommand)]
#[command(disable_help_subcommand = true)]
pub(super) enum One {
    /// Print what there is to know of it
    Show(Id),
    /// Tell what happened to it
    Story(Id),
    /// List its subscriptions
    Subscriptions(Id),
    /// List what waits for it
    Queue(Id),
    /// List what was sent to it and not acknowledged
    Inflight(Id),
    /// End its connection
    Kick(Id),
}

#[derive(clap::Args)]
pub(super) struct Id {
    /// Client id
    #[arg(value_name = "ID", allow_hyphen_values = true)]
    client_id: String,
}

impl List {
    pub(super) fn run(
        &self,
        api: &Api,
        path: &str,
        columns: &[Column],
        view: &mut View<'_>,
    ) -> Result<(), Failure> {
        let connected = match (self.connected, self.disconnected) {
            (true, _) => Some("true"),
            (_, true) => Some("false"),
            _ => None,
        };
        let filters = [
            ("client_id", self.id.as_deref()),
            ("ip", self.ip.as_deref()),
            ("connected", connected),
            ("version", self.version.as_deref()),
        ];
        let query: Vec<_> =
            filters.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned()))).collect();
        self.extent.read(api, path, &query, ("clients", "cursor"))?.show(view, "clients", columns)
    }
}

impl One {
    pub(super) fn run(&self, api: &Api, view: &mut View<'_>) -> Result<(), Failure> {
        match self {
            Self::Show(id) => view.show(&api.get(&id.path(""), &[])?, show),
            Self::Story(id) => story(api, &id.client_id, view),
            Self::Subscriptions(id) => {
                let answer = api.get(&id.path("/subscriptions"), &[])?;
                view.show(&answer, |answer, out| {
                    print(answer, "/subscriptions", super::subscriptions::COLUMNS, out)
                })
            }
            Self::Queue(id) => id.waiting(api, "/queue", view),
            Self::Inflight(id) => id.waiting(api, "/inflight", view),
            Self::Kick(id) => {
                let answer = api.delete(&id.path(""), &[])?;
                view.show(&answer, |answer, out| match answer["count"].as_u64() {
                    Some(1) => writeln!(out, "its connection was ended"),
                    _ => writeln!(out, "it was not there"),
                })
            }
        }
    }
}

impl Id {
    fn path(&self, rest: &str) -> String {
        format!("/api/v1/clients/{}{rest}", part(&self.client_id))
    }

    fn waiting(&self, api: &Api, rest: &str, view: &mut View<'_>) -> Result<(), Failure> {
        let answer = api.get(&self.path(rest), &[("payload", "true".to_owned())])?;
        view.show(&answer, |answer, out| {
            print(answer, "/messages", WAITING, out)?;
            let (count, shown) = (answer["count"].as_u64(), answer["messages"].as_array().map(Vec::len));
            if count > shown.map(|shown| shown as u64) {
                writeln!(out, "... of {} messages", number(&answer["count"]))?;
            }
            Ok(())
        })
    }
}

fn print(answer: &Value, pointer: &str, columns: &[Column], out: &mut dyn io::Write) -> io::Result<()> {
    let items = answer.pointer(pointer).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    Table::new(columns, items).print(out)
}

fn show(client: &Value, out: &mut dyn io::Write) -> io::Result<()> {
    let mut line = |name: &str, value: String| match value.is_empty() {
        true => Ok(()),
        false => writeln!(out, "{name:<22}{value}"),
    };
    let of = |pointer: &str| client.pointer(pointer).map_or_else(String::new, text);
    let bytes_of =
        |pointer: &str| client.pointer(pointer).and_then(Value::as_f64).map_or_else(String::new, bytes);
    line("client id", of("/client_id"))?;
    line("connected", of("/connected"))?;
    line("address", of("/address"))?;
    line("MQTT version", of("/version"))?;
    line("since", of("/connected_at"))?;
    line("last packet", of("/last_packet_at"))?;
    line("left", of("/disconnected_at"))?;
    line("session ends", of("/expires_at"))?;
    let expiry = client["session_expiry_s"].as_u64().map_or_else(|| "never".to_owned(), duration);
    line("session expiry", expiry)?;
    line("survives the broker", of("/stored"))?;
    line("keep alive", client["keep_alive_s"].as_u64().map_or_else(String::new, duration))?;
    line("worker", of("/worker"))?;
    line("subscriptions", of("/subscriptions"))?;
    line("queue", format!("{} messages, {}", of("/queue_messages"), bytes_of("/queue_bytes")))?;
    let inflight_max = client["inflight_max"].as_u64().map_or_else(String::new, |max| format!(" of {max}"));
    line("in flight", format!("{}{inflight_max}", of("/inflight")))?;
    line("unsent", bytes_of("/out_buffer_bytes"))?;
    line("will", of("/has_will"))?;
    if client.get("traffic").is_some() {
        for (name, messages, bytes) in [
            ("received from it", "messages_received", "bytes_received"),
            ("sent to it", "messages_sent", "bytes_sent"),
        ] {
            let (messages, bytes) = (format!("/traffic/{messages}"), format!("/traffic/{bytes}"));
            line(name, format!("{} messages, {}", of(&messages), bytes_of(&bytes)))?;
        }
    }
    for (cause, count) in client["dropped"].as_object().into_iter().flatten() {
        line("dropped", format!("{} ({})", number(count), cause.replace('_', " ")))?;
    }
    Ok(())
}

/// Tells what happened to a client, in local time.
pub(crate) fn story(api: &Api, client_id: &str, view: &mut View<'_>) -> Result<(), Failure> {
    let offset_s = Zoned::now().offset().seconds();
    let path = format!("/api/v1/clients/{}/story", part(client_id));
    view.show(&api.get(&path, &[("utc_offset_s", offset_s.to_string())])?, tell)
}

fn tell(story: &Value, out: &mut dyn io::Write) -> io::Result<()> {
    let lines = |name: &str| story[name].as_array().cloned().unwrap_or_default();
    writeln!(out, "{}", text(&story["headline"]))?;
    for finding in lines("findings") {
        writeln!(out, "! {}", text(&finding))?;
    }
    for (place, line) in lines("lines").iter().enumerate() {
        writeln!(out, "{}{}", if place == 0 { "\n" } else { "" }, text(line))?;
    }
    Ok(())
}

/// What a list of clients shows of each.
pub(super) const CLIENTS: &[Column] = &[
    Column::text("CLIENT ID", "/client_id"),
    Column::text("HERE", "/connected"),
    Column::text("MQTT", "/version"),
    Column::text("ADDRESS", "/address"),
    Column::text("SINCE", "/connected_at"),
    Column::number("SUBS", "/subscriptions"),
    Column::number("QUEUE", "/queue_messages"),
    Column::number("IN FLIGHT", "/inflight"),
    Column::number("RECEIVED", "/traffic/messages_received"),
    Column::number("SENT", "/traffic/messages_sent"),
];

/// What a list of sessions shows of each.
pub(super) const SESSIONS: &[Column] = &[
    Column::text("CLIENT ID", "/client_id"),
    Column::text("HERE", "/connected"),
    Column::text("STORED", "/stored"),
    Column::text("LEFT", "/disconnected_at"),
    Column::text("ENDS", "/expires_at"),
    Column::number("SUBS", "/subscriptions"),
    Column::number("QUEUE", "/queue_messages"),
    Column::bytes("BYTES", "/queue_bytes"),
    Column::number("IN FLIGHT", "/inflight"),
];

const WAITING: &[Column] = &[
    Column::text("TOPIC", "/topic"),
    Column::text("QOS", "/qos"),
    Column::text("RETAIN", "/retain"),
    Column::text("RECEIVED", "/received_at"),
    Column::bytes("SIZE", "/bytes"),
    Column::text("PAYLOAD", "/payload"),
];
