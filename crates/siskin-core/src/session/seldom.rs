//! What most sessions do not need now, at the price of a pointer.

use std::ops::{Deref, DerefMut};

/// A value that is empty for most of the time, and then takes no memory.
#[derive(Debug)]
pub(crate) struct Seldom<T>(Option<Box<T>>);

/// What may be empty.
pub(crate) trait Empty: Default + 'static {
    /// It, empty.
    const EMPTY: &'static Self;

    /// Whether it is.
    fn is_empty(&self) -> bool;
}

impl<T: Empty> Seldom<T> {
    /// Whether it takes no memory.
    #[inline]
    pub(crate) fn is_unused(&self) -> bool {
        self.0.is_none()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_deref().is_none_or(T::is_empty)
    }

    /// Gives its memory back if it is empty.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if self.0.as_deref().is_some_and(T::is_empty) {
            self.0 = None;
        }
    }
}

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Empty> Deref for Seldom<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::EMPTY)
    }
}

impl<T: Empty> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}
