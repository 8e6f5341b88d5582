//! Enhanced authentication of 5.0 through real sockets, with SCRAM-SHA-256 as the method. [MQTT5 4.12]

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::io::Write as _;
use std::num::NonZeroU32;

use base64ct::{Base64, Encoding as _};
use ring::{digest, hmac, pbkdf2};
use siskin_access::password::{Hash, NewHash, set};
use siskin_proto::{Auth, Connect, Packet, PacketKind, PropertiesBuf, Property, Qos, Reason, Version};
use siskin_server::Server;
use support::pki::Folder;
use support::{Client, broker, connect_packet, publish_packet};

const METHOD: &str = "SCRAM-SHA-256";
const PASSWORD: &[u8] = b"secret";

fn guarded(folder: &Folder) -> Server {
    let kind = NewHash::ScramSha256 { iterations: 4096 };
    let mut text = Vec::new();
    for user in ["ann", "bob"] {
        (text, _) = set(&text, user, &Hash::create(kind, PASSWORD, &[7; 16]).unwrap());
    }
    let file = folder.put("passwords", &String::from_utf8(text).unwrap());
    broker(|config| config.access.password_file = file)
}

fn auth_properties(method: &str, data: &str) -> PropertiesBuf {
    let mut properties = PropertiesBuf::new();
    properties.push(Property::AuthenticationMethod(method));
    properties.push(Property::AuthenticationData(data.as_bytes()));
    properties
}

/// One exchange, as the client sees it.
struct Scram {
    bare: String,
    signature: String,
}

impl Scram {
    fn new(user: &str) -> Self {
        Self { bare: format!("n={user},r=clientnonce"), signature: String::new() }
    }

    fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// The answer to the server's first message.
    fn last(&mut self, question: &str, password: &[u8]) -> String {
        let field = |name: &str| question.split(',').find_map(|field| field.strip_prefix(name)).unwrap();
        let salt = Base64::decode_vec(field("s=")).unwrap();
        let iterations: NonZeroU32 = field("i=").parse().unwrap();
        let mut salted = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password, &mut salted);
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text);
        let client_key = sign(&salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        let without_proof = format!("c=biws,r={}", field("r="));
        let signed = format!("{},{question},{without_proof}", self.bare);
        let signature = sign(stored_key.as_ref(), signed.as_bytes());
        let proof: Vec<u8> =
            client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, mask)| key ^ mask).collect();
        let server_key = sign(&salted, b"Server Key");
        let server_s = sign(server_key.as_ref(), signed.as_bytes());
        self.signature = format!("v={}", Base64::encode_string(server_s.as_ref()));
        format!("{without_proof},p={}", Base64::encode_string(&proof))
    }
}

/// Sends a CONNECT with the method, and takes the question.
fn begin(server: &Server, scram: &Scram) -> (Client, String) {
    let mut client = Client::open(server);
    let properties = auth_properties(METHOD, &scram.first());
    let connect = Connect { properties: properties.as_properties(), ..connect_packet("c", Version::V5) };
    client.send(&Packet::Connect(connect));
    let question = question(&mut client);
    (client, question)
}

/// The AUTH that asks for something: 0x18, and the method's name in it. [MQTT5 4.12.0-2] [MQTT5 4.12.0-5]
fn question(client: &mut Client) -> String {
    client.next(|packet| match packet {
        Packet::Auth(auth) => {
            assert_eq!(auth.reason, Reason::ContinueAuthentication);
            assert_eq!(auth.properties.authentication_method(), Some(METHOD));
            String::from_utf8(auth.properties.authentication_data().unwrap().to_vec()).unwrap()
        }
        other => panic!("expected AUTH, got {other:?}"),
    })
}

fn send_auth(client: &mut Client, reason: Reason, method: &str, data: &str) {
    let properties = auth_properties(method, data);
    client.send(&Packet::Auth(Auth { reason, properties: properties.as_properties() }));
}

fn log_in(server: &Server, user: &str) -> Client {
    let mut scram = Scram::new(user);
    let (mut client, question) = begin(server, &scram);
    let last = scram.last(&question, PASSWORD);
    send_auth(&mut client, Reason::ContinueAuthentication, METHOD, &last);
    client.next(|packet| match packet {
        Packet::ConnAck(ack) => {
            assert_eq!(ack.reason, Reason::Success);
            assert_eq!(ack.properties.authentication_method(), Some(METHOD));
            assert_eq!(ack.properties.authentication_data(), Some(scram.signature.as_bytes()));
        }
        other => panic!("expected CONNACK, got {other:?}"),
    });
    client
}

fn expect_refusal(client: &mut Client, reason: Reason) {
    client.expect(
        "a CONNACK that refuses",
        |packet| matches!(packet, Packet::ConnAck(ack) if ack.reason == reason),
    );
    client.expect_end();
}

fn expect_disconnect(client: &mut Client, reason: Reason) {
    client.expect("DISCONNECT", |packet| matches!(packet, Packet::Disconnect(last) if last.reason == reason));
    client.expect_end();
}

#[test]
fn a_client_is_asked_proves_its_password_and_is_proved_the_broker_s_knowledge_of_it() {
    let folder = Folder::new();
    let server = guarded(&folder);
    let mut client = log_in(&server, "ann");
    client.subscribe("a", Qos::AtMostOnce);
    client.publish("a", b"x", Qos::AtMostOnce);
    client.expect_payload(b"x");
    server.stop();
}

#[test]
fn a_wrong_proof_and_an_unknown_user_are_refused_after_the_same_questions() {
    let folder = Folder::new();
    let server = guarded(&folder);
    for (user, password) in [("ann", &b"wrong"[..]), ("nobody", PASSWORD)] {
        let mut scram = Scram::new(user);
        let (mut client, question) = begin(&server, &scram);
        let last = scram.last(&question, password);
        send_auth(&mut client, Reason::ContinueAuthentication, METHOD, &last);
        expect_refusal(&mut client, Reason::BadUserNameOrPassword);
    }
    server.stop();
}

#[test]
fn who_is_asked_may_answer_with_auth_0x18_of_the_same_method_or_leave() {
    let folder = Folder::new();
    let server = guarded(&folder);
    let answers: [fn(&mut Client); 4] = [
        |client| send_auth(client, Reason::ContinueAuthentication, "PLAIN", "x"),
        |client| send_auth(client, Reason::ReAuthenticate, METHOD, "x"),
        |client| client.send(&Packet::PingReq(siskin_proto::PingReq)),
        |client| client.send(&Packet::Publish(publish_packet("a", b"x", Qos::AtMostOnce))),
    ];
    for answer in answers {
        let (mut client, _) = begin(&server, &Scram::new("ann"));
        answer(&mut client);
        expect_refusal(&mut client, Reason::ProtocolError);
    }
    let (mut client, _) = begin(&server, &Scram::new("ann"));
    client.stream.write_all(b"\xE0\0").unwrap();
    client.expect_end();
    server.stop();
}

#[test]
fn who_does_not_wait_to_be_asked_is_refused() {
    let folder = Folder::new();
    let server = guarded(&folder);
    let mut client = Client::open(&server);
    let properties = auth_properties(METHOD, &Scram::new("ann").first());
    let connect = Connect { properties: properties.as_properties(), ..connect_packet("c", Version::V5) };
    let mut bytes = client.encoded(&Packet::Connect(connect));
    bytes.extend(client.encoded(&Packet::Publish(publish_packet("a", b"x", Qos::AtMostOnce))));
    client.stream.write_all(&bytes).unwrap();
    expect_refusal(&mut client, Reason::ProtocolError);
    server.stop();
}

#[test]
fn a_question_larger_than_the_client_takes_is_not_asked() {
    let folder = Folder::new();
    let server = guarded(&folder);
    let mut client = Client::open(&server);
    let mut properties = auth_properties(METHOD, &Scram::new("ann").first());
    properties.push(Property::MaximumPacketSize(40));
    let connect = Connect { properties: properties.as_properties(), ..connect_packet("c", Version::V5) };
    client.send(&Packet::Connect(connect));
    expect_refusal(&mut client, Reason::PacketTooLarge);
    server.stop();
}

#[test]
fn a_client_proves_once_more_who_it_is_while_everything_else_goes_on() {
    let folder = Folder::new();
    let server = guarded(&folder);
    let mut client = log_in(&server, "ann");
    for _ in 0..2 {
        let mut scram = Scram::new("ann");
        send_auth(&mut client, Reason::ReAuthenticate, METHOD, &scram.first());
        let question = question(&mut client);
        client.ping();
        let last = scram.last(&question, PASSWORD);
        send_auth(&mut client, Reason::ContinueAuthentication, METHOD, &last);
        client.next(|packet| match packet {
            Packet::Auth(auth) => {
                assert_eq!(auth.reason, Reason::Success);
                assert_eq!(auth.properties.authentication_method(), Some(METHOD));
                assert_eq!(auth.properties.authentication_data(), Some(scram.signature.as_bytes()));
            }
            other => panic!("expected AUTH, got {other:?}"),
        });
        client.ping();
    }
    server.stop();
}

#[test]
fn who_cannot_prove_it_once_more_or_as_somebody_else_is_put_out() {
    let folder = Folder::new();
    let server = guarded(&folder);
    for (user, password) in [("ann", &b"wrong"[..]), ("bob", PASSWORD)] {
        let mut client = log_in(&server, "ann");
        let mut scram = Scram::new(user);
        send_auth(&mut client, Reason::ReAuthenticate, METHOD, &scram.first());
        let question = question(&mut client);
        let last = scram.last(&question, password);
        send_auth(&mut client, Reason::ContinueAuthentication, METHOD, &last);
        expect_disconnect(&mut client, Reason::NotAuthorized);
    }
    server.stop();
}

#[test]
fn an_auth_of_another_method_or_out_of_place_is_a_protocol_error() {
    let folder = Folder::new();
    let server = guarded(&folder);
    for (reason, method) in [
        (Reason::ReAuthenticate, "PLAIN"),
        (Reason::ContinueAuthentication, METHOD),
        (Reason::Success, METHOD),
    ] {
        let mut client = log_in(&server, "ann");
        send_auth(&mut client, reason, method, "x");
        expect_disconnect(&mut client, Reason::ProtocolError);
    }
    let mut client = log_in(&server, "ann");
    for _ in 0..2 {
        send_auth(&mut client, Reason::ReAuthenticate, METHOD, &Scram::new("ann").first());
    }
    // The first is answered, or not any more: either way the second ends it.
    let mut last = client.next(|packet| packet.kind());
    if last == PacketKind::Auth {
        last = client.next(|packet| packet.kind());
    }
    assert_eq!(last, PacketKind::Disconnect);
    server.stop();
}
