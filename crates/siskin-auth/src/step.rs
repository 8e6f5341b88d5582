//! The steps of a chain, of whatever kind.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::StepConfig;
use crate::outcome::Outcome;
use crate::password_file::PasswordFileStep;
use crate::pool::Pool;
use crate::request::Request;

/// A step that is ready to be asked.
pub(crate) enum Step {
    PasswordFile(PasswordFileStep),
}

/// What every step may use.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) clock: Clock,
    pub(crate) pool: Arc<Pool>,
}

/// What a step remembers of a client between two packets.
pub(crate) enum Dialogue {}

impl Step {
    /// Reads its files and checks its configuration.
    pub(crate) fn new(config: &StepConfig, name: &Arc<str>, means: &Means) -> Result<Self, String> {
        match config {
            StepConfig::PasswordFile(config) => {
                PasswordFileStep::new(config, name, means).map(Self::PasswordFile)
            }
        }
    }

    /// Asks it about a client.
    pub(crate) async fn ask(&self, request: &Request) -> Outcome {
        match self {
            Self::PasswordFile(step) => step.ask(request).await,
        }
    }

    /// Goes on with what the client answered to a challenge.
    pub(crate) async fn proceed(&self, dialogue: Dialogue, _: &Request, _: &[u8]) -> Outcome {
        match dialogue {}
    }

    /// Whether it takes part in an enhanced authentication of this method.
    pub(crate) fn speaks(&self, _: &str) -> bool {
        false
    }

    /// Whether it has an opinion on clients without credentials.
    pub(crate) fn knows_anonymous(&self) -> bool {
        false
    }

    /// Reads its files again; on failure it stays as it was.
    pub(crate) fn reload(&self) -> Result<(), String> {
        match self {
            Self::PasswordFile(step) => step.reload(),
        }
    }

    /// How many answers came from memory.
    pub(crate) fn cached(&self) -> u64 {
        match self {
            Self::PasswordFile(_) => 0,
        }
    }

    /// Whether its back end is not asked for a while.
    pub(crate) fn is_broken(&self) -> bool {
        match self {
            Self::PasswordFile(_) => false,
        }
    }
}
