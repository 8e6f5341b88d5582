//! A whole broker in memory, and clients that speak to it packet by packet.
//!
//! No socket, no thread, no clock: every effect of a packet is there when [`Client::send`] returns, and
//! time moves only by [`Broker::advance_ms`]. With several workers their mail is carried at once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;
use std::sync::Arc;

use siskin_core::{
    Caller, Cause, Close, Connected, Event, Identity, Limits, Mail, NodeInfo, Now, Origin, Recovered,
    Rulebook, SessionKey, Shared, Story, Totals, Worker, refuse_first,
};
use siskin_proto::{
    Connect, Frame, FrameStatus, Packet, PacketId, PacketKind, Properties, PropertiesBuf, Property, PubAck,
    PubComp, PubRec, PubRel, Publish, Qos, Reason, Subscribe, SubscriptionOptions, TopicFilter, TopicName,
    Unsubscribe, Version, Will, decode, decode_connect, frame,
};

use crate::store::SimStore;

/// A broker in memory. Clones are the same broker.
#[derive(Clone)]
pub struct Broker(Rc<RefCell<Inner>>);

struct Inner {
    shared: Arc<Shared>,
    store: Option<Arc<SimStore>>,
    workers: Vec<Worker>,
    /// Mail under way, for whom, and whether it stays so.
    rulebook: Option<Arc<dyn Rulebook>>,
    post: VecDeque<(usize, Mail)>,
    is_post_held: bool,
    now: Now,
    lines: Vec<Line>,
    events: Vec<Event>,
}

/// One transport between a client and the broker.
struct Line {
    worker: usize,
    key: Option<SessionKey>,
    /// From the client, not yet a whole frame.
    inbound: Vec<u8>,
    /// To the client, not yet taken by the test.
    outbound: VecDeque<u8>,
    /// What one write may take; the rest waits as in a full socket.
    room: usize,
    end: Option<Cause>,
}

/// One client with one transport.
pub struct Client {
    broker: Broker,
    line: usize,
    version: Version,
}

/// A packet that a client received.
#[derive(Clone, PartialEq, Eq)]
pub struct Received {
    bytes: Vec<u8>,
    version: Version,
}

/// A PUBLISH that a client received, by value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The topic name; empty if only an alias came.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// The QoS it was sent at.
    pub qos: Qos,
    /// Whether it is said to be sent again.
    pub dup: bool,
    /// Whether it is said to be retained.
    pub retain: bool,
    /// Its packet id.
    pub packet_id: Option<PacketId>,
    properties: Vec<u8>,
}

impl Broker {
    /// A broker of one worker with the product's limits, but for `$SYS`, which would only be in the way.
    pub fn new() -> Self {
        Self::with(1, Limits { sys_interval_s: 0, ..Limits::default() })
    }

    /// A broker of `workers` workers with these limits. New transports go to them in turn. It has a store, in
    /// which everything is safe at once.
    pub fn with(workers: u16, limits: Limits) -> Self {
        Self(Rc::new(RefCell::new(Inner::start(workers, limits, Some(SimStore::new()), START, None))))
    }

    /// The same without a store.
    pub fn forgetful(workers: u16, limits: Limits) -> Self {
        Self(Rc::new(RefCell::new(Inner::start(workers, limits, None, START, None))))
    }

    /// A broker that starts on what is in `store` already.
    pub fn on(store: Arc<SimStore>, workers: u16, limits: Limits) -> Self {
        Self(Rc::new(RefCell::new(Inner::start(workers, limits, Some(store), START, None))))
    }

    /// From now on clients go by `rulebook`, those that are there too.
    pub fn go_by(&self, rulebook: Option<Arc<dyn Rulebook>>) {
        let mut inner = self.0.borrow_mut();
        inner.shared.set_rulebook(rulebook.clone());
        inner.rulebook = rulebook;
        let now = inner.now;
        for worker in &mut inner.workers {
            worker.renew_permissions();
            worker.tick(now);
        }
        inner.settle();
    }

    /// The store.
    pub fn store(&self) -> Arc<SimStore> {
        self.0.borrow().store.clone().expect("a broker with a store")
    }

    /// Carries out what the store has made safe or fetched since.
    pub fn settle(&self) {
        self.0.borrow_mut().settle();
    }

    /// From now on what workers have for each other stays under way, until [`Broker::carry_post`].
    pub fn hold_post(&self) {
        self.0.borrow_mut().is_post_held = true;
    }

    /// Hands over what is under way between workers, the oldest `count` batches of it.
    pub fn carry_post(&self, count: usize) {
        let mut inner = self.0.borrow_mut();
        for _ in 0..count {
            let Some((to, mail)) = inner.post.pop_front() else { break };
            let now = inner.now;
            inner.workers[to].receive(mail, now);
        }
        inner.settle();
    }

    /// Mail goes at once again, as it does in the beginning.
    pub fn release_post(&self) {
        self.0.borrow_mut().is_post_held = false;
        self.settle();
    }

    /// Kills the broker without a word and starts it again on what its store has safe, and on `more` batches that
    /// were not: every connection is gone.
    pub fn crash(&self, more: usize) {
        let workers = self.0.borrow().shared.workers();
        self.crash_to(workers, more);
    }

    /// The same, and the broker that starts again has `workers` workers.
    pub fn crash_to(&self, workers: u16, more: usize) {
        let mut inner = self.0.borrow_mut();
        let store = inner.store.as_ref().expect("a broker with a store").crash(more);
        let limits = (*inner.shared.limits()).clone();
        let mut lines = std::mem::take(&mut inner.lines);
        lines
            .iter_mut()
            .filter(|line| line.end.is_none())
            .for_each(|line| line.end = Some(Cause::ConnectionLost));
        let rulebook = inner.rulebook.take();
        *inner = Inner { lines, ..Inner::start(workers, limits, Some(store), inner.now, rulebook) };
        inner.settle();
    }

    /// The same with some limits changed.
    pub fn limited(change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits { sys_interval_s: 0, ..Limits::default() };
        change(&mut limits);
        Self::with(1, limits)
    }

    /// A new transport whose client has not said anything yet.
    pub fn open(&self, version: Version) -> Client {
        let mut inner = self.0.borrow_mut();
        let worker = inner.lines.len() % inner.workers.len();
        let line = Line {
            worker,
            key: None,
            inbound: Vec::new(),
            outbound: VecDeque::new(),
            room: usize::MAX,
            end: None,
        };
        inner.lines.push(line);
        Client { broker: self.clone(), line: inner.lines.len() - 1, version }
    }

    /// A new transport to which the broker's driver gives the number of the one that `ended` had.
    pub fn open_in_place_of(&self, ended: &Client, version: Version) -> Client {
        assert!(ended.end().is_some(), "a number is given anew when its transport is gone");
        let mut inner = self.0.borrow_mut();
        let line = inner.lines.pop().filter(|_| ended.line == inner.lines.len());
        assert!(line.is_some(), "only the last transport can be replaced");
        drop(inner);
        Client { version, ..self.open(version) }
    }

    /// A client that is connected with clean start.
    pub fn client(&self, version: Version, client_id: &str) -> Client {
        self.client_with(version, client_id, |_| {}, &[])
    }

    /// A client whose session outlives its connection: 3.x without clean session, 5.0 for ever.
    /// Says whether a session was present.
    pub fn persistent(&self, version: Version, client_id: &str) -> (Client, bool) {
        let mut client = self.open(version);
        let session_present = client.connect_persistent(client_id);
        (client, session_present)
    }

    /// A connected client whose CONNECT was changed by `change` and has these properties.
    pub fn client_with<'a>(
        &self,
        version: Version,
        client_id: &'a str,
        change: impl FnOnce(&mut Connect<'a>),
        properties: &[Property<'_>],
    ) -> Client {
        let mut client = self.open(version);
        let connack = client.connect(client_id, change, properties);
        assert_eq!(connack.reason(), Reason::Success, "{client_id} was not accepted");
        client
    }

    /// Time goes on, and what comes due happens, in its order.
    pub fn advance_ms(&self, ms: u64) {
        let mut inner = self.0.borrow_mut();
        let end = inner.now.plus_ms(ms);
        loop {
            let next = inner.workers.iter().filter_map(Worker::next_deadline).min();
            match next.filter(|next| *next <= end) {
                Some(next) => {
                    inner.now = next.max(inner.now);
                    let now = inner.now;
                    for worker in &mut inner.workers {
                        worker.tick(now);
                    }
                    inner.settle();
                }
                None => break,
            }
        }
        inner.now = end;
    }

    /// Time goes on by seconds.
    pub fn advance_s(&self, seconds: u64) {
        self.advance_ms(seconds * 1000);
    }

    /// Time jumps, as for a machine that slept: what came due meanwhile happens at the end of it.
    pub fn leap_s(&self, seconds: u64) {
        let mut inner = self.0.borrow_mut();
        let now = inner.now.plus_ms(seconds * 1000);
        inner.now = now;
        inner.workers.iter_mut().for_each(|worker| worker.tick(now));
        inner.settle();
    }

    /// What has happened since last asked.
    pub fn events(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.borrow_mut().events)
    }

    /// The counters of all workers.
    pub fn totals(&self) -> Totals {
        self.0.borrow().shared.totals()
    }

    /// What the workers share.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.0.borrow().shared)
    }

    /// What is known of `client_id`, as whoever asks finds it: from the worker that has its session, or from any.
    pub fn story(&self, client_id: &str) -> Option<Story> {
        let inner = self.0.borrow();
        let worker = inner.shared.owner(client_id).map_or(0, SessionKey::worker);
        inner.workers[usize::from(worker)].story(client_id)
    }

    /// What `ask` finds on each worker.
    pub fn ask<R>(&self, ask: impl FnMut(&mut Worker) -> R) -> Vec<R> {
        self.0.borrow_mut().workers.iter_mut().map(ask).collect()
    }

    /// The present.
    pub fn now(&self) -> Now {
        self.0.borrow().now
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.0.borrow().workers.iter().map(Worker::sessions).sum()
    }

    /// Stops as a broker does that was told to: wills first, then a DISCONNECT for everybody.
    pub fn stop(&self) {
        let mut inner = self.0.borrow_mut();
        let now = inner.now;
        inner.workers.iter_mut().for_each(|worker| worker.publish_wills_for_shutdown(now));
        inner.settle();
        inner.workers.iter_mut().for_each(|worker| worker.disconnect_all(now));
        inner.settle();
    }
}

/// Who the client of a CONNECT says it is: here everybody is believed.
fn identity_of(frame: Frame<'_>) -> Identity {
    let user_name = decode_connect(frame).ok().and_then(|connect| connect.user_name).map(Arc::from);
    Identity { user_name, ..Identity::default() }
}

/// When a broker of a test starts.
const START: Now = Now::from_millis(1_000_000);

impl Default for Broker {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    fn start(
        count: u16,
        limits: Limits,
        store: Option<Arc<SimStore>>,
        now: Now,
        rulebook: Option<Arc<dyn Rulebook>>,
    ) -> Self {
        let node = NodeInfo { name: "test".into(), version: "0.0.0".into(), started_unix_ms: 0 };
        let mut recovered = Recovered::default();
        let shared = match store.clone() {
            Some(store) => {
                let last = store.load(|live| recovered.add(live));
                Shared::with_store(limits, count, recovered.seed().unwrap_or(7), node, store, last)
            }
            None => Shared::new(limits, count, 7, node),
        };
        shared.set_rulebook(rulebook.clone());
        let mut workers: Vec<_> =
            (0..count).map(|index| Worker::new(index, Arc::clone(&shared), now)).collect();
        if store.is_some() {
            recovered.install(&shared, &mut workers, now);
        }
        Self {
            shared,
            store,
            workers,
            now,
            rulebook,
            post: VecDeque::new(),
            is_post_held: false,
            lines: Vec::new(),
            events: Vec::new(),
        }
    }

    fn feed(&mut self, line: usize, bytes: &[u8]) {
        if self.lines[line].end.is_some() {
            return;
        }
        self.lines[line].inbound.extend_from_slice(bytes);
        while self.take_frame(line) {}
        self.settle();
    }

    /// Reads what the clients sent while too much was promised to them.
    fn read_on(&mut self) -> bool {
        let mut has_read = false;
        for line in 0..self.lines.len() {
            while self.lines[line].end.is_none()
                && !self.lines[line].inbound.is_empty()
                && self.take_frame(line)
            {
                has_read = true;
            }
        }
        has_read
    }

    /// Handles one whole frame of what the client has sent; false if there is none.
    fn take_frame(&mut self, line: usize) -> bool {
        let (index, key) = (self.lines[line].worker, self.lines[line].key);
        let (now, limit) = (self.now, self.shared.limits().packet_size_max);
        let origin = origin(line);
        let worker = &mut self.workers[index];
        if key.is_some_and(|key| worker.is_ahead(key)) {
            return false;
        }
        let inbound = std::mem::take(&mut self.lines[line].inbound);
        let mut used = 0;
        match frame(&inbound, limit) {
            Ok(FrameStatus::Incomplete { .. }) => {
                self.lines[line].inbound = inbound;
                return false;
            }
            Ok(FrameStatus::Complete(frame)) => match key {
                Some(key) => {
                    used = frame.len;
                    if worker.handle(key, frame, now).is_err() {
                        self.lines[line].inbound.clear();
                        self.close();
                        return false;
                    }
                }
                None => match worker.connect(
                    frame,
                    &Caller {
                        connection: line as u32,
                        origin,
                        identity: identity_of(frame),
                        mount_point: None,
                    },
                    now,
                ) {
                    Connected::Accepted(key) => {
                        used = frame.len;
                        self.lines[line].key = Some(key);
                    }
                    Connected::Elsewhere { worker } => self.lines[line].worker = usize::from(worker),
                    Connected::Refused { reply, cause, .. } => {
                        self.lines[line].outbound.extend(reply);
                        self.lines[line].end = Some(cause);
                        return false;
                    }
                },
            },
            Err(error) => {
                match key {
                    Some(key) => worker.reject(key, error, now),
                    None => {
                        self.lines[line].outbound.extend(refuse_first(&error, None));
                        let cause = Cause::Malformed(error);
                        worker.turned_away(origin, None, &cause.to_string(), now);
                        self.lines[line].end = Some(cause);
                    }
                }
                self.close();
                return false;
            }
        }
        self.lines[line].inbound = inbound[used..].to_vec();
        true
    }

    /// Carries mail and bytes until nothing moves.
    fn settle(&mut self) {
        loop {
            for worker in &mut self.workers {
                worker.commit(self.now);
            }
            let mut has_moved = self.carry_mail();
            for index in 0..self.workers.len() {
                has_moved |= self.flush(index);
            }
            self.close();
            has_moved |= self.read_on();
            has_moved |= self.store.as_ref().is_some_and(|store| store.has_fetched());
            if !has_moved {
                break;
            }
        }
        for worker in &mut self.workers {
            worker.take_events(&mut self.events);
        }
    }

    fn carry_mail(&mut self) -> bool {
        let mut has_moved = false;
        for from in 0..self.workers.len() {
            for to in 0..self.workers.len() {
                if let Some(mail) = self.workers[from].take_mail(to as u16) {
                    self.post.push_back((to, mail));
                }
            }
        }
        while !self.is_post_held
            && let Some((to, mail)) = self.post.pop_front()
        {
            self.workers[to].receive(mail, self.now);
            has_moved = true;
        }
        has_moved
    }

    fn flush(&mut self, index: usize) -> bool {
        let worker = &mut self.workers[index];
        let mut dirty = Vec::new();
        worker.take_dirty(&mut dirty);
        for (key, line) in &dirty {
            let line = &mut self.lines[*line as usize];
            let Some(out) = worker.out(*key) else { continue };
            while !out.is_empty() && line.room > 0 {
                let mut slices = [IoSlice::new(&[]); 8];
                let count = out.slices(&mut slices);
                let mut written = 0;
                for slice in &slices[..count] {
                    let taken = slice.len().min(line.room - written);
                    line.outbound.extend(&slice[..taken]);
                    written += taken;
                }
                if line.room != usize::MAX {
                    line.room -= written;
                }
                out.advance(written);
            }
            if out.is_empty() {
                worker.drained(*key, self.now);
            }
        }
        !dirty.is_empty()
    }

    fn close(&mut self) {
        let mut closes = Vec::new();
        for worker in &mut self.workers {
            worker.take_closes(&mut closes);
        }
        for Close { connection, mut out, cause } in closes {
            let line = &mut self.lines[connection as usize];
            while !out.is_empty() {
                let mut slices = [IoSlice::new(&[]); 8];
                let count = out.slices(&mut slices);
                let bytes: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
                line.outbound.extend(&bytes);
                out.advance(bytes.len());
            }
            line.end = Some(cause);
        }
    }
}

/// Where the transport `line` comes from: each from an address of its own.
fn origin(line: usize) -> Origin {
    Origin::Address([10, 0, (line >> 8) as u8, line as u8].into(), 50_000)
}

impl Client {
    /// Where the broker sees it come from.
    pub fn origin(&self) -> Origin {
        origin(self.line)
    }

    /// The version it speaks.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Sends a packet.
    pub fn send(&self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        self.send_bytes(&bytes);
    }

    /// Sends a PUBLISH and takes no answer.
    pub fn send_publish(&self, publish: Publish<'_>) {
        self.send(&Packet::Publish(publish));
    }

    /// Sends bytes, whatever they are.
    pub fn send_bytes(&self, bytes: &[u8]) {
        self.broker.0.borrow_mut().feed(self.line, bytes);
    }

    /// Connects with clean start, after `change`, and returns the CONNACK.
    pub fn connect<'a>(
        &mut self,
        client_id: &'a str,
        change: impl FnOnce(&mut Connect<'a>),
        properties: &[Property<'_>],
    ) -> Received {
        self.send_connect(client_id, change, properties);
        self.receive()
    }

    /// Sends such a CONNECT and takes no answer.
    pub fn send_connect<'a>(
        &mut self,
        client_id: &'a str,
        change: impl FnOnce(&mut Connect<'a>),
        properties: &[Property<'_>],
    ) {
        let mut connect = Connect {
            version: self.version,
            clean_start: true,
            keep_alive_s: 0,
            client_id,
            will: None,
            user_name: None,
            password: None,
            properties: Properties::EMPTY,
            bridge: false,
        };
        change(&mut connect);
        let properties = buffer(properties);
        self.send(&Packet::Connect(Connect { properties: properties.as_properties(), ..connect }));
    }

    /// Connects to a session that lasts; says whether there was one.
    pub fn connect_persistent(&mut self, client_id: &str) -> bool {
        self.send_connect_persistent(client_id);
        let connack = self.receive();
        assert_eq!(connack.reason(), Reason::Success);
        connack.session_present()
    }

    /// Sends a CONNECT to a session that lasts and takes no answer.
    pub fn send_connect_persistent(&mut self, client_id: &str) {
        let expiry = [Property::SessionExpiryInterval(u32::MAX)];
        let properties: &[_] = if self.version.is_v5() { &expiry } else { &[] };
        self.send_connect(client_id, |connect| connect.clean_start = false, properties);
    }

    /// The next packet that came, if any.
    pub fn try_receive(&self) -> Option<Received> {
        let mut inner = self.broker.0.borrow_mut();
        let outbound = &mut inner.lines[self.line].outbound;
        let bytes = outbound.make_contiguous();
        let len = match frame(bytes, u32::MAX).expect("the broker sends whole frames") {
            FrameStatus::Complete(frame) => frame.len,
            FrameStatus::Incomplete { .. } => return None,
        };
        Some(Received { bytes: outbound.drain(..len).collect(), version: self.version })
    }

    /// The next packet, which must be there.
    #[track_caller]
    pub fn receive(&self) -> Received {
        match self.try_receive() {
            Some(received) => received,
            None => panic!("nothing came; closed: {:?}", self.end()),
        }
    }

    /// The next packet, which must be a PUBLISH.
    #[track_caller]
    pub fn receive_publish(&self) -> Delivered {
        self.receive().publish()
    }

    /// Everything that came.
    pub fn receive_all(&self) -> Vec<Received> {
        std::iter::from_fn(|| self.try_receive()).collect()
    }

    /// All PUBLISH packets that came; anything else fails.
    #[track_caller]
    pub fn receive_publishes(&self) -> Vec<Delivered> {
        self.receive_all().iter().map(Received::publish).collect()
    }

    /// Nothing came, and the connection stands.
    #[track_caller]
    pub fn expect_nothing(&self) {
        if let Some(received) = self.try_receive() {
            panic!("{received:?} came");
        }
        assert_eq!(self.end(), None);
    }

    /// The next packet is this acknowledgement of `packet_id`; before 5.0 it has no reason.
    #[track_caller]
    pub fn expect_ack(&self, kind: PacketKind, packet_id: u16, reason: Reason) {
        let received = self.receive();
        let came = match received.packet() {
            Packet::PubAck(ack) => (PacketKind::PubAck, ack.packet_id, ack.reason),
            Packet::PubRec(ack) => (PacketKind::PubRec, ack.packet_id, ack.reason),
            Packet::PubRel(ack) => (PacketKind::PubRel, ack.packet_id, ack.reason),
            Packet::PubComp(ack) => (PacketKind::PubComp, ack.packet_id, ack.reason),
            other => panic!("{other:?} came instead of a {kind}"),
        };
        let reason = if self.version.is_v5() { reason } else { Reason::Success };
        assert_eq!(came, (kind, id(packet_id), reason));
    }

    /// The broker closed the connection after it sent nothing.
    #[track_caller]
    pub fn expect_closed(&self) {
        assert_eq!(self.try_receive(), None, "a packet before the end");
        assert!(self.end().is_some(), "the connection stands");
    }

    /// The broker sent DISCONNECT with this reason and closed; for 3.x it only closed.
    #[track_caller]
    pub fn expect_disconnect(&self, reason: Reason) {
        if self.version.is_v5() {
            let received = self.receive();
            match received.packet() {
                Packet::Disconnect(disconnect) => assert_eq!(disconnect.reason, reason),
                other => panic!("{other:?} came instead of a DISCONNECT"),
            }
        }
        self.expect_closed();
    }

    /// Why the broker closed the connection, if it did.
    pub fn end(&self) -> Option<Cause> {
        self.broker.0.borrow().lines[self.line].end.clone()
    }

    /// The transport breaks.
    pub fn cut(&self) {
        if self.end().is_some() {
            return;
        }
        let mut inner = self.broker.0.borrow_mut();
        let (worker, key, now) = (inner.lines[self.line].worker, inner.lines[self.line].key, inner.now);
        if let Some(key) = key {
            inner.workers[worker].lost(key, self.line as u32, Cause::ConnectionLost, now);
        }
        inner.settle();
    }

    /// An operator ends the connection.
    pub fn kick(&self) {
        let mut inner = self.broker.0.borrow_mut();
        let (worker, key, now) = (inner.lines[self.line].worker, inner.lines[self.line].key, inner.now);
        inner.workers[worker].disconnect(key.expect("it is connected"), Cause::Administrative, now);
        inner.settle();
    }

    /// Leaves with DISCONNECT 0x00.
    pub fn disconnect(&self) {
        self.disconnect_with(Reason::Success, &[]);
    }

    /// Leaves with DISCONNECT of this reason and these properties.
    pub fn disconnect_with(&self, reason: Reason, properties: &[Property<'_>]) {
        let properties = buffer(properties);
        let properties = properties.as_properties();
        self.send(&Packet::Disconnect(siskin_proto::Disconnect { reason, properties }));
    }

    /// From now on only `bytes` more are taken from the broker, as by a reader that stops.
    pub fn stall_after(&self, bytes: usize) {
        self.broker.0.borrow_mut().lines[self.line].room = bytes;
    }

    /// Reads on after [`Self::stall_after`].
    pub fn resume(&self) {
        let mut inner = self.broker.0.borrow_mut();
        inner.lines[self.line].room = usize::MAX;
        let (worker, key, now) = (inner.lines[self.line].worker, inner.lines[self.line].key, inner.now);
        let Some(key) = key else { return };
        let mut bytes = Vec::new();
        if let Some(out) = inner.workers[worker].out(key) {
            while !out.is_empty() {
                let mut slices = [IoSlice::new(&[]); 8];
                let count = out.slices(&mut slices);
                let portion: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
                out.advance(portion.len());
                bytes.extend(portion);
            }
        }
        inner.lines[self.line].outbound.extend(bytes);
        inner.workers[worker].drained(key, now);
        inner.settle();
    }

    /// Subscribes and returns the reason code.
    #[track_caller]
    pub fn subscribe(&self, filter: &str, qos: Qos) -> Reason {
        self.subscribe_with(filter, SubscriptionOptions { qos, ..Default::default() }, &[])
    }

    /// Subscribes with options and properties and returns the reason code. What came before the SUBACK
    /// must have been received.
    #[track_caller]
    pub fn subscribe_with(
        &self,
        filter: &str,
        options: SubscriptionOptions,
        properties: &[Property<'_>],
    ) -> Reason {
        let properties = buffer(properties);
        self.send(&Packet::Subscribe(Subscribe {
            packet_id: id(1),
            properties: properties.as_properties(),
            filters: vec![(TopicFilter::parse(filter).expect("a legal filter"), options)],
        }));
        let received = self.receive();
        match received.packet() {
            Packet::SubAck(suback) => suback.reasons[0],
            other => panic!("{other:?} came instead of a SUBACK"),
        }
    }

    /// Unsubscribes; the reason code, which 3.x does not have.
    #[track_caller]
    pub fn unsubscribe(&self, filter: &str) -> Option<Reason> {
        self.send(&Packet::Unsubscribe(Unsubscribe {
            packet_id: id(1),
            properties: Properties::EMPTY,
            filters: vec![TopicFilter::parse(filter).expect("a legal filter")],
        }));
        let received = self.receive();
        match received.packet() {
            Packet::UnsubAck(unsuback) => unsuback.reasons.first().copied(),
            other => panic!("{other:?} came instead of an UNSUBACK"),
        }
    }

    /// Publishes to the end of the exchange and returns the reason code of its first answer.
    #[track_caller]
    pub fn publish(&self, topic: &str, payload: &[u8], qos: Qos) -> Reason {
        self.publish_with(topic, payload, qos, false, &[])
    }

    /// Publishes with RETAIN 1.
    #[track_caller]
    pub fn retain(&self, topic: &str, payload: &[u8], qos: Qos) -> Reason {
        self.publish_with(topic, payload, qos, true, &[])
    }

    /// Publishes to the end of the exchange and returns the reason code of its first answer.
    #[track_caller]
    pub fn publish_with(
        &self,
        topic: &str,
        payload: &[u8],
        qos: Qos,
        retain: bool,
        properties: &[Property<'_>],
    ) -> Reason {
        let properties = buffer(properties);
        let packet_id = (qos > Qos::AtMostOnce).then(|| id(60_000));
        self.send(&Packet::Publish(Publish {
            dup: false,
            qos,
            retain,
            topic: (!topic.is_empty()).then(|| TopicName::parse(topic).expect("a legal topic")),
            packet_id,
            properties: properties.as_properties(),
            payload,
        }));
        match qos {
            Qos::AtMostOnce => Reason::Success,
            Qos::AtLeastOnce => self.take_answer(),
            Qos::ExactlyOnce => {
                let reason = self.take_answer();
                if !reason.is_error() {
                    self.pubrel(id(60_000));
                    assert_eq!(self.take_answer(), Reason::Success, "PUBCOMP");
                }
                reason
            }
        }
    }

    /// The reason of the answer to id 60000, which may stand among messages for this client.
    #[track_caller]
    fn take_answer(&self) -> Reason {
        let received = self.receive_all();
        let mut answer = None;
        let mut rest = Vec::new();
        for received in received {
            match received.packet() {
                Packet::PubAck(PubAck { packet_id, reason, .. })
                | Packet::PubRec(PubRec { packet_id, reason, .. })
                | Packet::PubComp(PubComp { packet_id, reason, .. })
                    if packet_id == id(60_000) && answer.is_none() =>
                {
                    answer = Some(reason);
                }
                _ => rest.extend(received.bytes),
            }
        }
        self.broker.0.borrow_mut().lines[self.line].outbound.extend(rest);
        answer.unwrap_or_else(|| panic!("no answer came; closed: {:?}", self.end()))
    }

    /// Sends PUBACK.
    pub fn puback(&self, packet_id: PacketId) {
        let (reason, properties) = (Reason::Success, Properties::EMPTY);
        self.send(&Packet::PubAck(PubAck { packet_id, reason, properties }));
    }

    /// Sends PUBREC.
    pub fn pubrec(&self, packet_id: PacketId) {
        self.pubrec_with(packet_id, Reason::Success);
    }

    /// Sends PUBREC with a reason.
    pub fn pubrec_with(&self, packet_id: PacketId, reason: Reason) {
        self.send(&Packet::PubRec(PubRec { packet_id, reason, properties: Properties::EMPTY }));
    }

    /// Sends PUBREL.
    pub fn pubrel(&self, packet_id: PacketId) {
        let (reason, properties) = (Reason::Success, Properties::EMPTY);
        self.send(&Packet::PubRel(PubRel { packet_id, reason, properties }));
    }

    /// Sends PUBCOMP.
    pub fn pubcomp(&self, packet_id: PacketId) {
        let (reason, properties) = (Reason::Success, Properties::EMPTY);
        self.send(&Packet::PubComp(PubComp { packet_id, reason, properties }));
    }

    /// Acknowledges a message to the end of its exchange.
    #[track_caller]
    pub fn acknowledge(&self, delivered: &Delivered) {
        match (delivered.qos, delivered.packet_id) {
            (Qos::AtLeastOnce, Some(id)) => self.puback(id),
            (Qos::ExactlyOnce, Some(id)) => {
                self.pubrec(id);
                self.take_release(id);
                self.pubcomp(id);
            }
            _ => {}
        }
    }

    /// Takes the PUBREL for `id`, which may stand behind messages that came before.
    #[track_caller]
    fn take_release(&self, id: PacketId) {
        let received = self.receive_all();
        let is_release =
            |received: &Received| matches!(received.packet(), Packet::PubRel(p) if p.packet_id == id);
        let at = received.iter().position(is_release);
        let rest = received.iter().enumerate().filter(|(place, _)| Some(*place) != at);
        let rest: Vec<u8> = rest.flat_map(|(_, received)| received.bytes.clone()).collect();
        self.broker.0.borrow_mut().lines[self.line].outbound.extend(rest);
        assert!(at.is_some(), "no PUBREL came; closed: {:?}", self.end());
    }
}

impl Received {
    /// The packet, decoded.
    pub fn packet(&self) -> Packet<'_> {
        let Ok(FrameStatus::Complete(frame)) = frame(&self.bytes, u32::MAX) else {
            panic!("a whole frame was cut out")
        };
        decode(frame, self.version).expect("the broker sends packets that decode")
    }

    /// The packet as it was on the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The PUBLISH it must be.
    #[track_caller]
    pub fn publish(&self) -> Delivered {
        match self.packet() {
            Packet::Publish(publish) => Delivered {
                topic: publish.topic.map_or("", |topic| topic.as_str()).to_owned(),
                payload: publish.payload.to_vec(),
                qos: publish.qos,
                dup: publish.dup,
                retain: publish.retain,
                packet_id: publish.packet_id,
                properties: publish.properties.raw().to_vec(),
            },
            other => panic!("{other:?} came instead of a PUBLISH"),
        }
    }

    /// The reason code it carries; of a 3.x CONNACK the nearest one.
    #[track_caller]
    pub fn reason(&self) -> Reason {
        match self.packet() {
            Packet::ConnAck(p) => p.reason,
            Packet::PubAck(p) => p.reason,
            Packet::PubRec(p) => p.reason,
            Packet::PubRel(p) => p.reason,
            Packet::PubComp(p) => p.reason,
            Packet::Disconnect(p) => p.reason,
            Packet::Auth(p) => p.reason,
            other => panic!("{other:?} has no one reason"),
        }
    }

    /// Session present of the CONNACK it must be.
    #[track_caller]
    pub fn session_present(&self) -> bool {
        match self.packet() {
            Packet::ConnAck(connack) => connack.session_present,
            other => panic!("{other:?} came instead of a CONNACK"),
        }
    }
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.packet().fmt(f)
    }
}

impl Delivered {
    /// The same as it comes again.
    #[must_use]
    pub fn again(&self) -> Self {
        Self { dup: true, ..self.clone() }
    }

    /// Its properties.
    pub fn properties(&self) -> Properties<'_> {
        Properties::from_valid_raw(&self.properties)
    }
}

/// The packet id `id`, which is not 0.
pub fn id(id: u16) -> PacketId {
    PacketId::new(id).expect("packet ids in tests are not 0")
}

/// A PUBLISH for tests. QoS 0 has no packet id, whatever `packet_id` says.
pub fn publish<'a>(topic: &'a str, payload: &'a [u8], qos: Qos, packet_id: u16) -> Publish<'a> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: Some(TopicName::parse(topic).expect("a legal topic")),
        packet_id: (qos > Qos::AtMostOnce).then(|| id(packet_id)),
        properties: Properties::EMPTY,
        payload,
    }
}

/// Properties in a row.
pub fn buffer(properties: &[Property<'_>]) -> PropertiesBuf {
    let mut buffer = PropertiesBuf::new();
    properties.iter().for_each(|property| buffer.push(*property));
    buffer
}

/// A will for tests.
pub fn will<'a>(topic: &'a str, payload: &'a [u8], qos: Qos) -> Will<'a> {
    let topic = TopicName::parse(topic).expect("a legal topic");
    Will { topic, payload, qos, retain: false, properties: Properties::EMPTY }
}
