//! One connection after another: opening, waiting, keeping alive, closing.

use std::fmt;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use siskin_proto::delivery::{InboundAliases, Receiver, Sender};
use siskin_proto::{
    ConnAck, Connect, Disconnect, PACKET_SIZE_MAX, Packet, PingReq, Properties, Reason, Version, Will, decode,
};

use super::arguments::Settings;
use super::console::Console;
use super::event::{self, Event, Target};
use super::failure::{CONNECTION_LOST, Failure, KEEP_ALIVE, PROTOCOL, TIMED_OUT, refusal_status};
use super::incoming::{misbehaved, packets};
use super::keep_alive::{Due, KeepAlive};
use super::{arguments, trace};

/// A client with at most one connection at a time.
pub(crate) struct Client {
    pub(super) settings: Settings,
    pub(crate) console: Console,
    /// As the server knows it; empty until it has chosen one.
    pub(super) id: String,
    inbox: mpsc::Receiver<Event>,
    events: SyncSender<Event>,
    ask_lines: Option<SyncSender<()>>,
    interrupted: Arc<AtomicBool>,
    /// Counts the connections, so that what an earlier one still sends is told apart.
    connection: u32,
    stream: Option<TcpStream>,
    /// Encoded and not yet written.
    pub(super) out: Vec<u8>,
    /// Packets that came right behind CONNACK.
    waiting: Vec<u8>,
    keep_alive: KeepAlive,
    pub(super) inbound: Receiver,
    pub(super) outbound: Sender<()>,
    pub(super) inbound_aliases: InboundAliases,
    /// Whether the alias given with `-D publish topic-alias` stands for the topic already.
    pub(super) is_alias_set: bool,
    pub(super) server: ServerLimits,
}

/// What CONNACK said about the server. [MQTT5 section 3.2.2.3]
#[derive(Debug, Default)]
pub(super) struct ServerLimits {
    pub(super) maximum_qos: Option<u8>,
    pub(super) retains: Option<bool>,
    pub(super) packet_size_max: Option<u32>,
    pub(super) topic_alias_max: u16,
}

/// Why [`Client::wait`] came back.
pub(crate) enum Woken {
    /// Packets from the server, for [`packets`] and [`Client::handle`].
    Packets(Vec<u8>),
    /// Lines of standard input that were asked for.
    Lines(Vec<u8>),
    /// Standard input has ended.
    InputEnd,
    /// The time is up.
    Deadline,
    /// SIGINT or SIGTERM.
    Interrupted,
}

impl Client {
    /// A client that is not connected yet. From now on signals are events.
    pub(crate) fn new(settings: Settings) -> Result<Self, Failure> {
        let (events, inbox) = mpsc::sync_channel(EVENTS_MAX);
        let interrupted = event::watch_signals(events.clone())?;
        Ok(Self {
            console: Console::new(settings.debug, settings.quiet),
            id: settings.client_id.clone(),
            inbox,
            events,
            ask_lines: None,
            interrupted,
            connection: 0,
            stream: None,
            out: Vec::new(),
            waiting: Vec::new(),
            keep_alive: KeepAlive::new(0, Instant::now()),
            inbound: Receiver::new(),
            outbound: Sender::new(),
            inbound_aliases: InboundAliases::new(),
            is_alias_set: false,
            server: ServerLimits::default(),
            settings,
        })
    }

    pub(crate) fn version(&self) -> Version {
        self.settings.version
    }

    /// Opens a connection and waits until the server has accepted it. False: a signal came first.
    pub(crate) fn open(&mut self, deadline: Option<Instant>) -> Result<bool, Failure> {
        self.connection += 1;
        event::open(self.connection, self.target(), self.events.clone());
        let stream = loop {
            match self.event(deadline)? {
                None => return Err(timed_out()),
                Some(Event::Interrupted) => return Ok(false),
                Some(Event::Open(_, stream)) => break stream,
                Some(Event::Closed(_, failure)) => return Err(failure),
                Some(_) => {}
            }
        };
        self.stream = Some(stream);
        self.out.clear();
        self.waiting.clear();
        self.send_connect()?;
        let answer_deadline = Instant::now() + CONNACK_TIMEOUT;
        loop {
            let until = deadline.map_or(answer_deadline, |deadline| deadline.min(answer_deadline));
            match self.event(Some(until))? {
                None if deadline.is_some_and(|deadline| deadline <= until) => return Err(timed_out()),
                None => {
                    let text = "Error: The server did not answer CONNECT.";
                    return Err(Failure::lost(CONNECTION_LOST, text));
                }
                Some(Event::Interrupted) => return Ok(false),
                Some(Event::Closed(_, failure)) => return Err(failure),
                Some(Event::Packets(_, bytes)) => {
                    self.handle_connack(&bytes)?;
                    return Ok(true);
                }
                Some(_) => {}
            }
        }
    }

    /// Waits for the next thing to do. Before it waits, everything printed and everything to send is out.
    pub(crate) fn wait(&mut self, deadline: Option<Instant>) -> Result<Woken, Failure> {
        if !self.waiting.is_empty() {
            return Ok(Woken::Packets(std::mem::take(&mut self.waiting)));
        }
        loop {
            if event::is_set(&self.interrupted) {
                return Ok(Woken::Interrupted);
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Ok(Woken::Deadline);
            }
            match self.keep_alive.turn(now) {
                Due::Nothing => {}
                Due::Ping => {
                    self.trace_sending(format_args!("PINGREQ"))?;
                    self.send(&Packet::PingReq(PingReq));
                    self.flush()?;
                }
                Due::Dead => {
                    return Err(Failure::lost(KEEP_ALIVE, "Error: The server does not answer any more."));
                }
            }
            let until = [deadline, self.keep_alive.next()].into_iter().flatten().min();
            match self.event(until)? {
                None | Some(Event::Open(..)) => {}
                Some(Event::Packets(_, bytes)) => {
                    self.keep_alive.received();
                    return Ok(Woken::Packets(bytes));
                }
                Some(Event::Closed(_, failure)) => return Err(failure),
                Some(Event::Lines(lines)) => return Ok(Woken::Lines(lines)),
                Some(Event::InputEnd(Ok(()))) => return Ok(Woken::InputEnd),
                Some(Event::InputEnd(Err(error))) => {
                    return Err(Failure::usage(format!("Error: Standard input cannot be read: {error}.")));
                }
                Some(Event::Interrupted) => return Ok(Woken::Interrupted),
            }
        }
    }

    /// Lets time pass without a connection. False: a signal came.
    pub(crate) fn pause(&mut self, duration: Duration, deadline: Option<Instant>) -> Result<bool, Failure> {
        self.drop_connection();
        let end = Instant::now() + duration;
        let until = deadline.map_or(end, |deadline| deadline.min(end));
        loop {
            match self.event(Some(until))? {
                None if deadline.is_some_and(|deadline| deadline <= end) => return Err(timed_out()),
                None => return Ok(true),
                Some(Event::Interrupted) => return Ok(false),
                Some(_) => {}
            }
        }
    }

    /// Asks for the next lines of standard input; they come through [`Client::wait`].
    pub(crate) fn ask_lines(&mut self) {
        let events = &self.events;
        let ask = self.ask_lines.get_or_insert_with(|| event::read_lines(events.clone()));
        // Full: it is asked already. Gone: the end of the input has been announced.
        let _ = ask.try_send(());
    }

    /// Ends with `outcome`. If a connection is open, the server is told so in DISCONNECT.
    pub(crate) fn end(mut self, outcome: Result<u8, Failure>) -> Result<u8, Failure> {
        self.finish(outcome).0
    }

    /// As [`Client::end`], but a success is one only if the server has taken everything up to DISCONNECT.
    pub(crate) fn end_delivered(mut self, outcome: Result<u8, Failure>) -> Result<u8, Failure> {
        let is_interrupted = event::is_set(&self.interrupted);
        let (outcome, delivered) = self.finish(outcome);
        // Who interrupts it does not ask for everything.
        if is_interrupted { outcome } else { outcome.and_then(|status| delivered.map(|()| status)) }
    }

    fn finish(&mut self, outcome: Result<u8, Failure>) -> (Result<u8, Failure>, Result<(), Failure>) {
        let traced = self.trace_sending_if_open(format_args!("DISCONNECT"));
        let outcome = outcome.and_then(|status| {
            traced?;
            self.flush()?;
            Ok(status)
        });
        let closed = self.closed_already();
        if outcome.is_err() {
            // Among it may be acknowledgements of what could not be printed.
            self.out.clear();
        }
        (outcome, self.disconnect().and(closed))
    }

    /// Whether the server has closed before it could have read a DISCONNECT.
    fn closed_already(&mut self) -> Result<(), Failure> {
        while let Ok(event) = self.inbox.try_recv() {
            match event {
                Event::Closed(connection, failure) if connection == self.connection => return Err(failure),
                Event::Packets(connection, bytes) if connection == self.connection => {
                    for frame in packets(&bytes) {
                        self.handle(frame)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Sends DISCONNECT and lets the server read everything up to it; says whether it did.
    fn disconnect(&mut self) -> Result<(), Failure> {
        let buf = std::mem::take(&mut self.settings.properties.disconnect);
        let properties = self.settings.v5(buf.as_properties());
        self.send(&Packet::Disconnect(Disconnect { reason: Reason::NormalDisconnection, properties }));
        let out = std::mem::take(&mut self.out);
        self.write(&out);
        let Some(stream) = self.stream.take() else {
            return Err(Failure::lost(CONNECTION_LOST, "Error: The connection was lost."));
        };
        // An error says that the server closed first.
        let _ = stream.shutdown(Shutdown::Write);
        // Closing a socket with unread bytes makes the kernel throw away what the server has not read yet.
        let deadline = Instant::now() + LINGER;
        while let Some(event) = self.next_event(Some(deadline)) {
            match event {
                Event::Closed(connection, _) if connection == self.connection => break,
                // A server that could not take something says so behind what it did take.
                Event::Packets(connection, bytes) if connection == self.connection => {
                    for frame in packets(&bytes) {
                        self.handle(frame)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Closes the transport without DISCONNECT.
    pub(super) fn drop_connection(&mut self) {
        if let Some(stream) = self.stream.take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.out.clear();
    }

    fn trace_sending_if_open(&mut self, what: fmt::Arguments<'_>) -> Result<(), Failure> {
        if self.stream.is_some() { self.trace_sending(what) } else { Ok(()) }
    }

    /// Writes what is printed, and then what is to be sent.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        self.console.flush()?;
        let out = std::mem::take(&mut self.out);
        self.write(&out);
        self.out = out;
        self.out.clear();
        Ok(())
    }

    /// Writes to the transport. A failure shows when the end of the transport is read: the server may have
    /// said before why it ended.
    pub(super) fn write(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(mut stream) = self.stream.as_ref()
            && stream.write_all(bytes).is_err()
        {
            let _ = stream.shutdown(Shutdown::Both);
            self.stream = None;
        }
        self.keep_alive.sent(Instant::now());
    }

    /// Puts a packet into the buffer.
    pub(super) fn send(&mut self, packet: &Packet<'_>) {
        packet.encode(self.settings.version, &mut self.out);
    }

    /// The next event of the present connection, or none when the time is up.
    fn event(&mut self, deadline: Option<Instant>) -> Result<Option<Event>, Failure> {
        loop {
            let event = match self.inbox.try_recv() {
                Ok(event) => event,
                Err(TryRecvError::Empty) => {
                    self.flush()?;
                    match self.next_event(deadline) {
                        Some(event) => event,
                        None => return Ok(None),
                    }
                }
                Err(TryRecvError::Disconnected) => unreachable_sender(),
            };
            match event {
                Event::Open(connection, _) | Event::Packets(connection, _) | Event::Closed(connection, _)
                    if connection != self.connection => {}
                event => return Ok(Some(event)),
            }
        }
    }

    fn next_event(&mut self, deadline: Option<Instant>) -> Option<Event> {
        let Some(deadline) = deadline else {
            return Some(self.inbox.recv().unwrap_or_else(|_| unreachable_sender()));
        };
        match self.inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(event) => Some(event),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => unreachable_sender(),
        }
    }

    fn target(&self) -> Target {
        let settings = &self.settings;
        let packet_size_max = settings.properties.connect.as_properties().maximum_packet_size();
        let announced = packet_size_max.filter(|_| settings.version.is_v5());
        Target {
            host: settings.host.clone(),
            port: settings.port,
            bind_address: settings.bind_address.clone(),
            nodelay: settings.nodelay,
            packet_size_max: announced.unwrap_or(PACKET_SIZE_MAX).min(PACKET_SIZE_MAX),
        }
    }

    fn send_connect(&mut self) -> Result<(), Failure> {
        self.trace_sending(format_args!("CONNECT"))?;
        let settings = &self.settings;
        let will = match &settings.will {
            Some(will) => Some(Will {
                topic: arguments::topic_name(&will.topic)?,
                payload: will.payload.as_bytes(),
                qos: will.qos,
                retain: will.retain,
                properties: settings.v5(settings.properties.will.as_properties()),
            }),
            None => None,
        };
        let connect = Connect {
            version: settings.version,
            clean_start: settings.clean_start,
            keep_alive_s: settings.keep_alive_s,
            client_id: &settings.client_id,
            will,
            user_name: settings.user_name.as_deref(),
            password: settings.password.as_deref().map(str::as_bytes),
            properties: settings.v5(settings.properties.connect.as_properties()),
            bridge: false,
        };
        connect.encode(settings.version, &mut self.out);
        self.flush()
    }

    /// The first packet of the server, and others behind it.
    fn handle_connack(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some(first) = packets(bytes).next() else { return Ok(()) };
        let mut version = self.settings.version;
        // A server of 3.x answers CONNECT of 5.0 in its own tongue.
        if first.body.len() == 2 && version.is_v5() {
            version = Version::V3_1_1;
        }
        let connack = match decode(first, version) {
            Ok(Packet::ConnAck(connack)) => connack,
            Ok(packet) => {
                let kind = packet.kind().name();
                return Err(Failure::new(PROTOCOL, format!("Error: The server answered CONNECT by {kind}.")));
            }
            Err(error) => return Err(misbehaved(error)),
        };
        let code = refusal_status(connack.reason, version);
        self.trace_received(format_args!("CONNACK ({code})"))?;
        if connack.reason.is_error() {
            self.drop_connection();
            return Err(refused(&connack, version));
        }
        self.connected(&connack);
        self.waiting = bytes[first.len..].to_vec();
        Ok(())
    }

    fn connected(&mut self, connack: &ConnAck<'_>) {
        let properties = connack.properties;
        if !connack.session_present {
            self.inbound = Receiver::new();
            self.outbound = Sender::new();
        }
        let receive_maximum = properties.receive_maximum().unwrap_or(u16::MAX);
        self.outbound.connected(receive_maximum.min(self.settings.max_inflight));
        let announced = self.settings.v5(self.settings.properties.connect.as_properties()).receive_maximum();
        self.inbound.connected(announced.unwrap_or(u16::MAX));
        self.inbound_aliases = InboundAliases::new();
        self.is_alias_set = false;
        self.server = ServerLimits {
            maximum_qos: properties.maximum_qos(),
            retains: properties.retain_available(),
            packet_size_max: properties.maximum_packet_size(),
            topic_alias_max: properties.topic_alias_maximum().unwrap_or(0),
        };
        if let Some(id) = properties.assigned_client_identifier() {
            self.id = id.into();
        }
        // [MQTT5 3.1.2-21]
        let keep_alive_s = properties.server_keep_alive().unwrap_or(self.settings.keep_alive_s);
        self.keep_alive = KeepAlive::new(keep_alive_s, Instant::now());
    }
}

impl Settings {
    /// The properties if there are any in this version.
    pub(crate) fn v5<'a>(&self, properties: Properties<'a>) -> Properties<'a> {
        if self.version.is_v5() { properties } else { Properties::EMPTY }
    }
}

fn refused(connack: &ConnAck<'_>, version: Version) -> Failure {
    let status = refusal_status(connack.reason, version);
    let mut text = if version.is_v5() {
        format!("Connection error: Connection Refused: {}", connack.reason)
    } else {
        format!("Connection error: Connection Refused: {}", trace::return_code_text(status))
    };
    if let Some(why) = connack.properties.reason_string() {
        text += &format!(" ({why})");
    }
    text += ".";
    if let Some(server) = connack.properties.server_reference() {
        text += &format!(" It names another server: {server}.");
    }
    if connack.reason == Reason::UnsupportedProtocolVersion {
        text += " Try another protocol version with -V.";
    }
    Failure::new(status, text)
}

fn timed_out() -> Failure {
    Failure::new(TIMED_OUT, "Timed out")
}

/// The client holds a sender of its own channel.
fn unreachable_sender() -> ! {
    unreachable!("the channel lives as long as the client")
}

/// How many chunks of packets may wait before reading from the server stops.
const EVENTS_MAX: usize = 16;

/// How long a server may take to answer CONNECT.
const CONNACK_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a server may take to close after DISCONNECT.
const LINGER: Duration = Duration::from_secs(2);
