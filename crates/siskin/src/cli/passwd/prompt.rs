//! A password from whoever sits at the terminal, or from a script that stands in for one.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::thread;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use zeroize::Zeroizing;

use super::{FAILED, Failure, NO_MATCH};

/// Asks twice, and insists on the same answer.
pub(super) fn twice() -> Result<Zeroizing<Vec<u8>>, Failure> {
    let first = ask("Password: ")?;
    let second = ask("Reenter password: ")?;
    if *first != *second {
        return Err(Failure { status: NO_MATCH, ..Failure::new("Passwords do not match.") });
    }
    Ok(first)
}

fn ask(question: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let cannot = |error: io::Error| Failure::new(format!("cannot ask for the password: {error}"));
    let mut stdout = io::stdout();
    let quiet = Quiet::start().map_err(cannot)?;
    stdout.write_all(question.as_bytes()).and_then(|()| stdout.flush()).map_err(cannot)?;
    let answer = line();
    drop(quiet);
    // The answer's own line end was not shown.
    stdout.write_all(b"\n").map_err(cannot)?;
    let answer = answer.map_err(cannot)?;
    match answer.len() {
        0 => Err(Failure::new("Empty password.")),
        len if len > usize::from(u16::MAX) => {
            Err(Failure::new("Password must be less than 65536 characters long."))
        }
        _ => Ok(answer),
    }
}

/// A line of standard input without its end.
fn line() -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::new());
    let most = u64::from(u16::MAX) + 3;
    io::stdin().lock().take(most).read_until(b'\n', &mut line)?;
    while matches!(line.last(), Some(b'\n' | b'\r')) {
        line.pop();
    }
    Ok(line)
}

/// A terminal that does not show what is typed, until this is dropped or a signal ends the program.
struct Quiet {
    before: Termios,
    signals: Handle,
}

impl Quiet {
    /// Nothing where standard input is no terminal.
    fn start() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let quiet = Self { before: before.clone(), signals: signals.handle() };
        thread::spawn(move || {
            if signals.forever().next().is_some() {
                show(&before);
                std::process::exit(FAILED.into());
            }
        });
        let mut hidden = quiet.before.clone();
        hidden.local_modes -= LocalModes::ECHO;
        tcsetattr(&stdin, OptionalActions::Now, &hidden)?;
        Ok(Some(quiet))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        show(&self.before);
        self.signals.close();
    }
}

/// As it was. If that fails there is no terminal left to show anything on.
fn show(before: &Termios) {
    let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
}
