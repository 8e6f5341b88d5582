//! `siskin store`: looking after a stored broker state while no broker runs on it.

mod dump;
mod repair;
mod report;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use siskin_store::{Disk, Error};

/// Look into the store of a broker that is not running, or repair it.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Read the whole store as the broker would, and say what is wrong with it.
    Check(Directory),
    /// Print what takes how much room.
    Stats(Directory),
    /// Print each record, a line each.
    Dump(Directory),
    /// Make a damaged store readable again, without what cannot be read.
    Repair(repair::Args),
}

#[derive(clap::Args)]
struct Directory {
    /// The store's directory.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Does what the command line says.
pub(crate) fn run(args: &Args) -> ExitCode {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = match &args.command {
        Command::Check(args) => report::check(&args.directory, &mut out),
        Command::Stats(args) => report::stats(&args.directory, &mut out),
        Command::Dump(args) => dump::run(&args.directory, &mut out),
        Command::Repair(args) => repair::run(args, &mut out),
    };
    let done = done.and_then(|()| out.flush().map_err(Failure::from));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads what we write: there is nobody left to tell, but the status.
        Err(Failure::Output) => ExitCode::FAILURE,
        Err(Failure::Store(error)) => {
            _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Why a subcommand ends early.
enum Failure {
    Store(Error),
    Output,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<io::Error> for Failure {
    fn from(_: io::Error) -> Self {
        Self::Output
    }
}

/// Opens a directory that must be there: looking into it is not to make it.
fn open(directory: &Path) -> Result<Disk, Failure> {
    Ok(Disk::open_to_read(directory)?)
}
