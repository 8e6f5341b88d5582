//! Any bytes as the body of a record, as operations, and as what a broker finds in its store when it starts: no panic,
//! and a broker that works.
#![no_main]

use libfuzzer_sys::fuzz_target;
use siskin_core::store::record::describe;
use siskin_core::store::{Held, Live, Op, RecordId};
use siskin_core::{Limits, NodeInfo, Now, Recovered, Shared, Worker};
use siskin_testkit::SimStore;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let mut recovered = Recovered::default();
    let mut bodies = Vec::new();
    while let Ok(op) = Op::decode(&mut rest) {
        if let Op::Put { id, references, body } = op {
            bodies.push((id, references, body));
        }
    }
    // What is no list of operations may still be a body.
    bodies.extend(RecordId::new(1).map(|id| (id, 2, data)));
    for (id, references, body) in bodies {
        describe(body);
        let held: Vec<_> = (0..references.min(9)).map(|reference| Held { reference, note: reference << 15 }).collect();
        recovered.add(Live { id, body, held: &held });
    }
    let node = NodeInfo { name: "fuzz".into(), version: String::new(), started_unix_ms: 0 };
    // What is released that was never put ends a strict store, so this one is only asked whether it is healthy.
    let shared = Shared::with_store(Limits::default(), 2, 7, node, SimStore::deaf(), u64::MAX / 2);
    let now = Now::from_millis(1_000_000);
    let mut workers: Vec<_> = (0..2).map(|index| Worker::new(index, shared.clone(), now)).collect();
    recovered.install(&shared, &mut workers, now);
    for seconds in [0, 1, 100_000] {
        for worker in &mut workers {
            worker.tick(now.plus_s(seconds));
            worker.commit(now);
        }
    }
});
