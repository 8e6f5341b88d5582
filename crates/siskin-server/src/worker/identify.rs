//! Between a whole CONNECT and the core: who the client is.
//!
//! What is known at once is decided at once. Else the connection waits and is not read, until its verdict comes as a
//! letter or its time for a CONNECT is over. A verdict for a connection that is gone is for nobody.

use std::sync::Arc;

use siskin_auth::Verdict;
use siskin_core::{Caller, Cause, Connected, Now, SessionKey};
use siskin_proto::{Connect, Frame, FrameStatus, Reason, decode_connect, frame};

use super::connection::{Identifying, Phase};
use super::terms::{refusal, without_password};
use super::{Leaving, Worker};
use crate::access::{Gate, Refused, Ticket};
use crate::config::IdentityIs;
use crate::mailbox::Letter;

impl Worker {
    /// Finds out who sent the CONNECT in `admitted`, behind which `rest` came. None if the connection does not go on
    /// here and now.
    pub(super) fn identify(
        &mut self,
        index: u32,
        admitted: Frame<'_>,
        is_named: bool,
        rest: &[u8],
    ) -> Option<SessionKey> {
        // The core says what is wrong with it.
        let Ok(connect) = decode_connect(admitted) else {
            return self.let_in(index, admitted, &[], None);
        };
        let connection = &self.connections[index as usize];
        let listener = &self.neighbours.doors[usize::from(connection.door)].listener;
        self.has_secret |= connect.password.is_some();
        let bytes = [&without_password(&connect), rest].concat();
        let Ok(FrameStatus::Complete(first)) = frame(&bytes, u32::MAX) else { return None };
        let is_proved = is_named && listener.identity_is == IdentityIs::UserName;
        if !listener.authentication && !is_proved {
            return self.let_in(index, first, &bytes, Some(Ticket::anonymous()));
        }
        let request = Gate::request(&connect, listener, &connection.transport, connection.peer, is_named);
        match self.neighbours.gate.chain().at_once(&request) {
            Some(Verdict::Allowed(identity)) => {
                return self.let_in(index, first, &bytes, Some(Ticket::of(*identity)));
            }
            Some(Verdict::Refused(refused)) => self.turn_back(index, &connect, &refused.into()),
            Some(Verdict::Challenge { .. }) | None => self.wait_for_verdict(index, request, bytes),
        }
        None
    }

    fn wait_for_verdict(&mut self, index: u32, request: siskin_auth::Request, bytes: Vec<u8>) {
        let serial = self.connections[index as usize].serial;
        let (neighbours, worker) = (Arc::clone(&self.neighbours), usize::from(self.index));
        let done = move |verdict| {
            neighbours.mailboxes[worker].post(Letter::Verdict { index, serial, verdict });
        };
        let pending = self.neighbours.gate.chain().authenticate(request, done);
        let waiting = Identifying { bytes, pending: Some(pending) };
        self.connections[index as usize].phase = Phase::Identifying(Box::new(waiting));
    }

    /// What a connection has waited for, if it still does.
    pub(super) fn take_verdict(&mut self, index: u32, serial: u32, verdict: Verdict) {
        let connection = self.connections.get_mut(index as usize).filter(|c| c.serial == serial);
        let Some(connection) = connection else { return };
        if !matches!(connection.phase, Phase::Identifying(_)) {
            return;
        }
        let Phase::Identifying(mut waiting) = std::mem::replace(&mut connection.phase, Phase::Opening) else {
            return;
        };
        waiting.pending = None;
        let bytes = std::mem::take(&mut waiting.bytes);
        match verdict {
            Verdict::Allowed(identity) => self.let_in_whole(index, &bytes, Ticket::of(*identity)),
            Verdict::Refused(refused) => self.turn_back_whole(index, &bytes, &refused.into()),
            Verdict::Challenge { .. } => {
                let reason = Reason::BadAuthenticationMethod;
                let why = "no enhanced authentication".to_owned();
                self.turn_back_whole(index, &bytes, &Refused { reason, told: why.clone(), why });
            }
        }
        self.settle_layers(index);
        // What came meanwhile was not read, and nobody says so again.
        self.read_again(index);
    }

    /// Lets in a client whose CONNECT is the first in `bytes`.
    pub(super) fn let_in_whole(&mut self, index: u32, bytes: &[u8], ticket: Ticket) {
        // It was whole before.
        let Ok(FrameStatus::Complete(first)) = frame(bytes, u32::MAX) else { return self.forget(index) };
        if self.let_in(index, first, bytes, Some(ticket)).is_some() {
            self.feed_and_account(index, &bytes[first.len..]);
            self.check_ahead(index);
        }
    }

    /// Gives the core a CONNECT, of a client that is who `ticket` says, if that was to be found out. None if the
    /// connection does not go on here; `bytes` are what another worker is to begin with.
    pub(super) fn let_in(
        &mut self,
        index: u32,
        first: Frame<'_>,
        bytes: &[u8],
        ticket: Option<Ticket>,
    ) -> Option<SessionKey> {
        let renamed = ticket.as_ref().and_then(|ticket| ticket.client_id.as_deref()).and_then(|client_id| {
            let connect = decode_connect(first).ok()?;
            Some(without_password(&Connect { client_id, ..connect }))
        });
        let first = match renamed.as_deref().map(|bytes| frame(bytes, u32::MAX)) {
            Some(Ok(FrameStatus::Complete(frame))) => frame,
            _ => first,
        };
        let identity = ticket.as_ref().map(|ticket| ticket.identity.clone()).unwrap_or_default();
        let connection = &self.connections[index as usize];
        let listener = &self.neighbours.doors[usize::from(connection.door)].listener;
        let caller = Caller {
            connection: index,
            origin: connection.peer.into(),
            identity,
            mount_point: listener.mount_point.as_ref(),
        };
        match self.core.connect(first, &caller, self.now) {
            Connected::Accepted(key) => {
                self.connections[index as usize].phase = Phase::Open(key);
                if let Some(at) = ticket.and_then(|ticket| ticket.expires_at) {
                    self.to_expire.set(index, Now::from_millis(at.saturating_mul(1000)));
                }
                // At once: a connection that this one takes over has the same key until it is closed.
                self.apply_closes();
                self.connections[index as usize].session()
            }
            Connected::Refused { reply, cause, client_id } => {
                // The core has recorded it.
                self.report_turned_away(index, client_id.as_deref(), &cause);
                self.refuse(index, &reply);
                None
            }
            Connected::Elsewhere { worker } => {
                self.connections[index as usize].phase = Phase::Leaving;
                let (bytes, ticket) = (bytes.to_vec(), ticket.map(Box::new));
                self.leaving.push(Leaving { index, worker, bytes, ticket });
                None
            }
        }
    }

    /// The time for a CONNECT, and for finding out who sent it, is over.
    pub(super) fn give_up_opening(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let Phase::Identifying(waiting) = &mut connection.phase else {
            self.turn_away(index, None, &Cause::ConnectTimeout);
            return self.forget(index);
        };
        let bytes = std::mem::take(&mut waiting.bytes);
        let reason = Reason::ServerUnavailable;
        let why = "it takes too long to find out who the client is".to_owned();
        self.turn_back_whole(index, &bytes, &Refused { reason, told: why.clone(), why });
    }

    fn turn_back_whole(&mut self, index: u32, bytes: &[u8], refused: &Refused) {
        match frame(bytes, u32::MAX).map(|status| match status {
            FrameStatus::Complete(first) => decode_connect(first).ok(),
            FrameStatus::Incomplete { .. } => None,
        }) {
            Ok(Some(connect)) => self.turn_back(index, &connect, refused),
            // It was whole and right before.
            Ok(None) | Err(_) => self.forget(index),
        }
    }

    fn turn_back(&mut self, index: u32, connect: &Connect<'_>, refused: &Refused) {
        self.core.count_refused();
        self.turn_away(index, Some(connect.client_id), refused);
        self.refuse(index, &refusal(connect, refused.reason, &refused.told));
    }
}
