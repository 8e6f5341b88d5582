//! Entries as bytes, so that a quiet client's story is some tens of them.
//!
//! ```text
//! len u8 | tag u8 | at u48 | [count varint | until - at varint] | what
//!          0x80 is set where count and until follow
//! ```
//!
//! These bytes never leave the process: nothing has to read those of another version.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use siskin_proto::{Qos, Reason, Version};

use super::entry::{Closed, ClosedKind, Entry, What};
use super::origin::Origin;
use crate::access::Access;
use crate::event::{Dropped, Ended};
use crate::time::Now;

/// What an entry is about, as its bytes say without being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tag(u8);

impl Tag {
    pub(super) const FORGOTTEN: Self = Self(0);
    pub(super) const CONNECTED: Self = Self(1);
    pub(super) const DISCONNECTED: Self = Self(2);
    pub(super) const REFUSED: Self = Self(3);
    pub(super) const SUBSCRIBED: Self = Self(4);
    pub(super) const UNSUBSCRIBED: Self = Self(5);
    pub(super) const DROPPED: Self = Self(6);
    pub(super) const SAFE_LATE: Self = Self(7);
    pub(super) const ACKNOWLEDGED_LATE: Self = Self(8);
    const WILL_PUBLISHED: Self = Self(9);
    const WILL_WITHDRAWN: Self = Self(10);
    const SESSION_ENDED: Self = Self(11);
    const RESTORED: Self = Self(12);
    pub(super) const DENIED: Self = Self(13);

    pub(super) fn of(what: &What<'_>) -> Self {
        match what {
            What::Forgotten => Self::FORGOTTEN,
            What::Connected { .. } => Self::CONNECTED,
            What::Disconnected(_) => Self::DISCONNECTED,
            What::Refused { .. } => Self::REFUSED,
            What::Subscribed { .. } => Self::SUBSCRIBED,
            What::Unsubscribed { .. } => Self::UNSUBSCRIBED,
            What::Dropped { .. } => Self::DROPPED,
            What::SafeLate { .. } => Self::SAFE_LATE,
            What::AcknowledgedLate { .. } => Self::ACKNOWLEDGED_LATE,
            What::WillPublished { .. } => Self::WILL_PUBLISHED,
            What::WillWithdrawn => Self::WILL_WITHDRAWN,
            What::SessionEnded { .. } => Self::SESSION_ENDED,
            What::Restored { .. } => Self::RESTORED,
            What::Denied { .. } => Self::DENIED,
        }
    }
}

/// Appends `entry`, in no more than 250 bytes.
pub(super) fn encode(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    let is_many = entry.count != 1 || entry.until != entry.at;
    out.push(0);
    out.push(Tag::of(&entry.what).0 | if is_many { MANY } else { 0 });
    out.extend_from_slice(&entry.at.as_millis().to_be_bytes()[2..]);
    if is_many {
        put_number(out, entry.count);
        put_number(out, entry.until.ms_since(entry.at));
    }
    encode_what(&entry.what, out);
    debug_assert!(out.len() - start <= ENTRY_BYTES_MAX, "a length is one byte");
    out[start] = (out.len() - start) as u8;
}

fn encode_what(what: &What<'_>, out: &mut Vec<u8>) {
    match what {
        What::Forgotten | What::WillWithdrawn => {}
        What::Connected {
            origin,
            version,
            clean_start,
            session_present,
            keep_alive_asked_s,
            keep_alive_s,
            expiry_s,
            receive_maximum,
            waiting,
            took_over,
        } => {
            put_origin(out, *origin);
            let flags = [*clean_start, *session_present, took_over.is_some()];
            out.push(version.level() << 3 | flags.iter().fold(0, |bits, flag| bits << 1 | u8::from(*flag)));
            for number in [keep_alive_asked_s, keep_alive_s, receive_maximum] {
                put_number(out, (*number).into());
            }
            put_number(out, (*expiry_s).into());
            put_number(out, (*waiting).into());
            if let Some(origin) = took_over {
                put_origin(out, *origin);
            }
        }
        What::Refused { origin, why } => {
            put_origin(out, *origin);
            put_text(out, why);
        }
        What::Disconnected(closed) => {
            out.push(closed.kind as u8);
            out.push(closed.reason.map_or(NO_REASON, |reason| reason as u8));
            put_origin(out, closed.by_origin.unwrap_or(Origin::Unknown));
            let is_plain = closed.kind.words() == Some(&*closed.why);
            put_text(out, if is_plain { "" } else { &closed.why });
        }
        What::Subscribed { filter, asked, answer } => {
            out.extend_from_slice(&[*asked as u8, *answer as u8]);
            put_text(out, filter);
        }
        What::Unsubscribed { filter, existed } => {
            out.push((*existed).into());
            put_text(out, filter);
        }
        What::Denied { verb, topic, because } => {
            out.push(Access::VERBS.iter().position(|other| other == verb).unwrap_or_default() as u8);
            put_text(out, topic);
            put_text(out, because);
        }
        What::Dropped { topic, why } => {
            out.push(*why as u8);
            put_text(out, topic);
        }
        What::SafeLate { ms_max } | What::AcknowledgedLate { ms_max } => put_number(out, *ms_max),
        What::WillPublished { topic, receivers } => {
            put_number(out, (*receivers).into());
            put_text(out, topic);
        }
        What::SessionEnded { why, lost } => {
            out.push(matches!(why, Ended::CleanStart).into());
            put_number(out, (*lost).into());
        }
        What::Restored { waiting } => put_number(out, (*waiting).into()),
    }
}

/// The entries in `bytes`, each with its own bytes.
pub(super) fn entries(mut bytes: &[u8]) -> impl Iterator<Item = (Tag, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(*bytes.first()?);
        let (entry, rest) = bytes.split_at_checked(len)?;
        bytes = rest;
        Some((Tag(entry.get(1)? & !MANY), entry))
    })
}

/// Reads one entry's bytes. None if they are not what [`encode`] makes.
pub(super) fn decode(bytes: &[u8]) -> Option<Entry<'static>> {
    let (Head { tag, at, until, count }, mut reader) = decode_head(bytes)?;
    Some(Entry { at, until, count, what: decode_what(tag, &mut reader)? })
}

/// How often an entry's event happened, and when.
pub(super) fn head(bytes: &[u8]) -> Option<Head> {
    decode_head(bytes).map(|(head, _)| head)
}

/// An entry without what happened.
pub(super) struct Head {
    tag: Tag,
    pub(super) at: Now,
    pub(super) until: Now,
    pub(super) count: u64,
}

fn decode_head(bytes: &[u8]) -> Option<(Head, Reader<'_>)> {
    let mut reader = Reader(bytes.get(1..)?);
    let tag = reader.byte()?;
    let mut at = [0; 8];
    at[2..].copy_from_slice(reader.take(6)?);
    let at = u64::from_be_bytes(at);
    let (count, lasted) = if tag & MANY != 0 { (reader.number()?, reader.number()?) } else { (1, 0) };
    let (at, until) = (Now::from_millis(at), Now::from_millis(at + lasted));
    Some((Head { tag: Tag(tag & !MANY), at, until, count }, reader))
}

fn decode_what(tag: Tag, reader: &mut Reader<'_>) -> Option<What<'static>> {
    Some(match tag {
        Tag::FORGOTTEN => What::Forgotten,
        Tag::CONNECTED => {
            let (origin, flags) = (reader.origin()?, reader.byte()?);
            let short = |reader: &mut Reader<'_>| reader.number().map(|number| number as u16);
            let (keep_alive_asked_s, keep_alive_s) = (short(reader)?, short(reader)?);
            What::Connected {
                origin,
                version: Version::from_level(flags >> 3)?,
                clean_start: flags & 4 != 0,
                session_present: flags & 2 != 0,
                keep_alive_asked_s,
                keep_alive_s,
                receive_maximum: short(reader)?,
                expiry_s: reader.number()? as u32,
                waiting: reader.number()? as u32,
                took_over: if flags & 1 != 0 { Some(reader.origin()?) } else { None },
            }
        }
        Tag::REFUSED => What::Refused { origin: reader.origin()?, why: reader.text()? },
        Tag::DISCONNECTED => {
            let kind = *ClosedKind::ALL.get(usize::from(reader.byte()?))?;
            let reason = Reason::from_u8(reader.byte()?);
            let origin = reader.origin()?;
            let by_origin = (kind == ClosedKind::TakenOver).then_some(origin);
            let why = match (reader.text()?, kind.words()) {
                (text, Some(words)) if text.is_empty() => words.into(),
                (text, _) => text,
            };
            What::Disconnected(Closed { kind, reason, by_origin, why })
        }
        Tag::SUBSCRIBED => {
            let (asked, answer) = (Qos::from_u8(reader.byte()?)?, Reason::from_u8(reader.byte()?)?);
            What::Subscribed { filter: reader.text()?, asked, answer }
        }
        Tag::UNSUBSCRIBED => {
            let existed = reader.byte()? != 0;
            What::Unsubscribed { filter: reader.text()?, existed }
        }
        Tag::DENIED => {
            let verb = Access::VERBS.get(usize::from(reader.byte()?))?;
            What::Denied { verb, topic: reader.text()?, because: reader.text()? }
        }
        Tag::DROPPED => {
            let why = *Dropped::ALL.get(usize::from(reader.byte()?))?;
            What::Dropped { topic: reader.text()?, why }
        }
        Tag::SAFE_LATE => What::SafeLate { ms_max: reader.number()? },
        Tag::ACKNOWLEDGED_LATE => What::AcknowledgedLate { ms_max: reader.number()? },
        Tag::WILL_PUBLISHED => {
            let receivers = reader.number()? as u32;
            What::WillPublished { topic: reader.text()?, receivers }
        }
        Tag::WILL_WITHDRAWN => What::WillWithdrawn,
        Tag::SESSION_ENDED => {
            let why = if reader.byte()? != 0 { Ended::CleanStart } else { Ended::Expired };
            What::SessionEnded { why, lost: reader.number()? as u32 }
        }
        Tag::RESTORED => What::Restored { waiting: reader.number()? as u32 },
        _ => return None,
    })
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let cut = cut(text, TEXT_BYTES_MAX);
    let end = if cut.len() < text.len() { "…" } else { "" };
    out.push((cut.len() + end.len()) as u8);
    out.extend_from_slice(cut.as_bytes());
    out.extend_from_slice(end.as_bytes());
}

/// As many whole characters of `text` as lie within `bytes_max`.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

fn put_origin(out: &mut Vec<u8>, origin: Origin) {
    match origin {
        Origin::Unknown => out.push(0),
        Origin::Local => out.push(1),
        Origin::Address(ip, port) => {
            match ip {
                IpAddr::V4(ip) => {
                    out.push(4);
                    out.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    out.push(6);
                    out.extend_from_slice(&ip.octets());
                }
            }
            out.extend_from_slice(&port.to_be_bytes());
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<Cow<'static, str>> {
        let len = usize::from(self.byte()?);
        let text = std::str::from_utf8(self.take(len)?).ok()?;
        Some(text.to_owned().into())
    }

    fn origin(&mut self) -> Option<Origin> {
        let ip = match self.byte()? {
            0 => return Some(Origin::Unknown),
            1 => return Some(Origin::Local),
            4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(self.take(4)?).ok()?)),
            6 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(self.take(16)?).ok()?)),
            _ => return None,
        };
        let port = self.take(2)?;
        Some(Origin::Address(ip, u16::from_be_bytes([port[0], port[1]])))
    }
}

/// Set in a tag where count and end follow.
const MANY: u8 = 0x80;

/// Stands for no reason code: none has this number.
const NO_REASON: u8 = 0xFF;

/// Bytes of a text that are kept.
const TEXT_BYTES_MAX: usize = 100;

/// Bytes of the longest entry: two texts and numbers, or one with two addresses.
const ENTRY_BYTES_MAX: usize = 250;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cause::Cause;

    fn at(ms: u64) -> Now {
        Now::from_millis(ms)
    }

    fn samples() -> Vec<What<'static>> {
        let v4 = Origin::Address("10.0.0.7".parse().unwrap(), 51812);
        let v6 = Origin::Address("2001:db8::7".parse().unwrap(), 65535);
        let connected = |took_over, version, number: u32| What::Connected {
            origin: v6,
            version,
            clean_start: took_over == Some(v4),
            session_present: took_over != Some(v4),
            keep_alive_asked_s: number as u16,
            keep_alive_s: (number / 2) as u16,
            expiry_s: number,
            receive_maximum: number as u16,
            waiting: number,
            took_over,
        };
        let mut all = vec![
            What::Forgotten,
            connected(None, Version::V3_1, 0),
            connected(Some(v4), Version::V5, u32::MAX),
            connected(Some(Origin::Unknown), Version::V3_1_1, 127),
            What::Refused { origin: Origin::Local, why: "Not authorized (0x87)".into() },
            What::Subscribed { filter: "a/#".into(), asked: Qos::ExactlyOnce, answer: Reason::GrantedQos2 },
            What::Unsubscribed { filter: "ä".into(), existed: true },
            What::Denied {
                verb: "publish to",
                topic: "t".repeat(100).into(),
                because: "b".repeat(100).into(),
            },
            What::Denied { verb: "subscribe to", topic: "".into(), because: "rule".into() },
            What::SafeLate { ms_max: u64::MAX },
            What::AcknowledgedLate { ms_max: 0 },
            What::WillPublished { topic: "will".into(), receivers: 3 },
            What::WillWithdrawn,
            What::SessionEnded { why: Ended::CleanStart, lost: 7 },
            What::SessionEnded { why: Ended::Expired, lost: 0 },
            What::Restored { waiting: 300 },
        ];
        all.extend(Dropped::ALL.map(|why| What::Dropped { topic: "t".into(), why }));
        let causes = [
            Cause::ClientDisconnect(Reason::DisconnectWithWill),
            Cause::ClientDisconnect(Reason::Success),
            Cause::ConnectionLost,
            Cause::Io(std::io::ErrorKind::ConnectionReset),
            Cause::KeepAlive { allowed_ms: 90_000 },
            Cause::Violation(crate::cause::Violation::SecondConnect),
            Cause::Refused(Reason::PacketTooLarge),
            Cause::ConnectTimeout,
            Cause::SlowReader,
            Cause::TooManyConnections,
            Cause::NotSafe(crate::store::Health::Full),
            Cause::Shutdown,
            Cause::Administrative,
            Cause::Banned,
        ];
        all.extend(causes.iter().map(|cause| What::Disconnected(Closed::new(cause, None))));
        all.push(What::Disconnected(Closed::new(&Cause::TakenOver, Some(v4))));
        all
    }

    #[test]
    fn every_entry_comes_back_as_it_was() {
        for what in samples() {
            for (until, count) in [(5, 1), (1_700_000_000_000, 4312), (5, 2)] {
                let entry = Entry { at: at(5), until: at(until), count, what: what.clone() };
                let mut bytes = Vec::new();
                encode(&entry, &mut bytes);
                assert!(bytes.len() <= ENTRY_BYTES_MAX, "{} bytes: {entry:?}", bytes.len());
                assert_eq!(decode(&bytes).as_ref(), Some(&entry));
                assert_eq!(entries(&bytes).map(|(tag, _)| tag).collect::<Vec<_>>(), [Tag::of(&what)]);
            }
        }
    }

    #[test]
    fn an_entry_cut_off_anywhere_is_none() {
        for what in samples() {
            let mut bytes = Vec::new();
            encode(&Entry { at: at(1), until: at(900), count: 300, what }, &mut bytes);
            for len in 0..bytes.len() {
                assert_eq!(decode(&bytes[..len]), None);
            }
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let filter = "é".repeat(40_000);
        let mut bytes = Vec::new();
        let what = What::Unsubscribed { filter: filter.into(), existed: false };
        encode(&Entry::new(at(0), what), &mut bytes);
        assert!(bytes.len() <= ENTRY_BYTES_MAX);
        let expected = format!("{}…", "é".repeat(50));
        let what = What::Unsubscribed { filter: expected.into(), existed: false };
        assert_eq!(decode(&bytes).map(|entry| entry.what), Some(what));
    }

    #[test]
    fn a_usual_connection_is_some_thirty_bytes() {
        let mut bytes = Vec::new();
        let what = What::Connected {
            origin: Origin::Address("10.0.0.7".parse().unwrap(), 51812),
            version: Version::V5,
            clean_start: true,
            session_present: false,
            keep_alive_asked_s: 60,
            keep_alive_s: 60,
            expiry_s: 0,
            receive_maximum: 1000,
            waiting: 0,
            took_over: None,
        };
        encode(&Entry::new(at(1_800_000_000_000), what), &mut bytes);
        assert_eq!(bytes.len(), 22);
    }
}
