//! A client's connection to the broker under test: one socket, read in turns of a few milliseconds.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use siskin_proto::{
    Connect, DecodeError, Disconnect, FrameStatus, PACKET_SIZE_MAX, Packet, Properties, PropertiesBuf,
    Property, Reason, Version, Will, decode, frame,
};

use super::world::World;
use crate::cli::client::packets;

pub(super) struct Connection {
    stream: TcpStream,
    version: Version,
    /// Read, and not yet a whole packet.
    begun: Vec<u8>,
    out: Vec<u8>,
    /// What CONNACK said.
    pub(super) session_present: bool,
    pub(super) receive_maximum: u16,
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Lost {
    /// The transport ended, as it does when the broker is killed.
    Gone,
    /// The broker did what a broker must not do, whether it is killed or not.
    Misbehaved(String),
}

/// Who connects.
pub(super) struct Identity<'a> {
    pub(super) client_id: &'a str,
    pub(super) version: Version,
    /// Whether the session begins and ends with the connection.
    pub(super) is_clean: bool,
    pub(super) will: Option<Will<'a>>,
}

impl Connection {
    /// Connects and waits for CONNACK.
    pub(super) fn open(address: SocketAddr, identity: &Identity<'_>) -> Result<Self, Lost> {
        let stream = TcpStream::connect(address).map_err(Lost::from)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(ANSWER_LIMIT))?;
        let mut properties = PropertiesBuf::new();
        if identity.version.is_v5() && !identity.is_clean {
            properties.push(Property::SessionExpiryInterval(SESSION_EXPIRY_S));
        }
        let mut connection = Self {
            stream,
            version: identity.version,
            begun: Vec::new(),
            out: Vec::new(),
            session_present: false,
            receive_maximum: u16::MAX,
        };
        connection.send(&Packet::Connect(Connect {
            version: identity.version,
            clean_start: identity.is_clean,
            keep_alive_s: 0,
            client_id: identity.client_id,
            will: identity.will,
            user_name: None,
            password: None,
            properties: properties.as_properties(),
            bridge: false,
        }));
        connection.flush()?;
        connection.wait_for_connack()?;
        Ok(connection)
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    /// Puts a packet into the buffer.
    pub(super) fn send(&mut self, packet: &Packet<'_>) {
        packet.encode(self.version, &mut self.out);
    }

    pub(super) fn flush(&mut self) -> Result<(), Lost> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out)?;
            self.out.clear();
        }
        Ok(())
    }

    /// Sends what is in the buffer, then waits so long for whole packets; none may have come.
    pub(super) fn receive(&mut self, wait: Duration) -> Result<Vec<u8>, Lost> {
        self.flush()?;
        let mut whole = whole_packets(&self.begun)?;
        if whole == 0 {
            self.read(wait)?;
            whole = whole_packets(&self.begun)?;
        }
        let rest = self.begun.split_off(whole);
        Ok(std::mem::replace(&mut self.begun, rest))
    }

    /// Leaves with DISCONNECT, and waits until the broker has closed for it.
    pub(super) fn leave(mut self) {
        let (reason, properties) = (Reason::NormalDisconnection, Properties::EMPTY);
        self.send(&Packet::Disconnect(Disconnect { reason, properties }));
        let deadline = Instant::now() + ANSWER_LIMIT;
        // An error is what is waited for: the broker closes.
        while self.receive(ANSWER_LIMIT).is_ok() && Instant::now() < deadline {}
    }

    /// Goes away without a word.
    pub(super) fn vanish(self) {
        // If it is closed already it has gone too.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn read(&mut self, wait: Duration) -> Result<(), Lost> {
        self.stream.set_read_timeout(Some(wait.max(WAIT_MIN)))?;
        let before = self.begun.len();
        self.begun.resize(before + READ_BYTES, 0);
        let read = self.stream.read(&mut self.begun[before..]);
        self.begun.truncate(before + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(Lost::Gone),
            Err(error) if !is_timeout(&error) => Err(error.into()),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn wait_for_connack(&mut self) -> Result<(), Lost> {
        let deadline = Instant::now() + ANSWER_LIMIT;
        loop {
            let bytes = self.receive(deadline.saturating_duration_since(Instant::now()))?;
            if let Some(frame) = packets(&bytes).next() {
                match decode(frame, self.version)? {
                    Packet::ConnAck(connack) if !connack.reason.is_error() => {
                        self.session_present = connack.session_present;
                        self.receive_maximum = connack.properties.receive_maximum().unwrap_or(u16::MAX);
                        // What came right behind it is read again, in front of the rest.
                        let mut behind = bytes[frame.len..].to_vec();
                        behind.append(&mut self.begun);
                        self.begun = behind;
                        return Ok(());
                    }
                    Packet::ConnAck(connack) => return Err(refused(connack.reason)),
                    packet => return Err(unexpected(&packet)),
                }
            }
            if Instant::now() >= deadline {
                return Err(Lost::Misbehaved(format!("no CONNACK within {} s", ANSWER_LIMIT.as_secs())));
            }
        }
    }
}

/// How many bytes at the front are whole packets.
fn whole_packets(bytes: &[u8]) -> Result<usize, Lost> {
    let mut whole = 0;
    while let FrameStatus::Complete(frame) = frame(&bytes[whole..], PACKET_SIZE_MAX)? {
        whole += frame.len;
    }
    Ok(whole)
}

/// The packet that must not come here; DISCONNECT may come, but says that the broker does not want us.
pub(super) fn unexpected(packet: &Packet<'_>) -> Lost {
    Lost::Misbehaved(match packet {
        Packet::Disconnect(disconnect) => format!("DISCONNECT: {}", disconnect.reason),
        packet => format!("{} out of place", packet.kind().name()),
    })
}

fn refused(reason: Reason) -> Lost {
    Lost::Misbehaved(format!("CONNECT was refused: {reason}"))
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

impl From<io::Error> for Lost {
    /// A broker that takes nothing for so long is found out by the run, which waits for progress.
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl From<DecodeError> for Lost {
    fn from(error: DecodeError) -> Self {
        Self::Misbehaved(format!("it sent something that is not MQTT: {error}"))
    }
}

impl Lost {
    /// Notes what a connection of `name` ended with, unless a killed broker explains it.
    pub(super) fn note(self, name: &str, world: &World) {
        if let Self::Misbehaved(text) = self {
            world.ledger().findings.refused.note(|| format!("{name}: {text}"));
        }
        // Whatever it was, it may be the same again at once.
        world.pause(RETRY_PAUSE);
    }
}

/// How long a client waits for packets before it looks around.
pub(super) const TURN: Duration = Duration::from_millis(20);

/// A connection that ended is not opened again at once.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// A read timeout of 0 would wait for ever.
const WAIT_MIN: Duration = Duration::from_millis(1);

const READ_BYTES: usize = 64 * 1024;

/// For a broker that answers at all.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Longer than any run.
const SESSION_EXPIRY_S: u32 = 30 * 24 * 3600;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use siskin_proto::{PingResp, Publish, Qos, TopicName};

    use super::*;

    const CONNACK: [u8; 4] = [0x20, 0x02, 0x01, 0x00];

    /// A client of a server that answers CONNECT with these bytes and closes.
    fn answered(answer: Vec<u8>) -> Result<Connection, Lost> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut begun = [0; 2];
            stream.read_exact(&mut begun).unwrap();
            let mut rest = vec![0; begun[1].into()];
            stream.read_exact(&mut rest).unwrap();
            stream.write_all(&answer).unwrap();
        });
        let identity = Identity { client_id: "c", version: Version::V3_1_1, is_clean: false, will: None };
        let connection = Connection::open(address, &identity);
        server.join().unwrap();
        connection
    }

    fn publish(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let topic = TopicName::parse("a").unwrap();
        Packet::Publish(Publish {
            dup: false,
            qos: Qos::AtMostOnce,
            retain: false,
            topic: Some(topic),
            packet_id: None,
            properties: Properties::EMPTY,
            payload,
        })
        .encode(Version::V3_1_1, &mut bytes);
        bytes
    }

    #[test]
    fn what_comes_right_behind_connack_is_handed_out_in_order() {
        let mut pong = Vec::new();
        Packet::PingResp(PingResp).encode(Version::V3_1_1, &mut pong);
        let behind = [publish(b"first"), publish(b"second"), pong].concat();
        let mut connection = answered([&CONNACK[..], &behind].concat()).unwrap();
        assert!(connection.session_present);
        let mut came = Vec::new();
        while let Ok(bytes) = connection.receive(ANSWER_LIMIT) {
            came.extend(bytes);
        }
        assert!(came == behind, "{} bytes of {}", came.len(), behind.len());
    }

    #[test]
    fn a_refusal_and_an_end_without_an_answer_are_told_apart() {
        let refused = answered(vec![0x20, 0x02, 0x00, 0x05]);
        assert!(matches!(refused, Err(Lost::Misbehaved(text)) if text.contains("CONNECT was refused")));
        assert!(matches!(answered(Vec::new()), Err(Lost::Gone)));
        let nonsense = answered(vec![0x20, 0x80, 0x80, 0x80, 0x80, 0x01]);
        assert!(matches!(nonsense, Err(Lost::Misbehaved(_))));
    }
}
