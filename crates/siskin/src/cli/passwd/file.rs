//! A password file that is replaced as a whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use super::Failure;

/// Writes a file that must not exist yet, for its owner only.
pub(super) fn create(path: &Path, text: &[u8]) -> Result<(), Failure> {
    let cannot = |error| failure("create", path, &error);
    let mut file = new(path).map_err(cannot)?;
    file.write_all(text).and_then(|()| file.sync_all()).map_err(|error| {
        // Half a file would only be in the way of a second try.
        let _ = fs::remove_file(path);
        cannot(error)
    })
}

/// A file that is there, and what is in it.
pub(super) struct Existing {
    /// Behind symbolic links: what is replaced is the file, not the link.
    path: PathBuf,
    metadata: fs::Metadata,
    pub(super) text: Vec<u8>,
}

impl Existing {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let cannot = |error| failure("open", path, &error);
        let path = fs::canonicalize(path).map_err(cannot)?;
        let mut file = File::open(&path).map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        if !metadata.is_file() {
            return Err(cannot(io::Error::other("it is not a file")));
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(cannot)?;
        Ok(Self { path, metadata, text })
    }

    /// Puts a new text in its place, with the same mode and owner.
    pub(super) fn replace(&self, text: &[u8]) -> Result<(), Failure> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let beside = self.path.with_file_name(format!(".{name}.{}.new", std::process::id()));
        let written = self.write(&beside, text).and_then(|()| fs::rename(&beside, &self.path));
        if let Err(error) = written {
            // It may hold the hashes; whether it is gone is told by the directory.
            let _ = fs::remove_file(&beside);
            return Err(failure("replace", &self.path, &error));
        }
        // So that the new name survives a power cut. Where directories cannot be synced nothing is lost by it.
        let directory = self.path.parent().and_then(|directory| File::open(directory).ok());
        let _ = directory.map(|directory| directory.sync_all());
        Ok(())
    }

    fn write(&self, beside: &Path, text: &[u8]) -> io::Result<()> {
        let mut file = new(beside)?;
        file.write_all(text)?;
        let (old, own) = (&self.metadata, file.metadata()?);
        if (old.uid(), old.gid()) != (own.uid(), own.gid()) {
            // A broker that runs as another user could not read it any more.
            fchown(&file, Some(old.uid()), Some(old.gid())).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("its owner cannot be kept ({error}); run this as the owner or root"),
                )
            })?;
        }
        file.set_permissions(old.permissions())?;
        file.sync_all()
    }
}

/// A new file that nobody else can read.
fn new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn failure(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("Unable to {what} password file {}: {error}", path.display()))
}
