//! The step that looks into a password file.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use siskin_access::Mistake;
use siskin_access::password::PasswordFile;

use crate::config::PasswordFileConfig;
use crate::outcome::Outcome;
use crate::request::Request;
use crate::step::Means;
use crate::verdict::Identity;

/// A password file that may be replaced.
pub(crate) struct PasswordFileStep {
    name: Arc<str>,
    path: PathBuf,
    file: RwLock<Arc<PasswordFile>>,
    means: Means,
}

impl PasswordFileStep {
    pub(crate) fn new(config: &PasswordFileConfig, name: &Arc<str>, means: &Means) -> Result<Self, String> {
        let file = RwLock::new(Arc::new(load(&config.path)?));
        Ok(Self { name: Arc::clone(name), path: config.path.clone(), file, means: means.clone() })
    }

    pub(crate) fn reload(&self) -> Result<(), String> {
        let file = Arc::new(load(&self.path)?);
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = file;
        Ok(())
    }

    pub(crate) async fn ask(&self, request: &Request) -> Outcome {
        let Some(user) = &request.user_name else { return Outcome::Ignore("no user name".to_owned()) };
        let file = Arc::clone(&self.file.read().unwrap_or_else(PoisonError::into_inner));
        let is_known = file.user(user).is_some();
        let Some(password) = &request.password else {
            return if is_known { Outcome::wrong("no password") } else { unknown() };
        };
        // An unknown name costs what a known one does: the attempt is made on somebody else's hash.
        let attempt = file.attempt(user);
        drop(file);
        let is_right = if attempt.cost_us() <= CHEAP_US {
            attempt.verify(password.expose())
        } else {
            let (password, memory_bytes) = (password.clone(), attempt.memory_bytes());
            let hash = move || attempt.verify(password.expose());
            let receiver = match self.means.pool.submit(memory_bytes, hash) {
                Ok(receiver) => receiver,
                Err(full) => return Outcome::Busy(full.to_string()),
            };
            match receiver.await {
                Ok(is_right) => is_right,
                Err(_) => return Outcome::Unavailable("the broker shuts down".to_owned()),
            }
        };
        match (is_right, is_known) {
            (true, _) => Outcome::Allow(Box::new(Identity::new(Some(Arc::clone(user)), &self.name))),
            (false, true) => Outcome::wrong("wrong password"),
            (false, false) => unknown(),
        }
    }
}

fn unknown() -> Outcome {
    Outcome::Ignore("no such user".to_owned())
}

/// Reads a password file, or says what is wrong with it and where.
pub(crate) fn load(path: &Path) -> Result<PasswordFile, String> {
    let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let file = PasswordFile::parse(text).map_err(|mistakes| listed(path, &mistakes))?;
    for warning in file.warnings() {
        tracing::warn!("{}:{warning}", path.display());
    }
    Ok(file)
}

/// The first mistakes, as many as somebody would read.
fn listed(path: &Path, mistakes: &[Mistake]) -> String {
    let mut text = String::new();
    for mistake in mistakes.iter().take(SHOWN_MAX) {
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = write!(text, "{separator}{}:{mistake}", path.display());
    }
    if mistakes.len() > SHOWN_MAX {
        let _ = write!(text, "; and {} more", mistakes.len() - SHOWN_MAX);
    }
    text
}

/// What takes no longer is done at once: handing it to another thread would take as long.
const CHEAP_US: u64 = 20;

/// So many mistakes of a file are shown.
const SHOWN_MAX: usize = 10;
