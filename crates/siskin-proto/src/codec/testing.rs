//! What the byte tables beside the packets are read with.

use alloc::vec::Vec;

use super::{FrameStatus, PACKET_SIZE_MAX, decode, frame, write};
use crate::{DecodeError, Packet, PacketId, PacketKind, Version};

pub(crate) const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

/// The versions that have no properties.
pub(crate) const VERSIONS_3: [Version; 2] = [Version::V3_1, Version::V3_1_1];

/// The packet that `bytes` are, all of them.
#[track_caller]
pub(crate) fn read(version: Version, bytes: &[u8]) -> Result<Packet<'_>, DecodeError> {
    match frame(bytes, PACKET_SIZE_MAX)? {
        FrameStatus::Complete(frame) => {
            assert_eq!(frame.len, bytes.len(), "not one packet");
            decode(frame, version)
        }
        FrameStatus::Incomplete { len } => panic!("{} bytes of {len:?}", bytes.len()),
    }
}

/// `bytes` are read as `packet`, and `packet` is written as `bytes`.
#[track_caller]
pub(crate) fn good(version: Version, bytes: &[u8], packet: &Packet<'_>) {
    assert_eq!(read(version, bytes).as_ref(), Ok(packet), "{version}");
    assert_eq!(written(version, packet), bytes, "{version}");
}

/// `bytes` are no packet, because of `error`.
#[track_caller]
pub(crate) fn bad(version: Version, bytes: &[u8], error: impl Into<DecodeError>) {
    assert_eq!(read(version, bytes), Err(error.into()), "{version} {bytes:02X?}");
}

/// The bytes of `packet`.
#[track_caller]
pub(crate) fn written(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    assert_eq!(bytes.len(), packet.encoded_len(version), "the length is not what was announced");
    bytes
}

/// A packet of any body.
pub(crate) fn packet(kind: PacketKind, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write::header(&mut bytes, kind, flags, body.len());
    bytes.extend_from_slice(body);
    bytes
}

pub(crate) fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}
