//! `siskin store repair`: passing over damage, said aloud.

use std::io::Write;
use std::path::PathBuf;

use siskin_store::{Disk, repair};

use super::Failure;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The store's directory.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Give up what cannot be read. Without this nothing is changed. Copy the directory first.
    #[arg(long)]
    accept_loss: bool,
}

/// Repairs, or says what is wrong if that is all that was allowed.
pub(super) fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    if !args.accept_loss {
        super::report::check(&args.directory, out)?;
        writeln!(out, "there is nothing to repair")?;
        return Ok(());
    }
    // A directory that is not there is not made.
    drop(super::open(&args.directory)?);
    let losses = repair(&Disk::open(&args.directory)?)?;
    for loss in &losses {
        writeln!(out, "{loss}")?;
    }
    if losses.is_empty() {
        writeln!(out, "there is nothing to repair")?;
    } else {
        writeln!(
            out,
            "The store can be read again. What was stored in the lost frames is gone; what was released only there \
             is back, so that messages may be delivered again."
        )?;
    }
    super::report::check(&args.directory, out)
}
