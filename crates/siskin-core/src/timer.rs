//! Timers of sessions, in a coarse wheel: an armed timer is one entry, a quiet session none.

use std::collections::BTreeMap;

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

/// When each timer of one session is due. An entry of the wheel that disagrees is stale.
#[derive(Debug)]
pub(crate) struct Due([Now; 3]);

impl Default for Due {
    fn default() -> Self {
        Self([NEVER; 3])
    }
}

impl Due {
    pub(crate) fn disarm(&mut self, timer: Timer) {
        self.0[timer as usize] = NEVER;
    }

    pub(crate) fn is_due(&self, timer: Timer, at: Now) -> bool {
        self.0[timer as usize] == at
    }
}

/// Armed timers of all sessions of a worker, in rounds of [`TICK_MS`].
#[derive(Debug, Default)]
pub(crate) struct Wheel {
    rounds: BTreeMap<Now, Vec<(SessionKey, Timer)>>,
}

impl Wheel {
    /// Arms `timer` of the session `key` for `at` or up to one tick later, in place of an earlier one.
    pub(crate) fn arm(&mut self, key: SessionKey, due: &mut Due, timer: Timer, at: Now) {
        let at = Now::from_millis(at.as_millis().div_ceil(TICK_MS).saturating_mul(TICK_MS));
        if std::mem::replace(&mut due.0[timer as usize], at) != at {
            self.rounds.entry(at).or_default().push((key, timer));
        }
    }

    /// The timers of the first round that is due, and when that was.
    pub(crate) fn expire(&mut self, now: Now) -> Option<(Now, Vec<(SessionKey, Timer)>)> {
        let first = self.rounds.first_entry()?;
        (*first.key() <= now).then(|| first.remove_entry())
    }

    pub(crate) fn next(&self) -> Option<Now> {
        self.rounds.first_key_value().map(|(at, _)| *at)
    }
}

/// The due time of a timer that is not armed: no round comes so late.
const NEVER: Now = Now::from_millis(u64::MAX);

/// Timers fire in steps of this many milliseconds.
const TICK_MS: u64 = 100;
