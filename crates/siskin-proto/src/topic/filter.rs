use core::fmt;

use super::{TopicError, TopicName, check, levels, share};

/// What a client subscribes to: a topic name in which levels may be wildcards, shared by several clients
/// if it begins with `$share/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter<'a> {
    text: &'a str,
    /// Where the part begins that is matched.
    start: u16,
    has_wildcard: bool,
}

impl<'a> TopicFilter<'a> {
    /// Checks that `text` is a topic filter, shared or not.
    pub fn parse(text: &'a str) -> Result<Self, TopicError> {
        check(text)?;
        if text.bytes().any(|byte| byte == 0) {
            return Err(TopicError::Nul); // [MQTT-4.7.3-2]
        }
        let start = share::filter_start(text)?;
        let has_wildcard = check_wildcards(&text[start..])?;
        Ok(Self { text, start: start as u16, has_wildcard })
    }

    /// The whole text as the client sent it, `$share/` included. [MQTT5 4.7.3-4]
    #[inline]
    pub const fn as_str(self) -> &'a str {
        self.text
    }

    /// The share name, if the subscription is shared.
    pub fn share(self) -> Option<&'a str> {
        share::name(self.text, usize::from(self.start))
    }

    /// The part that is matched: what follows `$share/NAME/`, or all.
    #[inline]
    pub fn filter(self) -> &'a str {
        &self.text[usize::from(self.start)..]
    }

    /// Whether a level is `+` or `#`.
    #[inline]
    pub const fn has_wildcard(self) -> bool {
        self.has_wildcard
    }

    /// How many levels the part that is matched has, empty ones included.
    pub fn levels(self) -> usize {
        levels(self.filter())
    }

    /// Whether messages on `name` go to this subscription. Reads both once, level by level; a router
    /// finds all filters that match at once, and is measured against this.
    pub fn matches(self, name: TopicName<'_>) -> bool {
        let filter = self.filter();
        // [MQTT-4.7.2-1]
        if name.is_system() && filter.starts_with(['#', '+']) {
            return false;
        }
        let mut names = name.as_str().split('/');
        for level in filter.split('/') {
            match (level, names.next()) {
                // Also where no level is left: "a/#" matches "a".
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (level, Some(name)) if level == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

impl fmt::Display for TopicFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// Whether there are wildcards, if all are where they may be.
fn check_wildcards(filter: &str) -> Result<bool, TopicError> {
    let mut levels = filter.split('/').peekable();
    let mut found = false;
    while let Some(level) = levels.next() {
        match level {
            "+" => found = true,
            "#" if levels.peek().is_none() => found = true,
            _ if level.contains('#') => return Err(TopicError::MultiLevel), // [MQTT-4.7.1-2]
            _ if level.contains('+') => return Err(TopicError::SingleLevel), // [MQTT-4.7.1-3]
            _ => {}
        }
    }
    Ok(found)
}
