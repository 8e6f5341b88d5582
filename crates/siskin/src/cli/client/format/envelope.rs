//! A message and all that is known of it as one JSON object.

use std::io::Write;

use jiff::Zoned;
use siskin_proto::{Property, PropertyId};

use super::write_time;
use crate::cli::client::incoming::Message;
use crate::cli::client::json::{self, Layout};
use crate::cli::client::properties::flag_name;

/// How the payload stands in the object.
#[derive(Clone, Copy)]
pub(super) enum Payload {
    /// As a string.
    Quoted,
    /// As the value that it is.
    Embedded,
}

/// Appends the object. None if the payload shall be embedded and is no JSON.
pub(super) fn write(
    message: &Message<'_>,
    payload: Payload,
    layout: Layout,
    now: &Zoned,
    out: &mut Vec<u8>,
) -> Option<()> {
    if layout == Layout::Compact {
        return write_compact(message, payload, now, out);
    }
    let mut compact = Vec::new();
    write_compact(message, payload, now, &mut compact)?;
    json::lay_out(&String::from_utf8_lossy(&compact), layout, out)
}

fn write_compact(message: &Message<'_>, payload: Payload, now: &Zoned, out: &mut Vec<u8>) -> Option<()> {
    out.extend_from_slice(b"{\"tst\":\"");
    write_time(JSON_TIME, now, out);
    out.extend_from_slice(b"\",\"topic\":");
    json::string(&message.topic, out);
    let (qos, retain, len) = (message.qos as u8, u8::from(message.retain), message.payload.len());
    write!(out, ",\"qos\":{qos},\"retain\":{retain},\"payloadlen\":{len}").ok()?;
    if let Some(id) = message.packet_id {
        write!(out, ",\"mid\":{}", id.get()).ok()?;
    }
    if !message.properties.is_empty() {
        out.extend_from_slice(b",\"properties\":{");
        write_properties(message, out);
        out.push(b'}');
    }
    out.extend_from_slice(b",\"payload\":");
    match payload {
        // What is not UTF-8 cannot stand in JSON and is replaced.
        Payload::Quoted => json::string(&String::from_utf8_lossy(message.payload), out),
        Payload::Embedded => json::lay_out(std::str::from_utf8(message.payload).ok()?, Layout::Compact, out)?,
    }
    out.push(b'}');
    Some(())
}

/// The properties in the order they came, the user properties together where the first of them stands.
fn write_properties(message: &Message<'_>, out: &mut Vec<u8>) {
    let properties = message.properties;
    let mut seen = Vec::new();
    for property in properties.iter() {
        let id = property.id();
        if seen.contains(&id) {
            continue;
        }
        if !seen.is_empty() {
            out.push(b',');
        }
        seen.push(id);
        let name = if id == PropertyId::UserProperty { "user-properties".into() } else { flag_name(id) };
        json::string(&name, out);
        out.push(b':');
        match property {
            Property::UserProperty(_) => {
                out.push(b'{');
                for (place, (name, value)) in properties.user_properties().enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    json::string(name, out);
                    out.push(b':');
                    json::string(value, out);
                }
                out.push(b'}');
            }
            Property::SubscriptionIdentifier(_) => {
                let ids: Vec<String> =
                    properties.subscription_identifiers().map(|id| id.to_string()).collect();
                let list = ids.join(",");
                let list = if ids.len() == 1 { list } else { format!("[{list}]") };
                out.extend_from_slice(list.as_bytes());
            }
            Property::PayloadFormatIndicator(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Property::MessageExpiryInterval(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Property::TopicAlias(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Property::CorrelationData(value) => json::string(&String::from_utf8_lossy(value), out),
            Property::ContentType(text) | Property::ResponseTopic(text) => json::string(text, out),
            // No other property comes with PUBLISH.
            _ => out.extend_from_slice(b"null"),
        }
    }
}

const JSON_TIME: &str = "%Y-%m-%dT%H:%M:%S.%6f%z";
