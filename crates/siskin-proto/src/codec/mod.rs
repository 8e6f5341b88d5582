//! Between bytes and packets: [`frame`] finds where a packet ends, [`decode`] reads it.

mod frame;
pub(crate) mod read;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod varint;
pub(crate) mod write;

pub use frame::{Frame, FrameStatus, PACKET_SIZE_MAX, frame};

use crate::packet::{
    Auth, ConnAck, Connect, Disconnect, Packet, PacketKind, PingReq, PingResp, PubAck, PubComp, PubRec,
    PubRel, Publish, SubAck, Subscribe, UnsubAck, Unsubscribe,
};
use crate::{DecodeError, Malformed, Version, Violation};
use read::Reader;

/// Reads the packet in `frame`, whichever end sent it. CONNECT says its own version; every other packet
/// is read as one of `version`.
#[inline]
pub fn decode(frame: Frame<'_>, version: Version) -> Result<Packet<'_>, DecodeError> {
    let kind = frame.kind(version)?;
    kind.check_flags(frame.first, version)?;
    let mut reader = Reader::new(frame.body, kind);
    // Arm by arm: each result is built where the caller wants it, not first in a place with room for all.
    match kind {
        PacketKind::Connect => Connect::decode(&mut reader).map(Packet::Connect),
        PacketKind::ConnAck => ConnAck::decode(&mut reader, version).map(Packet::ConnAck),
        PacketKind::Publish => Publish::decode(frame.first, &mut reader, version).map(Packet::Publish),
        PacketKind::PubAck => PubAck::decode(&mut reader, version).map(Packet::PubAck),
        PacketKind::PubRec => PubRec::decode(&mut reader, version).map(Packet::PubRec),
        PacketKind::PubRel => PubRel::decode(&mut reader, version).map(Packet::PubRel),
        PacketKind::PubComp => PubComp::decode(&mut reader, version).map(Packet::PubComp),
        PacketKind::Subscribe => Subscribe::decode(&mut reader, version).map(Packet::Subscribe),
        PacketKind::SubAck => SubAck::decode(&mut reader, version).map(Packet::SubAck),
        PacketKind::Unsubscribe => Unsubscribe::decode(&mut reader, version).map(Packet::Unsubscribe),
        PacketKind::UnsubAck => UnsubAck::decode(&mut reader, version).map(Packet::UnsubAck),
        PacketKind::PingReq => reader.finish().map(|()| Packet::PingReq(PingReq)),
        PacketKind::PingResp => reader.finish().map(|()| Packet::PingResp(PingResp)),
        PacketKind::Disconnect => Disconnect::decode(&mut reader, version).map(Packet::Disconnect),
        PacketKind::Auth => Auth::decode(&mut reader).map(Packet::Auth),
    }
}

/// Reads a PUBLISH, of which there are the most, as [`decode`] does: for who can do without a [`Packet`] around it.
#[inline]
pub fn decode_publish(frame: Frame<'_>, version: Version) -> Result<Publish<'_>, DecodeError> {
    match frame.kind(version)? {
        kind @ PacketKind::Publish => {
            Publish::decode(frame.first, &mut Reader::new(frame.body, kind), version)
        }
        kind => Err(Malformed::PacketType(kind as u8).into()),
    }
}

/// Reads the first packet of a connection, which must be CONNECT. [MQTT-3.1.0-1]
pub fn decode_connect(frame: Frame<'_>) -> Result<Connect<'_>, DecodeError> {
    if frame.first >> 4 != PacketKind::Connect as u8 {
        return Err(Violation::FirstPacketNotConnect.into());
    }
    PacketKind::Connect.check_flags(frame.first, Version::V5)?;
    Connect::decode(&mut Reader::new(frame.body, PacketKind::Connect))
}

impl PacketKind {
    /// Checks the four low bits of the fixed header. [MQTT-2.2.2-2] [MQTT5 2.1.3-1]
    #[inline]
    fn check_flags(self, first: u8, version: Version) -> Result<(), DecodeError> {
        let flags = first & 0x0F;
        let is_right = match self {
            Self::Publish => true,
            // 3.1 sets DUP when it sends one of these again.
            Self::PubRel | Self::Subscribe | Self::Unsubscribe if version == Version::V3_1 => {
                flags & 0b0111 == 0b0010
            }
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => flags == 0b0010,
            _ => flags == 0,
        };
        if is_right { Ok(()) } else { Err(Malformed::Flags { packet: self, flags }.into()) }
    }
}
