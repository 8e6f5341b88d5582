//! The account of everything that was promised: what publishers sent and the broker acknowledged, and what
//! came to which subscriber. Of a message only its number is kept, in ranges, so that a run of any length
//! fits into memory.

mod finding;
mod moments;
#[cfg(test)]
mod tests;
mod wills;

use siskin_proto::Qos;

pub(super) use finding::{Finding, Findings};
use moments::Moments;
pub(super) use wills::Will;
use wills::Wills;

use super::message::{Message, TOPICS, topic};
use super::ranges::Ranges;

/// Who publishes, who receives, and how it went so far.
pub(super) struct Ledger {
    publishers: Vec<Publications>,
    subscribers: Vec<Receipts>,
    wills: Wills,
    /// When the broker was killed, in milliseconds of the run.
    kills: Vec<u64>,
    lost: [u64; 2],
    pub(super) findings: Findings,
    pub(super) tally: Tally,
}

/// What was counted, whether it was right or not.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) sessions_resumed: u64,
    pub(super) retained_checked: u64,
    pub(super) subscriptions_checked: u64,
    pub(super) redelivered: u64,
}

/// Messages of one QoS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) published: u64,
    pub(super) acknowledged: u64,
    /// First deliveries, of all subscribers together.
    pub(super) delivered: u64,
    pub(super) lost: u64,
}

/// One publisher's messages; their numbers go up from 0.
struct Publications {
    name: String,
    qos: Qos,
    sent: u64,
    acknowledged: Ranges,
    moments: Moments,
    retained: [Value; TOPICS],
}

/// What may be retained for a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Value {
    /// The last value that was acknowledged: it, or one that was sent later.
    pub(super) acknowledged: Option<u64>,
    /// The last value that was sent.
    pub(super) sent: Option<u64>,
}

/// What came to one subscriber, by publisher.
struct Receipts {
    name: String,
    qos: Qos,
    received: Vec<Ranges>,
    /// The highest number that came on each topic, and one more.
    newest: Vec<[u64; TOPICS]>,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self {
            publishers: Vec::new(),
            subscribers: Vec::new(),
            wills: Wills::default(),
            kills: Vec::new(),
            lost: [0; 2],
            findings: Findings::default(),
            tally: Tally::default(),
        }
    }

    /// Adds the next publisher, before any subscriber.
    pub(super) fn add_publisher(&mut self, name: String, qos: Qos) {
        let (acknowledged, moments) = (Ranges::default(), Moments::default());
        let retained = [Value::default(); TOPICS];
        self.publishers.push(Publications { name, qos, sent: 0, acknowledged, moments, retained });
    }

    /// Adds the next subscriber, to whom all messages and wills are due.
    pub(super) fn add_subscriber(&mut self, name: String, qos: Qos) {
        let received = vec![Ranges::default(); self.publishers.len()];
        let newest = vec![[0; TOPICS]; self.publishers.len()];
        self.subscribers.push(Receipts { name, qos, received, newest });
    }

    /// The next message of a publisher, which is about to be sent.
    pub(super) fn send(&mut self, publisher: usize) -> Message {
        let publications = &mut self.publishers[publisher];
        let message = Message { publisher, sequence: publications.sent };
        publications.sent += 1;
        if message.retain() {
            publications.retained[message.topic_index()].sent = Some(message.sequence);
        }
        message
    }

    /// The broker has taken a message over: from now on it is due to every subscriber.
    pub(super) fn acknowledge(&mut self, message: Message, now_ms: u64) {
        let publications = &mut self.publishers[message.publisher];
        if publications.acknowledged.insert(message.sequence) {
            publications.moments.put(message.sequence, now_ms);
        }
        if message.retain() {
            let value = &mut publications.retained[message.topic_index()].acknowledged;
            *value = (*value).max(Some(message.sequence));
        }
    }

    /// A message came to a subscriber.
    pub(super) fn deliver(&mut self, subscriber: usize, message: Message) {
        let Some(publications) = self.publishers.get(message.publisher) else {
            return self.deliver_foreign(subscriber, "names a publisher that does not exist");
        };
        if message.sequence >= publications.sent {
            return self.deliver_foreign(subscriber, "has a number that was not published yet");
        }
        let receipts = &mut self.subscribers[subscriber];
        let newest = &mut receipts.newest[message.publisher][message.topic_index()];
        let is_first = receipts.received[message.publisher].insert(message.sequence);
        let what = || {
            let (publisher, subscriber) = (&publications.name, &receipts.name);
            format!("{publisher}, message {} on {}, at {subscriber}", message.sequence, message.topic())
        };
        if !is_first {
            // Exactly once holds from end to end only if both ends have asked for it.
            if publications.qos.min(receipts.qos) == Qos::ExactlyOnce {
                self.findings.repeated.note(what);
            } else {
                self.tally.redelivered += 1;
            }
        } else if message.sequence < *newest {
            self.findings.misordered.note(|| format!("{}, behind {}", what(), *newest - 1));
        } else {
            *newest = message.sequence + 1;
        }
    }

    /// Something came to a subscriber that nobody has published.
    pub(super) fn deliver_foreign(&mut self, subscriber: usize, why: &str) {
        let name = &self.subscribers[subscriber].name;
        self.findings.foreign.note(|| format!("a message at {name} {why}"));
    }

    /// A client has connected with the will; from now on it must come if the broker is killed.
    pub(super) fn hold_will(&mut self, will: Will) {
        self.wills.hold(will);
    }

    /// The client has left with DISCONNECT: its will must never come. [MQTT-3.14.4-3]
    pub(super) fn drop_will(&mut self, will: Will) {
        self.wills.drop(will);
    }

    /// A will came to a subscriber.
    pub(super) fn deliver_will(&mut self, subscriber: usize, will: Will) {
        if !self.wills.deliver(subscriber, will) {
            self.deliver_foreign(subscriber, "is a will that nobody has");
        }
    }

    /// The broker was killed.
    pub(super) fn kill(&mut self, now_ms: u64) {
        self.kills.push(now_ms);
        self.wills.kill();
    }

    pub(super) fn kills(&self) -> usize {
        self.kills.len()
    }

    /// How many acknowledged messages there are.
    pub(super) fn acknowledged(&self) -> u64 {
        self.publishers.iter().map(|publications| publications.acknowledged.count()).sum()
    }

    /// How much is due to subscribers and has not come.
    pub(super) fn missing(&self) -> u64 {
        let messages: u64 = self.gaps().flat_map(|(_, _, gaps)| gaps).map(|gap| gap.end - gap.start).sum();
        messages + self.wills.missing(self.subscribers.len()).count() as u64
    }

    /// What may be retained for each of a publisher's topics.
    pub(super) fn retained(&self, publisher: usize) -> [Value; TOPICS] {
        self.publishers[publisher].retained
    }

    pub(super) fn publishers(&self) -> usize {
        self.publishers.len()
    }

    /// Nothing more will come: what is due and has not come is lost.
    pub(super) fn close(&mut self) {
        let mut lost = Finding::default();
        let mut lost_by_qos = [0; 2];
        for (subscriber, publications, gaps) in self.gaps() {
            for gap in gaps {
                lost_by_qos[flow_index(publications.qos)] += gap.end - gap.start;
                for sequence in gap {
                    lost.note(|| self.describe_lost(subscriber, publications, sequence));
                }
            }
        }
        for (subscriber, will) in self.wills.missing(self.subscribers.len()) {
            let name = &self.subscribers[subscriber].name;
            self.findings.wills.note(|| format!("{will} did not come to {name}"));
        }
        for (subscriber, will) in self.wills.unwanted(self.subscribers.len()) {
            let name = &self.subscribers[subscriber].name;
            self.findings.wills.note(|| format!("{will}, who had left in good order, came to {name}"));
        }
        self.findings.lost = lost;
        self.lost = lost_by_qos;
    }

    /// How many wills had to come or must not come.
    pub(super) fn wills_checked(&self) -> u64 {
        self.wills.checked()
    }

    /// The messages by the QoS of their publisher: 1 and 2.
    pub(super) fn flows(&self) -> [Flow; 2] {
        let mut flows = self.lost.map(|lost| Flow { lost, ..Flow::default() });
        for (place, publications) in self.publishers.iter().enumerate() {
            let flow = &mut flows[flow_index(publications.qos)];
            flow.published += publications.sent;
            flow.acknowledged += publications.acknowledged.count();
            flow.delivered += self.subscribers.iter().map(|s| s.received[place].count()).sum::<u64>();
        }
        flows
    }

    /// For each subscriber and publisher what was acknowledged and has not come.
    fn gaps(&self) -> impl Iterator<Item = (&Receipts, &Publications, impl Iterator<Item = Gap> + '_)> + '_ {
        self.subscribers.iter().flat_map(|receipts| {
            self.publishers.iter().zip(&receipts.received).map(move |(publications, received)| {
                (receipts, publications, publications.acknowledged.without(received))
            })
        })
    }

    fn describe_lost(&self, subscriber: &Receipts, publications: &Publications, sequence: u64) -> String {
        let publisher = self.publishers.iter().position(|other| std::ptr::eq(other, publications));
        let message = Message { publisher: publisher.unwrap_or_default(), sequence };
        let topic = topic(message.publisher, message.topic_index());
        let moment = publications.moments.get(sequence);
        let when = moments::describe(moment, &self.kills);
        let (publisher, subscriber) = (&publications.name, &subscriber.name);
        format!("{publisher}, message {sequence} on {topic}, {when}, missing at {subscriber}")
    }
}

type Gap = std::ops::Range<u64>;

fn flow_index(qos: Qos) -> usize {
    usize::from(qos == Qos::ExactlyOnce)
}
