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
        let number = self.first >> 4;
        match PacketKind::from_u8(number) {
            Some(kind) if kind != PacketKind::Auth || version.is_v5() => Ok(kind),
            _ => Err(Malformed::PacketType(number).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(buf: &[u8]) -> Frame<'_> {
        match frame(buf, PACKET_SIZE_MAX) {
            Ok(FrameStatus::Complete(frame)) => frame,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_packet_ends_where_its_remaining_length_says() {
        let buf = [0xC0, 0, 0x30, 3, 0, 1, b'a', 0xE0];
        let first = whole(&buf);
        assert_eq!((first.first, first.body, first.len), (0xC0, &[][..], 2));
        let second = whole(&buf[first.len..]);
        assert_eq!((second.first, second.body, second.len), (0x30, &[0, 1, b'a'][..], 5));
    }

    #[test]
    fn the_length_of_an_incomplete_packet_is_known_once_its_header_is_there() {
        for buf in [&[][..], &[0x30], &[0x30, 0x80], &[0x30, 0xFF, 0xFF, 0xFF]] {
            assert_eq!(frame(buf, PACKET_SIZE_MAX), Ok(FrameStatus::Incomplete { len: None }));
        }
        for (buf, len) in [(&[0x30, 2][..], 4), (&[0x30, 2, 0], 4), (&[0x30, 0x80, 0x01], 131)] {
            assert_eq!(frame(buf, PACKET_SIZE_MAX), Ok(FrameStatus::Incomplete { len: Some(len) }));
        }
    }

    #[test]
    fn the_largest_packet_of_all_is_incomplete_and_no_overflow() {
        let header = [0x30, 0xFF, 0xFF, 0xFF, 0x7F];
        let len = Some(268_435_460);
        assert_eq!(frame(&header, u32::MAX), Ok(FrameStatus::Incomplete { len }));
        assert_eq!(frame(&header, PACKET_SIZE_MAX), Ok(FrameStatus::Incomplete { len }));
        let too_large = Violation::PacketTooLarge { len: 268_435_460, max: PACKET_SIZE_MAX - 1 };
        assert_eq!(frame(&header, PACKET_SIZE_MAX - 1), Err(too_large.into()));
    }

    #[test]
    fn a_packet_of_the_limit_is_taken_and_one_byte_more_is_too_large() {
        assert!(matches!(frame(&[0x30, 2, 0, 0], 4), Ok(FrameStatus::Complete(_))));
        // Before its body has come.
        let error = DecodeError::from(Violation::PacketTooLarge { len: 5, max: 4 });
        assert_eq!(frame(&[0x30, 3], 4), Err(error));
        assert_eq!(error.reason(), crate::Reason::PacketTooLarge);
        assert_eq!(frame(&[0xC0, 0], 0), Err(Violation::PacketTooLarge { len: 2, max: 0 }.into()));
    }

    #[test]
    fn a_remaining_length_of_more_than_four_bytes_is_malformed() {
        for buf in [&[0x30, 0x80, 0x80, 0x80, 0x80][..], &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]] {
            assert_eq!(frame(buf, PACKET_SIZE_MAX), Err(Malformed::RemainingLength.into()));
        }
    }

    #[test]
    fn a_remaining_length_of_more_bytes_than_it_needs_is_malformed() {
        for buf in [&[0xC0, 0x80, 0x00][..], &[0x30, 0xFF, 0x00], &[0x30, 0x80, 0x80, 0x80, 0x00]] {
            assert_eq!(frame(buf, PACKET_SIZE_MAX), Err(Malformed::RemainingLength.into()));
        }
    }
}
