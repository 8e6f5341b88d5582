//! What a tool sends: messages, SUBSCRIBE, UNSUBSCRIBE.

use siskin_proto::{
    Packet, PacketId, Properties, Publish, Qos, Subscribe, SubscriptionOptions, TopicFilter, TopicName,
    Unsubscribe,
};

use super::connection::Client;
use super::failure::{
    Failure, OVERSIZE_PACKET, PAYLOAD_SIZE, QOS_NOT_SUPPORTED, RETAIN_NOT_SUPPORTED, TOPIC_ALIAS_INVALID,
};
use super::trace::Id;

/// A message to publish.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: TopicName<'a>,
    pub(crate) payload: &'a [u8],
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) properties: Properties<'a>,
}

impl Client {
    /// Whether a message of this QoS may be sent now.
    pub(crate) fn may_publish(&self, qos: Qos) -> bool {
        qos == Qos::AtMostOnce || self.outbound.is_ready()
    }

    /// How many messages the server has not acknowledged.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.outbound.open()
    }

    /// Sends a message. [`Client::may_publish`] must have said yes.
    pub(crate) fn publish(&mut self, message: Outgoing<'_>) -> Result<(), Failure> {
        let version = self.version();
        let alias = message.properties.topic_alias();
        self.check(&message, alias)?;
        let packet_id = match message.qos {
            Qos::AtMostOnce => None,
            qos => self.outbound.send((), qos).ok(),
        };
        let publish = Publish {
            dup: false,
            qos: message.qos,
            retain: message.retain,
            topic: Some(message.topic).filter(|_| alias.is_none() || !self.is_alias_set),
            packet_id,
            properties: message.properties,
            payload: message.payload,
        };
        let len = publish.encoded_len(version, 0);
        if len > self.server.packet_size_max.unwrap_or(u32::MAX) as usize {
            // [MQTT5 3.2.2-15]
            let text =
                format!("Error: The message makes a packet of {len} bytes, which the server does not take.");
            return Err(Failure::new(OVERSIZE_PACKET, text));
        }
        if len > siskin_proto::PACKET_SIZE_MAX as usize {
            return Err(Failure::new(
                PAYLOAD_SIZE,
                "Error: The message is longer than any MQTT packet can be.",
            ));
        }
        self.is_alias_set = alias.is_some();
        self.trace_sending(format_args!(
            "PUBLISH (d0, q{}, r{}, m{}, '{}', ... ({} bytes))",
            message.qos as u8,
            u8::from(message.retain),
            Id(packet_id),
            message.topic.as_str(),
            message.payload.len(),
        ))?;
        publish.encode_head(version, Properties::EMPTY, message.payload.len(), &mut self.out);
        if message.payload.len() < COPIED_BYTES_MAX {
            self.out.extend_from_slice(message.payload);
            if self.out.len() < BUFFERED_BYTES { Ok(()) } else { self.flush() }
        } else {
            self.flush()?;
            self.write(message.payload);
            Ok(())
        }
    }

    /// Asks for subscriptions, all with the same options.
    pub(crate) fn subscribe(
        &mut self,
        packet_id: PacketId,
        filters: &[TopicFilter<'_>],
        options: SubscriptionOptions,
    ) -> Result<(), Failure> {
        for filter in filters {
            self.trace_sending(format_args!(
                "SUBSCRIBE (Mid: {}, Topic: {}, QoS: {}, Options: 0x{:02x})",
                packet_id.get(),
                filter.as_str(),
                options.qos as u8,
                u8::from(options.no_local) << 2
                    | u8::from(options.retain_as_published) << 3
                    | (options.retain_handling as u8) << 4,
            ))?;
        }
        let buf = std::mem::take(&mut self.settings.properties.subscribe);
        let properties = self.settings.v5(buf.as_properties());
        let filters = filters.iter().map(|filter| (*filter, options)).collect();
        self.send(&Packet::Subscribe(Subscribe { packet_id, properties, filters }));
        self.settings.properties.subscribe = buf;
        Ok(())
    }

    /// Asks to end subscriptions.
    pub(crate) fn unsubscribe(
        &mut self,
        packet_id: PacketId,
        filters: &[TopicFilter<'_>],
    ) -> Result<(), Failure> {
        for filter in filters {
            self.trace_sending(format_args!(
                "UNSUBSCRIBE (Mid: {}, Topic: {})",
                packet_id.get(),
                filter.as_str()
            ))?;
        }
        let buf = std::mem::take(&mut self.settings.properties.unsubscribe);
        let properties = self.settings.v5(buf.as_properties());
        self.send(&Packet::Unsubscribe(Unsubscribe { packet_id, properties, filters: filters.to_vec() }));
        self.settings.properties.unsubscribe = buf;
        Ok(())
    }

    /// What CONNACK said the server does not take is not sent. [MQTT5 3.2.2-11] [MQTT5 3.2.2-14]
    /// [MQTT5 3.2.2-17]
    fn check(&self, message: &Outgoing<'_>, alias: Option<u16>) -> Result<(), Failure> {
        let server = &self.server;
        if server.maximum_qos.is_some_and(|max| message.qos as u8 > max) {
            let text = "Error: Message QoS not supported on broker, try a lower QoS.";
            return Err(Failure::new(QOS_NOT_SUPPORTED, text));
        }
        if message.retain && server.retains == Some(false) {
            return Err(Failure::new(RETAIN_NOT_SUPPORTED, "Error: The server does not retain messages."));
        }
        if alias.is_some_and(|alias| alias > server.topic_alias_max) {
            let text = format!("Error: The server's greatest topic alias is {}.", server.topic_alias_max);
            return Err(Failure::new(TOPIC_ALIAS_INVALID, text));
        }
        Ok(())
    }
}

/// Longer payloads are written from where they are.
const COPIED_BYTES_MAX: usize = 32 * 1024;

/// When so much is to be sent it is written, though there may be more.
const BUFFERED_BYTES: usize = 64 * 1024;
