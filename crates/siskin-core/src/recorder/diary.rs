//! What one session has to tell: its log, and what happens so often that it is counted first.

use std::sync::Arc;

use super::entry::{Entry, What};
use super::{Log, Recorder};
use crate::event::{Dropped, Event};
use crate::session::SessionKey;
use crate::time::Now;

/// One session's story as it is being written.
#[derive(Debug)]
pub(crate) struct Diary {
    /// The session's.
    pub(crate) key: SessionKey,
    pub(crate) log: Log,
    /// Made with the first of these, since most sessions have none.
    pending: Option<Box<Pending>>,
}

/// What nobody was told of yet: one line a second is enough.
#[derive(Debug)]
struct Pending {
    /// Messages that this client missed, by cause.
    counts: [u64; Dropped::ALL.len()],
    /// Of all that were told before.
    told: [u64; Dropped::ALL.len()],
    /// Of the first of them.
    topic: Arc<str>,
    /// Acknowledgements that came late, and the latest of them.
    late: u64,
    late_ms_max: u64,
    since: Now,
    until: Now,
    reported_at: Option<Now>,
}

impl Diary {
    pub(crate) fn new(key: SessionKey) -> Self {
        Self { key, log: Log::default(), pending: None }
    }

    /// Notes a message that was dropped, and tells of it if it is time for that. Else, for the first of those that
    /// wait, the session's key and when their time comes.
    pub(crate) fn dropped(
        &mut self,
        client_id: &Arc<str>,
        topic: &str,
        why: Dropped,
        recorder: &mut Recorder,
        events: &mut Vec<Event>,
        now: Now,
    ) -> Option<(Now, SessionKey)> {
        let pending = self.pending.get_or_insert_with(|| Box::new(Pending::new(topic, now)));
        let is_first = pending.begin(now);
        if pending.counts.iter().all(|count| *count == 0) {
            pending.topic = Arc::from(topic);
        }
        pending.counts[why as usize] += 1;
        self.tell(is_first, client_id, recorder, events, now)
    }

    /// The same for an acknowledgement that came so many milliseconds after its message.
    pub(crate) fn acknowledged_late(
        &mut self,
        client_id: &Arc<str>,
        ms: u64,
        recorder: &mut Recorder,
        events: &mut Vec<Event>,
        now: Now,
    ) -> Option<(Now, SessionKey)> {
        let pending = self.pending.get_or_insert_with(|| Box::new(Pending::new("", now)));
        let is_first = pending.begin(now);
        pending.late += 1;
        pending.late_ms_max = pending.late_ms_max.max(ms);
        self.tell(is_first, client_id, recorder, events, now)
    }

    /// Writes down what waits, and puts one event for each cause of drops among it into `events`.
    pub(crate) fn report(
        &mut self,
        client_id: &Arc<str>,
        recorder: &mut Recorder,
        events: &mut Vec<Event>,
        now: Now,
    ) {
        let Some(pending) = self.pending.as_deref_mut() else { return };
        pending.reported_at = Some(now);
        for entry in pending.entries() {
            if let What::Dropped { why, .. } = entry.what {
                let (client_id, topic) = (Arc::clone(client_id), Arc::clone(&pending.topic));
                events.push(Event::Dropped { client_id, topic, count: entry.count, why });
                pending.told[why as usize] += entry.count;
            }
            recorder.record_many(&mut self.log, client_id, &entry);
        }
        pending.counts = Default::default();
        (pending.late, pending.late_ms_max) = (0, 0);
    }

    /// What is written down and what waits to be.
    pub(crate) fn entries(&self) -> Vec<Entry<'static>> {
        let mut log = self.log.clone();
        for entry in self.pending.iter().flat_map(|pending| pending.entries()) {
            log.push(&entry);
        }
        log.entries()
    }

    /// Messages dropped in the life of this session, by cause.
    pub(crate) fn drops(&self) -> [u64; Dropped::ALL.len()] {
        let Some(pending) = self.pending.as_deref() else { return Default::default() };
        let mut all = pending.told;
        for (all, waiting) in all.iter_mut().zip(pending.counts) {
            *all += waiting;
        }
        all
    }

    fn tell(
        &mut self,
        is_first: bool,
        client_id: &Arc<str>,
        recorder: &mut Recorder,
        events: &mut Vec<Event>,
        now: Now,
    ) -> Option<(Now, SessionKey)> {
        let reported_at = self.pending.as_deref()?.reported_at;
        match reported_at.map(|at| at.plus_ms(REPORT_EVERY_MS)) {
            Some(due) if due > now => is_first.then_some((due, self.key)),
            _ => {
                self.report(client_id, recorder, events, now);
                None
            }
        }
    }
}

impl Pending {
    fn new(topic: &str, now: Now) -> Self {
        Self {
            counts: Default::default(),
            told: Default::default(),
            topic: topic.into(),
            late: 0,
            late_ms_max: 0,
            since: now,
            until: now,
            reported_at: None,
        }
    }

    /// Something more happened now; says whether it is the first since all was told.
    fn begin(&mut self, now: Now) -> bool {
        let is_first = self.late == 0 && self.counts.iter().all(|count| *count == 0);
        if is_first {
            self.since = now;
        }
        self.until = now;
        is_first
    }

    fn entries(&self) -> Vec<Entry<'static>> {
        let entry = |count, what| Entry { at: self.since, until: self.until, count, what };
        let causes = self.counts.iter().zip(Dropped::ALL).filter(|(count, _)| **count > 0);
        let mut entries: Vec<_> = causes
            .map(|(count, why)| entry(*count, What::Dropped { topic: (*self.topic).to_owned().into(), why }))
            .collect();
        if self.late > 0 {
            entries.push(entry(self.late, What::AcknowledgedLate { ms_max: self.late_ms_max }));
        }
        entries
    }
}

/// What happens often makes one entry and one event in this time.
const REPORT_EVERY_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn at(ms: u64) -> Now {
        Now::from_millis(ms)
    }

    #[test]
    fn every_drop_is_told_once_and_by_no_more_than_one_line_a_second_and_cause() {
        let (key, id) = (SessionKey::new(0, 0, 7), Arc::from("client"));
        let mut recorder = Recorder::new(&Limits::default());
        let mut diary = Diary::new(key);
        let mut events = Vec::new();
        let mut note = |ms, topic, why, events: &mut Vec<Event>| {
            diary.dropped(&id, topic, why, &mut recorder, events, at(ms))
        };
        assert_eq!(note(0, "a", Dropped::QueueFull, &mut events), None);
        assert_eq!(counts(&mut events), [(1, Dropped::QueueFull)]);
        assert_eq!(note(10, "b", Dropped::QueueFull, &mut events), Some((at(1000), key)));
        assert_eq!(note(20, "c", Dropped::TooLarge, &mut events), None);
        assert_eq!(note(30, "d", Dropped::QueueFull, &mut events), None);
        assert_eq!(counts(&mut events), []);
        assert_eq!(diary.drops().iter().sum::<u64>(), 4);
        assert_eq!(told(&diary), [(0, 30, 3, Dropped::QueueFull), (10, 30, 1, Dropped::TooLarge)]);
        diary.report(&id, &mut recorder, &mut events, at(1000));
        assert_eq!(counts(&mut events), [(2, Dropped::QueueFull), (1, Dropped::TooLarge)]);
        diary.report(&id, &mut recorder, &mut events, at(1001));
        assert_eq!(counts(&mut events), []);
        assert_eq!(told(&diary), [(0, 30, 3, Dropped::QueueFull), (10, 30, 1, Dropped::TooLarge)]);
        assert_eq!(diary.drops().iter().sum::<u64>(), 4);
    }

    #[test]
    fn late_acknowledgements_are_told_with_the_latest_of_them() {
        let (key, id) = (SessionKey::new(0, 0, 7), Arc::from("client"));
        let mut recorder = Recorder::new(&Limits::default());
        let mut diary = Diary::new(key);
        let mut events = Vec::new();
        for (now, ms) in [(0, 11_000), (10, 30_000), (20, 12_000)] {
            diary.acknowledged_late(&id, ms, &mut recorder, &mut events, at(now));
        }
        assert!(events.is_empty());
        let entry =
            Entry { at: at(0), until: at(20), count: 3, what: What::AcknowledgedLate { ms_max: 30_000 } };
        assert_eq!(diary.entries(), [entry]);
    }

    fn counts(events: &mut Vec<Event>) -> Vec<(u64, Dropped)> {
        let count = |event| match event {
            Event::Dropped { count, why, .. } => (count, why),
            other => panic!("{other:?}"),
        };
        events.drain(..).map(count).collect()
    }

    fn told(diary: &Diary) -> Vec<(u64, u64, u64, Dropped)> {
        let line = |entry: Entry<'_>| match entry.what {
            What::Dropped { why, .. } => (entry.at.as_millis(), entry.until.as_millis(), entry.count, why),
            other => panic!("{other:?}"),
        };
        diary.entries().into_iter().map(line).collect()
    }
}
