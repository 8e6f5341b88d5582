//! Why bytes are no packet, named for the rule that they break.

use core::fmt;

use crate::{PacketKind, PropertyId, Reason, TopicError};

/// Why a packet cannot be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes do not have the form of a packet.
    Malformed(Malformed),
    /// The form is right and what it says is not allowed.
    Violation(Violation),
}

/// A form that no packet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The remaining length takes more than four bytes, or more than it needs.
    RemainingLength,
    /// A packet type that the version does not have: 0, or AUTH before 5.0.
    PacketType(u8),
    /// The four low bits of the fixed header are not those of the packet. [MQTT-2.2.2-2] [MQTT5 2.1.3-1]
    Flags {
        /// The packet.
        packet: PacketKind,
        /// The four bits.
        flags: u8,
    },
    /// A field runs past the end of its packet, or of the property list it is in.
    Truncated {
        /// The packet.
        packet: PacketKind,
        /// The field.
        field: Field,
    },
    /// Bytes follow the last field.
    TrailingBytes {
        /// The packet.
        packet: PacketKind,
    },
    /// A string is not well-formed UTF-8. [MQTT-1.5.3-1] [MQTT5 1.5.4-1]
    Utf8 {
        /// The packet.
        packet: PacketKind,
        /// The string.
        field: Field,
    },
    /// A string holds U+0000. [MQTT-1.5.3-2] [MQTT5 1.5.4-2]
    Nul {
        /// The packet.
        packet: PacketKind,
        /// The string.
        field: Field,
    },
    /// A variable byte integer takes more than four bytes, or more than it needs. [MQTT5 1.5.5-1]
    VarInt {
        /// The packet.
        packet: PacketKind,
        /// The integer.
        field: Field,
    },
    /// QoS 3. [MQTT-3.3.1-4] [MQTT-3.1.2-14] [MQTT-3-8.3-4]
    Qos {
        /// The packet.
        packet: PacketKind,
    },
    /// DUP is set in a PUBLISH of QoS 0. [MQTT-3.3.1-2]
    DupAtQos0,
    /// The reserved connect flag is set. [MQTT-3.1.2-3]
    ConnectFlagReserved,
    /// A will QoS or will retain is given without a will. [MQTT-3.1.2-13] [MQTT-3.1.2-15]
    WillFlagMissing,
    /// A password is given without a user name, which only 5.0 allows. [MQTT-3.1.2-22]
    UserNameMissing,
    /// A bit other than session present is set in the flags of CONNACK. [MQTT5 3.2.2-1]
    ConnAckFlags(u8),
    /// A reserved bit of the subscription options is set. [MQTT-3-8.3-4] [MQTT5 3.8.3-5]
    SubscriptionOptions(u8),
    /// No version has a property of this number.
    PropertyUnknown {
        /// The packet.
        packet: PacketKind,
        /// The number.
        id: u32,
    },
    /// The property does not belong in the packet, or in the will of CONNECT.
    PropertyMisplaced {
        /// The packet.
        packet: PacketKind,
        /// The property.
        property: PropertyId,
    },
}

/// Something that a well-formed packet may not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The packet is longer than the receiver takes. [MQTT5 3.2.2-15]
    PacketTooLarge {
        /// Its length, header included.
        len: u32,
        /// The limit.
        max: u32,
    },
    /// The first packet of a connection is not CONNECT. [MQTT-3.1.0-1]
    FirstPacketNotConnect,
    /// The protocol name is neither `MQTT` nor `MQIsdp`. [MQTT-3.1.2-1]
    ProtocolName,
    /// The protocol name has no version of this level. [MQTT-3.1.2-2]
    ProtocolLevel {
        /// The level as sent.
        level: u8,
    },
    /// A packet id is 0. [MQTT-2.3.1-1]
    PacketIdZero {
        /// The packet.
        packet: PacketKind,
    },
    /// The code is not one of the packet's reason codes.
    ReasonCode {
        /// The packet.
        packet: PacketKind,
        /// The code.
        code: u8,
    },
    /// The text is no topic name.
    TopicName {
        /// The packet.
        packet: PacketKind,
        /// What is wrong with it.
        error: TopicError,
    },
    /// The text is no topic filter.
    TopicFilter {
        /// The packet.
        packet: PacketKind,
        /// What is wrong with it.
        error: TopicError,
    },
    /// A PUBLISH with neither a topic name nor an alias.
    TopicMissing,
    /// Topic alias 0. [MQTT5 3.3.2-8]
    TopicAliasZero,
    /// SUBSCRIBE or UNSUBSCRIBE without a filter. [MQTT-3.8.3-3] [MQTT-3.10.3-2]
    NoFilters {
        /// The packet.
        packet: PacketKind,
    },
    /// SUBACK or UNSUBACK without a reason code.
    NoReasonCodes {
        /// The packet.
        packet: PacketKind,
    },
    /// QoS 3 in the options of a subscription. [MQTT5 section 3.8.3.1]
    SubscriptionQos,
    /// Retain handling 3 in the options of a subscription. [MQTT5 section 3.8.3.1]
    RetainHandling,
    /// A property that may stand once stands twice.
    PropertyRepeated {
        /// The packet.
        packet: PacketKind,
        /// The property.
        property: PropertyId,
    },
    /// A property has a value that is not allowed.
    PropertyValue {
        /// The packet.
        packet: PacketKind,
        /// The property.
        property: PropertyId,
    },
    /// Authentication data, or an AUTH, without the name of its method.
    AuthenticationMethodMissing {
        /// The packet.
        packet: PacketKind,
    },
}

/// A part of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum Field {
    ProtocolName,
    ProtocolLevel,
    ConnectFlags,
    KeepAlive,
    ClientId,
    WillTopic,
    WillPayload,
    UserName,
    Password,
    ConnAckFlags,
    TopicName,
    TopicFilter,
    SubscriptionOptions,
    PacketId,
    ReasonCode,
    PropertyLength,
    PropertyId,
    Property(PropertyId),
}

impl DecodeError {
    /// The reason code that tells the sender, if its version has them.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Malformed(_) => Reason::MalformedPacket,
            Self::Violation(violation) => violation.reason(),
        }
    }
}

impl Violation {
    /// The reason code that tells the sender, if its version has them.
    pub const fn reason(self) -> Reason {
        match self {
            Self::PacketTooLarge { .. } => Reason::PacketTooLarge,
            Self::ProtocolName | Self::ProtocolLevel { .. } => Reason::UnsupportedProtocolVersion,
            Self::TopicName { .. } => Reason::TopicNameInvalid,
            Self::TopicFilter { .. } => Reason::TopicFilterInvalid,
            Self::TopicAliasZero => Reason::TopicAliasInvalid,
            Self::FirstPacketNotConnect
            | Self::PacketIdZero { .. }
            | Self::ReasonCode { .. }
            | Self::TopicMissing
            | Self::NoFilters { .. }
            | Self::NoReasonCodes { .. }
            | Self::SubscriptionQos
            | Self::RetainHandling
            | Self::PropertyRepeated { .. }
            | Self::PropertyValue { .. }
            | Self::AuthenticationMethodMissing { .. } => Reason::ProtocolError,
        }
    }
}

impl From<Malformed> for DecodeError {
    #[inline]
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Violation> for DecodeError {
    #[inline]
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl core::error::Error for DecodeError {}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Violation(violation) => violation.fmt(f),
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemainingLength => f.write_str("the remaining length takes too many bytes"),
            Self::PacketType(kind) => write!(f, "there is no packet of type {kind}"),
            Self::Flags { packet, flags } => write!(f, "{packet} cannot have the header flags {flags:04b}"),
            Self::Truncated { packet, field } => write!(f, "{field} of {packet} runs past its end"),
            Self::TrailingBytes { packet } => write!(f, "bytes follow the end of {packet}"),
            Self::Utf8 { packet, field } => write!(f, "{field} of {packet} is not valid UTF-8"),
            Self::Nul { packet, field } => write!(f, "{field} of {packet} holds U+0000"),
            Self::VarInt { packet, field } => write!(f, "{field} of {packet} takes too many bytes"),
            Self::Qos { packet } => write!(f, "{packet} asks for QoS 3"),
            Self::DupAtQos0 => f.write_str("PUBLISH of QoS 0 says that it is sent again"),
            Self::ConnectFlagReserved => f.write_str("the reserved flag of CONNECT is set"),
            Self::WillFlagMissing => f.write_str("CONNECT has will flags and no will"),
            Self::UserNameMissing => f.write_str("CONNECT has a password and no user name"),
            Self::ConnAckFlags(flags) => write!(f, "CONNACK cannot have the flags {flags:08b}"),
            Self::SubscriptionOptions(options) => {
                write!(f, "SUBSCRIBE cannot have the subscription options {options:08b}")
            }
            Self::PropertyUnknown { packet, id } => write!(f, "{packet} has an unknown property 0x{id:02X}"),
            Self::PropertyMisplaced { packet, property } => {
                write!(f, "{property} does not belong where {packet} has it")
            }
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PacketTooLarge { len, max } => {
                write!(f, "a packet of {len} bytes is longer than the limit of {max}")
            }
            Self::FirstPacketNotConnect => f.write_str("the first packet is not CONNECT"),
            Self::ProtocolName => f.write_str("the protocol name of CONNECT is unknown"),
            Self::ProtocolLevel { level } => write!(f, "the protocol level {level} of CONNECT is unknown"),
            Self::PacketIdZero { packet } => write!(f, "the packet id of {packet} is 0"),
            Self::ReasonCode { packet, code } => write!(f, "{packet} has no reason code 0x{code:02X}"),
            Self::TopicName { packet, error } => write!(f, "the topic name of {packet} {error}"),
            Self::TopicFilter { packet, error } => write!(f, "a topic filter of {packet} {error}"),
            Self::TopicMissing => f.write_str("PUBLISH has neither a topic name nor a topic alias"),
            Self::TopicAliasZero => f.write_str("the topic alias of PUBLISH is 0"),
            Self::NoFilters { packet } => write!(f, "{packet} has no topic filter"),
            Self::NoReasonCodes { packet } => write!(f, "{packet} has no reason code"),
            Self::SubscriptionQos => f.write_str("SUBSCRIBE asks for QoS 3"),
            Self::RetainHandling => f.write_str("SUBSCRIBE asks for retain handling 3"),
            Self::PropertyRepeated { packet, property } => write!(f, "{packet} has {property} twice"),
            Self::PropertyValue { packet, property } => {
                write!(f, "{property} of {packet} has a value that is not allowed")
            }
            Self::AuthenticationMethodMissing { packet } => {
                write!(f, "{packet} does not name its authentication method")
            }
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProtocolName => "the protocol name",
            Self::ProtocolLevel => "the protocol level",
            Self::ConnectFlags => "the connect flags",
            Self::KeepAlive => "the keep alive",
            Self::ClientId => "the client id",
            Self::WillTopic => "the will topic",
            Self::WillPayload => "the will payload",
            Self::UserName => "the user name",
            Self::Password => "the password",
            Self::ConnAckFlags => "the flags",
            Self::TopicName => "the topic name",
            Self::TopicFilter => "a topic filter",
            Self::SubscriptionOptions => "the subscription options",
            Self::PacketId => "the packet id",
            Self::ReasonCode => "the reason code",
            Self::PropertyLength => "the property length",
            Self::PropertyId => "a property id",
            Self::Property(property) => return property.fmt(f),
        })
    }
}
