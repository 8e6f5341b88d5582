//! A listening socket, with the terms on which it lets clients in.

use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use super::tls::{Context, Tls};
use super::unix::SocketFile;
use super::websocket::{Terms, WebSocket};
use super::{Layered, Peer, Transport, tcp, unix};
use crate::config::{Listener, Place, Protocol};
use crate::server::StartError;
use crate::turnstile::Quota;

/// The terms of a listener, known to all workers.
pub(crate) struct Door {
    pub(crate) listener: Listener,
    tls: Option<Context>,
    websocket: Option<Arc<Terms>>,
    /// What all its clients together may do in a second.
    pub(crate) quota: Option<Arc<Quota>>,
    /// Connections that came through it and are there.
    open: AtomicU32,
    /// Removes the file of a Unix socket at the end.
    _file: Option<SocketFile>,
}

/// A listening socket that has an address.
pub(crate) struct Bound {
    pub(crate) door: Door,
    pub(crate) socket: ListeningSocket,
    /// Where it listens, if that is an address with a port.
    pub(crate) address: Option<SocketAddr>,
}

pub(crate) enum ListeningSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A socket without layers.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Listens on all of `listeners`, or on none of them.
pub(crate) fn open(listeners: &[Listener], packet_size_max: u32) -> Result<Vec<Bound>, StartError> {
    let mut all = Vec::new();
    for listener in listeners {
        match bind(listener) {
            Ok((socket, file)) => {
                let door = Door::new(listener, file, packet_size_max)?;
                let address = socket.address()?;
                all.push(Bound { door, socket, address });
            }
            // Many hosts and containers have no IPv6; their IPv4 loopback serves as well.
            Err(error) if is_missing(&listener.place, &error) && listeners.len() > 1 => {
                tracing::debug!("not listening on {}: {error}", listener.place);
            }
            Err(source) => return Err(StartError::Bind { place: listener.place.to_string(), source }),
        }
    }
    Ok(all)
}

fn is_missing(place: &Place, error: &io::Error) -> bool {
    matches!(place, Place::Address(address) if tcp::is_missing(*address, error))
}

fn bind(listener: &Listener) -> io::Result<(ListeningSocket, Option<SocketFile>)> {
    match &listener.place {
        Place::Address(address) => Ok((ListeningSocket::Tcp(tcp::listen(*address)?), None)),
        Place::Unix { path, mode } => {
            let (socket, file) = unix::listen(path, *mode)?;
            Ok((ListeningSocket::Unix(socket), Some(file)))
        }
    }
}

impl Door {
    fn new(listener: &Listener, file: Option<SocketFile>, packet_size_max: u32) -> Result<Self, StartError> {
        let tls = match &listener.tls {
            Some(_) => Some(tls_context(listener).map_err(StartError::Tls)?),
            None => None,
        };
        let websocket = match &listener.protocol {
            Protocol::Mqtt => None,
            Protocol::WebSocket(options) => Some(Arc::new(Terms {
                options: options.clone(),
                message_bytes_max: u64::from(packet_size_max) + MESSAGE_SLACK_BYTES,
            })),
        };
        let open = AtomicU32::new(0);
        let quota = Quota::new(listener.quota).map(Arc::new);
        Ok(Self { listener: listener.clone(), tls, websocket, quota, open, _file: file })
    }

    /// The layers of this listener on top of `socket`. They cost nothing where there are none.
    pub(crate) fn transport(&self, socket: Socket, peer: Peer) -> Result<Transport, String> {
        let has_layers = self.listener.proxy_protocol || self.tls.is_some() || self.websocket.is_some();
        if !has_layers {
            return Ok(socket.into());
        }
        let tls = match &self.tls {
            Some(context) => {
                Some(Box::new(Tls::new(context.config()).map_err(|error| format!("TLS: {error}"))?))
            }
            None => None,
        };
        let websocket = self.websocket.as_ref().map(|terms| Box::new(WebSocket::new(terms)));
        let layered = Layered::new(socket, peer, self.listener.proxy_protocol, tls, websocket);
        Ok(Transport::Layered(Box::new(layered)))
    }

    /// Counts one more connection, if there is room for it.
    pub(crate) fn enter(&self) -> bool {
        let max = self.listener.connections_max;
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        if max > 0 && before >= max {
            self.leave();
            return false;
        }
        true
    }

    /// A connection that had been counted is gone.
    pub(crate) fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many connections that came through it are there.
    pub(crate) fn connections(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    pub(crate) fn tls(&self) -> Option<&Context> {
        self.tls.as_ref()
    }
}

/// Reads the files of a listener with TLS.
pub(crate) fn tls_context(listener: &Listener) -> Result<Context, String> {
    let Some(options) = &listener.tls else { return Err(format!("{listener} is without TLS")) };
    Context::load(listener.to_string(), options, matches!(listener.protocol, Protocol::WebSocket(_)))
}

impl ListeningSocket {
    pub(crate) fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                Ok((Socket::Tcp(stream), address.into()))
            }
            Self::Unix(listener) => Ok((Socket::Unix(listener.accept()?.0), Peer::Local)),
        }
    }

    pub(crate) fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(listener) => listener,
            Self::Unix(listener) => listener,
        }
    }

    fn address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Some),
            Self::Unix(_) => Ok(None),
        }
    }
}

impl Socket {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }

    pub(super) fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(stream) => stream,
        }
    }
}

impl From<Socket> for Transport {
    fn from(socket: Socket) -> Self {
        match socket {
            Socket::Tcp(stream) => Self::Tcp(stream),
            Socket::Unix(stream) => Self::Unix(stream),
        }
    }
}

/// A WebSocket message may hold several packets: so much more than the largest packet.
const MESSAGE_SLACK_BYTES: u64 = 64 * 1024;
