//! The same decisions by going through all rules in turn: slow, and plain enough to be read against the manual.

use super::{Access, Who};

/// A line of a file.
#[derive(Debug, Clone)]
pub(super) enum Line {
    User(&'static str),
    Topic(&'static str, String),
    Pattern(&'static str, String),
}

impl Line {
    pub(super) fn text(&self) -> String {
        match self {
            Self::User(user) => format!("user {user}\n"),
            Self::Topic(right, filter) => format!("topic {right} {filter}\n"),
            Self::Pattern(right, filter) => format!("pattern {right} {filter}\n"),
        }
    }
}

/// Whether the access is given, and the number of the line that decides.
pub(super) fn check(lines: &[Line], who: Who<'_>, access: Access, topic: &str) -> (bool, Option<usize>) {
    let (word, is_own_topic) = match access {
        Access::Read => ("read", !topic.starts_with("$share")),
        Access::Write => ("write", !topic.starts_with("$share") && may_be_written(topic)),
        Access::Subscribe | Access::Unsubscribe => return (true, None),
    };
    if !is_own_topic {
        return (false, None);
    }
    let mut section = None;
    let (mut own, mut patterns) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(lines) {
        match line {
            Line::User(user) => section = Some(*user),
            Line::Topic(right, filter) if section == who.user => {
                own.push((number, *right, matches(&levels(filter, None), topic)));
            }
            Line::Topic(..) => {}
            Line::Pattern(right, filter) => {
                patterns.push((number, *right, matches(&levels(filter, Some(who)), topic)));
            }
        }
    }
    if let Some(decision) = among(&own, word) {
        return decision;
    }
    let has_wildcard =
        who.client_id.contains(['+', '#']) || who.user.is_some_and(|user| user.contains(['+', '#']));
    if patterns.is_empty() || has_wildcard {
        return (false, None);
    }
    among(&patterns, word).unwrap_or((false, None))
}

fn among(rules: &[(usize, &str, bool)], word: &str) -> Option<(bool, Option<usize>)> {
    let first = |rights: &[&str]| {
        rules
            .iter()
            .find(|(_, right, matches)| *matches && rights.contains(right))
            .map(|(number, ..)| *number)
    };
    if let Some(number) = first(&["deny"]) {
        return Some((false, Some(number)));
    }
    first(&[word, "readwrite"]).map(|number| (true, Some(number)))
}

fn may_be_written(topic: &str) -> bool {
    let state = levels("$SYS/broker/connection/+/state", None);
    !topic.starts_with("$SYS") || matches(&state, topic)
}

/// A level of a filter: text that must be there, or a wildcard.
enum Level {
    Text(String),
    Plus,
    Hash,
    Never,
}

fn levels(filter: &str, who: Option<Who<'_>>) -> Vec<Level> {
    let mut levels = Vec::new();
    for level in filter.split('/') {
        let name = match (level, who) {
            ("%c", Some(who)) => Some(who.client_id),
            ("%u", Some(who)) => Some(who.user.unwrap_or_default()),
            _ => None,
        };
        match (level, name) {
            (_, Some("")) => levels.push(Level::Never),
            // A name that begins like a system topic is no system topic.
            (_, Some(name)) if levels.is_empty() && name.starts_with('$') => levels.push(Level::Never),
            (_, Some(name)) => levels.extend(name.split('/').map(|part| Level::Text(part.to_owned()))),
            ("+", None) => levels.push(Level::Plus),
            ("#", None) => levels.push(Level::Hash),
            (text, None) => levels.push(Level::Text(text.to_owned())),
        }
    }
    levels
}

/// The definition of chapter 4.7 of MQTT.
fn matches(filter: &[Level], topic: &str) -> bool {
    if topic.starts_with('$') && matches!(filter.first(), Some(Level::Plus | Level::Hash)) {
        return false;
    }
    let topic: Vec<_> = topic.split('/').collect();
    for (index, level) in filter.iter().enumerate() {
        let fits = match level {
            Level::Hash => return true,
            Level::Never => false,
            Level::Plus => index < topic.len(),
            Level::Text(text) => topic.get(index).is_some_and(|there| there == text),
        };
        if !fits {
            return false;
        }
    }
    filter.len() == topic.len()
}
