//! What a process has used, as Linux tells it under `/proc`.

use std::fs;
use std::io;

/// A look at a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// User and system time of all its threads, in seconds.
    pub(crate) cpu_s: f64,
    /// When it was started, in ticks since the system was; tells it from a later one of the same number.
    pub(crate) started: u64,
    pub(crate) rss_bytes: u64,
    /// The most that was ever resident.
    pub(crate) rss_peak_bytes: u64,
    /// Bytes that it made the storage layer write, if we may know.
    pub(crate) written_bytes: Option<u64>,
}

/// Looks at the process `pid`, or at this one.
pub(crate) fn look(pid: Option<u32>) -> io::Result<Usage> {
    let folder = pid.map_or("/proc/self".to_owned(), |pid| format!("/proc/{pid}"));
    let stat = fs::read_to_string(format!("{folder}/stat"))?;
    // One that has ended is still there until somebody has asked how.
    if matches!(behind_name(&stat).split_whitespace().next(), Some("Z" | "X")) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let status = fs::read_to_string(format!("{folder}/status"))?;
    // Only for processes of the same user.
    let io = fs::read_to_string(format!("{folder}/io")).ok();
    Ok(Usage {
        cpu_s: cpu_ticks(&stat) as f64 / rustix::param::clock_ticks_per_second() as f64,
        started: number(&stat, 19),
        rss_bytes: field(&status, "VmRSS:") * 1024,
        rss_peak_bytes: field(&status, "VmHWM:") * 1024,
        written_bytes: io.map(|io| field(&io, "write_bytes:")),
    })
}

fn cpu_ticks(stat: &str) -> u64 {
    number(stat, 11) + number(stat, 12)
}

/// The name of the process, which comes second, may have blanks and brackets in it.
fn behind_name(stat: &str) -> &str {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest)
}

/// The field at `place` behind the name.
fn number(stat: &str, place: usize) -> u64 {
    behind_name(stat).split_whitespace().nth(place).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_stand_behind_a_name_with_brackets_in_it() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 3 0 9 1 2";
        assert_eq!(cpu_ticks(stat), 300);
    }

    #[test]
    fn fields_are_found_by_name() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(
            (field(status, "VmRSS:"), field(status, "VmHWM:"), field(status, "VmSwap:")),
            (1024, 2048, 0)
        );
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = look(None).unwrap();
        assert!(usage.rss_bytes > 0 && usage.rss_peak_bytes >= usage.rss_bytes / 2);
        assert!(look(Some(u32::MAX)).is_err());
    }
}
