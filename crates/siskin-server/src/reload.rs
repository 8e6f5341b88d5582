//! What another configuration would change: told from the table of settings, before anything is done.

use std::fmt;

use crate::config::{Ban, Config, Listener};
use crate::settings::{SETTINGS, Setting};

/// What a new configuration changed, and what it could not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What is in force now and was not before.
    pub changed: Vec<Change>,
    /// What differs from what is in force, and stays so until the broker is started again.
    pub restart: Vec<Change>,
}

/// A setting that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name in a configuration file.
    pub name: String,
    /// How it was written before; `***` for a secret.
    pub from: String,
    /// How it is written now.
    pub to: String,
}

/// Why the configuration stays as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadError {
    /// Nobody has said where a configuration comes from.
    NoSource,
    /// It is being read anew already. What came of that is in the log.
    UnderWay,
    /// The new one cannot be used: which file and line, and why; a line for each mistake.
    Wrong(String),
}

impl Reloaded {
    /// What becomes of the settings in `old` when `new` is to be in force.
    pub(crate) fn between(old: &Config, new: &Config) -> Self {
        let differs = |setting: &&Setting| setting.read(old) != setting.read(new);
        let change = |setting: &Setting| Change {
            name: setting.name.to_owned(),
            from: setting.show_masked(old),
            to: setting.show_masked(new),
        };
        let (changed, restart): (Vec<_>, Vec<_>) =
            SETTINGS.iter().filter(differs).partition(|setting| setting.reloads);
        let mut changed: Vec<_> = changed.into_iter().map(change).collect();
        changed.extend(steps(old, new));
        changed.extend(listeners(&old.listeners, &new.listeners));
        changed.extend(bans(&old.bans, &new.bans));
        Self { changed, restart: restart.into_iter().map(change).collect() }
    }

    /// Whether nothing differed.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.restart.is_empty()
    }

    /// All of it in a few words.
    pub fn summary(&self) -> String {
        if self.is_empty() {
            return "nothing differs".to_owned();
        }
        let Self { changed, restart } = self;
        format!("{} changed, {} to wait for a restart", changed.len(), restart.len())
    }
}

/// Gives `config` the values that `new` has for those settings that a running broker takes.
pub(crate) fn take_over(config: &mut Config, new: &Config) {
    for setting in SETTINGS.iter().filter(|setting| setting.reloads) {
        setting.write(config, &setting.read(new));
    }
    config.access.auth.clone_from(&new.access.auth);
    config.listeners.clone_from(&new.listeners);
    config.bans.clone_from(&new.bans);
}

/// What becomes of who is asked about clients.
fn steps(old: &Config, new: &Config) -> Option<Change> {
    let (old, new) = (&old.access.auth, &new.access.auth);
    let count = |count: usize| match count {
        0 => NONE.to_owned(),
        1 => "1 step".to_owned(),
        count => format!("{count} steps"),
    };
    (old != new).then(|| Change {
        name: "[[auth]]".to_owned(),
        from: count(old.len()),
        to: format!("{}{}", count(new.len()), if old.len() == new.len() { ", not the same" } else { "" }),
    })
}

/// Which listeners close, change their terms, and open.
fn listeners(old: &[Listener], new: &[Listener]) -> Vec<Change> {
    let mut opening: Vec<_> = new.iter().collect();
    let mut changes = Vec::new();
    let change = |listener: &Listener, from: &str, to: &str| Change {
        name: format!("[[listener]] {listener}"),
        from: from.to_owned(),
        to: to.to_owned(),
    };
    for listener in old {
        match opening.iter().position(|other| other.place.is_socket_of(&listener.place)) {
            Some(at) => {
                let other = opening.remove(at);
                if other != listener {
                    changes.push(change(other, "open", "open, on other terms"));
                }
            }
            None => changes.push(change(listener, "open", "closed")),
        }
    }
    changes.extend(opening.into_iter().map(|listener| change(listener, "closed", "open")));
    changes
}

/// Which bans end and begin.
fn bans(old: &[Ban], new: &[Ban]) -> Vec<Change> {
    let terms = |ban: &Ban| match ban.until {
        Some(until) => format!("until {}, {:?}", until.rfc3339(), ban.reason),
        None => format!("for ever, {:?}", ban.reason),
    };
    let of = |bans: &[Ban], ban: &Ban| {
        bans.iter().find(|other| other.who == ban.who).map_or(NONE.to_owned(), terms)
    };
    let ended = old.iter().filter(|ban| !new.iter().any(|other| other.who == ban.who));
    let differs = ended.chain(new.iter().filter(|ban| !old.contains(ban)));
    let change =
        |ban: &Ban| Change { name: format!("[[ban]] {}", ban.who), from: of(old, ban), to: of(new, ban) };
    differs.map(change).collect()
}

const NONE: &str = "none";

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to {
            // A secret that was replaced by another.
            return write!(f, "{}: another", self.name);
        }
        write!(f, "{}: {} -> {}", self.name, self.from, self.to)
    }
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSource => {
                f.write_str("this broker was not started from a configuration that can be read anew")
            }
            Self::UnderWay => f.write_str("the configuration is being read anew already"),
            Self::Wrong(mistakes) => f.write_str(mistakes.trim_end()),
        }
    }
}

impl std::error::Error for ReloadError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::other_value;

    #[test]
    fn each_setting_that_differs_is_taken_over_or_needs_a_restart() {
        for setting in SETTINGS {
            let old = Config::default();
            let mut new = old.clone();
            setting.write(&mut new, &other_value(setting));
            let found = Reloaded::between(&old, &new);
            let (those, others) = match setting.reloads {
                true => (&found.changed, &found.restart),
                false => (&found.restart, &found.changed),
            };
            let names: Vec<_> = those.iter().map(|change| change.name.as_str()).collect();
            assert_eq!((names, others.len()), (vec![setting.name], 0));
            let mut taken = old.clone();
            take_over(&mut taken, &new);
            assert_eq!(Reloaded::between(&taken, &new).is_empty(), setting.reloads, "{}", setting.name);
            assert_eq!(Reloaded::between(&taken, &old).is_empty(), !setting.reloads, "{}", setting.name);
        }
    }

    #[test]
    fn a_change_is_written_as_in_a_file_and_a_secret_is_not() {
        let mut new = Config::default();
        new.limits.queue_bytes_max = 1 << 20;
        new.admin.token.0 = "hush".to_owned();
        let Reloaded { changed, restart } = Reloaded::between(&Config::default(), &new);
        let lines: Vec<_> = changed.iter().chain(&restart).map(ToString::to_string).collect();
        assert!(lines.contains(&"limits.queue_bytes_max: 64MiB -> 1MiB".to_owned()), "{lines:?}");
        assert!(lines.contains(&"admin.token: none -> ***".to_owned()), "{lines:?}");
        let mut other = new.clone();
        other.admin.token.0 = "hush hush".to_owned();
        let Reloaded { changed, restart } = Reloaded::between(&new, &other);
        let lines: Vec<_> = changed.iter().chain(&restart).map(ToString::to_string).collect();
        assert_eq!(lines, ["admin.token: another"]);
    }
}
