//! What a token claims, after its signature was found to be good.

use std::sync::Arc;

use serde_json::{Map, Value};
use siskin_proto::Reason;

use crate::acl_json;
use crate::config::{JwtConfig, TokenIn};
use crate::outcome::Denial;
use crate::request::Request;
use crate::template::Template;
use crate::verdict::Identity;

/// What claims must be, and what becomes of them.
pub(crate) struct Claims {
    config: JwtConfig,
    templates: Vec<(String, Template)>,
}

impl Claims {
    pub(crate) fn new(config: &JwtConfig) -> Result<Self, String> {
        let parsed = config.claims.iter().map(|(name, text)| match Template::parse(text) {
            Ok(template) => Ok((name.clone(), template)),
            Err(wrong) => Err(format!("claim `{name}`: {wrong}")),
        });
        Ok(Self { templates: parsed.collect::<Result<_, _>>()?, config: config.clone() })
    }

    /// Who the claims make of a client.
    pub(crate) fn identity(
        &self,
        claims: &Map<String, Value>,
        client: &Request,
        name: &Arc<str>,
        now_unix_s: u64,
    ) -> Result<Identity, Denial> {
        let config = &self.config;
        let expires_at = self.times(claims, now_unix_s)?;
        if !config.issuers.is_empty() {
            let issuer = text(claims, "iss")?;
            let is_known = issuer.is_some_and(|issuer| config.issuers.iter().any(|known| known == issuer));
            require(is_known, || "the token's issuer (`iss`) is another".to_owned())?;
        }
        if !config.audiences.is_empty() {
            let is_for = |value: &Value| {
                value.as_str().is_some_and(|audience| config.audiences.iter().any(|ours| ours == audience))
            };
            let is_ours = match claims.get("aud") {
                Some(Value::Array(audiences)) => audiences.iter().any(is_for),
                Some(value) => is_for(value),
                None => false,
            };
            require(is_ours, || "the token is for another audience (`aud`)".to_owned())?;
        }
        for (claim, template) in &self.templates {
            let value = match claims.get(claim) {
                Some(Value::String(value)) => Some(value.clone()),
                Some(value @ (Value::Bool(_) | Value::Number(_))) => Some(value.to_string()),
                _ => None,
            };
            let is_equal = value.zip(template.plain(client)).is_some_and(|(value, wanted)| value == *wanted);
            require(is_equal, || format!("the token's claim `{claim}` is not what it must be"))?;
        }
        if let Some(claim) = &config.client_id_claim {
            let is_equal = text(claims, claim)? == Some(&*client.client_id);
            require(is_equal, || format!("the token's claim `{claim}` is another client id"))?;
        }
        let user_name = match (&config.user_name_claim, config.token_in) {
            (Some(claim), _) => match text(claims, claim)? {
                Some(user) if is_user_name(user) => Some(user.into()),
                Some(_) => return Err(denial(format!("the token's claim `{claim}` is no user name"))),
                None => return Err(denial(format!("the token has no claim `{claim}`, the user name"))),
            },
            // The token itself is no name to go by.
            (None, TokenIn::UserName) => None,
            (None, TokenIn::Password) => client.user_name.clone(),
        };
        let mut identity = Identity::new(user_name, name);
        identity.expires_at = expires_at;
        if let Some(claim) = &config.superuser_claim {
            identity.is_superuser = match claims.get(claim) {
                None | Some(Value::Null) => false,
                Some(Value::Bool(is_superuser)) => *is_superuser,
                Some(_) => {
                    return Err(denial(format!("the token's claim `{claim}` is neither true nor false")));
                }
            };
        }
        let acl = config.acl_claim.as_ref().and_then(|claim| claims.get(claim)).filter(|acl| !acl.is_null());
        if let Some(acl) = acl {
            let permissions =
                acl_json::permissions(acl).map_err(|why| denial(format!("the token: {why}")))?;
            identity.permissions = Some(permissions);
        }
        Ok(identity)
    }

    /// Whether the token counts now, and until when.
    fn times(&self, claims: &Map<String, Value>, now_unix_s: u64) -> Result<Option<u64>, Denial> {
        let leeway_s = self.config.leeway_s;
        if let Some(from) = date(claims, "nbf")? {
            let is_begun = from <= now_unix_s.saturating_add(leeway_s);
            require(is_begun, || format!("the token does not count yet (`nbf` {from}, now {now_unix_s})"))?;
        }
        let Some(until) = date(claims, "exp")? else {
            require(!self.config.needs_expiry, || "the token never expires (it has no `exp`)".to_owned())?;
            return Ok(None);
        };
        let expires_at = until.saturating_add(leeway_s);
        let is_over = expires_at <= now_unix_s;
        require(!is_over, || format!("the token has expired (`exp` {until}, now {now_unix_s})"))?;
        Ok(Some(expires_at))
    }
}

/// Seconds since 1970. (RFC 7519 allows fractions.)
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<u64>, Denial> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    // Saturates: what is before 1970 is over, and what is never is never.
    let seconds = value.as_u64().or_else(|| value.as_f64().map(|seconds| seconds.ceil() as u64));
    match seconds {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(denial(format!("the token's claim `{name}` is no number of seconds since 1970"))),
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Denial> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(denial(format!("the token's claim `{name}` is no text"))),
    }
}

/// Whether MQTT could carry it as a user name.
fn is_user_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= usize::from(u16::MAX) && !text.contains('\0')
}

fn require(is_so: bool, why: impl FnOnce() -> String) -> Result<(), Denial> {
    if is_so { Ok(()) } else { Err(denial(why())) }
}

fn denial(why: String) -> Denial {
    Denial { reason: Reason::BadUserNameOrPassword, why }
}
