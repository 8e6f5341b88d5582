use super::*;

fn plan(scenario: Scenario, change: impl FnOnce(&mut Options)) -> Result<Plan, BenchError> {
    let mut options = Options::new(scenario);
    change(&mut options);
    Plan::new(options)
}

fn fault(scenario: Scenario, change: impl FnOnce(&mut Options)) -> String {
    plan(scenario, change).unwrap_err().to_string()
}

#[test]
fn every_scenario_is_whole_by_itself() {
    for scenario in Scenario::ALL {
        let plan = plan(scenario, |_| {}).unwrap();
        assert!(plan.stages.iter().any(|stage| stage.is_measured), "{scenario:?}");
        assert!(plan.timeout > plan.duration.unwrap_or_default());
        if plan.subscribers > 0 && plan.publishers > 0 {
            assert!(plan.copies.iter().all(|copies| *copies > 0), "{scenario:?}");
            assert!(plan.streams.iter().all(|streams| !streams.is_empty()), "{scenario:?}");
        }
    }
}

#[test]
fn each_subscriber_hears_its_publisher_all_or_a_share() {
    let pairs = plan(Scenario::Pairs, |_| {}).unwrap();
    assert_eq!(pairs.streams[7], [StreamKey { publisher: 7, group: None }]);
    let fanout = plan(Scenario::Fanout, |_| {}).unwrap();
    assert_eq!((fanout.copies.as_slice(), fanout.streams.len()), (&[1000][..], 1000));
    let fanin = plan(Scenario::Fanin, |_| {}).unwrap();
    assert_eq!(fanin.streams[0].len(), 100);
    let shared = plan(Scenario::Shared, |options| options.clients = Some(3)).unwrap();
    assert_eq!((shared.copies.as_slice(), shared.groups), (&[1, 1, 1][..], 1));
    assert_eq!(shared.streams[2][1], StreamKey { publisher: 1, group: Some(0) });
}

#[test]
fn a_topic_of_ones_own_has_filters_that_match_it() {
    let filter = |scenario, topic: &str| {
        let plan = plan(scenario, |options| options.topic = Some(topic.to_owned())).unwrap();
        assert!(plan.copies.iter().all(|copies| *copies > 0), "{topic}");
        plan.filter_texts().join(" ")
    };
    assert_eq!(filter(Scenario::Pairs, "plant/%i/x"), "plant/%i/x");
    assert_eq!(filter(Scenario::Fanin, "plant/line-%i/x"), "plant/+/x");
    assert_eq!(filter(Scenario::Shared, "plant/%c"), "$share/bench/plant/+");
    assert_eq!(filter(Scenario::Retained, "plant/%i/%s"), "plant/+/+");
    let nobody = |options: &mut Options| options.filters = vec!["elsewhere".to_owned()];
    assert!(fault(Scenario::Pairs, nobody).contains("nobody would receive anything"));
}

#[test]
fn connecting_has_its_time_within_the_limit() {
    let limit = |rate: Option<f64>| {
        let plan = plan(Scenario::Idle, |options| {
            options.clients = Some(100_000);
            options.connect_rate_per_s = rate;
        });
        plan.unwrap().timeout.as_secs()
    };
    assert!((260..300).contains(&limit(None)), "{}", limit(None));
    assert!(limit(Some(100.0)) > 1000 && limit(Some(1e-300)) > 1000);
}

#[test]
fn of_many_filters_one_matches_and_all_kinds_are_there() {
    let plan = plan(Scenario::Wildcard, |options| options.clients = Some(9)).unwrap();
    assert!(plan.copies.iter().all(|copies| *copies == 1));
    for subscriber in 0..9 {
        let filters = plan.filters_of(subscriber);
        assert_eq!(filters.len(), 100);
        assert!(filters.iter().any(|filter| filter.contains('+')));
        assert!(filters.iter().any(|filter| filter.ends_with('#')));
        assert!(filters.iter().any(|filter| !filter.contains(['+', '#'])));
    }
}

#[test]
fn messages_are_dealt_to_the_publishers_without_a_rest() {
    let plan = plan(Scenario::Pairs, |options| {
        options.clients = Some(3);
        options.messages = Some(11);
    })
    .unwrap();
    assert_eq!([0, 1, 2].map(|publisher| plan.messages_of(publisher)), [4, 4, 3]);
    assert_eq!(plan.duration, None);
}

#[test]
fn an_unequal_number_of_clients_still_finds_partners() {
    for (publishers, subscribers) in [(256, 16), (16, 256)] {
        let plan = plan(Scenario::Offline, |options| {
            options.publishers = Some(publishers);
            options.subscribers = Some(subscribers);
        })
        .unwrap();
        assert!(plan.copies.iter().all(|copies| *copies == subscribers.div_ceil(publishers)));
        assert!(plan.streams.iter().all(|streams| !streams.is_empty()));
    }
}

#[test]
fn an_offset_moves_numbers_in_topics_and_client_ids() {
    let plan = plan(Scenario::Pairs, |options| {
        options.client_offset = 1000;
        options.id_prefix = Some("x".to_owned());
    })
    .unwrap();
    assert_eq!(plan.topic_of(3).unwrap().0, "bench/pairs/1003");
    assert_eq!(plan.filters_of(3), ["bench/pairs/1003"]);
    assert_eq!(plan.client_id(Role::Subscriber, 3), "xs1003");
}

#[test]
fn client_ids_fit_into_those_of_3_1() {
    let plan = plan(Scenario::Pairs, |options| options.client_offset = OFFSET_MAX).unwrap();
    assert!(plan.client_id(Role::Publisher, u32::MAX - OFFSET_MAX).len() <= 23);
}

#[test]
fn filters_that_overlap_are_refused() {
    let overlap = |filters: &[&str]| {
        let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
        fault(Scenario::Pairs, |options| options.filters = filters)
    };
    assert!(overlap(&["bench/pairs/%p", "bench/#"]).contains("two filters"));
    assert!(overlap(&["bench/pairs/%p", "$share/a/bench/#"]).contains("two filters"));
}

#[test]
fn what_cannot_be_done_is_named() {
    assert!(fault(Scenario::Pairs, |options| options.window = Some(0)).contains("--window"));
    assert!(fault(Scenario::Pairs, |options| options.rate_per_s = Some(-1.0)).contains("--rate"));
    assert!(fault(Scenario::Pairs, |options| options.rate_per_s = Some(1e300)).contains("--rate"));
    assert!(fault(Scenario::Pairs, |options| options.patience = Duration::MAX).contains("week"));
    assert!(fault(Scenario::Pairs, |options| options.clients = Some(0)).contains("--clients"));
    assert!(fault(Scenario::Pairs, |options| options.topic = Some("a/#".into())).contains("a/#"));
    assert!(fault(Scenario::Pairs, |options| options.topic = Some("%z".into())).contains("%z"));
    assert!(fault(Scenario::Pairs, |options| options.filters = vec!["a/#/b".into()]).contains("a/#/b"));
    assert!(fault(Scenario::Pairs, |options| options.cycles = Some(1)).contains("--cycles"));
    assert!(fault(Scenario::Churn, |options| options.messages = Some(1)).contains("--cycles"));
    assert!(fault(Scenario::Pairs, |options| options.keep = true).contains("--keep"));
    assert!(fault(Scenario::Retained, |options| options.topic = Some("a".into())).contains("%s"));
    assert!(fault(Scenario::Pairs, |options| options.filters = vec!["%s".into()]).contains("%s"));
    assert!(fault(Scenario::Idle, |options| options.publishers = Some(1)).contains("idle"));
}

#[test]
fn short_payloads_are_allowed_and_not_accounted_for() {
    let short = plan(Scenario::Pairs, |options| options.payload_bytes = Some(23)).unwrap();
    assert!(!short.accounts && short.waits_for_arrival);
    let fanin = plan(Scenario::Fanin, |options| options.payload_bytes = Some(23)).unwrap();
    assert!(!fanin.accounts && !fanin.waits_for_arrival);
}
