//! A token in three parts (RFC 7515): header, claims and signature, of which nothing is believed yet.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::{Map, Value};

use super::key::Algorithm;

/// A token whose signature is not verified.
pub(crate) struct Token<'a> {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: Option<String>,
    /// What is signed.
    pub(crate) signed: &'a [u8],
    pub(crate) signature: Vec<u8>,
    claims: &'a str,
}

/// Why a text is not a token that can be verified.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Something else, which may be somebody else's business.
    NoToken(String),
    /// A token that asks for what nobody should do.
    Forbidden(String),
}

impl<'a> Token<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, Unreadable> {
        let no_token = |why: &str| Unreadable::NoToken(why.to_owned());
        let parts = text.rsplit_once('.').and_then(|(signed, signature)| {
            let (header, claims) = signed.split_once('.').filter(|(_, claims)| !claims.contains('.'))?;
            Some((signed, header, claims, signature))
        });
        let Some((signed, header, claims, signature)) = parts else {
            return Err(no_token("not a token: it has not three parts"));
        };
        let Some(header) = object(header) else {
            return Err(no_token("not a token: its header is no Base64 of a JSON object"));
        };
        // What a critical extension means is not known here. (RFC 7515, 4.1.11)
        if header.contains_key("crit") {
            return Err(Unreadable::Forbidden("the token has critical extensions (`crit`)".to_owned()));
        }
        let algorithm = match header.get("alg").and_then(Value::as_str) {
            Some(name) => Algorithm::named(name).ok_or_else(|| {
                Unreadable::Forbidden(format!("the algorithm `{}` is not allowed", name.escape_debug()))
            })?,
            None => return Err(no_token("not a token: its header has no `alg`")),
        };
        let key_id = match header.get("kid") {
            None => None,
            Some(Value::String(key_id)) => Some(key_id.clone()),
            Some(_) => return Err(Unreadable::Forbidden("the token's `kid` is no text".to_owned())),
        };
        let Ok(signature) = Base64UrlUnpadded::decode_vec(signature) else {
            return Err(no_token("not a token: its signature is no Base64"));
        };
        Ok(Self { algorithm, key_id, signed: signed.as_bytes(), signature, claims })
    }

    /// The claims; to be believed after the signature was verified only.
    pub(crate) fn claims(&self) -> Option<Map<String, Value>> {
        object(self.claims)
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    let bytes = Base64UrlUnpadded::decode_vec(part).ok()?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}
