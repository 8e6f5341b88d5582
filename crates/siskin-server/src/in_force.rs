//! What workers go by besides the core's limits. It is replaced whole: each worker has its own reference and gets a new
//! one by a letter, so that none looks anywhere else on a message's way.

use std::sync::Arc;

use crate::access::Gate;
use crate::config::TransportLimits;
use crate::transport::Door;
use crate::turnstile::Turnstile;

/// What is in force.
#[derive(Clone)]
pub(crate) struct InForce {
    /// What one transport may cost.
    pub(crate) limits: TransportLimits,
    /// Who may come at all, and how much they may do.
    pub(crate) turnstile: Arc<Turnstile>,
    /// Who is let in.
    pub(crate) gate: Arc<Gate>,
    /// The terms of the listeners, in the order of the configuration. A connection has those that it came on.
    pub(crate) doors: Vec<Arc<Door>>,
}
