//! Topic names and topic filters, as types that cannot be wrong.

use core::fmt;

mod filter;
mod name;
mod share;

pub use filter::TopicFilter;
pub use name::TopicName;

/// Why a text is no topic name or no topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// It has no character. [MQTT-4.7.3-1]
    Empty,
    /// It has more than 65,535 bytes. [MQTT-4.7.3-3]
    TooLong,
    /// It holds U+0000. [MQTT-4.7.3-2]
    Nul,
    /// A topic name holds `+` or `#`. [MQTT-3.3.2-2] [MQTT-4.7.1-1]
    Wildcard,
    /// `#` is not a level of its own, or not the last one. [MQTT-4.7.1-2]
    MultiLevel,
    /// `+` is not a level of its own. [MQTT-4.7.1-3]
    SingleLevel,
    /// `$share/` is not followed by a share name without wildcards. [MQTT5 4.8.2-1]
    ShareName,
    /// The share name is not followed by a filter. [MQTT5 4.8.2-2]
    ShareFilter,
}

impl core::error::Error for TopicError {}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "is empty",
            Self::TooLong => "has more than 65,535 bytes",
            Self::Nul => "holds U+0000",
            Self::Wildcard => "holds a wildcard",
            Self::MultiLevel => "has # not alone in its last level",
            Self::SingleLevel => "has + not alone in a level",
            Self::ShareName => "has no valid share name",
            Self::ShareFilter => "has a share name and no filter",
        })
    }
}

/// The longest name or filter: what the two length bytes in front of a string can say.
const TOPIC_BYTES_MAX: usize = 65_535;

/// What every name and every filter must keep.
#[inline]
fn check(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty); // [MQTT-4.7.3-1]
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong); // [MQTT-4.7.3-3]
    }
    Ok(())
}

/// How many levels a text has.
fn levels(text: &str) -> usize {
    1 + text.bytes().filter(|byte| *byte == b'/').count()
}
