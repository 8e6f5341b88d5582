//! The directory of a run. It is taken only if it is empty or was made by an earlier run, and nothing is
//! removed but what a run makes.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

pub(super) struct Directory {
    path: PathBuf,
    /// It was not there before.
    is_new: bool,
    /// Locked as long as the run lasts.
    _mark: File,
}

impl Directory {
    /// Takes the directory for a run, or says why not.
    pub(super) fn take(path: &Path) -> Result<Self, String> {
        let is_new = !path.exists();
        let failed = |what: &str, error: io::Error| format!("cannot {what} {}: {error}", path.display());
        fs::create_dir_all(path).map_err(|error| failed("create the directory", error))?;
        let entries = fs::read_dir(path).map_err(|error| failed("read the directory", error))?;
        let names: Result<Vec<_>, _> = entries.map(|entry| entry.map(|entry| entry.file_name())).collect();
        let names = names.map_err(|error| failed("read the directory", error))?;
        if let Some(name) = names.iter().find(|name| !MADE.iter().any(|made| *name == made)) {
            let (path, name) = (path.display(), name.display());
            return Err(format!("{path} holds `{name}`, which no run has made: name an empty directory"));
        }
        let is_marked = names.iter().any(|name| name == MARK);
        if !names.is_empty() && !is_marked {
            let path = path.display();
            return Err(format!("{path} is not empty and no run has made it: name an empty directory"));
        }
        let mark = mark(&path.join(MARK)).map_err(|error| failed("take the directory", error))?;
        let directory = Self { path: path.to_owned(), is_new, _mark: mark };
        directory.clear().map_err(|error| failed("clear what an earlier run has left in", error))?;
        Ok(directory)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the broker keeps its data.
    pub(super) fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    /// What the broker says on stderr.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Removes everything that the run has made.
    pub(super) fn remove(self) -> Result<(), String> {
        let remove = || {
            self.clear()?;
            fs::remove_file(self.path.join(MARK))?;
            if self.is_new { fs::remove_dir(&self.path) } else { Ok(()) }
        };
        remove().map_err(|error: io::Error| format!("cannot remove {}: {error}", self.path.display()))
    }

    fn clear(&self) -> io::Result<()> {
        ignore_absence(fs::remove_dir_all(self.store()))?;
        ignore_absence(fs::remove_file(self.log()))
    }
}

fn mark(path: &Path) -> io::Result<File> {
    let mut file = File::options().write(true).create(true).truncate(false).open(path)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::other("another run is using it"),
        TryLockError::Error(error) => error,
    })?;
    file.set_len(0)?;
    file.write_all(MARK_TEXT.as_bytes())?;
    Ok(file)
}

fn ignore_absence(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

const STORE: &str = "store";
const LOG: &str = "broker.log";
const MARK: &str = "siskin-verify-durability";
const MADE: [&str; 3] = [STORE, LOG, MARK];

const MARK_TEXT: &str = "`siskin verify-durability` made this directory and removes what it made here.\n";

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that is free; whatever is made there goes with it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("siskin-directory-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn refusal(path: &Path) -> String {
        Directory::take(path).err().expect("it is refused")
    }

    #[test]
    fn a_directory_that_was_not_there_is_gone_afterwards() {
        let scratch = Scratch::new("new");
        let path = scratch.0.join("a/b");
        let directory = Directory::take(&path).unwrap();
        fs::create_dir(directory.store()).unwrap();
        fs::write(directory.log(), "line").unwrap();
        directory.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn an_empty_directory_stays_and_is_empty_again() {
        let scratch = Scratch::new("empty");
        Directory::take(&scratch.0).unwrap().remove().unwrap();
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0);
    }

    #[test]
    fn what_an_earlier_run_has_left_is_cleared() {
        let scratch = Scratch::new("left");
        let first = Directory::take(&scratch.0).unwrap();
        fs::create_dir(first.store()).unwrap();
        fs::write(first.store().join("segment"), "data").unwrap();
        drop(first);
        let second = Directory::take(&scratch.0).unwrap();
        assert!(!second.store().exists());
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused_and_left_as_it_is() {
        let scratch = Scratch::new("other");
        fs::write(scratch.0.join("letter"), "dear").unwrap();
        assert!(refusal(&scratch.0).contains("holds `letter`"));
        fs::write(scratch.0.join(MARK), "").unwrap();
        assert!(refusal(&scratch.0).contains("holds `letter`"));
        assert_eq!(fs::read(scratch.0.join("letter")).unwrap(), b"dear");
    }

    #[test]
    fn a_store_without_the_mark_of_a_run_is_somebody_elses() {
        let scratch = Scratch::new("store");
        fs::create_dir(scratch.0.join(STORE)).unwrap();
        assert!(refusal(&scratch.0).contains("is not empty"));
        assert!(scratch.0.join(STORE).exists());
    }

    #[test]
    fn two_runs_do_not_share_a_directory() {
        let scratch = Scratch::new("two");
        let _first = Directory::take(&scratch.0).unwrap();
        assert!(refusal(&scratch.0).contains("another run is using it"));
    }
}
