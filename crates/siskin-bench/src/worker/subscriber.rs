//! The receiving end: every message that arrives is accounted for.

use siskin_proto::delivery::{Arrival, Receiver};
use siskin_proto::{PacketId, PubAck, PubComp, PubRec, Publish, Qos};

use super::cause::Cause;
use super::desk::Desk;
use crate::header::Header;
use crate::plan::{KEPT_RUN, Plan, StreamKey};
use crate::seen::{Inserted, Seen};
use crate::tally::Heard;

pub(super) struct Subscriber {
    receiver: Receiver,
    /// By publisher, ascending.
    tracks: Vec<Track>,
    pub(super) subacks_awaited: u32,
}

/// One publisher's messages, as they come.
struct Track {
    publisher: u32,
    group: Option<u32>,
    /// One more than the highest sequence number so far.
    next: u64,
    received: u64,
    seen: Seen,
}

impl Subscriber {
    pub(super) fn new(streams: &[StreamKey]) -> Self {
        let track = |key: &StreamKey| Track {
            publisher: key.publisher,
            group: key.group,
            next: 0,
            received: 0,
            seen: Seen::default(),
        };
        let tracks = streams.iter().map(track).collect();
        Self { receiver: Receiver::new(), tracks, subacks_awaited: 0 }
    }

    pub(super) fn connected(&mut self, plan: &Plan, is_new_session: bool) {
        if is_new_session {
            self.receiver = Receiver::new();
        }
        self.receiver.connected(plan.receive_maximum.unwrap_or(u16::MAX));
    }

    /// PUBLISH: answers and accounts for it.
    pub(super) fn receive(
        &mut self,
        publish: &Publish<'_>,
        desk: &mut Desk,
        out: &mut Vec<u8>,
    ) -> Result<(), Cause> {
        let version = desk.plan().version;
        match (publish.qos, publish.packet_id) {
            (Qos::AtLeastOnce, Some(id)) => PubAck::success(id).encode(version, out),
            (Qos::ExactlyOnce, Some(id)) => {
                let arrival = self.receiver.publish(id);
                if arrival == Arrival::TooMany {
                    return Err(Cause::ReceiveMaximum);
                }
                PubRec::success(id).encode(version, out);
                if arrival == Arrival::Again {
                    desk.tally.counts.resent += 1;
                    return Ok(());
                }
            }
            _ => {}
        }
        if desk.plan().accounts {
            self.account(publish.payload, desk);
        } else {
            self.count(publish.payload, desk);
        }
        Ok(())
    }

    /// PUBREL.
    pub(super) fn release(&mut self, id: PacketId, desk: &Desk, out: &mut Vec<u8>) {
        self.receiver.release(id);
        PubComp::success(id).encode(desk.plan().version, out);
    }

    pub(super) fn heard(&self) -> impl Iterator<Item = Heard> {
        let alone = self.tracks.iter().filter(|track| track.group.is_none());
        alone.map(|track| Heard { publisher: track.publisher, received: track.received })
    }

    fn account(&mut self, payload: &[u8], desk: &mut Desk) {
        let (run, payload_bytes) = (desk.plan().run, desk.plan().payload_bytes);
        let is_ordered = desk.plan().is_ordered;
        let header = Header::decode(payload).filter(|header| header.run == run);
        let Some(header) = header else {
            desk.tally.counts.foreign += 1;
            return;
        };
        let Some(track) = track(&mut self.tracks, header.publisher) else {
            // What was kept has been for another run, which may have had more publishers.
            match run {
                KEPT_RUN => desk.tally.counts.foreign += 1,
                _ => desk.tally.counts.misrouted += 1,
            }
            return;
        };
        desk.last_arrival_ns = desk.now_ns;
        let seen = match track.group {
            Some(group) => desk.group_seen(group, header.publisher),
            None => &mut track.seen,
        };
        let inserted = seen.insert(header.sequence);
        let counts = &mut desk.tally.counts;
        match inserted {
            Inserted::New => {}
            Inserted::Again => {
                counts.duplicated += 1;
                return;
            }
            Inserted::TooFar => {
                counts.foreign += 1;
                return;
            }
        }
        counts.received += 1;
        counts.received_bytes += payload.len() as u64;
        counts.corrupted += u64::from(payload.len() != payload_bytes);
        track.received += 1;
        // Where order is kept, what a message has overtaken will not come, and the window need not wait for it.
        let makes_room_for_gap = is_ordered && track.group.is_none();
        let ahead = (header.sequence + 1).saturating_sub(track.next);
        if ahead > 0 {
            track.next = header.sequence + 1;
        } else {
            counts.misordered += u64::from(is_ordered);
        }
        desk.tally.delivery.record(desk.now_ns.saturating_sub(header.time_ns));
        desk.arrived(header.publisher, if makes_room_for_gap { ahead as u32 } else { 1 });
    }

    /// Without a header a message only counts.
    fn count(&mut self, payload: &[u8], desk: &mut Desk) {
        desk.last_arrival_ns = desk.now_ns;
        desk.tally.counts.received += 1;
        desk.tally.counts.received_bytes += payload.len() as u64;
        desk.tally.counts.corrupted += u64::from(payload.len() != desk.plan().payload_bytes);
        if let [track] = &mut self.tracks[..] {
            track.received += 1;
            let publisher = track.publisher;
            desk.arrived(publisher, 1);
        }
    }
}

/// The track of a publisher. Most often they are numbered without gaps.
#[inline]
fn track(tracks: &mut [Track], publisher: u32) -> Option<&mut Track> {
    let first = tracks.first()?.publisher;
    let guess = publisher.checked_sub(first)? as usize;
    if tracks.get(guess).is_some_and(|track| track.publisher == publisher) {
        return tracks.get_mut(guess);
    }
    let place = tracks.binary_search_by_key(&publisher, |track| track.publisher).ok()?;
    tracks.get_mut(place)
}
