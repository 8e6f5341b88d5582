//! What Siskin is tested with: a broker in memory with clients that speak packet by packet.

#![allow(clippy::missing_panics_doc)]

pub mod bare;
pub mod broker;
pub mod cost;
pub mod journal;
pub mod store;
pub mod world;

pub use broker::{Broker, Client, Delivered, Received, buffer, id, publish, will};
pub use journal::JournalStore;
pub use store::SimStore;
