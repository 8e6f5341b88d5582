//! The transport of a connection: a socket, and what may be between it and the packets.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use socket2::{Domain, SockRef, Socket, Type};

use crate::layers::{Layers, Transport};

#[derive(Debug)]
pub(crate) struct Stream {
    socket: TcpStream,
    layers: Option<Box<Layers>>,
}

impl Stream {
    /// Begins to connect. [`Self::is_connected`] says when it is.
    pub(crate) fn open(
        target: SocketAddr,
        source: Option<IpAddr>,
        transport: &Transport,
    ) -> io::Result<Self> {
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
        Ok(Self { socket: TcpStream::from_std(socket.into()), layers: transport.layers()? })
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.socket, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Whether the connection stands, or why it will not.
    pub(crate) fn is_connected(&self) -> io::Result<bool> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.socket.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// When this is closed, the port is free at once. Only for a connection that the other end has closed.
    pub(crate) fn leave_no_trace(&self) {
        // Without it the port waits for a minute, which only matters to whoever opens very many.
        let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
    }

    /// Says that nothing more is sent. With layers between, these would have to say it.
    pub(crate) fn end_writing(&self) -> io::Result<()> {
        if self.layers.is_some() {
            return Ok(());
        }
        match self.socket.shutdown(Shutdown::Write) {
            // The broker was faster.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            ended => ended,
        }
    }

    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.layers {
            None => self.socket.read(buffer),
            Some(layers) => layers.read(&mut self.socket, buffer),
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.layers {
            None => self.socket.write(bytes),
            Some(layers) => layers.write(&mut self.socket, bytes),
        }
    }

    /// Hands on what the layers hold back. Without layers there is nothing.
    pub(crate) fn push(&mut self) -> io::Result<()> {
        match &mut self.layers {
            None => Ok(()),
            Some(layers) => layers.push(&mut self.socket),
        }
    }

    pub(crate) fn is_layered(&self) -> bool {
        self.layers.is_some()
    }

    /// Whether something has come that no event will tell of.
    pub(crate) fn has_more(&self) -> bool {
        self.layers.as_ref().is_some_and(|layers| layers.has_more())
    }
}
