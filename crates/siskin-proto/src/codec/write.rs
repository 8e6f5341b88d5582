//! Appending fields to a packet. What a length field cannot say is cut off, so that a field never runs
//! into the next one; what was decoded always fits.

use alloc::vec::Vec;

use super::varint;
use crate::{PacketKind, Properties, Version};

/// The longest string or binary data: what the two length bytes in front of it can say.
const FIELD_BYTES_MAX: usize = 65_535;

/// Packet type, flags and remaining length; makes room for the rest.
#[inline]
pub(crate) fn header(out: &mut Vec<u8>, kind: PacketKind, flags: u8, remaining: usize) {
    out.reserve(5 + remaining);
    first_and_remaining(out, kind, flags, remaining);
}

/// Packet type, flags and remaining length.
#[inline]
pub(crate) fn first_and_remaining(out: &mut Vec<u8>, kind: PacketKind, flags: u8, remaining: usize) {
    let first = (kind as u8) << 4 | flags;
    if remaining < 0x80 {
        out.extend_from_slice(&[first, remaining as u8]);
    } else {
        let mut bytes = [0; 4];
        let len = varint::write(remaining, &mut bytes);
        out.push(first);
        out.extend_from_slice(&bytes[..len]);
    }
}

/// The length of a packet with this remaining length.
#[inline]
pub(crate) const fn packet_len(remaining: usize) -> usize {
    1 + varint::len(remaining) + remaining
}

#[inline]
pub(crate) fn u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

#[inline]
pub(crate) fn u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

#[inline]
pub(crate) fn varint(out: &mut Vec<u8>, value: usize) {
    let mut bytes = [0; 4];
    let len = varint::write(value, &mut bytes);
    out.extend_from_slice(&bytes[..len]);
}

#[inline]
pub(crate) const fn varint_len(value: usize) -> usize {
    varint::len(value)
}

#[inline]
pub(crate) fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(FIELD_BYTES_MAX)];
    u16(out, bytes.len() as u16);
    out.extend_from_slice(bytes);
}

#[inline]
pub(crate) fn binary_len(bytes: &[u8]) -> usize {
    2 + bytes.len().min(FIELD_BYTES_MAX)
}

/// Property length and properties; nothing before 5.0. [MQTT5 2.2.2-1]
#[inline]
pub(crate) fn properties(out: &mut Vec<u8>, version: Version, properties: Properties<'_>) {
    if version.is_v5() {
        varint(out, properties.raw().len());
        out.extend_from_slice(properties.raw());
    }
}

#[inline]
pub(crate) fn properties_len(version: Version, properties: Properties<'_>) -> usize {
    let len = properties.raw().len();
    if version.is_v5() { varint::len(len) + len } else { 0 }
}

#[inline]
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    binary(out, fit(text).as_bytes());
}

#[inline]
pub(crate) fn string_len(text: &str) -> usize {
    2 + fit(text).len()
}

/// As much of `text` as a string can hold, in whole characters.
#[inline]
fn fit(text: &str) -> &str {
    if text.len() <= FIELD_BYTES_MAX { text } else { &text[..text.floor_char_boundary(FIELD_BYTES_MAX)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_that_is_too_long_is_cut_between_characters() {
        let text = "é".repeat(40_000);
        let mut out = Vec::new();
        string(&mut out, &text);
        assert_eq!(out[..2], [0xFF, 0xFE]);
        assert_eq!(out.len(), string_len(&text));
        assert!(core::str::from_utf8(&out[2..]).is_ok());
    }

    #[test]
    fn binary_data_that_is_too_long_is_cut() {
        let mut out = Vec::new();
        binary(&mut out, &[7; 70_000]);
        assert_eq!(out[..3], [0xFF, 0xFF, 7]);
        assert_eq!(out.len(), binary_len(&[7; 70_000]));
    }
}
