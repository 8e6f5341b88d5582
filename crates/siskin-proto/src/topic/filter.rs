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

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filter: &str, name: &str) -> bool {
        TopicFilter::parse(filter).unwrap().matches(TopicName::parse(name).unwrap())
    }

    #[test]
    fn a_filter_has_at_least_one_character() {
        assert_eq!(TopicFilter::parse(""), Err(TopicError::Empty));
        for filter in ["a", "/", "+", "#", "\u{FEFF}"] {
            assert_eq!(TopicFilter::parse(filter).map(TopicFilter::as_str), Ok(filter));
        }
    }

    #[test]
    fn a_filter_holds_no_u_0000() {
        for filter in ["\0", "a\0", "+/\0", "$share/\0/a", "$share/a/\0"] {
            assert_eq!(TopicFilter::parse(filter), Err(TopicError::Nul));
        }
    }

    #[test]
    fn a_filter_has_at_most_65535_bytes() {
        let longest = "/".repeat(65_535);
        assert_eq!(TopicFilter::parse(&longest).unwrap().levels(), 65_536);
        assert_eq!(TopicFilter::parse(&(longest + "/")), Err(TopicError::TooLong));
    }

    #[test]
    fn a_multi_level_wildcard_stands_alone_in_the_last_level() {
        for filter in ["#", "a/#", "/#", "+/#", "$SYS/#"] {
            assert!(TopicFilter::parse(filter).unwrap().has_wildcard(), "{filter}");
        }
        for filter in ["a#", "#a", "a/b#", "#/a", "a/#/b", "##", "#/", "#/#", "+#", "#+"] {
            assert_eq!(TopicFilter::parse(filter), Err(TopicError::MultiLevel), "{filter}");
        }
    }

    #[test]
    fn a_single_level_wildcard_fills_its_level() {
        for filter in ["+", "+/a", "a/+", "a/+/b", "/+", "+/", "+/+"] {
            assert!(TopicFilter::parse(filter).unwrap().has_wildcard(), "{filter}");
        }
        for filter in ["a+", "+a", "a/b+", "++", "a/+b/c", "+a/+"] {
            assert_eq!(TopicFilter::parse(filter), Err(TopicError::SingleLevel), "{filter}");
        }
    }

    #[test]
    fn wildcards_stand_for_levels() {
        for (filter, name) in [
            ("a", "a"),
            ("a/b", "a/b"),
            ("#", "a"),
            ("#", "/"),
            ("#", "a/b/c"),
            ("a/#", "a"),
            ("a/#", "a/"),
            ("a/#", "a/b/c"),
            ("+", "a"),
            ("+/+", "/"),
            ("/+", "/a"),
            ("+/b", "a/b"),
            ("a/+/c", "a/b/c"),
            ("a/+/c", "a//c"),
            ("a/+/#", "a/b"),
            ("/", "/"),
        ] {
            assert!(matches(filter, name), "{filter} {name}");
        }
        for (filter, name) in [
            ("a", "b"),
            ("a", "a/"),
            ("a", "/a"),
            ("a", "A"),
            ("a/b", "a"),
            ("+", "/a"),
            ("+", "a/b"),
            ("a/+", "a"),
            ("a/+", "a/b/c"),
            ("a/+/#", "a"),
            ("a/#", "ab"),
            ("/#", "a"),
        ] {
            assert!(!matches(filter, name), "{filter} {name}");
        }
    }

    #[test]
    fn a_wildcard_in_front_does_not_match_a_dollar() {
        for filter in ["#", "+/a", "+/#", "+"] {
            assert!(!matches(filter, "$SYS/a") && !matches(filter, "$SYS"), "{filter}");
        }
        for filter in ["$SYS/#", "$SYS/+", "$SYS/a"] {
            assert!(matches(filter, "$SYS/a"), "{filter}");
        }
        assert!(!matches("$share/g/#", "$SYS/a"));
        assert!(matches("$share/g/$SYS/#", "$SYS/a"));
    }

    #[test]
    fn characters_are_compared_as_they_are() {
        // Composed and decomposed, with and without a byte order mark, upper and lower case.
        for (filter, name) in [("\u{C4}", "A\u{308}"), ("a", "\u{FEFF}a"), ("A", "a"), ("K", "\u{212A}")] {
            assert!(!matches(filter, name), "{filter} {name}");
            assert!(matches(filter, filter));
        }
        assert_eq!(TopicFilter::parse("A\u{308}/+").unwrap().as_str(), "A\u{308}/+");
    }

    #[test]
    fn a_shared_filter_has_a_share_name_and_a_filter() {
        for (text, share, filter) in [
            ("$share/g/a", "g", "a"),
            ("$share/g//", "g", "/"),
            ("$share/g/#", "g", "#"),
            ("$share/ä b/+/c", "ä b", "+/c"),
            ("$share/$share/$share/g", "$share", "$share/g"),
        ] {
            let parsed = TopicFilter::parse(text).unwrap();
            assert_eq!((parsed.as_str(), parsed.share(), parsed.filter()), (text, Some(share), filter));
        }
        for text in ["a/b", "$SYS/#", "$shared/g/a", "$shar/g/a", "a/$share/g/b", "$Share/g/a"] {
            let parsed = TopicFilter::parse(text).unwrap();
            assert_eq!((parsed.share(), parsed.filter()), (None, text));
        }
    }

    #[test]
    fn a_share_name_has_a_character_and_no_wildcard() {
        for text in [
            "$share",
            "$share/",
            "$share//a",
            "$share//",
            "$share/+/a",
            "$share/#/a",
            "$share/g+/a",
            "$share/#",
        ] {
            assert_eq!(TopicFilter::parse(text), Err(TopicError::ShareName), "{text}");
        }
    }

    #[test]
    fn a_share_name_is_followed_by_a_filter() {
        for text in ["$share/g", "$share/g/"] {
            assert_eq!(TopicFilter::parse(text), Err(TopicError::ShareFilter), "{text}");
        }
        assert_eq!(TopicFilter::parse("$share/g/#/a"), Err(TopicError::MultiLevel));
        assert_eq!(TopicFilter::parse("$share/g/a+"), Err(TopicError::SingleLevel));
    }

    #[test]
    fn a_name_of_65535_slashes_is_matched_without_recursion() {
        let name = "/".repeat(65_535);
        assert!(matches(&name, &name));
        assert!(matches(&("+/".repeat(32_767) + "#"), &name));
    }
}
