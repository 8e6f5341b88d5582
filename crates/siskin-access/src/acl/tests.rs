//! What an ACL file means, by example and against the linear model.

use proptest::prelude::*;

use super::linear::{self, Line};
use super::{Access, Acl, Because, Rules, Who};
use crate::Problem;

fn rules(text: &str, user: Option<&str>, client_id: &str) -> Rules {
    Acl::parse(text).unwrap().for_client(Who { user, client_id })
}

/// What of `topics` may be read and written, as `rw`, `r-`, `-w` and `--`.
fn rights(rules: &Rules, topics: &[&str]) -> Vec<String> {
    let both = |topic: &&str| {
        let read = if rules.check(Access::Read, topic).allowed { "r" } else { "-" };
        let write = if rules.check(Access::Write, topic).allowed { "w" } else { "-" };
        read.to_owned() + write
    };
    topics.iter().map(both).collect()
}

fn mistakes(text: &str) -> Vec<String> {
    Acl::parse(text).unwrap_err().iter().map(ToString::to_string).collect()
}

fn warnings(text: &str) -> Vec<(usize, usize, Problem)> {
    let acl = Acl::parse(text).unwrap();
    acl.warnings().iter().map(|warning| (warning.line, warning.column, warning.problem.clone())).collect()
}

#[test]
fn access_types_give_what_they_say_and_none_gives_both() {
    let acl = rules("topic read r\ntopic write w\ntopic readwrite rw\ntopic both\ntopic deny d\n", None, "c");
    assert_eq!(rights(&acl, &["r", "w", "rw", "both", "d", "other"]), ["r-", "-w", "rw", "rw", "--", "--"]);
}

#[test]
fn nothing_is_allowed_by_an_empty_file() {
    let acl = rules("", Some("bob"), "c");
    assert_eq!(acl.check(Access::Read, "a").because, Because::NoRule);
    assert_eq!(rights(&acl, &["a"]), ["--"]);
}

#[test]
fn rules_before_the_first_user_are_only_for_clients_without_a_name() {
    let text =
        "topic read open\nuser bob\ntopic read bobs\nuser al\ntopic read als\nuser bob\ntopic read more\n";
    let topics = ["open", "bobs", "als", "more"];
    assert_eq!(rights(&rules(text, None, "c"), &topics), ["r-", "--", "--", "--"]);
    assert_eq!(rights(&rules(text, Some("bob"), "c"), &topics), ["--", "r-", "--", "r-"]);
    assert_eq!(rights(&rules(text, Some("al"), "c"), &topics), ["--", "--", "r-", "--"]);
    assert_eq!(rights(&rules(text, Some("eve"), "c"), &topics), ["--", "--", "--", "--"]);
}

#[test]
fn a_denial_counts_wherever_it_stands_and_for_reading_and_writing() {
    let acl = rules("topic readwrite a/#\ntopic deny a/+/secret\ntopic read a/b/secret\n", None, "c");
    assert_eq!(rights(&acl, &["a", "a/b", "a/b/secret", "a/b/secret/x"]), ["rw", "rw", "--", "rw"]);
    assert_eq!(acl.check(Access::Read, "a/b/secret").to_string(), "denied by line 2: topic deny a/+/secret");
}

#[test]
fn a_users_own_rule_beats_the_denial_of_a_pattern() {
    let acl = rules("pattern deny %c/#\npattern read %c/open\nuser bob\ntopic read c/x\n", Some("bob"), "c");
    assert_eq!(rights(&acl, &["c/x", "c/y", "c/open"]), ["r-", "--", "--"]);
    assert_eq!(acl.check(Access::Write, "c/x").to_string(), "denied by line 1: pattern deny %c/#");
}

#[test]
fn patterns_put_in_client_id_and_user_name_where_they_are_whole_levels() {
    let text = "pattern read c/%c/+\npattern write %u/%c\npattern read x%u/%c\n";
    let acl = rules(text, Some("bob"), "id");
    let topics = ["c/id/x", "c/other/x", "bob/id", "id/bob", "xbob/id", "x%u/id", "c/%c/x"];
    assert_eq!(rights(&acl, &topics), ["r-", "--", "-w", "--", "--", "r-", "--"]);
    assert_eq!(rights(&rules(text, None, "id"), &["c/id/x", "/id", "%u/id"]), ["r-", "--", "--"]);
}

#[test]
fn names_with_slashes_span_levels_and_names_with_wildcards_match_no_pattern() {
    let text = "pattern readwrite d/%c/#\npattern read all\ntopic read own\n";
    assert_eq!(
        rights(&rules(text, None, "a/b"), &["d/a/b", "d/a/b/c", "d/a/c", "d/a"]),
        ["rw", "rw", "--", "--"]
    );
    for id in ["+", "#", "a+"] {
        let acl = rules(text, None, id);
        assert_eq!(rights(&acl, &["d/x", "all", "own"]), ["--", "--", "r-"], "{id}");
        assert_eq!(acl.check(Access::Read, "all").because, Because::WildcardInName);
    }
    assert_eq!(rules("topic read own\n", None, "#").check(Access::Read, "x").because, Because::NoRule);
}

#[test]
fn system_topics_need_rules_with_a_dollar_and_are_written_only_by_bridges() {
    let text =
        "topic readwrite #\ntopic readwrite +/broker/+\ntopic readwrite $SYS/#\ntopic readwrite $q/#\n";
    let topics =
        ["$SYS/broker/uptime", "$SYS/broker/connection/b/state", "$SYS/broker/connection/b/c/state", "$q/a"];
    assert_eq!(rights(&rules(text, None, "c"), &topics), ["r-", "rw", "r-", "rw"]);
    assert_eq!(
        rights(&rules("topic #\ntopic +/a\n", None, "c"), &["$SYS/a", "$q/a", "a/a"]),
        ["--", "--", "rw"]
    );
    assert_eq!(rights(&rules("pattern %c/a\n", None, "$q"), &["$q/a"]), ["--"]);
}

#[test]
fn shared_names_are_for_subscriptions_only_and_every_subscription_is_granted() {
    let acl = rules("topic deny #\ntopic readwrite $share/#\n", None, "c");
    assert_eq!(rights(&acl, &["$share/g/a"]), ["--"]);
    for access in [Access::Subscribe, Access::Unsubscribe] {
        for filter in ["#", "$share/g/a", "$SYS/#", "a/+"] {
            let decision = acl.check(access, filter);
            assert!(decision.allowed && decision.because == Because::NotChecked);
        }
    }
}

#[test]
fn wildcards_match_as_in_subscriptions() {
    let cases = [
        ("a/#", "a", true),
        ("a/#", "a/", true),
        ("a/#", "a/b/c", true),
        ("a/#", "ab", false),
        ("+", "a", true),
        ("+", "/a", false),
        ("+/+", "/", true),
        ("+/+/#", "a/", true),
        ("a/+/+", "a/", false),
        ("/#", "/", true),
        ("a/+/c", "a//c", true),
        ("a//c", "a//c", true),
        ("#", "/", true),
    ];
    for (filter, topic, is_match) in cases {
        let acl = rules(&format!("topic read {filter}\n"), None, "c");
        assert_eq!(acl.check(Access::Read, topic).allowed, is_match, "{filter} {topic}");
    }
}

#[test]
fn spaces_comments_and_line_ends_are_as_mosquitto_takes_them() {
    let text =
        "# comment\r\n\r\n  topic   read   my topic  \r\n \t \nuser  the boss \t\r\ntopic readwrite  a  b";
    assert_eq!(rights(&rules(text, None, "c"), &["my topic"]), ["r-"]);
    assert_eq!(rights(&rules(text, Some("the boss"), "c"), &["a  b", "my topic"]), ["rw", "--"]);
    let acl = Acl::parse(text).unwrap();
    let found: Vec<_> = acl.rules().iter().map(|rule| (rule.line, &*rule.text)).collect();
    assert_eq!(found, [(3, "topic   read   my topic"), (6, "topic readwrite  a  b")]);
}

#[test]
fn every_mistake_is_named_with_its_place() {
    let text = "topics a\n # late\ntopic\nuser \npattern \ntopic subscribe a\ntopic my topic\ntopic read a/b+/c\n\
                topic a/#/b\ntopic ok\nuser\ntopic\tread a\n";
    let expected = [
        "1:1: `topics` is not known: a line begins with `user `, `topic `, `pattern ` or #",
        "2:2: `#` is not known: a line begins with `user `, `topic `, `pattern ` or #",
        "3:6: the topic is missing",
        "4:5: the user name is missing",
        "5:8: the topic is missing",
        "6:7: `subscribe` is not an access type: read, write, readwrite or deny (needed if the topic has a space)",
        "7:7: `my` is not an access type: read, write, readwrite or deny (needed if the topic has a space)",
        "8:15: `+` must stand alone between slashes",
        "9:9: `#` must be the last level",
        "11:5: the user name is missing",
        "12:1: `topic\\tread` is not known: a line begins with `user `, `topic `, `pattern ` or #",
    ];
    assert_eq!(mistakes(text), expected);
}

#[test]
fn bytes_that_are_no_text_and_topics_without_bounds_are_mistakes() {
    let problem = |text: &[u8]| {
        let mistakes = Acl::parse(text).unwrap_err();
        (mistakes[0].line, mistakes[0].column, mistakes[0].problem.clone())
    };
    assert_eq!(problem(b"# \xff\ntopic \xc3\xa9\xff\n"), (2, 8, Problem::NotUtf8));
    assert_eq!(problem(b"topic a\0b\n"), (1, 8, Problem::Nul));
    assert_eq!(problem(format!("topic {}", "a".repeat(65_536)).as_bytes()).2, Problem::TopicTooLong);
    assert_eq!(problem(format!("topic {}", "/".repeat(201)).as_bytes()).2, Problem::TooManyLevels);
    let deepest = format!("topic {}#\n", "+/".repeat(200));
    assert_eq!(rights(&rules(&deepest, None, "c"), &["a", &"/".repeat(300)]), ["--", "rw"]);
}

#[test]
fn what_is_hardly_meant_gives_a_warning() {
    assert_eq!(warnings("topic read\n"), [(1, 7, Problem::AccessTakenForTopic("read".to_owned()))]);
    assert_eq!(warnings("topic read\ta\n"), [(1, 7, Problem::AccessTakenForTopic("read\ta".to_owned()))]);
    assert_eq!(warnings("\npattern read a/b\n"), [(2, 14, Problem::NothingToSubstitute)]);
    assert_eq!(warnings("pattern x%c/%u\n"), [(1, 9, Problem::SubstituteInLevel("%c"))]);
    assert_eq!(warnings("topic read read\ntopic a/%c\npattern %u/a\n"), []);
}

#[test]
fn a_subscription_that_could_bring_nothing_is_told_apart() {
    let text = "topic read a/+/c\ntopic write w\ntopic read e\ntopic deny a/x/#\ntopic read $SYS/#\npattern read n/%c/#\n";
    let acl = rules(text, None, "i/d");
    for filter in [
        "#", "a/#", "a/+/c", "a/b/c", "+/b/c", "e", "+", "$SYS/#", "$SYS/a", "n/#", "n/i/#", "n/i/+/x",
        "n/+/+",
    ] {
        assert!(acl.could_read(filter), "{filter}");
    }
    for filter in ["w", "a", "a/b", "a/x/c", "a/x/#", "b/#", "$SYS", "$q/#", "n/id/#", "n/i/x", "n/+", "e/+"]
    {
        assert_eq!(acl.could_read(filter), filter == "$SYS", "{filter}");
    }
    assert!(!rules("topic read a\ntopic deny #\n", None, "c").could_read("a"));
    assert!(!rules("topic read $SYS/#\n", None, "c").could_read("#"));
    assert!(rules("pattern deny #\ntopic read a\n", None, "c").could_read("a"));
    assert!(!rules("pattern deny %c/#\npattern read %c/a\n", None, "c").could_read("c/a"));
    assert!(!rules("topic deny n/#\npattern read n/%c\n", None, "c").could_read("n/c"));
    assert!(!rules("pattern read a\n", None, "+").could_read("a"));
}

#[test]
fn rules_of_a_client_outlive_the_acl_and_answer_as_it_does() {
    let acl = Acl::parse("pattern read %c\n").unwrap();
    let who = Who { user: None, client_id: "c" };
    assert_eq!(acl.check(who, Access::Read, "c").to_string(), "allowed by line 1: pattern read %c");
    let rules = acl.for_client(who);
    drop(acl);
    assert!(rules.check(Access::Read, "c").allowed);
}

const RIGHTS: [&str; 4] = ["read", "write", "readwrite", "deny"];
const USERS: [&str; 4] = ["bob", "al", "a/b", "x+"];
const IDS: [&str; 6] = ["c", "a", "a/b", "#", "$SYS", "b/b/a"];

fn level() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just(""), Just("$SYS"), Just("bob"), Just("c")]
}

fn topic() -> impl Strategy<Value = String> {
    prop_oneof![
        20 => prop::collection::vec(level(), 1..5).prop_map(|levels| levels.join("/")).prop_filter("no name", |name| !name.is_empty()),
        1 => Just("$SYS/broker/connection/a/state".to_owned()),
        1 => Just("$share/a".to_owned()),
    ]
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![6 => level(), 3 => Just("+"), 2 => Just("%c"), 2 => Just("%u"), 1 => Just("x%c")];
    (prop::collection::vec(level, 0..4), any::<bool>()).prop_map(|(mut levels, is_open)| {
        if is_open || levels.iter().all(|level| level.is_empty()) {
            levels.push("#");
        }
        levels.join("/")
    })
}

fn line() -> impl Strategy<Value = Line> {
    let right = || prop::sample::select(&RIGHTS[..]);
    prop_oneof![
        1 => prop::sample::select(&USERS[..]).prop_map(Line::User),
        4 => (right(), filter()).prop_map(|(right, filter)| Line::Topic(right, filter)),
        2 => (right(), filter()).prop_map(|(right, filter)| Line::Pattern(right, filter)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_decide_as_going_through_the_lines_does(
        lines in prop::collection::vec(line(), 0..12),
        user in prop::option::of(prop::sample::select(&USERS[..])),
        client_id in prop::sample::select(&IDS[..]),
        topics in prop::collection::vec(topic(), 8),
    ) {
        let text: String = lines.iter().map(Line::text).collect();
        let who = Who { user, client_id };
        let rules = Acl::parse(&text).unwrap().for_client(who);
        for topic in &topics {
            for access in [Access::Read, Access::Write, Access::Subscribe, Access::Unsubscribe] {
                let decision = rules.check(access, topic);
                let line = match decision.because {
                    Because::Rule(rule) => Some(rule.line),
                    _ => None,
                };
                let expected = linear::check(&lines, who, access, topic);
                prop_assert_eq!((decision.allowed, line), expected, "{} {:?}", topic, access);
            }
        }
    }

    #[test]
    fn no_subscription_that_could_bring_something_is_called_useless(
        lines in prop::collection::vec(line(), 0..12),
        user in prop::option::of(prop::sample::select(&USERS[..])),
        client_id in prop::sample::select(&IDS[..]),
        topic in topic(),
        wild in prop::collection::vec(any::<bool>(), 5),
        is_open in any::<bool>(),
    ) {
        let text: String = lines.iter().map(Line::text).collect();
        let rules = Acl::parse(&text).unwrap().for_client(Who { user, client_id });
        // A filter that matches the topic.
        let mut levels: Vec<_> = topic.split('/').zip(wild).map(|(level, wild)| if wild { "+" } else { level }).collect();
        if topic.starts_with('$') {
            levels[0] = topic.split('/').next().unwrap();
        }
        if is_open {
            levels.push("#");
        }
        let filter = levels.join("/");
        if rules.check(Access::Read, &topic).allowed {
            prop_assert!(rules.could_read(&filter), "{} {}", topic, filter);
        }
    }
}
