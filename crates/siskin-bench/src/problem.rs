//! What went wrong during a run, counted by kind and cause.

use std::collections::BTreeMap;
use std::fmt;

/// What a problem kept from happening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemKind {
    /// A connection was not opened.
    Connect,
    /// A subscription was not granted.
    Subscribe,
    /// A message was not accepted.
    Publish,
    /// A connection ended that should not have.
    Lost,
}

/// The same problem, so many times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it kept from happening.
    pub kind: ProblemKind,
    /// Why.
    pub cause: String,
    /// How often.
    pub count: u64,
}

/// All problems of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Problems(BTreeMap<(ProblemKind, String), u64>);

impl Problems {
    pub(crate) fn add(&mut self, kind: ProblemKind, cause: impl fmt::Display) {
        let mut cause = cause.to_string();
        // What a broker writes into a reason string may differ every time.
        if self.0.len() >= CAUSES_MAX && !self.0.contains_key(&(kind, cause.clone())) {
            "other causes".clone_into(&mut cause);
        }
        *self.0.entry((kind, cause)).or_default() += 1;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (key, count) in other.0 {
            *self.0.entry(key).or_default() += count;
        }
    }

    pub(crate) fn into_list(self) -> Vec<Problem> {
        self.0.into_iter().map(|((kind, cause), count)| Problem { kind, cause, count }).collect()
    }
}

impl ProblemKind {
    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, cause, count } = self;
        let what = match kind {
            ProblemKind::Connect => "not connected",
            ProblemKind::Subscribe => "not subscribed",
            ProblemKind::Publish => "message not accepted",
            ProblemKind::Lost => "connection lost",
        };
        write!(f, "{count} x {what}: {cause}")
    }
}

/// Different causes that are kept apart.
const CAUSES_MAX: usize = 50;
