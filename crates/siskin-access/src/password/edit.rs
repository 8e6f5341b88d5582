//! Changes to the text of a password file that leave all other lines as they are, comments and mistakes too.

use super::{Entry, Hash, entry, password, split};
use crate::lines::lines;
use crate::{Mistake, Problem};

/// What became of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// There was no such user before.
    Added,
    /// The user has another hash now.
    Updated,
}

/// The text with this hash for this user, in place of the one before or in a line at the end. The name is the
/// caller's to check: without colon, control characters and spaces at its ends.
pub fn set(text: &[u8], user: &str, hash: &Hash) -> (Vec<u8>, Change) {
    let line = format!("{user}:{}\n", hash.encode());
    let mut change = Change::Added;
    let mut edited = Vec::with_capacity(text.len() + line.len() + 1);
    for (_, old) in lines(text) {
        if change == Change::Added && user_of(old) == Some(user) {
            change = Change::Updated;
            edited.extend_from_slice(line.as_bytes());
        } else {
            edited.extend_from_slice(old);
            edited.push(b'\n');
        }
    }
    if change == Change::Added {
        edited.extend_from_slice(line.as_bytes());
    }
    (edited, change)
}

/// The text without this user, if it has the user.
pub fn remove(text: &[u8], user: &str) -> Option<Vec<u8>> {
    let mut edited = Vec::with_capacity(text.len());
    for (_, line) in lines(text).filter(|(_, line)| user_of(line) != Some(user)) {
        edited.extend_from_slice(line);
        edited.push(b'\n');
    }
    let is_there = lines(text).any(|(_, line)| user_of(line) == Some(user));
    is_there.then_some(edited)
}

/// The text with every plain-text password hashed, and how many those were. What is a hash already stays: unlike
/// with mosquitto_passwd, a second time does no harm. A line without user or password is a mistake.
pub fn hash_plain<E>(
    text: &[u8],
    mut hash: impl FnMut(&[u8]) -> Result<Hash, E>,
) -> Result<(Vec<u8>, usize), Failed<E>> {
    let mut edited = Vec::with_capacity(text.len() * 4);
    let mut hashed = 0;
    for (number, line) in lines(text) {
        let problem = |(column, problem)| Failed::Mistake(Mistake { line: number, column, problem });
        let plain = match entry(line) {
            Ok(_) => None,
            Err((_, Problem::PlainText | Problem::UnknownHash)) => split(line).map_err(problem)?,
            Err(wrong) => return Err(problem(wrong)),
        };
        match plain {
            Some(Entry { user, rest, .. }) => {
                let password = password(rest);
                let hash = hash(password.as_bytes()).map_err(Failed::Hash)?;
                edited.extend_from_slice(format!("{user}:{}\n", hash.encode()).as_bytes());
                hashed += 1;
            }
            None => {
                edited.extend_from_slice(line);
                edited.push(b'\n');
            }
        }
    }
    Ok((edited, hashed))
}

/// Why nothing was hashed.
#[derive(Debug)]
pub enum Failed<E> {
    /// A line is wrong.
    Mistake(Mistake),
    /// The caller could not make a hash.
    Hash(E),
}

fn user_of(line: &[u8]) -> Option<&str> {
    split(line).ok().flatten().map(|entry| entry.user)
}
