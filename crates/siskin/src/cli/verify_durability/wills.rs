//! Clients with wills: some are connected when the broker is killed, some have left in good order before.

use siskin_proto::{Properties, Qos, TopicName, Version};

use super::connection::{Connection, Identity, Lost};
use super::ledger::Will;
use super::session::Session;
use super::world::World;

/// The clients, of which each connects once in each life of the broker. None asks for a will delay.
pub(super) struct WillClients {
    sessions: [Session; CLIENTS],
    /// Those who stay connected.
    held: Vec<(Will, Connection)>,
}

const CLIENTS: usize = 4;

impl WillClients {
    pub(super) fn new() -> Self {
        let session = |client| {
            let version = if client % 2 == 0 { Version::V5 } else { Version::V3_1_1 };
            Session::new(format!("siskin-verify-will-{client}"), version)
        };
        Self { sessions: std::array::from_fn(session), held: Vec::new() }
    }

    /// All connect; two of them leave.
    pub(super) fn connect(&mut self, life: u32, world: &World) -> Result<(), Lost> {
        self.held.clear();
        for client in 0..CLIENTS {
            let will = Will { life, client };
            let connection = self.open(will, world)?;
            world.ledger().hold_will(will);
            if leaves(client) {
                // It waits for the broker to close: then DISCONNECT was read. Nothing acknowledges that it
                // is safe, but whatever the broker acknowledges later stands behind it.
                connection.leave();
                world.ledger().drop_will(will);
            } else {
                self.held.push((will, connection));
            }
        }
        Ok(())
    }

    /// Those who are still connected leave in good order.
    pub(super) fn leave(&mut self, world: &World) {
        for (will, connection) in self.held.drain(..) {
            connection.leave();
            world.ledger().drop_will(will);
        }
    }

    fn open(&mut self, will: Will, world: &World) -> Result<Connection, Lost> {
        let session = &mut self.sessions[will.client];
        let (topic, payload) = (will.topic(), will.payload());
        let message = siskin_proto::Will {
            topic: TopicName::parse(&topic).expect("it has no wildcard"),
            payload: payload.as_bytes(),
            qos: Qos::AtLeastOnce,
            retain: false,
            properties: Properties::EMPTY,
        };
        let is_clean = is_clean(will.client);
        let identity = Identity { will: Some(message), is_clean, ..session.identity() };
        let connection = Connection::open(world.address, &identity)?;
        if !is_clean {
            session.is_lost(&connection, will.life, world);
        }
        Ok(connection)
    }
}

fn leaves(client: usize) -> bool {
    client >= 2
}

/// Of either kind one has a session that ends with the connection.
fn is_clean(client: usize) -> bool {
    client == 1 || client == 2
}
