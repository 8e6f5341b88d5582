//! Hashes as text.
//!
//! ```text
//! $6$SALT$DIGEST                              SHA-512, Mosquitto 1
//! $7$ITERATIONS$SALT$DIGEST                   PBKDF2-HMAC-SHA-512, Mosquitto 2.0
//! $argon2id$v=19$m=47104,t=1,p=1$SALT$DIGEST  Argon2id, Mosquitto 2.1; Base64 without padding
//! $scram-sha-256$ITERATIONS$SALT$STOREDKEY$SERVERKEY   SCRAM-SHA-256, ours alone
//! PBKDF2$sha512$ITERATIONS$SALT$DIGEST        PBKDF2, mosquitto-go-auth; also sha256
//! ```

use argon2::Version;
use base64ct::{Base64, Base64Unpadded, Encoding as _};
use zeroize::Zeroizing;

use super::hash::{DIGEST_LEN, Hash, NewHash, Prf, Scheme};
use crate::Problem;
use crate::lines::offset;

/// Where in the text something is wrong, and what.
type Wrong = (usize, Problem);

pub(super) fn decode(text: &str) -> Result<Hash, Wrong> {
    let mut parts = Parts { text, rest: Some(text) };
    match parts.rest.and_then(|rest| rest.split_once('$')) {
        Some(("", _)) => {
            parts.take("kind")?;
            match parts.take("kind")? {
                "6" => mosquitto(Scheme::Sha512, parts),
                "7" => {
                    let iterations = parts.number("iteration count", 1, NewHash::ITERATIONS_MAX)?;
                    mosquitto(Scheme::Pbkdf2 { iterations }, parts)
                }
                "argon2id" => argon2id(parts),
                "scram-sha-256" => scram_sha_256(parts),
                _ => Err((0, Problem::UnknownHash)),
            }
        }
        Some(("PBKDF2", _)) => {
            parts.take("kind")?;
            go_auth(parts)
        }
        _ => Err((0, Problem::PlainText)),
    }
}

pub(super) fn encode(hash: &Hash) -> String {
    let (salt, digest) = (Base64::encode_string(&hash.salt), Base64::encode_string(&hash.digest));
    match hash.scheme {
        Scheme::Sha512 => format!("$6${salt}${digest}"),
        Scheme::Pbkdf2 { iterations } => format!("$7${iterations}${salt}${digest}"),
        Scheme::GoAuth { prf, iterations } => {
            let prf = match prf {
                Prf::Sha256 => "sha256",
                Prf::Sha512 => "sha512",
            };
            format!("PBKDF2${prf}${iterations}${salt}${digest}")
        }
        Scheme::ScramSha256 { iterations } => {
            let (stored, server) = hash.digest.split_at(hash.digest.len() / 2);
            let (stored, server) = (Base64::encode_string(stored), Base64::encode_string(server));
            format!("$scram-sha-256${iterations}${salt}${stored}${server}")
        }
        Scheme::Argon2id { version, memory_kib, passes, lanes } => {
            let salt = Base64Unpadded::encode_string(&hash.salt);
            let digest = Base64Unpadded::encode_string(&hash.digest);
            let version = u32::from(version);
            format!("$argon2id$v={version}$m={memory_kib},t={passes},p={lanes}${salt}${digest}")
        }
    }
}

fn mosquitto(scheme: Scheme, mut parts: Parts<'_>) -> Result<Hash, Wrong> {
    let salt = parts.padded("salt", |bytes| matches!(bytes, 12 | DIGEST_LEN), "12 or 64")?;
    let digest = parts.padded("digest", |bytes| bytes == DIGEST_LEN, "64")?;
    Ok(Hash { scheme, salt, digest: Zeroizing::new(digest) })
}

fn go_auth(mut parts: Parts<'_>) -> Result<Hash, Wrong> {
    let prf = match parts.take("kind")? {
        "sha512" => Prf::Sha512,
        "sha256" => Prf::Sha256,
        _ => return Err((0, Problem::UnknownHash)),
    };
    let iterations = parts.number("iteration count", 1, NewHash::ITERATIONS_MAX)?;
    let salt = parts.padded("salt", |bytes| (1..=1024).contains(&bytes), "1 to 1024")?;
    let digest = parts.padded("digest", |bytes| (16..=1024).contains(&bytes), "16 to 1024")?;
    Ok(Hash { scheme: Scheme::GoAuth { prf, iterations }, salt, digest: Zeroizing::new(digest) })
}

fn scram_sha_256(mut parts: Parts<'_>) -> Result<Hash, Wrong> {
    let iterations = parts.number("iteration count", 1, NewHash::ITERATIONS_MAX)?;
    let salt = parts.padded("salt", |bytes| (8..=1024).contains(&bytes), "8 to 1024")?;
    let mut digest = Zeroizing::new(parts.padded("stored key", |bytes| bytes == 32, "32")?);
    digest.extend_from_slice(&Zeroizing::new(parts.padded("server key", |bytes| bytes == 32, "32")?));
    Ok(Hash { scheme: Scheme::ScramSha256 { iterations }, salt, digest })
}

fn argon2id(mut parts: Parts<'_>) -> Result<Hash, Wrong> {
    let mut costs = parts.take("parameters")?;
    let mut version = Version::V0x10;
    if let Some(number) = costs.strip_prefix("v=") {
        let at = offset(parts.text, number);
        version = match number {
            "16" => Version::V0x10,
            "19" => Version::V0x13,
            _ => return Err((at, Problem::NotANumber { part: "version", min: 16, max: 19 })),
        };
        costs = parts.take("parameters")?;
    }
    let end = offset(parts.text, costs) + costs.len();
    let mut costs = Costs { text: parts.text, rest: costs.split(','), end };
    let memory_kib = costs.number("m=", "memory (m)", 8, MEMORY_KIB_MAX)?;
    let passes = costs.number("t=", "number of passes (t)", 1, PASSES_MAX)?;
    let lanes = costs.number("p=", "parallelism (p)", 1, memory_kib / 8)?;
    let salt = parts.unpadded("salt", |bytes| (8..=1024).contains(&bytes), "8 to 1024")?;
    let digest = parts.unpadded("digest", |bytes| (16..=1024).contains(&bytes), "16 to 1024")?;
    let scheme = Scheme::Argon2id { version, memory_kib, passes, lanes };
    Ok(Hash { scheme, salt, digest: Zeroizing::new(digest) })
}

/// What stands between the dollar signs.
struct Parts<'a> {
    text: &'a str,
    rest: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn take(&mut self, part: &'static str) -> Result<&'a str, Wrong> {
        let rest = self.rest.ok_or((self.text.len(), Problem::MissingPart(part)))?;
        let (part, rest) = rest.split_once('$').map_or((rest, None), |(part, rest)| (part, Some(rest)));
        self.rest = rest;
        Ok(part)
    }

    fn number(&mut self, part: &'static str, min: u32, max: u32) -> Result<u32, Wrong> {
        let digits = self.take(part)?;
        number(digits, min, max).ok_or((offset(self.text, digits), Problem::NotANumber { part, min, max }))
    }

    fn padded(
        &mut self,
        part: &'static str,
        is_allowed: impl Fn(usize) -> bool,
        allowed: &'static str,
    ) -> Result<Vec<u8>, Wrong> {
        let text = self.take(part)?;
        self.bytes(text, Base64::decode_vec(text).ok(), part, is_allowed, allowed)
    }

    fn unpadded(
        &mut self,
        part: &'static str,
        is_allowed: impl Fn(usize) -> bool,
        allowed: &'static str,
    ) -> Result<Vec<u8>, Wrong> {
        let text = self.take(part)?;
        self.bytes(text, Base64Unpadded::decode_vec(text).ok(), part, is_allowed, allowed)
    }

    fn bytes(
        &self,
        text: &str,
        decoded: Option<Vec<u8>>,
        part: &'static str,
        is_allowed: impl Fn(usize) -> bool,
        allowed: &'static str,
    ) -> Result<Vec<u8>, Wrong> {
        let at = offset(self.text, text);
        if text.is_empty() {
            return Err((at, Problem::MissingPart(part)));
        }
        let bytes = decoded.ok_or((at, Problem::NotBase64(part)))?;
        if is_allowed(bytes.len()) {
            Ok(bytes)
        } else {
            Err((at, Problem::Length { part, bytes: bytes.len(), allowed }))
        }
    }
}

/// Argon2's parameters, in their fixed order.
struct Costs<'a> {
    text: &'a str,
    rest: std::str::Split<'a, char>,
    end: usize,
}

impl Costs<'_> {
    fn number(&mut self, name: &str, part: &'static str, min: u32, max: u32) -> Result<u32, Wrong> {
        let missing = Problem::MissingPart(part);
        let Some(text) = self.rest.next() else { return Err((self.end, missing)) };
        let at = offset(self.text, text);
        let digits = text.strip_prefix(name).ok_or((at, missing))?;
        number(digits, min, max).ok_or((at, Problem::NotANumber { part, min, max }))
    }
}

fn number(digits: &str, min: u32, max: u32) -> Option<u32> {
    let is_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|number| is_digits && (min..=max).contains(number))
}

/// 1 GiB: a file cannot make one log-in take all memory there is.
const MEMORY_KIB_MAX: u32 = 1 << 20;

/// With the least memory this is a fraction of a second, with the most an hour, which nobody means.
const PASSES_MAX: u32 = 1000;
