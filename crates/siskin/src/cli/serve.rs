//! `siskin serve`: the broker, until a signal ends it.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;
use siskin_admin::{Admin, Telemetry};
use siskin_server::config::Place;
use siskin_server::settings::sample;
use siskin_server::{Broker, Config, Server};

use super::check::check_parts;
use super::flags::Source;
use super::log::{self, Shown};
use super::service_manager::ServiceManager;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print a configuration file with all settings, their defaults and meanings, and end
    #[arg(long)]
    print_config: bool,

    #[command(flatten)]
    source: Source,
}

/// Runs the broker. A first SIGTERM or SIGINT stops it in good order, a second one at once.
pub(crate) fn run(args: Args) -> ExitCode {
    if args.print_config {
        let written = std::io::stdout().write_all(sample().as_bytes());
        return if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let config = match args.source.resolve() {
        Ok(config) => config,
        Err(mistakes) => {
            // Without stderr there is only the status to tell.
            let _ = std::io::stderr().write_all(mistakes.as_bytes());
            return ExitCode::FAILURE;
        }
    };
    let shown = log::start(config.log);
    match serve(config, shown, args.source) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(config: Config, shown: Shown, source: Source) -> Result<(), Box<dyn std::error::Error>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    // Before anybody can connect.
    check_parts(&config)?;
    let manager = ServiceManager::from_env()
        .map_err(|error| format!("cannot reach the service manager at $NOTIFY_SOCKET: {error}"))?;
    let server = Server::start(config)?;
    server.handle().on_log_level(move |level| shown.set(level));
    server.handle().set_source(Box::new(move || {
        let config = source.resolve()?;
        // Also what waits for a restart: that is no time to learn of mistakes.
        check_parts(&config)?;
        Ok(config)
    }));
    let admin = match Admin::start(server.handle()) {
        Ok(admin) => admin,
        Err(error) => {
            server.stop();
            return Err(error.into());
        }
    };
    let telemetry = match Telemetry::start(server.handle()) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            server.stop();
            return Err(error.into());
        }
    };
    manager.feed_watchdog(server.handle())?;
    manager.ready(&status(server.handle()));
    let hang_up = reload_when_told(server.handle(), &manager)?;
    for signal in signals.forever() {
        if signal != SIGHUP {
            tracing::info!("stopping on {}", signal_name(signal).unwrap_or("a signal"));
            break;
        }
        // If one is to be done anyway it sees what there is to see.
        let _ = hang_up.try_send(());
    }
    manager.stopping();
    let first = Instant::now();
    // One who is tired of waiting says so again. What comes right behind the first is its echo: some
    // programs send a signal to a process and then to its group.
    thread::spawn(move || {
        for signal in signals.forever().filter(|signal| *signal != SIGHUP) {
            if first.elapsed() > ECHO {
                let name = signal_name(signal).unwrap_or("a second signal");
                tracing::warn!("stopping at once on {name}, the second signal");
                std::process::exit(SECOND_SIGNAL_STATUS);
            }
        }
    });
    telemetry.stop();
    if let Some(admin) = admin {
        admin.stop();
    }
    server.stop();
    Ok(())
}

/// A thread that reloads the configuration of `broker` each time that it is told so. A file that cannot be read to its end
/// holds up that thread, and nothing else.
fn reload_when_told(broker: &Broker, manager: &ServiceManager) -> std::io::Result<SyncSender<()>> {
    let (tell, told) = mpsc::sync_channel(1);
    let (broker, manager) = (broker.clone(), manager.clone());
    thread::Builder::new().name("siskin-reload".to_owned()).spawn(move || {
        while told.recv().is_ok() {
            manager.reloading();
            // The log says what came of it.
            match broker.reload() {
                Ok(_) => manager.ready(&status(&broker)),
                Err(error) => {
                    let first = error.to_string().lines().next().unwrap_or_default().to_owned();
                    manager.ready(&format!("{}; not reloaded: {first}", status(&broker)));
                }
            }
        }
    })?;
    Ok(tell)
}

/// Where it listens, in a line.
fn status(broker: &Broker) -> String {
    let mut addresses = Vec::new();
    for open in broker.listeners() {
        if let Place::Address(address) = open.listener.place {
            addresses.push(address.to_string());
        }
    }
    match &addresses[..] {
        [] => "listening on Unix sockets".to_owned(),
        addresses => format!("listening on {}", addresses.join(", ")),
    }
}

/// Exit status of a broker that was not let finish.
const SECOND_SIGNAL_STATUS: i32 = 1;

/// Within this time a second signal is taken for the first.
const ECHO: Duration = Duration::from_millis(500);
