//! What one step says.

use std::sync::Arc;

use siskin_proto::Reason;

use crate::step::Dialogue;
use crate::verdict::{Identity, Refusal};

/// What one step says of a client.
pub(crate) enum Outcome {
    /// Let it in.
    Allow(Box<Identity>),
    /// It is somebody this step knows, and not with these credentials.
    Deny(Denial),
    /// Somebody else's business, for the reason given.
    Ignore(String),
    /// Nobody can say: the back end failed, in the way described.
    Unavailable(String),
    /// There is more to do than the limits allow.
    Busy(String),
    /// Ask the client this.
    Challenge(Vec<u8>, Dialogue),
}

/// How a step denies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) reason: Reason,
    pub(crate) why: String,
}

impl Outcome {
    /// Wrong credentials; the log learns in which way.
    pub(crate) fn wrong(why: impl Into<String>) -> Self {
        Self::Deny(Denial { reason: Reason::BadUserNameOrPassword, why: why.into() })
    }
}

impl Refusal {
    /// The refusal by the step of this name.
    pub(crate) fn denied(by: &Arc<str>, Denial { reason, why }: Denial) -> Self {
        Self { reason, why: format!("{by}: {why}"), told: reason.name().into(), by: Some(Arc::clone(by)) }
    }

    pub(crate) fn unavailable(by: Option<&Arc<str>>, why: &str) -> Self {
        let told = "authentication is not available at the moment".into();
        Self { reason: Reason::ServerUnavailable, why: prefixed(by, why), told, by: by.cloned() }
    }

    pub(crate) fn busy(by: Option<&Arc<str>>, why: &str) -> Self {
        let told = "too many clients log in at once, try again later".into();
        Self { reason: Reason::ServerBusy, why: prefixed(by, why), told, by: by.cloned() }
    }
}

fn prefixed(by: Option<&Arc<str>>, why: &str) -> String {
    by.map_or_else(|| why.to_owned(), |by| format!("{by}: {why}"))
}
