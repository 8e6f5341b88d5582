//! What the core asks about its clients: the ACL file, and what a client has brought along from the chain.

use std::path::Path;
use std::sync::Arc;

use siskin_access::acl::{self, Acl, Because, Who};
use siskin_access::password::PasswordFile;
use siskin_auth::{Action, Subject};
use siskin_core::{Access, Identity, Permissions, Rulebook, Standing};

use crate::config::SubscribeCheck;

/// The rules as they are now.
#[derive(Debug)]
pub(super) struct Book {
    acl: Option<Acl>,
    /// Where these rules stand.
    file: Arc<Path>,
    check: SubscribeCheck,
    users: Option<Arc<PasswordFile>>,
}

/// What the chain has found out about a client besides its name.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    /// It may do everything.
    pub(super) is_superuser: bool,
    /// It may do this, whatever the file says; the file counts where this says nothing.
    pub(super) permissions: Option<siskin_auth::Permissions>,
    /// It is a user of the password file.
    pub(super) is_listed: bool,
}

impl Claims {
    pub(super) fn is_needed(&self) -> bool {
        self.is_superuser || self.permissions.is_some() || self.is_listed
    }
}

impl Book {
    pub(super) fn new(
        acl: Option<Acl>,
        file: &Path,
        check: SubscribeCheck,
        users: Option<Arc<PasswordFile>>,
    ) -> Self {
        Self { acl, file: file.into(), check, users }
    }

    /// Whether there is an ACL file.
    pub(super) fn has_file(&self) -> bool {
        self.acl.is_some()
    }

    /// Whether a client was a user of the password file and is none any more.
    fn is_gone(&self, name: Option<&str>, claims: Option<&Claims>) -> bool {
        let (Some(users), Some(name)) = (&self.users, name) else { return false };
        claims.is_some_and(|claims| claims.is_listed) && users.user(name).is_none()
    }
}

impl Rulebook for Book {
    fn standing(&self, identity: &Identity, client_id: &str) -> Standing {
        let claims = identity.claims.as_deref().and_then(|claims| claims.downcast_ref::<Claims>());
        let user = identity.user_name.as_deref();
        if self.is_gone(user, claims) {
            return Standing::Unknown;
        }
        if claims.is_some_and(|claims| claims.is_superuser) {
            return Standing::Unlimited;
        }
        let rules = self.acl.as_ref().map(|acl| acl.for_client(Who { user, client_id }));
        let own = claims.and_then(|claims| claims.permissions.clone());
        if rules.is_none() && own.is_none() {
            return Standing::Unlimited;
        }
        Standing::Limited(Arc::new(Granted {
            rules,
            file: Arc::clone(&self.file),
            own: own.map(|own| Box::new((own, Box::from(client_id)))),
            user: identity.user_name.clone(),
            is_strict: self.check == SubscribeCheck::Strict,
        }))
    }
}

/// What one client may do.
#[derive(Debug)]
struct Granted {
    rules: Option<acl::Rules>,
    /// Where these rules stand.
    file: Arc<Path>,
    /// What it has brought along, and the client id that counts in it.
    own: Option<Box<(siskin_auth::Permissions, Box<str>)>>,
    user: Option<Arc<str>>,
    is_strict: bool,
}

impl Granted {
    /// What the client's own permissions say, and in which words; none where they leave it to the file.
    fn by_own(&self, access: Access, topic: &str) -> Option<(bool, String)> {
        let (own, client_id) = self.own.as_deref()?;
        let subject = Subject { user_name: self.user.as_deref(), client_id };
        let ask = |action| {
            let (is_allowed, rule) = own.check(subject, action, topic)?;
            Some((is_allowed, rule.map_or_else(String::new, |rule| format!(" on {}", rule.filter))))
        };
        let (is_allowed, rule) = match access {
            Access::Publish { qos, retain } => ask(Action::Publish { qos: qos as u8, retain })?,
            Access::Subscribe { qos } => ask(Action::Subscribe { qos: qos as u8 })?,
            // At which QoS it was granted is long decided: any will do.
            Access::Receive => {
                let said: Vec<_> = (0..3).filter_map(|qos| ask(Action::Subscribe { qos })).collect();
                said.iter().find(|(is_allowed, _)| *is_allowed).or(said.first()).cloned()?
            }
        };
        let verb = if is_allowed { "allowed" } else { "denied" };
        Some((is_allowed, format!("{verb} by the rules that came with its log-in{rule}")))
    }

    fn by_file(&self, access: Access, topic: &str) -> (bool, String) {
        let Some(rules) = &self.rules else { return (true, "allowed: there is no ACL file".to_owned()) };
        let wanted = match access {
            Access::Publish { .. } => acl::Access::Write,
            Access::Receive => acl::Access::Read,
            Access::Subscribe { .. } if self.is_strict && !rules.could_read(topic) => {
                let file = self.file.display();
                return (false, format!("denied: no rule of {file} lets a message through"));
            }
            Access::Subscribe { .. } => acl::Access::Subscribe,
        };
        let decision = rules.check(wanted, topic);
        let verb = if decision.allowed { "allowed" } else { "denied" };
        let file = self.file.display();
        let text = match decision.because {
            Because::Rule(rule) => format!("{verb} by line {} of {file}: {}", rule.line, rule.text),
            Because::NoRule => format!("{verb}: no rule of {file} matches"),
            _ => decision.to_string(),
        };
        (decision.allowed, text)
    }
}

impl Permissions for Granted {
    fn allows(&self, access: Access, topic: &str) -> bool {
        if self.own.is_some()
            && let Some((is_allowed, _)) = self.by_own(access, topic)
        {
            return is_allowed;
        }
        let Some(rules) = &self.rules else { return true };
        match access {
            Access::Publish { .. } => rules.check(acl::Access::Write, topic).allowed,
            Access::Receive => rules.check(acl::Access::Read, topic).allowed,
            Access::Subscribe { .. } => !self.is_strict || rules.could_read(topic),
        }
    }

    fn because(&self, access: Access, topic: &str) -> String {
        self.by_own(access, topic).unwrap_or_else(|| self.by_file(access, topic)).1
    }
}
