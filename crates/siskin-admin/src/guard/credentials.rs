//! Who may use the API: by a token, by a user of a password file, by what a log-in gave.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding as _};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest as _, Sha256};
use siskin_access::password::PasswordFile;
use siskin_server::config::AdminConfig;
use subtle::ConstantTimeEq as _;
use tokio::time::sleep;

/// What the API asks of those who use it, if anything.
pub(crate) struct Credentials {
    token: Option<String>,
    users: Option<PasswordFile>,
    seen: Mutex<Seen>,
}

/// Tokens of log-ins and the digests of passwords that were right, each until its time is over.
#[derive(Default)]
struct Seen {
    logins: HashMap<String, Instant>,
    passwords: HashMap<[u8; 32], Instant>,
    /// When wrong credentials were logged last.
    told_at: Option<Instant>,
}

impl Credentials {
    /// Reads what `config` names. The error says which file cannot be used, and why.
    pub(crate) fn load(config: &AdminConfig) -> Result<Self, String> {
        let mut token = Some(config.token.0.clone()).filter(|token| !token.is_empty());
        if !config.token_file.as_os_str().is_empty() {
            if token.is_some() {
                return Err("give either admin.token or admin.token_file".to_owned());
            }
            let text = read(&config.token_file)?;
            let first = text.lines().next().unwrap_or_default().trim();
            if first.is_empty() {
                return Err(format!("{} has no token in its first line", config.token_file.display()));
            }
            token = Some(first.to_owned());
        }
        let users = match config.password_file.as_os_str().is_empty() {
            true => None,
            false => Some(users(&config.password_file)?),
        };
        Ok(Self { token, users, seen: Mutex::default() })
    }

    /// Whether nothing is asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.token.is_none() && self.users.is_none()
    }

    /// Whether an Authorization header is one to be let through. Takes its time to say no.
    pub(crate) async fn accept(&self, header: &str) -> bool {
        let (scheme, given) = header.split_once(' ').unwrap_or((header, ""));
        let is_right = if scheme.eq_ignore_ascii_case("bearer") {
            self.is_token(given.trim())
        } else if scheme.eq_ignore_ascii_case("basic") {
            match basic(given.trim()) {
                Some((user, password)) => self.is_user(&user, &password).await,
                None => false,
            }
        } else {
            false
        };
        if !is_right {
            sleep(WRONG_PAUSE).await;
        }
        is_right
    }

    /// A token for whoever gives a user and password that are right; it is good for an hour.
    pub(crate) async fn log_in(&self, user: &str, password: &str) -> Option<String> {
        if !self.is_empty() && !self.is_user(user, password).await {
            sleep(WRONG_PAUSE).await;
            return None;
        }
        let token = random_token()?;
        let mut seen = self.seen();
        seen.logins.insert(token.clone(), Instant::now() + LOGIN_TIME);
        Some(token)
    }

    /// Logs that somebody has given wrong credentials, but not more often than every few seconds.
    pub(crate) fn report_wrong(&self) {
        let mut seen = self.seen();
        if seen.told_at.is_none_or(|at| at.elapsed() > TELL_EVERY) {
            seen.told_at = Some(Instant::now());
            tracing::warn!("a request to the admin API had wrong credentials");
        }
    }

    fn is_token(&self, given: &str) -> bool {
        let is_ours = self.token.as_ref().is_some_and(|token| is_equal(token, given));
        is_ours || self.seen().logins.contains_key(given)
    }

    /// The token is also taken for a password, whoever the user says it is: many programs know no other way.
    async fn is_user(&self, user: &str, password: &str) -> bool {
        if self.token.as_ref().is_some_and(|token| is_equal(token, password)) {
            return true;
        }
        let Some(users) = &self.users else { return false };
        let digest = digest(user, password);
        if self.seen().passwords.contains_key(&digest) {
            return true;
        }
        // Hashes are slow on purpose, and others wait for this thread.
        let (attempt, password) = (users.attempt(user), password.to_owned());
        let verified = tokio::task::spawn_blocking(move || attempt.verify(password.as_bytes())).await;
        let is_right = verified.unwrap_or(false);
        if is_right {
            self.seen().passwords.insert(digest, Instant::now() + PASSWORD_TIME);
        }
        is_right
    }

    /// What was seen and is still good, and not so much of it that it matters.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        seen.logins.retain(|_, until| *until > now);
        seen.passwords.retain(|_, until| *until > now);
        if seen.logins.len() > SEEN_MAX {
            seen.logins.clear();
        }
        if seen.passwords.len() > SEEN_MAX {
            seen.passwords.clear();
        }
        seen
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn users(path: &Path) -> Result<PasswordFile, String> {
    let users = PasswordFile::parse(read(path)?).map_err(|mistakes| {
        let mut text = String::new();
        for mistake in mistakes {
            let separator = if text.is_empty() { "" } else { "; " };
            // A String takes everything.
            let _ = write!(text, "{separator}{}:{mistake}", path.display());
        }
        text
    })?;
    if users.is_empty() { Err(format!("{} names no user", path.display())) } else { Ok(users) }
}

fn basic(given: &str) -> Option<(String, String)> {
    let text = String::from_utf8(Base64::decode_vec(given).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

fn is_equal(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

fn digest(user: &str, password: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((user.len() as u64).to_be_bytes());
    hash.update(user);
    hash.update(password);
    hash.finalize().into()
}

fn random_token() -> Option<String> {
    let mut bytes = [0; 32];
    // The system has random bytes for us from shortly after its own start on.
    let len = getrandom(&mut bytes, GetRandomFlags::empty()).ok()?;
    (len == bytes.len()).then(|| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    })
}

/// How long whoever was wrong waits for the answer, so that guessing is slow.
const WRONG_PAUSE: Duration = Duration::from_millis(250);

/// Wrong credentials make one line in this time.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// How long the token of a log-in is good.
const LOGIN_TIME: Duration = Duration::from_secs(3600);

/// How long a password that was right is not asked of its hash again.
const PASSWORD_TIME: Duration = Duration::from_secs(60);

/// Log-ins and passwords remembered. Beyond it all are forgotten, and whoever had one logs in again.
const SEEN_MAX: usize = 1000;
