//! How much memory the process holds.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Where the system says how much is resident. It stays open: there may be no file to be had when it matters.
pub(crate) struct Resident {
    statm: Option<File>,
    last: u64,
}

impl Resident {
    pub(crate) fn open() -> Self {
        Self { statm: File::open("/proc/self/statm").ok(), last: 0 }
    }

    /// Bytes that are resident, as Linux counts them; 0 where the system does not say.
    pub(crate) fn bytes(&mut self) -> u64 {
        let mut text = [0; 128];
        let read = self.statm.as_ref().and_then(|statm| statm.read_at(&mut text, 0).ok());
        let text = read.and_then(|len| std::str::from_utf8(&text[..len]).ok());
        let pages = text.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
        if let Some(pages) = pages {
            self.last = pages * rustix::param::page_size() as u64;
        }
        self.last
    }
}

/// Bytes that are resident, for who asks once.
pub(crate) fn resident_bytes() -> u64 {
    Resident::open().bytes()
}

/// Bytes of memory that this process can have at most: of the machine, or of the group of processes that it is in. None
/// where the system does not say.
pub(crate) fn available_bytes() -> Option<u64> {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let groups = [group_limit(), number("/sys/fs/cgroup/memory/memory.limit_in_bytes")];
    machine_bytes().into_iter().chain(groups.into_iter().flatten()).min()
}

fn machine_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// The lowest limit of the groups that this process is in, from its own up (control groups, version 2).
fn group_limit() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let path = std::path::Path::new("/sys/fs/cgroup").join(own.trim_start_matches('/'));
    let limit = |path: &std::path::Path| {
        std::fs::read_to_string(path.join("memory.max")).ok()?.trim().parse::<u64>().ok()
    };
    path.ancestors().take_while(|path| path.starts_with("/sys/fs/cgroup")).filter_map(limit).min()
}
