//! Reading what is there: the index comes from the frames, in order, and nothing is changed on the way.
//!
//! A frame that cannot be read is the end if nothing behind it says that it had been safe: what follows was
//! never promised to anybody. If something does, it is damage, and nobody is to go on without knowing.

use std::collections::VecDeque;
use std::sync::Arc;

use siskin_core::store::{Held, Live, Op};

use super::{Frame, Unsynced};
use crate::device::Device;
use crate::error::{Damage, Error};
use crate::format::{
    FRAME_HEADER_BYTES, FRAMES_START, NoSegment, SEGMENT_HEADER_BYTES, SegmentHeader, segment_name,
    segment_number,
};
use crate::index::{Index, Segment, place};
use crate::window::{Found, Window};

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// Records that are alive.
    pub records: u64,
    /// Segment files.
    pub segments: u64,
    /// Frames that were read.
    pub frames: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// The highest id that was ever put.
    pub last_id: u64,
    /// What was cut off at the end.
    pub torn: Option<TornTail>,
}

/// What was being written when the process or the machine stopped, and had been promised to nobody.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TornTail {
    /// The file with the frame that cannot be read.
    pub path: String,
    /// Where it is.
    pub offset: u64,
    /// Bytes from there to the last that can be made out.
    pub bytes: u64,
    /// Frames behind it that could be read, but not without it.
    pub frames: u64,
}

/// How far the reading is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Bytes that are behind it.
    pub done: u64,
    /// Bytes of all files.
    pub total: u64,
    /// Records alive at this point.
    pub records: u64,
}

/// What the files say.
#[derive(Debug)]
pub(crate) struct Replay<F> {
    pub(crate) index: Index<F>,
    pub(crate) next_sequence: u64,
    /// Up to here something says that all was safe.
    pub(crate) synced: u64,
    /// The oldest segment, or what is to be the first.
    pub(crate) oldest: u32,
    /// The frames behind `synced`.
    tail: VecDeque<TailFrame>,
    pub(crate) recovered: Recovered,
}

#[derive(Debug)]
struct TailFrame {
    sequence: u64,
    segment: u32,
    /// Where its payload is.
    offset: u64,
    len: u32,
}

/// A segment file before its frames are read.
pub(crate) struct Part<F> {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<F>,
    size: u64,
    /// Frames from this sequence on are in a later segment.
    pub(crate) limit: u64,
}

impl<F> Part<F> {
    /// Whether all of it was begun anew in a later segment.
    pub(crate) fn is_void(&self) -> bool {
        self.header.first >= self.limit
    }
}

/// Reads all segments.
pub(crate) fn replay<D: Device>(
    device: &D,
    progress: &mut dyn FnMut(Progress),
) -> Result<Replay<D::File>, Error> {
    let parts = parts(device)?;
    let total = parts.iter().map(|part| part.size).sum();
    let first = parts.iter().find(|part| !part.is_void()).map_or(1, |part| part.header.first);
    let mut replay = Replay {
        index: Index::new(),
        next_sequence: first,
        // A segment goes only when all in it is safe.
        synced: first.saturating_sub(1),
        oldest: parts.first().map_or(1, |part| part.header.number),
        tail: VecDeque::new(),
        recovered: Recovered { segments: parts.len() as u64, ..Recovered::default() },
    };
    let mut needed = 0;
    for part in &parts {
        needed = needed.max(part.header.oldest);
        replay.synced = replay.synced.max(part.header.synced);
        replay.index.segments.push_back(Segment {
            number: part.header.number,
            tag: part.header.tag,
            file: part.file.clone(),
            size: part.size,
            end: FRAMES_START,
            live_bytes: 0,
        });
    }
    let mut done = 0;
    for (at, part) in parts.iter().enumerate() {
        if part.is_void() {
            continue;
        }
        let end = replay.read(device, part, &mut needed, &mut |read, records| {
            progress(Progress { done: done + read, total, records });
        })?;
        done += part.size;
        if replay.next_sequence < part.limit {
            replay.recovered.torn = torn(device, &parts[at..], end, replay.next_sequence)?;
            break;
        }
    }
    // Each claim that something had been safe is either a header's, whose frames follow, or a frame's.
    if replay.synced >= replay.next_sequence {
        let segment = parts.last().map_or(0, |part| part.header.number);
        return Err(Error::Corrupt {
            path: device.path(&segment_name(segment)),
            segment,
            offset: replay.index.segment(segment).map_or(0, |segment| segment.end),
            damage: Damage::Frame { sequence: replay.next_sequence, synced: replay.synced },
        });
    }
    if replay.oldest > needed && !parts.is_empty() {
        let segment = replay.oldest - 1;
        let path = device.path(&segment_name(segment));
        return Err(Error::Corrupt { path, segment, offset: 0, damage: Damage::Missing });
    }
    replay.recovered.records = replay.index.len() as u64;
    replay.recovered.last_id = replay.index.last_id();
    Ok(replay)
}

/// Opens all segments and reads their headers.
pub(crate) fn parts<D: Device>(device: &D) -> Result<Vec<Part<D::File>>, Error> {
    let names = device.list().map_err(|error| Error::io("list", device.path(""), error))?;
    let mut numbers: Vec<_> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    let mut parts = Vec::<Part<D::File>>::with_capacity(numbers.len());
    for number in numbers {
        let path = || device.path(&segment_name(number));
        if let Some(before) = parts.last()
            && before.header.number + 1 != number
        {
            let segment = before.header.number + 1;
            let path = device.path(&segment_name(segment));
            return Err(Error::Corrupt { path, segment, offset: 0, damage: Damage::Missing });
        }
        let file = device.open(&segment_name(number)).map_err(|error| Error::io("open", path(), error))?;
        let size = device.size(&file).map_err(|error| Error::io("measure", path(), error))?;
        let corrupt = |damage| Err(Error::Corrupt { path: path(), segment: number, offset: 0, damage });
        let mut window = Window::narrow(device, &file);
        let bytes = window.get(0, SEGMENT_HEADER_BYTES).map_err(|error| Error::io("read", path(), error))?;
        let header = match SegmentHeader::decode(bytes) {
            Ok(header) => header,
            Err(NoSegment::Version(version)) => return Err(Error::Version { path: path(), version }),
            Err(NoSegment::Damaged) => return corrupt(Damage::SegmentHeader),
        };
        if header.number != number {
            return corrupt(Damage::SegmentNumber { found: header.number });
        }
        if size > u64::from(u32::MAX) {
            return corrupt(Damage::TooLong);
        }
        parts.push(Part { header, file: Arc::new(file), size, limit: u64::MAX });
    }
    let mut limit = u64::MAX;
    for part in parts.iter_mut().rev() {
        part.limit = limit;
        limit = limit.min(part.header.first);
    }
    Ok(parts)
}

impl<F: std::fmt::Debug + Send + Sync> Replay<F> {
    /// Applies the frames of a segment; where they end.
    fn read<D: Device<File = F>>(
        &mut self,
        device: &D,
        part: &Part<F>,
        needed: &mut u32,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<u64, Error> {
        let number = part.header.number;
        let path = || device.path(&segment_name(number));
        let mut window = Window::new(device, &part.file);
        let mut offset = FRAMES_START;
        let mut said = 0;
        while self.next_sequence < part.limit {
            let found =
                window.frame(offset, part.header.tag).map_err(|error| Error::io("read", path(), error))?;
            let Found::Whole(header) = found else { break };
            if header.sequence != self.next_sequence && !(header.lost && header.sequence > self.next_sequence)
            {
                break;
            }
            let payload_at = offset + FRAME_HEADER_BYTES as u64;
            if !header.lost {
                let payload =
                    window.payload(offset, &header).map_err(|error| Error::io("read", path(), error))?;
                self.index.apply(number, payload_at, payload).map_err(|_| Error::Corrupt {
                    path: path(),
                    segment: number,
                    offset,
                    damage: Damage::Operations,
                })?;
                self.tail.push_back(TailFrame {
                    sequence: header.sequence,
                    segment: number,
                    offset: payload_at,
                    len: header.len,
                });
            }
            self.synced = self.synced.max(header.synced);
            *needed = (*needed).max(header.oldest);
            while self.tail.front().is_some_and(|frame| frame.sequence <= self.synced) {
                self.tail.pop_front();
            }
            self.next_sequence = header.sequence + 1;
            self.recovered.frames += 1;
            self.recovered.bytes += header.total();
            offset += header.total();
            if offset - said > PROGRESS_BYTES {
                said = offset;
                progress(offset, self.index.len() as u64);
            }
        }
        if let Some(segment) = self.index.segment_mut(number) {
            segment.end = offset;
        }
        Ok(offset)
    }
}

/// What is behind a place where frame `sequence` should be and is not: an error if it had been safe. `parts`
/// begin with the segment it should be in.
fn torn<D: Device>(
    device: &D,
    parts: &[Part<D::File>],
    end: u64,
    sequence: u64,
) -> Result<Option<TornTail>, Error> {
    let (mut synced, mut bytes, mut frames) = (0, 0, 0);
    let mut begun = false;
    for (at, part) in parts.iter().enumerate() {
        if part.is_void() {
            continue;
        }
        let path = device.path(&segment_name(part.header.number));
        let io = |error| Error::io("read", &path, error);
        let mut window = Window::new(device, &part.file);
        let mut offset = FRAMES_START;
        if at == 0 {
            offset = end;
            let tag = part.header.tag.to_le_bytes();
            let found = window.get(offset, TAG_BYTES).map_err(io)?;
            // Half a tag is enough for a frame that was begun, and too much for chance.
            begun = found.len() == TAG_BYTES && (found[..4] == tag[..4] || found[4..] == tag[4..]);
        } else {
            synced = synced.max(part.header.synced);
        }
        while let Some((found_at, header)) = window.search(offset, part.header.tag).map_err(io)? {
            offset = found_at + 1;
            if header.sequence < sequence || header.sequence >= part.limit {
                continue;
            }
            synced = synced.max(header.synced);
            let start = if at == 0 { end } else { FRAMES_START };
            bytes = bytes.max(found_at + header.total() - start);
            if let Found::Whole(_) = window.frame(found_at, part.header.tag).map_err(io)? {
                offset = found_at + header.total();
                frames += 1;
            }
        }
    }
    let segment = parts[0].header.number;
    let path = device.path(&segment_name(segment));
    if synced >= sequence {
        return Err(Error::Corrupt {
            path,
            segment,
            offset: end,
            damage: Damage::Frame { sequence, synced },
        });
    }
    let torn = begun || frames > 0 || bytes > 0 || parts.len() > 1;
    Ok(torn.then_some(TornTail { path, offset: end, bytes, frames }))
}

/// Hands out all records that are alive, in the order of the journal.
pub(crate) fn hand_out<D: Device>(
    device: &D,
    index: &Index<D::File>,
    live: &mut dyn FnMut(Live<'_>),
) -> Result<(), Error> {
    let mut held = Vec::<Held>::new();
    for segment in &index.segments {
        if segment.live_bytes == 0 {
            continue;
        }
        let mut window = Window::new(device, &segment.file);
        let mut offset = FRAMES_START;
        while offset < segment.end {
            let (payload_at, payload, next) =
                frame_again(device, (segment.number, segment.tag), &mut window, offset)?;
            let mut rest = payload;
            while let Ok(op) = Op::decode(&mut rest) {
                if let Op::Put { id, body, .. } = op
                    && place(payload_at, payload, rest, body)
                        .is_some_and(|offset| index.is_at(id, segment.number, offset))
                {
                    index.held(id, &mut held);
                    live(Live { id, body, held: &held });
                }
            }
            offset = next;
        }
    }
    Ok(())
}

/// Reads a frame that was read before: where its operations are, these, and where the next frame is.
pub(crate) fn frame_again<'a, D: Device>(
    device: &D,
    (number, tag): (u32, u64),
    window: &'a mut Window<'_, D>,
    offset: u64,
) -> Result<(u64, &'a [u8], u64), Error> {
    let path = || device.path(&segment_name(number));
    match window.frame(offset, tag).map_err(|error| Error::io("read", path(), error))? {
        Found::Whole(header) => {
            let payload =
                window.payload(offset, &header).map_err(|error| Error::io("read", path(), error))?;
            let payload = if header.lost { &[] } else { payload };
            Ok((offset + FRAME_HEADER_BYTES as u64, payload, offset + header.total()))
        }
        _ => Err(Error::Corrupt { path: path(), segment: number, offset, damage: Damage::Body }),
    }
}

/// The frames of which nothing says that they were safe: they may be in the kernel's memory only.
pub(super) fn tail<D: Device>(device: &D, replay: &Replay<D::File>) -> Result<VecDeque<Unsynced>, Error> {
    let mut tail = VecDeque::with_capacity(replay.tail.len());
    for frame in &replay.tail {
        let segment = replay.index.segment(frame.segment).expect("what it was read from");
        let path = || device.path(&segment_name(frame.segment));
        let mut window = Window::narrow(device, &segment.file);
        let payload =
            window.get(frame.offset, frame.len as usize).map_err(|error| Error::io("read", path(), error))?;
        if payload.len() != frame.len as usize {
            return Err(Error::Corrupt {
                path: path(),
                segment: frame.segment,
                offset: frame.offset,
                damage: Damage::Body,
            });
        }
        tail.push_back(Unsynced {
            sequence: frame.sequence,
            frame: Frame::from_payload(payload),
            at: Some((frame.segment, frame.offset)),
        });
    }
    Ok(tail)
}

const TAG_BYTES: usize = 8;

/// How often progress is told.
const PROGRESS_BYTES: u64 = 1024 * 1024;
