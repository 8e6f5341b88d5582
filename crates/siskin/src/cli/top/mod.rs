//! `siskin top`: a running broker, watched.

mod reading;
mod screen;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use super::ctl::{Access, Api, Failure};
use reading::Reading;

/// Watch a running broker: rates, workers, memory, the heaviest clients and the slowest.
///
/// It is asked by its admin API, on http://127.0.0.1:18083 if nobody says otherwise. q ends it.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    access: Access,

    /// Seconds between two looks
    #[arg(short = 'd', long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,

    /// Print one look and end; so it does too where the output is no terminal
    #[arg(long)]
    once: bool,

    /// Clients of each kind with --once
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=100))]
    limit: u64,
}

/// Does what the command line says.
pub(crate) fn run(args: &Args) -> ExitCode {
    let done = match args.once || !io::stdout().is_terminal() {
        true => once(args),
        false => watch(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads what we write: there is nobody left to tell, but the status.
        Err(Failure::Output) => ExitCode::FAILURE,
        Err(failure) => {
            _ = writeln!(io::stderr(), "{failure}");
            ExitCode::from(failure.status())
        }
    }
}

/// Prints one look. The API is asked twice, so that rates are those of now.
fn once(args: &Args) -> Result<(), Failure> {
    let api = Api::new(&args.access)?;
    Reading::of(&api, args.limit)?;
    thread::sleep(FIRST_LOOK);
    let reading = Reading::of(&api, args.limit)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    reading.print(&mut out)?;
    out.flush()?;
    Ok(())
}

/// Shows one look after the other until somebody has seen enough. The first failure ends it; one that comes later is
/// shown, and the broker asked again.
fn watch(args: &Args) -> Result<(), Failure> {
    let api = Api::new(&args.access)?;
    let mut reading = Reading::of(&api, SCREEN_CLIENTS)?;
    let (tell, told) = mpsc::channel();
    let (living, alive) = mpsc::channel();
    let interval = Duration::from_secs(args.interval);
    thread::spawn(move || look(&api, interval, &tell, &alive));
    let mut terminal = ratatui::try_init()?;
    let done = show(&mut terminal, &mut reading, &told);
    ratatui::restore();
    drop(living);
    done
}

/// Looks again and again. A thread of its own: a broker that does not answer must not keep the keys from working.
fn look(api: &Api, interval: Duration, tell: &Sender<Result<Reading, Failure>>, alive: &Receiver<()>) {
    let mut pause = FIRST_LOOK;
    while alive.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        if tell.send(Reading::of(api, SCREEN_CLIENTS)).is_err() {
            return;
        }
        pause = interval;
    }
}

fn show(
    terminal: &mut DefaultTerminal,
    reading: &mut Reading,
    told: &Receiver<Result<Reading, Failure>>,
) -> Result<(), Failure> {
    let mut trouble = None;
    loop {
        terminal.draw(|frame| screen::draw(frame, reading, trouble.as_deref()))?;
        while !event::poll(KEY_PAUSE)? {
            match told.try_recv() {
                Ok(Ok(new)) => {
                    (*reading, trouble) = (new, None);
                    break;
                }
                Ok(Err(failure)) => {
                    trouble = Some(failure.to_string());
                    break;
                }
                Err(_) => {}
            }
        }
        if event::poll(Duration::ZERO)? && is_end(&event::read()?) {
            return Ok(());
        }
    }
}

fn is_end(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let is_control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) || is_control_c)
}

/// Between the first look and the second, which is the first that knows rates of clients.
const FIRST_LOOK: Duration = Duration::from_millis(1100);

/// How long to wait for a key before looking whether there is something new.
const KEY_PAUSE: Duration = Duration::from_millis(100);

/// Clients of each kind that a screen may have room for.
const SCREEN_CLIENTS: u64 = 60;
