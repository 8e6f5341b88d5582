//! What carries a connection's bytes: TCP or a Unix socket, plain or with layers above it.
//!
//! A plain transport costs what its socket costs. Layers (PROXY protocol header, TLS, WebSocket) are
//! filters between the socket and the codec: still one read and one write per turn.

mod door;
mod layered;
mod peer;
mod proxy_protocol;
mod tcp;
mod tls;
mod unix;
mod websocket;

use std::io::{self, IoSlice, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use siskin_core::OutBuffer;

pub(crate) use door::{Bound, Door, ListeningSocket, Socket, is_missing, open, tls_context};
pub(crate) use layered::{End, Layered, Scratch};
pub(crate) use peer::Peer;
pub use tls::Expiry;
pub(crate) use tls::{Context, Mark, identity, is_usable};

/// One end of a connection.
pub(crate) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    Layered(Box<Layered>),
}

/// A transport with all that is known of it.
pub(crate) struct Arrival {
    pub(crate) transport: Transport,
    pub(crate) peer: Peer,
    /// The listener it came through.
    pub(crate) door: Arc<Door>,
}

/// How far one write came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// To the end.
    All,
    /// As far as one write goes.
    Part,
    /// As far as the kernel takes it for now.
    Refused,
}

impl Transport {
    /// Hands the front of `out` to the kernel, in one system call.
    pub(crate) fn write(&mut self, out: &mut OutBuffer, scratch: &mut Scratch) -> io::Result<Written> {
        match self {
            Self::Tcp(stream) => write_plain(stream, out),
            Self::Unix(stream) => write_plain(stream, out),
            Self::Layered(layered) => layered.write(out, scratch),
        }
    }

    /// Sends a few bytes without waiting for room, which may lose them.
    pub(crate) fn write_once(&mut self, bytes: &[u8], scratch: &mut Scratch) {
        // The kernel takes a few bytes whole or, from a peer that is gone already, not at all.
        let _ = match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Layered(layered) => {
                layered.put(bytes, scratch);
                Ok(0)
            }
        };
    }

    /// After the bytes that are yet to be written, no more will come.
    pub(crate) fn finish(&mut self) {
        if let Self::Layered(layered) = self {
            layered.finish();
        }
    }

    /// Tells the peer that no more will come.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
            Self::Layered(layered) => layered.socket().shutdown_write(),
        }
    }

    /// Whether it has bytes of its own to write.
    pub(crate) fn owes(&self) -> bool {
        match self {
            Self::Tcp(_) | Self::Unix(_) => false,
            Self::Layered(layered) => layered.owes(),
        }
    }

    /// What to read from, for one who wants the bytes as they are on the wire.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
            Self::Layered(layered) => layered.socket().fd(),
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
            Self::Layered(layered) => layered.socket_mut().source(),
        }
    }
}

impl Source for Transport {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.source().register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        self.source().reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source().deregister(registry)
    }
}

fn write_plain<S: Write>(stream: &mut S, out: &mut OutBuffer) -> io::Result<Written> {
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let count = out.slices(&mut slices);
    let offered: usize = slices[..count].iter().map(|slice| slice.len()).sum();
    let result = match &slices[..count] {
        [] => return Ok(Written::All),
        [slice] => stream.write(slice),
        slices => stream.write_vectored(slices),
    };
    let written = match result {
        Ok(written) => written,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Written::Refused),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(Written::Part),
        Err(error) => return Err(error),
    };
    out.advance(written);
    Ok(match () {
        () if written < offered => Written::Refused,
        () if out.is_empty() => Written::All,
        () => Written::Part,
    })
}

/// What one read takes at most, and so what one connection may hand in per turn.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// Slices offered at once: small packets stand in one, large payloads have one each.
const SLICES_MAX: usize = 64;

/// Connections that may wait to be accepted; the system cuts it to its own limit.
const BACKLOG: i32 = 4096;
