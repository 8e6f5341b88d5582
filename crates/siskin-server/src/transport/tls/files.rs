//! Certificates, keys and revocation lists in files, and whether the files have changed.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

/// A file that cannot be used, and why.
#[derive(Debug)]
pub(super) struct Unusable {
    path: PathBuf,
    problem: String,
}

impl Unusable {
    pub(super) fn new(path: &Path, problem: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), problem: problem.to_string() }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem)
    }
}

/// All certificates in a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    all(path, "certificate")
}

/// All revocation lists in a file, at least one.
pub(super) fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Unusable> {
    all(path, "revocation list")
}

/// The private key in a file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Unusable> {
    let bytes = read(path)?;
    let is_encrypted = bytes.windows(ENCRYPTED.len()).any(|window| window == ENCRYPTED);
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        PemError::NoItemsFound if is_encrypted => {
            Unusable::new(path, "the private key is encrypted, and there is nobody to ask for its password")
        }
        PemError::NoItemsFound => Unusable::new(path, "there is no private key in it"),
        error => Unusable::new(path, error),
    })
}

fn all<T: PemObject>(path: &Path, what: &str) -> Result<Vec<T>, Unusable> {
    let items: Result<Vec<_>, _> = T::pem_slice_iter(&read(path)?).collect();
    let items = items.map_err(|error| Unusable::new(path, error))?;
    if items.is_empty() {
        return Err(Unusable::new(path, format!("there is no {what} in it (PEM is asked for)")));
    }
    Ok(items)
}

fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    fs::read(path).map_err(|error| Unusable::new(path, format!("cannot be read: {error}")))
}

/// What tells one content of a file from the next, as far as can be told without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark(Option<(SystemTime, u64, u64)>);

impl Mark {
    pub(crate) fn of(path: &Path) -> Self {
        let metadata = fs::metadata(path).ok();
        Self(metadata.and_then(|file| Some((file.modified().ok()?, file.len(), file.ino()))))
    }
}

/// Stands in the PEM label of every encrypted key.
const ENCRYPTED: &[u8] = b"ENCRYPTED";
