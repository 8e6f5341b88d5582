//! `siskin serve`: the broker, until a signal ends it.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;
use siskin_server::{Config, Server};

use super::flags::Source;
use super::log;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
}

/// Runs the broker. A first SIGTERM or SIGINT stops it in good order, a second one at once.
pub(crate) fn run(args: Args) -> ExitCode {
    let config = match args.source.resolve() {
        Ok(config) => config,
        Err(mistakes) => {
            // Without stderr there is only the status to tell.
            let _ = std::io::stderr().write_all(mistakes.as_bytes());
            return ExitCode::FAILURE;
        }
    };
    log::start(config.log);
    match serve(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(config: Config) -> Result<(), Box<dyn std::error::Error>> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: the second signal finds the flag that the first one set.
        signal_hook::flag::register_conditional_shutdown(
            signal,
            SECOND_SIGNAL_STATUS,
            Arc::clone(&stopping),
        )?;
        signal_hook::flag::register(signal, Arc::clone(&stopping))?;
    }
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let server = Server::start(config)?;
    for signal in signals.forever() {
        if signal != SIGHUP {
            tracing::info!("stopping on {}", signal_name(signal).unwrap_or("a signal"));
            break;
        }
        // Scripts for other brokers send it after a change of the configuration: it must not end us.
        tracing::warn!("SIGHUP: no setting can be changed while the broker runs; restart it instead");
    }
    server.stop();
    Ok(())
}

/// Exit status of a broker that was not let finish.
const SECOND_SIGNAL_STATUS: i32 = 1;
