//! What a token or an HTTP answer allows its client: EMQX's `acl`, in both of its forms.

use std::sync::Arc;

/// A list of rules, of which the first that matches decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// The rules, in order.
    pub rules: Vec<Permission>,
    /// Whether what no rule matches is denied, or left to the broker's own rules.
    pub denies_rest: bool,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// What it does.
    pub effect: Effect,
    /// Whether it is about publishing; about subscribing otherwise, or about both.
    pub is_publish: bool,
    /// Whether it is about subscribing.
    pub is_subscribe: bool,
    /// A filter whose levels may have `%u`, `%c`, `${username}` and `${clientid}` in them. A wildcard in the name
    /// or id that takes their place matches nothing.
    pub filter: Arc<str>,
    /// Whether the filter means a topic or subscription of exactly these characters (`eq ` in EMQX).
    pub is_exact: bool,
    /// The QoS that it is about, a bit for each (1, 2, 4).
    pub qos: u8,
    /// The RETAIN that it is about when publishing.
    pub retain: Option<bool>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It allows.
    Allow,
    /// It denies.
    Deny,
}

/// What a client wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish with this QoS and RETAIN; as a will too.
    Publish {
        /// 0, 1 or 2.
        qos: u8,
        /// RETAIN.
        retain: bool,
    },
    /// Subscribe with this maximum QoS.
    Subscribe {
        /// 0, 1 or 2.
        qos: u8,
    },
}

/// Whose names stand in for placeholders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// The user name.
    pub user_name: Option<&'a str>,
    /// The client id.
    pub client_id: &'a str,
}

impl Permissions {
    /// Whether the rules allow it, and by which they say so; none where they leave it to others. The topic of a
    /// subscription is its filter, without `$share/NAME/`: every topic that it can match must be matched by the
    /// rule's.
    pub fn check(
        &self,
        subject: Subject<'_>,
        action: Action,
        topic: &str,
    ) -> Option<(bool, Option<&Permission>)> {
        let decided = self.rules.iter().find(|rule| rule.is_about(action) && rule.matches(subject, topic));
        match decided {
            Some(rule) => Some((rule.effect == Effect::Allow, Some(rule))),
            None => self.denies_rest.then_some((false, None)),
        }
    }
}

impl Permission {
    fn is_about(&self, action: Action) -> bool {
        let (is_kind, qos) = match action {
            Action::Publish { qos, retain } => {
                (self.is_publish && self.retain.is_none_or(|about| about == retain), qos)
            }
            Action::Subscribe { qos } => (self.is_subscribe, qos),
        };
        is_kind && self.qos & 1 << qos.min(2) != 0
    }

    fn matches(&self, subject: Subject<'_>, topic: &str) -> bool {
        if self.is_exact {
            let mut levels = self.filter.split('/').zip(topic.split('/'));
            let is_as_deep = self.filter.matches('/').count() == topic.matches('/').count();
            return is_as_deep && levels.all(|(level, given)| level_matches(level, subject, given));
        }
        let mut rest = topic.split('/');
        // Wildcards at the beginning do not reach topics that begin with `$`. [MQTT-4.7.2-1]
        let is_reserved = topic.starts_with('$');
        for (index, level) in self.filter.split('/').enumerate() {
            if level == "#" {
                return !(index == 0 && is_reserved);
            }
            let Some(given) = rest.next() else { return false };
            let is_matched = match level {
                "+" => !(index == 0 && is_reserved) && given != "#",
                level => level_matches(level, subject, given),
            };
            if !is_matched {
                return false;
            }
        }
        rest.next().is_none()
    }
}

/// Whether a level of a rule that is no wildcard is the level given.
fn level_matches(level: &str, subject: Subject<'_>, given: &str) -> bool {
    let (mut level, mut given) = (level, given);
    loop {
        let Some((at, len, name)) = placeholder(level, subject) else { return level == given };
        let Some(rest) = given.strip_prefix(&level[..at]) else { return false };
        // A name with a wildcard or a slash in it would reach further than the rule says.
        let Some(name) = name.filter(|name| !name.is_empty() && !name.contains(['+', '#', '/'])) else {
            return false;
        };
        let Some(rest) = rest.strip_prefix(name) else { return false };
        (level, given) = (&level[at + len..], rest);
    }
}

/// The first placeholder of a level: where it is, how long, and what it stands for.
fn placeholder<'a>(level: &str, subject: Subject<'a>) -> Option<(usize, usize, Option<&'a str>)> {
    let names = [
        ("%u", subject.user_name),
        ("${username}", subject.user_name),
        ("%c", Some(subject.client_id)),
        ("${clientid}", Some(subject.client_id)),
    ];
    names.iter().filter_map(|(text, name)| Some((level.find(text)?, text.len(), *name))).min()
}
