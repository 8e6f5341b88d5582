//! What the broker holds in memory, and how much it may.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;

/// What the process holds in memory.
#[derive(Serialize, ToSchema)]
pub(super) struct Memory {
    /// What it should not exceed (`memory_max`); none if that is not limited.
    max_bytes: Option<u64>,
    /// What it has of the machine.
    resident_bytes: u64,
    /// What is done about it: `calm`, `short` or `critical`.
    #[schema(example = "calm")]
    pressure: &'static str,
    /// Bytes that the broker knows what they are for: `sessions` and `subscriptions` (with what they usually take),
    /// `queued` messages and their `places`, those `in_flight` that are not acknowledged, `unread` by clients, `partial` packets, `retained` messages, `stories` of clients that are gone,
    /// `unsafe` bytes that wait for the disk.
    held: BTreeMap<&'static str, u64>,
    /// The sum of these.
    held_bytes: u64,
}

/// What the process holds in memory and for what, as of some seconds ago at most. Who holds most is in `/top`.
#[utoipa::path(get, path = "/memory", tag = "broker", responses((status = 200, body = Memory)))]
pub(super) async fn memory(State(app): State<App>) -> Json<Memory> {
    let view = app.broker().memory();
    Json(Memory {
        max_bytes: view.max,
        resident_bytes: view.resident,
        pressure: view.pressure.name(),
        held: view.held().into_iter().collect(),
        held_bytes: view.accounted(),
    })
}
