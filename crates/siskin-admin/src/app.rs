//! What all requests share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use siskin_server::Broker;
use tokio::sync::Mutex as AsyncMutex;

use crate::events::Followers;
use crate::guard::Credentials;
use crate::heaviest::Scan;
use crate::rates::Rates;
use crate::traces::Traces;

/// What all requests share. Cloned for each of them.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

struct Inner {
    broker: Broker,
    credentials: Arc<RwLock<Arc<Credentials>>>,
    /// Whether only this machine can reach the API.
    is_local: bool,
    rates: Mutex<Rates>,
    scan: AsyncMutex<Scan>,
    traces: Mutex<Traces>,
    followers: Mutex<Followers>,
}

impl App {
    pub(crate) fn new(broker: Broker, credentials: Credentials, is_local: bool) -> Self {
        let (rates, scan) = (Mutex::default(), AsyncMutex::default());
        let (traces, followers) = (Mutex::default(), Mutex::default());
        let credentials = Arc::new(RwLock::new(Arc::new(credentials)));
        Self(Arc::new(Inner { broker, credentials, is_local, rates, scan, traces, followers }))
    }

    pub(crate) fn broker(&self) -> &Broker {
        &self.0.broker
    }

    /// What is asked of those who come now.
    pub(crate) fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.0.credentials.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What changes the credentials, without the rest: what lives in the broker must not keep the broker.
    pub(crate) fn credentials_place(&self) -> Arc<RwLock<Arc<Credentials>>> {
        Arc::clone(&self.0.credentials)
    }

    pub(crate) fn is_local(&self) -> bool {
        self.0.is_local
    }

    /// The rates of the last minutes. Held for a moment only.
    pub(crate) fn rates(&self) -> MutexGuard<'_, Rates> {
        self.0.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The traces. Held for a moment only.
    pub(crate) fn traces(&self) -> MutexGuard<'_, Traces> {
        self.0.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those who follow events. Held for a moment only.
    pub(crate) fn followers(&self) -> MutexGuard<'_, Followers> {
        self.0.followers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last look at all clients. Whoever makes a new one holds it meanwhile.
    pub(crate) fn scan(&self) -> &AsyncMutex<Scan> {
        &self.0.scan
    }
}
