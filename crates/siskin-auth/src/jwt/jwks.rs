//! A JSON Web Key Set (RFC 7517): the public keys of whoever issues tokens, as a file or at a URL.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri};
use serde_json::Value;
use tokio::sync::Mutex as AsyncMutex;
use tokio::task::AbortHandle;
use tokio::time;

use super::key::{Algorithm, Key, Material};
use crate::clock::Clock;
use crate::http::client::Client;
use crate::http::question::uri;
use crate::step::Means;

/// Reads a set. Keys of unknown kinds and those for encryption are passed over, as the RFC wants it, and so are
/// secrets: what is published is none.
pub(crate) fn parse(text: &[u8]) -> Result<Vec<Key>, String> {
    let set: Value = serde_json::from_slice(text).map_err(|error| format!("no JSON: {error}"))?;
    let Some(keys) = set.get("keys").and_then(Value::as_array) else {
        return Err("no `keys` that is an array".to_owned());
    };
    if keys.len() > KEYS_MAX {
        return Err(format!("{} keys, and {KEYS_MAX} is the limit", keys.len()));
    }
    let mut found = Vec::new();
    for (index, value) in keys.iter().enumerate() {
        let key = key(value).map_err(|why| format!("key {}: {why}", index + 1))?;
        found.extend(key);
    }
    if found.is_empty() {
        Err("no public key of a known kind for signatures in it".to_owned())
    } else {
        Ok(found)
    }
}

fn key(value: &Value) -> Result<Option<Key>, String> {
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    let bytes = |name: &str| {
        let text = text(name).ok_or_else(|| format!("`{name}` is missing"))?;
        Base64UrlUnpadded::decode_vec(text).map_err(|_| format!("`{name}` is no Base64"))
    };
    if text("use").is_some_and(|usage| usage != "sig") {
        return Ok(None);
    }
    let only = match text("alg") {
        None => None,
        Some(name) => match Algorithm::named(name) {
            Some(algorithm) => Some(algorithm),
            None => return Ok(None),
        },
    };
    let material = match (text("kty"), text("crv")) {
        (Some("RSA"), _) => Material::rsa(&bytes("n")?, &bytes("e")?)?,
        (Some("EC"), Some(curve @ ("P-256" | "P-384"))) => {
            Material::point(curve, &bytes("x")?, &bytes("y")?)?
        }
        (Some("OKP"), Some("Ed25519")) => Material::ed25519(bytes("x")?)?,
        _ => return Ok(None),
    };
    Ok(Some(Key { id: text("kid").map(str::to_owned), only, material }))
}

/// The sets that were fetched last, by their URLs, for who comes to need them anew.
#[derive(Clone, Default)]
pub struct Known(Arc<Mutex<HashMap<Uri, Arc<Vec<Key>>>>>);

impl Known {
    fn keys(&self, url: &Uri) -> Option<Arc<Vec<Key>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(url).cloned()
    }

    fn note(&self, url: &Uri, keys: &Arc<Vec<Key>>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(url.clone(), Arc::clone(keys));
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_tuple("Known").field(&known.keys()).finish()
    }
}

/// A set that is fetched again and again.
pub(crate) struct Remote {
    shared: Arc<Shared>,
    /// Fetches it from time to time.
    refresher: AbortHandle,
}

struct Shared {
    name: Arc<str>,
    url: Uri,
    client: Client,
    clock: Clock,
    known: Known,
    state: Mutex<State>,
    /// Whoever holds it fetches, the others wait for what comes.
    fetching: AsyncMutex<()>,
}

#[derive(Default)]
struct State {
    keys: Arc<Vec<Key>>,
    /// When it was last tried.
    tried_ms: Option<u64>,
    /// Why there are no newer keys, if there should be.
    failure: Option<String>,
}

impl Remote {
    /// Fetches the set at once and then from time to time, on the runtime that is entered.
    pub(crate) fn start(
        name: &Arc<str>,
        url: &str,
        client: Client,
        refresh_s: u64,
        means: &Means,
    ) -> Result<Self, String> {
        let parsed = uri(url).map_err(|why| format!("url `{url}`: {why}"))?;
        let keys = means.known.keys(&parsed).unwrap_or_default();
        let shared = Arc::new(Shared {
            name: Arc::clone(name),
            url: parsed,
            client,
            clock: means.clock.clone(),
            known: means.known.clone(),
            state: Mutex::new(State { keys, ..State::default() }),
            fetching: AsyncMutex::new(()),
        });
        let refreshed = Arc::clone(&shared);
        let refresh = async move {
            // A client that comes first may have done it.
            refreshed.fetch(PAUSE_MS).await;
            loop {
                time::sleep(Duration::from_secs(refresh_s.max(1))).await;
                refreshed.fetch(0).await;
            }
        };
        Ok(Self { shared, refresher: tokio::spawn(refresh).abort_handle() })
    }

    /// The keys as they are; after the first fetch if there are none yet.
    pub(crate) async fn keys(&self) -> Result<Arc<Vec<Key>>, String> {
        let must_wait = {
            let state = self.shared.lock();
            state.tried_ms.is_none() && state.keys.is_empty()
        };
        if must_wait {
            self.shared.fetch(PAUSE_MS).await;
        }
        self.shared.keys()
    }

    /// The keys as they are at their place now, unless that was looked up a moment ago: whoever makes up key ids
    /// cannot make this ask again and again.
    pub(crate) async fn fresh_keys(&self) -> Result<Arc<Vec<Key>>, String> {
        self.shared.fetch(PAUSE_MS).await;
        self.shared.keys()
    }

    /// Whether the last fetch failed.
    pub(crate) fn failure(&self) -> Option<String> {
        self.shared.lock().failure.clone()
    }

    /// Fetches it when somebody has the time.
    pub(crate) fn refresh(&self) {
        let shared = Arc::clone(&self.shared);
        drop(tokio::spawn(async move { shared.fetch(0).await }));
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.refresher.abort();
    }
}

impl Shared {
    fn keys(&self) -> Result<Arc<Vec<Key>>, String> {
        let state = self.lock();
        match &state.failure {
            Some(why) if state.keys.is_empty() => Err(why.clone()),
            _ => Ok(Arc::clone(&state.keys)),
        }
    }

    /// Fetches the set, unless that was tried within the last `pause_ms`.
    async fn fetch(&self, pause_ms: u64) {
        let _alone = self.fetching.lock().await;
        let now_ms = self.clock.elapsed_ms();
        let is_due = self.lock().tried_ms.is_none_or(|tried_ms| now_ms.saturating_sub(tried_ms) >= pause_ms);
        if !is_due {
            return;
        }
        let keys = self.fetched().await;
        let mut state = self.lock();
        state.tried_ms = Some(now_ms);
        let (was_failing, known) = (state.failure.is_some(), state.keys.len());
        match keys {
            Ok(keys) => {
                state.keys = Arc::new(keys);
                state.failure = None;
                self.known.note(&self.url, &state.keys);
                let now_known = state.keys.len();
                drop(state);
                if was_failing || known != now_known {
                    tracing::info!("{}: {now_known} keys from {}", self.name, self.url);
                }
            }
            Err(why) => {
                let why = format!("{}: {why}", self.url);
                state.failure = Some(why.clone());
                drop(state);
                tracing::warn!("{}: no new keys, {known} old ones stay: {why}", self.name);
            }
        }
    }

    async fn fetched(&self) -> Result<Vec<Key>, String> {
        let request = Request::get(self.url.clone()).header("accept", "application/json");
        let request = request.body(Full::new(Bytes::new())).map_err(|error| error.to_string())?;
        let answer = self.client.ask(request).await?;
        if answer.status != StatusCode::OK {
            return Err(format!("HTTP status {}", answer.status));
        }
        parse(&answer.body)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// More than anybody publishes.
const KEYS_MAX: usize = 100;

/// A set that was fetched so short a time ago is not fetched for an unknown key id.
const PAUSE_MS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_public_key_for_signatures_is_passed_over() {
        let point = Base64UrlUnpadded::encode_string(&[7; 32]);
        let text = format!(
            r#"{{"keys": [
                {{"kty": "oct", "k": "c2VjcmV0"}},
                {{"kty": "EC", "crv": "P-521", "x": "", "y": ""}},
                {{"kty": "EC", "crv": "P-256", "use": "enc", "x": "", "y": ""}},
                {{"kty": "RSA", "alg": "RSA-OAEP", "n": "", "e": ""}},
                {{"kty": "OKP", "crv": "Ed25519", "kid": "good", "x": "{point}"}}
            ]}}"#
        );
        let keys = parse(text.as_bytes()).unwrap();
        assert_eq!(keys.len(), 1);
        assert_eq!(keys[0].id.as_deref(), Some("good"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            ("x", "no JSON: expected value at line 1 column 1"),
            ("{}", "no `keys` that is an array"),
            (r#"{"keys": []}"#, "no public key of a known kind for signatures in it"),
            (r#"{"keys": [{"kty": "RSA", "n": "AQAB"}]}"#, "key 1: `e` is missing"),
            (
                r#"{"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]}"#,
                "key 1: an RSA key of 17 bits; from 2048 to 8192 are possible",
            ),
            (
                r#"{"keys": [{"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"}]}"#,
                "key 1: a point with coordinates of a wrong length",
            ),
        ];
        for (text, why) in cases {
            assert_eq!(parse(text.as_bytes()).unwrap_err(), why, "{text}");
        }
    }
}
