//! What a session has in the store, if it outlives its connection.

use std::collections::BTreeMap;

use siskin_proto::PacketId;

use crate::store::RecordId;

/// The records of one session, but for those of its messages and its will, which know their own.
#[derive(Debug)]
pub(crate) struct Lasting {
    /// Of the session itself.
    pub(crate) record: RecordId,
    /// Of the QoS 2 ids that its client has sent and not released.
    pub(crate) received: BTreeMap<PacketId, RecordId>,
    /// The claims of QoS 2 messages that its client has taken over, until it says so for the last time.
    pub(crate) released: BTreeMap<PacketId, (RecordId, u32)>,
    /// Whether messages are on their way from the store.
    pub(crate) is_fetching: bool,
}

impl Lasting {
    pub(crate) fn new(record: RecordId) -> Self {
        Self { record, received: BTreeMap::new(), released: BTreeMap::new(), is_fetching: false }
    }
}
