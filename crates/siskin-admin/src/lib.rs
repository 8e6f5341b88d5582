//! The HTTP side of a broker: an API for operators and their programs, and metrics.
//!
//! It runs on a thread of its own and reaches the broker by its [handle](siskin_server::Broker) alone: it waits
//! for workers, workers never wait for it. What is counted is read from counters that are there anyway.
//!
//! - `guard` decides whether a request is let through: by the name it was sent to, its origin, its credentials.
//! - `v1` is our own API, `v5` the part of EMQX's that scripts use most; both are in the OpenAPI document.
//! - `metrics` is `/metrics`, in the text format of Prometheus.
//! - `dashboard` gives browsers the page in `assets`, which uses `v1` like everybody else.
//! - `traces` follows messages, `events` what happens to clients, for those who ask.
//! - `telemetry` sends the ways of some messages to an OpenTelemetry collector, if there is one.
//! - `router` is where paths meet what answers them.

mod app;
mod dashboard;
mod events;
mod failure;
mod guard;
mod heaviest;
mod message;
mod metrics;
mod patience;
mod rates;
mod request;
mod router;
mod server;
mod telemetry;
mod traces;
mod v1;
mod v5;

pub use server::{Admin, AdminError};
pub use telemetry::Telemetry;
