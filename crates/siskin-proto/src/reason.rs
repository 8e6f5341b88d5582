//! Reason codes of 5.0, and what becomes of them in 3.x.

use core::fmt;

macro_rules! reasons {
    ($($(#[$attribute:meta])* $code:literal $name:ident $text:literal;)*) => {
        /// What came of a request, or why a connection ends. [MQTT5 section 2.4]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason {
            $(#[doc = $text] $(#[$attribute])* $name = $code,)*
        }

        impl Reason {
            /// The reason of this code, if the specification has one.
            pub const fn from_u8(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The name in the text of the specification.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

reasons! {
    #[default] 0x00 Success "Success";
    0x01 GrantedQos1 "Granted QoS 1";
    0x02 GrantedQos2 "Granted QoS 2";
    0x04 DisconnectWithWill "Disconnect with Will Message";
    0x10 NoMatchingSubscribers "No matching subscribers";
    0x11 NoSubscriptionExisted "No subscription existed";
    0x18 ContinueAuthentication "Continue authentication";
    0x19 ReAuthenticate "Re-authenticate";
    0x80 Unspecified "Unspecified error";
    0x81 MalformedPacket "Malformed Packet";
    0x82 ProtocolError "Protocol Error";
    0x83 ImplementationSpecific "Implementation specific error";
    0x84 UnsupportedProtocolVersion "Unsupported Protocol Version";
    0x85 ClientIdentifierNotValid "Client Identifier not valid";
    0x86 BadUserNameOrPassword "Bad User Name or Password";
    0x87 NotAuthorized "Not authorized";
    0x88 ServerUnavailable "Server unavailable";
    0x89 ServerBusy "Server busy";
    0x8A Banned "Banned";
    0x8B ServerShuttingDown "Server shutting down";
    0x8C BadAuthenticationMethod "Bad authentication method";
    0x8D KeepAliveTimeout "Keep Alive timeout";
    0x8E SessionTakenOver "Session taken over";
    0x8F TopicFilterInvalid "Topic Filter invalid";
    0x90 TopicNameInvalid "Topic Name invalid";
    0x91 PacketIdentifierInUse "Packet Identifier in use";
    0x92 PacketIdentifierNotFound "Packet Identifier not found";
    0x93 ReceiveMaximumExceeded "Receive Maximum exceeded";
    0x94 TopicAliasInvalid "Topic Alias invalid";
    0x95 PacketTooLarge "Packet too large";
    0x96 MessageRateTooHigh "Message rate too high";
    0x97 QuotaExceeded "Quota exceeded";
    0x98 AdministrativeAction "Administrative action";
    0x99 PayloadFormatInvalid "Payload format invalid";
    0x9A RetainNotSupported "Retain not supported";
    0x9B QosNotSupported "QoS not supported";
    0x9C UseAnotherServer "Use another server";
    0x9D ServerMoved "Server moved";
    0x9E SharedSubscriptionsNotSupported "Shared Subscriptions not supported";
    0x9F ConnectionRateExceeded "Connection rate exceeded";
    0xA0 MaximumConnectTime "Maximum connect time";
    0xA1 SubscriptionIdentifiersNotSupported "Subscription Identifiers not supported";
    0xA2 WildcardSubscriptionsNotSupported "Wildcard Subscriptions not supported";
}

impl Reason {
    /// 0x00 in a DISCONNECT.
    #[allow(
        non_upper_case_globals,
        reason = "reads as the variant that the specification names beside Success"
    )]
    pub const NormalDisconnection: Self = Self::Success;

    /// 0x00 in a SUBACK.
    #[allow(
        non_upper_case_globals,
        reason = "reads as the variant that the specification names beside Success"
    )]
    pub const GrantedQos0: Self = Self::Success;

    /// Whether this is a failure: 0x80 or above.
    #[inline]
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// The return code of a 3.1 or 3.1.1 CONNACK that comes nearest, 0 to 5.
    pub const fn connect_return_code(self) -> u8 {
        match self {
            _ if !self.is_error() => 0,
            Self::UnsupportedProtocolVersion => 1,
            Self::ClientIdentifierNotValid => 2,
            Self::BadUserNameOrPassword => 4,
            Self::NotAuthorized
            | Self::Banned
            | Self::BadAuthenticationMethod
            | Self::TopicNameInvalid
            | Self::PacketTooLarge
            | Self::PayloadFormatInvalid
            | Self::RetainNotSupported
            | Self::QosNotSupported => 5,
            _ => 3,
        }
    }

    /// The reason that a 3.1 or 3.1.1 CONNACK means by a return code.
    pub(crate) const fn from_connect_return_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.name(), *self as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_its_own_reason_and_no_other_is_one() {
        for code in 0..=u8::MAX {
            match Reason::from_u8(code) {
                Some(reason) => assert_eq!(reason as u8, code),
                None => assert!(!Reason::ALL.iter().any(|reason| *reason as u8 == code)),
            }
        }
        assert_eq!(Reason::ALL.len(), 43);
    }

    #[test]
    fn codes_from_0x80_are_errors() {
        for reason in Reason::ALL {
            assert_eq!(reason.is_error(), *reason as u8 >= 0x80, "{reason}");
        }
    }

    #[test]
    fn return_codes_of_3_1_1_come_back_as_the_reason_they_were_made_of() {
        for code in 0..=5 {
            assert_eq!(Reason::from_connect_return_code(code).unwrap().connect_return_code(), code);
        }
        assert_eq!(Reason::from_connect_return_code(6), None);
    }

    #[test]
    fn every_error_refuses_a_client_of_3_1_1_too() {
        for reason in Reason::ALL {
            assert_eq!(reason.connect_return_code() != 0, reason.is_error(), "{reason}");
            assert!(reason.connect_return_code() <= 5);
        }
    }

    #[test]
    fn a_reason_shows_its_name_and_its_code() {
        assert_eq!(Reason::SessionTakenOver.to_string(), "Session taken over (0x8E)");
    }
}
