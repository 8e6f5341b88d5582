//! The end of a body that says what came of something: a reason code and properties in 5.0, of which
//! properties that are empty may be left out, and then also the reason code if it is 0x00.

use alloc::vec::Vec;

use crate::codec::read::Reader;
use crate::codec::write;
use crate::property::{self, PropertySet};
use crate::{DecodeError, Field, Properties, Reason, Version, Violation};

/// Reads a reason code out of `reasons` and properties out of `allowed`.
#[inline]
pub(super) fn decode<'a>(
    reader: &mut Reader<'a>,
    version: Version,
    reasons: &[Reason],
    allowed: PropertySet,
) -> Result<(Reason, Properties<'a>), DecodeError> {
    if !version.is_v5() || reader.is_empty() {
        return Ok((Reason::Success, Properties::EMPTY));
    }
    let reason = reason(reader, reasons)?;
    if reader.is_empty() {
        return Ok((reason, Properties::EMPTY));
    }
    Ok((reason, property::read(reader, allowed)?))
}

/// Reads a reason code out of `reasons`.
#[inline]
pub(super) fn reason(reader: &mut Reader<'_>, reasons: &[Reason]) -> Result<Reason, DecodeError> {
    let code = reader.u8(Field::ReasonCode)?;
    Reason::from_u8(code)
        .filter(|reason| reasons.contains(reason))
        .ok_or(Violation::ReasonCode { packet: reader.packet(), code }.into())
}

#[inline]
pub(super) fn encode(out: &mut Vec<u8>, version: Version, reason: Reason, properties: Properties<'_>) {
    if !version.is_v5() || (properties.is_empty() && reason == Reason::Success) {
        return;
    }
    out.push(reason as u8);
    if !properties.is_empty() {
        write::properties(out, version, properties);
    }
}

/// How many bytes [`encode`] appends.
#[inline]
pub(super) fn encoded_len(version: Version, reason: Reason, properties: Properties<'_>) -> usize {
    match (version.is_v5(), properties.is_empty()) {
        (false, _) => 0,
        (true, true) => usize::from(reason != Reason::Success),
        (true, false) => 1 + write::properties_len(version, properties),
    }
}
