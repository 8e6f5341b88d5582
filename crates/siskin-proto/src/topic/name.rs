use core::fmt;

use super::{TopicError, check, levels};

/// What a message is published to: one character at least, no wildcards, no U+0000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName<'a>(&'a str);

impl<'a> TopicName<'a> {
    /// Checks that `text` is a topic name.
    #[inline]
    pub fn parse(text: &'a str) -> Result<Self, TopicError> {
        check(text)?;
        // Without an early end this becomes a few vector instructions for each 16 bytes.
        if text.bytes().fold(false, |found, byte| found | is_special(byte)) {
            return Err(fault(text));
        }
        Ok(Self(text))
    }

    /// A name that was found to be one before. Anything else ends in packets that receivers refuse.
    #[inline]
    pub fn from_valid(text: &'a str) -> Self {
        debug_assert!(Self::parse(text).is_ok(), "{text:?} is no topic name");
        Self(text)
    }

    /// The name, character by character as the publisher sent it. [MQTT5 4.7.3-4]
    #[inline]
    pub const fn as_str(self) -> &'a str {
        self.0
    }

    /// Whether it starts with `$`: filters that start with a wildcard do not match it. [MQTT-4.7.2-1]
    #[inline]
    pub fn is_system(self) -> bool {
        self.0.starts_with('$')
    }

    /// How many levels it has, empty ones included.
    pub fn levels(self) -> usize {
        levels(self.0)
    }
}

impl fmt::Display for TopicName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[inline]
const fn is_special(byte: u8) -> bool {
    matches!(byte, 0 | b'+' | b'#')
}

#[cold]
fn fault(text: &str) -> TopicError {
    if text.bytes().any(|byte| byte == 0) {
        TopicError::Nul // [MQTT-4.7.3-2]
    } else {
        TopicError::Wildcard // [MQTT-3.3.2-2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TopicFilter;

    #[test]
    fn a_name_has_at_least_one_character() {
        assert_eq!(TopicName::parse(""), Err(TopicError::Empty));
        for name in ["a", "/", " ", "//", "\u{FEFF}", "Ä/ö"] {
            assert_eq!(TopicName::parse(name).map(TopicName::as_str), Ok(name));
        }
    }

    #[test]
    fn a_name_has_no_wildcard() {
        for name in
            ["+", "#", "a/+", "a/#", "a+", "#a", "sport/tennis/+/player", "aaaaaaaaaaaaaaaaaaaaaaaaa#"]
        {
            assert_eq!(TopicName::parse(name), Err(TopicError::Wildcard), "{name}");
        }
    }

    #[test]
    fn a_name_holds_no_u_0000() {
        for name in ["\0", "a\0", "a/\0/b", "+\0"] {
            assert_eq!(TopicName::parse(name), Err(TopicError::Nul));
        }
    }

    #[test]
    fn a_name_has_at_most_65535_bytes() {
        let longest = "a".repeat(65_535);
        assert!(TopicName::parse(&longest).is_ok());
        assert_eq!(TopicName::parse(&(longest + "a")), Err(TopicError::TooLong));
    }

    #[test]
    fn a_dollar_is_special_only_in_front() {
        assert!(TopicName::parse("$SYS/a").unwrap().is_system());
        assert!(TopicName::parse("$").unwrap().is_system());
        assert!(!TopicName::parse("a/$SYS").unwrap().is_system());
        let name = TopicName::parse("a/$SYS").unwrap();
        assert!(TopicFilter::parse("a/+").unwrap().matches(name));
    }

    #[test]
    fn levels_are_counted_with_the_empty_ones() {
        for (name, levels) in [("a", 1), ("/", 2), ("a/b", 2), ("//", 3), ("a//b/", 4)] {
            assert_eq!(TopicName::parse(name).unwrap().levels(), levels, "{name}");
        }
    }
}
