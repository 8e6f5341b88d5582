//! Keys, and which algorithms each kind of them verifies.
//!
//! A public key never verifies an HMAC and a secret never anything else: what a token says of its algorithm is
//! compared with the kind of the key, it does not choose it.

use std::fmt;

use ring::hmac;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::RSAPublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

/// A signature algorithm of RFC 7518 or 8037. `none` is not among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "HS256" => Self::Hs256,
            "HS384" => Self::Hs384,
            "HS512" => Self::Hs512,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            // RFC 9864 names the curve too.
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return None,
        })
    }
}

/// A key that verifies tokens.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) id: Option<String>,
    /// The only algorithm that the key's owner uses it for, if he says so.
    pub(crate) only: Option<Algorithm>,
    pub(crate) material: Material,
}

/// The kinds of keys.
#[derive(Clone)]
pub(crate) enum Material {
    Secret(Zeroizing<Vec<u8>>),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// A point, uncompressed.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Key {
    /// Whether tokens of this algorithm may be signed with it.
    pub(crate) fn is_for(&self, algorithm: Algorithm) -> bool {
        use Algorithm as A;
        let is_of_kind = match self.material {
            Material::Secret(_) => matches!(algorithm, A::Hs256 | A::Hs384 | A::Hs512),
            Material::Rsa { .. } => {
                matches!(algorithm, A::Rs256 | A::Rs384 | A::Rs512 | A::Ps256 | A::Ps384 | A::Ps512)
            }
            Material::P256(_) => algorithm == A::Es256,
            Material::P384(_) => algorithm == A::Es384,
            Material::Ed25519(_) => algorithm == A::EdDsa,
        };
        is_of_kind && self.only.is_none_or(|only| only == algorithm)
    }

    /// Whether this is the signature of `signed` by this key.
    pub(crate) fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        if !self.is_for(algorithm) {
            return false;
        }
        match &self.material {
            Material::Secret(secret) => {
                let hash = match algorithm {
                    Algorithm::Hs256 => hmac::HMAC_SHA256,
                    Algorithm::Hs384 => hmac::HMAC_SHA384,
                    _ => hmac::HMAC_SHA512,
                };
                hmac::verify(&hmac::Key::new(hash, secret), signed, signature).is_ok()
            }
            Material::Rsa { n, e } => {
                let parameters = match algorithm {
                    Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
                    _ => &signature::RSA_PSS_2048_8192_SHA512,
                };
                RsaPublicKeyComponents { n, e }.verify(parameters, signed, signature).is_ok()
            }
            Material::P256(point) => verify(&signature::ECDSA_P256_SHA256_FIXED, point, signed, signature),
            Material::P384(point) => verify(&signature::ECDSA_P384_SHA384_FIXED, point, signed, signature),
            Material::Ed25519(point) => verify(&signature::ED25519, point, signed, signature),
        }
    }
}

fn verify(
    algorithm: &'static dyn signature::VerificationAlgorithm,
    key: &[u8],
    signed: &[u8],
    signature: &[u8],
) -> bool {
    UnparsedPublicKey::new(algorithm, key).verify(signed, signature).is_ok()
}

impl Material {
    /// A secret, if it is long enough that nobody guesses it.
    pub(crate) fn secret(bytes: Vec<u8>) -> Result<Self, String> {
        if bytes.len() < SECRET_MIN {
            return Err(format!("the secret has {} bytes, and {SECRET_MIN} is the least", bytes.len()));
        }
        Ok(Self::Secret(Zeroizing::new(bytes)))
    }

    pub(crate) fn rsa(n: &[u8], e: &[u8]) -> Result<Self, String> {
        let strip = |bytes: &[u8]| {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            bytes[zeros..].to_vec()
        };
        let (n, e) = (strip(n), strip(e));
        let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
        if !(2048..=8192).contains(&bits) {
            return Err(format!("an RSA key of {bits} bits; from 2048 to 8192 are possible"));
        }
        Ok(Self::Rsa { n, e })
    }

    /// A point of a curve as its coordinates.
    pub(crate) fn point(curve: &str, x: &[u8], y: &[u8]) -> Result<Self, String> {
        let point = [&[UNCOMPRESSED], x, y].concat();
        match (curve, x.len(), y.len()) {
            ("P-256", 32, 32) => Ok(Self::P256(point)),
            ("P-384", 48, 48) => Ok(Self::P384(point)),
            ("P-256" | "P-384", ..) => Err("a point with coordinates of a wrong length".to_owned()),
            _ => Err(format!("the curve `{}` is not known: P-256, P-384, Ed25519", curve.escape_debug())),
        }
    }

    pub(crate) fn ed25519(x: Vec<u8>) -> Result<Self, String> {
        if x.len() == 32 { Ok(Self::Ed25519(x)) } else { Err("an Ed25519 key has 32 bytes".to_owned()) }
    }

    /// All public keys of a PEM file: keys as such, or those of certificates.
    pub(crate) fn pem(text: &[u8]) -> Result<Vec<Self>, String> {
        let mut keys = Vec::new();
        for (index, pem) in Pem::iter_from_buffer(text).enumerate() {
            let wrong = |why: &dyn fmt::Display| format!("block {}: {why}", index + 1);
            let pem = pem.map_err(|error| wrong(&error))?;
            let key = match pem.label.as_str() {
                "PUBLIC KEY" => SubjectPublicKeyInfo::from_der(&pem.contents)
                    .map_err(|error| error.to_string())
                    .and_then(|(_, key)| Self::public_key(&key)),
                "RSA PUBLIC KEY" => RSAPublicKey::from_der(&pem.contents)
                    .map_err(|error| error.to_string())
                    .and_then(|(_, key)| Self::rsa(key.modulus, key.exponent)),
                "CERTIFICATE" => x509_parser::parse_x509_certificate(&pem.contents)
                    .map_err(|error| error.to_string())
                    .and_then(|(_, certificate)| Self::public_key(certificate.public_key())),
                // `openssl ecparam -genkey` writes them before the key.
                "EC PARAMETERS" => continue,
                label if label.ends_with("PRIVATE KEY") => {
                    Err("a private key, which belongs to whoever issues tokens; this needs the public one"
                        .to_owned())
                }
                label => Err(format!("`{}` is neither a public key nor a certificate", label.escape_debug())),
            };
            keys.push(key.map_err(|why| wrong(&why))?);
        }
        if keys.is_empty() { Err("no public key in PEM form in it".to_owned()) } else { Ok(keys) }
    }

    fn public_key(key: &SubjectPublicKeyInfo<'_>) -> Result<Self, String> {
        let bits = &key.subject_public_key.data;
        let parameters = key.algorithm.parameters.as_ref();
        let curve = parameters.and_then(|any| any.as_oid().ok()).map(|oid| oid.to_id_string());
        match key.algorithm.algorithm.to_id_string().as_str() {
            RSA | RSA_PSS => match RSAPublicKey::from_der(bits) {
                Ok((_, key)) => Self::rsa(key.modulus, key.exponent),
                Err(error) => Err(error.to_string()),
            },
            EC => {
                let (name, length) = match curve.as_deref() {
                    Some(P256) => ("P-256", 32),
                    Some(P384) => ("P-384", 48),
                    curve => (curve.unwrap_or("unnamed"), 0),
                };
                match bits.split_first() {
                    Some((&UNCOMPRESSED, point)) if length == 0 || point.len() == 2 * length => {
                        let (x, y) = point.split_at(length);
                        Self::point(name, x, y)
                    }
                    _ => Err("a point that is compressed or none".to_owned()),
                }
            }
            ED25519 => Self::ed25519(bits.to_vec()),
            other => Err(format!("a key of a kind that is not known ({other}): RSA, P-256, P-384, Ed25519")),
        }
    }

    /// What it is called in messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Secret(_) => "secret",
            Self::Rsa { .. } => "RSA",
            Self::P256(_) => "P-256",
            Self::P384(_) => "P-384",
            Self::Ed25519(_) => "Ed25519",
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("kind", &self.material.kind())
            .finish_non_exhaustive()
    }
}

/// RFC 7518 wants as many as the hash has, at least 32; shorter ones are in use, and so short ones are guessed.
const SECRET_MIN: usize = 16;

/// The first byte of a point with both coordinates.
const UNCOMPRESSED: u8 = 4;

const RSA: &str = "1.2.840.113549.1.1.1";
const RSA_PSS: &str = "1.2.840.113549.1.1.10";
const EC: &str = "1.2.840.10045.2.1";
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const ED25519: &str = "1.3.101.112";
