//! The memory budget: one thread watches how much the process holds, and has the workers ease it in time.
//!
//! What counts is what the process holds of the machine (its resident memory). As an allocator keeps what was given back
//! to it, that alone would never be content: nothing is done unless what the broker knows to hold is a good part of the
//! budget, too.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use siskin_core::{Holdings, Pressure};

use crate::broker::Broker;
use crate::mailbox::Letter;
use crate::memory::{self, Resident};

/// What the process holds in memory, and how much it may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryView {
    /// Bytes that it should not exceed; none if that is not limited.
    pub max: Option<u64>,
    /// Bytes that are resident.
    pub resident: u64,
    /// What is done about it.
    pub pressure: Pressure,
    /// Sessions, connected or not.
    pub sessions: u64,
    /// Bytes that clients have chosen to have kept for them: ids, wills, topics with an alias.
    pub chosen: u64,
    /// Subscriptions of these.
    pub subscriptions: u64,
    /// Bytes of their filters.
    pub filters: u64,
    /// Bytes of messages that wait in queues. Those that several sessions wait for count for each.
    pub queued: u64,
    /// Bytes of the places in queues, also of messages that lie in the store alone.
    pub places: u64,
    /// Bytes of messages that were sent and not acknowledged. Those of several sessions count for each.
    pub in_flight: u64,
    /// Bytes that wait for connections.
    pub unread: u64,
    /// Bytes of packets of which not all has come.
    pub partial: u64,
    /// Bytes of retained messages.
    pub retained: u64,
    /// Bytes of what is told of clients that are gone.
    pub stories: u64,
    /// Bytes that wait for the disk.
    pub unsafe_bytes: u64,
}

impl MemoryView {
    /// What the bytes are for, as far as the broker knows. Sessions and subscriptions count with what they usually take, and what
    /// clients have put into them.
    pub fn held(&self) -> [(&'static str, u64); 10] {
        [
            ("sessions", self.sessions * SESSION_BYTES + self.chosen),
            ("subscriptions", self.subscriptions * SUBSCRIPTION_BYTES + self.filters),
            ("queued", self.queued),
            ("places", self.places),
            ("in_flight", self.in_flight),
            ("unread", self.unread),
            ("partial", self.partial),
            ("retained", self.retained),
            ("stories", self.stories),
            ("unsafe", self.unsafe_bytes),
        ]
    }

    /// The sum of these.
    pub fn accounted(&self) -> u64 {
        self.held().iter().map(|(_, bytes)| bytes).sum()
    }
}

/// What one worker holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    pub(crate) holdings: Holdings,
    pub(crate) partial: u64,
}

/// A survey on its way through a worker.
pub(crate) struct Surveying {
    pub(crate) survey: Survey,
    pub(crate) next: usize,
    pub(crate) answer: SyncSender<Survey>,
}

/// What a worker is to do about memory.
pub(crate) struct Easing {
    pub(crate) pressure: Pressure,
    /// What it holds itself.
    pub(crate) holdings: Holdings,
    /// So much of it should go.
    pub(crate) bytes: u64,
}

/// The latest view, for whoever asks.
#[derive(Debug)]
pub(crate) struct Latest {
    view: Mutex<MemoryView>,
    partial_max: AtomicUsize,
}

impl Latest {
    pub(crate) fn get(&self) -> MemoryView {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes a worker may hold of packets of which not all has come.
    pub(crate) fn partial_max(&self) -> usize {
        self.partial_max.load(Ordering::Relaxed)
    }

    fn set(&self, view: MemoryView, workers: usize) {
        let partial_max = view.max.map_or(usize::MAX, |max| part(max, PARTIAL_PERCENT) as usize / workers);
        self.partial_max.store(partial_max, Ordering::Relaxed);
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = view;
    }
}

impl Default for Latest {
    fn default() -> Self {
        Self { view: Mutex::default(), partial_max: AtomicUsize::new(usize::MAX) }
    }
}

/// Watches for as long as the sender that it gives lives.
pub(crate) fn watch(broker: &Broker) -> io::Result<(mpsc::Sender<()>, JoinHandle<()>)> {
    let (living, watched) = mpsc::channel::<()>();
    let broker = broker.clone();
    let thread = thread::Builder::new().name("siskin-memory".to_owned()).spawn(move || {
        let mut watch = Watch {
            broker,
            pressure: Pressure::Calm,
            surveyed: None,
            told: None,
            resident: Resident::open(),
            workers: Vec::new(),
        };
        let mut pause = SOON;
        while watched.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            pause = watch.look();
        }
    })?;
    Ok((living, thread))
}

struct Watch {
    broker: Broker,
    pressure: Pressure,
    surveyed: Option<Instant>,
    /// When the log last had a line of it.
    told: Option<Instant>,
    resident: Resident,
    workers: Vec<Asked>,
}

/// What is known of one worker.
#[derive(Default)]
struct Asked {
    /// What it said last.
    last: Survey,
    /// What it is yet to say.
    answered: Option<mpsc::Receiver<Survey>>,
    /// Whether what it said last has not been gone by yet.
    is_new: bool,
}

impl Watch {
    /// Looks once, does what is to be done, and says how long to wait for the next time.
    fn look(&mut self) -> Duration {
        let max = budget(self.broker.config().memory_max);
        let resident = self.resident.bytes();
        let mut view = MemoryView { resident, max, ..self.broker.memory() };
        // It is short when both are used up.
        let room = |percent, used: u64| max.map_or(u64::MAX, |max| part(max, percent).saturating_sub(used));
        let pause = |room: u64| Duration::from_nanos(room / BYTES_PER_NANO).clamp(SOON, LATER);
        let soon = pause(room(SHORT, view.resident));
        let is_due = self.surveyed.is_none_or(|at| at.elapsed() >= SURVEY_EVERY);
        if room(SHORT, view.resident) > 0 && !is_due && self.pressure == Pressure::Calm {
            self.publish(view);
            return soon;
        }
        let surveys = self.survey();
        self.surveyed = Some(Instant::now());
        let sum = |bytes: fn(&Survey) -> u64| surveys.iter().map(bytes).sum();
        view.sessions = sum(|survey| survey.holdings.sessions);
        view.queued = sum(|survey| survey.holdings.queued);
        view.places = sum(|survey| survey.holdings.places);
        view.in_flight = sum(|survey| survey.holdings.in_flight);
        view.chosen = sum(|survey| survey.holdings.chosen);
        view.unread = sum(|survey| survey.holdings.unread);
        view.partial = sum(|survey| survey.partial);
        view.subscriptions = self.broker.shared().router.subscriptions() as u64;
        view.filters = self.broker.shared().router.filter_bytes() as u64;
        view.unsafe_bytes = self.broker.unsafe_bytes();
        view.stories = self.broker.shared().gone_size().1;
        view.retained =
            self.broker.shared().retained.read().unwrap_or_else(PoisonError::into_inner).bytes() as u64;
        view.pressure = pressure(&view, self.pressure);
        self.publish(view);
        self.tell(&view);
        if view.pressure != Pressure::Calm || self.pressure != Pressure::Calm {
            self.ease(&view, surveys);
        }
        self.pressure = view.pressure;
        // Workers are to have most of their time for clients.
        let soon = soon.max(pause(room(KNOWN_SHORT, view.accounted())));
        soon.max(PER_SESSION * view.sessions.try_into().unwrap_or(u32::MAX))
    }

    fn publish(&self, view: MemoryView) {
        let neighbours = self.broker.neighbours();
        neighbours.memory.set(view, neighbours.mailboxes.len());
    }

    /// What each worker holds. One that does not answer in time is taken to hold what it did before.
    fn survey(&mut self) -> Vec<Survey> {
        let mailboxes = &self.broker.neighbours().mailboxes;
        self.workers.resize_with(mailboxes.len(), Asked::default);
        for (worker, mailbox) in self.workers.iter_mut().zip(mailboxes) {
            // One question at a time, or who is late would ever be later.
            worker.answered.get_or_insert_with(|| {
                let (answer, answered) = mpsc::sync_channel(1);
                mailbox.post(Letter::Survey(Surveying { survey: Survey::default(), next: 0, answer }));
                answered
            });
        }
        let until = Instant::now() + PATIENCE;
        let answer = |worker: &mut Asked| {
            let left = until.saturating_duration_since(Instant::now());
            worker.is_new = false;
            match worker.answered.as_ref().map(|answered| answered.recv_timeout(left)) {
                Some(Ok(survey)) => {
                    *worker = Asked { last: survey, answered: None, is_new: true };
                }
                Some(Err(RecvTimeoutError::Disconnected)) => worker.answered = None,
                Some(Err(RecvTimeoutError::Timeout)) | None => {}
            }
            worker.last.clone()
        };
        self.workers.iter_mut().map(answer).collect()
    }

    /// Tells the workers, each of which gives up its part of what is too much.
    fn ease(&self, view: &MemoryView, surveys: Vec<Survey>) {
        let too_much = too_much(view);
        let movable = (view.queued + view.unread + view.partial).max(1);
        let workers = self.broker.neighbours().mailboxes.iter().zip(&self.workers);
        for ((mailbox, worker), survey) in workers.zip(surveys) {
            let own = survey.holdings.queued + survey.holdings.unread + survey.partial;
            // Nothing twice because of what was said once.
            let bytes = match worker.is_new {
                true => (u128::from(too_much) * u128::from(own) / u128::from(movable)) as u64,
                false => 0,
            };
            let easing = Easing { pressure: view.pressure, holdings: survey.holdings, bytes };
            mailbox.post(Letter::Ease(Box::new(easing)));
        }
    }

    fn tell(&mut self, view: &MemoryView) {
        let is_new = view.pressure != self.pressure;
        let is_old = self.told.is_none_or(|at| at.elapsed() >= TELL_EVERY);
        if !is_new && (view.pressure == Pressure::Calm || !is_old) {
            return;
        }
        self.told = Some(Instant::now());
        let (resident, max) = (mebibytes(view.resident), mebibytes(view.max.unwrap_or(0)));
        let parts = format!(
            "{} MiB in queues, {} MiB not acknowledged, {} MiB not read by clients, {} MiB of packets half sent, {} MiB retained, {} sessions, \
             {} subscriptions",
            mebibytes(view.queued),
            mebibytes(view.in_flight),
            mebibytes(view.unread),
            mebibytes(view.partial),
            mebibytes(view.retained),
            view.sessions,
            view.subscriptions
        );
        match view.pressure {
            Pressure::Calm => tracing::info!("memory: {resident} MiB of {max} MiB: there is room again"),
            Pressure::Short => tracing::warn!(
                "memory is short: {resident} MiB of {max} MiB ({parts}); queues leave memory for the store, and slow \
                 readers lose QoS 0 sooner"
            ),
            Pressure::Critical => tracing::warn!(
                "no memory is left: {resident} MiB of {max} MiB ({parts}); nobody new is let in, publishers wait, and \
                 what waits in memory alone is dropped"
            ),
        }
    }
}

/// What is to be done, given what is being done.
fn pressure(view: &MemoryView, before: Pressure) -> Pressure {
    let Some(max) = view.max else { return Pressure::Calm };
    // Each holds until it is clearly over.
    let limit = |percent: u64, is_there: bool| part(max, if is_there { percent - SLACK } else { percent });
    let holds = |percent, known, level| {
        let is_there = before >= level;
        view.resident >= limit(percent, is_there) && view.accounted() >= limit(known, is_there)
    };
    if holds(CRITICAL, KNOWN_CRITICAL, Pressure::Critical) {
        Pressure::Critical
    } else if holds(SHORT, KNOWN_SHORT, Pressure::Short) {
        Pressure::Short
    } else {
        Pressure::Calm
    }
}

/// Bytes that should go so that there is room again.
fn too_much(view: &MemoryView) -> u64 {
    let Some(max) = view.max else { return 0 };
    let resident = view.resident.saturating_sub(part(max, SHORT - SLACK));
    resident.min(view.accounted().saturating_sub(part(max, KNOWN_SHORT - SLACK)))
}

/// The budget that the setting means: none if it is 0, of the machine's if it is [`AUTO`].
fn budget(setting: u64) -> Option<u64> {
    match setting {
        NONE => None,
        AUTO => memory::available_bytes().map(|bytes| part(bytes, AUTO_PERCENT)),
        bytes => Some(bytes),
    }
}

fn part(max: u64, percent: u64) -> u64 {
    max / 100 * percent
}

fn mebibytes(bytes: u64) -> u64 {
    bytes >> 20
}

/// Of `memory_max`: as much as there is.
pub const NONE: u64 = 0;

/// Of `memory_max`: what the machine, or the group of processes that it is in, can give.
pub const AUTO: u64 = 1;

/// The least that a broker can be told to keep to, in bytes.
pub(crate) const MIN: u64 = 16 << 20;

/// The part of the machine's memory that a broker may have to whom nobody gave a budget.
const AUTO_PERCENT: u64 = 80;

/// Percent of the budget that are resident when memory is short, and what is known of it must then be.
const SHORT: u64 = 80;
const KNOWN_SHORT: u64 = 40;

/// The same for when nothing is left.
const CRITICAL: u64 = 90;
const KNOWN_CRITICAL: u64 = 50;

/// Percent of the budget that may lie in packets of which not all has come. These come as fast as memory can be written,
/// too fast for looking now and then.
const PARTIAL_PERCENT: u64 = 25;

/// Percent below those at which it is over.
const SLACK: u64 = 10;

/// It is looked again before what there is room for can have come.
const BYTES_PER_NANO: u64 = 4;
const SOON: Duration = Duration::from_millis(1);
const LATER: Duration = Duration::from_millis(500);

/// Some ten times what a survey costs.
const PER_SESSION: Duration = Duration::from_nanos(500);

/// Who holds what is counted so often at least, for those who look.
const SURVEY_EVERY: Duration = Duration::from_secs(10);

/// The log has a line so often while there is no room.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How long a survey may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a session and its connection take.
const SESSION_BYTES: u64 = 800;

/// What a subscription takes, in its session and in the router.
pub const SUBSCRIPTION_BYTES: u64 = 190;

#[cfg(test)]
mod tests {
    use super::*;

    fn view(resident: u64, queued: u64) -> MemoryView {
        MemoryView { max: Some(1000), resident, queued, ..MemoryView::default() }
    }

    #[test]
    fn pressure_rises_with_what_is_held_and_goes_when_there_is_clearly_room() {
        use Pressure::{Calm, Critical, Short};
        for (resident, queued, before, expected) in [
            (799, 700, Calm, Calm),
            (800, 700, Calm, Short),
            (899, 700, Short, Short),
            (900, 700, Short, Critical),
            (810, 700, Critical, Critical),
            (799, 700, Critical, Short),
            (700, 700, Short, Short),
            (699, 700, Short, Calm),
            // What was given back is not held by anybody.
            (950, 300, Calm, Calm),
            (950, 450, Calm, Short),
            (950, 290, Critical, Calm),
        ] {
            assert_eq!(pressure(&view(resident, queued), before), expected, "{resident} {queued} {before:?}");
        }
        let unlimited = MemoryView { max: None, ..view(u64::MAX, u64::MAX / 2) };
        assert_eq!(pressure(&unlimited, Calm), Calm);
    }

    #[test]
    fn no_more_goes_than_is_too_much() {
        assert_eq!(too_much(&view(900, 800)), 200);
        assert_eq!(too_much(&view(900, 350)), 50);
        assert_eq!(too_much(&view(600, 600)), 0);
    }

    #[test]
    fn a_budget_is_none_a_number_or_a_part_of_what_there_is() {
        assert_eq!((budget(0), budget(1 << 30)), (None, Some(1 << 30)));
        let (auto, all) = (budget(AUTO).unwrap(), memory::available_bytes().unwrap());
        assert!(auto < all && auto > all / 2, "{auto} of {all}");
    }
}
