//! The step that looks into a password file.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use siskin_access::Mistake;
use siskin_access::password::{Attempt, PasswordFile};

use crate::cache::{Cache, Digest};
use crate::config::PasswordFileConfig;
use crate::outcome::Outcome;
use crate::request::{Request, Secret};
use crate::step::Means;
use crate::verdict::Identity;

/// A password file that may be replaced.
pub(crate) struct PasswordFileStep {
    name: Arc<str>,
    path: PathBuf,
    file: RwLock<Arc<PasswordFile>>,
    /// Whether user and password fit.
    cache: Option<Cache<bool>>,
    means: Means,
}

impl PasswordFileStep {
    pub(crate) fn new(config: &PasswordFileConfig, name: &Arc<str>, means: &Means) -> Result<Self, String> {
        let file = RwLock::new(Arc::new(load(&config.path)?));
        let cache = Cache::new(config.cache, &means.clock)?;
        Ok(Self { name: Arc::clone(name), path: config.path.clone(), file, cache, means: means.clone() })
    }

    pub(crate) fn reload(&self) -> Result<(), String> {
        let file = Arc::new(load(&self.path)?);
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = file;
        if let Some(cache) = &self.cache {
            cache.clear();
        }
        Ok(())
    }

    pub(crate) fn cached(&self) -> u64 {
        self.cache.as_ref().map_or(0, Cache::hits)
    }

    pub(crate) async fn ask(&self, request: &Request) -> Outcome {
        let Some(user) = &request.user_name else { return Outcome::Ignore("no user name".to_owned()) };
        let Some(password) = &request.password else {
            let is_known = self.file().user(user).is_some();
            return if is_known { Outcome::wrong("no password") } else { unknown() };
        };
        // Before the file is looked at: should it be replaced meanwhile, the verdict is not remembered.
        let cached =
            self.cache.as_ref().map(|cache| (cache, cache.digest([user.as_bytes(), password.expose()])));
        let file = self.file();
        let is_known = file.user(user).is_some();
        match self.is_right(file.attempt(user), password, cached).await {
            Ok(true) => Outcome::Allow(Box::new(Identity::new(Some(Arc::clone(user)), &self.name))),
            Ok(false) if is_known => Outcome::wrong("wrong password"),
            Ok(false) => unknown(),
            Err(outcome) => outcome,
        }
    }

    /// Whether it is the user's password. An unknown name costs what a known one does: the attempt is made on
    /// somebody else's hash.
    async fn is_right(
        &self,
        attempt: Attempt,
        password: &Secret,
        cached: Option<(&Cache<bool>, Digest)>,
    ) -> Result<bool, Outcome> {
        if attempt.cost_us() <= CHEAP_US {
            return Ok(attempt.verify(password.expose()));
        }
        if let Some(is_right) = cached.as_ref().and_then(|(cache, digest)| cache.value(digest)) {
            return Ok(is_right);
        }
        let (password, memory_bytes) = (password.clone(), attempt.memory_bytes());
        let hash = move || attempt.verify(password.expose());
        let receiver =
            self.means.pool.submit(memory_bytes, hash).map_err(|full| Outcome::Busy(full.to_string()))?;
        let is_right =
            receiver.await.map_err(|_| Outcome::Unavailable("the broker shuts down".to_owned()))?;
        if let Some((cache, digest)) = cached {
            cache.put(&digest, is_right, is_right, None);
        }
        Ok(is_right)
    }

    fn file(&self) -> Arc<PasswordFile> {
        Arc::clone(&self.file.read().unwrap_or_else(PoisonError::into_inner))
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
