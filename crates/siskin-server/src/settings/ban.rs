//! A `[[ban]]` table: who may not connect, why, and until when.

use std::fmt::Write as _;

use siskin_core::Now;
use toml::de::{DeTable, DeValue};

use super::file::did_you_mean;
use super::kind::quoted;
use super::listener::one;
use super::nearest::nearest;
use crate::config::{Ban, Banned};

/// What a `[[ban]]` table may hold: key and what it is.
pub const BAN_KEYS: [(&str, &str); 5] = [
    ("client", "Client id that may not connect"),
    ("user", "User name that may not connect"),
    ("address", "Address or network from which nobody may connect, or unix"),
    ("reason", "Why, for the log"),
    ("until", "When the ban is over, like 2030-12-31T12:00:00Z; without it, never"),
];

/// Reads the table at `at`; the mistake is the first, with its place.
pub(super) fn read(at: usize, table: &DeTable<'_>) -> Result<Ban, (usize, String)> {
    let (mut who, mut reason, mut until) = (None, String::new(), None);
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        let wrong = |message: String| (value.span().start, format!("`{name}`: {message}"));
        let text = || one(value.get_ref()).map_err(wrong);
        let banned = match name {
            "client" => Banned::Client(text()?),
            "user" => Banned::User(text()?),
            "address" => Banned::Address(text()?.parse().map_err(wrong)?),
            "reason" => {
                reason = text()?;
                continue;
            }
            "until" => {
                let shown = || {
                    wrong(format!(
                        "`{}` is not a date and time in UTC like 2030-12-31T12:00:00Z",
                        text_of(value.get_ref())
                    ))
                };
                until = Some(moment_of(value.get_ref()).ok_or_else(shown)?);
                continue;
            }
            _ => {
                let keys = BAN_KEYS.iter().map(|(key, _)| *key);
                let message = did_you_mean(format!("a ban has no `{name}`"), nearest(name, keys));
                return Err((key.span().start, message));
            }
        };
        if who.replace(banned).is_some() {
            return Err((
                key.span().start,
                "a ban is about one client, user or address: write another".to_owned(),
            ));
        }
    }
    let who = who.ok_or_else(|| (at, "this ban has no `client`, `user` or `address`".to_owned()))?;
    Ok(Ban { who: who.canonical(), until, reason })
}

/// `ban` as a table that says the same.
pub(super) fn to_toml(ban: &Ban) -> String {
    let (key, value) = match &ban.who {
        Banned::Client(id) => ("client", id.clone()),
        Banned::User(name) => ("user", name.clone()),
        Banned::Address(network) => ("address", network.to_string()),
    };
    let mut text = format!("[[ban]]\n{key} = {}\nreason = {}\n", quoted(&value), quoted(&ban.reason));
    if let Some(until) = ban.until {
        let (days, second) = ((until.as_millis() / 86_400_000) as i64, until.as_millis() / 1000 % 86_400);
        let (year, month, day) = date_of(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let _ = writeln!(text, "until = {year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
    }
    text
}

fn text_of(value: &DeValue<'_>) -> String {
    one(value).unwrap_or_else(|_| "a list".to_owned())
}

/// Milliseconds since 1970; none before that, without a time, or at another offset than UTC's.
fn moment_of(value: &DeValue<'_>) -> Option<Now> {
    let DeValue::Datetime(moment) = value else { return None };
    let (date, time) = (moment.date?, moment.time?);
    if moment.offset.is_some_and(|offset| offset.to_string() != "Z") {
        return None;
    }
    let days = days_of(date.year.into(), date.month.into(), date.day.into());
    let second =
        u64::from(time.hour) * 3600 + u64::from(time.minute) * 60 + u64::from(time.second.unwrap_or(0));
    let days: u64 = days.try_into().ok()?;
    Some(Now::from_millis((days * 86_400 + second) * 1000))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. A year that begins with March has its leap day last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month < 3);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - MARCH_OF_0_TO_1970
}

/// The other way round.
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + MARCH_OF_0_TO_1970;
    let era = days.div_euclid(DAYS_OF_400_YEARS);
    let day = days.rem_euclid(DAYS_OF_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / (DAYS_OF_400_YEARS - 1)) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month < 3), month, day)
}

const MARCH_OF_0_TO_1970: i64 = 719_468;

const DAYS_OF_400_YEARS: i64 = 146_097;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_days_are_each_other_s_inverse() {
        assert_eq!((days_of(1970, 1, 1), days_of(2000, 3, 1), days_of(2024, 2, 29)), (0, 11_017, 19_782));
        for days in (0..200_000).step_by(7).chain([59, 60, 11_015, 11_016, 11_017]) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), days, "{year}-{month}-{day}");
        }
    }
}
