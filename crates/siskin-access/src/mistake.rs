//! What can be wrong with a file, and where.

use std::fmt;

/// What is wrong in one place of a file. Shown as `LINE:COLUMN: words`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Line, from 1.
    pub line: usize,
    /// Character of the line, from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong. Nothing of a password or its hash is ever quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// A zero byte, at which Mosquitto stops reading without a word.
    Nul,

    /// An ACL line that begins with no known word.
    UnknownKeyword(String),
    /// `topic` or `pattern` with nothing behind it.
    NoTopic,
    /// `user` with nothing behind it.
    NoUser,
    /// An access type that is none.
    UnknownAccess(String),
    /// `+` or `#` that is not a whole level.
    WildcardInLevel(char),
    /// `#` that is not the last level.
    HashNotLast,
    /// A topic longer than MQTT allows.
    TopicTooLong,
    /// A topic with more levels than Mosquitto allows.
    TooManyLevels,
    /// Warning: an access type where the topic should be, so that it is taken for a topic.
    AccessTakenForTopic(String),
    /// Warning: a `pattern` without `%c` and `%u`, which gives the same right to everybody.
    NothingToSubstitute,
    /// Warning: `%c` or `%u` beside other text in a level, where nothing is put in its place.
    SubstituteInLevel(&'static str),

    /// Warning: a line without a colon, which is passed over.
    NoColon,
    /// A password line without a user name.
    EmptyUser,
    /// A user name longer than MQTT allows.
    UserTooLong,
    /// A user who was there before, in the line given.
    DuplicateUser {
        /// Who.
        user: String,
        /// Where first.
        first: usize,
    },
    /// A user without a hash.
    NoHash,
    /// Something that is not a hash: most likely the password itself.
    PlainText,
    /// A hash of a kind that is not known.
    UnknownHash,
    /// Part of a hash that is missing.
    MissingPart(&'static str),
    /// Part of a hash that is not Base64.
    NotBase64(&'static str),
    /// Part of a hash that is not a number, or not one in the range given.
    NotANumber {
        /// Which.
        part: &'static str,
        /// Least.
        min: u32,
        /// Most.
        max: u32,
    },
    /// Salt or digest of a wrong length.
    Length {
        /// Which.
        part: &'static str,
        /// What it has.
        bytes: usize,
        /// What it should have.
        allowed: &'static str,
    },
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.problem)
    }
}

impl std::error::Error for Mistake {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUtf8 => f.write_str("not UTF-8"),
            Self::Nul => f.write_str("a zero byte in the text"),
            Self::UnknownKeyword(word) => write!(
                f,
                "`{}` is not known: a line begins with `user `, `topic `, `pattern ` or #",
                word.escape_debug()
            ),
            Self::NoTopic => f.write_str("the topic is missing"),
            Self::NoUser => f.write_str("the user name is missing"),
            Self::UnknownAccess(word) => write!(
                f,
                "`{}` is not an access type: read, write, readwrite or deny (needed if the topic has a space)",
                word.escape_debug()
            ),
            Self::WildcardInLevel(wildcard) => {
                write!(f, "`{wildcard}` must stand alone between slashes")
            }
            Self::HashNotLast => f.write_str("`#` must be the last level"),
            Self::TopicTooLong => f.write_str("the topic is longer than 65535 bytes"),
            Self::TooManyLevels => f.write_str("the topic has more than 200 slashes"),
            Self::AccessTakenForTopic(topic) => write!(
                f,
                "this gives read and write access to a topic named `{}`; the access type is followed by a space and the topic",
                topic.escape_debug()
            ),
            Self::NothingToSubstitute => {
                f.write_str("a pattern without %c and %u gives the same right to everybody")
            }
            Self::SubstituteInLevel(what) => {
                write!(f, "`{what}` is not alone between slashes: it stands for nothing but itself")
            }
            Self::NoColon => f.write_str("passed over: no colon between user name and hash"),
            Self::EmptyUser => f.write_str("the user name is missing"),
            Self::UserTooLong => f.write_str("the user name is longer than 65535 bytes"),
            Self::DuplicateUser { user, first } => {
                write!(f, "user `{}` is in line {first} already", user.escape_debug())
            }
            Self::NoHash => f.write_str("the password's hash is missing"),
            Self::PlainText => f.write_str(
                "this is no hash but looks like the password itself; `siskin passwd -U FILE` hashes it",
            ),
            Self::UnknownHash => f.write_str(
                "a kind of hash that is not known: $7$, $6$, $argon2id$, $scram-sha-256$, PBKDF2$sha512$ or PBKDF2$sha256$",
            ),
            Self::MissingPart(part) => write!(f, "the {part} of the hash is missing"),
            Self::NotBase64(part) => write!(f, "the {part} of the hash is not Base64"),
            Self::NotANumber { part, min, max } => {
                write!(f, "the {part} of the hash must be a number from {min} to {max}")
            }
            Self::Length { part, bytes, allowed } => {
                write!(f, "the {part} of the hash has {bytes} bytes, not {allowed}")
            }
        }
    }
}
