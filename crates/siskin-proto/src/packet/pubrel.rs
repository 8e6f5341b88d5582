use super::acknowledgement::acknowledgement;

acknowledgement! {
    /// Answers a PUBREC: the sender has forgotten the message, and so may the receiver its id.
    PubRel,
    flags 0b0010, // [MQTT-3.6.1-1]
    reasons [Success, PacketIdentifierNotFound] // [MQTT5 3.6.2-1]
}
