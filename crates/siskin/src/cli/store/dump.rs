//! `siskin store dump`: a line for each record that is alive.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use siskin_core::store::record::describe;
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

#[cfg(test)]
mod tests {
    use super::*;
    use siskin_core::store::RecordId;
    use siskin_core::store::record::{SessionRecord, write_session};

    #[test]
    fn a_record_is_one_line_whatever_is_in_it() {
        let held = [Held { reference: 0, note: 0 }, Held { reference: 2, note: 17 }];
        let live = Live { id: RecordId::new(5).expect("not zero"), body: b"a\nb\xff", held: &held };
        assert_eq!(line(&live), "#5  held 0 2:17  4 bytes  no record that this version knows, 4 bytes\n");
        let session = SessionRecord {
            client_id: "one\nline",
            user_name: Some("two\n"),
            version: siskin_proto::Version::V5,
            expiry_s: 60,
            since: None,
        };
        let mut body = Vec::new();
        write_session(&mut body, &session);
        let live = Live { body: &body, ..live };
        assert!(
            line(&live)
                .ends_with("session of \"one\\nline\", user \"two\\n\", MQTT 5.0, expiry 60 s, connected\n")
        );
    }
}
