//! Making a damaged journal readable again, at the price of what cannot be read.
//!
//! Damage is passed over, one place after the other, until the journal can be read to its end: over frames that
//! cannot be read a frame is written that stands for them, a header is made again from the frames behind it, and
//! a file that is missing is made, empty. All else stays as it is, so that a repair that is cut short can be
//! done again, and needs no room.

use std::fmt;

use crate::device::{Device, write_all_at};
use crate::error::{Damage, Error};
use crate::format::{
    FRAME_HEADER_BYTES, FRAMES_START, FrameHeader, SEGMENT_HEADER_BYTES, SegmentHeader, UNFINISHED,
    segment_name, segment_number,
};
use crate::journal::recovery::{hand_out, parts, replay};
use crate::window::Window;

/// What was given up at one place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Frames in the middle of a file.
    Frames {
        /// The file.
        path: String,
        /// Where they were.
        offset: u64,
        /// The first that is lost.
        first: u64,
        /// The last that is lost.
        last: u64,
    },
    /// The header of a segment, which could be made again: nothing is lost with it.
    Header {
        /// The file.
        path: String,
    },
    /// All that was in a file.
    Segment {
        /// The file.
        path: String,
    },
}

/// Makes the journal readable, and says what was given up for it: nothing if it is sound.
pub fn repair<D: Device>(device: &D) -> Result<Vec<Loss>, Error> {
    let mut losses = Vec::new();
    loop {
        // What is handed out is read once more, and may be found damaged only then.
        let found =
            replay(device, &mut |_| {}).and_then(|replay| hand_out(device, &replay.index, &mut |_| {}));
        let Err(error) = found else { return Ok(losses) };
        let Error::Corrupt { segment, offset, damage, .. } = &error else { return Err(error) };
        let (segment, offset) = (*segment, *offset);
        let loss = match damage {
            Damage::SegmentHeader | Damage::SegmentNumber { .. } => header(device, segment)?,
            Damage::Missing => missing(device, segment)?,
            Damage::Frame { sequence, synced } => frames(device, segment, offset, *sequence, *synced)?,
            Damage::Operations => operations(device, segment, offset)?,
            Damage::Body | Damage::TooLong => return Err(error),
        };
        // A repair that changes nothing would go on for ever.
        if losses.last() == Some(&loss) {
            return Err(error);
        }
        losses.push(loss);
    }
}

/// Passes over what is between `offset` and the next frame that can be read.
fn frames<D: Device>(
    device: &D,
    segment: u32,
    offset: u64,
    sequence: u64,
    synced: u64,
) -> Result<Loss, Error> {
    let parts = parts(device)?;
    let part = parts.iter().find(|part| part.header.number == segment).expect("what was read before");
    let path = device.path(&segment_name(segment));
    let mut window = Window::new(device, &part.file);
    let mut from = offset + FRAME_HEADER_BYTES as u64;
    let mut next = None;
    while let Some((at, header)) =
        window.search(from, part.header.tag).map_err(|error| Error::io("read", &path, error))?
    {
        if header.sequence > sequence && header.sequence < part.limit {
            next = Some((at, header.sequence));
            break;
        }
        from = at + 1;
    }
    // Where no frame follows in this file, all is lost up to where the next begins.
    let (len, last) = match next {
        Some((at, next)) => (at - offset - FRAME_HEADER_BYTES as u64, next - 1),
        None if part.limit < u64::MAX => (0, part.limit - 1),
        None => (0, synced),
    };
    let header = FrameHeader { sequence: last, synced: last, oldest: 0, len: len as u32, crc: 0, lost: true };
    let bytes = header.encode(part.header.tag);
    patch(device, &part.file, &bytes, offset, &path)?;
    Ok(Loss::Frames { path, offset, first: sequence, last })
}

/// Passes over a frame that is whole, but does not hold what it should.
fn operations<D: Device>(device: &D, segment: u32, offset: u64) -> Result<Loss, Error> {
    let parts = parts(device)?;
    let part = parts.iter().find(|part| part.header.number == segment).expect("what was read before");
    let path = device.path(&segment_name(segment));
    let mut window = Window::narrow(device, &part.file);
    let bytes = window.get(offset, FRAME_HEADER_BYTES).map_err(|error| Error::io("read", &path, error))?;
    let header = FrameHeader::decode(bytes, part.header.tag).expect("what was read before");
    let lost = FrameHeader { lost: true, synced: header.sequence, ..header };
    patch(device, &part.file, &lost.encode(part.header.tag), offset, &path)?;
    Ok(Loss::Frames { path, offset, first: header.sequence, last: header.sequence })
}

/// Makes a segment's header again from its first frame. Without that too, the file is empty from now on.
fn header<D: Device>(device: &D, number: u32) -> Result<Loss, Error> {
    let name = segment_name(number);
    let path = device.path(&name);
    let file = device.open(&name).map_err(|error| Error::io("open", &path, error))?;
    let mut window = Window::narrow(device, &file);
    let bytes =
        window.get(FRAMES_START, FRAME_HEADER_BYTES).map_err(|error| Error::io("read", &path, error))?;
    let tag = bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let first = tag.and_then(|tag| Some((tag, FrameHeader::decode(bytes, tag)?)));
    let (_, next_first) = later(device, number)?;
    match first {
        Some((tag, first)) if !first.lost && next_first.is_none_or(|next| first.sequence < next) => {
            let header = SegmentHeader {
                number,
                tag,
                first: first.sequence,
                synced: first.synced,
                oldest: first.oldest,
            };
            patch(device, &file, &header.encode(), 0, &path)?;
            Ok(Loss::Header { path })
        }
        _ => {
            device.remove(&name).map_err(|error| Error::io("remove", &path, error))?;
            device.sync_directory().map_err(|error| Error::io("sync the directory of", &path, error))?;
            if next_first.is_some() {
                missing(device, number)?;
            }
            Ok(Loss::Segment { path })
        }
    }
}

/// Makes an empty segment where there is none, for those behind it to follow.
fn missing<D: Device>(device: &D, number: u32) -> Result<Loss, Error> {
    let name = segment_name(number);
    let path = device.path(&name);
    let (tag, first) = later(device, number)?;
    let header = SegmentHeader {
        number,
        tag: tag.rotate_left(17),
        first: first.unwrap_or(1),
        synced: 0,
        oldest: number,
    };
    let io = |doing| {
        let path = path.clone();
        move |error| Error::io(doing, path, error)
    };
    let file = device.create(UNFINISHED).map_err(io("create"))?;
    let mut block = [0; FRAMES_START as usize];
    block[..SEGMENT_HEADER_BYTES].copy_from_slice(&header.encode());
    patch(device, &file, &block, 0, &path)?;
    device.rename(UNFINISHED, &name).map_err(io("rename"))?;
    device.sync_directory().map_err(io("sync the directory of"))?;
    Ok(Loss::Segment { path })
}

/// The tag and the first sequence of the next segment behind `number` that can be read.
fn later<D: Device>(device: &D, number: u32) -> Result<(u64, Option<u64>), Error> {
    let names = device.list().map_err(|error| Error::io("list", device.path(""), error))?;
    let mut numbers: Vec<_> =
        names.iter().filter_map(|name| segment_number(name)).filter(|found| *found > number).collect();
    numbers.sort_unstable();
    for number in numbers {
        let path = device.path(&segment_name(number));
        let file = device.open(&segment_name(number)).map_err(|error| Error::io("open", &path, error))?;
        let mut window = Window::narrow(device, &file);
        let bytes = window.get(0, SEGMENT_HEADER_BYTES).map_err(|error| Error::io("read", &path, error))?;
        if let Ok(header) = SegmentHeader::decode(bytes) {
            return Ok((header.tag, Some(header.first)));
        }
    }
    Ok((u64::from(number), None))
}

fn patch<D: Device>(device: &D, file: &D::File, bytes: &[u8], at: u64, path: &str) -> Result<(), Error> {
    write_all_at(device, file, bytes, at)
        .and_then(|()| device.sync(file))
        .map_err(|error| Error::io("write", path, error))
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frames { path, offset, first, last } if first == last => {
                write!(f, "{path}: frame {first} at byte {offset} is lost")
            }
            Self::Frames { path, offset, first, last } => {
                write!(f, "{path}: frames {first} to {last} from byte {offset} on are lost")
            }
            Self::Header { path } => write!(f, "{path}: the header was made again, nothing is lost with it"),
            Self::Segment { path } => write!(f, "{path}: all that was in it is lost"),
        }
    }
}
