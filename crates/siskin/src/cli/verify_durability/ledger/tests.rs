use std::collections::{BTreeMap, BTreeSet};

use super::super::dice::Dice;
use super::*;

const QOS_1: usize = 0;
const QOS_2: usize = 1;

/// Publishers of QoS 1 and 2, and subscribers of QoS 1 and 2.
fn ledger() -> Ledger {
    let mut ledger = Ledger::new();
    ledger.add_publisher("publisher one".to_owned(), Qos::AtLeastOnce);
    ledger.add_publisher("publisher two".to_owned(), Qos::ExactlyOnce);
    ledger.add_subscriber("subscriber one".to_owned(), Qos::AtLeastOnce);
    ledger.add_subscriber("subscriber two".to_owned(), Qos::ExactlyOnce);
    ledger
}

fn send(ledger: &mut Ledger, publisher: usize, count: u64) -> Vec<Message> {
    (0..count).map(|_| ledger.send(publisher)).collect()
}

#[test]
fn what_was_acknowledged_and_did_not_come_is_lost_and_named() {
    let mut ledger = ledger();
    let messages = send(&mut ledger, QOS_2, 4);
    for message in &messages {
        ledger.acknowledge(*message, 10 + message.sequence);
        ledger.deliver(0, *message);
    }
    for message in [messages[0], messages[1], messages[3]] {
        ledger.deliver(1, message);
    }
    ledger.kill(20);
    assert_eq!(ledger.missing(), 1);
    ledger.close();
    let lost = &ledger.findings.lost;
    assert_eq!(
        lost.first,
        ["publisher two, message 2 on siskin-verify/load/1/2, acknowledged 8 ms before kill 1, \
          missing at subscriber two"]
    );
    assert_eq!(lost.count, 1);
    assert_eq!(ledger.flows()[1], Flow { published: 4, acknowledged: 4, delivered: 7, lost: 1 });
    assert!(!ledger.findings.is_empty());
}

#[test]
fn what_was_not_acknowledged_may_come_or_not() {
    let mut ledger = ledger();
    let messages = send(&mut ledger, QOS_1, 2);
    ledger.deliver(0, messages[0]);
    ledger.close();
    assert_eq!(ledger.missing(), 0);
    assert!(ledger.findings.is_empty(), "{:?}", ledger.findings);
}

#[test]
fn twice_is_wrong_only_if_both_ends_asked_for_exactly_once() {
    let mut ledger = ledger();
    for publisher in [QOS_1, QOS_2] {
        let message = ledger.send(publisher);
        for subscriber in [0, 1] {
            ledger.deliver(subscriber, message);
            ledger.deliver(subscriber, message);
        }
    }
    assert_eq!(ledger.tally.redelivered, 3);
    assert_eq!(ledger.findings.repeated.count, 1);
    assert_eq!(
        ledger.findings.repeated.first,
        ["publisher two, message 0 on siskin-verify/load/1/0, at subscriber two"]
    );
}

#[test]
fn order_counts_within_a_topic_and_for_first_deliveries() {
    let mut ledger = ledger();
    let messages = send(&mut ledger, QOS_1, 6);
    // Topics are 0 1 2 3 0 1.
    for place in [4, 1, 2, 4, 1] {
        ledger.deliver(0, messages[place]);
    }
    assert_eq!(ledger.findings.misordered.count, 0);
    ledger.deliver(0, messages[0]);
    assert_eq!(
        ledger.findings.misordered.first,
        ["publisher one, message 0 on siskin-verify/load/0/0, at subscriber one, behind 4"]
    );
    assert_eq!(ledger.tally.redelivered, 2);
}

#[test]
fn what_nobody_published_is_foreign() {
    let mut ledger = ledger();
    ledger.deliver(0, Message { publisher: 2, sequence: 0 });
    ledger.deliver(0, Message { publisher: 0, sequence: 0 });
    ledger.deliver_will(1, Will { life: 1, client: 0 });
    assert_eq!(ledger.findings.foreign.count, 3);
}

#[test]
fn a_retained_value_is_the_last_acknowledged_or_a_later_one() {
    let mut ledger = ledger();
    let messages = send(&mut ledger, QOS_1, 32);
    let index = messages[15].topic_index();
    assert_eq!([messages[31].topic_index(), messages[23].topic_index()], [index, index + 1]);
    ledger.acknowledge(messages[15], 1);
    let retained = ledger.retained(QOS_1);
    assert_eq!(retained[index], Value { acknowledged: Some(15), sent: Some(31) });
    assert_eq!(retained[index + 1], Value { acknowledged: None, sent: Some(23) });
    assert_eq!(retained[messages[0].topic_index()], Value::default());
}

#[test]
fn a_will_must_come_if_its_client_was_connected_and_must_not_if_it_had_left() {
    let mut ledger = ledger();
    let wills = [0, 1, 2].map(|client| Will { life: 1, client });
    wills.iter().for_each(|will| ledger.hold_will(*will));
    ledger.drop_will(wills[2]);
    assert_eq!(ledger.missing(), 0);
    ledger.kill(5);
    assert_eq!(ledger.missing(), 4);
    for (subscriber, will) in [(0, wills[0]), (1, wills[0]), (0, wills[1]), (0, wills[2])] {
        ledger.deliver_will(subscriber, will);
    }
    ledger.close();
    assert_eq!(
        ledger.findings.wills.first,
        [
            "the will of client 1 connected before kill 1 did not come to subscriber two",
            "the will of client 2 connected before kill 1, who had left in good order, came to subscriber one"
        ]
    );
    assert_eq!(ledger.wills_checked(), 3);
}

#[test]
fn a_will_says_whose_it_is() {
    let will = Will { life: 7, client: 1 };
    assert_eq!(Will::parse(&will.topic(), will.payload().as_bytes()), Some(will));
    assert_eq!(Will::parse("siskin-verify/will/0", will.payload().as_bytes()), None);
    assert_eq!(Will::parse(&will.topic(), b"7 1 wil"), None);
}

/// The same account kept the simple way: a list of everything that happened.
#[derive(Default)]
struct Model {
    acknowledged: BTreeSet<Message>,
    deliveries: BTreeMap<usize, Vec<Message>>,
}

impl Model {
    fn lost(&self, subscriber: usize) -> u64 {
        let came: BTreeSet<_> = self.deliveries.get(&subscriber).into_iter().flatten().copied().collect();
        self.acknowledged.difference(&came).count() as u64
    }

    fn duplicates(&self, subscriber: usize, publisher: usize) -> u64 {
        let all = self.deliveries.get(&subscriber).into_iter().flatten();
        let from = all.filter(|message| message.publisher == publisher);
        let (count, distinct) = (from.clone().count(), from.collect::<BTreeSet<_>>().len());
        (count - distinct) as u64
    }

    fn misordered(&self, subscriber: usize) -> u64 {
        let mut firsts: Vec<Message> = Vec::new();
        let mut count = 0;
        for message in self.deliveries.get(&subscriber).into_iter().flatten() {
            if firsts.contains(message) {
                continue;
            }
            let is_behind = |other: &&Message| other.topic() == message.topic() && *other > message;
            count += u64::from(firsts.iter().any(|other| is_behind(&other)));
            firsts.push(*message);
        }
        count
    }
}

#[test]
fn the_account_is_that_of_a_list_of_everything_that_happened() {
    for seed in 0..300 {
        let mut dice = Dice::new(seed, 0);
        let (mut ledger, mut model) = (ledger(), Model::default());
        let sent = [send(&mut ledger, QOS_1, 24), send(&mut ledger, QOS_2, 24)].concat();
        for step in 0..dice.within(0..=150) {
            let message = sent[dice.within(0..=sent.len() as u64 - 1) as usize];
            match dice.within(0..=3) {
                0 => {
                    ledger.acknowledge(message, step);
                    model.acknowledged.insert(message);
                }
                1 => ledger.kill(step),
                _ => {
                    let subscriber = dice.within(0..=1) as usize;
                    ledger.deliver(subscriber, message);
                    model.deliveries.entry(subscriber).or_default().push(message);
                }
            }
        }
        ledger.close();
        let lost = model.lost(0) + model.lost(1);
        assert_eq!(ledger.findings.lost.count, lost, "seed {seed}");
        assert_eq!(ledger.flows().iter().map(|flow| flow.lost).sum::<u64>(), lost, "seed {seed}");
        assert_eq!(ledger.findings.repeated.count, model.duplicates(1, QOS_2), "seed {seed}");
        let allowed = model.duplicates(0, QOS_1) + model.duplicates(0, QOS_2) + model.duplicates(1, QOS_1);
        assert_eq!(ledger.tally.redelivered, allowed, "seed {seed}");
        let misordered = model.misordered(0) + model.misordered(1);
        assert_eq!(ledger.findings.misordered.count, misordered, "seed {seed}");
        assert_eq!(ledger.acknowledged(), model.acknowledged.len() as u64, "seed {seed}");
    }
}
