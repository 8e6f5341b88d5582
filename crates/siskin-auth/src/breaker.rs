//! A back end that fails again and again is left alone for a while.
//!
//! ```text
//!            failures in a row                 time is over
//!   closed ────────────────────► open ───────────────────────► half open
//!     ▲                           ▲                               │  │
//!     │                           └────────── the probe failed ───┘  │
//!     └────────────────────────────────────── the probe succeeded ───┘
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use crate::config::BreakerConfig;

/// Whether a back end is asked.
pub(crate) struct Breaker {
    name: Arc<str>,
    config: BreakerConfig,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until_ms: u64 },
    HalfOpen,
}

impl Breaker {
    pub(crate) fn new(name: &Arc<str>, config: BreakerConfig, clock: &Clock) -> Self {
        let state = Mutex::new(State::Closed { failures: 0 });
        Self { name: Arc::clone(name), config, clock: clock.clone(), state }
    }

    /// Permission to ask, unless the back end is left alone.
    pub(crate) fn enter(&self) -> Option<Permit<'_>> {
        let mut state = self.lock();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Open { until_ms } if until_ms <= self.clock.elapsed_ms() => {
                *state = State::HalfOpen;
                true
            }
            State::Open { .. } | State::HalfOpen => return None,
        };
        Some(Permit { breaker: self, is_probe, is_told: false })
    }

    /// Whether the back end is left alone, or tried with one question after it was.
    pub(crate) fn is_broken(&self) -> bool {
        !matches!(*self.lock(), State::Closed { .. })
    }

    fn succeed(&self) {
        let mut state = self.lock();
        let was_broken = !matches!(*state, State::Closed { .. });
        *state = State::Closed { failures: 0 };
        drop(state);
        if was_broken {
            tracing::info!("{}: answers again", self.name);
        }
    }

    fn fail(&self, is_probe: bool, why: &str) {
        let now_ms = self.clock.elapsed_ms();
        let BreakerConfig { failures_max, open_s } = self.config;
        let open = State::Open { until_ms: now_ms.saturating_add(open_s.saturating_mul(1000)) };
        let mut state = self.lock();
        match *state {
            State::Closed { failures } if failures + 1 < failures_max => {
                *state = State::Closed { failures: failures + 1 };
                return;
            }
            State::Closed { .. } => *state = open,
            State::HalfOpen if is_probe => *state = open,
            // What was asked before it was left alone.
            State::HalfOpen | State::Open { .. } => return,
        }
        drop(state);
        tracing::warn!("{}: is not asked for the next {open_s} s, because it fails: {why}", self.name);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Permission to ask once.
pub(crate) struct Permit<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
    is_told: bool,
}

impl Permit<'_> {
    /// The back end has answered, whatever it was.
    pub(crate) fn succeed(mut self) {
        self.is_told = true;
        self.breaker.succeed();
    }

    /// It has not, or nothing that makes sense.
    pub(crate) fn fail(mut self, why: &str) {
        self.is_told = true;
        self.breaker.fail(self.is_probe, why);
    }
}

impl Drop for Permit<'_> {
    /// Whoever asked went away before the answer: the next may be the probe.
    fn drop(&mut self) {
        if self.is_probe && !self.is_told {
            let mut state = self.breaker.lock();
            if *state == State::HalfOpen {
                *state = State::Open { until_ms: 0 };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> (Breaker, crate::clock::Hand) {
        let (clock, hand) = Clock::manual(1_000);
        (Breaker::new(&"test".into(), BreakerConfig { failures_max: 3, open_s: 10 }, &clock), hand)
    }

    fn fail(breaker: &Breaker) {
        breaker.enter().unwrap().fail("broken");
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let (breaker, _) = breaker();
        fail(&breaker);
        fail(&breaker);
        breaker.enter().unwrap().succeed();
        fail(&breaker);
        fail(&breaker);
        assert!(!breaker.is_broken());
        fail(&breaker);
        assert!(breaker.is_broken());
        assert!(breaker.enter().is_none());
    }

    #[test]
    fn one_probe_at_a_time_decides_whether_it_closes() {
        let (breaker, hand) = breaker();
        (0..3).for_each(|_| fail(&breaker));
        hand.advance_s(9);
        assert!(breaker.enter().is_none());
        hand.advance_s(1);
        let probe = breaker.enter().unwrap();
        assert!(breaker.enter().is_none(), "only one");
        probe.fail("still");
        assert!(breaker.enter().is_none());
        hand.advance_s(10);
        breaker.enter().unwrap().succeed();
        assert!(!breaker.is_broken());
    }

    #[test]
    fn a_probe_that_nobody_waits_for_makes_room_for_the_next() {
        let (breaker, hand) = breaker();
        (0..3).for_each(|_| fail(&breaker));
        hand.advance_s(10);
        drop(breaker.enter().unwrap());
        assert!(breaker.enter().is_some());
    }

    #[test]
    fn a_late_failure_does_not_make_it_wait_longer() {
        let (breaker, hand) = breaker();
        let late = breaker.enter().unwrap();
        (0..3).for_each(|_| fail(&breaker));
        hand.advance_s(9);
        late.fail("late");
        hand.advance_s(1);
        assert!(breaker.enter().is_some());
    }
}
