//! What is in the records of a broker.
//!
//! ```text
//! node          0x01  seed u64
//! session       0x02  version u8 (plus 0x80 if there is a user name)  expiry_s
//!                     since (0: connected; else when it was left, ms since 1970, plus 1)  [user name]  client id
//! subscription  0x03  session  options u8 (as in SUBSCRIBE)  identifier (0: none)  filter
//! message       0x04  flags u8  [publisher u64]  [expires at]  [kept until]  topic  properties
//!                     receivers: count, then each: session, flags u8, [count, identifiers], [share]
//!                     payload: all that is left
//! received      0x05  session  packet id
//! will          0x06  flags u8  session (0: none that lasts)  client id  [user name]  delay_s  [expiry_s]
//!                     due (0: the client is connected; else as since)  topic  properties  payload: all that is left
//! feed          0x07  session  subscription  the last topic that was sent (none: nothing was)
//! ```
//!
//! Texts and properties have their length before them, but for the last in a record. Numbers without a type are
//! varints, as in [`Batch`](super::Batch); the others have their low byte first.
//!
//! A message has one reference if it is retained, its first, and one for each receiver, in their order. Noted at
//! a receiver's reference is how far its delivery has come: see [`Progress`].

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use siskin_proto::{
    PacketId, Properties, Qos, RetainHandling, SubscriptionOptions, TopicFilter, TopicName, Version,
};

use super::RecordId;
use super::batch::{Damaged, read_varint, write_varint};
use crate::message::{Parts, Publisher};
use crate::time::Now;

/// A record, read.
#[derive(Debug)]
pub enum Record<'a> {
    /// What stays the same for the whole life of a store.
    Node {
        /// Keys the hashes by which publishers are known in other records.
        seed: u64,
    },
    /// A session that outlives its connections.
    Session(SessionRecord<'a>),
    /// One of its subscriptions.
    Subscription(SubscriptionRecord<'a>),
    /// A message that is retained, or due to such sessions.
    Message(MessageRecord<'a>),
    /// The packet id of a QoS 2 message that such a session's client has sent and not yet released.
    Received {
        /// The session.
        session: RecordId,
        /// The id.
        packet_id: PacketId,
    },
    /// A will that is in force.
    Will(WillRecord<'a>),
    /// Retained messages that are still due to a subscription.
    Feed(FeedRecord<'a>),
}

/// A session.
#[derive(Clone, Copy, Debug)]
pub struct SessionRecord<'a> {
    /// Its client id.
    pub client_id: &'a str,
    /// The user name under which its client was known last.
    pub user_name: Option<&'a str>,
    /// The version that was spoken last.
    pub version: Version,
    /// How long it outlives its connection.
    pub expiry_s: u32,
    /// When it was left; none if the client is connected.
    pub since: Option<Now>,
}

/// A subscription.
#[derive(Clone, Copy, Debug)]
pub struct SubscriptionRecord<'a> {
    /// Whose it is.
    pub session: RecordId,
    /// What was asked for.
    pub options: SubscriptionOptions,
    /// Its identifier.
    pub id: Option<NonZeroU32>,
    /// The whole filter.
    pub filter: &'a str,
}

/// How far a subscription has come in the retained messages that are due to it.
#[derive(Clone, Copy, Debug)]
pub struct FeedRecord<'a> {
    /// Whose it is.
    pub session: RecordId,
    /// The subscription.
    pub subscription: RecordId,
    /// The last topic that was sent; empty if nothing was.
    pub after: &'a str,
}

/// A message.
#[derive(Debug)]
pub struct MessageRecord<'a> {
    /// The message.
    pub parts: Parts<'a>,
    /// Whether it was its topic's retained message when it was put.
    pub is_retained: bool,
    /// To whom it was due then.
    pub receivers: Vec<Receiver>,
}

/// One session's claim to a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receiver {
    /// The number of the session's record.
    pub session: u64,
    /// The QoS of the delivery.
    pub qos: Qos,
    /// Whether it goes out with RETAIN 1.
    pub retain: bool,
    /// The subscription identifiers that go out with it.
    pub subscription_ids: Vec<u32>,
    /// The shared subscription by which it came.
    pub share: Option<Arc<str>>,
}

/// A will.
#[derive(Clone, Copy, Debug)]
pub struct WillRecord<'a> {
    /// The session that outlives the connection, if it does.
    pub session: Option<RecordId>,
    /// Whose it is.
    pub client_id: &'a str,
    /// The user name of that client.
    pub user_name: Option<&'a str>,
    /// Seconds between the end of the connection and publication.
    pub delay_s: u32,
    /// Seconds after which the message is no longer of use.
    pub expiry_s: Option<u32>,
    /// When it is to be published; none while the client is connected.
    pub due_at: Option<Now>,
    /// The topic to publish to.
    pub topic: &'a str,
    /// The properties of the message.
    pub properties: Properties<'a>,
    /// The payload.
    pub payload: &'a [u8],
    /// The QoS.
    pub qos: Qos,
    /// Whether it is to be retained.
    pub retain: bool,
}

/// How far a delivery has come, as noted at its reference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// It waits.
    Queued,
    /// It was sent under this packet id.
    Sent(PacketId),
    /// QoS 2, and the client has taken it over: only PUBREL is still due.
    Released(PacketId),
}

impl Progress {
    /// The note that says so.
    pub fn note(self) -> u32 {
        match self {
            Self::Queued => 0,
            Self::Sent(id) => SENT | u32::from(id.get()),
            Self::Released(id) => RELEASED | u32::from(id.get()),
        }
    }

    /// What a note says.
    pub fn from_note(note: u32) -> Option<Self> {
        let id = PacketId::new(note as u16);
        match (note & !0xffff, id) {
            (0, None) => Some(Self::Queued),
            (SENT, Some(id)) => Some(Self::Sent(id)),
            (RELEASED, Some(id)) => Some(Self::Released(id)),
            _ => None,
        }
    }
}

impl<'a> Record<'a> {
    /// Reads a body.
    pub fn decode(body: &'a [u8]) -> Result<Self, Damaged> {
        let mut reader = Reader(body);
        let record = match reader.u8()? {
            NODE => Self::Node { seed: reader.u64()? },
            SESSION => Self::Session(reader.session()?),
            SUBSCRIPTION => Self::Subscription(SubscriptionRecord {
                session: reader.id()?,
                options: options(reader.u8()?)?,
                id: reader.subscription_id()?,
                filter: reader.filter()?,
            }),
            MESSAGE => Self::Message(reader.message()?),
            RECEIVED => Self::Received {
                session: reader.id()?,
                packet_id: PacketId::new(reader.u32()?.try_into().map_err(|_| Damaged)?).ok_or(Damaged)?,
            },
            WILL => Self::Will(reader.will()?),
            FEED => Self::Feed(FeedRecord {
                session: reader.id()?,
                subscription: reader.id()?,
                after: reader.rest_as_text()?,
            }),
            _ => return Err(Damaged),
        };
        match (&record, reader.0) {
            (Self::Node { .. } | Self::Received { .. }, [_, ..]) => Err(Damaged),
            _ => Ok(record),
        }
    }
}

/// Appends the record of a store's own facts.
pub fn write_node(out: &mut Vec<u8>, seed: u64) {
    out.push(NODE);
    out.extend_from_slice(&seed.to_le_bytes());
}

/// Appends the record of a session.
pub fn write_session(out: &mut Vec<u8>, session: &SessionRecord<'_>) {
    let version = session.version.level() | flag(session.user_name.is_some(), IS_NAMED);
    out.extend_from_slice(&[SESSION, version]);
    write_varint(out, session.expiry_s.into());
    write_moment(out, session.since);
    if let Some(user_name) = session.user_name {
        write_bytes(out, user_name.as_bytes());
    }
    out.extend_from_slice(session.client_id.as_bytes());
}

/// Appends the record of a subscription.
pub fn write_subscription(out: &mut Vec<u8>, subscription: &SubscriptionRecord<'_>) {
    out.push(SUBSCRIPTION);
    write_varint(out, subscription.session.get());
    out.push(options_byte(subscription.options));
    write_varint(out, subscription.id.map_or(0, NonZeroU32::get).into());
    out.extend_from_slice(subscription.filter.as_bytes());
}

/// Appends the record of a message that is due to `receivers`.
pub fn write_message(out: &mut Vec<u8>, parts: &Parts<'_>, is_retained: bool, receivers: &[Receiver]) {
    let Parts { publisher, expires_at, kept_until, .. } = *parts;
    let flags = parts.qos as u8
        | flag(parts.retain, RETAIN)
        | flag(is_retained, IS_RETAINED)
        | flag(publisher.is_some(), HAS_PUBLISHER)
        | flag(expires_at.is_some(), HAS_EXPIRY)
        | flag(kept_until.is_some(), HAS_KEPT_UNTIL);
    out.extend_from_slice(&[MESSAGE, flags]);
    if let Some(publisher) = publisher {
        out.extend_from_slice(&publisher.hash().to_le_bytes());
    }
    for moment in [expires_at, kept_until].into_iter().flatten() {
        write_varint(out, moment.as_millis());
    }
    write_bytes(out, parts.topic.as_bytes());
    write_bytes(out, parts.properties.raw());
    write_varint(out, receivers.len() as u64);
    for receiver in receivers {
        write_receiver(out, receiver);
    }
    out.extend_from_slice(parts.payload);
}

fn write_receiver(out: &mut Vec<u8>, receiver: &Receiver) {
    write_varint(out, receiver.session);
    let ids = &receiver.subscription_ids;
    let flags = receiver.qos as u8
        | flag(receiver.retain, RETAIN)
        | flag(!ids.is_empty(), HAS_IDS)
        | flag(receiver.share.is_some(), HAS_SHARE);
    out.push(flags);
    if !ids.is_empty() {
        write_varint(out, ids.len() as u64);
        ids.iter().for_each(|id| write_varint(out, (*id).into()));
    }
    if let Some(share) = &receiver.share {
        write_bytes(out, share.as_bytes());
    }
}

/// Appends the record of an open packet id.
pub fn write_received(out: &mut Vec<u8>, session: RecordId, packet_id: PacketId) {
    out.push(RECEIVED);
    write_varint(out, session.get());
    write_varint(out, packet_id.get().into());
}

/// Appends the record of a will.
pub fn write_will(out: &mut Vec<u8>, will: &WillRecord<'_>) {
    let flags = will.qos as u8
        | flag(will.retain, RETAIN)
        | flag(will.expiry_s.is_some(), HAS_EXPIRY)
        | flag(will.user_name.is_some(), IS_NAMED);
    out.extend_from_slice(&[WILL, flags]);
    write_varint(out, will.session.map_or(0, RecordId::get));
    write_bytes(out, will.client_id.as_bytes());
    if let Some(user_name) = will.user_name {
        write_bytes(out, user_name.as_bytes());
    }
    write_varint(out, will.delay_s.into());
    if let Some(expiry_s) = will.expiry_s {
        write_varint(out, expiry_s.into());
    }
    write_moment(out, will.due_at);
    write_bytes(out, will.topic.as_bytes());
    write_bytes(out, will.properties.raw());
    out.extend_from_slice(will.payload);
}

/// Appends the record of a feed.
pub fn write_feed(out: &mut Vec<u8>, feed: &FeedRecord<'_>) {
    out.push(FEED);
    write_varint(out, feed.session.get());
    write_varint(out, feed.subscription.get());
    out.extend_from_slice(feed.after.as_bytes());
}

/// What a record says, in a line for a person. Payloads are not shown, only how long they are.
pub fn describe(body: &[u8]) -> String {
    match Record::decode(body) {
        Ok(record) => record.to_string(),
        Err(Damaged) => format!("no record that this version knows, {} bytes", body.len()),
    }
}

impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { .. } => f.write_str("node"),
            Self::Session(SessionRecord { client_id, user_name, version, expiry_s, since }) => {
                write!(f, "session of {client_id:?}")?;
                if let Some(user_name) = user_name {
                    write!(f, ", user {user_name:?}")?;
                }
                write!(f, ", MQTT {version}, expiry {expiry_s} s")?;
                match since {
                    Some(at) => write!(f, ", left at {} ms", at.as_millis()),
                    None => f.write_str(", connected"),
                }
            }
            Self::Subscription(SubscriptionRecord { session, options, id, filter }) => {
                write!(f, "subscription of {session:?} to {filter:?}, QoS {}", options.qos as u8)?;
                id.map_or(Ok(()), |id| write!(f, ", identifier {id}"))
            }
            Self::Message(MessageRecord { parts, is_retained, receivers }) => {
                let (topic, qos, len) = (parts.topic, parts.qos as u8, parts.payload.len());
                write!(f, "message on {topic:?}, QoS {qos}, {len} bytes")?;
                if *is_retained {
                    f.write_str(", retained")?;
                }
                for (at, receiver) in receivers.iter().take(RECEIVERS_SHOWN).enumerate() {
                    let lead = if at == 0 { ", for" } else { "," };
                    write!(f, "{lead} #{} at QoS {}", receiver.session, receiver.qos as u8)?;
                }
                match receivers.len().checked_sub(RECEIVERS_SHOWN) {
                    None | Some(0) => Ok(()),
                    Some(more) => write!(f, " and {more} more"),
                }
            }
            Self::Received { session, packet_id } => {
                write!(f, "QoS 2 packet id {} received by {session:?}", packet_id.get())
            }
            Self::Will(will) => {
                let WillRecord { client_id, topic, delay_s, payload, .. } = will;
                write!(f, "will of {client_id:?} on {topic:?}, delay {delay_s} s, {} bytes", payload.len())?;
                will.due_at.map_or(Ok(()), |at| write!(f, ", due at {} ms", at.as_millis()))
            }
            Self::Feed(FeedRecord { session, subscription, after }) => {
                write!(
                    f,
                    "retained messages for subscription {subscription:?} of {session:?}, after {after:?}"
                )
            }
        }
    }
}

/// What is left of a body.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn message(&mut self) -> Result<MessageRecord<'a>, Damaged> {
        let flags = self.u8()?;
        let publisher = match flags & HAS_PUBLISHER {
            0 => None,
            _ => Some(Publisher::from_hash(self.u64()?).ok_or(Damaged)?),
        };
        let expires_at = self.moment_if(flags & HAS_EXPIRY)?;
        let kept_until = self.moment_if(flags & HAS_KEPT_UNTIL)?;
        let topic = self.topic()?;
        let properties = self.properties()?;
        let count = self.u32()?;
        // As many as there are, whatever the count says: each takes a byte or more.
        let mut receivers = Vec::with_capacity(self.0.len().min(count as usize));
        for _ in 0..count {
            receivers.push(self.receiver()?);
        }
        let parts = Parts {
            topic,
            properties,
            payload: self.0,
            qos: qos(flags)?,
            retain: flags & RETAIN != 0,
            publisher,
            received_at: Now::default(),
            expires_at,
            kept_until,
            record: None,
        };
        Ok(MessageRecord { parts, is_retained: flags & IS_RETAINED != 0, receivers })
    }

    fn receiver(&mut self) -> Result<Receiver, Damaged> {
        let session = read_varint(&mut self.0)?;
        let flags = self.u8()?;
        let mut subscription_ids = Vec::new();
        if flags & HAS_IDS != 0 {
            for _ in 0..self.u32()? {
                subscription_ids.push(self.subscription_id()?.ok_or(Damaged)?.get());
            }
        }
        let share = if flags & HAS_SHARE == 0 { None } else { Some(self.text()?.into()) };
        Ok(Receiver { session, qos: qos(flags)?, retain: flags & RETAIN != 0, subscription_ids, share })
    }

    fn session(&mut self) -> Result<SessionRecord<'a>, Damaged> {
        let version = self.u8()?;
        Ok(SessionRecord {
            version: Version::from_level(version & !IS_NAMED).ok_or(Damaged)?,
            expiry_s: self.u32()?,
            since: self.moment()?,
            user_name: if version & IS_NAMED == 0 { None } else { Some(self.text()?) },
            client_id: self.rest_as_text()?,
        })
    }

    fn will(&mut self) -> Result<WillRecord<'a>, Damaged> {
        let flags = self.u8()?;
        Ok(WillRecord {
            session: RecordId::new(read_varint(&mut self.0)?),
            client_id: self.text()?,
            user_name: if flags & IS_NAMED == 0 { None } else { Some(self.text()?) },
            delay_s: self.u32()?,
            expiry_s: if flags & HAS_EXPIRY == 0 { None } else { Some(self.u32()?) },
            due_at: self.moment()?,
            topic: self.topic()?,
            properties: self.properties()?,
            payload: std::mem::take(&mut self.0),
            qos: qos(flags)?,
            retain: flags & RETAIN != 0,
        })
    }

    fn u8(&mut self) -> Result<u8, Damaged> {
        let (&byte, rest) = self.0.split_first().ok_or(Damaged)?;
        self.0 = rest;
        Ok(byte)
    }

    fn u64(&mut self) -> Result<u64, Damaged> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Damaged)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    fn u32(&mut self) -> Result<u32, Damaged> {
        read_varint(&mut self.0)?.try_into().map_err(|_| Damaged)
    }

    fn id(&mut self) -> Result<RecordId, Damaged> {
        RecordId::new(read_varint(&mut self.0)?).ok_or(Damaged)
    }

    /// A subscription identifier, 0 for none. A larger one would not fit into a packet.
    fn subscription_id(&mut self) -> Result<Option<NonZeroU32>, Damaged> {
        let id = self.u32()?;
        if id > SUBSCRIPTION_ID_MAX { Err(Damaged) } else { Ok(NonZeroU32::new(id)) }
    }

    fn moment(&mut self) -> Result<Option<Now>, Damaged> {
        Ok(read_varint(&mut self.0)?.checked_sub(1).map(Now::from_millis))
    }

    fn moment_if(&mut self, flag: u8) -> Result<Option<Now>, Damaged> {
        if flag == 0 { Ok(None) } else { Ok(Some(Now::from_millis(read_varint(&mut self.0)?))) }
    }

    fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let len = usize::try_from(read_varint(&mut self.0)?).map_err(|_| Damaged)?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Damaged)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn text(&mut self) -> Result<&'a str, Damaged> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Damaged)
    }

    fn rest_as_text(&mut self) -> Result<&'a str, Damaged> {
        std::str::from_utf8(std::mem::take(&mut self.0)).map_err(|_| Damaged)
    }

    fn filter(&mut self) -> Result<&'a str, Damaged> {
        let text = self.rest_as_text()?;
        TopicFilter::parse(text).map(|_| text).map_err(|_| Damaged)
    }

    fn topic(&mut self) -> Result<&'a str, Damaged> {
        let text = self.text()?;
        TopicName::parse(text).map(|_| text).map_err(|_| Damaged)
    }

    fn properties(&mut self) -> Result<Properties<'a>, Damaged> {
        Properties::of_message(self.bytes()?).map_err(|_| Damaged)
    }
}

fn options_byte(options: SubscriptionOptions) -> u8 {
    options.qos as u8
        | flag(options.no_local, NO_LOCAL)
        | flag(options.retain_as_published, RETAIN_AS_PUBLISHED)
        | (options.retain_handling as u8) << RETAIN_HANDLING_SHIFT
}

fn options(byte: u8) -> Result<SubscriptionOptions, Damaged> {
    Ok(SubscriptionOptions {
        qos: qos(byte)?,
        no_local: byte & NO_LOCAL != 0,
        retain_as_published: byte & RETAIN_AS_PUBLISHED != 0,
        retain_handling: match byte >> RETAIN_HANDLING_SHIFT {
            0 => RetainHandling::SendAtSubscribe,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return Err(Damaged),
        },
    })
}

fn qos(flags: u8) -> Result<Qos, Damaged> {
    Qos::from_u8(flags & 3).ok_or(Damaged)
}

fn flag(is_set: bool, flag: u8) -> u8 {
    if is_set { flag } else { 0 }
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    write_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn write_moment(out: &mut Vec<u8>, moment: Option<Now>) {
    write_varint(out, moment.map_or(0, |at| at.as_millis().saturating_add(1)));
}

/// The reference of a record that its topic's retained message holds.
pub const RETAINED: u32 = 0;

const NODE: u8 = 1;
const SESSION: u8 = 2;
const SUBSCRIPTION: u8 = 3;
const MESSAGE: u8 = 4;
const RECEIVED: u8 = 5;
const WILL: u8 = 6;
const FEED: u8 = 7;

const RETAIN: u8 = 0b0000_0100;
const IS_RETAINED: u8 = 0b0000_1000;
const HAS_PUBLISHER: u8 = 0b0001_0000;
const HAS_EXPIRY: u8 = 0b0010_0000;
const HAS_KEPT_UNTIL: u8 = 0b0100_0000;
/// In a session's version and a will's flags.
const IS_NAMED: u8 = 0b1000_0000;
const HAS_IDS: u8 = 0b0000_1000;
const HAS_SHARE: u8 = 0b0001_0000;

/// The largest that four bytes of 7 bits hold. [MQTT5 1.5.5-1]
const SUBSCRIPTION_ID_MAX: u32 = 268_435_455;

const NO_LOCAL: u8 = 0b0000_0100;
const RETAIN_AS_PUBLISHED: u8 = 0b0000_1000;
const RETAIN_HANDLING_SHIFT: u32 = 4;

/// Receivers that a description names.
const RECEIVERS_SHOWN: usize = 8;

const SENT: u32 = 1 << 16;
const RELEASED: u32 = 2 << 16;

#[cfg(test)]
mod tests;
