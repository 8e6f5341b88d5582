//! How the value of a setting is written, read and shown.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

use crate::budget;
use crate::config::AdminListen;

/// The value of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number in the unit of its [`Kind`].
    Number(u64),
    /// On or off.
    Switch(bool),
    /// A word or a name.
    Text(String),
}

/// What values a setting may have, and how they are written.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A number of `unit` in `range`; `word` is another way to write one of them.
    Number {
        /// What is counted.
        unit: Unit,
        /// The values allowed.
        range: RangeInclusive<u64>,
        /// A word that stands for one value.
        word: Option<(&'static str, u64)>,
    },
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A name that is one level of a topic.
    TopicLevel,
    /// A directory; `word` stands for none that is named.
    Directory {
        /// What is shown where none is named.
        word: &'static str,
    },
    /// A file; `word` stands for none.
    File {
        /// What is shown where none is named.
        word: &'static str,
    },
    /// A user of this machine, and perhaps a group; `word` stands for none.
    Account {
        /// What is shown where none is named.
        word: &'static str,
    },
    /// A web address; `word` stands for none.
    Url {
        /// What is shown where none is named.
        word: &'static str,
    },
    /// Where the HTTP API listens.
    AdminAddress,
    /// How much memory the process may take: bytes, `auto` or `none`.
    Memory,
    /// A text that is shown to nobody but those who wrote it.
    Secret,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes, written `512`, `64KiB`, `16MiB` or `4GiB`.
    Bytes,
    /// Milliseconds, written `200ms`, `10s`, `5m`, `2h` or `30d`; a bare number is seconds.
    Millis,
    /// Seconds, written as above.
    Seconds,
    /// Hundredths.
    Percent,
}

impl Kind {
    /// Reads a value as a user writes it. The error says what is wrong with it and what would be right.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        match self {
            Self::Number { unit, range, word } => {
                let number = match word {
                    Some((word, number)) if *word == text => *number,
                    _ => unit.parse(text).ok_or_else(|| format!("`{text}` is not {}", self.expected()))?,
                };
                if range.contains(&number) {
                    Ok(Value::Number(number))
                } else {
                    Err(format!("`{text}` is out of range, allowed is {}", self.allowed()))
                }
            }
            Self::Switch => match text {
                "true" => Ok(Value::Switch(true)),
                "false" => Ok(Value::Switch(false)),
                _ => Err(format!("`{text}` is not {}", self.expected())),
            },
            Self::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Self::TopicLevel if is_topic_level(text) => Ok(Value::Text(text.to_owned())),
            Self::Directory { word } | Self::File { word } | Self::Account { word } | Self::Url { word }
                if *word == text =>
            {
                Ok(Value::Text(String::new()))
            }
            Self::Url { .. } if is_url(text) => Ok(Value::Text(text.to_owned())),
            Self::Account { .. } if is_account(text) => Ok(Value::Text(text.to_owned())),
            Self::Directory { .. } | Self::File { .. } if is_path(text) => Ok(Value::Text(text.to_owned())),
            Self::AdminAddress => Ok(Value::Text(text.parse::<AdminListen>()?.to_string())),
            Self::Memory => match text {
                "none" => Ok(Value::Number(budget::NONE)),
                "auto" => Ok(Value::Number(budget::AUTO)),
                _ => match Unit::Bytes.parse(text) {
                    Some(bytes) if bytes >= budget::MIN => Ok(Value::Number(bytes)),
                    Some(_) => Err(format!("`{text}` is out of range, allowed is {}", self.allowed())),
                    None => Err(format!("`{text}` is not a size like 64MiB or 4GiB, auto or none")),
                },
            },
            Self::Secret if text == NO_SECRET => Ok(Value::Text(String::new())),
            Self::Secret if is_path(text) => Ok(Value::Text(text.to_owned())),
            Self::Secret => Err("this is no text of one line".to_owned()),
            Self::Choice(_)
            | Self::TopicLevel
            | Self::Directory { .. }
            | Self::File { .. }
            | Self::Account { .. }
            | Self::Url { .. } => Err(format!("`{text}` is not {}", self.expected())),
        }
    }

    /// The shortest way to write `value`, without quotes.
    pub fn show(&self, value: &Value) -> String {
        match (self, value) {
            (Self::Number { word: Some((word, number)), .. }, Value::Number(value)) if number == value => {
                (*word).to_owned()
            }
            (Self::Number { unit, .. }, Value::Number(value)) => unit.show(*value),
            (Self::Memory, Value::Number(budget::NONE)) => "none".to_owned(),
            (Self::Memory, Value::Number(budget::AUTO)) => "auto".to_owned(),
            (Self::Memory, Value::Number(value)) => Unit::Bytes.show(*value),
            (_, Value::Number(value)) => value.to_string(),
            (_, Value::Switch(value)) => value.to_string(),
            (
                Self::Directory { word } | Self::File { word } | Self::Account { word } | Self::Url { word },
                Value::Text(value),
            ) if value.is_empty() => (*word).to_owned(),
            (Self::Secret, Value::Text(value)) if value.is_empty() => NO_SECRET.to_owned(),
            (_, Value::Text(value)) => value.clone(),
        }
    }

    /// `value` as TOML.
    pub fn show_toml(&self, value: &Value) -> String {
        let text = self.show(value);
        let is_name = !matches!(self, Self::Number { .. } | Self::Switch | Self::Choice(_) | Self::Memory);
        let is_bare = matches!(value, Value::Switch(_)) || text.bytes().all(|byte| byte.is_ascii_digit());
        if is_bare && !is_name { text } else { quoted(&text) }
    }

    /// The values allowed, for a person.
    pub fn allowed(&self) -> String {
        match self {
            Self::Number { unit, range, word } => {
                let end = match word {
                    Some((word, number)) if number == range.end() => (*word).to_owned(),
                    _ => unit.show(*range.end()),
                };
                let start = unit.show(*range.start());
                match word {
                    Some((word, number)) if number != range.end() => format!("{start} to {end} or {word}"),
                    _ => format!("{start} to {end}"),
                }
            }
            Self::Switch => "true or false".to_owned(),
            Self::Choice(words) => words.join(", "),
            Self::TopicLevel => "a name of at most 255 bytes without / + # and control characters".to_owned(),
            Self::Directory { word } => format!("a directory or {word}"),
            Self::File { word } => format!("a file or {word}"),
            Self::Account { word } => {
                format!("a user or uid, with :GROUP or :gid after it or not, or {word}")
            }
            Self::Url { word } => format!("http://... or https://..., or {word}"),
            Self::AdminAddress => "ADDRESS:PORT, a port of 127.0.0.1, default or off".to_owned(),
            Self::Memory => "16MiB and more, auto or none".to_owned(),
            Self::Secret => format!("a text or {NO_SECRET}"),
        }
    }

    /// What stands for the value in `--help`.
    pub fn placeholder(&self) -> &'static str {
        match self {
            Self::Number { unit: Unit::Count, .. } => "N",
            Self::Number { unit: Unit::Bytes, .. } | Self::Memory => "SIZE",
            Self::Number { unit: Unit::Millis | Unit::Seconds, .. } => "TIME",
            Self::Number { unit: Unit::Percent, .. } => "PERCENT",
            Self::Switch => "BOOL",
            Self::Choice(_) => "WORD",
            Self::TopicLevel => "NAME",
            Self::Directory { .. } => "DIR",
            Self::File { .. } => "FILE",
            Self::Account { .. } => "USER",
            Self::AdminAddress => "ADDRESS",
            Self::Url { .. } => "URL",
            Self::Secret => "TEXT",
        }
    }

    fn expected(&self) -> String {
        let what = match self {
            Self::Number { unit: Unit::Count | Unit::Percent, .. } => "a whole number",
            Self::Number { unit: Unit::Bytes, .. } => "a size like 512, 64KiB or 16MiB",
            Self::Number { unit: Unit::Millis, .. } => "a time like 200ms, 10s, 5m, 2h or 30d",
            Self::Number { unit: Unit::Seconds, .. } => "a time in whole seconds like 10s, 5m, 2h or 30d",
            Self::Switch => "true or false",
            Self::Choice(words) => return format!("one of {}", words.join(", ")),
            Self::TopicLevel => "a name of at most 255 bytes without / + # and control characters",
            Self::Directory { word } => return format!("a directory, nor `{word}`"),
            Self::File { word } => return format!("a file, nor `{word}`"),
            Self::Account { word } => {
                return format!("a user or USER:GROUP, each a name or a number, nor `{word}`");
            }
            Self::Url { word } => return format!("a URL that begins with http:// or https://, nor `{word}`"),
            Self::AdminAddress | Self::Secret | Self::Memory => return self.allowed(),
        };
        match self {
            Self::Number { word: Some((word, _)), .. } => format!("{what}, nor `{word}`"),
            _ => what.to_owned(),
        }
    }
}

impl Unit {
    fn parse(self, text: &str) -> Option<u64> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, suffix) = text.split_at(digits);
        let number: u64 = number.parse().ok()?;
        let suffix = suffix.trim_start();
        if self == Self::Seconds {
            let millis = Self::Millis.parse(text)?;
            return millis.is_multiple_of(1000).then_some(millis / 1000);
        }
        let bare = if self == Self::Millis { 1000 } else { 1 };
        let factor = if suffix.is_empty() {
            bare
        } else {
            self.suffixes().iter().find(|(name, _)| *name == suffix)?.1
        };
        number.checked_mul(factor)
    }

    fn show(self, number: u64) -> String {
        if self == Self::Seconds {
            return Self::Millis.show(number.saturating_mul(1000));
        }
        let fits = |factor: u64| factor > 0 && number >= factor && number.is_multiple_of(factor);
        match self.suffixes().iter().find(|(suffix, factor)| *suffix != "%" && fits(*factor)) {
            Some((suffix, factor)) => format!("{}{suffix}", number / factor),
            None => number.to_string(),
        }
    }

    /// Largest first.
    fn suffixes(self) -> &'static [(&'static str, u64)] {
        match self {
            Self::Count => &[],
            Self::Percent => &[("%", 1)],
            Self::Bytes => &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)],
            Self::Millis | Self::Seconds => {
                &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)]
            }
        }
    }
}

fn is_topic_level(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.contains(['/', '+', '#']) && !text.chars().any(char::is_control)
}

/// The word for a secret that there is not.
const NO_SECRET: &str = "none";

fn is_path(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

/// A web address whose host is there.
fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let is_plain = !text.contains(|c: char| c.is_whitespace() || c.is_control());
    is_plain && rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', ':', '?', '#']))
}

/// One or two names or numbers with a colon between them.
fn is_account(text: &str) -> bool {
    let is_name =
        |name: &str| !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control());
    text.split(':').count() <= 2 && text.split(':').all(is_name)
}

/// A TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// A web address without the user name and password that may stand in it; any other text as it is.
pub(super) fn without_login(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://") else { return text.into() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://***{}", &rest[at..]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_can_be_read_as_what_it_was() {
        for text in ["", "a\"b\\c", "é\u{7}\n\u{7F}", "\u{9B}"] {
            let file = format!("text = {}", quoted(text));
            let read = toml::de::DeTable::parse(&file).unwrap();
            assert_eq!(read.get_ref()["text"].get_ref().as_str(), Some(text));
        }
    }

    #[test]
    fn an_address_is_shown_without_who_logs_in_there() {
        assert_eq!(without_login("https://u:p@ss@host:1/a@b?c"), "https://***@host:1/a@b?c");
        for text in ["https://host/a@b", "http://host?x@y", "me@host", "none"] {
            assert_eq!(without_login(text), text);
        }
    }

    fn number(unit: Unit) -> Kind {
        Kind::Number { unit, range: 0..=u64::MAX, word: None }
    }

    #[test]
    fn sizes_and_times_are_read_in_their_units() {
        let read = |unit, text| number(unit).parse(text).ok();
        for (unit, text, value) in [
            (Unit::Bytes, "512", 512),
            (Unit::Bytes, "64KiB", 65_536),
            (Unit::Bytes, "16 MiB", 16 << 20),
            (Unit::Millis, "200ms", 200),
            (Unit::Millis, "10", 10_000),
            (Unit::Millis, "2h", 7_200_000),
            (Unit::Seconds, "30d", 2_592_000),
            (Unit::Seconds, "2000ms", 2),
            (Unit::Percent, "150%", 150),
            (Unit::Count, "7", 7),
        ] {
            assert_eq!(read(unit, text), Some(Value::Number(value)), "{text}");
        }
        for (unit, text) in [
            (Unit::Bytes, "16MB"),
            (Unit::Bytes, ""),
            (Unit::Bytes, "-1"),
            (Unit::Bytes, "99999999999GiB"),
            (Unit::Seconds, "1500ms"),
            (Unit::Millis, "5 weeks"),
            (Unit::Count, "7k"),
        ] {
            assert_eq!(read(unit, text), None, "{text}");
        }
    }

    #[test]
    fn a_budget_of_memory_is_a_size_or_a_word() {
        for (text, value) in
            [("none", budget::NONE), ("auto", budget::AUTO), ("16MiB", 16 << 20), ("2GiB", 2 << 30)]
        {
            assert_eq!(Kind::Memory.parse(text), Ok(Value::Number(value)), "{text}");
            assert_eq!(Kind::Memory.show(&Value::Number(value)), text);
        }
        for text in ["0", "1", "15MiB", "much", "", "64MB"] {
            let error = Kind::Memory.parse(text).unwrap_err();
            assert!(error.contains(&format!("`{text}`")) && error.contains("auto"), "{error}");
        }
    }

    #[test]
    fn what_is_shown_is_read_back_the_same() {
        for unit in [Unit::Count, Unit::Bytes, Unit::Millis, Unit::Seconds, Unit::Percent] {
            for value in [0, 1, 59, 60, 1000, 1024, 90_000, 1 << 20, 86_400_000, 86_400_001] {
                let kind = number(unit);
                let shown = kind.show(&Value::Number(value));
                assert_eq!(kind.parse(&shown), Ok(Value::Number(value)), "{unit:?} {shown}");
            }
        }
    }
}
