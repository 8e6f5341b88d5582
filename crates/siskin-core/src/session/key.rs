//! The name of a session among all workers.

/// Names one session for as long as it lives: the worker that owns it, its place there, and which of
/// that place's tenants it is, so that a key outlived by its session finds nobody.
///
/// Keys sort by worker first: a sorted list of receivers is a list of workers' shares.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(u64);

impl SessionKey {
    /// The `generation`th tenant of `slot` on `worker`.
    pub fn new(worker: u16, generation: u16, slot: u32) -> Self {
        Self(u64::from(worker) << 48 | u64::from(generation) << 32 | u64::from(slot))
    }

    /// The worker that owns the session.
    pub fn worker(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// Which tenant of its slot the session is.
    pub fn generation(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// The session's place among its worker's sessions.
    pub fn slot(self) -> u32 {
        self.0 as u32
    }
}

impl std::fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.worker(), self.slot(), self.generation())
    }
}
