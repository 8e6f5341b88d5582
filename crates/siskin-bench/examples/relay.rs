//! The floor under `siskin bench pairs --qos 0`: publisher i's bytes go to subscriber i as they come, with one read and
//! one write for whatever has gathered, in one thread. What a broker costs more than this, its MQTT costs.
//!
//! `relay [ADDRESS]`, by default 127.0.0.1:1883. Who belongs together is told once, by client identifiers that end in
//! `p` or `s` and the same number, as the tool makes them. Behind its CONNECT nothing of a publisher is looked at, so
//! that it is no broker: no other QoS, no topics, and what comes for an absent subscriber is an error. A publisher
//! whose subscriber does not take its bytes is not read until it does.

use std::collections::HashMap;
use std::env;
use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{AddrParseError, SocketAddr};

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use siskin_proto::{FrameStatus, Packet, Version, decode, decode_connect, frame};

fn main() -> Result {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:1883".to_owned());
    let wanted =
        |_: AddrParseError| format!("{address}: an IP address with a port is wanted, as 127.0.0.1:1883");
    Relay::new(address.parse().map_err(wanted)?)?.run()
}

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

struct Relay {
    poll: Poll,
    listener: TcpListener,
    clients: Vec<Option<Client>>,
    /// Subscribers by prefix and number of their client identifiers.
    subscribers: HashMap<String, usize>,
    /// What was read last, for all.
    buffer: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    role: Role,
    /// Bytes of a packet that is not whole; a publisher has none behind its CONNECT.
    unread: Vec<u8>,
    /// What the socket did not take. While there is any the publisher is not read.
    unwritten: Vec<u8>,
    /// The other end of the pair.
    peer: Option<usize>,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Unknown,
    Publisher,
    Subscriber(Version),
}

impl Relay {
    fn new(address: SocketAddr) -> Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(address)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let (clients, subscribers, buffer) = (Vec::new(), HashMap::new(), vec![0; READ_BYTES]);
        Ok(Self { poll, listener, clients, subscribers, buffer })
    }

    fn run(mut self) -> Result {
        let mut events = Events::with_capacity(1024);
        loop {
            self.poll.poll(&mut events, None)?;
            for event in &events {
                if event.token() == LISTENER {
                    self.accept()?;
                } else if let Err(error) = self.handle(event) {
                    // Nothing but a message to whoever runs it: the other pairs go on.
                    let _ = writeln!(io::stderr(), "relay: {error}");
                    self.close(event.token().0)?;
                }
            }
        }
    }

    fn accept(&mut self) -> Result {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nodelay(true)?;
            let place = self.clients.iter().position(Option::is_none).unwrap_or(self.clients.len());
            self.clients.resize_with(self.clients.len().max(place + 1), || None);
            let interests = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(place), interests)?;
            let (role, unread, unwritten) = (Role::Unknown, Vec::new(), Vec::new());
            self.clients[place] = Some(Client { stream, role, unread, unwritten, peer: None });
        }
    }

    fn handle(&mut self, event: &Event) -> Result {
        let place = event.token().0;
        if event.is_writable() {
            let Some(client) = self.client(place) else { return Ok(()) };
            let waited = !client.unwritten.is_empty();
            client.flush()?;
            // A publisher's bytes were left where they are, and no event will tell of them again.
            if let Some(publisher) = client.peer.filter(|_| waited && client.unwritten.is_empty()) {
                self.read(publisher, true)?;
            }
        }
        if event.is_readable() { self.read(place, event.is_read_closed()) } else { Ok(()) }
    }

    /// Reads and passes on until there is no more, which a short read says, unless the end is behind it.
    fn read(&mut self, place: usize, until_blocked: bool) -> Result {
        loop {
            if self.is_paused(place) {
                return Ok(());
            }
            let Some(Some(client)) = self.clients.get_mut(place) else { return Ok(()) };
            let taken = match client.stream.read(&mut self.buffer) {
                Ok(0) => return self.close(place),
                Ok(taken) => taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            match client.role {
                Role::Publisher => self.copy(place, taken)?,
                _ => self.parse(place, taken)?,
            }
            if taken < self.buffer.len() && !until_blocked {
                return Ok(());
            }
        }
    }

    /// Whether this is a publisher whose subscriber has to take bytes first.
    fn is_paused(&self, place: usize) -> bool {
        let Some(Some(Client { role: Role::Publisher, peer: Some(peer), .. })) = self.clients.get(place)
        else {
            return false;
        };
        self.clients[*peer].as_ref().is_some_and(|subscriber| !subscriber.unwritten.is_empty())
    }

    fn copy(&mut self, place: usize, taken: usize) -> Result {
        let bytes = &self.buffer[..taken];
        // DISCONNECT. The tool sends it when all has arrived, so that it comes alone; a PUBLISH is longer.
        if bytes == [0xE0, 0] {
            return self.close(place);
        }
        let peer = self.clients[place].as_ref().and_then(|client| client.peer);
        let subscriber = peer.and_then(|peer| self.clients[peer].as_mut());
        Ok(subscriber.ok_or("a publisher's subscriber has left")?.send(bytes)?)
    }

    /// Packets of who is no publisher (yet): those at the beginning and the end of a run.
    fn parse(&mut self, place: usize, taken: usize) -> Result {
        let Some(Some(client)) = self.clients.get_mut(place) else { return Ok(()) };
        client.unread.extend_from_slice(&self.buffer[..taken]);
        let unread = std::mem::take(&mut client.unread);
        let mut rest = &unread[..];
        while let FrameStatus::Complete(frame) = frame(rest, READ_BYTES as u32)? {
            rest = &rest[frame.len..];
            let Some(client) = self.client(place) else { return Ok(()) };
            let Role::Subscriber(version) = client.role else {
                let connect = decode_connect(frame)?;
                self.open(place, connect.version, connect.client_id)?;
                continue;
            };
            match decode(frame, version)? {
                Packet::Subscribe(subscribe) => {
                    let id = subscribe.packet_id.get().to_be_bytes();
                    let (v3, v5) = ([0x90, 3, id[0], id[1], 0], [0x90, 4, id[0], id[1], 0, 0]);
                    client.send(if version.is_v5() { &v5 } else { &v3 })?;
                }
                Packet::PingReq(_) => client.send(&[0xD0, 0])?,
                Packet::Disconnect(_) => return self.close(place),
                _ => return Err("a packet that a QoS 0 subscriber does not send".into()),
            }
        }
        let Some(client) = self.client(place) else { return Ok(()) };
        client.unread = rest.to_vec();
        Ok(())
    }

    fn open(&mut self, place: usize, version: Version, client_id: &str) -> Result {
        let name = client_id.trim_end_matches(|letter: char| letter.is_ascii_digit());
        let (prefix, role) = match (name.strip_suffix('p'), name.strip_suffix('s')) {
            (Some(prefix), _) => (prefix, Role::Publisher),
            (_, Some(prefix)) => (prefix, Role::Subscriber(version)),
            _ => return Err(format!("{client_id} does not end in p or s and a number").into()),
        };
        let key = format!("{prefix}/{}", &client_id[name.len()..]);
        let peer = self.subscribers.get(&key).copied().filter(|_| role == Role::Publisher);
        if let Some(Some(subscriber)) = peer.map(|peer| &mut self.clients[peer]) {
            subscriber.peer = Some(place);
        } else if role == Role::Publisher {
            return Err(format!("{client_id} has no subscriber").into());
        } else {
            self.subscribers.insert(key, place);
        }
        let Some(client) = self.client(place) else { return Ok(()) };
        (client.role, client.peer) = (role, peer);
        Ok(client.send(if version.is_v5() { &[0x20, 3, 0, 0, 0] } else { &[0x20, 2, 0, 0] })?)
    }

    fn close(&mut self, place: usize) -> Result {
        let Some(client) = self.clients.get_mut(place).and_then(Option::take) else { return Ok(()) };
        self.subscribers.retain(|_, subscriber| *subscriber != place);
        if let Some(peer) = client.peer.and_then(|peer| self.client(peer)) {
            peer.peer = None;
        }
        Ok(())
    }

    fn client(&mut self, place: usize) -> Option<&mut Client> {
        self.clients.get_mut(place).and_then(Option::as_mut)
    }
}

impl Client {
    /// Writes from where the bytes lie; only what the socket does not take is copied.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = if self.unwritten.is_empty() { write(&mut self.stream, bytes)? } else { 0 };
        self.unwritten.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = write(&mut self.stream, &self.unwritten)?;
        self.unwritten.drain(..written);
        Ok(())
    }
}

/// How much of it the socket took before it was full.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

const LISTENER: Token = Token(usize::MAX);
const READ_BYTES: usize = 64 * 1024;
