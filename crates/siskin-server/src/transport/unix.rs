//! Unix domain sockets: clients of this machine, let in by the permissions of a file.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use mio::net::UnixListener;
use socket2::{Domain, SockAddr, Socket, Type};

/// The file of a listening socket, removed when the socket is closed.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode: whoever put another file there in the meantime keeps it.
    id: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if id(&self.path).is_ok_and(|id| id == self.id) {
            // Left behind it does no harm: the next start removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens on `path`. A socket that a broker left behind there is replaced; one in use is not.
pub(super) fn listen(path: &Path, mode: Option<u32>) -> io::Result<(UnixListener, SocketFile)> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if let Err(error) = socket.bind(&address) {
        if error.kind() != io::ErrorKind::AddrInUse {
            return Err(error);
        }
        remove_stale(path, &address)?;
        socket.bind(&address)?;
    }
    let file = SocketFile { path: path.to_owned(), id: id(path)? };
    // Before listening: nobody comes in while the permissions are still others.
    if let Some(mode) = mode {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    socket.listen(super::BACKLOG)?;
    Ok((UnixListener::from_std(OwnedFd::from(socket).into()), file))
}

/// Gives the socket at `path` other permissions, if it has others.
pub(super) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    let has = fs::symlink_metadata(path)?.permissions().mode() & 0o7777;
    if has == mode { Ok(()) } else { fs::set_permissions(path, Permissions::from_mode(mode)) }
}

/// Removes the socket at `path` if nobody listens on it.
fn remove_stale(path: &Path, address: &SockAddr) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // One with a full backlog would keep us waiting.
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
        Ok(()) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

fn id(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
