//! Getting space back, strictly from the oldest end, so that no release is gone before the put it cancels.
//!
//! A segment goes when nothing in it is alive, or when what is alive was copied to the active one. From then on
//! frames say that it is not needed; when such a frame is safe, and with it the copies before it, the file goes
//! or becomes a spare one.

use std::collections::VecDeque;

use siskin_core::store::{Batch, Op};

use super::recovery::frame_again;
use super::{Failure, Frame, Journal, lock};
use crate::device::{Device, write_all_at};
use crate::error::Error;
use crate::format::{FRAMES_START, UNFINISHED_SPARE, spare_name};
use crate::index::place;
use crate::window::Window;

/// Whether there is more to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Something was done, and there may be more.
    More,
    /// There is nothing to do.
    Rest,
}

/// What is known about space.
#[derive(Debug)]
pub(super) struct Space {
    /// The oldest segment that is needed; those before only wait until that is safe.
    pub(super) oldest: u32,
    /// How many wait, and from which sequence on frames say that each is not needed.
    retired: VecDeque<u64>,
    /// Files of a segment's size, filled with whatever.
    pub(super) spares: Vec<String>,
    /// A spare file in the making.
    filling: Option<Filling>,
    /// Why there is no spare. It stays while another is tried, which proves nothing before it is whole.
    pub(super) reserve_failure: Option<Failure>,
    /// Another is to be tried nevertheless.
    reserve_retry: bool,
    /// There was no room for copies, and there is none before something changes.
    hold_failed: bool,
    /// Why nothing can be copied forward.
    pub(super) stuck: Option<Error>,
    /// Where in the oldest segment copying is.
    cursor: u64,
    /// Bytes written that no step has made up for.
    pub(super) written: u64,
    /// Something other than copies came since the last round began.
    pub(super) fresh: bool,
    /// A segment that is larger than others and mostly dead has got its last frame since then: only now can it go.
    pub(super) sealed_large: bool,
    /// A name was changed and may change back.
    pub(super) names_unsafe: bool,
    /// Copying while idle goes up to this segment, once around.
    round_end: Option<u32>,
    /// What was dead after the last round.
    dead_after_round: u64,
}

#[derive(Debug)]
struct Filling {
    filled: u64,
}

impl Space {
    pub(super) fn new(oldest: u32) -> Self {
        Self {
            oldest,
            retired: VecDeque::new(),
            spares: Vec::new(),
            filling: None,
            reserve_failure: None,
            reserve_retry: false,
            hold_failed: false,
            stuck: None,
            cursor: FRAMES_START,
            written: 0,
            // What was found may be mostly dead.
            fresh: true,
            sealed_large: false,
            names_unsafe: false,
            round_end: None,
            dead_after_round: 0,
        }
    }
}

impl<D: Device> Journal<D> {
    /// Does a small piece of what keeps space in bounds: a few milliseconds at most. While `idle`, which is when
    /// nothing was written for a while, it goes further.
    pub fn maintain(&mut self, idle: bool) -> Step {
        if self.failure.is_some() {
            return Step::Rest;
        }
        if self.recycle(idle) || self.retire() || self.compact(idle) || self.fill_reserve() {
            return Step::More;
        }
        if idle && self.mark() { Step::More } else { Step::Rest }
    }

    /// Whether more was written than one step makes up for: the next should come before any more is.
    pub fn is_outrun(&self) -> bool {
        self.space.written * BUSY_RATIO >= BUSY_STEP_BYTES
    }

    /// Tries again to hold a segment in reserve.
    pub fn retry_reserve(&mut self) {
        self.space.hold_failed = false;
        if self.space.spares.is_empty() {
            self.space.reserve_retry = self.space.reserve_failure.is_some();
        } else {
            self.space.reserve_failure = None;
        }
    }

    /// Frees the oldest segment if that is safe, or a spare file that is one too many.
    fn recycle(&mut self, idle: bool) -> bool {
        if self.space.names_unsafe {
            if self.device.sync_directory().is_err() {
                return false;
            }
            self.space.names_unsafe = false;
        }
        let spares_max = if idle { self.options.spares_max.min(1) } else { self.options.spares_max };
        if self.space.spares.len() > spares_max
            && let Some(name) = self.space.spares.pop()
        {
            return self.device.remove(&name).is_ok();
        }
        if self.space.retired.front().is_none_or(|claimed| *claimed > self.synced) {
            return false;
        }
        let (number, size) = {
            let index = self.index();
            let Some(front) = index.segments.front() else { return false };
            (front.number, front.size)
        };
        let name = crate::format::segment_name(number);
        let keep = self.space.spares.len() < spares_max && size == u64::from(self.options.segment_bytes);
        let spare =
            (0..).map(spare_name).find(|name| !self.space.spares.contains(name)).expect("few are taken");
        let freed = if keep { self.device.rename(&name, &spare) } else { self.device.remove(&name) };
        if freed.is_err() {
            return false;
        }
        self.index().segments.pop_front();
        self.space.retired.pop_front();
        self.space.hold_failed = false;
        if self.device.sync_directory().is_err() {
            // The next goes only when this one is certain to be gone, and this one is not written to.
            self.space.names_unsafe = true;
            if keep {
                _ = self.device.remove(&spare);
            }
        } else if keep {
            self.space.spares.push(spare);
        }
        true
    }

    /// Declares the oldest segment not needed if nothing in it is alive.
    fn retire(&mut self) -> bool {
        let dead = {
            let index = self.index();
            index.segment(self.space.oldest).is_some_and(|segment| segment.live_bytes == 0)
        };
        if !dead || !self.is_sealed(self.space.oldest) {
            return false;
        }
        self.space.oldest += 1;
        self.space.retired.push_back(self.next_sequence);
        self.space.cursor = FRAMES_START;
        true
    }

    /// Copies some of what is alive in the oldest segment, if there is more dead than there should be.
    fn compact(&mut self, idle: bool) -> bool {
        if self.space.stuck.is_some() || !self.is_sealed(self.space.oldest) || !self.wants_compaction(idle) {
            self.space.written = 0;
            return false;
        }
        if self.space.reserve_failure.is_some() && self.space.spares.is_empty() && !self.hold_copies() {
            return false;
        }
        // For each byte written some are looked through: so the oldest end moves faster than the youngest.
        let owed = self.space.written * BUSY_RATIO;
        let budget = if idle { IDLE_STEP_BYTES } else { owed.min(BUSY_STEP_BYTES) };
        let start = self.space.cursor;
        match self.copy(budget) {
            Ok(frame) => {
                let fresh = self.space.fresh;
                if !frame.is_empty() {
                    self.write(frame);
                }
                let looked_through = (self.space.cursor - start).max(FRAMES_START);
                self.space.written = owed.saturating_sub(looked_through) / BUSY_RATIO;
                self.space.fresh = fresh;
                true
            }
            Err(error) => {
                self.space.stuck = Some(error);
                false
            }
        }
    }

    /// Whether there is room for all that is alive in the oldest segment. If copies took the last there is before they
    /// are of use, what makes room in other ways could not be written either.
    fn hold_copies(&mut self) -> bool {
        let oldest = self.space.oldest;
        let live = self.index().segment(oldest).map_or(0, |segment| segment.live_bytes);
        self.space.hold_failed = !self.hold(live + live / 4);
        !self.space.hold_failed
    }

    fn copy(&mut self, budget: u64) -> Result<Frame, Error> {
        let number = self.space.oldest;
        let Some((file, tag, end)) =
            self.index().segment(number).map(|segment| (segment.file.clone(), segment.tag, segment.end))
        else {
            return Ok(Frame::default());
        };
        let mut window = Window::new(&*self.device, &file);
        let start = self.space.cursor;
        let mut copies = Batch::default();
        while self.space.cursor < end && self.space.cursor - start <= budget {
            let (payload_at, payload, next) =
                frame_again(&*self.device, (number, tag), &mut window, self.space.cursor)?;
            // Nobody but this thread changes the index, and others are not to wait while we read.
            let index = lock(&self.index);
            let mut rest = payload;
            while let Ok(op) = Op::decode(&mut rest) {
                if let Op::Put { id, body, .. } = op
                    && place(payload_at, payload, rest, body)
                        .is_some_and(|offset| index.is_at(id, number, offset))
                {
                    index.copy(id, body, &mut copies);
                }
            }
            self.space.cursor = next;
        }
        let mut frame = Frame::default();
        frame.push(&copies);
        self.figures.bytes_copied += frame.len();
        Ok(frame)
    }

    fn wants_compaction(&mut self, idle: bool) -> bool {
        // Headers are left out on both sides: they are much of a very small segment.
        let nominal = u64::from(self.options.segment_bytes).saturating_sub(FRAMES_START);
        let (total, live, oldest_live) = {
            let index = self.index();
            let needed = index.segments.iter().skip(self.space.retired.len());
            let total: u64 = needed.map(|segment| segment.size.saturating_sub(FRAMES_START)).sum();
            let oldest = index.segment(self.space.oldest).map_or(0, |segment| segment.live_bytes);
            (total, index.live_bytes(), oldest)
        };
        let full = self.space.reserve_failure.is_some();
        let copies = oldest_live + oldest_live / 4;
        if full && self.space.spares.is_empty() && (self.space.hold_failed || copies > self.room()) {
            return false;
        }
        if self.space.written > 0 && total > 2 * live + BUSY_SEGMENTS * nominal {
            return true;
        }
        if !idle && !full {
            return false;
        }
        let all = total + self.space.spares.len().max(1) as u64 * nominal;
        let dead = all.saturating_sub(live + live / 8);
        if let Some(end) = self.space.round_end {
            if self.space.oldest < end && dead > 2 * nominal {
                return true;
            }
            self.space.round_end = None;
            self.space.dead_after_round = dead;
            return false;
        }
        // A round that could not free enough is not begun again before there is more to free.
        let may_free_more = self.space.fresh && dead > self.space.dead_after_round;
        if (may_free_more || self.space.sealed_large) && dead > 2 * nominal {
            self.space.fresh = false;
            self.space.sealed_large = false;
            self.space.round_end = self.active.as_ref().map(|active| active.number);
            return true;
        }
        self.space.dead_after_round = self.space.dead_after_round.min(dead);
        false
    }

    /// Fills a spare file, a piece at a time, if there is none.
    fn fill_reserve(&mut self) -> bool {
        let gave_up = self.space.reserve_failure.is_some() && !self.space.reserve_retry;
        if !self.space.spares.is_empty() || gave_up {
            return false;
        }
        match self.fill_some() {
            Ok(()) => {
                if !self.space.spares.is_empty() {
                    self.space.reserve_failure = None;
                    self.space.reserve_retry = false;
                }
                true
            }
            Err(failure) => {
                self.space.filling = None;
                self.space.reserve_failure = Some(failure);
                self.space.reserve_retry = false;
                // What it has taken may be needed more elsewhere.
                _ = self.device.remove(UNFINISHED_SPARE);
                false
            }
        }
    }

    fn fill_some(&mut self) -> Result<(), Failure> {
        let device = &*self.device;
        let failure = |doing| move |error| Failure::new(doing, device.path(UNFINISHED_SPARE), error);
        let nominal = u64::from(self.options.segment_bytes);
        let (file, filled) = match &self.space.filling {
            None => (device.create(UNFINISHED_SPARE).map_err(failure("create"))?, 0),
            Some(filling) => (device.open(UNFINISHED_SPARE).map_err(failure("open"))?, filling.filled),
        };
        let piece = FILL_STEP_BYTES.min(nominal - filled);
        write_all_at(device, &file, &vec![0; piece as usize], filled).map_err(failure("write"))?;
        device.sync(&file).map_err(failure("sync"))?;
        let filled = filled + piece;
        if filled < nominal {
            self.space.filling = Some(Filling { filled });
            return Ok(());
        }
        self.space.filling = None;
        let name = spare_name(0);
        device.rename(UNFINISHED_SPARE, &name).map_err(failure("rename"))?;
        device.sync_directory().map_err(failure("sync the directory of"))?;
        self.space.spares.push(name);
        Ok(())
    }

    /// Says that all was safe, where no frame has said so yet: so damage to the last frame is known as such,
    /// and segments that are not needed can go.
    fn mark(&mut self) -> bool {
        let claim_waits = self.space.retired.front().is_some_and(|claimed| *claimed >= self.next_sequence);
        let unsaid = self.marked < self.last_full && self.synced >= self.last_full;
        if claim_waits || unsaid {
            self.write(Frame::default());
            return true;
        }
        false
    }

    fn is_sealed(&self, number: u32) -> bool {
        self.active.as_ref().is_some_and(|active| number < active.number)
    }

    /// What keeps it from copying forward, or from freeing files.
    pub fn trouble(&self) -> Option<&Error> {
        self.space.stuck.as_ref()
    }
}

/// How much more than twice what is alive there may be while there is work.
const BUSY_SEGMENTS: u64 = 4;

/// Bytes that are looked through for each that is written.
const BUSY_RATIO: u64 = 4;

/// Bytes that are looked through at a time.
const IDLE_STEP_BYTES: u64 = 256 * 1024;
const BUSY_STEP_BYTES: u64 = 1024 * 1024;

/// Bytes that are filled at a time.
pub(super) const FILL_STEP_BYTES: u64 = 1024 * 1024;
