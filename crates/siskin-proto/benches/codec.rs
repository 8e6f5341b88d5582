//! What it costs to find, read and write the packets that there are most of.
//!
//! `cargo bench -p siskin-proto --bench codec`

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark reads the clock and reports"
)]

use std::hint::black_box;
use std::time::Instant;

use siskin_proto::{
    FrameStatus, Packet, PacketId, Properties, PropertiesBuf, Property, PubAck, Publish, Qos, TopicName,
    Version, decode, frame,
};

fn main() {
    println!("{:34} {:>9} {:>9}", "packet", "read ns", "write ns");
    for version in [Version::V3_1_1, Version::V5] {
        for (name, qos, payload_len) in [
            ("PUBLISH QoS 0, 64 B", Qos::AtMostOnce, 64),
            ("PUBLISH QoS 1, 64 B", Qos::AtLeastOnce, 64),
            ("PUBLISH QoS 1, 4 KiB", Qos::AtLeastOnce, 4096),
        ] {
            let payload = vec![b'x'; payload_len];
            measure(name, version, &Packet::Publish(publish(qos, Properties::EMPTY, &payload)));
        }
        measure("PUBACK", version, &Packet::PubAck(PubAck::success(id())));
    }
    let properties = PropertiesBuf::from_iter([
        Property::MessageExpiryInterval(60),
        Property::ContentType("application/json"),
        Property::UserProperty(("trace", "0af7651916cd43dd8448eb211c80319c")),
    ]);
    let packet = publish(Qos::AtLeastOnce, properties.as_properties(), &[b'x'; 64]);
    measure("PUBLISH QoS 1, 64 B, 3 properties", Version::V5, &Packet::Publish(packet));
}

fn publish<'a>(qos: Qos, properties: Properties<'a>, payload: &'a [u8]) -> Publish<'a> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: Some(TopicName::parse("site/7/device/12345/temperature").expect("no wildcard in it")),
        packet_id: (qos != Qos::AtMostOnce).then(id),
        properties,
        payload,
    }
}

fn id() -> PacketId {
    PacketId::new(77).expect("77 is not 0")
}

fn measure(name: &str, version: Version, packet: &Packet<'_>) {
    let mut one = Vec::new();
    packet.encode(version, &mut one);
    // As much as one read brings.
    let stream = one.repeat((65_536 / one.len()).max(1));
    let read = nanoseconds_each(stream.len() / one.len(), || {
        let mut rest = black_box(&stream[..]);
        while let Ok(FrameStatus::Complete(frame)) = frame(rest, 1 << 24) {
            let _ = black_box(decode(frame, version));
            rest = &rest[frame.len..];
        }
    });
    let mut out = Vec::with_capacity(stream.len());
    let number = stream.len() / one.len();
    let write = nanoseconds_each(number, || {
        out.clear();
        for _ in 0..number {
            black_box(packet).encode(version, &mut out);
        }
        black_box(&out);
    });
    println!("{:34} {read:>9.1} {write:>9.1}", format!("{name}, {version}"));
}

/// The best of many rounds of `number` packets: what the code costs, not what the machine does beside it.
fn nanoseconds_each(number: usize, mut round: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..500 {
        let start = Instant::now();
        round();
        best = best.min(start.elapsed().as_nanos() as f64);
    }
    best / number as f64
}
