//! `siskin man`: a man page for each subcommand.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Write the man pages of siskin and all its subcommands
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory to write them to, made if it is not there
    directory: PathBuf,
}

/// Writes them.
pub(crate) fn run(args: &Args, command: clap::Command) -> ExitCode {
    let directory = &args.directory;
    let written = fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(command, directory));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without stderr there is only the status to tell.
            let _ = writeln!(std::io::stderr(), "cannot write man pages to {}: {error}", directory.display());
            ExitCode::FAILURE
        }
    }
}
