//! `siskin check`: what the broker would do with a configuration, without doing it.

use std::io::Write as _;
use std::process::ExitCode;

use siskin_admin::{Admin, Telemetry};
use siskin_server::Config;

use super::flags::Source;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
}

/// Checks what the broker itself does not know of: the admin API and traces.
pub(super) fn check_parts(config: &Config) -> Result<(), String> {
    Admin::check(&config.admin).map_err(|error| error.to_string())?;
    Telemetry::check(&config.telemetry).map_err(|error| error.to_string())
}

/// Prints the whole configuration as a file that says the same but for secrets, or what is wrong with it.
pub(crate) fn run(args: &Args) -> ExitCode {
    let config = args.source.resolve().and_then(|config| {
        siskin_server::check_files(&config).map_err(|error| format!("{error}\n"))?;
        check_parts(&config).map_err(|error| format!("{error}\n"))?;
        Ok(config)
    });
    let (written, code) = match config {
        Ok(config) => (std::io::stdout().write_all(config.to_toml_masked().as_bytes()), ExitCode::SUCCESS),
        Err(mistakes) => (std::io::stderr().write_all(mistakes.as_bytes()), ExitCode::FAILURE),
    };
    // Nobody reads what we write: there is nobody left to tell, but the status.
    if written.is_ok() { code } else { ExitCode::FAILURE }
}
