//! Wills: which must come, which must not, and which came.

use std::collections::BTreeMap;
use std::fmt;

use super::super::message::number;

/// The will of client `client` in the broker's life `life`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Will {
    pub(crate) life: u32,
    pub(crate) client: usize,
}

impl Will {
    pub(crate) fn topic(self) -> String {
        format!("siskin-verify/will/{}", self.client)
    }

    pub(crate) fn payload(self) -> String {
        format!("{} {} will", self.life, self.client)
    }

    pub(crate) fn parse(topic: &str, payload: &[u8]) -> Option<Self> {
        let (life, rest) = number(payload)?;
        let (client, rest) = number(rest)?;
        let will = Self { life: u32::try_from(life).ok()?, client: usize::try_from(client).ok()? };
        (rest == b"will" && will.topic() == topic).then_some(will)
    }
}

impl fmt::Display for Will {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the will of client {} connected before kill {}", self.client, self.life)
    }
}

/// A few wills for each life of the broker.
#[derive(Default)]
pub(super) struct Wills(BTreeMap<Will, Fate>);

#[derive(Clone, Copy, Debug)]
struct Fate {
    state: State,
    /// To which subscribers it came, a bit each.
    came: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its client is connected.
    Held,
    /// Its client was connected when the broker was killed.
    Due,
    /// Its client has left in good order.
    Dropped,
}

impl Wills {
    pub(super) fn hold(&mut self, will: Will) {
        self.0.insert(will, Fate { state: State::Held, came: 0 });
    }

    pub(super) fn drop(&mut self, will: Will) {
        if let Some(fate) = self.0.get_mut(&will) {
            fate.state = State::Dropped;
        }
    }

    pub(super) fn kill(&mut self) {
        for fate in self.0.values_mut().filter(|fate| fate.state == State::Held) {
            fate.state = State::Due;
        }
    }

    /// False if there is no such will.
    pub(super) fn deliver(&mut self, subscriber: usize, will: Will) -> bool {
        let fate = self.0.get_mut(&will);
        fate.map(|fate| fate.came |= 1 << subscriber).is_some()
    }

    /// Who of `subscribers` still has to get which will.
    pub(super) fn missing(&self, subscribers: usize) -> impl Iterator<Item = (usize, Will)> + '_ {
        self.select(State::Due, subscribers, false)
    }

    /// Who of `subscribers` got a will that must not come.
    pub(super) fn unwanted(&self, subscribers: usize) -> impl Iterator<Item = (usize, Will)> + '_ {
        self.select(State::Dropped, subscribers, true)
    }

    pub(super) fn checked(&self) -> u64 {
        self.0.values().filter(|fate| fate.state != State::Held).count() as u64
    }

    fn select(&self, state: State, subscribers: usize, came: bool) -> impl Iterator<Item = (usize, Will)> {
        self.0.iter().filter(move |(_, fate)| fate.state == state).flat_map(move |(will, fate)| {
            let is_one = move |place: &usize| (fate.came >> place & 1 == 1) == came;
            (0..subscribers).filter(is_one).map(|place| (place, *will))
        })
    }
}
