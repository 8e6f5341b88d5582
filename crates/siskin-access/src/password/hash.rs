//! A hashed password: verified, created, never shown.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use pbkdf2::hmac::{Hmac, Mac as _};
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest as _, Sha256, Sha512};
use stringprep::saslprep;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{Secret, text};
use crate::Problem;

/// The hash of a password, of any kind that a password file may hold.
///
/// `Debug` tells its kind and cost, nothing else; the text for a file is asked for by name, [`Hash::encode`].
#[derive(Clone)]
pub struct Hash {
    pub(super) scheme: Scheme,
    pub(super) salt: Vec<u8>,
    pub(super) digest: Secret,
}

/// How password and salt become a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    /// `$6$`: SHA-512 over password and salt, one round.
    Sha512,
    /// `$7$`: PBKDF2 with HMAC-SHA-512.
    Pbkdf2 { iterations: u32 },
    /// `PBKDF2$sha512$` and `PBKDF2$sha256$`: the same as mosquitto-go-auth writes it.
    GoAuth { prf: Prf, iterations: u32 },
    /// `$scram-sha-256$`: StoredKey and ServerKey of RFC 7677, one after the other.
    ScramSha256 { iterations: u32 },
    /// `$argon2id$`, with the version of Argon2 that made it.
    Argon2id { version: Version, memory_kib: u32, passes: u32, lanes: u32 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prf {
    Sha256,
    Sha512,
}

/// A kind of hash to create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewHash {
    /// Argon2id with Mosquitto 2.1's parameters, its default: 46 MiB, one pass. Mosquitto 2.0 cannot read it.
    Argon2id,
    /// PBKDF2 with HMAC-SHA-512 and so many iterations: read by all of Mosquitto 2.
    Pbkdf2Sha512 {
        /// At least 1, at most [`NewHash::ITERATIONS_MAX`].
        iterations: u32,
    },
    /// What SCRAM-SHA-256 needs to know of a password (RFC 7677), which verifies a plain one as well. No
    /// Mosquitto can read it.
    ScramSha256 {
        /// At least [`NewHash::SCRAM_ITERATIONS`], at most [`NewHash::ITERATIONS_MAX`]: what the client computes.
        iterations: u32,
    },
    /// One round of salted SHA-512, for Mosquitto 1.6. Easily guessed by whoever gets hold of the file.
    Sha512,
}

impl NewHash {
    /// What Mosquitto 2.1 uses if it is not told otherwise.
    pub const ITERATIONS: u32 = 1000;
    /// The least that RFC 7677 allows for SCRAM.
    pub const SCRAM_ITERATIONS: u32 = 4096;
    /// So many take seconds.
    pub const ITERATIONS_MAX: u32 = 10_000_000;

    /// How many random bytes make a good salt that every Mosquitto which knows this kind can read.
    pub fn salt_len(self) -> usize {
        match self {
            Self::Argon2id => 64,
            // Mosquitto 2.0 refuses any other length.
            Self::Pbkdf2Sha512 { .. } | Self::Sha512 => 12,
            Self::ScramSha256 { .. } => 16,
        }
    }
}

/// A salt of a length that Mosquitto would not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaltLength;

impl fmt::Display for SaltLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a salt has 12 or 64 bytes, for Argon2id and SCRAM from 8 to 64")
    }
}

impl std::error::Error for SaltLength {}

impl Hash {
    /// Hashes a password. The salt must be fresh random bytes, [`NewHash::salt_len`] of them. Blocks for as long
    /// as [`Hash::cost_us`] of the result says. An iteration count out of range is taken to its nearest bound.
    pub fn create(kind: NewHash, password: &[u8], salt: &[u8]) -> Result<Self, SaltLength> {
        let scheme = match kind {
            NewHash::Argon2id => {
                Scheme::Argon2id { version: Version::V0x13, memory_kib: 47_104, passes: 1, lanes: 1 }
            }
            NewHash::Pbkdf2Sha512 { iterations } => {
                Scheme::Pbkdf2 { iterations: iterations.clamp(1, NewHash::ITERATIONS_MAX) }
            }
            NewHash::ScramSha256 { iterations } => {
                let iterations = iterations.clamp(NewHash::SCRAM_ITERATIONS, NewHash::ITERATIONS_MAX);
                Scheme::ScramSha256 { iterations }
            }
            NewHash::Sha512 => Scheme::Sha512,
        };
        let is_readable = match kind {
            NewHash::Argon2id | NewHash::ScramSha256 { .. } => (8..=64).contains(&salt.len()),
            NewHash::Pbkdf2Sha512 { .. } | NewHash::Sha512 => matches!(salt.len(), 12 | 64),
        };
        if !is_readable {
            return Err(SaltLength);
        }
        let mut digest = Zeroizing::new(vec![0; DIGEST_LEN]);
        let is_hashed = scheme.hash(password, salt, &mut digest);
        debug_assert!(is_hashed, "the parameters are our own");
        Ok(Self { scheme, salt: salt.to_vec(), digest })
    }

    /// Reads a hash as it stands in a password file.
    pub fn decode(text: &str) -> Result<Self, Problem> {
        text::decode(text).map_err(|(_, problem)| problem)
    }

    /// The hash as it stands in a password file. Who has it can try passwords.
    pub fn encode(&self) -> String {
        text::encode(self)
    }

    /// Whether this is the password, in a time that does not depend on how nearly it is. Blocks for as long as
    /// [`Hash::cost_us`] says, and needs [`Hash::memory_bytes`] of memory meanwhile.
    pub fn verify(&self, password: &[u8]) -> bool {
        let mut digest = Zeroizing::new(vec![0; self.digest.len()]);
        let is_hashed = self.scheme.hash(password, &self.salt, &mut digest);
        is_hashed & bool::from(digest.ct_eq(&self.digest))
    }

    /// What an exchange by SCRAM-SHA-256 needs, if this is a hash for it.
    pub fn scram(&self) -> Option<Scram<'_>> {
        let Scheme::ScramSha256 { iterations } = self.scheme else { return None };
        let (stored_key, server_key) = self.digest.split_at_checked(SCRAM_KEY_LEN)?;
        Some(Scram { iterations, salt: &self.salt, stored_key, server_key })
    }

    /// About how many microseconds of a core of today it takes to verify a password: what should be done
    /// elsewhere than on a thread that has other work.
    pub fn cost_us(&self) -> u64 {
        match self.scheme {
            Scheme::Sha512 => 1,
            Scheme::Pbkdf2 { iterations }
            | Scheme::GoAuth { iterations, .. }
            | Scheme::ScramSha256 { iterations } => 1 + u64::from(iterations),
            Scheme::Argon2id { memory_kib, passes, .. } => 1 + u64::from(memory_kib) * u64::from(passes),
        }
    }

    /// How much memory it takes to verify a password, beyond a few bytes.
    pub fn memory_bytes(&self) -> u64 {
        match self.scheme {
            Scheme::Argon2id { memory_kib, .. } => u64::from(memory_kib) * 1024,
            Scheme::Sha512 | Scheme::Pbkdf2 { .. } | Scheme::GoAuth { .. } | Scheme::ScramSha256 { .. } => 0,
        }
    }
}

/// What a server knows of a user who logs in by SCRAM-SHA-256 (RFC 5802, section 3).
#[derive(Clone, Copy)]
pub struct Scram<'a> {
    /// How often the client hashes.
    pub iterations: u32,
    /// What it hashes the password with.
    pub salt: &'a [u8],
    /// What its proof is checked against.
    pub stored_key: &'a [u8],
    /// What the server proves itself with.
    pub server_key: &'a [u8],
}

impl fmt::Debug for Scram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scram").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hash").field("scheme", &self.scheme).finish_non_exhaustive()
    }
}

impl Scheme {
    /// Fills the digest. False if the parameters are not possible, which none are that [`Scheme`]s are made of.
    fn hash(self, password: &[u8], salt: &[u8], digest: &mut [u8]) -> bool {
        match self {
            Self::Sha512 => {
                let whole = Sha512::new_with_prefix(password).chain_update(salt).finalize();
                let is_whole = digest.len() == whole.len();
                if is_whole {
                    digest.copy_from_slice(&whole);
                }
                is_whole
            }
            Self::Pbkdf2 { iterations } | Self::GoAuth { prf: Prf::Sha512, iterations } => {
                pbkdf2_hmac::<Sha512>(password, salt, iterations, digest);
                true
            }
            Self::GoAuth { prf: Prf::Sha256, iterations } => {
                pbkdf2_hmac::<Sha256>(password, salt, iterations, digest);
                true
            }
            Self::ScramSha256 { iterations } => scram_keys(password, salt, iterations, digest),
            Self::Argon2id { version, memory_kib, passes, lanes } => {
                let Ok(params) = Params::new(memory_kib, passes, lanes, Some(digest.len())) else {
                    return false;
                };
                let argon2 = Argon2::new(Algorithm::Argon2id, version, params);
                argon2.hash_password_into(password, salt, digest).is_ok()
            }
        }
    }
}

/// StoredKey and ServerKey. False if there is no room for exactly these.
fn scram_keys(password: &[u8], salt: &[u8], iterations: u32, digest: &mut [u8]) -> bool {
    // As clients prepare what they are given to prove. [RFC 5802 5.1] What cannot be prepared counts as it is.
    let prepared = std::str::from_utf8(password).ok().and_then(|text| saslprep(text).ok());
    let prepared =
        Zeroizing::new(prepared.map_or_else(|| password.to_vec(), |text| text.into_owned().into_bytes()));
    let password = &prepared[..];
    let mut salted = Zeroizing::new([0; SCRAM_KEY_LEN]);
    pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut *salted);
    let (Some(client), Some(server)) = (keyed(&*salted, b"Client Key"), keyed(&*salted, b"Server Key"))
    else {
        return false;
    };
    let Some((stored_key, server_key)) = digest.split_at_mut_checked(SCRAM_KEY_LEN) else { return false };
    if server_key.len() != SCRAM_KEY_LEN {
        return false;
    }
    stored_key.copy_from_slice(&Sha256::digest(client));
    server_key.copy_from_slice(&server);
    true
}

fn keyed(key: &[u8], text: &[u8]) -> Option<[u8; SCRAM_KEY_LEN]> {
    let hmac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    Some(hmac.chain_update(text).finalize().into_bytes().into())
}

/// Bytes of each of the two keys.
const SCRAM_KEY_LEN: usize = 32;

/// Bytes of a new digest, and of every one that Mosquitto makes.
pub(super) const DIGEST_LEN: usize = 64;
