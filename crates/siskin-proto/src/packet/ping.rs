use alloc::vec::Vec;

use super::PacketKind;
use crate::Version;
use crate::codec::write;

/// Asks whether the server is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PingReq;

/// Says that the server is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PingResp;

impl PingReq {
    /// Appends the packet.
    #[inline]
    pub fn encode(&self, _: Version, out: &mut Vec<u8>) {
        write::header(out, PacketKind::PingReq, 0, 0);
    }

    /// How many bytes [`encode`](Self::encode) appends.
    pub const fn encoded_len(&self, _: Version) -> usize {
        2
    }
}

impl PingResp {
    /// Appends the packet.
    #[inline]
    pub fn encode(&self, _: Version, out: &mut Vec<u8>) {
        write::header(out, PacketKind::PingResp, 0, 0);
    }

    /// How many bytes [`encode`](Self::encode) appends.
    pub const fn encoded_len(&self, _: Version) -> usize {
        2
    }
}
