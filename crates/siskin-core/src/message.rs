//! What is routed, queued and retained: a message, which knows nothing of packets.

use std::fmt;
use std::hash::BuildHasher;
use std::num::NonZeroU64;

use bytes::Bytes;
use siskin_proto::{Properties, Qos};
use triomphe::ThinArc;

use crate::hash::Hasher;
use crate::store::RecordId;
use crate::time::Now;
use crate::trace::TraceId;

/// An application message. It has no packet id, no DUP, no alias and no receiver's QoS in it. Clones are the same message.
///
/// All of it lies in one allocation: topic, properties and a small payload in the order in which they go out, behind what
/// is known of them.
#[derive(Clone)]
pub struct Message(ThinArc<Head, u8>);

struct Head {
    /// A payload of more than [`PAYLOAD_INLINE_MAX`] bytes, shared with the buffer it arrived in.
    large: Option<Box<Bytes>>,
    publisher: Option<Publisher>,
    record: Option<RecordId>,
    received_at: Now,
    /// [`NEVER`] if it does not.
    expires_at: Now,
    /// [`NEVER`] if there is no such time.
    kept_until: Now,
    properties_len: u32,
    topic_len: u16,
    qos: Qos,
    retain: bool,
    trace: Option<TraceId>,
}

/// Stands for a time that does not come.
const NEVER: Now = Now::from_millis(u64::MAX);

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
    /// Who published it; none for the broker itself.
    pub publisher: Option<Publisher>,
    /// When it arrived.
    pub received_at: Now,
    /// When it stops being worth delivering.
    pub expires_at: Option<Now>,
    /// When the broker forgets it if it is retained, which is not for receivers to see.
    pub kept_until: Option<Now>,
    /// The record that keeps it safe, if one does.
    pub record: Option<RecordId>,
}

/// Stands for the client id of whoever published a message, in all its sessions. [MQTT5 3.8.3-3]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publisher(NonZeroU64);

impl Publisher {
    /// The same for every worker of a broker, which all hash by its seed.
    pub(crate) fn new(client_id: &str, hasher: &Hasher) -> Self {
        Self(NonZeroU64::new(hasher.hash_one(client_id)).unwrap_or(NonZeroU64::MIN))
    }

    pub(crate) fn from_hash(hash: u64) -> Option<Self> {
        NonZeroU64::new(hash).map(Self)
    }

    pub(crate) fn hash(self) -> u64 {
        self.0.get()
    }
}

impl Message {
    /// A message of these parts. A large payload that lies in `frame` is shared, not copied.
    pub fn new(parts: Parts<'_>, frame: Option<&Bytes>) -> Self {
        Self::traced(parts, frame, None)
    }

    /// The same, followed under this number.
    pub(crate) fn traced(parts: Parts<'_>, frame: Option<&Bytes>, trace: Option<TraceId>) -> Self {
        let inline = if parts.payload.len() <= PAYLOAD_INLINE_MAX { parts.payload } else { &[] };
        let large = (parts.payload.len() > PAYLOAD_INLINE_MAX).then(|| match frame {
            Some(frame) => frame.slice_ref(parts.payload),
            None => Bytes::copy_from_slice(parts.payload),
        });
        let properties = parts.properties.raw();
        let head = Head {
            large: large.map(Box::new),
            publisher: parts.publisher,
            record: parts.record,
            received_at: parts.received_at,
            expires_at: parts.expires_at.unwrap_or(NEVER),
            kept_until: parts.kept_until.unwrap_or(NEVER),
            properties_len: properties.len() as u32,
            topic_len: parts.topic.len() as u16,
            qos: parts.qos,
            retain: parts.retain,
            trace,
        };
        let pieces = [parts.topic.as_bytes(), properties, inline];
        let len = pieces.iter().map(|piece| piece.len()).sum();
        let mut small = [0; SMALL_BYTES];
        if let Some(bytes) = small.get_mut(..len) {
            let mut at = 0;
            for piece in pieces {
                bytes[at..at + piece.len()].copy_from_slice(piece);
                at += piece.len();
            }
            return Self(ThinArc::from_header_and_slice(head, bytes));
        }
        Self(ThinArc::from_header_and_slice(head, &pieces.concat()))
    }

    /// The same message in another record.
    pub(crate) fn under(&self, record: RecordId) -> Self {
        let parts = Parts { record: Some(record), ..self.parts() };
        Self::traced(parts, self.large_payload(), self.trace())
    }

    /// The parts as they went in.
    pub fn parts(&self) -> Parts<'_> {
        Parts {
            topic: self.topic(),
            properties: self.properties(),
            payload: self.payload(),
            qos: self.qos(),
            retain: self.retain(),
            publisher: self.publisher(),
            received_at: self.received_at(),
            expires_at: self.expires_at(),
            kept_until: self.kept_until(),
            record: self.record(),
        }
    }

    fn head(&self) -> &Head {
        &self.0.header.header
    }

    fn kept_until(&self) -> Option<Now> {
        Some(self.head().kept_until).filter(|at| *at != NEVER)
    }

    /// The topic name.
    pub fn topic(&self) -> &str {
        let bytes = &self.0.slice[..usize::from(self.head().topic_len)];
        std::str::from_utf8(bytes).expect("the head begins with the topic it was made from")
    }

    /// The properties that travel with the message, without alias and expiry interval.
    pub fn properties(&self) -> Properties<'_> {
        let start = usize::from(self.head().topic_len);
        Properties::from_valid_raw(&self.0.slice[start..start + self.head().properties_len as usize])
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        let head = self.head();
        match &head.large {
            Some(large) => large,
            None => &self.0.slice[usize::from(head.topic_len) + head.properties_len as usize..],
        }
    }

    /// The payload to refer to, if it is one that is not copied.
    pub fn large_payload(&self) -> Option<&Bytes> {
        self.head().large.as_deref()
    }

    /// The QoS it was published at.
    pub fn qos(&self) -> Qos {
        self.head().qos
    }

    /// Whether it was published with RETAIN 1.
    pub fn retain(&self) -> bool {
        self.head().retain
    }

    /// Who published it; none for the broker itself.
    pub fn publisher(&self) -> Option<Publisher> {
        self.head().publisher
    }

    /// The record that keeps it safe, if one does.
    pub fn record(&self) -> Option<RecordId> {
        self.head().record
    }

    /// Its number, if it is followed.
    pub(crate) fn trace(&self) -> Option<TraceId> {
        self.head().trace
    }

    /// When it arrived.
    pub fn received_at(&self) -> Now {
        self.head().received_at
    }

    /// When it stops being worth delivering, if ever.
    pub fn expires_at(&self) -> Option<Now> {
        Some(self.head().expires_at).filter(|at| *at != NEVER)
    }

    /// Whether its time is over. [MQTT5 3.3.2-5]
    pub fn is_expired(&self, now: Now) -> bool {
        self.head().expires_at <= now || self.head().kept_until <= now
    }

    /// Bytes it holds in memory.
    pub fn size(&self) -> usize {
        HEAD_BYTES + self.0.slice.len() + self.large_payload().map_or(0, Bytes::len)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Message").field(&self.parts()).finish()
    }
}

impl Parts<'_> {
    /// Bytes that a [`Message`] of these parts holds in memory.
    pub fn size(&self) -> usize {
        HEAD_BYTES + self.topic.len() + self.properties.raw().len() + self.payload.len()
    }
}

/// Messages of so many bytes are put together without an allocation that does not last.
const SMALL_BYTES: usize = 256;

/// What a message takes beside its bytes: counter, length and [`Head`].
const HEAD_BYTES: usize = 16 + size_of::<Head>();

const _: () = assert!(size_of::<Head>() <= 64);
