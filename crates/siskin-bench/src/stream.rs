//! The transport of a connection. One kind so far; others become further variants.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::{Domain, SockRef, Socket, Type};

#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
}

impl Stream {
    /// Begins to connect. [`Self::is_connected`] says when it is.
    pub(crate) fn open(target: SocketAddr, source: Option<IpAddr>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&target.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error),
        }
        Ok(Self::Tcp(TcpStream::from_std(socket.into())))
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let Self::Tcp(stream) = self;
        registry.register(stream, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Whether the connection stands, or why it will not.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        let Self::Tcp(stream) = self;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// When this is closed, the port is free at once. Only for a connection that the other end has closed.
    pub(crate) fn leave_no_trace(&self) {
        let Self::Tcp(stream) = self;
        // Without it the port waits for a minute, which only matters to whoever opens very many.
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Self::Tcp(stream) = self;
        stream.read(buffer)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Self::Tcp(stream) = self;
        stream.write(bytes)
    }
}
