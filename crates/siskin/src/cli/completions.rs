//! `siskin completions`: what a shell has to know to complete the command line.

use std::io::Write as _;
use std::process::ExitCode;

use clap_complete::Shell;

/// Print a shell's completions of siskin's command line
///
/// For bash: siskin completions bash > /usr/share/bash-completion/completions/siskin
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

/// Prints them.
pub(crate) fn run(args: &Args, mut command: clap::Command) -> ExitCode {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "siskin", &mut text);
    match std::io::stdout().write_all(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
