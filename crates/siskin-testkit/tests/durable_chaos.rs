//! Everything that clients may do to the records of a broker, in any order, on a store that holds, fails and is
//! crashed, with mail under way between workers: no record is released twice, and in the end none is left.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

use siskin_core::store::Health;
use siskin_core::{Limits, QueueFull};
use siskin_proto::{
    Packet, Properties, Property, Publish, Qos, RetainHandling, Subscribe, SubscriptionOptions, TopicFilter,
    Unsubscribe, Version,
};
use siskin_testkit::world::random::Random;
use siskin_testkit::*;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const TOPICS: [&str; 4] = ["t/1", "t/2", "r/1", "w"];
const FILTERS: [&str; 8] = ["t/1", "t/+", "#", "r/#", "w", "$share/g/t/1", "$share/g/#", "$share/h/t/+"];
const QUALITIES: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

struct Chaos {
    random: Random,
    broker: Broker,
    clients: Vec<Option<Client>>,
    next_id: u16,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let limits = Limits {
            sys_interval_s: 0,
            inflight_max: random.between(1, 5) as u16,
            receive_maximum: 5,
            queue_messages_max: random.between(1, 30) as u32,
            queue_memory_bytes_max: random.between(0, 1000),
            queue_full: if random.chance(50) { QueueFull::DropNewest } else { QueueFull::DropOldest },
            queue_qos0: random.chance(30),
            retained_messages_max: random.between(1, 4) as u32,
            retained_expiry_s: if random.chance(30) { 20 } else { 0 },
            out_buffer_bytes_max: 400,
            ..Limits::default()
        };
        let broker = Broker::with(random.between(1, 3) as u16, limits);
        let clients = NAMES.iter().map(|_| None).collect();
        Self { random, broker, clients, next_id: 1 }
    }

    fn step(&mut self) {
        match self.random.below(30) {
            0..5 => self.connect(),
            5..9 => self.subscribe(),
            9 => self.unsubscribe(),
            10..16 => self.publish(),
            16..21 => self.answer(),
            21 => self.leave(),
            22 => self.broker.store().hold(),
            23 | 24 => _ = self.broker.store().sync(self.random.below(4)),
            25 => {
                let sick = [Health::Behind, Health::Tight, Health::Full, Health::Failing];
                let health = if self.random.chance(40) { Health::Good } else { sick[self.random.below(4)] };
                self.broker.store().set_health(health);
            }
            26 => self.broker.advance_ms(self.random.between(1, 15_000)),
            27 => self.broker.hold_post(),
            28 => self.broker.carry_post(self.random.below(4)),
            _ => self.crash(),
        }
        self.broker.settle();
    }

    fn crash(&mut self) {
        if self.random.chance(60) {
            return;
        }
        let (workers, more) = (self.random.between(1, 3) as u16, self.random.below(6));
        self.broker.crash_to(workers, more);
        self.clients.iter_mut().for_each(|client| *client = None);
    }

    fn connect(&mut self) {
        let who = self.random.below(NAMES.len());
        let random = &mut self.random;
        let version = [Version::V3_1, Version::V3_1_1, Version::V5][random.below(3)];
        let mut properties = Vec::new();
        if version.is_v5() && random.chance(70) {
            properties.push(Property::SessionExpiryInterval([0, 5, 100, u32::MAX][random.below(4)]));
        }
        let delay = buffer(&[Property::WillDelayInterval(random.between(0, 10) as u32)]);
        let mut last = will(TOPICS[random.below(4)], b"gone", QUALITIES[random.below(3)]);
        last.retain = random.chance(20);
        if version.is_v5() {
            last.properties = delay.as_properties();
        }
        let (clean_start, has_will) = (random.chance(30), random.chance(40));
        let set = |connect: &mut siskin_proto::Connect<'_>| connect.clean_start = clean_start;
        let mut client = self.broker.open(version);
        if has_will {
            client.send_connect(
                NAMES[who],
                |connect| {
                    connect.clean_start = clean_start;
                    connect.will = Some(last);
                },
                &properties,
            );
        } else {
            client.send_connect(NAMES[who], set, &properties);
        }
        self.clients[who] = Some(client);
    }

    fn somebody(&mut self) -> Option<&Client> {
        let who = self.random.below(NAMES.len());
        self.clients[who].as_ref()
    }

    fn subscribe(&mut self) {
        let filter = FILTERS[self.random.below(FILTERS.len())];
        let handlings =
            [RetainHandling::SendAtSubscribe, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
        let mut options = SubscriptionOptions { qos: QUALITIES[self.random.below(3)], ..Default::default() };
        let (no_local, as_published) = (self.random.chance(30), self.random.chance(30));
        let (handling, id_value) = (handlings[self.random.below(3)], self.random.between(1, 500) as u32);
        let has_id = self.random.chance(30);
        let Some(client) = self.somebody() else { return };
        let mut properties = Vec::new();
        if client.version().is_v5() {
            options.no_local = no_local && !filter.starts_with('$');
            options.retain_as_published = as_published;
            options.retain_handling = handling;
            properties.extend(has_id.then_some(Property::SubscriptionIdentifier(id_value)));
        }
        let properties = buffer(&properties);
        let filters = vec![(TopicFilter::parse(filter).expect("a legal filter"), options)];
        let properties = properties.as_properties();
        client.send(&Packet::Subscribe(Subscribe { packet_id: id(1), properties, filters }));
    }

    fn unsubscribe(&mut self) {
        let filter = FILTERS[self.random.below(FILTERS.len())];
        let Some(client) = self.somebody() else { return };
        let filters = vec![TopicFilter::parse(filter).expect("a legal filter")];
        let properties = Properties::EMPTY;
        client.send(&Packet::Unsubscribe(Unsubscribe { packet_id: id(2), properties, filters }));
    }

    fn publish(&mut self) {
        self.next_id = self.next_id % 20 + 1;
        let (topic, packet_id) = (TOPICS[self.random.below(4)], self.next_id);
        let qos = QUALITIES[self.random.below(3)];
        let retain = topic == "r/1" || self.random.chance(10);
        let payload = vec![b'x'; self.random.below(120)];
        let payload = if self.random.chance(30) { &[] } else { payload.as_slice() };
        let expiry = buffer(&[Property::MessageExpiryInterval(self.random.between(1, 20) as u32)]);
        let expires = self.random.chance(20);
        let Some(client) = self.somebody() else { return };
        let properties =
            if expires && client.version().is_v5() { expiry.as_properties() } else { Properties::EMPTY };
        let message = publish(topic, payload, qos, packet_id);
        client.send_publish(Publish { retain, properties, ..message });
        if qos == Qos::ExactlyOnce && self.random.chance(60) {
            self.clients.iter().flatten().for_each(|client| client.pubrel(id(packet_id)));
        }
    }

    fn answer(&mut self) {
        let fails = self.random.chance(10);
        let forgets = self.random.chance(20);
        let Some(client) = self.somebody() else { return };
        for received in client.receive_all() {
            match received.packet() {
                Packet::Publish(publish) => match (publish.qos, publish.packet_id) {
                    _ if forgets => {}
                    (Qos::AtLeastOnce, Some(id)) => client.puback(id),
                    (Qos::ExactlyOnce, Some(id)) if fails && client.version().is_v5() => {
                        client.pubrec_with(id, siskin_proto::Reason::QuotaExceeded);
                    }
                    (_, Some(id)) => client.pubrec(id),
                    _ => {}
                },
                Packet::PubRel(release) if !fails => client.pubcomp(release.packet_id),
                Packet::PubRec(ack) if !ack.reason.is_error() => client.pubrel(ack.packet_id),
                _ => {}
            }
        }
    }

    fn leave(&mut self) {
        let how = self.random.below(4);
        let who = self.random.below(NAMES.len());
        let Some(client) = self.clients[who].take() else { return };
        match how {
            0 => client.cut(),
            1 => client.send_bytes(&[0xC1, 0]),
            2 if client.version().is_v5() => {
                client.disconnect_with(siskin_proto::Reason::DisconnectWithWill, &[]);
            }
            _ => client.disconnect(),
        }
    }

    /// The store is well, and everybody takes all there is and leaves for good.
    fn finish(mut self, seed: u64) {
        let store = self.broker.store();
        store.set_health(Health::Good);
        store.release();
        self.broker.release_post();
        self.broker.settle();
        for client in self.clients.iter_mut().filter_map(Option::take) {
            client.cut();
        }
        if seed.is_multiple_of(2) {
            self.broker.crash(0);
        }
        let store = self.broker.store();
        // Delayed wills first, and expiry.
        self.broker.advance_s(200);
        for name in NAMES {
            self.broker.client(Version::V5, name).disconnect();
        }
        let publisher = self.broker.client(Version::V5, "z");
        for topic in TOPICS {
            publisher.retain(topic, b"", Qos::AtLeastOnce);
        }
        publisher.disconnect();
        assert_eq!(self.broker.sessions(), 0, "seed {seed}");
        assert_eq!(store.leftovers(), [""; 0], "seed {seed}");
        assert_eq!(store.records(), 1, "seed {seed}");
        let totals = self.broker.totals();
        assert_eq!((totals.stored_messages, totals.stored_bytes), (0, 0), "seed {seed}");
        assert_eq!(self.broker.shared().router.subscriptions(), 0, "seed {seed}");
    }
}

#[test]
fn no_history_leaves_a_record_behind_or_releases_one_twice() {
    for seed in 0..300 {
        let mut chaos = Chaos::new(seed);
        for _ in 0..300 {
            chaos.step();
        }
        chaos.finish(seed);
    }
}
