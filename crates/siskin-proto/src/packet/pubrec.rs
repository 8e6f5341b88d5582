use super::acknowledgement::acknowledgement;

acknowledgement! {
    /// Answers a PUBLISH of QoS 2: the receiver has taken the message over, or will not.
    PubRec,
    flags 0b0000,
    // [MQTT5 3.5.2-1]
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
