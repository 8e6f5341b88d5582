//! What all workers of a broker look at: router, retained messages, who owns which session, counters.
//!
//! These and the router are the only locks of the core. Each is held for one look-up or one change,
//! never two together, and none on the way of a message whose route is cached.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::access::{Identity, Readers, Rulebook, Standing};
use crate::durable::Records;
use crate::hash::{HashMap, hasher};
use crate::limits::Limits;
use crate::recorder::{Entry, Gone, GoneClient, Story};
use crate::retained::Retained;
use crate::router::Router;
use crate::session::SessionKey;
use crate::stats::{Stats, Totals};
use crate::store::{RecordId, Store};

/// What a broker is called and since when it runs.
#[derive(Clone, Debug)]
pub struct NodeInfo {
    /// The node's name, one level of a topic: it stands in `$SYS/brokers/NAME/...`.
    pub name: String,
    /// The version of the broker.
    pub version: String,
    /// When it was started, in milliseconds since 1970.
    pub started_unix_ms: u64,
}

/// The state that the workers of one broker share.
#[derive(Debug)]
pub struct Shared {
    /// Subscriptions of all sessions.
    pub router: Router,
    /// Retained messages of all topics.
    pub retained: RwLock<Retained>,
    pub(crate) registry: Registry,
    pub(crate) lasting: LastingSessions,
    gone: Mutex<Gone>,
    traces: AtomicU32,
    pub(crate) readers: Readers,
    rulebook: RwLock<Option<Arc<dyn Rulebook>>>,
    pub(crate) records: Records,
    limits: RwLock<Arc<Limits>>,
    pub(crate) node: NodeInfo,
    pub(crate) seed: u64,
    /// Bytes of memory the process holds, as its driver last said.
    pub memory_bytes: AtomicU64,
    stats: Vec<Arc<Stats>>,
    assigned: AtomicU64,
}

impl Shared {
    /// The shared state of a broker of `workers` workers. `seed` is random in a real broker: it keeps
    /// strangers from choosing names that collide, and makes assigned client ids hard to guess.
    pub fn new(limits: Limits, workers: u16, seed: u64, node: NodeInfo) -> Arc<Self> {
        Arc::new(Self::with(limits, workers, seed, node, Records::default()))
    }

    /// The same for a broker that keeps in `store` what must outlive it. `last` is the last record named in it,
    /// and `seed` must always be the same for one store.
    pub fn with_store(
        limits: Limits,
        workers: u16,
        seed: u64,
        node: NodeInfo,
        store: Arc<dyn Store>,
        last: u64,
    ) -> Arc<Self> {
        Arc::new(Self::with(limits, workers, seed, node, Records::new(Some(store), last)))
    }

    fn with(limits: Limits, workers: u16, seed: u64, node: NodeInfo, records: Records) -> Self {
        let retained =
            Retained::new(limits.retained_messages_max as usize, limits.retained_bytes_max as usize, seed);
        Self {
            router: Router::new(seed),
            retained: RwLock::new(retained),
            registry: Registry::new(seed),
            lasting: LastingSessions::new(seed),
            gone: Mutex::new(Gone::new(&limits, seed)),
            traces: AtomicU32::new(0),
            readers: Readers::new(seed),
            rulebook: RwLock::new(None),
            records,
            limits: RwLock::new(Arc::new(limits)),
            node,
            seed,
            memory_bytes: AtomicU64::new(0),
            stats: (0..workers).map(|_| Arc::default()).collect(),
            assigned: AtomicU64::new(0),
        }
    }

    /// Has clients go by `rulebook` from now on; without one they may do everything. Sessions that are there go by it
    /// when their workers have been told, by [`Worker::renew_permissions`](crate::Worker::renew_permissions).
    pub fn set_rulebook(&self, rulebook: Option<Arc<dyn Rulebook>>) {
        *self.rulebook.write().unwrap_or_else(PoisonError::into_inner) = rulebook;
    }

    /// What a client may do, as the rules are now.
    pub(crate) fn standing(&self, identity: &Identity, client_id: &str) -> Standing {
        let rulebook = self.rulebook.read().unwrap_or_else(PoisonError::into_inner).clone();
        rulebook.map_or(Standing::Unlimited, |rulebook| rulebook.standing(identity, client_id))
    }

    /// What the broker is called and since when it runs.
    pub fn node(&self) -> &NodeInfo {
        &self.node
    }

    /// The limits of this broker as they are now.
    pub fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Has `limits` hold from now on for what all workers share. Each worker goes by them when it has been told, by
    /// [`Worker::renew_limits`](crate::Worker::renew_limits). Nothing is forgotten that there is already, but for
    /// stories of clients that are gone.
    pub fn set_limits(&self, limits: Limits) {
        let mut retained = self.retained.write().unwrap_or_else(PoisonError::into_inner);
        retained.set_limits(limits.retained_messages_max as usize, limits.retained_bytes_max as usize);
        drop(retained);
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).set_limits(&limits);
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(limits);
    }

    /// How many workers there are.
    pub fn workers(&self) -> u16 {
        self.stats.len() as u16
    }

    /// The counters of one worker.
    pub fn stats(&self, worker: u16) -> &Arc<Stats> {
        &self.stats[usize::from(worker)]
    }

    /// The counters of all workers.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for stats in &self.stats {
            totals.add(stats);
        }
        totals
    }

    /// A number for a trace that is to be armed on all workers.
    pub fn next_trace(&self) -> NonZeroU32 {
        NonZeroU32::MIN.saturating_add(self.traces.fetch_add(1, Ordering::Relaxed))
    }

    /// The session of `client_id`, if it has one. Its worker is the one to ask about it.
    pub fn owner(&self, client_id: &str) -> Option<SessionKey> {
        self.registry.owner(client_id)
    }

    /// What is known of a client without a session.
    pub fn story_of_gone(&self, client_id: &str) -> Option<Story> {
        let log = self.gone().log(client_id)?;
        Some(Story { client_id: client_id.into(), present: None, entries: log.entries() })
    }

    /// Up to `most` clients without a session of which something is known, the latest first.
    pub fn gone_clients(&self, most: usize) -> Vec<GoneClient> {
        self.gone().latest(most)
    }

    /// How many stories of clients without a session are kept, and the bytes that they hold.
    pub fn gone_size(&self) -> (usize, u64) {
        self.gone().size()
    }

    /// A connection that said it was `client_id` was not accepted.
    pub(crate) fn record_refusal(&self, client_id: &Arc<str>, entry: &Entry<'_>) {
        self.gone().refuse(client_id, entry);
    }

    pub(crate) fn gone(&self) -> MutexGuard<'_, Gone> {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client id that no session has. [MQTT-3.1.3-6] [MQTT5 3.2.2-16]
    pub(crate) fn assign_client_id(&self) -> Arc<str> {
        loop {
            let count = self.assigned.fetch_add(1, Ordering::Relaxed);
            let id: Arc<str> = format!("auto-{:016x}", mix(self.seed ^ mix(count))).into();
            if self.registry.owner(&id).is_none() {
                return id;
            }
        }
    }
}

/// Who owns the session of a client id. Looked at on CONNECT and when a session ends.
#[derive(Debug)]
pub(crate) struct Registry(Mutex<HashMap<Arc<str>, SessionKey>>);

impl Registry {
    fn new(seed: u64) -> Self {
        Self(Mutex::new(HashMap::with_hasher(hasher(seed))))
    }

    /// The owner of `client_id`; `or` becomes it if there is none.
    pub(crate) fn claim(&self, client_id: &Arc<str>, or: SessionKey) -> Option<SessionKey> {
        let mut owners = self.lock();
        if let Some(owner) = owners.get(client_id) {
            return Some(*owner);
        }
        owners.insert(Arc::clone(client_id), or);
        None
    }

    /// `key` is the session of `client_id` from now on.
    pub(crate) fn set(&self, client_id: &Arc<str>, key: SessionKey) {
        self.lock().insert(Arc::clone(client_id), key);
    }

    /// The session `key` of `client_id` ended.
    pub(crate) fn release(&self, client_id: &str, key: SessionKey) {
        let mut owners = self.lock();
        if owners.get(client_id) == Some(&key) {
            owners.remove(client_id);
        }
    }

    pub(crate) fn owner(&self, client_id: &str) -> Option<SessionKey> {
        self.lock().get(client_id).copied()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, SessionKey>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sessions that are in the store, by key: whose publishers must put their messages there.
#[derive(Debug)]
pub(crate) struct LastingSessions(RwLock<HashMap<SessionKey, RecordId>>);

impl LastingSessions {
    fn new(seed: u64) -> Self {
        Self(RwLock::new(HashMap::with_hasher(hasher(seed))))
    }

    /// The session `key` is kept in `record`. It has no subscription yet.
    pub(crate) fn insert(&self, key: SessionKey, record: RecordId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, record);
    }

    /// The session `key` ended. It has no subscription any more.
    pub(crate) fn remove(&self, key: SessionKey) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    /// The record of the session `key`, if it has one.
    pub(crate) fn record(&self, key: SessionKey) -> Option<RecordId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key).copied()
    }

    /// Adds those among `keys` that have a record to `into`.
    pub(crate) fn records(
        &self,
        keys: impl Iterator<Item = SessionKey>,
        into: &mut Vec<(SessionKey, RecordId)>,
    ) {
        let lasting = self.0.read().unwrap_or_else(PoisonError::into_inner);
        into.extend(keys.filter_map(|key| Some((key, *lasting.get(&key)?))));
    }
}

/// A one-to-one scramble of 64 bits.
fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}
