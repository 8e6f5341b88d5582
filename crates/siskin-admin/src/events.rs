//! What happens to clients, for those who follow it while it happens.
//!
//! ```text
//! worker: Recorder::live ──> one task, every 150 ms ──> a queue for each follower ──> its connection
//!         a ring of 64 KiB                              filtered, bounded
//! ```
//!
//! Workers gather only while somebody follows. Where a ring or a queue is full the newest is not waited for: whoever
//! misses something is told how much.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use serde::Serialize;
use siskin_core::recorder::{Recent, What};
use siskin_core::{Now, Origin};
use siskin_proto::{TopicFilter, TopicName};
use siskin_server::Unanswered;
use siskin_server::config::Network;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, Interval, interval_at, sleep};
use utoipa::ToSchema;

use crate::app::App;

/// Which events are wanted: those that fit all that is given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) client_id: Option<String>,
    pub(crate) address: Option<Network>,
    pub(crate) topic: Option<String>,
    pub(crate) level: Level,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Subscriptions, wills withdrawn.
    #[default]
    Debug,
    /// Who came and went in good order.
    Info,
    /// What somebody may want to look into: refused, denied, dropped, late, cut off.
    Warn,
}

/// Something that happened to a client.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Event {
    /// When, in milliseconds since 1970.
    unix_ms: u64,
    level: Level,
    /// What: `connected`, `refused`, `disconnected`, `subscribed`, `denied`, `dropped` and so on.
    #[schema(example = "disconnected")]
    event: &'static str,
    /// The client, if it gave an id. Only the beginning of one that is longer than 100 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// Where the client was.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// The topic or filter that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    /// How often it happened.
    count: u64,
    /// What happened, in words.
    text: String,
}

/// Those who follow.
#[derive(Default)]
pub(crate) struct Followers {
    all: Vec<Follower>,
    /// Whether the task runs that fetches events for them.
    is_served: bool,
}

struct Follower {
    wanted: Wanted,
    /// Nothing older is for it.
    since: Now,
    lines: Sender<Bytes>,
    missed: u64,
}

/// The lines of one follower, as the body of an answer.
pub(crate) struct Lines {
    first: Option<Bytes>,
    lines: Receiver<Bytes>,
    /// Writes an empty line now and then: else nobody would notice that the follower is gone.
    pulse: Interval,
}

impl Wanted {
    /// Whether `event` is one of them.
    pub(crate) fn fits(&self, event: &Recent) -> bool {
        let is_there = |network: &Network| match event.origin {
            Origin::Address(ip, _) => network.contains(ip),
            Origin::Local => *network == Network::Unix,
            Origin::Unknown => false,
        };
        Level::of(&event.entry.what) >= self.level
            && self.client_id.as_ref().is_none_or(|id| begins_alike(id, &event.client_id))
            && self.address.as_ref().is_none_or(is_there)
            && self
                .topic
                .as_ref()
                .is_none_or(|filter| event.entry.what.topic().is_some_and(|topic| meet(filter, topic)))
    }
}

/// Whether an event that names the beginning of a client id may be about `id`.
fn begins_alike(id: &str, named: &str) -> bool {
    id == named || named.len() + 4 > ID_BYTES_MAX && id.starts_with(named)
}

/// Whether `topic`, which may be a filter too, and `filter` have a topic in common.
fn meet(filter: &str, topic: &str) -> bool {
    let unshared = |text: &str| {
        let parsed = TopicFilter::parse(text).ok()?;
        // What is behind the name of the share.
        Some(if parsed.share().is_some() { text.splitn(3, '/').nth(2)?.to_owned() } else { text.to_owned() })
    };
    if let (Ok(filter), Ok(name)) = (TopicFilter::parse(filter), TopicName::parse(topic)) {
        return filter.matches(name);
    }
    let Some((filter, topic)) = unshared(filter).zip(unshared(topic)) else { return false };
    let (mut ours, mut theirs) = (filter.split('/'), topic.split('/'));
    loop {
        match (ours.next(), theirs.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(ours), Some(theirs)) if ours == theirs => {}
            _ => return false,
        }
    }
}

impl Level {
    fn of(what: &What<'_>) -> Self {
        match what {
            What::Subscribed { answer, .. } if answer.is_error() => Self::Warn,
            What::Subscribed { .. } | What::Unsubscribed { .. } | What::WillWithdrawn | What::Forgotten => {
                Self::Debug
            }
            What::Connected { took_over: Some(_), .. } => Self::Warn,
            What::Disconnected(closed) if !closed.is_orderly() => Self::Warn,
            What::Connected { .. }
            | What::Disconnected(_)
            | What::WillPublished { .. }
            | What::SessionEnded { .. }
            | What::Restored { .. } => Self::Info,
            What::Refused { .. }
            | What::Denied { .. }
            | What::Dropped { .. }
            | What::SafeLate { .. }
            | What::AcknowledgedLate { .. } => Self::Warn,
        }
    }
}

impl Event {
    pub(crate) fn of(recent: &Recent) -> Self {
        let Recent { client_id, origin, entry } = recent;
        Self {
            unix_ms: entry.until.as_millis(),
            level: Level::of(&entry.what),
            event: entry.what.name(),
            client_id: Some(client_id.clone()).filter(|id| !id.is_empty()),
            address: Some(origin).filter(|origin| **origin != Origin::Unknown).map(Origin::to_string),
            topic: entry.what.topic().map(str::to_owned),
            count: entry.count,
            text: entry.to_string(),
        }
    }

    /// As a line of JSON.
    fn line(&self) -> Bytes {
        let mut line = serde_json::to_vec(self).unwrap_or_default();
        line.push(b'\n');
        line.into()
    }
}

impl Followers {
    /// One more. None if there are as many as may be.
    fn add(&mut self, wanted: Wanted, since: Now) -> Option<Receiver<Bytes>> {
        self.all.retain(|follower| !follower.lines.is_closed());
        if self.all.len() >= FOLLOWERS_MAX {
            return None;
        }
        let (lines, receiver) = channel(LINES_MAX);
        self.all.push(Follower { wanted, since, lines, missed: 0 });
        Some(receiver)
    }

    /// Gives everybody what is wanted of `events`. Before them, `lost` had to make room.
    fn tell(&mut self, events: &[Recent], lost: u64) {
        // Made once, if anybody wants it.
        let mut lines: Vec<Option<Bytes>> = vec![None; events.len()];
        self.all.retain_mut(|follower| {
            follower.missed += lost;
            for (event, line) in events.iter().zip(&mut lines) {
                if event.entry.until >= follower.since && follower.wanted.fits(event) {
                    let line = line.get_or_insert_with(|| Event::of(event).line());
                    follower.put(line.clone());
                }
            }
            follower.confess();
            !follower.lines.is_closed()
        });
    }
}

impl Follower {
    fn put(&mut self, line: Bytes) {
        self.confess();
        if self.missed > 0 || matches!(self.lines.try_send(line), Err(TrySendError::Full(_))) {
            self.missed += 1;
        }
    }

    /// Says how much was missed, if there is room for that.
    fn confess(&mut self) {
        if self.missed > 0 {
            let line = format!("{{\"event\":\"missed\",\"count\":{}}}\n", self.missed);
            if self.lines.try_send(line.into()).is_ok() {
                self.missed = 0;
            }
        }
    }
}

/// The latest events that fit, up to `most`, oldest first.
pub(crate) async fn latest(app: &App, wanted: &Wanted, most: usize) -> Result<Vec<Recent>, Unanswered> {
    let mut events = app.broker().ask_all(|worker, _| worker.recent(RECENT_MAX)).await?.concat();
    events.retain(|event| wanted.fits(event));
    events.sort_by_key(|event| event.entry.until);
    Ok(events.split_off(events.len().saturating_sub(most)))
}

/// Events from now on, after up to `last` that were before. None if there are as many followers as may be.
pub(crate) async fn follow(app: &App, wanted: Wanted, last: usize) -> Result<Option<Lines>, Unanswered> {
    // What comes after this moment comes by the task, which fetches it later.
    let since = app.broker().now();
    let (lines, was_served) = {
        let mut followers = app.followers();
        let Some(lines) = followers.add(wanted.clone(), since) else { return Ok(None) };
        (lines, std::mem::replace(&mut followers.is_served, true))
    };
    if !was_served {
        tokio::spawn(serve(app.clone()));
    }
    // Whoever has an answer misses nothing from then on.
    app.broker().ask_all(|worker, _| worker.follow(true)).await?;
    let mut before = Vec::new();
    if last > 0 {
        for event in latest(app, &wanted, last).await?.iter().filter(|event| event.entry.until < since) {
            before.extend_from_slice(&Event::of(event).line());
        }
    }
    // At once, also where there is nothing: whoever asks is to know that it is followed.
    before.push(b'\n');
    let pulse = interval_at(Instant::now() + PULSE_EVERY, PULSE_EVERY);
    Ok(Some(Lines { first: Some(before.into()), lines, pulse }))
}

/// Fetches events for as long as anybody follows.
async fn serve(app: App) {
    loop {
        // A worker that has too much else to do is asked again.
        let _ = app.broker().ask_all(|worker, _| worker.follow(true)).await;
        loop {
            match app.broker().ask_all(|worker, _| worker.take_followed(TAKEN_MAX)).await {
                Ok(taken) => {
                    let lost = taken.iter().map(|(_, lost)| lost).sum();
                    let mut events: Vec<_> = taken.into_iter().flat_map(|(events, _)| events).collect();
                    events.sort_by_key(|event| event.entry.until);
                    app.followers().tell(&events, lost);
                }
                Err(Unanswered::Stopped) => return,
                Err(_) => {}
            }
            if app.followers().all.is_empty() {
                break;
            }
            sleep(FETCH_EVERY).await;
        }
        let _ = app.broker().ask_all(|worker, _| worker.follow(false)).await;
        let mut followers = app.followers();
        if followers.all.is_empty() {
            followers.is_served = false;
            return;
        }
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        match self.lines.poll_recv(context) {
            Poll::Ready(line) => return Poll::Ready(line.map(|line| Ok(Frame::data(line)))),
            Poll::Pending => {}
        }
        match self.pulse.poll_tick(context) {
            Poll::Ready(_) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"\n"))))),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Bytes of a client id that an event names.
const ID_BYTES_MAX: usize = 100;

/// Those who follow at once.
const FOLLOWERS_MAX: usize = 16;

/// Lines that wait for one follower; of more it is told how many they were.
const LINES_MAX: usize = 1000;

/// Events taken from a worker at once: about a millisecond of its time.
const TAKEN_MAX: usize = 500;

/// Events of a worker that are looked at when somebody asks for the latest.
const RECENT_MAX: usize = 2000;

/// How often workers are asked what happened.
const FETCH_EVERY: Duration = Duration::from_millis(150);

/// How often a follower gets an empty line.
const PULSE_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_filters_meet_where_a_topic_is_in_both() {
        for (filter, topic) in [
            ("a/#", "a"),
            ("a/+/c", "a/b/c"),
            ("a/b", "a/#"),
            ("a/+", "+/b"),
            ("a/b", "$share/g/a/+"),
            ("#", "+/x/#"),
        ] {
            assert!(meet(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in
            [("a", "b"), ("a/+", "a"), ("a/+/c", "+/b/d"), ("a/b", "$share/g/a"), ("#", "$SYS/x")]
        {
            assert!(!meet(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn a_follower_that_does_not_read_is_told_how_much_it_missed() {
        let mut followers = Followers::default();
        let mut lines = followers.add(Wanted::default(), Now::default()).unwrap();
        let event = |at| Recent {
            client_id: "c".to_owned(),
            origin: Origin::Unknown,
            entry: siskin_core::recorder::Entry {
                at: Now::from_millis(at),
                until: Now::from_millis(at),
                count: 1,
                what: What::WillWithdrawn,
            },
        };
        let events: Vec<_> = (0..LINES_MAX as u64 + 7).map(event).collect();
        followers.tell(&events, 0);
        let mut read = Vec::new();
        while let Ok(line) = lines.try_recv() {
            read.push(line);
        }
        assert_eq!(read.len(), LINES_MAX);
        followers.tell(&[event(1)], 2);
        assert_eq!(lines.try_recv().unwrap(), "{\"event\":\"missed\",\"count\":9}\n");
        assert!(lines.try_recv().unwrap().starts_with(b"{\"unix_ms\":1,\"level\":\"debug\","));
        drop(lines);
        followers.tell(&[], 0);
        assert!(followers.all.is_empty());
    }

    #[test]
    fn there_are_no_more_followers_than_may_be() {
        let mut followers = Followers::default();
        let held: Vec<_> =
            (0..FOLLOWERS_MAX).map(|_| followers.add(Wanted::default(), Now::default()).unwrap()).collect();
        assert!(followers.add(Wanted::default(), Now::default()).is_none());
        drop(held);
        assert!(followers.add(Wanted::default(), Now::default()).is_some());
    }
}
