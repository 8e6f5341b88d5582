//! One client: its connection and where it stands.
//!
//! ```text
//! Away ──open──> Connecting ──CONNECT──> Opening ──CONNACK──> Subscribing ──SUBACK──> Ready
//!  ^                  │                     │     └─────────────────────────────────────^ │
//!  │                  └──────── Failed <────┴──────────────────────────── lost ───────────┤
//!  └──────────────────────── Leaving <───────────────── DISCONNECT ───────────────────────┘
//! ```

use std::io;
use std::mem;

use mio::{Registry, Token};
use siskin_proto::{
    ConnAck, Connect, Disconnect, Frame, FrameStatus, Packet, PacketId, PingReq, Properties, PropertiesBuf,
    Property, PubRel, Reason, SubAck, Subscribe, SubscriptionOptions, TopicFilter, decode, frame,
};

use super::READ_BYTES;
use super::cause::Cause;
use super::desk::Desk;
use super::publisher::Publisher;
use super::subscriber::Subscriber;
use crate::plan::Role;
use crate::problem::ProblemKind;
use crate::steps::{Session, Step};
use crate::stream::Stream;

pub(super) struct Client {
    pub(super) role: Role,
    pub(super) number: u32,
    pub(super) phase: Phase,
    stream: Option<Stream>,
    /// What is to be written; the first `written` bytes are.
    out: Vec<u8>,
    written: usize,
    /// The beginning of a frame. A large one has its whole length, of which `filled` bytes are there.
    partial: Vec<u8>,
    filled: usize,
    /// When its phase began; in Ready when it last wrote.
    pub(super) since_ns: u64,
    session: Session,
    pings: u32,
    is_blocked: bool,
    /// The broker sends no more: a short read may still be followed by the end, of which no event tells.
    pub(super) is_read_closed: bool,
    pub(super) end: End,
    /// A publisher that has something to do in this step.
    pub(super) is_busy: bool,
}

/// What is particular to a role.
pub(super) enum End {
    Publisher(Box<Publisher>),
    Subscriber(Box<Subscriber>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Away,
    Connecting,
    Opening,
    Subscribing,
    Ready,
    Leaving,
    Failed,
}

pub(super) const PHASES: usize = 7;

impl Client {
    pub(super) fn new(number: u32, end: End) -> Self {
        let role = match end {
            End::Publisher(_) => Role::Publisher,
            End::Subscriber(_) => Role::Subscriber,
        };
        Self {
            role,
            number,
            phase: Phase::Away,
            stream: None,
            out: Vec::new(),
            written: 0,
            partial: Vec::new(),
            filled: 0,
            since_ns: 0,
            session: Session::Plain,
            pings: 0,
            is_blocked: false,
            is_read_closed: false,
            end,
            is_busy: false,
        }
    }

    pub(super) fn publisher(&mut self) -> Option<&mut Publisher> {
        match &mut self.end {
            End::Publisher(publisher) => Some(publisher),
            End::Subscriber(_) => None,
        }
    }

    /// Begins to connect.
    pub(super) fn open(
        &mut self,
        session: Session,
        registry: &Registry,
        token: Token,
        desk: &mut Desk,
    ) -> Result<(), Cause> {
        self.session = session;
        self.since_ns = desk.now_ns;
        self.set_phase(Phase::Connecting, desk);
        let sources = &desk.plan().sources;
        let source = (!sources.is_empty()).then(|| sources[self.number as usize % sources.len()]);
        let mut stream =
            Stream::open(desk.shared.target, source, &desk.plan().transport).map_err(Cause::of_io)?;
        stream.register(registry, token).map_err(Cause::Io)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// The socket may take bytes, or has failed.
    pub(super) fn handle_writable(&mut self, desk: &mut Desk) -> Result<(), Cause> {
        self.is_blocked = false;
        if self.phase == Phase::Connecting {
            let Some(stream) = &self.stream else { return Ok(()) };
            if !stream.is_connected().map_err(Cause::of_io)? {
                return Ok(());
            }
            self.set_phase(Phase::Opening, desk);
            self.put_connect(desk);
        }
        self.flush()
    }

    /// Reads once, and handles what is whole. Says whether there may be more to read.
    pub(super) fn read(&mut self, desk: &mut Desk, buffer: &mut [u8]) -> Result<bool, Cause> {
        let Some(stream) = &mut self.stream else { return Ok(false) };
        let is_large = self.filled < self.partial.len();
        let room = match is_large {
            true => &mut self.partial[self.filled..],
            false => {
                buffer[..self.filled].copy_from_slice(&self.partial);
                &mut buffer[self.filled..]
            }
        };
        let asked = room.len();
        let read = stream.read(room);
        if stream.is_layered() {
            // Reading may have made room to write: a handshake is over, a request answered.
            self.is_blocked = false;
        }
        let taken = match read {
            Ok(0) => return Err(Cause::Closed),
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.flush()?;
                return Ok(false);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(Cause::Io(error)),
        };
        desk.tick();
        self.filled += taken;
        if !is_large {
            let end = mem::take(&mut self.filled);
            self.split(&buffer[..end], desk)?;
        } else if self.filled == self.partial.len() {
            let whole = mem::take(&mut self.partial);
            self.filled = 0;
            self.split(&whole, desk)?;
        }
        self.flush()?;
        let has_more = self.stream.as_ref().is_some_and(Stream::has_more);
        Ok(taken == asked || self.is_read_closed || has_more)
    }

    /// Handles the whole frames in `bytes` and keeps the rest.
    fn split(&mut self, mut bytes: &[u8], desk: &mut Desk) -> Result<(), Cause> {
        let frame_max = desk.plan().payload_bytes as u32 + FRAME_SPARE;
        let mut wanted = 0;
        while !bytes.is_empty() {
            match frame(bytes, frame_max).map_err(Cause::Malformed)? {
                FrameStatus::Complete(frame) => {
                    self.handle(frame, desk)?;
                    bytes = &bytes[frame.len..];
                }
                FrameStatus::Incomplete { len } => {
                    wanted = len.unwrap_or(0);
                    break;
                }
            }
        }
        self.partial.clear();
        self.partial.extend_from_slice(bytes);
        self.filled = bytes.len();
        if wanted > READ_BYTES / 2 {
            self.partial.resize(wanted, 0);
        } else if bytes.is_empty() && self.partial.capacity() > KEPT_BYTES_MAX {
            self.partial = Vec::new();
        }
        Ok(())
    }

    fn handle(&mut self, frame: Frame<'_>, desk: &mut Desk) -> Result<(), Cause> {
        let version = desk.plan().version;
        let packet = decode(frame, version).map_err(Cause::Malformed)?;
        match (packet, &mut self.end) {
            (Packet::Publish(publish), End::Subscriber(subscriber)) => {
                subscriber.receive(&publish, desk, &mut self.out)
            }
            (Packet::PubRel(pubrel), End::Subscriber(subscriber)) => {
                subscriber.release(pubrel.packet_id, desk, &mut self.out);
                Ok(())
            }
            (Packet::PubAck(puback), End::Publisher(publisher)) => {
                refused(puback.reason, desk);
                let is_known = publisher.acknowledge(puback.packet_id, puback.reason.is_error(), desk);
                known(is_known, "a PUBACK for nothing")
            }
            (Packet::PubRec(pubrec), End::Publisher(publisher)) => {
                refused(pubrec.reason, desk);
                if pubrec.reason.is_error() {
                    let is_known = publisher.acknowledge(pubrec.packet_id, true, desk);
                    return known(is_known, "a PUBREC for nothing");
                }
                PubRel::success(pubrec.packet_id).encode(version, &mut self.out);
                known(publisher.release(pubrec.packet_id), "a PUBREC for nothing")
            }
            (Packet::PubComp(pubcomp), End::Publisher(publisher)) => {
                known(publisher.complete(pubcomp.packet_id, desk), "a PUBCOMP for nothing")
            }
            (Packet::ConnAck(connack), _) if self.phase == Phase::Opening => self.connected(&connack, desk),
            (Packet::SubAck(suback), End::Subscriber(_)) if self.phase == Phase::Subscribing => {
                self.subscribed(&suback, desk)
            }
            (Packet::PingResp(_), _) => {
                if self.pings > 0 {
                    self.pings -= 1;
                    desk.pings -= 1;
                }
                Ok(())
            }
            (Packet::Disconnect(disconnect), _) if version.is_v5() => {
                let why = disconnect.properties.reason_string().map(str::to_owned);
                Err(Cause::Disconnected(disconnect.reason, why))
            }
            (Packet::Publish(_), _) => Err(Cause::Unexpected("a PUBLISH to who did not subscribe")),
            _ => Err(Cause::Misplaced(frame.kind(version).map_err(Cause::Malformed)?)),
        }
    }

    fn connected(&mut self, connack: &ConnAck<'_>, desk: &mut Desk) -> Result<(), Cause> {
        let properties = connack.properties;
        if connack.reason.is_error() {
            return Err(Cause::Refused(connack.reason, properties.reason_string().map(str::to_owned)));
        }
        desk.tally.connect.record(desk.now_ns.saturating_sub(self.since_ns));
        if let Some(keep_alive_s) = properties.server_keep_alive().filter(|seconds| *seconds > 0) {
            desk.keep_alive_s = match desk.keep_alive_s {
                0 => keep_alive_s,
                ours => ours.min(keep_alive_s),
            };
        }
        let plan = &desk.shared.plan;
        match &mut self.end {
            End::Publisher(publisher) => {
                let packet = publisher.packet_bytes();
                if let Some(max) = properties.maximum_packet_size().filter(|max| packet > *max as usize) {
                    return Err(Cause::TooLarge { packet, max });
                }
                if let Some(max) = properties.maximum_qos().filter(|max| *max < plan.qos as u8) {
                    return Err(Cause::QosMaximum(max));
                }
                if plan.retain && properties.retain_available() == Some(false) {
                    return Err(Cause::NoRetain);
                }
                let receive_maximum = properties.receive_maximum().unwrap_or(u16::MAX);
                publisher.connected(plan, receive_maximum);
                desk.tally.receive_maximum = desk.tally.receive_maximum.min(receive_maximum);
                self.set_phase(Phase::Ready, desk);
            }
            End::Subscriber(subscriber) => {
                // 3.1 cannot tell, and then loss tells.
                let can_tell = plan.version != siskin_proto::Version::V3_1;
                if self.session == Session::Resumed && can_tell && !connack.session_present {
                    return Err(Cause::SessionForgotten);
                }
                subscriber.connected(plan, self.session != Session::Resumed);
                self.subscribe(desk);
            }
        }
        Ok(())
    }

    fn subscribe(&mut self, desk: &mut Desk) {
        let End::Subscriber(subscriber) = &mut self.end else { return };
        let asks = matches!(self.session, Session::Plain | Session::Kept);
        let texts = if asks { desk.plan().filters_of(self.number) } else { Vec::new() };
        let options = SubscriptionOptions { qos: desk.plan().subscribe_qos, ..Default::default() };
        let filters: Vec<_> = texts
            .iter()
            .filter_map(|text| TopicFilter::parse(text).ok())
            .map(|filter| (filter, options))
            .collect();
        subscriber.subacks_awaited = 0;
        for (filters, id) in filters.chunks(FILTERS_PER_PACKET).zip(1..=u16::MAX) {
            let Some(packet_id) = PacketId::new(id) else { continue };
            let subscribe = Subscribe { packet_id, properties: Properties::EMPTY, filters: filters.to_vec() };
            subscribe.encode(desk.plan().version, &mut self.out);
            subscriber.subacks_awaited += 1;
        }
        let phase = if subscriber.subacks_awaited > 0 { Phase::Subscribing } else { Phase::Ready };
        self.set_phase(phase, desk);
    }

    fn subscribed(&mut self, suback: &SubAck<'_>, desk: &mut Desk) -> Result<(), Cause> {
        if let Some(reason) = suback.reasons.iter().find(|reason| reason.is_error()) {
            return Err(Cause::NotGranted(*reason));
        }
        let asked = desk.plan().subscribe_qos as u8;
        if let Some(granted) =
            suback.reasons.iter().map(|reason| *reason as u8).find(|granted| *granted < asked)
        {
            return Err(Cause::GrantedLess { asked, granted });
        }
        // Who answers is not late, however much there is to answer.
        self.since_ns = desk.now_ns;
        let End::Subscriber(subscriber) = &mut self.end else { return Ok(()) };
        subscriber.subacks_awaited = subscriber.subacks_awaited.saturating_sub(1);
        if subscriber.subacks_awaited == 0 {
            self.set_phase(Phase::Ready, desk);
        }
        Ok(())
    }

    fn put_connect(&mut self, desk: &Desk) {
        let plan = desk.plan();
        let (clean_start, expiry_s) = match self.session {
            Session::Plain => (plan.clean_start, plan.session_expiry_s),
            Session::Clean => (true, 0),
            Session::Kept | Session::Resumed => (false, plan.session_expiry_s),
        };
        let mut properties = PropertiesBuf::new();
        if plan.version.is_v5() {
            if expiry_s > 0 {
                properties.push(Property::SessionExpiryInterval(expiry_s));
            }
            if let Some(maximum) = plan.receive_maximum {
                properties.push(Property::ReceiveMaximum(maximum));
            }
        }
        let connect = Connect {
            version: plan.version,
            clean_start,
            keep_alive_s: plan.keep_alive_s,
            client_id: &plan.client_id(self.role, self.number),
            will: None,
            user_name: plan.user_name.as_deref(),
            password: plan.password.as_deref().map(str::as_bytes),
            properties: properties.as_properties(),
            bridge: false,
        };
        connect.encode(plan.version, &mut self.out);
    }

    /// Fills the buffer with messages, if this is a publisher, and writes. True if it could go on at once.
    pub(super) fn pump(&mut self, desk: &mut Desk) -> Result<bool, Cause> {
        let publishes = self.phase == Phase::Ready && !self.is_blocked;
        if let (true, End::Publisher(publisher)) = (publishes, &mut self.end) {
            let before = self.out.len();
            publisher.fill(desk, &mut self.out);
            if self.out.len() > before {
                self.since_ns = desk.now_ns;
            }
        }
        self.flush()?;
        let is_willing = self.publisher().is_some_and(|publisher| publisher.is_willing());
        Ok(publishes && !self.is_blocked && is_willing)
    }

    /// Whether a publisher has nothing more to send, to write or to wait for.
    pub(super) fn is_finished(&mut self) -> bool {
        self.out.is_empty() && self.publisher().is_none_or(|publisher| publisher.is_finished())
    }

    pub(super) fn ping(&mut self, desk: &mut Desk) -> Result<(), Cause> {
        PingReq.encode(desk.plan().version, &mut self.out);
        self.pings += 1;
        desk.pings += 1;
        self.since_ns = desk.now_ns;
        self.flush()
    }

    /// Says goodbye, and sends no more. What the broker does with its end is waited for. [MQTT5 3.14.4-2]
    pub(super) fn leave(&mut self, desk: &mut Desk) -> Result<(), Cause> {
        let goodbye = Disconnect { reason: Reason::NormalDisconnection, properties: Properties::EMPTY };
        goodbye.encode(desk.plan().version, &mut self.out);
        self.since_ns = desk.now_ns;
        self.set_phase(Phase::Leaving, desk);
        self.flush()?;
        match &self.stream {
            Some(stream) if self.out.is_empty() => stream.end_writing().map_err(Cause::Io),
            _ => Ok(()),
        }
    }

    /// The connection is over. What is not as it should be becomes a problem.
    pub(super) fn close(&mut self, cause: &Cause, desk: &mut Desk) {
        let phase = match self.phase {
            Phase::Away | Phase::Failed => self.phase,
            Phase::Leaving => {
                if let Some(stream) = &self.stream {
                    stream.leave_no_trace();
                }
                Phase::Away
            }
            Phase::Connecting | Phase::Opening => {
                desk.tally.problems.add(ProblemKind::Connect, cause);
                Phase::Failed
            }
            Phase::Subscribing => {
                desk.tally.problems.add(ProblemKind::Subscribe, cause);
                Phase::Failed
            }
            Phase::Ready => {
                desk.tally.problems.add(ProblemKind::Lost, cause);
                Phase::Failed
            }
        };
        desk.pings -= mem::take(&mut self.pings);
        self.stream = None;
        self.out = Vec::new();
        self.written = 0;
        self.partial = Vec::new();
        self.filled = 0;
        self.is_blocked = false;
        self.is_read_closed = false;
        self.set_phase(phase, desk);
    }

    pub(super) fn set_phase(&mut self, phase: Phase, desk: &mut Desk) {
        desk.phases[self.phase as usize] -= 1;
        desk.phases[phase as usize] += 1;
        self.phase = phase;
    }

    fn flush(&mut self) -> Result<(), Cause> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        stream.push().map_err(Cause::Io)?;
        while !self.is_blocked && self.written < self.out.len() {
            match stream.write(&self.out[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_blocked = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Cause::Io(error)),
            }
        }
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        } else if self.written > KEPT_BYTES_MAX {
            self.out.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }
}

/// Counts a message that the broker did not take.
fn refused(reason: Reason, desk: &mut Desk) {
    if reason.is_error() && desk.step != Step::Clear {
        desk.tally.problems.add(ProblemKind::Publish, reason);
    }
}

fn known(is_known: bool, what: &'static str) -> Result<(), Cause> {
    if is_known { Ok(()) } else { Err(Cause::Unexpected(what)) }
}

/// What a packet may have beside the payload: a topic, properties, a header.
const FRAME_SPARE: u32 = 256 * 1024;

/// A buffer that had to hold more than this gives its memory back.
const KEPT_BYTES_MAX: usize = 64 * 1024;

const FILTERS_PER_PACKET: usize = 100;
