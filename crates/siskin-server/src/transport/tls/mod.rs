//! TLS, as a filter: records from the socket to bytes of packets and back, in memory that is not its own.

mod certificates;
mod context;
mod files;
mod identity;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

use super::End;
pub(crate) use context::Context;
pub use context::Expiry;
pub(crate) use files::Mark;
pub(crate) use identity::{identity, is_usable};

pub(super) struct Tls {
    connection: UnbufferedServerConnection,
    /// It is not to be asked anything any more: rustls may panic if it is.
    has_failed: bool,
}

impl Tls {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, rustls::Error> {
        Ok(Self { connection: UnbufferedServerConnection::new(config)?, has_failed: false })
    }

    /// Appends to `plain` what the whole records in `wire` hold, to `answers` what the handshake says to
    /// them, and to `undecoded` what is no whole record yet.
    pub(super) fn decode(
        &mut self,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
        undecoded: &mut Vec<u8>,
        answers: &mut Vec<u8>,
    ) -> Option<End> {
        let mut from = 0;
        let mut end = None;
        while !self.has_failed {
            let UnbufferedStatus { discard, state, .. } =
                self.connection.process_tls_records(&mut wire[from..]);
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        plain.extend_from_slice(record.payload);
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    put_handshake(answers, |room| data.encode(room));
                    true
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    end = Some(End::Closed);
                    true
                }
                Err(error) => {
                    self.has_failed = true;
                    end = Some(End::Failed(failure(&error)));
                    false
                }
                Ok(_) => false,
            };
            from += discard;
            if !goes_on {
                break;
            }
        }
        if self.has_failed {
            self.put_alert(&mut wire[from..], answers);
        } else if wire.len() - from > UNDECODED_BYTES_MAX {
            self.has_failed = true;
            end = Some(End::Failed("TLS: a handshake message is too long".to_owned()));
        }
        if end.is_none() {
            undecoded.extend_from_slice(&wire[from..]);
        }
        end
    }

    /// Appends what the peer is told of a failure. Only what is queued may be asked for.
    fn put_alert(&mut self, rest: &mut [u8], answers: &mut Vec<u8>) {
        while self.connection.wants_write() {
            let UnbufferedStatus { state, .. } = self.connection.process_tls_records(rest);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
            put_handshake(answers, |room| data.encode(room));
        }
    }

    /// Appends records of `plain` to `wire`; after the last also that nothing more comes. `undecoded` is
    /// what [`Self::decode`] left.
    pub(super) fn encode(
        &mut self,
        plain: &[u8],
        undecoded: &mut Vec<u8>,
        wire: &mut Vec<u8>,
        is_last: bool,
    ) {
        // Nobody is let in before the handshake is over, and nobody stays after an error.
        if self.has_failed || self.connection.is_handshaking() || (plain.is_empty() && !is_last) {
            return;
        }
        loop {
            let UnbufferedStatus { discard, state, .. } = self.connection.process_tls_records(undecoded);
            let goes_on = match state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    put_handshake(wire, |room| data.encode(room));
                    true
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    if !plain.is_empty() {
                        let overhead = (plain.len() / RECORD_BYTES_MAX + 1) * RECORD_OVERHEAD;
                        put_records(wire, plain.len() + overhead, |room| traffic.encrypt(plain, room));
                    }
                    if is_last {
                        put_records(wire, RECORD_OVERHEAD, |room| traffic.queue_close_notify(room));
                    }
                    false
                }
                Err(_) => {
                    self.has_failed = true;
                    false
                }
                Ok(_) => false,
            };
            undecoded.drain(..discard);
            if !goes_on {
                break;
            }
        }
    }

    /// The certificate that the client showed.
    pub(super) fn client_certificate(&self) -> Option<&[u8]> {
        Some(self.connection.peer_certificates()?.first()?.as_ref())
    }
}

/// Appends to `out` what `encode` writes, in as much room as it turns out to want.
fn put_handshake(out: &mut Vec<u8>, mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>) {
    let start = out.len();
    let written = match encode(&mut []) {
        Err(EncodeError::InsufficientSize(error)) => {
            out.resize(start + error.required_size, 0);
            encode(&mut out[start..]).unwrap_or(0)
        }
        _ => 0,
    };
    out.truncate(start + written);
}

/// Appends to `out` what `encode` writes, in `room` bytes or in as many as it says it needs.
fn put_records(
    out: &mut Vec<u8>,
    room: usize,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) {
    let start = out.len();
    out.resize(start + room, 0);
    let written = match encode(&mut out[start..]) {
        Err(EncryptError::InsufficientSize(error)) => {
            out.resize(start + error.required_size, 0);
            encode(&mut out[start..]).unwrap_or(0)
        }
        // Exhausted keys: rustls ends the connection itself.
        result => result.unwrap_or(0),
    };
    out.truncate(start + written);
}

/// What went wrong, for the log.
fn failure(error: &rustls::Error) -> String {
    use rustls::{CertificateError, Error, InvalidMessage};
    match error {
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "TLS: the client does not speak TLS".to_owned(),
        Error::NoCertificatesPresented => "TLS: the client shows no certificate".to_owned(),
        Error::InvalidCertificate(CertificateError::Revoked) => {
            "TLS: the client's certificate is revoked".to_owned()
        }
        Error::InvalidCertificate(error) => format!("TLS: the client's certificate is refused: {error}"),
        Error::AlertReceived(alert) => format!("TLS: the client refuses: {alert:?}"),
        error => format!("TLS: {error}"),
    }
}

/// Bytes of a handshake message that is gathered: the largest that rustls takes, in records of its own.
const UNDECODED_BYTES_MAX: usize = 96 * 1024;

/// Bytes of packets in the largest record.
const RECORD_BYTES_MAX: usize = 16 * 1024;

/// Bytes around them: header, nonce, content type and tag.
const RECORD_OVERHEAD: usize = 64;
