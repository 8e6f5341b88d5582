//! A world in which everything goes wrong that can: links delay, stall and break, clients come back
//! under the same id before the broker has noticed that they left, workers' mail is late, disks are slow, and
//! in every other world the broker is killed again and again with what was not safe yet. One seed makes
//! one history, always the same.
//!
//! What must hold is checked after every step, and the rest when the world has come to peace: see
//! [`Ledger`].

mod client;
mod disk;
mod ledger;
mod link;
pub mod random;

use std::collections::VecDeque;
use std::sync::Arc;

use siskin_core::{Cause, Limits, Mail, NodeInfo, Now, Shared, Worker};
use siskin_proto::Version;

use client::SimClient;
use disk::{Disk, Found};
pub use ledger::Ledger;
use link::Link;
pub use random::Random;

/// What kind of world a seed makes.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Workers of the broker.
    pub workers: u16,
    /// Clients whose sessions last.
    pub persistent: usize,
    /// Clients whose sessions end with their connections.
    pub passing: usize,
    /// Steps before the world comes to peace.
    pub steps: usize,
    /// Whether the broker has a store, and dies now and then.
    pub is_durable: bool,
}

/// One world.
pub struct World {
    random: Random,
    now: Now,
    limits: Limits,
    disk: Option<Disk>,
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    /// Mail under way, by sender and receiver, in order.
    mail: Vec<VecDeque<Mail>>,
    links: Vec<Link>,
    clients: Vec<SimClient>,
    ledger: Ledger,
    is_at_peace: bool,
}

/// Runs the world of `seed` to its end.
///
/// # Panics
///
/// If anything that must hold does not; the message names the seed.
pub fn run(seed: u64) -> Ledger {
    let mut random = Random::new(seed);
    let shape = Shape {
        workers: random.between(1, 3) as u16,
        persistent: random.between(2, 5) as usize,
        passing: random.between(0, 2) as usize,
        steps: random.between(100, 500) as usize,
        is_durable: random.chance(50),
    };
    let mut world = World::new(random, shape);
    for step in 0..shape.steps {
        world.step();
        world.ledger.assert_step(seed, step, &world.clients);
    }
    world.make_peace();
    world.ledger.assert_end(seed, &world.clients, &world.shared);
    world.assert_clean(seed);
    world.ledger
}

impl World {
    fn new(mut random: Random, shape: Shape) -> Self {
        let limits = Limits {
            sys_interval_s: 0,
            inflight_max: random.between(1, 20) as u16,
            receive_maximum: random.between(1, 20) as u16,
            out_buffer_bytes_max: random.between(200, 4000) as usize,
            topic_alias_max: random.between(0, 4) as u16,
            queue_memory_bytes_max: random.between(0, 2000),
            ..Limits::default()
        };
        let now = Now::from_millis(1000);
        let found = shape.is_durable.then(|| Disk::choose(&mut random));
        let (shared, workers, disk) = start(limits.clone(), found, shape.workers, random.number(), now);
        let clients = (0..shape.persistent + shape.passing)
            .map(|number| SimClient::new(number, number < shape.persistent, &mut random))
            .collect();
        let pairs = workers.len() * workers.len();
        let mail = (0..pairs).map(|_| VecDeque::new()).collect();
        let (links, ledger) = (Vec::new(), Ledger::default());
        Self { random, now, limits, disk, shared, workers, mail, links, clients, ledger, is_at_peace: false }
    }

    /// One thing happens.
    fn step(&mut self) {
        let client = self.random.below(self.clients.len());
        match self.random.below(100) {
            0..34 => self.carry_up(client),
            34..62 => self.carry_down(client),
            62..74 => self.clients[client].publish(&mut self.random, &mut self.ledger, &mut self.links),
            74..84 => self.clients[client].acknowledge(&mut self.random, &mut self.links),
            84..86 => self.cut(client),
            86..92 => self.connect(client),
            92..94 => self.sync(),
            94 if self.random.chance(50) => self.crash(),
            94..97 => {
                let pair = self.random.below(self.mail.len());
                self.deliver_mail(pair);
            }
            _ => self.pass_time(),
        }
    }

    /// Some bytes from the client reach the broker.
    fn carry_up(&mut self, client: usize) {
        let Some(link) = self.clients[client].link else { return };
        let most = self.random.between(1, 60) as usize;
        let bytes = self.links[link].take_up(most);
        self.feed(link, &bytes);
    }

    fn feed(&mut self, link: usize, bytes: &[u8]) {
        self.links[link].inbound.extend_from_slice(bytes);
        loop {
            let worker = &mut self.workers[self.links[link].worker];
            if !link::take_frame(&mut self.links, link, worker, self.now) {
                break;
            }
        }
        self.flush();
    }

    /// Some bytes from the broker reach the client.
    fn carry_down(&mut self, client: usize) {
        let Some(link) = self.clients[client].link else { return };
        let most = self.random.between(1, 200) as usize;
        let bytes = self.links[link].take_down(most);
        self.clients[client].receive(&bytes, &mut self.links, &mut self.ledger);
        self.unblock(link);
    }

    /// The link breaks: what is under way on it is lost. The broker may learn of it much later.
    fn cut(&mut self, client: usize) {
        let Some(link) = self.clients[client].link.take() else { return };
        self.clients[client].disconnected();
        self.links[link].down.clear();
        if self.random.chance(50) {
            self.lose(link);
        }
    }

    fn lose(&mut self, link: usize) {
        let Link { worker, key, .. } = self.links[link];
        if let Some(key) = key {
            self.workers[worker].lost(key, link as u32, Cause::ConnectionLost, self.now);
        }
        self.links[link].is_open = false;
        self.flush();
    }

    /// The client connects, maybe while the broker still believes in its last connection.
    fn connect(&mut self, client: usize) {
        if self.clients[client].link.is_some() {
            if !self.random.chance(20) {
                return;
            }
            self.clients[client].disconnected();
        }
        let worker = self.random.below(self.workers.len());
        let room = self.random.between(100, 3000) as usize;
        self.links.push(Link::new(worker, room));
        self.clients[client].connect(self.links.len() - 1, &mut self.links);
    }

    fn deliver_mail(&mut self, pair: usize) {
        if let Some(mail) = self.mail[pair].pop_front() {
            let to = pair % self.workers.len();
            self.workers[to].receive(mail, self.now);
            self.flush();
        }
    }

    /// The disk gets so far.
    fn sync(&mut self) {
        if let Some(disk) = &self.disk {
            disk.step(&mut self.random);
            self.flush();
        }
    }

    /// The broker is killed, and started again on what its store has: what was safe, and maybe some more.
    fn crash(&mut self) {
        let Some(disk) = &self.disk else { return };
        let found = disk.crash(&mut self.random);
        for client in 0..self.clients.len() {
            let Some(link) = self.clients[client].link else { continue };
            // What was sent may still arrive.
            if self.random.chance(70) {
                let bytes = self.links[link].take_down(usize::MAX);
                self.clients[client].receive(&bytes, &mut self.links, &mut self.ledger);
            }
            self.clients[client].disconnected();
        }
        self.links.iter_mut().for_each(Link::vanish);
        self.mail.iter_mut().for_each(VecDeque::clear);
        let workers = self.workers.len() as u16;
        let seed = self.random.number();
        (self.shared, self.workers, self.disk) =
            start(self.limits.clone(), Some(found), workers, seed, self.now);
        self.ledger.crashed(&self.clients);
        self.flush();
    }

    /// Nothing is left in the store but what is at rest.
    fn assert_clean(&self, seed: u64) {
        let Some(disk) = &self.disk else { return };
        let (leftovers, retained) = disk.leftovers();
        assert!(leftovers.is_empty(), "seed {seed}: left in the store: {leftovers:#?}");
        let known = self.shared.retained.read().map_or(0, |retained| retained.len());
        assert_eq!(retained, known, "seed {seed}: retained messages in the store and in memory");
    }

    fn pass_time(&mut self) {
        self.now = self.now.plus_ms(self.random.between(1, 2000));
        for worker in &mut self.workers {
            worker.tick(self.now);
        }
        self.flush();
    }

    /// Carries out what the workers have gathered: bytes into links as far as there is room, mail under
    /// way, connections closed.
    fn flush(&mut self) {
        for index in 0..self.workers.len() {
            // Its turn may last while others have theirs.
            if !self.is_at_peace && self.random.chance(20) {
                continue;
            }
            let mut dirty = Vec::new();
            self.workers[index].commit(self.now);
            self.workers[index].take_dirty(&mut dirty);
            for (key, number) in dirty {
                link::write(&mut self.links[number as usize], &mut self.workers[index], key, self.now);
            }
            for to in 0..self.workers.len() {
                if let Some(mail) = self.workers[index].take_mail(to as u16) {
                    self.mail[index * self.workers.len() + to].push_back(mail);
                }
            }
            let mut closes = Vec::new();
            self.workers[index].take_closes(&mut closes);
            for close in closes {
                self.ledger.closed(&close.cause);
                self.links[close.connection as usize].close(close.out);
            }
            self.workers[index].take_events(&mut Vec::new());
        }
    }

    fn unblock(&mut self, link: usize) {
        let Link { worker, key, is_open, .. } = self.links[link];
        if let (Some(key), true) = (key, is_open) {
            link::write(&mut self.links[link], &mut self.workers[worker], key, self.now);
            self.flush();
        }
    }

    /// Everybody who lasts comes back, all links work, and everything runs until nothing moves.
    fn make_peace(&mut self) {
        self.is_at_peace = true;
        if let Some(disk) = &self.disk {
            disk.release();
        }
        self.flush();
        for client in 0..self.clients.len() {
            if self.clients[client].is_persistent {
                if self.clients[client].link.is_none() {
                    self.connect(client);
                }
            } else if self.clients[client].link.is_some() {
                self.clients[client].disconnected();
            }
        }
        // The broker learns of every link that is gone.
        for link in 0..self.links.len() {
            if self.links[link].is_open && self.clients.iter().all(|client| client.link != Some(link)) {
                self.lose(link);
            }
        }
        for _ in 0..100_000 {
            if !self.carry_everything() {
                return;
            }
        }
        panic!("the world finds no peace");
    }

    fn carry_everything(&mut self) -> bool {
        let mut has_moved = false;
        for pair in 0..self.mail.len() {
            while !self.mail[pair].is_empty() {
                self.deliver_mail(pair);
                has_moved = true;
            }
        }
        for client in 0..self.clients.len() {
            let Some(link) = self.clients[client].link else {
                if self.clients[client].is_persistent {
                    self.connect(client);
                    has_moved = true;
                }
                continue;
            };
            let up = self.links[link].take_up(usize::MAX);
            has_moved |= !up.is_empty();
            self.feed(link, &up);
            let down = self.links[link].take_down(usize::MAX);
            has_moved |= !down.is_empty();
            self.clients[client].receive(&down, &mut self.links, &mut self.ledger);
            self.unblock(link);
            has_moved |= self.clients[client].acknowledge_all(&mut self.links);
        }
        if self.disk.as_ref().is_some_and(Disk::has_fetched) {
            self.flush();
            has_moved = true;
        }
        has_moved
    }
}

/// A broker on what a store holds.
fn start(
    limits: Limits,
    found: Option<Found>,
    workers: u16,
    seed: u64,
    now: Now,
) -> (Arc<Shared>, Vec<Worker>, Option<Disk>) {
    let node = NodeInfo { name: "world".into(), version: String::new(), started_unix_ms: 0 };
    let make = |shared: &Arc<Shared>| -> Vec<Worker> {
        (0..workers).map(|index| Worker::new(index, Arc::clone(shared), now)).collect()
    };
    let Some(Found { disk, recovered, last }) = found else {
        let shared = Shared::new(limits, workers, seed, node);
        let workers = make(&shared);
        return (shared, workers, None);
    };
    let seed = recovered.seed().unwrap_or(seed);
    let shared = Shared::with_store(limits, workers, seed, node, disk.store(), last);
    let mut workers = make(&shared);
    recovered.install(&shared, &mut workers, now);
    (shared, workers, Some(disk))
}

/// The version that a client of a world speaks.
fn version(random: &mut Random) -> Version {
    [Version::V3_1, Version::V3_1_1, Version::V5][random.below(3)]
}
