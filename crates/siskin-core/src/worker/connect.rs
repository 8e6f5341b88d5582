//! CONNECT: who comes in, to which session, and what it is told.

use std::sync::Arc;

use siskin_proto::delivery::OutboundAliases;
use siskin_proto::{
    ConnAck, Connect, DecodeError, Frame, Packet, PacketKind, Properties, PropertiesBuf, Property, Qos,
    Reason, TopicName, Version, decode_connect,
};

use super::end::{keep_session, keep_will};
use super::publish::{is_reserved, is_too_deep};
use super::{Worker, silence_ms_max};
use crate::access::{Identity, Standing};
use crate::cause::Cause;
use crate::durable::{Promise, Then};
use crate::event::{Ended, Event};
use crate::mount_point::MountPoint;
use crate::out_buffer::OutBuffer;
use crate::pressure::Pressure;
use crate::recorder::{Origin, What};
use crate::session::{Connection, Lasting, Renewal, Session, SessionKey, StoredWill};
use crate::time::Now;
use crate::timer::Timer;

/// What its driver knows of a new transport.
#[derive(Clone, Debug, Default)]
pub struct Caller<'a> {
    /// The driver's number of it.
    pub connection: u32,
    /// Where it comes from.
    pub origin: Origin,
    /// Who its client is.
    pub identity: Identity,
    /// What stands before the topics that its client knows, if they are not the broker's.
    pub mount_point: Option<&'a MountPoint>,
}

/// What became of a first frame.
#[derive(Debug)]
pub enum Connected {
    /// The connection belongs to this session now; its CONNACK waits to be written.
    Accepted(SessionKey),
    /// Send `reply`, which may be empty, and close.
    Refused {
        /// The last bytes for the peer.
        reply: Vec<u8>,
        /// Why.
        cause: Cause,
        /// The client id it gave, if it came that far.
        client_id: Option<Arc<str>>,
    },
    /// The session is owned by another worker: hand it the transport and all unread bytes, this frame
    /// first, and let it connect again.
    Elsewhere {
        /// The owner.
        worker: u16,
    },
}

/// What to send before closing a transport whose first bytes are no acceptable CONNECT. [MQTT-3.1.4-1]
pub fn refuse_first(error: &DecodeError, version: Option<Version>) -> Vec<u8> {
    match (error.reason(), version) {
        // [MQTT-3.1.2-2] [MQTT5 3.1.2-2] In the old form, which clients of any version understand.
        (Reason::UnsupportedProtocolVersion, _) => {
            connack(Version::V3_1_1, Reason::UnsupportedProtocolVersion)
        }
        (reason, Some(Version::V5)) => connack(Version::V5, reason),
        _ => Vec::new(),
    }
}

fn connack(version: Version, reason: Reason) -> Vec<u8> {
    let mut bytes = Vec::new();
    // [MQTT-3.2.2-4] [MQTT5 3.2.2-6]
    let packet = ConnAck { session_present: false, reason, properties: Properties::EMPTY };
    packet.encode(version, &mut bytes);
    bytes
}

fn accepted(session_present: bool, terms: &Terms) -> ConnAck<'_> {
    ConnAck { session_present, reason: Reason::Success, properties: terms.told.as_properties() }
}

/// Bytes of the largest packet that the client takes.
fn packet_size_max(connect: &Connect<'_>) -> u32 {
    connect.properties.maximum_packet_size().unwrap_or(u32::MAX)
}

/// What a CONNECT comes to before it is known whether a session waits for it.
struct Terms {
    expiry_s: u32,
    keep_alive_s: u16,
    receive_maximum: u16,
    packet_size_max: u32,
    /// What a 5.0 client is told of it.
    told: PropertiesBuf,
}

/// What a CONNECT has come to.
#[derive(Clone, Copy)]
struct Opening {
    /// Whose connection it takes over.
    took_over: Option<Origin>,
    session_present: bool,
    /// Whether its CONNACK promises what is not safe yet.
    must_wait: bool,
}

impl Worker {
    /// The first frame of a new transport.
    pub fn connect(&mut self, frame: Frame<'_>, caller: &Caller<'_>, now: Now) -> Connected {
        self.turn.tracer.begin_turn(now);
        let &Caller { origin, mount_point, ref identity, .. } = caller;
        let mut connect = match decode_connect(frame) {
            Ok(connect) => connect,
            Err(error) => {
                self.turn.stats.refused.add(1);
                let reply = refuse_first(&error, announced_version(frame));
                let cause = Cause::Malformed(error);
                self.turned_away(origin, None, &cause.to_string(), now);
                return Connected::Refused { reply, cause, client_id: None };
            }
        };
        let will_topic = match (mount_point, &connect.will) {
            (Some(mount_point), Some(will)) => mount_point.name(will.topic.as_str()).map(Some),
            _ => Ok(None),
        };
        match (&will_topic, &mut connect.will) {
            (Ok(Some(topic)), Some(will)) => {
                will.topic = TopicName::parse(topic).expect("a whole name was parsed when it was made");
            }
            (Err(violation), _) => return self.refuse(&connect, origin, violation.reason(), now),
            _ => {}
        }
        if let Some(reason) = self.refusal_of(&connect, identity) {
            return self.refuse(&connect, origin, reason, now);
        }
        let assigned = connect.client_id.is_empty();
        let client_id = match assigned {
            true => self.shared.assign_client_id(),
            false => Arc::from(connect.client_id),
        };
        let terms = self.terms(&connect, assigned.then_some(&*client_id), identity);
        let accepted = accepted(false, &terms);
        // [MQTT5 3.1.2-24] A client that cannot even be told its terms; before anything is done for it.
        if accepted.encoded_len(connect.version) > terms.packet_size_max as usize {
            return self.refuse(&connect, origin, Reason::PacketTooLarge, now);
        }
        let is_lasting = terms.expiry_s > 0 && self.turn.durable.is_on();
        let health = self.turn.durable.health();
        // Who comes back to what is kept for him takes it, and so makes room.
        let comes_back = || !connect.clean_start && self.shared.registry.owner(&client_id).is_some();
        if is_lasting && !health.may_promise() && !(health.may_make_room() && comes_back()) {
            return self.refuse(&connect, origin, Reason::ServerUnavailable, now);
        }
        // Also to throw it away.
        let has_session = || self.shared.registry.owner(&client_id).is_some();
        if self.turn.pressure == Pressure::Critical && !has_session() {
            return self.refuse(&connect, origin, Reason::ServerBusy, now);
        }
        let standing = self.shared.standing(identity, &client_id);
        if matches!(standing, Standing::Unknown) {
            return self.refuse(&connect, origin, Reason::NotAuthorized, now);
        }
        let next = self.sessions.next_key();
        let owner = self.shared.registry.claim(&client_id, next);
        if let Some(owner) = owner
            && owner.worker() != self.index
        {
            return Connected::Elsewhere { worker: owner.worker() };
        }
        // That a session is over is a promise too: it must not come back.
        let may_begin = !is_lasting || health.may_promise();
        let (may_enter, had_lasted) = match owner.map(|key| self.sessions.get(key)) {
            None => (true, false),
            Some(Some(session)) if session.lasting.is_some() => (health.may_make_room(), true),
            Some(Some(_)) => (may_begin, false),
            // It has ended, which is not safe yet.
            Some(None) => (may_begin && health.may_make_room(), true),
        };
        if !may_enter {
            return self.refuse(&connect, origin, Reason::ServerUnavailable, now);
        }
        let stats = Arc::clone(&self.turn.stats);
        stats.packets_received[PacketKind::Connect as usize].add(1);
        stats.bytes_received.add(frame.len as u64);
        let before = owner.and_then(|key| self.sessions.get(key)).and_then(|s| s.connection.as_deref());
        let took_over = before.map(|connection| connection.origin);
        let session_present =
            owner.is_some_and(|key| self.prepare_session(key, connect.clean_start, origin, now));
        let key = match owner {
            Some(key) if session_present => key,
            _ => self.begin_session(&client_id, connect.version, is_lasting),
        };
        self.set_pass(key, identity, standing);
        // The will of a session that does not last is kept too, but a store in trouble keeps nobody out.
        let has_kept_will = connect.will.is_some() && self.turn.durable.is_on();
        let must_wait = is_lasting || had_lasted || has_kept_will && health.may_promise();
        let opening = Opening { took_over, session_present, must_wait };
        self.open(key, &connect, &terms, (caller, opening), now);
        Connected::Accepted(key)
    }

    /// Counts a CONNECT that the driver has refused.
    pub fn count_refused(&self) {
        self.turn.stats.refused.add(1);
    }

    fn refuse(&mut self, connect: &Connect<'_>, origin: Origin, reason: Reason, now: Now) -> Connected {
        self.turn.stats.refused.add(1);
        self.turned_away(origin, Some(connect.client_id), &reason.to_string(), now);
        let mut reply = connack(connect.version, reason);
        // [MQTT5 3.1.2-24]
        if reply.len() > packet_size_max(connect) as usize {
            reply.clear();
        }
        let client_id = Some(Arc::from(connect.client_id));
        Connected::Refused { reply, cause: Cause::Refused(reason), client_id }
    }

    /// Why a CONNECT is refused.
    fn refusal_of(&self, connect: &Connect<'_>, identity: &Identity) -> Option<Reason> {
        let limits = &self.turn.limits;
        // [MQTT5 4.12.0-1] Nobody has gone through with it.
        if connect.properties.authentication_method() != identity.method.as_deref() {
            return Some(Reason::BadAuthenticationMethod);
        }
        // [MQTT-3.1.3-8] and 3.1, which knows no empty client id at all.
        let has_no_id = connect.client_id.is_empty();
        if has_no_id
            && (connect.version == Version::V3_1
                || (connect.version == Version::V3_1_1 && !connect.clean_start))
        {
            return Some(Reason::ClientIdentifierNotValid);
        }
        let will = connect.will.as_ref()?;
        if will.qos > limits.max_qos {
            return Some(Reason::QosNotSupported); // [MQTT5 3.2.2-12]
        }
        if will.properties.raw().len() > limits.properties_bytes_max as usize {
            return Some(Reason::QuotaExceeded);
        }
        if will.retain && !limits.retain_available {
            return Some(Reason::RetainNotSupported); // [MQTT5 3.2.2-13]
        }
        if is_too_deep(will.topic.as_str(), limits.topic_levels_max) {
            return Some(Reason::TopicNameInvalid);
        }
        is_reserved(will.topic.as_str()).then_some(Reason::NotAuthorized)
    }

    /// Ends the connection that the session still has, and the session if this CONNECT does not go on
    /// with it. True if it does.
    fn prepare_session(&mut self, key: SessionKey, clean_start: bool, origin: Origin, now: Now) -> bool {
        let Some(session) = self.sessions.get_mut(key) else { return false };
        let was_connected = session.connection.is_some();
        // [MQTT-3.1.4-2] [MQTT5 3.1.4-3]
        if self.end_connection(key, Cause::TakenOver, Some(origin), now) {
            self.turn.stats.sessions_taken_over.add(1);
        }
        let Some(session) = self.sessions.get_mut(key) else { return false };
        if clean_start || (was_connected && !session.is_persistent()) {
            // [MQTT-3.1.2-6] [MQTT5 3.1.2-4] [MQTT5 3.1.4-4] The will goes out as the session ends.
            let why = if clean_start { Ended::CleanStart } else { Ended::Expired };
            self.discard_session(key, why, now);
            return false;
        }
        self.wheel.disarm(key, &mut session.due, Timer::SessionExpiry);
        self.wheel.disarm(key, &mut session.due, Timer::WillDelay);
        match &session.will {
            // [MQTT5 3.1.3-9] [MQTT5 3.1.2-8] The client is back before the delay was over.
            Some(will) if will.delay_s > 0 => self.withdraw_will(key, now),
            Some(_) => self.publish_will(key, now),
            None => {}
        }
        self.place_orphans(now);
        true
    }

    /// A new session. [MQTT5 3.1.2-6]
    fn begin_session(&mut self, client_id: &Arc<str>, version: Version, is_lasting: bool) -> SessionKey {
        let key = self.sessions.next_key();
        self.shared.registry.set(client_id, key);
        let mut session = Session::new(key, Arc::clone(client_id), version, &self.hasher);
        if is_lasting {
            let record = self.turn.durable.next_id();
            session.lasting = Some(Box::new(Lasting::new(record)));
            self.shared.lasting.insert(key, record);
        }
        if self.turn.recorder.is_on {
            session.diary.log = self.shared.gone().take(client_id);
        }
        self.sessions.insert(session);
        self.turn.stats.sessions.add(1);
        self.turn.stats.sessions_created.add(1);
        key
    }

    /// Joins the transport to its session and answers.
    fn open(
        &mut self,
        key: SessionKey,
        connect: &Connect<'_>,
        terms: &Terms,
        (caller, opening): (&Caller<'_>, Opening),
        now: Now,
    ) {
        let Opening { took_over, session_present, must_wait } = opening;
        let &Caller { connection: number, origin, mount_point, .. } = caller;
        let limits = &self.turn.limits;
        let silence_ms_max = silence_ms_max(terms.keep_alive_s, limits);
        let properties = &connect.properties;
        let outbound = properties.topic_alias_maximum().unwrap_or(0).min(limits.topic_alias_max_out);
        // 3.x has no Receive Maximum: all ids may be open. [MQTT5 4.9.0-1]
        let window = if connect.version.is_v5() { limits.receive_maximum } else { u16::MAX };
        self.serial += 1;
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.version = connect.version;
        session.expiry_s = terms.expiry_s;
        session.will = connect.will.as_ref().map(|will| Box::new(StoredWill::new(will)));
        session.sender.connected(terms.receive_maximum.min(limits.inflight_max));
        session.receiver.connected(window);
        let mut connection = Box::new(Connection {
            number,
            serial: self.serial,
            version: connect.version,
            is_dirty: false,
            is_corked: must_wait,
            promises: 0,
            subacks_promised: 0,
            delivers_promised: 0,
            asked_to_last: properties.session_expiry_interval().unwrap_or(0) > 0,
            renewal: Renewal::None,
            problem_information: properties.request_problem_information().unwrap_or(true),
            packet_size_max: terms.packet_size_max,
            received_at: now,
            since: now,
            bytes_received: 0,
            bytes_sent: 0,
            messages_received: 0,
            messages_sent: 0,
            origin,
            clean_start: connect.clean_start,
            keep_alive_s: terms.keep_alive_s,
            mount_point: mount_point.cloned(),
            out: OutBuffer::default(),
            inbound_aliases: None,
            topic_alias_max: limits.topic_alias_max,
            outbound_aliases: (outbound > 0).then(|| Box::new(OutboundAliases::new(outbound))),
        });
        if silence_ms_max > 0 {
            self.wheel.arm(key, &mut session.due, Timer::KeepAlive, now.plus_ms(silence_ms_max));
        }
        // [MQTT-3.2.2-2] [MQTT5 3.2.2-3] [MQTT-3.2.0-1] Before anything else.
        connection.put(&mut self.turn, key, &Packet::ConnAck(accepted(session_present, terms)));
        let client_id = Arc::clone(&session.client_id);
        let what = What::Connected {
            origin,
            version: connect.version,
            clean_start: connect.clean_start,
            session_present,
            keep_alive_asked_s: connect.keep_alive_s,
            keep_alive_s: terms.keep_alive_s,
            expiry_s: terms.expiry_s,
            receive_maximum: terms.receive_maximum,
            waiting: (session.queue.len() + session.sender.open()) as u32,
            took_over,
        };
        self.turn.recorder.record(&mut session.diary.log, &client_id, what, now);
        keep_will(&mut self.turn, session, None);
        keep_session(&mut self.turn, session, None);
        if must_wait {
            // [MQTT-3.2.0-1] Nothing goes out before the CONNACK, and that not before what it promises is safe.
            connection.promises += 1;
            self.turn.durable.promise(Promise { key, connection: self.serial, then: Then::Open });
        }
        session.connection = Some(connection);
        self.connections += 1;
        let stats = &self.turn.stats;
        stats.connections.add(1);
        stats.connected.add(1);
        if session_present {
            stats.sessions_resumed.add(1);
        }
        self.turn.events.push(Event::Connected {
            client_id,
            connection: number,
            version: connect.version,
            clean_start: connect.clean_start,
            session_present,
            keep_alive_s: terms.keep_alive_s,
            expiry_s: terms.expiry_s,
        });
        if session.shared > 0 {
            self.set_online(key, true);
        }
        if let Some(session) = self.sessions.get_mut(key) {
            session.pump(&mut self.turn, &self.shared.retained, now);
        }
        self.place_orphans(now);
    }

    fn terms(&self, connect: &Connect<'_>, assigned: Option<&str>, identity: &Identity) -> Terms {
        let limits = &self.turn.limits;
        let properties = &connect.properties;
        let wished_s = match (connect.version.is_v5(), connect.clean_start) {
            (true, _) => properties.session_expiry_interval().unwrap_or(0),
            (false, true) => 0, // [MQTT-3.1.2-6]
            (false, false) => limits.session_expiry_s_v3,
        };
        let keep_alive_s = match connect.keep_alive_s {
            0 if connect.version.is_v5() && limits.keep_alive_s_max < u16::MAX => limits.keep_alive_s_max,
            wished if connect.version.is_v5() => wished.min(limits.keep_alive_s_max),
            wished => wished, // 3.x cannot be told another.
        };
        let mut terms = Terms {
            expiry_s: wished_s.min(limits.session_expiry_s_max),
            keep_alive_s,
            receive_maximum: properties.receive_maximum().unwrap_or(u16::MAX),
            packet_size_max: packet_size_max(connect),
            told: PropertiesBuf::new(),
        };
        if connect.version.is_v5() {
            tell(&mut terms, connect, limits, assigned);
            // [MQTT5 4.12.0-5] [MQTT5 4.12.0-6]
            if let Some(method) = &identity.method {
                terms.told.push(Property::AuthenticationMethod(method));
                if let Some(data) = &identity.final_data {
                    terms.told.push(Property::AuthenticationData(data));
                }
            }
        }
        terms
    }
}

/// What a 5.0 client is told: only what differs from what it asked or what the protocol assumes.
fn tell(terms: &mut Terms, connect: &Connect<'_>, limits: &crate::limits::Limits, assigned: Option<&str>) {
    let told = &mut terms.told;
    if terms.expiry_s != connect.properties.session_expiry_interval().unwrap_or(0) {
        told.push(Property::SessionExpiryInterval(terms.expiry_s));
    }
    if limits.receive_maximum != u16::MAX {
        told.push(Property::ReceiveMaximum(limits.receive_maximum));
    }
    match limits.max_qos {
        Qos::AtMostOnce => told.push(Property::MaximumQos(0)), // [MQTT5 3.2.2-9]
        Qos::AtLeastOnce => told.push(Property::MaximumQos(1)),
        Qos::ExactlyOnce => {}
    }
    if !limits.retain_available {
        told.push(Property::RetainAvailable(false));
    }
    // Home Assistant's client refuses a CONNACK whose maximum is above the largest legal packet.
    if limits.packet_size_max < PACKET_SIZE_LEGAL_MAX {
        told.push(Property::MaximumPacketSize(limits.packet_size_max));
    }
    if let Some(id) = assigned {
        told.push(Property::AssignedClientIdentifier(id)); // [MQTT5 3.1.3-7]
    }
    if limits.topic_alias_max > 0 {
        told.push(Property::TopicAliasMaximum(limits.topic_alias_max));
    }
    if !limits.wildcard_available {
        told.push(Property::WildcardSubscriptionAvailable(false));
    }
    if !limits.subscription_ids_available {
        told.push(Property::SubscriptionIdentifierAvailable(false));
    }
    if !limits.shared_available {
        told.push(Property::SharedSubscriptionAvailable(false));
    }
    if terms.keep_alive_s != connect.keep_alive_s {
        told.push(Property::ServerKeepAlive(terms.keep_alive_s)); // [MQTT5 3.2.2-21]
    }
}

/// The version that a first frame names, if it is a CONNECT that says `MQTT` at all.
fn announced_version(frame: Frame<'_>) -> Option<Version> {
    let is_v5 = frame.first == 0x10 && frame.body.starts_with(b"\x00\x04MQTT\x05");
    is_v5.then_some(Version::V5)
}

/// 268,435,455 bytes behind a header of five.
const PACKET_SIZE_LEGAL_MAX: u32 = 268_435_460;
