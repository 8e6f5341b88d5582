//! Who a client is: a chain of steps that is asked once for every CONNECT.
//!
//! Each step allows, denies or passes ([`config::StepConfig`] lists them); the first that decides has decided.
//! If none does, a client without any credentials is anonymous, which is allowed on local listeners or where the
//! configuration says so, and every other is refused. A back end that does not answer refuses with
//! *Server unavailable*: nothing is ever let in because something failed.
//!
//! Nothing runs on the caller's threads but what is decided without waiting ([`Chain::at_once`]). Steps wait for
//! the network on one runtime of their own; password hashes are computed by a few threads from a queue that is
//! bounded in length and memory. A slow back end delays those who wait for it, a full queue refuses at once.
//!
//! The crate knows no sessions, no packets and no configuration files. It starts threads and opens sockets and
//! files; it takes [`Request`]s and gives [`Verdict`]s.

mod acl_json;
mod breaker;
mod cache;
mod chain;
mod clock;
pub mod config;
mod http;
mod jwt;
mod outcome;
mod password_file;
mod permission;
mod pool;
mod request;
mod scram;
mod stats;
mod step;
mod template;
mod verdict;

pub use chain::{Chain, Pending, ReloadError, StartError};
pub use clock::{Clock, Hand};
pub use config::Config;
pub use http::client::{Answer as HttpAnswer, Client as HttpClient};
pub use jwt::Known;
pub use permission::{Action, Effect, Permission, Permissions, Subject};
pub use request::{Certificate, Request, Secret};
pub use stats::{PoolStats, Stats, StepStats};
pub use verdict::{Conversation, Identity, Refusal, Verdict};
