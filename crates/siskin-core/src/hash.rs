//! Hash maps keyed by names that strangers choose: fast, and seeded so that collisions cannot be made.

use foldhash::quality::FixedState;

/// The seeded hash.
pub(crate) type Hasher = FixedState;

/// A map under the seeded hash.
pub(crate) type HashMap<K, V> = hashbrown::HashMap<K, V, Hasher>;

/// The hash for `seed`, which is random in a real broker.
pub(crate) fn hasher(seed: u64) -> Hasher {
    FixedState::with_seed(seed)
}
