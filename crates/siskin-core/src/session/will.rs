//! The will of a connection, kept until it is published or withdrawn.

use bytes::Bytes;
use siskin_proto::{Properties, PropertiesBuf, Property, Qos, Will};

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
        }
    }

    /// The properties that its message will have.
    pub(crate) fn properties(&self) -> Properties<'_> {
        self.properties.as_properties()
    }
}
