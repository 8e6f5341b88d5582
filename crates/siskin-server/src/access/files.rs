//! Password and ACL files: read whole or not at all, and watched.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use siskin_access::Mistake;
use siskin_access::acl::Acl;
use siskin_access::password::PasswordFile;

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
        if self.acl.is_some() && self.users.is_none() {
            tracing::warn!(
                "access.acl_file goes by user names, and nothing proves them: there is no access.password_file"
            );
        }
    }
}

/// What tells one content of the files from the next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Marks([Mark; 2]);

impl Marks {
    pub(super) fn of(config: &AccessConfig) -> Self {
        Self([&config.acl_file, &config.password_file].map(|path| Mark::of(path)))
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
