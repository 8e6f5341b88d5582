//! Password and ACL files: read whole or not at all, and watched.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use siskin_access::Mistake;
use siskin_access::acl::Acl;
use siskin_access::password::PasswordFile;
use siskin_auth::config::StepConfig;

use crate::config::AccessConfig;
use crate::transport::Mark;

/// What the files say.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    pub(super) acl: Option<Acl>,
    pub(super) users: Option<Arc<PasswordFile>>,
}

impl Files {
    /// Reads those that are configured. The error names the file, and what is wrong in which line.
    pub(super) fn read(config: &AccessConfig) -> Result<Self, String> {
        let acl = read(&config.acl_file, Acl::parse)?;
        let users = read(&config.password_file, PasswordFile::parse)?.map(Arc::new);
        Ok(Self { acl, users })
    }

    /// Says what is most likely not meant as it is written.
    pub(super) fn warn(&self, config: &AccessConfig) {
        for warning in self.acl.iter().flat_map(Acl::warnings) {
            tracing::warn!("{}:{warning}", config.acl_file.display());
        }
        if self.acl.is_some() && self.users.is_none() && config.auth.is_empty() {
            tracing::warn!(
                "access.acl_file goes by user names, and nothing proves them: there is neither access.password_file nor [[auth]]"
            );
        }
    }
}

/// What tells one content of the files from the next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Marks(Vec<Mark>);

impl Marks {
    pub(super) fn of(config: &AccessConfig) -> Self {
        Self(Self::files(config).map(Mark::of).collect())
    }

    /// All files there are; an empty path is none.
    pub(super) fn files(config: &AccessConfig) -> impl Iterator<Item = &Path> {
        let steps = config.auth.iter().flat_map(StepConfig::files);
        [&*config.acl_file, &*config.password_file].into_iter().chain(steps)
    }
}

fn read<T>(path: &Path, parse: fn(Vec<u8>) -> Result<T, Vec<Mistake>>) -> Result<Option<T>, String> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let name = path.display();
    let bytes = fs::read(path).map_err(|error| format!("{name} cannot be read: {error}"))?;
    parse(bytes).map(Some).map_err(|mistakes| {
        let mut text = String::new();
        for mistake in mistakes.iter().take(MISTAKES_SHOWN) {
            let separator = if text.is_empty() { "" } else { "; " };
            let _ = write!(text, "{separator}{name}:{mistake}");
        }
        if mistakes.len() > MISTAKES_SHOWN {
            let _ = write!(text, "; and {} more", mistakes.len() - MISTAKES_SHOWN);
        }
        text
    })
}

/// As many as somebody would read in one line.
const MISTAKES_SHOWN: usize = 5;
