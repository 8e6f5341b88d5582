//! How ids are spread over the index: in runs, since ids that were given out together are asked for together.

use std::hash::{BuildHasher, Hasher};

/// Makes [`RunHasher`]s.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Runs;

/// Hashes one id: runs of 64 lie side by side, each anywhere. Nobody outside can choose ids, so no key is needed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunHasher(u64);

impl BuildHasher for Runs {
    type Hasher = RunHasher;

    fn build_hasher(&self) -> RunHasher {
        RunHasher(0)
    }
}

impl Hasher for RunHasher {
    fn write_u64(&mut self, id: u64) {
        let run = mix(id >> RUN_BITS);
        // The table takes the place from the low bits, and its mark for an entry from the highest seven.
        let mark = mix(id) & MARK;
        self.0 = mark | (run << RUN_BITS & !MARK) | id & ((1 << RUN_BITS) - 1);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn mix(value: u64) -> u64 {
    let value = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    value ^ value >> 32
}

const RUN_BITS: u32 = 6;

const MARK: u64 = 0xfe00_0000_0000_0000;
