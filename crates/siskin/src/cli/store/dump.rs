//! `siskin store dump`: a line for each record that is alive.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use siskin_core::store::{Held, Live};
use siskin_store::inspect;

use super::{Failure, open};

/// Prints id, references with their notes, length and content of each record, in the order of the journal.
pub(super) fn run(directory: &Path, out: &mut impl Write) -> Result<(), Failure> {
    let mut written = Ok(());
    inspect(&open(directory)?, &mut |live| {
        if written.is_ok() {
            written = out.write_all(line(&live).as_bytes());
        }
    })?;
    Ok(written?)
}

fn line(live: &Live<'_>) -> String {
    let mut line = format!("{:?}  held", live.id);
    for Held { reference, note } in live.held {
        // Writing to a string cannot fail.
        _ = match note {
            0 => write!(line, " {reference}"),
            note => write!(line, " {reference}:{note}"),
        };
    }
    _ = writeln!(line, "  {} bytes  {}", live.body.len(), describe(live.body));
    line
}

/// What a body says: the one place that shows what is in a record.
fn describe(body: &[u8]) -> String {
    let shown = &body[..body.len().min(SHOWN_BYTES)];
    let more = if shown.len() < body.len() { "..." } else { "" };
    format!("\"{}\"{more}", shown.escape_ascii())
}

/// So much of a body is shown.
const SHOWN_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use siskin_core::store::RecordId;

    #[test]
    fn a_record_is_one_line_whatever_is_in_it() {
        let held = [Held { reference: 0, note: 0 }, Held { reference: 2, note: 17 }];
        let live = Live { id: RecordId::new(5).expect("not zero"), body: b"a\nb\xff", held: &held };
        assert_eq!(line(&live), "#5  held 0 2:17  4 bytes  \"a\\nb\\xff\"\n");
        let live = Live { body: &[b'x'; 100], ..live };
        assert!(line(&live).ends_with("xxx\"...\n"));
    }
}
