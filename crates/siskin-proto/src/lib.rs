//! What both ends of an MQTT connection must know: packets of 3.1, 3.1.1 and 5.0, their bytes, and the
//! machines that deliver each message as often as its QoS promises.
//!
//! Nothing here touches a socket, a clock, a thread or a random source, and nothing that a peer sends can
//! make it panic. What is decoded borrows from the bytes it was decoded from; encoding appends to a
//! buffer of the caller.
//!
//! ```
//! use siskin_proto::{FrameStatus, Packet, PingReq, Version, decode, frame};
//!
//! let mut bytes = Vec::new();
//! Packet::PingReq(PingReq).encode(Version::V5, &mut bytes);
//! let Ok(FrameStatus::Complete(frame)) = frame(&bytes, 1024) else { panic!("two bytes are all of it") };
//! assert_eq!(decode(frame, Version::V5), Ok(Packet::PingReq(PingReq)));
//! ```
//!
//! - [`frame`] finds the next whole packet in a read buffer, [`decode`] reads it.
//! - [`Packet`] and one struct for each control packet; the version is a parameter, not a second family.
//! - [`Properties`] is a checked view on the bytes of a property list; [`PropertiesBuf`] builds one.
//! - [`TopicName`] and [`TopicFilter`] cannot be wrong.
//! - [`DecodeError`] names the fault, the packet and the field, and knows the reason code that answers.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod codec;
pub mod delivery;
mod error;
mod packet;
mod packet_id;
mod property;
mod qos;
mod reason;
mod topic;
mod version;

pub use codec::{Frame, FrameStatus, PACKET_SIZE_MAX, decode, decode_connect, decode_publish, frame};
pub use error::{DecodeError, Field, Malformed, Violation};
pub use packet::{
    Auth, ConnAck, Connect, Disconnect, Packet, PacketKind, PingReq, PingResp, PubAck, PubComp, PubRec,
    PubRel, Publish, RetainHandling, SubAck, Subscribe, SubscriptionOptions, UnsubAck, Unsubscribe, Will,
};
pub use packet_id::PacketId;
pub use property::{Properties, PropertiesBuf, Property, PropertyId};
pub use qos::Qos;
pub use reason::Reason;
pub use topic::{TopicError, TopicFilter, TopicName};
pub use version::Version;
