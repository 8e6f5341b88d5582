//! What went wrong with a file, so that it can be said, and tried again.

use std::fmt;
use std::io;

use crate::error::Error;

/// An operation that the system refused.
#[derive(Debug)]
pub struct Failure {
    doing: &'static str,
    path: String,
    error: io::Error,
}

impl Failure {
    pub(crate) fn new(doing: &'static str, path: String, error: io::Error) -> Self {
        Self { doing, path, error }
    }

    /// Whether there is only no room.
    pub fn is_full(&self) -> bool {
        matches!(self.error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    pub(crate) fn into_error(self) -> Error {
        Error::Io { doing: self.doing, path: self.path, error: self.error }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.doing, self.path, self.error)
    }
}
