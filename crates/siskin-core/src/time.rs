//! Time as the core knows it: a number its caller hands in.

use std::fmt;

/// A moment, in milliseconds since 1970 as the broker's driver counts them, so that it means the same after a restart.
/// Never read from a clock in here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Now(u64);

impl Now {
    /// The moment `millis` milliseconds after the beginning.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the beginning.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The moment `seconds` later; the end of time where that cannot be told.
    #[must_use]
    pub const fn plus_s(self, seconds: u32) -> Self {
        Self(self.0.saturating_add(seconds as u64 * 1000))
    }

    /// The moment `millis` milliseconds later.
    #[must_use]
    pub const fn plus_ms(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// The moment as RFC 3339 has it, in UTC and whole seconds.
    pub fn rfc3339(self) -> String {
        crate::sys::rfc3339(self.0)
    }

    /// Milliseconds from `earlier` to this moment, 0 if `earlier` is the later one.
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1000, self.0 % 1000)
    }
}
