//! What a chain consists of. How a user writes it down is somebody else's business.

use std::path::PathBuf;
use std::time::Duration;

/// A chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Whether clients without credentials are let in; if nobody says, those of local listeners are.
    pub anonymous: Option<bool>,
    /// Who is asked, in this order.
    pub steps: Vec<StepConfig>,
    /// So many clients may wait for their verdict; the next is refused at once.
    pub attempts_max: usize,
    /// So long a verdict may take, whatever the steps wait for.
    pub timeout: Duration,
    /// The threads that compute password hashes.
    pub hashing: Hashing,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            anonymous: None,
            steps: Vec::new(),
            attempts_max: 10_000,
            timeout: Duration::from_secs(15),
            hashing: Hashing::default(),
        }
    }
}

/// Limits of the threads that compute password hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashing {
    /// How many threads; 0 is half of the cores, and at least one.
    pub threads: usize,
    /// So many hashes may wait; the next client is refused at once.
    pub queue_max: usize,
    /// So much memory the hashes may need that are computed at the same time.
    pub memory_max_bytes: u64,
}

impl Default for Hashing {
    fn default() -> Self {
        Self { threads: 0, queue_max: 1_000, memory_max_bytes: 256 << 20 }
    }
}

/// A step of the chain.
#[derive(Clone, Debug, PartialEq)]
pub enum StepConfig {
    /// Users and hashes in a file.
    PasswordFile(PasswordFileConfig),
}

impl StepConfig {
    /// What the step is called in log and metrics.
    pub fn name(&self) -> &str {
        match self {
            Self::PasswordFile(config) => &config.name,
        }
    }
}

/// A password file in any of the formats of Mosquitto.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordFileConfig {
    /// What the step is called.
    pub name: String,
    /// Where the file is.
    pub path: PathBuf,
    /// Whether verdicts are remembered. Off by default: who reads the memory of the process can try passwords
    /// on what is remembered faster than on the hashes of the file.
    pub cache: CacheConfig,
}

impl PasswordFileConfig {
    /// The file at `path`, and no cache.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { name: "password file".to_owned(), path: path.into(), cache: CacheConfig::OFF }
    }
}

/// For how long a verdict may be repeated without asking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheConfig {
    /// A client that was let in; 0 is off.
    pub allowed_s: u64,
    /// A client that was not; 0 is off.
    pub denied_s: u64,
    /// So many verdicts are remembered; beyond it the oldest goes.
    pub entries_max: usize,
}

impl CacheConfig {
    /// Nothing is remembered.
    pub const OFF: Self = Self { allowed_s: 0, denied_s: 0, entries_max: 0 };
}
