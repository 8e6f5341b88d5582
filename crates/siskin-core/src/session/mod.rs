//! One client's state: what it owes, what is owed to it, and the connection it has at the moment.

mod connection;
mod feed;
mod key;
mod lasting;
mod outbox;
mod pass;
mod queue;
mod seldom;
mod slab;
mod will;

use std::sync::Arc;

use siskin_proto::Version;
use siskin_proto::delivery::{Receiver, Sender};

use crate::access::Access;
use crate::hash::HashMap;
use crate::message::Publisher;
use crate::recorder::Diary;
use crate::store::RecordId;
use crate::time::Now;
use crate::timer::Due;

pub(crate) use connection::{Connection, Renewal};
pub(crate) use feed::{Feeds, Kept};
pub use key::SessionKey;
pub(crate) use lasting::Lasting;
pub(crate) use outbox::Grant;
pub(crate) use pass::Pass;
pub(crate) use queue::{Body, Delivery, Extra, Queue, Reference};
pub(crate) use seldom::Seldom;
pub(crate) use slab::Sessions;
pub(crate) use will::StoredWill;

/// The state of a client id. It lives as long as its connection, or longer if the client asked so.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client_id: Arc<str>,
    /// What its own messages are known by.
    pub(crate) publisher: Publisher,
    /// Of the connection that is or was.
    pub(crate) version: Version,
    /// How long it outlives its connection, in seconds; `u32::MAX` for ever.
    pub(crate) expiry_s: u32,
    pub(crate) connection: Option<Box<Connection>>,
    /// By filter: the record of each, if it is in the store.
    pub(crate) subscriptions: HashMap<Arc<str>, Option<RecordId>>,
    /// Subscriptions that are shared, which care whether their member is there.
    pub(crate) shared: u32,
    pub(crate) sender: Sender<Delivery>,
    pub(crate) receiver: Receiver,
    pub(crate) queue: Seldom<Queue>,
    pub(crate) feeds: Seldom<Feeds>,
    pub(crate) will: Option<Box<StoredWill>>,
    /// What it has in the store, if it is to survive the process.
    pub(crate) lasting: Option<Box<Lasting>>,
    /// Whose it is, if that is known or matters.
    pub(crate) pass: Option<Box<Pass>>,
    pub(crate) due: Due,
    pub(crate) diary: Diary,
    /// When its last connection ended.
    pub(crate) left_at: Now,
}

impl Session {
    pub(crate) fn new(
        key: SessionKey,
        client_id: Arc<str>,
        version: Version,
        maps: &crate::hash::Hasher,
    ) -> Self {
        Self {
            publisher: Publisher::new(&client_id, maps),
            client_id,
            version,
            expiry_s: 0,
            connection: None,
            subscriptions: HashMap::with_hasher(maps.clone()),
            shared: 0,
            sender: Sender::new(),
            receiver: Receiver::new(),
            queue: Seldom::default(),
            feeds: Seldom::default(),
            will: None,
            lasting: None,
            pass: None,
            due: Due::default(),
            diary: Diary::new(key),
            left_at: Now::default(),
        }
    }

    pub(crate) fn key(&self) -> SessionKey {
        self.diary.key
    }

    /// Its client's user name.
    pub(crate) fn user_name(&self) -> Option<&str> {
        self.pass.as_ref()?.identity.user_name.as_deref()
    }

    /// Whether its client may receive messages of `topic`.
    pub(crate) fn may_receive(&self, topic: &str) -> bool {
        self.pass.as_ref().is_none_or(|pass| pass.allows(Access::Receive, topic))
    }

    /// Whether its client may no longer receive what waits on `topic`, if that is still to be asked.
    pub(crate) fn is_withdrawn(&self, topic: &str) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.is_renewed && !pass.allows(Access::Receive, topic))
    }

    /// Bytes in memory of messages that were sent and not acknowledged. Counting ends at `enough`.
    pub(crate) fn in_flight_bytes(&self, enough: u64) -> u64 {
        let mut bytes = 0;
        for (_, delivery) in self.sender.messages() {
            bytes += delivery.kept_bytes();
            if bytes >= enough {
                break;
            }
        }
        bytes
    }

    /// Bytes that are as many as its client likes.
    pub(crate) fn chosen_bytes(&self) -> u64 {
        let will = self.will.as_deref().map_or(0, StoredWill::size);
        let aliases = self.connection.as_deref().map_or(0, Connection::alias_bytes);
        let names = self.client_id.len() + self.user_name().map_or(0, str::len);
        (will + aliases + names) as u64
    }

    /// Whether it outlives its connection.
    pub(crate) fn is_persistent(&self) -> bool {
        self.expiry_s > 0
    }
}

/// What an idle client costs in here, besides its client id and some thirty bytes of its story. Heaps hand out steps of 64 and
/// 32 bytes there.
const _: () = assert!(size_of::<Session>() <= 256 && size_of::<Connection>() <= 192);
