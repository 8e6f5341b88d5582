//! Two connected clients, a third transport and whatever bytes they send: no panic, whole packets back,
//! and a broker that still serves an honest client afterwards.
#![no_main]

use libfuzzer_sys::fuzz_target;
use siskin_proto::{Qos, Version};
use siskin_testkit::Broker;

fuzz_target!(|data: &[u8]| {
    let broker = Broker::limited(|limits| {
        limits.queue_messages_max = 10;
        limits.subscriptions_max = 10;
        limits.inflight_max = 3;
        limits.receive_maximum = 3;
        limits.retained_messages_max = 10;
    });
    let clients = [
        broker.persistent(Version::V5, "five").0,
        broker.persistent(Version::V3_1_1, "four").0,
        broker.open(Version::V5),
    ];
    // A byte says who sends how much of what follows, or that time passes.
    let mut rest = data;
    while let Some((&first, after)) = rest.split_first() {
        let len = usize::from(first >> 2).min(after.len());
        let (bytes, after) = after.split_at(len);
        match first & 3 {
            3 => broker.advance_ms(u64::from(first) * 100),
            number => clients[usize::from(number)].send_bytes(bytes),
        }
        rest = after;
    }
    for client in &clients {
        client.receive_all();
    }
    let honest = broker.client(Version::V5, "honest");
    honest.subscribe("honest/topic", Qos::AtMostOnce);
    honest.receive_all();
    honest.publish("honest/topic", b"still here", Qos::AtMostOnce);
    assert!(honest.receive_publishes().iter().any(|message| message.payload == b"still here"));
});
