//! What the server sends: acknowledged, traced, and handed on if a tool has to know.

use std::borrow::Cow;

use siskin_proto::delivery::{Acked, Arrival};
use siskin_proto::{
    DecodeError, Disconnect, Frame, FrameStatus, PACKET_SIZE_MAX, Packet, PacketId, PacketKind, Properties,
    PubAck, PubComp, PubRec, PubRel, Publish, Qos, Reason, SubAck, decode, frame,
};

use super::connection::Client;
use super::failure::{Failure, MALFORMED_PACKET, PROTOCOL};
use super::trace::Id;

/// What a tool has to know of what came.
pub(crate) enum Incoming<'a> {
    /// A message, to be seen once even if it comes again.
    Message(Message<'a>),
    SubAck(SubAck<'a>),
    UnsubAck,
    /// The server did not take a message.
    Refused(PacketId, Reason, Option<&'a str>),
    /// Nothing.
    Settled,
}

/// A message as it came.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    pub(crate) topic: Cow<'a, str>,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) properties: Properties<'a>,
}

/// Cuts what [`Client::wait`] handed out into packets.
pub(crate) fn packets(mut bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    std::iter::from_fn(move || {
        let Ok(FrameStatus::Complete(frame)) = frame(bytes, PACKET_SIZE_MAX) else { return None };
        bytes = &bytes[frame.len..];
        Some(frame)
    })
}

impl Client {
    /// Answers a packet as the protocol demands. The answer waits in the buffer until the tool has nothing
    /// else to do, so that the message is printed first.
    pub(crate) fn handle<'a>(&mut self, frame: Frame<'a>) -> Result<Incoming<'a>, Failure> {
        match decode(frame, self.version()).map_err(misbehaved)? {
            Packet::Publish(publish) => self.handle_publish(publish),
            Packet::PubAck(puback) => self.handle_puback(puback),
            Packet::PubRec(pubrec) => self.handle_pubrec(pubrec),
            Packet::PubRel(pubrel) => self.handle_pubrel(pubrel),
            Packet::PubComp(pubcomp) => self.handle_pubcomp(pubcomp),
            Packet::SubAck(suback) => {
                self.trace_received(format_args!("SUBACK"))?;
                Ok(Incoming::SubAck(suback))
            }
            Packet::UnsubAck(_) => {
                self.trace_received(format_args!("UNSUBACK"))?;
                Ok(Incoming::UnsubAck)
            }
            Packet::PingResp(_) => {
                self.trace_received(format_args!("PINGRESP"))?;
                Ok(Incoming::Settled)
            }
            Packet::Disconnect(disconnect) => {
                self.trace_received(format_args!("DISCONNECT ({})", disconnect.reason as u8))?;
                self.drop_connection();
                Err(disconnected(&disconnect))
            }
            packet => Err(unexpected(packet.kind())),
        }
    }

    fn handle_publish<'a>(&mut self, publish: Publish<'a>) -> Result<Incoming<'a>, Failure> {
        let topic = self.topic_of(&publish)?;
        self.trace_received(format_args!(
            "PUBLISH (d{}, q{}, r{}, m{}, '{topic}', ... ({} bytes))",
            u8::from(publish.dup),
            publish.qos as u8,
            u8::from(publish.retain),
            Id(publish.packet_id),
            publish.payload.len(),
        ))?;
        let properties = Properties::EMPTY;
        let reason = Reason::Success;
        match (publish.qos, publish.packet_id) {
            (Qos::AtLeastOnce, Some(packet_id)) => {
                self.trace_sending(format_args!("PUBACK (m{}, rc0)", packet_id.get()))?;
                self.send(&Packet::PubAck(PubAck { packet_id, reason, properties })); // [MQTT-4.3.2-2]
            }
            (Qos::ExactlyOnce, Some(packet_id)) => {
                let arrival = self.inbound.publish(packet_id);
                if arrival == Arrival::TooMany {
                    let text =
                        "Error: The server sent more messages at once than the receive maximum allows.";
                    return Err(Failure::new(PROTOCOL, text));
                }
                self.trace_sending(format_args!("PUBREC (m{}, rc0)", packet_id.get()))?;
                self.send(&Packet::PubRec(PubRec { packet_id, reason, properties })); // [MQTT-4.3.3-2]
                if arrival == Arrival::Again {
                    return Ok(Incoming::Settled);
                }
            }
            _ => {}
        }
        Ok(Incoming::Message(Message {
            topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            packet_id: publish.packet_id,
            properties: publish.properties,
        }))
    }

    /// The topic by its name or by an alias that the server set before. [MQTT5 3.3.2-8]
    fn topic_of<'a>(&mut self, publish: &Publish<'a>) -> Result<Cow<'a, str>, Failure> {
        let alias = publish.properties.topic_alias();
        let announced = self.settings.properties.connect.as_properties().topic_alias_maximum();
        if alias.is_some_and(|alias| alias > announced.unwrap_or(0)) {
            return Err(Failure::new(PROTOCOL, "Error: The server used a topic alias over the maximum."));
        }
        match (publish.topic, alias) {
            (Some(topic), Some(alias)) => {
                self.inbound_aliases.set(alias, topic.as_str());
                Ok(Cow::Borrowed(topic.as_str()))
            }
            (Some(topic), None) => Ok(Cow::Borrowed(topic.as_str())),
            (None, alias) => match alias.and_then(|alias| self.inbound_aliases.topic(alias)) {
                Some(topic) => Ok(Cow::Owned(topic.into())),
                None => Err(Failure::new(PROTOCOL, "Error: The server used a topic alias that is not set.")),
            },
        }
    }

    fn handle_puback<'a>(&mut self, puback: PubAck<'a>) -> Result<Incoming<'a>, Failure> {
        let PubAck { packet_id, reason, properties } = puback;
        self.trace_received(format_args!("PUBACK (Mid: {}, RC:{})", packet_id.get(), reason as u8))?;
        let acked = self.outbound.puback(packet_id);
        if acked != Acked::Unknown && reason.is_error() {
            return Ok(Incoming::Refused(packet_id, reason, properties.reason_string()));
        }
        Ok(Incoming::Settled)
    }

    fn handle_pubrec<'a>(&mut self, pubrec: PubRec<'a>) -> Result<Incoming<'a>, Failure> {
        let PubRec { packet_id, reason, properties } = pubrec;
        self.trace_received(format_args!("PUBREC (Mid: {})", packet_id.get()))?;
        let answer = match self.outbound.pubrec(packet_id, reason.is_error()) {
            Acked::Finished(_) => {
                return Ok(Incoming::Refused(packet_id, reason, properties.reason_string()));
            }
            Acked::Release(()) | Acked::ReleaseAgain => Reason::Success,
            Acked::Unknown if reason.is_error() => return Ok(Incoming::Settled),
            Acked::Unknown => Reason::PacketIdentifierNotFound,
        };
        self.trace_sending(format_args!("PUBREL (m{})", packet_id.get()))?;
        // [MQTT-4.3.3-1]
        self.send(&Packet::PubRel(PubRel { packet_id, reason: answer, properties: Properties::EMPTY }));
        Ok(Incoming::Settled)
    }

    fn handle_pubrel<'a>(&mut self, pubrel: PubRel<'_>) -> Result<Incoming<'a>, Failure> {
        let packet_id = pubrel.packet_id;
        self.trace_received(format_args!("PUBREL (Mid: {})", packet_id.get()))?;
        // An id that is not open was released before, perhaps by an earlier run of this tool.
        let is_open = self.inbound.release(packet_id);
        let reason = if is_open { Reason::Success } else { Reason::PacketIdentifierNotFound };
        self.trace_sending(format_args!("PUBCOMP (m{})", packet_id.get()))?;
        self.send(&Packet::PubComp(PubComp { packet_id, reason, properties: Properties::EMPTY }));
        Ok(Incoming::Settled)
    }

    fn handle_pubcomp<'a>(&mut self, pubcomp: PubComp<'_>) -> Result<Incoming<'a>, Failure> {
        let PubComp { packet_id, reason, .. } = pubcomp;
        self.trace_received(format_args!("PUBCOMP (Mid: {}, RC:{})", packet_id.get(), reason as u8))?;
        self.outbound.pubcomp(packet_id);
        Ok(Incoming::Settled)
    }
}

/// The server took leave. Some reasons pass, and a later connection may last. [MQTT5 3.14.2-1]
fn disconnected(disconnect: &Disconnect<'_>) -> Failure {
    let Disconnect { reason, properties } = disconnect;
    let mut text = format!("Error: The server ended the connection: {reason}");
    if let Some(why) = properties.reason_string() {
        text += &format!(" ({why})");
    }
    text += ".";
    if let Some(server) = properties.server_reference() {
        text += &format!(" It names another server: {server}.");
    }
    let status = *reason as u8;
    match reason {
        Reason::ServerShuttingDown
        | Reason::ServerBusy
        | Reason::KeepAliveTimeout
        | Reason::MaximumConnectTime => Failure::lost(status, text),
        // It gives no reason, so the status must not say that all went well.
        Reason::Success => Failure::lost(super::CONNECTION_LOST, text),
        _ => Failure::new(status, text),
    }
}

pub(super) fn misbehaved(error: DecodeError) -> Failure {
    Failure::new(MALFORMED_PACKET, format!("Error: The server sent something that is not MQTT: {error}."))
}

fn unexpected(kind: PacketKind) -> Failure {
    Failure::new(PROTOCOL, format!("Error: The server sent {}, which was not expected.", kind.name()))
}
