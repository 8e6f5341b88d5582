use alloc::vec::Vec;

use super::PacketKind;
use crate::codec::read::Reader;
use crate::codec::write;
use crate::property::{self, PropertySet};
use crate::{
    DecodeError, Field, Malformed, Properties, PropertyId, Qos, TopicError, TopicName, Version, Violation,
};

/// The first packet of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The version that the connection speaks.
    pub version: Version,
    /// Begin a new session; before 5.0 also: and end it with the connection.
    pub clean_start: bool,
    /// How long the client may be silent, in seconds; 0 for ever.
    pub keep_alive_s: u16,
    /// Which session; empty if the server is to choose a name.
    pub client_id: &'a str,
    /// What to publish when the connection ends without the client's leave.
    pub will: Option<Will<'a>>,
    /// Who the client says it is.
    pub user_name: Option<&'a str>,
    /// What shows it.
    pub password: Option<&'a [u8]>,
    /// What the client asks for and allows.
    pub properties: Properties<'a>,
    /// The client is a bridge: the top bit of the protocol level, as mosquitto's bridges set it before 5.0.
    pub bridge: bool,
}

/// The message that the server publishes for a client that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Where to.
    pub topic: TopicName<'a>,
    /// The message itself.
    pub payload: &'a [u8],
    /// How often to deliver it.
    pub qos: Qos,
    /// Whether to keep it for the topic.
    pub retain: bool,
    /// Will delay and what goes with the message.
    pub properties: Properties<'a>,
}

const PROPERTIES: PropertySet = PropertySet::of(&[
    PropertyId::SessionExpiryInterval,
    PropertyId::ReceiveMaximum,
    PropertyId::MaximumPacketSize,
    PropertyId::TopicAliasMaximum,
    PropertyId::RequestResponseInformation,
    PropertyId::RequestProblemInformation,
    PropertyId::UserProperty,
    PropertyId::AuthenticationMethod,
    PropertyId::AuthenticationData,
]);

const WILL_PROPERTIES: PropertySet = PropertySet::of(&[
    PropertyId::WillDelayInterval,
    PropertyId::PayloadFormatIndicator,
    PropertyId::MessageExpiryInterval,
    PropertyId::ContentType,
    PropertyId::ResponseTopic,
    PropertyId::CorrelationData,
    PropertyId::UserProperty,
]);

const RESERVED: u8 = 0b0000_0001;
const CLEAN_START: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_QOS: u8 = 0b0001_1000;
const WILL_QOS_SHIFT: u32 = 3;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USER_NAME: u8 = 0b1000_0000;

const BRIDGE: u8 = 0x80;

impl<'a> Connect<'a> {
    pub(crate) fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let name = reader.binary(Field::ProtocolName)?;
        let level = reader.u8(Field::ProtocolLevel)?;
        let (version, bridge) = version(name, level)?;
        let flags = reader.u8(Field::ConnectFlags)?;
        check_flags(flags, version)?;
        let keep_alive_s = reader.u16(Field::KeepAlive)?;
        let properties = if version.is_v5() { read_properties(reader)? } else { Properties::EMPTY };
        // [MQTT-3.1.3-1] The payload in its order, which the flags decide.
        let client_id = reader.string(Field::ClientId)?;
        let will = if flags & WILL != 0 { Some(Will::decode(reader, flags, version)?) } else { None };
        // In 3.1 the end of the packet counts for more than these two flags.
        let is_cut_short = |reader: &Reader<'_>| version == Version::V3_1 && reader.is_empty();
        let has_user_name = flags & USER_NAME != 0 && !is_cut_short(reader);
        let user_name = if has_user_name { Some(reader.string(Field::UserName)?) } else { None };
        let has_password = flags & PASSWORD != 0 && !is_cut_short(reader);
        let password = if has_password { Some(reader.binary(Field::Password)?) } else { None };
        reader.finish()?;
        let clean_start = flags & CLEAN_START != 0;
        Ok(Self {
            version,
            clean_start,
            keep_alive_s,
            client_id,
            will,
            user_name,
            password,
            properties,
            bridge,
        })
    }

    /// Appends the packet as one of its own version.
    pub fn encode(&self, _: Version, out: &mut Vec<u8>) {
        let version = self.version;
        write::header(out, PacketKind::Connect, 0, self.remaining());
        write::string(out, version.protocol_name());
        out.push(version as u8 | if self.bridge { BRIDGE } else { 0 });
        out.push(self.flags());
        write::u16(out, self.keep_alive_s);
        write::properties(out, version, self.properties);
        write::string(out, self.client_id);
        if let Some(will) = &self.will {
            write::properties(out, version, will.properties);
            write::string(out, will.topic.as_str());
            write::binary(out, will.payload);
        }
        if let Some(user_name) = self.user_name {
            write::string(out, user_name);
        }
        if let Some(password) = self.password {
            write::binary(out, password);
        }
    }

    /// How many bytes [`encode`](Self::encode) appends.
    pub fn encoded_len(&self, _: Version) -> usize {
        write::packet_len(self.remaining())
    }

    fn remaining(&self) -> usize {
        let version = self.version;
        // Level, flags and keep alive are four bytes.
        write::string_len(version.protocol_name())
            + 4
            + write::properties_len(version, self.properties)
            + write::string_len(self.client_id)
            + self.will.as_ref().map_or(0, |will| will.encoded_len(version))
            + self.user_name.map_or(0, write::string_len)
            + self.password.map_or(0, write::binary_len)
    }

    fn flags(&self) -> u8 {
        let will = self.will.as_ref().map_or(0, |will| {
            WILL | (will.qos as u8) << WILL_QOS_SHIFT | if will.retain { WILL_RETAIN } else { 0 }
        });
        will | if self.clean_start { CLEAN_START } else { 0 }
            | if self.password.is_some() { PASSWORD } else { 0 }
            | if self.user_name.is_some() { USER_NAME } else { 0 }
    }
}

impl<'a> Will<'a> {
    fn decode(reader: &mut Reader<'a>, flags: u8, version: Version) -> Result<Self, DecodeError> {
        // [MQTT-3.1.2-14]
        let qos = Qos::from_u8((flags & WILL_QOS) >> WILL_QOS_SHIFT)
            .ok_or(Malformed::Qos { packet: PacketKind::Connect })?;
        let properties =
            if version.is_v5() { property::read(reader, WILL_PROPERTIES)? } else { Properties::EMPTY };
        let topic = reader.topic_name(Field::WillTopic)?.ok_or(Violation::TopicName {
            packet: PacketKind::Connect,
            error: TopicError::Empty, // [MQTT-4.7.3-1]
        })?;
        let payload = reader.binary(Field::WillPayload)?;
        Ok(Self { topic, payload, qos, retain: flags & WILL_RETAIN != 0, properties })
    }

    fn encoded_len(&self, version: Version) -> usize {
        write::properties_len(version, self.properties)
            + write::string_len(self.topic.as_str())
            + write::binary_len(self.payload)
    }
}

/// The version that goes with a protocol name and level, and whether the client says it is a bridge.
fn version(name: &[u8], level: u8) -> Result<(Version, bool), Violation> {
    match (name, level & !BRIDGE) {
        (b"MQIsdp", 3) => Ok((Version::V3_1, level & BRIDGE != 0)),
        (b"MQTT", 4) => Ok((Version::V3_1_1, level & BRIDGE != 0)),
        (b"MQTT", _) if level == 5 => Ok((Version::V5, false)),
        (b"MQIsdp" | b"MQTT", _) => Err(Violation::ProtocolLevel { level }), // [MQTT-3.1.2-2]
        _ => Err(Violation::ProtocolName),                                   // [MQTT-3.1.2-1]
    }
}

fn check_flags(flags: u8, version: Version) -> Result<(), Malformed> {
    if flags & (USER_NAME | PASSWORD) == PASSWORD && !version.is_v5() {
        return Err(Malformed::UserNameMissing); // [MQTT-3.1.2-22]
    }
    if version == Version::V3_1 {
        return Ok(()); // The other rules are younger.
    }
    if flags & RESERVED != 0 {
        return Err(Malformed::ConnectFlagReserved); // [MQTT-3.1.2-3]
    }
    // [MQTT-3.1.2-13] [MQTT-3.1.2-15]
    if flags & WILL == 0 && flags & (WILL_QOS | WILL_RETAIN) != 0 {
        return Err(Malformed::WillFlagMissing);
    }
    Ok(())
}

fn read_properties<'a>(reader: &mut Reader<'a>) -> Result<Properties<'a>, DecodeError> {
    let properties = property::read(reader, PROPERTIES)?;
    if properties.authentication_data().is_some() && properties.authentication_method().is_none() {
        return Err(Violation::AuthenticationMethodMissing { packet: PacketKind::Connect }.into());
    }
    Ok(properties)
}

#[cfg(test)]
mod tests;
