//! Which clients send and receive most, and which take least of what waits for them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use siskin_core::{ClientView, SessionKey};
use siskin_server::{Broker, Cursor, SUBSCRIPTION_BYTES, Unanswered};
use utoipa::ToSchema;

/// A look at all clients, and what is remembered of them until the next.
#[derive(Default)]
pub(crate) struct Scan {
    taken: Option<Instant>,
    counters: HashMap<SessionKey, Counters>,
    found: Heaviest,
}

#[derive(Clone, Copy, Default)]
struct Counters {
    /// When the connection was accepted, as another one counts anew.
    since_ms: u64,
    messages_received: u64,
    messages_sent: u64,
    bytes_received: u64,
    bytes_sent: u64,
}

/// The clients that stand out.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct Heaviest {
    /// How long rates were watched, in seconds; without an earlier look they are those since each client connected.
    interval_s: f64,
    /// How many sessions were looked at.
    sessions: usize,
    /// Those with most messages and bytes a second, the heaviest first.
    heaviest: Vec<Traffic>,
    /// Those for whom most waits, by its bytes.
    slowest: Vec<Backlog>,
    /// Those for whom most is held in memory.
    holders: Vec<Holder>,
}

/// What a client sends and receives, each second.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Traffic {
    client_id: String,
    /// Where it comes from.
    address: String,
    /// PUBLISH packets from it.
    messages_received: f64,
    /// PUBLISH packets to it.
    messages_sent: f64,
    /// Bytes of packets from it.
    bytes_received: f64,
    /// Bytes of packets to it.
    bytes_sent: f64,
}

/// What waits for a client.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Backlog {
    client_id: String,
    connected: bool,
    /// Messages in its queue.
    queue_messages: usize,
    /// Bytes of these.
    queue_bytes: u64,
    /// Messages sent and not acknowledged.
    inflight: usize,
    /// Bytes that its transport has not taken yet.
    out_buffer_bytes: usize,
    /// Messages it has lost.
    dropped: u64,
}

/// What is held in memory for a client.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Holder {
    client_id: String,
    connected: bool,
    /// All of the following, in bytes.
    memory_bytes: u64,
    /// Messages in its queue that are not in the store alone.
    queue_bytes: u64,
    /// What its transport has not taken yet.
    out_buffer_bytes: u64,
    /// Subscriptions, each with what it usually takes.
    subscription_bytes: u64,
}

impl Scan {
    /// The clients that stand out, up to `most` of each kind. Looks at all of them, page by page, unless somebody did
    /// so a moment ago.
    pub(crate) async fn look(&mut self, broker: &Broker, most: usize) -> Result<Heaviest, Unanswered> {
        if self.taken.is_none_or(|taken| taken.elapsed() > FRESH) {
            self.renew(broker).await?;
        }
        let mut found = self.found.clone();
        found.heaviest.truncate(most);
        found.slowest.truncate(most);
        found.holders.truncate(most);
        Ok(found)
    }

    async fn renew(&mut self, broker: &Broker) -> Result<(), Unanswered> {
        let now = Instant::now();
        // What was long ago says nothing about now.
        let elapsed = self.taken.map(|taken| now - taken).filter(|elapsed| *elapsed < STALE);
        let before = std::mem::take(&mut self.counters);
        self.taken = None;
        let mut found = Heaviest {
            interval_s: elapsed.map_or(0.0, |elapsed| (elapsed.as_secs_f64() * 1000.0).round() / 1000.0),
            ..Heaviest::default()
        };
        let mut next = Some(Cursor::default());
        while let Some(from) = next {
            let page = broker.clients(from, PAGE, |_| true).await?;
            let at_ms = broker.now().as_millis();
            for client in &page.items {
                found.sessions += 1;
                if let Some(counters) = Counters::of(client) {
                    let earlier = before.get(&client.key).filter(|_| elapsed.is_some());
                    let earlier = earlier.filter(|earlier| earlier.since_ms == counters.since_ms);
                    let alive = Duration::from_millis(at_ms.saturating_sub(counters.since_ms));
                    let time = match (earlier, elapsed) {
                        (Some(_), Some(elapsed)) => elapsed,
                        _ => alive.max(Duration::from_secs(1)),
                    };
                    let earlier = earlier.copied().unwrap_or_default();
                    found.heaviest.extend(counters.traffic(&earlier, time, client));
                    if self.counters.len() < REMEMBERED_MAX {
                        self.counters.insert(client.key, counters);
                    }
                }
                found.slowest.extend(Backlog::of(client));
                found.holders.extend(Holder::of(client));
            }
            found.prune(2 * KEPT_MAX);
            next = page.next;
        }
        found.prune(KEPT_MAX);
        self.found = found;
        self.taken = Some(now);
        Ok(())
    }
}

impl Heaviest {
    /// Keeps the first `most` of each kind.
    fn prune(&mut self, most: usize) {
        self.heaviest.sort_by(|one, other| other.weight().total_cmp(&one.weight()));
        self.heaviest.truncate(most);
        self.slowest.sort_by_key(|client| std::cmp::Reverse(client.bytes()));
        self.slowest.truncate(most);
        self.holders.sort_by_key(|client| std::cmp::Reverse(client.memory_bytes));
        self.holders.truncate(most);
    }
}

impl Counters {
    fn of(client: &ClientView) -> Option<Self> {
        client.connection.as_ref().map(|connection| Self {
            since_ms: connection.since.as_millis(),
            messages_received: connection.messages_received,
            messages_sent: connection.messages_sent,
            bytes_received: connection.bytes_received,
            bytes_sent: connection.bytes_sent,
        })
    }

    /// What has come to `before` in `time`, if anything.
    fn traffic(&self, before: &Self, time: Duration, client: &ClientView) -> Option<Traffic> {
        let rate = |now: u64, before: u64| {
            (now.saturating_sub(before) as f64 / time.as_secs_f64() * 1000.0).round() / 1000.0
        };
        let traffic = Traffic {
            client_id: client.client_id.to_string(),
            address: client.connection.as_ref()?.origin.to_string(),
            messages_received: rate(self.messages_received, before.messages_received),
            messages_sent: rate(self.messages_sent, before.messages_sent),
            bytes_received: rate(self.bytes_received, before.bytes_received),
            bytes_sent: rate(self.bytes_sent, before.bytes_sent),
        };
        (traffic.weight() > 0.0).then_some(traffic)
    }
}

impl Traffic {
    /// A message costs about as much as a KiB of bytes.
    fn weight(&self) -> f64 {
        self.messages_received + self.messages_sent + (self.bytes_received + self.bytes_sent) / 1024.0
    }
}

impl Backlog {
    fn of(client: &ClientView) -> Option<Self> {
        let backlog = Self {
            client_id: client.client_id.to_string(),
            connected: client.connection.is_some(),
            queue_messages: client.queue_messages,
            queue_bytes: client.queue_bytes,
            inflight: client.inflight,
            out_buffer_bytes: client.connection.as_ref().map_or(0, |connection| connection.out_buffer_bytes),
            dropped: client.dropped.iter().sum(),
        };
        (backlog.bytes() > 0).then_some(backlog)
    }

    fn bytes(&self) -> u64 {
        self.queue_bytes + self.out_buffer_bytes as u64
    }
}

impl Holder {
    fn of(client: &ClientView) -> Option<Self> {
        let out_buffer =
            client.connection.as_ref().map_or(0, |connection| connection.out_buffer_bytes as u64);
        let subscription_bytes = client.subscriptions as u64 * SUBSCRIPTION_BYTES;
        let memory_bytes = client.queue_memory_bytes + out_buffer + subscription_bytes;
        (memory_bytes > 0).then(|| Self {
            client_id: client.client_id.to_string(),
            connected: client.connection.is_some(),
            memory_bytes,
            queue_bytes: client.queue_memory_bytes,
            out_buffer_bytes: out_buffer,
            subscription_bytes,
        })
    }
}

/// Clients looked at between two prunings.
const PAGE: usize = 2000;

/// Clients of each kind that are kept.
pub(crate) const KEPT_MAX: usize = 100;

/// Clients whose counters are remembered for the next look; the others' rates are those since they connected.
const REMEMBERED_MAX: usize = 200_000;

/// A look that is not older serves several who ask.
const FRESH: Duration = Duration::from_millis(900);

/// A look that is older says nothing about rates.
const STALE: Duration = Duration::from_secs(60);
