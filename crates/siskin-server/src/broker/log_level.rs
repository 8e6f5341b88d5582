//! Which log lines are shown, while the broker runs. Who shows them is the program's choice; it says here how that is
//! changed.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Broker;
use crate::config::LogLevel;

/// Shows log lines down to a level from now on, or says why it cannot.
type Show = Box<dyn Fn(LogLevel) -> Result<(), String> + Send>;

/// The level in force, and what changes it.
pub(super) struct LogSwitch(Mutex<(LogLevel, Option<Show>)>);

/// The level of the log was not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelNotSet(String);

impl LogSwitch {
    pub(super) fn new(level: LogLevel) -> Self {
        Self(Mutex::new((level, None)))
    }

    fn lock(&self) -> MutexGuard<'_, (LogLevel, Option<Show>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Broker {
    /// The level of the log is changed by `show` from now on.
    pub fn on_log_level(&self, show: impl Fn(LogLevel) -> Result<(), String> + Send + 'static) {
        self.0.log.lock().1 = Some(Box::new(show));
    }

    /// How grave a line must be to be shown.
    pub fn log_level(&self) -> LogLevel {
        self.0.log.lock().0
    }

    /// Shows lines of `level` and graver ones from now on, until the broker is started again.
    pub fn set_log_level(&self, level: LogLevel) -> Result<(), LevelNotSet> {
        let mut log = self.0.log.lock();
        let (current, Some(show)) = &mut *log else {
            return Err(LevelNotSet(
                "the program that runs the broker does not let it be changed".to_owned(),
            ));
        };
        show(level).map_err(LevelNotSet)?;
        *current = level;
        Ok(())
    }
}

impl fmt::Display for LevelNotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the level of the log stays as it is: {}", self.0)
    }
}

impl std::error::Error for LevelNotSet {}
