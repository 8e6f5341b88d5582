//! The lines of a file as C programs see them.

/// The lines of a text with their numbers, from 1, without their ends. A trailing line end begins no line.
pub(crate) fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let is_empty = bytes.is_empty();
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    lines.filter(move |_| !is_empty).map(|(index, line)| (index + 1, line))
}

/// What `isspace` calls a space in the C locale.
pub(crate) fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

/// Where in a line a byte offset is, in characters from 1.
pub(crate) fn column(line: &str, offset: usize) -> usize {
    line.char_indices().take_while(|(at, _)| *at < offset).count() + 1
}

/// Where `part`, a slice of `line`, begins in it.
pub(crate) fn offset(line: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(line.as_ptr() as usize)
}
