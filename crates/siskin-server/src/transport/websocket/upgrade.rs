//! The request that turns HTTP into WebSocket, and the answers to it.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use tungstenite::error::ProtocolError;
use tungstenite::handshake::machine::TryParse as _;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::HeaderValue;

use super::Peer;
use crate::config::{Network, WebSocket as Options};

/// What a listener asks of requests.
#[derive(Debug)]
pub(in crate::transport) struct Terms {
    pub(in crate::transport) options: Options,
    /// Bytes of the largest message that a client may send.
    pub(in crate::transport) message_bytes_max: u64,
}

/// What came of a request.
pub(super) enum Outcome {
    /// Its end has not come yet.
    Incomplete,
    /// WebSocket from now on.
    Accepted {
        /// Bytes of the request.
        len: usize,
        response: Vec<u8>,
        /// The client, if a trusted proxy named it.
        peer: Option<Peer>,
    },
    /// No.
    Refused {
        response: Vec<u8>,
        /// Why, for the log.
        problem: String,
    },
}

/// Answers the request at the beginning of `bytes`.
pub(super) fn answer(bytes: &[u8], terms: &Terms, peer: Peer) -> Outcome {
    if !bytes.first().is_none_or(u8::is_ascii_uppercase) {
        return refused("400 Bad Request", "", "this is no HTTP request");
    }
    // The end is looked for before the rest: a request that comes in many pieces is parsed once.
    let window = &bytes[..bytes.len().min(REQUEST_BYTES_MAX)];
    if !window.windows(4).any(|four| four == b"\r\n\r\n") {
        return match window.len() {
            REQUEST_BYTES_MAX => {
                refused("431 Request Header Fields Too Large", "", "the request is longer than 8 KiB")
            }
            _ => Outcome::Incomplete,
        };
    }
    let (len, request) = match Request::try_parse(window) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return refused("400 Bad Request", "", "the request is malformed"),
        Err(error) => return refuse(&error),
    };
    let path = request.uri().path();
    let options = &terms.options;
    if !options.paths.iter().any(|allowed| allowed == path) {
        return refused("404 Not Found", "", &format!("there is no WebSocket at the path `{path}`"));
    }
    if let Some(origin) = request.headers().get("origin")
        && !is_allowed(origin, &options.origins)
    {
        return refused("403 Forbidden", "", &format!("the origin {origin:?} is not allowed"));
    }
    let mut response = match create_response(&request) {
        Ok(response) => response,
        Err(error) => return refuse(&error),
    };
    let Some(protocol) = sub_protocol(&request) else {
        // [MQTT-6.0.0-3] [MQTT5 6.0.0-3]
        return refused("400 Bad Request", "", "the client does not offer the sub-protocol `mqtt`");
    };
    // [MQTT-6.0.0-4] [MQTT5 6.0.0-4]
    response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
    let mut bytes = Vec::new();
    if let Err(error) = write_response(&mut bytes, &response) {
        return refuse(&error);
    }
    Outcome::Accepted { len, response: bytes, peer: forwarded_for(&request, peer, &options.trusted_proxies) }
}

/// The first of our names for MQTT that the client offers.
fn sub_protocol(request: &Request) -> Option<&'static str> {
    let offered = || {
        let values = request.headers().get_all("sec-websocket-protocol").iter();
        values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim)
    };
    SUB_PROTOCOLS.into_iter().find(|ours| offered().any(|theirs| theirs == *ours))
}

fn is_allowed(origin: &HeaderValue, allowed: &[String]) -> bool {
    let matches = |origin: &str| allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin));
    allowed.is_empty() || origin.to_str().is_ok_and(matches)
}

/// The last address in front of the trusted proxies: what is further left anybody may have written.
fn forwarded_for(request: &Request, peer: Peer, trusted: &[Network]) -> Option<Peer> {
    let is_trusted = |peer: Peer| match peer.ip() {
        Some(ip) => trusted.iter().any(|network| network.contains(ip)),
        None => trusted.contains(&Network::Unix),
    };
    if !is_trusted(peer) {
        return None;
    }
    let headers = request.headers();
    let mut chain = String::new();
    for value in headers.get_all("x-forwarded-for") {
        let _ = write!(chain, "{},", value.to_str().ok()?);
    }
    if chain.is_empty() {
        return address(headers.get("x-real-ip")?.to_str().ok()?);
    }
    let mut client = None;
    for text in chain.split(',').rev().map(str::trim).filter(|text| !text.is_empty()) {
        client = Some(address(text)?);
        if !client.is_some_and(is_trusted) {
            break;
        }
    }
    client
}

/// An address, with or without a port.
fn address(text: &str) -> Option<Peer> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(Peer::Address(address.ip().to_canonical(), address.port()));
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address: IpAddr = bare.parse().ok()?;
    Some(Peer::Address(address.to_canonical(), 0))
}

fn refuse(error: &tungstenite::Error) -> Outcome {
    let tungstenite::Error::Protocol(problem) = error else {
        return refused("400 Bad Request", "", "the request is malformed");
    };
    let (status, header) = match problem {
        ProtocolError::WrongHttpMethod => ("405 Method Not Allowed", "Allow: GET\r\n"),
        ProtocolError::MissingConnectionUpgradeHeader | ProtocolError::MissingUpgradeWebSocketHeader => {
            ("426 Upgrade Required", "Upgrade: websocket\r\n")
        }
        ProtocolError::MissingSecWebSocketVersionHeader => {
            ("426 Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n")
        }
        _ => ("400 Bad Request", ""),
    };
    refused(status, header, &problem.to_string())
}

fn refused(status: &str, header: &str, problem: &str) -> Outcome {
    let body = format!("This is an MQTT broker: {problem}.\n");
    let connection = if header.contains("Upgrade") { "Upgrade, close" } else { "close" };
    let response = format!(
        "HTTP/1.1 {status}\r\n{header}Connection: {connection}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Outcome::Refused { response: response.into(), problem: format!("WebSocket refused: {problem}") }
}

/// Ours, the best first; the other two are of clients older than the name.
const SUB_PROTOCOLS: [&str; 3] = ["mqtt", "mqttv3.1.1", "mqttv3.1"];

/// Bytes of the largest request.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        let trusted_proxies = vec!["10.0.0.0/8".parse().unwrap(), "unix".parse().unwrap()];
        let options = Options { trusted_proxies, ..Options::default() };
        Terms { options, message_bytes_max: 1000 }
    }

    fn request(line: &str, headers: &str) -> String {
        format!(
            "{line}\r\nHost: broker\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        )
    }

    fn text(outcome: &Outcome) -> String {
        match outcome {
            Outcome::Accepted { response, .. } | Outcome::Refused { response, .. } => {
                String::from_utf8(response.clone()).unwrap()
            }
            Outcome::Incomplete => String::new(),
        }
    }

    fn answered(line: &str, headers: &str) -> String {
        text(&answer(request(line, headers).as_bytes(), &terms(), Peer::Local))
    }

    const MQTT: &str = "Sec-WebSocket-Protocol: mqtt\r\n";

    #[test]
    fn the_sub_protocol_is_the_best_of_those_offered() {
        for (offered, named) in [
            ("Sec-WebSocket-Protocol: mqtt\r\n", "mqtt"),
            ("Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n", "mqtt"),
            ("Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: mqttv3.1.1\r\n", "mqttv3.1.1"),
            ("Sec-WebSocket-Protocol:mqttv3.1\r\n", "mqttv3.1"),
        ] {
            let response = answered("GET /mqtt HTTP/1.1", offered);
            assert!(response.starts_with("HTTP/1.1 101 "), "{response}");
            assert!(response.contains(&format!("sec-websocket-protocol: {named}\r\n")), "{response}");
            assert!(response.contains(": s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{response}");
        }
    }

    #[test]
    fn what_is_no_upgrade_to_mqtt_is_refused_by_status() {
        for (line, headers, status) in [
            ("GET /mqtt HTTP/1.1", "", "400"),
            ("GET /mqtt HTTP/1.1", "Sec-WebSocket-Protocol: chat\r\n", "400"),
            ("GET /other HTTP/1.1", MQTT, "404"),
            ("POST /mqtt HTTP/1.1", MQTT, "405"),
        ] {
            let response = answered(line, headers);
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {headers}: {response}");
        }
        for (bytes, status) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "426"),
            (&request("GET / HTTP/1.1", MQTT).replace("Version: 13", "Version: 8"), "426"),
            (&request("GET / HTTP/1.1", MQTT).replace("dGhl", "d"), "400"),
            ("GET nonsense\r\n\r\n", "400"),
            ("\u{10}\u{0d}", "400"),
            (&format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(9000)), "431"),
        ] {
            let response = text(&answer(bytes.as_bytes(), &terms(), Peer::Local));
            assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes}: {response}");
        }
    }

    #[test]
    fn a_request_cut_anywhere_is_waited_for() {
        let whole = request("GET /mqtt?token=1 HTTP/1.1", MQTT);
        for len in 0..whole.len() {
            let outcome = answer(&whole.as_bytes()[..len], &terms(), Peer::Local);
            assert!(matches!(outcome, Outcome::Incomplete), "{len}");
        }
        assert!(matches!(answer(whole.as_bytes(), &terms(), Peer::Local), Outcome::Accepted { .. }));
    }

    #[test]
    fn an_origin_must_be_one_of_those_allowed_if_there_is_one() {
        let mut terms = terms();
        terms.options.origins = vec!["https://app.example".to_owned()];
        let status = |headers: &str| {
            let request = request("GET / HTTP/1.1", &format!("{MQTT}{headers}"));
            text(&answer(request.as_bytes(), &terms, Peer::Local))[9..12].to_owned()
        };
        assert_eq!(status("Origin: https://APP.example\r\n"), "101");
        assert_eq!(status("Origin: https://evil.example\r\n"), "403");
        assert_eq!(status("Origin: null\r\n"), "403");
        assert_eq!(status(""), "101", "only browsers send one");
    }

    #[test]
    fn a_trusted_proxy_says_who_the_client_is_and_nobody_else_does() {
        let proxy = Peer::Address([10, 0, 0, 1].into(), 5);
        let stranger = Peer::Address([192, 0, 2, 1].into(), 5);
        let named = |headers: &str, peer| {
            let request = request("GET / HTTP/1.1", &format!("{MQTT}{headers}"));
            match answer(request.as_bytes(), &terms(), peer) {
                Outcome::Accepted { peer, .. } => peer.map(|peer| peer.to_string()),
                _ => panic!("not accepted"),
            }
        };
        let named_by_proxy = |headers: &str| named(headers, proxy);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(named_by_proxy("X-Forwarded-For: 198.51.100.7\r\n"), some("198.51.100.7"));
        assert_eq!(
            named_by_proxy("X-Forwarded-For: 1.1.1.1, 198.51.100.7:99, 10.0.0.9\r\n"),
            some("198.51.100.7:99")
        );
        assert_eq!(
            named_by_proxy("X-Forwarded-For: 198.51.100.7\r\nX-Forwarded-For: 10.0.0.9\r\n"),
            some("198.51.100.7")
        );
        assert_eq!(named_by_proxy("X-Real-IP: 2001:db8::1\r\n"), some("2001:db8::1"));
        assert_eq!(named_by_proxy("X-Forwarded-For: nonsense\r\n"), None);
        assert_eq!(named_by_proxy(""), None);
        assert_eq!(named("X-Forwarded-For: 198.51.100.7\r\n", stranger), None);
        assert_eq!(named("X-Real-IP: 198.51.100.7\r\n", Peer::Local), some("198.51.100.7"));
    }
}
