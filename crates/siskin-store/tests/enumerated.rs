//! Small journals, and everything that can happen to them, one after the other.

use siskin_core::store::{Batch, RecordId};
use siskin_store::sim::{Fault, Operation, SimDevice};
use siskin_store::{Damage, Device as _, Error, Frame, Journal, JournalOptions, Recovered, Step};

const OPTIONS: JournalOptions = JournalOptions { segment_bytes: 5_000, spares_max: 2, seed: 9 };

type Bodies = Vec<(u64, Vec<u8>)>;

fn open(device: &SimDevice) -> Result<(Journal<SimDevice>, Recovered, Bodies), Error> {
    let mut found = Bodies::new();
    let options = JournalOptions { seed: OPTIONS.seed + device.done(Operation::Write), ..OPTIONS };
    let (journal, recovered) = Journal::open(device.clone(), options, &mut |_| {}, &mut |live| {
        found.push((live.id.get(), live.body.to_vec()));
    })?;
    found.sort_unstable();
    Ok((journal, recovered, found))
}

fn frame(numbers: impl IntoIterator<Item = u64>) -> Frame {
    let mut frame = Frame::default();
    for number in numbers {
        let mut batch = Batch::default();
        let id = RecordId::new(number).expect("not zero");
        batch.put(id, 1, |out| out.extend(vec![number as u8; 60]));
        frame.push(&batch);
    }
    frame
}

fn bodies(numbers: impl IntoIterator<Item = u64>) -> Bodies {
    numbers.into_iter().map(|number| (number, vec![number as u8; 60])).collect()
}

/// Three segments of synced frames 1 to 20, a record each, and two frames 21 and 22 that are not synced.
fn journal_with_tail() -> SimDevice {
    let device = SimDevice::new(3);
    let (mut journal, ..) = open(&device).expect("it opens");
    for number in 1..=20 {
        journal.write(frame([number]));
        journal.sync();
    }
    journal.write(frame([21]));
    journal.write(frame([22]));
    drop(journal);
    device
}

#[test]
fn every_flipped_byte_is_an_error_with_its_place_or_a_tail_cut_off() {
    let device = journal_with_tail();
    let (_, _, all) = open(&device.copy()).expect("nothing is damaged");
    assert_eq!(all, bodies(1..=22));
    let (mut errors, mut cut) = (0, 0);
    for name in device.list().expect("it can be listed") {
        let content = device.content(&name);
        for at in 0..content.len() {
            let damaged = device.copy();
            let mut bytes = content.clone();
            bytes[at] ^= 1 << (at % 8);
            damaged.set_content(&name, &bytes);
            match open(&damaged) {
                Err(Error::Corrupt { path, offset, .. }) => {
                    assert_eq!(path, device.path(&name), "byte {at}");
                    assert!(offset as usize <= at, "{name} byte {at}: {offset}");
                    errors += 1;
                }
                Err(error) => panic!("{name} byte {at}: {error}"),
                Ok((_, recovered, found)) => {
                    // Frame 20 was synced, but nothing behind it says so: it was the last.
                    let known = [22, 21, 20].map(|last| bodies(1..=last));
                    if found == known[0] {
                        continue;
                    }
                    assert!(found == known[1] || (at > 4096 && found.len() >= 20), "{name} byte {at}");
                    let torn = recovered.torn.expect("it says that it cut something off");
                    assert_eq!(torn.path, device.path(&name));
                    cut += 1;
                }
            }
        }
    }
    assert!(errors > 2_000 && cut > 150, "{errors} errors, {cut} cut off");
}

#[test]
fn after_a_clean_close_every_flipped_byte_of_a_frame_is_an_error() {
    let device = SimDevice::new(3);
    let (mut journal, ..) = open(&device).expect("it opens");
    for number in 1..=5 {
        journal.write(frame([number]));
    }
    journal.close().expect("all is safe");
    let name = "00000001.journal";
    let content = device.content(name);
    let frames = 5 * (40 + 60 + 4);
    for at in 4096..4096 + frames {
        let damaged = device.copy();
        let mut bytes = content.clone();
        bytes[at] ^= 0x10;
        damaged.set_content(name, &bytes);
        let error = open(&damaged).expect_err("it was safe");
        let Error::Corrupt { damage: Damage::Frame { sequence, synced: 5 }, offset, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(offset, 4096 + (sequence - 1) * 104, "byte {at}");
    }
}

#[test]
fn every_file_that_is_missing_is_named() {
    let device = journal_with_tail();
    let mut names: Vec<_> = device
        .list()
        .expect("it can be listed")
        .into_iter()
        .filter(|name| name.ends_with(".journal"))
        .collect();
    names.sort();
    // Without the newest what is left is a shorter journal.
    names.pop();
    for name in names {
        let damaged = device.copy();
        damaged.remove(&name).expect("it is there");
        let error = open(&damaged).expect_err("it is missing");
        let Error::Corrupt { path, damage: Damage::Missing, .. } = error else { panic!("{error}") };
        assert_eq!(path, device.path(&name));
    }
}

/// What a short life does to the device, until the power goes.
fn live(device: &SimDevice, safe: &mut u64, next: &mut u64) -> Result<(), Error> {
    let (mut journal, _, found) = open(device)?;
    // A life begins with all that was safe, and then that is what there is.
    let last = found.last().map_or(0, |(number, _)| *number);
    assert!(last >= *safe, "{last} was found, {safe} was safe");
    assert_eq!(found, bodies(last.saturating_sub(KEPT - 1).max(1)..=last));
    *safe = last;
    *next = last + 1;
    let first = journal.synced();
    for _ in 0..60 {
        let mut full = frame([*next]);
        if *next > KEPT {
            let mut batch = Batch::default();
            batch.release(RecordId::new(*next - KEPT).expect("not zero"), 0);
            full.push(&batch);
        }
        let sequence = journal.write(full);
        journal.sync();
        if journal.failure().is_some() {
            journal.retry();
            journal.sync();
        }
        if journal.synced() >= sequence {
            *safe = *next;
        }
        *next += 1;
        // Now and then there is time, else a step between two frames must do.
        let idle = next.is_multiple_of(8);
        while journal.maintain(idle) == Step::More && idle {
            journal.sync();
        }
        if device.is_dark() {
            return Ok(());
        }
    }
    assert!(journal.synced() > first || device.faults_met() > 0);
    Ok(())
}

/// So many records are alive at a time.
const KEPT: u64 = 9;

#[test]
fn power_cut_at_every_operation_loses_nothing_that_was_safe() {
    let mut lives = 0;
    for seed in 0..3 {
        for operations in 0.. {
            let device = SimDevice::new(operations * 3 + seed);
            let (mut safe, mut next) = (0, 1);
            device.cut_power_after(operations);
            _ = live(&device, &mut safe, &mut next);
            let done = !device.is_dark();
            device.crash();
            // And once more, at some point of what follows.
            device.cut_power_after(operations % 37);
            _ = live(&device, &mut safe, &mut next);
            device.crash();
            live(&device, &mut safe, &mut next).expect("nothing is wrong with it");
            lives += 1;
            if done {
                break;
            }
        }
    }
    assert!(lives > 600, "{lives}");
}

#[test]
fn a_directory_sync_that_fails_and_power_cut_at_every_operation_behind_it_lose_nothing() {
    let mut met = 0;
    for nth in 0..24 {
        for operations in 0.. {
            let device = SimDevice::new(operations * 100 + nth);
            let (mut safe, mut next) = (0, 1);
            device.plan(Operation::SyncDirectory, nth, Fault::Refuse(std::io::ErrorKind::Other));
            device.cut_power_after(operations);
            _ = live(&device, &mut safe, &mut next);
            met += device.faults_met();
            let done = !device.is_dark();
            device.crash();
            live(&device, &mut safe, &mut next).expect("nothing is wrong with it");
            if done {
                break;
            }
        }
    }
    assert!(met > 500, "{met}");
}

#[test]
fn segments_go_one_after_the_other_also_where_a_directory_sync_fails() {
    for operations in 0..12 {
        for seed in 0..20 {
            let device = SimDevice::new(seed);
            let (mut journal, ..) = open(&device).expect("it opens");
            for number in 1..=40 {
                journal.write(frame([number]));
            }
            let mut batch = Batch::default();
            for number in 1..=39 {
                batch.release(RecordId::new(number).expect("not zero"), 0);
            }
            let mut full = Frame::default();
            full.push(&batch);
            journal.write(full);
            journal.sync();
            // All but the last segment are dead, and frames that say so are safe; then the first of them goes.
            let before = journal.figures().segments;
            while journal.figures().segments == before {
                assert!(before > 4 && journal.maintain(true) == Step::More);
                if journal.figures().segments == before {
                    journal.sync();
                    device.plan(Operation::SyncDirectory, 0, Fault::Refuse(std::io::ErrorKind::Other));
                }
            }
            device.cut_power_after(operations);
            for _ in 0..6 {
                journal.maintain(true);
            }
            drop(journal);
            device.crash();
            let (_, _, found) = open(&device).expect("nothing is missing that is needed");
            assert_eq!(found, bodies(40..=40));
        }
    }
}

#[test]
fn what_a_client_sends_cannot_pass_for_a_frame() {
    // All of another journal, which says of many frames that they were safe.
    let forged = {
        let device = SimDevice::new(1);
        let options = JournalOptions { seed: 10, segment_bytes: 100_000, ..OPTIONS };
        let opened = Journal::open(device.clone(), options, &mut |_| {}, &mut |_| {});
        let mut journal = opened.expect("it opens").0;
        for number in 1..100 {
            journal.write(frame([number]));
            journal.sync();
        }
        device.content("00000001.journal")[4096..].to_vec()
    };
    let device = SimDevice::new(3);
    let (mut journal, ..) = open(&device).expect("it opens");
    journal.write(frame([1]));
    journal.sync();
    let mut batch = Batch::default();
    batch.put(RecordId::new(2).expect("not zero"), 1, |out| out.extend_from_slice(&forged));
    let mut full = Frame::default();
    full.push(&batch);
    journal.write(full);
    drop(journal);
    // The frame with the forged ones in it is torn: its first byte did not arrive.
    let name = "00000002.journal";
    let mut content = device.content(name);
    content[4096] ^= 0xff;
    device.set_content(name, &content);
    let (_, recovered, found) = open(&device).expect("a torn tail");
    assert_eq!(found, bodies(1..=1));
    assert_eq!(recovered.torn.map(|torn| torn.frames), Some(0));
}
