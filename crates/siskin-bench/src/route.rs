//! Who must get what: filters in a tree by levels, asked once for each publisher's topic.

use std::collections::HashMap;

/// Filters with the receiver that each belongs to.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    nodes: Vec<Node>,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<Box<str>, usize>,
    /// Those whose filter ends here.
    here: Vec<u32>,
    /// Those whose filter ends here with `#`.
    below: Vec<u32>,
}

impl Routes {
    pub(crate) fn new() -> Self {
        Self { nodes: vec![Node::default()] }
    }

    /// Adds a filter, without its `$share` part.
    pub(crate) fn add(&mut self, filter: &str, receiver: u32) {
        let mut at = 0;
        for level in filter.split('/') {
            if level == "#" {
                self.nodes[at].below.push(receiver);
                return;
            }
            at = match self.nodes[at].children.get(level) {
                Some(next) => *next,
                None => {
                    let next = self.nodes.len();
                    self.nodes.push(Node::default());
                    self.nodes[at].children.insert(level.into(), next);
                    next
                }
            };
        }
        self.nodes[at].here.push(receiver);
    }

    /// The receivers whose filters match, in ascending order, each as often as it has filters that do.
    pub(crate) fn receivers(&self, topic: &str) -> Vec<u32> {
        let levels: Vec<_> = topic.split('/').collect();
        let mut found = Vec::new();
        self.collect(0, &levels, topic.starts_with('$'), &mut found);
        found.sort_unstable();
        found
    }

    /// [MQTT-4.7.2-1] is why a system topic matters at the first level.
    fn collect(&self, at: usize, levels: &[&str], is_system: bool, found: &mut Vec<u32>) {
        let node = &self.nodes[at];
        if !is_system {
            found.extend_from_slice(&node.below);
        }
        let Some((level, rest)) = levels.split_first() else {
            found.extend_from_slice(&node.here);
            return;
        };
        let wildcard = if is_system { None } else { node.children.get("+") };
        for next in [node.children.get(*level), wildcard].into_iter().flatten() {
            self.collect(*next, rest, false, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use siskin_proto::{TopicFilter, TopicName};

    #[test]
    fn the_tree_finds_what_the_codec_s_own_rule_finds() {
        let filters =
            ["a/b", "a/+", "+/b", "#", "a/#", "a/b/#", "+/+", "+", "a", "/", "/#", "$x/#", "+/#", "a//b"];
        let mut routes = Routes::new();
        for (receiver, filter) in (0..).zip(filters) {
            routes.add(filter, receiver);
        }
        for topic in ["a/b", "a", "a/b/c", "/", "/b", "$x/b", "$x", "b", "a//b", "a/"] {
            let name = TopicName::parse(topic).unwrap();
            let expected: Vec<u32> = (0..)
                .zip(filters)
                .filter(|(_, filter)| TopicFilter::parse(filter).unwrap().matches(name))
                .map(|(receiver, _)| receiver)
                .collect();
            assert_eq!(routes.receivers(topic), expected, "{topic}");
        }
    }
}
