//! A WebSocket client of few words, on any byte stream.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use siskin_server::config::{Listener, Protocol, WebSocket};

pub(crate) struct Web<S> {
    pub(crate) stream: S,
    payload: Vec<u8>,
}

/// A listener on a free port that speaks WebSocket.
pub(crate) fn web_listener() -> Listener {
    let mut listener = Listener::from(SocketAddr::from(([127, 0, 0, 1], 0)));
    listener.protocol = Protocol::WebSocket(WebSocket::default());
    listener
}

/// A request for an upgrade, with `headers` of its own.
pub(crate) fn upgrade(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: broker\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// Sends `request` and reads the head of the answer.
pub(crate) fn ask<S: Read + Write>(stream: &mut S, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

pub(crate) const MQTT: &str = "Sec-WebSocket-Protocol: mqtt\r\n";

impl<S: Read + Write> Web<S> {
    pub(crate) fn open(mut stream: S) -> Self {
        let answer = ask(&mut stream, &upgrade("/mqtt", MQTT));
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        Self { stream, payload: Vec::new() }
    }

    /// Sends a masked frame whose first byte is `first`.
    pub(crate) fn send(&mut self, first: u8, payload: &[u8]) {
        self.stream.write_all(&frame(first, payload)).unwrap();
    }

    /// The next frame: its first byte and its payload.
    pub(crate) fn next(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).unwrap();
        let len = match head[1] {
            126 => {
                let mut len = [0; 2];
                self.stream.read_exact(&mut len).unwrap();
                u16::from_be_bytes(len).into()
            }
            127 => {
                let mut len = [0; 8];
                self.stream.read_exact(&mut len).unwrap();
                u64::from_be_bytes(len) as usize
            }
            len => len.into(),
        };
        let mut payload = vec![0; len];
        self.stream.read_exact(&mut payload).unwrap();
        (head[0], payload)
    }

    /// Waits for a close frame with `code`, and for the end behind it.
    pub(crate) fn expect_close(&mut self, code: u16) {
        let (first, payload) = self.next();
        assert_eq!((first, payload), (0x88, code.to_be_bytes().to_vec()));
        self.expect_end();
    }

    pub(crate) fn expect_end(&mut self) {
        match self.stream.read(&mut [0]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("expected the end, got {other:?}"),
        }
    }
}

/// A masked frame whose first byte is `first`.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    let mut frame = vec![first];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len @ 126..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(0x80 | 127);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

/// What is written goes out as one binary frame.
impl<S: Read + Write> Write for Web<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write_all(&frame(0x82, bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// What is read came in binary frames; a close frame is the end.
impl<S: Read + Write> Read for Web<S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.payload.is_empty() {
            match self.next() {
                (0x82, payload) => self.payload = payload,
                (0x88, _) => return Ok(0),
                (first, _) => return Err(io::Error::other(format!("an unexpected frame {first:x}"))),
            }
        }
        let len = self.payload.len().min(into.len());
        into[..len].copy_from_slice(&self.payload[..len]);
        self.payload.drain(..len);
        Ok(len)
    }
}
