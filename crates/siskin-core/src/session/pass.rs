//! Whose session it is, and what that client may do.

use std::sync::Arc;

use crate::access::{Access, Identity, Permissions};
use crate::event::Event;
use crate::time::Now;

/// Kept for clients of whom anything is known, or who may not do everything.
#[derive(Debug)]
pub(crate) struct Pass {
    pub(crate) identity: Identity,
    /// None if everything is allowed.
    pub(crate) permissions: Option<Arc<dyn Permissions>>,
    /// What waits for this session was let in by other rules, and is asked about when it is sent.
    pub(crate) is_renewed: bool,
    /// When an event last told of a refusal, and how many there were since.
    told_at: Option<Now>,
    untold: u64,
}

impl Pass {
    /// None where there is nothing to remember.
    pub(crate) fn new(identity: &Identity, permissions: Option<Arc<dyn Permissions>>) -> Option<Box<Self>> {
        let is_needed = permissions.is_some() || !identity.is_anonymous();
        is_needed.then(|| {
            let identity = Identity { final_data: None, ..identity.clone() };
            Box::new(Self { identity, permissions, is_renewed: true, told_at: None, untold: 0 })
        })
    }

    pub(crate) fn allows(&self, access: Access, topic: &str) -> bool {
        self.permissions.as_deref().is_none_or(|permissions| permissions.allows(access, topic))
    }

    /// Notes a refusal. The event of it, unless there was one within the last second.
    pub(crate) fn refused(
        &mut self,
        client_id: &Arc<str>,
        access: Access,
        topic: &str,
        now: Now,
    ) -> Option<Event> {
        self.untold += 1;
        if self.told_at.is_some_and(|at| at.plus_ms(TELL_EVERY_MS) > now) {
            return None;
        }
        self.told_at = Some(now);
        let because = self.permissions.as_deref().map(|permissions| permissions.because(access, topic));
        Some(Event::Denied {
            client_id: Arc::clone(client_id),
            user_name: self.identity.user_name.clone(),
            access,
            topic: topic.into(),
            because: because.unwrap_or_default().into(),
            count: std::mem::take(&mut self.untold),
        })
    }
}

/// A session's refusals make one event in this time.
const TELL_EVERY_MS: u64 = 1000;
