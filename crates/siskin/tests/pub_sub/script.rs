//! Against a server that follows a script.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Output;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use siskin_proto::{
    ConnAck, Disconnect, FrameStatus, PACKET_SIZE_MAX, Packet, PacketId, PacketKind, Properties,
    PropertiesBuf, Property, PubAck, PubComp, PubRec, PubRel, Publish, Qos, Reason, SubAck, TopicName,
    Version, decode, frame,
};

use crate::tool::{Running, run, run_with_input, stderr};

/// One connection, from the server's end.
struct Peer {
    stream: TcpStream,
    version: Version,
    read: Vec<u8>,
    /// Write byte by byte.
    dribbles: bool,
}

impl Peer {
    /// What the next packet is, seen by `look`. None: the connection ended.
    fn next<T>(&mut self, look: impl FnOnce(Packet<'_>) -> T) -> Option<T> {
        loop {
            if let FrameStatus::Complete(frame) = frame(&self.read, PACKET_SIZE_MAX).unwrap() {
                let seen = look(decode(frame, self.version).unwrap());
                let len = frame.len;
                self.read.drain(..len);
                return Some(seen);
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes).unwrap() {
                0 => return None,
                count => self.read.extend_from_slice(&bytes[..count]),
            }
        }
    }

    fn expect(&mut self, kind: PacketKind) -> Option<PacketId> {
        self.next(|packet| {
            assert_eq!(packet.kind(), kind);
            match packet {
                Packet::Publish(publish) => publish.packet_id,
                Packet::Subscribe(subscribe) => Some(subscribe.packet_id),
                Packet::PubAck(puback) => Some(puback.packet_id),
                Packet::PubRel(pubrel) => Some(pubrel.packet_id),
                _ => None,
            }
        })
        .expect("the packet comes before the end")
    }

    /// Nothing comes for a while.
    fn expect_silence(&mut self) {
        self.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        assert!(self.read.is_empty() && self.stream.read(&mut [0; 1]).is_err());
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.encode(self.version, &mut bytes);
        self.send_bytes(&bytes);
    }

    fn send_bytes(&mut self, bytes: &[u8]) {
        if self.dribbles {
            self.stream.set_nodelay(true).unwrap();
            bytes.chunks(1).for_each(|byte| self.stream.write_all(byte).unwrap());
        } else {
            self.stream.write_all(bytes).unwrap();
        }
    }

    fn accept_with(&mut self, properties: &[Property<'_>]) {
        self.expect(PacketKind::Connect);
        let mut buf = PropertiesBuf::new();
        properties.iter().for_each(|property| buf.push(*property));
        let properties = buf.as_properties();
        self.send(&Packet::ConnAck(ConnAck { session_present: false, reason: Reason::Success, properties }));
    }

    fn accept_subscriber(&mut self, properties: &[Property<'_>]) {
        self.accept_with(properties);
        let packet_id = self.expect(PacketKind::Subscribe).unwrap();
        self.suback(packet_id, vec![Reason::GrantedQos2]);
    }

    fn suback(&mut self, packet_id: PacketId, reasons: Vec<Reason>) {
        self.send(&Packet::SubAck(SubAck { packet_id, properties: Properties::EMPTY, reasons }));
    }

    fn puback(&mut self, packet_id: PacketId, reason: Reason) {
        self.send(&Packet::PubAck(PubAck { packet_id, reason, properties: Properties::EMPTY }));
    }

    fn publish(&mut self, packet_id: u16, topic: Option<&str>, payload: &str, properties: Properties<'_>) {
        let packet_id = PacketId::new(packet_id);
        self.send(&Packet::Publish(Publish {
            dup: false,
            qos: if packet_id.is_some() { Qos::ExactlyOnce } else { Qos::AtMostOnce },
            retain: false,
            topic: topic.map(|topic| TopicName::parse(topic).unwrap()),
            packet_id,
            properties,
            payload: payload.as_bytes(),
        }));
    }

    /// The client takes leave, and closes.
    fn expect_leave(&mut self) {
        self.expect(PacketKind::Disconnect);
        assert!(self.next(|packet| packet.kind()).is_none());
    }
}

/// A server that takes one connection.
fn serve(version: Version, script: impl FnOnce(&mut Peer) + Send + 'static) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (address, thread::spawn(move || script(&mut accept(&listener, version))))
}

fn accept(listener: &TcpListener, version: Version) -> Peer {
    let stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Peer { stream, version, read: Vec::new(), dribbles: false }
}

/// Runs the tool against the script; both must come to their end.
fn against(version: Version, words: &str, script: impl FnOnce(&mut Peer) + Send + 'static) -> Output {
    let (address, server) = serve(version, script);
    let output = run(words, address);
    server.join().expect("the server's script holds");
    output
}

fn ended_with(output: &Output, status: i32, text: &str) {
    let errors = stderr(output);
    assert_eq!(output.status.code(), Some(status), "{errors}");
    assert!(errors.contains(text), "{errors}");
}

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_refusal_ends_with_its_return_code() {
    for words in ["pub -t x -m y", "sub -t x"] {
        let output = against(Version::V3_1_1, words, |peer| {
            peer.expect(PacketKind::Connect);
            peer.send_bytes(&[0x20, 2, 0, 5]);
        });
        ended_with(&output, 5, "Connection error: Connection Refused: not authorised.");
    }
}

#[test]
fn a_refusal_of_version_5_ends_with_its_reason_code_and_says_why() {
    for words in ["pub -V 5 -t x -m y", "sub -V 5 -t x"] {
        let output = against(Version::V5, words, |peer| {
            peer.expect(PacketKind::Connect);
            let mut properties = PropertiesBuf::new();
            properties.push(Property::ReasonString("who are you"));
            let properties = properties.as_properties();
            let reason = Reason::NotAuthorized;
            peer.send(&Packet::ConnAck(ConnAck { session_present: false, reason, properties }));
        });
        ended_with(&output, 0x87, "Connection error: Connection Refused: Not authorized");
        ended_with(&output, 0x87, "who are you");
    }
}

#[test]
fn a_server_that_does_not_know_version_5_is_understood() {
    let output = against(Version::V5, "pub -V 5 -t x -m y", |peer| {
        peer.expect(PacketKind::Connect);
        peer.send_bytes(&[0x20, 2, 0, 1]);
    });
    ended_with(&output, 1, "-V");
}

#[test]
fn nobody_there_is_said_with_the_address() {
    // Bound and dropped: nobody listens there now.
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    for words in ["pub -t x -m y", "sub -t x"] {
        let output = run(words, address);
        ended_with(&output, 1, &format!("Cannot connect to {} port {}", address.ip(), address.port()));
    }
}

#[test]
fn a_connection_lost_before_the_acknowledgement_is_said() {
    let output = against(Version::V3_1_1, "pub -t x -m y -q 1", |peer| {
        peer.accept_with(&[]);
        peer.expect(PacketKind::Publish);
    });
    ended_with(&output, 7, "1 message is not acknowledged");
}

#[test]
fn no_more_is_sent_than_the_receive_maximum_allows() {
    let (address, server) = serve(Version::V5, |peer| {
        peer.accept_with(&[Property::ReceiveMaximum(2)]);
        let first = peer.expect(PacketKind::Publish).unwrap();
        let second = peer.expect(PacketKind::Publish).unwrap();
        peer.expect_silence();
        peer.puback(first, Reason::Success);
        let third = peer.expect(PacketKind::Publish).unwrap();
        peer.expect_silence();
        peer.puback(third, Reason::Success);
        peer.puback(second, Reason::Success);
        peer.expect_leave();
    });
    let output = run_with_input("pub -V 5 -q 1 -t x -l", address, b"1\n2\n3\n");
    server.join().expect("the server's script holds");
    ended_with(&output, 0, "");
}

#[test]
fn no_more_is_sent_than_max_inflight_allows() {
    let (address, server) = serve(Version::V3_1_1, |peer| {
        peer.accept_with(&[]);
        for _ in 0..3 {
            let id = peer.expect(PacketKind::Publish).unwrap();
            peer.expect_silence();
            peer.puback(id, Reason::Success);
        }
        peer.expect_leave();
    });
    let output = run_with_input("pub -M 1 -q 1 -t x -l", address, b"1\n2\n3\n");
    server.join().expect("the server's script holds");
    ended_with(&output, 0, "");
}

#[test]
fn a_refused_message_is_said_and_the_others_still_go_out() {
    let (address, server) = serve(Version::V5, |peer| {
        peer.accept_with(&[]);
        let id = peer.expect(PacketKind::Publish).unwrap();
        peer.puback(id, Reason::NotAuthorized);
        let id = peer.expect(PacketKind::Publish).unwrap();
        peer.puback(id, Reason::NoMatchingSubscribers);
        peer.expect_leave();
    });
    let output = run_with_input("pub -V 5 -M 1 -q 1 -t x -l", address, b"1\n2\n");
    server.join().expect("the server's script holds");
    ended_with(&output, 0x87, "Publish 1 failed: Not authorized");
}

#[test]
fn a_message_refused_by_pubrec_is_not_released() {
    let output = against(Version::V5, "pub -V 5 -q 2 -t x -m y", |peer| {
        peer.accept_with(&[]);
        let packet_id = peer.expect(PacketKind::Publish).unwrap();
        let reason = Reason::QuotaExceeded;
        peer.send(&Packet::PubRec(PubRec { packet_id, reason, properties: Properties::EMPTY }));
        peer.expect_leave();
    });
    ended_with(&output, 0x97, "Publish 1 failed");
}

#[test]
fn what_the_server_says_it_does_not_take_is_not_sent() {
    for (words, property, status) in [
        ("pub -V 5 -t x -m y -q 2", Property::MaximumQos(1), 24),
        ("pub -V 5 -t x -m y -r", Property::RetainAvailable(false), 28),
        ("pub -V 5 -t x -m yyyyyyyyyyyyyyyy", Property::MaximumPacketSize(20), 25),
        ("pub -V 5 -t x -m y -D publish topic-alias 3", Property::TopicAliasMaximum(2), 29),
    ] {
        let output = against(Version::V5, words, move |peer| {
            peer.accept_with(&[property]);
            peer.expect_leave();
        });
        ended_with(&output, status, "Error: ");
    }
}

#[test]
fn a_refused_subscription_is_said() {
    let output = against(Version::V3_1_1, "sub -t open -t closed -q 1 -C 1", |peer| {
        peer.accept_with(&[]);
        let id = peer.expect(PacketKind::Subscribe).unwrap();
        peer.suback(id, vec![Reason::GrantedQos1, Reason::Unspecified]);
        peer.publish(0, Some("open"), "message", Properties::EMPTY);
        peer.expect_leave();
    });
    ended_with(&output, 0, "Subscription to 'closed' was refused");
    assert_eq!(output.stdout, b"message\n");
}

#[test]
fn when_all_subscriptions_are_refused_there_is_nothing_to_wait_for() {
    let output = against(Version::V5, "sub -V 5 -t closed", |peer| {
        peer.accept_with(&[]);
        let id = peer.expect(PacketKind::Subscribe).unwrap();
        peer.suback(id, vec![Reason::NotAuthorized]);
        peer.expect_leave();
    });
    ended_with(&output, 0x87, "All subscription requests were denied");
}

#[test]
fn an_unexpected_disconnect_says_its_reason() {
    for words in ["sub -V 5 -t x", "pub -V 5 -t x -m y -q 1"] {
        let output = against(Version::V5, words, |peer| {
            peer.accept_with(&[]);
            peer.next(|_| ());
            let mut properties = PropertiesBuf::new();
            properties.push(Property::ReasonString("tidying up"));
            let properties = properties.as_properties();
            peer.send(&Packet::Disconnect(Disconnect { reason: Reason::AdministrativeAction, properties }));
        });
        ended_with(&output, 0x98, "Administrative action");
        ended_with(&output, 0x98, "tidying up");
    }
}

#[test]
fn a_subscriber_comes_back_when_the_connection_is_lost_or_ended_for_a_while() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        accept(&listener, Version::V5).accept_subscriber(&[]);
        let mut peer = accept(&listener, Version::V5);
        peer.accept_subscriber(&[]);
        let (reason, properties) = (Reason::ServerShuttingDown, Properties::EMPTY);
        peer.send(&Packet::Disconnect(Disconnect { reason, properties }));
        let mut peer = accept(&listener, Version::V5);
        peer.accept_subscriber(&[]);
        peer.publish(0, Some("x"), "again", Properties::EMPTY);
        peer.expect_leave();
    });
    let output = run("sub -V 5 -t x -C 1 -W 20", address);
    server.join().expect("the server's script holds");
    ended_with(&output, 0, "The connection was lost. Connecting again.");
    ended_with(&output, 0, "Server shutting down");
    assert_eq!(output.stdout, b"again\n");
}

#[test]
fn a_message_of_qos_2_that_comes_again_is_printed_once() {
    let output = against(Version::V3_1_1, "sub -t x -q 2 -C 2", |peer| {
        peer.accept_subscriber(&[]);
        peer.publish(9, Some("x"), "once", Properties::EMPTY);
        peer.expect(PacketKind::PubRec);
        peer.publish(9, Some("x"), "once", Properties::EMPTY);
        peer.expect(PacketKind::PubRec);
        let packet_id = PacketId::new(9).unwrap();
        let (reason, properties) = (Reason::Success, Properties::EMPTY);
        peer.send(&Packet::PubRel(PubRel { packet_id, reason, properties }));
        peer.expect(PacketKind::PubComp);
        peer.publish(9, Some("x"), "new", Properties::EMPTY);
        peer.expect(PacketKind::PubRec);
        peer.expect_leave();
    });
    assert_eq!(output.stdout, b"once\nnew\n");
}

#[test]
fn a_message_that_cannot_be_printed_is_not_acknowledged() {
    let (address, server) = serve(Version::V3_1_1, |peer| {
        peer.accept_subscriber(&[]);
        // Until the pipe is seen to be closed, packets may still be acknowledged.
        for id in 1.. {
            peer.publish(id, Some("x"), "m", Properties::EMPTY);
            if peer.next(|packet| packet.kind()) == Some(PacketKind::Disconnect) {
                break;
            }
            assert!(id < 50_000, "the tool prints into a closed pipe");
        }
    });
    let mut subscriber = Running::subscribed("sub -d -t x -q 2", address);
    subscriber.close_output();
    server.join().expect("the server's script holds");
    assert_eq!(subscriber.end(), (Some(0), String::new()));
}

#[test]
fn packets_that_come_byte_by_byte_are_packets() {
    let output = against(Version::V5, "sub -V 5 -t x -q 2 -C 3 -v", |peer| {
        peer.dribbles = true;
        peer.accept_subscriber(&[]);
        for payload in ["one", "", "three"] {
            peer.publish(0, Some("x/ä"), payload, Properties::EMPTY);
        }
        peer.expect_leave();
    });
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "x/ä one\nx/ä (null)\nx/ä three\n");
}

#[test]
fn messages_right_behind_connack_are_not_lost() {
    let output = against(Version::V3_1_1, "sub -t x -q 1 -C 1", |peer| {
        peer.expect(PacketKind::Connect);
        peer.send_bytes(b"\x20\x02\x01\x00\x30\x04\x00\x01xm");
        peer.expect(PacketKind::Subscribe);
        peer.expect_leave();
    });
    assert_eq!(output.stdout, b"m\n");
}

#[test]
fn topic_aliases_of_the_server_are_followed_as_far_as_they_were_offered() {
    let words = "sub -V 5 -t x -C 2 -v -D connect topic-alias-maximum 5";
    let output = against(Version::V5, words, |peer| {
        peer.accept_subscriber(&[]);
        let mut alias = PropertiesBuf::new();
        alias.push(Property::TopicAlias(5));
        peer.publish(0, Some("x"), "one", alias.as_properties());
        peer.publish(0, None, "two", alias.as_properties());
        peer.expect_leave();
    });
    assert_eq!(output.stdout, b"x one\nx two\n");
    for (topic, alias) in [(Some("x"), 6), (None, 4)] {
        let output = against(Version::V5, words, move |peer| {
            peer.accept_subscriber(&[]);
            let mut properties = PropertiesBuf::new();
            properties.push(Property::TopicAlias(alias));
            peer.publish(0, topic, "m", properties.as_properties());
            peer.expect_leave();
        });
        ended_with(&output, 2, "topic alias");
    }
}

#[test]
fn what_is_not_mqtt_is_said() {
    let output = against(Version::V3_1_1, "pub -t x -m y", |peer| {
        peer.expect(PacketKind::Connect);
        peer.send_bytes(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]);
        peer.expect_leave();
    });
    ended_with(&output, 21, "not MQTT");
}

#[test]
fn a_server_that_falls_silent_is_noticed_by_the_keep_alive() {
    let (address, server) = serve(Version::V5, |peer| {
        // The server decides, not the flag. [MQTT5 3.1.2-21]
        peer.accept_with(&[Property::ServerKeepAlive(1)]);
        peer.expect(PacketKind::PingReq);
        peer.send(&Packet::PingResp(siskin_proto::PingResp));
        peer.expect(PacketKind::PingReq);
        peer.expect_leave();
    });
    // Its standard input stays open.
    let publisher = Running::start("pub -V 5 -k 600 -t x -l", address);
    let (status, errors) = publisher.end();
    server.join().expect("the server's script holds");
    assert_eq!(status, Some(19), "{errors}");
}

#[test]
fn connect_carries_what_the_flags_say() {
    let words = "pub -V 5 -c -i me -k 7 -u anna -P secret -t x -m y --will-topic w --will-payload gone --will-qos 2 \
                 --will-retain -D connect receive-maximum 9 -D will will-delay-interval 3";
    let output = against(Version::V5, words, |peer| {
        peer.next(|packet| {
            let Packet::Connect(connect) = packet else { panic!("{packet:?}") };
            assert_eq!((connect.client_id, connect.keep_alive_s, connect.clean_start), ("me", 7, false));
            assert_eq!((connect.user_name, connect.password), (Some("anna"), Some(&b"secret"[..])));
            assert_eq!(connect.properties.receive_maximum(), Some(9));
            assert_eq!(connect.properties.session_expiry_interval(), Some(u32::MAX));
            let will = connect.will.unwrap();
            assert_eq!((will.topic.as_str(), will.payload), ("w", &b"gone"[..]));
            assert_eq!((will.qos, will.retain), (Qos::ExactlyOnce, true));
            assert_eq!(will.properties.will_delay_interval(), Some(3));
        });
        let properties = Properties::EMPTY;
        peer.send(&Packet::ConnAck(ConnAck { session_present: false, reason: Reason::Success, properties }));
        peer.expect(PacketKind::Publish);
        peer.expect_leave();
    });
    ended_with(&output, 0, "");
}

#[test]
fn properties_of_version_5_have_no_effect_in_others() {
    let words = "pub -V 311 -t x -m y -D connect receive-maximum 9 -D publish content-type text/plain";
    let output = against(Version::V3_1_1, words, |peer| {
        peer.accept_with(&[]);
        peer.next(|packet| {
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            assert_eq!(publish.payload, b"y");
        });
        peer.expect_leave();
    });
    ended_with(&output, 0, "");
}

#[test]
fn a_released_message_of_an_earlier_run_is_completed() {
    let output = against(Version::V5, "sub -V 5 -i me -c -t x -q 2 -C 1", |peer| {
        peer.accept_subscriber(&[]);
        let packet_id = PacketId::new(77).unwrap();
        let (reason, properties) = (Reason::Success, Properties::EMPTY);
        peer.send(&Packet::PubRel(PubRel { packet_id, reason, properties }));
        let reason = Reason::PacketIdentifierNotFound;
        let expected = PubComp { packet_id, reason, properties };
        peer.next(|packet| assert_eq!(packet, Packet::PubComp(expected)));
        peer.publish(0, Some("x"), "m", properties);
        peer.expect_leave();
    });
    ended_with(&output, 0, "");
}
