//! The durable store of the broker: what is in it outlives the process and the loss of power.
//!
//! A [`Journal`] is a directory of segment files to which frames are appended, and an index in memory of the
//! records that are alive. It has no thread and no clock, and does its I/O through a [`Device`], so that
//! [`sim`] can run it through every crash. [`DiskStore`] puts a writer and a reader thread around it and is
//! what the broker's workers use. The format is drawn in `docs/storage-format.md`.
//!
//! The code knows records as the store's contract in `siskin_core::store` does: by id and references, never
//! by what is in them.

mod device;
mod disk;
mod disk_store;
mod error;
mod figures;
mod format;
mod hash;
mod index;
mod inspect;
mod journal;
mod repair;
pub mod sim;
mod window;

pub use device::Device;
pub use disk::Disk;
pub use disk_store::{DiskStore, Opened, Options};
pub use error::{Damage, Error};
pub use figures::{CommitSizes, Figures, SyncTimes};
pub use inspect::{Inspected, InspectedSegment, inspect};
pub use journal::{
    Failure, Frame, Journal, JournalOptions, Progress, Reader, Recovered, Step, SyncTask, TornTail,
};
pub use repair::{Loss, repair};
