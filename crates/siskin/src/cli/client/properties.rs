//! `-D`: properties of 5.0 for the packets that a tool sends.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use siskin_proto::{PropertiesBuf, Property, PropertyId, TopicName};

/// What `-D` asked for, by packet.
#[derive(Clone, Debug, Default)]
pub(crate) struct PacketProperties {
    pub(crate) connect: PropertiesBuf,
    pub(crate) publish: PropertiesBuf,
    pub(crate) subscribe: PropertiesBuf,
    pub(crate) unsubscribe: PropertiesBuf,
    pub(crate) disconnect: PropertiesBuf,
    pub(crate) will: PropertiesBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Connect,
    Publish,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Will,
}

impl PacketProperties {
    /// Adds the property in `words`: packet, name, value, and a second value for a user property.
    fn add(&mut self, words: &[String]) -> Result<(), String> {
        let [target, name, value, rest @ ..] = words else {
            return Err("a packet, a property name and a value are needed".into());
        };
        let target = Target::parse(target)?;
        let id = property(name)?;
        if !target.allows(id) {
            return Err(format!("{name} is not a property of {}", words[0]));
        }
        let property = match (id, rest) {
            (PropertyId::UserProperty, [second]) => {
                Property::UserProperty((text(name, value)?, text(name, second)?))
            }
            (PropertyId::UserProperty, _) => return Err(format!("{name} needs a name and a value")),
            (_, []) => parse(id, name, value)?,
            _ => return Err(format!("{name} has one value, more are given")),
        };
        let properties = self.of(target);
        // [MQTT5 section 2.2.2.2]
        if id != PropertyId::UserProperty && properties.as_properties().iter().any(|other| other.id() == id) {
            return Err(format!("{name} is given twice for {}", words[0]));
        }
        properties.push(property);
        Ok(())
    }

    fn of(&mut self, target: Target) -> &mut PropertiesBuf {
        match target {
            Target::Connect => &mut self.connect,
            Target::Publish => &mut self.publish,
            Target::Subscribe => &mut self.subscribe,
            Target::Unsubscribe => &mut self.unsubscribe,
            Target::Disconnect => &mut self.disconnect,
            Target::Will => &mut self.will,
        }
    }
}

impl Target {
    fn parse(word: &str) -> Result<Self, String> {
        Ok(match word {
            "connect" => Self::Connect,
            "publish" => Self::Publish,
            "subscribe" => Self::Subscribe,
            "unsubscribe" => Self::Unsubscribe,
            "disconnect" => Self::Disconnect,
            "will" => Self::Will,
            _ => {
                return Err(format!(
                    "'{word}' is none of connect, publish, subscribe, unsubscribe, disconnect, will"
                ));
            }
        })
    }

    /// Which properties a client may put into this packet. [MQTT5 table 2-4]
    fn allows(self, id: PropertyId) -> bool {
        use PropertyId as P;
        match self {
            Self::Connect => matches!(
                id,
                P::SessionExpiryInterval
                    | P::ReceiveMaximum
                    | P::MaximumPacketSize
                    | P::TopicAliasMaximum
                    | P::RequestResponseInformation
                    | P::RequestProblemInformation
                    | P::AuthenticationMethod
                    | P::AuthenticationData
                    | P::UserProperty
            ),
            Self::Publish => id == P::TopicAlias || (id != P::WillDelayInterval && Self::Will.allows(id)),
            Self::Subscribe => matches!(id, P::SubscriptionIdentifier | P::UserProperty),
            Self::Unsubscribe => id == P::UserProperty,
            Self::Disconnect => {
                matches!(id, P::SessionExpiryInterval | P::ReasonString | P::UserProperty)
            }
            Self::Will => matches!(
                id,
                P::WillDelayInterval
                    | P::PayloadFormatIndicator
                    | P::MessageExpiryInterval
                    | P::ContentType
                    | P::ResponseTopic
                    | P::CorrelationData
                    | P::UserProperty
            ),
        }
    }
}

/// A property by its name in the specification, in small letters with hyphens.
fn property(name: &str) -> Result<PropertyId, String> {
    (0..=u8::MAX)
        .filter_map(PropertyId::from_u8)
        .find(|id| flag_name(*id) == name)
        .ok_or_else(|| format!("there is no property '{name}'"))
}

/// How a property is called in flags and in JSON.
pub(crate) fn flag_name(id: PropertyId) -> String {
    id.name().to_ascii_lowercase().replace(' ', "-")
}

fn parse<'a>(id: PropertyId, name: &str, value: &'a str) -> Result<Property<'a>, String> {
    use PropertyId as P;
    Ok(match id {
        P::PayloadFormatIndicator => Property::PayloadFormatIndicator(number(name, value, 0, 1)? as u8),
        P::MessageExpiryInterval => Property::MessageExpiryInterval(number(name, value, 0, u32::MAX)?),
        P::ContentType => Property::ContentType(text(name, value)?),
        P::ResponseTopic => match TopicName::parse(value) {
            Ok(_) => Property::ResponseTopic(value),
            Err(error) => return Err(format!("{name} '{value}': {error}")),
        },
        P::CorrelationData => Property::CorrelationData(data(name, value)?),
        P::SubscriptionIdentifier => Property::SubscriptionIdentifier(number(name, value, 1, 268_435_455)?),
        P::SessionExpiryInterval => Property::SessionExpiryInterval(number(name, value, 0, u32::MAX)?),
        P::AuthenticationMethod => Property::AuthenticationMethod(text(name, value)?),
        P::AuthenticationData => Property::AuthenticationData(data(name, value)?),
        P::RequestProblemInformation => Property::RequestProblemInformation(number(name, value, 0, 1)? == 1),
        P::WillDelayInterval => Property::WillDelayInterval(number(name, value, 0, u32::MAX)?),
        P::RequestResponseInformation => {
            Property::RequestResponseInformation(number(name, value, 0, 1)? == 1)
        }
        P::ReasonString => Property::ReasonString(text(name, value)?),
        P::ReceiveMaximum => Property::ReceiveMaximum(number(name, value, 1, 65_535)? as u16),
        P::TopicAliasMaximum => Property::TopicAliasMaximum(number(name, value, 0, 65_535)? as u16),
        P::TopicAlias => Property::TopicAlias(number(name, value, 1, 65_535)? as u16),
        P::MaximumPacketSize => Property::MaximumPacketSize(number(name, value, 1, u32::MAX)?),
        _ => return Err(format!("{name} is not for clients to send")),
    })
}

fn number(name: &str, value: &str, min: u32, max: u32) -> Result<u32, String> {
    match value.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("{name} must be a number from {min} to {max}, not '{value}'")),
    }
}

fn text<'a>(name: &str, value: &'a str) -> Result<&'a str, String> {
    data(name, value)?;
    if value.contains('\0') { Err(format!("{name} must not hold U+0000")) } else { Ok(value) }
}

fn data<'a>(name: &str, value: &'a str) -> Result<&'a [u8], String> {
    if value.len() > 65_535 { Err(format!("{name} is over 65535 bytes")) } else { Ok(value.as_bytes()) }
}

impl Args for PacketProperties {
    fn augment_args(command: Command) -> Command {
        command.arg(
            Arg::new("property")
                .short('D')
                .long("property")
                .num_args(3..=4)
                .value_names(["PACKET", "NAME", "VALUE"])
                .action(ArgAction::Append)
                .help("Add a property to a packet (repeatable; MQTT 5 only, without effect in others); see below"),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for PacketProperties {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut properties = Self::default();
        for words in matches.get_occurrences::<String>("property").into_iter().flatten() {
            let words: Vec<String> = words.cloned().collect();
            properties.add(&words).map_err(|what| {
                clap::Error::raw(ErrorKind::ValueValidation, format!("-D {}: {what}\n", words.join(" ")))
            })?;
        }
        Ok(properties)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// For the end of the help texts.
pub(crate) const PROPERTIES_HELP: &str = "\
Properties (-D), intervals in seconds:
  connect      session-expiry-interval, receive-maximum, maximum-packet-size,
               topic-alias-maximum, request-response-information,
               request-problem-information, authentication-method,
               authentication-data, user-property
  publish      payload-format-indicator, message-expiry-interval, topic-alias,
               response-topic, correlation-data, content-type, user-property
  subscribe    subscription-identifier, user-property
  unsubscribe  user-property
  disconnect   session-expiry-interval, reason-string, user-property
  will         will-delay-interval, payload-format-indicator,
               message-expiry-interval, content-type, response-topic,
               correlation-data, user-property
  A user-property has two values, its name and its value:
  -D publish user-property origin cellar
";

#[cfg(test)]
mod tests {
    use super::*;

    fn added(words: &str) -> Result<PacketProperties, String> {
        let words: Vec<String> = words.split(' ').map(Into::into).collect();
        let mut properties = PacketProperties::default();
        properties.add(&words).map(|()| properties)
    }

    #[test]
    fn every_property_of_every_packet_can_be_given() {
        let mut target = "";
        let mut count = 0;
        for line in PROPERTIES_HELP.lines().skip(1).take_while(|line| !line.contains("A user-property")) {
            let mut words = line.split([' ', ',']).filter(|word| !word.is_empty());
            if !line.starts_with("    ") {
                target = words.next().unwrap();
            }
            for name in words {
                let value = if name == "user-property" { "a b" } else { "1" };
                added(&format!("{target} {name} {value}")).unwrap();
                count += 1;
            }
        }
        assert_eq!(count, 9 + 7 + 2 + 1 + 3 + 7);
    }

    #[test]
    fn a_property_goes_to_its_packet_with_its_value() {
        let properties = added("publish message-expiry-interval 4294967295").unwrap();
        assert_eq!(properties.publish.as_properties().message_expiry_interval(), Some(u32::MAX));
        assert!(properties.connect.as_properties().is_empty());
        let properties = added("will user-property key value").unwrap();
        assert_eq!(properties.will.as_properties().user_properties().next(), Some(("key", "value")));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for words in [
            "connect receive-maximum 0",
            "connect receive-maximum 70000",
            "connect request-problem-information 2",
            "publish topic-alias 0",
            "publish message-expiry-interval -1",
            "publish message-expiry-interval soon",
            "publish payload-format-indicator 2",
            "publish response-topic a/#",
            "subscribe subscription-identifier 0",
            "subscribe subscription-identifier 268435456",
            "connect maximum-packet-size 0",
        ] {
            assert!(added(words).is_err(), "{words}");
        }
    }

    #[test]
    fn the_wrong_packet_name_or_number_of_values_is_refused() {
        for words in [
            "auth user-property a b",
            "publish receive-maximum 5",
            "connect topic-alias 5",
            "publish subscription-identifier 5",
            "publish will-delay-interval 5",
            "connect server-keep-alive 5",
            "publish nonsense 5",
            "publish content-type a b",
            "publish user-property a",
            "publish content-type",
        ] {
            assert!(added(words).is_err(), "{words}");
        }
    }

    #[test]
    fn only_user_property_may_be_given_twice() {
        let words = |words: &str| words.split(' ').map(Into::into).collect::<Vec<String>>();
        let mut properties = PacketProperties::default();
        properties.add(&words("connect user-property a 1")).unwrap();
        properties.add(&words("connect user-property a 1")).unwrap();
        properties.add(&words("connect receive-maximum 1")).unwrap();
        assert!(properties.add(&words("connect receive-maximum 1")).is_err());
    }
}
