//! The answer, and the rule that gave it.

use std::fmt;

/// Whether a client may, and why. Shown as `allowed by line 3: topic read a/b`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Whether it may.
    pub allowed: bool,
    /// What decided.
    pub because: Because<'a>,
}

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because<'a> {
    /// A line of the file; where several come to the same, the first of them.
    Rule(&'a Rule),
    /// No line matches.
    NoRule,
    /// There are patterns, and `+` or `#` in the client's name or id would be a wildcard in them.
    WildcardInName,
    /// Only the broker writes to `$SYS`.
    SystemTopic,
    /// `$share` is no topic.
    SharedTopic,
    /// Subscriptions are not checked, messages are.
    NotChecked,
}

/// A line of the file that gives or denies access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its number, from 1.
    pub line: usize,
    /// Its text, without spaces around it.
    pub text: Box<str>,
}

impl fmt::Display for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.allowed { "allowed" } else { "denied" })?;
        match self.because {
            Because::Rule(Rule { line, text }) => write!(f, " by line {line}: {text}"),
            Because::NoRule => f.write_str(": no rule matches"),
            Because::WildcardInName => f.write_str(
                ": user name or client id has a + or #, which would be a wildcard in the file's patterns",
            ),
            Because::SystemTopic => f.write_str(
                ": nobody may write to $SYS topics, except to $SYS/broker/connection/NAME/state by a rule",
            ),
            Because::SharedTopic => f.write_str(": $share is for subscriptions, not a topic"),
            Because::NotChecked => f.write_str(
                ": an ACL file lets everybody subscribe; each message is checked when it is delivered",
            ),
        }
    }
}
