//! Messages as JSON.

use std::collections::BTreeMap;

use base64ct::{Base64, Encoding as _};
use serde::{Deserialize, Serialize};
use siskin_core::{Message, Now};
use siskin_proto::{PropertiesBuf, Property, Qos, TopicName};
use utoipa::ToSchema;

use crate::failure::Failure;

/// How bytes stand in a JSON string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Coding {
    /// As they are; only for text in UTF-8.
    #[default]
    Plain,
    /// In Base64.
    Base64,
}

/// Bytes as a JSON string.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) coding: Coding,
    /// Whether it is the beginning alone.
    pub(crate) is_cut: bool,
}

impl Text {
    /// `bytes` as they are if they are text, else in Base64.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self::beginning(bytes, usize::MAX)
    }

    /// The same of the first `most` of them; of text not a part of a character.
    pub(crate) fn beginning(bytes: &[u8], most: usize) -> Self {
        let is_cut = bytes.len() > most;
        let bytes = &bytes[..bytes.len().min(most)];
        let whole = match std::str::from_utf8(bytes) {
            Ok(text) => Some(text),
            Err(error) if is_cut && error.error_len().is_none() => {
                std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        };
        match whole {
            Some(text) => Self { text: text.to_owned(), coding: Coding::Plain, is_cut },
            None => Self { text: Base64::encode_string(bytes), coding: Coding::Base64, is_cut },
        }
    }
}

/// The bytes that a JSON string stands for.
pub(crate) fn bytes(text: String, coding: Coding) -> Result<Vec<u8>, Failure> {
    match coding {
        Coding::Plain => Ok(text.into_bytes()),
        Coding::Base64 => {
            Base64::decode_vec(&text).map_err(|_| Failure::bad_request("the payload is no Base64"))
        }
    }
}

/// A QoS by its number.
pub(crate) fn qos(number: u8) -> Result<Qos, Failure> {
    Qos::from_u8(number).ok_or_else(|| Failure::bad_request(format!("a QoS is 0, 1 or 2, and not {number}")))
}

/// The properties that a message may be given, and that it goes on with.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct MessageProperties {
    /// 1 says that the payload is text in UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload_format_indicator: Option<u8>,
    /// Seconds until the message is worth nothing any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) message_expiry_interval: Option<u32>,
    /// What the payload is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) content_type: Option<String>,
    /// Where an answer is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response_topic: Option<String>,
    /// What the answer is to be known by; bytes that are no text are in Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) correlation_data: Option<String>,
    /// Names and values of the publisher's own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) user_properties: BTreeMap<String, String>,
}

impl MessageProperties {
    /// What `message` was published with.
    pub(crate) fn of(message: &Message, now: Now) -> Self {
        let properties = message.properties();
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            payload_format_indicator: properties.payload_format_indicator(),
            message_expiry_interval: message
                .expires_at()
                .map(|at| (at.ms_since(now) / 1000).try_into().unwrap_or(u32::MAX)),
            content_type: properties.content_type().map(str::to_owned),
            response_topic: properties.response_topic().map(str::to_owned),
            correlation_data: properties.correlation_data().map(|data| Text::of(data).text),
            user_properties: properties.user_properties().map(pair).collect(),
        }
    }

    /// As a packet has them, but for the expiry, which a message has apart from them.
    pub(crate) fn encode(&self) -> Result<PropertiesBuf, Failure> {
        let mut buf = PropertiesBuf::new();
        if let Some(format) = self.payload_format_indicator {
            if format > 1 {
                return Err(Failure::bad_request("payload_format_indicator is 0 or 1"));
            }
            buf.push(Property::PayloadFormatIndicator(format));
        }
        if let Some(content_type) = &self.content_type {
            buf.push(Property::ContentType(checked("content_type", content_type)?));
        }
        if let Some(topic) = &self.response_topic {
            // [MQTT5 3.3.2-14]
            TopicName::parse(topic).map_err(|_| Failure::bad_request("response_topic is no topic name"))?;
            buf.push(Property::ResponseTopic(topic));
        }
        if let Some(data) = &self.correlation_data {
            buf.push(Property::CorrelationData(checked("correlation_data", data)?.as_bytes()));
        }
        for (name, value) in &self.user_properties {
            let (name, value) = (checked("user_properties", name)?, checked("user_properties", value)?);
            buf.push(Property::UserProperty((name, value)));
        }
        Ok(buf)
    }
}

/// A text that a packet can have. [MQTT5 1.5.4-2]
fn checked<'a>(name: &str, text: &'a str) -> Result<&'a str, Failure> {
    if text.len() > usize::from(u16::MAX) || text.contains('\0') {
        return Err(Failure::bad_request(format!(
            "{name} is longer than 65,535 bytes or has a U+0000 in it"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters_and_stays_text() {
        for (bytes, most, text, coding, is_cut) in [
            ("grün".as_bytes(), 5, "grün", Coding::Plain, false),
            ("grün".as_bytes(), 4, "grü", Coding::Plain, true),
            ("grün".as_bytes(), 3, "gr", Coding::Plain, true),
            (b"\xff\xfe", 2, "//4=", Coding::Base64, false),
            (b"a\xffb", 2, "Yf8=", Coding::Base64, true),
            // Half a character at the end of all there is was not cut.
            (b"gr\xc3", 3, "Z3LD", Coding::Base64, false),
        ] {
            let cut = Text::beginning(bytes, most);
            assert_eq!(
                (cut.text.as_str(), cut.coding, cut.is_cut),
                (text, coding, is_cut),
                "{bytes:?} {most}"
            );
        }
    }
}
