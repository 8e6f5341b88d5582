//! Whether the workers still take their turns.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::Broker;
use crate::mailbox::Letter;

/// Asks every worker for a sign of life, for those who restart a broker that gives none.
pub struct Watchdog {
    broker: Broker,
    /// By worker, the question that it has not answered yet. A worker that is stuck is not asked again.
    asked: Vec<Option<Receiver<()>>>,
}

impl Watchdog {
    /// One for the workers of `broker`.
    pub fn new(broker: &Broker) -> Self {
        let asked = (0..broker.workers()).map(|_| None).collect();
        Self { broker: broker.clone(), asked }
    }

    /// Waits until all workers have answered, for at most `patience`. The error is those that have not: they have
    /// ended, or one turn of theirs has taken longer than that.
    pub fn check(&mut self, patience: Duration) -> Result<(), Vec<u16>> {
        let deadline = Instant::now() + patience;
        for (mailbox, asked) in self.broker.0.neighbours.mailboxes.iter().zip(&mut self.asked) {
            if asked.is_none() {
                let (answer, answered) = mpsc::sync_channel(1);
                mailbox.post(Letter::Ask(Box::new(move |_, _| {
                    // Who asked may be gone.
                    let _ = answer.try_send(());
                })));
                *asked = Some(answered);
            }
        }
        let mut silent = Vec::new();
        for (worker, asked) in (0..).zip(&mut self.asked) {
            let Some(answered) = asked else { continue };
            match answered.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(()) => *asked = None,
                Err(RecvTimeoutError::Timeout) => silent.push(worker),
                Err(RecvTimeoutError::Disconnected) => {
                    *asked = None;
                    silent.push(worker);
                }
            }
        }
        if silent.is_empty() { Ok(()) } else { Err(silent) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::config::{Config, Durability};
    use crate::server::Server;

    fn start(workers: u16) -> Server {
        let mut config = Config { workers, ..Config::default() };
        config.listeners = vec!["127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()];
        config.store.durability = Durability::Memory;
        Server::start(config).unwrap()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_worker_that_is_stuck_is_told_until_it_goes_on() {
        let server = start(2);
        let mut watchdog = Watchdog::new(server.handle());
        assert_eq!(watchdog.check(LONG), Ok(()));

        let (go_on, stuck) = mpsc::channel::<()>();
        let (reached, is_stuck) = mpsc::channel();
        let mailboxes = &server.handle().0.neighbours.mailboxes;
        mailboxes[1].post(Letter::Ask(Box::new(move |_, _| {
            reached.send(()).unwrap();
            let _ = stuck.recv();
        })));
        is_stuck.recv().unwrap();
        for _ in 0..2 {
            assert_eq!(watchdog.check(Duration::from_millis(20)), Err(vec![1]));
        }
        drop(go_on);
        assert_eq!(watchdog.check(LONG), Ok(()));
        server.stop();
    }

    #[test]
    fn workers_that_have_ended_do_not_answer() {
        let server = start(1);
        let mut watchdog = Watchdog::new(server.handle());
        server.stop();
        assert_eq!(watchdog.check(LONG), Err(vec![0]));
    }
}
