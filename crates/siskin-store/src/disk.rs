//! A directory on a real disk, locked against a second process.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::device::Device;
use crate::error::Error;

/// A directory of the file system. While it is open, no other process can open it.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    directory: File,
    writable: bool,
    /// Held for its lock. None where nobody ever wrote and we do not either.
    _lock: Option<File>,
}

impl Disk {
    /// Opens a directory to write in it; makes it if it is not there. What clients say to each other is nobody else's:
    /// the directory and the files that it makes are for its user alone.
    pub fn open(path: &Path) -> Result<Self, Error> {
        make(path).map_err(|error| Error::io("create", path.display(), error))?;
        let directory = File::open(path).map_err(|error| Error::io("open", path.display(), error))?;
        let lock_path = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&lock_path)
            .map_err(|error| Error::io("open", lock_path.display(), error))?;
        locked(lock.try_lock(), path)?;
        // For whoever finds it locked; the lock does not depend on it, and there may be no room.
        _ = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id()));
        Ok(Self { path: path.to_path_buf(), directory, writable: true, _lock: Some(lock) })
    }

    /// Opens a directory to look at it, while nobody writes in it.
    pub fn open_to_read(path: &Path) -> Result<Self, Error> {
        let directory = File::open(path).map_err(|error| Error::io("open", path.display(), error))?;
        let lock_path = path.join(LOCK);
        let lock = match File::open(&lock_path) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io("open", lock_path.display(), error)),
        };
        if let Some(lock) = &lock {
            locked(lock.try_lock_shared(), path)?;
        }
        Ok(Self { path: path.to_path_buf(), directory, writable: false, _lock: lock })
    }
}

fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    DirBuilder::new().mode(0o700).create(path)
}

fn locked(tried: Result<(), TryLockError>, path: &Path) -> Result<(), Error> {
    match tried {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let pid = std::fs::read_to_string(path.join(LOCK)).ok().and_then(|text| text.trim().parse().ok());
            Err(Error::InUse { directory: path.display().to_string(), pid })
        }
        Err(TryLockError::Error(error)) => Err(Error::io("lock", path.join(LOCK).display(), error)),
    }
}

impl Device for Disk {
    type File = File;

    fn path(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        let path = self.path.join(name);
        // A pipe, for one, would have us wait for whoever writes to it.
        if !std::fs::metadata(&path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
        }
        OpenOptions::new().read(true).write(self.writable).open(path)
    }

    fn create(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(self.path.join(name))
    }

    fn size(&self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn read_at(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        file.read_at(bytes, offset)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        file.write_at(bytes, offset)
    }

    fn shorten(&self, file: &File, len: u64) -> io::Result<()> {
        file.set_len(len)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()?;
        // Nobody would find what is in it.
        match file.metadata()?.nlink() {
            0 => Err(io::Error::new(io::ErrorKind::NotFound, "the file has been removed")),
            _ => Ok(()),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.directory.sync_all()
    }
}

const LOCK: &str = "lock";

const FILE_MODE: u32 = 0o600;
