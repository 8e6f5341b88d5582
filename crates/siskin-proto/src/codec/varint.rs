//! Variable byte integers: seven bits a byte, the low ones first, one to four bytes. [MQTT5 section 1.5.5]

/// The greatest number that four bytes hold.
pub(crate) const VARINT_MAX: u32 = 268_435_455;

/// What the first bytes of a buffer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Varint {
    /// A number, and how many bytes it took.
    Complete(u32, usize),
    /// The beginning of a number.
    Incomplete,
    /// A number of more than four bytes, or of more bytes than it needs. [MQTT5 1.5.5-1]
    Malformed,
}

#[inline]
pub(crate) fn read(bytes: &[u8]) -> Varint {
    // Nearly all are of one byte.
    match bytes.first() {
        None => Varint::Incomplete,
        Some(&byte) if byte < 0x80 => Varint::Complete(u32::from(byte), 1),
        Some(_) => read_long(bytes),
    }
}

fn read_long(bytes: &[u8]) -> Varint {
    let mut value = 0;
    for (place, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * place);
        if byte < 0x80 {
            // A last byte of 0 adds nothing.
            let is_shortest = byte != 0 || place == 0;
            return if is_shortest { Varint::Complete(value, place + 1) } else { Varint::Malformed };
        }
    }
    if bytes.len() < 4 { Varint::Incomplete } else { Varint::Malformed }
}

/// How many bytes `value` takes.
#[inline]
pub(crate) const fn len(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Puts `value`, at most [`VARINT_MAX`], to the front of `bytes` and says how many it took.
#[inline]
pub(crate) fn write(mut value: usize, bytes: &mut [u8; 4]) -> usize {
    debug_assert!(value <= VARINT_MAX as usize, "the caller keeps a packet within PACKET_SIZE_MAX");
    let len = len(value);
    for byte in &mut bytes[..len] {
        *byte = value as u8 | 0x80;
        value >>= 7;
    }
    bytes[len - 1] &= 0x7F;
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the table in section 1.5.5 of 5.0.
    const BORDERS: [(u32, &[u8]); 8] = [
        (0, &[0x00]),
        (127, &[0x7F]),
        (128, &[0x80, 0x01]),
        (16_383, &[0xFF, 0x7F]),
        (16_384, &[0x80, 0x80, 0x01]),
        (2_097_151, &[0xFF, 0xFF, 0x7F]),
        (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
        (268_435_455, &[0xFF, 0xFF, 0xFF, 0x7F]),
    ];

    #[test]
    fn every_length_has_its_first_and_its_last_number() {
        for (value, bytes) in BORDERS {
            assert_eq!(read(bytes), Varint::Complete(value, bytes.len()));
            assert_eq!(len(value as usize), bytes.len());
            let mut written = [0; 4];
            let len = write(value as usize, &mut written);
            assert_eq!(&written[..len], bytes);
        }
    }

    #[test]
    fn a_number_of_five_bytes_is_malformed_before_the_fifth_has_come() {
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80]), Varint::Malformed);
        assert_eq!(read(&[0xFF, 0xFF, 0xFF, 0xFF, 0x7F]), Varint::Malformed);
    }

    #[test]
    fn a_number_of_more_bytes_than_it_needs_is_malformed() {
        for padded in [&[0x80, 0x00][..], &[0xFF, 0x80, 0x00], &[0x80, 0x80, 0x80, 0x00]] {
            assert_eq!(read(padded), Varint::Malformed);
        }
    }

    #[test]
    fn the_beginning_of_a_number_is_incomplete() {
        for (_, bytes) in BORDERS {
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end]), Varint::Incomplete);
            }
        }
    }
}
