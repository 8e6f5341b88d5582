//! What is routed, queued and retained: a message, which knows nothing of packets.

use bytes::Bytes;
use siskin_proto::{Properties, Qos};

use crate::session::SessionKey;
use crate::time::Now;

/// An application message. It has no packet id, no DUP, no alias and no receiver's QoS in it.
///
/// Topic, properties and a small payload lie in one allocation, in the order in which they go out.
#[derive(Debug)]
pub struct Message {
    head: Box<[u8]>,
    /// A payload of more than [`PAYLOAD_INLINE_MAX`] bytes, shared with the buffer it arrived in.
    large: Option<Bytes>,
    properties_len: u32,
    topic_len: u16,
    qos: Qos,
    retain: bool,
    publisher: Option<SessionKey>,
    received_at: Now,
    expires_at: Option<Now>,
    expiry_is_ours: bool,
}

/// Payloads up to this many bytes are copied into each receiver's buffer, larger ones referred to.
pub const PAYLOAD_INLINE_MAX: usize = 4096;

/// The parts of a message, borrowed from wherever they lie.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The topic name, already checked.
    pub topic: &'a str,
    /// The properties that travel on: all of the PUBLISH but Topic Alias and Message Expiry Interval.
    pub properties: Properties<'a>,
    /// The payload.
    pub payload: &'a [u8],
    /// The QoS it was published at.
    pub qos: Qos,
    /// Whether it was published with RETAIN 1.
    pub retain: bool,
    /// The session that published it.
    pub publisher: Option<SessionKey>,
    /// When it arrived.
    pub received_at: Now,
    /// When it stops being worth delivering.
    pub expires_at: Option<Now>,
    /// Whether that is the broker's rule for retained messages, and not for receivers to see.
    pub expiry_is_ours: bool,
}

impl Message {
    /// A message of these parts. A large payload that lies in `frame` is shared, not copied.
    pub fn new(parts: Parts<'_>, frame: Option<&Bytes>) -> Self {
        let inline = if parts.payload.len() <= PAYLOAD_INLINE_MAX { parts.payload } else { &[] };
        let large = (parts.payload.len() > PAYLOAD_INLINE_MAX).then(|| match frame {
            Some(frame) => frame.slice_ref(parts.payload),
            None => Bytes::copy_from_slice(parts.payload),
        });
        let properties = parts.properties.raw();
        let mut head = Vec::with_capacity(parts.topic.len() + properties.len() + inline.len());
        head.extend_from_slice(parts.topic.as_bytes());
        head.extend_from_slice(properties);
        head.extend_from_slice(inline);
        Self {
            head: head.into_boxed_slice(),
            large,
            properties_len: properties.len() as u32,
            topic_len: parts.topic.len() as u16,
            qos: parts.qos,
            retain: parts.retain,
            publisher: parts.publisher,
            received_at: parts.received_at,
            expires_at: parts.expires_at,
            expiry_is_ours: parts.expiry_is_ours,
        }
    }

    /// The parts as they went in.
    pub fn parts(&self) -> Parts<'_> {
        Parts {
            topic: self.topic(),
            properties: self.properties(),
            payload: self.payload(),
            qos: self.qos,
            retain: self.retain,
            publisher: self.publisher,
            received_at: self.received_at,
            expires_at: self.expires_at,
            expiry_is_ours: self.expiry_is_ours,
        }
    }

    /// The topic name.
    pub fn topic(&self) -> &str {
        let bytes = &self.head[..usize::from(self.topic_len)];
        std::str::from_utf8(bytes).expect("the head begins with the topic it was made from")
    }

    /// The properties that travel with the message, without alias and expiry interval.
    pub fn properties(&self) -> Properties<'_> {
        let start = usize::from(self.topic_len);
        Properties::from_valid_raw(&self.head[start..start + self.properties_len as usize])
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        match &self.large {
            Some(large) => large,
            None => &self.head[usize::from(self.topic_len) + self.properties_len as usize..],
        }
    }

    /// The payload to refer to, if it is one that is not copied.
    pub fn large_payload(&self) -> Option<&Bytes> {
        self.large.as_ref()
    }

    /// The QoS it was published at.
    pub fn qos(&self) -> Qos {
        self.qos
    }

    /// Whether it was published with RETAIN 1.
    pub fn retain(&self) -> bool {
        self.retain
    }

    /// The session that published it; none for the broker itself.
    pub fn publisher(&self) -> Option<SessionKey> {
        self.publisher
    }

    /// When it arrived.
    pub fn received_at(&self) -> Now {
        self.received_at
    }

    /// When it stops being worth delivering, if ever.
    pub fn expires_at(&self) -> Option<Now> {
        self.expires_at
    }

    /// Whether its time is over. [MQTT5 3.3.2-5]
    pub fn is_expired(&self, now: Now) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Bytes it holds in memory.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.head.len() + self.large.as_ref().map_or(0, Bytes::len)
    }
}
