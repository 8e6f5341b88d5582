//! One worker and nothing around it: for counting what the broker itself costs, and for more clients than a
//! machine has sockets.
//!
//! Transports are numbers. What the worker has for them is copied once, as a socket would, and given to whoever
//! drives it. There is no store.

use std::io::IoSlice;
use std::sync::Arc;

use siskin_core::{
    Caller, Cause, Close, Connected, Event, Limits, NodeInfo, Now, SessionKey, Shared, Worker,
};
use siskin_proto::{
    Connect, Frame, FrameStatus, Packet, Properties, Property, Qos, Subscribe, SubscriptionOptions,
    TopicFilter, Version, frame,
};

/// A worker without sockets.
pub struct Bare {
    worker: Worker,
    now: Now,
    transports: u32,
    dirty: Vec<(SessionKey, u32)>,
    closes: Vec<Close>,
    events: Vec<Event>,
    taken: Vec<u8>,
}

impl Bare {
    /// A broker of one worker. `$SYS` is off.
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    /// The same with these limits.
    pub fn with(mut limits: Limits) -> Self {
        limits.sys_interval_s = 0;
        let node = NodeInfo { name: "bare".into(), version: "0.0.0".into(), started_unix_ms: 0 };
        let shared = Shared::new(limits, 1, 7, node);
        let now = Now::from_millis(1_000_000);
        Self {
            worker: Worker::new(0, Arc::clone(&shared), now),
            now,
            transports: 0,
            dirty: Vec::new(),
            closes: Vec::new(),
            events: Vec::new(),
            taken: Vec::new(),
        }
    }

    /// A new transport that begins with these bytes, which are one CONNECT that is accepted.
    pub fn connect(&mut self, connect: &[u8]) -> SessionKey {
        self.transports += 1;
        let caller = Caller { connection: self.transports, ..Caller::default() };
        match self.worker.connect(whole(connect), &caller, self.now) {
            Connected::Accepted(key) => key,
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// Bytes from the client of session `key`: whole packets.
    pub fn send(&mut self, key: SessionKey, mut packets: &[u8]) {
        while !packets.is_empty() {
            let frame = whole(packets);
            packets = &packets[frame.len..];
            if self.worker.handle(key, frame, self.now).is_err() {
                return;
            }
        }
    }

    /// Ends the turn: what is to be written goes to `take`, session by session.
    pub fn turn(&mut self, mut take: impl FnMut(SessionKey, &[u8])) {
        self.worker.commit(self.now);
        self.worker.take_dirty(&mut self.dirty);
        for (key, _) in self.dirty.drain(..) {
            let Some(out) = self.worker.out(key) else { continue };
            while !out.is_empty() {
                let mut slices = [IoSlice::new(&[]); 8];
                let count = out.slices(&mut slices);
                let before = self.taken.len();
                slices[..count].iter().for_each(|slice| self.taken.extend_from_slice(slice));
                let written = self.taken.len() - before;
                out.advance(written);
            }
            self.worker.drained(key, self.now);
            take(key, &self.taken);
            self.taken.clear();
        }
        self.worker.take_closes(&mut self.closes);
        self.closes.clear();
        self.worker.take_events(&mut self.events);
        self.events.clear();
    }

    /// Ends the turn; what is to be written is only counted, in bytes.
    pub fn discard(&mut self) -> usize {
        let mut bytes = 0;
        self.turn(|_, taken| bytes += taken.len());
        bytes
    }

    /// The transport of session `key`, which must be its last, breaks.
    pub fn close(&mut self, key: SessionKey) {
        self.worker.lost(key, self.transports, Cause::ConnectionLost, self.now);
    }

    /// Time goes on, and what comes due happens.
    pub fn advance_ms(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        while let Some(next) = self.worker.next_deadline().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            self.worker.tick(self.now);
        }
        self.now = end;
    }

    /// The worker itself.
    pub fn worker(&self) -> &Worker {
        &self.worker
    }
}

impl Default for Bare {
    fn default() -> Self {
        Self::new()
    }
}

/// A CONNECT of a 5.0 client without keep alive, which keeps its session for ever if it `lasts`.
pub fn connect(client_id: &str, lasts: bool) -> Vec<u8> {
    connect_of(client_id, lasts, 0)
}

/// A CONNECT of a 5.0 client that will be heard of every `keep_alive_s` seconds.
pub fn connect_with_keep_alive(client_id: &str, keep_alive_s: u16) -> Vec<u8> {
    connect_of(client_id, false, keep_alive_s)
}

fn connect_of(client_id: &str, lasts: bool, keep_alive_s: u16) -> Vec<u8> {
    let expiry = match lasts {
        true => crate::buffer(&[Property::SessionExpiryInterval(u32::MAX)]),
        false => crate::buffer(&[]),
    };
    bytes(&Packet::Connect(Connect {
        version: Version::V5,
        clean_start: !lasts,
        keep_alive_s,
        client_id,
        will: None,
        user_name: None,
        password: None,
        properties: expiry.as_properties(),
        bridge: false,
    }))
}

/// A packet of 5.0 as it stands on the wire.
pub fn bytes(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(Version::V5, &mut bytes);
    bytes
}

/// A SUBSCRIBE to one filter.
pub fn subscribe(filter: &str, qos: Qos) -> Vec<u8> {
    let options = SubscriptionOptions { qos, ..Default::default() };
    let filter = TopicFilter::parse(filter).expect("a legal filter");
    bytes(&Packet::Subscribe(Subscribe {
        packet_id: crate::id(1),
        properties: Properties::EMPTY,
        filters: vec![(filter, options)],
    }))
}

/// The packet at the front of `bytes`.
pub fn whole(bytes: &[u8]) -> Frame<'_> {
    match frame(bytes, u32::MAX) {
        Ok(FrameStatus::Complete(frame)) => frame,
        other => panic!("no whole packet: {other:?}"),
    }
}

/// Answers to the packets in `taken`, which the broker sent to a client, as far as they want one; says how many were
/// PUBLISH packets.
pub fn acknowledge(mut taken: &[u8], into: &mut Vec<u8>) -> usize {
    let mut published = 0;
    while !taken.is_empty() {
        let frame = whole(taken);
        taken = &taken[frame.len..];
        let (first, at) = match (frame.first >> 4, frame.first >> 1 & 3) {
            (3, qos) => {
                published += 1;
                let topic_len = usize::from(u16::from_be_bytes([frame.body[0], frame.body[1]]));
                match qos {
                    0 => continue,
                    1 => (PUBACK, 2 + topic_len),
                    _ => (PUBREC, 2 + topic_len),
                }
            }
            (5, _) => (PUBREL, 0),
            (6, _) => (PUBCOMP, 0),
            _ => continue,
        };
        into.extend([first, 2, frame.body[at], frame.body[at + 1]]);
    }
    published
}

const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PUBREL: u8 = 0x62;
const PUBCOMP: u8 = 0x70;
