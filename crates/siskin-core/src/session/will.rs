//! The will of a connection, kept until it is published or withdrawn.

use bytes::Bytes;
use siskin_proto::{Properties, PropertiesBuf, Property, Qos, Will};

use crate::access::Access;
use crate::store::RecordId;
use crate::store::record::WillRecord;
use crate::time::Now;

/// What to publish when a connection ends without a proper DISCONNECT. [MQTT-3.1.2-8] [MQTT5 3.1.2-7]
#[derive(Debug)]
pub(crate) struct StoredWill {
    pub(crate) topic: Box<str>,
    pub(crate) payload: Bytes,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) delay_s: u32,
    pub(crate) expiry_s: Option<u32>,
    properties: PropertiesBuf,
    /// The record that keeps it.
    pub(crate) record: Option<RecordId>,
}

impl StoredWill {
    pub(crate) fn new(will: &Will<'_>) -> Self {
        let mut properties = PropertiesBuf::new();
        for property in will.properties.iter() {
            match property {
                Property::WillDelayInterval(_) | Property::MessageExpiryInterval(_) => {}
                // [MQTT5 3.1.3-10] The order of user properties stays.
                other => properties.push(other),
            }
        }
        Self {
            topic: will.topic.as_str().into(),
            payload: Bytes::copy_from_slice(will.payload),
            qos: will.qos,
            retain: will.retain,
            delay_s: will.properties.will_delay_interval().unwrap_or(0),
            expiry_s: will.properties.message_expiry_interval(),
            properties,
            record: None,
        }
    }

    /// The will that `record` has kept.
    pub(crate) fn restored(id: RecordId, record: &WillRecord<'_>) -> Self {
        let mut properties = PropertiesBuf::new();
        record.properties.iter().for_each(|property| properties.push(property));
        Self {
            topic: record.topic.into(),
            payload: Bytes::copy_from_slice(record.payload),
            qos: record.qos,
            retain: record.retain,
            delay_s: record.delay_s,
            expiry_s: record.expiry_s,
            properties,
            record: Some(id),
        }
    }

    /// What is to be kept of it.
    pub(crate) fn to_record<'a>(
        &'a self,
        session: Option<RecordId>,
        client_id: &'a str,
        due_at: Option<Now>,
    ) -> WillRecord<'a> {
        WillRecord {
            session,
            client_id,
            user_name: None,
            delay_s: self.delay_s,
            expiry_s: self.expiry_s,
            due_at,
            topic: &self.topic,
            properties: self.properties(),
            payload: &self.payload,
            qos: self.qos,
            retain: self.retain,
        }
    }

    /// Bytes of what it holds.
    pub(crate) fn size(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties().raw().len()
    }

    /// What it takes to publish it.
    pub(crate) fn access(&self) -> Access {
        Access::Publish { qos: self.qos, retain: self.retain }
    }

    /// The properties that its message will have.
    pub(crate) fn properties(&self) -> Properties<'_> {
        self.properties.as_properties()
    }
}
