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
    let packet = match kind {
        PacketKind::Connect => Packet::Connect(Connect::decode(&mut reader)?),
        PacketKind::ConnAck => Packet::ConnAck(ConnAck::decode(&mut reader, version)?),
        PacketKind::Publish => Packet::Publish(Publish::decode(frame.first, &mut reader, version)?),
        PacketKind::PubAck => Packet::PubAck(PubAck::decode(&mut reader, version)?),
        PacketKind::PubRec => Packet::PubRec(PubRec::decode(&mut reader, version)?),
        PacketKind::PubRel => Packet::PubRel(PubRel::decode(&mut reader, version)?),
        PacketKind::PubComp => Packet::PubComp(PubComp::decode(&mut reader, version)?),
        PacketKind::Subscribe => Packet::Subscribe(Subscribe::decode(&mut reader, version)?),
        PacketKind::SubAck => Packet::SubAck(SubAck::decode(&mut reader, version)?),
        PacketKind::Unsubscribe => Packet::Unsubscribe(Unsubscribe::decode(&mut reader, version)?),
        PacketKind::UnsubAck => Packet::UnsubAck(UnsubAck::decode(&mut reader, version)?),
        PacketKind::PingReq => Packet::PingReq(PingReq),
        PacketKind::PingResp => Packet::PingResp(PingResp),
        PacketKind::Disconnect => Packet::Disconnect(Disconnect::decode(&mut reader, version)?),
        PacketKind::Auth => Packet::Auth(Auth::decode(&mut reader)?),
    };
    reader.finish()?;
    Ok(packet)
}

/// Reads the first packet of a connection, which must be CONNECT. [MQTT-3.1.0-1]
pub fn decode_connect(frame: Frame<'_>) -> Result<Connect<'_>, DecodeError> {
    if frame.first >> 4 != PacketKind::Connect as u8 {
        return Err(Violation::FirstPacketNotConnect.into());
    }
    PacketKind::Connect.check_flags(frame.first, Version::V5)?;
    let mut reader = Reader::new(frame.body, PacketKind::Connect);
    let connect = Connect::decode(&mut reader)?;
    reader.finish()?;
    Ok(connect)
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
