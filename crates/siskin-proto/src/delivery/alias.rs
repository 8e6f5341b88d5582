//! Topic aliases of 5.0, both directions. They end with the connection. [MQTT5 3.3.2-7]

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The aliases that the other end has set.
#[derive(Debug, Default)]
pub struct InboundAliases {
    topics: Vec<Option<Box<str>>>,
}

impl InboundAliases {
    /// None set yet.
    pub const fn new() -> Self {
        Self { topics: Vec::new() }
    }

    /// Sets what `alias` stands for. The caller has checked it against the maximum it announced,
    /// which bounds the memory held here.
    pub fn set(&mut self, alias: u16, topic: &str) {
        let place = usize::from(alias);
        if self.topics.len() <= place {
            self.topics.resize(place + 1, None);
        }
        if self.topics[place].as_deref() != Some(topic) {
            self.topics[place] = Some(topic.into());
        }
    }

    /// Bytes of all topics that have one.
    pub fn bytes(&self) -> usize {
        self.topics.iter().flatten().map(|topic| topic.len()).sum()
    }

    /// The topic `alias` stands for, if it was set on this connection.
    pub fn topic(&self, alias: u16) -> Option<&str> {
        self.topics.get(usize::from(alias))?.as_deref()
    }
}

/// The aliases that this end has set: the first topics sent get one, as many as the other end allows.
#[derive(Debug, Default)]
pub struct OutboundAliases {
    aliases: BTreeMap<Box<str>, u16>,
    maximum: u16,
}

/// How to name a topic in a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboundAlias {
    /// By its name; no alias is free.
    Name,
    /// By its name, and let this alias stand for it from now on.
    Set(u16),
    /// By this alias alone.
    Known(u16),
}

impl OutboundAliases {
    /// None set yet, at most `maximum` allowed. [MQTT5 3.1.2-26]
    pub const fn new(maximum: u16) -> Self {
        Self { aliases: BTreeMap::new(), maximum }
    }

    /// Bytes of all topics that have one.
    pub fn bytes(&self) -> usize {
        self.aliases.keys().map(|topic| topic.len()).sum()
    }

    /// How to name `topic` in the PUBLISH that goes out next.
    pub fn name(&mut self, topic: &str) -> OutboundAlias {
        if let Some(&alias) = self.aliases.get(topic) {
            return OutboundAlias::Known(alias);
        }
        if self.aliases.len() >= usize::from(self.maximum) {
            return OutboundAlias::Name;
        }
        let next = self.aliases.len() as u16 + 1;
        self.aliases.insert(topic.into(), next);
        OutboundAlias::Set(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_stands_for_the_topic_it_was_set_to_last() {
        let mut aliases = InboundAliases::new();
        assert_eq!(aliases.topic(3), None);
        aliases.set(3, "a");
        aliases.set(3, "b");
        assert_eq!(aliases.topic(3), Some("b"));
        assert_eq!(aliases.topic(2), None);
    }

    #[test]
    fn the_first_topics_get_the_aliases_and_the_maximum_is_kept() {
        let mut aliases = OutboundAliases::new(1);
        assert_eq!(aliases.name("a"), OutboundAlias::Set(1));
        assert_eq!(aliases.name("a"), OutboundAlias::Known(1));
        assert_eq!(aliases.name("b"), OutboundAlias::Name);
        assert_eq!(OutboundAliases::new(0).name("a"), OutboundAlias::Name);
    }

    #[test]
    fn the_largest_maximum_is_kept_too() {
        let mut aliases = OutboundAliases::new(u16::MAX);
        for alias in 1..=u16::MAX {
            assert_eq!(aliases.name(&alloc::format!("{alias}")), OutboundAlias::Set(alias));
        }
        assert_eq!(aliases.name("one more"), OutboundAlias::Name);
    }
}
