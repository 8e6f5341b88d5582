//! Steps of `[[auth]]` tables, from a configuration file to CONNACK.

#![allow(clippy::unwrap_used, reason = "all of it is tests")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use ring::hmac;
use siskin_proto::{Connect, Packet, Qos, Reason, Version};
use siskin_server::Server;
use siskin_server::settings::Settings;
use support::pki::Folder;
use support::{Client, broker, connect_packet, dial};

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];

const SECRET: &str = "a secret of more than thirty-two bytes";

/// A broker whose configuration file has these tables.
fn asking(tables: &str) -> Server {
    let access = Settings::from_toml(tables).unwrap().resolve().access;
    broker(|config| config.access = access)
}

/// The code of CONNACK as it is on the wire.
fn connack(server: &Server, connect: &Connect<'_>) -> u8 {
    let mut client = Client::over(dial(server.addresses()[0]));
    client.send_as(connect.version, &Packet::Connect(*connect));
    client.next_bytes().unwrap()[3]
}

fn login<'a>(user: &'a str, password: &'a [u8], version: Version) -> Connect<'a> {
    Connect { user_name: Some(user), password: Some(password), ..connect_packet("phone", version) }
}

fn token(claims: &str) -> String {
    let encode = |bytes: &[u8]| Base64UrlUnpadded::encode_string(bytes);
    let signed = format!("{}.{}", encode(br#"{"alg":"HS256"}"#), encode(claims.as_bytes()));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = encode(hmac::sign(&key, signed.as_bytes()).as_ref());
    format!("{signed}.{signature}")
}

/// A web server that knows one password, and for as long as it is asked by clients of this test.
fn web_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            let mut length = 0;
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                if let Some(text) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = text.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let body = String::from_utf8(body).unwrap();
            let status = match body.as_str() {
                r#"{"clientid":"phone","password":"right","username":"bob"}"# => "204 Yes",
                body if body.contains("broken") => "500 Broken",
                _ => "403 No",
            };
            let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

#[test]
fn a_token_lets_in_and_its_rules_count() {
    let folder = Folder::new();
    let secret = folder.put("secret", SECRET);
    let server = asking(&format!(
        "[access]\nallow_anonymous = \"false\"\n[[auth]]\ntype = \"jwt\"\nsecret_file = {secret:?}\nuser_claim = \"sub\""
    ));
    let good = token(r#"{"exp":4000000000,"sub":"bob","acl":{"pub":["up/%u"],"sub":["up/#"]}}"#);
    for version in VERSIONS {
        let refused = if version.is_v5() { 0x86 } else { 4 };
        assert_eq!(connack(&server, &login("ignored", good.as_bytes(), version)), 0);
        for wrong in [token(r#"{"exp":1000,"sub":"bob"}"#), token(r#"{"sub":"bob"}"#), format!("{good}x")] {
            assert_eq!(connack(&server, &login("bob", wrong.as_bytes(), version)), refused, "{wrong}");
        }
    }
    let mut client = Client::connect_as(&server, &login("ignored", good.as_bytes(), Version::V5));
    for (topic, is_allowed) in [("up/bob", true), ("up/eve", false)] {
        client.publish(topic, b"", Qos::AtLeastOnce);
        client.expect("PUBACK", |packet| match packet {
            Packet::PubAck(ack) if is_allowed => !ack.reason.is_error(),
            Packet::PubAck(ack) => ack.reason == Reason::NotAuthorized,
            _ => false,
        });
    }
}

#[test]
fn a_web_server_decides_with_the_code_of_each_version() {
    let address = web_server();
    let server =
        asking(&format!("[[auth]]\ntype = \"http\"\nurl = \"http://{address}/\"\ncache_allowed = 0"));
    for version in VERSIONS {
        let [wrong, broken] = if version.is_v5() { [0x86, 0x88] } else { [4, 3] };
        assert_eq!(connack(&server, &login("bob", b"right", version)), 0);
        assert_eq!(connack(&server, &login("bob", b"wrong", version)), wrong);
        assert_eq!(connack(&server, &login("bob", b"broken", version)), broken);
    }
}

#[test]
fn files_and_urls_that_cannot_be_used_are_found_before_the_start() {
    for (tables, why) in [
        ("[[auth]]\ntype = \"jwt\"\nkey_file = \"/nowhere/key\"", "jwt: /nowhere/key: "),
        (
            "[[auth]]\ntype = \"http\"\nname = \"accounts\"\nurl = \"ftp://x/\"",
            "accounts: url `ftp://x/`: it must begin",
        ),
        ("[[auth]]\ntype = \"scram\"\nfile = \"/nowhere/users\"", "scram: /nowhere/users: "),
    ] {
        let config = Settings::from_toml(tables).unwrap().resolve();
        let error = siskin_server::check_files(&config).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}
