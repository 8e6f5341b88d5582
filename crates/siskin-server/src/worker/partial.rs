//! The beginning of a frame whose end has not come yet.

use std::mem;
use std::ops::Deref;

/// Bytes that most connections have none of at most times: one pointer where there are none.
#[derive(Default)]
#[allow(clippy::box_collection, reason = "a vector takes three times as much of each idle connection")]
pub(super) struct Partial(Option<Box<Vec<u8>>>);

impl Partial {
    /// The bytes, to have more behind them.
    pub(super) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        self.0.get_or_insert_default()
    }

    /// The bytes, of which none are left here, nor memory for them.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.0.take().map(|mut bytes| mem::take(&mut *bytes)).unwrap_or_default()
    }

    /// Bytes that there is memory for.
    pub(super) fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, |bytes| bytes.capacity())
    }
}

impl Deref for Partial {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |bytes| bytes)
    }
}
