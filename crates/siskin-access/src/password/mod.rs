//! Password files: `user:hash`, one a line.
//!
//! As Mosquitto 2.1 reads them: a line that begins with `#` is a comment, a line without a colon is passed over
//! (here with a warning if it is not blank), spaces around name and hash do not count, line ends may be CRLF, and
//! what follows a second colon is ignored. An empty or repeated user name, a plain-text password and a hash that
//! cannot be read are mistakes for which the whole file is refused, as in 2.1; 2.0 dropped such users with a
//! line in its log.

mod edit;
mod hash;
mod text;

use std::fmt;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use zeroize::Zeroizing;

pub use edit::{Change, Failed, hash_plain, remove, set};
pub use hash::{Hash, NewHash, SaltLength, Scram};

use crate::lines::{column, is_space, lines, offset};
use crate::{Mistake, Problem};

/// The users of a password file.
#[derive(Clone, Default)]
pub struct PasswordFile {
    users: HashMap<Box<str>, usize, FixedState>,
    hashes: Vec<Arc<Hash>>,
    warnings: Vec<Mistake>,
}

impl PasswordFile {
    /// Reads the text of a password file, or says everything that is wrong with it.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, Vec<Mistake>> {
        let mut file = Self::default();
        let mut mistakes = Vec::new();
        let mut lines_of_users = Vec::new();
        for (number, bytes) in lines(text.as_ref()) {
            match entry(bytes) {
                Ok(None) => {}
                Ok(Some((user, hash))) => {
                    if let Some(&index) = file.users.get(user) {
                        let first = lines_of_users[index];
                        let problem = Problem::DuplicateUser { user: user.to_owned(), first };
                        mistakes.push(Mistake { line: number, column: 1, problem });
                        continue;
                    }
                    file.users.insert(user.into(), file.hashes.len());
                    file.hashes.push(Arc::new(hash));
                    lines_of_users.push(number);
                }
                Err((column, problem)) => {
                    let mistake = Mistake { line: number, column, problem };
                    match mistake.problem {
                        Problem::NoColon => file.warnings.push(mistake),
                        _ => mistakes.push(mistake),
                    }
                }
            }
        }
        if mistakes.is_empty() { Ok(file) } else { Err(mistakes) }
    }

    /// The hash of a user's password.
    pub fn user(&self, name: &str) -> Option<&Hash> {
        self.users.get(name).map(|index| &*self.hashes[*index])
    }

    /// What it takes to find out whether a user gives the right password. See [`Attempt`].
    pub fn attempt(&self, name: &str) -> Attempt {
        if let Some(index) = self.users.get(name) {
            return Attempt { hash: Some(Arc::clone(&self.hashes[*index])), is_known: true };
        }
        // Somebody else's hash, always the same one's: unknown names cost what known ones do, also where the
        // users of a file have hashes of different kinds.
        let sum = name.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let hash = sum.checked_rem(self.hashes.len()).map(|index| Arc::clone(&self.hashes[index]));
        Attempt { hash, is_known: false }
    }

    /// Whether this is the user's password. Takes as long for a user who does not exist. Blocks for as long as
    /// [`Attempt::cost_us`] says.
    pub fn verify(&self, name: &str, password: &[u8]) -> bool {
        self.attempt(name).verify(password)
    }

    /// All users, in no order.
    pub fn users(&self) -> impl Iterator<Item = (&str, &Hash)> {
        self.users.iter().map(|(name, index)| (&**name, &*self.hashes[*index]))
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is no user at all.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// What was passed over but is worth a word.
    pub fn warnings(&self) -> &[Mistake] {
        &self.warnings
    }
}

impl fmt::Debug for PasswordFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordFile").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

/// A log-in that is still to be decided, wherever there is time for it: it may be moved to another thread.
#[derive(Clone)]
pub struct Attempt {
    hash: Option<Arc<Hash>>,
    is_known: bool,
}

impl Attempt {
    /// About how many microseconds [`verify`](Self::verify) blocks.
    pub fn cost_us(&self) -> u64 {
        self.hash.as_ref().map_or(0, |hash| hash.cost_us())
    }

    /// How much memory [`verify`](Self::verify) needs meanwhile.
    pub fn memory_bytes(&self) -> u64 {
        self.hash.as_ref().map_or(0, |hash| hash.memory_bytes())
    }

    /// Whether the user exists and this is the password.
    pub fn verify(&self, password: &[u8]) -> bool {
        let is_right = self.hash.as_ref().is_some_and(|hash| hash.verify(password));
        self.is_known & is_right
    }
}

impl fmt::Debug for Attempt {
    /// Not whether the user is known: this may end up in a log that others read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt").finish_non_exhaustive()
    }
}

/// User and hash of a line, if it holds any.
fn entry(bytes: &[u8]) -> Result<Option<(&str, Hash)>, (usize, Problem)> {
    let Some(Entry { line, user, rest }) = split(bytes)? else { return Ok(None) };
    if user.is_empty() {
        return Err((1, Problem::EmptyUser));
    }
    if user.len() > usize::from(u16::MAX) {
        return Err((1, Problem::UserTooLong));
    }
    let text = password(rest);
    let start = offset(line, text);
    if text.is_empty() {
        return Err((column(line, start), Problem::NoHash));
    }
    let hash = text::decode(text).map_err(|(at, problem)| (column(line, start + at), problem))?;
    Ok(Some((user, hash)))
}

/// A line that is no comment.
struct Entry<'a> {
    line: &'a str,
    user: &'a str,
    /// All behind the colon.
    rest: &'a str,
}

/// The parts of a line; none of comments and blank lines.
fn split(bytes: &[u8]) -> Result<Option<Entry<'_>>, (usize, Problem)> {
    if bytes.first() == Some(&b'#') {
        return Ok(None);
    }
    let line = std::str::from_utf8(bytes).map_err(|error| {
        let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        (good.chars().count() + 1, Problem::NotUtf8)
    })?;
    if let Some(at) = line.find('\0') {
        return Err((column(line, at), Problem::Nul));
    }
    if line.trim_matches(is_space).is_empty() {
        return Ok(None);
    }
    let Some((user, rest)) = line.split_once(':') else { return Err((1, Problem::NoColon)) };
    Ok(Some(Entry { line, user: user.trim_matches(is_space), rest }))
}

/// The field behind the colon.
fn password(rest: &str) -> &str {
    let rest = rest.trim_start_matches(':');
    rest.split_once(':').map_or(rest, |(password, _)| password).trim_matches(is_space)
}

/// Bytes that are wiped when they are no longer needed.
type Secret = Zeroizing<Vec<u8>>;

#[cfg(test)]
mod tests;
