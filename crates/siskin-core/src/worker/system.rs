//! Work of the whole broker that the first worker does: `$SYS` messages and the retained store's clearing.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use siskin_proto::{Properties, Qos};

use super::Worker;
use super::publish::Answer;
use crate::frames::Source;
use crate::hash::{HashMap, hasher};
use crate::limits::Limits;
use crate::message::Parts;
use crate::shared::Shared;
use crate::stats::Totals;
use crate::store::record::RETAINED;
use crate::sys::{self, Gauges, Loads, Snapshot};
use crate::time::Now;

/// When it is due, and what it remembers from one round to the next.
#[derive(Debug)]
pub(super) struct System {
    started: Now,
    /// None if `$SYS` is off.
    round_at: Option<Now>,
    round_before: Now,
    sweep_at: Now,
    swept_to: Option<String>,
    gauges: Gauges,
    loads: Loads,
    /// Values are published only when they change.
    values: HashMap<String, String>,
}

impl System {
    pub(super) fn new(limits: &Limits, now: Now) -> Self {
        Self {
            started: now,
            // The first round comes at once, so that who subscribes early finds something.
            round_at: (limits.sys_interval_s > 0).then_some(now),
            round_before: now,
            sweep_at: now.plus_ms(SWEEP_EVERY_MS),
            swept_to: None,
            gauges: Gauges::default(),
            loads: Loads::default(),
            values: HashMap::with_hasher(hasher(0)),
        }
    }

    /// Has rounds come every `interval_s` seconds from now on, or never again if that is 0.
    pub(super) fn set_interval(&mut self, interval_s: u32, now: Now) {
        self.round_at = (interval_s > 0).then(|| sys::next_round(now, interval_s));
    }

    pub(super) fn next_deadline(&self) -> Option<Now> {
        Some(self.round_at.map_or(self.sweep_at, |round| round.min(self.sweep_at)))
    }
}

impl Worker {
    pub(super) fn tick_system(&mut self, now: Now) {
        let Some(mut system) = self.system.take() else { return };
        if system.round_at.is_some_and(|at| at <= now) {
            self.publish_system(&mut system, now);
            system.round_at = Some(sys::next_round(now, self.turn.limits.sys_interval_s));
        }
        if system.sweep_at <= now {
            let mut retained = self.shared.retained.write().unwrap_or_else(PoisonError::into_inner);
            let (expired, next) = retained.sweep(system.swept_to.as_deref(), SWEEP_MESSAGES, now);
            drop(retained);
            for record in expired.iter().filter_map(super::super::message::Message::record) {
                self.turn.durable.batch().release(record, RETAINED);
            }
            // While a sweep is under way it goes on soon; a whole one is worth a second's rest.
            let pause = if next.is_some() { SWEEP_EVERY_MS / 20 } else { SWEEP_EVERY_MS };
            system.swept_to = next;
            system.sweep_at = now.plus_ms(pause);
        }
        self.system = Some(system);
    }

    /// The topics of `$SYS` and their values, as they would be published now. Only the first worker has them.
    pub fn system_values(&mut self, now: Now) -> Vec<(String, String)> {
        let Some(system) = &mut self.system else { return Vec::new() };
        let totals = self.shared.totals();
        refresh(&mut system.gauges, &self.shared, &totals);
        let snapshot = Snapshot {
            node: &self.shared.node,
            uptime_ms: now.ms_since(system.started),
            totals: &totals,
            gauges: &system.gauges,
            loads: &system.loads,
        };
        let mut values = Vec::new();
        sys::publish_all(&snapshot, |topic, value| values.push((topic.to_owned(), value.to_owned())));
        values
    }

    fn publish_system(&mut self, system: &mut System, now: Now) {
        let totals = self.shared.totals();
        refresh(&mut system.gauges, &self.shared, &totals);
        system.loads.advance(&totals, now.ms_since(system.round_before));
        system.round_before = now;
        let shared = std::sync::Arc::clone(&self.shared);
        let snapshot = Snapshot {
            node: &shared.node,
            uptime_ms: now.ms_since(system.started),
            totals: &totals,
            gauges: &system.gauges,
            loads: &system.loads,
        };
        let values = &mut system.values;
        sys::publish_all(&snapshot, |topic, value| {
            if values.get(topic).is_some_and(|before| before == value) {
                return;
            }
            values.insert(topic.to_owned(), value.to_owned());
            let parts = Parts {
                topic,
                properties: Properties::EMPTY,
                payload: value.as_bytes(),
                qos: Qos::ExactlyOnce,
                retain: true,
                publisher: None,
                received_at: now,
                expires_at: None,
                kept_until: None,
                record: None,
            };
            self.publish(None, parts, Source::Unknown, Answer::None, now);
        });
    }
}

fn refresh(gauges: &mut Gauges, shared: &Shared, totals: &Totals) {
    let (retained, retained_bytes) = {
        let retained = shared.retained.read().unwrap_or_else(PoisonError::into_inner);
        (retained.len() as u64, retained.bytes() as u64)
    };
    gauges.connections.set(totals.connections);
    gauges.sessions.set(totals.sessions);
    gauges.subscriptions.set(shared.router.subscriptions() as u64);
    gauges.shared_subscriptions.set(shared.router.shared_subscriptions() as u64);
    gauges.filters.set(shared.router.filters() as u64);
    gauges.retained.set(retained);
    gauges.retained_bytes.set(retained_bytes);
    gauges.heap_bytes.set(shared.memory_bytes.load(Ordering::Relaxed));
}

/// Time between two whole sweeps of the retained store for expired messages.
const SWEEP_EVERY_MS: u64 = 1000;

/// Retained messages looked at in one go, which takes well under a millisecond.
const SWEEP_MESSAGES: usize = 5000;
