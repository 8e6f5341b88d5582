//! The flags that publishing and subscribing share, and what they come to.

use clap::ArgAction;
use siskin_proto::{Property, Qos, TopicFilter, TopicName, Version};

use super::failure::Failure;
use super::properties::PacketProperties;
use super::url::Url;

// No doc comment: clap would take it for the description of the subcommand.
#[derive(clap::Args, Debug)]
pub(crate) struct ConnectionArgs {
    /// Host name or address of the server [default: localhost]
    #[arg(short = 'h', long, value_name = "HOST", help_heading = CONNECTION)]
    host: Option<String>,

    /// TCP port of the server [default: 1883]
    #[arg(short, long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), help_heading = CONNECTION)]
    port: Option<u16>,

    /// Server, user and topic in one: mqtt://USER:PASSWORD@HOST:PORT/TOPIC, of which only HOST must be
    /// there; in user name and password %40 is @, the topic is taken as it stands
    #[arg(short = 'L', long, value_name = "URL", conflicts_with_all = ["host", "port"], help_heading = CONNECTION)]
    url: Option<String>,

    /// User name
    #[arg(short, long, value_name = "NAME", allow_hyphen_values = true, help_heading = CONNECTION)]
    username: Option<String>,

    /// Password; without a user name only in MQTT 5
    #[arg(short = 'P', long = "pw", value_name = "PASSWORD", allow_hyphen_values = true, help_heading = CONNECTION)]
    password: Option<String>,

    /// Client identifier [default: the server chooses one]
    #[arg(short, long, value_name = "ID", allow_hyphen_values = true, help_heading = CONNECTION)]
    id: Option<String>,

    /// Client identifier made of this prefix and the process id
    #[arg(short = 'I', long, value_name = "PREFIX", conflicts_with = "id", allow_hyphen_values = true, help_heading = CONNECTION)]
    id_prefix: Option<String>,

    /// Protocol version: 5, 311 or 31, also as mqttv5, mqttv311, mqttv31 [default: 311, or 5 with -x]
    #[arg(short = 'V', long, value_name = "VERSION", value_parser = parse_version, help_heading = CONNECTION)]
    protocol_version: Option<Version>,

    /// Keep the session on the server: do not begin with a clean one, and let it outlive the connection
    #[arg(short = 'c', long, help_heading = CONNECTION)]
    disable_clean_session: bool,

    /// Seconds until the server forgets the session after the connection ended (MQTT 5); -1 or ∞: never
    /// [default: 0, or never with -c]
    #[arg(short = 'x', long, value_name = "SECONDS", value_parser = parse_expiry, allow_hyphen_values = true, help_heading = CONNECTION)]
    session_expiry_interval: Option<u32>,

    /// Keep alive in seconds: how often to say at least something; 0 switches it off
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60, help_heading = CONNECTION)]
    keepalive: u16,

    /// Local address to connect from
    #[arg(short = 'A', long = "bind-address", value_name = "ADDRESS", help_heading = CONNECTION)]
    bind_address: Option<String>,

    /// Send small packets at once (switch off Nagle's algorithm)
    #[arg(long, help_heading = CONNECTION)]
    nodelay: bool,

    /// How many messages of QoS 1 and 2 may be sent and not yet acknowledged; 0: no limit but the server's
    #[arg(short = 'M', long = "max-inflight", value_name = "COUNT", default_value_t = 20, help_heading = CONNECTION)]
    max_inflight: u16,

    #[command(flatten, next_help_heading = CONNECTION)]
    properties: PacketProperties,

    /// Topic of the will, the message that the server publishes if the connection is lost
    #[arg(long, value_name = "TOPIC", allow_hyphen_values = true, help_heading = WILL)]
    will_topic: Option<String>,

    /// Payload of the will [default: empty]
    #[arg(long, value_name = "PAYLOAD", requires = "will_topic", allow_hyphen_values = true, help_heading = WILL)]
    will_payload: Option<String>,

    /// QoS of the will
    #[arg(long, value_name = "QOS", default_value = "0", value_parser = parse_qos, help_heading = WILL)]
    will_qos: Qos,

    /// Let the server retain the will
    #[arg(long, requires = "will_topic", help_heading = WILL)]
    will_retain: bool,

    /// Print each packet that is sent or received
    #[arg(short, long, help_heading = DIAGNOSTICS)]
    debug: bool,

    /// Print no error messages
    #[arg(long, help_heading = DIAGNOSTICS)]
    quiet: bool,

    /// Print this help
    #[arg(long, action = ArgAction::HelpShort, help_heading = DIAGNOSTICS)]
    help: Option<bool>,
}

/// What the flags come to.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) bind_address: Option<String>,
    pub(crate) nodelay: bool,
    /// The topic in `-L`.
    pub(crate) topic: Option<String>,
    pub(crate) version: Version,
    pub(crate) client_id: String,
    pub(crate) clean_start: bool,
    pub(crate) keep_alive_s: u16,
    pub(crate) user_name: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) will: Option<WillSettings>,
    pub(crate) max_inflight: u16,
    pub(crate) properties: PacketProperties,
    pub(crate) debug: bool,
    pub(crate) quiet: bool,
}

#[derive(Debug)]
pub(crate) struct WillSettings {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
}

impl ConnectionArgs {
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    pub(crate) fn settings(self) -> Result<Settings, Failure> {
        let url = self.url.as_deref().map(Url::parse).transpose()?.unwrap_or_default();
        let host =
            if url.host.is_empty() { self.host.unwrap_or_else(|| "localhost".into()) } else { url.host };
        let version = match (self.protocol_version, self.session_expiry_interval) {
            (Some(version), _) => version,
            (None, Some(_)) => Version::V5,
            (None, None) => Version::V3_1_1,
        };
        let user_name = self.username.or(url.user_name);
        let password = self.password.or(url.password);
        if password.is_some() && user_name.is_none() && !version.is_v5() {
            // [MQTT-3.1.2-22]
            return Err(Failure::usage("Error: A password needs a user name, except in MQTT 5."));
        }
        let client_id = client_id(self.id, self.id_prefix, version);
        if self.disable_clean_session && client_id.is_empty() {
            return Err(Failure::usage(
                "Error: You must provide a client id if you are using the -c option.",
            ));
        }
        let mut properties = self.properties;
        expire(&mut properties, self.session_expiry_interval, self.disable_clean_session)?;
        let connect = properties.connect.as_properties();
        if connect.authentication_data().is_some() && connect.authentication_method().is_none() {
            return Err(Failure::usage("Error: authentication-data needs an authentication-method."));
        }
        let will = will(self.will_topic, self.will_payload, self.will_qos, self.will_retain)?;
        for (name, text) in [("client id", Some(&client_id)), ("user name", user_name.as_ref())] {
            if text.is_some_and(|text| text.len() > FIELD_BYTES_MAX || text.contains('\0')) {
                return Err(Failure::usage(format!("Error: The {name} is not fit for MQTT.")));
            }
        }
        if password.as_ref().is_some_and(|password| password.len() > FIELD_BYTES_MAX) {
            return Err(Failure::usage("Error: The password is over 65535 bytes."));
        }
        Ok(Settings {
            host,
            port: self.port.or(url.port).unwrap_or(1883),
            bind_address: self.bind_address,
            nodelay: self.nodelay,
            topic: url.topic,
            version,
            client_id,
            clean_start: !self.disable_clean_session,
            keep_alive_s: self.keepalive,
            user_name,
            password,
            will,
            max_inflight: if self.max_inflight == 0 { u16::MAX } else { self.max_inflight },
            properties,
            debug: self.debug,
            quiet: self.quiet,
        })
    }
}

/// An empty identifier lets the server choose, which MQTT 3.1 does not know.
fn client_id(id: Option<String>, prefix: Option<String>, version: Version) -> String {
    let process = std::process::id();
    match (id, prefix) {
        (Some(id), _) => id,
        (None, Some(prefix)) => format!("{prefix}{process}"),
        (None, None) if version == Version::V3_1 => format!("siskin-{process}"),
        (None, None) => String::new(),
    }
}

/// `-x` and `-c` say when the session expires, unless `-D connect` does.
fn expire(properties: &mut PacketProperties, flag: Option<u32>, persists: bool) -> Result<(), Failure> {
    let interval = match (flag, persists) {
        (Some(interval), _) => interval,
        (None, true) => u32::MAX,
        (None, false) => return Ok(()),
    };
    match (properties.connect.as_properties().session_expiry_interval(), flag) {
        (None, _) => properties.connect.push(Property::SessionExpiryInterval(interval)),
        (Some(_), None) => {}
        (Some(_), Some(_)) => {
            return Err(Failure::usage("Error: -x and -D connect session-expiry-interval are both given."));
        }
    }
    Ok(())
}

fn will(
    topic: Option<String>,
    payload: Option<String>,
    qos: Qos,
    retain: bool,
) -> Result<Option<WillSettings>, Failure> {
    let Some(topic) = topic else { return Ok(None) };
    topic_name(&topic)?;
    let payload = payload.unwrap_or_default();
    if payload.len() > FIELD_BYTES_MAX {
        return Err(Failure::usage("Error: The payload of the will is over 65535 bytes."));
    }
    Ok(Some(WillSettings { topic, payload, qos, retain }))
}

/// A topic to publish to, or why it is none.
pub(crate) fn topic_name(text: &str) -> Result<TopicName<'_>, Failure> {
    TopicName::parse(text)
        .map_err(|error| Failure::usage(format!("Error: Invalid topic '{text}' to publish to: it {error}.")))
}

/// A topic filter, or why it is none.
pub(crate) fn topic_filter(text: &str) -> Result<TopicFilter<'_>, Failure> {
    TopicFilter::parse(text)
        .map_err(|error| Failure::usage(format!("Error: Invalid subscription topic '{text}': it {error}.")))
}

pub(crate) fn parse_qos(text: &str) -> Result<Qos, String> {
    text.parse().ok().and_then(Qos::from_u8).ok_or_else(|| "QoS is 0, 1 or 2".into())
}

pub(crate) fn parse_version(text: &str) -> Result<Version, String> {
    match text {
        "5" | "mqttv5" => Ok(Version::V5),
        "311" | "mqttv311" => Ok(Version::V3_1_1),
        "31" | "mqttv31" => Ok(Version::V3_1),
        _ => Err("there are mqttv5, mqttv311 and mqttv31".into()),
    }
}

fn parse_expiry(text: &str) -> Result<u32, String> {
    match text {
        "-1" | "∞" => Ok(u32::MAX),
        _ => text.parse().map_err(|_| "seconds from 0 to 4294967294, or -1 for never".into()),
    }
}

const FIELD_BYTES_MAX: usize = 65_535;

const CONNECTION: &str = "Connection";
const WILL: &str = "Will";
const DIAGNOSTICS: &str = "Diagnostics";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    #[command(disable_help_flag = true)]
    struct Tool {
        #[command(flatten)]
        connection: ConnectionArgs,
    }

    fn settings(flags: &str) -> Result<Settings, Failure> {
        Tool::try_parse_from(format!("tool {flags}").split_whitespace()).unwrap().connection.settings()
    }

    fn is_misuse(flags: &str) -> bool {
        Tool::try_parse_from(format!("tool {flags}").split_whitespace()).is_err()
    }

    #[test]
    fn without_flags_it_is_mqtt_3_1_1_to_localhost_1883() {
        let settings = settings("").unwrap();
        assert_eq!((settings.host.as_str(), settings.port), ("localhost", 1883));
        assert_eq!(settings.version, Version::V3_1_1);
        assert_eq!((settings.keep_alive_s, settings.max_inflight), (60, 20));
        assert!(settings.clean_start && settings.client_id.is_empty());
    }

    #[test]
    fn every_spelling_of_a_version_is_known() {
        for (text, version) in [
            ("5", Version::V5),
            ("mqttv5", Version::V5),
            ("311", Version::V3_1_1),
            ("mqttv311", Version::V3_1_1),
            ("31", Version::V3_1),
            ("mqttv31", Version::V3_1),
        ] {
            assert_eq!(settings(&format!("-V {text}")).unwrap().version, version);
        }
        assert!(is_misuse("-V 4"));
    }

    #[test]
    fn a_session_expiry_interval_means_version_5() {
        let settings = settings("-x 30 -i me").unwrap();
        assert_eq!(settings.version, Version::V5);
        assert!(settings.clean_start);
        assert_eq!(settings.properties.connect.as_properties().session_expiry_interval(), Some(30));
    }

    #[test]
    fn a_kept_session_of_version_5_never_expires_unless_told() {
        let expiry = |flags: &str| {
            settings(flags).unwrap().properties.connect.as_properties().session_expiry_interval()
        };
        assert_eq!(expiry("-V 5 -c -i me"), Some(u32::MAX));
        assert_eq!(expiry("-V 5 -c -i me -x 7"), Some(7));
        assert_eq!(expiry("-V 5 -c -i me -x -1"), Some(u32::MAX));
        assert_eq!(expiry("-V 5 -i me -x ∞"), Some(u32::MAX));
        assert_eq!(expiry("-V 5 -c -i me -D connect session-expiry-interval 9"), Some(9));
        assert_eq!(expiry("-V 5 -i me"), None);
        assert!(settings("-x 1 -D connect session-expiry-interval 9").is_err());
    }

    #[test]
    fn a_kept_session_needs_a_client_id() {
        assert!(settings("-c").is_err());
        assert!(settings("-c -i me").is_ok());
        assert!(!settings("-c -I pre-").unwrap().clean_start);
    }

    #[test]
    fn a_prefix_is_completed_by_the_process_id() {
        let id = settings("-I pre-").unwrap().client_id;
        assert_eq!(id, format!("pre-{}", std::process::id()));
        assert!(is_misuse("-I pre -i id"));
    }

    #[test]
    fn version_3_1_always_has_a_client_id() {
        let id = settings("-V 31").unwrap().client_id;
        assert!((1..=23).contains(&id.len()));
    }

    #[test]
    fn a_url_gives_server_user_and_topic() {
        let settings = settings("-L mqtt://anna:pw@broker:1999/a/b").unwrap();
        assert_eq!((settings.host.as_str(), settings.port), ("broker", 1999));
        assert_eq!(settings.user_name.as_deref(), Some("anna"));
        assert_eq!(settings.password.as_deref(), Some("pw"));
        assert_eq!(settings.topic.as_deref(), Some("a/b"));
        assert!(is_misuse("-L mqtt://h -p 1"));
    }

    #[test]
    fn a_password_without_a_user_name_needs_version_5() {
        assert!(settings("-P secret").is_err());
        assert!(settings("-P secret -V 5").is_ok());
        assert!(settings("-P -secret -u -x").is_ok());
    }

    #[test]
    fn a_will_needs_a_topic_that_can_be_published_to() {
        let will =
            settings("--will-topic a/b --will-payload -1 --will-qos 1 --will-retain").unwrap().will.unwrap();
        assert_eq!((will.topic.as_str(), will.payload.as_str()), ("a/b", "-1"));
        assert!(will.retain && will.qos == Qos::AtLeastOnce);
        assert!(settings("--will-topic a/#").is_err());
        assert!(is_misuse("--will-payload x"));
        assert!(is_misuse("--will-topic x --will-qos 3"));
    }

    #[test]
    fn properties_of_several_flags_are_kept_apart() {
        let flags = "-V 5 -D connect user-property a b -D connect receive-maximum 5 --property will user-property c d -d";
        let settings = settings(flags).unwrap();
        assert_eq!(settings.properties.connect.as_properties().receive_maximum(), Some(5));
        assert_eq!(settings.properties.connect.as_properties().user_properties().next(), Some(("a", "b")));
        assert_eq!(settings.properties.will.as_properties().user_properties().count(), 1);
        assert!(settings.debug);
        assert!(is_misuse("-D connect user-property a"));
        assert!(settings_of_auth_data_alone().is_err());
    }

    fn settings_of_auth_data_alone() -> Result<Settings, Failure> {
        settings("-V 5 -D connect authentication-data x")
    }
}
