//! Traces: messages followed from their publisher to each receiver, for a while and never for ever.
//!
//! ```text
//! arm ──> watch on every worker ──> a task fetches stations every 100 ms ──> those who ask
//!                                     └── ends it: all messages done, time over, nobody asks, told to
//! ```
//!
//! Workers follow one trace at a time, so while one is armed no other can be. Those that have ended are kept for a while.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Serialize;
use siskin_core::explain::Waits;
use siskin_core::trace::{Amount, Station, TraceId, Traced, Watch};
use siskin_core::{Now, SessionKey};
use siskin_server::{Broker, Unanswered};
use tokio::sync::oneshot;
use tokio::time::sleep;
use utoipa::ToSchema;

use crate::app::App;

/// All traces that are known: the one that is armed, if any, and the last that have ended.
#[derive(Default)]
pub(crate) struct Traces(VecDeque<Trace>);

/// Which messages are to be followed, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) topic: Option<String>,
    pub(crate) client_id: Option<String>,
    pub(crate) count: u16,
    pub(crate) seconds: u32,
}

/// A trace, armed or ended.
pub(crate) struct Trace {
    pub(crate) id: u32,
    pub(crate) order: Order,
    pub(crate) until: Now,
    /// Whether workers may still follow it.
    is_armed: bool,
    /// Why it has ended, if it has.
    pub(crate) ended: Option<End>,
    /// What was noted, in the order in which it was fetched. Each has its place for a number.
    stations: Vec<Stop>,
    messages: BTreeMap<TraceId, Progress>,
    bytes: usize,
    /// Whether something was noted that is not kept.
    pub(crate) is_cut: bool,
    /// When the last of the messages wanted came.
    full_at: Option<Now>,
}

/// Why a trace has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum End {
    /// All the messages that were wanted were followed to their end.
    Count,
    /// Its time was over.
    Time,
    /// Somebody ended it.
    Stopped,
    /// A worker did not answer.
    Failed,
}

/// A station of a message's way.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Stop {
    /// Which message of the trace, counted from 1.
    message: u32,
    /// When, in milliseconds since 1970.
    unix_ms: u64,
    /// `received`, `routed`, `refused`, `withheld`, `answered`, `sent`, `queued`, `dropped`, `missed`, `no_local` or
    /// `acknowledged`.
    station: &'static str,
    /// The client that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// The message's topic, where it was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    /// What happened, in words.
    text: String,
}

/// How far a message has come.
#[derive(Default)]
pub(crate) struct Progress {
    number: u32,
    /// How many are to have it, once that is known.
    due: Option<usize>,
    settled: usize,
    waits_for_answer: bool,
}

impl Traces {
    /// The trace that workers follow, or are about to be told of, or not yet told to leave.
    pub(crate) fn armed(&self) -> Option<&Trace> {
        self.0.iter().find(|trace| trace.is_armed)
    }

    pub(crate) fn find(&self, id: u32) -> Option<&Trace> {
        self.0.iter().find(|trace| trace.id == id)
    }

    /// All of them, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Trace> {
        self.0.iter()
    }

    fn find_mut(&mut self, id: u32) -> Option<&mut Trace> {
        self.0.iter_mut().find(|trace| trace.id == id)
    }

    fn add(&mut self, trace: Trace) {
        while self.0.len() >= TRACES_KEPT {
            self.0.pop_front();
        }
        self.0.push_back(trace);
    }
}

impl Trace {
    /// What was noted after the first `after` stations, and how many there are.
    pub(crate) fn stations(&self, after: usize) -> (&[Stop], usize) {
        (&self.stations[after.min(self.stations.len())..], self.stations.len())
    }

    /// How many messages were followed.
    pub(crate) fn messages(&self) -> usize {
        self.messages.len()
    }

    /// Takes in what workers have noted, in the order of time.
    fn take_in(&mut self, mut traced: Vec<Traced>, now: Now) {
        let rank = |station: &Station| match station {
            Station::Received { .. } => 0,
            Station::Routed { .. } | Station::Refused { .. } => 1,
            _ => 2,
        };
        traced.sort_by_key(|traced| (traced.at, traced.id, rank(&traced.station)));
        for Traced { id, at, station } in traced {
            let count = self.messages.len();
            if !self.messages.contains_key(&id) {
                // What each worker counts for itself may be more in all.
                if count >= usize::from(self.order.count) {
                    continue;
                }
                self.messages.insert(id, Progress { number: count as u32 + 1, ..Progress::default() });
            }
            let Some(progress) = self.messages.get_mut(&id) else { continue };
            progress.advance(&station);
            let stop = Stop::new(progress.number, at, &station);
            self.bytes += stop.bytes();
            if self.stations.len() >= STATIONS_MAX || self.bytes > BYTES_MAX {
                self.is_cut = true;
                continue;
            }
            self.stations.push(stop);
        }
        if self.full_at.is_none() && self.messages.len() >= usize::from(self.order.count) {
            self.full_at = Some(now);
        }
    }

    /// Why it is to end now, if it is.
    fn end(&self, now: Now) -> Option<End> {
        if let Some(full_at) = self.full_at
            && (self.messages.values().all(Progress::is_done) || full_at.plus_ms(LINGER_MS) <= now)
        {
            return Some(End::Count);
        }
        (self.until <= now).then_some(End::Time)
    }
}

impl Progress {
    pub(crate) fn advance(&mut self, station: &Station) {
        match station {
            Station::Received { client_id, qos, .. } => {
                self.waits_for_answer = client_id.is_some() && *qos > siskin_proto::Qos::AtMostOnce;
            }
            Station::Routed { sessions, groups, .. } => self.due = Some(sessions + groups),
            Station::Refused { .. } => self.due = Some(0),
            Station::Answered { .. } => self.waits_for_answer = false,
            Station::Sent { qos, .. } => {
                self.settled += usize::from(*qos == siskin_proto::Qos::AtMostOnce);
            }
            // One who is away may be so for long.
            Station::Queued { why, .. } => self.settled += usize::from(*why == Waits::Away),
            Station::Dropped { .. }
            | Station::Missed { .. }
            | Station::NoLocal { .. }
            | Station::Acknowledged { .. } => self.settled += 1,
            Station::Withheld { .. } => {}
        }
    }

    /// Whether nothing more is to be expected soon.
    pub(crate) fn is_done(&self) -> bool {
        !self.waits_for_answer && self.due.is_some_and(|due| self.settled >= due)
    }
}

impl Stop {
    fn new(message: u32, at: Now, station: &Station) -> Self {
        let topic = match station {
            Station::Received { topic, .. } => Some(topic.to_string()),
            _ => None,
        };
        Self {
            message,
            unix_ms: at.as_millis(),
            station: station.name(),
            client_id: station.client_id().map(ToString::to_string),
            topic,
            text: station.to_string(),
        }
    }

    fn bytes(&self) -> usize {
        let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        size_of::<Self>() + self.text.len() + len(&self.client_id) + len(&self.topic)
    }
}

/// Arms a trace on all workers. None if another is armed.
pub(crate) async fn arm(app: &App, order: Order) -> Result<Option<u32>, Unanswered> {
    let number = app.broker().shared().next_trace();
    let watch = Watch {
        number,
        filter: order.topic.as_deref().map(Into::into),
        client_id: order.client_id.as_deref().map(Into::into),
        amount: Amount::InAll(order.count),
    };
    {
        let mut traces = app.traces();
        if traces.armed().is_some() {
            return Ok(None);
        }
        traces.add(Trace {
            id: number.get(),
            until: app.broker().now().plus_s(order.seconds),
            order,
            is_armed: true,
            ended: None,
            stations: Vec::new(),
            messages: BTreeMap::new(),
            bytes: 0,
            is_cut: false,
            full_at: None,
        });
    }
    // A task of its own: who has ordered it may be gone before all workers have answered.
    let (tell, told) = oneshot::channel();
    tokio::spawn(run(app.clone(), watch, tell));
    told.await.unwrap_or(Err(Unanswered::Stopped)).map(|()| Some(number.get()))
}

/// Ends the trace `id` and forgets it. False if there is none.
pub(crate) async fn remove(app: &App, id: u32) -> bool {
    let was_armed = {
        let mut traces = app.traces();
        let Some(trace) = traces.find_mut(id) else { return false };
        trace.ended.get_or_insert(End::Stopped);
        trace.is_armed
    };
    if was_armed && let Some(number) = NonZeroU32::new(id) {
        // Also where nobody waits for it any more.
        let _ = tokio::spawn(disarm(app.clone(), number)).await;
    }
    app.traces().0.retain(|trace| trace.id != id);
    true
}

/// The life of a trace.
async fn run(app: App, watch: Watch, tell: oneshot::Sender<Result<(), Unanswered>>) {
    let number = watch.number;
    let id = number.get();
    let armed = app.broker().ask_all(move |worker, _| worker.arm_trace(watch.clone())).await;
    let is_armed = armed.is_ok();
    // Who has ordered it may be gone; it ends by itself.
    let _ = tell.send(armed.map(drop));
    if is_armed {
        follow(&app, number).await;
    } else if let Some(trace) = app.traces().find_mut(id) {
        trace.ended = Some(End::Failed);
    }
    disarm(app, number).await;
}

/// Fetches what workers note for the trace `id`, until it ends.
async fn follow(app: &App, number: NonZeroU32) {
    let id = number.get();
    loop {
        sleep(FETCH_EVERY).await;
        if app.traces().find(id).is_none_or(|trace| trace.ended.is_some()) {
            return;
        }
        let fetched = fetch(app.broker(), number).await;
        let now = app.broker().now();
        let mut traces = app.traces();
        let Some(trace) = traces.find_mut(id).filter(|trace| trace.ended.is_none()) else { return };
        trace.ended = match fetched {
            Ok(traced) => {
                trace.take_in(traced, now);
                trace.end(now)
            }
            Err(Unanswered::Late) => (trace.until <= now).then_some(End::Time),
            Err(_) => Some(End::Failed),
        };
    }
}

/// Has workers leave the trace `id`, unless that was done.
async fn disarm(app: App, number: NonZeroU32) {
    let id = number.get();
    if !app.traces().find(id).is_some_and(|trace| trace.is_armed) {
        return;
    }
    // A worker that has too much else to do does it later, or follows no more messages than it was told.
    let _ = app.broker().ask_all(move |worker, _| worker.disarm_trace(number)).await;
    if let Some(trace) = app.traces().find_mut(id) {
        trace.is_armed = false;
    }
}

/// What workers have noted. Those that are late keep it until the next time.
pub(crate) async fn fetch(broker: &Broker, number: NonZeroU32) -> Result<Vec<Traced>, Unanswered> {
    let answers = broker.ask_each(move |worker, _| worker.take_trace(number)).await;
    if let Some(Err(unanswered)) = answers.iter().find(|answer| answer.is_err())
        && answers.iter().all(Result::is_err)
    {
        return Err(*unanswered);
    }
    let mut traced: Vec<Traced> = answers.into_iter().flatten().flatten().collect();
    for traced in &mut traced {
        if let Station::Withheld { session, client_id: client_id @ None, .. } = &mut traced.station {
            let key: SessionKey = *session;
            // Without a name if its worker is late: what was taken is not there a second time.
            let client = broker.ask(key.worker(), move |worker, _| worker.client_of(key)).await;
            *client_id = client.ok().flatten().map(|client| client.client_id);
        }
    }
    Ok(traced)
}

/// Traces that are remembered, with the one that is armed.
const TRACES_KEPT: usize = 4;

/// Stations kept of one trace, and bytes of them. At the limit no more are.
const STATIONS_MAX: usize = 20_000;
const BYTES_MAX: usize = 8 * 1024 * 1024;

/// How often workers are asked what they have noted.
const FETCH_EVERY: Duration = Duration::from_millis(100);

/// How long those are waited for that have not acknowledged, when all messages wanted have come.
const LINGER_MS: u64 = 5000;
