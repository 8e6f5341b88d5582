//! Rules compiled for look-up: exact topics in a hash map, filters with wildcards in a trie.

mod overlap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::{Access, Who};

/// Rules of one user, or the patterns of all.
#[derive(Debug, Default)]
pub(super) struct Table {
    exact: HashMap<Box<str>, Verdicts, FixedState>,
    /// The first, if there is any, is the root.
    nodes: Vec<Node>,
}

/// What a rule gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Read,
    Write,
    ReadWrite,
    Deny,
}

/// What `%c` and `%u` stand for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) user: Option<&'a str>,
    pub(super) client_id: &'a str,
    pub(super) has_wildcard: bool,
}

impl<'a> Names<'a> {
    pub(super) fn new(Who { user, client_id }: Who<'a>) -> Self {
        let has_wildcard = user.into_iter().chain([client_id]).any(|name| name.contains(['+', '#']));
        Self { user, client_id, has_wildcard }
    }
}

impl Table {
    pub(super) fn add(&mut self, filter: &str, right: Right, rule: u32) {
        if filter.contains(['+', '#']) {
            let end = filter.split('/').fold(self.root(), |node, level| self.below(node, level, false));
            self.nodes[end].here.add(right, rule);
        } else {
            self.exact.entry_ref(filter).or_default().add(right, rule);
        }
    }

    /// With `%c` and `%u` as what they stand for.
    pub(super) fn add_pattern(&mut self, filter: &str, right: Right, rule: u32) {
        if filter.split('/').any(|level| matches!(level, "+" | "#" | "%c" | "%u")) {
            let end = filter.split('/').fold(self.root(), |node, level| self.below(node, level, true));
            self.nodes[end].here.add(right, rule);
        } else {
            self.exact.entry_ref(filter).or_default().add(right, rule);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.nodes.is_empty()
    }

    /// Whether the access is given, and by which rule, if any matches that says so.
    pub(super) fn decide(&self, names: Names<'_>, access: Access, topic: &str) -> Option<(bool, u32)> {
        let mut found = self.exact.get(topic).copied().unwrap_or_default();
        if !self.nodes.is_empty() && !topic.is_empty() {
            self.gather(ROOT, topic, names, &mut found);
        }
        let given = match access {
            Access::Read => found.read,
            Access::Write => found.write,
            Access::Subscribe | Access::Unsubscribe => NONE,
        };
        match (found.deny, given) {
            (NONE, NONE) => None,
            (NONE, rule) => Some((true, rule)),
            (rule, _) => Some((false, rule)),
        }
    }

    /// Adds what the rules below a node say of the levels left. As deep as the deepest rule.
    fn gather(&self, at: usize, levels: &str, names: Names<'_>, found: &mut Verdicts) {
        let node = &self.nodes[at];
        let (level, rest) =
            levels.split_once('/').map_or((levels, None), |(level, rest)| (level, Some(rest)));
        if let Some(&next) = node.literal.get(level) {
            self.enter(next, rest, names, found);
        }
        // Wildcards do not stand for what begins with `$`, nor do names.
        if at == ROOT && level.starts_with('$') {
            return;
        }
        if let Some(all) = node.all {
            found.merge(self.nodes[all].here);
        }
        if let Some(next) = node.any {
            self.enter(next, rest, names, found);
        }
        for (next, name) in [(node.client_id, Some(names.client_id)), (node.user, names.user)] {
            let (Some(next), Some(name)) = (next, name.filter(|name| !name.is_empty())) else { continue };
            // A name may have slashes in it.
            match levels.strip_prefix(name) {
                Some("") => self.enter(next, None, names, found),
                Some(rest) if rest.starts_with('/') => self.enter(next, Some(&rest[1..]), names, found),
                _ => {}
            }
        }
    }

    fn enter(&self, at: usize, rest: Option<&str>, names: Names<'_>, found: &mut Verdicts) {
        match rest {
            Some(levels) => self.gather(at, levels, names, found),
            None => {
                let node = &self.nodes[at];
                found.merge(node.here);
                // `a/#` matches `a`.
                if let Some(all) = node.all {
                    found.merge(self.nodes[all].here);
                }
            }
        }
    }

    fn root(&mut self) -> usize {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        ROOT
    }

    /// The node behind a level of a filter, made if need be.
    fn below(&mut self, at: usize, level: &str, is_pattern: bool) -> usize {
        let new = self.nodes.len();
        let node = &mut self.nodes[at];
        let next = match level {
            "+" => *node.any.get_or_insert(new),
            "#" => *node.all.get_or_insert(new),
            "%c" if is_pattern => *node.client_id.get_or_insert(new),
            "%u" if is_pattern => *node.user.get_or_insert(new),
            literal => *node.literal.entry_ref(literal).or_insert(new),
        };
        if next == new {
            self.nodes.push(Node::default());
        }
        next
    }
}

/// One place in the trie.
#[derive(Debug, Default)]
struct Node {
    literal: HashMap<Box<str>, usize, FixedState>,
    /// Behind `+`.
    any: Option<usize>,
    /// Behind `#`.
    all: Option<usize>,
    /// Behind `%c`.
    client_id: Option<usize>,
    /// Behind `%u`.
    user: Option<usize>,
    here: Verdicts,
}

/// The first rules that deny, and that give access to read and to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdicts {
    deny: u32,
    read: u32,
    write: u32,
}

impl Verdicts {
    fn add(&mut self, right: Right, rule: u32) {
        self.merge(match right {
            Right::Read => Self { read: rule, ..Self::default() },
            Right::Write => Self { write: rule, ..Self::default() },
            Right::ReadWrite => Self { read: rule, write: rule, ..Self::default() },
            Right::Deny => Self { deny: rule, ..Self::default() },
        });
    }

    fn merge(&mut self, other: Self) {
        self.deny = self.deny.min(other.deny);
        self.read = self.read.min(other.read);
        self.write = self.write.min(other.write);
    }
}

impl Default for Verdicts {
    fn default() -> Self {
        Self { deny: NONE, read: NONE, write: NONE }
    }
}

/// No rule, later than every other.
const NONE: u32 = u32::MAX;

const ROOT: usize = 0;
