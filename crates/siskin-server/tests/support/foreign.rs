//! Programs that others wrote, which may not be installed.

use std::process::Command;

/// Whether `program` is there; if not, a line says so, or the test fails where it must not be left out.
pub(crate) fn installed(program: &str) -> Option<()> {
    let found = Command::new(program).arg("--help").output().is_ok();
    found.then_some(()).or_else(|| left_out(program))
}

/// Says that a test is left out for want of `what`.
#[allow(clippy::print_stderr)] // Said where tests say things.
pub(crate) fn left_out<T>(what: &str) -> Option<T> {
    assert!(std::env::var_os("SISKIN_REQUIRE_INTEROP").is_none(), "{what} is not installed");
    eprintln!("left out: {what} is not installed");
    None
}
