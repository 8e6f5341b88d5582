//! Timers of sessions, in a coarse wheel: an armed timer is one entry, a quiet session none.

use std::collections::BTreeSet;

use crate::session::SessionKey;
use crate::time::Now;

/// What may come due for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Its client was silent for too long.
    KeepAlive,
    /// Its will is to be published.
    WillDelay,
    /// Its time without a connection is over.
    SessionExpiry,
}

/// When each timer of one session is due.
#[derive(Debug)]
pub(crate) struct Due([Now; 3]);

impl Due {
    /// When `timer` is due, if it is armed.
    pub(crate) fn at(&self, timer: Timer) -> Option<Now> {
        Some(self.0[timer as usize]).filter(|at| *at != NEVER)
    }
}

impl Default for Due {
    fn default() -> Self {
        Self([NEVER; 3])
    }
}

/// Armed timers of all sessions of a worker, in rounds of [`TICK_MS`]. One that is disarmed is gone.
#[derive(Debug, Default)]
pub(crate) struct Wheel {
    timers: BTreeSet<(Now, SessionKey, Timer)>,
}

impl Wheel {
    /// Arms `timer` of the session `key` for `at` or up to one tick later, in place of an earlier one.
    pub(crate) fn arm(&mut self, key: SessionKey, due: &mut Due, timer: Timer, at: Now) {
        let at = Now::from_millis(at.as_millis().div_ceil(TICK_MS).saturating_mul(TICK_MS));
        self.disarm(key, due, timer);
        due.0[timer as usize] = at;
        self.timers.insert((at, key, timer));
    }

    /// Disarms `timer` of the session `key`, if it is armed.
    pub(crate) fn disarm(&mut self, key: SessionKey, due: &mut Due, timer: Timer) {
        let at = std::mem::replace(&mut due.0[timer as usize], NEVER);
        if at != NEVER {
            self.timers.remove(&(at, key, timer));
        }
    }

    /// Disarms all timers of the session `key`.
    pub(crate) fn disarm_all(&mut self, key: SessionKey, due: &mut Due) {
        for timer in [Timer::KeepAlive, Timer::WillDelay, Timer::SessionExpiry] {
            self.disarm(key, due, timer);
        }
    }

    /// The first timer that is due. It is armed until it is disarmed by whoever carries it out.
    pub(crate) fn expired(&self, now: Now) -> Option<(SessionKey, Timer)> {
        let &(at, key, timer) = self.timers.first()?;
        (at <= now).then_some((key, timer))
    }

    pub(crate) fn drop_first(&mut self) {
        self.timers.pop_first();
    }

    pub(crate) fn next(&self) -> Option<Now> {
        self.timers.first().map(|(at, ..)| *at)
    }
}

/// The due time of a timer that is not armed: no round comes so late.
const NEVER: Now = Now::from_millis(u64::MAX);

/// Timers fire in steps of this many milliseconds.
const TICK_MS: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_armed_again_or_disarmed_leaves_nothing_behind() {
        let (mut wheel, mut due, key) = (Wheel::default(), Due::default(), SessionKey::new(0, 0, 1));
        for second in 1..1000 {
            wheel.arm(key, &mut due, Timer::SessionExpiry, Now::from_millis(second * 1000));
            wheel.arm(key, &mut due, Timer::KeepAlive, Now::from_millis(second * 2000 + 1));
        }
        assert_eq!(wheel.timers.len(), 2);
        assert_eq!(wheel.expired(Now::from_millis(998_999)), None);
        assert_eq!(wheel.expired(Now::from_millis(999_000)), Some((key, Timer::SessionExpiry)));
        wheel.disarm(key, &mut due, Timer::SessionExpiry);
        assert_eq!(wheel.next(), Some(Now::from_millis(1_998_100)));
        wheel.disarm_all(key, &mut due);
        assert_eq!(wheel.next(), None);
    }
}
