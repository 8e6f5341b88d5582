//! The I/O of the broker: threads, sockets, configuration. What a packet means is decided in
//! `siskin-core`; this crate feeds it bytes and time, and carries out what comes back.
//!
//! - [`settings`] is what a user may write, each setting defined once; [`Config`] is what we shall do.
//! - [`Server`] binds, starts one thread per worker, and stops them in good order.
//! - `access` is who is let in and what clients may do, by the rules of files.
//! - `transport` is what carries bytes: TCP, Unix sockets, TLS, WebSocket, the PROXY protocol.
//! - `turnstile` is who may come at all, and how much they may do in a second; `access` is who is let in.
//! - `worker` is that thread: one poll loop, one read buffer, one write per connection and turn.
//! - [`Broker`] is how the rest of the program looks into a running broker and acts on it.
//! - `reload` is what another configuration changes while the broker runs.
//! - `mailbox` is how anything gets from one thread to another.
//!
//! ```no_run
//! use siskin_server::{Config, Server};
//!
//! let server = Server::start(Config::default())?;
//! println!("listening on {:?}", server.addresses());
//! server.stop();
//! # Ok::<(), siskin_server::StartError>(())
//! ```

pub mod config;
pub mod settings;

mod access;
mod broker;
mod budget;
mod clock;
mod in_force;
mod mailbox;
mod memory;
mod open_files;
mod privileges;
mod pulse;
mod reload;
mod report;
mod secret_files;
mod server;
mod throttle;
mod transport;
mod turnstile;
mod worker;

pub use broker::{
    Broker, Commit, Cursor, FilesView, Follower, LevelNotSet, ListenerView, NotBanned, Page, ProcessView,
    Source, Unanswered, Watchdog, WorkerView,
};
pub use budget::{AUTO as MEMORY_AUTO, MemoryView, NONE as MEMORY_NONE, SUBSCRIPTION_BYTES};
pub use config::Config;
pub use reload::{Change, ReloadError, Reloaded};
pub use server::{Server, StartError, check_files};
pub use siskin_store::Figures as StoreFigures;
pub use transport::Expiry;
pub use turnstile::TooManyBans;
