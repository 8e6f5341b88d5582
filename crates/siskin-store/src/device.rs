//! What the journal needs from a file system, and nothing more: the border behind which crashes are simulated.

use std::fmt::Debug;
use std::io;

/// A directory of files.
///
/// Nothing written is safe before [`Device::sync`] of the file, and no name before [`Device::sync_directory`].
pub trait Device: Debug + Send + Sync + 'static {
    /// A file that is open. It stays readable when its name changes or goes.
    type File: Debug + Send + Sync;

    /// Names a file in messages.
    fn path(&self, name: &str) -> String;

    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file that is there.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Makes an empty file, also in place of one that is there.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// The length of a file in bytes.
    fn size(&self, file: &Self::File) -> io::Result<u64>;

    /// Reads at `offset`; perhaps fewer bytes than asked for, none at the end.
    fn read_at(&self, file: &Self::File, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes at `offset`; perhaps fewer bytes than given. Grows the file if need be.
    fn write_at(&self, file: &Self::File, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Cuts a file to its first `len` bytes. It may still be longer after a crash.
    fn shorten(&self, file: &Self::File, len: u64) -> io::Result<()>;

    /// Makes what is in a file safe.
    fn sync(&self, file: &Self::File) -> io::Result<()>;

    /// Gives a file another name, which may be that of a file that is thereby gone.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names safe.
    fn sync_directory(&self) -> io::Result<()>;
}

/// Reads until `bytes` are full or the file ends, and says how many were read.
pub(crate) fn read_full_at<D: Device>(
    device: &D,
    file: &D::File,
    bytes: &mut [u8],
    offset: u64,
) -> io::Result<usize> {
    let mut done = 0;
    while done < bytes.len() {
        match device.read_at(file, &mut bytes[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(len) => done += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes all of `bytes`.
pub(crate) fn write_all_at<D: Device>(
    device: &D,
    file: &D::File,
    bytes: &[u8],
    offset: u64,
) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match device.write_at(file, &bytes[done..], offset + done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(len) => done += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
