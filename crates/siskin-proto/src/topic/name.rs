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
        if has_special(text.as_bytes()) {
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

/// Whether there is U+0000 or a wildcard in `text`.
#[inline]
fn has_special(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk() else {
        return text.iter().any(|byte| matches!(byte, 0 | b'+' | b'#'));
    };
    // Topics are too short for vectors to begin. The last eight bytes may be seen twice in part.
    let (words, _) = text.as_chunks();
    words.iter().chain([last]).fold(0, |found, word| found | specials(u64::from_le_bytes(*word))) != 0
}

/// Anything but 0 if one of the eight bytes is 0, `+` or `#`.
#[inline]
const fn specials(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // From 0 the subtraction borrows. So it may from the byte above, but there is a 0 then all the same.
    const fn zeros(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & HIGH
    }
    // The wildcards differ in this bit alone.
    const DIFFERENCE: u8 = b'+' ^ b'#';
    zeros(word) | zeros((word | (ONES * DIFFERENCE as u64)) ^ (ONES * b'+' as u64))
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
    fn every_byte_is_looked_at_wherever_it_is() {
        for len in 1..40 {
            for at in 0..len {
                for byte in 0..128_u8 {
                    let mut name = vec![b'a'; len];
                    name[at] = byte;
                    let wanted = match byte {
                        0 => Err(TopicError::Nul),
                        b'+' | b'#' => Err(TopicError::Wildcard),
                        _ => Ok(()),
                    };
                    let name = core::str::from_utf8(&name).unwrap();
                    assert_eq!(TopicName::parse(name).map(|_| ()), wanted, "{name:?}");
                }
            }
        }
        for name in ["\u{80}\u{FF}\u{AB}\u{A3}\u{2B}", "\u{123}\u{12B}\u{100}ĀĀĀĀĀĀ", "ЀЀЀЀЀЀЀ𐀀𐀀"]
        {
            assert_eq!(TopicName::parse(name).is_ok(), !name.contains('+'), "{name}");
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
