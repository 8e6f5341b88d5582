//! Looking at a journal that nobody is writing, and changing nothing.

use siskin_core::store::Live;

use crate::device::Device;
use crate::error::Error;
use crate::journal::Recovered;
use crate::journal::recovery::{hand_out, replay};

/// What is in a journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inspected {
    /// What opening it would find.
    pub recovered: Recovered,
    /// About what a copy of all that is alive takes.
    pub live_bytes: u64,
    /// Each segment, oldest first.
    pub segments: Vec<InspectedSegment>,
}

/// A segment file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InspectedSegment {
    /// The file.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Where its last frame ends.
    pub end: u64,
    /// About what a copy takes of what is alive in it.
    pub live_bytes: u64,
}

/// Reads a journal as opening it would, and hands out what is alive in the order of the journal.
pub fn inspect<D: Device>(device: &D, live: &mut dyn FnMut(Live<'_>)) -> Result<Inspected, Error> {
    let replay = replay(device, &mut |_| {})?;
    hand_out(device, &replay.index, live)?;
    let segments = replay.index.segments.iter().map(|segment| InspectedSegment {
        path: device.path(&crate::format::segment_name(segment.number)),
        bytes: segment.size,
        end: segment.end,
        live_bytes: segment.live_bytes,
    });
    Ok(Inspected {
        segments: segments.collect(),
        live_bytes: replay.index.live_bytes(),
        recovered: replay.recovered,
    })
}
