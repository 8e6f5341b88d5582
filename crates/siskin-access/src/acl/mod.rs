//! ACL files: who may publish and receive what, in Mosquitto's format and with its meaning.
//!
//! ```text
//! # Lines before the first `user` are for clients without a user name.
//! topic read news/#
//!
//! user bob
//! topic readwrite home/+/light
//! topic deny home/attic/light
//!
//! # Patterns are for everybody, wherever they stand.
//! pattern write $SYS/broker/connection/%c/state
//! pattern readwrite users/%u/#
//! ```
//!
//! # What the lines mean
//!
//! The manual is mosquitto.conf(5); where it is silent the sources decide: `src/security_default.c` and
//! `src/plugin.c` of Mosquitto 2.0, `acl_parse.c`, `acl_check.c` and `topic_common.c` of 2.1.
//!
//! - A client has one set of `topic` rules: its user's, or those before the first `user` if it has no name. A user
//!   may have several sections.
//! - Among these a `deny` that matches decides, wherever it stands; it denies reading and writing. Then any rule
//!   that matches and gives the access allows. Only then the patterns are asked, in the same way: so a user's own
//!   `topic` beats a pattern's `deny`.
//! - If nothing matches the answer is no. An empty file denies everything.
//! - The access types are `read`, `write`, `readwrite` and `deny`, and none, which is `readwrite` and possible if
//!   the topic has no space. Neither 2.0 nor 2.1 knows `subscribe` or `unsubscribe` in a file.
//! - **Everybody may subscribe and unsubscribe**, to anything: both versions return success before they look at the
//!   rules. What a client may not read is left out when messages are delivered. [`Rules::could_read`] is for
//!   brokers that would rather refuse such a SUBSCRIBE.
//! - A topic that begins with `$` is matched only by rules that begin with `$`. Whatever the rules say, nobody may
//!   write to topics that begin with `$SYS`, except `$SYS/broker/connection/+/state` (which needs a rule, too), and
//!   nobody may read or write topics that begin with `$share`.
//! - `%c` and `%u` stand for client id and user name where they are a whole level of a `pattern`. Mosquitto 2.0
//!   replaced them inside of a level too, against its manual; 2.1 does not, and there is a warning here.
//! - If the file has patterns, a client with `+` or `#` in its id or name is denied all that its `topic` rules do
//!   not decide. A `/` is allowed and spans levels: 2.1.0 to 2.1.2 found no match then
//!   (eclipse-mosquitto/mosquitto#3520), 2.0 did.
//!
//! # How it is looked up
//!
//! Topics without wildcards are in a hash map, the others in a trie, one of each per user and one for all patterns,
//! in which `%c` and `%u` are branches of their own: nothing is kept per client but its names, and a check costs
//! the levels of the topic, not the lines of the file.

mod decision;
mod parse;
mod table;

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

pub use decision::{Because, Decision, Rule};

use self::table::{Names, Table};
use crate::Mistake;

/// The rules of an ACL file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Acl(Arc<Tables>);

/// What a client is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who<'a> {
    /// The user name, if it gave one.
    pub user: Option<&'a str>,
    /// The client id.
    pub client_id: &'a str,
}

/// What a client wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Receive a message.
    Read,
    /// Publish a message, as a will too.
    Write,
    /// Subscribe to a filter.
    Subscribe,
    /// Unsubscribe from a filter.
    Unsubscribe,
}

impl Acl {
    /// Reads the text of an ACL file, or says everything that is wrong with it.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, Vec<Mistake>> {
        parse::parse(text.as_ref()).map(|tables| Self(Arc::new(tables)))
    }

    /// Decides once. For more than one question about a client see [`Acl::for_client`].
    pub fn check(&self, who: Who<'_>, access: Access, topic: &str) -> Decision<'_> {
        let own = self.0.section(who.user);
        self.0.check(own, Names::new(who), access, topic)
    }

    /// The rules that count for one client.
    pub fn for_client(&self, who: Who<'_>) -> Rules {
        Rules {
            own: self.0.section(who.user),
            user: who.user.map(Into::into),
            client_id: who.client_id.into(),
            has_wildcard: Names::new(who).has_wildcard,
            tables: Arc::clone(&self.0),
        }
    }

    /// What is most likely not meant as it is written.
    pub fn warnings(&self) -> &[Mistake] {
        &self.0.warnings
    }

    /// All rules, in the order of the file.
    pub fn rules(&self) -> &[Rule] {
        &self.0.rules
    }
}

/// The rules that count for one client: a few words and its names.
#[derive(Debug, Clone)]
pub struct Rules {
    tables: Arc<Tables>,
    own: Option<usize>,
    user: Option<Box<str>>,
    client_id: Box<str>,
    has_wildcard: bool,
}

impl Rules {
    /// Decides. The topic of [`Access::Read`] and [`Access::Write`] is a topic name: it has no wildcards.
    pub fn check(&self, access: Access, topic: &str) -> Decision<'_> {
        self.tables.check(self.own, self.names(), access, topic)
    }

    /// Whether a subscription to `filter` could ever bring a message: some rule gives read access to a topic that
    /// the filter matches, and no `deny` takes away all that the filter matches. For brokers that refuse other
    /// subscriptions, which Mosquitto does not. Costs as much as there are rules for the client; for a shared
    /// subscription give the filter behind `$share/NAME/`.
    pub fn could_read(&self, filter: &str) -> bool {
        self.tables.could_read(self.own, self.names(), filter)
    }

    fn names(&self) -> Names<'_> {
        let Self { user, client_id, has_wildcard, .. } = self;
        Names { user: user.as_deref(), client_id, has_wildcard: *has_wildcard }
    }
}

/// The whole file, compiled.
#[derive(Debug, Default)]
struct Tables {
    rules: Vec<Rule>,
    /// The first is for clients without a user name.
    sections: Vec<Table>,
    users: HashMap<Box<str>, usize, FixedState>,
    patterns: Table,
    warnings: Vec<Mistake>,
}

impl Tables {
    fn section(&self, user: Option<&str>) -> Option<usize> {
        user.map_or(Some(ANONYMOUS), |user| self.users.get(user).copied())
    }

    fn check(&self, own: Option<usize>, names: Names<'_>, access: Access, topic: &str) -> Decision<'_> {
        if matches!(access, Access::Subscribe | Access::Unsubscribe) {
            return Decision { allowed: true, because: Because::NotChecked };
        }
        if topic.starts_with("$share") {
            return Decision { allowed: false, because: Because::SharedTopic };
        }
        if access == Access::Write && topic.starts_with("$SYS") && !is_bridge_state(topic) {
            return Decision { allowed: false, because: Because::SystemTopic };
        }
        let own = own.and_then(|own| self.sections[own].decide(names, access, topic));
        if let Some((allowed, rule)) = own {
            return self.decided_by(allowed, rule);
        }
        if self.patterns.is_empty() {
            return Decision { allowed: false, because: Because::NoRule };
        }
        if names.has_wildcard {
            return Decision { allowed: false, because: Because::WildcardInName };
        }
        match self.patterns.decide(names, access, topic) {
            Some((allowed, rule)) => self.decided_by(allowed, rule),
            None => Decision { allowed: false, because: Because::NoRule },
        }
    }

    fn could_read(&self, own: Option<usize>, names: Names<'_>, filter: &str) -> bool {
        let own = own.map(|own| &self.sections[own]);
        let patterns = (!names.has_wildcard).then_some(&self.patterns);
        // A user's own rules come before the patterns, and a pattern's denial does not reach them.
        own.is_some_and(|own| !own.denies_all(names, filter) && own.could_read(names, filter))
            || patterns.is_some_and(|patterns| {
                !own.is_some_and(|own| own.denies_all(names, filter))
                    && !patterns.denies_all(names, filter)
                    && patterns.could_read(names, filter)
            })
    }

    fn decided_by(&self, allowed: bool, rule: u32) -> Decision<'_> {
        Decision { allowed, because: Because::Rule(&self.rules[rule as usize]) }
    }
}

/// Where bridges tell whether they are connected: the only system topic that clients write.
fn is_bridge_state(topic: &str) -> bool {
    let name = topic.strip_prefix("$SYS/broker/connection/").and_then(|rest| rest.strip_suffix("/state"));
    name.is_some_and(|name| !name.contains('/'))
}

/// The section of clients without a user name.
const ANONYMOUS: usize = 0;

#[cfg(test)]
mod linear;
#[cfg(test)]
mod tests;
