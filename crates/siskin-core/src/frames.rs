//! A message encoded once for all its receivers of a kind.

use bytes::Bytes;
use siskin_proto::{PacketId, PropertiesBuf, Property, Publish, Qos, TopicName, Version};

use crate::message::{Message, PAYLOAD_INLINE_MAX, Parts};
use crate::time::Now;
use crate::trace::TraceId;

/// A message on its way through one turn: borrowed until somebody must keep it.
pub(crate) struct Offered<'a> {
    pub(crate) parts: Parts<'a>,
    source: Source<'a>,
    kept: Option<Message>,
    /// Its number, if it is followed.
    pub(crate) trace: Option<TraceId>,
}

/// Where a message is from, if that saves work.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Source<'a> {
    #[default]
    Unknown,
    /// Shared bytes, among which is its payload.
    Bytes(&'a Bytes),
    /// A PUBLISH of which whoever speaks the same version may have the same variable header.
    Packet { variable_header: &'a [u8], is_v5: bool, has_packet_id: bool },
}

impl<'a> Source<'a> {
    fn bytes(self) -> Option<&'a Bytes> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Unknown | Self::Packet { .. } => None,
        }
    }
}

impl<'a> Offered<'a> {
    /// A message that lies in a read buffer.
    pub(crate) fn borrowed(parts: Parts<'a>, source: Source<'a>) -> Self {
        Self { parts, source, kept: None, trace: None }
    }

    /// A message that is kept already.
    pub(crate) fn kept(message: &'a Message) -> Self {
        let trace = message.trace();
        Self { parts: message.parts(), source: Source::Unknown, kept: Some(message.clone()), trace }
    }

    /// The message as a value that outlives the turn, made once.
    pub(crate) fn keep(&mut self) -> &Message {
        let Self { parts, source, kept, trace } = self;
        kept.get_or_insert_with(|| Message::traced(*parts, source.bytes(), *trace))
    }

    /// The message as it is to be retained: with the broker's own time limit, beside that of its publisher.
    pub(crate) fn keep_retained(&mut self, retained_expiry_s: u32, now: Now) -> Message {
        if retained_expiry_s == 0 {
            return self.keep().clone();
        }
        // Not the message that is delivered now: a queue keeps that for as long as it likes.
        let parts = Parts { kept_until: Some(now.plus_s(retained_expiry_s)), ..self.parts };
        Message::traced(parts, self.source.bytes(), self.trace)
    }

    pub(crate) fn large_payload(&mut self) -> Option<Bytes> {
        if self.parts.payload.len() <= PAYLOAD_INLINE_MAX {
            return None;
        }
        self.keep().large_payload().cloned()
    }

    /// The variable header that came, if it is right for `cover`, which has no subscription identifiers.
    #[inline]
    fn variable_header(&self, cover: &Cover<'_>) -> Option<&'a [u8]> {
        match self.source {
            Source::Packet { variable_header, is_v5, has_packet_id } => (is_v5 == cover.version.is_v5()
                && has_packet_id == cover.packet_id.is_some())
            .then_some(variable_header),
            Source::Unknown | Source::Bytes(_) => None,
        }
    }
}

/// What differs between the PUBLISH packets of one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cover<'a> {
    pub(crate) version: Version,
    pub(crate) qos: Qos,
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) subscription_ids: &'a [u32],
}

/// The encoded forms of the message at hand: with and without packet id, for 3.x and 5.0, with RETAIN
/// 0 and 1. Each is made when first asked for.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    bytes: Vec<u8>,
    forms: [Form; 8],
    /// A bit for each form that is made.
    made: u8,
    large: Option<Bytes>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Form {
    start: usize,
    end: usize,
    packet_id_at: usize,
    /// Of the whole packet.
    pub(crate) len: usize,
}

impl Frames {
    /// Another message is at hand.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.made = 0;
        self.large = None;
    }

    /// The form for `cover`, which has no subscription identifiers.
    pub(crate) fn form(&mut self, offered: &mut Offered<'_>, cover: &Cover<'_>, now: Now) -> Form {
        let is_v5 = cover.version.is_v5();
        let place =
            usize::from(is_v5) * 4 + usize::from(cover.retain) * 2 + usize::from(cover.packet_id.is_some());
        if self.made & 1 << place != 0 {
            return self.forms[place];
        }
        if self.large.is_none() {
            self.large = offered.large_payload();
        }
        let start = self.bytes.len();
        match offered.variable_header(cover) {
            Some(header) => {
                Publish::encode_head_of(cover.retain, header, offered.parts.payload.len(), &mut self.bytes);
            }
            None => {
                let plain = Cover { dup: false, ..*cover };
                encode_head(&offered.parts, &plain, Naming::Name, now, &mut self.bytes);
            }
        }
        let header = 1 + self.bytes[start + 1..].iter().take_while(|byte| **byte & 0x80 != 0).count() + 1;
        let mut len = self.bytes.len() - start;
        if self.large.is_none() {
            self.bytes.extend_from_slice(offered.parts.payload);
        }
        len += offered.parts.payload.len();
        let packet_id_at = header + 2 + offered.parts.topic.len();
        let form = Form { start, end: self.bytes.len(), packet_id_at, len };
        self.forms[place] = form;
        self.made |= 1 << place;
        form
    }

    /// Appends `form` for `cover`; the payload to follow it by reference, if that is how it goes.
    pub(crate) fn append(&self, form: &Form, cover: &Cover<'_>, out: &mut Vec<u8>) -> Option<Bytes> {
        let start = out.len();
        out.extend_from_slice(&self.bytes[form.start..form.end]);
        out[start] = out[start] & !0b0000_1110 | u8::from(cover.dup) << 3 | (cover.qos as u8) << 1;
        if let Some(id) = cover.packet_id {
            let at = start + form.packet_id_at;
            out[at..at + 2].copy_from_slice(&id.get().to_be_bytes());
        }
        self.large.clone()
    }
}

/// How a 5.0 PUBLISH names its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    Name,
    NameAndAlias(u16),
    Alias(u16),
}

/// Appends the PUBLISH of `parts` for `cover` up to its payload.
pub(crate) fn encode_head(parts: &Parts<'_>, cover: &Cover<'_>, naming: Naming, now: Now, out: &mut Vec<u8>) {
    let extra = extra_properties(parts, cover, naming, now);
    let publish = publish(parts, cover, naming);
    publish.encode_head(cover.version, extra.as_properties(), parts.payload.len(), out);
}

/// The length of the whole PUBLISH of `parts` for `cover`.
pub(crate) fn encoded_len(parts: &Parts<'_>, cover: &Cover<'_>, naming: Naming, now: Now) -> usize {
    let extra = extra_properties(parts, cover, naming, now);
    publish(parts, cover, naming).encoded_len(cover.version, extra.as_properties().raw().len())
}

fn publish<'a>(parts: &Parts<'a>, cover: &Cover<'_>, naming: Naming) -> Publish<'a> {
    let topic = match naming {
        Naming::Alias(_) => None,
        Naming::Name | Naming::NameAndAlias(_) => Some(TopicName::from_valid(parts.topic)),
    };
    Publish {
        dup: cover.dup,
        qos: cover.qos,
        retain: cover.retain,
        topic,
        packet_id: cover.packet_id,
        properties: parts.properties,
        payload: parts.payload,
    }
}

#[inline]
fn extra_properties(parts: &Parts<'_>, cover: &Cover<'_>, naming: Naming, now: Now) -> PropertiesBuf {
    let has_none = parts.expires_at.is_none() && naming == Naming::Name && cover.subscription_ids.is_empty();
    match has_none || !cover.version.is_v5() {
        true => PropertiesBuf::new(),
        false => some_extra_properties(parts, cover, naming, now),
    }
}

fn some_extra_properties(parts: &Parts<'_>, cover: &Cover<'_>, naming: Naming, now: Now) -> PropertiesBuf {
    let mut extra = PropertiesBuf::new();
    if let Some(at) = parts.expires_at {
        // [MQTT5 3.3.2-6] A message that was sent before it expired may say 0 when sent again.
        extra.push(Property::MessageExpiryInterval(at.ms_since(now).div_ceil(1000) as u32));
    }
    match naming {
        Naming::Name => {}
        Naming::NameAndAlias(alias) | Naming::Alias(alias) => extra.push(Property::TopicAlias(alias)),
    }
    for id in cover.subscription_ids {
        extra.push(Property::SubscriptionIdentifier(*id));
    }
    extra
}
