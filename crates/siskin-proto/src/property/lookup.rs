use super::{Properties, Property, PropertyId};

macro_rules! lookups {
    ($lifetime:lifetime $($name:ident: $property:ident -> $type:ty;)*) => {
        /// Look-ups. Absent stays `None`: which default that means depends on the packet.
        impl<$lifetime> Properties<$lifetime> {
            $(
                #[doc = concat!("The value of [`", stringify!($property), "`](Property::", stringify!($property), ").")]
                pub fn $name(self) -> Option<$type> {
                    match self.find(PropertyId::$property) {
                        Some(Property::$property(value)) => Some(value),
                        _ => None,
                    }
                }
            )*
        }
    };
}

lookups! { 'a
    payload_format_indicator: PayloadFormatIndicator -> u8;
    message_expiry_interval: MessageExpiryInterval -> u32;
    content_type: ContentType -> &'a str;
    response_topic: ResponseTopic -> &'a str;
    correlation_data: CorrelationData -> &'a [u8];
    session_expiry_interval: SessionExpiryInterval -> u32;
    assigned_client_identifier: AssignedClientIdentifier -> &'a str;
    server_keep_alive: ServerKeepAlive -> u16;
    authentication_method: AuthenticationMethod -> &'a str;
    authentication_data: AuthenticationData -> &'a [u8];
    request_problem_information: RequestProblemInformation -> bool;
    will_delay_interval: WillDelayInterval -> u32;
    request_response_information: RequestResponseInformation -> bool;
    response_information: ResponseInformation -> &'a str;
    server_reference: ServerReference -> &'a str;
    reason_string: ReasonString -> &'a str;
    receive_maximum: ReceiveMaximum -> u16;
    topic_alias_maximum: TopicAliasMaximum -> u16;
    topic_alias: TopicAlias -> u16;
    maximum_qos: MaximumQos -> u8;
    retain_available: RetainAvailable -> bool;
    maximum_packet_size: MaximumPacketSize -> u32;
    wildcard_subscription_available: WildcardSubscriptionAvailable -> bool;
    subscription_identifier_available: SubscriptionIdentifierAvailable -> bool;
    shared_subscription_available: SharedSubscriptionAvailable -> bool;
}

/// The two that may stand several times.
impl<'a> Properties<'a> {
    /// All [`SubscriptionIdentifier`](Property::SubscriptionIdentifier)s.
    pub fn subscription_identifiers(self) -> impl Iterator<Item = u32> + Clone + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::SubscriptionIdentifier(id) => Some(id),
            _ => None,
        })
    }

    /// All [`UserProperty`](Property::UserProperty) pairs, name and value, in the order in which they came.
    pub fn user_properties(self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone {
        self.iter().filter_map(|property| match property {
            Property::UserProperty(pair) => Some(pair),
            _ => None,
        })
    }
}
