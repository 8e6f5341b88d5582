//! Filters with wildcards, as a tree of topic levels.
//!
//! ```text
//! sport/+/score, sport/#       root ── sport ─┬─ (below) the subscribers of sport/#
//!                                             └─ + ── score ── (here) the subscribers of sport/+/score
//! ```
//!
//! A `+` is a child like others, but known to its parent; a `#` is no node, but a second list at its parent.
//! Other children are found through one table for the whole tree, by parent and text, so that a node with a
//! million children and one with a single child cost the same for each. Nothing here recurses: a filter may
//! have 65,536 levels.

use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::arena::{Arena, NOWHERE, Place};
use super::level::Level;
use super::subscribers::Subscribers;
use crate::hash::Hasher;

pub(super) struct Trie {
    root: Node,
    nodes: Arena<Node>,
    lists: Arena<Subscribers>,
    /// The nodes that are not a `+`, by [`edge`].
    children: HashTable<Place>,
    hasher: Hasher,
}

struct Node {
    parent: Place,
    /// The `+` child.
    any: Place,
    /// How many children are in the table. Where there are none, nobody needs to look.
    literals: u32,
    /// Of the level's text: kept, so that a growing table need not read the texts again.
    hash: u32,
    /// The lists of the filter that ends here, and of the one that continues with a `#`.
    lists: [Place; 2],
    level: Level,
}

/// Which of a node's two lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Here = 0,
    Below = 1,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            parent: ROOT,
            any: NOWHERE,
            literals: 0,
            hash: 0,
            lists: [NOWHERE; 2],
            level: Level::default(),
        }
    }
}

impl Trie {
    pub(super) fn new(hasher: &Hasher) -> Self {
        Self {
            root: Node::default(),
            nodes: Arena::new(),
            lists: Arena::new(),
            children: HashTable::new(),
            hasher: hasher.clone(),
        }
    }

    /// The subscribers of `filter`, nobody as yet if the filter is new. Somebody must be put there, or the
    /// nodes for them stay for ever.
    pub(super) fn insert(&mut self, filter: &str) -> &mut Subscribers {
        let mut at = ROOT;
        let mut end = End::Here;
        for level in filter.split('/') {
            match level {
                "#" => end = End::Below,
                "+" => at = self.insert_any(at),
                _ => at = self.insert_literal(at, level),
            }
        }
        let mut list = self.node(at).lists[end as usize];
        if list == NOWHERE {
            list = self.lists.insert(Subscribers::default());
            self.node_mut(at).lists[end as usize] = list;
        }
        &mut self.lists[list]
    }

    /// Changes the subscribers of `filter`, if there are any, and frees what nobody needs any more.
    pub(super) fn edit<R>(&mut self, filter: &str, change: impl FnOnce(&mut Subscribers) -> R) -> Option<R> {
        let (at, end) = self.find(filter)?;
        let list = self.node(at).lists[end as usize];
        let subscribers = &mut self.lists[list];
        let result = change(subscribers);
        if subscribers.is_empty() {
            self.lists.remove(list);
            self.node_mut(at).lists[end as usize] = NOWHERE;
            self.prune(at);
        }
        Some(result)
    }

    pub(super) fn get(&self, filter: &str) -> Option<&Subscribers> {
        let (at, end) = self.find(filter)?;
        Some(&self.lists[self.node(at).lists[end as usize]])
    }

    /// Calls `found` for every filter that matches. `frontier` is room to work in; what it holds is overwritten.
    ///
    /// The `$` rule is the caller's: it keeps topics that begin with `$` away from filters that begin with a
    /// wildcard.
    pub(super) fn visit(&self, topic: &str, frontier: &mut Vec<Place>, mut found: impl FnMut(&Subscribers)) {
        let mut call = |list| {
            if list != NOWHERE {
                found(&self.lists[list]);
            }
        };
        frontier.clear();
        frontier.push(ROOT);
        for level in topic.split('/') {
            if frontier.is_empty() {
                return;
            }
            let hash = self.level_hash(level);
            let reached = frontier.len();
            for at in 0..reached {
                let parent = frontier[at];
                let node = self.node(parent);
                call(node.lists[End::Below as usize]);
                if node.any != NOWHERE {
                    frontier.push(node.any);
                }
                if node.literals > 0 {
                    frontier.extend(self.child(parent, hash, level));
                }
            }
            frontier.drain(..reached);
        }
        for &at in frontier.iter() {
            let node = self.node(at);
            call(node.lists[End::Here as usize]);
            // `sport/#` matches `sport` as well.
            call(node.lists[End::Below as usize]);
        }
    }

    /// How many levels are kept, over all filters, those in common counted once.
    #[cfg(test)]
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    fn find(&self, filter: &str) -> Option<(Place, End)> {
        let mut at = ROOT;
        let mut end = End::Here;
        for level in filter.split('/') {
            match level {
                "#" => end = End::Below,
                "+" => at = Some(self.node(at).any).filter(|&any| any != NOWHERE)?,
                _ => at = self.child(at, self.level_hash(level), level)?,
            }
        }
        (self.node(at).lists[end as usize] != NOWHERE).then_some((at, end))
    }

    fn child(&self, parent: Place, hash: u32, level: &str) -> Option<Place> {
        let is_child = |&place: &Place| {
            let node = &self.nodes[place];
            node.parent == parent && node.level.is(level)
        };
        self.children.find(edge(&self.hasher, parent, hash), is_child).copied()
    }

    fn insert_any(&mut self, parent: Place) -> Place {
        if self.node(parent).any == NOWHERE {
            let any = self.nodes.insert(Node { parent, ..Node::default() });
            self.node_mut(parent).any = any;
        }
        self.node(parent).any
    }

    fn insert_literal(&mut self, parent: Place, level: &str) -> Place {
        let hash = self.level_hash(level);
        if let Some(child) = self.child(parent, hash, level) {
            return child;
        }
        let child = self.nodes.insert(Node { parent, hash, level: Level::new(level), ..Node::default() });
        self.node_mut(parent).literals += 1;
        let rehash = edge_of(&self.nodes, &self.hasher);
        self.children.insert_unique(edge(&self.hasher, parent, hash), child, rehash);
        child
    }

    /// Frees `at` and those above it that lead nowhere any more.
    fn prune(&mut self, mut at: Place) {
        while at != ROOT && self.node(at).leads_nowhere() {
            let Node { parent, hash, .. } = self.nodes[at];
            if self.node(parent).any == at {
                self.node_mut(parent).any = NOWHERE;
            } else {
                self.node_mut(parent).literals -= 1;
                let edge = edge(&self.hasher, parent, hash);
                if let Ok(entry) = self.children.find_entry(edge, |&child| child == at) {
                    entry.remove();
                }
            }
            self.nodes.remove(at);
            at = parent;
        }
        if self.children.len() <= self.children.capacity() / 8 {
            self.children.shrink_to(self.children.len() * 2, edge_of(&self.nodes, &self.hasher));
        }
    }

    fn node_mut(&mut self, at: Place) -> &mut Node {
        if at == ROOT { &mut self.root } else { &mut self.nodes[at] }
    }

    fn node(&self, at: Place) -> &Node {
        if at == ROOT { &self.root } else { &self.nodes[at] }
    }

    fn level_hash(&self, level: &str) -> u32 {
        self.hasher.hash_one(level) as u32
    }
}

impl Node {
    fn leads_nowhere(&self) -> bool {
        self.literals == 0 && self.any == NOWHERE && self.lists == [NOWHERE; 2]
    }
}

/// What a child is filed under in the table.
fn edge(hasher: &Hasher, parent: Place, hash: u32) -> u64 {
    hasher.hash_one(u64::from(parent) << 32 | u64::from(hash))
}

fn edge_of(nodes: &Arena<Node>, hasher: &Hasher) -> impl Fn(&Place) -> u64 {
    move |&child| {
        let node = &nodes[child];
        edge(hasher, node.parent, node.hash)
    }
}

/// The root stands beside the arena, so that an arena without filters is empty.
const ROOT: Place = NOWHERE - 1;

#[cfg(test)]
mod tests {
    use super::super::Routes;
    use super::super::tests::{hasher, key, subscriber};
    use super::*;

    fn trie(filters: &[&str]) -> Trie {
        let mut trie = Trie::new(&hasher());
        for (number, filter) in filters.iter().enumerate() {
            trie.insert(filter).insert(subscriber(number as u32), &hasher());
        }
        trie
    }

    fn matches(trie: &Trie, topic: &str) -> Vec<u32> {
        let mut routes = Routes::default();
        trie.visit(topic, &mut Vec::new(), |subscribers| subscribers.add_to(&mut routes));
        let mut found: Vec<_> = routes.plain.iter().map(|subscriber| subscriber.session.slot()).collect();
        found.sort_unstable();
        found
    }

    fn remove(trie: &mut Trie, filter: &str, number: u32) -> Option<bool> {
        trie.edit(filter, |subscribers| subscribers.remove(key(number), &hasher()))
    }

    #[test]
    fn wildcards_match_as_the_specification_says() {
        let trie = trie(&["sport/#", "sport/+", "+/+", "/+", "+", "#", "sport/+/player1", "sport/tennis/#"]);
        assert_eq!(matches(&trie, "sport"), [0, 4, 5]);
        assert_eq!(matches(&trie, "sport/"), [0, 1, 2, 5]);
        assert_eq!(matches(&trie, "/finance"), [2, 3, 5]);
        assert_eq!(matches(&trie, "sport/tennis/player1"), [0, 5, 6, 7]);
        assert_eq!(matches(&trie, "sport/tennis"), [0, 1, 2, 5, 7]);
    }

    #[test]
    fn levels_longer_than_a_node_holds_are_told_apart() {
        let long = "x".repeat(1000);
        let (one, other) = (format!("{long}1/+"), format!("{long}2/+"));
        let trie = trie(&[&one, &other]);
        assert_eq!(matches(&trie, &format!("{long}1/a")), [0]);
        assert_eq!(matches(&trie, &format!("{long}2/a")), [1]);
        assert!(matches(&trie, &format!("{long}/a")).is_empty());
    }

    #[test]
    fn levels_in_common_are_kept_once_and_freed_with_the_last_filter() {
        let filters = ["a/b/+", "a/b/#", "a/+/b/#", "a/+/b/c/+"];
        let mut trie = trie(&filters);
        assert_eq!(trie.nodes(), 7);
        for (number, (filter, left)) in filters.into_iter().zip([6, 5, 5, 0]).enumerate() {
            assert_eq!(remove(&mut trie, filter, number as u32), Some(true));
            assert_eq!(trie.nodes(), left, "after {filter}");
        }
        assert_eq!((trie.lists.len(), trie.children.len(), trie.children.capacity()), (0, 0, 0));
    }

    #[test]
    fn removing_a_filter_that_is_only_on_the_way_to_another_removes_nothing() {
        let mut trie = trie(&["a/+/c/#"]);
        for filter in ["a/+", "a/+/c", "a/#", "+/c", "a/+/c/#/", "a/+/c/d/#"] {
            assert_eq!(remove(&mut trie, filter, 0), None, "{filter}");
        }
        assert_eq!(matches(&trie, "a/b/c/d"), [0]);
    }

    #[test]
    fn a_million_levels_down_no_stack_overflows() {
        let filter = "+/".repeat(1_000_000) + "#";
        let topic = "/".repeat(1_000_100);
        let mut trie = trie(&[&filter]);
        assert_eq!(matches(&trie, &topic), [0]);
        assert_eq!(remove(&mut trie, &filter, 0), Some(true));
        assert_eq!(trie.nodes(), 0);
    }
}
