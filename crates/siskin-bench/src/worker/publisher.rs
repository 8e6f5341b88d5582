//! The sending end: which messages may go out, and what came of them.

use siskin_proto::{PacketId, Qos, TopicName};

use super::desk::Desk;
use super::flights::Flights;
use crate::error::BenchError;
use crate::plan::Plan;
use crate::schedule::Schedule;
use crate::tally::Sent;
use crate::template::{Form, Template};

pub(super) struct Publisher {
    number: u32,
    template: Template,
    flights: Flights,
    /// The sequence number of the next message.
    next: u64,
    /// The sequence number at which it ends, for now.
    limit: u64,
    /// How many messages are due. In closed loop all are.
    due: u64,
    /// When each is due, in open loop.
    schedule: Option<Schedule>,
    /// How many may be unacknowledged.
    window: u16,
    /// How many copies of each message must arrive, if the window waits for them.
    copies_awaited: u32,
    copies: u32,
    /// How many copies have arrived.
    arrived: u64,
    written_off: u64,
    refused: u64,
    /// What was not acknowledged on connections that are over.
    in_doubt: u64,
    progressed_ns: u64,
    is_clearing: bool,
}

impl Publisher {
    pub(super) fn new(plan: &Plan, number: u32) -> Result<Self, BenchError> {
        let copies = plan.copies.get(number as usize).copied().unwrap_or(0);
        Ok(Self {
            number,
            template: template(plan, number, plan.payload_bytes)?,
            flights: Flights::default(),
            next: 0,
            limit: 0,
            due: u64::MAX,
            schedule: None,
            window: plan.window,
            copies_awaited: if plan.waits_for_arrival { copies } else { 0 },
            copies,
            arrived: 0,
            written_off: 0,
            refused: 0,
            in_doubt: 0,
            progressed_ns: 0,
            is_clearing: false,
        })
    }

    /// A connection stands on which the broker takes `receive_maximum` messages at once.
    pub(super) fn connected(&mut self, plan: &Plan, receive_maximum: u16) {
        self.window = plan.window.min(receive_maximum);
        self.in_doubt += self.flights.open() as u64;
        self.flights = Flights::default();
    }

    /// May send up to `count` more.
    pub(super) fn begin(&mut self, count: u64, schedule: Option<Schedule>, now_ns: u64) {
        self.limit = self.next.saturating_add(count);
        self.schedule = schedule;
        self.due = if schedule.is_some() { self.next } else { u64::MAX };
        self.progressed_ns = now_ns;
    }

    /// From here on each message that was sent is sent once more, empty, and none is counted.
    pub(super) fn begin_clearing(&mut self, plan: &Plan) -> Result<(), BenchError> {
        self.is_clearing = true;
        self.limit = self.next;
        self.next = 0;
        self.due = u64::MAX;
        self.schedule = None;
        self.copies_awaited = 0;
        self.template = template(plan, self.number, 0)?;
        Ok(())
    }

    /// Time is up. In open loop all that was due before is still sent, however late we are.
    pub(super) fn stop(&mut self, deadline_ns: u64) {
        self.limit = match &self.schedule {
            Some(schedule) => self.limit.min(schedule.count_before(self.number, deadline_ns)),
            None => self.next,
        };
        if self.schedule.is_some() {
            self.due = self.limit;
        }
    }

    /// The sequence number of the message that is due next, if there is one.
    pub(super) fn next_due(&self) -> Option<u64> {
        (self.due < self.limit).then_some(self.due)
    }

    /// One more message is due.
    pub(super) fn add_due(&mut self) {
        self.due += 1;
    }

    /// Appends as many messages as may go out now.
    pub(super) fn fill(&mut self, desk: &mut Desk, out: &mut Vec<u8>) {
        let qos = desk.plan().qos;
        let end = self.limit.min(self.due);
        while self.next < end && out.len() < OUT_BYTES_MAX && self.has_room() {
            let time_ns = match &self.schedule {
                Some(schedule) => schedule.due_ns(self.number, self.next),
                None => desk.now_ns,
            };
            let mut packet_id = None;
            if qos != Qos::AtMostOnce {
                packet_id = self.flights.send(time_ns, self.window);
                if packet_id.is_none() {
                    return;
                }
            }
            if self.schedule.is_some() {
                desk.tally.lateness.record(desk.now_ns.saturating_sub(time_ns));
            }
            self.template.append(packet_id, self.next, time_ns, &desk.shared.filler, out);
            self.next += 1;
            self.progressed_ns = desk.now_ns;
            if !self.is_clearing {
                desk.tally.counts.sent += 1;
                desk.tally.counts.expected += u64::from(self.copies);
            }
        }
    }

    /// PUBACK, or PUBREC with an error.
    pub(super) fn acknowledge(&mut self, id: PacketId, is_error: bool, desk: &mut Desk) -> bool {
        let Some(time_ns) = self.flights.acknowledge(id) else { return false };
        self.finish(time_ns, is_error, desk);
        true
    }

    /// PUBREC without an error: PUBREL is to follow.
    pub(super) fn release(&mut self, id: PacketId) -> bool {
        self.flights.release(id)
    }

    /// PUBCOMP.
    pub(super) fn complete(&mut self, id: PacketId, desk: &mut Desk) -> bool {
        let Some(time_ns) = self.flights.complete(id) else { return false };
        self.finish(time_ns, false, desk);
        true
    }

    fn finish(&mut self, time_ns: u64, is_error: bool, desk: &mut Desk) {
        desk.last_done_ns = desk.now_ns;
        if self.is_clearing {
            return;
        }
        if is_error {
            self.refused += 1;
            // Nobody will see it, and so nobody should wait for it.
            self.written_off += 1;
            desk.tally.counts.refused += 1;
            desk.tally.counts.expected -= u64::from(self.copies);
        } else {
            desk.tally.counts.acknowledged += 1;
            desk.tally.acknowledgement.record(desk.now_ns.saturating_sub(time_ns));
        }
    }

    /// So many copies have arrived in all.
    pub(super) fn set_arrived(&mut self, arrived: u64, now_ns: u64) {
        self.arrived = arrived;
        self.progressed_ns = now_ns;
        // What was written off and came late makes no more room.
        self.written_off = self.written_off.min(self.next.saturating_sub(self.arrived_everywhere()));
    }

    /// No longer waits for what has not arrived for so long that it never will. Says how many those are.
    pub(super) fn write_off(&mut self, now_ns: u64) -> u64 {
        let is_stuck = self.next < self.limit
            && !self.has_room()
            && now_ns.saturating_sub(self.progressed_ns) > STUCK_NS;
        if !is_stuck {
            return 0;
        }
        let missing = self.unarrived();
        self.written_off += missing;
        missing
    }

    /// Whether nothing is left to be sent or acknowledged.
    pub(super) fn is_finished(&self) -> bool {
        self.next >= self.limit && self.flights.open() == 0
    }

    /// Whether there is something to send, now or with room in the socket.
    pub(super) fn is_willing(&self) -> bool {
        let has_id = usize::from(self.window) > self.flights.open();
        self.next < self.limit.min(self.due) && has_id && self.has_room()
    }

    pub(super) fn packet_bytes(&self) -> usize {
        self.template.packet_bytes()
    }

    pub(super) fn unacknowledged(&self) -> u64 {
        self.in_doubt + self.flights.open() as u64
    }

    pub(super) fn sent(&self) -> Sent {
        // What is cleared was sent before.
        let sent = if self.is_clearing { self.limit } else { self.next };
        Sent { publisher: self.number, sent, refused: self.refused, in_doubt: self.unacknowledged() }
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.copies_awaited == 0 || self.unarrived() < u64::from(self.window)
    }

    #[inline]
    fn unarrived(&self) -> u64 {
        self.next.saturating_sub(self.arrived_everywhere() + self.written_off)
    }

    /// On the average over all who get copies.
    #[inline]
    fn arrived_everywhere(&self) -> u64 {
        self.arrived / u64::from(self.copies_awaited.max(1))
    }
}

fn template(plan: &Plan, number: u32, payload_bytes: usize) -> Result<Template, BenchError> {
    let (topic, sequence_at) = plan.topic_of(number)?;
    let topic = TopicName::parse(&topic).map_err(|error| BenchError::Topic { text: topic.clone(), error })?;
    Ok(Template::new(Form {
        version: plan.version,
        topic,
        sequence_at,
        qos: plan.qos,
        retain: plan.retain,
        payload_bytes,
        run: plan.run,
        publisher: number,
    }))
}

/// Bytes that are gathered for one write.
const OUT_BYTES_MAX: usize = 64 * 1024;

/// After so long without an arrival, what a window waits for will not come.
const STUCK_NS: u64 = crate::clock::SECOND_NS;
