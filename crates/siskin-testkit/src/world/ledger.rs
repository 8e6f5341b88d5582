//! What was published, acknowledged and delivered, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};

use siskin_core::{Cause, Shared};
use siskin_proto::Qos;

use super::client::{RETAINED, SimClient};

/// One message: who published it where, as his how-manieth there at this QoS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Note {
    pub(super) publisher: usize,
    pub(super) topic: &'static str,
    pub(super) qos: Qos,
    pub(super) sequence: usize,
}

/// Messages that keep their order: of one session of a publisher, to one topic, at one QoS. What a publisher sends in
/// another session, on another worker, may overtake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stream {
    publisher: usize,
    session: usize,
    topic: &'static str,
    qos: Qos,
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
    last: BTreeMap<(usize, Stream), usize>,
    /// What each message is a part of.
    streams: BTreeMap<Note, Stream>,
    /// Messages that were sent again: who subscribed in between may get them late.
    repeated: BTreeSet<Note>,
    /// Whether the broker was killed at least once.
    has_crashed: bool,
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
        let mut topics = ["t/1", "t/2", "t/3", "u/2"].into_iter().chain(RETAINED);
        let topic = topics.find(|known| *known == topic).expect("a topic");
        let qos = Qos::from_u8(word().parse().expect("a number")).expect("a QoS");
        Self { publisher, topic, qos, sequence: word().parse().expect("a number") }
    }
}

impl Ledger {
    /// `client` sends a new message.
    pub(super) fn published(&mut self, client: &SimClient, topic: &'static str, qos: Qos) -> Note {
        let publisher = client.number;
        let sequence = self.sequences.entry((publisher, topic, qos)).or_default();
        *sequence += 1;
        let note = Note { publisher, topic, qos, sequence: *sequence };
        self.streams.insert(note, Stream { publisher, session: client.sessions, topic, qos });
        self.pending.push(note);
        note
    }

    /// A message is sent again, since no acknowledgement came.
    pub(super) fn repeated(&mut self, note: Note) {
        self.repeated.insert(note);
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
            // Of what went out before it was safe, only QoS 2 knows whether it has come before.
            let may_repeat = self.has_crashed && qos == Qos::AtMostOnce && note.qos > Qos::AtMostOnce;
            if note.qos != Qos::AtLeastOnce && qos != Qos::AtLeastOnce && !may_repeat {
                self.fail(format!("client{client} got {note:?} twice, at {qos:?}"));
            }
            return;
        }
        let last = self.last.entry((client, self.streams[&note])).or_default();
        // What is retained comes to a new subscriber ahead of what others have still in their queues.
        if note.sequence <= *last && (self.repeated.contains(&note) || RETAINED.contains(&note.topic)) {
            return;
        }
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

    /// A client came back to a session that it was promised, and it was not there.
    pub(super) fn lost_session(&mut self, client: usize) {
        self.fail(format!("the session of client{client} is gone"));
    }

    /// The broker was killed: clients whose sessions do not last know nothing of what came before.
    pub(super) fn crashed(&mut self, clients: &[SimClient]) {
        self.has_crashed = true;
        self.delivered.retain(|(client, _), _| clients[*client].is_persistent);
        self.last.retain(|(client, _), _| clients[*client].is_persistent);
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
    pub(super) fn assert_end(&mut self, seed: u64, clients: &[SimClient], shared: &Shared) {
        let totals = shared.totals();
        self.assert_retained(seed, shared);
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

    /// The retained message of a topic is the last that was acknowledged, or one that was sent after it.
    fn assert_retained(&self, seed: u64, shared: &Shared) {
        let retained = shared.retained.read().expect("no worker panicked");
        for (publisher, topic) in RETAINED[..RETAINED.len() - 1].iter().enumerate() {
            let acknowledged = self.acknowledged.keys().filter(|note| note.topic == *topic);
            let Some(least) = acknowledged.map(|note| note.sequence).max() else { continue };
            let message = retained.get(topic).map(|message| Note::from_payload(message.payload()));
            let is_right = message.is_some_and(|note| note.publisher == publisher && note.sequence >= least);
            assert!(is_right, "seed {seed}: {topic} has {message:?}, and {least} was acknowledged");
        }
    }

    /// How many messages were taken over, and how many deliveries there were.
    pub fn volume(&self) -> (usize, usize) {
        (self.acknowledged.len(), self.delivered.values().sum())
    }
}
