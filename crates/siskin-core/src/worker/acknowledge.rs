//! What a client answers to what it was sent.

use siskin_proto::delivery::Acked;
use siskin_proto::{Packet, Properties, PropertiesBuf, PubAck, PubComp, PubRec, PubRel, Reason};

use super::Worker;
use crate::cause::Cause;
use crate::session::{Delivery, Session, SessionKey};
use crate::time::Now;
use crate::turn::Turn;

impl Worker {
    pub(super) fn handle_puback(&mut self, key: SessionKey, ack: &PubAck<'_>, now: Now) -> Result<(), Cause> {
        let Some(session) = self.sessions.get_mut(key) else { return Ok(()) };
        // An acknowledgement of nothing may be a late one: it does no harm.
        let acked = session.sender.puback(ack.packet_id);
        settle(session, &mut self.turn, &acked);
        session.pump(&mut self.turn, &self.shared.retained, now);
        Ok(())
    }

    pub(super) fn handle_pubrec(&mut self, key: SessionKey, ack: &PubRec<'_>, now: Now) -> Result<(), Cause> {
        let Some(session) = self.sessions.get_mut(key) else { return Ok(()) };
        let acked = session.sender.pubrec(ack.packet_id, ack.reason.is_error());
        settle(session, &mut self.turn, &acked);
        let reason = match acked {
            Acked::Finished(_) => {
                session.pump(&mut self.turn, &self.shared.retained, now);
                return Ok(());
            }
            // [MQTT5 4.3.3-4] [MQTT-4.3.3-1]
            Acked::Release(_) | Acked::ReleaseAgain => Reason::Success,
            Acked::Unknown if ack.reason.is_error() => return Ok(()),
            Acked::Unknown => Reason::PacketIdentifierNotFound,
        };
        let properties = Properties::EMPTY;
        self.answer(key, &Packet::PubRel(PubRel { packet_id: ack.packet_id, reason, properties }))
    }

    pub(super) fn handle_pubcomp(
        &mut self,
        key: SessionKey,
        ack: &PubComp<'_>,
        now: Now,
    ) -> Result<(), Cause> {
        let Some(session) = self.sessions.get_mut(key) else { return Ok(()) };
        let acked = session.sender.pubcomp(ack.packet_id);
        settle(session, &mut self.turn, &acked);
        session.pump(&mut self.turn, &self.shared.retained, now);
        Ok(())
    }

    /// The publisher lets go of a QoS 2 id. [MQTT-4.3.3-2] [MQTT5 4.3.3-11]
    pub(super) fn handle_pubrel(&mut self, key: SessionKey, release: &PubRel<'_>) -> Result<(), Cause> {
        let Some(session) = self.sessions.get_mut(key) else { return Ok(()) };
        let packet_id = release.packet_id;
        let reason = if session.receiver.release(packet_id) {
            Reason::Success
        } else {
            Reason::PacketIdentifierNotFound
        };
        let mut text = PropertiesBuf::new();
        let properties = self.explain(key, reason, &mut text);
        self.answer(key, &Packet::PubComp(PubComp { packet_id, reason, properties }))
    }
}

fn settle(session: &Session, turn: &mut Turn, acked: &Acked<Delivery>) {
    debug_assert!(session.connection.is_some(), "only a connected client acknowledges");
    if let Acked::Finished(Some(delivery)) | Acked::Release(delivery) = acked {
        turn.count_released(delivery);
    }
    if matches!(acked, Acked::Finished(_)) {
        turn.stats.acknowledged.add(1);
    }
}
