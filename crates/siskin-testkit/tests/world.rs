//! Thousands of seeded worlds: see `siskin_testkit::world`.
//!
//! `SISKIN_SEED=N` runs one seed, `SISKIN_SEEDS=N` the first N.

use siskin_testkit::world;

#[test]
fn what_must_hold_holds_in_every_world() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SISKIN_SEED") {
        println!("{:?}", world::run(seed).volume());
        return;
    }
    let seeds = number("SISKIN_SEEDS").unwrap_or(3000);
    let (mut acknowledged, mut delivered) = (0, 0);
    for seed in 0..seeds {
        let (more_acknowledged, more_delivered) = world::run(seed).volume();
        acknowledged += more_acknowledged;
        delivered += more_delivered;
    }
    println!("{seeds} worlds: {acknowledged} messages acknowledged, {delivered} deliveries");
    // A world in which nothing happens would show nothing.
    assert!(acknowledged as u64 > seeds * 3 && delivered as u64 > seeds * 3);
}

#[test]
fn a_seed_makes_the_same_history_every_time() {
    assert_eq!(world::run(42).volume(), world::run(42).volume());
}
