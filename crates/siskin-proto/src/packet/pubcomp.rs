use super::acknowledgement::acknowledgement;

acknowledgement! {
    /// Answers a PUBREL: the delivery of QoS 2 is complete.
    PubComp,
    flags 0b0000,
    reasons [Success, PacketIdentifierNotFound] // [MQTT5 3.7.2-1]
}
