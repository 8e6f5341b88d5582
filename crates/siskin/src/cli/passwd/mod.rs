//! `siskin passwd`: keeps a password file, with the flags of mosquitto_passwd.

mod file;
mod prompt;

use std::ffi::OsString;
use std::fmt;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use siskin_access::password::{self, Change, Hash, NewHash};
use zeroize::Zeroizing;

/// Keep a password file (Mosquitto's format).
///
/// Without -b it asks for the password, twice. The file must exist, or with -c must not. Other lines and the
/// file's mode and owner stay as they are; a broker never finds half a file. A new file can be read by its owner
/// only.
#[derive(clap::Args)]
#[command(
    override_usage = "siskin passwd [-H HASH] [-I N] [-c] FILE USER\n       siskin passwd [-H HASH] [-I N] [-c] -b FILE USER PASSWORD\n       siskin passwd -D FILE USER\n       siskin passwd [-H HASH] [-I N] -U FILE"
)]
pub(crate) struct Args {
    /// Take the password from the command line, where others can see it
    #[arg(short = 'b', conflicts_with = "delete")]
    batch: bool,

    /// Create a new file; with - for FILE write to standard output instead
    #[arg(short = 'c', conflicts_with_all = ["delete", "update"])]
    create: bool,

    /// Delete the user
    #[arg(short = 'D', conflicts_with = "update")]
    delete: bool,

    /// How to hash: argon2id (not read by Mosquitto 2.0), sha512-pbkdf2, sha512 (for Mosquitto 1.6),
    /// scram-sha-256 (for enhanced authentication; not read by Mosquitto)
    #[arg(short = 'H', value_name = "HASH", default_value = "argon2id", hide_default_value = true)]
    hash: Kind,

    /// Iterations of sha512-pbkdf2 [default: 1000] or scram-sha-256 [default and least: 4096]
    #[arg(short = 'I', value_name = "N", value_parser = clap::value_parser!(u32).range(1..=NewHash::ITERATIONS_MAX as i64))]
    iterations: Option<u32>,

    /// Hash the plain-text passwords of a file; what is hashed already stays
    #[arg(short = 'U')]
    update: bool,

    /// FILE, USER and PASSWORD as the usage says
    #[arg(value_name = "FILE", required = true, trailing_var_arg = true)]
    words: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
#[allow(clippy::enum_variant_names, reason = "the names of mosquitto_passwd")]
enum Kind {
    #[value(name = "argon2id")]
    Argon2id,
    #[value(name = "sha512-pbkdf2")]
    Sha512Pbkdf2,
    #[value(name = "sha512")]
    Sha512,
    #[value(name = "scram-sha-256")]
    ScramSha256,
}

pub(crate) fn run(args: &Args) -> ExitCode {
    match execute(args) {
        Ok(said) => {
            // The file is written: that nobody listens is no failure.
            let _ = std::io::stdout().write_all(said.as_bytes());
            ExitCode::SUCCESS
        }
        Err(Failure { status, text }) => {
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::from(status)
        }
    }
}

/// What went wrong, and the exit status that says so.
struct Failure {
    status: u8,
    text: String,
}

impl Failure {
    fn new(text: impl fmt::Display) -> Self {
        Self { status: FAILED, text: format!("Error: {text}") }
    }
}

/// Does it and returns what to say.
fn execute(args: &Args) -> Result<String, Failure> {
    let kind = match args.hash {
        Kind::Argon2id => NewHash::Argon2id,
        Kind::Sha512Pbkdf2 => {
            NewHash::Pbkdf2Sha512 { iterations: args.iterations.unwrap_or(NewHash::ITERATIONS) }
        }
        Kind::Sha512 => NewHash::Sha512,
        Kind::ScramSha256 => {
            NewHash::ScramSha256 { iterations: args.iterations.unwrap_or(NewHash::SCRAM_ITERATIONS) }
        }
    };
    let words: Vec<&OsString> = args.words.iter().collect();
    match (args.update, args.delete, args.batch, &words[..]) {
        (true, _, _, [file]) => update(Path::new(file), kind),
        (_, true, _, [file, user]) => delete(Path::new(file), user_name(user)?),
        (false, false, true, [file, user, password]) => {
            let user = user_name(user)?;
            let password = password.to_str().ok_or_else(|| Failure::new("the password is not UTF-8"))?;
            if password.len() > usize::from(u16::MAX) {
                return Err(Failure::new("Password must be less than 65536 characters long."));
            }
            set(args.create, file, user, kind, || Ok(Zeroizing::new(password.into())))
        }
        (false, false, false, [file, user]) => set(args.create, file, user_name(user)?, kind, prompt::twice),
        _ => {
            Err(Failure::new("too few or too many words; see `siskin passwd --help` for what goes together"))
        }
    }
}

fn set(
    create: bool,
    file: &OsString,
    user: &str,
    kind: NewHash,
    password: impl FnOnce() -> Result<Zeroizing<Vec<u8>>, Failure>,
) -> Result<String, Failure> {
    if create {
        let (text, _) = password::set(b"", user, &hash(kind, &password()?)?);
        if file == "-" {
            return String::from_utf8(text).map_err(Failure::new);
        }
        file::create(Path::new(file), &text)?;
        return Ok(format!("Adding password for user {user}\n"));
    }
    let file = file::Existing::open(Path::new(file))?;
    let (text, change) = password::set(&file.text, user, &hash(kind, &password()?)?);
    file.replace(&text)?;
    Ok(match change {
        Change::Added => format!("Adding password for user {user}\n"),
        Change::Updated => format!("Updating password for user {user}\n"),
    })
}

fn delete(file: &Path, user: &str) -> Result<String, Failure> {
    let file = file::Existing::open(file)?;
    let Some(text) = password::remove(&file.text, user) else {
        let text = format!("Warning: User {user} not found in password file.");
        return Err(Failure { status: FAILED, text });
    };
    file.replace(&text)?;
    Ok(String::new())
}

fn update(path: &Path, kind: NewHash) -> Result<String, Failure> {
    let file = file::Existing::open(path)?;
    let hashed = password::hash_plain(&file.text, |password| hash(kind, password));
    let (text, number) = hashed.map_err(|failed| match failed {
        password::Failed::Mistake(mistake) => Failure::new(format!("{}:{mistake}", path.display())),
        password::Failed::Hash(failure) => failure,
    })?;
    if number > 0 {
        file.replace(&text)?;
    }
    Ok(String::new())
}

fn hash(kind: NewHash, password: &[u8]) -> Result<Hash, Failure> {
    let mut salt = vec![0; kind.salt_len()];
    let random = PathBuf::from("/dev/urandom");
    std::fs::File::open(&random)
        .and_then(|mut file| file.read_exact(&mut salt))
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", random.display())))?;
    Hash::create(kind, password, &salt).map_err(Failure::new)
}

/// A user name that a password file can hold.
fn user_name(name: &OsString) -> Result<&str, Failure> {
    let Some(name) = name.to_str() else { return Err(Failure::new("Username is not UTF-8.")) };
    let problem = match name {
        _ if name.len() > usize::from(u16::MAX) => "be less than 65536 characters long",
        _ if name.contains(':') => "not contain the ':' character",
        _ if name.contains(char::is_control) => "not contain control characters",
        _ if name.trim() != name || name.is_empty() => "not be empty, nor begin or end with a space",
        _ if name.starts_with('#') => "not begin with #, which makes a comment of the line",
        _ => return Ok(name),
    };
    Err(Failure::new(format!("Username must {problem}.")))
}

/// Exit status of everything that goes wrong but one.
pub(crate) const FAILED: u8 = 1;

/// Exit status if the password was not the same the second time.
const NO_MATCH: u8 = 2;
