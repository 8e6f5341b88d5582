//! What another configuration would change: told from the table of settings, before anything is done.

use std::fmt;

use crate::config::Config;
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
    /// The new one cannot be used: which file and line, and why.
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
        Self {
            changed: changed.into_iter().map(change).collect(),
            restart: restart.into_iter().map(change).collect(),
        }
    }

    /// Whether the two were the same.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.restart.is_empty()
    }
}

/// Gives `config` the values that `new` has for those settings that a running broker takes.
pub(crate) fn take_over(config: &mut Config, new: &Config) {
    for setting in SETTINGS.iter().filter(|setting| setting.reloads) {
        setting.write(config, &setting.read(new));
    }
}

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
