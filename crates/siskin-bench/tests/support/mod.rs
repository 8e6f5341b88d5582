//! A broker that does what it is told to do wrong, and otherwise only what a small load needs.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use siskin_proto::{
    ConnAck, Disconnect, FrameStatus, Packet, PacketId, PingResp, Properties, PubAck, PubComp, PubRec,
    PubRel, Publish, Qos, Reason, SubAck, Version, decode, frame,
};

/// What it does wrong with every `n`th message, or at all.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Nothing,
    /// Does not pass it on.
    Drop(u64),
    /// Passes it on twice, under different packet ids.
    Duplicate(u64),
    /// Passes it on behind the one that follows.
    Swap(u64),
    /// Cuts it short.
    Shorten(u64),
    /// Refuses it in the acknowledgement.
    Refuse(u64),
    /// Sends DISCONNECT to its publisher instead.
    Disconnect(u64),
    /// Closes the connection of its publisher instead.
    Close(u64),
    /// Answers it with what is no MQTT.
    Babble(u64),
    /// Answers it with a second CONNACK.
    Greet(u64),
    /// Refuses every CONNECT.
    RefuseConnect(Reason),
    /// Refuses every SUBSCRIBE.
    RefuseSubscribe(Reason),
}

#[derive(Default)]
struct State {
    subscribers: Vec<TcpStream>,
    messages: u64,
    packet_ids: u16,
    held: Option<Vec<u8>>,
}

/// Serves until the test ends.
pub(crate) fn faulty_broker(fault: Fault) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::new(Mutex::new(State::default()));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, state) = (stream.unwrap(), Arc::clone(&state));
            thread::spawn(move || {
                serve(&stream, fault, &state);
                // What the other end still sends is read, so that it gets what was sent to it last.
                let _ = stream.shutdown(Shutdown::Write);
                let _ = std::io::copy(&mut &stream, &mut std::io::sink());
            });
        }
    });
    address
}

fn serve(mut stream: &TcpStream, fault: Fault, state: &Mutex<State>) {
    let mut unread = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(len) => unread.extend_from_slice(&buffer[..len]),
        }
        while let Ok(FrameStatus::Complete(frame)) = frame(&unread, u32::MAX) {
            let packet = decode(frame, Version::V5).unwrap();
            if !handle(&packet, stream, fault, &mut state.lock().unwrap()) {
                return;
            }
            let len = frame.len;
            unread.drain(..len);
        }
    }
}

/// False if the connection is to end.
fn handle(packet: &Packet<'_>, stream: &TcpStream, fault: Fault, state: &mut State) -> bool {
    let properties = Properties::EMPTY;
    let answer = match packet {
        Packet::Connect(_) => {
            let reason = match fault {
                Fault::RefuseConnect(reason) => reason,
                _ => Reason::Success,
            };
            Packet::ConnAck(ConnAck { session_present: false, reason, properties })
        }
        Packet::Subscribe(subscribe) => {
            let reason = match fault {
                Fault::RefuseSubscribe(reason) => reason,
                _ => Reason::GrantedQos2,
            };
            state.subscribers.push(stream.try_clone().unwrap());
            let reasons = vec![reason; subscribe.filters.len()];
            Packet::SubAck(SubAck { packet_id: subscribe.packet_id, properties, reasons })
        }
        Packet::Publish(publish) => return handle_publish(publish, stream, fault, state),
        Packet::PubRel(pubrel) => Packet::PubComp(PubComp::success(pubrel.packet_id)),
        Packet::PubRec(pubrec) => Packet::PubRel(PubRel::success(pubrec.packet_id)),
        Packet::PingReq(_) => Packet::PingResp(PingResp),
        Packet::Disconnect(_) => return false,
        _ => return true,
    };
    send(stream, &answer);
    !matches!(fault, Fault::RefuseConnect(_))
}

fn handle_publish(publish: &Publish<'_>, stream: &TcpStream, fault: Fault, state: &mut State) -> bool {
    state.messages += 1;
    let is_nth = |n: u64| state.messages.is_multiple_of(n);
    let mut copies = 1;
    let mut payload = publish.payload;
    let mut reason = Reason::Success;
    let mut is_held = false;
    match fault {
        Fault::Drop(n) if is_nth(n) => copies = 0,
        Fault::Duplicate(n) if is_nth(n) => copies = 2,
        Fault::Swap(n) if is_nth(n) => is_held = true,
        Fault::Shorten(n) if is_nth(n) => payload = &payload[..payload.len() - 1],
        Fault::Refuse(n) if is_nth(n) => (copies, reason) = (0, Reason::QuotaExceeded),
        Fault::Disconnect(n) if is_nth(n) => {
            send(
                stream,
                &Packet::Disconnect(Disconnect {
                    reason: Reason::QuotaExceeded,
                    properties: Properties::EMPTY,
                }),
            );
            return false;
        }
        Fault::Close(n) if is_nth(n) => return false,
        Fault::Babble(n) if is_nth(n) => {
            let _ = { stream }.write_all(&[0, 0]);
        }
        Fault::Greet(n) if is_nth(n) => {
            let properties = Properties::EMPTY;
            send(stream, &Packet::ConnAck(ConnAck { session_present: false, reason, properties }));
        }
        _ => {}
    }
    let mut bytes = Vec::new();
    for _ in 0..copies {
        let packet_id = (publish.qos > Qos::AtMostOnce).then(|| {
            state.packet_ids = state.packet_ids % u16::MAX + 1;
            PacketId::new(state.packet_ids).unwrap()
        });
        Packet::Publish(Publish { packet_id, payload, ..*publish }).encode(Version::V5, &mut bytes);
    }
    if is_held {
        state.held = Some(bytes);
    } else {
        bytes.extend(state.held.take().unwrap_or_default());
        for subscriber in &mut state.subscribers {
            // One that has gone is no fault of this one's.
            let _ = subscriber.write_all(&bytes);
        }
    }
    let properties = Properties::EMPTY;
    match (publish.qos, publish.packet_id) {
        (Qos::AtLeastOnce, Some(packet_id)) => {
            send(stream, &Packet::PubAck(PubAck { packet_id, reason, properties }));
        }
        (Qos::ExactlyOnce, Some(packet_id)) => {
            send(stream, &Packet::PubRec(PubRec { packet_id, reason, properties }));
        }
        _ => {}
    }
    true
}

fn send(mut stream: &TcpStream, packet: &Packet<'_>) {
    let mut bytes = Vec::new();
    packet.encode(Version::V5, &mut bytes);
    // The other end may have gone.
    let _ = stream.write_all(&bytes);
}
