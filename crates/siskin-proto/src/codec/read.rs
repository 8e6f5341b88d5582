use super::varint::{self, Varint};
use crate::{
    DecodeError, Field, Malformed, PacketId, PacketKind, TopicError, TopicFilter, TopicName, Violation,
};

/// Reads the fields of one packet, front to back.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    packet: PacketKind,
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], packet: PacketKind) -> Self {
        Self { bytes, packet }
    }

    #[inline]
    pub(crate) fn u8(&mut self, field: Field) -> Result<u8, DecodeError> {
        let Some((&byte, rest)) = self.bytes.split_first() else { return Err(self.truncated(field)) };
        self.bytes = rest;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self, field: Field) -> Result<u16, DecodeError> {
        let Some((bytes, rest)) = self.bytes.split_first_chunk() else { return Err(self.truncated(field)) };
        self.bytes = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    #[inline]
    pub(crate) fn u32(&mut self, field: Field) -> Result<u32, DecodeError> {
        let Some((bytes, rest)) = self.bytes.split_first_chunk() else { return Err(self.truncated(field)) };
        self.bytes = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    #[inline]
    pub(crate) fn varint(&mut self, field: Field) -> Result<u32, DecodeError> {
        match varint::read(self.bytes) {
            Varint::Complete(value, len) => {
                self.bytes = &self.bytes[len..];
                Ok(value)
            }
            Varint::Incomplete => Err(self.truncated(field)),
            Varint::Malformed => Err(Malformed::VarInt { packet: self.packet, field }.into()),
        }
    }

    /// The next `len` bytes.
    #[inline]
    pub(crate) fn take(&mut self, len: usize, field: Field) -> Result<&'a [u8], DecodeError> {
        let Some((bytes, rest)) = self.bytes.split_at_checked(len) else { return Err(self.truncated(field)) };
        self.bytes = rest;
        Ok(bytes)
    }

    /// Two bytes of length and as many bytes of data.
    #[inline]
    pub(crate) fn binary(&mut self, field: Field) -> Result<&'a [u8], DecodeError> {
        let len = self.u16(field)?;
        self.take(usize::from(len), field)
    }

    /// A string. A byte order mark in it is a character like others. [MQTT-1.5.3-3] [MQTT5 1.5.4-3]
    #[inline]
    pub(crate) fn string(&mut self, field: Field) -> Result<&'a str, DecodeError> {
        let text = self.utf8(field)?;
        // Without an early end this becomes a few vector instructions for each 16 bytes.
        if text.bytes().fold(false, |found, byte| found | (byte == 0)) {
            return Err(self.nul(field)); // [MQTT-1.5.3-2]
        }
        Ok(text)
    }

    /// A topic name; `None` if the string is empty.
    #[inline]
    pub(crate) fn topic_name(&mut self, field: Field) -> Result<Option<TopicName<'a>>, DecodeError> {
        let text = self.utf8(field)?;
        match TopicName::parse(text) {
            Ok(name) => Ok(Some(name)),
            Err(TopicError::Empty) => Ok(None),
            Err(TopicError::Nul) => Err(self.nul(field)),
            Err(error) => Err(Violation::TopicName { packet: self.packet, error }.into()),
        }
    }

    /// A topic filter.
    #[inline]
    pub(crate) fn topic_filter(&mut self) -> Result<TopicFilter<'a>, DecodeError> {
        let text = self.utf8(Field::TopicFilter)?;
        match TopicFilter::parse(text) {
            Ok(filter) => Ok(filter),
            Err(TopicError::Nul) => Err(self.nul(Field::TopicFilter)),
            Err(error) => Err(Violation::TopicFilter { packet: self.packet, error }.into()),
        }
    }

    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<PacketId, DecodeError> {
        let id = self.u16(Field::PacketId)?;
        // [MQTT-2.3.1-1]
        PacketId::new(id).ok_or(Violation::PacketIdZero { packet: self.packet }.into())
    }

    /// All bytes that are left.
    #[inline]
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.bytes)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    #[inline]
    pub(crate) fn packet(&self) -> PacketKind {
        self.packet
    }

    /// No byte may be left.
    #[inline]
    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() {
            Ok(())
        } else {
            Err(Malformed::TrailingBytes { packet: self.packet }.into())
        }
    }

    /// A string that may yet hold U+0000.
    #[inline]
    fn utf8(&mut self, field: Field) -> Result<&'a str, DecodeError> {
        let bytes = self.binary(field)?;
        // [MQTT-1.5.3-1]
        core::str::from_utf8(bytes).map_err(|_| Malformed::Utf8 { packet: self.packet, field }.into())
    }

    #[cold]
    fn nul(&self, field: Field) -> DecodeError {
        Malformed::Nul { packet: self.packet, field }.into()
    }

    #[cold]
    fn truncated(&self, field: Field) -> DecodeError {
        Malformed::Truncated { packet: self.packet, field }.into()
    }
}
