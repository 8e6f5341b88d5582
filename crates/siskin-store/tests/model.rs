//! The journal against a plain map, through thousands of seeded histories of crashes and failures.
//!
//! After each crash, what is recovered is what some prefix of the batches comes to, and that prefix includes
//! all that had been reported safe. `SISKIN_SEED=N` runs one seed, `SISKIN_SEEDS=N` the first N.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use siskin_core::store::{Batch, Op, RecordId};
use siskin_store::sim::{Fault, Operation, SimDevice};
use siskin_store::{Frame, Journal, JournalOptions, Step};

#[test]
fn what_was_reported_safe_survives_every_crash() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SISKIN_SEED") {
        println!("{:?}", History::run(seed));
        return;
    }
    let seeds = number("SISKIN_SEEDS").unwrap_or(3000);
    let mut total = Volume::default();
    for seed in 0..seeds {
        let result = std::panic::catch_unwind(|| History::run(seed));
        let volume = result.unwrap_or_else(|_| panic!("SISKIN_SEED={seed}"));
        total.add(&volume);
    }
    println!("{seeds} histories: {total:?}");
    // Histories in which nothing happens would show nothing.
    assert!(total.crashes > seeds && total.torn > seeds / 10 && total.failures > seeds / 10, "{total:?}");
    assert!(total.reclaimed > seeds && total.copied > seeds * 100, "{total:?}");
}

/// What happened.
#[derive(Debug, Default)]
struct Volume {
    batches: u64,
    crashes: u64,
    torn: u64,
    failures: u64,
    reclaimed: u64,
    copied: u64,
    faults: u64,
}

impl Volume {
    fn add(&mut self, other: &Self) {
        self.batches += other.batches;
        self.crashes += other.crashes;
        self.torn += other.torn;
        self.failures += other.failures;
        self.reclaimed += other.reclaimed;
        self.copied += other.copied;
        self.faults += other.faults;
    }
}

/// A record: its body, and each reference that is held with its note.
type Records = BTreeMap<u64, (Vec<u8>, BTreeMap<u32, u32>)>;

struct History {
    random: u64,
    device: SimDevice,
    journal: Option<Journal<SimDevice>>,
    /// Whether safe is what is written, as long as the kernel lives.
    written_is_safe: bool,
    /// What all frames up to those in `frames` come to.
    base: Records,
    /// Each frame that may still be lost.
    frames: VecDeque<(u64, Vec<u8>)>,
    /// Frames up to this one are there as long as the kernel lives.
    in_kernel: u64,
    /// What all of them come to.
    now: Records,
    next_id: u64,
    segment_bytes: u32,
    volume: Volume,
}

impl History {
    fn run(seed: u64) -> Volume {
        let mut history = Self {
            random: seed,
            device: SimDevice::new(seed),
            journal: None,
            written_is_safe: seed % 2 == 1,
            base: Records::new(),
            frames: VecDeque::new(),
            in_kernel: 0,
            now: Records::new(),
            next_id: 1,
            segment_bytes: [5_000, 6_000, 9_000, 20_000][seed as usize / 2 % 4],
            volume: Volume::default(),
        };
        for _ in 0..4 + history.draw(8) {
            history.life();
        }
        // At last all works: what is there is all there is, and space comes back.
        history.open();
        history.check_reading();
        history.settle();
        history.volume
    }

    /// From opening to a crash.
    fn life(&mut self) {
        self.open();
        self.check_reading();
        if self.draw(3) == 0 {
            self.plan_faults();
        }
        // It ends after so many operations of the device, or of ours.
        if self.draw(2) == 0 {
            let operations = 1 + self.draw(80);
            self.device.cut_power_after(operations);
        }
        let steps = 1 + self.draw(60);
        for _ in 0..steps {
            if !self.device.is_dark() {
                self.step();
            }
        }
        if !self.device.is_dark() && self.draw(6) == 0 {
            let closed = self.journal().close();
            if closed.is_ok() {
                self.settle_frames();
                assert!(self.frames.is_empty(), "what was closed is safe");
            }
        }
        self.volume.faults += self.device.faults_met();
        self.volume.failures += self.journal().figures().failures;
        self.volume.copied += self.journal().figures().bytes_copied;
        let before = self.journal.take().expect("it is open");
        if self.written_is_safe && !self.device.is_dark() && self.draw(2) == 0 {
            // Only the process ends: what was written is there, unless writing failed meanwhile.
            let written = before.written();
            drop(before);
            self.device.end_process();
            self.in_kernel = written;
        } else {
            self.crash();
        }
        self.volume.crashes += 1;
    }

    fn open(&mut self) {
        // Sometimes the power goes while it is being opened, or the device fails.
        let mut attempts = 0;
        let (journal, found) = loop {
            attempts += 1;
            // Another seed each time: what an attempt that failed has left in a file must not be taken for ours.
            let options = JournalOptions {
                segment_bytes: self.segment_bytes,
                spares_max: 2,
                seed: self.draw(u64::MAX),
            };
            let accident = attempts < 4 && self.draw(4) == 0;
            if accident {
                let operation =
                    [Operation::Write, Operation::Sync, Operation::SyncDirectory, Operation::Name]
                        [self.draw(4) as usize];
                let nth = self.draw(6);
                if self.draw(2) == 0 {
                    self.device.plan(operation, nth, Fault::Refuse(io::ErrorKind::Other));
                } else {
                    self.device.cut_power_after(nth + 1);
                }
            }
            let mut found = Records::new();
            let opened = Journal::open(self.device.clone(), options, &mut |_| {}, &mut |live| {
                let held = live.held.iter().map(|held| (held.reference, held.note)).collect();
                let double = found.insert(live.id.get(), (live.body.to_vec(), held));
                assert!(double.is_none(), "{:?} came twice", live.id);
            });
            match opened {
                Ok((journal, recovered)) => {
                    self.volume.torn += u64::from(recovered.torn.is_some());
                    assert_eq!(recovered.records, found.len() as u64);
                    self.accept(&found);
                    if accident && (self.device.is_dark() || self.draw(2) == 0) {
                        drop(journal);
                        self.crash();
                        continue;
                    }
                    break (journal, found);
                }
                Err(error) => {
                    assert!(accident, "{error}");
                    if !found.is_empty() {
                        self.accept(&found);
                    }
                    if self.device.is_dark() || self.draw(2) == 0 {
                        self.crash();
                    } else {
                        self.device.end_process();
                    }
                }
            }
        };
        self.device.end_process();
        assert!(journal.last_id() < self.next_id);
        self.journal = Some(journal);
        // What was found is safe now, if opening was not told otherwise: it is found again.
        self.in_kernel = 0;
        self.base = found.clone();
        self.now = found;
        self.frames.clear();
    }

    fn crash(&mut self) {
        self.in_kernel = 0;
        self.device.crash();
    }

    /// What was found must be what a prefix of the frames comes to.
    fn accept(&mut self, found: &Records) {
        let mut records = self.base.clone();
        let must = self.frames.iter().take_while(|(sequence, _)| *sequence <= self.in_kernel).count();
        if must == 0 && records == *found {
            return;
        }
        for (at, (_, frame)) in self.frames.iter().enumerate() {
            apply(&mut records, frame);
            if at + 1 >= must && records == *found {
                return;
            }
        }
        panic!("no prefix: found {:?}\nbase {:?}\nnow {:?}", keys(found), keys(&self.base), keys(&self.now));
    }

    fn step(&mut self) {
        match self.draw(10) {
            0..=3 => self.write(),
            4 | 5 => self.journal().sync(),
            6 => {
                // Another thread syncs, and something may come between.
                if let Some(task) = self.journal().begin_sync() {
                    if self.draw(2) == 0 {
                        self.write();
                    }
                    let result = task.run(&self.device.clone());
                    if self.draw(4) == 0 {
                        self.write();
                    }
                    self.journal().end_sync(&task, result);
                }
            }
            7 | 8 => {
                let idle = self.draw(3) == 0;
                let before = self.journal().figures();
                self.journal().maintain(idle);
                let after = self.journal().figures();
                self.volume.reclaimed += before.segments.saturating_sub(after.segments);
            }
            _ => {
                self.journal().retry();
                self.journal().retry_reserve();
                if self.draw(4) == 0 {
                    self.device.set_room(None);
                }
                if self.draw(8) == 0 && !self.device.is_dark() && self.journal().failure().is_none() {
                    self.check_reading();
                }
            }
        }
        self.settle_frames();
    }

    /// Frames that are reported safe can be lost no more.
    fn settle_frames(&mut self) {
        let synced = self.journal().synced();
        self.make_safe(synced);
    }

    fn make_safe(&mut self, sequence: u64) {
        while self.frames.front().is_some_and(|(at, _)| *at <= sequence) {
            let (_, frame) = self.frames.pop_front().expect("it is there");
            apply(&mut self.base, &frame);
        }
    }

    fn write(&mut self) {
        let mut frame = Frame::default();
        let mut bytes = Vec::new();
        for _ in 0..1 + self.draw(4) {
            let batch = self.batch();
            frame.push(&batch);
            bytes.extend_from_slice(batch.bytes());
            apply(&mut self.now, batch.bytes());
            self.volume.batches += 1;
        }
        let sequence = self.journal().write(frame);
        self.frames.push_back((sequence, bytes));
    }

    fn batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        let mut scratch = self.now.clone();
        for _ in 0..self.draw(6) {
            let existing = {
                let nth = self.draw(scratch.len().max(1) as u64) as usize;
                scratch.keys().nth(nth).copied()
            };
            let start = batch.bytes().len();
            match (self.draw(if scratch.len() > 40 { 12 } else { 7 }), existing) {
                (0..=1, _) | (_, None) => {
                    let id = RecordId::new(self.next_id).expect("not zero");
                    self.next_id += 1;
                    self.put(&mut batch, id);
                }
                (2, Some(id)) => self.put(&mut batch, RecordId::new(id).expect("not zero")),
                (3, Some(id)) => {
                    let (reference, note) = (self.draw(4) as u32, self.draw(1000) as u32);
                    batch.note(RecordId::new(id).expect("not zero"), reference, note);
                }
                (_, Some(id)) => {
                    let held: Vec<_> = scratch[&id].1.keys().copied().collect();
                    let reference = held[self.draw(held.len() as u64) as usize];
                    batch.release(RecordId::new(id).expect("not zero"), reference);
                }
            }
            apply(&mut scratch, &batch.bytes()[start..]);
        }
        batch
    }

    fn put(&mut self, batch: &mut Batch, id: RecordId) {
        let references = if self.draw(2) == 0 { 1 } else { 1 + self.draw(4) as u32 };
        let len = match self.draw(20) {
            0 => self.draw(8_000),
            1..=4 => self.draw(1_000),
            _ => self.draw(80),
        };
        let fill = self.draw(256) as u8;
        batch.put(id, references, |out| out.resize(out.len() + len as usize, fill));
    }

    fn plan_faults(&mut self) {
        for _ in 0..1 + self.draw(3) {
            let operation = match self.draw(6) {
                0 | 1 => Operation::Write,
                2 | 3 => Operation::Sync,
                4 => Operation::SyncDirectory,
                _ => Operation::Name,
            };
            let kind = if self.draw(3) == 0 { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
            let fault = if self.draw(4) == 0 { Fault::Short } else { Fault::Refuse(kind) };
            let nth = self.draw(40);
            self.device.plan(operation, nth, fault);
        }
        if self.draw(4) == 0 {
            let room = self.device.used() + self.draw(3 * u64::from(self.segment_bytes));
            self.device.set_room(Some(room));
        }
    }

    /// Every record can be read as it is.
    fn check_reading(&mut self) {
        let reader = self.journal().reader();
        for (id, (body, _)) in &self.now {
            let read = reader.read(RecordId::new(*id).expect("not zero")).expect("it can be read");
            assert_eq!(read.as_ref(), Some(body), "#{id}");
        }
    }

    /// Left alone, it comes to rest, and little more is taken than what is alive needs.
    fn settle(&mut self) {
        let mut steps = 0;
        while self.journal().maintain(true) == Step::More
            || self.journal().synced() < self.journal().written()
        {
            self.journal().sync();
            steps += 1;
            assert!(steps < 10_000, "it never comes to rest: {:?}", self.journal().figures());
        }
        assert!(self.journal().failure().is_none());
        self.check_reading();
    }

    fn journal(&mut self) -> &mut Journal<SimDevice> {
        self.journal.as_mut().expect("it is open")
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let value = self.random ^ (self.random >> 33);
        value.wrapping_mul(0xff51_afd7_ed55_8ccd).rotate_left(31) % below.max(1)
    }
}

fn apply(records: &mut Records, bytes: &[u8]) {
    let mut rest = bytes;
    while !rest.is_empty() {
        match Op::decode(&mut rest).expect("what a batch wrote") {
            Op::Put { id, references, body } => {
                records.insert(id.get(), (body.to_vec(), (0..references).map(|at| (at, 0)).collect()));
            }
            Op::Release { id, reference } => {
                let Some((_, held)) = records.get_mut(&id.get()) else { continue };
                held.remove(&reference);
                if held.is_empty() {
                    records.remove(&id.get());
                }
            }
            Op::Note { id, reference, note } => {
                if let Some(held) = records.get_mut(&id.get()).and_then(|(_, held)| held.get_mut(&reference))
                {
                    *held = note;
                }
            }
        }
    }
}

fn keys(records: &Records) -> Vec<u64> {
    records.keys().copied().collect()
}
