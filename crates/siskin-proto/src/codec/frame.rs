use super::varint::{self, VARINT_MAX, Varint};
use crate::packet::PacketKind;
use crate::{DecodeError, Malformed, Version, Violation};

/// The longest packet that there can be, header included.
pub const PACKET_SIZE_MAX: u32 = 1 + 4 + VARINT_MAX;

/// The bytes of one whole packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The first byte: packet type and flags.
    pub first: u8,
    /// What follows the remaining length.
    pub body: &'a [u8],
    /// How many bytes the packet takes in the buffer, header included.
    pub len: usize,
}

/// What stands at the front of a read buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameStatus<'a> {
    /// A whole packet; the next one begins [`Frame::len`] bytes on.
    Complete(Frame<'a>),
    /// The beginning of a packet, or nothing.
    Incomplete {
        /// The length of the whole packet, once its header is there.
        len: Option<usize>,
    },
}

/// Finds the packet at the front of `buf`. A packet longer than `packet_size_max` is an error as soon as
/// its header says so; whether there is such a packet type is left to [`decode`](crate::decode).
#[inline]
pub fn frame(buf: &[u8], packet_size_max: u32) -> Result<FrameStatus<'_>, DecodeError> {
    let Some((&first, rest)) = buf.split_first() else {
        return Ok(FrameStatus::Incomplete { len: None });
    };
    let (remaining, varint_len) = match varint::read(rest) {
        Varint::Complete(remaining, varint_len) => (remaining, varint_len),
        Varint::Incomplete => return Ok(FrameStatus::Incomplete { len: None }),
        Varint::Malformed => return Err(Malformed::RemainingLength.into()),
    };
    // At most PACKET_SIZE_MAX, and so within 32 bits.
    let len = 1 + varint_len as u32 + remaining;
    if len > packet_size_max {
        return Err(Violation::PacketTooLarge { len, max: packet_size_max }.into());
    }
    let len = len as usize;
    Ok(match buf.get(1 + varint_len..len) {
        Some(body) => FrameStatus::Complete(Frame { first, body, len }),
        None => FrameStatus::Incomplete { len: Some(len) },
    })
}

impl Frame<'_> {
    /// Which packet this is, if `version` has one of this type.
    #[inline]
    pub fn kind(&self, version: Version) -> Result<PacketKind, DecodeError> {
        match PacketKind::from_u8(self.first >> 4) {
            Some(PacketKind::Auth) | None if !version.is_v5() => {
                Err(Malformed::PacketType(self.first >> 4).into())
            }
            Some(kind) => Ok(kind),
            None => Err(Malformed::PacketType(0).into()),
        }
    }
}
