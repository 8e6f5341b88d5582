//! `siskin store check` and `siskin store stats`.

use std::io::Write;
use std::path::Path;

use siskin_store::{Inspected, inspect};

use super::{Failure, open};

/// Reads everything there is, every checksum included.
pub(super) fn check(directory: &Path, out: &mut impl Write) -> Result<(), Failure> {
    let found = inspect(&open(directory)?, &mut |_| {})?.recovered;
    writeln!(
        out,
        "sound: {} records in {} frames of {} segments",
        found.records, found.frames, found.segments
    )?;
    if let Some(torn) = found.torn {
        writeln!(
            out,
            "{}: what was being written at byte {} when the broker stopped will be cut off: {} bytes, {} whole frames behind it; \
             nothing of it was acknowledged as synced",
            torn.path, torn.offset, torn.bytes, torn.frames
        )?;
    }
    Ok(())
}

/// Prints the sizes of everything.
pub(super) fn stats(directory: &Path, out: &mut impl Write) -> Result<(), Failure> {
    let mut bodies = 0;
    let mut references = 0;
    let inspected = inspect(&open(directory)?, &mut |live| {
        bodies += live.body.len() as u64;
        references += live.held.len() as u64;
    })?;
    let Inspected { recovered, live_bytes, segments } = inspected;
    writeln!(out, "records           {}", recovered.records)?;
    writeln!(out, "references held   {references}")?;
    writeln!(out, "bytes of bodies   {bodies}")?;
    writeln!(out, "bytes alive       {live_bytes}")?;
    writeln!(out, "bytes of segments {}", segments.iter().map(|segment| segment.bytes).sum::<u64>())?;
    writeln!(out, "frames            {}", recovered.frames)?;
    writeln!(out, "highest id        {}", recovered.last_id)?;
    for segment in segments {
        writeln!(
            out,
            "{}  {} bytes, used up to {}, {} alive",
            segment.path, segment.bytes, segment.end, segment.live_bytes
        )?;
    }
    Ok(())
}
