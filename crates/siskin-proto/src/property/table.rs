use alloc::vec::Vec;
use core::fmt;

use super::wire::{Shape, Value, Varint};
use crate::DecodeError;
use crate::codec::read::Reader;

/// The type that a value has on the wire: its own, unless the table names another.
macro_rules! wire {
    ($type:ty) => {
        $type
    };
    ($type:ty as $wire:ident) => {
        $wire
    };
}

macro_rules! properties {
    ($lifetime:lifetime $($id:literal $name:ident($type:ty $(as $wire:ident)?) $text:literal;)*) => {
        /// Which property. [MQTT5 section 2.2.2.2]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum PropertyId {
            $(#[doc = $text] $name = $id,)*
        }

        impl PropertyId {
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];

            /// The property of this number, if the specification has one.
            #[inline]
            pub const fn from_u8(id: u8) -> Option<Self> {
                match id {
                    $($id => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The name in the text of the specification.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }

        /// One property with its value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Property<$lifetime> {
            $(#[doc = $text] $name($type),)*
        }

        impl<$lifetime> Property<$lifetime> {
            /// Which property this is.
            #[inline]
            pub const fn id(&self) -> PropertyId {
                match self {
                    $(Self::$name(_) => PropertyId::$name,)*
                }
            }

            /// Appends identifier and value. Text and data over 65,535 bytes are cut.
            pub fn encode(&self, out: &mut Vec<u8>) {
                out.push(self.id() as u8);
                match *self {
                    $(Self::$name(value) => <wire!($type $(as $wire)?)>::from(value).write(out),)*
                }
            }

            /// How many bytes [`encode`](Self::encode) appends.
            pub fn encoded_len(&self) -> usize {
                1 + match *self {
                    $(Self::$name(value) => <wire!($type $(as $wire)?)>::from(value).encoded_len(),)*
                }
            }

            /// How the value of property `id` looks on the wire.
            pub(super) const fn shape(id: PropertyId) -> Shape {
                match id {
                    $(PropertyId::$name => <wire!($type $(as $wire)?) as Value<$lifetime>>::SHAPE,)*
                }
            }

            /// Reads the value of property `id`.
            pub(super) fn read(reader: &mut Reader<$lifetime>, id: PropertyId) -> Result<Self, DecodeError> {
                Ok(match id {
                    $(PropertyId::$name => {
                        Self::$name(<wire!($type $(as $wire)?)>::read(reader, id)?.into())
                    })*
                })
            }
        }
    };
}

properties! { 'a
    0x01 PayloadFormatIndicator(u8) "Payload Format Indicator";
    0x02 MessageExpiryInterval(u32) "Message Expiry Interval";
    0x03 ContentType(&'a str) "Content Type";
    0x08 ResponseTopic(&'a str) "Response Topic";
    0x09 CorrelationData(&'a [u8]) "Correlation Data";
    0x0B SubscriptionIdentifier(u32 as Varint) "Subscription Identifier";
    0x11 SessionExpiryInterval(u32) "Session Expiry Interval";
    0x12 AssignedClientIdentifier(&'a str) "Assigned Client Identifier";
    0x13 ServerKeepAlive(u16) "Server Keep Alive";
    0x15 AuthenticationMethod(&'a str) "Authentication Method";
    0x16 AuthenticationData(&'a [u8]) "Authentication Data";
    0x17 RequestProblemInformation(bool) "Request Problem Information";
    0x18 WillDelayInterval(u32) "Will Delay Interval";
    0x19 RequestResponseInformation(bool) "Request Response Information";
    0x1A ResponseInformation(&'a str) "Response Information";
    0x1C ServerReference(&'a str) "Server Reference";
    0x1F ReasonString(&'a str) "Reason String";
    0x21 ReceiveMaximum(u16) "Receive Maximum";
    0x22 TopicAliasMaximum(u16) "Topic Alias Maximum";
    0x23 TopicAlias(u16) "Topic Alias";
    0x24 MaximumQos(u8) "Maximum QoS";
    0x25 RetainAvailable(bool) "Retain Available";
    0x26 UserProperty((&'a str, &'a str)) "User Property";
    0x27 MaximumPacketSize(u32) "Maximum Packet Size";
    0x28 WildcardSubscriptionAvailable(bool) "Wildcard Subscription Available";
    0x29 SubscriptionIdentifierAvailable(bool) "Subscription Identifier Available";
    0x2A SharedSubscriptionAvailable(bool) "Shared Subscription Available";
}

impl fmt::Display for PropertyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "property {}", self.name())
    }
}
