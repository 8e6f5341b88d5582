//! Between a whole CONNECT and the core: who the client is.
//!
//! What is known at once is decided at once. Else the connection waits and is not read, until its verdict comes as a
//! letter or its time for a CONNECT is over. A verdict for a connection that is gone is for nobody.

use std::sync::Arc;

use siskin_auth::Verdict;
use siskin_core::{AuthStep, Caller, Cause, Connected, Now, SessionKey};
use siskin_proto::{
    Auth, Connect, Frame, FrameStatus, Packet, PropertiesBuf, Property, Reason, Version, decode,
    decode_connect, frame,
};

use super::connection::{Connection, Identifying, Phase};
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
        let listener = &connection.door.listener;
        self.has_secret |= connect.password.is_some();
        let bytes = [&without_password(&connect), rest].concat();
        let Ok(FrameStatus::Complete(first)) = frame(&bytes, u32::MAX) else { return None };
        let is_proved = is_named && listener.identity_is == IdentityIs::UserName;
        if !listener.authentication && !is_proved {
            return self.let_in(index, first, &bytes, Some(Ticket::anonymous()));
        }
        let request = Gate::request(&connect, listener, &connection.transport, connection.peer, is_named);
        match self.in_force.gate.chain().at_once(&request) {
            Some(Verdict::Allowed(identity)) => {
                return self.let_in(index, first, &bytes, Some(Ticket::of(*identity, None)));
            }
            Some(Verdict::Refused(refused)) => self.turn_back(index, &connect, &refused.into()),
            // [MQTT5 3.1.2-30] What follows has to wait until it is asked for.
            Some(Verdict::Challenge { .. }) | None if request.method.is_some() && !rest.is_empty() => {
                let why = "it did not wait to be asked".to_owned();
                let refused = Refused { reason: Reason::ProtocolError, told: why.clone(), why };
                self.turn_back(index, &connect, &refused);
            }
            Some(Verdict::Challenge { .. }) | None => self.wait_for_verdict(index, request, bytes),
        }
        None
    }

    fn wait_for_verdict(&mut self, index: u32, request: siskin_auth::Request, bytes: Vec<u8>) {
        let serial = self.connections[index as usize].serial;
        let gate = Arc::clone(&self.in_force.gate);
        let done = self.teller(index, serial, &gate);
        let pending = gate.chain().authenticate(request, done);
        let waiting = Identifying { bytes, asked: None, pending: Some(pending) };
        self.connections[index as usize].phase = Phase::Identifying(Box::new(waiting));
    }

    /// What a connection has waited for, if it still does.
    pub(super) fn take_verdict(&mut self, (index, serial): (u32, u32), verdict: Verdict, gate: Arc<Gate>) {
        let connection = self.connections.get_mut(index as usize).filter(|c| c.serial == serial);
        let Some(connection) = connection else { return };
        if let Phase::Open(key) = connection.phase {
            return self.take_renewal(key, index, verdict, gate);
        }
        if !matches!(connection.phase, Phase::Identifying(_)) {
            return;
        }
        let Phase::Identifying(mut waiting) = std::mem::replace(&mut connection.phase, Phase::Opening) else {
            return;
        };
        waiting.pending = None;
        let bytes = std::mem::take(&mut waiting.bytes);
        match verdict {
            Verdict::Allowed(_) if !Arc::ptr_eq(&gate, &self.in_force.gate) => {
                let why = "what it takes to log in has just changed: come again".to_owned();
                let refused = Refused { reason: Reason::ServerBusy, told: why.clone(), why };
                self.turn_back_whole(index, &bytes, &refused);
            }
            Verdict::Allowed(identity) => {
                let ticket = Ticket::of(*identity, first_of(&bytes).and_then(method));
                self.let_in_whole(index, &bytes, ticket);
            }
            Verdict::Refused(refused) => self.turn_back_whole(index, &bytes, &refused.into()),
            Verdict::Challenge { data, conversation } => {
                waiting.asked = Some((gate, conversation));
                self.ask(index, waiting, bytes, &data);
            }
        }
        self.settle_layers(index);
        // What came meanwhile was not read, and nobody says so again.
        self.read_again(index);
    }

    /// Sends AUTH, and waits for the client's answer.
    fn ask(&mut self, index: u32, mut waiting: Box<Identifying>, bytes: Vec<u8>, data: &[u8]) {
        let Some(connect) = first_of(&bytes) else { return self.forget(index) };
        let mut properties = PropertiesBuf::new();
        properties.push(Property::AuthenticationMethod(method(connect).unwrap_or_default())); // [MQTT5 4.12.0-5]
        properties.push(Property::AuthenticationData(data));
        // [MQTT5 4.12.0-2]
        let reason = Reason::ContinueAuthentication;
        let auth = Auth { reason, properties: properties.as_properties() };
        let size_max = connect.properties.maximum_packet_size().unwrap_or(u32::MAX) as usize;
        if auth.encoded_len(connect.version) > size_max {
            let why = "the client takes no packet as large as the question".to_owned();
            let refused = Refused { reason: Reason::PacketTooLarge, told: String::new(), why };
            return self.turn_back(index, &connect, &refused);
        }
        let mut question = Vec::new();
        auth.encode(connect.version, &mut question);
        waiting.bytes = bytes;
        let connection = &mut self.connections[index as usize];
        connection.phase = Phase::Identifying(waiting);
        connection.transport.write_once(&question, &mut self.scratch);
    }

    /// What a client sends that was asked something.
    pub(super) fn take_answer(&mut self, index: u32, answer: Frame<'_>, rest: &[u8]) {
        let connection = &mut self.connections[index as usize];
        let serial = connection.serial;
        let Phase::Identifying(waiting) = &mut connection.phase else { return };
        let Some(((gate, conversation), connect)) = waiting.asked.take().zip(first_of(&waiting.bytes)) else {
            return self.forget(index);
        };
        let data = match decode(answer, Version::V5) {
            Ok(Packet::Auth(auth))
                if auth.reason == Reason::ContinueAuthentication
                    && auth.properties.authentication_method() == method(connect)
                    && rest.is_empty() =>
            {
                auth.properties.authentication_data().unwrap_or_default().to_vec()
            }
            Ok(Packet::Disconnect(_)) => return self.lost(index, Cause::ConnectionLost),
            // [MQTT5 3.1.2-30] [MQTT5 4.12.0-3]
            _ => {
                let why = "not the AUTH that it was asked for".to_owned();
                let refused = Refused { reason: Reason::ProtocolError, told: why.clone(), why };
                let bytes = std::mem::take(&mut waiting.bytes);
                return self.turn_back_whole(index, &bytes, &refused);
            }
        };
        let done = self.teller(index, serial, &gate);
        let pending = gate.chain().proceed(conversation, data, done);
        if let Phase::Identifying(waiting) = &mut self.connections[index as usize].phase {
            waiting.pending = Some(pending);
        }
    }

    /// Has a verdict come by mail.
    fn teller(&self, index: u32, serial: u32, gate: &Arc<Gate>) -> impl FnOnce(Verdict) + Send + use<> {
        let (neighbours, worker) = (Arc::clone(&self.neighbours), usize::from(self.index));
        // With it the chain lives until it has answered, even if another is in force by then.
        let gate = Arc::clone(gate);
        move |verdict| neighbours.mailboxes[worker].post(Letter::Verdict { index, serial, verdict, gate })
    }

    /// Goes on with those who prove once more who they are. [MQTT5 4.12.1]
    pub(super) fn renew(&mut self) {
        let mut auths = Vec::new();
        self.core.take_auths(&mut auths);
        for AuthStep { key, connection: index, client_id, method, data, is_first } in auths {
            let Some(connection) = self.connections.get(index as usize) else { continue };
            if connection.session() != Some(key) {
                continue;
            }
            let (serial, gate) = (connection.serial, &self.in_force.gate);
            if is_first {
                let listener = &connection.door.listener;
                let request = Gate::renewal(client_id, method, data, listener, connection.peer);
                gate.chain().authenticate(request, self.teller(index, serial, gate));
            } else if let Some((gate, conversation)) = self.renewals.remove(&index) {
                gate.chain().proceed(conversation, data, self.teller(index, serial, &gate));
            }
        }
    }

    /// Who was asked something by what is not in force any more cannot answer it.
    pub(super) fn end_renewals(&mut self) {
        for (index, _) in std::mem::take(&mut self.renewals) {
            let session = self.connections.get(index as usize).and_then(Connection::session);
            if let Some(key) = session {
                self.core.disconnect(key, Cause::NotProved, self.now);
            }
        }
        self.apply_closes();
    }

    fn take_renewal(&mut self, key: SessionKey, index: u32, verdict: Verdict, gate: Arc<Gate>) {
        match verdict {
            Verdict::Allowed(identity) => {
                let expires_at = identity.expires_at;
                // The method is that of its CONNECT, which the core has.
                let ticket = Ticket::of(*identity, self.core.method(key).as_deref());
                match expires_at {
                    Some(at) => self.to_expire.set(index, Now::from_millis(at.saturating_mul(1000))),
                    None => self.to_expire.remove(index),
                }
                self.core.authenticated(key, &ticket.identity, self.now);
            }
            Verdict::Refused(_) => self.core.disconnect(key, Cause::NotProved, self.now),
            Verdict::Challenge { data, conversation } => {
                self.renewals.insert(index, (gate, conversation));
                self.core.ask(key, &data, self.now);
            }
        }
        self.apply_closes();
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
        let user_name = identity.user_name.clone();
        let connect = decode_connect(first).ok();
        if let Some(connect) = &connect
            && !self.pass_bans(index, connect, user_name.as_deref())
        {
            return None;
        }
        let connection = &self.connections[index as usize];
        let listener = &connection.door.listener;
        let caller = Caller {
            connection: index,
            origin: connection.peer.into(),
            identity,
            mount_point: listener.mount_point.as_ref(),
        };
        match self.core.connect(first, &caller, self.now) {
            Connected::Accepted(key) => {
                self.connections[index as usize].phase = Phase::Open(key);
                let said = || connect?.user_name.map(Into::into);
                if let Some(name) = user_name.as_deref().map(Into::into).or_else(said) {
                    self.user_names.insert(index, name);
                }
                if let Some(at) = ticket.and_then(|ticket| ticket.expires_at) {
                    self.to_expire.set(index, Now::from_millis(at.saturating_mul(1000)));
                }
                // At once: a connection that this one takes over has the same key until it is closed.
                let taken_over = self.apply_closes();
                self.settle_turnstile(index, first, taken_over);
                self.connections[index as usize].session()
            }
            Connected::Refused { reply, cause, client_id } => {
                self.settle_turnstile(index, first, None);
                // The core has recorded it.
                self.report_turned_away(index, client_id.as_deref(), &cause);
                self.refuse(index, &reply);
                None
            }
            Connected::Elsewhere { worker } => {
                self.connections[index as usize].phase = Phase::Leaving;
                self.drop_partial(index);
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
        match first_of(bytes) {
            Some(connect) => self.turn_back(index, &connect, refused),
            // It was whole and right before.
            None => self.forget(index),
        }
    }

    fn turn_back(&mut self, index: u32, connect: &Connect<'_>, refused: &Refused) {
        self.core.count_refused();
        self.count_turned_back(index, connect);
        self.turn_away(index, Some(connect.client_id), refused);
        self.refuse(index, &refusal(connect, refused.reason, &refused.told));
    }
}

/// The CONNECT that stands first in `bytes`.
fn first_of(bytes: &[u8]) -> Option<Connect<'_>> {
    match frame(bytes, u32::MAX) {
        Ok(FrameStatus::Complete(first)) => decode_connect(first).ok(),
        Ok(FrameStatus::Incomplete { .. }) | Err(_) => None,
    }
}

fn method(connect: Connect<'_>) -> Option<&str> {
    connect.properties.authentication_method()
}
