//! What is taken from the heap for each thing that the broker does all day, once it is warm: a number that is the same
//! on every machine.

use siskin_testkit::cost::CASES;

/// Blocks taken from the heap in a thousand of each, at most. Who makes it fewer writes it down here.
const PER_THOUSAND: &[(&str, u64)] = &[
    ("decode-publish-0", 0),
    ("decode-publish-1", 0),
    ("decode-connect", 0),
    ("encode-publish-1", 0),
    ("encode-puback", 0),
    ("route", 1000),
    ("subscribe", 0),
    ("pair-0", 0),
    ("pair-1", 1000),
    ("pair-2", 1000),
    ("alone-0", 0),
    ("fanout-0", 0),
    ("fanout-1", 1),
    ("shared-1", 2000),
    ("offline-1", 1036),
    ("retained-set", 1000),
    ("retained-get", 199),
    ("connect", 8200),
    ("ping", 0),
];

#[test]
fn nothing_takes_more_from_the_heap_than_it_did() {
    let mut wrong = Vec::new();
    for case in CASES {
        let mut round = (case.prepare)();
        (0..WARM).for_each(|_| round());
        let counted = allocation_counter::measure(|| (0..ROUNDS).for_each(|_| round()));
        let times = (case.per_round * ROUNDS) as u64;
        let (count, bytes) = (counted.count_total * 1000 / times, counted.bytes_total / times);
        let allowed = PER_THOUSAND.iter().find(|(name, _)| *name == case.name).map(|(_, allowed)| *allowed);
        println!("{:20} {count:>6} in a thousand, {bytes} bytes each", case.name);
        match allowed {
            Some(allowed) if count <= allowed => {}
            Some(allowed) => {
                wrong.push(format!("{}: {count} blocks in a thousand, not {allowed}", case.name));
            }
            None => wrong.push(format!("{}: {count} blocks in a thousand are not in the table", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Rounds before anything is counted: tables have their size then.
const WARM: usize = 20;

/// Rounds that are counted.
const ROUNDS: usize = 100;
