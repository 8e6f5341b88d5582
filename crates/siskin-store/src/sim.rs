//! A device in memory that crashes and fails on demand: for tests, here and in other crates.
//!
//! It keeps apart what is safe and what only the kernel knows. A crash keeps each write since the last sync,
//! loses it, or tears it, and each change of a name since the last sync of the directory likewise, in whatever
//! combination the seed says: real file systems are kinder.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex};

use crate::device::Device;
use crate::journal::lock;

/// A simulated directory. Clones are the same directory.
#[derive(Clone, Debug, Default)]
pub struct SimDevice {
    state: Arc<Mutex<State>>,
}

/// What is to go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The operation is refused with this error.
    Refuse(io::ErrorKind),
    /// A write or read does a part only, which is allowed.
    Short,
}

/// Kinds of operations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operation {
    /// Of a file.
    Read,
    /// To a file.
    Write,
    /// Of a file.
    Sync,
    /// Creating, renaming and removing.
    Name,
    /// Of the directory.
    SyncDirectory,
}

/// A file of a simulated directory.
#[derive(Debug)]
pub struct SimFile {
    inode: usize,
}

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    safe_names: BTreeMap<String, usize>,
    name_changes: Vec<NameChange>,
    done: HashMap<Operation, u64>,
    faults: HashMap<(Operation, u64), Fault>,
    /// Every operation is refused that would need more than so many bytes.
    room: Option<u64>,
    /// So many more changes are done before the power goes.
    power: Option<u64>,
    random: u64,
    faults_met: u64,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    safe: Vec<u8>,
    seen: Vec<u8>,
    writes: Vec<(usize, Vec<u8>)>,
}

#[derive(Debug)]
enum NameChange {
    Create(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

impl SimDevice {
    /// An empty directory, whose accidents follow from `seed`.
    pub fn new(seed: u64) -> Self {
        let device = Self::default();
        device.state().random = seed;
        device
    }

    /// The power goes: what was not synced is kept, lost or torn.
    pub fn crash(&self) {
        self.state().crash();
    }

    /// The process ends and the kernel lives: nothing is lost, but no fault is planned any more.
    pub fn end_process(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.room = None;
        state.power = None;
    }

    /// The `nth` operation of a kind from now, the next being 0, goes wrong.
    pub fn plan(&self, operation: Operation, nth: u64, fault: Fault) {
        let mut state = self.state();
        let at = state.done.get(&operation).copied().unwrap_or(0) + nth;
        state.faults.insert((operation, at), fault);
    }

    /// The power goes after so many more operations other than reads; whatever is asked then is refused until
    /// the [crash](Self::crash) itself, which says what is left.
    pub fn cut_power_after(&self, operations: u64) {
        self.state().power = Some(operations);
    }

    /// Whether the power has gone.
    pub fn is_dark(&self) -> bool {
        self.state().power == Some(0)
    }

    /// How many operations of a kind there were.
    pub fn done(&self, operation: Operation) -> u64 {
        self.state().done.get(&operation).copied().unwrap_or(0)
    }

    /// How many planned faults happened.
    pub fn faults_met(&self) -> u64 {
        self.state().faults_met
    }

    /// From now on there is room for so many bytes in all files together, or for any number.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.state().room = bytes;
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        let state = self.state();
        state.names.values().map(|inode| state.inodes[*inode].seen.len() as u64).sum()
    }

    /// The content of a file.
    pub fn content(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.names.get(name).map(|inode| state.inodes[*inode].seen.clone()).unwrap_or_default()
    }

    /// Replaces the content of a file, safely, or makes one: damage, for instance.
    pub fn set_content(&self, name: &str, bytes: &[u8]) {
        let mut state = self.state();
        let inode = Inode { safe: bytes.to_vec(), seen: bytes.to_vec(), writes: Vec::new() };
        state.inodes.push(inode);
        let number = state.inodes.len() - 1;
        state.names.insert(name.to_owned(), number);
        state.safe_names.insert(name.to_owned(), number);
    }

    /// A directory with the same files, all safe.
    pub fn copy(&self) -> Self {
        let copy = Self::new(1);
        let state = self.state();
        for (name, inode) in &state.names {
            copy.set_content(name, &state.inodes[*inode].seen);
        }
        copy
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn crash(&mut self) {
        let mut random = self.random;
        for change in std::mem::take(&mut self.name_changes) {
            if draw(&mut random, 2) == 0 {
                continue;
            }
            match change {
                NameChange::Create(name, inode) => _ = self.safe_names.insert(name, inode),
                NameChange::Rename(from, to, inode) => {
                    if self.safe_names.get(&from) == Some(&inode) {
                        self.safe_names.remove(&from);
                    }
                    self.safe_names.insert(to, inode);
                }
                NameChange::Remove(name) => _ = self.safe_names.remove(&name),
            }
        }
        self.names = self.safe_names.clone();
        for inode in &mut self.inodes {
            let writes = std::mem::take(&mut inode.writes);
            for (offset, bytes) in writes {
                tear(&mut inode.safe, offset, &bytes, &mut random);
            }
            inode.seen = inode.safe.clone();
        }
        self.random = random;
        self.faults.clear();
        self.room = None;
        self.power = None;
    }

    /// Counts an operation and says what is to go wrong with it.
    fn meet(&mut self, operation: Operation) -> Option<Fault> {
        match &mut self.power {
            Some(0) => return Some(Fault::Refuse(io::ErrorKind::Other)),
            Some(left) if operation != Operation::Read => *left -= 1,
            _ => {}
        }
        let done = self.done.entry(operation).or_default();
        let at = *done;
        *done += 1;
        let fault = self.faults.remove(&(operation, at));
        self.faults_met += u64::from(fault.is_some());
        fault
    }

    fn refuse(&mut self, operation: Operation) -> io::Result<()> {
        match self.meet(operation) {
            Some(Fault::Refuse(kind)) => Err(kind.into()),
            _ => Ok(()),
        }
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Device for SimDevice {
    type File = SimFile;

    fn path(&self, name: &str) -> String {
        format!("sim/{name}")
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<SimFile> {
        Ok(SimFile { inode: self.state().inode(name)? })
    }

    fn create(&self, name: &str) -> io::Result<SimFile> {
        let mut state = self.state();
        state.refuse(Operation::Name)?;
        // Always another file: whether the old one's blocks are there after a crash is up to the crash.
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.names.insert(name.to_owned(), inode);
        state.name_changes.push(NameChange::Create(name.to_owned(), inode));
        Ok(SimFile { inode })
    }

    fn size(&self, file: &SimFile) -> io::Result<u64> {
        Ok(self.state().inodes[file.inode].seen.len() as u64)
    }

    fn read_at(&self, file: &SimFile, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state();
        let mut len = bytes.len();
        match state.meet(Operation::Read) {
            Some(Fault::Refuse(kind)) => return Err(kind.into()),
            Some(Fault::Short) => len = len.div_ceil(2),
            None => {}
        }
        let content = &state.inodes[file.inode].seen;
        let start = usize::try_from(offset).map_or(content.len(), |offset| offset.min(content.len()));
        let end = (start + len).min(content.len());
        bytes[..end - start].copy_from_slice(&content[start..end]);
        Ok(end - start)
    }

    fn write_at(&self, file: &SimFile, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state();
        let fault = state.meet(Operation::Write);
        if let Some(Fault::Refuse(kind)) = fault {
            // Some of it may have been done before that was noticed.
            let most = if state.power == Some(0) { 0 } else { bytes.len() as u64 };
            let done = draw(&mut state.random, most + 1) as usize;
            state.inodes[file.inode].write(offset as usize, &bytes[..done]);
            return Err(kind.into());
        }
        let mut len = if fault == Some(Fault::Short) { bytes.len().div_ceil(2) } else { bytes.len() };
        if let Some(room) = state.room {
            let used: u64 = state.names.values().map(|inode| state.inodes[*inode].seen.len() as u64).sum();
            let allocated = state.inodes[file.inode].seen.len() as u64;
            let most = allocated + room.saturating_sub(used);
            len = len.min(most.saturating_sub(offset) as usize);
            if len == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        state.inodes[file.inode].write(offset as usize, &bytes[..len]);
        Ok(len)
    }

    fn shorten(&self, file: &SimFile, len: u64) -> io::Result<()> {
        let mut state = self.state();
        state.refuse(Operation::Write)?;
        let is_safe = draw(&mut state.random, 2) == 0;
        let inode = &mut state.inodes[file.inode];
        let len = len as usize;
        inode.seen.truncate(len);
        if is_safe {
            inode.safe.truncate(len);
            for (offset, bytes) in &mut inode.writes {
                bytes.truncate(len.saturating_sub(*offset));
            }
            inode.writes.retain(|(_, bytes)| !bytes.is_empty());
        }
        Ok(())
    }

    fn sync(&self, file: &SimFile) -> io::Result<()> {
        let mut state = self.state();
        let dark = state.power == Some(0);
        let refused = state.refuse(Operation::Sync);
        if dark {
            return refused;
        }
        let mut random = state.random;
        let inode = &mut state.inodes[file.inode];
        let writes = std::mem::take(&mut inode.writes);
        if refused.is_ok() {
            inode.safe = inode.seen.clone();
        } else {
            // What could not be written is still seen, but no later sync tries again.
            for (offset, bytes) in writes {
                tear(&mut inode.safe, offset, &bytes, &mut random);
            }
            state.random = random;
        }
        refused
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.refuse(Operation::Name)?;
        let inode = state.inode(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), inode);
        state.name_changes.push(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.refuse(Operation::Name)?;
        state.inode(name)?;
        state.names.remove(name);
        state.name_changes.push(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.state();
        state.refuse(Operation::SyncDirectory)?;
        state.safe_names = state.names.clone();
        state.name_changes.clear();
        Ok(())
    }
}

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.seen, offset, bytes);
        self.writes.push((offset, bytes.to_vec()));
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if content.len() < offset + bytes.len() {
        content.resize(offset + bytes.len(), 0);
    }
    content[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Does as much of a write as chance will have.
fn tear(content: &mut Vec<u8>, offset: usize, bytes: &[u8], random: &mut u64) {
    match draw(random, 6) {
        0 | 1 => {}
        2 | 3 => put(content, offset, bytes),
        4 => {
            // Sectors go each for itself.
            let mut at = offset;
            while at < offset + bytes.len() {
                let next = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
                let end = next.min(offset + bytes.len());
                if draw(random, 2) == 0 {
                    put(content, at, &bytes[at - offset..end - offset]);
                }
                at = end;
            }
        }
        _ => {
            let from = draw(random, bytes.len() as u64 + 1) as usize;
            let to = from + draw(random, (bytes.len() - from) as u64 + 1) as usize;
            if draw(random, 2) == 0 {
                put(content, offset, &bytes[..to]);
            } else if from < to {
                put(content, offset + from, &bytes[from..to]);
            }
        }
    }
}

/// A number below `below`, by SplitMix64.
fn draw(random: &mut u64, below: u64) -> u64 {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut value = *random;
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (value ^ (value >> 31)) % below.max(1)
}

const SECTOR_BYTES: usize = 512;
