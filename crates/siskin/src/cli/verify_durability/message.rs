//! What is published: topics and payloads follow from publisher and sequence number, so that a receiver
//! can tell from a message alone what it is and whether it is whole.

/// The messages of the load.
pub(super) const LOAD_FILTER: &str = "siskin-verify/load/#";

/// The wills.
pub(super) const WILL_FILTER: &str = "siskin-verify/will/#";

/// A message of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Message {
    pub(super) publisher: usize,
    pub(super) sequence: u64,
}

/// How many topics a publisher has.
pub(super) const TOPICS: usize = PLAIN_TOPICS + RETAINED_TOPICS;

const PLAIN_TOPICS: usize = 4;
const RETAINED_TOPICS: usize = 16;

/// Every so many messages one is retained.
const RETAINED_EVERY: u64 = 8;

impl Message {
    /// Which of the publisher's topics it goes to.
    pub(super) fn topic_index(self) -> usize {
        if !self.retain() {
            return self.sequence as usize % PLAIN_TOPICS;
        }
        // Each retained topic is written half as often as the one before: some values have just changed
        // when the broker is killed, others are many kills old.
        let rarity = (self.sequence / RETAINED_EVERY).trailing_zeros() as usize;
        PLAIN_TOPICS + rarity.min(RETAINED_TOPICS - 1)
    }

    pub(super) fn retain(self) -> bool {
        self.sequence % RETAINED_EVERY == RETAINED_EVERY - 1
    }

    pub(super) fn topic(self) -> String {
        topic(self.publisher, self.topic_index())
    }

    /// Publisher and sequence number in words, filled up to `size`.
    pub(super) fn payload(self, size: usize) -> Vec<u8> {
        let mut payload = format!("{} {} ", self.publisher, self.sequence).into_bytes();
        payload.resize(payload.len().max(size), FILLER);
        payload
    }

    /// The message that has this topic and payload, if they are whole and fit each other.
    pub(super) fn parse(topic: &str, payload: &[u8], size: usize) -> Option<Self> {
        let (publisher, rest) = number(payload)?;
        let (sequence, filler) = number(rest)?;
        let message = Self { publisher: publisher as usize, sequence };
        let is_whole = filler.iter().all(|byte| *byte == FILLER)
            && payload.len() == size.max(payload.len() - filler.len())
            && message.topic() == topic;
        is_whole.then_some(message)
    }
}

/// A topic of the load by its publisher and its place among that publisher's.
pub(super) fn topic(publisher: usize, index: usize) -> String {
    format!("siskin-verify/load/{publisher}/{index}")
}

/// A number in words and the blank behind it.
pub(super) fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let blank = text.iter().position(|byte| *byte == b' ')?;
    let number = str::from_utf8(&text[..blank]).ok()?.parse().ok()?;
    Some((number, &text[blank + 1..]))
}

const FILLER: u8 = b'.';

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_recognized_by_what_it_says() {
        for sequence in [0, 7, 15, 31, 12_345] {
            let message = Message { publisher: 3, sequence };
            for size in [0, 64] {
                let payload = message.payload(size);
                assert_eq!(Message::parse(&message.topic(), &payload, size), Some(message));
            }
        }
    }

    #[test]
    fn what_is_cut_changed_or_on_another_topic_is_not_recognized() {
        let message = Message { publisher: 3, sequence: 9 };
        let (topic, payload) = (message.topic(), message.payload(64));
        assert_eq!(Message::parse(&topic, &payload[..63], 64), None);
        assert_eq!(Message::parse(&topic, &[&payload[..], b"."].concat(), 64), None);
        assert_eq!(Message::parse(&topic, &[&payload[..63], b"x"].concat(), 64), None);
        assert_eq!(Message::parse("siskin-verify/load/3/3", &payload, 64), None);
        assert_eq!(Message::parse(&topic, b"", 64), None);
    }

    #[test]
    fn retained_topics_are_written_ever_more_rarely() {
        let mut writes = [0; TOPICS];
        for sequence in 0..8 * 64 {
            writes[Message { publisher: 0, sequence }.topic_index()] += 1;
        }
        assert_eq!(writes[..8], [128, 128, 128, 64, 32, 16, 8, 4]);
    }
}
