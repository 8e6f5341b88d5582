use jiff::Zoned;
use siskin_proto::PacketId;

use super::envelope::{self, Payload};
use super::fit::Fit;
use super::write_time;
use crate::cli::client::incoming::Message;
use crate::cli::client::json::Layout;

/// What a letter behind `%` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    TopicAlias,
    ContentType,
    CorrelationData,
    Double,
    MessageExpiry,
    PayloadFormat,
    Float,
    IsoTime,
    JsonString,
    JsonValue,
    Length,
    PacketId,
    UserProperties,
    Payload,
    Qos,
    ResponseTopic,
    Retain,
    SubscriptionId,
    Topic,
    UnixTime,
    HexLower,
    HexUpper,
}

impl Field {
    pub(super) fn from_letter(letter: char) -> Option<Self> {
        Some(match letter {
            'A' => Self::TopicAlias,
            'C' => Self::ContentType,
            'D' => Self::CorrelationData,
            'd' => Self::Double,
            'E' => Self::MessageExpiry,
            'F' => Self::PayloadFormat,
            'f' => Self::Float,
            'I' => Self::IsoTime,
            'j' => Self::JsonString,
            'J' => Self::JsonValue,
            'l' => Self::Length,
            'm' => Self::PacketId,
            'P' => Self::UserProperties,
            'p' => Self::Payload,
            'q' => Self::Qos,
            'R' => Self::ResponseTopic,
            'r' => Self::Retain,
            'S' => Self::SubscriptionId,
            't' => Self::Topic,
            'U' => Self::UnixTime,
            'x' => Self::HexLower,
            'X' => Self::HexUpper,
            _ => return None,
        })
    }

    /// Appends the field of `message`. None if the payload is not the JSON that it has to be.
    pub(super) fn write(
        self,
        fit: Fit,
        layout: Layout,
        message: &Message<'_>,
        now: &Zoned,
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let properties = message.properties;
        match self {
            Self::TopicAlias => fit.number(properties.topic_alias(), out),
            Self::ContentType => fit.text(properties.content_type().unwrap_or(""), out),
            Self::CorrelationData => out.extend_from_slice(properties.correlation_data().unwrap_or(&[])),
            Self::MessageExpiry => fit.number(properties.message_expiry_interval(), out),
            Self::PayloadFormat => fit.number(properties.payload_format_indicator(), out),
            Self::IsoTime => {
                let mut time = Vec::new();
                write_time(ISO_TIME, now, &mut time);
                fit.text(&String::from_utf8_lossy(&time), out);
            }
            Self::JsonString => envelope::write(message, Payload::Quoted, layout, now, out)?,
            Self::JsonValue => envelope::write(message, Payload::Embedded, layout, now, out)?,
            Self::Length => fit.number(Some(message.payload.len()), out),
            Self::PacketId => fit.number(Some(message.packet_id.map_or(0, PacketId::get)), out),
            Self::UserProperties => {
                for (place, (name, value)) in properties.user_properties().enumerate() {
                    let blank = if place > 0 { " " } else { "" };
                    out.extend_from_slice(format!("{blank}{name}:{value}").as_bytes());
                }
            }
            Self::Payload => fit.bytes(message.payload, b' ', out),
            Self::Double => fit.float(message.payload.try_into().ok().map(f64::from_le_bytes), out),
            Self::Float => {
                fit.float(message.payload.try_into().ok().map(f32::from_le_bytes).map(f64::from), out);
            }
            Self::Qos => out.push(b'0' + message.qos as u8),
            Self::ResponseTopic => fit.text(properties.response_topic().unwrap_or(""), out),
            Self::Retain => out.push(b'0' + u8::from(message.retain)),
            Self::SubscriptionId => fit.number(properties.subscription_identifiers().next(), out),
            Self::Topic => fit.text(&message.topic, out),
            Self::UnixTime => {
                let time = now.timestamp();
                let nanoseconds = time.subsec_nanosecond();
                out.extend_from_slice(format!("{}.{nanoseconds:09}", time.as_second()).as_bytes());
            }
            Self::HexLower => fit.hex(message.payload, b"0123456789abcdef", out),
            Self::HexUpper => fit.hex(message.payload, b"0123456789ABCDEF", out),
        }
        Some(())
    }
}

const ISO_TIME: &str = "%Y-%m-%dT%H:%M:%S%z";
