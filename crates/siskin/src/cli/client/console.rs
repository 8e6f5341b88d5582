//! Standard output: what the tool prints, and with `-d` a line for each packet, in the order it happened.

use std::fmt;
use std::io::{BufWriter, ErrorKind, Stdout, Write, stdout};

use super::failure::{Failure, IO, complain};

pub(crate) struct Console {
    out: BufWriter<Stdout>,
    traces: bool,
    is_quiet: bool,
}

impl Console {
    pub(super) fn new(traces: bool, is_quiet: bool) -> Self {
        Self { out: BufWriter::with_capacity(BUFFER_BYTES, stdout()), traces, is_quiet }
    }

    /// A buffered writer. What is written appears when the tool has nothing else to do.
    pub(crate) fn out(&mut self) -> &mut impl Write {
        &mut self.out
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(output_failure)
    }

    /// A line about a packet, if `-d` asks for it.
    pub(super) fn trace(&mut self, line: fmt::Arguments<'_>) -> Result<(), Failure> {
        if self.traces { writeln!(self.out, "{line}").map_err(output_failure) } else { Ok(()) }
    }

    /// A line on stderr, behind everything printed so far, unless `--quiet`.
    pub(crate) fn warn(&mut self, text: &str) -> Result<(), Failure> {
        if self.is_quiet {
            return Ok(());
        }
        self.flush()?;
        complain(text);
        Ok(())
    }
}

/// The program behind a pipe may end first; that is no fault.
#[expect(clippy::needless_pass_by_value, reason = "it is made for map_err")]
pub(crate) fn output_failure(error: std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::output_closed(),
        _ => Failure::new(IO, format!("Error: The output cannot be written: {error}.")),
    }
}

const BUFFER_BYTES: usize = 64 * 1024;
