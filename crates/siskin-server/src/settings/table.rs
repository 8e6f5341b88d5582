//! The settings, each defined once. Configuration file, command line, `--help` and the output of
//! `siskin check` are read off this table; the defaults are those of [`Config::default`].

use siskin_core::store::Durability;
use siskin_core::{PublishDenied, QueueFull};
use siskin_proto::Qos;

use super::kind::{Kind, Unit, Value, without_login};
use super::listener::RATE_MAX;
use crate::config::{Anonymous, Config, Excess, LogFormat, LogLevel, SubscribeCheck, WORKERS_MAX};

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name in a configuration file: `section.key`, or `key` outside of all sections.
    pub name: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    /// Whether a running broker takes a new value; the others need a restart.
    pub reloads: bool,
    field: Field,
}

/// A setting's place in a [`Config`], and what may stand there.
#[derive(Debug)]
struct Field {
    kind: Kind,
    read: fn(&Config) -> Value,
    write: fn(&mut Config, &Value),
}

impl Setting {
    /// The setting called `name`.
    pub fn named(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.name == name)
    }

    /// What values it may have, in which unit.
    pub fn kind(&self) -> &Kind {
        &self.field.kind
    }

    /// Its section in a configuration file and its key there.
    pub fn section_and_key(&self) -> (&'static str, &'static str) {
        self.name.split_once('.').unwrap_or(("", self.name))
    }

    /// Its flag on the command line, without the dashes: `packet-size-max` for `limits.packet_size_max`.
    pub fn flag(&self) -> String {
        let name = self.name.trim_start_matches("limits.").trim_start_matches("access.");
        name.trim_end_matches(".address").replace(['.', '_'], "-")
    }

    /// Its value in `config`.
    pub fn read(&self, config: &Config) -> Value {
        (self.field.read)(config)
    }

    /// Its value in `config` as it is written, but for a secret only that it is there.
    pub fn show_masked(&self, config: &Config) -> String {
        if self.holds_secret(config) {
            return "***".to_owned();
        }
        match self.read(config) {
            Value::Text(text) => self.field.kind.show(&Value::Text(without_login(&text).into_owned())),
            value => self.field.kind.show(&value),
        }
    }

    /// Whether its value in `config` is nobody's business.
    pub fn holds_secret(&self, config: &Config) -> bool {
        let is_there = |value: Value| matches!(value, Value::Text(text) if !text.is_empty());
        matches!(self.field.kind, Kind::Secret) && is_there(self.read(config))
    }

    /// Puts `value`, which came from its [`Kind::parse`], into `config`.
    pub fn write(&self, config: &mut Config, value: &Value) {
        (self.field.write)(config, value);
    }

    /// Its value if nobody says otherwise.
    pub fn default(&self) -> Value {
        self.read(&Config::default())
    }

    /// One that a running broker takes a new value of.
    const fn live(name: &'static str, field: Field, help: &'static str) -> Self {
        Self { name, help, reloads: true, field }
    }

    const fn fixed(name: &'static str, field: Field, help: &'static str) -> Self {
        Self { name, help, reloads: false, field }
    }
}

/// A number of a unit between two ends that its field's type can hold, and perhaps a word for one value.
macro_rules! number {
    ($($field:ident).+: $type:ty, $unit:ident, $min:expr, $max:expr $(, $word:literal = $meaning:expr)?) => {
        Field {
            kind: Kind::Number {
                unit: Unit::$unit,
                range: $min..=$max as u64,
                word: number!(@word $($word = $meaning)?),
            },
            read: |config| Value::Number(config.$($field).+ as u64),
            write: |config, value| {
                if let Value::Number(number) = value {
                    config.$($field).+ = *number as $type;
                }
            },
        }
    };
    (@word) => { None };
    (@word $word:literal = $meaning:expr) => { Some(($word, $meaning as u64)) };
}

/// On or off.
macro_rules! switch {
    ($($field:ident).+) => {
        Field {
            kind: Kind::Switch,
            read: |config| Value::Switch(config.$($field).+),
            write: |config, value| {
                if let Value::Switch(on) = value {
                    config.$($field).+ = *on;
                }
            },
        }
    };
}

/// An enum, with the word for each variant.
macro_rules! choice {
    ($($field:ident).+: $($word:literal = $variant:path),+) => {
        Field {
            kind: Kind::Choice(&[$($word),+]),
            read: |config| Value::Text(match config.$($field).+ { $($variant => $word,)+ }.to_owned()),
            write: |config, value| {
                config.$($field).+ = match value {
                    $(Value::Text(word) if word == $word => $variant,)+
                    _ => return,
                };
            },
        }
    };
}

const NODE_NAME: Field = Field {
    kind: Kind::TopicLevel,
    read: |config| Value::Text(config.node_name.clone()),
    write: |config, value| {
        if let Value::Text(name) = value {
            config.node_name.clone_from(name);
        }
    },
};

const STORE_DIR: Field = Field {
    kind: Kind::Directory { word: "default" },
    read: |config| Value::Text(config.store.directory.to_string_lossy().into_owned()),
    write: |config, value| {
        if let Value::Text(path) = value {
            config.store.directory = path.into();
        }
    },
};

/// A file, or none.
macro_rules! file {
    ($($field:ident).+) => {
        Field {
            kind: Kind::File { word: "none" },
            read: |config| Value::Text(config.$($field).+.to_string_lossy().into_owned()),
            write: |config, value| {
                if let Value::Text(path) = value {
                    config.$($field).+ = path.into();
                }
            },
        }
    };
}

const MEMORY_MAX: Field = Field {
    kind: Kind::Memory,
    read: |config| Value::Number(config.memory_max),
    write: |config, value| {
        if let Value::Number(bytes) = value {
            config.memory_max = *bytes;
        }
    },
};

const USER: Field = Field {
    kind: Kind::Account { word: "none" },
    read: |config| Value::Text(config.user.clone()),
    write: |config, value| {
        if let Value::Text(user) = value {
            config.user.clone_from(user);
        }
    },
};

const ADMIN_ADDRESS: Field = Field {
    kind: Kind::AdminAddress,
    read: |config| Value::Text(config.admin.listen.to_string()),
    write: |config, value| {
        if let Value::Text(text) = value
            && let Ok(listen) = text.parse()
        {
            config.admin.listen = listen;
        }
    },
};

const ADMIN_TOKEN: Field = Field {
    kind: Kind::Secret,
    read: |config| Value::Text(config.admin.token.0.clone()),
    write: |config, value| {
        if let Value::Text(token) = value {
            config.admin.token.0.clone_from(token);
        }
    },
};

const TRACES_URL: Field = Field {
    kind: Kind::Url { word: "none" },
    read: |config| Value::Text(config.telemetry.traces_url.clone()),
    write: |config, value| {
        if let Value::Text(url) = value {
            config.telemetry.traces_url.clone_from(url);
        }
    },
};

const TRACES_HEADER: Field = Field {
    kind: Kind::Secret,
    read: |config| Value::Text(config.telemetry.traces_header.0.clone()),
    write: |config, value| {
        if let Value::Text(header) = value {
            config.telemetry.traces_header.0.clone_from(header);
        }
    },
};

/// All settings, in the order in which they are shown.
#[rustfmt::skip]
pub static SETTINGS: &[Setting] = &[
    Setting::fixed("node_name", NODE_NAME,
        "Name of this broker, as in $SYS/brokers/NAME"),
    Setting::fixed("workers", number!(workers: u16, Count, 0, WORKERS_MAX, "cores" = 0),
        "Threads that own connections and sessions"),
    Setting::fixed("user", USER,
        "Whom the broker becomes before it serves anybody, if it was started as root"),
    Setting::live("memory_max", MEMORY_MAX,
        "Memory that the process should not exceed; auto is four fifths of what the machine or its control group has"),

    Setting::live("log.level", choice!(log.level: "error" = LogLevel::Error, "warn" = LogLevel::Warn,
        "info" = LogLevel::Info, "debug" = LogLevel::Debug, "trace" = LogLevel::Trace),
        "Least grave log lines to show"),
    Setting::fixed("log.format", choice!(log.format: "human" = LogFormat::Human, "json" = LogFormat::Json),
        "How a log line looks"),

    Setting::fixed("store.durability", choice!(store.durability: "synced" = Durability::Synced,
        "written" = Durability::Written, "memory" = Durability::Memory),
        "How safe a message is when it is acknowledged: on stable storage, with the kernel, or in memory alone"),
    Setting::fixed("store.dir", STORE_DIR,
        "Directory of what outlives the broker; by default $STATE_DIRECTORY, else /var/lib/siskin for root and \
         ~/.local/state/siskin for others"),

    Setting::live("access.allow_anonymous", choice!(access.allow_anonymous: "local" = Anonymous::Local,
        "true" = Anonymous::Allowed, "false" = Anonymous::Denied),
        "Whether clients without a user name are let in; local means by loopback addresses and Unix sockets only"),
    Setting::live("access.password_file", file!(access.password_file),
        "File of user names and password hashes, as Mosquitto and siskin passwd write it"),
    Setting::live("access.acl_file", file!(access.acl_file),
        "File of who may read and write which topics, in Mosquitto's format; without it everybody may everything"),
    Setting::live("access.subscribe_check", choice!(access.subscribe_check:
        "delivery" = SubscribeCheck::Delivery, "strict" = SubscribeCheck::Strict),
        "What becomes of a subscription that the ACL file never lets a message through for: granted, or refused"),
    Setting::live("access.publish_denied", choice!(limits.publish_denied: "answer" = PublishDenied::Answer,
        "disconnect" = PublishDenied::Disconnect),
        "What becomes of a client that publishes where it may not: its message is dropped, or its connection ends"),
    Setting::fixed("admin.address", ADMIN_ADDRESS,
        "Where the HTTP API for operators listens; default is 127.0.0.1:18083 if that is free"),
    Setting::live("admin.token", ADMIN_TOKEN,
        "Token that users of the HTTP API must have; token_file keeps it out of this file and of process lists"),
    Setting::live("admin.token_file", file!(admin.token_file),
        "File whose first line is that token"),
    Setting::live("admin.password_file", file!(admin.password_file),
        "File of user names and password hashes of users of the HTTP API, as siskin passwd writes it"),
    Setting::live("admin.dashboard", switch!(admin.dashboard),
        "Whether browsers get a dashboard from the HTTP API's address"),
    Setting::live("admin.metrics_siskin", switch!(admin.metrics.siskin),
        "Whether /metrics shows Siskin's own names"),
    Setting::live("admin.metrics_mosquitto", switch!(admin.metrics.mosquitto),
        "Whether /metrics shows the names of mosquitto-exporter"),
    Setting::live("admin.metrics_emqx", switch!(admin.metrics.emqx),
        "Whether /metrics shows the names of EMQX"),
    Setting::live("telemetry.traces_url", TRACES_URL,
        "Where the ways of messages go as OpenTelemetry traces, by OTLP over HTTP, like http://127.0.0.1:4318/v1/traces"),
    Setting::live("telemetry.traces_header", TRACES_HEADER,
        "Header that goes with them, like Authorization: Bearer TOKEN"),
    Setting::live("telemetry.traces_per_second",
        number!(telemetry.traces_per_second: u16, Count, 1, 1000),
        "Messages a second that each worker has followed at most"),
    Setting::live("quota.client_messages", number!(quota.client.messages: u64, Count, 0, RATE_MAX, "unlimited" = 0),
        "Messages a second that one client may publish"),
    Setting::live("quota.client_bytes", number!(quota.client.bytes: u64, Bytes, 0, RATE_MAX, "unlimited" = 0),
        "Bytes a second that one client may send"),
    Setting::live("quota.client_connects", number!(quota.client.connects: u64, Count, 0, RATE_MAX, "unlimited" = 0),
        "Connects a second with one client id"),
    Setting::live("quota.client_subscribes",
        number!(quota.client.subscribes: u64, Count, 0, RATE_MAX, "unlimited" = 0),
        "Subscriptions a second that one client may make"),
    Setting::live("quota.user_messages", number!(quota.user.messages: u64, Count, 0, RATE_MAX, "unlimited" = 0),
        "Messages a second that all clients with one user name may publish together"),
    Setting::live("quota.user_bytes", number!(quota.user.bytes: u64, Bytes, 0, RATE_MAX, "unlimited" = 0),
        "Bytes a second that all clients with one user name may send together"),
    Setting::live("quota.user_connects", number!(quota.user.connects: u64, Count, 0, RATE_MAX, "unlimited" = 0),
        "Connects a second with one user name"),
    Setting::live("quota.user_subscribes",
        number!(quota.user.subscribes: u64, Count, 0, RATE_MAX, "unlimited" = 0),
        "Subscriptions a second that all clients with one user name may make together"),
    Setting::live("quota.excess", choice!(quota.excess: "delay" = Excess::Delay, "drop" = Excess::Drop,
        "disconnect" = Excess::Disconnect),
        "What becomes of what is more than a quota allows, those of listeners too"),

    Setting::live("flapping.client_connects",
        number!(flapping.client_connects: u32, Count, 0, u32::MAX, "unlimited" = 0),
        "Connects with one client id within flapping.window; with as many it is banned"),
    Setting::live("flapping.address_connects",
        number!(flapping.address_connects: u32, Count, 0, u32::MAX, "unlimited" = 0),
        "Connects from one address within flapping.window; with as many it is banned"),
    Setting::live("flapping.window", number!(flapping.window_ms: u64, Millis, 100, 86_400_000),
        "Time in which connects are counted"),
    Setting::live("flapping.ban", number!(flapping.ban_ms: u64, Millis, 100, 31_536_000_000_u64),
        "Time for which a client id or address that flaps is banned"),

    Setting::live("limits.connections_max",
        number!(transport.connections_max: u32, Count, 0, u32::MAX, "open-files" = 0),
        "Connections at once; one more is closed at once"),
    Setting::live("limits.connect_rate_max",
        number!(transport.connect_rate_max: u32, Count, 0, u32::MAX, "unlimited" = 0),
        "New connections a second; more wait to be accepted"),
    Setting::live("limits.connect_timeout", number!(transport.connect_timeout_ms: u64, Millis, 1, 3_600_000),
        "Time for a new connection's CONNECT; then it is closed"),
    Setting::live("limits.close_timeout", number!(transport.close_timeout_ms: u64, Millis, 1, 60_000),
        "Time for an ended connection to take its last bytes; then they are dropped"),
    Setting::live("limits.tls_check_interval", number!(transport.tls_check_ms: u64, Millis, 100, 86_400_000),
        "Time between two looks at whether certificates, keys, revocation lists, password and ACL files have changed"),

    Setting::live("limits.packet_size_max", number!(limits.packet_size_max: u32, Bytes, 128, 268_435_455),
        "Size of a packet from a client; a larger one ends its connection"),
    Setting::live("limits.properties_bytes_max",
        number!(limits.properties_bytes_max: u32, Bytes, 1024, 268_435_455),
        "Bytes of the properties of a PUBLISH or a will; more end the connection"),
    Setting::live("limits.receive_maximum", number!(limits.receive_maximum: u16, Count, 1, u16::MAX),
        "QoS 1 and 2 messages that a client may have open towards the broker; one more ends its connection"),
    Setting::live("limits.inflight_max", number!(limits.inflight_max: u16, Count, 1, u16::MAX),
        "QoS 1 and 2 messages sent to a client and not acknowledged; more wait in its queue"),
    Setting::live("limits.queue_messages_max", number!(limits.queue_messages_max: u32, Count, 0, u32::MAX),
        "Messages that wait for one session; at the limit queue_full decides"),
    Setting::live("limits.queue_bytes_max", number!(limits.queue_bytes_max: u64, Bytes, 0, 1_u64 << 50),
        "Bytes of messages that wait for one session; at the limit queue_full decides"),
    Setting::live("limits.queue_memory_bytes_max",
        number!(limits.queue_memory_bytes_max: u64, Bytes, 0, 1_u64 << 50),
        "Bytes of messages that wait for one session in memory; beyond it they lie in the store alone"),
    Setting::live("limits.queue_full", choice!(limits.queue_full: "drop-newest" = QueueFull::DropNewest,
        "drop-oldest" = QueueFull::DropOldest),
        "Which message a full queue loses"),
    Setting::live("limits.queue_qos0", switch!(limits.queue_qos0),
        "Whether QoS 0 messages wait for absent clients too"),
    Setting::live("limits.out_buffer_bytes_max",
        number!(limits.out_buffer_bytes_max: usize, Bytes, 1024, 1_u64 << 32),
        "Bytes that wait for one client's connection, or eight messages if they are large; beyond it QoS 0 is dropped, \
         QoS 1 and 2 wait"),
    Setting::live("limits.subscriptions_max", number!(limits.subscriptions_max: u32, Count, 0, u32::MAX),
        "Subscriptions of one client; one more is refused"),
    Setting::live("limits.topic_levels_max", number!(limits.topic_levels_max: u16, Count, 1, u16::MAX),
        "Levels of a topic name or filter; deeper ones are refused"),
    Setting::live("limits.retained_messages_max",
        number!(limits.retained_messages_max: u32, Count, 0, u32::MAX),
        "Retained messages; at the limit no new topic is retained"),
    Setting::live("limits.retained_bytes_max", number!(limits.retained_bytes_max: u64, Bytes, 0, 1_u64 << 50),
        "Bytes of all retained messages; at the limit no new topic is retained"),
    Setting::live("limits.retained_expiry", number!(limits.retained_expiry_s: u32, Seconds, 0, u32::MAX, "never" = 0),
        "Time after which a retained message is forgotten"),
    Setting::live("limits.session_expiry_max",
        number!(limits.session_expiry_s_max: u32, Seconds, 0, u32::MAX, "never" = u32::MAX),
        "Longest session expiry; a longer wish is cut and the client told"),
    Setting::live("limits.session_expiry_v3",
        number!(limits.session_expiry_s_v3: u32, Seconds, 0, u32::MAX, "never" = u32::MAX),
        "Time that a 3.1 or 3.1.1 session with clean session 0 outlives its connection"),
    Setting::live("limits.keep_alive_percent", number!(limits.keep_alive_percent: u32, Percent, 100, 1000),
        "Part of its keep alive after which a silent client is cut off"),
    Setting::live("limits.keep_alive_max", number!(limits.keep_alive_s_max: u16, Seconds, 1, u16::MAX),
        "Longest keep alive; 5.0 clients that wish for more are told this one"),
    Setting::live("limits.topic_alias_max", number!(limits.topic_alias_max: u16, Count, 0, u16::MAX),
        "Topic aliases that a client may set; a higher one ends its connection"),
    Setting::live("limits.topic_alias_max_out", number!(limits.topic_alias_max_out: u16, Count, 0, u16::MAX),
        "Topic aliases set towards a client that allows as many"),
    Setting::live("limits.max_qos", choice!(limits.max_qos: "0" = Qos::AtMostOnce, "1" = Qos::AtLeastOnce,
        "2" = Qos::ExactlyOnce),
        "Highest QoS that clients may publish at; a higher one ends the connection"),
    Setting::live("limits.retain_available", switch!(limits.retain_available),
        "Whether messages may be retained"),
    Setting::live("limits.wildcard_available", switch!(limits.wildcard_available),
        "Whether filters may have wildcards"),
    Setting::live("limits.shared_available", switch!(limits.shared_available),
        "Whether shared subscriptions are granted"),
    Setting::live("limits.subscription_ids_available", switch!(limits.subscription_ids_available),
        "Whether subscription identifiers are understood"),
    Setting::live("limits.sys_interval", number!(limits.sys_interval_s: u32, Seconds, 0, 86_400, "off" = 0),
        "Time between two rounds of $SYS messages"),

    Setting::live("recorder.enabled", switch!(limits.recorder_enabled),
        "Whether it is recorded what happens to each client"),
    Setting::live("recorder.clients_max", number!(limits.recorder_clients_max: u32, Count, 0, u32::MAX),
        "Clients without a session whose stories are kept; at the limit the oldest go"),
    Setting::live("recorder.bytes_max", number!(limits.recorder_bytes_max: u64, Bytes, 0, 1_u64 << 50),
        "Bytes of the stories of clients without a session; at the limit the oldest go"),
];
