//! Topics and filters with placeholders for what differs between clients and messages.

use std::fmt;

/// A topic or filter as the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// `%i`
    Number,
    /// `%p`
    Pair,
    /// `%c`
    ClientId,
    /// `%s`
    Sequence,
}

/// What stands for the placeholders.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    pub(crate) number: u32,
    pub(crate) pair: u32,
    pub(crate) client_id: &'a str,
}

/// A `%` that is followed by nothing we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownPlaceholder(Option<char>);

/// Digits that a sequence number takes in a topic.
pub(crate) const SEQUENCE_DIGITS: usize = 8;

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, UnknownPlaceholder> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                plain.push(character);
                continue;
            }
            let part = match characters.next() {
                Some('i') => Part::Number,
                Some('p') => Part::Pair,
                Some('c') => Part::ClientId,
                Some('s') => Part::Sequence,
                Some('%') => {
                    plain.push('%');
                    continue;
                }
                other => return Err(UnknownPlaceholder(other)),
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(part);
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The text, and where the digits of the sequence number stand in it. They are zeros as yet.
    pub(crate) fn expand(&self, values: Values<'_>) -> (String, Option<usize>) {
        let mut text = String::new();
        let mut sequence_at = None;
        for part in &self.parts {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Number => text.push_str(&values.number.to_string()),
                Part::Pair => text.push_str(&values.pair.to_string()),
                Part::ClientId => text.push_str(values.client_id),
                Part::Sequence => {
                    sequence_at = Some(text.len());
                    text.extend(std::iter::repeat_n('0', SEQUENCE_DIGITS));
                }
            }
        }
        (text, sequence_at)
    }

    /// How often `%s` stands in it.
    pub(crate) fn sequences(&self) -> usize {
        self.parts.iter().filter(|part| **part == Part::Sequence).count()
    }
}

impl fmt::Display for UnknownPlaceholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(character) => write!(f, "%{character} is no placeholder")?,
            None => f.write_str("% at the end is no placeholder")?,
        }
        f.write_str(" (%i number, %p pair, %c client id, %s sequence number, %% a percent sign)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> (String, Option<usize>) {
        let values = Values { number: 7, pair: 2, client_id: "me" };
        Pattern::parse(text).unwrap().expand(values)
    }

    #[test]
    fn every_placeholder_has_its_value() {
        assert_eq!(expand("a/%i/%p/%c/%%"), ("a/7/2/me/%".to_owned(), None));
        assert_eq!(expand("%i%i"), ("77".to_owned(), None));
        assert_eq!(expand("plain"), ("plain".to_owned(), None));
    }

    #[test]
    fn a_sequence_number_leaves_room_for_its_digits() {
        assert_eq!(expand("a/%s/b"), ("a/00000000/b".to_owned(), Some(2)));
    }

    #[test]
    fn an_unknown_placeholder_is_named() {
        assert_eq!(Pattern::parse("a/%x"), Err(UnknownPlaceholder(Some('x'))));
        assert_eq!(Pattern::parse("a/%"), Err(UnknownPlaceholder(None)));
        assert!(UnknownPlaceholder(Some('x')).to_string().starts_with("%x is no placeholder"));
    }
}
