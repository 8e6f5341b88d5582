//! What a store counts about itself.

use std::time::Duration;

/// A snapshot of a store's counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Records that are alive.
    pub records: u64,
    /// About what a copy of them takes.
    pub live_bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes of these.
    pub segment_bytes: u64,
    /// Spare files.
    pub spares: u64,
    /// Bytes of these.
    pub spare_bytes: u64,
    /// Frames written.
    pub frames: u64,
    /// Bytes of these.
    pub bytes_written: u64,
    /// How many of the bytes were copied forward to reclaim space.
    pub bytes_copied: u64,
    /// Syncs of files.
    pub syncs: u64,
    /// Operations that the system refused.
    pub failures: u64,
    /// Batches that are not safe yet.
    pub lag: u64,
    /// How long syncs took.
    pub sync_times: SyncTimes,
    /// How many bytes became safe at once.
    pub commit_sizes: CommitSizes,
}

/// How long syncs took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SyncTimes {
    /// The last.
    pub last: Duration,
    /// The longest.
    pub longest: Duration,
    /// All together.
    pub total: Duration,
    /// How many took less than 64 µs, less than 128 µs, and so on; the last counts all that are longer.
    pub histogram: [u64; SYNC_TIME_BUCKETS],
}

impl SyncTimes {
    pub(crate) fn add(&mut self, took: Duration) {
        self.last = took;
        self.longest = self.longest.max(took);
        self.total += took;
        let steps = (took.as_micros() / FIRST_BUCKET_US).checked_ilog2().map_or(0, |log| log as usize + 1);
        self.histogram[steps.min(SYNC_TIME_BUCKETS - 1)] += 1;
    }
}

/// How many bytes became safe at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CommitSizes {
    /// All together.
    pub total: u64,
    /// How many commits had less than 256 bytes, less than 512, and so on; the last counts all that are larger.
    pub histogram: [u64; COMMIT_SIZE_BUCKETS],
}

impl CommitSizes {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.total += bytes;
        let steps = (bytes / FIRST_BUCKET_BYTES).checked_ilog2().map_or(0, |log| log as usize + 1);
        self.histogram[steps.min(COMMIT_SIZE_BUCKETS - 1)] += 1;
    }
}

/// Up to 4 MiB.
pub(crate) const COMMIT_SIZE_BUCKETS: usize = 16;

const FIRST_BUCKET_BYTES: u64 = 256;

/// Up to 2 s.
pub(crate) const SYNC_TIME_BUCKETS: usize = 16;

const FIRST_BUCKET_US: u128 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_by_their_magnitude() {
        let mut times = SyncTimes::default();
        for us in [0, 63, 64, 127, 128, 10_000_000] {
            times.add(Duration::from_micros(us));
        }
        assert_eq!(times.histogram[..3], [2, 2, 1]);
        assert_eq!(times.histogram[SYNC_TIME_BUCKETS - 1], 1);
        assert_eq!(times.longest, Duration::from_secs(10));
        assert_eq!(times.total, Duration::from_micros(63 + 64 + 127 + 128) + Duration::from_secs(10));
    }

    #[test]
    fn sizes_are_counted_by_their_magnitude() {
        let mut sizes = CommitSizes::default();
        for bytes in [0, 255, 256, 511, 512, 1 << 40] {
            sizes.add(bytes);
        }
        assert_eq!(sizes.histogram[..3], [2, 2, 1]);
        assert_eq!(sizes.histogram[COMMIT_SIZE_BUCKETS - 1], 1);
        assert_eq!(sizes.total, 1534 + (1 << 40));
    }
}
