//! What all connections of a thread share.

use std::sync::Arc;

use crate::clock::now_ns;
use crate::plan::Plan;
use crate::seen::Seen;
use crate::shared::Shared;
use crate::steps::Step;
use crate::tally::Tally;

use super::client::{PHASES, Phase};

pub(super) struct Desk {
    pub(super) shared: Arc<Shared>,
    pub(super) tally: Tally,
    /// The time of what is happening.
    pub(super) now_ns: u64,
    pub(super) step: Step,
    /// How many connections are in each phase.
    pub(super) phases: [u32; PHASES],
    /// How many PINGRESPs are due.
    pub(super) pings: u32,
    pub(super) last_arrival_ns: u64,
    pub(super) last_done_ns: u64,
    /// The shortest keep alive that a broker asked for, or we.
    pub(super) keep_alive_s: u16,
    /// By publisher: copies that arrived in this turn.
    arrivals: Vec<u32>,
    /// Publishers that have some.
    touched: Vec<u32>,
    /// By shared subscription and publisher.
    pub(super) groups: Vec<Vec<Seen>>,
}

impl Desk {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let publishers = if shared.plan.waits_for_arrival { shared.plan.publishers as usize } else { 0 };
        Self {
            tally: Tally::new(),
            now_ns: now_ns(),
            step: Step::Hold,
            phases: [0; PHASES],
            pings: 0,
            last_arrival_ns: 0,
            last_done_ns: 0,
            keep_alive_s: shared.plan.keep_alive_s,
            arrivals: vec![0; publishers],
            touched: Vec::new(),
            groups: vec![vec![Seen::default(); shared.plan.publishers as usize]; shared.plan.groups as usize],
            shared,
        }
    }

    #[inline]
    pub(super) fn plan(&self) -> &Plan {
        &self.shared.plan
    }

    pub(super) fn tick(&mut self) {
        self.now_ns = now_ns();
    }

    pub(super) fn count(&self, phases: &[Phase]) -> u32 {
        phases.iter().map(|phase| self.phases[*phase as usize]).sum()
    }

    #[inline]
    pub(super) fn group_seen(&mut self, group: u32, publisher: u32) -> &mut Seen {
        &mut self.groups[group as usize][publisher as usize]
    }

    /// So many copies of messages of `publisher` have arrived, which may make room in its window.
    #[inline]
    pub(super) fn arrived(&mut self, publisher: u32, copies: u32) {
        if let Some(arrivals) = self.arrivals.get_mut(publisher as usize) {
            if *arrivals == 0 && copies > 0 {
                self.touched.push(publisher);
            }
            *arrivals += copies;
        }
    }

    /// Takes a publisher of which copies arrived in this turn, and how many.
    pub(super) fn take_arrival(&mut self) -> Option<(u32, u32)> {
        let publisher = self.touched.pop()?;
        Some((publisher, std::mem::take(&mut self.arrivals[publisher as usize])))
    }
}
