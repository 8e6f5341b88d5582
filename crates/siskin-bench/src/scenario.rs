//! The named scenarios: what each sets where the user did not.

use std::time::Duration;

use siskin_proto::Qos;

use crate::options::WindowOn;

/// A load with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// N publishers to as many subscribers, each to its own.
    Pairs,
    /// One publisher to N subscribers.
    Fanout,
    /// N publishers to one subscriber.
    Fanin,
    /// N publishers to the members of one shared subscription.
    Shared,
    /// Like pairs, but each subscriber holds many filters, most of which match nothing.
    Wildcard,
    /// Clients that connect and leave, over and over.
    Connect,
    /// Connections that do nothing.
    Idle,
    /// Retained messages stored, then handed to a new subscriber.
    Retained,
    /// Messages stored for absent subscribers, who then come for them.
    Offline,
    /// Open loop: a modest rate, whatever the broker does.
    Latency,
    /// Large payloads.
    Large,
    /// Clients that connect, publish and leave, over and over.
    Churn,
}

/// What a scenario sets. The user's options go before it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    pub(crate) publishers: Count,
    pub(crate) subscribers: Count,
    pub(crate) clients: u32,
    pub(crate) topic: &'static str,
    /// Empty for none.
    pub(crate) filter: &'static str,
    pub(crate) filters_each: u32,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) payload_bytes: usize,
    pub(crate) window: u16,
    /// What the window waits for above QoS 0.
    pub(crate) window_on: WindowOn,
    pub(crate) rate_per_s: Option<f64>,
    pub(crate) bound: Bound,
    /// Messages of each connection, where connections come and go.
    pub(crate) each: u32,
}

/// How many of a role there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// As many as there are clients.
    Clients,
    /// So many, however many clients there are.
    Exactly(u32),
}

/// When publishing ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Duration(Duration),
    Messages(u64),
}

impl Scenario {
    /// All of them, in the order of the help.
    pub const ALL: [Self; 12] = [
        Self::Pairs,
        Self::Fanout,
        Self::Fanin,
        Self::Shared,
        Self::Wildcard,
        Self::Connect,
        Self::Churn,
        Self::Idle,
        Self::Retained,
        Self::Offline,
        Self::Latency,
        Self::Large,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pairs => "pairs",
            Self::Fanout => "fanout",
            Self::Fanin => "fanin",
            Self::Shared => "shared",
            Self::Wildcard => "wildcard",
            Self::Connect => "connect",
            Self::Idle => "idle",
            Self::Retained => "retained",
            Self::Offline => "offline",
            Self::Latency => "latency",
            Self::Large => "large",
            Self::Churn => "churn",
        }
    }

    /// What it does, in a sentence, with its defaults.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Pairs => "N publishers to N subscribers, each to its own [100 clients, 10 s]",
            Self::Fanout => "One publisher to N subscribers [1000 clients, 10 s]",
            Self::Fanin => "N publishers to one subscriber [100 clients, 10 s]",
            Self::Shared => "N publishers to the N members of a shared subscription [100 clients, 10 s]",
            Self::Wildcard => {
                "Pairs whose subscribers hold K filters each, exact, + and #, of which one matches [100 clients, K 100, 10 s]"
            }
            Self::Connect => "N clients connect and leave, over and over [100 clients, 10 s]",
            Self::Churn => {
                "N clients connect, publish one message and leave, over and over; one subscriber checks them \
                 [100 clients, QoS 1, 10 s]"
            }
            Self::Idle => "N connections that do nothing: memory for each, with --pid [1000 clients]",
            Self::Retained => {
                "Store retained messages on as many topics, let a new subscriber get all, clear them \
                 [10 clients, 10000 messages, QoS 1]"
            }
            Self::Offline => {
                "Store QoS 1 messages for N absent subscribers with kept sessions, then let them come for them. What is \
                 above the broker's limit for one session's queue counts as lost [16 clients, 16000 messages, window 1]"
            }
            Self::Latency => {
                "Open loop: 5000 messages a second over N pairs, latency from the time that each was due \
                 [100 clients, 10 s]"
            }
            Self::Large => "Pairs with payloads of 64 KiB, or of --payload-size [10 clients, window 4, 10 s]",
        }
    }

    pub(crate) fn defaults(self) -> Defaults {
        let pairs = Defaults {
            publishers: Count::Clients,
            subscribers: Count::Clients,
            clients: 100,
            topic: "bench/pairs/%p",
            filter: "bench/pairs/%p",
            filters_each: 1,
            qos: Qos::AtMostOnce,
            retain: false,
            payload_bytes: 64,
            window: 64,
            window_on: WindowOn::Acknowledgement,
            rate_per_s: None,
            bound: Bound::Duration(Duration::from_secs(10)),
            each: 0,
        };
        let one = Count::Exactly(1);
        let none = Count::Exactly(0);
        let window_on = WindowOn::Arrival;
        match self {
            Self::Pairs => pairs,
            Self::Fanout => Defaults {
                publishers: one,
                clients: 1000,
                topic: "bench/fanout",
                filter: "bench/fanout",
                window_on,
                ..pairs
            },
            Self::Fanin => Defaults {
                subscribers: one,
                topic: "bench/fanin/%i",
                filter: "bench/fanin/+",
                window_on,
                ..pairs
            },
            Self::Shared => Defaults {
                topic: "bench/shared/%i",
                filter: "$share/bench/bench/shared/+",
                window_on,
                ..pairs
            },
            Self::Wildcard => {
                Defaults { topic: "bench/wild/%p/a/b", filter: "", filters_each: 100, window_on, ..pairs }
            }
            Self::Connect => Defaults { subscribers: none, topic: "bench/connect/%i", filter: "", ..pairs },
            Self::Churn => Defaults {
                subscribers: one,
                topic: "bench/churn/%i",
                filter: "bench/churn/+",
                qos: Qos::AtLeastOnce,
                each: 1,
                ..pairs
            },
            Self::Idle => {
                Defaults { publishers: none, clients: 1000, topic: "bench/idle", filter: "", ..pairs }
            }
            Self::Retained => Defaults {
                subscribers: one,
                clients: 10,
                topic: "bench/retained/%i/%s",
                filter: "bench/retained/#",
                qos: Qos::AtLeastOnce,
                retain: true,
                bound: Bound::Messages(10_000),
                ..pairs
            },
            Self::Offline => Defaults {
                clients: 16,
                topic: "bench/offline/%p",
                filter: "bench/offline/%p",
                qos: Qos::AtLeastOnce,
                window: 1,
                bound: Bound::Messages(16_000),
                ..pairs
            },
            Self::Latency => Defaults {
                topic: "bench/latency/%p",
                filter: "bench/latency/%p",
                rate_per_s: Some(5000.0),
                ..pairs
            },
            Self::Large => Defaults {
                clients: 10,
                topic: "bench/large/%p",
                filter: "bench/large/%p",
                payload_bytes: 64 * 1024,
                window: 4,
                window_on,
                ..pairs
            },
        }
    }
}
