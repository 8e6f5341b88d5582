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
