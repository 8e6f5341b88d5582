//! When to send PINGREQ, and when to stop believing in the other end.

use std::time::{Duration, Instant};

/// The keep alive timer of one connection.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// None: switched off.
    interval: Option<Duration>,
    sent: Instant,
    /// When the PINGREQ went out that is not answered yet.
    pinged: Option<Instant>,
}

/// What the timer asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Send PINGREQ.
    Ping,
    /// A whole interval has passed since PINGREQ without an answer.
    Dead,
}

impl KeepAlive {
    pub(super) fn new(interval_s: u16, now: Instant) -> Self {
        let interval = (interval_s > 0).then(|| Duration::from_secs(interval_s.into()));
        Self { interval, sent: now, pinged: None }
    }

    /// A packet was sent. [MQTT-3.1.2-23]
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// Something came: the other end is alive, though the answer to a PINGREQ may still be under way.
    pub(super) fn received(&mut self) {
        self.pinged = None;
    }

    pub(super) fn turn(&mut self, now: Instant) -> Due {
        let Some(interval) = self.interval else { return Due::Nothing };
        match self.pinged {
            Some(pinged) if now >= pinged + interval => Due::Dead,
            None if now >= self.sent + interval => {
                self.pinged = Some(now);
                Due::Ping
            }
            _ => Due::Nothing,
        }
    }

    /// When to call [`Self::turn`] next.
    pub(super) fn next(&self) -> Option<Instant> {
        Some(self.pinged.unwrap_or(self.sent) + self.interval?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_ping_goes_out_when_nothing_was_sent_for_the_interval() {
        let start = Instant::now();
        let mut timer = KeepAlive::new(10, start);
        timer.sent(start + 5 * S);
        assert_eq!(timer.turn(start + 14 * S), Due::Nothing);
        assert_eq!(timer.next(), Some(start + 15 * S));
        assert_eq!(timer.turn(start + 15 * S), Due::Ping);
        timer.sent(start + 15 * S);
        timer.received();
        assert_eq!(timer.turn(start + 24 * S), Due::Nothing);
        assert_eq!(timer.turn(start + 25 * S), Due::Ping);
    }

    #[test]
    fn an_interval_without_an_answer_is_the_end() {
        let start = Instant::now();
        let mut timer = KeepAlive::new(10, start);
        assert_eq!(timer.turn(start + 10 * S), Due::Ping);
        assert_eq!(timer.turn(start + 19 * S), Due::Nothing);
        assert_eq!(timer.next(), Some(start + 20 * S));
        assert_eq!(timer.turn(start + 20 * S), Due::Dead);
    }

    #[test]
    fn nothing_is_ever_due_when_switched_off() {
        let start = Instant::now();
        let mut timer = KeepAlive::new(0, start);
        assert_eq!(timer.next(), None);
        assert_eq!(timer.turn(start + 100_000 * S), Due::Nothing);
    }
}
