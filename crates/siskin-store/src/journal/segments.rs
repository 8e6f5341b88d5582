//! Beginning a segment: a file gets its name only when its header is safe, so that a segment whose header
//! cannot be read was damaged, and never is one that was just being made.

use std::sync::Arc;

use super::space::FILL_STEP_BYTES;
use super::{Active, Failure, Journal, Unsynced};
use crate::device::{Device, write_all_at};
use crate::error::Error;
use crate::format::{
    FRAMES_START, FrameHeader, SEGMENT_HEADER_BYTES, SegmentHeader, UNFINISHED, UNFINISHED_SPARE, is_spare,
    segment_name,
};
use crate::index::Segment;

impl<D: Device> Journal<D> {
    /// Begins a segment whose first frame is `first` and takes `need` bytes.
    ///
    /// The first `carried` of the frames that are not synced go in, and are safe, before the segment is to be
    /// found: from then on, what was written of them elsewhere is void.
    pub(super) fn begin_segment(&mut self, first: u64, need: u64, carried: usize) -> Result<(), Failure> {
        let (number, oldest) = {
            let index = self.index();
            let number = index.segments.back().map_or(self.space.oldest, |last| last.number + 1);
            (number, index.segments.front().map_or(number, |front| front.number))
        };
        let nominal = u64::from(self.options.segment_bytes);
        let carried_bytes: u64 =
            self.unsynced.iter().take(carried).map(|unsynced| unsynced.frame.total()).sum();
        let size = nominal.max(FRAMES_START + need + carried_bytes);
        if size > u64::from(u32::MAX) {
            let error = std::io::Error::other(format!(
                "{} bytes are more than a segment can hold",
                need + carried_bytes
            ));
            return Err(Failure::new("write", path(&*self.device, number), error));
        }
        let spare = if size == nominal { self.space.spares.pop() } else { None };
        let held = if spare.is_some() { size } else { FRAMES_START };
        let from = spare.unwrap_or_else(|| UNFINISHED.to_owned());
        let header = SegmentHeader { number, tag: self.tag(), first, synced: self.synced, oldest };
        let frame_header = self.frame_header();
        let carry = Carry { frames: self.unsynced.iter_mut().take(carried), header: frame_header };
        let file = match prepare(&*self.device, &from, &header, carry) {
            Ok(file) => file,
            Err(failure) => {
                // A file that cannot be written is of no use; one that goes away may make room.
                _ = self.device.remove(&from);
                return Err(failure);
            }
        };
        let file = Arc::new(file);
        self.figures.syncs += 1;
        self.index().segments.push_back(Segment {
            number,
            tag: header.tag,
            file: file.clone(),
            size,
            end: FRAMES_START,
            live_bytes: 0,
        });
        if let Some(before) = self.active.as_ref().filter(|before| before.size > nominal) {
            // Not one that copies have filled: it is alive, and would be copied again and again.
            let live = self.index().segment(before.number).map_or(0, |segment| segment.live_bytes);
            self.space.sealed_large |= live < (before.end - FRAMES_START) / 2;
        }
        self.active = Some(Active { number, tag: header.tag, file, end: FRAMES_START, size, held });
        self.space.names_unsafe = false;
        for _ in 0..carried {
            self.wrote_one();
        }
        if carried > 0 {
            self.became_safe(self.unsynced[carried - 1].sequence);
        }
        Ok(())
    }

    /// Gives back what segments of before have set aside behind their frames, as nothing is appended to them any
    /// more; says whether it was anything.
    pub(super) fn trim(&mut self) -> bool {
        let mut has_trimmed = false;
        let mut index = super::lock(&self.index);
        for segment in &mut index.segments {
            if segment.size > segment.end && self.device.shorten(&segment.file, segment.end).is_ok() {
                segment.size = segment.end;
                has_trimmed = true;
            }
        }
        has_trimmed
    }

    /// Has the disk set aside room for `need` bytes behind what is written, so that what is begun can be finished;
    /// says whether there is.
    pub(super) fn hold(&mut self, need: u64) -> bool {
        let Some(active) = self.active.as_mut().filter(|active| active.end + need <= active.size) else {
            return false;
        };
        active.held = active.held.max(active.end);
        while active.held < active.end + need {
            let piece = (active.end + need - active.held).min(FILL_STEP_BYTES);
            if write_all_at(&*self.device, &active.file, &vec![0; piece as usize], active.held).is_err() {
                return false;
            }
            active.held += piece;
        }
        true
    }

    /// Takes stock of what lies around from before: spare files, and such as never became anything.
    pub(super) fn tidy(&mut self) -> Result<(), Error> {
        let names = self.device.list().map_err(|error| Error::io("list", self.device.path(""), error))?;
        for name in names {
            let spare = is_spare(&name);
            if !spare && name != UNFINISHED && name != UNFINISHED_SPARE {
                continue;
            }
            let usable = spare
                && self.space.spares.len() < self.options.spares_max
                && self
                    .device
                    .open(&name)
                    .and_then(|file| self.device.size(&file))
                    .is_ok_and(|size| size == u64::from(self.options.segment_bytes));
            if usable {
                self.space.spares.push(name);
            } else {
                self.device
                    .remove(&name)
                    .map_err(|error| Error::io("remove", self.device.path(&name), error))?;
            }
        }
        Ok(())
    }

    fn tag(&mut self) -> u64 {
        // The generator is SplitMix64: what it draws says nothing to who does not know the seed.
        self.tags = self.tags.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut tag = self.tags;
        tag = (tag ^ (tag >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        tag = (tag ^ (tag >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        tag ^ (tag >> 31)
    }
}

/// Frames that a new segment begins with.
struct Carry<'a> {
    frames: std::iter::Take<std::collections::vec_deque::IterMut<'a, Unsynced>>,
    header: FrameHeader,
}

fn prepare<D: Device>(
    device: &D,
    from: &str,
    header: &SegmentHeader,
    carry: Carry<'_>,
) -> Result<D::File, Failure> {
    let name = segment_name(header.number);
    let failure = |doing, name: &str| {
        let path = device.path(name);
        move |error| Failure::new(doing, path, error)
    };
    let file = match from {
        UNFINISHED => device.create(from).map_err(failure("create", from))?,
        spare => device.open(spare).map_err(failure("open", spare))?,
    };
    let mut block = [0; FRAMES_START as usize];
    block[..SEGMENT_HEADER_BYTES].copy_from_slice(&header.encode());
    write_all_at(device, &file, &block, 0).map_err(failure("write", from))?;
    let mut end = FRAMES_START;
    for unsynced in carry.frames {
        let bytes = unsynced.frame.seal(unsynced.sequence, carry.header, header.tag);
        write_all_at(device, &file, bytes, end).map_err(failure("write", from))?;
        end += bytes.len() as u64;
    }
    device.sync(&file).map_err(failure("sync", from))?;
    device.rename(from, &name).map_err(failure("rename", from))?;
    if let Err(error) = device.sync_directory() {
        // No frame goes in before the name is safe. If the name stays, the next attempt takes it over.
        _ = device.rename(&name, from);
        return Err(failure("sync the directory of", &name)(error));
    }
    Ok(file)
}

pub(super) fn path<D: Device>(device: &D, number: u32) -> String {
    device.path(&segment_name(number))
}
