//! A configuration file: TOML in, settings out, every mistake with its place.

use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use super::table::{SETTINGS, Setting};
use super::{Settings, auth, ban, listener};

/// Something wrong in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line it is in, counted from 1.
    pub line: usize,
    /// The character it begins with, counted from 1.
    pub column: usize,
    /// What is wrong, and where it can be told what would be right.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl Settings {
    /// Reads a configuration file's text. The mistakes are all there are, in the order of the file.
    pub fn from_toml(text: &str) -> Result<Self, Vec<Mistake>> {
        let mut file = File { text, settings: Self::default(), mistakes: Vec::new() };
        match DeTable::parse(text) {
            Ok(table) => file.read(table.get_ref()),
            Err(error) => file.mistake(error.span().unwrap_or_default().start, error.message().to_owned()),
        }
        if file.mistakes.is_empty() {
            return Ok(file.settings);
        }
        file.mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        Err(file.mistakes)
    }
}

struct File<'a> {
    text: &'a str,
    settings: Settings,
    mistakes: Vec<Mistake>,
}

impl File<'_> {
    fn read(&mut self, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            if name == LISTENER {
                self.read_tables(LISTENER, value, Self::read_listener);
            } else if name == AUTH {
                self.read_tables(AUTH, value, Self::read_step);
            } else if name == BAN {
                self.read_tables(BAN, value, Self::read_ban);
            } else if sections().any(|section| section == name) {
                let Some(section) = value.get_ref().as_table() else {
                    self.mistake(value.span().start, format!("`{name}` is a section: write [{name}]"));
                    continue;
                };
                for (key, value) in section {
                    self.read_setting(name, key, value);
                }
            } else {
                self.read_setting("", key, value);
            }
        }
    }

    fn read_setting(&mut self, section: &str, key: &Key<'_>, value: &Spanned<DeValue<'_>>) {
        let name = match section {
            "" => key.get_ref().to_string(),
            _ => format!("{section}.{}", key.get_ref()),
        };
        let Some(setting) = Setting::named(&name) else {
            let message = unknown(section, key.get_ref());
            return self.mistake(key.span().start, message);
        };
        let Some(text) = scalar(value.get_ref()) else {
            let message = format!("`{name}` takes one value: {}", setting.kind().allowed());
            return self.mistake(value.span().start, message);
        };
        match setting.kind().parse(&text) {
            Ok(value) => self.settings.put(setting, value),
            Err(message) => self.mistake(value.span().start, format!("`{name}`: {message}")),
        }
    }

    /// Reads each of the tables that are called `name`.
    fn read_tables(
        &mut self,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        read: fn(&mut Self, usize, &DeTable<'_>),
    ) {
        let wrong = format!("write [[{name}]], once for each");
        let Some(tables) = value.get_ref().as_array() else {
            return self.mistake(value.span().start, wrong);
        };
        for table in tables.iter() {
            match table.get_ref().as_table() {
                Some(values) => read(self, table.span().start, values),
                None => self.mistake(table.span().start, wrong.clone()),
            }
        }
    }

    fn read_ban(&mut self, at: usize, table: &DeTable<'_>) {
        match ban::read(at, table) {
            Ok(ban) if self.settings.bans.iter().any(|other| other.who == ban.who) => {
                self.mistake(at, format!("there is another ban of the {}", ban.who));
            }
            Ok(ban) => self.settings.bans.push(ban),
            Err((at, message)) => self.mistake(at, message),
        }
    }

    fn read_listener(&mut self, at: usize, table: &DeTable<'_>) {
        match listener::read(at, table) {
            Ok(listen) => self.settings.listeners.push(listen),
            Err(mistakes) => mistakes.into_iter().for_each(|(at, message)| self.mistake(at, message)),
        }
    }

    fn read_step(&mut self, at: usize, table: &DeTable<'_>) {
        match auth::read(at, table) {
            Ok(step) if self.settings.auth.iter().any(|other| other.name() == step.name()) => {
                let name = step.name();
                self.mistake(at, format!("there is a step named `{name}` already: give this one a `name`"));
            }
            Ok(step) => self.settings.auth.push(step),
            Err(mistakes) => mistakes.into_iter().for_each(|(at, message)| self.mistake(at, message)),
        }
    }

    fn mistake(&mut self, at: usize, message: String) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        self.mistakes.push(Mistake { line, column, message });
    }
}

type Key<'a> = Spanned<std::borrow::Cow<'a, str>>;

const LISTENER: &str = "listener";

const AUTH: &str = "auth";
const BAN: &str = "ban";

/// The sections there are, some of them more than once.
fn sections() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|setting| setting.section_and_key().0).filter(|section| !section.is_empty())
}

/// What is wrong with a key that no setting has.
fn unknown(section: &str, key: &str) -> String {
    let place = if section.is_empty() { String::new() } else { format!(" in [{section}]") };
    let problem = format!("there is no setting `{key}`{place}");
    let here = SETTINGS.iter().map(Setting::section_and_key).filter(|(of, _)| *of == section);
    let outermost = sections().chain([LISTENER, AUTH, BAN]).filter(|_| section.is_empty());
    if let Some(word) = nearest(key, here.map(|(_, key)| key).chain(outermost)) {
        return did_you_mean(problem, Some(word));
    }
    // The right key in the wrong section.
    let elsewhere = SETTINGS.iter().find(|setting| setting.section_and_key().1 == key);
    did_you_mean(problem, elsewhere.map(|setting| setting.name))
}

pub(super) fn did_you_mean(problem: String, word: Option<&str>) -> String {
    match word {
        Some(word) => format!("{problem}; did you mean `{word}`?"),
        None => problem,
    }
}

/// The text of a value that is neither table nor list.
pub(super) fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(on) => Some(on.to_string()),
        DeValue::Integer(number) => Some(match u64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => number.to_string(),
            Err(_) => number.to_string(),
        }),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Datetime(moment) => Some(moment.to_string()),
        DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
