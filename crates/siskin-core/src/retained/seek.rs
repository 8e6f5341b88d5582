//! Where, among sorted topics, the next one lies that a filter could match.

/// What a filter says to a topic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Match,
    /// It does not match, nor does any before the place that was written into `next`.
    Seek,
    /// Neither this one nor any behind it matches.
    End,
}

/// The place before which nothing matches: the levels of the filter in front of the first wildcard.
pub(super) fn first_place(filter: &str) -> &str {
    let wildcard = filter.find(['+', '#']).unwrap_or(filter.len());
    filter[..wildcard].strip_suffix('/').filter(|_| wildcard < filter.len()).unwrap_or(&filter[..wildcard])
}

/// Matches `topic` and, if it does not match, finds the place to go on from: always behind `topic`, and as far
/// as can be told from this one topic.
pub(super) fn verdict(filter: &str, topic: &str, next: &mut String) -> Verdict {
    next.clear();
    // [MQTT-4.7.2-1] The topics that begin with a `$` lie together; `%` is the character behind it.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        next.push('%');
        return Verdict::Seek;
    }
    // The end of the level that the last `+` stands for: what may still change when all behind it is too far.
    let mut any = None;
    // The beginning of the level, while there is one.
    let mut at = Some(0);
    for level in filter.split('/') {
        if level == "#" {
            return Verdict::Match;
        }
        let Some(start) = at else {
            // What could match lies below this topic.
            next.extend([topic, "/", if level == "+" { "" } else { level }]);
            return Verdict::Seek;
        };
        let end = topic[start..].find('/').map_or(topic.len(), |length| start + length);
        if level == "+" {
            any = Some(end);
        } else if &topic[start..end] < level {
            next.extend([&topic[..start], level]);
            return Verdict::Seek;
        } else if &topic[start..end] > level {
            return pass(topic, any, next);
        }
        at = (end < topic.len()).then_some(end + 1);
    }
    if at.is_none() { Verdict::Match } else { pass(topic, any, next) }
}

/// Goes behind everything that has the same levels up to `end`.
fn pass(topic: &str, end: Option<usize>, next: &mut String) -> Verdict {
    let Some(end) = end else { return Verdict::End };
    // The smallest text behind everything below a topic ends in the character that follows `/` in the order.
    next.extend([&topic[..end], "\u{1}"]);
    Verdict::Seek
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;
    use siskin_proto::{TopicFilter, TopicName};

    use super::super::sorted::order;
    use super::*;

    fn seek(filter: &str, topic: &str) -> Option<String> {
        let mut next = String::new();
        (verdict(filter, topic, &mut next) == Verdict::Seek).then_some(next)
    }

    #[test]
    fn ranges_that_cannot_match_are_passed_at_once() {
        assert_eq!(seek("+/x/#", "a").as_deref(), Some("a/x"));
        assert_eq!(seek("+/x/#", "a/b/c").as_deref(), Some("a/x"));
        assert_eq!(seek("+/x/#", "a/y/c").as_deref(), Some("a\u{1}"));
        assert_eq!(seek("a/+/c", "a/b/c/d").as_deref(), Some("a/b\u{1}"));
        assert_eq!(seek("a/+", "a").as_deref(), Some("a/"));
        assert_eq!(seek("#", "$SYS/x").as_deref(), Some("%"));
        let mut next = String::new();
        assert_eq!(verdict("a/b/+", "a/c", &mut next), Verdict::End);
        assert_eq!(verdict("a/b", "a/b/c", &mut next), Verdict::End);
    }

    #[test]
    fn the_first_place_is_in_front_of_everything_that_could_match() {
        for (filter, place) in
            [("a/b", "a/b"), ("a/b/#", "a/b"), ("a/+/c", "a"), ("#", ""), ("/+", ""), ("a/", "a/")]
        {
            assert_eq!(first_place(filter), place);
        }
    }

    proptest! {
        #[test]
        fn no_match_lies_between_a_topic_and_the_place_to_go_on_from(
            filter in "[ab$+/]{0,7}(/?#)?", topic in "[ab$/]{1,8}", other in "[ab$/]{1,8}"
        ) {
            let (Ok(filter), Ok(topic), Ok(other)) =
                (TopicFilter::parse(&filter), TopicName::parse(&topic), TopicName::parse(&other))
            else { return Ok(()) };
            prop_assume!(filter.share().is_none());
            let mut next = String::new();
            let verdict = verdict(filter.as_str(), topic.as_str(), &mut next);
            prop_assert_eq!(verdict == Verdict::Match, filter.matches(topic));
            let is_behind = order(other.as_str(), topic.as_str()) == Ordering::Greater;
            if filter.matches(other) {
                prop_assert_ne!(order(other.as_str(), first_place(filter.as_str())), Ordering::Less);
                prop_assert!(verdict != Verdict::End || !is_behind);
                prop_assert!(verdict != Verdict::Seek || !is_behind || order(other.as_str(), &next).is_ge());
            }
            prop_assert!(verdict != Verdict::Seek || order(&next, topic.as_str()).is_gt());
        }
    }
}
