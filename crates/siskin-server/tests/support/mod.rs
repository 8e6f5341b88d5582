//! A client of few words: whole packets in and out of a real socket, with a time limit on everything.

#![allow(dead_code, reason = "each file of tests uses its part")]

pub(crate) mod foreign;
pub(crate) mod pki;
pub(crate) mod web;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use siskin_proto::{
    Connect, Frame, FrameStatus, Packet, PacketId, Properties, Publish, Qos, Subscribe, SubscriptionOptions,
    TopicFilter, TopicName, Version, decode, frame,
};
use siskin_server::config::Durability;
use siskin_server::{Config, Server};
use socket2::{Domain, SockRef, Socket, Type};

/// Nothing that works takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A broker on a free port of 127.0.0.1.
pub(crate) fn broker(change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config { workers: 1, ..Config::default() };
    config.listeners = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()];
    config.limits.sys_interval_s = 0;
    config.store.durability = Durability::Memory;
    // Clients of these tests do not close what the broker has ended.
    config.transport.close_timeout_ms = 200;
    change(&mut config);
    Server::start(config).unwrap()
}

/// A transport to a listener that gives up when it waits for too long.
pub(crate) fn dial(address: SocketAddr) -> TcpStream {
    patient(TcpStream::connect(address).unwrap())
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub(crate) struct Client<S = TcpStream> {
    pub(crate) stream: S,
    version: Version,
    unread: Vec<u8>,
}

impl Client {
    /// A transport to the broker, without CONNECT.
    pub(crate) fn open(server: &Server) -> Self {
        Self::open_with(server, |_| {})
    }

    /// A transport whose kernel takes little that the client does not read.
    pub(crate) fn open_narrow(server: &Server) -> Self {
        Self::open_with(server, |socket| socket.set_recv_buffer_size(4096).unwrap())
    }

    /// Ends what [`Self::open_narrow`] began.
    pub(crate) fn widen(&self) {
        SockRef::from(&self.stream).set_recv_buffer_size(1 << 20).unwrap();
    }

    fn open_with(server: &Server, change: impl FnOnce(&Socket)) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        change(&socket);
        socket.connect(&server.addresses()[0].into()).unwrap();
        Self::over(patient(TcpStream::from(socket)))
    }

    /// A 5.0 client with a new session.
    pub(crate) fn connect(server: &Server, client_id: &str) -> Self {
        Self::connect_as(server, &connect_packet(client_id, Version::V5))
    }

    pub(crate) fn connect_as(server: &Server, connect: &Connect<'_>) -> Self {
        Self::open(server).connected(connect)
    }
}

impl<S: Read + Write> Client<S> {
    /// A client on a transport of any kind, without CONNECT.
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, version: Version::V5, unread: Vec::new() }
    }

    /// A 5.0 client with a new session, on a transport of any kind.
    pub(crate) fn connect_over(stream: S, client_id: &str) -> Self {
        Self::over(stream).connected(&connect_packet(client_id, Version::V5))
    }

    pub(crate) fn connected(mut self, connect: &Connect<'_>) -> Self {
        self.version = connect.version;
        self.send(&Packet::Connect(*connect));
        self.expect("CONNACK", |packet| matches!(packet, Packet::ConnAck(ack) if !ack.reason.is_error()));
        self
    }

    pub(crate) fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    pub(crate) fn encoded(&self, packet: &Packet<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        bytes
    }

    /// Sends `packet` in `version`, and goes on in it.
    pub(crate) fn send_as(&mut self, version: Version, packet: &Packet<'_>) {
        self.version = version;
        self.send(packet);
    }

    pub(crate) fn subscribe(&mut self, filter: &str, qos: Qos) {
        self.send(&subscribe_packet(filter, qos));
        self.expect("SUBACK", |packet| matches!(packet, Packet::SubAck(ack) if !ack.reasons[0].is_error()));
    }

    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8], qos: Qos) {
        self.send(&Packet::Publish(publish_packet(topic, payload, qos)));
    }

    /// The next packet, looked at by `look`.
    pub(crate) fn next<T>(&mut self, look: impl FnOnce(Packet<'_>) -> T) -> T {
        let whole = self.next_bytes().expect("a packet, not the end of the connection");
        self.next_of(&whole, look)
    }

    /// What `look` makes of a packet that was taken already.
    pub(crate) fn next_of<T>(&self, whole: &[u8], look: impl FnOnce(Packet<'_>) -> T) -> T {
        look(decode(as_frame(whole), self.version).unwrap())
    }

    pub(crate) fn expect(&mut self, what: &str, is: impl FnOnce(&Packet<'_>) -> bool) {
        self.next(|packet| assert!(is(&packet), "expected {what}, got {packet:?}"));
    }

    pub(crate) fn expect_payload(&mut self, payload: &[u8]) {
        self.next(|packet| match packet {
            Packet::Publish(publish) => assert!(publish.payload == payload, "another payload"),
            other => panic!("expected PUBLISH, got {other:?}"),
        });
    }

    /// The bytes of the next packet; None at the end of the connection.
    pub(crate) fn next_bytes(&mut self) -> Option<Vec<u8>> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Ok(FrameStatus::Complete(frame)) = frame(&self.unread, u32::MAX) {
                let len = frame.len;
                return Some(self.unread.drain(..len).collect());
            }
            assert!(Instant::now() < until, "no packet came in time");
            let mut buffer = [0; 65_536];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(len) => self.unread.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no packet and no end: {error}"),
            }
        }
    }

    /// Waits for the broker's end of the connection; nothing else may come.
    pub(crate) fn expect_end(&mut self) {
        if let Some(bytes) = self.next_bytes() {
            panic!("expected the end, got {:?}", decode(as_frame(&bytes), self.version));
        }
    }

    /// Waits until the broker has handled all that was sent to it.
    pub(crate) fn ping(&mut self) {
        self.send(&Packet::PingReq(siskin_proto::PingReq));
        self.expect("PINGRESP", |packet| matches!(packet, Packet::PingResp(_)));
    }
}

fn as_frame(bytes: &[u8]) -> Frame<'_> {
    match frame(bytes, u32::MAX) {
        Ok(FrameStatus::Complete(frame)) => frame,
        other => panic!("no frame: {other:?}"),
    }
}

pub(crate) fn connect_packet(client_id: &str, version: Version) -> Connect<'_> {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 0,
        client_id,
        will: None,
        user_name: None,
        password: None,
        properties: Properties::EMPTY,
        bridge: false,
    }
}

pub(crate) fn subscribe_packet(filter: &str, qos: Qos) -> Packet<'_> {
    let options = SubscriptionOptions { qos, ..SubscriptionOptions::default() };
    Packet::Subscribe(Subscribe {
        packet_id: PacketId::new(1).unwrap(),
        properties: Properties::EMPTY,
        filters: vec![(TopicFilter::parse(filter).unwrap(), options)],
    })
}

pub(crate) fn publish_packet<'a>(topic: &'a str, payload: &'a [u8], qos: Qos) -> Publish<'a> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: Some(TopicName::parse(topic).unwrap()),
        packet_id: (qos > Qos::AtMostOnce).then(|| PacketId::new(7).unwrap()),
        properties: Properties::EMPTY,
        payload,
    }
}
