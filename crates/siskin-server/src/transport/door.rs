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

/// The terms of a listener. Connections keep those that they came on.
pub(crate) struct Door {
    pub(crate) listener: Listener,
    tls: Option<Context>,
    websocket: Option<Arc<Terms>>,
    /// What all its clients together may do in a second.
    pub(crate) quota: Option<Arc<Quota>>,
    /// Where it listens, if that is an address with a port.
    address: Option<SocketAddr>,
    /// Connections that came through its socket and are there, on whichever terms. It stands for the socket, too.
    open: Arc<AtomicU32>,
}

/// A listening socket that has an address.
pub(crate) struct Bound {
    pub(crate) door: Arc<Door>,
    pub(crate) socket: ListeningSocket,
}

pub(crate) enum ListeningSocket {
    Tcp(TcpListener),
    Unix(
        UnixListener,
        #[expect(dead_code, reason = "removes the file when the socket is closed")] SocketFile,
    ),
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
        // Many hosts and containers have no IPv6; their IPv4 loopback serves as well.
        match Bound::new(listener, packet_size_max) {
            Err(StartError::Bind { source, .. })
                if is_missing(&listener.place, &source) && listeners.len() > 1 =>
            {
                tracing::debug!("not listening on {}: {source}", listener.place);
            }
            bound => all.push(bound?),
        }
    }
    Ok(all)
}

/// Whether the machine has no such address, though others have.
pub(crate) fn is_missing(place: &Place, error: &io::Error) -> bool {
    matches!(place, Place::Address(address) if tcp::is_missing(*address, error))
}

impl Bound {
    /// Listens.
    pub(crate) fn new(listener: &Listener, packet_size_max: u32) -> Result<Self, StartError> {
        let failed = |source| StartError::Bind { place: listener.place.to_string(), source };
        let socket = ListeningSocket::bind(&listener.place).map_err(failed)?;
        let address = socket.address()?;
        let door = Arc::new(Door::new(listener, packet_size_max, address, Arc::default())?);
        Ok(Self { door, socket })
    }

    /// Listens once more where `door` did, for those who come as for those who came.
    pub(crate) fn again(door: &Arc<Door>) -> Result<Self, StartError> {
        let place = door.bound_listener().place;
        let failed = |source| StartError::Bind { place: place.to_string(), source };
        Ok(Self { socket: ListeningSocket::bind(&place).map_err(failed)?, door: Arc::clone(door) })
    }
}

impl Door {
    fn new(
        listener: &Listener,
        packet_size_max: u32,
        address: Option<SocketAddr>,
        open: Arc<AtomicU32>,
    ) -> Result<Self, StartError> {
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
        let quota = Quota::new(listener.quota).map(Arc::new);
        Ok(Self { listener: listener.clone(), tls, websocket, quota, address, open })
    }

    /// The same socket on the terms of `listener`, for those who come from now on.
    pub(crate) fn on_terms_of(&self, listener: &Listener, packet_size_max: u32) -> Result<Self, StartError> {
        let mut door = Self::new(listener, packet_size_max, self.address, Arc::clone(&self.open))?;
        // One that holds for all clients together holds for those who are there as well.
        if door.quota.is_some() && self.quota.is_some() {
            door.quota.clone_from(&self.quota);
        }
        Ok(door)
    }

    /// Its terms are in force from now on, as far as they are about what several doors share.
    pub(crate) fn settle(&self) {
        if let Some(quota) = &self.quota {
            quota.set_rates(self.listener.quota);
        }
        if let Place::Unix { path, mode: Some(mode) } = &self.listener.place
            && let Err(error) = unix::set_mode(path, *mode)
        {
            tracing::error!("{} has other permissions than it should: {error}", path.display());
        }
    }

    /// Whether both let in who comes to one socket.
    pub(crate) fn has_socket_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.open, &other.open)
    }

    /// Its listener, with the port that the system chose where none was named.
    pub(crate) fn bound_listener(&self) -> Listener {
        let place = self.address.map_or_else(|| self.listener.place.clone(), Place::Address);
        Listener { place, ..self.listener.clone() }
    }

    /// Where it listens, if that is an address with a port.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
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
    fn bind(place: &Place) -> io::Result<Self> {
        match place {
            Place::Address(address) => tcp::listen(*address).map(Self::Tcp),
            Place::Unix { path, mode } => {
                unix::listen(path, *mode).map(|(socket, file)| Self::Unix(socket, file))
            }
        }
    }

    pub(crate) fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                Ok((Socket::Tcp(stream), address.into()))
            }
            Self::Unix(listener, _) => Ok((Socket::Unix(listener.accept()?.0), Peer::Local)),
        }
    }

    pub(crate) fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(listener) => listener,
            Self::Unix(listener, _) => listener,
        }
    }

    fn address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Some),
            Self::Unix(..) => Ok(None),
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
