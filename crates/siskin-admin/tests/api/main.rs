//! The API of a real broker, asked over real sockets.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod bans;
mod browser;
mod clients;
mod dashboard;
mod events;
mod explain;
mod guard;
mod messages;
mod metrics;
mod overview;
mod support;
mod telemetry;
mod v5;
