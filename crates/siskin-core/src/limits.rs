//! Every limit of the broker, each with what happens at it.

use siskin_proto::Qos;

/// What one broker allows. The defaults are the product's.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a whole packet from a client. A larger one ends its connection (0x95).
    pub packet_size_max: u32,
    /// Bytes of the properties of a PUBLISH or a will, which are copied for each receiver. More end the
    /// connection (0x97).
    pub properties_bytes_max: u32,
    /// QoS 1 and 2 messages that one client has not yet acknowledged; more wait in its queue.
    pub inflight_max: u16,
    /// QoS 1 and 2 messages that a client may have open towards us. One more ends its connection (0x93).
    pub receive_maximum: u16,
    /// Messages that wait for one session. At the limit `queue_full` says which is dropped.
    pub queue_messages_max: u32,
    /// Bytes of messages that wait for one session. At the limit `queue_full` says which is dropped.
    pub queue_bytes_max: u64,
    /// Bytes of messages that wait for one session in memory. Beyond it those that are in the store lie there alone.
    pub queue_memory_bytes_max: u64,
    /// Which message a full queue loses.
    pub queue_full: QueueFull,
    /// Whether QoS 0 messages wait for absent clients too.
    pub queue_qos0: bool,
    /// What becomes of who publishes where it may not.
    pub publish_denied: PublishDenied,
    /// Subscriptions of one client. One more is refused (0x97).
    pub subscriptions_max: u32,
    /// Levels of a topic name or filter. Deeper names and filters are refused (0x90, 0x8F).
    pub topic_levels_max: u16,
    /// Retained messages. At the limit a new topic is not retained (0x97), an old one is still replaced.
    pub retained_messages_max: u32,
    /// Bytes of all retained messages. At the limit the message is not retained (0x97).
    pub retained_bytes_max: u64,
    /// Seconds after which a retained message is forgotten, 0 for never.
    pub retained_expiry_s: u32,
    /// The longest session expiry in seconds; a longer wish is cut and the client told.
    pub session_expiry_s_max: u32,
    /// Seconds that a 3.1 or 3.1.1 session with clean session 0 outlives its connection.
    pub session_expiry_s_v3: u32,
    /// After how much of its keep alive a silent client is cut off, in percent.
    pub keep_alive_percent: u32,
    /// The longest keep alive in seconds; 5.0 clients that wish for more (or none) are told this one.
    pub keep_alive_s_max: u16,
    /// Topic aliases that a client may set. A higher one ends its connection (0x94).
    pub topic_alias_max: u16,
    /// Topic aliases that we set towards a client that allows as many.
    pub topic_alias_max_out: u16,
    /// Bytes that wait for one client's transport. Beyond it QoS 0 is dropped but for a few large messages, QoS 1 and
    /// 2 queue.
    pub out_buffer_bytes_max: usize,
    /// The highest QoS that clients may publish at. A higher one ends the connection (0x9B).
    pub max_qos: Qos,
    /// Whether messages may be retained. If not, RETAIN 1 ends the connection (0x9A).
    pub retain_available: bool,
    /// Whether filters may have wildcards. If not, they are refused, and end a 5.0 connection (0xA2).
    pub wildcard_available: bool,
    /// Whether shared subscriptions are granted. If not, they are refused, and end a 5.0 connection (0x9E).
    pub shared_available: bool,
    /// Whether subscription identifiers are understood. If not, they end a connection (0xA1).
    pub subscription_ids_available: bool,
    /// Seconds between two rounds of `$SYS` messages, 0 for none.
    pub sys_interval_s: u32,
    /// Whether it is recorded what happens to each client.
    pub recorder_enabled: bool,
    /// Clients without a session whose stories are kept. One more, and the oldest story goes.
    pub recorder_clients_max: u32,
    /// Bytes of the stories of clients without a session. Beyond it the oldest go.
    pub recorder_bytes_max: u64,
}

/// Which message goes when a session's queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueFull {
    /// The one that came last is not queued.
    DropNewest,
    /// The one that has waited longest makes room.
    DropOldest,
}

/// What becomes of a client that publishes where it may not. The message is dropped in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishDenied {
    /// It is told so (0x87), where its version and the QoS have an answer that can say it; else it is not told.
    Answer,
    /// Its connection ends (0x87).
    Disconnect,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_size_max: 16 * 1024 * 1024,
            properties_bytes_max: 256 * 1024,
            inflight_max: 1000,
            receive_maximum: 1024,
            queue_messages_max: 10_000,
            queue_bytes_max: 64 * 1024 * 1024,
            queue_memory_bytes_max: 256 * 1024,
            queue_full: QueueFull::DropNewest,
            queue_qos0: false,
            publish_denied: PublishDenied::Answer,
            subscriptions_max: 1_000_000,
            topic_levels_max: 128,
            retained_messages_max: 10_000_000,
            retained_bytes_max: 4 * 1024 * 1024 * 1024,
            retained_expiry_s: 0,
            session_expiry_s_max: u32::MAX,
            session_expiry_s_v3: 30 * 24 * 3600,
            keep_alive_percent: 150,
            keep_alive_s_max: u16::MAX,
            topic_alias_max: 32,
            topic_alias_max_out: 32,
            out_buffer_bytes_max: 1024 * 1024,
            max_qos: Qos::ExactlyOnce,
            retain_available: true,
            wildcard_available: true,
            shared_available: true,
            subscription_ids_available: true,
            sys_interval_s: 10,
            recorder_enabled: true,
            recorder_clients_max: 10_000,
            recorder_bytes_max: 16 * 1024 * 1024,
        }
    }
}
