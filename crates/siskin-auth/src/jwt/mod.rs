//! The step that verifies signed tokens (RFC 7519).
//!
//! What is not a token, or one that none of the keys has signed, is somebody else's business. A token with a good
//! signature is decided here: by its times and claims.

mod claims;
mod jwks;
mod key;
mod token;

use std::fs;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use base64ct::{Base64, Base64Unpadded, Base64UrlUnpadded, Encoding as _};
use zeroize::Zeroizing;

use self::claims::Claims;
pub use self::jwks::Known;
use self::jwks::Remote;
use self::key::{Key, Material};
use self::token::{Token, Unreadable};
use crate::config::{JwtConfig, KeySource, TokenIn};
use crate::http::client::Client;
use crate::outcome::Outcome;
use crate::request::Request;
use crate::step::Means;

/// Whose tokens count.
pub(crate) struct JwtStep {
    name: Arc<str>,
    token_in: TokenIn,
    sources: Vec<KeySource>,
    /// The keys of all files.
    keys: RwLock<Arc<Vec<Key>>>,
    remotes: Vec<Remote>,
    claims: Claims,
    means: Means,
}

impl JwtStep {
    /// Reads the files and begins to fetch what is elsewhere, on the runtime that is entered.
    pub(crate) fn new(config: &JwtConfig, name: &Arc<str>, means: &Means) -> Result<Self, String> {
        if config.keys.is_empty() {
            return Err("no keys: a secret, a PEM file or a JSON Web Key Set is needed".to_owned());
        }
        let mut remotes = Vec::new();
        for source in &config.keys {
            if let KeySource::JwksUrl { url, ca_file, refresh_s, timeout } = source {
                let client = Client::new(ca_file.as_deref(), *timeout, SET_MAX_BYTES)?;
                remotes.push(Remote::start(name, url, client, *refresh_s, means)?);
            }
        }
        Ok(Self {
            name: Arc::clone(name),
            token_in: config.token_in,
            sources: config.keys.clone(),
            keys: RwLock::new(Arc::new(load(&config.keys)?)),
            remotes,
            claims: Claims::new(config)?,
            means: means.clone(),
        })
    }

    /// Reads the files again, and begins to fetch what is elsewhere.
    pub(crate) fn reload(&self) -> Result<(), String> {
        self.remotes.iter().for_each(Remote::refresh);
        let keys = Arc::new(load(&self.sources)?);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    pub(crate) async fn ask(&self, client: &Request) -> Outcome {
        let text = match self.token_in {
            TokenIn::Password => client.password.as_ref().and_then(|password| password.text()),
            TokenIn::UserName => client.user_name.as_deref(),
        };
        let Some(text) = text else { return Outcome::Ignore("no token".to_owned()) };
        let token = match Token::parse(text) {
            Ok(token) => token,
            Err(Unreadable::NoToken(why)) => return Outcome::Ignore(why),
            Err(Unreadable::Forbidden(why)) => return Outcome::wrong(why),
        };
        match self.is_signed(&token).await {
            Ok(true) => {}
            Ok(false) => {
                let why = match &token.key_id {
                    Some(key_id) => {
                        format!("no key that has signed the token (key id `{}`)", key_id.escape_debug())
                    }
                    None => "no key that has signed the token".to_owned(),
                };
                return Outcome::Ignore(why);
            }
            Err(why) => return Outcome::Unavailable(why),
        }
        let Some(claims) = token.claims() else {
            return Outcome::wrong("the token's claims are no JSON object");
        };
        match self.claims.identity(&claims, client, &self.name, self.means.clock.unix_s()) {
            Ok(identity) => Outcome::Allow(Box::new(identity)),
            Err(denial) => Outcome::Deny(denial),
        }
    }

    /// Whether any of the keys has signed the token; an error if there may be a key that could not be fetched.
    async fn is_signed(&self, token: &Token<'_>) -> Result<bool, String> {
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        if any_has_signed(&keys, token) {
            return Ok(true);
        }
        let mut failure = None;
        for remote in &self.remotes {
            if let Ok(keys) = remote.keys().await {
                if any_has_signed(&keys, token) {
                    return Ok(true);
                }
                if keys.iter().any(|key| is_meant(key, token)) {
                    continue;
                }
            }
            // Keys are replaced by publishing the next under another id.
            match remote.fresh_keys().await {
                Ok(keys) if any_has_signed(&keys, token) => return Ok(true),
                Ok(_) => failure = remote.failure().or(failure),
                Err(why) => failure = Some(why),
            }
        }
        failure.map_or(Ok(false), Err)
    }
}

fn any_has_signed(keys: &[Key], token: &Token<'_>) -> bool {
    let mut meant = keys.iter().filter(|key| is_meant(key, token));
    meant.any(|key| key.verify(token.algorithm, token.signed, &token.signature))
}

/// Whether a key may be the one that has signed the token. A key without an id may be any, and so may any for a
/// token that names none.
fn is_meant(key: &Key, token: &Token<'_>) -> bool {
    let is_named = match (&key.id, &token.key_id) {
        (Some(key), Some(token)) => key == token,
        _ => true,
    };
    is_named && key.is_for(token.algorithm)
}

/// The keys of all files.
fn load(sources: &[KeySource]) -> Result<Vec<Key>, String> {
    let mut keys = Vec::new();
    for source in sources {
        let (path, found) = match source {
            KeySource::Secret { path, is_base64 } => {
                let bytes = Zeroizing::new(read(path)?);
                (path, secret(&bytes, *is_base64).map(|secret| unnamed(vec![secret])))
            }
            KeySource::Pem { path } => (path, Material::pem(&read(path)?).map(unnamed)),
            KeySource::JwksFile { path } => (path, jwks::parse(&read(path)?)),
            KeySource::JwksUrl { .. } => continue,
        };
        keys.extend(found.map_err(|why| format!("{}: {why}", path.display()))?);
    }
    Ok(keys)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn unnamed(materials: Vec<Material>) -> Vec<Key> {
    materials.into_iter().map(|material| Key { id: None, only: None, material }).collect()
}

/// A secret as it stands in its file.
fn secret(bytes: &[u8], is_base64: bool) -> Result<Material, String> {
    let bytes = bytes.trim_ascii_end();
    if !is_base64 {
        return Material::secret(bytes.to_vec());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "the secret is no Base64")?;
    let decoded = Base64::decode_vec(text)
        .or_else(|_| Base64Unpadded::decode_vec(text))
        .or_else(|_| Base64UrlUnpadded::decode_vec(text.trim_end_matches('=')));
    Material::secret(decoded.map_err(|_| "the secret is no Base64")?)
}

/// The most that a set of keys may have.
const SET_MAX_BYTES: usize = 1 << 20;
