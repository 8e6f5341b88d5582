//! What clients may do, on their way in and when the rules change.

use std::sync::Arc;

use siskin_proto::TopicFilter;

use super::Worker;
use crate::access::{Access, Identity, Standing};
use crate::cause::Cause;
use crate::event::Event;
use crate::recorder::{Entry, What};
use crate::session::{Pass, SessionKey};
use crate::time::Now;

impl Worker {
    /// The rules have changed, and [`Shared`](crate::Shared) knows the new ones: all sessions of this worker are to go
    /// by them. It happens in the next ticks, some sessions in each.
    pub fn renew_permissions(&mut self) {
        self.renewing = Some(0);
    }

    /// Goes on with what [`Self::renew_permissions`] began.
    pub(super) fn renew_some(&mut self, now: Now) {
        let Some(first) = self.renewing else { return };
        let end = first + RENEWED_PER_TICK;
        self.renewing = (end < self.sessions.places()).then_some(end);
        for slot in first..end.min(self.sessions.places()) {
            let Some(session) = self.sessions.at(slot) else { continue };
            let key = session.key();
            let identity =
                session.pass.as_deref().map_or_else(Identity::default, |pass| pass.identity.clone());
            let standing = self.shared.standing(&identity, &session.client_id);
            let is_unknown = matches!(standing, Standing::Unknown);
            self.set_pass(key, &identity, standing);
            if is_unknown {
                self.end(key, Cause::Revoked, now);
            }
        }
    }

    /// The client of session `key` is `identity` from now on and may do what `standing` says.
    pub(crate) fn set_pass(&mut self, key: SessionKey, identity: &Identity, standing: Standing) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let was_limited = session.pass.as_ref().is_some_and(|pass| pass.permissions.is_some());
        session.pass = Pass::new(identity, standing.into_permissions());
        let permissions = session.pass.as_ref().and_then(|pass| pass.permissions.as_ref());
        if !was_limited && permissions.is_none() {
            return;
        }
        self.shared.readers.set(key, permissions);
        for text in session.subscriptions.keys() {
            if let Ok(filter) = TopicFilter::parse(text) {
                self.shared.router.touch(filter);
            }
        }
    }

    /// Whether the client of session `key` may; if not, that is counted and told.
    pub(super) fn check_access(&mut self, key: SessionKey, access: Access, topic: &str, now: Now) -> bool {
        let Some(session) = self.sessions.get_mut(key) else { return true };
        let Some(pass) = session.pass.as_deref_mut() else { return true };
        if pass.allows(access, topic) {
            return true;
        }
        let stats = &self.turn.stats;
        match access {
            Access::Publish { .. } => stats.denied_publish.add(1),
            Access::Subscribe { .. } => stats.denied_subscribe.add(1),
            Access::Receive => stats.dropped_denied.add(1),
        }
        if let Some(event) = pass.refused(&session.client_id, access, topic, now) {
            if let Event::Denied { because, count, .. } = &event {
                let (topic, because) = (topic.into(), (&**because).into());
                let what = What::Denied { verb: access.verb(), topic, because };
                let entry = Entry { at: now, until: now, count: *count, what };
                self.turn.recorder.record_many(&mut session.diary.log, &session.client_id, &entry);
            }
            self.turn.events.push(event);
        }
        false
    }

    /// The authentication method of the CONNECT of session `key`.
    pub fn method(&self, key: SessionKey) -> Option<Arc<str>> {
        self.sessions.get(key)?.pass.as_ref()?.identity.method.clone()
    }
}

/// Sessions looked at in one tick after the rules have changed: some milliseconds.
const RENEWED_PER_TICK: usize = 2000;
