//! A session that must outlive every connection and every kill.

use siskin_proto::Version;

use super::connection::{Connection, Identity};
use super::world::World;

pub(super) struct Session {
    client_id: String,
    version: Version,
    /// The broker has accepted it once.
    is_begun: bool,
}

impl Session {
    pub(super) fn new(client_id: String, version: Version) -> Self {
        Self { client_id, version, is_begun: false }
    }

    pub(super) fn identity(&self) -> Identity<'_> {
        Identity { client_id: &self.client_id, version: self.version, is_clean: false, will: None }
    }

    /// Whether the broker, which has just accepted the connection, has lost the session that it had
    /// accepted before. [MQTT-3.2.2-2]
    pub(super) fn is_lost(&mut self, connection: &Connection, life: u32, world: &World) -> bool {
        let was_begun = std::mem::replace(&mut self.is_begun, true);
        let mut ledger = world.ledger();
        if connection.session_present {
            ledger.tally.sessions_resumed += 1;
        } else if was_begun {
            let (client_id, kills) = (&self.client_id, life - 1);
            ledger.findings.sessions.note(|| format!("that of {client_id}, after kill {kills}"));
        }
        was_begun && !connection.session_present
    }
}
