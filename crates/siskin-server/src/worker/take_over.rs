//! Two clients with one id, each of which throws the other out and is thrown out in turn.

use siskin_core::Now;

use crate::report;
use crate::throttle::Throttle;
use crate::transport::Peer;
use crate::turnstile::{Count, Recent};

/// The take-overs of late. A session's connections are all of one worker, which sees every one.
#[derive(Debug)]
pub(super) struct TakeOvers {
    counts: Recent<Count>,
    told: Throttle,
}

impl Default for TakeOvers {
    fn default() -> Self {
        Self { counts: Recent::new(ROWS), told: Throttle::default() }
    }
}

impl TakeOvers {
    /// The client at `by` took the session `client_id` over from the one at `from`. If it is not the first time in a
    /// while, the log says so.
    pub(super) fn note(&mut self, client_id: &str, from: Peer, by: Peer, now: Now) {
        if let Some(times) = self.count(client_id, now) {
            report::take_over_loop(client_id, from, by, times, WINDOW_MS / 1000);
        }
    }

    /// How often within the window, if that is to be told now.
    fn count(&mut self, client_id: &str, now: Now) -> Option<u32> {
        let times = self.counts.entry(client_id, now).one_more(WINDOW_MS, now);
        // The third, the sixth, the twelfth and so on: a loop makes a few lines and not thousands.
        let is_step = times.is_multiple_of(TIMES_MIN) && (times / TIMES_MIN).is_power_of_two();
        (is_step && self.told.pass(now).is_some()).then_some(times)
    }
}

/// Client ids remembered: four times as many.
const ROWS: usize = 256;

/// A client that was cut off takes its own session over once, or twice.
const TIMES_MIN: u32 = 3;

const WINDOW_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_told_by_its_third_take_over_and_then_ever_more_rarely() {
        let mut take_overs = TakeOvers::default();
        let at = |ms: u64| Now::from_millis(1_000_000 + ms);
        let told: Vec<_> = (0..100).filter_map(|n| take_overs.count("a", at(n * 500))).collect();
        assert_eq!(told, [3, 6, 12, 24, 48, 96]);
        assert_eq!((0..3).filter_map(|n| take_overs.count("b", at(60_000 + n * 30_000))).count(), 0);
    }
}
