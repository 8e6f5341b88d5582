//! What the store costs and holds, on the disk that `SISKIN_BENCH_DIR` (default: the temporary directory) is on.
//!
//! `cargo bench -p siskin-store --bench journal`

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark reports, and stops where it fails")]

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use siskin_core::store::{Batch, Durability, RecordId, Store, Ticket};
use siskin_store::{DiskStore, Options};

fn main() {
    let base = std::env::var_os("SISKIN_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let path = base.join(format!("siskin-bench-{}", std::process::id()));
    println!("in {}", path.display());
    for durability in [Durability::Synced, Durability::Written] {
        let options = Options { durability, ..Options::default() };
        lone(&path, options);
        commits(&path, options, false);
        commits(&path, options, true);
        recovery(&path, options);
        through(&path, options);
    }
    std::fs::remove_dir_all(&path).unwrap();
}

struct Running {
    store: DiskStore,
    woken: mpsc::Receiver<u16>,
}

impl Running {
    fn new(path: &Path, options: Options) -> Self {
        _ = std::fs::remove_dir_all(path);
        let (wake, woken) = mpsc::channel();
        let opened = DiskStore::open(path, options, |_| {}).unwrap();
        let store = opened.start(move |worker| _ = wake.send(worker)).unwrap();
        Self { store, woken }
    }

    fn append(&self, batch: &mut Batch) -> Ticket {
        batch.await_safety();
        self.store.append(0, batch)
    }

    fn wait(&self, ticket: Ticket) {
        while self.store.safe() < ticket {
            self.woken.recv().unwrap();
        }
    }
}

/// One put at a time, each waited for.
fn lone(path: &Path, options: Options) {
    let running = Running::new(path, options);
    let mut batch = Batch::default();
    let mut times = Vec::new();
    let before = cpu();
    for number in 1..=5_000 {
        put(&mut batch, number, 64);
        let start = Instant::now();
        let ticket = running.append(&mut batch);
        running.wait(ticket);
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!(
        "{:?}: a lone commit p50 {:?}, p99 {:?}, {:.1} µs CPU",
        options.durability,
        times[2_500],
        times[4_950],
        cpu_since(before).as_secs_f64() * 1e6 / 5_000.0
    );
}

/// 128 puts a commit, while the one before is under way.
fn commits(path: &Path, options: Options, release: bool) {
    const PUTS: u64 = 128;
    const COMMITS: u64 = 8_000;
    let running = Running::new(path, options);
    let mut batch = Batch::default();
    let (start, before) = (Instant::now(), cpu());
    let mut last = Ticket::default();
    let mut times = Vec::new();
    for commit in 0..COMMITS {
        for number in commit * PUTS + 1..=(commit + 1) * PUTS {
            put(&mut batch, number, 64);
            if release && number > 10_000 {
                batch.release(id(number - 10_000), 0);
            }
        }
        let began = Instant::now();
        let ticket = running.append(&mut batch);
        running.wait(last);
        times.push(began.elapsed());
        last = ticket;
    }
    running.wait(last);
    let (took, cpu) = (start.elapsed(), cpu_since(before));
    times.sort_unstable();
    let puts = (PUTS * COMMITS) as f64;
    let figures = running.store.figures();
    println!(
        "{:?}: 128 puts{} a commit: {:.0} puts/s, {:.2} µs CPU a put, commit p50 {:?} p99 {:?}, {} frames, {:.2} bytes written a byte",
        options.durability,
        if release { " and 128 releases" } else { "" },
        puts / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / puts,
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        figures.frames,
        figures.bytes_written as f64 / (puts * 64.0),
    );
}

/// A million queued messages, a million retained, a hundred thousand sessions.
fn recovery(path: &Path, options: Options) {
    const RECORDS: u64 = 2_100_000;
    let running = Running::new(path, options);
    let mut batch = Batch::default();
    for number in 1..=RECORDS {
        put(&mut batch, number, 150);
        if number % 128 == 0 {
            let ticket = running.append(&mut batch);
            if ticket.0.is_multiple_of(64) {
                running.wait(ticket);
            }
        }
    }
    let last = running.append(&mut batch);
    running.wait(last);
    running.store.close().unwrap();
    let steady = running.store.figures();
    drop(running);
    let before = resident();
    let start = Instant::now();
    let mut bytes = 0;
    let opened = DiskStore::open(path, options, |live| bytes += live.body.len()).unwrap();
    let took = start.elapsed();
    let (after, peak) = (resident(), peak());
    println!(
        "{:?}: {} records of {} bytes read in {took:.2?}; memory {} MiB before, {} after ({:.0} bytes a record), peak {}; {} MiB on disk",
        options.durability,
        opened.recovered().records,
        bytes / RECORDS as usize,
        before >> 20,
        after >> 20,
        (after as f64 - before as f64) / RECORDS as f64,
        peak >> 20,
        (steady.segment_bytes + steady.spare_bytes) >> 20,
    );
}

/// Ten million records come and go.
fn through(path: &Path, options: Options) {
    const RECORDS: u64 = 10_000_000;
    const QUEUED: u64 = 100_000;
    let running = Running::new(path, options);
    let mut batch = Batch::default();
    let (start, before) = (Instant::now(), cpu());
    let mut most = 0;
    for number in 1..=RECORDS + QUEUED {
        if number <= RECORDS {
            put(&mut batch, number, 64);
        }
        if number > QUEUED {
            batch.release(id(number - QUEUED), 0);
        }
        if number % 256 == 0 {
            let ticket = running.append(&mut batch);
            if ticket.0.is_multiple_of(16) {
                running.wait(ticket);
            }
            if number % 256_000 == 0 {
                most = most.max(on_disk(path));
            }
        }
    }
    let last = running.append(&mut batch);
    running.wait(last);
    let (took, cpu) = (start.elapsed(), cpu_since(before));
    let drained = Instant::now();
    while on_disk(path) > 2 * u64::from(options.segment_bytes) + 8192 && drained.elapsed().as_secs() < 20 {
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let figures = running.store.figures();
    println!(
        "{:?}: {RECORDS} records through {QUEUED}: {:.1?}, {:.2} µs CPU each, disk at most {} MiB, {} MiB {:.1?} after the drain, memory {} MiB, {:.3} of the bytes copied, syncs up to {:?}",
        options.durability,
        took,
        cpu.as_secs_f64() * 1e6 / RECORDS as f64,
        most >> 20,
        on_disk(path) >> 20,
        drained.elapsed(),
        resident() >> 20,
        figures.bytes_copied as f64 / figures.bytes_written as f64,
        figures.sync_times.longest,
    );
}

fn put(batch: &mut Batch, number: u64, len: usize) {
    batch.put(id(number), 1, |out| out.extend(std::iter::repeat_n(number as u8, len)));
}

fn id(number: u64) -> RecordId {
    RecordId::new(number).unwrap()
}

fn on_disk(path: &Path) -> u64 {
    std::fs::read_dir(path).unwrap().filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len())).sum()
}

fn resident() -> u64 {
    status("VmRSS:")
}

fn peak() -> u64 {
    status("VmHWM:")
}

fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// CPU time of the process, in the kernel's ticks of 10 ms.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

fn cpu_since(before: Duration) -> Duration {
    cpu() - before
}
