//! From the lines of an ACL file to its tables.

use super::decision::Rule;
use super::table::{Right, Table};
use super::{ANONYMOUS, Tables};
use crate::lines::{column, is_space, lines, offset};
use crate::{Mistake, Problem};

pub(super) fn parse(text: &[u8]) -> Result<Tables, Vec<Mistake>> {
    let tables = Tables { sections: vec![Table::default()], ..Tables::default() };
    let mut parser = Parser { tables, section: ANONYMOUS, mistakes: Vec::new() };
    for (number, bytes) in lines(text) {
        if let Err((column, problem)) = parser.line(number, bytes) {
            parser.mistakes.push(Mistake { line: number, column, problem });
        }
    }
    if parser.mistakes.is_empty() { Ok(parser.tables) } else { Err(parser.mistakes) }
}

struct Parser {
    tables: Tables,
    /// Whose section this is.
    section: usize,
    mistakes: Vec<Mistake>,
}

impl Parser {
    fn line(&mut self, number: usize, bytes: &[u8]) -> Result<(), (usize, Problem)> {
        if bytes.first() == Some(&b'#') {
            return Ok(());
        }
        let line = std::str::from_utf8(bytes).map_err(|error| {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            (good.chars().count() + 1, Problem::NotUtf8)
        })?;
        if let Some(at) = line.find('\0') {
            return Err((column(line, at), Problem::Nul));
        }
        let text = line.trim_end_matches(is_space).trim_start_matches(' ');
        if text.is_empty() {
            return Ok(());
        }
        let at = |part| column(line, offset(line, part));
        let (keyword, rest) = text.split_once(' ').unwrap_or((text, ""));
        // What is missing would be at the end.
        let end = line.trim_end_matches(is_space).chars().count() + 1;
        match keyword {
            "user" => {
                let user = rest.trim_matches(is_space);
                if user.is_empty() {
                    return Err((end, Problem::NoUser));
                }
                self.section = self.section_of(user);
                Ok(())
            }
            "topic" | "pattern" => {
                let Words { right, topic } = words(rest).map_err(|wrong| match wrong {
                    Wrong::NoTopic => (end, Problem::NoTopic),
                    Wrong::Access(word) => (at(word), Problem::UnknownAccess(word.to_owned())),
                })?;
                let start = offset(line, topic);
                check_filter(topic).map_err(|(inside, problem)| (column(line, start + inside), problem))?;
                let is_pattern = keyword == "pattern";
                if let Some(problem) = warning(rest, topic, is_pattern) {
                    let warning = Mistake { line: number, column: at(topic), problem };
                    self.tables.warnings.push(warning);
                }
                self.add(Rule { line: number, text: text.into() }, right, topic, is_pattern);
                Ok(())
            }
            _ => Err((at(keyword), Problem::UnknownKeyword(keyword.to_owned()))),
        }
    }

    fn add(&mut self, rule: Rule, right: Right, topic: &str, is_pattern: bool) {
        let id =
            u32::try_from(self.tables.rules.len()).expect("a file of 4,294,967,296 lines is not in memory");
        self.tables.rules.push(rule);
        if is_pattern {
            self.tables.patterns.add_pattern(topic, right, id);
        } else {
            self.tables.sections[self.section].add(topic, right, id);
        }
    }

    fn section_of(&mut self, user: &str) -> usize {
        let Tables { sections, users, .. } = &mut self.tables;
        *users.entry_ref(user).or_insert_with(|| {
            sections.push(Table::default());
            sections.len() - 1
        })
    }
}

/// What stands behind `topic` or `pattern`.
struct Words<'a> {
    right: Right,
    topic: &'a str,
}

enum Wrong<'a> {
    NoTopic,
    Access(&'a str),
}

/// Only spaces, not tabs, are between words; a topic behind an access type may have spaces in it.
fn words(rest: &str) -> Result<Words<'_>, Wrong<'_>> {
    let rest = rest.trim_start_matches(' ');
    if rest.is_empty() {
        return Err(Wrong::NoTopic);
    }
    let Some((word, topic)) = rest.split_once(' ') else {
        return Ok(Words { right: Right::ReadWrite, topic: rest });
    };
    let right = match word {
        "read" => Right::Read,
        "write" => Right::Write,
        "readwrite" => Right::ReadWrite,
        "deny" => Right::Deny,
        _ => return Err(Wrong::Access(word)),
    };
    Ok(Words { right, topic: topic.trim_matches(is_space) })
}

/// What is allowed in a file but probably not meant.
fn warning(rest: &str, topic: &str, is_pattern: bool) -> Option<Problem> {
    let has_access = rest.trim_start_matches(' ').len() > topic.len();
    let first = topic.split('\t').next().unwrap_or_default();
    if !has_access && matches!(first, "read" | "write" | "readwrite" | "deny" | "subscribe" | "unsubscribe") {
        return Some(Problem::AccessTakenForTopic(topic.to_owned()));
    }
    if !is_pattern {
        return None;
    }
    for what in ["%c", "%u"] {
        if topic.split('/').any(|level| level != what && level.contains(what)) {
            return Some(Problem::SubstituteInLevel(what));
        }
    }
    let is_substituted = topic.split('/').any(|level| matches!(level, "%c" | "%u"));
    (!is_substituted).then_some(Problem::NothingToSubstitute)
}

/// Whether this can be a subscription's filter by Mosquitto's rules, or where it is wrong.
fn check_filter(filter: &str) -> Result<(), (usize, Problem)> {
    if filter.len() > usize::from(u16::MAX) {
        return Err((0, Problem::TopicTooLong));
    }
    if filter.bytes().filter(|byte| *byte == b'/').count() > SLASHES_MAX {
        return Err((0, Problem::TooManyLevels));
    }
    for level in filter.split('/') {
        let at = offset(filter, level);
        if let Some(inside) = level.find(['+', '#']).filter(|_| level.len() > 1) {
            let wildcard = if level[inside..].starts_with('+') { '+' } else { '#' };
            return Err((at + inside, Problem::WildcardInLevel(wildcard)));
        }
        if level == "#" && at + 1 < filter.len() {
            return Err((at, Problem::HashNotLast));
        }
    }
    Ok(())
}

/// Mosquitto's limit, which also bounds how deep a look-up goes.
const SLASHES_MAX: usize = 200;
