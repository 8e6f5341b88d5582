//! The last message of each topic, for those who subscribe later.

mod seek;
mod slots;
mod sorted;
mod topics;

use std::fmt;

use self::seek::{Verdict, first_place, verdict};
use self::slots::Slots;
use self::sorted::{Position, Sorted, order};
use self::topics::Topics;
use crate::message::Message;
use crate::time::Now;

/// The retained messages: found by topic at once, and sorted by topic, so that a subscriber with a wildcard can
/// have them in pages.
///
/// Nothing is remembered between two pages but the topic where one ended; messages may come and go meanwhile,
/// and those that stay are delivered once.
pub struct Retained {
    slots: Slots,
    topics: Topics,
    /// Changes only when a topic gets its first message or loses its last: not for a new value.
    sorted: Sorted,
    bytes: usize,
    count_max: usize,
    bytes_max: usize,
}

/// How much one call may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Page {
    /// How many messages it may find.
    pub matches: usize,
    /// How many places it may look at: what bounds its time where little matches.
    pub visits: usize,
}

/// There is no room for another retained message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no room for another retained message")
    }
}

impl std::error::Error for Full {}

impl Retained {
    /// No messages yet, and never more than `count_max`, nor of more than `bytes_max` bytes by
    /// [`Message::size`]. The seed should be a secret: topics come from strangers.
    pub fn new(count_max: usize, bytes_max: usize, seed: u64) -> Self {
        Self {
            slots: Slots::default(),
            topics: Topics::new(seed),
            sorted: Sorted::default(),
            bytes: 0,
            count_max,
            bytes_max,
        }
    }

    /// Has no new message kept from now on where there would be more than `count_max`, or of more than `bytes_max` bytes.
    pub fn set_limits(&mut self, count_max: usize, bytes_max: usize) {
        (self.count_max, self.bytes_max) = (count_max, bytes_max);
    }

    /// Keeps the message for its topic and returns the one that was there. If it is refused, that one stays.
    pub fn insert(&mut self, message: Message) -> Result<Option<Message>, Full> {
        let topic = message.topic();
        let known = self.topics.find(topic, &self.slots);
        let replaced = known.map_or(0, |slot| self.slots[slot].size());
        let bytes = (self.bytes - replaced).saturating_add(message.size());
        if bytes > self.bytes_max {
            return Err(Full);
        }
        if let Some(slot) = known {
            self.bytes = bytes;
            return Ok(self.slots.replace(slot, message));
        }
        let slot = self.slots.vacant().filter(|_| self.len() < self.count_max).ok_or(Full)?;
        self.topics.insert(topic, slot);
        self.sorted.insert(topic, slot, &self.slots);
        self.slots.insert(message);
        self.bytes = bytes;
        Ok(None)
    }

    /// Forgets the message of a topic and returns it.
    pub fn remove(&mut self, topic: &str) -> Option<Message> {
        let slot = self.topics.remove(topic, &self.slots)?;
        self.sorted.remove(topic, &self.slots);
        let message = self.slots.remove(slot)?;
        self.bytes -= message.size();
        Some(message)
    }

    /// Forgets expired messages among the `max` that follow the topic `after`. Returns those, and the topic to go
    /// on after, unless the end was reached.
    pub fn sweep(&mut self, after: Option<&str>, max: usize, now: Now) -> (Vec<Message>, Option<String>) {
        let mut ahead = self.start("", after);
        let mut last = None;
        let mut expired = Vec::new();
        for _ in 0..max {
            let Some((slot, next)) = self.sorted.get(ahead) else { break };
            let message = &self.slots[slot];
            if message.is_expired(now) {
                expired.push(message.clone());
            }
            (ahead, last) = (next, Some(message));
        }
        let next =
            last.filter(|_| self.sorted.get(ahead).is_some()).map(|message| message.topic().to_owned());
        for message in &expired {
            self.remove(message.topic());
        }
        (expired, next)
    }

    /// The message of a topic, be it expired or not.
    pub fn get(&self, topic: &str) -> Option<&Message> {
        self.topics.find(topic, &self.slots).map(|slot| &self.slots[slot])
    }

    /// Adds to `out` up to `max` messages whose topics match and which are not expired, in the order of topics,
    /// after the topic `after`. Says whether there may be more; these follow after the last topic in `out`.
    ///
    /// `filter` is the part that is matched, without a share name. Where few of very many messages match this
    /// takes as long as it takes; [`Retained::page`] does not.
    pub fn matches(
        &self,
        filter: &str,
        after: Option<&str>,
        max: usize,
        now: Now,
        out: &mut Vec<Message>,
    ) -> bool {
        self.page(filter, after, Page { matches: max, visits: usize::MAX }, now, out).is_some()
    }

    /// As [`Retained::matches`], but looks at a limited number of places. Returns the topic to go on after,
    /// unless all matches were found.
    pub fn page(
        &self,
        filter: &str,
        after: Option<&str>,
        page: Page,
        now: Now,
        out: &mut Vec<Message>,
    ) -> Option<String> {
        let mut found = 0;
        let mut visits = 0;
        let mut place = String::new();
        let mut last = after;
        let mut ahead = self.start(filter, after);
        while let Some((slot, next)) = self.sorted.get(ahead) {
            if found >= page.matches || visits >= page.visits {
                return Some(last.unwrap_or_default().to_owned());
            }
            let message = &self.slots[slot];
            visits += 1;
            last = Some(message.topic());
            ahead = match verdict(filter, message.topic(), &mut place) {
                Verdict::Match => {
                    if !message.is_expired(now) {
                        out.push(message.clone());
                        found += 1;
                    }
                    next
                }
                Verdict::Seek => self.seek(next, &place),
                Verdict::End => return None,
            };
        }
        None
    }

    /// How many messages there are, expired ones included until they are swept.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sum of the messages' [`Message::size`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where to begin: behind `after`, but not before the first topic that could match.
    fn start(&self, filter: &str, after: Option<&str>) -> Position {
        let first = first_place(filter);
        let Some(after) = after.filter(|after| order(after, first).is_ge()) else {
            return self.sorted.seek(first, &self.slots);
        };
        let position = self.sorted.seek(after, &self.slots);
        match self.sorted.get(position) {
            Some((slot, next)) if self.slots[slot].topic() == after => next,
            _ => position,
        }
    }

    /// The first position from `ahead` on that is not before `place`.
    fn seek(&self, mut ahead: Position, place: &str) -> Position {
        for _ in 0..NEAR {
            match self.sorted.get(ahead) {
                Some((slot, next)) if order(self.slots[slot].topic(), place).is_lt() => ahead = next,
                _ => return ahead,
            }
        }
        self.sorted.seek(place, &self.slots)
    }
}

impl fmt::Debug for Retained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retained")
            .field("len", &self.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// So many messages are looked at in a row before the whole list is searched: it costs about the same.
const NEAR: usize = 4;

#[cfg(test)]
mod tests;
