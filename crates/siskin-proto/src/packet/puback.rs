use super::acknowledgement::acknowledgement;

acknowledgement! {
    /// Answers a PUBLISH of QoS 1.
    PubAck,
    flags 0b0000,
    // [MQTT5 3.4.2-1]
    reasons [
        Success,
        NoMatchingSubscribers,
        Unspecified,
        ImplementationSpecific,
        NotAuthorized,
        TopicNameInvalid,
        PacketIdentifierInUse,
        QuotaExceeded,
        PayloadFormatInvalid,
    ]
}
