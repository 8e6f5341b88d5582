//! Who the process is: started as root it becomes a user of less power before it serves anybody.
//!
//! Listeners are bound and certificates, passwords and rules read by then; the store is opened afterwards, so that its
//! files are that user's from the first.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, lchown};
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, setgroups, setresgid, setresuid};
use rustix::fs::{Access, access};
use siskin_core::store::Durability;

use crate::config::{Config, Place};

/// Becomes the user that `config` names, in all threads, if the process is root's. The directory of the store in
/// `config` is decided by then, as another user would look for it elsewhere. The error says what to do.
pub(crate) fn settle(config: &mut Config) -> Result<(), String> {
    let me = Uid::effective();
    if config.user.is_empty() {
        if me.is_root() {
            tracing::warn!(
                "the broker runs as root and stays so: name a user for it (`user`), or have it started as one"
            );
        }
        return Ok(());
    }
    if !me.is_root() {
        if Account::find(&config.user).is_ok_and(|account| account.uid == me) {
            return Ok(());
        }
        tracing::warn!("not started as root, so `user` = {} has no effect: the uid stays {me}", config.user);
        return Ok(());
    }
    let account = Account::find(&config.user)?;
    if account.uid.is_root() {
        return Err(format!(
            "`user` = {} is root, which is what it is to keep the broker from being",
            config.user
        ));
    }
    if config.store.durability != Durability::Memory
        && let Some(directory) = config.store.resolved()
    {
        account.make(&directory)?;
        config.store.directory = directory;
    }
    for listener in &config.listeners {
        if let Place::Unix { path, .. } = &listener.place {
            // As if the user had made it: `mode` is about that user and group.
            account.own(path)?;
        }
    }
    account.become_it()?;
    if config.store.durability != Durability::Memory {
        account.check_store(&config.store.directory)?;
    }
    account.warn_of_unreadable(config);
    tracing::info!("running as {} (uid {}, gid {})", config.user, account.uid, account.gid);
    Ok(())
}

/// Whom to become.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    uid: Uid,
    gid: Gid,
}

impl Account {
    /// The account that is written `USER` or `USER:GROUP`. A uid that nobody has needs no entry among the users; its
    /// group is then the one of the same number.
    fn find(text: &str) -> Result<Self, String> {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let (uid, gid) = match user.parse().map(Uid::from_raw) {
            Ok(uid) => {
                let entry = User::from_uid(uid).map_err(|error| unknown("user", user, error))?;
                (uid, entry.map_or(Gid::from_raw(uid.as_raw()), |entry| entry.gid))
            }
            Err(_) => {
                let entry = User::from_name(user).map_err(|error| unknown("user", user, error))?;
                let entry = entry.ok_or_else(|| format!("there is no user `{user}` on this machine"))?;
                (entry.uid, entry.gid)
            }
        };
        let gid = match group {
            None => gid,
            Some(group) => match group.parse().map(Gid::from_raw) {
                Ok(gid) => gid,
                Err(_) => {
                    let entry = Group::from_name(group).map_err(|error| unknown("group", group, error))?;
                    entry.ok_or_else(|| format!("there is no group `{group}` on this machine"))?.gid
                }
            },
        };
        Ok(Self { uid, gid })
    }

    /// Makes `directory` for the account where there is none.
    fn make(&self, directory: &Path) -> Result<(), String> {
        let failed = |error: io::Error| format!("cannot create {}: {error}", directory.display());
        if let Some(parent) = directory.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        match DirBuilder::new().mode(0o700).create(directory) {
            Ok(()) => self.own(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    fn own(&self, path: &Path) -> Result<(), String> {
        lchown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw()))
            .map_err(|error| format!("cannot give {} to uid {}: {error}", path.display(), self.uid))
    }

    /// Gives up root for good. libc does it in all threads.
    fn become_it(&self) -> Result<(), String> {
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: Errno| format!("cannot {what}: {}", io::Error::from(error))
        };
        setgroups(&[]).map_err(failed("leave the groups of root"))?;
        setresgid(self.gid, self.gid, self.gid)
            .map_err(failed(&format!("become a member of group {}", self.gid)))?;
        setresuid(self.uid, self.uid, self.uid).map_err(failed(&format!("become uid {}", self.uid)))
    }

    /// Whether the account, which the process is by now, can work in the directory of the store.
    fn check_store(&self, directory: &Path) -> Result<(), String> {
        let usable = Access::READ_OK | Access::WRITE_OK;
        let refused = |path: &Path, error: io::Error| {
            format!(
                "uid {} cannot use the store's {}: {error}. Give it the directory: chown -R {}:{} {}",
                self.uid,
                path.display(),
                self.uid,
                self.gid,
                directory.display()
            )
        };
        access(directory, usable | Access::EXEC_OK).map_err(|error| refused(directory, error.into()))?;
        for entry in fs::read_dir(directory).map_err(|error| refused(directory, error))? {
            let path = entry.map_err(|error| refused(directory, error))?.path();
            match access(&path, usable).map_err(io::Error::from) {
                // Somebody removed it, who is then free to do so.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(refused(&path, error)),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn warn_of_unreadable(&self, config: &Config) {
        let lost = |path: &&&Path| access(**path, Access::READ_OK).is_err();
        let lost: Vec<_> =
            config.files().iter().filter(lost).map(|path| path.display().to_string()).collect();
        if !lost.is_empty() {
            tracing::warn!(
                "{} may not be read by uid {}, so changes of it will not be taken up until a restart",
                lost.join(", "),
                self.uid
            );
        }
    }
}

fn unknown(what: &str, name: &str, error: Errno) -> String {
    format!("cannot look up the {what} `{name}`: {}", io::Error::from(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(uid: u32, gid: u32) -> Account {
        Account { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid) }
    }

    #[test]
    fn accounts_are_names_or_numbers_with_or_without_a_group() {
        assert_eq!(Account::find("root"), Ok(account(0, 0)));
        assert_eq!(Account::find("0"), Ok(account(0, 0)));
        assert_eq!(Account::find("root:7654321"), Ok(account(0, 7_654_321)));
        assert_eq!(Account::find("7654321"), Ok(account(7_654_321, 7_654_321)));
        assert_eq!(Account::find("7654321:0"), Ok(account(7_654_321, 0)));
    }

    #[test]
    fn who_is_not_there_is_named() {
        for (text, name) in
            [("no-such-user", "user `no-such-user`"), ("0:no-such-group", "group `no-such-group`")]
        {
            assert_eq!(Account::find(text), Err(format!("there is no {name} on this machine")));
        }
    }
}
