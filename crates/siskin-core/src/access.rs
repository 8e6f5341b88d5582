//! Who a client is and what it may do: asked here, decided by rules that the core does not know.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use siskin_proto::Qos;

use crate::hash::{HashMap, hasher};
use crate::router::Subscriber;
use crate::session::SessionKey;

/// What a client wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Publish to a topic, as a will too.
    Publish {
        /// The QoS of the message.
        qos: Qos,
        /// Whether it is to be retained.
        retain: bool,
    },
    /// Receive a message of a topic.
    Receive,
    /// Subscribe to a filter; of a shared subscription the part behind its name.
    Subscribe {
        /// The highest QoS asked for.
        qos: Qos,
    },
}

/// What one client may do. It does not change: other rules are another value, from [`Rulebook::standing`].
pub trait Permissions: Any + fmt::Debug + Send + Sync {
    /// Whether the client may.
    fn allows(&self, access: Access, topic: &str) -> bool;

    /// What decides that, for an operator.
    fn because(&self, access: Access, topic: &str) -> String;
}

/// Who may do what, as the rules are now.
pub trait Rulebook: fmt::Debug + Send + Sync {
    /// What the client of `identity` may do as `client_id`.
    fn standing(&self, identity: &Identity, client_id: &str) -> Standing;
}

/// What a rulebook says of a client.
#[derive(Clone, Debug)]
pub enum Standing {
    /// It may do everything.
    Unlimited,
    /// It may do what these allow.
    Limited(Arc<dyn Permissions>),
    /// There is no such client any more: its connection ends, and what it has left behind gets it nothing.
    Unknown,
}

/// Who a client has proved to be.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Its user name.
    pub user_name: Option<Arc<str>>,
    /// What else was found out about it, for a [`Rulebook`] alone. It is not kept in the store.
    pub claims: Option<Arc<dyn Any + Send + Sync>>,
    /// The authentication method by which it did, if its CONNECT named one.
    pub method: Option<Arc<str>>,
    /// What that method has to say to the client in the end.
    pub final_data: Option<Arc<[u8]>>,
}

impl Identity {
    /// Somebody of whom the user name is known, if that.
    pub(crate) fn named(user_name: Option<&str>) -> Self {
        Self { user_name: user_name.map(Into::into), ..Self::default() }
    }

    /// Whether nothing is known of the client.
    pub fn is_anonymous(&self) -> bool {
        self.user_name.is_none() && self.claims.is_none() && self.method.is_none()
    }
}

impl Standing {
    /// The permissions it comes to; none if everything is allowed.
    pub(crate) fn into_permissions(self) -> Option<Arc<dyn Permissions>> {
        match self {
            Self::Unlimited => None,
            Self::Limited(permissions) => Some(permissions),
            Self::Unknown => Some(Arc::new(Nothing)),
        }
    }
}

/// The permissions of nobody.
#[derive(Debug)]
struct Nothing;

impl Permissions for Nothing {
    fn allows(&self, _: Access, _: &str) -> bool {
        false
    }

    fn because(&self, _: Access, _: &str) -> String {
        "there is no such user any more".to_owned()
    }
}

impl Access {
    /// What may be done, as in "may not publish to".
    pub const VERBS: [&str; 3] = ["publish to", "receive", "subscribe to"];

    /// What is done.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Publish { .. } => Self::VERBS[0],
            Self::Receive => Self::VERBS[1],
            Self::Subscribe { .. } => Self::VERBS[2],
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.verb())
    }
}

/// The permissions of those sessions that may not receive everything, by key. Looked at when a route is found, never
/// for a message whose route is cached.
#[derive(Debug)]
pub(crate) struct Readers {
    limited: RwLock<HashMap<SessionKey, Arc<dyn Permissions>>>,
    /// How many there are: without any, nothing is looked up.
    count: AtomicUsize,
}

impl Readers {
    pub(crate) fn new(seed: u64) -> Self {
        Self { limited: RwLock::new(HashMap::with_hasher(hasher(seed))), count: AtomicUsize::new(0) }
    }

    /// The session `key` may receive what `permissions` allow. Whoever changes them tells the router of the session's
    /// filters afterwards.
    pub(crate) fn set(&self, key: SessionKey, permissions: Option<&Arc<dyn Permissions>>) {
        let mut limited = self.limited.write().unwrap_or_else(PoisonError::into_inner);
        match permissions {
            Some(permissions) => limited.insert(key, Arc::clone(permissions)),
            None => limited.remove(&key),
        };
        self.count.store(limited.len(), Ordering::Release);
    }

    /// Whether anybody may not receive everything.
    pub(crate) fn is_on(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Those among `keys` who may not receive messages of `topic`, and what decides it.
    pub(crate) fn refusals(
        &self,
        topic: &str,
        keys: impl Iterator<Item = SessionKey>,
    ) -> Vec<(SessionKey, String)> {
        let asked: Vec<_> = {
            let limited = self.limited.read().unwrap_or_else(PoisonError::into_inner);
            keys.filter_map(|key| Some((key, limited.get(&key).cloned()?))).collect()
        };
        let refusal = |(key, permissions): (SessionKey, Arc<dyn Permissions>)| {
            let is_allowed = permissions.allows(Access::Receive, topic);
            (!is_allowed).then(|| (key, permissions.because(Access::Receive, topic)))
        };
        asked.into_iter().filter_map(refusal).collect()
    }

    /// Leaves those in `subscribers` who may receive messages of `topic`. The rules are asked outside of the lock.
    pub(crate) fn retain(&self, topic: &str, subscribers: &mut Vec<Subscriber>) {
        let permissions: Vec<_> = {
            let limited = self.limited.read().unwrap_or_else(PoisonError::into_inner);
            subscribers.iter().map(|subscriber| limited.get(&subscriber.session).cloned()).collect()
        };
        let mut permissions = permissions.into_iter();
        subscribers.retain(|_| {
            permissions.next().flatten().is_none_or(|permissions| permissions.allows(Access::Receive, topic))
        });
    }
}
