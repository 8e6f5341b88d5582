//! The store as the broker's workers use it: on a real disk, and on one that fails when told to.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use siskin_core::SessionKey;
use siskin_core::store::{Batch, Durability, Fetch, Fetched, Health, Held, RecordId, Store, Ticket};
use siskin_store::sim::{Fault, Operation, SimDevice};
use siskin_store::{Device, DiskStore, Error, Failure, Journal, JournalOptions, Options, Step};

const SMALL: Options = Options {
    durability: Durability::Synced,
    segment_bytes: 64 * 1024,
    pending_bytes_max: 1024 * 1024,
    idle_after: Duration::from_millis(1),
    pause: Duration::from_millis(1),
};

/// A directory that goes with its test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("siskin-store-{}-{name}", std::process::id()));
        _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A store and what it wakes its workers for.
struct Running<D: Device> {
    store: DiskStore<D>,
    woken: mpsc::Receiver<u16>,
}

impl<D: Device> Running<D> {
    fn start(opened: siskin_store::Opened<D>) -> Self {
        let (wake, woken) = mpsc::channel();
        let store = opened.start(move |worker| _ = wake.send(worker)).expect("threads can be started");
        Self { store, woken }
    }

    fn append(&self, fill: impl FnOnce(&mut Batch)) -> Ticket {
        let mut batch = Batch::default();
        fill(&mut batch);
        batch.await_safety();
        let ticket = self.store.append(1, &mut batch);
        assert!(batch.is_empty());
        ticket
    }

    fn wait(&self, ticket: Ticket) {
        while self.store.safe() < ticket {
            assert_eq!(self.woken.recv_timeout(PATIENCE), Ok(1));
        }
    }

    fn wait_for(&self, health: Health) {
        let start = std::time::Instant::now();
        while self.store.health() != health {
            assert!(start.elapsed() < PATIENCE, "{:?} and not {health:?}", self.store.health());
            std::thread::yield_now();
        }
    }

    fn fetch(&self, ids: &[u64]) -> Vec<(RecordId, Option<Vec<u8>>)> {
        let session = SessionKey::new(1, 0, 7);
        self.store.fetch(Fetch { session, ids: ids.iter().copied().map(id).collect() });
        let mut fetched = Vec::<Fetched>::new();
        while fetched.is_empty() {
            assert_eq!(self.woken.recv_timeout(PATIENCE), Ok(1));
            self.store.take_fetched(1, &mut fetched);
        }
        assert_eq!(fetched.len(), 1);
        assert_eq!(fetched[0].session, session);
        fetched.remove(0).bodies
    }
}

/// So long a test waits for what must come at once.
const PATIENCE: Duration = Duration::from_secs(60);

fn id(number: u64) -> RecordId {
    RecordId::new(number).expect("not zero")
}

/// Each record that was handed out.
type Found = Vec<(u64, Vec<u8>, Vec<Held>)>;

fn open(path: &Path, options: Options) -> (Running<siskin_store::Disk>, Found) {
    let mut found = Vec::new();
    let opened = DiskStore::open(path, options, |live| {
        found.push((live.id.get(), live.body.to_vec(), live.held.to_vec()));
    });
    (Running::start(opened.expect("it opens")), found)
}

#[test]
fn records_outlive_the_store_at_both_levels() {
    for durability in [Durability::Synced, Durability::Written] {
        let directory = Directory::new(&format!("reopen-{durability:?}"));
        let options = Options { durability, ..SMALL };
        let (running, found) = open(&directory.0, options);
        assert!(found.is_empty());
        running.append(|batch| {
            batch.put(id(1), 1, |out| out.extend_from_slice(b"one"));
            batch.put(id(2), 3, |out| out.extend_from_slice(b"two"));
            batch.put(id(3), 1, |out| out.extend_from_slice(b"three"));
        });
        let last = running.append(|batch| {
            batch.release(id(2), 1);
            batch.note(id(2), 2, 65_535);
            batch.release(id(3), 0);
        });
        running.wait(last);
        running.store.close().expect("all is safe");
        let (running, found) = open(&directory.0, options);
        assert_eq!(
            found,
            [
                (1, b"one".to_vec(), vec![Held { reference: 0, note: 0 }]),
                (
                    2,
                    b"two".to_vec(),
                    vec![Held { reference: 0, note: 0 }, Held { reference: 2, note: 65_535 }]
                ),
            ]
        );
        assert_eq!(running.store.figures().records, 2);
        assert_eq!(running.store.health(), Health::Good);
    }
}

#[test]
fn the_highest_id_is_known_though_its_record_is_gone() {
    let directory = Directory::new("last-id");
    let (running, _) = open(&directory.0, SMALL);
    running.append(|batch| batch.put(id(70), 1, |_| {}));
    running.append(|batch| batch.release(id(70), 0));
    drop(running);
    let opened = DiskStore::open(&directory.0, SMALL, |_| {}).expect("it opens");
    assert_eq!((opened.last_id(), opened.recovered().records), (70, 0));
}

#[test]
fn bodies_come_back_in_the_order_asked_for_and_as_put_last() {
    let directory = Directory::new("fetch");
    let (running, _) = open(&directory.0, SMALL);
    for round in 0..3_u8 {
        for number in 1..=100 {
            running.append(|batch| batch.put(id(number), 1, |out| out.extend(vec![round; number as usize])));
        }
        // Nobody waits: what was appended before is there all the same.
        let bodies = running.fetch(&[100, 1, 50]);
        let expected: Vec<_> =
            [100, 1, 50].map(|number| (id(number), Some(vec![round; number as usize]))).into();
        assert_eq!(bodies, expected);
    }
    assert_eq!(running.fetch(&[101]), [(id(101), None)]);
}

#[test]
fn a_body_that_the_device_does_not_give_for_now_is_not_taken_for_lost() {
    let device = SimDevice::new(1);
    let running = Running::start(DiskStore::open_on(device.clone(), SMALL, |_| {}).expect("it opens"));
    let ticket = running.append(|batch| batch.put(id(1), 1, |out| out.extend(b"body")));
    running.wait(ticket);
    let body = (id(1), Some(b"body".to_vec()));
    let refuse = |times: u64| {
        for nth in 0..times {
            device.plan(Operation::Read, nth, Fault::Refuse(std::io::ErrorKind::Other));
        }
    };
    // A little while makes no difference.
    refuse(3);
    assert_eq!(running.fetch(&[1]), std::slice::from_ref(&body));
    // After a longer one there is no answer about it, and it can be asked for again.
    refuse(11);
    assert_eq!(running.fetch(&[1]), []);
    assert_eq!(running.fetch(&[1]), [body]);
}

#[test]
fn a_second_process_is_told_who_has_the_directory() {
    let directory = Directory::new("lock");
    let (running, _) = open(&directory.0, SMALL);
    let error = DiskStore::open(&directory.0, SMALL, |_| {}).expect_err("it is locked");
    assert!(matches!(&error, Error::InUse { pid: Some(pid), .. } if *pid == std::process::id()), "{error}");
    assert!(error.to_string().contains(&directory.0.display().to_string()));
    drop(running);
    DiskStore::open(&directory.0, SMALL, |_| {}).expect("it is free");
}

#[test]
fn what_is_no_directory_of_ours_is_named() {
    let directory = Directory::new("not-ours");
    std::fs::write(&directory.0, "a file").expect("it can be written");
    let error = DiskStore::open(&directory.0, SMALL, |_| {}).expect_err("a file");
    assert!(error.to_string().contains(&directory.0.display().to_string()), "{error}");
    std::fs::remove_file(&directory.0).expect("it is there");
    std::fs::create_dir(&directory.0).expect("it can be made");
    let segment = directory.0.join("00000001.journal");
    std::fs::write(&segment, "something else").expect("it can be written");
    let error = DiskStore::open(&directory.0, SMALL, |_| {}).expect_err("no segment");
    assert!(error.to_string().contains(&segment.display().to_string()), "{error}");
}

#[test]
fn where_nothing_can_be_written_the_error_names_the_place() {
    // A file system in which nobody makes directories, not even root.
    let error =
        DiskStore::open(Path::new("/proc/siskin-store"), SMALL, |_| {}).expect_err("it cannot be made");
    assert!(error.to_string().starts_with("cannot create /proc/siskin-store: "), "{error}");
}

#[test]
fn a_segment_of_another_version_is_named_with_it() {
    let directory = Directory::new("version");
    drop(open(&directory.0, SMALL));
    let segment = directory.0.join("00000001.journal");
    let mut bytes = std::fs::read(&segment).expect("it is there");
    bytes[8] = 9;
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&segment, bytes).expect("it can be written");
    let error = DiskStore::open(&directory.0, SMALL, |_| {}).expect_err("a later version");
    assert_eq!(
        error.to_string(),
        format!("{} has version 9 of the format; this program reads version 1", segment.display())
    );
}

#[test]
fn what_is_drained_gives_its_room_back() {
    for durability in [Durability::Synced, Durability::Written] {
        drain(Options { durability, ..SMALL });
    }
}

fn drain(options: Options) {
    let directory = Directory::new(&format!("drained-{:?}", options.durability));
    let (running, _) = open(&directory.0, options);
    // One in a hundred stays, so that no segment is quite dead.
    let mut last = Ticket::default();
    for number in 1..=3_000 {
        last = running.append(|batch| {
            batch.put(id(number), 1, |out| out.extend([number as u8; 500]));
            if number > 1_000 && number % 100 != 0 {
                batch.release(id(number - 1_000), 0);
            }
        });
    }
    for number in 2_001..=3_000 {
        if number % 100 != 0 {
            last = running.append(|batch| batch.release(id(number), 0));
        }
    }
    running.wait(last);
    let most = |figures: siskin_store::Figures| {
        figures.live_bytes + figures.live_bytes / 8 + 2 * u64::from(SMALL.segment_bytes) + 8_192
    };
    let start = std::time::Instant::now();
    loop {
        let figures = running.store.figures();
        if figures.segment_bytes + figures.spare_bytes <= most(figures) {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{figures:?}");
        std::thread::yield_now();
    }
    let bodies = running.fetch(&[1_100, 2_000, 3_000]);
    for (id, body) in bodies {
        assert_eq!(body, Some(vec![id.get() as u8; 500]));
    }
}

#[test]
fn space_is_bounded_however_much_is_written_at_once_and_wherever_little_of_it_stays() {
    let options = JournalOptions { segment_bytes: 64 * 1024, spares_max: 2, seed: 1 };
    let (mut journal, _) =
        Journal::open(SimDevice::new(1), options, &mut |_| {}, &mut |_| {}).expect("it opens");
    let mut number = 0;
    for _ in 0..50 {
        // As much as many segments hold, and in each something that lives for long.
        for _ in 0..64 {
            let mut batch = Batch::default();
            for at in 0..30 {
                number += 1;
                batch.put(id(number), 1, |out| out.extend([1; 1000]));
                if at > 0 {
                    batch.release(id(number), 0);
                }
            }
            let mut frame = siskin_store::Frame::default();
            frame.push(&batch);
            journal.write(frame);
        }
        journal.sync();
        while journal.maintain(false) == Step::More && journal.is_outrun() {}
        // What was declared to be not needed goes when that is safe.
        journal.write(siskin_store::Frame::default());
        journal.sync();
        while journal.maintain(false) == Step::More {}
        let figures = journal.figures();
        // Headers are much of segments as small as these.
        let most = 2 * figures.live_bytes * 16 / 15 + 10 * u64::from(options.segment_bytes);
        assert!(figures.segment_bytes < most, "{figures:?}");
    }
}

#[test]
fn a_segment_that_is_larger_than_others_goes_in_quiet_times_too() {
    let options = JournalOptions { segment_bytes: 64 * 1024, spares_max: 1, seed: 1 };
    let (mut journal, _) =
        Journal::open(SimDevice::new(1), options, &mut |_| {}, &mut |_| {}).expect("it opens");
    // Little of either stays.
    for (first, count) in [(1, 50), (100, 500)] {
        let mut batch = Batch::default();
        for number in first..first + count {
            batch.put(id(number), 1, |out| out.extend([1; 1000]));
            if number > first {
                batch.release(id(number), 0);
            }
        }
        let mut frame = siskin_store::Frame::default();
        frame.push(&batch);
        journal.write(frame);
        journal.sync();
    }
    for _ in 0..10 {
        while journal.maintain(true) == Step::More {}
        journal.sync();
    }
    let figures = journal.figures();
    assert!(figures.segment_bytes + figures.spare_bytes <= 4 * 64 * 1024, "{figures:?}");
}

#[test]
fn without_room_nothing_is_promised_and_nothing_is_lost() {
    let device = SimDevice::new(1);
    let running = Running::start(DiskStore::open_on(device.clone(), SMALL, |_| {}).expect("it opens"));
    let first = running.append(|batch| batch.put(id(1), 1, |out| out.extend([1; 1000])));
    running.wait(first);
    device.set_room(Some(0));
    let mut last = first;
    for number in 2..300 {
        last = running.append(|batch| batch.put(id(number), 1, |out| out.extend([1; 1000])));
    }
    running.wait_for(Health::Full);
    assert!(running.store.safe() < last);
    device.set_room(None);
    running.wait(last);
    running.wait_for(Health::Good);
    running.store.close().expect("all is safe");
    device.crash();
    let mut found = 0;
    DiskStore::open_on(device, SMALL, |_| found += 1).expect("it opens");
    assert_eq!(found, 299);
}

#[test]
fn without_room_for_a_reserve_nothing_is_promised_while_one_is_tried() {
    let device = SimDevice::new(1);
    // Several pieces of a spare file have room, but not all.
    let options = JournalOptions { segment_bytes: 4 * 1024 * 1024, spares_max: 1, seed: 1 };
    let (mut journal, _) =
        Journal::open(device.clone(), options, &mut |_| {}, &mut |_| {}).expect("it opens");
    device.set_room(Some(2 * 1024 * 1024 + 1));
    while journal.maintain(false) == Step::More {}
    assert!(journal.reserve_failure().is_some_and(Failure::is_full));
    for _ in 0..3 {
        journal.retry_reserve();
        while journal.maintain(false) == Step::More {
            assert!(journal.reserve_failure().is_some(), "it takes a part of the reserve for all of it");
        }
    }
    device.set_room(None);
    journal.retry_reserve();
    while journal.maintain(false) == Step::More {}
    assert!(journal.reserve_failure().is_none());
    assert_eq!(journal.figures().spares, 1);
}

#[test]
fn on_a_full_disk_it_starts_and_what_is_there_can_be_read() {
    let device = SimDevice::new(1);
    let running = Running::start(DiskStore::open_on(device.clone(), SMALL, |_| {}).expect("it opens"));
    running.append(|batch| batch.put(id(1), 1, |out| out.extend([1; 1000])));
    drop(running);
    for name in device.list().expect("it can be listed") {
        if name.ends_with(".spare") {
            device.remove(&name).expect("it is there");
        }
    }
    device.set_room(Some(0));
    let mut found = 0;
    let running =
        Running::start(DiskStore::open_on(device.clone(), SMALL, |_| found += 1).expect("it opens"));
    assert_eq!(found, 1);
    running.wait_for(Health::Full);
    assert_eq!(running.fetch(&[1]), [(id(1), Some(vec![1; 1000]))]);
    let last = running.append(|batch| batch.release(id(1), 0));
    device.set_room(None);
    running.wait(last);
    running.wait_for(Health::Good);
}

#[test]
fn a_store_that_was_full_when_it_was_killed_can_be_emptied_without_any_other_room() {
    for left in [0, 6_000, 30_000] {
        let device = SimDevice::new(1);
        device.set_room(Some(5 * u64::from(SMALL.segment_bytes) + left));
        let running = Running::start(DiskStore::open_on(device.clone(), SMALL, |_| {}).expect("it opens"));
        let mut number = 0;
        while running.store.health() == Health::Good {
            number += 1;
            running.wait(running.append(|batch| batch.put(id(number), 1, |out| out.extend([1; 1000]))));
        }
        assert_eq!(running.store.health(), Health::Tight);
        // Killed: it does not get to close.
        let found = device.copy();
        drop(running);
        found.set_room(Some(found.used()));
        let mut live = Vec::new();
        let opened = DiskStore::open_on(found, SMALL, |record| live.push(record.id));
        let running = Running::start(opened.expect("it opens"));
        assert_eq!(live.len() as u64, number);
        running.wait_for(Health::Tight);
        // First all but what is in the oldest segment, of which there is no room for copies.
        let (oldest, rest) = live.split_at(40);
        for record in rest.iter().chain(oldest) {
            let last = running.append(|batch| batch.release(*record, 0));
            running.wait(last);
            assert_ne!(running.store.health(), Health::Full);
        }
        running.wait_for(Health::Good);
    }
}

#[test]
fn nothing_is_safe_in_a_file_that_was_removed() {
    for whole in [false, true] {
        let directory = Directory::new(&format!("removed-{whole}"));
        // In quiet times what is alive is put elsewhere, also what is read from a file without a name.
        let (running, _) = open(&directory.0, Options { idle_after: PATIENCE, ..SMALL });
        running.wait(running.append(|batch| batch.put(id(1), 1, |out| out.push(1))));
        if whole {
            std::fs::remove_dir_all(&directory.0).expect("it is there");
        } else {
            std::fs::remove_file(directory.0.join("00000001.journal")).expect("it is there");
        }
        let last = running.append(|batch| batch.put(id(2), 1, |out| out.push(2)));
        if whole {
            running.wait_for(Health::Failing);
            assert!(running.store.safe() < last);
            assert!(running.store.close().is_err());
            assert_eq!(running.store.health(), Health::Failing);
        } else {
            // In the next file; that one is missing is said at the next start.
            running.wait(last);
            running.store.close().expect("all that can be is safe");
            let error = DiskStore::open(&directory.0, SMALL, |_| {}).expect_err("a file is missing");
            assert!(error.to_string().contains("00000001.journal is damaged"), "{error}");
        }
    }
}

#[test]
fn what_is_no_file_is_no_segment() {
    let directory = Directory::new("pipe");
    std::fs::create_dir_all(&directory.0).expect("a directory");
    let made = std::process::Command::new("mkfifo").arg(directory.0.join("00000001.journal")).status();
    assert!(made.expect("mkfifo is there").success());
    let disk = siskin_store::Disk::open_to_read(&directory.0).expect("a directory");
    let error = siskin_store::inspect(&disk, &mut |_| {}).expect_err("a pipe");
    assert!(error.to_string().contains("00000001.journal: it is not a file"), "{error}");
}

#[test]
fn what_a_failed_sync_may_have_lost_is_written_again() {
    for nth in 0..4 {
        for operation in [Operation::Write, Operation::Sync] {
            let device = SimDevice::new(nth);
            let running =
                Running::start(DiskStore::open_on(device.clone(), SMALL, |_| {}).expect("it opens"));
            device.plan(operation, nth, Fault::Refuse(std::io::ErrorKind::Other));
            let mut last = Ticket::default();
            for number in 1..10 {
                last = running.append(|batch| batch.put(id(number), 1, |out| out.extend([1; 1000])));
                running.wait(last);
            }
            assert_eq!(running.store.safe(), last);
            drop(running);
            device.crash();
            let mut found = Vec::new();
            DiskStore::open_on(device, SMALL, |live| found.push(live.id.get())).expect("it opens");
            // What was copied forward to reclaim space comes later.
            found.sort_unstable();
            assert_eq!(found, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        }
    }
}

#[test]
fn many_workers_at_once_lose_nothing() {
    let directory = Directory::new("workers");
    let options = Options { pending_bytes_max: u64::MAX, ..SMALL };
    let opened = DiskStore::open(&directory.0, options, |_| {}).expect("it opens");
    let store = opened.start(|_| {}).expect("threads can be started");
    std::thread::scope(|scope| {
        for worker in 0..4_u64 {
            let store = &store;
            scope.spawn(move || {
                let mut batch = Batch::default();
                for number in 0..2_000 {
                    let new = id(1 + number * 4 + worker);
                    batch.put(new, 1, |out| out.extend_from_slice(&new.get().to_le_bytes()));
                    if number >= 10 {
                        batch.release(id(1 + (number - 10) * 4 + worker), 0);
                    }
                    store.append(worker as u16, &mut batch);
                }
            });
        }
    });
    store.close().expect("all is safe");
    assert_eq!(store.safe(), Ticket(8_000));
    let mut found = Vec::new();
    let opened = DiskStore::open(&directory.0, options, |live| {
        assert_eq!(live.body, live.id.get().to_le_bytes());
        found.push(live.id.get());
    });
    opened.expect("it opens");
    found.sort_unstable();
    assert_eq!(found, (7_961..=8_000).collect::<Vec<_>>());
}

#[test]
fn what_it_makes_is_for_its_user_alone() {
    let directory = Directory::new("modes");
    let path = directory.0.join("above/store");
    let open = || {
        let opened = DiskStore::open(&path, SMALL, |_| {}).expect("it opens");
        Running::start(opened).store.close().expect("nothing is left to do");
    };
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    open();
    assert_eq!(mode(&path), 0o700);
    let files: Vec<_> = std::fs::read_dir(&path).expect("it is there").collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        let file = file.expect("it can be read").path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    // A directory that was there is its owner's business.
    std::fs::set_permissions(&path, Permissions::from_mode(0o750)).expect("it is ours");
    open();
    assert_eq!(mode(&path), 0o750);
}
