//! Sockets that strangers connect to.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use crate::server::StartError;

/// Listens on `addresses`, all of them or none.
pub(crate) fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, StartError> {
    let mut listeners = Vec::new();
    for address in addresses {
        match listen(*address) {
            Ok(listener) => listeners.push(listener),
            // Many hosts and containers have no IPv6; their IPv4 loopback serves as well.
            Err(error) if is_missing(*address, &error) && addresses.len() > 1 => {
                tracing::debug!("not listening on {address}: {error}");
            }
            Err(source) => return Err(StartError::Bind { address: *address, source }),
        }
    }
    Ok(listeners)
}

fn is_missing(address: SocketAddr, error: &io::Error) -> bool {
    let absent = matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
    absent && address.is_ipv6() && address.ip().is_loopback()
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // So that 0.0.0.0 and :: can be listened on side by side, whatever the system's default.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Inherited by the accepted: packets that answer each other must not wait for acknowledgements.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Connections that may wait to be accepted; the system cuts it to its own limit.
const BACKLOG: i32 = 4096;
