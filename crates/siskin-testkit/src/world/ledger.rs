//! What was published, acknowledged and delivered, and what must hold of it.

use std::collections::BTreeMap;

use siskin_core::{Cause, Totals};
use siskin_proto::Qos;

use super::client::SimClient;

/// One message: who published it where, as his how-manieth there at this QoS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Note {
    pub(super) publisher: usize,
    pub(super) topic: &'static str,
    pub(super) qos: Qos,
    pub(super) sequence: usize,
}

/// The books of one world.
#[derive(Debug, Default)]
pub struct Ledger {
    sequences: BTreeMap<(usize, &'static str, Qos), usize>,
    /// By message: who was sure to be subscribed, and at which QoS, when it was published.
    due: BTreeMap<Note, Vec<(usize, Qos)>>,
    acknowledged: BTreeMap<Note, ()>,
    delivered: BTreeMap<(usize, Note), usize>,
    /// The last new sequence that a client has seen of each stream.
    last: BTreeMap<(usize, usize, &'static str, Qos), usize>,
    failure: Option<String>,
    pending: Vec<Note>,
}

impl Note {
    pub(super) fn to_payload(self) -> String {
        format!("{} {} {} {}", self.publisher, self.topic, self.qos as u8, self.sequence)
    }

    pub(super) fn from_payload(payload: &[u8]) -> Self {
        let text = std::str::from_utf8(payload).expect("payloads arrive as they were sent");
        let mut words = text.split(' ');
        let mut word = || words.next().expect("payloads arrive as they were sent");
        let publisher = word().parse().expect("a number");
        let topic = word();
        let topic = *["t/1", "t/2", "t/3", "u/2"].iter().find(|t| **t == topic).expect("a topic");
        let qos = Qos::from_u8(word().parse().expect("a number")).expect("a QoS");
        Self { publisher, topic, qos, sequence: word().parse().expect("a number") }
    }
}

impl Ledger {
    /// `publisher` sends a new message.
    pub(super) fn published(&mut self, publisher: usize, topic: &'static str, qos: Qos) -> Note {
        let sequence = self.sequences.entry((publisher, topic, qos)).or_default();
        *sequence += 1;
        let note = Note { publisher, topic, qos, sequence: *sequence };
        self.pending.push(note);
        note
    }

    /// The broker has taken a message over.
    pub(super) fn acknowledged(&mut self, note: Note) {
        self.acknowledged.insert(note, ());
    }

    /// A client has received a message and takes it for new.
    pub(super) fn delivered(&mut self, client: usize, note: Note, qos: Qos) {
        let count = self.delivered.entry((client, note)).or_default();
        *count += 1;
        if *count > 1 {
            if note.qos != Qos::AtLeastOnce && qos != Qos::AtLeastOnce {
                self.fail(format!("client{client} got {note:?} twice, at {qos:?}"));
            }
            return;
        }
        let last = self.last.entry((client, note.publisher, note.topic, note.qos)).or_default();
        if note.sequence <= *last {
            let last = *last;
            self.fail(format!("client{client} got {note:?} for the first time after {last}"));
        } else {
            *last = note.sequence;
        }
    }

    /// The broker closed a connection. Clients of the world give it no reason to.
    pub(super) fn closed(&mut self, cause: &Cause) {
        if !matches!(cause, Cause::TakenOver | Cause::ConnectionLost) {
            self.fail(format!("the broker closed a connection: {cause}"));
        }
    }

    fn fail(&mut self, what: String) {
        self.failure.get_or_insert(what);
    }

    /// What must hold at all times.
    pub(super) fn assert_step(&mut self, seed: u64, step: usize, clients: &[SimClient]) {
        for note in std::mem::take(&mut self.pending) {
            let sure = |client: &SimClient| Some((client.number, client.confirmed_qos(note.topic)?));
            let due = clients.iter().filter(|client| client.is_persistent).filter_map(sure).collect();
            self.due.insert(note, due);
        }
        for client in clients {
            let most = usize::from(client.receive_maximum);
            if client.version.is_v5() && client.open_most > most {
                let open = client.open_most;
                self.fail(format!("client{} had {open} open, above its {most}", client.number));
            }
        }
        if let Some(failure) = &self.failure {
            panic!("seed {seed}, step {step}: {failure}");
        }
    }

    /// What must hold when all is quiet.
    pub(super) fn assert_end(&mut self, seed: u64, clients: &[SimClient], totals: &Totals) {
        self.assert_step(seed, usize::MAX, clients);
        for (note, due) in &self.due {
            if note.qos == Qos::AtMostOnce || !self.acknowledged.contains_key(note) {
                continue;
            }
            for &(client, granted) in due {
                let count = self.delivered.get(&(client, *note)).copied().unwrap_or(0);
                let is_right = match note.qos.min(granted) {
                    Qos::AtMostOnce => true,
                    Qos::AtLeastOnce => count >= 1,
                    Qos::ExactlyOnce => count == 1,
                };
                assert!(is_right, "seed {seed}: client{client} got {note:?} {count} times");
            }
        }
        let persistent = clients.iter().filter(|client| client.is_persistent).count() as u64;
        assert_eq!(totals.stored_messages, 0, "seed {seed}: messages held after all were acknowledged");
        assert_eq!(totals.stored_bytes, 0, "seed {seed}: bytes held after all were acknowledged");
        assert_eq!(totals.sessions, persistent, "seed {seed}: sessions left");
    }

    /// How many messages were taken over, and how many deliveries there were.
    pub fn volume(&self) -> (usize, usize) {
        (self.acknowledged.len(), self.delivered.values().sum())
    }
}
