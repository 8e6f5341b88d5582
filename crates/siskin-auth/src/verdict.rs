//! What the chain answers.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use siskin_proto::Reason;

use crate::permission::Permissions;
use crate::request::Request;
use crate::step::Dialogue;

/// What becomes of a client.
#[derive(Debug)]
pub enum Verdict {
    /// It is let in.
    Allowed(Box<Identity>),
    /// It is not.
    Refused(Refusal),
    /// It is asked something: AUTH with *Continue authentication* and this data, and its answer goes to
    /// [`Chain::proceed`](crate::Chain::proceed).
    Challenge {
        /// Authentication Data.
        data: Vec<u8>,
        /// What the answer belongs to.
        conversation: Conversation,
    },
}

/// Who a client is.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Its user name; none if it is anonymous.
    pub user_name: Option<Arc<str>>,
    /// The client id that it must have in place of its own.
    pub client_id: Option<Arc<str>>,
    /// What it may do, beside what the broker's own rules say; none if the step has no say in that.
    pub permissions: Option<Permissions>,
    /// Whether it may do everything, whatever rules say.
    pub is_superuser: bool,
    /// When it must be gone, in seconds since 1970.
    pub expires_at: Option<u64>,
    /// Authentication Data for CONNACK, or for the AUTH that ends a re-authentication.
    pub final_data: Option<Vec<u8>>,
    /// The step that decided, for the log.
    pub by: Arc<str>,
}

impl Identity {
    pub(crate) fn new(user_name: Option<Arc<str>>, by: &Arc<str>) -> Self {
        Self {
            user_name,
            client_id: None,
            permissions: None,
            is_superuser: false,
            expires_at: None,
            final_data: None,
            by: Arc::clone(by),
        }
    }
}

/// Why a client is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code for CONNACK (in 5.0; 3.1.1 has a shorter list) or DISCONNECT.
    pub reason: Reason,
    /// What the log says. It may tell what the client must not know, such as whether the user exists; it never
    /// has a password or token in it.
    pub why: String,
    /// What the client may be told, as the Reason String.
    pub told: Cow<'static, str>,
    /// The step that decided, if one did.
    pub by: Option<Arc<str>>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// An enhanced authentication between two packets. It belongs to the chain that gave it.
pub struct Conversation {
    pub(crate) request: Box<Request>,
    /// Which step the client is talking to.
    pub(crate) step: usize,
    pub(crate) dialogue: Dialogue,
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conversation").field("method", &self.request.method).finish_non_exhaustive()
    }
}
