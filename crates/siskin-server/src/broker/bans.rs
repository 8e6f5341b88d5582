//! Who is kept out of a running broker, and put out of it.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::{ANSWER_TIMEOUT, Broker, Unanswered};
use crate::config::{Ban, Banned};
use crate::mailbox::Letter;
use crate::turnstile::TooManyBans;

/// A ban that was made, or not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotBanned {
    /// It is not in force: there are as many as may be.
    TooMany(TooManyBans),
    /// It is in force, but not all workers have said that they have put out who is connected.
    Unanswered(Unanswered),
}

impl Broker {
    /// Keeps somebody out from now on, for a time or for ever, and disconnects who is here. Says how many that were.
    /// It ends with the process.
    pub async fn ban(&self, who: Banned, time: Option<Duration>, reason: &str) -> Result<usize, NotBanned> {
        let who = who.canonical();
        // First the door, then the room: nobody comes in between.
        self.keep_out(who.clone(), time, reason).map_err(NotBanned::TooMany)?;
        tracing::info!("an operator bans the {who}: {reason}");
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let told: Vec<_> = (self.0.neighbours.mailboxes.iter())
            .map(|mailbox| {
                let (done, told) = oneshot::channel();
                mailbox.post(Letter::PutOut(who.clone(), done));
                told
            })
            .collect();
        let mut count = 0;
        for told in told {
            let answer = timeout_at(deadline, told).await.map_err(|_| Unanswered::Late);
            let answer = answer.and_then(|answer| answer.map_err(|_| Unanswered::Stopped));
            count += answer.map_err(NotBanned::Unanswered)?;
        }
        Ok(count)
    }

    /// Keeps somebody out from now on, for a time or for ever. Who is connected stays.
    pub(crate) fn keep_out(
        &self,
        who: Banned,
        time: Option<Duration>,
        reason: &str,
    ) -> Result<(), TooManyBans> {
        let now = self.now();
        let until = time.map(|time| now.plus_ms(time.as_millis().try_into().unwrap_or(u64::MAX)));
        self.in_force().turnstile.ban(Ban { who, until, reason: reason.to_owned() }, now)
    }

    /// Ends a ban; false if there was none.
    pub fn unban(&self, who: &Banned) -> bool {
        let was_banned = self.in_force().turnstile.unban(who, self.now());
        if was_banned {
            tracing::info!("an operator lets the {who} in again");
        }
        was_banned
    }

    /// The bans in force, in no order: those of the configuration, those made since, and those of flapping clients.
    pub fn bans(&self) -> Vec<Ban> {
        self.in_force().turnstile.bans(self.now())
    }
}
