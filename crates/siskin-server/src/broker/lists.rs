//! Lists of what workers own, in pages that no worker is held up by.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::str::FromStr;
use std::task::Poll;

use siskin_core::{ClientSubscription, ClientView, SessionKey, SubscriptionView};

use super::{Broker, Unanswered};

/// Where a list goes on. As text it is what a client of the HTTP API gives back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    worker: u16,
    place: u32,
    /// Within the session of that place.
    item: u32,
}

/// A part of a list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// Its items. There may be few of them, or none, although more follow.
    pub items: Vec<T>,
    /// Where the list goes on, unless this is its end.
    pub next: Option<Cursor>,
}

impl Broker {
    /// Up to `most` sessions for which `is_wanted` says so, from `from` on. Sessions that come and go meanwhile may be
    /// missed, the others are there once.
    pub async fn clients(
        &self,
        from: Cursor,
        most: usize,
        is_wanted: impl Fn(&ClientView) -> bool + Clone + Send + 'static,
    ) -> Result<Page<ClientView>, Unanswered> {
        let mut items = Vec::new();
        let mut next = Some(from);
        for _ in 0..ASKS_PER_PAGE {
            let Some(Cursor { worker, place, .. }) = next else { break };
            if worker >= self.workers() {
                return Ok(Page { items, next: None });
            }
            let is_wanted = is_wanted.clone();
            let room = (most - items.len()).min(VIEWS_PER_ASK);
            let (found, after) =
                self.ask(worker, move |core, _| core.clients(place, room, is_wanted)).await?;
            items.extend(found);
            next = self.follow(worker, after.map(|place| (place, 0)));
            if items.len() >= most {
                break;
            }
        }
        Ok(Page { items, next })
    }

    /// Up to `most` subscriptions with those who have them, from `from` on.
    pub async fn subscriptions(
        &self,
        from: Cursor,
        most: usize,
        is_wanted: impl Fn(&str, &SubscriptionView) -> bool + Clone + Send + 'static,
    ) -> Result<Page<ClientSubscription>, Unanswered> {
        let mut items = Vec::new();
        let mut next = Some(from);
        for _ in 0..ASKS_PER_PAGE {
            let Some(Cursor { worker, place, item }) = next else { break };
            if worker >= self.workers() {
                return Ok(Page { items, next: None });
            }
            let is_wanted = is_wanted.clone();
            let room = (most - items.len()).min(VIEWS_PER_ASK);
            let (found, after) = self
                .ask(worker, move |core, _| core.subscriptions_from((place, item), room, is_wanted))
                .await?;
            items.extend(found);
            next = self.follow(worker, after);
            if items.len() >= most {
                break;
            }
        }
        Ok(Page { items, next })
    }

    /// The session of `client_id`.
    pub async fn client(&self, client_id: &str) -> Result<Option<ClientView>, Unanswered> {
        let view = |core: &mut siskin_core::Worker, key: SessionKey, _| core.client_of(key);
        Ok(self.ask_owner(client_id, view).await?.flatten())
    }

    /// Where to go on after a part of a worker's share.
    fn follow(&self, worker: u16, after: Option<(u32, u32)>) -> Option<Cursor> {
        match after {
            Some((place, item)) => Some(Cursor { worker, place, item }),
            None => (worker + 1 < self.workers()).then_some(Cursor { worker: worker + 1, place: 0, item: 0 }),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.worker, self.place, self.item)
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a cursor that a list gave");
        let mut parts = text.split('.');
        let mut part = || parts.next().ok_or_else(wrong);
        let worker = part()?.parse().map_err(|_| wrong())?;
        let place = part()?.parse().map_err(|_| wrong())?;
        let item = part()?.parse().map_err(|_| wrong())?;
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self { worker, place, item })
    }
}

/// What all of `futures` come to, in their order.
pub(super) async fn join_all<F: Future + Unpin>(mut futures: Vec<F>) -> Vec<F::Output> {
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let Poll::Ready(ready) = Pin::new(future).poll(context)
            {
                *output = Some(ready);
            }
        }
        if outputs.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

/// Views made in one turn of a worker: about a third of a millisecond.
const VIEWS_PER_ASK: usize = 500;

/// Questions asked for one page; one that wants what few sessions have may be short, or empty.
const ASKS_PER_PAGE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        let cursor = Cursor { worker: 3, place: u32::MAX, item: 7 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "1", "1.2", "1.2.3.4", "1.2.x", "-1.2.3", "1.2.99999999999"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
