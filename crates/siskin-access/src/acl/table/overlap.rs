//! Rules against filters: whether a subscription could bring anything at all.

use super::{NONE, Names, Node, ROOT, Table};

impl Table {
    /// Whether a rule that gives read access has a topic in common with the filter.
    pub(in crate::acl) fn could_read(&self, names: Names<'_>, filter: &str) -> bool {
        let has_exact = if filter.contains(['+', '#']) {
            self.exact.iter().any(|(topic, verdicts)| verdicts.read != NONE && matches(filter, topic))
        } else {
            self.exact.get(filter).is_some_and(|verdicts| verdicts.read != NONE)
        };
        has_exact || !self.nodes.is_empty() && self.overlaps(ROOT, filter, names)
    }

    /// Whether one `deny` matches all that the filter matches.
    pub(in crate::acl) fn denies_all(&self, names: Names<'_>, filter: &str) -> bool {
        self.exact.get(filter).is_some_and(|verdicts| verdicts.deny != NONE)
            || !self.nodes.is_empty() && self.covers(ROOT, filter, names)
    }

    fn overlaps(&self, at: usize, levels: &str, names: Names<'_>) -> bool {
        let node = &self.nodes[at];
        let (level, rest) = first(levels);
        if level == "#" {
            return self.gives_below(at);
        }
        if level == "+" {
            // What begins with `$` is not for wildcards.
            let is_hidden = |literal: &str| at == ROOT && literal.starts_with('$');
            let mut literals = node.literal.iter().filter(|(literal, _)| !is_hidden(literal));
            if literals.any(|(_, next)| self.overlaps_after(*next, rest, names)) {
                return true;
            }
        } else if node.literal.get(level).is_some_and(|next| self.overlaps_after(*next, rest, names)) {
            return true;
        }
        if at == ROOT && level.starts_with('$') {
            return false;
        }
        node.all.is_some_and(|all| self.nodes[all].here.read != NONE)
            || node.any.is_some_and(|next| self.overlaps_after(next, rest, names))
            || named(node, names).any(|(next, name)| {
                behind_name(levels, name, true).is_some_and(|rest| self.overlaps_after(next, rest, names))
            })
    }

    fn overlaps_after(&self, at: usize, rest: Option<&str>, names: Names<'_>) -> bool {
        match rest {
            Some(levels) => self.overlaps(at, levels, names),
            None => {
                let all = self.nodes[at].all.map(|all| self.nodes[all].here.read);
                self.nodes[at].here.read != NONE || all.is_some_and(|read| read != NONE)
            }
        }
    }

    /// Whether any rule at this place or below gives read access to what `#` matches.
    fn gives_below(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        let is_hidden = |literal: &str| at == ROOT && literal.starts_with('$');
        let literals = node.literal.iter().filter(|(literal, _)| !is_hidden(literal)).map(|(_, next)| *next);
        let others = [node.any, node.all, node.client_id, node.user].into_iter().flatten();
        node.here.read != NONE || literals.chain(others).any(|next| self.gives_below(next))
    }

    fn covers(&self, at: usize, levels: &str, names: Names<'_>) -> bool {
        let node = &self.nodes[at];
        let (level, rest) = first(levels);
        if node.literal.get(level).is_some_and(|next| self.covers_after(*next, rest, names)) {
            return true;
        }
        if at == ROOT && level.starts_with('$') {
            return false;
        }
        node.all.is_some_and(|all| self.nodes[all].here.deny != NONE)
            || level != "#" && node.any.is_some_and(|next| self.covers_after(next, rest, names))
            || named(node, names).any(|(next, name)| {
                behind_name(levels, name, false).is_some_and(|rest| self.covers_after(next, rest, names))
            })
    }

    fn covers_after(&self, at: usize, rest: Option<&str>, names: Names<'_>) -> bool {
        match rest {
            Some(levels) => self.covers(at, levels, names),
            None => {
                let all = self.nodes[at].all.map(|all| self.nodes[all].here.deny);
                self.nodes[at].here.deny != NONE || all.is_some_and(|deny| deny != NONE)
            }
        }
    }
}

/// The branches for names that the client has.
fn named<'a>(node: &Node, names: Names<'a>) -> impl Iterator<Item = (usize, &'a str)> {
    [(node.client_id, Some(names.client_id)), (node.user, names.user)].into_iter().filter_map(
        |(next, name)| {
            let name = name.filter(|name| !name.is_empty())?;
            Some((next?, name))
        },
    )
}

/// What is left of a filter behind a name that it begins with; by wildcards too, if they count. Behind `#` that is
/// `#` again.
fn behind_name<'a>(levels: &'a str, name: &str, by_wildcards: bool) -> Option<Option<&'a str>> {
    let mut rest = Some(levels);
    for part in name.split('/') {
        let (level, behind) = first(rest?);
        match level {
            "#" if by_wildcards => return Some(rest),
            "+" if by_wildcards => {}
            _ if level == part => {}
            _ => return None,
        }
        rest = behind;
    }
    Some(rest)
}

/// Whether a filter matches a topic name.
fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') != filter.starts_with('$') {
        return false;
    }
    let (mut filter, mut topic) = (Some(filter), Some(topic));
    loop {
        let Some((wanted, filter_rest)) = filter.map(first) else { return topic.is_none() };
        if wanted == "#" {
            return true;
        }
        let Some((level, topic_rest)) = topic.map(first) else { return false };
        if wanted != "+" && wanted != level {
            return false;
        }
        (filter, topic) = (filter_rest, topic_rest);
    }
}

fn first(levels: &str) -> (&str, Option<&str>) {
    levels.split_once('/').map_or((levels, None), |(level, rest)| (level, Some(rest)))
}
