//! TLS and WebSocket between a connection's socket and its packets.

use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::error::BenchError;

/// What all connections of a run have between socket and packets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transport {
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// What asks for WebSocket.
    request: Option<Arc<[u8]>>,
}

impl Transport {
    /// TLS that trusts those in the file `ca`, WebSocket at `path`, both, or neither.
    pub(crate) fn new(
        (host, port): (&str, u16),
        ca: Option<&Path>,
        path: Option<&str>,
    ) -> Result<Self, BenchError> {
        let tls = ca.map(|ca| trusting(ca, host)).transpose()?;
        let request = match path {
            Some(path) if !path.starts_with('/') || path.contains(|c: char| c.is_whitespace()) => {
                return Err(BenchError::Transport(format!(
                    "{path:?} is no path of a WebSocket: it begins with /"
                )));
            }
            Some(path) => Some(request(host, port, path)),
            None => None,
        };
        Ok(Self { tls, request })
    }

    /// Its name in URLs.
    pub(crate) fn name(&self) -> &'static str {
        match (&self.tls, &self.request) {
            (None, None) => "tcp",
            (Some(_), None) => "tls",
            (None, Some(_)) => "ws",
            (Some(_), Some(_)) => "wss",
        }
    }

    /// The layers of one connection, if there are any.
    pub(crate) fn layers(&self) -> io::Result<Option<Box<Layers>>> {
        if self.tls.is_none() && self.request.is_none() {
            return Ok(None);
        }
        let tls = match &self.tls {
            Some((config, name)) => {
                Some(ClientConnection::new(Arc::clone(config), name.clone()).map_err(io::Error::other)?)
            }
            None => None,
        };
        let mut layers = Layers { tls, web: None, out: Vec::new(), raw: Vec::new(), is_drained: true };
        if let Some(request) = &self.request {
            layers.web = Some(Web::default());
            layers.put(request)?;
        }
        Ok(Some(Box::new(layers)))
    }
}

fn trusting(ca: &Path, host: &str) -> Result<(Arc<ClientConfig>, ServerName<'static>), BenchError> {
    let wrong = |problem: String| BenchError::Transport(format!("{}: {problem}", ca.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("there is no certificate in it".to_owned()));
    }
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| BenchError::Transport(format!("{host:?} is no name that a certificate could be for")))?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| BenchError::System(io::Error::other(error)))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((Arc::new(config), name))
}

fn request(host: &str, port: u16, path: &str) -> Arc<[u8]> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    // Nobody looks at whether the answer goes with the key: it guards caches, of which there are none here.
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2lza2luIGJlbmNoIDEyMw==\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
    .into_bytes()
    .into()
}

/// The layers of one connection, and what is on its way through them.
#[derive(Debug)]
pub(crate) struct Layers {
    tls: Option<ClientConnection>,
    web: Option<Web>,
    /// Not yet taken by the kernel; with TLS what it has not yet encrypted is in there.
    out: Vec<u8>,
    /// Received and decrypted, and not yet asked for.
    raw: Vec<u8>,
    /// The socket had nothing more: an event will tell of what comes.
    is_drained: bool,
}

/// Where a WebSocket stands.
#[derive(Debug, Default)]
struct Web {
    /// The answer to the request has come.
    is_open: bool,
    /// Bytes of the frame at hand that are yet to come.
    left: u64,
}

impl Layers {
    /// Reads packets as from a socket.
    pub(crate) fn read(&mut self, socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        let is_ended = self.fill(socket)?;
        self.push(socket)?;
        let taken = self.unpack(buffer)?;
        self.push(socket)?;
        match taken {
            0 if is_ended => Ok(0),
            0 => Err(ErrorKind::WouldBlock.into()),
            len => Ok(len),
        }
    }

    /// Writes packets as to a socket. What it takes goes out with [`Self::push`], if not at once.
    pub(crate) fn write(&mut self, socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
        if self.web.as_ref().is_some_and(|web| !web.is_open) || self.owes() {
            self.push(socket)?;
            if self.web.as_ref().is_some_and(|web| !web.is_open) || self.owes() {
                return Err(ErrorKind::WouldBlock.into());
            }
        }
        let bytes = &bytes[..bytes.len().min(WRITE_BYTES_MAX)];
        if self.web.is_some() {
            // The mask is zero: what unmasking costs the broker is the same, and this tool pays nothing.
            let mut head = vec![0x82];
            match bytes.len() {
                len @ 0..126 => head.push(0x80 | len as u8),
                len @ 126..65_536 => {
                    head.push(0x80 | 126);
                    head.extend((len as u16).to_be_bytes());
                }
                len => {
                    head.push(0x80 | 127);
                    head.extend((len as u64).to_be_bytes());
                }
            }
            head.extend([0; 4]);
            self.put(&head)?;
        }
        self.put(bytes)?;
        self.push(socket)?;
        Ok(bytes.len())
    }

    /// Hands to the kernel what it takes.
    pub(crate) fn push(&mut self, socket: &mut TcpStream) -> io::Result<()> {
        loop {
            let written = match &mut self.tls {
                Some(tls) if tls.wants_write() => tls.write_tls(socket),
                None if !self.out.is_empty() => socket.write(&self.out),
                _ => return Ok(()),
            };
            match written {
                Ok(written) if self.tls.is_none() => drop(self.out.drain(..written)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the kernel has not taken all.
    fn owes(&self) -> bool {
        !self.out.is_empty()
            || self.tls.as_ref().is_some_and(|tls| !tls.is_handshaking() && tls.wants_write())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes),
            None => {
                self.out.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Reads the socket as far as it goes, but no more than a few packets' worth; true at its end.
    fn fill(&mut self, socket: &mut TcpStream) -> io::Result<bool> {
        self.is_drained = false;
        while self.raw.len() < RAW_BYTES_MAX {
            let before = self.raw.len();
            let taken = match &mut self.tls {
                Some(tls) => {
                    let taken = tls.read_tls(socket);
                    let state = tls.process_new_packets().map_err(io::Error::other)?;
                    let mut plain = Vec::new();
                    tls.reader().take(state.plaintext_bytes_to_read() as u64).read_to_end(&mut plain)?;
                    self.raw.append(&mut plain);
                    taken
                }
                None => {
                    self.raw.resize(before + READ_BYTES, 0);
                    let taken = socket.read(&mut self.raw[before..]);
                    self.raw.truncate(before + *taken.as_ref().unwrap_or(&0));
                    taken
                }
            };
            match taken {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_drained = true;
                    return Ok(false);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Moves the payload of what has come to `buffer`.
    fn unpack(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(web) = &mut self.web else {
            let len = self.raw.len().min(buffer.len());
            buffer[..len].copy_from_slice(&self.raw[..len]);
            self.raw.drain(..len);
            return Ok(len);
        };
        let mut at = 0;
        if !web.is_open {
            let Some(end) = self.raw.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(0) };
            if !self.raw.starts_with(b"HTTP/1.1 101 ") {
                let line = self.raw.split(|byte| *byte == b'\r').next().unwrap_or_default();
                let line = String::from_utf8_lossy(line).into_owned();
                return Err(io::Error::other(format!("no WebSocket is granted: {line}")));
            }
            web.is_open = true;
            at = end + 4;
        }
        let mut len = 0;
        let mut pongs = Vec::new();
        while len < buffer.len() {
            if web.left == 0 {
                let Some(head) = frame_head(&self.raw[at..])? else { break };
                if head.is_data {
                    at += head.len;
                    web.left = head.payload;
                    continue;
                }
                let whole = head.len + head.payload as usize;
                let Some(frame) = self.raw[at..].get(..whole) else { break };
                if head.is_ping {
                    // Masked with zeros, as all that is sent.
                    pongs.extend([0x8a, 0x80 | head.payload as u8, 0, 0, 0, 0]);
                    pongs.extend_from_slice(&frame[head.len..]);
                }
                at += whole;
                continue;
            }
            let there = self.raw.len() - at;
            let part = (web.left.min(there as u64) as usize).min(buffer.len() - len);
            if part == 0 {
                break;
            }
            buffer[len..len + part].copy_from_slice(&self.raw[at..at + part]);
            web.left -= part as u64;
            (at, len) = (at + part, len + part);
        }
        self.raw.drain(..at);
        if !pongs.is_empty() {
            self.put(&pongs)?;
        }
        Ok(len)
    }

    /// Whether something has come that was not asked for yet.
    pub(crate) fn has_more(&self) -> bool {
        !self.raw.is_empty() || !self.is_drained
    }
}

struct FrameHead {
    /// Bytes of the header.
    len: usize,
    /// Bytes of what follows it.
    payload: u64,
    is_data: bool,
    is_ping: bool,
}

/// The header of a frame, once it is whole.
fn frame_head(bytes: &[u8]) -> io::Result<Option<FrameHead>> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let (is_data, is_ping) = match first & 0x0f {
        0 | 2 => (true, false),
        8 => return Err(ErrorKind::ConnectionAborted.into()),
        9 => (false, true),
        10 => (false, false),
        _ => return Err(io::Error::other("a WebSocket frame that is not binary")),
    };
    if second & 0x80 != 0 {
        return Err(io::Error::other("a WebSocket frame with a mask, as only clients send them"));
    }
    let head = |len, payload| FrameHead { len, payload, is_data, is_ping };
    Ok(match (second, rest) {
        (len @ 0..126, _) => Some(head(2, u64::from(*len))),
        _ if !is_data => return Err(io::Error::other("a WebSocket ping of more than 125 bytes")),
        (126, [a, b, ..]) => Some(head(4, u64::from(u16::from_be_bytes([*a, *b])))),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            Some(head(10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h])))
        }
        _ => None,
    })
}

/// What one write takes, so that a connection that is not read does not gather more.
const WRITE_BYTES_MAX: usize = 32 * 1024;

const READ_BYTES: usize = 64 * 1024;

/// What is held for a client that has not asked for it.
const RAW_BYTES_MAX: usize = 128 * 1024;
