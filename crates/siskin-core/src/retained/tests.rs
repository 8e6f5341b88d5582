use std::collections::BTreeMap;

use proptest::prelude::*;
use siskin_proto::{Properties, Qos, TopicFilter, TopicName};

use super::*;
use crate::message::Parts;

pub(super) fn message(topic: &str, payload: &str, expires_at: Option<Now>) -> Message {
    let parts = Parts {
        topic,
        properties: Properties::EMPTY,
        payload: payload.as_bytes(),
        qos: Qos::AtMostOnce,
        retain: true,
        publisher: None,
        received_at: Now::default(),
        expires_at,
        kept_until: None,
        record: None,
    };
    Message::new(parts, None)
}

fn retained(topics: &[&str]) -> Retained {
    let mut retained = unlimited();
    for topic in topics {
        retained.insert(message(topic, "x", None)).unwrap();
    }
    retained
}

fn unlimited() -> Retained {
    Retained::new(usize::MAX, usize::MAX, 7)
}

fn found(retained: &Retained, filter: &str) -> Vec<String> {
    let mut out = Vec::new();
    assert!(!retained.matches(filter, None, usize::MAX, Now::default(), &mut out));
    topics(&out)
}

fn topics(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| message.topic().to_owned()).collect()
}

const VISITS_FREE: usize = usize::MAX;

#[test]
fn a_message_replaces_the_one_of_the_same_topic() {
    let mut retained = unlimited();
    assert!(retained.insert(message("a/b", "one", None)).unwrap().is_none());
    let replaced = retained.insert(message("a/b", "other", None)).unwrap();
    assert_eq!(replaced.unwrap().payload(), b"one");
    assert_eq!(retained.get("a/b").unwrap().payload(), b"other");
    assert_eq!((retained.len(), retained.bytes()), (1, message("a/b", "other", None).size()));
    assert_eq!(retained.remove("a/b").unwrap().payload(), b"other");
    assert!(retained.remove("a/b").is_none() && retained.get("a/b").is_none());
    assert_eq!((retained.len(), retained.bytes()), (0, 0));
}

#[test]
fn a_new_topic_is_refused_when_the_count_is_full_but_a_replacement_is_not() {
    let mut retained = Retained::new(2, usize::MAX, 7);
    retained.insert(message("a", "1", None)).unwrap();
    retained.insert(message("b", "2", None)).unwrap();
    assert_eq!(retained.insert(message("c", "3", None)).unwrap_err(), Full);
    assert!(retained.insert(message("a", "4", None)).unwrap().is_some());
    retained.remove("a");
    assert!(retained.insert(message("c", "5", None)).unwrap().is_none());
}

#[test]
fn a_message_that_exceeds_the_bytes_is_refused_and_the_old_one_stays() {
    let (small, large) = (message("a", "1", None), message("a", "longer", None));
    let mut retained = Retained::new(10, small.size() * 2, 7);
    retained.insert(small.clone()).unwrap();
    retained.insert(message("b", "2", None)).unwrap();
    assert_eq!(retained.insert(large.clone()).unwrap_err(), Full);
    assert_eq!(retained.insert(message("c", "", None)).unwrap_err(), Full);
    assert_eq!(retained.get("a").unwrap().payload(), b"1");
    assert!(retained.insert(small.clone()).unwrap().is_some());
    assert_eq!((retained.len(), retained.bytes()), (2, small.size() * 2));
    retained.remove("b");
    assert!(retained.insert(large).unwrap().is_some());
}

#[test]
fn wildcards_find_what_they_match_in_the_order_of_topics() {
    let retained =
        retained(&["/", "a", "a/", "a/b", "a/b/c", "a/c", "a!", "ab", "b/b", "$SYS/a", "$SYS/b/b"]);
    assert_eq!(found(&retained, "a/#"), ["a", "a/", "a/b", "a/b/c", "a/c"]);
    assert_eq!(found(&retained, "+/b"), ["a/b", "b/b"]);
    assert_eq!(found(&retained, "+/b/#"), ["a/b", "a/b/c", "b/b"]);
    assert_eq!(found(&retained, "a/+"), ["a/", "a/b", "a/c"]);
    assert_eq!(found(&retained, "+"), ["a", "a!", "ab"]);
    assert_eq!(found(&retained, "/+"), ["/"]);
    assert_eq!(found(&retained, "a/b"), ["a/b"]);
    assert_eq!(found(&retained, "$SYS/#"), ["$SYS/a", "$SYS/b/b"]);
    assert_eq!(found(&retained, "#").len(), 9);
}

fn swept(retained: &mut Retained, after: Option<&str>, max: usize) -> (usize, Option<String>) {
    let (expired, next) = retained.sweep(after, max, Now::default().plus_s(2));
    (expired.len(), next)
}

#[test]
fn an_expired_message_is_not_delivered_and_goes_with_the_next_sweep() {
    let mut retained = unlimited();
    for (topic, expires_s) in [("a", 1), ("b", 2), ("c", 3)] {
        retained.insert(message(topic, "", Some(Now::default().plus_s(expires_s)))).unwrap();
    }
    retained.insert(message("d", "", None)).unwrap();
    let now = Now::default().plus_s(2);
    let mut out = Vec::new();
    assert!(!retained.matches("#", None, usize::MAX, now, &mut out));
    assert_eq!(topics(&out), ["c", "d"]);
    assert_eq!(retained.len(), 4);
    assert_eq!(swept(&mut retained, None, 1), (1, Some("a".into())));
    assert_eq!(swept(&mut retained, Some("a"), 2), (1, Some("c".into())));
    assert_eq!(swept(&mut retained, Some("c"), 2), (0, None));
    assert_eq!(
        (retained.len(), retained.bytes()),
        (2, out.iter().map(super::super::message::Message::size).sum())
    );
}

#[test]
fn a_page_ends_when_it_has_looked_at_enough_and_the_next_goes_on_there() {
    let all: Vec<_> = (0..100).map(|number| format!("{number:02}/a/{}", number % 10)).collect();
    let retained = retained(&all.iter().map(String::as_str).collect::<Vec<_>>());
    for visits in [1, 7, 1000] {
        let (mut out, mut after, mut pages) = (Vec::new(), None::<String>, 0);
        loop {
            let page = Page { matches: 3, visits };
            after = retained.page("+/+/5", after.as_deref(), page, Now::default(), &mut out);
            pages += 1;
            if after.is_none() {
                break;
            }
        }
        let expected: Vec<_> = all.iter().filter(|topic| topic.ends_with('5')).cloned().collect();
        assert_eq!(topics(&out), expected);
        assert!(pages >= 100_usize.div_ceil(visits).max(3), "{pages} pages of {visits} visits");
    }
}

#[test]
fn a_topic_of_65535_slashes_is_found() {
    let deep = "/".repeat(65_535);
    let retained = retained(&["a", &deep, "b"]);
    for filter in ["+/".repeat(32_767) + "#", "/".repeat(65_534) + "#", deep.clone()] {
        assert!(found(&retained, &filter) == std::slice::from_ref(&deep));
    }
}

fn level() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[abc]",
        2 => Just(String::new()),
        1 => prop_oneof!["\\$", "a!", "a\u{1}", "\u{feff}", Just("longlong".to_owned())],
    ]
}

fn topic() -> impl Strategy<Value = String> {
    prop::collection::vec(level(), 1..5)
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a topic", |topic| TopicName::parse(topic).is_ok())
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => level(), 2 => Just("+".to_owned())];
    let filter = (prop::collection::vec(level, 1..5), any::<bool>())
        .prop_map(|(levels, hash)| levels.join("/") + if hash { "/#" } else { "" });
    prop_oneof![9 => filter, 1 => Just("#".to_owned())]
        .prop_filter("a filter", |filter| TopicFilter::parse(filter).is_ok())
}

/// A message that comes, with its expiry, or goes, on a topic.
fn changes(most: usize) -> impl Strategy<Value = Vec<(String, Option<Option<u32>>)>> {
    let change =
        prop_oneof![3 => Just(Some(None)), 1 => (0..4_u32).prop_map(|s| Some(Some(s))), 1 => Just(None)];
    prop::collection::vec((topic(), change), 0..most)
}

/// The retained messages by topic, with their expiry.
type Model = BTreeMap<String, Option<Now>>;

fn apply(retained: &mut Retained, model: &mut Model, changes: Vec<(String, Option<Option<u32>>)>) {
    for (topic, change) in changes {
        match change {
            Some(expires_s) => {
                let expires_at = expires_s.map(|seconds| Now::default().plus_s(seconds));
                retained.insert(message(&topic, "x", expires_at)).unwrap();
                model.insert(topic, expires_at);
            }
            None => {
                assert_eq!(retained.remove(&topic).is_some(), model.remove(&topic).is_some());
            }
        }
    }
}

fn expected(model: &Model, filter: &str, now: Now) -> Vec<String> {
    let filter = TopicFilter::parse(filter).unwrap();
    let mut topics: Vec<_> = model
        .iter()
        .filter(|(topic, _)| filter.matches(TopicName::parse(topic).unwrap()))
        .filter(|(_, expires_at)| expires_at.is_none_or(|at| at > now))
        .map(|(topic, _)| topic.clone())
        .collect();
    topics.sort_by(|one, other| order(one, other));
    topics
}

proptest! {
    #[test]
    fn pages_of_every_size_make_up_what_a_linear_scan_finds(
        changes in changes(60), filter in filter(), now_s in 0..4_u32
    ) {
        let (mut retained, mut model) = (unlimited(), Model::new());
        apply(&mut retained, &mut model, changes);
        let now = Now::default().plus_s(now_s);
        let expected = expected(&model, &filter, now);
        for max in 1..=expected.len() + 1 {
            let mut all = Vec::new();
            let mut more = true;
            while more {
                let before = all.len();
                let after = all.last().map(|message: &Message| message.topic().to_owned());
                more = retained.matches(&filter, after.as_deref(), max, now, &mut all);
                prop_assert!(all.len() - before == max || (!more && all.len() - before < max));
            }
            prop_assert_eq!(topics(&all), &expected[..]);
        }
    }

    #[test]
    fn what_is_there_all_the_time_is_delivered_once_whatever_changes_between_the_pages(
        first in changes(60), meanwhile in prop::collection::vec(changes(10), 0..12), filter in filter(),
        matches in 1..5_usize, visits in prop_oneof![1..10_usize, Just(VISITS_FREE)]
    ) {
        let (mut retained, mut model) = (unlimited(), Model::new());
        let now = Now::default().plus_s(2);
        apply(&mut retained, &mut model, first);
        let mut always = expected(&model, &filter, now);
        let (mut out, mut after) = (Vec::new(), None::<String>);
        let mut meanwhile = meanwhile.into_iter();
        loop {
            after = retained.page(&filter, after.as_deref(), Page { matches, visits }, now, &mut out);
            if after.is_none() {
                break;
            }
            apply(&mut retained, &mut model, meanwhile.next().unwrap_or_default());
            let still = expected(&model, &filter, now);
            always.retain(|topic| still.contains(topic));
        }
        let delivered = topics(&out);
        prop_assert!(delivered.is_sorted_by(|one, other| order(one, other).is_lt()), "twice: {:?}", delivered);
        for topic in always {
            prop_assert!(delivered.contains(&topic), "{} is missing", topic);
        }
    }

    #[test]
    fn a_sweep_forgets_the_expired_and_nothing_else(changes in changes(60), max in 1..10_usize) {
        let (mut retained, mut model) = (unlimited(), Model::new());
        apply(&mut retained, &mut model, changes);
        let now = Now::default().plus_s(2);
        let (mut swept, mut after) = (0, None::<String>);
        loop {
            let (gone, next) = retained.sweep(after.as_deref(), max, now);
            swept += gone.len();
            after = next;
            if after.is_none() {
                break;
            }
        }
        let before = model.len();
        model.retain(|_, expires_at| expires_at.is_none_or(|at| at > now));
        prop_assert_eq!(swept, before - model.len());
        prop_assert_eq!(retained.len(), model.len());
        let bytes: usize = model.keys().filter_map(|topic| retained.get(topic)).map(super::super::message::Message::size).sum();
        prop_assert_eq!(retained.bytes(), bytes);
    }
}
