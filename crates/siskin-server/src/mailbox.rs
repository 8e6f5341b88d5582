//! How anything gets to a worker from another thread.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use mio::{Registry, Token, Waker};
use siskin_auth::Verdict;
use siskin_core::{Mail, Now};
use tokio::sync::oneshot;

use crate::access::{Gate, Ticket};
use crate::budget::{Easing, Surveying};
use crate::config::Banned;
use crate::in_force::InForce;
use crate::transport::{Arrival, Bound, Door};

/// What a worker may find in its mailbox.
pub(crate) enum Letter {
    /// A transport that was just accepted.
    Accepted(Arrival),
    /// A transport whose session this worker owns, with the bytes that are yet to be handled, and who its client is if
    /// that is known by now.
    HandedOver(Arrival, Vec<u8>, Option<Box<Ticket>>),
    /// What was found out about the client of a transport of this worker.
    Verdict {
        /// The transport's number.
        index: u32,
        /// Which of the transports of that number.
        serial: u32,
        /// Whether it is let in.
        verdict: Verdict,
        /// Who has found it out, and goes on if the client was asked something.
        gate: Arc<Gate>,
    },
    /// There are other rules of what clients may do.
    NewRules,
    /// What is in force now, the core's limits too, which are where all workers look for them; and for the worker that
    /// accepts, sockets that are new to it.
    InForce(Arc<InForce>, Vec<Bound>),
    /// The worker that accepts is to close the sockets of these doors now, and to say when they are; not if whoever asked has
    /// set the flag, because it took too long.
    CloseDoors(Vec<Arc<Door>>, Arc<AtomicBool>, Sender<()>),
    /// Messages for this worker's sessions.
    Mail(Mail),
    /// A question about this worker's sessions, or something that an operator wants done with them.
    Ask(Ask),
    /// Somebody wants to know what this worker holds in memory.
    Survey(Surveying),
    /// Memory is as short as this says.
    Ease(Box<Easing>),
    /// These may not be here any more. Whoever asks hears how many were disconnected.
    PutOut(Banned, oneshot::Sender<usize>),
    /// The broker is about to stop: accept nobody, publish the wills, then say so.
    PublishWills(Sender<()>),
    /// The broker stops: end all connections and return.
    Stop,
}

/// What a worker runs for somebody else, between its own work: short, and never waiting.
pub(crate) type Ask = Box<dyn FnOnce(&mut siskin_core::Worker, Now) + Send>;

/// One worker's mailbox. Letters are read in the order in which they were posted.
pub(crate) struct Mailbox {
    /// None when nobody reads them any more.
    letters: Mutex<Option<Vec<Letter>>>,
    /// Bytes of the messages in them.
    mail_bytes: AtomicUsize,
    waker: Waker,
}

impl Mailbox {
    /// The mailbox of the worker that polls `registry`, which hears of letters by `token`.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let (letters, mail_bytes) = (Mutex::new(Some(Vec::new())), AtomicUsize::new(0));
        Ok(Self { letters, mail_bytes, waker: Waker::new(registry, token)? })
    }

    /// Leaves a letter, and wakes the worker unless somebody else just did. Where the worker is gone the letter is
    /// dropped, and whoever waits for an answer hears of it.
    pub(crate) fn post(&self, letter: Letter) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(waiting) = letters.as_mut() else { return };
        let was_empty = waiting.is_empty();
        if let Letter::Mail(mail) = &letter {
            self.mail_bytes.fetch_add(mail.bytes(), Ordering::Relaxed);
        }
        waiting.push(letter);
        drop(letters);
        // A write to an eventfd fails only when its counter is full, and then it is readable anyway.
        if was_empty && let Err(error) = self.waker.wake() {
            tracing::error!("a worker could not be woken: {error}");
        }
    }

    /// Wakes the worker although there is no letter: the store has something for it.
    pub(crate) fn nudge(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!("a worker could not be woken: {error}");
        }
    }

    /// Takes all letters; `into` is empty and lends its memory.
    pub(crate) fn open(&self, into: &mut Vec<Letter>) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(letters) = letters.as_mut() {
            mem::swap(letters, into);
            self.mail_bytes.store(0, Ordering::Relaxed);
        }
    }

    /// Whether more messages lie here unread than should.
    pub(crate) fn is_full(&self) -> bool {
        self.mail_bytes.load(Ordering::Relaxed) > MAIL_BYTES_MAX
    }

    /// Drops the letters that are here and all that may come.
    pub(crate) fn close(&self) {
        let letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(letters);
    }
}

/// Bytes of messages that may lie unread before those who send more of them are made to wait.
const MAIL_BYTES_MAX: usize = 8 * 1024 * 1024;
