use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use siskin_proto::{Qos, SubscriptionOptions, TopicFilter, TopicName};

use super::{Router, Routes, Subscriber};
use crate::hash::{self, Hasher};
use crate::session::SessionKey;

pub(super) fn hasher() -> Hasher {
    hash::hasher(7)
}

pub(super) fn key(slot: u32) -> SessionKey {
    SessionKey::new((slot % 3) as u16, 0, slot)
}

pub(super) fn subscriber(slot: u32) -> Subscriber {
    Subscriber { session: key(slot), options: SubscriptionOptions::default(), id: None }
}

fn subscribe(router: &Router, filter: &str, subscriber: Subscriber) -> bool {
    router.subscribe(TopicFilter::parse(filter).unwrap(), &filter.into(), subscriber)
}

fn unsubscribe(router: &Router, filter: &str, slot: u32) -> bool {
    router.unsubscribe(TopicFilter::parse(filter).unwrap(), key(slot))
}

fn route(router: &Router, topic: &str) -> Routes {
    let mut routes = Routes::default();
    router.route(topic, &mut routes);
    routes
}

fn slots(subscribers: &[Subscriber]) -> Vec<u32> {
    let mut slots: Vec<_> = subscribers.iter().map(|subscriber| subscriber.session.slot()).collect();
    slots.sort_unstable();
    slots
}

/// Whether `change` changes the version of the topic `a/b`.
fn moved<R>(router: &Router, change: impl FnOnce() -> R) -> bool {
    let watched = router.watch("a/b");
    let before = router.version(&watched);
    change();
    router.version(&watched) != before
}

fn pieces(router: &Router) -> usize {
    (0..router.shards.len()).map(|shard| router.read(shard).pieces()).sum()
}

#[test]
fn a_session_with_several_matching_filters_stands_side_by_side_with_itself() {
    let router = Router::new(7);
    for (slot, filter) in [(2, "a/b"), (1, "a/+"), (2, "#"), (1, "a/b"), (2, "a/+")] {
        assert!(subscribe(&router, filter, subscriber(slot)));
    }
    let routes = route(&router, "a/b");
    assert!(routes.plain.is_sorted_by_key(|subscriber| subscriber.session));
    assert_eq!(slots(&routes.plain), [1, 1, 2, 2, 2]);
}

#[test]
fn subscribing_again_changes_options_and_identifier() {
    let router = Router::new(7);
    for filter in ["a/b", "a/+", "$share/g/a/b", "$share/g/#"] {
        assert!(subscribe(&router, filter, subscriber(1)));
        let again = Subscriber {
            options: SubscriptionOptions { qos: Qos::ExactlyOnce, ..Default::default() },
            id: std::num::NonZeroU32::new(9),
            ..subscriber(1)
        };
        assert!(!subscribe(&router, filter, again));
        let routes = route(&router, "a/b");
        let found = routes.plain.iter().chain(routes.groups.iter().flat_map(|group| &group.members));
        assert_eq!(found.copied().collect::<Vec<_>>(), [again]);
        assert!(unsubscribe(&router, filter, 1));
    }
}

#[test]
fn groups_of_different_names_each_have_the_message() {
    let router = Router::new(7);
    for (slot, filter) in [(1, "$share/g/a/+"), (2, "$share/g/a/+"), (1, "$share/h/a/+"), (3, "$share/g/a/b")]
    {
        assert!(subscribe(&router, filter, subscriber(slot)));
    }
    let mut groups = route(&router, "a/b").groups;
    groups.sort_by(|one, other| one.filter.cmp(&other.filter));
    let found: Vec<_> = groups.iter().map(|group| (&*group.filter, slots(&group.members))).collect();
    let expected = [("$share/g/a/+", vec![1, 2]), ("$share/g/a/b", vec![3]), ("$share/h/a/+", vec![1])];
    assert_eq!(found, expected);
}

#[test]
fn only_members_online_are_in_a_route_and_are_picked() {
    let router = Router::new(7);
    for filter in ["$share/g/a/b", "$share/g/a/#"] {
        let parsed = TopicFilter::parse(filter).unwrap();
        (1..=3).for_each(|slot| assert!(subscribe(&router, filter, subscriber(slot))));
        router.set_online(parsed, key(2), false);
        assert_eq!(slots(&route(&router, "a/b").groups[0].members), [1, 3]);
        router.set_online(parsed, key(1), false);
        for turn in 0..4 {
            assert_eq!(router.pick(parsed, turn), Some(subscriber(3)));
            assert_eq!(router.pick_online(parsed, turn), Some(subscriber(3)));
        }
        router.set_online(parsed, key(3), false);
        assert_eq!(slots(&route(&router, "a/b").groups[0].members), [1, 2, 3]);
        assert!(router.pick(parsed, 0).is_some());
        assert!(router.pick_online(parsed, 0).is_none());
        assert!(router.pick(TopicFilter::parse("$share/h/a/b").unwrap(), 0).is_none());
        (1..=3).for_each(|slot| assert!(unsubscribe(&router, filter, slot)));
    }
    assert_eq!(pieces(&router), 0);
}

#[test]
fn topics_with_a_dollar_are_hidden_from_leading_wildcards_only() {
    let router = Router::new(7);
    let filters = ["#", "+/x", "+/#", "$SYS/#", "$SYS/+", "$SYS/x", "/+", "$share/g/#", "$share/g/$SYS/#"];
    for (slot, filter) in filters.into_iter().enumerate() {
        subscribe(&router, filter, subscriber(slot as u32));
    }
    let routes = route(&router, "$SYS/x");
    assert_eq!(slots(&routes.plain), [3, 4, 5]);
    assert_eq!(&*routes.groups[0].filter, "$share/g/$SYS/#");
    assert_eq!(slots(&route(&router, "/$SYS").plain), [0, 2, 6]);
}

#[test]
fn a_topic_of_65535_slashes_is_routed() {
    let router = Router::new(7);
    let topic = "/".repeat(65_535);
    let plus = "+/".repeat(32_767) + "#";
    let hash = "/".repeat(65_534) + "#";
    for (slot, filter) in [&topic, &plus, &hash].into_iter().enumerate() {
        subscribe(&router, filter, subscriber(slot as u32));
    }
    assert_eq!(slots(&route(&router, &topic).plain), [0, 1, 2]);
    for (slot, filter) in [&topic, &plus, &hash].into_iter().enumerate() {
        assert!(unsubscribe(&router, filter, slot as u32));
    }
    assert_eq!(pieces(&router), 0);
}

#[test]
fn a_byte_order_mark_is_a_character_like_others() {
    let router = Router::new(7);
    subscribe(&router, "\u{feff}a/+", subscriber(1));
    subscribe(&router, "a/+", subscriber(2));
    subscribe(&router, "\u{feff}a/b", subscriber(3));
    assert_eq!(slots(&route(&router, "\u{feff}a/b").plain), [1, 3]);
    assert_eq!(slots(&route(&router, "a/b").plain), [2]);
}

#[test]
fn counts_follow_subscriptions_and_no_memory_is_kept_in_the_end() {
    let router = Router::new(7);
    let filters = ["a/b", "a/+", "$share/g/a/b", "$share/g/a/+", "$share/h/a/b", "#", "/", "+"];
    for slot in 0..100 {
        filters.iter().for_each(|filter| assert!(subscribe(&router, filter, subscriber(slot))));
        assert!(!subscribe(&router, filters[slot as usize % 8], subscriber(slot)));
    }
    assert_eq!((router.subscriptions(), router.shared_subscriptions(), router.filters()), (800, 300, 8));
    for slot in 0..100 {
        filters.iter().for_each(|filter| assert!(unsubscribe(&router, filter, slot)));
        assert!(!unsubscribe(&router, filters[slot as usize % 8], slot));
    }
    assert_eq!((router.subscriptions(), router.shared_subscriptions(), router.filters()), (0, 0, 0));
    assert_eq!(pieces(&router), 0);
}

#[test]
fn a_change_that_a_topic_could_see_changes_its_version_and_no_other_does() {
    let router = Router::new(7);
    let shared = TopicFilter::parse("$share/g/a/+").unwrap();
    for filter in ["a/b", "a/+", "#", "$share/g/a/+"] {
        assert!(moved(&router, || subscribe(&router, filter, subscriber(1))), "{filter}");
        assert!(moved(&router, || subscribe(&router, filter, subscriber(1))), "{filter} again");
    }
    assert!(moved(&router, || router.set_online(shared, key(1), false)));
    assert!(!moved(&router, || router.set_online(shared, key(1), false)));
    assert!(!moved(&router, || router.set_online(shared, key(2), false)));
    for filter in ["a/b", "a/+", "#", "$share/g/a/+"] {
        assert!(!moved(&router, || unsubscribe(&router, filter, 2)), "{filter} of somebody else");
        assert!(moved(&router, || unsubscribe(&router, filter, 1)), "{filter}");
        assert!(!moved(&router, || unsubscribe(&router, filter, 1)), "{filter} again");
    }
    for filter in ["a", "a/b/c", "a/c", "b/+", "c/#", "$SYS/#", "$share/g/c/#"] {
        assert!(!moved(&router, || subscribe(&router, filter, subscriber(1))), "{filter}");
    }
}

/// Every text of up to `length` characters out of these.
fn texts(alphabet: &[char], length: usize) -> Vec<String> {
    let mut texts = vec![String::new()];
    let mut last = 0;
    for _ in 0..length {
        let longer = last..texts.len();
        last = texts.len();
        for at in longer {
            texts.extend(alphabet.iter().map(|&c| format!("{}{c}", texts[at])).collect::<Vec<_>>());
        }
    }
    texts
}

#[test]
fn all_short_filters_match_all_short_topics_as_the_reference_does() {
    let texts = texts(&['a', '/', '+', '#', '$'], 5);
    let filters: Vec<_> = texts.iter().filter_map(|text| TopicFilter::parse(text).ok()).collect();
    let topics: Vec<_> = texts.iter().filter_map(|text| TopicName::parse(text).ok()).collect();
    assert!(filters.len() > 300 && topics.len() > 300);
    let router = Router::new(7);
    for (slot, filter) in (0..).zip(&filters) {
        router.subscribe(*filter, &filter.as_str().into(), subscriber(slot));
    }
    for topic in topics {
        let expected: Vec<_> =
            (0..).zip(&filters).filter(|(_, filter)| filter.matches(topic)).map(|(slot, _)| slot).collect();
        assert_eq!(slots(&route(&router, topic.as_str()).plain), expected, "{topic:?}");
    }
}

/// The router as one would write it on the blackboard.
#[derive(Default)]
struct Model {
    /// By filter and session; the flag says whether a member is online.
    subscriptions: BTreeMap<(String, SessionKey), (Subscriber, bool)>,
}

impl Model {
    fn route(&self, topic: TopicName<'_>) -> (Vec<Subscriber>, BTreeMap<String, Vec<Subscriber>>) {
        let mut plain = Vec::new();
        let mut members = BTreeMap::<_, Vec<_>>::new();
        for ((text, _), &(subscriber, online)) in &self.subscriptions {
            let filter = TopicFilter::parse(text).unwrap();
            match filter.share() {
                _ if !filter.matches(topic) => {}
                None => plain.push(subscriber),
                Some(_) => members.entry(text.clone()).or_default().push((subscriber, online)),
            }
        }
        let groups = members.into_iter().map(|(text, mut members)| {
            if members.iter().any(|&(_, online)| online) {
                members.retain(|&(_, online)| online);
            }
            (text, members.into_iter().map(|(subscriber, _)| subscriber).collect())
        });
        (plain, groups.collect())
    }
}

#[derive(Clone, Debug)]
enum Step {
    Subscribe(String, u32, Qos),
    Unsubscribe(String, u32),
    SetOnline(String, u32, bool),
    Route(String),
}

fn level() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[abc]",
        2 => Just(String::new()),
        1 => prop_oneof!["\\$SYS", "\u{feff}", "é", "\\$share", Just("long".repeat(8))],
    ]
}

fn topic() -> impl Strategy<Value = String> {
    let levels = prop_oneof![9 => 1..5_usize, 1 => 30..80_usize];
    levels
        .prop_flat_map(|levels| prop::collection::vec(level(), levels))
        .prop_map(|levels| levels.join("/"))
        .prop_filter("a topic", |topic| TopicName::parse(topic).is_ok())
}

fn filter() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => level(), 2 => Just("+".to_owned())];
    let share = prop_oneof![3 => Just(""), 1 => Just("$share/g/"), 1 => Just("$share/h/")];
    (share, prop::collection::vec(level, 1..5), any::<bool>())
        .prop_map(|(share, levels, hash)| share.to_owned() + &levels.join("/") + if hash { "/#" } else { "" })
        .prop_filter("a filter", |filter| TopicFilter::parse(filter).is_ok())
}

fn step() -> impl Strategy<Value = Step> {
    let qos = prop_oneof![Just(Qos::AtMostOnce), Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)];
    prop_oneof![
        5 => (filter(), 0..5_u32, qos).prop_map(|(filter, slot, qos)| Step::Subscribe(filter, slot, qos)),
        2 => (filter(), 0..5_u32).prop_map(|(filter, slot)| Step::Unsubscribe(filter, slot)),
        1 => (filter(), 0..5_u32, any::<bool>()).prop_map(|(filter, slot, on)| Step::SetOnline(filter, slot, on)),
        4 => topic().prop_map(Step::Route),
    ]
}

fn check_route(router: &Router, model: &Model, topic: &str) -> Result<(), TestCaseError> {
    let routes = route(router, topic);
    let by_session = |subscribers: &[Subscriber]| {
        let mut sorted = subscribers.to_vec();
        sorted.sort_by_key(|subscriber| (subscriber.session, subscriber.options.qos));
        sorted
    };
    let (plain, groups) = model.route(TopicName::parse(topic).unwrap());
    prop_assert!(routes.plain.is_sorted_by_key(|subscriber| subscriber.session));
    prop_assert_eq!(by_session(&routes.plain), by_session(&plain));
    let found: BTreeMap<_, _> =
        routes.groups.iter().map(|group| (group.filter.to_string(), by_session(&group.members))).collect();
    prop_assert_eq!(found.len(), routes.groups.len());
    prop_assert_eq!(found, groups);
    Ok(())
}

proptest! {
    #[test]
    fn a_router_routes_as_a_list_of_filters_does(steps in prop::collection::vec(step(), 1..200)) {
        let router = Router::new(7);
        let mut model = Model::default();
        let mut cached = BTreeMap::<String, (u64, Vec<Subscriber>)>::new();
        for step in steps {
            match step {
                Step::Subscribe(filter, slot, qos) => {
                    let options = SubscriptionOptions { qos, ..Default::default() };
                    let subscriber = Subscriber { options, ..subscriber(slot) };
                    let is_new = model.subscriptions.insert((filter.clone(), key(slot)), (subscriber, true));
                    prop_assert_eq!(subscribe(&router, &filter, subscriber), is_new.is_none());
                }
                Step::Unsubscribe(filter, slot) => {
                    let removed = model.subscriptions.remove(&(filter.clone(), key(slot)));
                    prop_assert_eq!(unsubscribe(&router, &filter, slot), removed.is_some());
                }
                Step::SetOnline(filter, slot, online) => {
                    router.set_online(TopicFilter::parse(&filter).unwrap(), key(slot), online);
                    if let Some((_, is_online)) = model.subscriptions.get_mut(&(filter, key(slot))) {
                        *is_online = online;
                    }
                }
                Step::Route(topic) => {
                    check_route(&router, &model, &topic)?;
                    let version = router.version(&router.watch(&topic));
                    cached.insert(topic.clone(), (version, route(&router, &topic).plain));
                }
            }
            cached.retain(|topic, (version, _)| router.version(&router.watch(topic)) == *version);
            for (topic, (_, plain)) in &cached {
                prop_assert_eq!(&route(&router, topic).plain, plain);
            }
            let texts: std::collections::BTreeSet<_> = model.subscriptions.keys().map(|(text, _)| text).collect();
            prop_assert_eq!(router.subscriptions(), model.subscriptions.len());
            prop_assert_eq!(router.filters(), texts.len());
        }
        for (filter, session) in model.subscriptions.keys() {
            prop_assert!(router.unsubscribe(TopicFilter::parse(filter).unwrap(), *session));
        }
        prop_assert_eq!(pieces(&router), 0);
    }
}

#[test]
fn routes_whose_version_still_holds_lack_no_subscription_made_before() {
    const SUBSCRIPTIONS: usize = 2_000;
    let router = Router::new(7);
    let watched = router.watch("a/b");
    let made = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for slot in 0..SUBSCRIPTIONS {
                subscribe(&router, ["a/b", "a/+", "#"][slot % 3], subscriber(slot as u32));
                made.store(slot + 1, Ordering::Release);
            }
        });
        while made.load(Ordering::Acquire) < SUBSCRIPTIONS {
            let version = router.version(&watched);
            let routes = route(&router, "a/b");
            let made = made.load(Ordering::Acquire);
            assert!(router.version(&watched) != version || routes.plain.len() >= made);
        }
    });
}
