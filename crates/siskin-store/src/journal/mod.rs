//! The journal: frames go in at one end, and what is needed no longer comes off at the other.
//!
//! ```text
//!   00000007.journal     00000008.journal     00000009.journal
//!  ┌────────────────┐   ┌────────────────┐   ┌────────────────┐
//!  │ few alive      │   │ most alive     │   │ frame frame ▷  │      1.spare
//!  └────────────────┘   └────────────────┘   └────────────────┘
//!    oldest: its living                         active
//!    are copied forward
//! ```
//!
//! Everything happens in the caller's thread, and when is the caller's choice: what is written is on stable
//! storage only after a [`Journal::sync`], and space comes back by [`Journal::maintain`].

mod failure;
mod frame;
mod reader;
pub(crate) mod recovery;
mod segments;
mod space;

pub use failure::Failure;
pub use frame::Frame;
pub use reader::Reader;
pub use recovery::{Progress, Recovered, TornTail};
pub use space::Step;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use siskin_core::store::Live;

use crate::device::{Device, write_all_at};
use crate::error::Error;
use crate::figures::Figures;
use crate::format::{FRAME_HEADER_BYTES, FrameHeader};
use crate::index::Index;
use space::Space;

/// How a journal is laid out.
#[derive(Clone, Copy, Debug)]
pub struct JournalOptions {
    /// Bytes of a segment file; one whose only frame is larger is as large as that.
    pub segment_bytes: u32,
    /// Segment files that are kept for use again while there is work.
    pub spares_max: usize,
    /// Random, and another at each opening: tags come from it, which nobody outside may be able to guess, and
    /// which tell what is written from what an earlier attempt has left in a file.
    pub seed: u64,
}

/// A segmented journal with its index.
#[derive(Debug)]
pub struct Journal<D: Device> {
    device: Arc<D>,
    options: JournalOptions,
    index: Shared<D::File>,
    /// Where frames go. None until one is begun, and after a failure.
    active: Option<Active<D::File>>,
    failure: Option<Failure>,
    next_sequence: u64,
    /// Everything up to here had been written once.
    written: u64,
    /// Everything up to here is on stable storage.
    synced: u64,
    /// The last sequence that a frame has said was synced.
    marked: u64,
    /// The last frame that was not empty.
    last_full: u64,
    /// All frames behind `synced`, so that they can be written again.
    unsynced: VecDeque<Unsynced>,
    /// How many of these are written in segments that are good.
    unsynced_written: usize,
    unsynced_bytes: u64,
    /// Files with frames that are not synced.
    dirty: Vec<(u32, Arc<D::File>)>,
    /// Rises with each failure, which makes what a sync from before it says worthless.
    epoch: u64,
    tags: u64,
    space: Space,
    figures: Figures,
}

/// Frames whose safety is asked of the device, perhaps by another thread.
#[derive(Debug)]
pub struct SyncTask<F> {
    files: Vec<(u32, Arc<F>)>,
    up_to: u64,
    epoch: u64,
}

pub(crate) type Shared<F> = Arc<Mutex<Index<F>>>;

#[derive(Debug)]
struct Active<F> {
    number: u32,
    tag: u64,
    file: Arc<F>,
    end: u64,
    size: u64,
    /// Up to where the disk is known to have set aside room for it.
    held: u64,
}

#[derive(Debug)]
struct Unsynced {
    sequence: u64,
    frame: Frame,
    /// Where its payload was written last.
    at: Option<(u32, u64)>,
}

impl<D: Device> Journal<D> {
    /// Reads what is there, hands what is alive to `live` in the order of the journal, and makes ready to write.
    ///
    /// That order is the order of the ids except for records that were copied forward to reclaim space: these
    /// come later.
    pub fn open(
        device: D,
        options: JournalOptions,
        progress: &mut dyn FnMut(Progress),
        live: &mut dyn FnMut(Live<'_>),
    ) -> Result<(Self, Recovered), Error> {
        let device = Arc::new(device);
        let replay = recovery::replay(&*device, progress)?;
        recovery::hand_out(&*device, &replay.index, live)?;
        let tail = recovery::tail(&*device, &replay)?;
        let mut journal = Self {
            device,
            options,
            active: None,
            failure: None,
            next_sequence: replay.next_sequence,
            written: replay.next_sequence - 1,
            synced: replay.synced,
            marked: 0,
            last_full: replay.next_sequence - 1,
            unsynced: tail,
            unsynced_written: 0,
            unsynced_bytes: 0,
            dirty: Vec::new(),
            epoch: 0,
            tags: options.seed,
            space: Space::new(replay.oldest),
            figures: Figures::default(),
            index: Arc::new(Mutex::new(replay.index)),
        };
        journal.unsynced_bytes = journal.unsynced.iter().map(|unsynced| unsynced.frame.len()).sum();
        journal.tidy()?;
        // Behind what was found a new segment begins: so what was cut off stays so, and what may be in the
        // kernel's memory only is written again.
        journal.retry();
        if journal.failure.as_ref().is_some_and(Failure::is_full) && journal.trim() {
            journal.retry();
        }
        match &journal.failure {
            None => Ok((journal, replay.recovered)),
            Some(failure) if failure.is_full() => Ok((journal, replay.recovered)),
            Some(_) => Err(journal.failure.expect("it is there").into_error()),
        }
    }

    /// Takes a frame over and writes it, unless writing fails for now; its sequence.
    pub fn write(&mut self, frame: Frame) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        if !frame.is_empty() {
            self.last_full = sequence;
            self.space.written += frame.total();
            self.space.fresh = true;
        }
        self.unsynced_bytes += frame.len();
        self.unsynced.push_back(Unsynced { sequence, frame, at: None });
        if self.failure.is_none() {
            self.write_unsynced();
        }
        sequence
    }

    /// Makes all that is written safe. Whether it did is said by [`Journal::synced`] and [`Journal::failure`].
    pub fn sync(&mut self) {
        if let Some(task) = self.begin_sync() {
            let result = task.run(&*self.device);
            self.end_sync(&task, result);
        }
    }

    /// The work of a sync, to be done elsewhere. None if there is nothing to do.
    pub fn begin_sync(&mut self) -> Option<SyncTask<D::File>> {
        if self.failure.is_some() || self.unsynced_written == 0 {
            return None;
        }
        let up_to = self.unsynced[self.unsynced_written - 1].sequence;
        Some(SyncTask { files: std::mem::take(&mut self.dirty), up_to, epoch: self.epoch })
    }

    /// What came of a sync.
    pub fn end_sync(&mut self, task: &SyncTask<D::File>, result: Result<(), Failure>) {
        self.figures.syncs += 1;
        if task.epoch != self.epoch {
            return;
        }
        if let Err(failure) = result {
            return self.fail(failure);
        }
        self.became_safe(task.up_to);
    }

    /// Tries again what failed: all that is not known to be safe is written anew, to a new segment.
    ///
    /// The old one is not trusted with it even if a later sync of it succeeds: the kernel may have dropped
    /// what it could not write, and forgotten that it did.
    pub fn retry(&mut self) {
        if self.active.is_some() {
            return;
        }
        self.failure = None;
        let carried = self.unsynced.iter().take_while(|unsynced| unsynced.at.is_some()).count();
        match self.begin_segment(self.synced + 1, 0, carried) {
            Ok(()) => self.write_unsynced(),
            Err(failure) => self.fail(failure),
        }
    }

    /// Makes all safe and says so in the journal, so that nothing is left to guess when it is opened again.
    pub fn close(&mut self) -> Result<(), Error> {
        if self.failure.is_some() {
            self.retry();
        }
        self.sync();
        if self.failure.is_none() && self.marked < self.last_full {
            self.write(Frame::default());
            self.sync();
        }
        self.failure.take().map_or(Ok(()), |failure| Err(failure.into_error()))
    }

    /// What keeps it from writing, until a [`Journal::retry`] succeeds.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// What keeps it from holding a segment in reserve.
    pub fn reserve_failure(&self) -> Option<&Failure> {
        self.space.reserve_failure.as_ref()
    }

    /// The last sequence up to which everything had been handed to the kernel.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// The last sequence up to which everything is on stable storage.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// Bytes of frames that are not known to be on stable storage.
    pub fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes
    }

    /// What reads bodies, also from other threads.
    pub fn reader(&self) -> Reader<D> {
        Reader::new(self.device.clone(), self.index.clone())
    }

    /// What it goes through.
    pub fn device(&self) -> &Arc<D> {
        &self.device
    }

    /// The highest id that was ever put, as far as what is kept tells.
    pub fn last_id(&self) -> u64 {
        self.index().last_id()
    }

    /// What it counts.
    pub fn figures(&self) -> Figures {
        let index = self.index();
        Figures {
            records: index.len() as u64,
            live_bytes: index.live_bytes(),
            segments: index.segments.len() as u64,
            segment_bytes: index.segments.iter().map(|segment| segment.size).sum(),
            spares: self.space.spares.len() as u64,
            spare_bytes: self.space.spares.len() as u64 * u64::from(self.options.segment_bytes),
            ..self.figures
        }
    }

    fn index(&self) -> MutexGuard<'_, Index<D::File>> {
        lock(&self.index)
    }

    /// Writes all frames that are not yet written where they can stay.
    fn write_unsynced(&mut self) {
        while self.unsynced_written < self.unsynced.len() {
            if let Err(failure) = self.write_one() {
                return self.fail(failure);
            }
        }
    }

    fn write_one(&mut self) -> Result<(), Failure> {
        let unsynced = &self.unsynced[self.unsynced_written];
        let (sequence, total) = (unsynced.sequence, unsynced.frame.total());
        if self.room() < total {
            self.begin_segment(sequence, total, 0)?;
        }
        let header = self.frame_header();
        let active = self.active.as_ref().expect("a segment was begun");
        if self.dirty.last().is_none_or(|(number, _)| *number != active.number) {
            self.dirty.push((active.number, active.file.clone()));
        }
        let bytes = self.unsynced[self.unsynced_written].frame.seal(sequence, header, active.tag);
        write_all_at(&*self.device, &active.file, bytes, active.end)
            .map_err(|error| Failure::new("write", segments::path(&*self.device, active.number), error))?;
        self.wrote_one();
        Ok(())
    }

    /// The next frame is at the end of the active segment.
    fn wrote_one(&mut self) {
        let active = self.active.as_mut().expect("what was written to");
        let unsynced = &mut self.unsynced[self.unsynced_written];
        let (total, payload) = (unsynced.frame.total(), unsynced.frame.payload());
        let at = (active.number, active.end + FRAME_HEADER_BYTES as u64);
        active.end += total;
        let mut index = lock(&self.index);
        match unsynced.at.replace(at) {
            Some(old) => index.relocate(old, at, payload),
            // What was handed over was encoded by a batch.
            None => index.apply(at.0, at.1, payload).expect("operations of a batch"),
        }
        if let Some(segment) = index.segment_mut(active.number) {
            segment.end = active.end;
        }
        drop(index);
        self.written = self.written.max(unsynced.sequence);
        self.marked = self.synced;
        self.unsynced_written += 1;
        self.figures.frames += 1;
        self.figures.bytes_written += total;
    }

    fn became_safe(&mut self, up_to: u64) {
        self.synced = up_to;
        while self.unsynced.front().is_some_and(|unsynced| unsynced.sequence <= up_to) {
            let safe = self.unsynced.pop_front().expect("it is there");
            self.unsynced_bytes -= safe.frame.len();
            self.unsynced_written -= 1;
        }
    }

    /// What all frames say that are written now.
    fn frame_header(&self) -> FrameHeader {
        FrameHeader {
            sequence: 0,
            synced: self.synced,
            oldest: self.space.oldest,
            len: 0,
            crc: 0,
            lost: false,
        }
    }

    /// Bytes that are left in the active segment.
    fn room(&self) -> u64 {
        self.active.as_ref().map_or(0, |active| active.size - active.end)
    }

    fn fail(&mut self, failure: Failure) {
        self.figures.failures += 1;
        self.failure = Some(failure);
        self.active = None;
        self.unsynced_written = 0;
        self.dirty.clear();
        self.epoch += 1;
        // No frame of the segments that follow has said anything yet.
        self.marked = 0;
    }
}

impl<F: std::fmt::Debug + Send + Sync> SyncTask<F> {
    /// Does it.
    pub fn run<D: Device<File = F>>(&self, device: &D) -> Result<(), Failure> {
        for (number, file) in &self.files {
            device
                .sync(file)
                .map_err(|error| Failure::new("sync", segments::path(device, *number), error))?;
        }
        Ok(())
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whoever panicked holding it did so between two changes, or the process is gone.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
