//! The steps of a chain, of whatever kind.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::StepConfig;
use crate::http::HttpStep;
use crate::jwt::{JwtStep, Known};
use crate::outcome::Outcome;
use crate::password_file::PasswordFileStep;
use crate::pool::Pool;
use crate::request::Request;
use crate::scram::{self, Exchange, ScramStep};

/// A step that is ready to be asked.
pub(crate) enum Step {
    PasswordFile(Box<PasswordFileStep>),
    Http(Box<HttpStep>),
    Jwt(Box<JwtStep>),
    Scram(Box<ScramStep>),
}

/// What every step may use.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) clock: Clock,
    pub(crate) pool: Arc<Pool>,
    /// Keys that were fetched.
    pub(crate) known: Known,
}

/// What a step remembers of a client between two packets.
pub(crate) enum Dialogue {
    Scram(Exchange),
}

impl Step {
    /// Reads its files and checks its configuration. `later` are the steps that are asked after it.
    pub(crate) fn new(
        config: &StepConfig,
        later: &[StepConfig],
        name: &Arc<str>,
        means: &Means,
    ) -> Result<Self, String> {
        match config {
            StepConfig::PasswordFile(config) => {
                PasswordFileStep::new(config, name, means).map(|step| Self::PasswordFile(Box::new(step)))
            }
            StepConfig::Http(config) => {
                HttpStep::new(config, name, means).map(|step| Self::Http(Box::new(step)))
            }
            StepConfig::Scram(config) => {
                let is_last = !later.iter().any(|step| matches!(step, StepConfig::Scram(_)));
                ScramStep::new(config, name, is_last).map(|step| Self::Scram(Box::new(step)))
            }
            StepConfig::Jwt(config) => {
                JwtStep::new(config, name, means).map(|step| Self::Jwt(Box::new(step)))
            }
        }
    }

    /// Asks it about a client.
    pub(crate) async fn ask(&self, request: &Request) -> Outcome {
        match self {
            Self::PasswordFile(step) => step.ask(request).await,
            Self::Http(step) => step.ask(request).await,
            Self::Jwt(step) => step.ask(request).await,
            Self::Scram(step) => step.ask(request),
        }
    }

    /// Goes on with what the client answered to a challenge.
    pub(crate) fn proceed(&self, dialogue: Dialogue, data: &[u8]) -> Outcome {
        match (self, dialogue) {
            (Self::Scram(step), Dialogue::Scram(exchange)) => step.proceed(exchange, data),
            // A conversation that was begun with another chain.
            _ => Outcome::wrong("this exchange was not begun here"),
        }
    }

    /// Whether it takes part in an enhanced authentication of this method.
    pub(crate) fn speaks(&self, method: &str) -> bool {
        matches!(self, Self::Scram(_)) && method == scram::METHOD
    }

    /// Whether it has an opinion on clients without credentials.
    pub(crate) fn knows_anonymous(&self) -> bool {
        matches!(self, Self::Http(step) if step.knows_anonymous())
    }

    /// Reads its files again; on failure it stays as it was.
    pub(crate) fn reload(&self) -> Result<(), String> {
        match self {
            Self::PasswordFile(step) => step.reload(),
            Self::Http(step) => {
                step.reload();
                Ok(())
            }
            Self::Jwt(step) => step.reload(),
            Self::Scram(step) => step.reload(),
        }
    }

    /// How many answers came from memory.
    pub(crate) fn cached(&self) -> u64 {
        match self {
            Self::PasswordFile(step) => step.cached(),
            Self::Http(step) => step.cached(),
            Self::Jwt(_) | Self::Scram(_) => 0,
        }
    }

    /// Whether its back end is not asked for a while.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self, Self::Http(step) if step.is_broken())
    }
}
