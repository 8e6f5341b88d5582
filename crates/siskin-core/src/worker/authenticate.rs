//! AUTH behind CONNACK: a client proves once more who it is, while everything else goes on.
//!
//! ```text
//! None ──AUTH 0x19──> Pending ──continue──> Asked
//!  ^                     │  ^                 │
//!  └────authenticated────┘  └────AUTH 0x18────┘        [MQTT5 4.12.1]
//! ```

use std::sync::Arc;

use siskin_proto::{Auth, Packet, PropertiesBuf, Property, Reason};

use super::{AuthStep, Worker};
use crate::access::{Identity, Standing};
use crate::cause::{Cause, Violation};
use crate::session::{Renewal, SessionKey};
use crate::time::Now;

impl Worker {
    pub(super) fn handle_auth(&mut self, key: SessionKey, auth: &Auth<'_>) -> Result<(), Cause> {
        let Some(session) = self.sessions.get_mut(key) else { return Ok(()) };
        let method = session.pass.as_ref().and_then(|pass| pass.identity.method.clone());
        // [MQTT5 4.12.0-7]
        let Some(method) = method else { return Err(Cause::Violation(Violation::AuthWithoutMethod)) };
        // [MQTT5 4.12.1-1]
        if auth.properties.authentication_method() != Some(&method) {
            return Err(Cause::Violation(Violation::OtherAuthMethod));
        }
        let Some(connection) = session.connection.as_deref_mut() else { return Ok(()) };
        let is_first = match (auth.reason, connection.renewal) {
            (Reason::ReAuthenticate, Renewal::None) => true,
            (Reason::ContinueAuthentication, Renewal::Asked) => false,
            _ => return Err(Cause::Violation(Violation::AuthOutOfPlace)),
        };
        connection.renewal = Renewal::Pending;
        self.turn.auths.push(AuthStep {
            key,
            connection: connection.number,
            client_id: Arc::clone(&session.client_id),
            method,
            data: auth.properties.authentication_data().unwrap_or_default().to_vec(),
            is_first,
        });
        Ok(())
    }

    /// What clients have said in AUTH since last asked. Each is to be answered by [`Self::ask`], by
    /// [`Self::authenticated`], or by the end of the connection.
    pub fn take_auths(&mut self, into: &mut Vec<AuthStep>) {
        into.append(&mut self.turn.auths);
    }

    /// Asks the client of session `key`, which wants to prove once more who it is.
    pub fn ask(&mut self, key: SessionKey, data: &[u8], now: Now) {
        self.answer_auth(key, Reason::ContinueAuthentication, Some(data), Renewal::Asked, now);
    }

    /// The client of session `key` has proved once more that it is `identity`, and goes by what that may do.
    pub fn authenticated(&mut self, key: SessionKey, identity: &Identity, now: Now) {
        let Some(session) = self.sessions.get(key) else { return };
        // Another user is another client.
        if session.user_name() != identity.user_name.as_deref() {
            return self.end(key, Cause::NotProved, now);
        }
        let standing = self.shared.standing(identity, &session.client_id);
        if matches!(standing, Standing::Unknown) {
            return self.end(key, Cause::Revoked, now);
        }
        self.set_pass(key, identity, standing);
        self.answer_auth(key, Reason::Success, identity.final_data.as_deref(), Renewal::None, now);
    }

    fn answer_auth(&mut self, key: SessionKey, reason: Reason, data: Option<&[u8]>, then: Renewal, now: Now) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let method = session.pass.as_ref().and_then(|pass| pass.identity.method.clone());
        let Some((connection, method)) = session.connection.as_deref_mut().zip(method) else { return };
        if connection.renewal != Renewal::Pending {
            return;
        }
        connection.renewal = then;
        let mut properties = PropertiesBuf::new();
        properties.push(Property::AuthenticationMethod(&method)); // [MQTT5 4.12.0-5]
        if let Some(data) = data {
            properties.push(Property::AuthenticationData(data));
        }
        let auth = Packet::Auth(Auth { reason, properties: properties.as_properties() });
        if let Err(cause) = self.answer(key, &auth) {
            self.end(key, cause, now);
        }
    }
}
