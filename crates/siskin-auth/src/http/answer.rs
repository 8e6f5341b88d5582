//! What an HTTP back end's answer means.

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Map, Value};
use siskin_proto::Reason;

use crate::acl_json;
use crate::config::{AnswerForm, No};
use crate::http::client::Answer;
use crate::outcome::{Denial, Outcome};
use crate::verdict::Identity;

/// How answers are read.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) form: AnswerForm,
    pub(crate) no: No,
}

impl Reading {
    /// What the answer says of a client of this user name; an error if the back end has failed.
    pub(crate) fn outcome(
        self,
        answer: &Answer,
        user: Option<&Arc<str>>,
        name: &Arc<str>,
        now_unix_s: u64,
    ) -> Result<Outcome, String> {
        let status = answered(answer)?;
        let identity = || Box::new(Identity::new(user.cloned(), name));
        if self.form == AnswerForm::Emqx {
            return match status.as_u16() {
                204 => Ok(Outcome::Allow(identity())),
                200 => emqx(&answer.body, identity(), now_unix_s),
                _ => Ok(self.no(format!("HTTP status {status}"))),
            };
        }
        match self.is_yes(answer)? {
            true => Ok(Outcome::Allow(identity())),
            false => Ok(self.no(format!("the back end says no (HTTP status {status})"))),
        }
    }

    /// Whether an answer without anything else in it is a yes.
    pub(crate) fn is_yes(self, answer: &Answer) -> Result<bool, String> {
        let status = answered(answer)?;
        if !status.is_success() {
            return Ok(false);
        }
        match self.form {
            AnswerForm::Status => Ok(true),
            AnswerForm::Emqx if status == StatusCode::NO_CONTENT => Ok(true),
            AnswerForm::Emqx => {
                let is_allowed = object(&answer.body)?.get("result").and_then(Value::as_str) == Some("allow");
                Ok(is_allowed && status == StatusCode::OK)
            }
            AnswerForm::Text => Ok(answer.body.trim_ascii() == b"ok"),
            AnswerForm::JsonOk => match object(&answer.body)?.get("Ok") {
                Some(Value::Bool(is_ok)) => Ok(*is_ok),
                _ => Err("the answer has no `Ok` that is true or false".to_owned()),
            },
        }
    }

    fn no(self, why: String) -> Outcome {
        match self.no {
            No::Denies => Outcome::wrong(why),
            No::Passes => Outcome::Ignore(why),
        }
    }
}

/// The status, if the back end has an opinion. What a proxy in trouble says, or one that asks for patience, is none.
fn answered(answer: &Answer) -> Result<StatusCode, String> {
    let status = answer.status;
    if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
        return Err(format!("HTTP status {status}"));
    }
    if status.is_redirection() || status.is_informational() {
        return Err(format!("HTTP status {status}, which is not followed"));
    }
    Ok(status)
}

/// `{"result": "allow", "is_superuser": false, "acl": [..], "expire_at": 1700000000}`
fn emqx(body: &[u8], mut identity: Box<Identity>, now_unix_s: u64) -> Result<Outcome, String> {
    let object = object(body)?;
    match object.get("result").and_then(Value::as_str) {
        Some("allow") => {}
        Some("deny") => return Ok(Outcome::wrong("the back end says deny")),
        Some("ignore") => return Ok(Outcome::Ignore("the back end says ignore".to_owned())),
        _ => return Err("the answer has no `result` that is allow, deny or ignore".to_owned()),
    }
    identity.is_superuser = match object.get("is_superuser") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(is_superuser)) => *is_superuser,
        Some(_) => return Err("`is_superuser` in the answer is neither true nor false".to_owned()),
    };
    if let Some(acl) = object.get("acl").filter(|acl| !acl.is_null()) {
        let permissions = acl_json::permissions(acl).map_err(|why| format!("the answer: {why}"))?;
        identity.permissions = Some(permissions);
    }
    if let Some(expiry) = object.get("expire_at").filter(|expiry| !expiry.is_null()) {
        let expiry = expiry.as_u64().ok_or("`expire_at` in the answer is no number of seconds since 1970")?;
        if expiry <= now_unix_s {
            let why = format!("the answer has expired (`expire_at` {expiry})");
            return Ok(Outcome::Deny(Denial { reason: Reason::NotAuthorized, why }));
        }
        identity.expires_at = Some(expiry);
    }
    Ok(Outcome::Allow(identity))
}

fn object(body: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("the answer is no JSON object".to_owned()),
        Err(error) => Err(format!("the answer is no JSON: {error}")),
    }
}
