//! Bans: who may not connect.

use clap::ArgGroup;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::{Api, Column, Extent, Failure, View};

/// Keep a client id, a user name or an address out, and disconnect who is here
///
/// It ends with the broker; bans that are to last stand in its configuration, as `[[ban]]`.
#[derive(clap::Args)]
pub(super) struct Ban {
    #[command(flatten)]
    who: Who,

    /// Why: for the log and for other operators
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,

    /// For how long, like 90s, 10m, 12h or 7d; without it until the broker stops
    #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
    seconds: Option<u64>,
}

/// Let somebody in again
#[derive(clap::Args)]
pub(super) struct Unban {
    #[command(flatten)]
    who: Who,
}

#[derive(clap::Args)]
#[command(group(ArgGroup::new("who").required(true)))]
struct Who {
    /// Client id
    #[arg(long, value_name = "ID", group = "who", allow_hyphen_values = true)]
    client: Option<String>,

    /// User name
    // `--user` is who asks.
    #[arg(long, value_name = "NAME", group = "who", allow_hyphen_values = true)]
    user_name: Option<String>,

    /// Address or network like 203.0.113.0/24, or unix
    #[arg(long, value_name = "ADDRESS", group = "who")]
    address: Option<String>,
}

pub(super) fn list(extent: &Extent, api: &Api, view: &mut View<'_>) -> Result<(), Failure> {
    let mut whole = extent.read(api, "/api/v1/bans", &[], ("bans", "after"))?;
    if !view.is_json {
        for ban in &mut whole.items {
            ban["until"] = Value::from(ban["until"].as_str().map_or_else(|| "for ever".to_owned(), local));
        }
    }
    whole.show(view, "bans", BANS)
}

impl Ban {
    pub(super) fn run(&self, api: &Api, view: &mut View<'_>) -> Result<(), Failure> {
        let mut body: Map<String, Value> =
            self.who.named().map(|(name, value)| (name.to_owned(), value.into())).collect();
        body.insert("reason".to_owned(), self.reason.as_str().into());
        if let Some(seconds) = self.seconds {
            body.insert("seconds".to_owned(), seconds.into());
        }
        view.show(&api.post("/api/v1/bans", &body.into())?, |answer, out| {
            match answer["disconnected"].as_u64() {
                None | Some(0) => writeln!(out, "banned; nobody was connected"),
                Some(1) => writeln!(out, "banned; 1 connection was ended"),
                Some(count) => writeln!(out, "banned; {count} connections were ended"),
            }
        })
    }
}

impl Unban {
    pub(super) fn run(&self, api: &Api, view: &mut View<'_>) -> Result<(), Failure> {
        let query: Vec<_> = self.who.named().map(|(name, value)| (name, value.to_owned())).collect();
        view.show(&api.delete("/api/v1/bans", &query)?, |_, out| writeln!(out, "not banned any more"))
    }
}

impl Who {
    /// What is given, by its name in the API.
    fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [("client_id", &self.client), ("user_name", &self.user_name), ("address", &self.address)];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

/// A moment in local time.
fn local(moment: &str) -> String {
    let parsed = moment.parse::<Timestamp>().map(|at| at.to_zoned(TimeZone::system()));
    parsed.map_or_else(|_| moment.to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// A time with its unit in seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "a time is a number with s, m, h or d behind it, like 10m".to_owned();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    seconds.filter(|seconds| *seconds > 0).ok_or_else(wrong)
}

const BANS: &[Column] = &[
    Column::text("CLIENT ID", "/client_id"),
    Column::text("USER NAME", "/user_name"),
    Column::text("ADDRESS", "/address"),
    Column::text("UNTIL", "/until"),
    Column::text("REASON", "/reason"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_or_is_in_seconds() {
        let read = ["90", "90s", "10m", "12h", "7d"].map(|text| seconds(text).unwrap());
        assert_eq!(read, [90, 90, 600, 43_200, 604_800]);
        for wrong in ["", "0", "0m", "m", "10w", "-5s", "1.5h", "99999999999999999999d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
