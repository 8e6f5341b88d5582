//! Why a journal cannot be opened or read: always with the file, and with the offset where there is one.

use std::fmt;
use std::io;

/// What stands in the way.
#[derive(Debug)]
pub enum Error {
    /// Another process has the directory.
    InUse {
        /// The directory.
        directory: String,
        /// The process, if it said so.
        pid: Option<u32>,
    },
    /// The system refuses something.
    Io {
        /// What was to be done, as a verb.
        doing: &'static str,
        /// With which file.
        path: String,
        /// What it said.
        error: io::Error,
    },
    /// The file was written by a Siskin of another time.
    Version {
        /// The file.
        path: String,
        /// The version of its format.
        version: u32,
    },
    /// What was safe cannot be read any more.
    Corrupt {
        /// The file.
        path: String,
        /// The number of its segment.
        segment: u32,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },
}

/// What is wrong with a place in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// It does not begin as a segment does.
    SegmentHeader,
    /// It begins as another segment does.
    SegmentNumber {
        /// The number it says it has.
        found: u32,
    },
    /// The file is not there, though those before or behind it are.
    Missing,
    /// There should be a frame, and it had been on stable storage.
    Frame {
        /// The frame's sequence.
        sequence: u64,
        /// Up to where a later place says that everything had been safe.
        synced: u64,
    },
    /// The frame is whole, but what is in it are no operations.
    Operations,
    /// A record is not what was put.
    Body,
    /// More than a file can hold: the offsets in it have 32 bits.
    TooLong,
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: impl fmt::Display, error: io::Error) -> Self {
        Self::Io { doing, path: path.to_string(), error }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { directory, pid: Some(pid) } => {
                write!(f, "{directory} is in use by the process {pid}")
            }
            Self::InUse { directory, pid: None } => write!(f, "{directory} is in use by another process"),
            Self::Io { doing, path, error } => write!(f, "cannot {doing} {path}: {error}"),
            Self::Version { path, version } => write!(
                f,
                "{path} has version {version} of the format; this program reads version {}",
                crate::format::VERSION
            ),
            Self::Corrupt { path, offset, damage, .. } => {
                write!(f, "{path} is damaged at byte {offset}: {damage}")
            }
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SegmentHeader => f.write_str("this is no segment's header"),
            Self::SegmentNumber { found } => write!(f, "this is the header of segment {found}"),
            Self::Missing => f.write_str("the file is missing"),
            Self::Frame { sequence, synced } => {
                write!(f, "frame {sequence} cannot be read, though everything up to {synced} had been safe")
            }
            Self::Operations => f.write_str("the frame is whole, but holds no operations"),
            Self::Body => f.write_str("a record is not as it was written"),
            Self::TooLong => f.write_str("the file is longer than 4 GiB"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}
